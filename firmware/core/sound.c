/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "sound.h"

#include <stddef.h>

#include "timer.h"

enum { NOTES = 6 };

static const struct note sounds[SOUNDS][NOTES] = {
    [0] = {{880, 200}},
    [1] = {{880, 100}, {0, 100}, {880, 100}},
    [2] = {{660, 150}, {880, 150}, {1100, 250}},
    [3] = {{1100, 150}, {880, 150}, {660, 250}},
    [4] = {{784, 250}, {622, 400}},                         /* a door bell */
    [5] = {{1500, 80}, {0, 80}, {1500, 80}, {0, 80}, {1500, 80}},
    [6] = {{523, 120}, {659, 120}, {784, 120}, {1047, 300}},
    [7] = {{600, 300}, {900, 300}, {600, 300}, {900, 300}}, /* an alarm */
    [SOUND_CLICK] = {{2000, 10}},
    [SOUND_UP] = {{1000, 10}},
    [SOUND_OPEN] = {{1000, 80}, {1500, 120}},
    [SOUND_CLOSED] = {{1490, 80}, {990, 120}},
    [SOUND_AWAY] = {{1250, 300}},
    [SOUND_TAKEN] = {{1800, 120}},
    [SOUND_ERROR] = {{200, 400}},
};

void sound_play(struct player *player, unsigned sound, uint32_t now_ms)
{
    player->next = sounds[sound < SOUNDS ? sound : 0];
    player->due_ms = now_ms;
}

struct note sound_tick(struct player *player, uint32_t now_ms)
{
    struct note note = {0, 0};

    if (!player->next || !is_due(player->due_ms, now_ms))
        return note;
    note = *player->next++;
    player->due_ms = now_ms + note.ms;
    if (!note.ms)
        player->next = NULL;
    return note;
}
