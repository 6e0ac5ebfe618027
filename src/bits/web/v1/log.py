"""The log, page by page: by index only, at any depth."""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Sequence
from datetime import datetime, timedelta

from sqlalchemy import select, tuple_
from sqlalchemy.ext.asyncio import AsyncEngine

from bits import schema
from bits.events import Stored
from bits.store import from_row, reading
from bits.web.wire import EPOCH

MICROSECOND = timedelta(microseconds=1)


def cursor_after(last: Stored) -> str:
    """Return where a page ends: the time in microseconds since 1970, and the seq."""
    return f"{(last.at - EPOCH) // MICROSECOND}-{last.seq}"


def read_cursor(cursor: str) -> tuple[datetime, int]:
    """Raises OverflowError where no event can have been."""
    at, seq = map(int, cursor.split("-"))
    return EPOCH + at * MICROSECOND, seq


async def page(
    engine: AsyncEngine,
    kinds: Sequence[str],
    limit: int,
    *,
    before: tuple[datetime, int] | None = None,
    since: datetime | None = None,
    until: datetime | None = None,
) -> tuple[list[Stored], str | None]:
    """Return events, newest first by when they happened, and the cursor of the next page, if there is one.

    Each kind is read by itself, which an index has in this order; so nothing sorts, however long the log is.

    Args:
        before: the time and the seq of the last event of the page before.
        since, until: the first instant, and the first that is not asked for.
    """
    table = schema.event
    query = select(table).order_by(table.c.at.desc(), table.c.seq.desc()).limit(limit + 1)
    if since is not None:
        query = query.where(table.c.at >= since)
    if until is not None:
        query = query.where(table.c.at < until)
    if before is not None:
        query = query.where(tuple_(table.c.at, table.c.seq) < before)
    async with reading(engine) as connection:
        each = [
            [from_row(row) for row in await connection.execute(query.where(table.c.kind == kind))] for kind in kinds
        ]
    merged = heapq.merge(*each, key=lambda stored: (stored.at, stored.seq), reverse=True)
    found = list(itertools.islice(merged, limit + 1))
    return found[:limit], cursor_after(found[limit - 1]) if len(found) > limit else None
