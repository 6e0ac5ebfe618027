"""Keeps the outlook true: learns anew each day, and looks at each event in between, which takes no learning."""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta

from bits import tasks
from bits.config import Config
from bits.counters import Counters
from bits.events import Status, Stored
from bits.forecast.outlook import Outlook
from bits.forecast.present import Present, at_present
from bits.liveness import Clock
from bits.refit import in_own_process, task, to_record
from bits.store import Store

log = logging.getLogger("bits.forecast")

LOOK_BACK = timedelta(days=4)  # what the next hours are judged by, and a day of room
# A log younger than this says nothing of weeks yet.
YOUNGEST = timedelta(days=14)
AFTER_START, AFTER_MIDNIGHT = 0.5, 5.0  # seconds; what else is under way then goes first
JITTER = 60.0  # nodes that share a machine or a database do not all learn at once
RETRY = 600.0
LONGEST = 1800.0  # seconds; more means that it hangs


class Forecaster:
    """The outlook, and what it says at present.

    Args:
        is_unknown: whether the state may not be believed at present.
        changed: called when there is a new outlook.
    """

    def __init__(
        self,
        config: Config,
        store: Store,
        counters: Counters,
        clock: Clock,
        is_unknown: Callable[[], bool],
        changed: Callable[[], None],
    ) -> None:
        self.outlook: Outlook | None = None  # None: too little is known, or it is being learned still
        self._config = config
        self._store = store
        self._counters = counters
        self._clock = clock
        self.is_unknown = is_unknown
        self._changed = changed
        self._recent: list[tuple[float, str]] = []
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        self._recent = await self._store.transitions(self._clock() - LOOK_BACK)
        self._task = asyncio.create_task(self._learn_daily(), name="forecaster")

    async def stop(self) -> None:
        """End, and end what is being learned. May be called twice."""
        task, self._task = self._task, None
        await tasks.end(task)

    def on_events(self, batch: Sequence[Stored]) -> None:
        """Remember statuses, for the next hours' sake."""
        oldest = (self._clock() - LOOK_BACK).timestamp()
        for stored in batch:
            if isinstance(stored.event, Status):
                self._recent.append((stored.at.timestamp(), stored.event.value))
        while len(self._recent) > 1 and self._recent[1][0] < oldest:
            del self._recent[0]

    def present(self) -> Present | None:
        """Say what can be said now; None: nothing."""
        if self.outlook is None or self.is_unknown():
            return None
        now = self._clock()
        away = self._config.away_counts_as
        record = to_record(self._recent, [], patience=0, away=away, end=now.timestamp())
        return at_present(self.outlook, record, self._config.time_zone, now)

    async def _learn_daily(self) -> None:
        delay = AFTER_START
        while True:
            await asyncio.sleep(delay)
            try:
                await self._learn()
                delay = self._until_tomorrow()
            except Exception as error:
                self._counters["forecast_failed_total"] += 1
                log.error("the forecast could not be made: %s", error)
                delay = RETRY

    async def _learn(self) -> None:
        now = self._clock()
        first = await self._store.first_status()
        if first is None or now - first < YOUNGEST:
            return
        today = now.astimezone(self._config.time_zone).date()
        async with asyncio.timeout(LONGEST):
            self.outlook = await in_own_process(task(self._config, today, now.timestamp()))
        self._counters["forecasts_total"] += 1
        self._changed()

    def _until_tomorrow(self) -> float:
        """Return the seconds until the next day has begun at the space."""
        now = self._clock().astimezone(self._config.time_zone)
        tomorrow = datetime.combine(now.date() + timedelta(days=1), datetime.min.time(), now.tzinfo)
        left = tomorrow.timestamp() - now.timestamp()
        return left + AFTER_MIDNIGHT + random.uniform(0, JITTER)  # noqa: S311
