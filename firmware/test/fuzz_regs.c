/* SPDX-License-Identifier: GPL-3.0-or-later */
/* A master that does whatever it likes, and a loop that does its part at any moment, against a model of what must hold:
   no byte of the board's frames is lost, doubled or moved, and none of the bridge's that had room. */
#include <stdlib.h>
#include <string.h>

#include "regs.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void must(int holds)
{
    if (!holds)
        abort();
}

/* The bytes of our frames count up in this test, and are never 0. */
static uint8_t after(uint8_t byte)
{
    return byte == 255 ? 1 : (uint8_t)(byte + 1);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct regs regs;
    uint8_t put = 1, got = 1; /* the next one of ours to be put, and to be read */
    uint8_t written = 0, taken = 0;
    bool ahead = false, reading = false, writing_data = false;
    uint32_t now_ms = 0;

    regs_start(&regs);
    regs_addressed(&regs, true, now_ms);
    for (size_t i = 0; i + 1 < size; i += 2) {
        uint8_t what = data[i], value = data[i + 1];

        switch (what % 8) {
        case 0:
            if (ahead) /* no stop was seen: the byte has gone out */
                got = after(got);
            now_ms += value; /* never long enough to be gone */
            regs_addressed(&regs, false, now_ms);
            regs_written(&regs, value % 24);
            writing_data = value % 24 == REG_DATA;
            reading = ahead = false;
            break;
        case 1:
            if (ahead)
                got = after(got);
            regs_addressed(&regs, true, now_ms);
            reading = true;
            ahead = writing_data = false;
            break;
        case 2:
            if (writing_data) {
                bool room = ring_room(&regs.in) > 0;

                regs_written(&regs, written);
                written = (uint8_t)(written + room);
            }
            break;
        case 3:
        case 4:
            if (reading) {
                bool data_register = regs.selected == REG_DATA;
                uint8_t waiting, byte;

                if (ahead)
                    got = after(got); /* that one has gone out now */
                waiting = (uint8_t)(ring_used(&regs.out) - ahead);
                byte = regs_read(&regs);
                ahead = data_register && waiting;
                if (data_register)
                    must(byte == (waiting ? got : 0));
            }
            break;
        case 5:
            if (reading) {
                if (value & 1)
                    regs_unread(&regs);
                else if (ahead)
                    got = after(got);
                regs_stopped(&regs);
                reading = ahead = false;
            }
            break;
        case 6: {
            char bytes[255];
            uint8_t next = put;

            for (unsigned j = 0; j < value; j++) {
                bytes[j] = (char)next;
                next = after(next);
            }
            if (regs_put(&regs, bytes, value))
                put = next;
            break;
        }
        default: {
            int byte = regs_take(&regs);

            if (byte >= 0)
                must(byte == taken++);
            else
                must(taken == written);
        }
        }
    }
    return 0;
}
