/* SPDX-License-Identifier: GPL-3.0-or-later */
/* The button and the keypad: bounces, long presses, numbers. */
#include "button.h"
#include "check.h"
#include "keypad.h"

static void test_bounces_are_one_press(void)
{
    for (unsigned seed = 1; seed <= 500; seed++) {
        struct button button = {0};
        unsigned state = seed, downs = 0, shorts = 0, others = 0;
        uint32_t now_ms = UINT32_MAX - 200; /* across the wrap */

        for (unsigned i = 0; i < 100; i++, now_ms += SAMPLE_MS) {
            /* bounces for up to 15 ms, pressed for 200 ms, bounces again */
            bool bouncing = (i >= 20 && i < 23) || (i >= 60 && i < 63);
            bool pressed = bouncing ? draw(&state, 2) : i >= 20 && i < 60;

            switch (button_sample(&button, pressed, now_ms)) {
            case PRESS_DOWN:
                downs++;
                break;
            case PRESS_SHORT:
                shorts++;
                break;
            case PRESS_NONE:
                break;
            default:
                others++;
            }
        }
        CHECK(downs == 1 && shorts == 1 && others == 0, "seed %u: %u %u %u", seed, downs, shorts, others);
    }
}

static void test_spikes_are_no_press(void)
{
    struct button button = {0};

    for (unsigned i = 0; i < 1000; i++)
        CHECK(button_sample(&button, i % 5 < STABLE_SAMPLES - 1, i * SAMPLE_MS) == PRESS_NONE);
}

static void test_long_press(void)
{
    struct button button = {0};
    unsigned longs = 0, shorts = 0, ups = 0;

    for (uint32_t now_ms = 0; now_ms < 5000; now_ms += SAMPLE_MS) {
        enum press press = button_sample(&button, now_ms >= 100 && now_ms < 4000, now_ms);

        longs += press == PRESS_LONG;
        shorts += press == PRESS_SHORT;
        ups += press == PRESS_UP;
        CHECK(press != PRESS_LONG || (now_ms >= 100 + LONG_PRESS_MS && now_ms < 150 + LONG_PRESS_MS));
    }
    CHECK(longs == 1 && ups == 1 && shorts == 0);
}

static void test_keys_one_after_the_other(void)
{
    struct debounce keys = {0};
    unsigned pressed = 0;

    for (unsigned i = 0; i < 60; i++) {
        uint8_t level = i < 20 ? '5' : i < 40 ? '6' : 0; /* the next one before the first is up */

        if (debounce(&keys, level) && keys.stable) {
            CHECK(keys.stable == (pressed ? '6' : '5'));
            pressed++;
        }
    }
    CHECK(pressed == 2);
}

static struct keypad keypad;
static uint32_t person;

static enum typed type(const char *keys, uint32_t now_ms)
{
    enum typed typed = TYPED_NOTHING;

    while (*keys)
        typed = keypad_key(&keypad, *keys++, now_ms, &person);
    return typed;
}

static void test_numbers(void)
{
    CHECK(type("42#", 0) == TYPED_ENTER && person == 42);
    CHECK(keypad.count == 2); /* stays until it is done */
    CHECK(type("*", 0) == TYPED_LEAVE && person == 42);
    keypad_clear(&keypad);
    CHECK(type("#", 0) == TYPED_REFUSED);
    CHECK(type("*", 0) == TYPED_REFUSED);
    CHECK(type("999999", 0) == TYPED_DIGIT);
    CHECK(type("1", 0) == TYPED_REFUSED); /* a seventh */
    CHECK(type("*", 0) == TYPED_LEAVE && person == 999999);
    keypad_clear(&keypad);
    CHECK(type("000007#", 0) == TYPED_ENTER && person == 7);
    keypad_clear(&keypad);
    CHECK(type("A", 0) == TYPED_NOTHING && keypad.count == 0);
}

static void test_forgetting(void)
{
    uint32_t now_ms = UINT32_MAX - 5000;

    type("12", now_ms);
    keypad_tick(&keypad, now_ms + KEYPAD_FORGETS_MS - 1);
    CHECK(keypad.count == 2);
    keypad_tick(&keypad, now_ms + KEYPAD_FORGETS_MS);
    CHECK(keypad.count == 0);
    type("12", now_ms);
    CHECK(type("3#", now_ms + KEYPAD_FORGETS_MS) == TYPED_ENTER && person == 3);
}

int main(void)
{
    test_bounces_are_one_press();
    test_spikes_are_no_press();
    test_long_press();
    test_keys_one_after_the_other();
    test_numbers();
    test_forgetting();
    return passed(__FILE__);
}
