/* SPDX-License-Identifier: GPL-3.0-or-later */
/* The registers we use of an STM32F405/407 and its Cortex-M4: RM0090 and the ARMv7-M manual. */
#ifndef STM32F4_H
#define STM32F4_H

#include <stdint.h>

#define REGISTER(address) (*(volatile uint32_t *)(uintptr_t)(address))
#define BIT(n) (1u << (n))

#define CLOCK_HZ_HSI 16000000u

/* --- core */
#define SYST_CSR REGISTER(0xe000e010)
#define SYST_RVR REGISTER(0xe000e014)
#define SYST_CVR REGISTER(0xe000e018)
#define SYST_CSR_ON 7u /* the core's clock, interrupt, enable */
#define NVIC_ISER(irq) REGISTER(0xe000e100 + 4 * ((irq) / 32))
#define SCB_VTOR REGISTER(0xe000ed08)
#define SCB_AIRCR REGISTER(0xe000ed0c)
#define AIRCR_RESET (0x05fa0000u | BIT(2))

static inline void irq_enable(unsigned irq)
{
    NVIC_ISER(irq) = BIT(irq % 32);
}

static inline void reset_now(void)
{
    __asm volatile("dsb" ::: "memory");
    SCB_AIRCR = AIRCR_RESET;
    for (;;)
        ;
}

enum { IRQ_I2C1_EV = 31, IRQ_I2C1_ER = 32, IRQ_USART1 = 37, IRQ_USART2 = 38, IRQS = 82 };

/* --- reset and clock control */
#define RCC_AHB1ENR REGISTER(0x40023830)
#define RCC_APB1ENR REGISTER(0x40023840)
#define RCC_APB2ENR REGISTER(0x40023844)
#define RCC_CSR REGISTER(0x40023874)
#define APB1_TIM3 BIT(1)
#define APB1_USART2 BIT(17)
#define APB1_I2C1 BIT(21)
#define APB2_USART1 BIT(4)
#define APB2_ADC1 BIT(8)
#define CSR_RMVF BIT(24)
#define CSR_IWDGRSTF BIT(29)

/* --- pins; port A is 0 */
#define GPIO(port, offset) REGISTER(0x40020000 + 0x400 * (port) + (offset))
#define GPIO_MODER(port) GPIO(port, 0x00)
#define GPIO_OTYPER(port) GPIO(port, 0x04)
#define GPIO_PUPDR(port) GPIO(port, 0x0c)
#define GPIO_IDR(port) GPIO(port, 0x10)
#define GPIO_BSRR(port) GPIO(port, 0x18)
#define GPIO_AFR(port, pin) GPIO(port, 0x20 + 4 * ((pin) / 8))
enum { PORT_A, PORT_B, PORT_C };
enum pin_mode { PIN_INPUT, PIN_OUTPUT, PIN_ALTERNATE, PIN_ANALOG };

/* --- serial ports */
#define USART1 0x40011000u
#define USART2 0x40004400u
#define USART_SR(usart) REGISTER((usart) + 0x00)
#define USART_DR(usart) REGISTER((usart) + 0x04)
#define USART_BRR(usart) REGISTER((usart) + 0x08)
#define USART_CR1(usart) REGISTER((usart) + 0x0c)
#define SR_ORE BIT(3)
#define SR_RXNE BIT(5)
#define SR_TXE BIT(7)
#define CR1_RE BIT(2)
#define CR1_TE BIT(3)
#define CR1_RXNEIE BIT(5)
#define CR1_TXEIE BIT(7)
#define CR1_UE BIT(13)

/* --- I2C 1 */
#define I2C_CR1 REGISTER(0x40005400)
#define I2C_CR2 REGISTER(0x40005404)
#define I2C_OAR1 REGISTER(0x40005408)
#define I2C_DR REGISTER(0x40005410)
#define I2C_SR1 REGISTER(0x40005414)
#define I2C_SR2 REGISTER(0x40005418)
#define I2C_TRISE REGISTER(0x40005420)
#define I2C_CR1_PE BIT(0)
#define I2C_CR1_ACK BIT(10)
#define I2C_CR2_ITERREN BIT(8)
#define I2C_CR2_ITEVTEN BIT(9)
#define I2C_CR2_ITBUFEN BIT(10)
#define I2C_OAR1_ALWAYS_1 BIT(14)
#define I2C_SR1_ADDR BIT(1)
#define I2C_SR1_STOPF BIT(4)
#define I2C_SR1_RXNE BIT(6)
#define I2C_SR1_TXE BIT(7)
#define I2C_SR1_AF BIT(10)
#define I2C_SR1_ERRORS (BIT(8) | BIT(9) | BIT(11)) /* bus error, arbitration lost, overrun */
#define I2C_SR2_TRA BIT(2)

/* --- converter 1 */
#define ADC_SR REGISTER(0x40012000)
#define ADC_CR2 REGISTER(0x40012008)
#define ADC_SMPR2 REGISTER(0x40012010)
#define ADC_SQR3 REGISTER(0x40012034)
#define ADC_DR REGISTER(0x4001204c)
#define ADC_SR_EOC BIT(1)
#define ADC_CR2_ADON BIT(0)
#define ADC_CR2_SWSTART BIT(30)

/* --- timer 3, channel 1 */
#define TIM3_CR1 REGISTER(0x40000400)
#define TIM3_EGR REGISTER(0x40000414)
#define TIM3_CCMR1 REGISTER(0x40000418)
#define TIM3_CCER REGISTER(0x40000420)
#define TIM3_PSC REGISTER(0x40000428)
#define TIM3_ARR REGISTER(0x4000042c)
#define TIM3_CCR1 REGISTER(0x40000434)

/* --- independent watchdog */
#define IWDG_KR REGISTER(0x40003000)
#define IWDG_PR REGISTER(0x40003004)
#define IWDG_RLR REGISTER(0x40003008)
#define IWDG_FEED 0xaaaau
#define IWDG_UNLOCK 0x5555u
#define IWDG_START 0xccccu

#endif
