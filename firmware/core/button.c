/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "button.h"

bool debounce(struct debounce *contact, uint8_t level)
{
    if (level != contact->last) {
        contact->last = level;
        contact->agreed = 1;
        return false;
    }
    if (contact->agreed < STABLE_SAMPLES)
        contact->agreed++;
    if (contact->agreed < STABLE_SAMPLES || level == contact->stable)
        return false;
    contact->stable = level;
    return true;
}

enum press button_sample(struct button *button, bool pressed, uint32_t now_ms)
{
    if (debounce(&button->contact, pressed)) {
        if (button->contact.stable) {
            button->down_ms = now_ms;
            button->was_long = false;
            return PRESS_DOWN;
        }
        return button->was_long ? PRESS_UP : PRESS_SHORT;
    }
    if (button->contact.stable && !button->was_long && now_ms - button->down_ms >= LONG_PRESS_MS) {
        button->was_long = true;
        return PRESS_LONG;
    }
    return PRESS_NONE;
}
