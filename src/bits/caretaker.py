"""Looks after the space: opens and closes it by who is about, and when it was left open."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from datetime import datetime, timedelta

from bits.config import Config
from bits.counters import Counters
from bits.deduce import Deduction, Past, Rules, deduce, remember
from bits.events import Report, Status, Stored
from bits.liveness import Clock
from bits.presence import Presence
from bits.state import State
from bits.store import Store

log = logging.getLogger("bits.caretaker")

# The wall clock may be set while we wait: look at it now and then.
LONGEST_WAIT = 60.0


def rules_of(config: Config) -> Rules:
    return Rules(
        opens=config.mac_opens,
        closes=config.mac_closes,
        hold=timedelta(seconds=config.button_wins),
        close_after=timedelta(seconds=config.auto_close_after),
        warning=timedelta(seconds=config.auto_close_warning),
        zone=config.time_zone,
    )


class Caretaker:
    """Do what follows from the log (deduce.py), when it follows.

    What is deduced goes down the one write path on the condition that nothing it rests on has changed before it is
    stored. So a press that comes in the same moment wins, and what several nodes deduce is stored once.
    """

    def __init__(self, presence: Presence, store: Store, rules: Rules, counters: Counters, clock: Clock) -> None:
        self._presence = presence
        self._store = store
        self._rules = rules
        self._counters = counters
        self._clock = clock
        self._past = Past()
        self._early: list[Stored] | None = []  # what came before the past was read
        self._under_way: asyncio.Future[list[Stored]] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._is_running = False
        self.now = Deduction()

    async def start(self) -> None:
        self._past = await self._store.past()
        early, self._early = self._early or [], None
        self._remember(early)
        self._is_running = True
        self.look()

    def stop(self) -> None:
        """May be called twice."""
        self._is_running = False
        self._set_timer(None)

    @property
    def closing(self) -> datetime | None:
        """When the space closes by itself, once that has been announced."""
        return self.now.closing

    @property
    def sign(self) -> datetime | None:
        """When there was the last sign of anybody."""
        return self._past.sign

    def on_events(self, batch: Sequence[Stored]) -> None:
        """Think again; to be called after the state has changed."""
        if self._early is not None:
            self._early += batch
            return
        self._remember(batch)
        self.look()

    def _remember(self, batch: Sequence[Stored]) -> None:
        for stored in batch:
            self._past = remember(self._past, stored)

    def look(self) -> None:
        """Do what follows now, and set the timer for what may follow later."""
        if not self._is_running or (self._under_way and not self._under_way.done()):
            return  # when that is done we look again
        now = self._clock()
        state = self._presence.state
        self.now = deduce(state, self._past, self._rules, now)
        self._set_timer(self.now.look)
        if self.now.event is None:
            return
        basis = _basis(state)
        report = Report(self.now.event, self.now.source, now)
        self._under_way = self._presence.submit([report], provided=lambda state: _basis(state) == basis)
        self._under_way.add_done_callback(lambda done: self._done(done, basis))

    def _done(self, done: asyncio.Future[list[Stored]], basis: object) -> None:
        failed = done.cancelled() or done.exception() is not None  # presence has logged it
        if failed or (not done.result() and _basis(self._presence.state) == basis):
            self._set_timer(self._clock() + timedelta(seconds=LONGEST_WAIT))
            return
        for stored in done.result():
            self._counters[f'deduced_total{{source="{stored.source}"}}'] += 1
            if isinstance(stored.event, Status):
                log.info("deduced: %s (%s)", stored.event.value, stored.source)
        self.look()

    def _set_timer(self, at: datetime | None) -> None:
        if self._timer:
            self._timer.cancel()
            self._timer = None
        if at is not None and self._is_running:
            # A little late rather than early: a timer that fires before the instant would only be set again.
            delay = min(max(0.0, (at - self._clock()).total_seconds()) + 0.005, LONGEST_WAIT)
            self._timer = asyncio.get_running_loop().call_later(delay, self.look)


def _basis(state: State) -> object:
    """Return what a deduction rests on."""
    status, message = state.status, state.message
    return status and status.seq, message and message.seq, dict(state.people), dict(state.devices)
