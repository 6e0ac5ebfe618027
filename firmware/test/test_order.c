/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "check.h"
#include "order.h"

static struct order order;

static void check_text(const char *line, const char *wanted)
{
    CHECK(order_read(line, &order) == ORDER_MESSAGE, "%s", line);
    CHECK(order.length == strlen(wanted) && !memcmp(order.text, wanted, order.length), "%s", line);
}

static void check_value(const char *line, enum order_kind kind, uint32_t value)
{
    CHECK(order_read(line, &order) == kind && order.value == value, "%s", line);
}

int main(void)
{
    static const char *const unknown[] = {
        "status 3", "status", "status ", "status -1", "status 1 ", "status 1 2", "Status 1", "frobnicate 1", "x",
        "sound 256", "sound 99999999999999999999", "server 2", "clock 4294967296", "clock 1.5",
        "message ", "message =", "message ====", "message Q", "message Q2", "message Q2l", "message Q2lh=",
        "message Q2==Q2==", "message Q=2=", "message Q2lh Q2lh", "message Q2lh*", "message Q===",
        "message Qf==", "message Q2k=x", /* bits left over; something behind the end */
    };
    char line[400] = "message ";

    check_value("status 0", ORDER_STATUS, 0);
    check_value("status 2", ORDER_STATUS, 2);
    check_value("status 01", ORDER_STATUS, 1);
    check_value("sound 255", ORDER_SOUND, 255);
    check_value("server 0", ORDER_SERVER, 0);
    check_value("clock 4294967295", ORDER_CLOCK, UINT32_MAX);
    check_text("message Q2lhbyE=", "Ciao!");
    check_text("message Q2lhbw==", "Ciao");
    check_text("message Q2lh", "Cia");
    check_text("message 8J+OiQ==", "\xf0\x9f\x8e\x89");
    for (size_t i = 0; i < sizeof unknown / sizeof *unknown; i++)
        CHECK(order_read(unknown[i], &order) == ORDER_UNKNOWN, "%s", unknown[i]);

    for (unsigned i = 0; i < 320; i++) /* 240 bytes */
        line[8 + i] = 'Q';
    CHECK(order_read(line, &order) == ORDER_MESSAGE && order.length == ORDER_TEXT_MAX);
    strcpy(line + 8 + 320, "QQ=="); /* and one more */
    CHECK(order_read(line, &order) == ORDER_UNKNOWN);
    return passed(__FILE__);
}
