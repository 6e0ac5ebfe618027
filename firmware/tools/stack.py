# SPDX-License-Identifier: GPL-3.0-or-later
"""Work out the worst stack of an image from the compiler's call graphs, and fail if it is more than the image has.

    stack.py IMAGE.elf FOLDER

FOLDER has the `.ci` files of `gcc -fcallgraph-info=su`. The worst case is the deepest chain of calls from
Reset_Handler, plus the deepest of an interrupt (all have the same priority, so one cannot interrupt another), plus the
deepest of a fault on top of that. What cannot be known is an error: a call through a pointer, a recursion, a frame that
grows.
"""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

EXCEPTION = 8 * 4 + 4  # what the hardware pushes, and its alignment
NODE = re.compile(r'node: \{ title: "([^"]+)" label: "([^"]*)"')
EDGE = re.compile(r'edge: \{ sourcename: "([^"]+)" targetname: "([^"]+)"')
BYTES = re.compile(r"(\d+) bytes \((\w+)")

Chain = tuple[int, tuple[str, ...]]


class Graph:
    def __init__(self, folder: Path) -> None:
        self.frames: dict[str, int] = {}
        self.calls: dict[str, set[str]] = {}
        for path in folder.rglob("*.ci"):
            for line in path.read_text().splitlines():
                self._read(line)

    def _read(self, line: str) -> None:
        if match := NODE.match(line):
            title, label = match.groups()
            if size := BYTES.search(label):
                if size[2] != "static":
                    sys.exit(f"stack: the frame of {title} is {size[2]}")
                self.frames[title] = int(size[1])
        elif match := EDGE.match(line):
            self.calls.setdefault(match[1], set()).add(match[2])

    def worst(self, name: str, above: tuple[str, ...] = ()) -> Chain:
        """Return the bytes and the functions of the deepest chain from `name`."""
        if name in above:
            sys.exit(f"stack: recursion: {' > '.join((*above, name))}")
        if name not in self.frames:
            sys.exit(f"stack: nothing is known of {name}, called by {above[-1] if above else 'the hardware'}")
        deepest: Chain = (0, ())
        for callee in self.calls.get(name, ()):
            deepest = max(deepest, self.worst(callee, (*above, name)))
        return self.frames[name] + deepest[0], (name, *deepest[1])


def stack_size(image: str) -> int:
    command = ["arm-none-eabi-nm", image]
    symbols = subprocess.run(command, capture_output=True, text=True, check=True).stdout  # noqa: S603
    return next(int(line.split()[0], 16) for line in symbols.splitlines() if line.endswith(" STACK_SIZE"))


def main(image: str, folder: str) -> None:
    graph = Graph(Path(folder))
    handlers = [name for name in graph.frames if name.endswith("_Handler") and name != "Reset_Handler"]
    program = graph.worst("Reset_Handler")
    interrupt = max(graph.worst(name) for name in handlers if name != "Fault_Handler")
    fault = graph.worst("Fault_Handler")
    total = program[0] + EXCEPTION + interrupt[0] + EXCEPTION + fault[0]
    size = stack_size(image)
    print(f"{image}: worst stack {total} of {size} bytes: " + " > ".join(part.split(":")[-1] for part in program[1]))
    print(f"    {program[0]}, an interrupt {EXCEPTION} + {interrupt[0]}, a fault {EXCEPTION} + {fault[0]}")
    if total > size:
        sys.exit("stack: over the budget")


if __name__ == "__main__":
    main(*sys.argv[1:])
