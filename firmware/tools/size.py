# SPDX-License-Identifier: GPL-3.0-or-later
"""Say in a line per image what `size -A` says: how much of the budget of flash and RAM is used."""

from __future__ import annotations

import sys

FLASH, RAM = 32 * 1024, 8 * 1024
image, used = "", {"flash": 0, "ram": 0}


def report() -> None:
    if image:
        print(f"{image}: flash {used['flash']} of {FLASH} bytes, RAM with stack {used['ram']} of {RAM}")
        if used["flash"] > FLASH or used["ram"] > RAM:
            sys.exit("size: over the budget")


for line in sys.stdin:
    words = line.split()
    if line.rstrip().endswith(":"):
        report()
        image, used = words[0], {"flash": 0, "ram": 0}
    elif len(words) == 3 and words[1].isdigit():
        used["flash"] += int(words[1]) if words[0] in (".text", ".data") else 0
        used["ram"] += int(words[1]) if words[0] in (".stack", ".noinit", ".data", ".bss") else 0
report()
