/* SPDX-License-Identifier: GPL-3.0-or-later */
/* The driver against a display made of a few lines: it minds the time each instruction takes. */
#include "check.h"
#include "hd44780.h"

static struct {
    char ram[128];
    uint8_t address, high;
    bool four_bits, half, on;
    unsigned bytes;          /* in this millisecond */
    uint32_t busy_until_ms;
} lcd;
static uint32_t now_ms = UINT32_MAX - 100;

static void take(bool data, uint8_t byte)
{
    CHECK((int32_t)(now_ms - lcd.busy_until_ms) >= 0, "too early for %02x", byte);
    lcd.bytes++;
    if (data) {
        lcd.ram[lcd.address] = (char)byte;
        lcd.address = lcd.address == 0x27 ? 0x40 : lcd.address == 0x67 ? 0 : (uint8_t)(lcd.address + 1);
    } else if (byte & 0x80) {
        lcd.address = byte & 0x7f;
    } else if (byte == 0x01) {
        memset(lcd.ram, ' ', sizeof lcd.ram);
        lcd.address = 0;
        lcd.busy_until_ms = now_ms + 2;
    } else if ((byte & 0xf8) == 0x08) {
        lcd.on = byte & 4;
    } else {
        CHECK(byte == 0x06 || byte == 0x28, "%02x", byte);
    }
}

void hd44780_nibble(bool data, uint8_t bits)
{
    CHECK(bits < 16);
    if (!lcd.four_bits) {
        CHECK(!data && (bits == 3 || bits == 2));
        CHECK((int32_t)(now_ms - lcd.busy_until_ms) >= 0);
        lcd.busy_until_ms = now_ms + (bits == 3 ? 1 : 0);
        lcd.four_bits = bits == 2;
    } else if (lcd.half) {
        lcd.half = false;
        take(data, (uint8_t)(lcd.high << 4 | bits));
    } else {
        lcd.half = true;
        lcd.high = bits;
    }
}

static void run(unsigned ms)
{
    for (unsigned i = 0; i < 3 * ms; i++) {
        if (i % 3 == 0) {
            now_ms++;
            lcd.bytes = 0;
        }
        hd44780_step(now_ms);
        CHECK(lcd.bytes <= 1);
    }
}

static void check_row(unsigned row, const char *wanted)
{
    static const uint8_t addresses[] = {0x00, 0x40, 0x14, 0x54};

    CHECK(!memcmp(lcd.ram + addresses[row], wanted, 20), "%.20s", lcd.ram + addresses[row]);
}

int main(void)
{
    memset(lcd.ram, 'x', sizeof lcd.ram);
    lcd.busy_until_ms = now_ms + 40; /* the supply rises */
    hd44780_start(now_ms);
    run(100);
    CHECK(lcd.on && lcd.four_bits);
    check_row(0, "                    ");
    hd44780_row(0, "Open           14:05");
    hd44780_row(1, " 21.5 C    --.- C   ");
    hd44780_row(2, "Pizza at eight, thou");
    hd44780_row(3, "link down, 2 queued ");
    run(100);
    check_row(0, "Open           14:05");
    check_row(1, " 21.5 C    --.- C   ");
    check_row(2, "Pizza at eight, thou");
    check_row(3, "link down, 2 queued ");
    hd44780_row(0, "Open           14:06");
    run(4); /* only what has changed is written */
    check_row(0, "Open           14:06");
    for (unsigned i = 0; i < 500; i++) {
        char row[21] = "abcdefghijklmnopqrst";

        row[i % 20] = (char)('A' + i % 26);
        hd44780_row(i % 4, row);
        run(1);
    }
    hd44780_row(2, "the end             ");
    run(200);
    check_row(2, "the end             ");
    return passed(__FILE__);
}
