/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "check.h"
#include "kept.h"
#include "screen.h"
#include "sound.h"

static struct view view = {.status = STATUS_UNKNOWN, .tenths = {THERMO_NONE, THERMO_NONE}, .message = ""};

static void check_row(unsigned row, const char *wanted)
{
    char rows[ROWS][COLUMNS];

    CHECK(strlen(wanted) == COLUMNS, "%s", wanted);
    screen_draw(&view, rows);
    CHECK(!memcmp(rows[row], wanted, COLUMNS), "%.20s", rows[row]);
}

static void test_status_and_clock(void)
{
    check_row(0, "Unknown             ");
    view.status = STATUS_OPEN;
    view.clock_known = true;
    view.clock_s = 1764041100; /* 2025-11-25 03:25, a Tuesday */
    check_row(0, "Open           03:25");
    check_row(3, "Tue 25 Nov 2025     ");
    view.clock_s = 951782399; /* 2000-02-28 23:59:59, a Monday */
    check_row(3, "Mon 28 Feb 2000     ");
    view.clock_s++;
    check_row(3, "Tue 29 Feb 2000     ");
    view.clock_s = UINT32_MAX;
    check_row(0, "Open           06:28");
    check_row(3, "Sun 7 Feb 2106      ");
    view.clock_s = 0;
    check_row(3, "Thu 1 Jan 1970      ");
    view.status = STATUS_CLOSED;
    check_row(0, "Closed         00:00");
    view.status = STATUS_AWAY;
    check_row(0, "Away           00:00");
}

static void test_temperatures(void)
{
    check_row(1, " --.- C    --.- C   ");
    view.tenths[0] = 215;
    view.tenths[1] = -5;
    check_row(1, " 21.5 C    -0.5 C   ");
    view.tenths[0] = 1250;
    view.tenths[1] = -400;
    check_row(1, "125.0 C   -40.0 C   ");
}

static void test_message(void)
{
    check_row(2, "                    ");
    view.message = "Twenty characters ok";
    view.message_length = 20;
    view.scroll = 7;
    check_row(2, "Twenty characters ok");
    CHECK(screen_scrolled(7, 20) == 0);
    view.message = "Twenty-one characters";
    view.message_length = 21;
    view.scroll = 0;
    check_row(2, "Twenty-one character");
    view.scroll = screen_scrolled(0, 21);
    check_row(2, "wenty-one characters");
    view.scroll = screen_scrolled(20, 21);
    check_row(2, "    Twenty-one chara");
    CHECK(screen_scrolled(24, 21) == 0);
}

static void test_last_row(void)
{
    view.waiting = 2;
    check_row(3, "2 queued            ");
    view.link_down = true;
    check_row(3, "link down, 2 queued ");
    view.waiting = OUTBOX_MAX;
    check_row(3, "link down, 32 queued");
    view.waiting = 0;
    check_row(3, "link down           ");
    view.digits = "123456";
    view.digit_count = 6;
    check_row(3, "Number: 123456_     ");
    view.note = "Welcome";
    check_row(3, "Welcome             ");
}

static void test_sounds(void)
{
    struct player player = {0};
    struct note note;

    CHECK(sound_tick(&player, 0).ms == 0);
    for (unsigned sound = 0; sound < SOUNDS; sound++) {
        uint32_t now_ms = UINT32_MAX - 100;
        unsigned notes = 0;

        sound_play(&player, sound, now_ms);
        for (unsigned i = 0; i < 5000; i++, now_ms++)
            notes += sound_tick(&player, now_ms).ms > 0;
        CHECK(notes >= 1 && notes < 6, "sound %u", sound);
        CHECK(!player.next);
    }
    sound_play(&player, SOUND_OPEN, 0);
    CHECK(sound_tick(&player, 0).hz == 1000);
    CHECK(sound_tick(&player, 79).ms == 0);
    note = sound_tick(&player, 80);
    CHECK(note.hz == 1500 && note.ms == 120);
    sound_play(&player, SOUND_ERROR, 90); /* instead */
    CHECK(sound_tick(&player, 90).hz == 200);
}

int main(void)
{
    test_status_and_clock();
    test_temperatures();
    test_message();
    test_last_row();
    test_sounds();
    return passed(__FILE__);
}
