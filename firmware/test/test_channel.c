/* SPDX-License-Identifier: GPL-3.0-or-later */
/* The board's end of the link against a bridge, over a wire that flips bits, loses and invents bytes, and is cut, while
 * either end is started anew at any moment, the board even between two stores of a commit.
 *
 * What the board has acknowledged to a person reaches the bridge exactly once and in order; what it has not, at most
 * once. What the bridge says is taken exactly once and in order, but for the one line that was under way when the
 * bridge was started anew: it may come again, under the new session.
 *
 * The bridge is naive on purpose, and shares no code with the board: its own CRC, a string for a frame, sscanf.
 */
#include "board_host.h"
#include "check.h"
#include "kept.h"
#include "link.h"
#include "order.h"

enum { STEP_MS = 10, WIRE = 2048, PRESSES = 24, NEWS = 24, TROUBLE_MS = 40000, END_MS = 120000 };

static unsigned state; /* of the generator */
static uint32_t now_ms;

/* --- the wire */

static struct wire {
    char bytes[WIRE];
    size_t count;
} to_board, to_bridge;

static struct {
    unsigned flips, losses, inventions; /* per 100,000 bytes */
    bool cut;
} trouble;

static void put(struct wire *wire, const char *bytes, size_t count)
{
    for (; count--; bytes++) {
        char byte = *bytes;

        if (trouble.cut || draw(&state, 100000) < trouble.losses || wire->count + 2 > WIRE)
            continue;
        if (draw(&state, 100000) < trouble.flips)
            byte ^= (char)(1 << draw(&state, 8));
        wire->bytes[wire->count++] = byte;
        if (draw(&state, 100000) < trouble.inventions)
            wire->bytes[wire->count++] = (char)draw(&state, 256);
    }
}

/* --- the bridge */

static struct {
    /* on its disk */
    unsigned seen_sid, seen_n;
    int taken[PRESSES + 8];
    unsigned taken_count;
    unsigned said; /* lines that the board has acknowledged */
    /* in its memory */
    unsigned sid, n;
    bool under_way;
    uint32_t due_ms;
    char line[512];
    size_t used;
} bridge;

static unsigned naive_crc(const char *text)
{
    unsigned crc = 0xffffffff;

    for (; *text; text++)
        for (int bit = 0; bit < 8; bit++)
            crc = crc >> 1 ^ (((crc ^ (unsigned char)*text >> bit) & 1) ? 0xedb88320 : 0);
    return ~crc;
}

static void bridge_say(const char *body)
{
    char frame[128];
    int length = snprintf(frame, sizeof frame, "%s*%08x\n", body, naive_crc(body));

    put(&to_board, frame, (size_t)length);
}

static void bridge_start(void)
{
    bridge.sid = 1 + draw(&state, 1000000000);
    bridge.n = 1;
    bridge.under_way = false;
    bridge.used = 0;
}

static void bridge_hear(char *line)
{
    char *star = strrchr(line, '*'), body[64];
    unsigned crc, sid, n, age;
    int person;

    if (!star || strlen(star) != 9 || sscanf(star + 1, "%8x", &crc) != 1)
        return;
    *star = '\0';
    if (naive_crc(line) != crc)
        return;
    if (!strcmp(line, "h")) {
        do
            sid = 1 + draw(&state, 1000000000);
        while (sid == bridge.seen_sid);
        snprintf(body, sizeof body, "s %u", sid);
        bridge_say(body);
    } else if (sscanf(line, "a %u %u", &sid, &n) == 2) {
        if (bridge.under_way && sid == bridge.sid && n == bridge.n) {
            bridge.under_way = false;
            bridge.n++;
            bridge.said++;
        }
    } else if (sscanf(line, "d %u %u %u enter %d", &sid, &n, &age, &person) == 4) {
        if (sid != bridge.seen_sid || n > bridge.seen_n) {
            if (!draw(&state, 10))
                return; /* it cannot just now */
            CHECK(bridge.taken_count < PRESSES + 8);
            bridge.taken[bridge.taken_count++] = person;
            bridge.seen_sid = sid;
            bridge.seen_n = n;
        }
        snprintf(body, sizeof body, "a %u %u", sid, n);
        bridge_say(body);
    } else {
        CHECK(false, "the bridge heard %s", line);
    }
}

static void bridge_step(unsigned news)
{
    char body[64];

    for (size_t i = 0; i < to_bridge.count; i++) {
        char byte = to_bridge.bytes[i];

        if (byte == '\n') {
            bridge.line[bridge.used] = '\0';
            bridge_hear(bridge.line);
            bridge.used = 0;
        } else if (bridge.used + 1 < sizeof bridge.line) {
            bridge.line[bridge.used++] = byte ? byte : '?';
        }
    }
    to_bridge.count = 0;
    if (bridge.said < news && (!bridge.under_way || (int32_t)(now_ms - bridge.due_ms) >= 0)) {
        bridge.under_way = true;
        bridge.due_ms = now_ms + 250;
        snprintf(body, sizeof body, "d %u %u 0 clock %u", bridge.sid, bridge.n, bridge.said + 1);
        bridge_say(body);
    }
}

/* --- the board */

static struct link link;
static struct frame_reader reader;
static unsigned doubled, restarts;

static void board_start(void)
{
    kept_load();
    link_start(&link, now_ms);
    memset(&reader, 0, sizeof reader);
}

/* A commit in danger: a reset may come between two of its stores. */
static bool board_commit(void)
{
    host_stores_left = trouble.flips && !draw(&state, 40) ? (long)draw(&state, sizeof kept / 4 + 8) : -1;
    if (!setjmp(host_cut)) {
        kept_commit();
        host_stores_left = -1;
        return true;
    }
    restarts++;
    board_start();
    return false;
}

static void board_step(void)
{
    char frame_bytes[FRAME_OURS_MAX];

    for (size_t i = 0; i < to_board.count; i++) {
        struct frame frame;
        struct order order;
        enum frame_kind kind = frame_feed(&reader, (uint8_t)to_board.bytes[i], &frame);

        switch (link_take(&link, kind, &frame, now_ms)) {
        case LINK_LINE:
            CHECK(order_read(frame.line, &order) == ORDER_CLOCK);
            if (order.value == kept.clock_s) {
                doubled++;
                CHECK(frame.n == 1); /* the first of a new session */
            } else {
                CHECK(order.value == kept.clock_s + 1, "%u after %u", order.value, kept.clock_s);
            }
            kept.clock_s = order.value;
            if (!board_commit())
                i = to_board.count;
            break;
        case LINK_SESSION:
        case LINK_ARRIVED:
            if (!board_commit())
                i = to_board.count;
            break;
        case LINK_NOTHING:
            break;
        }
    }
    to_board.count = 0;
    for (size_t length; (length = link_send(&link, frame_bytes, now_ms)) > 0;)
        put(&to_bridge, frame_bytes, length);
}

static void run(unsigned seed)
{
    int acknowledged[PRESSES];
    unsigned presses = 0, tries = 0, news = 0, bridge_starts = 0, end_ms, i, j;

    state = seed * 2654435761u | 1;
    now_ms = draw(&state, 0);
    memset(kept_memory, 0, sizeof kept_memory);
    memset(&bridge, 0, sizeof bridge);
    memset(&trouble, 0, sizeof trouble);
    to_board.count = to_bridge.count = 0;
    doubled = restarts = 0;
    trouble.flips = 1 + draw(&state, 4) * 300;
    trouble.losses = draw(&state, 4) * 100;
    trouble.inventions = draw(&state, 4) * 100;
    bridge_start();
    board_start();

    for (end_ms = 0; end_ms < END_MS; end_ms += STEP_MS, now_ms += STEP_MS) {
        if (end_ms < TROUBLE_MS) {
            if (!draw(&state, 100))
                trouble.cut = !draw(&state, 3);
            if (!draw(&state, 600)) {
                bridge_start();
                bridge_starts++;
            }
            if (!draw(&state, 400)) {
                board_start();
                to_board.count = 0;
                if (draw(&state, 2)) /* half a frame on the wire */
                    put(&to_bridge, "d 77 1 0 ent", 12);
                restarts++;
            }
            if (!draw(&state, 100) && presses < PRESSES
                && outbox_put(&kept.outbox, ENTRY_ENTER, (int32_t)++tries, now_ms) && board_commit())
                acknowledged[presses++] = (int)tries;
            if (!draw(&state, 100) && news < NEWS)
                news++;
        } else {
            memset(&trouble, 0, sizeof trouble);
            if (!kept.outbox.count && bridge.said == news)
                break;
        }
        bridge_step(news);
        board_step();
    }
    CHECK(end_ms < END_MS, "seed %u: stuck", seed);
    CHECK(kept.clock_s == news, "seed %u", seed);
    CHECK(doubled <= bridge_starts, "seed %u", seed);
    for (i = j = 0; i < bridge.taken_count; i++) {
        CHECK(i == 0 || bridge.taken[i] > bridge.taken[i - 1], "seed %u: doubled, or out of order", seed);
        j += j < presses && bridge.taken[i] == acknowledged[j];
    }
    CHECK(j == presses, "seed %u: %u of %u arrived", seed, j, presses);
}

int main(int count, char **arguments)
{
    unsigned runs = count > 1 ? (unsigned)atoi(arguments[1]) : 3000, all_restarts = 0;

    for (unsigned seed = 1; seed <= runs; seed++) {
        run(seed);
        all_restarts += restarts;
    }
    printf("%u runs, %u restarts of the board\n", runs, all_restarts);
    return passed(__FILE__);
}
