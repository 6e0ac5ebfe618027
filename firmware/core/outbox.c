/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "outbox.h"

#include "text.h"

enum { AGE_HELD_MS = 0x7fffffff };

static struct entry *nth(struct outbox *box, unsigned i)
{
    return &box->entries[(box->first + i) % OUTBOX_MAX];
}

static bool put(struct outbox *box, struct entry entry)
{
    if (box->count >= OUTBOX_MAX)
        return false;
    *nth(box, box->count) = entry;
    box->count++;
    return true;
}

bool outbox_put(struct outbox *box, enum entry_kind kind, int32_t value, uint32_t now_ms)
{
    return put(box, (struct entry){.happened_ms = now_ms, .value = value, .kind = (uint8_t)kind});
}

bool outbox_put_temperature(struct outbox *box, unsigned sensor, int32_t tenths, uint32_t now_ms)
{
    struct entry entry = {
        .happened_ms = now_ms, .value = tenths, .kind = ENTRY_TEMPERATURE, .sensor = (uint8_t)sensor,
    };

    for (unsigned i = 1; i < box->count; i++) {
        struct entry *old = nth(box, i);

        if (old->kind == ENTRY_TEMPERATURE && old->sensor == sensor) {
            *old = entry;
            return true;
        }
    }
    return put(box, entry);
}

const struct entry *outbox_oldest(const struct outbox *box)
{
    return box->count ? &box->entries[box->first % OUTBOX_MAX] : NULL;
}

void outbox_drop_oldest(struct outbox *box)
{
    box->first = (uint8_t)((box->first + 1) % OUTBOX_MAX);
    box->count--;
}

bool outbox_has_status(const struct outbox *box)
{
    for (unsigned i = 0; i < box->count; i++)
        if (box->entries[(box->first + i) % OUTBOX_MAX].kind == ENTRY_STATUS)
            return true;
    return false;
}

bool outbox_hold_ages(struct outbox *box, uint32_t now_ms)
{
    bool changed = false;

    for (unsigned i = 0; i < box->count; i++) {
        struct entry *entry = nth(box, i);

        if (now_ms - entry->happened_ms > AGE_HELD_MS) {
            entry->happened_ms = now_ms - AGE_HELD_MS;
            changed = true;
        }
    }
    return changed;
}

size_t entry_line(const struct entry *entry, char *to)
{
    static const char *const words[] = {
        [ENTRY_STATUS] = "status ",
        [ENTRY_TEMPERATURE] = "temperature ",
        [ENTRY_ENTER] = "enter ",
        [ENTRY_LEAVE] = "leave ",
    };
    char *end = text_put(to, words[entry->kind]);

    if (entry->kind == ENTRY_TEMPERATURE) {
        end = text_put_number(end, entry->sensor);
        *end++ = ' ';
        end = text_put_tenths(end, entry->value);
    } else {
        end = text_put_number(end, (uint32_t)entry->value);
    }
    return (size_t)(end - to);
}
