/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "uptime.h"

#include <stdbool.h>

#include "survive.h"

/* Written in turn, each with its own check, so that a reset between the two words of one leaves the other, which is
   one millisecond older. The time that the reset itself takes is not counted. */
struct uptime_copy uptime_memory[2] SURVIVES;

static volatile uint32_t now_ms;

static bool valid(const struct uptime_copy *copy)
{
    return copy->ms == ~copy->inverse;
}

void uptime_start(void)
{
    const struct uptime_copy *a = &uptime_memory[0], *b = &uptime_memory[1];

    if (valid(a) && valid(b))
        now_ms = (int32_t)(a->ms - b->ms) > 0 ? a->ms : b->ms;
    else
        now_ms = valid(a) ? a->ms : valid(b) ? b->ms : 0;
}

void uptime_tick(void)
{
    uint32_t ms = now_ms + 1;
    struct uptime_copy *copy = &uptime_memory[ms & 1];

    SURVIVE_STORE(&copy->ms, ms);
    SURVIVE_STORE(&copy->inverse, ~ms);
    now_ms = ms;
}

uint32_t uptime_ms(void)
{
    return now_ms;
}
