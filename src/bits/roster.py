"""The members' names, at hand: who a number is, and whom everybody may read."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping
from types import MappingProxyType

from sqlalchemy import select
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncEngine

from bits import schema, tasks
from bits.store import reading

log = logging.getLogger("bits.roster")

EVERY = 30.0  # seconds until what another node or the command line has changed is noticed


class Roster:
    """Keep the names of all members in memory, so that no page view asks the database for them.

    Args:
        on_change: called when a name that everybody may read has changed.
    """

    def __init__(self, engine: AsyncEngine, on_change: Callable[[], None], *, every: float = EVERY) -> None:
        self.names: Mapping[int, str] = MappingProxyType({})
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
        table = schema.user
        async with self._reading:
            async with reading(self._engine) as connection:
                rows = (await connection.execute(select(table.c.number, table.c.name, table.c.listed))).all()
            self.names = MappingProxyType({row.number: row.name for row in rows})
            before, self.listed = self.listed, MappingProxyType({row.number: row.name for row in rows if row.listed})
        if self.listed != before:
            self._on_change()

    async def _keep_up(self) -> None:
        while True:
            await asyncio.sleep(self._every)
            try:
                await self.reload()
            except (SQLAlchemyError, OSError) as error:
                log.error("the members cannot be read: %s", error)
