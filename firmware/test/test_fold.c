/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "check.h"
#include "fold.h"

static void check(const char *utf8, const char *wanted)
{
    char got[400];
    size_t count = fold((const uint8_t *)utf8, strlen(utf8), got, sizeof got);

    CHECK(count == strlen(wanted) && !memcmp(got, wanted, count), "%s: %.*s", utf8, (int)count, got);
}

static void test_texts(void)
{
    check("", "");
    check("Pizza at 8!", "Pizza at 8!");
    check("Città è già così più", "Citta e gia cosi piu");
    check("ÄÖÜäöüß ÆØÅæøå Łódź Șț ğİı", "AOUaouss AEOAaeoa Lodz St gIi");
    check("e\xcc\x81 n\xcc\x83", "e n"); /* combining marks */
    check("“a” ‘b’ «c» – — … 5 € 21 °C ½", "\"a\" 'b' \"c\" - - ... 5 EUR 21 degC 1/2");
    check("Việt Nam Ǔ", "Viet Nam U");
    check("ＡＢＣ！", "ABC!");
    check("你好 🎉 Ω", "?? ? ?");
    check("❤️", "?"); /* with a variation selector */
    check("a\nb\tc\x7f", "a b c ");
    check("C:\\~*", "C:/-*");
}

static void test_what_is_not_utf8(void)
{
    check("\xff\xfe", "??");
    check("a\x80z", "a?z");
    check("\xc3", "?");
    check("\xc3z", "?z");
    check("\xe2\x82", "?");       /* cut off: one maximal part */
    check("\xe2\x82z", "?z");
    check("\xc0\xaf", "??");      /* overlong */
    check("\xe0\x80\xaf", "???");
    check("\xed\xa0\x80", "???"); /* a surrogate */
    check("\xf4\x90\x80\x80", "????");
    check("\xf0\x9f\x8e", "?");
    check("\xf0\x9f\x8eg", "?g");
}

/* Every character there is: printable, and not half again longer than its bytes. */
static void test_all(void)
{
    for (unsigned c = 0x80; c < 0x110000; c++) {
        uint8_t utf8[4];
        char got[16];
        size_t length = c < 0x800 ? 2 : c < 0x10000 ? 3 : 4, count;

        for (size_t i = length; i-- > 1;)
            utf8[i] = (uint8_t)(0x80 | ((c >> 6 * (length - 1 - i)) & 0x3f));
        utf8[0] = (uint8_t)((length == 2 ? 0xc0 : length == 3 ? 0xe0 : 0xf0) | c >> 6 * (length - 1));
        count = fold(utf8, length, got, sizeof got);
        CHECK(2 * count <= 3 * length);
        for (size_t i = 0; i < count; i++)
            CHECK(got[i] >= ' ' && got[i] <= '}' && got[i] != '\\', "U+%04X", c);
    }
}

static void test_room(void)
{
    char got[2] = {'x', 'x'};

    CHECK(fold((const uint8_t *)"\xe2\x82\xac", 3, got, 1) == 1 && got[0] == 'E' && got[1] == 'x');
}

int main(void)
{
    test_texts();
    test_what_is_not_utf8();
    test_all();
    test_room();
    return passed(__FILE__);
}
