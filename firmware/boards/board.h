/* SPDX-License-Identifier: GPL-3.0-or-later */
/* What a board is to the program. Nothing here waits. */
#ifndef BOARD_H
#define BOARD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum boot { BOOT_COLD, BOOT_WARM, BOOT_WATCHDOG };

void board_init(void);
void board_poll(uint32_t now_ms); /* chores that are too slow for an interrupt; called from the loop, often */
void board_idle(void);            /* sleep until something happens, a millisecond at most */

bool board_bitten(void);          /* the last reset was the watchdog's */
void board_feed(void);            /* the watchdog */
void board_booted(enum boot boot);

int board_uart_read(void);        /* a byte, or -1 */
bool board_uart_write(const char *bytes, size_t count); /* all or nothing */

bool board_button(void);          /* pressed, as the contacts say */
char board_key(void);             /* the key that is down, as the contacts say, or 0 */
uint16_t board_adc(unsigned sensor); /* 0 to 4095 */

void board_lcd(unsigned row, const char *text); /* 20 characters, for as long as the call lasts */
void board_led(bool on);
void board_tone(unsigned hz, unsigned ms); /* instead of the one that sounds; 0 Hz: silence */

#endif
