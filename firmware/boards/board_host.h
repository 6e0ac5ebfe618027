/* SPDX-License-Identifier: GPL-3.0-or-later */
/* The board that tests run on: every pin is a variable. */
#ifndef BOARD_HOST_H
#define BOARD_HOST_H

#include <setjmp.h>

#include "board.h"
#include "thermo.h"

enum { HOST_BYTES = 65536, HOST_TONES = 256 };

struct host {
    bool button, led, bitten;
    char key;
    uint16_t adc[SENSORS];
    char rows[4][21];
    struct {
        unsigned hz, ms;
    } tones[HOST_TONES];
    unsigned tone_count, fed;
    enum boot boot;
    uint8_t in[HOST_BYTES], out[HOST_BYTES]; /* of the UART */
    size_t in_count, in_taken, out_count;
    bool deaf; /* the UART has no room to send */
};

extern struct host host;

void host_power_on(void);            /* with a memory full of noise */
void host_reset(void);               /* memory survives */
void host_run(unsigned ms);          /* rounds of the loop, one a millisecond */
void host_send(const char *bytes, size_t count);
bool host_tone(unsigned hz);         /* was it heard? Forgets all that was heard until then. */

/* A reset between two stores: after so many more into the memory that survives, jump. -1: never. */
extern long host_stores_left;
extern jmp_buf host_cut;

#endif
