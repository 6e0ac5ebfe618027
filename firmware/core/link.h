/* SPDX-License-Identifier: GPL-3.0-or-later */
/* The board's end of the link: docs/link.md, "Sending" and "Receiving". It works on `kept` and does no I/O. */
#ifndef LINK_H
#define LINK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "frame.h"

#define LINK_QUIET_MS 30000u /* without a good frame: the link is down */

struct link {
    uint32_t heard_ms;  /* the last good frame */
    uint32_t due_ms;    /* when to send again */
    uint32_t wait_ms;   /* between the last two sendings of the line under way; 0: not sent yet */
    uint32_t ack_sid, ack_n; /* to be sent; sid 0: none */
    bool quiet;
};

/* What the caller has to do about a frame. */
enum link_news {
    LINK_NOTHING,
    LINK_SESSION, /* `kept` has a session now: commit it */
    LINK_ARRIVED, /* the oldest line has left the outbox: look at what follows from that, and commit */
    LINK_LINE,    /* frame->line is new and marked as taken: do what it says, and commit, before link_send() */
};

void link_start(struct link *link, uint32_t now_ms);
enum link_news link_take(struct link *link, enum frame_kind kind, const struct frame *frame, uint32_t now_ms);

/* Write the frame that is due now into FRAME_OURS_MAX bytes and return its length; 0: none. */
size_t link_send(struct link *link, char *to, uint32_t now_ms);

/* Nothing good was heard for LINK_QUIET_MS. Ask often. */
bool link_quiet(struct link *link, uint32_t now_ms);

#endif
