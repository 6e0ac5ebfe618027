/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "hd44780.h"

#include "timer.h"

enum { LINES = 4, WIDTH = 20 };

/* The data sheet's initialisation by instruction, figure 24: nibbles first, whole bytes from the fifth on. */
static const struct {
    uint8_t byte, wait_ms;
} script[] = {
    {0x3, 5}, {0x3, 1}, {0x3, 1}, {0x2, 1}, /* whatever it was in: 8 bits, then 4 bits wide */
    {0x28, 1},                              /* two lines by its count, which are four of ours */
    {0x08, 1},                              /* off */
    {0x01, 3},                              /* clear */
    {0x06, 1},                              /* write to the right */
    {0x0c, 1},                              /* on, no cursor */
};
enum { NIBBLES = 4, STEPS = sizeof script / sizeof *script };

static char wanted[LINES][WIDTH], shown[LINES][WIDTH];
static uint8_t step;   /* of the script */
static uint8_t place;  /* where to look next for a difference */
static uint8_t cursor; /* where the display would write next; LINES * WIDTH: elsewhere */
static uint32_t due_ms;

static void write(bool data, uint8_t byte)
{
    hd44780_nibble(data, byte >> 4);
    hd44780_nibble(data, byte & 15);
}

void hd44780_start(uint32_t now_ms)
{
    for (unsigned i = 0; i < LINES; i++)
        for (unsigned j = 0; j < WIDTH; j++)
            wanted[i][j] = shown[i][j] = ' ';
    step = place = 0;
    cursor = LINES * WIDTH;
    due_ms = now_ms + 50; /* after the supply has risen */
}

void hd44780_row(unsigned row, const char *text)
{
    for (unsigned i = 0; i < WIDTH; i++)
        wanted[row][i] = text[i];
}

static void show_next(void)
{
    static const uint8_t addresses[LINES] = {0x00, 0x40, 0x14, 0x54};
    unsigned row, column;

    for (unsigned looked = 0; wanted[place / WIDTH][place % WIDTH] == shown[place / WIDTH][place % WIDTH]; looked++) {
        if (looked == LINES * WIDTH)
            return;
        place = (uint8_t)((place + 1) % (LINES * WIDTH));
    }
    row = place / WIDTH;
    column = place % WIDTH;
    if (cursor != place) {
        write(false, (uint8_t)(0x80 | (addresses[row] + column)));
        cursor = place;
        return;
    }
    write(true, (uint8_t)wanted[row][column]);
    shown[row][column] = wanted[row][column];
    cursor = column + 1 < WIDTH ? (uint8_t)(place + 1) : LINES * WIDTH;
}

void hd44780_step(uint32_t now_ms)
{
    if (!is_due(due_ms, now_ms))
        return;
    due_ms = now_ms + 1;
    if (step == STEPS) {
        show_next();
        return;
    }
    if (step < NIBBLES)
        hd44780_nibble(false, script[step].byte);
    else
        write(false, script[step].byte);
    due_ms = now_ms + script[step].wait_ms + 1; /* one more: now_ms may be at its end */
    step++;
}
