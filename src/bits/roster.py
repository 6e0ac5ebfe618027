"""The members whose names everybody may read, at hand."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping
from types import MappingProxyType

from sqlalchemy import select
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncEngine

from bits import schema, tasks
from bits.events import Stored
from bits.state import State
from bits.store import reading

log = logging.getLogger("bits.roster")

EVERY = 30.0  # seconds until what another node or the command line has changed is noticed


def signer(stored: Stored, listed: Mapping[int, str]) -> str | None:
    """Return whose name an event bears for everybody: its author's, where that may be read.

    Messages and announcements are signed by name whoever their author is: this is for everything else.
    """
    return stored.author if stored.author in listed.values() else None


def names_of(state: State, listed: Mapping[int, str]) -> list[str]:
    """Return the names of those who are in, as far as everybody may read them."""
    return sorted(listed[person] for person in state.people if person in listed)


class Roster:
    """Keep in memory, by number, the names of the members who are listed: no page view asks the database for them.

    Args:
        on_change: called when one of them has changed.
    """

    def __init__(self, engine: AsyncEngine, on_change: Callable[[], None], *, every: float = EVERY) -> None:
        self.listed: Mapping[int, str] = MappingProxyType({})
        self._engine = engine
        self._on_change = on_change
        self._every = every
        self._reading = asyncio.Lock()  # an older reading must not replace a newer one
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        await self.reload()
        self._task = asyncio.create_task(self._keep_up(), name="roster")

    async def stop(self) -> None:
        """May be called twice."""
        task, self._task = self._task, None
        await tasks.end(task)

    async def reload(self) -> None:
        """Read the table: to be called when a member was added, changed or deleted."""
        query = select(schema.user.c.number, schema.user.c.name).where(schema.user.c.listed)
        async with self._reading:
            async with reading(self._engine) as connection:
                rows = (await connection.execute(query)).all()
            before, self.listed = self.listed, MappingProxyType({row.number: row.name for row in rows})
        if self.listed != before:
            self._on_change()

    async def _keep_up(self) -> None:
        while True:
            await asyncio.sleep(self._every)
            try:
                await self.reload()
            except (SQLAlchemyError, OSError) as error:
                log.error("the members cannot be read: %s", error)
