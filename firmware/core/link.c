/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "link.h"

#include "kept.h"
#include "timer.h"

enum { HELLO_MS = 500, FIRST_WAIT_MS = 250, LONGEST_WAIT_MS = 2000 };

void link_start(struct link *link, uint32_t now_ms)
{
    *link = (struct link){.heard_ms = now_ms, .due_ms = now_ms};
}

enum link_news link_take(struct link *link, enum frame_kind kind, const struct frame *frame, uint32_t now_ms)
{
    if (kind == FRAME_NONE || kind == FRAME_NOISE)
        return LINK_NOTHING;
    link->heard_ms = now_ms;
    link->quiet = false;

    switch (kind) {
    case FRAME_SESSION:
        if (kept.sid)
            return LINK_NOTHING; /* only the first counts: the others answer the same question late */
        kept.sid = frame->sid;
        kept.number = 1;
        return LINK_SESSION;
    case FRAME_ACK:
        if (!kept.sid || frame->sid != kept.sid || frame->n != kept.number || !kept.outbox.count)
            return LINK_NOTHING;
        outbox_drop_oldest(&kept.outbox);
        link->wait_ms = 0;
        if (kept.number == SID_MAX) {
            kept.sid = 0; /* used up: ask for another */
            link->due_ms = now_ms;
        } else {
            kept.number++;
        }
        return LINK_ARRIVED;
    case FRAME_DATA:
        link->ack_sid = frame->sid;
        link->ack_n = frame->n;
        if (frame->sid == kept.taken_sid && frame->n <= kept.taken_n)
            return LINK_NOTHING;
        kept.taken_sid = frame->sid;
        kept.taken_n = frame->n;
        return LINK_LINE;
    default:
        return LINK_NOTHING; /* a hello is the board's own to send */
    }
}

size_t link_send(struct link *link, char *to, uint32_t now_ms)
{
    const struct entry *oldest = outbox_oldest(&kept.outbox);
    char line[LINE_OURS_MAX];

    if (link->ack_sid) {
        uint32_t sid = link->ack_sid;

        link->ack_sid = 0;
        return frame_ack(to, sid, link->ack_n);
    }
    if (!kept.sid) {
        if (!is_due(link->due_ms, now_ms))
            return 0;
        link->due_ms = now_ms + HELLO_MS;
        return frame_hello(to);
    }
    if (!oldest || (link->wait_ms && !is_due(link->due_ms, now_ms)))
        return 0;
    link->wait_ms = !link->wait_ms ? FIRST_WAIT_MS
                    : link->wait_ms < LONGEST_WAIT_MS ? link->wait_ms * 2 : LONGEST_WAIT_MS;
    link->due_ms = now_ms + link->wait_ms;
    return frame_data(to, kept.sid, kept.number, now_ms - oldest->happened_ms, line, entry_line(oldest, line));
}

bool link_quiet(struct link *link, uint32_t now_ms)
{
    if (now_ms - link->heard_ms >= LINK_QUIET_MS)
        link->quiet = true; /* latched: the difference begins anew after 49 days */
    return link->quiet;
}
