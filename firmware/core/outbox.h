/* SPDX-License-Identifier: GPL-3.0-or-later */
/* What the board has to say and the bridge has not yet taken; oldest first. */
#ifndef OUTBOX_H
#define OUTBOX_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define OUTBOX_MAX 32u
#define LINE_OURS_MAX 32u /* "temperature 1 -40.0" and every other line of ours fit */

enum entry_kind { ENTRY_STATUS, ENTRY_TEMPERATURE, ENTRY_ENTER, ENTRY_LEAVE };

struct entry {
    uint32_t happened_ms;
    int32_t value; /* the status, the person, or tenths of a degree */
    uint8_t kind;
    uint8_t sensor;
    uint8_t unused[2]; /* no hidden bytes: the whole is kept under a checksum */
};

struct outbox {
    uint8_t first, count;
    uint8_t unused[2];
    struct entry entries[OUTBOX_MAX];
};

/* False: it is full, nothing was changed. */
bool outbox_put(struct outbox *box, enum entry_kind kind, int32_t value, uint32_t now_ms);

/* The same, but the newest reading takes the place of an older one of that sensor. The oldest entry is left alone: it
   may be under way already, and the bridge would take its number for known. */
bool outbox_put_temperature(struct outbox *box, unsigned sensor, int32_t tenths, uint32_t now_ms);

const struct entry *outbox_oldest(const struct outbox *box); /* NULL: empty */
void outbox_drop_oldest(struct outbox *box);
bool outbox_has_status(const struct outbox *box);

/* Ages are worked out by subtraction and would begin anew after 49 days. Holds them at half of that; call it daily at
   least. True: something was changed. */
bool outbox_hold_ages(struct outbox *box, uint32_t now_ms);

/* Write the entry as a line of the miniprotocol; return its length. */
size_t entry_line(const struct entry *entry, char *to);

#endif
