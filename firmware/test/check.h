/* SPDX-License-Identifier: GPL-3.0-or-later */
/* All the test framework there is: CHECK, and a count of it. */
#ifndef CHECK_H
#define CHECK_H

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static unsigned long checks;

#define CHECK(condition, ...)                                                  \
    do {                                                                       \
        checks++;                                                              \
        if (!(condition)) {                                                    \
            printf("%s:%d: not so: %s", __FILE__, __LINE__, #condition);       \
            printf(" " __VA_ARGS__);                                           \
            putchar('\n');                                                     \
            exit(1);                                                           \
        }                                                                      \
    } while (0)

static inline int passed(const char *file)
{
    printf("%s: %lu checks\n", file, checks);
    return 0;
}

/* A generator of one's own, so that a seed means the same everywhere (xorshift, Marsaglia 2003). */
static inline unsigned draw(unsigned *state, unsigned below)
{
    *state ^= *state << 13;
    *state ^= *state >> 17;
    *state ^= *state << 5;
    return below ? *state % below : *state;
}

#endif
