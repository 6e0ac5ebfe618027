/* SPDX-License-Identifier: GPL-3.0-or-later */
/* The vectors that the bridge reads too, whole, in pieces, and behind noise; and our own frames read back. */
#include "check.h"
#include "crc32.h"
#include "frame.h"

struct vector {
    const char *name, *bytes;
    size_t count, frame_count;
    struct wanted {
        enum frame_kind kind;
        unsigned noise;
        uint32_t sid, n, age_ms;
        const char *line;
    } frames[4];
};

#include "link_vectors.h"

static struct frame_reader reader;

static void check_frame(const struct vector *vector, const struct wanted *wanted, enum frame_kind kind,
                        const struct frame *got)
{
    CHECK(kind == wanted->kind, "%s: %d", vector->name, kind);
    if (kind == FRAME_NOISE)
        CHECK(got->noise == wanted->noise, "%s: %d", vector->name, got->noise);
    if (kind == FRAME_SESSION || kind == FRAME_DATA || kind == FRAME_ACK)
        CHECK(got->sid == wanted->sid, "%s", vector->name);
    if (kind == FRAME_DATA || kind == FRAME_ACK)
        CHECK(got->n == wanted->n, "%s", vector->name);
    if (kind == FRAME_DATA) {
        CHECK(got->age_ms == wanted->age_ms, "%s", vector->name);
        CHECK(!strcmp(got->line, wanted->line), "%s: %s", vector->name, got->line);
    }
}

static void test_vectors(void)
{
    for (size_t i = 0; i < sizeof vectors / sizeof *vectors; i++) {
        const struct vector *vector = &vectors[i];
        size_t seen = 0;

        memset(&reader, 0, sizeof reader);
        for (size_t j = 0; j < vector->count; j++) {
            struct frame frame;
            enum frame_kind kind = frame_feed(&reader, (uint8_t)vector->bytes[j], &frame);

            if (kind == FRAME_NONE)
                continue;
            CHECK(seen < vector->frame_count, "%s", vector->name);
            check_frame(vector, &vector->frames[seen++], kind, &frame);
        }
        CHECK(seen == vector->frame_count, "%s: %zu", vector->name, seen);
    }
}

static enum frame_kind feed(const char *bytes, size_t count, struct frame *frame)
{
    enum frame_kind kind = FRAME_NONE;

    for (size_t i = 0; i < count; i++)
        kind = frame_feed(&reader, (uint8_t)bytes[i], frame);
    return kind;
}

static void test_ours(void)
{
    char bytes[FRAME_OURS_MAX];
    struct frame frame;
    size_t count;

    CHECK(feed(bytes, frame_hello(bytes), &frame) == FRAME_HELLO);
    CHECK(feed(bytes, frame_ack(bytes, SID_MAX, 1), &frame) == FRAME_ACK);
    CHECK(frame.sid == SID_MAX && frame.n == 1);
    count = frame_data(bytes, SID_MAX, SID_MAX, UINT32_MAX, "temperature 255 -40.0", 21);
    CHECK(count < FRAME_OURS_MAX);
    CHECK(feed(bytes, count, &frame) == FRAME_DATA);
    CHECK(frame.n == SID_MAX && frame.age_ms == UINT32_MAX && !strcmp(frame.line, "temperature 255 -40.0"));
}

/* Whatever single bit is flipped, nothing else is read than noise (or two pieces of it, if it makes an LF). */
static void test_each_flipped_bit(void)
{
    char bytes[FRAME_OURS_MAX];
    size_t count = frame_data(bytes, 7, 42, 1234, "status 1", 8);

    for (size_t bit = 0; bit < 8 * (count - 1); bit++) {
        bytes[bit / 8] ^= (char)(1 << bit % 8);
        for (size_t i = 0; i < count; i++) {
            struct frame frame;
            enum frame_kind kind = frame_feed(&reader, (uint8_t)bytes[i], &frame);

            CHECK(kind == FRAME_NONE || kind == FRAME_NOISE);
        }
        bytes[bit / 8] ^= (char)(1 << bit % 8);
    }
}

int main(void)
{
    CHECK(crc32(0, "123456789", 9) == 0xcbf43926);
    CHECK(crc32(crc32(0, "1234", 4), "56789", 5) == 0xcbf43926);
    test_vectors();
    test_ours();
    test_each_flipped_bit();
    return passed(__FILE__);
}
