/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "app.h"

#include <stdbool.h>
#include <string.h>

#include "board.h"
#include "button.h"
#include "fold.h"
#include "kept.h"
#include "keypad.h"
#include "link.h"
#include "order.h"
#include "regs.h"
#include "screen.h"
#include "sound.h"
#include "text.h"
#include "thermo.h"
#include "timer.h"
#include "uptime.h"

enum {
    NOTE_MS = 3000,
    DRAW_MS = 50,
    SCROLL_MS = 400,
    SCROLL_STARTS_MS = 2000, /* long enough to begin to read */
    CLOCK_LASTS_MS = 3600000, /* without word from the bridge: the board's oscillator errs by up to 1 % */
    CHORES_MS = 60000,
    BYTES_A_ROUND = 256,     /* so that noise without end cannot keep the loop from the button */
};

static struct {
    struct link link;
    struct frame_reader uart, i2c;
    struct button button;
    struct debounce keys;
    struct keypad keypad;
    struct thermo thermo[SENSORS];
    struct player player;
    struct timer sample, thermo_sample, draw, scroll, chores;
    uint16_t scrolled;
    const char *note;
    uint32_t note_ms;
    char rows[ROWS][COLUMNS]; /* as the display shows them */
} app;

uint32_t app_noise[NOISE_REASONS];

static void play(unsigned sound, uint32_t now_ms)
{
    sound_play(&app.player, sound, now_ms);
}

static void note(const char *text, uint32_t now_ms)
{
    app.note = text;
    app.note_ms = now_ms;
}

/* --- what people do: first into the outbox, for good, and only then is it shown as taken */

static bool put(enum entry_kind kind, uint32_t value, uint32_t now_ms)
{
    if (!outbox_put(&kept.outbox, kind, (int32_t)value, now_ms)) {
        play(SOUND_ERROR, now_ms);
        note("Not taken: full", now_ms);
        return false;
    }
    return true;
}

static void press_status(enum status status, uint32_t now_ms)
{
    static const uint8_t sounds[] = {
        [STATUS_CLOSED] = SOUND_CLOSED, [STATUS_OPEN] = SOUND_OPEN, [STATUS_AWAY] = SOUND_AWAY,
    };

    if (!put(ENTRY_STATUS, status, now_ms))
        return;
    kept.status = (uint8_t)status;
    kept.told = STATUS_UNKNOWN; /* older than this press */
    kept_commit();
    play(sounds[status], now_ms);
}

static void type(char key, uint32_t now_ms)
{
    uint32_t person;

    switch (keypad_key(&app.keypad, key, now_ms, &person)) {
    case TYPED_DIGIT:
        app.note = NULL;
        play(SOUND_CLICK, now_ms);
        break;
    case TYPED_REFUSED:
        play(SOUND_ERROR, now_ms);
        break;
    case TYPED_ENTER:
    case TYPED_LEAVE:
        if (!put(key == '#' ? ENTRY_ENTER : ENTRY_LEAVE, person, now_ms))
            break;
        kept_commit();
        keypad_clear(&app.keypad);
        play(SOUND_TAKEN, now_ms);
        note(key == '#' ? "Welcome" : "Goodbye", now_ms);
        break;
    case TYPED_NOTHING:
        break;
    }
}

static void sample_contacts(uint32_t now_ms)
{
    switch (button_sample(&app.button, board_button(), now_ms)) {
    case PRESS_DOWN:
        play(SOUND_CLICK, now_ms);
        break;
    case PRESS_SHORT:
        press_status(kept.status == STATUS_OPEN ? STATUS_CLOSED : STATUS_OPEN, now_ms);
        break;
    case PRESS_LONG:
        press_status(STATUS_AWAY, now_ms);
        break;
    case PRESS_UP:
        play(SOUND_UP, now_ms);
        break;
    case PRESS_NONE:
        break;
    }
    if (debounce(&app.keys, (uint8_t)board_key()) && app.keys.stable)
        type((char)app.keys.stable, now_ms);
    keypad_tick(&app.keypad, now_ms);
}

static void sample_thermometers(uint32_t now_ms)
{
    for (unsigned i = 0; i < SENSORS; i++) {
        struct thermo *thermo = &app.thermo[i];

        if (!thermo_sample(thermo, board_adc(i)) || !thermo_is_news(thermo, now_ms))
            continue;
        if (!outbox_put_temperature(&kept.outbox, i, thermo->tenths, now_ms))
            continue; /* full: the next reading will try again */
        kept_commit();
        thermo_sent(thermo, now_ms);
    }
}

/* --- what the bridge says */

static void obey(const char *line, uint32_t age_ms, uint32_t now_ms)
{
    struct order order;

    switch (order_read(line, &order)) {
    case ORDER_STATUS:
        if (outbox_has_status(&kept.outbox))
            kept.told = (uint8_t)order.value; /* ours is newer; this one's turn comes when ours has arrived */
        else
            kept.status = (uint8_t)order.value;
        break;
    case ORDER_MESSAGE:
        kept.message_length = (uint16_t)fold(order.text, order.length, kept.message, MESSAGE_MAX);
        app.scrolled = 0;
        app.scroll.due_ms = now_ms + SCROLL_STARTS_MS;
        break;
    case ORDER_SOUND:
        play(order.value % SOUND_PATTERNS, now_ms);
        break;
    case ORDER_SERVER:
        kept.server_down = !order.value;
        break;
    case ORDER_CLOCK:
        kept.clock_known = true;
        kept.clock_s = order.value;
        kept.clock_at_ms = now_ms - age_ms;
        if (age_ms >= CLOCK_LASTS_MS) /* a clock that was so long on the way cannot be told from a new one */
            kept.clock_known = false;
        break;
    case ORDER_UNKNOWN:
        break;
    }
}

static void hear(struct frame_reader *reader, uint8_t byte, uint32_t now_ms)
{
    struct frame frame;
    enum frame_kind kind = frame_feed(reader, byte, &frame);

    if (kind == FRAME_NOISE)
        app_noise[frame.noise]++;
    switch (link_take(&app.link, kind, &frame, now_ms)) {
    case LINK_ARRIVED:
        if (kept.told != STATUS_UNKNOWN && !outbox_has_status(&kept.outbox)) {
            kept.status = kept.told;
            kept.told = STATUS_UNKNOWN;
        }
        kept_commit();
        break;
    case LINK_LINE:
        obey(frame.line, frame.age_ms, now_ms);
        kept_commit();
        break;
    case LINK_SESSION:
        kept_commit();
        break;
    case LINK_NOTHING:
        break;
    }
}

/* Over I2C while a master is there, otherwise over UART. What finds no room is lost like on any wire: sent again. */
static void say(uint32_t now_ms)
{
    char frame[FRAME_OURS_MAX];
    size_t length = link_send(&app.link, frame, now_ms);

    if (!length)
        return;
    if (regs_master_is_there(&i2c_regs, now_ms))
        regs_put(&i2c_regs, frame, length);
    else
        board_uart_write(frame, length);
}

static void speak(uint32_t now_ms)
{
    int byte;

    for (unsigned i = 0; i < BYTES_A_ROUND && (byte = board_uart_read()) >= 0; i++) {
        hear(&app.uart, (uint8_t)byte, now_ms);
        if (byte == '\n')
            say(now_ms); /* at once, so that each frame gets its answer */
    }
    for (unsigned i = 0; i < BYTES_A_ROUND && (byte = regs_take(&i2c_regs)) >= 0; i++) {
        hear(&app.i2c, (uint8_t)byte, now_ms);
        if (byte == '\n')
            say(now_ms);
    }
    say(now_ms);
}

/* --- what is shown */

static void draw(uint32_t now_ms)
{
    char rows[ROWS][COLUMNS];
    struct view view = {
        .status = kept.status,
        .clock_known = kept.clock_known,
        .clock_s = kept.clock_s + (now_ms - kept.clock_at_ms) / 1000,
        .message = kept.message,
        .message_length = kept.message_length,
        .scroll = app.scrolled,
        .digits = app.keypad.digits,
        .digit_count = app.keypad.count,
        .link_down = link_quiet(&app.link, now_ms) || kept.server_down,
        .waiting = kept.outbox.count,
    };

    if (app.note && now_ms - app.note_ms >= NOTE_MS)
        app.note = NULL;
    view.note = app.note;
    for (unsigned i = 0; i < SENSORS; i++)
        view.tenths[i] = app.thermo[i].tenths;
    screen_draw(&view, rows);
    for (unsigned i = 0; i < ROWS; i++) {
        if (!memcmp(app.rows[i], rows[i], COLUMNS))
            continue;
        memcpy(app.rows[i], rows[i], COLUMNS);
        board_lcd(i, app.rows[i]);
    }
    board_led(kept.status == STATUS_OPEN);
    regs_show(&i2c_regs, kept.status, app.thermo[0].tenths);
}

/* Differences of milliseconds mean nothing after 49 days: nothing may get so old. */
static void forget_the_old(uint32_t now_ms)
{
    bool changed = outbox_hold_ages(&kept.outbox, now_ms);

    if (kept.clock_known && now_ms - kept.clock_at_ms >= CLOCK_LASTS_MS) {
        kept.clock_known = false;
        changed = true;
    }
    if (changed)
        kept_commit();
}

void app_start(void)
{
    bool survived = kept_load();
    uint32_t now_ms = uptime_ms();

    if (!survived)
        kept_commit(); /* so that the next reset is a warm one */
    memset(&app, 0, sizeof app);
    link_start(&app.link, now_ms);
    for (unsigned i = 0; i < SENSORS; i++)
        thermo_start(&app.thermo[i]);
    app.sample.due_ms = app.thermo_sample.due_ms = app.draw.due_ms = app.chores.due_ms = now_ms;
    app.scroll.due_ms = now_ms + SCROLL_STARTS_MS;
    board_booted(!survived ? BOOT_COLD : board_bitten() ? BOOT_WATCHDOG : BOOT_WARM);
}

void app_step(void)
{
    uint32_t now_ms = uptime_ms();
    struct note tone;

    board_poll(now_ms);
    speak(now_ms);
    if (timer_every(&app.sample, SAMPLE_MS, now_ms))
        sample_contacts(now_ms);
    if (timer_every(&app.thermo_sample, THERMO_SAMPLE_MS, now_ms))
        sample_thermometers(now_ms);
    if (timer_every(&app.chores, CHORES_MS, now_ms))
        forget_the_old(now_ms);
    if (timer_every(&app.scroll, SCROLL_MS, now_ms))
        app.scrolled = screen_scrolled(app.scrolled, kept.message_length);
    tone = sound_tick(&app.player, now_ms);
    if (tone.ms)
        board_tone(tone.hz, tone.ms);
    if (timer_every(&app.draw, DRAW_MS, now_ms))
        draw(now_ms);
    board_feed();
}
