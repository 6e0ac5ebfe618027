/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "frame.h"

#include "crc32.h"
#include "text.h"

enum { TAIL = 9 }; /* the star and eight digits */

static bool read_hex(const char *at, uint32_t *value)
{
    uint32_t sum = 0;

    for (unsigned i = 0; i < 8; i++) {
        char c = at[i];

        if (c >= '0' && c <= '9')
            sum = sum << 4 | (uint32_t)(c - '0');
        else if (c >= 'a' && c <= 'f')
            sum = sum << 4 | (uint32_t)(c - 'a' + 10);
        else
            return false;
    }
    *value = sum;
    return true;
}

/* A space and a number in its only form: no leading zero. */
static bool read_field(const char **at, uint32_t least, uint32_t most, uint32_t *value)
{
    if (*(*at)++ != ' ')
        return false;
    if (**at == '0' && (*at)[1] >= '0' && (*at)[1] <= '9')
        return false;
    return text_number(at, most, value) && *value >= least;
}

/* The body ends with a NUL at `end`, but noise may have put others into it: so each kind checks that it ends there. */
static enum frame_kind read_body(const char *at, const char *end, struct frame *out)
{
    switch (*at++) {
    case 'h':
        return at == end ? FRAME_HELLO : FRAME_NOISE;
    case 's':
        return read_field(&at, 1, SID_MAX, &out->sid) && at == end ? FRAME_SESSION : FRAME_NOISE;
    case 'a':
        return read_field(&at, 1, SID_MAX, &out->sid) && read_field(&at, 1, SID_MAX, &out->n) && at == end
                   ? FRAME_ACK : FRAME_NOISE;
    case 'd':
        if (!read_field(&at, 1, SID_MAX, &out->sid) || !read_field(&at, 1, SID_MAX, &out->n)
            || !read_field(&at, 0, UINT32_MAX, &out->age_ms) || *at++ != ' ' || at == end)
            return FRAME_NOISE;
        out->line = at;
        for (; at != end; at++)
            if (*at < ' ' || *at > '~')
                return FRAME_NOISE;
        return FRAME_DATA;
    default:
        return FRAME_NOISE;
    }
}

static enum frame_kind judge(struct frame_reader *reader, struct frame *out)
{
    size_t used = reader->used;
    uint32_t crc;
    char *star;

    out->noise = NOISE_EMPTY;
    if (used == 0)
        return FRAME_NOISE;
    out->noise = NOISE_NO_CRC;
    if (used < TAIL)
        return FRAME_NOISE;
    star = reader->bytes + used - TAIL;
    if (*star != '*' || !read_hex(star + 1, &crc))
        return FRAME_NOISE;
    out->noise = NOISE_BAD_CRC;
    if (crc32(0, reader->bytes, used - TAIL) != crc)
        return FRAME_NOISE;
    out->noise = NOISE_BAD_BODY;
    *star = '\0';
    return read_body(reader->bytes, star, out);
}

enum frame_kind frame_feed(struct frame_reader *reader, uint8_t byte, struct frame *out)
{
    enum frame_kind kind;

    if (byte == '\n') {
        kind = reader->skipping ? FRAME_NONE : judge(reader, out);
        reader->used = 0;
        reader->skipping = false;
        return kind;
    }
    if (reader->skipping)
        return FRAME_NONE;
    reader->bytes[reader->used++] = (char)byte;
    if (reader->used < FRAME_MAX)
        return FRAME_NONE;
    reader->skipping = true;
    out->noise = NOISE_TOO_LONG;
    return FRAME_NOISE;
}

static size_t finish(char *from, char *end)
{
    uint32_t crc = crc32(0, from, (size_t)(end - from));

    *end++ = '*';
    end = text_put_hex(end, crc);
    *end++ = '\n';
    return (size_t)(end - from);
}

size_t frame_hello(char *to)
{
    return finish(to, text_put(to, "h"));
}

static char *put_field(char *to, uint32_t value)
{
    *to++ = ' ';
    return text_put_number(to, value);
}

size_t frame_ack(char *to, uint32_t sid, uint32_t n)
{
    return finish(to, put_field(put_field(text_put(to, "a"), sid), n));
}

size_t frame_data(char *to, uint32_t sid, uint32_t n, uint32_t age_ms, const char *line, size_t length)
{
    char *end = put_field(put_field(put_field(text_put(to, "d"), sid), n), age_ms);

    *end++ = ' ';
    while (length--)
        *end++ = *line++;
    return finish(to, end);
}
