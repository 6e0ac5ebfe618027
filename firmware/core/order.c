/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "order.h"

#include <stdbool.h>

#include "text.h"

static int base64_value(char c)
{
    if (c >= 'A' && c <= 'Z')
        return c - 'A';
    if (c >= 'a' && c <= 'z')
        return c - 'a' + 26;
    if (c >= '0' && c <= '9')
        return c - '0' + 52;
    return c == '+' ? 62 : c == '/' ? 63 : -1;
}

/* RFC 4648, section 4, as the miniprotocol has it: padded, and the bits that are left over are zero. */
static bool base64_read(const char *at, struct order *out)
{
    out->length = 0;
    while (*at) {
        uint32_t bits = 0;
        unsigned digits = 0;

        for (; digits < 4 && base64_value(*at) >= 0; digits++)
            bits = bits << 6 | (uint32_t)base64_value(*at++);
        for (unsigned i = digits; i < 4; i++)
            if (digits < 2 || *at++ != '=')
                return false;
        bits <<= 6 * (4 - digits);
        if (out->length + digits - 1 > ORDER_TEXT_MAX || bits & (0xffffffu >> (8 * (digits - 1))))
            return false;
        for (unsigned i = 0; i + 1 < digits; i++)
            out->text[out->length++] = (uint8_t)(bits >> (16 - 8 * i));
        if (digits < 4 && *at)
            return false;
    }
    return out->length > 0;
}

static bool ends_with_number(const char *at, uint32_t most, struct order *out)
{
    return text_number(&at, most, &out->value) && *at == '\0';
}

enum order_kind order_read(const char *line, struct order *out)
{
    if (text_word(&line, "status "))
        return ends_with_number(line, 2, out) ? ORDER_STATUS : ORDER_UNKNOWN;
    if (text_word(&line, "message "))
        return base64_read(line, out) ? ORDER_MESSAGE : ORDER_UNKNOWN;
    if (text_word(&line, "sound "))
        return ends_with_number(line, 255, out) ? ORDER_SOUND : ORDER_UNKNOWN;
    if (text_word(&line, "server "))
        return ends_with_number(line, 1, out) ? ORDER_SERVER : ORDER_UNKNOWN;
    if (text_word(&line, "clock "))
        return ends_with_number(line, UINT32_MAX, out) ? ORDER_CLOCK : ORDER_UNKNOWN;
    return ORDER_UNKNOWN;
}
