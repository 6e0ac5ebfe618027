/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "fold.h"

#include <stdbool.h>

/* The letters below their accents; `*` stands for what has none, or more than one letter. */
static const char latin[] = /* U+00C0 to U+017F */
    "AAAAAA*CEEEEIIIIDNOOOOOxOUUUUY**aaaaaa*ceeeeiiiidnooooo/ouuuuy*y"
    "AaAaAaCcCcCcCcDdDdEeEeEeEeEeGgGgGgGgHhHhIiIiIiIiIi**JjKkkLlLlLlL"
    "lLlNnNnNn*NnOoOoOo**RrRrRrSsSsSsSsTtTtTtUuUuUuUuUuUuWwYyYZzZzZzs";

static const char latin_additional[] = /* U+1E00 to U+1EFF */
    "AaBbBbBbCcDdDdDdDdDdEeEeEeEeEeFfGgHhHhHhHhHhIiIiKkKkKkLlLlLlLlMm"
    "MmMmNnNnNnNnOoOoOoOoPpPpRrRrRrRrSsSsSsSsSsTtTtTtTtUuUuUuUuUuVvVv"
    "WwWwWwWwWwXxXxYyZzZzZzhtwy******AaAaAaAaAaAaAaAaAaAaAaAaEeEeEeEe"
    "EeEeEeEeIiIiOoOoOoOoOoOoOoOoOoOoOoOoUuUuUuUuUuUuUuYyYyYyYy******";

/* In the order of the code points. An empty text drops the character. */
static const struct {
    uint16_t first, last;
    char text[4];
} others[] = {
    {0x0000, 0x001f, " "},  {0x005c, 0x005c, "/"},  {0x007e, 0x007e, "-"},  {0x007f, 0x009f, " "},
    {0x00a0, 0x00a0, " "},  {0x00a1, 0x00a1, "!"},  {0x00a2, 0x00a2, "c"},  {0x00a3, 0x00a3, "GBP"},
    {0x00a5, 0x00a5, "JPY"},{0x00a6, 0x00a6, "|"},  {0x00a8, 0x00a8, "\""}, {0x00a9, 0x00a9, "(c)"},
    {0x00aa, 0x00aa, "a"},  {0x00ab, 0x00ab, "\""}, {0x00ac, 0x00ac, "-"},  {0x00ad, 0x00ad, ""},
    {0x00ae, 0x00ae, "(R)"},{0x00af, 0x00af, "-"},  {0x00b0, 0x00b0, "deg"},{0x00b1, 0x00b1, "+-"},
    {0x00b2, 0x00b2, "2"},  {0x00b3, 0x00b3, "3"},  {0x00b4, 0x00b4, "'"},  {0x00b5, 0x00b5, "u"},
    {0x00b7, 0x00b7, "."},  {0x00b8, 0x00b8, ","},  {0x00b9, 0x00b9, "1"},  {0x00ba, 0x00ba, "o"},
    {0x00bb, 0x00bb, "\""}, {0x00bc, 0x00bc, "1/4"},{0x00bd, 0x00bd, "1/2"},{0x00be, 0x00be, "3/4"},
    {0x00bf, 0x00bf, "?"},
    {0x00c6, 0x00c6, "AE"}, {0x00de, 0x00de, "TH"}, {0x00df, 0x00df, "ss"}, {0x00e6, 0x00e6, "ae"},
    {0x00fe, 0x00fe, "th"}, {0x0132, 0x0132, "IJ"}, {0x0133, 0x0133, "ij"}, {0x0149, 0x0149, "'n"},
    {0x0152, 0x0152, "OE"}, {0x0153, 0x0153, "oe"},
    {0x0192, 0x0192, "f"},  {0x01a0, 0x01a0, "O"},  {0x01a1, 0x01a1, "o"},  {0x01af, 0x01af, "U"},
    {0x01b0, 0x01b0, "u"},  {0x01cd, 0x01cd, "A"},  {0x01ce, 0x01ce, "a"},  {0x01cf, 0x01cf, "I"},
    {0x01d0, 0x01d0, "i"},  {0x01d1, 0x01d1, "O"},  {0x01d2, 0x01d2, "o"},  {0x01d3, 0x01d3, "U"},
    {0x01d4, 0x01d4, "u"},  {0x01e6, 0x01e6, "G"},  {0x01e7, 0x01e7, "g"},  {0x01e8, 0x01e8, "K"},
    {0x01e9, 0x01e9, "k"},  {0x01ea, 0x01ea, "O"},  {0x01eb, 0x01eb, "o"},  {0x0218, 0x0218, "S"},
    {0x0219, 0x0219, "s"},  {0x021a, 0x021a, "T"},  {0x021b, 0x021b, "t"},  {0x02b9, 0x02ba, "'"},
    {0x02bb, 0x02bd, "'"},  {0x02c6, 0x02c6, "^"},  {0x02dc, 0x02dc, "-"},
    {0x0300, 0x036f, ""},   {0x1ab0, 0x1aff, ""},   {0x1dc0, 0x1dff, ""},   {0x1e9e, 0x1e9e, "SS"},
    {0x2000, 0x200a, " "},  {0x200b, 0x200f, ""},   {0x2010, 0x2015, "-"},  {0x2018, 0x201b, "'"},
    {0x201c, 0x201f, "\""}, {0x2020, 0x2021, "+"},  {0x2022, 0x2022, "*"},  {0x2024, 0x2024, "."},
    {0x2025, 0x2025, ".."}, {0x2026, 0x2026, "..."},{0x2028, 0x2029, " "},  {0x202a, 0x202e, ""},
    {0x202f, 0x202f, " "},  {0x2032, 0x2032, "'"},  {0x2033, 0x2033, "\""}, {0x2039, 0x2039, "<"},
    {0x203a, 0x203a, ">"},  {0x2044, 0x2044, "/"},  {0x205f, 0x205f, " "},  {0x2060, 0x2064, ""},
    {0x2066, 0x206f, ""},   {0x20ac, 0x20ac, "EUR"},{0x20d0, 0x20ff, ""},   {0x2116, 0x2116, "No"},
    {0x2122, 0x2122, "TM"}, {0x2190, 0x2190, "<-"}, {0x2192, 0x2192, "->"}, {0x2212, 0x2212, "-"},
    {0x2248, 0x2248, "="} , {0x2260, 0x2260, "!="}, {0x2264, 0x2264, "<="}, {0x2265, 0x2265, ">="},
    {0x3000, 0x3000, " "},  {0xfb00, 0xfb00, "ff"}, {0xfb01, 0xfb01, "fi"}, {0xfb02, 0xfb02, "fl"},
    {0xfe00, 0xfe0f, ""},   {0xfe20, 0xfe2f, ""},   {0xfeff, 0xfeff, ""},
};

/* Text for one character, at `one` if it is a single one. */
static const char *plain(uint32_t c, char one[2])
{
    one[1] = '\0';
    one[0] = '?';
    if (c >= 0xff01 && c <= 0xff5e) /* full width */
        c -= 0xff01 - 0x21;
    for (unsigned i = 0; i < sizeof others / sizeof *others && others[i].first <= c; i++)
        if (c <= others[i].last)
            return others[i].text;
    if (c < 0x80)
        one[0] = (char)c;
    else if (c >= 0xc0 && c < 0x180)
        one[0] = latin[c - 0xc0];
    else if (c >= 0x1e00 && c < 0x1f00)
        one[0] = latin_additional[c - 0x1e00];
    else if (c >= 0xe0100 && c <= 0xe01ef) /* more variation selectors */
        one[0] = '\0';
    if (one[0] == '*' && c != '*')
        one[0] = '?';
    return one;
}

/* Read one character or one maximal part of it and return its length in bytes; false in *good for the latter. */
static size_t decode(const uint8_t *at, size_t length, uint32_t *c, bool *good)
{
    uint8_t lead = at[0], least = 0x80, most = 0xbf;
    size_t more;

    *good = true;
    *c = lead;
    if (lead < 0x80)
        return 1;
    *good = false;
    if (lead < 0xc2 || lead > 0xf4)
        return 1;
    more = lead < 0xe0 ? 1 : lead < 0xf0 ? 2 : 3;
    *c = lead & (0x3fu >> more);
    if (lead == 0xe0)
        least = 0xa0; /* no overlong forms */
    else if (lead == 0xed)
        most = 0x9f; /* no surrogates */
    else if (lead == 0xf0)
        least = 0x90;
    else if (lead == 0xf4)
        most = 0x8f; /* nothing above U+10FFFF */
    for (size_t i = 1; i <= more; i++) {
        if (i >= length || at[i] < least || at[i] > most)
            return i;
        *c = *c << 6 | (at[i] & 0x3fu);
        least = 0x80;
        most = 0xbf;
    }
    *good = true;
    return more + 1;
}

size_t fold(const uint8_t *utf8, size_t length, char *to, size_t room)
{
    size_t count = 0;

    while (length) {
        char one[2];
        uint32_t c;
        bool good;
        size_t step = decode(utf8, length, &c, &good);

        for (const char *text = good ? plain(c, one) : "?"; *text && count < room; text++)
            to[count++] = *text;
        utf8 += step;
        length -= step;
    }
    return count;
}
