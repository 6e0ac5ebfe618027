/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Bytes from an interrupt to the loop or back: one side puts, the other takes, and neither waits. */
#ifndef RING_H
#define RING_H

#include <stdbool.h>
#include <stdint.h>

#define RING_SIZE 256u /* the indices are bytes and wrap by themselves; 255 bytes of room */

struct ring {
    volatile uint8_t in;  /* only the putting side writes it */
    volatile uint8_t out; /* only the taking side writes it */
    volatile uint8_t bytes[RING_SIZE];
};

static inline uint8_t ring_used(const struct ring *ring)
{
    return (uint8_t)(ring->in - ring->out);
}

static inline uint8_t ring_room(const struct ring *ring)
{
    return (uint8_t)(RING_SIZE - 1 - ring_used(ring));
}

static inline bool ring_put(struct ring *ring, uint8_t byte)
{
    if (!ring_room(ring))
        return false;
    ring->bytes[ring->in] = byte;
    ring->in = (uint8_t)(ring->in + 1); /* after the byte: the other side may look at any moment */
    return true;
}

/* Return the next byte, or -1. */
static inline int ring_take(struct ring *ring)
{
    int byte;

    if (!ring_used(ring))
        return -1;
    byte = ring->bytes[ring->out];
    ring->out = (uint8_t)(ring->out + 1);
    return byte;
}

#endif
