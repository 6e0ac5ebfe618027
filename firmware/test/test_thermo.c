/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "check.h"
#include "thermo.h"

static struct thermo thermo;

static uint16_t raw_of(int tenths)
{
    return (uint16_t)(((tenths + 500) * 4095 + 1650) / 3300);
}

static void read(uint16_t raw, unsigned noise, unsigned seed)
{
    bool finished = false;

    for (unsigned i = 0; i < THERMO_SAMPLES; i++) {
        CHECK(!finished);
        finished = thermo_sample(&thermo, (uint16_t)(raw + (noise ? draw(&seed, 2 * noise + 1) - noise : 0)));
    }
    CHECK(finished);
}

static void test_values(void)
{
    for (int tenths = -399; tenths <= 1249; tenths++) {
        read(raw_of(tenths), 0, 1);
        CHECK(abs(thermo.tenths - tenths) <= 1, "%d: %d", tenths, thermo.tenths);
    }
    read(887, 0, 1); /* 714.8 mV */
    CHECK(thermo.tenths == 215);
    read(608, 0, 1); /* 490.0 mV */
    CHECK(thermo.tenths == -10);
}

static void test_noise_is_averaged(void)
{
    for (unsigned seed = 1; seed < 200; seed++) {
        read(raw_of(215), 6, seed); /* half a degree up and down */
        CHECK(abs(thermo.tenths - 215) <= 2, "%d", thermo.tenths);
    }
}

static void test_range(void)
{
    static const uint16_t bad[] = {0, 123, 2172, 4095};

    for (unsigned i = 0; i < 4; i++) {
        read(bad[i], 0, 1);
        CHECK(thermo.tenths == THERMO_NONE, "%u", bad[i]);
        CHECK(!thermo_is_news(&thermo, i));
    }
    read(raw_of(215), 0, 1);
    CHECK(thermo.tenths == 215);
    for (unsigned i = 0; i < THERMO_SAMPLES; i++) /* a few bad ones are left out */
        thermo_sample(&thermo, i % 4 ? raw_of(215) : 4095);
    CHECK(thermo.tenths == 215);
    for (unsigned i = 0; i < THERMO_SAMPLES; i++) /* a loose wire */
        thermo_sample(&thermo, i % 3 ? raw_of(215) : 4095);
    CHECK(thermo.tenths == THERMO_NONE);
}

static void test_news(void)
{
    uint32_t now_ms = UINT32_MAX - 1000;

    thermo_start(&thermo);
    CHECK(!thermo_is_news(&thermo, now_ms));
    thermo.tenths = 0;
    CHECK(thermo_is_news(&thermo, now_ms)); /* the first */
    thermo_sent(&thermo, now_ms);
    CHECK(!thermo_is_news(&thermo, now_ms));
    thermo.tenths = 1;
    CHECK(!thermo_is_news(&thermo, now_ms + THERMO_NEWS_MS - 1));
    CHECK(thermo_is_news(&thermo, now_ms + THERMO_NEWS_MS));
    thermo.tenths = 2;
    CHECK(thermo_is_news(&thermo, now_ms));
    thermo.tenths = -2;
    CHECK(thermo_is_news(&thermo, now_ms));
}

int main(void)
{
    thermo_start(&thermo);
    test_values();
    test_noise_is_averaged();
    test_range();
    test_news();
    return passed(__FILE__);
}
