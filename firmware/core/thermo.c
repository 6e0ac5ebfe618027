/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "thermo.h"

/* A TMP36: 500 mV at 0 °C, 10 mV a degree, so one millivolt is a tenth. The converter's 4095 is 3300 mV. */
enum { FULL_MV = 3300, FULL_RAW = 4095, ZERO_MV = 500 };

/* Its own range is -40 to 125 °C, 100 to 1750 mV. Below: shorted, or no supply. Above: open, and pulled up. */
enum { LEAST_RAW = 100 * FULL_RAW / FULL_MV, MOST_RAW = 1750 * FULL_RAW / FULL_MV };

void thermo_start(struct thermo *thermo)
{
    *thermo = (struct thermo){.tenths = THERMO_NONE};
}

bool thermo_sample(struct thermo *thermo, uint16_t raw)
{
    uint32_t full;

    if (raw < LEAST_RAW || raw > MOST_RAW) {
        thermo->bad++;
    } else {
        thermo->sum += raw;
        thermo->good++;
    }
    if (thermo->good + thermo->bad < (int)THERMO_SAMPLES)
        return false;
    full = (uint32_t)thermo->good * FULL_RAW;
    if (thermo->bad > THERMO_BAD_SAMPLES)
        thermo->tenths = THERMO_NONE;
    else
        thermo->tenths = (int16_t)((int32_t)((thermo->sum * FULL_MV + full / 2) / full) - ZERO_MV);
    thermo->sum = 0;
    thermo->good = thermo->bad = 0;
    return true;
}

bool thermo_is_news(const struct thermo *thermo, uint32_t now_ms)
{
    int change = thermo->tenths - thermo->sent_tenths;

    if (thermo->tenths == THERMO_NONE)
        return false;
    return !thermo->was_sent || change >= THERMO_NEWS_TENTHS || change <= -THERMO_NEWS_TENTHS
           || now_ms - thermo->sent_ms >= THERMO_NEWS_MS;
}

void thermo_sent(struct thermo *thermo, uint32_t now_ms)
{
    thermo->was_sent = true;
    thermo->sent_tenths = thermo->tenths;
    thermo->sent_ms = now_ms;
}
