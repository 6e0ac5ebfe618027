/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "text.h"

bool text_number(const char **at, uint32_t most, uint32_t *value)
{
    const char *from = *at;
    uint32_t sum = 0;

    for (; **at >= '0' && **at <= '9'; ++*at) {
        uint32_t digit = (uint32_t)(**at - '0');

        if (digit > most || sum > (most - digit) / 10) /* so that no sum can overflow */
            return false;
        sum = sum * 10 + digit;
    }
    *value = sum;
    return *at != from;
}

bool text_word(const char **at, const char *word)
{
    const char *here = *at;

    while (*word)
        if (*here++ != *word++)
            return false;
    *at = here;
    return true;
}

char *text_put(char *to, const char *words)
{
    while (*words)
        *to++ = *words++;
    return to;
}

char *text_put_padded(char *to, uint32_t value, unsigned digits)
{
    for (unsigned i = digits; i-- > 0; value /= 10)
        to[i] = (char)('0' + value % 10);
    return to + digits;
}

char *text_put_number(char *to, uint32_t value)
{
    unsigned digits = 1;

    for (uint32_t rest = value; rest > 9; rest /= 10)
        digits++;
    return text_put_padded(to, value, digits);
}

char *text_put_tenths(char *to, int32_t tenths)
{
    uint32_t size = tenths < 0 ? 0u - (uint32_t)tenths : (uint32_t)tenths;

    if (tenths < 0)
        *to++ = '-';
    to = text_put_number(to, size / 10);
    *to++ = '.';
    return text_put_number(to, size % 10);
}

char *text_put_hex(char *to, uint32_t value)
{
    for (int shift = 28; shift >= 0; shift -= 4)
        *to++ = "0123456789abcdef"[(value >> shift) & 15];
    return to;
}
