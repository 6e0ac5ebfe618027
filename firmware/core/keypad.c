/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "keypad.h"

enum typed keypad_key(struct keypad *keypad, char key, uint32_t now_ms, uint32_t *person)
{
    keypad_tick(keypad, now_ms);
    keypad->last_ms = now_ms;
    if (key >= '0' && key <= '9') {
        if (keypad->count == KEYPAD_DIGITS)
            return TYPED_REFUSED;
        keypad->digits[keypad->count++] = key;
        return TYPED_DIGIT;
    }
    if (key != '#' && key != '*')
        return TYPED_NOTHING;
    if (!keypad->count)
        return TYPED_REFUSED;
    *person = 0;
    for (unsigned i = 0; i < keypad->count; i++)
        *person = *person * 10 + (uint32_t)(keypad->digits[i] - '0');
    return key == '#' ? TYPED_ENTER : TYPED_LEAVE;
}

void keypad_clear(struct keypad *keypad)
{
    keypad->count = 0;
}

void keypad_tick(struct keypad *keypad, uint32_t now_ms)
{
    if (keypad->count && now_ms - keypad->last_ms >= KEYPAD_FORGETS_MS)
        keypad_clear(keypad);
}
