/* SPDX-License-Identifier: GPL-3.0-or-later */
/* The emulated board: QEMU's netduinoplus2, whose pins are a second UART (docs/link.md, "The front panel").
 *
 * What QEMU 7.2 does not emulate is not used: its UARTs never interrupt for room to send, its converter never ends a
 * conversion, it has no watchdog. All waiting is bounded.
 */
#include "board.h"

#include "ring.h"
#include "stm32f4.h"
#include "survive.h"
#include "text.h"
#include "thermo.h"
#include "uptime.h"

enum {
    CLOCK_HZ = 168000000, /* as QEMU has it from the start */
    BITE_TICKS = 1000,    /* unfed for so many milliseconds: reset */
    SEND_PATIENCE = 1000, /* looks at the flag, each some cycles long */
    KEY_MS = 30,          /* a key is down for so long, then up: longer than the debouncing takes */
    LINE_MAX = 32,
};

#define BITTEN 0xb17eb17eu

static struct ring bridge_in, panel_in, keys;
static uint32_t bitten SURVIVES; /* the reset's cause, as the real chip keeps one */
static bool was_bitten;
static volatile uint32_t ticks_unfed;

static bool button;
static uint16_t adc[SENSORS];
static char key;
static uint32_t key_ms;
static char line[LINE_MAX];
static uint8_t line_used;

void SysTick_Handler(void)
{
    uptime_tick();
    if (++ticks_unfed >= BITE_TICKS) {
        bitten = BITTEN;
        reset_now();
    }
}

/* QEMU keeps the next byte back until this one is read, so a full ring is no loss here: it is left there until there is
   room again. (A real wire does not wait, nor does the real board's handler.) */
static void receive(uint32_t usart, struct ring *ring)
{
    if (!ring_room(ring))
        USART_CR1(usart) &= ~CR1_RXNEIE;
    else if (USART_SR(usart) & SR_RXNE)
        ring_put(ring, (uint8_t)USART_DR(usart));
}

void USART1_Handler(void)
{
    receive(USART1, &bridge_in);
}

void USART2_Handler(void)
{
    receive(USART2, &panel_in);
}

static int take(uint32_t usart, struct ring *ring)
{
    int byte = ring_take(ring);

    if (byte < 0)
        USART_CR1(usart) |= CR1_RXNEIE;
    return byte;
}

static void send(uint32_t usart, char byte)
{
    for (unsigned i = 0; i < SEND_PATIENCE && !(USART_SR(usart) & SR_TXE); i++)
        ;
    USART_DR(usart) = (uint8_t)byte;
}

static void tell(const char *from, const char *end)
{
    while (from != end)
        send(USART2, *from++);
    send(USART2, '\n');
}

/* --- the panel */

static void obey(void)
{
    const char *at = line;
    uint32_t sensor, raw;

    line[line_used] = '\0';
    if (text_word(&at, "button "))
        button = *at == '1';
    else if (text_word(&at, "key "))
        ring_put(&keys, (uint8_t)*at);
    else if (text_word(&at, "adc ") && text_number(&at, SENSORS - 1, &sensor) && *at++ == ' '
             && text_number(&at, 4095, &raw))
        adc[sensor] = (uint16_t)raw;
    else if (text_word(&at, "hang"))
        for (;;)
            ;
}

static void read_panel(void)
{
    int byte;

    while ((byte = take(USART2, &panel_in)) >= 0) {
        if (byte == '\n') {
            obey();
            line_used = 0;
        } else if (line_used < LINE_MAX - 1) {
            line[line_used++] = (char)byte;
        }
    }
}

void board_poll(uint32_t now_ms)
{
    read_panel();
    if (now_ms - key_ms < KEY_MS)
        return;
    key_ms = now_ms;
    if (key) {
        key = 0;
    } else {
        int next = ring_take(&keys);

        key = next < 0 ? 0 : (char)next;
    }
}

bool board_button(void)
{
    return button;
}

char board_key(void)
{
    return key;
}

uint16_t board_adc(unsigned sensor)
{
    return adc[sensor];
}

void board_booted(enum boot boot)
{
    /* On a line of its own, since the reset may have cut another short. */
    static const char *const words[] = {
        [BOOT_COLD] = "\nboot cold", [BOOT_WARM] = "\nboot warm", [BOOT_WATCHDOG] = "\nboot watchdog",
    };
    char told[20];

    tell(told, text_put(told, words[boot]));
}

void board_lcd(unsigned row, const char *text)
{
    char told[32];
    char *end = text_put_number(text_put(told, "lcd "), row);

    *end++ = ' ';
    for (unsigned i = 0; i < 20; i++)
        *end++ = text[i];
    tell(told, end);
}

void board_led(bool on)
{
    static bool was_on;
    char told[8];

    if (on == was_on)
        return;
    was_on = on;
    tell(told, text_put(told, on ? "led 1" : "led 0"));
}

void board_tone(unsigned hz, unsigned ms)
{
    char told[32];
    char *end = text_put_number(text_put(told, "beep "), hz);

    *end++ = ' ';
    if (hz)
        tell(told, text_put_number(end, ms));
}

/* --- the rest */

static void start(uint32_t usart, unsigned irq)
{
    USART_BRR(usart) = CLOCK_HZ / 4 / 115200;
    USART_CR1(usart) = CR1_UE | CR1_RE | CR1_TE | CR1_RXNEIE;
    irq_enable(irq);
}

void board_init(void)
{
    was_bitten = bitten == BITTEN;
    bitten = 0;
    start(USART1, IRQ_USART1);
    start(USART2, IRQ_USART2);
    SYST_RVR = CLOCK_HZ / 1000 - 1;
    SYST_CVR = 0;
    SYST_CSR = SYST_CSR_ON;
}

bool board_bitten(void)
{
    return was_bitten;
}

void board_feed(void)
{
    ticks_unfed = 0;
}

void board_idle(void)
{
    __asm volatile("wfi");
}

int board_uart_read(void)
{
    return take(USART1, &bridge_in);
}

bool board_uart_write(const char *bytes, size_t count)
{
    while (count--)
        send(USART1, *bytes++);
    return true;
}
