/* SPDX-License-Identifier: GPL-3.0-or-later */
/* The display's page: 4 rows of 20 characters, drawn from what there is to show.
 *
 *     Open       14:05     status and clock
 *      21.5 C    --.- C    thermometers
 *     Pizza at eight, tho  the last message, scrolled
 *     link down, 2 queued  what was just done, what is being typed, trouble, or the date
 */
#ifndef SCREEN_H
#define SCREEN_H

#include <stdbool.h>
#include <stdint.h>

#include "thermo.h"

#define ROWS 4u
#define COLUMNS 20u
#define SCROLL_GAP 4u /* spaces between the end of a message and its beginning */

struct view {
    uint8_t status;
    bool clock_known;
    uint32_t clock_s;
    int16_t tenths[SENSORS];
    const char *message;
    uint16_t message_length;
    uint16_t scroll; /* the first character that is shown, if it is too long for the row */
    const char *note; /* NULL: none */
    const char *digits;
    uint8_t digit_count;
    bool link_down;
    uint8_t waiting; /* lines in the outbox */
};

void screen_draw(const struct view *view, char rows[ROWS][COLUMNS]);

/* Where to scroll to from `scroll`. */
uint16_t screen_scrolled(uint16_t scroll, uint16_t message_length);

#endif
