"""What the benchmarks work on: seeded, so that every run sees the same."""

from __future__ import annotations

import base64
import random


def lines(count: int, seed: int = 1, *, numbered: bool = False) -> bytes:
    """Return a busy space's lines: sensors that waver, people who come and go, now and then a word.

    Args:
        numbered: as version 2 sends them.
    """
    chance = random.Random(seed)
    degrees = [21.5, 19.0, 4.5, 60.0]
    said: list[str] = []
    for number in range(1, count + 1):
        what = chance.random()
        if what < 0.85:
            sensor = chance.randrange(len(degrees))
            degrees[sensor] = round(min(max(degrees[sensor] + chance.choice((-0.1, 0, 0.1)), -20), 80), 1)
            line = f"temperature {sensor} {degrees[sensor]:.1f}".removesuffix(".0").replace("-0.0", "0")
        elif what < 0.93:
            line = f"status {chance.randrange(2)}"
        elif what < 0.98:
            line = f"{chance.choice(('enter', 'leave'))} {chance.randrange(100, 160)}"
        elif what < 0.99:
            line = f"sound {chance.randrange(10)}"
        else:
            text = f"Ciao a tutti da {chance.randrange(1000)}, il caffè è pronto"
            line = f"message {base64.b64encode(text.encode()).decode()}"
        said.append(f"@{number} {chance.randrange(1000)} {line}" if numbered else line)
    return "".join(line + "\n" for line in said).encode()


def unrepeated(count: int, seed: int = 1) -> bytes:
    """Return lines of which hardly any comes twice: what remembering lines cannot help."""
    chance = random.Random(seed)
    said = [
        f"enter {chance.randrange(1000000)}"
        if chance.random() < 0.1
        else f"temperature {chance.randrange(256)} {chance.uniform(-20, 80):.3f}".rstrip("0").rstrip(".")
        for _ in range(count)
    ]
    return "".join(line + "\n" for line in said).replace(" -0\n", " 0\n").encode()


def chunks(data: bytes, size: int = 65536) -> list[bytes]:
    """Cut a stream as a socket would give it."""
    return [data[at : at + size] for at in range(0, len(data), size)]
