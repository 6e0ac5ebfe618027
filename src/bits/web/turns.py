"""Turns at the database: a few strangers read at once, some more wait, and the rest are told to come back."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from sanic import ServiceUnavailable

from bits.counters import Counters

RETRY_AFTER = 5  # seconds


class Turns:
    """Take turns, first come first served.

    Args:
        family: of the counter of those who were sent away.
        sentence: that they are told.
        at_once: have a turn.
        waiting: for one, beside those.
    """

    def __init__(self, counters: Counters, family: str, sentence: str, *, at_once: int, waiting: int) -> None:
        self.free = asyncio.Semaphore(at_once)  # for our own work, of which there is never much: it just waits
        self._counters = counters
        self._family = family
        self._sentence = sentence
        self._most = at_once + waiting
        self._here = 0

    @asynccontextmanager
    async def one(self) -> AsyncIterator[None]:
        """Wait for a turn, and have it.

        Raises:
            ServiceUnavailable: too many wait already.
        """
        if self._here >= self._most:
            self._counters[f'{self._family}_refused_total{{reason="busy"}}'] += 1
            raise ServiceUnavailable(self._sentence, headers={"Retry-After": str(RETRY_AFTER)})
        self._here += 1
        try:
            async with self.free:
                yield
        finally:
            self._here -= 1
