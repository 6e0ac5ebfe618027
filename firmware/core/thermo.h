/* SPDX-License-Identifier: GPL-3.0-or-later */
/* A thermometer: what the converter reads, averaged, checked, in tenths of a degree Celsius. */
#ifndef THERMO_H
#define THERMO_H

#include <stdbool.h>
#include <stdint.h>

#define SENSORS 2u
#define THERMO_SAMPLE_MS 20u
#define THERMO_SAMPLES 32u       /* one reading of 640 ms: whole periods of the mains, 50 or 60 Hz nearly */
#define THERMO_BAD_SAMPLES 8u    /* more than so many out of range: the reading is none */
#define THERMO_NEWS_TENTHS 2
#define THERMO_NEWS_MS 300000u   /* unchanged for so long: say so */
#define THERMO_NONE INT16_MIN    /* 0x8000, as in the register TEMP */

struct thermo {
    uint32_t sum;
    uint8_t good, bad; /* samples of the reading that is being made */
    bool was_sent;
    int16_t tenths;    /* the last reading, or THERMO_NONE */
    int16_t sent_tenths;
    uint32_t sent_ms;
};

void thermo_start(struct thermo *thermo);

/* Take what the converter reads, 0 to 4095. True: there is a new reading. */
bool thermo_sample(struct thermo *thermo, uint16_t raw);

/* Whether the reading is to be sent: there is one, and it differs enough from the last one sent, or that is old. */
bool thermo_is_news(const struct thermo *thermo, uint32_t now_ms);

void thermo_sent(struct thermo *thermo, uint32_t now_ms);

#endif
