/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Memory that the startup code neither clears nor fills: it survives any reset but a loss of power. */
#ifndef SURVIVE_H
#define SURVIVE_H

#define SURVIVES __attribute__((section(".noinit")))

/* One store that the compiler neither leaves out nor moves. The tests put their own in its place, to cut between
   two. */
#ifndef SURVIVE_STORE
#define SURVIVE_STORE(place, value) (*(volatile uint32_t *)(place) = (value))
#endif

#endif
