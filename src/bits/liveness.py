"""Notices silence: when the board was last heard, and from when on the state may no longer be believed."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import datetime, timedelta

from bits.events import BRIDGE, Heartbeat, Report, Stored
from bits.presence import Presence
from bits.state import Freshness, freshness

Clock = Callable[[], datetime]


class Liveness:
    """Watch the age of the state, and log signs of life that no event has told of.

    A bridge may go on saying what is known already. Storing each such line would fill the log, storing none
    would make the board look dead; so the newest one is stored as a heartbeat when half of `stale_after` has
    passed since the log last heard of a bridge. `heard` is thus exact whenever silence is declared, and comes
    back right after a restart.

    Args:
        stale_after: seconds of silence after which the state is stale; 0: never.
        turned: called when freshness changes, with the new one.
    """

    def __init__(
        self, presence: Presence, stale_after: float, clock: Clock, turned: Callable[[Freshness], None]
    ) -> None:
        self._presence = presence
        self._stale_after = stale_after
        self._clock = clock
        self._turned = turned
        self._sign: datetime | None = None  # of life, not in the log
        self._heartbeat: asyncio.Future[list[Stored]] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self.now = Freshness(stale=False, unknown=False, until=None)

    def start(self) -> None:
        self.now = freshness(self._presence.state, self._clock(), self._stale_after)
        self._arm()

    def stop(self) -> None:
        """End, and hand a sign of life not yet logged over to the log. May be called twice."""
        if self._timer:
            self._timer.cancel()
            self._timer = None
        self._log_sign()

    def heard(self, at: datetime) -> None:
        """Take note of a bridge: it connected, or said something, new or not."""
        self._sign = at
        if self.now.stale:
            self._log_sign()

    def on_events(self, batch: Sequence[Stored]) -> None:
        """Judge anew after events were stored; to be called after the state has changed."""
        if self._sign and any(stored.source == BRIDGE and stored.at >= self._sign for stored in batch):
            self._sign = None
        self._judge()

    def _log_sign(self) -> None:
        """Log the newest sign of life, unless the log has it, or one is on its way."""
        heard = self._presence.state.heard
        on_its_way = self._heartbeat is not None and not self._heartbeat.done()
        if self._sign and self._stale_after and not on_its_way and (heard is None or self._sign > heard):
            self._heartbeat = self._presence.submit([Report(Heartbeat(), BRIDGE, self._sign)])

    def _judge(self) -> None:
        before = self.now
        state = self._presence.state
        if self._sign and not before.stale and (state.heard is None or self._sign > state.heard):
            state = replace(state, heard=self._sign)  # about to be in the log: no false alarm until it is
        self.now = freshness(state, self._clock(), self._stale_after)
        self._arm()
        if (before.stale, before.unknown) != (self.now.stale, self.now.unknown):
            self._turned(self.now)

    def _on_timer(self) -> None:
        self._log_sign()
        self._judge()

    def _arm(self) -> None:
        """Set the timer for the next instant at which a sign is to be logged or the state may turn."""
        if self._timer:
            self._timer.cancel()
            self._timer = None
        if self.now.until is None:
            return
        now = self._clock()
        due = self.now.until
        heard = self._presence.state.heard
        if heard:
            halfway = heard + timedelta(seconds=self._stale_after / 2)
            if now < halfway < due:
                due = halfway
        # A little late rather than early: a timer that fires before the instant would only be set again.
        delay = max(0.0, (due - now).total_seconds()) + 0.005
        self._timer = asyncio.get_running_loop().call_later(delay, self._on_timer)
