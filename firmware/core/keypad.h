/* SPDX-License-Identifier: GPL-3.0-or-later */
/* A person's number, typed: digits, then # to enter or * to leave. */
#ifndef KEYPAD_H
#define KEYPAD_H

#include <stdint.h>

#define KEYPAD_DIGITS 6u
#define KEYPAD_FORGETS_MS 10000u /* without a key: somebody has walked away */

struct keypad {
    uint32_t last_ms;
    uint8_t count;
    char digits[KEYPAD_DIGITS];
};

enum typed { TYPED_NOTHING, TYPED_DIGIT, TYPED_REFUSED, TYPED_ENTER, TYPED_LEAVE };

/* Take a key. Refused: a seventh digit, or # or * without a number; what was typed stays. After TYPED_ENTER and
   TYPED_LEAVE *person is the number, and the digits are still there: clear them once it is done. */
enum typed keypad_key(struct keypad *keypad, char key, uint32_t now_ms, uint32_t *person);

void keypad_clear(struct keypad *keypad);

/* Forget what nobody went on with. Call often. */
void keypad_tick(struct keypad *keypad, uint32_t now_ms);

#endif
