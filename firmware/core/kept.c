/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Rule: a reset may come between any two instructions, and leaves the old state or the new one.
 *
 * There are two copies. A commit writes over the older one only: takes its magic away, writes the state, its generation
 * and its CRC, and at last its magic. Until that last store the newer copy is the one a reset finds; from then on it
 * is the new one, which has the higher generation. Each store is of one word, which the hardware does not divide, and
 * volatile, so that the compiler keeps their order; a Cortex-M completes its own stores in order before its reset.
 *
 * The CRC is against memory that power loss has spoilt and that shows a magic by bad luck.
 *
 * All that one event changes is committed at once, and before anything about it leaves the board. So a press is in the
 * outbox before it beeps; a bridge's line is marked as taken together with what it changed and before its `a`; and a
 * line that has arrived leaves the outbox together with the step of the number.
 */
#include "kept.h"

#include <stddef.h>

#include "crc32.h"
#include "survive.h"

/* A program with another layout must not read this one's. */
#define MAGIC (0x42495453u ^ (uint32_t)sizeof(struct kept))

_Static_assert(sizeof(struct kept) % 4 == 0, "it is copied by words");
_Static_assert(sizeof(struct outbox) == 4 + OUTBOX_MAX * 12, "no hidden bytes");
_Static_assert(offsetof(struct kept, outbox) == 32 + MESSAGE_MAX, "no hidden bytes");

struct kept_copy kept_memory[2] SURVIVES;
struct kept kept;

static uint32_t generation; /* of the newest copy, which is kept_memory[generation & 1] */

static uint32_t checksum(const struct kept_copy *copy)
{
    return crc32(crc32(0, &copy->generation, sizeof copy->generation), &copy->state, sizeof copy->state);
}

static bool valid(unsigned i)
{
    const struct kept_copy *copy = &kept_memory[i];

    return copy->magic == MAGIC && (copy->generation & 1) == i && copy->crc == checksum(copy);
}

bool kept_load(void)
{
    bool even = valid(0), odd = valid(1);
    const struct kept_copy *newest = &kept_memory[even ? 0 : 1];

    if (even && odd && (int32_t)(kept_memory[1].generation - kept_memory[0].generation) > 0)
        newest = &kept_memory[1];
    if (even || odd) {
        generation = newest->generation;
        kept = newest->state;
        return true;
    }
    generation = 0;
    kept = (struct kept){.number = 1, .status = STATUS_UNKNOWN, .told = STATUS_UNKNOWN};
    return false;
}

void kept_commit(void)
{
    uint32_t next = generation + 1;
    struct kept_copy *copy = &kept_memory[next & 1];
    uint32_t *to = (uint32_t *)(void *)&copy->state;
    const uint32_t *from = (const uint32_t *)(const void *)&kept;

    SURVIVE_STORE(&copy->magic, 0);
    for (size_t i = 0; i < sizeof kept / 4; i++)
        SURVIVE_STORE(&to[i], from[i]);
    SURVIVE_STORE(&copy->generation, next);
    SURVIVE_STORE(&copy->crc, checksum(copy));
    SURVIVE_STORE(&copy->magic, MAGIC);
    generation = next;
}
