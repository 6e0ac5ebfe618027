/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Frames of the link between board and bridge: docs/link.md, "Frames". */
#ifndef FRAME_H
#define FRAME_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define FRAME_MAX 384u       /* bytes, LF included */
#define FRAME_OURS_MAX 96u   /* the longest one that this board sends is 77 bytes long */
#define SID_MAX 2147483647u  /* also the largest number of a line */

enum frame_kind { FRAME_NONE, FRAME_NOISE, FRAME_HELLO, FRAME_SESSION, FRAME_DATA, FRAME_ACK };

/* Why something was no frame; the first that applies. */
enum noise { NOISE_TOO_LONG, NOISE_EMPTY, NOISE_NO_CRC, NOISE_BAD_CRC, NOISE_BAD_BODY, NOISE_REASONS };

struct frame {
    enum noise noise; /* of FRAME_NOISE */
    uint32_t sid, n;
    uint32_t age_ms;  /* of FRAME_DATA, as is line */
    const char *line; /* ends with NUL; lives in the reader until the next byte is fed */
};

struct frame_reader {
    uint16_t used;
    bool skipping; /* the rest of a line that was too long */
    char bytes[FRAME_MAX];
};

/* Take one byte. Returns what it completes: FRAME_NONE while there is more to come. */
enum frame_kind frame_feed(struct frame_reader *reader, uint8_t byte, struct frame *out);

/* Write one into FRAME_OURS_MAX bytes; return its length. */
size_t frame_hello(char *to);
size_t frame_ack(char *to, uint32_t sid, uint32_t n);
/* `line` has no NUL behind it and leaves the frame within FRAME_OURS_MAX. */
size_t frame_data(char *to, uint32_t sid, uint32_t n, uint32_t age_ms, const char *line, size_t length);

#endif
