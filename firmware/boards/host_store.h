/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Included before everything else where tests are built: the store into surviving memory that can be cut. */
#ifndef HOST_STORE_H
#define HOST_STORE_H

#include <stdint.h>

void host_store(volatile uint32_t *place, uint32_t value);
#define SURVIVE_STORE(place, value) host_store((volatile uint32_t *)(place), (value))

#endif
