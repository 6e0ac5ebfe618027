/* SPDX-License-Identifier: GPL-3.0-or-later */
/* The program: what the parts do together. */
#ifndef APP_H
#define APP_H

#include <stdint.h>

#include "frame.h"

void app_start(void); /* after board_init() and uptime_start() */
void app_step(void);  /* one round of the loop */

/* What came over the wires and was no frame, by reason: for tests and a debugger. */
extern uint32_t app_noise[NOISE_REASONS];

#endif
