/* SPDX-License-Identifier: GPL-3.0-or-later */
/* The whole program on a board of variables, over both wires. */
#include "app.h"
#include "board_host.h"
#include "check.h"
#include "crc32.h"
#include "kept.h"
#include "link.h"
#include "regs.h"
#include "uptime.h"

static unsigned bridge_n;

static void tell_frame(const char *body)
{
    char frame[FRAME_MAX + 1];
    int length = snprintf(frame, sizeof frame, "%s*%08x\n", body, crc32(0, body, strlen(body)));

    host_send(frame, (size_t)length);
}

static void tell_number(unsigned n, const char *line)
{
    char body[FRAME_MAX];

    snprintf(body, sizeof body, "d 99 %u 0 %s", n, line);
    tell_frame(body);
    host_run(100);
}

static void tell(const char *line)
{
    tell_number(++bridge_n, line);
}

/* What the board has sent since last asked, each body once a line. */
static const char *said(void)
{
    static char all[HOST_BYTES + 1];

    memcpy(all, host.out, host.out_count);
    all[host.out_count] = '\0';
    host.out_count = 0;
    return all;
}

static bool says(const char *words)
{
    return strstr(said(), words);
}

static void acknowledge(void)
{
    char body[40];

    snprintf(body, sizeof body, "a 7 %u", kept.number);
    tell_frame(body);
    host_run(100);
}

static void press(unsigned ms)
{
    for (unsigned i = 0; i < 15; i++) { /* it bounces */
        host.button = i % 3;
        host_run(1);
    }
    host.button = true;
    host_run(ms);
    host.button = false;
    host_run(100);
}

static void type(const char *keys)
{
    while (*keys) {
        host.key = *keys++;
        host_run(30);
        host.key = 0;
        host_run(30);
    }
    host_run(60);
}

static void check_row(unsigned row, const char *wanted)
{
    CHECK(!strncmp(host.rows[row], wanted, strlen(wanted)), "%s", host.rows[row]);
}

static void start(void)
{
    host_power_on();
    bridge_n = 0;
    host_run(100);
    CHECK(host.boot == BOOT_COLD);
    check_row(0, "Unknown ");
    tell_frame("s 7");
    host_run(100);
    said();
}

static void test_presses(void)
{
    start();
    press(100);
    CHECK(says(" status 1*"));
    CHECK(host_tone(1000) && host.led);
    check_row(0, "Open ");
    check_row(3, "1 queued ");
    acknowledge();
    check_row(3, "        ");
    press(100);
    CHECK(says("d 7 2 "));
    CHECK(host_tone(1490) && !host.led);
    check_row(0, "Closed ");
    acknowledge();
    press(2000);
    CHECK(says(" status 2*") && host_tone(1250));
    check_row(0, "Away ");
    acknowledge();
    press(100);
    check_row(0, "Open ");
    CHECK(kept.outbox.count == 1);
}

/* Ours is newer than what the bridge tells while it is on its way; the newest of those counts afterwards. */
static void test_own_status_comes_first(void)
{
    start();
    tell("status 1");
    check_row(0, "Open ");
    press(100);
    check_row(0, "Closed ");
    tell("status 1");
    tell("status 2");
    check_row(0, "Closed ");
    press(100); /* a second one, newer than both */
    check_row(0, "Open ");
    acknowledge();
    check_row(0, "Open ");
    tell("status 0");
    check_row(0, "Open ");
    host_reset(); /* forgets nothing of this */
    host_run(100);
    CHECK(host.boot == BOOT_WARM);
    check_row(0, "Open ");
    acknowledge();
    check_row(0, "Closed ");
    tell("status 2");
    check_row(0, "Away ");
}

static void test_full_outbox(void)
{
    start();
    for (unsigned i = 0; i < OUTBOX_MAX; i++)
        press(50);
    check_row(0, "Closed "); /* after an even number */
    check_row(3, "32 queued");
    host_tone(0);
    press(50);
    CHECK(host_tone(200));
    check_row(0, "Closed ");
    check_row(3, "Not taken: full");
    CHECK(kept.outbox.count == OUTBOX_MAX && kept.status == STATUS_CLOSED);
    host_tone(0);
    type("42#");
    CHECK(host_tone(200));
    check_row(3, "Not taken: full");
    host_run(4000);
    check_row(3, "Number: 42_");
    acknowledge();
    type("#"); /* the number is still there */
    check_row(3, "Welcome");
    for (unsigned i = 0; i < OUTBOX_MAX; i++) {
        char wanted[32];

        said();
        host_run(2100);
        snprintf(wanted, sizeof wanted, i < OUTBOX_MAX - 1 ? " status %u*" : " enter 42*", i % 2 ? 1 : 0);
        CHECK(says(wanted), "%s", wanted);
        acknowledge();
    }
    CHECK(!kept.outbox.count);
}

static void test_keypad(void)
{
    start();
    type("12");
    check_row(3, "Number: 12_");
    host_run(10000);
    check_row(3, "      ");
    type("3#");
    CHECK(says(" enter 3*") && host_tone(1800));
    check_row(3, "Welcome");
    acknowledge();
    type("123456*");
    CHECK(says(" leave 123456*"));
    check_row(3, "Goodbye");
    type("*");
    CHECK(host_tone(200));
    host_run(3000);
    check_row(3, "1 queued");
}

static void test_temperature(void)
{
    start();
    check_row(1, " --.- C    --.- C");
    CHECK(!says("temperature"));
    host.adc[0] = 887;
    host_run(1400);
    check_row(1, " 21.5 C    --.- C");
    CHECK(says("temperature 0 21.5*"));
    CHECK(i2c_regs.tenths == 215);
    acknowledge();
    host.adc[0] = 888; /* 0.1 degrees more */
    host_run(1400);
    CHECK(!says("temperature"));
    host.adc[0] = 4095;
    host_run(1400);
    check_row(1, " --.- C    --.- C");
    host.adc[0] = 888;
    host_run(298000 - 2800);
    CHECK(!says("temperature"));
    host_run(5000);
    CHECK(says("temperature 0 21.6*"));
    host.adc[0] = 893;
    host_run(1400); /* the one under way stays as it is, this one waits behind it */
    host.adc[0] = 900;
    host_run(1400);
    CHECK(kept.outbox.count == 2);
    acknowledge();
    host_run(100);
    CHECK(says("temperature 0 22."));
    host.adc[1] = 500;
    host_run(1400);
    check_row(1, " 22.5 C    -9.7 C");
}

static void test_message_and_sound(void)
{
    start();
    tell("message UGl6emEg4oCTIGNpdHTDoCE=");
    check_row(2, "Pizza - citta!      ");
    tell("message TGEgc2VkZSBlJyBhcGVydGEgc3Rhc2VyYSBmaW5vIGFsbGUgdHJl");
    check_row(2, "La sede e' aperta st");
    host_run(2000);
    check_row(2, "a sede e' aperta sta");
    host_run(400 * 15);
    check_row(2, "a stasera fino alle ");
    host_tone(0);
    tell("sound 2");
    host_run(400);
    CHECK(host_tone(1100));
    tell("sound 10"); /* the same */
    CHECK(host_tone(660));
    tell("message bad base64");
    tell("frobnicate");
    CHECK(kept.taken_n == bridge_n); /* taken, and ignored */
}

static void test_clock_and_link(void)
{
    start();
    tell("clock 1764041100");
    check_row(0, "Unknown        03:25");
    check_row(3, "Tue 25 Nov 2025");
    host_run(29000);
    check_row(3, "Tue 25 Nov 2025");
    host_run(1000);
    check_row(3, "link down ");
    tell("clock 1764041150");
    check_row(3, "Tue 25 Nov 2025");
    host_run(10000);
    check_row(0, "Unknown        03:26");
    tell("server 0");
    check_row(3, "link down ");
    tell("server 1");
    check_row(3, "Tue 25 Nov 2025");
    bridge_n++;
    tell_frame("d 99 8 7200000 clock 1764041150"); /* two hours on the way */
    host_run(100);
    check_row(0, "Unknown             ");
    tell("clock 1764041100");
    host_run(3600000 + 60000);
    check_row(0, "Unknown             "); /* one cannot trust it any more */
}

static void test_bridge_repeats(void)
{
    start();
    tell("sound 0");
    CHECK(host_tone(880) && says("a 99 1*"));
    tell_number(1, "sound 0");
    CHECK(!host_tone(880) && says("a 99 1*"));
}

static void test_bad_input(void)
{
    unsigned seed = 1;

    start();
    memset(app_noise, 0, sizeof app_noise);
    for (unsigned i = 0; i < 10000; i++)
        host_send("x", 1);
    host_send("\n", 1);
    host_send("d 99 1 0 sta", 12); /* half a line spoils the next one, */
    tell("sound 0");
    CHECK(!host_tone(880));
    tell_number(1, "sound 0"); /* which is repeated */
    CHECK(host_tone(880));
    host_send("d 99 2 0 status 1*00000000\n", 27);
    host_send("\n", 1);
    host_send("hello\n", 6);
    tell_frame("x");
    host_run(100);
    CHECK(app_noise[NOISE_TOO_LONG] == 1 && app_noise[NOISE_BAD_CRC] == 2 && app_noise[NOISE_EMPTY] == 1);
    CHECK(app_noise[NOISE_NO_CRC] == 1 && app_noise[NOISE_BAD_BODY] == 1);
    check_row(0, "Unknown ");
    for (unsigned i = 0; i < 50000; i++) {
        char byte = (char)draw(&seed, 256);

        host_send(&byte, 1);
    }
    press(100); /* the button works all the while */
    check_row(0, "Open ");
    host_run(2000);
    host_send("\n", 1);
    tell_number(2, "sound 0");
    CHECK(host_tone(880));
}

static void test_resets(void)
{
    start();
    press(100);
    press(100);
    type("5#");
    tell("message Q2lhbw==");
    tell("clock 1764041100");
    for (unsigned i = 0; i < 3; i++) {
        uint32_t before_ms = uptime_ms();

        host.bitten = i == 1;
        host_reset();
        CHECK(host.boot == (i == 1 ? BOOT_WATCHDOG : BOOT_WARM));
        CHECK(uptime_ms() - before_ms < 2);
        host_run(100);
        check_row(0, "Closed         03:25");
        check_row(2, "Ciao");
        check_row(3, "3 queued");
        CHECK(says("d 7 1 "));
    }
    tell_number(bridge_n, "message eA=="); /* known, even after the resets */
    check_row(2, "Ciao");
    acknowledge();
    host_reset();
    host_run(10);
    CHECK(says("d 7 2 ") && kept.outbox.count == 2);
}

static void test_no_room_to_send(void)
{
    start();
    host.deaf = true;
    press(100);
    CHECK(!says("status"));
    host.deaf = false;
    host_run(2100);
    CHECK(says(" status 1*"));
}

/* The same over I2C, from the moment that a master asks. */
static void test_i2c(void)
{
    char frame[128], got[256] = "";
    int length;

    start();
    regs_addressed(&i2c_regs, false, uptime_ms());
    regs_written(&i2c_regs, REG_WAITING);
    regs_stopped(&i2c_regs);
    press(100);
    CHECK(!says("status")); /* not over the other wire */
    regs_addressed(&i2c_regs, false, uptime_ms());
    regs_written(&i2c_regs, REG_DATA);
    regs_addressed(&i2c_regs, true, uptime_ms());
    for (unsigned i = 0; i < sizeof got - 1; i++)
        if (!(got[i] = (char)regs_read(&i2c_regs)))
            break;
    regs_stopped(&i2c_regs);
    CHECK(strstr(got, "d 7 1 ") && strstr(got, " status 1*"), "%s", got);
    CHECK(i2c_regs.status == STATUS_OPEN);
    length = snprintf(frame, sizeof frame, "a 7 1*%08x\n", crc32(0, "a 7 1", 5));
    regs_addressed(&i2c_regs, false, uptime_ms());
    regs_written(&i2c_regs, REG_DATA);
    for (int i = 0; i < length; i++)
        regs_written(&i2c_regs, (uint8_t)frame[i]);
    regs_stopped(&i2c_regs);
    host_run(50);
    CHECK(!kept.outbox.count);
    host_run(REGS_GONE_MS);
    press(100);
    CHECK(says(" status 0*")); /* the master has gone */
}

static void test_watchdog_is_fed(void)
{
    start();
    host.fed = 0;
    host_run(100);
    CHECK(host.fed == 100);
}

int main(void)
{
    test_presses();
    test_own_status_comes_first();
    test_full_outbox();
    test_keypad();
    test_temperature();
    test_message_and_sound();
    test_clock_and_link();
    test_bridge_repeats();
    test_bad_input();
    test_resets();
    test_no_room_to_send();
    test_i2c();
    test_watchdog_is_fed();
    return passed(__FILE__);
}
