/* SPDX-License-Identifier: GPL-3.0-or-later */
/* What runs before main(), and the table of interrupts. */
#include <stddef.h>
#include <stdint.h>

#include "stm32f4.h"

extern uint32_t data_begin[], data_end[], data_image[], bss_begin[], bss_end[], stack_top[];

int main(void);
void Reset_Handler(void);
void Fault_Handler(void);
void SysTick_Handler(void);
void USART1_Handler(void);
void USART2_Handler(void);
void I2C1_EV_Handler(void);
void I2C1_ER_Handler(void);

/* The compiler calls these for copies and fills of its own. There is no C library. */
void *memcpy(void *restrict to, const void *restrict from, size_t count);
void *memset(void *to, int byte, size_t count);
int memcmp(const void *a, const void *b, size_t count);

void *memcpy(void *restrict to, const void *restrict from, size_t count)
{
    uint8_t *out = to;
    const uint8_t *in = from;

    while (count--)
        *out++ = *in++;
    return to;
}

void *memset(void *to, int byte, size_t count)
{
    uint8_t *out = to;

    while (count--)
        *out++ = (uint8_t)byte;
    return to;
}

int memcmp(const void *a, const void *b, size_t count)
{
    const uint8_t *left = a, *right = b;

    for (; count--; left++, right++)
        if (*left != *right)
            return *left - *right;
    return 0;
}

void Reset_Handler(void)
{
    const uint32_t *from = data_image;

    SCB_VTOR = 0x08000000;
    for (uint32_t *to = data_begin; to != data_end;)
        *to++ = *from++;
    for (uint32_t *to = bss_begin; to != bss_end;)
        *to++ = 0;
    main();
    reset_now();
}

/* Whatever went wrong, what counts is committed: begin again from there. */
void Fault_Handler(void)
{
    reset_now();
}

/* A board has those of these that it uses. */
void USART1_Handler(void) __attribute__((weak, alias("Fault_Handler")));
void USART2_Handler(void) __attribute__((weak, alias("Fault_Handler")));
void I2C1_EV_Handler(void) __attribute__((weak, alias("Fault_Handler")));
void I2C1_ER_Handler(void) __attribute__((weak, alias("Fault_Handler")));

typedef void (*handler)(void);

struct vectors {
    uint32_t *stack;
    handler core[15]; /* from the reset to SysTick */
    handler irqs[IRQS];
};

__attribute__((section(".vectors"), used)) static const struct vectors vectors = {
    .stack = stack_top,
    .core = {[0] = Reset_Handler, [1 ... 13] = Fault_Handler, [14] = SysTick_Handler},
    .irqs = {
        [0 ... IRQ_I2C1_EV - 1] = Fault_Handler, /* none of the others is ever enabled */
        [IRQ_I2C1_EV] = I2C1_EV_Handler,
        [IRQ_I2C1_ER] = I2C1_ER_Handler,
        [IRQ_I2C1_ER + 1 ... IRQ_USART1 - 1] = Fault_Handler,
        [IRQ_USART1] = USART1_Handler,
        [IRQ_USART2] = USART2_Handler,
        [IRQ_USART2 + 1 ... IRQS - 1] = Fault_Handler,
    },
};
