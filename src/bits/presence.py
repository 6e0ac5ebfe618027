"""The one write path. Whatever changes presence goes check, append, apply, publish, in that order."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from functools import reduce
from typing import NamedTuple, TypeVar

from bits import tasks
from bits.bus import Bus
from bits.counters import Counters
from bits.events import BRIDGE, Report, Stored
from bits.state import State, apply, consequences
from bits.store import Store, is_passing

log = logging.getLogger("bits.presence")

# Reports committed together at most: a bigger batch saves no more fsyncs worth having, and keeps readers waiting.
BATCH = 1000
RETRY_SECONDS = (0.1, 0.2, 0.5, 1.0, 2.0, 5.0)

T = TypeVar("T")


class Waiting(NamedTuple):
    """Reports on their way to the log.

    Args:
        done: gives what was stored.
        after: these shall not be stored if that has failed.
        provided: asked with the state that they would be judged by; where it says no, none of them is stored.
    """

    reports: Sequence[Report]
    done: asyncio.Future[list[Stored]]
    after: asyncio.Future[list[Stored]] | None = None
    provided: Callable[[State], bool] | None = None

    def has_lost(self) -> bool:
        """Fail with the one before, if that has failed. Returns whether it has."""
        after = self.after
        error = after.exception() if after is not None and after.done() and not after.cancelled() else None
        if error is not None and not self.done.done():
            self.done.set_exception(error)
        return error is not None


class Presence:
    """Own the state of the space and the only way to change it.

    Reports that arrive while a commit is under way are committed together after it (group commit): durability
    costs one fsync a batch, and nobody is told of an event before its commit.

    Where other nodes write to the same log, what they wrote is taken in first, in the same transaction, so that
    every node judges by the same truth and tells everything in the log's order.
    """

    def __init__(self, store: Store, bus: Bus, counters: Counters) -> None:
        self.state = State()
        self._store = store
        self._bus = bus
        self._counters = counters
        self._queue: deque[Waiting] = deque()
        self._arrived = asyncio.Event()
        self._is_behind = False
        self._writer: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Rebuild the state from the log and begin to write."""
        self.state = await self._store.state()
        self._writer = asyncio.create_task(self._write(), name="presence writer")

    async def stop(self) -> None:
        """Commit what is queued, then end. May be called twice."""
        writer, self._writer = self._writer, None
        if writer is None:
            return
        pending = [one.done for one in self._queue]
        if pending:
            await asyncio.wait(pending, timeout=5)
        await tasks.end(writer)

    def submit(
        self,
        reports: Sequence[Report],
        *,
        after: asyncio.Future[list[Stored]] | None = None,
        provided: Callable[[State], bool] | None = None,
    ) -> asyncio.Future[list[Stored]]:
        """Queue reports; the future gives what was stored, once committed and told.

        A report that changes nothing (the current status again, somebody who is in already) is not stored. With no
        reports at all it still has its turn: then the state is as new as the log, and all that was queued before is in.

        Args:
            after: an earlier submission; if it cannot be stored, these fail with it.
            provided: see Waiting; for what was deduced from a state, and counts only while that stands.
        """
        done: asyncio.Future[list[Stored]] = asyncio.get_running_loop().create_future()
        self._queue.append(Waiting(reports, done, after, provided))
        self._arrived.set()
        return done

    def look(self) -> None:
        """Read on in the log, soon: another node may have written."""
        self._is_behind = True
        self._arrived.set()

    async def _write(self) -> None:
        while True:
            await self._arrived.wait()
            self._arrived.clear()
            while self._queue or self._is_behind:
                if self._is_behind:
                    await self._catch_up()
                if self._queue:
                    await self._commit(self._take())

    async def _catch_up(self) -> None:
        """Take in what other nodes have written."""
        self._is_behind = False
        while True:
            try:
                theirs = await self._store.since(self.state.seq, limit=BATCH)
            except Exception as error:
                # Whoever noticed that there is something to read will notice again.
                log.error("the log cannot be read: %s", error)
                return
            if not theirs:
                return
            self._tell(theirs)
            self._counters["follow_events_total"] += len(theirs)

    def _take(self) -> list[Waiting]:
        """Take waiting submissions off the queue, up to a batch, but always at least one."""
        batch = [self._queue.popleft()]
        size = len(batch[0].reports)
        while self._queue and size + len(self._queue[0].reports) <= BATCH:
            batch.append(self._queue.popleft())
            size += len(batch[-1].reports)
        return batch

    async def _commit(self, batch: list[Waiting]) -> None:
        batch = [one for one in batch if not one.has_lost()]
        judged = Judged([], [], 0)

        def decide(theirs: Sequence[Stored]) -> list[Report]:
            nonlocal judged
            judged = judge(reduce(apply, theirs, self.state), batch)
            return judged.wanted

        theirs: list[Stored] = []
        try:
            if self._store.is_shared:
                theirs, ours = await self._persist(lambda: self._store.append_after(self.state.seq, decide))
            else:
                wanted = decide([])
                ours = await self._persist(lambda: self._store.append(wanted))
        except Exception as error:
            if len(batch) > 1:  # one of them is to blame: the others shall not suffer for it
                for one in batch:
                    await self._commit([one])
                return
            log.exception("%d events could not be stored", len(judged.wanted))
            self._counters["reports_failed_total"] += len(judged.wanted)
            for one in batch:
                if not one.done.done():
                    one.done.set_exception(error)
            return
        self._counters["reports_unchanged_total"] += judged.unchanged
        if ours:
            self._counters["events_stored_total"] += len(ours)
            self._counters["commits_total"] += 1
        if theirs or ours:
            self._tell([*theirs, *ours])
        begin = 0
        for one, share in zip(batch, judged.shares, strict=True):
            if not one.done.done():
                one.done.set_result(ours[begin : begin + share])
            begin += share

    def _tell(self, stored: Sequence[Stored]) -> None:
        self.state = reduce(apply, stored, self.state)
        self._bus.publish(stored)

    async def _persist(self, append: Callable[[], Awaitable[T]]) -> T:
        """Append, however long the database is busy or away; what waits behind holds its senders back."""
        attempt = 0
        while True:
            try:
                return await append()
            except Exception as error:
                if not is_passing(error):
                    raise
                wait = RETRY_SECONDS[min(attempt, len(RETRY_SECONDS) - 1)]
                attempt += 1
                self._counters["store_retries_total"] += 1
                log.error("the log cannot be written (%s); its events wait %.1f s", error, wait)
                await asyncio.sleep(wait)


class Judged(NamedTuple):
    """What of a batch is to be stored.

    Args:
        shares: how many of each submission's reports are wanted.
        unchanged: reports that tell nothing new, those of bridges not counted.
    """

    wanted: list[Report]
    shares: list[int]
    unchanged: int


def judge(state: State, batch: Sequence[Waiting]) -> Judged:
    """Sort out the reports that change something, each in the light of those before it."""
    wanted: list[Report] = []
    shares: list[int] = []
    unchanged = 0
    for waiting in batch:
        before = len(wanted)
        holds = waiting.provided is None or waiting.provided(state)
        for report in waiting.reports if holds else ():
            stored = consequences(state, report)
            wanted += stored
            for one in stored:
                # A stand-in seq: this state only serves to judge the reports behind it in the batch.
                state = apply(state, one.stored(state.seq + 1))
            if not stored and report.source != BRIDGE:
                unchanged += 1
        shares.append(len(wanted) - before)
    return Judged(wanted, shares, unchanged)
