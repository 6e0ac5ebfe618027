/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "board_host.h"

#include <stdlib.h>
#include <string.h>

#include "app.h"
#include "kept.h"
#include "regs.h"
#include "survive.h"
#include "uptime.h"

struct host host;
long host_stores_left = -1;
jmp_buf host_cut;

void host_store(volatile uint32_t *place, uint32_t value)
{
    if (host_stores_left == 0) {
        host_stores_left = -1;
        longjmp(host_cut, 1);
    }
    if (host_stores_left > 0)
        host_stores_left--;
    *place = value;
}

void host_power_on(void)
{
    memset(kept_memory, 0xa5, sizeof kept_memory);
    memset(uptime_memory, 0xa5, sizeof uptime_memory);
    host_reset();
}

void host_reset(void)
{
    bool bitten = host.bitten;

    memset(&host, 0, sizeof host);
    host.bitten = bitten;
    uptime_start();
    regs_start(&i2c_regs);
    board_init();
    app_start();
}

void host_run(unsigned ms)
{
    while (ms--) {
        uptime_tick();
        app_step();
    }
}

void host_send(const char *bytes, size_t count)
{
    if (host.in_count + count > sizeof host.in)
        abort();
    memcpy(host.in + host.in_count, bytes, count);
    host.in_count += count;
}

bool host_tone(unsigned hz)
{
    bool heard = false;

    for (unsigned i = 0; i < host.tone_count; i++)
        heard |= host.tones[i].hz == hz;
    host.tone_count = 0;
    return heard;
}

/* --- board.h */

void board_init(void)
{
}

void board_poll(uint32_t now_ms)
{
    (void)now_ms;
}

void board_idle(void)
{
}

bool board_bitten(void)
{
    return host.bitten;
}

void board_feed(void)
{
    host.fed++;
}

void board_booted(enum boot boot)
{
    host.boot = boot;
}

int board_uart_read(void)
{
    if (host.in_taken == host.in_count) {
        host.in_taken = host.in_count = 0;
        return -1;
    }
    return host.in[host.in_taken++];
}

bool board_uart_write(const char *bytes, size_t count)
{
    if (host.deaf || host.out_count + count > sizeof host.out)
        return false;
    memcpy(host.out + host.out_count, bytes, count);
    host.out_count += count;
    return true;
}

bool board_button(void)
{
    return host.button;
}

char board_key(void)
{
    return host.key;
}

uint16_t board_adc(unsigned sensor)
{
    return host.adc[sensor];
}

void board_lcd(unsigned row, const char *text)
{
    memcpy(host.rows[row], text, 20);
}

void board_led(bool on)
{
    host.led = on;
}

void board_tone(unsigned hz, unsigned ms)
{
    if (host.tone_count == HOST_TONES)
        return;
    host.tones[host.tone_count].hz = hz;
    host.tones[host.tone_count++].ms = ms;
}
