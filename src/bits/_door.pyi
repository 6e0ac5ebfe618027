from collections.abc import Callable
from typing import Self, final

BAD: bytes
LONG: bytes
LATE: bytes

def refusal(status: str, sentence: str) -> bytes: ...

@final
class Answer:
    """Finished bytes for one fast route."""

    def __init__(
        self, plain: bytes, packed: bytes | None = None, unchanged: bytes | None = None, tag: bytes | None = None
    ) -> None: ...

@final
class Door:
    """Accept, answer, refuse, hand on."""

    accepted: int
    answered: int
    unchanged: int
    handed_on: int
    evicted: int
    late: int
    stalled: int
    long: int
    full: int

    def __new__(
        cls,
        listener: int,
        answer: Callable[[int, int], Answer],
        join: Callable[[int, int, int, int | None, float, bool | None, bool, bytes | None, bytes], None],
        hand_on: Callable[[int, bytes], None],
        *,
        most: int,
        head_seconds: float = 10,
        idle_seconds: float = 75,
        fast: bool = True,
    ) -> Self: ...
    def __len__(self) -> int: ...
    def fileno(self) -> int: ...
    def outdate(self) -> None: ...
    def refused(self) -> dict[str, int]: ...
    def on_connect(self, now: float) -> bool: ...
    def adopt(self, fd: int, now: float) -> None: ...
    def on_ready(self, now: float) -> None: ...
    def sweep(self, now: float) -> None: ...
    def close(self) -> None: ...
