/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "app.h"
#include "board.h"
#include "regs.h"
#include "uptime.h"

int main(void)
{
    uptime_start();
    regs_start(&i2c_regs); /* before the bus may interrupt */
    board_init();
    app_start();
    for (;;) {
        app_step();
        board_idle();
    }
}
