"""A node's ear: it hears when another node has written to the log, and has the log read on."""

from __future__ import annotations

import asyncio
import logging
import random
from contextlib import suppress
from typing import Any

import asyncpg

from bits import tasks
from bits.counters import Counters
from bits.presence import Presence
from bits.store import CHANNEL

log = logging.getLogger("bits.follow")

# Notices come at once; this is for what no notice tells, like a clock that stood still.
LOOK_SECONDS = 30.0

# Between two attempts to listen again: doubling, up to the most, each by chance between half and all of it.
LEAST_WAIT, MOST_WAIT = 0.1, 5.0


class Follower:
    """Listen on PostgreSQL's channel, and let presence read on whenever something is said there.

    A notice is only a nudge: what is in the log counts, and the log is read after the last known seq. A connection
    that is lost is made again, and the log read on at once, so that nothing said meanwhile is missed.
    """

    def __init__(self, uri: str, presence: Presence, counters: Counters) -> None:
        self._uri = uri
        self._presence = presence
        self._counters = counters
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        self._task = asyncio.create_task(self._follow(), name="follower")

    async def stop(self) -> None:
        """May be called twice."""
        task, self._task = self._task, None
        await tasks.end(task)

    async def _follow(self) -> None:
        wait = LEAST_WAIT
        while True:
            try:
                connection = await asyncpg.connect(self._uri, timeout=10)
            except (OSError, asyncpg.PostgresError, TimeoutError) as error:
                log.error("cannot listen for other nodes: %s", error)
            else:
                wait = LEAST_WAIT
                try:
                    await self._listen(connection)
                except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
                    log.warning("other nodes are not heard any more: %s", error)
                finally:
                    connection.terminate()
            self._counters["follow_reconnects_total"] += 1
            await asyncio.sleep(wait * random.uniform(0.5, 1.0))  # noqa: S311
            wait = min(wait * 2, MOST_WAIT)

    async def _listen(self, connection: Any) -> None:
        """Listen until the connection ends."""
        ended = asyncio.Event()
        connection.add_termination_listener(lambda _: ended.set())
        await connection.add_listener(CHANNEL, self._on_notice)
        while not ended.is_set():
            self._presence.look()  # the first time for what was said before we listened
            with suppress(TimeoutError):
                await asyncio.wait_for(ended.wait(), LOOK_SECONDS)
        log.warning("other nodes are not heard any more: the connection has ended")

    def _on_notice(self, _connection: Any, _pid: int, _channel: str, payload: str) -> None:
        # Our own notices come back to us too, when we know already.
        if not payload.isdecimal() or int(payload) > self._presence.state.seq:
            self._presence.look()
