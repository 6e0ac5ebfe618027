/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "regs.h"

#include <string.h>

#include "thermo.h"

struct regs i2c_regs;

void regs_start(struct regs *regs)
{
    memset(regs, 0, sizeof *regs);
    regs->status = 255;
    regs->tenths = THERMO_NONE;
    regs->choosing = true;
}

/* What was given before has gone out by now: the master would not ask for more otherwise. */
static void settle(struct regs *regs)
{
    if (regs->given)
        ring_take(&regs->out);
    regs->given = false;
}

void regs_addressed(struct regs *regs, bool to_read, uint32_t now_ms)
{
    settle(regs);
    /* What waits since before the master went away has a wrong age by now, and is sent again anyway. */
    if (!regs->asked || now_ms - regs->asked_ms >= REGS_GONE_MS)
        while (ring_take(&regs->out) >= 0)
            ;
    regs->asked_ms = now_ms;
    regs->asked = true;
    regs->choosing = !to_read;
}

void regs_written(struct regs *regs, uint8_t byte)
{
    if (regs->choosing)
        regs->selected = byte;
    else if (regs->selected == REG_DATA)
        ring_put(&regs->in, byte); /* beyond ROOM: dropped */
    regs->choosing = false;
}

uint8_t regs_read(struct regs *regs)
{
    uint16_t tenths;

    settle(regs);
    switch (regs->selected) {
    case REG_DATA: /* reading stays here */
        if (!ring_used(&regs->out))
            return 0;
        regs->given = true;
        return regs->out.bytes[regs->out.out];
    case REG_ID:
        regs->selected++;
        return REGS_ID;
    case REG_VERSION:
        regs->selected++;
        return REGS_VERSION;
    case REG_WAITING:
        regs->selected++;
        return ring_used(&regs->out);
    case REG_ROOM:
        regs->selected++;
        return ring_room(&regs->in);
    case REG_STATUS:
        regs->selected++;
        return regs->status;
    case REG_TEMP:
        regs->selected++;
        tenths = (uint16_t)regs->tenths;
        regs->temp_low = (uint8_t)tenths;
        return (uint8_t)(tenths >> 8);
    case REG_TEMP_LOW:
        regs->selected++;
        return regs->temp_low;
    default:
        regs->selected++; /* there is nothing at the others; behind the last comes the first */
        return 0;
    }
}

void regs_unread(struct regs *regs)
{
    regs->given = false;
}

void regs_stopped(struct regs *regs)
{
    settle(regs);
}

bool regs_master_is_there(struct regs *regs, uint32_t now_ms)
{
    if (regs->asked && now_ms - regs->asked_ms >= REGS_GONE_MS)
        regs->asked = false; /* not left to the difference, which begins anew after 49 days */
    return regs->asked;
}

int regs_take(struct regs *regs)
{
    return ring_take(&regs->in);
}

bool regs_put(struct regs *regs, const char *bytes, size_t count)
{
    if (count > ring_room(&regs->out))
        return false;
    while (count--)
        ring_put(&regs->out, (uint8_t)*bytes++);
    return true;
}

void regs_show(struct regs *regs, uint8_t status, int16_t tenths)
{
    regs->status = status;
    regs->tenths = tenths;
}
