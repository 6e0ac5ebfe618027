/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Anything that may come over the wire. An even first byte: the rest comes as it is. An odd one: each line of the rest
   is made a good frame first, so that what lies behind the checksum is reached. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "board_host.h"
#include "crc32.h"
#include "kept.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void must(int holds)
{
    if (!holds)
        abort();
}

static void send_framed(const char *data, size_t size)
{
    while (size) {
        const char *end = memchr(data, '\n', size);
        size_t length = end ? (size_t)(end - data) : size;
        char tail[16];

        host_send(data, length);
        snprintf(tail, sizeof tail, "*%08x\n", crc32(0, data, length));
        host_send(tail, 10);
        data += length + (end ? 1 : 0);
        size -= length + (end ? 1 : 0);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 2 || size > 4096)
        return 0;
    host_power_on();
    host.button = data[0] & 2; /* something may be on its way */
    host_run(60);
    host.button = false;
    if (data[0] & 1)
        send_framed((const char *)data + 1, size - 1);
    else
        host_send((const char *)data + 1, size - 1);
    host_run(60);
    must(kept.outbox.count <= 1 && kept.message_length <= MESSAGE_MAX);
    must(kept.status <= STATUS_AWAY || kept.status == STATUS_UNKNOWN);
    for (unsigned i = 0; i < 4; i++)
        for (unsigned j = 0; j < 20; j++)
            must(host.rows[i][j] >= ' ' && host.rows[i][j] <= '~');
    for (size_t i = 0; i < host.out_count; i++)
        must(host.out[i] == '\n' || (host.out[i] >= ' ' && host.out[i] <= '~'));
    host_reset(); /* what it has committed can be read again */
    must(host.boot == BOOT_WARM);
    return 0;
}
