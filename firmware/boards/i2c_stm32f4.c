/* SPDX-License-Identifier: GPL-3.0-or-later */
/* I2C 1 as a slave: moves bytes between the bus and the registers of core/regs.c. The board sets up SCL and SDA. */
#include "regs.h"
#include "stm32f4.h"
#include "uptime.h"

void i2c_start(void);
void I2C1_EV_Handler(void);
void I2C1_ER_Handler(void);

void i2c_start(void)
{
    I2C_CR1 = 0;
    I2C_CR2 = CLOCK_HZ_HSI / 1000000 | I2C_CR2_ITERREN | I2C_CR2_ITEVTEN | I2C_CR2_ITBUFEN;
    I2C_TRISE = CLOCK_HZ_HSI / 1000000 + 1;
    I2C_OAR1 = I2C_OAR1_ALWAYS_1 | REGS_ADDRESS << 1;
    I2C_CR1 = I2C_CR1_PE;
    I2C_CR1 |= I2C_CR1_ACK;
    irq_enable(IRQ_I2C1_EV);
    irq_enable(IRQ_I2C1_ER);
}

void I2C1_EV_Handler(void)
{
    uint32_t status = I2C_SR1;

    if (status & I2C_SR1_RXNE)
        regs_written(&i2c_regs, (uint8_t)I2C_DR); /* before ADDR, which may belong to the next transfer */
    if (status & I2C_SR1_STOPF) {
        I2C_CR1 |= I2C_CR1_ACK; /* this write after the read of SR1 clears the flag */
        regs_stopped(&i2c_regs);
    }
    if (status & I2C_SR1_ADDR) {
        regs_addressed(&i2c_regs, I2C_SR2 & I2C_SR2_TRA, uptime_ms()); /* reading SR2 clears the flag */
        return; /* TXE of the transfer that ended may still be in `status` */
    }
    if (status & I2C_SR1_TXE)
        I2C_DR = regs_read(&i2c_regs);
}

void I2C1_ER_Handler(void)
{
    uint32_t status = I2C_SR1;

    if (status & I2C_SR1_AF) { /* the master has read enough */
        if (!(status & I2C_SR1_TXE))
            regs_unread(&i2c_regs); /* a byte was written ahead and still stands in DR */
        regs_stopped(&i2c_regs);
        I2C_CR1 = 0; /* empties DR, which would go out first the next time */
        I2C_CR1 = I2C_CR1_PE;
        I2C_CR1 |= I2C_CR1_ACK;
    }
    if (status & (I2C_SR1_AF | I2C_SR1_ERRORS))
        I2C_SR1 = ~(I2C_SR1_AF | I2C_SR1_ERRORS) & 0xffff;
}
