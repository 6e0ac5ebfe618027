from collections.abc import Callable
from typing import final

from typing_extensions import disjoint_base

GOING_AWAY: int
TRY_LATER: int

@final
@disjoint_base
class Hub:
    """Every open push connection of one wire form, and one way to reach them all."""

    joined: int
    left: int
    sent: int
    conflated: int
    stalled: int
    broken: int

    def __init__(self, newest: Callable[[], bytes]) -> None: ...
    def __len__(self) -> int: ...
    def fileno(self) -> int: ...
    def add(self, fd: int, first: bytes, now: float) -> None: ...
    def publish(self, frame: bytes, now: float) -> tuple[int, int]: ...
    def on_ready(self, now: float) -> None: ...
    def sweep(self, now: float, stall: float) -> None: ...
    def close(self, code: int, now: float) -> None: ...
