"""How far a load test is, while it runs: one line that is written over, or a line a second where nobody sits."""

from __future__ import annotations

import time
from collections.abc import Mapping
from types import TracebackType
from typing import Self, TextIO

REFRESH = 0.1
SLOW_REFRESH = 1.0


class Progress:
    """Show progress on a stream."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._live = stream.isatty()
        self._next = 0.0
        self._phase = ""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._live:
            self._stream.write("\r\x1b[K")
            self._stream.flush()

    def show(self, phase: str, totals: Mapping[str, int], clients: int) -> None:
        now = time.monotonic()
        if now < self._next and phase == self._phase:
            return
        if not self._live and phase != self._phase:
            now = max(now, self._next - SLOW_REFRESH)
        self._phase = phase
        self._next = now + (REFRESH if self._live else SLOW_REFRESH)
        line = f"{phase}: {totals['ready']} of {clients} clients, {totals['received']} messages"
        if trouble := totals["failed"] + totals["dropped"] + totals["broken"]:
            line += f", {trouble} in trouble"
        self._stream.write(f"\r\x1b[K{line}" if self._live else line + "\n")
        self._stream.flush()
