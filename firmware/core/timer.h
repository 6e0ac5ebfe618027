/* SPDX-License-Identifier: GPL-3.0-or-later */
/* All the scheduling there is: the tasks run in a loop, and each asks whether it is its time. */
#ifndef TIMER_H
#define TIMER_H

#include <stdbool.h>
#include <stdint.h>

struct timer {
    uint32_t due_ms;
};

static inline bool is_due(uint32_t due_ms, uint32_t now_ms)
{
    return (int32_t)(now_ms - due_ms) >= 0;
}

/* True once a period. A loop that was held up does not make up for what it missed. */
static inline bool timer_every(struct timer *timer, uint32_t period_ms, uint32_t now_ms)
{
    if (!is_due(timer->due_ms, now_ms))
        return false;
    timer->due_ms = now_ms + period_ms;
    return true;
}

#endif
