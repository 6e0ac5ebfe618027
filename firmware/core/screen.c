/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "screen.h"

#include "kept.h"
#include "text.h"

static const char *status_word(uint8_t status)
{
    switch (status) {
    case STATUS_CLOSED:
        return "Closed";
    case STATUS_OPEN:
        return "Open";
    case STATUS_AWAY:
        return "Away";
    default:
        return "Unknown";
    }
}

static void draw_clock(char *to, uint32_t clock_s)
{
    to = text_put_padded(to, clock_s / 3600 % 24, 2);
    *to++ = ':';
    text_put_padded(to, clock_s / 60 % 60, 2);
}

static bool is_leap(uint32_t year)
{
    return year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
}

static void draw_date(char *to, uint32_t clock_s)
{
    static const char weekdays[] = "ThuFriSatSunMonTueWed"; /* 1970 began on a Thursday */
    static const char months[] = "JanFebMarAprMayJunJulAugSepOctNovDec";
    static const uint8_t lengths[] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
    uint32_t days = clock_s / 86400, year = 1970, month = 0;

    for (unsigned i = 0; i < 3; i++)
        to[i] = weekdays[days % 7 * 3 + i];
    for (; days >= (is_leap(year) ? 366u : 365u); year++)
        days -= is_leap(year) ? 366 : 365;
    for (; days >= lengths[month] + (month == 1 && is_leap(year) ? 1u : 0u); month++)
        days -= lengths[month] + (month == 1 && is_leap(year) ? 1u : 0u);
    to += 4;
    to = text_put_number(to, days + 1) + 1;
    for (unsigned i = 0; i < 3; i++)
        *to++ = months[month * 3 + i];
    text_put_number(to + 1, year);
}

static void draw_temperature(char *to, int16_t tenths)
{
    char number[8];
    char *end = tenths == THERMO_NONE ? text_put(number, "--.-") : text_put_tenths(number, tenths);
    unsigned length = (unsigned)(end - number);

    for (unsigned i = 0; i < length; i++)
        to[5 - length + i] = number[i]; /* to the right: the points stand still */
    text_put(to + 5, " C");
}

static void draw_message(char *to, const struct view *view)
{
    unsigned length = view->message_length;

    for (unsigned i = 0; i < COLUMNS; i++) {
        unsigned at = length <= COLUMNS ? i : (view->scroll + i) % (length + SCROLL_GAP);

        if (at < length)
            to[i] = view->message[at];
    }
}

static void draw_note(char *to, const struct view *view)
{
    if (view->note) {
        text_put(to, view->note);
    } else if (view->digit_count) {
        to = text_put(to, "Number: ");
        for (unsigned i = 0; i < view->digit_count; i++)
            *to++ = view->digits[i];
        *to = '_';
    } else if (view->link_down) {
        to = text_put(to, "link down");
        if (view->waiting) {
            to = text_put_number(text_put(to, ", "), view->waiting);
            text_put(to, " queued"); /* 20 with two digits, and there are at most 32 */
        }
    } else if (view->waiting) {
        text_put(text_put_number(to, view->waiting), " queued");
    } else if (view->clock_known) {
        draw_date(to, view->clock_s);
    }
}

void screen_draw(const struct view *view, char rows[ROWS][COLUMNS])
{
    for (unsigned i = 0; i < ROWS; i++)
        for (unsigned j = 0; j < COLUMNS; j++)
            rows[i][j] = ' ';
    text_put(rows[0], status_word(view->status));
    if (view->clock_known)
        draw_clock(rows[0] + COLUMNS - 5, view->clock_s);
    for (unsigned i = 0; i < SENSORS; i++)
        draw_temperature(rows[1] + i * 10, view->tenths[i]);
    draw_message(rows[2], view);
    draw_note(rows[3], view);
}

uint16_t screen_scrolled(uint16_t scroll, uint16_t message_length)
{
    return message_length <= COLUMNS ? 0 : (uint16_t)((scroll + 1u) % (message_length + SCROLL_GAP));
}
