/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Contacts bounce. This makes one press of a press: of the button, and of a key of the keypad. */
#ifndef BUTTON_H
#define BUTTON_H

#include <stdbool.h>
#include <stdint.h>

#define SAMPLE_MS 5u       /* call once per so many milliseconds */
#define STABLE_SAMPLES 4u  /* that many agreeing samples: 20 ms, longer than contacts bounce */
#define LONG_PRESS_MS 1500u

/* A level that may bounce: 0 for none, or which key. */
struct debounce {
    uint8_t stable, last, agreed;
};

/* Take a sample. True: `stable` has changed. */
bool debounce(struct debounce *contact, uint8_t level);

enum press { PRESS_NONE, PRESS_DOWN, PRESS_SHORT, PRESS_LONG, PRESS_UP };

struct button {
    struct debounce contact;
    uint32_t down_ms;
    bool was_long;
};

/* Take a sample. A press is PRESS_DOWN, then PRESS_SHORT when it ends; or PRESS_LONG as soon as it has lasted
   LONG_PRESS_MS and PRESS_UP when it ends. */
enum press button_sample(struct button *button, bool pressed, uint32_t now_ms);

#endif
