/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "check.h"
#include "outbox.h"

static struct outbox box;

static void check_line(const char *wanted)
{
    char line[LINE_OURS_MAX];
    size_t length = entry_line(outbox_oldest(&box), line);

    CHECK(length == strlen(wanted) && !memcmp(line, wanted, length), "%.*s", (int)length, line);
    outbox_drop_oldest(&box);
}

static void test_order_and_lines(void)
{
    CHECK(!outbox_oldest(&box));
    CHECK(outbox_put(&box, ENTRY_STATUS, 2, 1));
    CHECK(outbox_put(&box, ENTRY_ENTER, 0, 2));
    CHECK(outbox_has_status(&box));
    CHECK(outbox_put(&box, ENTRY_LEAVE, 999999, 3));
    CHECK(outbox_put_temperature(&box, 0, 215, 4));
    CHECK(outbox_put_temperature(&box, 1, -5, 5));
    CHECK(outbox_put_temperature(&box, 0, -400, 6)); /* takes the place of the first */
    CHECK(box.count == 5);
    check_line("status 2");
    CHECK(!outbox_has_status(&box));
    check_line("enter 0");
    check_line("leave 999999");
    CHECK(outbox_oldest(&box)->happened_ms == 6);
    CHECK(outbox_put_temperature(&box, 0, 99, 7)); /* the oldest may be under way: another one */
    CHECK(outbox_put_temperature(&box, 0, 100, 8)); /* which is replaced again */
    CHECK(box.count == 3);
    check_line("temperature 0 -40.0");
    check_line("temperature 1 -0.5");
    check_line("temperature 0 10.0");
    CHECK(!box.count);
}

static void test_full(void)
{
    for (unsigned round = 0; round < 3; round++) { /* around the ring's end, too */
        for (unsigned i = 0; i < OUTBOX_MAX; i++)
            CHECK(outbox_put(&box, ENTRY_ENTER, (int32_t)i, i));
        CHECK(!outbox_put(&box, ENTRY_STATUS, 1, 99));
        CHECK(!outbox_put_temperature(&box, 0, 215, 99));
        CHECK(!outbox_has_status(&box));
        for (unsigned i = 0; i < OUTBOX_MAX; i++) {
            CHECK(outbox_oldest(&box)->value == (int32_t)i);
            outbox_drop_oldest(&box);
        }
        CHECK(outbox_put(&box, ENTRY_ENTER, 5, 5)); /* so that the next round begins elsewhere */
        outbox_drop_oldest(&box);
    }
}

static void test_age_is_held(void)
{
    CHECK(outbox_put(&box, ENTRY_STATUS, 1, 100));
    CHECK(!outbox_hold_ages(&box, 100 + 0x7fffffffu));
    CHECK(outbox_hold_ages(&box, 100 + 0x80000000));
    CHECK(outbox_hold_ages(&box, 100 + 0x80000000 + 86400000));
    CHECK(100 + 0x80000000 + 86400000 - outbox_oldest(&box)->happened_ms == 0x7fffffff);
}

int main(void)
{
    test_order_and_lines();
    test_full();
    test_age_is_held();
    return passed(__FILE__);
}
