/* SPDX-License-Identifier: GPL-3.0-or-later */
/* UTF-8 folded to the ASCII that an HD44780 can show. */
#ifndef FOLD_H
#define FOLD_H

#include <stddef.h>
#include <stdint.h>

/* Fold `length` bytes into at most `room` characters; return how many. Nothing folds to more than half again as many
   characters as it has bytes.

   Latin letters lose their accents, typographic signs become plain ones, what joins or modifies is dropped, control
   characters become spaces, and all else one `?`. What is not UTF-8 becomes one `?` for each maximal part that could
   have begun a character (Unicode, section 3.9, "U+FFFD Substitution of Maximal Subparts", as Python's
   `errors="replace"`). The display shows a yen sign for the backslash and an arrow for the tilde: they become `/` and
   `-`. */
size_t fold(const uint8_t *utf8, size_t length, char *to, size_t room);

#endif
