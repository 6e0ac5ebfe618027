/* SPDX-License-Identifier: GPL-3.0-or-later */
/* A display with an HD44780, 4 bits wide, write only. At most one byte a millisecond, so that nothing ever waits for it
   (the slowest instruction takes 1.5 ms and is used once; all others take 40 us). */
#ifndef HD44780_H
#define HD44780_H

#include <stdbool.h>
#include <stdint.h>

void hd44780_start(uint32_t now_ms);
void hd44780_row(unsigned row, const char *text); /* 20 characters */
void hd44780_step(uint32_t now_ms);               /* call often */

/* The board's: put four bits on the pins and pulse E, high for 450 ns at least. `data`: the level of RS. */
void hd44780_nibble(bool data, uint8_t bits);

#endif
