/* SPDX-License-Identifier: GPL-3.0-or-later */
/* What must not be forgotten by a reset: the session, the outbox, what was taken from the bridge, what is shown. */
#ifndef KEPT_H
#define KEPT_H

#include <stdbool.h>
#include <stdint.h>

#include "outbox.h"

#define MESSAGE_MAX 360u /* characters: 240 bytes of UTF-8, none of which folds to more than half again as many */

enum status { STATUS_CLOSED, STATUS_OPEN, STATUS_AWAY, STATUS_UNKNOWN = 255 };

struct kept {
    uint32_t sid;          /* our session; 0: none yet */
    uint32_t number;       /* of the oldest line in the outbox, or else of the next one */
    uint32_t taken_sid;    /* the last line taken from the bridge; 0: none */
    uint32_t taken_n;
    uint32_t clock_s;      /* local time, seconds since 1970, as it was at clock_at_ms */
    uint32_t clock_at_ms;
    uint8_t clock_known;
    uint8_t server_down;   /* as told by `server` */
    uint8_t status;        /* as shown */
    uint8_t told;          /* told by the bridge while our own was on the way; STATUS_UNKNOWN: nothing */
    uint16_t message_length;
    uint8_t unused[2];     /* no hidden bytes: the whole stands under a checksum */
    char message[MESSAGE_MAX]; /* folded; no NUL */
    struct outbox outbox;
};

/* The copy to work on. Changes count only once they are committed. */
extern struct kept kept;

/* Take up what the last life committed. False: there is none, `kept` begins anew. */
bool kept_load(void);

/* Make `kept` what a reset will find. Before this returns, a reset finds the state of the last commit, whole. */
void kept_commit(void);

/* The memory that survives: for tests. */
struct kept_copy {
    uint32_t magic; /* written last: a copy without it is unfinished */
    uint32_t generation;
    uint32_t crc;   /* of the generation and the state */
    struct kept state;
};
extern struct kept_copy kept_memory[2];

#endif
