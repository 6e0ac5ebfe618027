/* SPDX-License-Identifier: GPL-3.0-or-later */
/* The rules of the link, one by one. */
#include "check.h"
#include "kept.h"
#include "link.h"

static struct link link;
static uint32_t now_ms = UINT32_MAX - 10000; /* across the wrap */

/* What is sent now, without the CRC; "" for nothing. */
static const char *sent(void)
{
    static char frame[FRAME_OURS_MAX + 1];
    size_t length = link_send(&link, frame, now_ms);

    CHECK(length == 0 || (length > 10 && frame[length - 1] == '\n'));
    frame[length ? length - 10 : 0] = '\0';
    return frame;
}

static void check_sent(const char *wanted)
{
    const char *got = sent();

    CHECK(!strcmp(got, wanted), "%s, not %s", got, wanted);
}

static enum link_news hear(enum frame_kind kind, uint32_t sid, uint32_t n)
{
    struct frame frame = {.sid = sid, .n = n, .line = "status 1"};

    return link_take(&link, kind, &frame, now_ms);
}

static void test_asks_for_a_session(void)
{
    check_sent("h");
    check_sent("");
    now_ms += 499;
    check_sent("");
    now_ms += 1;
    check_sent("h");
    CHECK(hear(FRAME_ACK, 7, 1) == LINK_NOTHING);
    CHECK(hear(FRAME_SESSION, 7, 0) == LINK_SESSION && kept.sid == 7);
    CHECK(hear(FRAME_SESSION, 8, 0) == LINK_NOTHING && kept.sid == 7);
    now_ms += 1000;
    check_sent("");
}

static void test_sends_until_acknowledged(void)
{
    static const uint32_t waits_ms[] = {250, 500, 1000, 2000, 2000, 2000};

    outbox_put(&kept.outbox, ENTRY_STATUS, 1, now_ms);
    outbox_put(&kept.outbox, ENTRY_ENTER, 42, now_ms);
    check_sent("d 7 1 0 status 1");
    for (unsigned i = 0, age = 0; i < 6; i++) {
        char wanted[40];

        now_ms += waits_ms[i] - 1;
        check_sent("");
        now_ms += 1;
        age += waits_ms[i];
        snprintf(wanted, sizeof wanted, "d 7 1 %u status 1", age);
        check_sent(wanted);
    }
    CHECK(hear(FRAME_ACK, 7, 2) == LINK_NOTHING);
    CHECK(hear(FRAME_ACK, 8, 1) == LINK_NOTHING);
    check_sent("");
    CHECK(hear(FRAME_ACK, 7, 1) == LINK_ARRIVED);
    CHECK(hear(FRAME_ACK, 7, 1) == LINK_NOTHING);
    check_sent("d 7 2 7750 enter 42");
    CHECK(hear(FRAME_ACK, 7, 2) == LINK_ARRIVED);
    CHECK(hear(FRAME_ACK, 7, 3) == LINK_NOTHING); /* nothing is under way */
    check_sent("");
}

static void test_takes_each_once(void)
{
    CHECK(hear(FRAME_DATA, 9, 5) == LINK_LINE);
    check_sent("a 9 5");
    check_sent("");
    CHECK(hear(FRAME_DATA, 9, 5) == LINK_NOTHING);
    check_sent("a 9 5");
    CHECK(hear(FRAME_DATA, 9, 4) == LINK_NOTHING);
    check_sent("a 9 4");
    CHECK(hear(FRAME_DATA, 9, 8) == LINK_LINE);
    CHECK(hear(FRAME_DATA, 3, 1) == LINK_LINE); /* the bridge was started anew */
    check_sent("a 3 1");
    CHECK(hear(FRAME_HELLO, 0, 0) == LINK_NOTHING);
    check_sent("");
}

static void test_takes_without_a_session(void)
{
    kept.sid = 0;
    kept.number = 1;
    CHECK(hear(FRAME_DATA, 4, 1) == LINK_LINE);
    check_sent("a 4 1");
    now_ms += 500;
    check_sent("h");
    CHECK(hear(FRAME_SESSION, 11, 0) == LINK_SESSION);
}

static void test_numbers_are_used_up(void)
{
    kept.number = SID_MAX;
    outbox_put(&kept.outbox, ENTRY_STATUS, 0, now_ms);
    outbox_put(&kept.outbox, ENTRY_STATUS, 1, now_ms);
    check_sent("d 11 2147483647 0 status 0");
    CHECK(hear(FRAME_ACK, 11, SID_MAX) == LINK_ARRIVED);
    check_sent("h");
    CHECK(hear(FRAME_SESSION, 12, 0) == LINK_SESSION);
    check_sent("d 12 1 0 status 1");
}

static void test_silence(void)
{
    CHECK(hear(FRAME_ACK, 1, 1) == LINK_NOTHING);
    now_ms += LINK_QUIET_MS - 1;
    CHECK(!link_quiet(&link, now_ms));
    CHECK(hear(FRAME_NOISE, 0, 0) == LINK_NOTHING);
    now_ms += 1;
    CHECK(link_quiet(&link, now_ms));
    now_ms += UINT32_MAX - LINK_QUIET_MS;
    CHECK(link_quiet(&link, now_ms)); /* still, 49 days later */
    CHECK(hear(FRAME_ACK, 1, 1) == LINK_NOTHING);
    CHECK(!link_quiet(&link, now_ms));
}

int main(void)
{
    memset(kept_memory, 0, sizeof kept_memory);
    CHECK(!kept_load());
    link_start(&link, now_ms);
    test_asks_for_a_session();
    test_sends_until_acknowledged();
    test_takes_each_once();
    test_takes_without_a_session();
    test_numbers_are_used_up();
    test_silence();
    return passed(__FILE__);
}
