/* SPDX-License-Identifier: GPL-3.0-or-later */
/* What the buzzer plays: patterns of notes, one after the other, without waiting. */
#ifndef SOUND_H
#define SOUND_H

#include <stdint.h>

/* The first eight are for `sound <n>`; a larger n counts on from the first again. */
enum sound {
    SOUND_PATTERNS = 8,
    SOUND_CLICK = SOUND_PATTERNS, /* the button or a key went down */
    SOUND_UP,                     /* the button came up after a long press */
    SOUND_OPEN,
    SOUND_CLOSED,
    SOUND_AWAY,
    SOUND_TAKEN, /* a number from the keypad */
    SOUND_ERROR, /* refused: nothing was changed */
    SOUNDS,
};

struct note {
    uint16_t hz, ms; /* 0 Hz: a rest; 0 ms: the end */
};

struct player {
    const struct note *next;
    uint32_t due_ms; /* when the note that is playing ends */
};

void sound_play(struct player *player, unsigned sound, uint32_t now_ms); /* instead of what plays now */

/* The note that begins now; {0, 0}: none does. */
struct note sound_tick(struct player *player, uint32_t now_ms);

#endif
