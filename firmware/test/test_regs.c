/* SPDX-License-Identifier: GPL-3.0-or-later */
/* The registers as a master sees them, with the hardware's habit of asking for a byte too many. */
#include "check.h"
#include "regs.h"
#include "thermo.h"

static struct regs regs;
static uint32_t now_ms;

/* Read as the bus does: one byte more is asked for than goes out, and given back. */
static void bus_read(uint8_t reg, uint8_t *to, size_t count, bool ahead)
{
    regs_addressed(&regs, false, now_ms);
    regs_written(&regs, reg);
    regs_addressed(&regs, true, now_ms); /* repeated start */
    while (count--)
        *to++ = regs_read(&regs);
    if (ahead) {
        regs_read(&regs);
        regs_unread(&regs);
    }
    regs_stopped(&regs);
}

static uint8_t read_one(uint8_t reg)
{
    uint8_t byte;

    bus_read(reg, &byte, 1, true);
    return byte;
}

static void bus_write(uint8_t reg, const char *bytes, size_t count)
{
    regs_addressed(&regs, false, now_ms);
    regs_written(&regs, reg);
    while (count--)
        regs_written(&regs, (uint8_t)*bytes++);
    regs_stopped(&regs);
}

static void test_registers(void)
{
    uint8_t bytes[8];

    bus_read(REG_ID, bytes, 8, false);
    CHECK(!memcmp(bytes, "\xb1\x01\x00\xff\xff\x80\x00\x00", 8));
    regs_show(&regs, 1, -5);
    bus_read(REG_STATUS, bytes, 3, true);
    CHECK(bytes[0] == 1 && bytes[1] == 0xff && bytes[2] == 0xfb);
    bus_read(REG_TEMP, bytes, 1, false);
    CHECK(read_one(0x77) == 0 && read_one(0xff) == 0);
    bus_write(REG_ID, "x", 1);
    bus_write(REG_STATUS, "x", 1);
    CHECK(read_one(REG_ID) == REGS_ID && read_one(REG_STATUS) == 1);
}

/* The two bytes of a temperature belong together, even when it changes in between. */
static void test_temperature_is_whole(void)
{
    uint8_t high, low;

    regs_show(&regs, 1, 0x0100);
    regs_addressed(&regs, false, now_ms);
    regs_written(&regs, REG_TEMP);
    regs_addressed(&regs, true, now_ms);
    high = regs_read(&regs);
    regs_show(&regs, 1, 0x00ff);
    low = regs_read(&regs);
    regs_stopped(&regs);
    CHECK(high == 0x01 && low == 0x00);
}

static void test_data_out(void)
{
    uint8_t bytes[300];
    char long_one[256] = {0};

    CHECK(read_one(REG_WAITING) == 0);
    CHECK(read_one(REG_DATA) == 0);
    CHECK(regs_put(&regs, "abcdef", 6));
    CHECK(read_one(REG_WAITING) == 6);
    bus_read(REG_DATA, bytes, 2, true);
    CHECK(!memcmp(bytes, "ab", 2));
    CHECK(read_one(REG_WAITING) == 4); /* the one read ahead is still there */
    bus_read(REG_DATA, bytes, 1, false);
    CHECK(bytes[0] == 'c');
    bus_read(REG_DATA, bytes, 5, true);
    CHECK(!memcmp(bytes, "def\0\0", 5));
    CHECK(!regs_put(&regs, long_one, 256));
    CHECK(regs_put(&regs, long_one, 255));
    CHECK(!regs_put(&regs, "x", 1));
    CHECK(read_one(REG_WAITING) == 255);
    bus_read(REG_DATA, bytes, 255, true);
    CHECK(read_one(REG_WAITING) == 0);
}

static void test_data_in(void)
{
    char bytes[300];

    memset(bytes, 'x', sizeof bytes);
    bus_write(REG_DATA, "hello\n", 6);
    CHECK(read_one(REG_ROOM) == 249);
    for (const char *wanted = "hello\n"; *wanted; wanted++)
        CHECK(regs_take(&regs) == *wanted);
    CHECK(regs_take(&regs) == -1);
    bus_write(REG_DATA, bytes, 300); /* beyond ROOM: dropped */
    CHECK(read_one(REG_ROOM) == 0);
    for (unsigned i = 0; i < 255; i++)
        CHECK(regs_take(&regs) == 'x');
    CHECK(regs_take(&regs) == -1);
}

static void test_master_goes_and_comes(void)
{
    CHECK(regs_put(&regs, "stale", 5));
    CHECK(regs_master_is_there(&regs, now_ms + REGS_GONE_MS - 1));
    CHECK(!regs_master_is_there(&regs, now_ms + REGS_GONE_MS));
    CHECK(!regs_master_is_there(&regs, now_ms)); /* not even when the count begins anew */
    now_ms += 5000;
    CHECK(read_one(REG_WAITING) == 0);
    CHECK(regs_master_is_there(&regs, now_ms));
}

int main(void)
{
    regs_start(&regs);
    CHECK(!regs_master_is_there(&regs, 0));
    now_ms = UINT32_MAX - 100;
    test_registers();
    test_temperature_is_whole();
    test_data_out();
    test_data_in();
    test_master_goes_and_comes();
    return passed(__FILE__);
}
