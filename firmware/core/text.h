/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Small words and numbers, read and written without a C library. */
#ifndef TEXT_H
#define TEXT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Read digits up to the first other character and step *at behind them. False: no digit, or more than `most`. */
bool text_number(const char **at, uint32_t most, uint32_t *value);

/* Step *at behind `word` if it begins there. */
bool text_word(const char **at, const char *word);

/* Write at `to` and return the place behind; nothing ends with a NUL. The caller has the room. */
char *text_put(char *to, const char *words);
char *text_put_number(char *to, uint32_t value);
char *text_put_padded(char *to, uint32_t value, unsigned digits); /* with leading zeros */
char *text_put_tenths(char *to, int32_t tenths);                  /* 215 is 21.5, -5 is -0.5 */
char *text_put_hex(char *to, uint32_t value);                     /* eight lower-case digits */

#endif
