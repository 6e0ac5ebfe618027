/* SPDX-License-Identifier: GPL-3.0-or-later */
/* A reset between any two stores leaves the old state or the new one, and milliseconds that go on. */
#include "board_host.h"
#include "check.h"
#include "kept.h"
#include "uptime.h"

static void change(unsigned step)
{
    for (unsigned i = 0; i < MESSAGE_MAX; i++)
        kept.message[i] = (char)(step + i);
    kept.taken_n = step;
    kept.number = step;
    if (kept.outbox.count == OUTBOX_MAX)
        outbox_drop_oldest(&kept.outbox);
    outbox_put(&kept.outbox, ENTRY_ENTER, (int32_t)step, step);
}

static void test_every_cut(void)
{
    static struct kept old, wanted;
    volatile unsigned step = 1, stores = 0, old_found = 0, new_found = 0;
    volatile bool finished = false;

    memset(kept_memory, 0xa5, sizeof kept_memory);
    CHECK(!kept_load());
    CHECK(kept.status == STATUS_UNKNOWN && kept.number == 1 && kept.sid == 0);
    kept_commit();
    while (!finished) {
        old = kept;
        change(step++);
        wanted = kept;
        host_stores_left = stores;
        if (!setjmp(host_cut)) {
            kept_commit();
            finished = true; /* it took fewer stores than that */
            host_stores_left = -1;
        }
        memset(&kept, 0x5a, sizeof kept);
        CHECK(kept_load(), "after %u stores", stores);
        if (!memcmp(&kept, &old, sizeof kept))
            old_found++;
        else if (!memcmp(&kept, &wanted, sizeof kept))
            new_found++;
        else
            CHECK(false, "neither old nor new after %u stores", stores);
        stores++;
    }
    CHECK(old_found == sizeof kept / 4 + 4, "%u", old_found); /* up to the very last store */
    CHECK(new_found == 1);
}

/* A cut, and another during the first commit of the next life, and so on: never two damaged copies. */
static void test_cut_after_cut(void)
{
    static struct kept committed;
    volatile unsigned seed = 1, step;

    memset(kept_memory, 0, sizeof kept_memory);
    CHECK(!kept_load());
    kept_commit();
    committed = kept;
    for (step = 1; step < 2000; step++) {
        unsigned state = seed;

        host_stores_left = (long)draw(&state, sizeof kept / 4 + 8);
        seed = state;
        change(step);
        if (!setjmp(host_cut)) {
            kept_commit();
            committed = kept;
        }
        host_stores_left = -1;
        CHECK(kept_load());
        CHECK(!memcmp(&kept, &committed, sizeof kept));
    }
}

static void test_a_flipped_bit(void)
{
    static struct kept_copy whole[2];

    memset(kept_memory, 0, sizeof kept_memory);
    CHECK(!kept_load());
    kept.sid = 7;
    kept_commit();
    memcpy(whole, kept_memory, sizeof whole);
    for (size_t bit = 0; bit < 8 * sizeof whole[1]; bit += 3) {
        memcpy(kept_memory, whole, sizeof whole);
        ((uint8_t *)&kept_memory[1])[bit / 8] ^= (uint8_t)(1u << bit % 8);
        CHECK(!kept_load(), "bit %zu", bit);
    }
    memcpy(kept_memory, whole, sizeof whole);
    CHECK(kept_load() && kept.sid == 7);
}

static void test_uptime(void)
{
    memset(uptime_memory, 0xa5, sizeof uptime_memory);
    uptime_start();
    CHECK(uptime_ms() == 0);
    uptime_memory[0] = (struct uptime_copy){UINT32_MAX - 1, ~(UINT32_MAX - 1)}; /* soon to begin anew */
    uptime_start();
    CHECK(uptime_ms() == UINT32_MAX - 1);
    for (unsigned ms = 0; ms < 6; ms++)
        for (int stores = 0; stores < 3; stores++) {
            uint32_t before = uptime_ms();

            host_stores_left = stores;
            if (!setjmp(host_cut))
                uptime_tick();
            host_stores_left = -1;
            uptime_start();
            CHECK(uptime_ms() == before || uptime_ms() == before + 1);
        }
    CHECK(uptime_ms() == 4);
}

int main(void)
{
    test_every_cut();
    test_cut_after_cut();
    test_a_flipped_bit();
    test_uptime();
    return passed(__FILE__);
}
