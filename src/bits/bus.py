"""How the rest of the process hears of events, once they are in the log."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence

from bits.events import Stored

log = logging.getLogger("bits.bus")

Subscriber = Callable[[Sequence[Stored]], None]


class Bus:
    """Tell every subscriber of each committed batch, in order, at once.

    Subscribers must not wait. One that fails is logged and does not keep the others from hearing.
    """

    def __init__(self) -> None:
        self._subscribers: list[Subscriber] = []

    def subscribe(self, subscriber: Subscriber) -> None:
        self._subscribers.append(subscriber)

    def publish(self, batch: Sequence[Stored]) -> None:
        for subscriber in self._subscribers:
            try:
                subscriber(batch)
            except Exception:
                log.exception("a subscriber failed at event %d", batch[0].seq)
