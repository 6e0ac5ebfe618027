/* SPDX-License-Identifier: GPL-3.0-or-later */
/* The board as an I2C slave: a file of registers, docs/link.md, "Over I2C".
 *
 * The bus' interrupt calls the functions of the bus, the loop those of the loop. What goes between them goes through
 * two rings, or is one byte or half a word wide, so that neither side ever waits for the other or sees half of
 * something.
 */
#ifndef REGS_H
#define REGS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "ring.h"

#define REGS_ADDRESS 0x42u
#define REGS_ID 0xb1u
#define REGS_VERSION 1u
#define REGS_GONE_MS 1000u /* a master that asks every 50 ms at least and has not for so long has gone */

enum reg { REG_ID, REG_VERSION, REG_WAITING, REG_ROOM, REG_STATUS, REG_TEMP, REG_TEMP_LOW, REG_DATA = 0x10 };

struct regs {
    struct ring in, out; /* bytes of the bridge's frames, and of ours */
    volatile uint32_t asked_ms;
    volatile bool asked;
    volatile uint8_t status;
    volatile int16_t tenths;
    uint8_t selected;
    uint8_t temp_low;    /* as it was when the high byte was read */
    bool choosing;       /* the next written byte chooses the register */
    bool given;          /* the byte given last is still in the ring: see regs_unread() */
};

extern struct regs i2c_regs;

void regs_start(struct regs *regs);

/* --- the bus */

/* The master has addressed the board to write, or to read. */
void regs_addressed(struct regs *regs, bool to_read, uint32_t now_ms);
void regs_written(struct regs *regs, uint8_t byte);
uint8_t regs_read(struct regs *regs);

/* The byte that regs_read() returned last has not gone out after all: the hardware asks for it one byte ahead. */
void regs_unread(struct regs *regs);

/* The transfer has ended; whatever was read has gone out. */
void regs_stopped(struct regs *regs);

/* --- the loop */

bool regs_master_is_there(struct regs *regs, uint32_t now_ms);
int regs_take(struct regs *regs);                                   /* a byte of the bridge's, or -1 */
bool regs_put(struct regs *regs, const char *bytes, size_t count);  /* all or nothing */
void regs_show(struct regs *regs, uint8_t status, int16_t tenths);

#endif
