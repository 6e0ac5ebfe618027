/* SPDX-License-Identifier: GPL-3.0-or-later */
/* What the bridge tells the board: docs/link.md, "Lines". */
#ifndef ORDER_H
#define ORDER_H

#include <stddef.h>
#include <stdint.h>

#define ORDER_TEXT_MAX 240u /* bytes of UTF-8 */

enum order_kind { ORDER_UNKNOWN, ORDER_STATUS, ORDER_MESSAGE, ORDER_SOUND, ORDER_SERVER, ORDER_CLOCK };

struct order {
    uint32_t value;
    size_t length; /* of the text of a message */
    uint8_t text[ORDER_TEXT_MAX];
};

/* Read one line. ORDER_UNKNOWN: it cannot be read, which is no fault: the bridge may be newer than the board. */
enum order_kind order_read(const char *line, struct order *out);

#endif
