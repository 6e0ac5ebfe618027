/* SPDX-License-Identifier: GPL-3.0-or-later */
/* The milliseconds that all of the board counts in, by subtraction. They go on after a reset. */
#ifndef UPTIME_H
#define UPTIME_H

#include <stdint.h>

/* Find the milliseconds again that the last life had counted, or begin at 0. Before the first tick. */
void uptime_start(void);

/* One more has passed; from the timer's interrupt. */
void uptime_tick(void);

uint32_t uptime_ms(void);

/* The memory that survives: for tests. */
struct uptime_copy {
    uint32_t ms, inverse;
};
extern struct uptime_copy uptime_memory[2];

#endif
