from collections.abc import Sequence
from typing import Self, final

WEBSOCKET: int
EVENT_STREAM: int
LONG_POLL: int
POLL: int
TRANSPORTS: tuple[str, ...]

def address_number(address: str) -> int: ...

@final
class Swarm:
    """Push clients of one process."""

    ready: int
    ever_ready: int
    failed: int
    dropped: int
    received: int
    bytes_received: int
    doubled: int
    disordered: int
    pings: int
    broken: int
    begun: float
    complete: float

    def __new__(
        cls,
        host: str,
        port: int,
        sources: Sequence[str],
        counts: Sequence[int],
        requests: list[bytes],
        again_long: bytes,
        again_poll: bytes,
        marker: bytes,
        *,
        ramp: float,
        in_flight: int,
        poll: float,
        epoch: float,
    ) -> Self: ...
    @property
    def trouble(self) -> str: ...
    def ready_of(self, kind: int) -> int: ...
    def arrivals(self, kind: int) -> bytes: ...
    def run(self, until: float) -> None: ...
