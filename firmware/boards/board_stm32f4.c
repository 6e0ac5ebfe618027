/* SPDX-License-Identifier: GPL-3.0-or-later */
/* The real board: an STM32F405 or F407 on its internal 16 MHz oscillator. Pins: docs/board.md. */
#include "board.h"

#include "hd44780.h"
#include "ring.h"
#include "stm32f4.h"
#include "thermo.h"
#include "uptime.h"

enum {
    PIN_ADC0 = 0, PIN_TX = 9, PIN_RX = 10,                        /* port A; the second sensor is at pin 1 */
    PIN_BUTTON = 0, PIN_LED = 1, PIN_BUZZER = 4, PIN_SCL = 6, PIN_SDA = 7, /* port B */
    PIN_RS = 0, PIN_E = 1, PIN_D4 = 2, PIN_ROW0 = 6, PIN_COLUMN0 = 10,     /* port C */
    KEY_ROWS = 4, KEY_COLUMNS = 3,
    TONE_CLOCK_HZ = 1000000,
};

static struct ring uart_in, uart_out;
static bool bitten;
static uint16_t readings[SENSORS];
static unsigned converting;
static unsigned scanned_row;
static char found_key, key;
static uint32_t scan_ms, tone_ends_ms;
static bool sounding;

void SysTick_Handler(void);
void USART1_Handler(void);
void i2c_start(void);

void SysTick_Handler(void)
{
    uptime_tick();
}

void USART1_Handler(void)
{
    uint32_t status = USART_SR(USART1);

    if (status & (SR_RXNE | SR_ORE)) /* an overrun interrupts until DR is read, too */
        ring_put(&uart_in, (uint8_t)USART_DR(USART1)); /* no room: lost, and sent again */
    if (status & SR_TXE && USART_CR1(USART1) & CR1_TXEIE) {
        int byte = ring_take(&uart_out);

        if (byte >= 0)
            USART_DR(USART1) = (uint8_t)byte;
        else
            USART_CR1(USART1) &= ~CR1_TXEIE;
    }
}

/* --- setting up */

static void pin_mode(unsigned port, unsigned pin, enum pin_mode mode)
{
    GPIO_MODER(port) = (GPIO_MODER(port) & ~(3u << 2 * pin)) | (uint32_t)mode << 2 * pin;
}

static void pin_pull_up(unsigned port, unsigned pin)
{
    GPIO_PUPDR(port) = (GPIO_PUPDR(port) & ~(3u << 2 * pin)) | 1u << 2 * pin;
}

static void pin_function(unsigned port, unsigned pin, unsigned function)
{
    unsigned shift = pin % 8 * 4;

    GPIO_AFR(port, pin) = (GPIO_AFR(port, pin) & ~(15u << shift)) | function << shift;
    pin_mode(port, pin, PIN_ALTERNATE);
}

static void set_pin(unsigned port, unsigned pin, bool high)
{
    GPIO_BSRR(port) = BIT(high ? pin : pin + 16);
}

static void start_pins(void)
{
    RCC_AHB1ENR |= BIT(PORT_A) | BIT(PORT_B) | BIT(PORT_C);
    for (unsigned i = 0; i < SENSORS; i++)
        pin_mode(PORT_A, PIN_ADC0 + i, PIN_ANALOG);
    pin_function(PORT_A, PIN_TX, 7);
    pin_pull_up(PORT_A, PIN_RX); /* an unplugged wire is quiet */
    pin_function(PORT_A, PIN_RX, 7);
    pin_pull_up(PORT_B, PIN_BUTTON);
    pin_mode(PORT_B, PIN_LED, PIN_OUTPUT);
    pin_function(PORT_B, PIN_BUZZER, 2);
    GPIO_OTYPER(PORT_B) |= BIT(PIN_SCL) | BIT(PIN_SDA);
    pin_function(PORT_B, PIN_SCL, 4);
    pin_function(PORT_B, PIN_SDA, 4);
    for (unsigned i = 0; i < 6; i++) /* RS, E, D4 to D7 */
        pin_mode(PORT_C, PIN_RS + i, PIN_OUTPUT);
    for (unsigned i = 0; i < KEY_ROWS; i++) {
        GPIO_OTYPER(PORT_C) |= BIT(PIN_ROW0 + i); /* two keys at once must not short two rows */
        set_pin(PORT_C, PIN_ROW0 + i, true);
        pin_mode(PORT_C, PIN_ROW0 + i, PIN_OUTPUT);
    }
    for (unsigned i = 0; i < KEY_COLUMNS; i++)
        pin_pull_up(PORT_C, PIN_COLUMN0 + i);
}

static void start_converter(void)
{
    RCC_APB2ENR |= APB2_ADC1;
    ADC_SMPR2 = 7u << 3 * PIN_ADC0 | 7u << 3 * (PIN_ADC0 + 1); /* 480 cycles: the sources need not be strong */
    ADC_CR2 = ADC_CR2_ADON;
}

static void start_watchdog(void)
{
    IWDG_KR = IWDG_UNLOCK;
    IWDG_PR = 3;     /* 32 kHz / 32: a millisecond, as far as that oscillator can be trusted */
    IWDG_RLR = 1000;
    IWDG_KR = IWDG_START;
    IWDG_KR = IWDG_FEED;
}

void board_init(void)
{
    bitten = RCC_CSR & CSR_IWDGRSTF;
    RCC_CSR |= CSR_RMVF;
    start_watchdog();
    start_pins();
    start_converter();
    RCC_APB1ENR |= APB1_TIM3 | APB1_I2C1;
    RCC_APB2ENR |= APB2_USART1;
    TIM3_PSC = CLOCK_HZ_HSI / TONE_CLOCK_HZ - 1;
    TIM3_CCMR1 = 6u << 4; /* PWM mode 1 */
    TIM3_CCER = 1;
    USART_BRR(USART1) = (CLOCK_HZ_HSI + 115200 / 2) / 115200;
    USART_CR1(USART1) = CR1_UE | CR1_RE | CR1_TE | CR1_RXNEIE;
    irq_enable(IRQ_USART1);
    i2c_start();
    hd44780_start(uptime_ms());
    SYST_RVR = CLOCK_HZ_HSI / 1000 - 1;
    SYST_CVR = 0;
    SYST_CSR = SYST_CSR_ON;
}

bool board_bitten(void)
{
    return bitten;
}

void board_feed(void)
{
    IWDG_KR = IWDG_FEED;
}

void board_booted(enum boot boot)
{
    (void)boot; /* only the emulated board has someone to tell */
}

void board_idle(void)
{
    __asm volatile("wfi");
}

/* --- chores */

static void convert(void)
{
    if (ADC_SR & ADC_SR_EOC) {
        readings[converting] = (uint16_t)ADC_DR; /* reading clears the flag */
        converting = (converting + 1) % SENSORS;
    } else if (ADC_CR2 & ADC_CR2_SWSTART) {
        return; /* not begun yet */
    }
    ADC_SQR3 = PIN_ADC0 + converting;
    ADC_CR2 = ADC_CR2_ADON | ADC_CR2_SWSTART;
}

/* One row a millisecond: the wires have settled since it was chosen. */
static void scan_keys(void)
{
    static const char keys[KEY_ROWS][KEY_COLUMNS + 1] = {"123", "456", "789", "*0#"};

    for (unsigned i = 0; i < KEY_COLUMNS; i++)
        if (!(GPIO_IDR(PORT_C) & BIT(PIN_COLUMN0 + i)))
            found_key = keys[scanned_row][i];
    set_pin(PORT_C, PIN_ROW0 + scanned_row, true);
    if (++scanned_row == KEY_ROWS) {
        scanned_row = 0;
        key = found_key;
        found_key = 0;
    }
    set_pin(PORT_C, PIN_ROW0 + scanned_row, false);
}

void board_poll(uint32_t now_ms)
{
    hd44780_step(now_ms);
    if (scan_ms == now_ms)
        return;
    scan_ms = now_ms;
    convert();
    scan_keys();
    if (sounding && (int32_t)(now_ms - tone_ends_ms) >= 0)
        board_tone(0, 0);
}

bool board_button(void)
{
    return !(GPIO_IDR(PORT_B) & BIT(PIN_BUTTON));
}

char board_key(void)
{
    return key;
}

uint16_t board_adc(unsigned sensor)
{
    return readings[sensor];
}

void board_lcd(unsigned row, const char *text)
{
    hd44780_row(row, text);
}

void hd44780_nibble(bool data, uint8_t bits)
{
    GPIO_BSRR(PORT_C) = (uint32_t)(~bits & 15) << (PIN_D4 + 16) | (uint32_t)(bits & 15) << PIN_D4
                        | BIT(data ? PIN_RS : PIN_RS + 16);
    set_pin(PORT_C, PIN_E, true);
    for (unsigned i = 0; i < 8; i++) /* a cycle takes 62.5 ns */
        __asm volatile("nop");
    set_pin(PORT_C, PIN_E, false);
    for (unsigned i = 0; i < 8; i++)
        __asm volatile("nop");
}

void board_led(bool on)
{
    set_pin(PORT_B, PIN_LED, on);
}

void board_tone(unsigned hz, unsigned ms)
{
    sounding = hz > TONE_CLOCK_HZ / 65536;
    if (sounding) {
        tone_ends_ms = uptime_ms() + ms;
        TIM3_ARR = TONE_CLOCK_HZ / hz - 1;
        TIM3_CCR1 = TONE_CLOCK_HZ / hz / 2;
        TIM3_EGR = 1;
    } else {
        TIM3_CCR1 = 0;
    }
    TIM3_CR1 = 1; /* with a compare value of 0 the pin stays low */
}

int board_uart_read(void)
{
    return ring_take(&uart_in);
}

bool board_uart_write(const char *bytes, size_t count)
{
    if (count > ring_room(&uart_out))
        return false;
    while (count--)
        ring_put(&uart_out, (uint8_t)*bytes++);
    USART_CR1(USART1) |= CR1_TXEIE;
    return true;
}
