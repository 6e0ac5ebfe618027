"""What was, by when it happened: a page or a part of the public log, found by index alone, however long the log is."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, NamedTuple

from sqlalchemy import BigInteger, ColumnElement, CompoundSelect, Select, literal, select, tuple_, union_all
from sqlalchemy.ext.asyncio import AsyncEngine

from bits import schema
from bits.events import Stored
from bits.store import from_row, reading

EVENT = schema.event

# What everybody may read, by the name a reader chooses it by. Devices seen and gone are nobody's business, and signs of
# life no news.
KINDS: dict[str, tuple[str, ...]] = {
    "status": ("status",),
    "temperature": ("temperature",),
    "message": ("message",),
    "sound": ("sound",),
    "announcement": ("announce", "withdraw"),
    "people": ("enter", "leave"),
}
KINDS["all"] = tuple(kind for kinds in KINDS.values() for kind in kinds)


class Place(NamedTuple):
    """A place in the log by time, between two events: just beside this one, which need not exist.

    Args:
        at: aware.
    """

    at: datetime
    seq: int


BEGINNING = Place(datetime(1970, 1, 1, tzinfo=UTC), 0)


@dataclass(frozen=True, slots=True)
class Filter:
    """Which events are wanted.

    Args:
        kinds: as the log has them (store.py), not empty.
        source: events.BRIDGE or another; None: any.
        since, until: aware; from the first until before the second; None: any.
    """

    kinds: tuple[str, ...]
    source: str | None = None
    since: datetime | None = None
    until: datetime | None = None


def query(
    wanted: Filter,
    dialect: str,
    *,
    before: Place | None = None,
    after: Place | None = None,
    limit: int,
    offset: int = 0,
) -> Select[Any] | CompoundSelect[Any]:
    """Return how to find events newest first; with `after`, oldest first.

    Each kind is read along its index, and all are merged as they come: no more is read than is returned. PostgreSQL
    does so once it is told that a few of each kind will do.

    Args:
        dialect: SQLAlchemy's name of the database.
    """
    parts = [_of_kind(wanted, kind, before, after) for kind in wanted.kinds]
    whole: Select[Any] | CompoundSelect[Any] = parts[0]
    if len(parts) > 1:
        if dialect == "postgresql":
            parts = [part.order_by(*_order(part, after)).limit(limit + offset) for part in parts]
        whole = union_all(*parts)
    return whole.order_by(*_order(whole, after)).limit(limit).offset(offset or None)


def _order(found: Select[Any] | CompoundSelect[Any], after: Place | None) -> tuple[ColumnElement[Any], ...]:
    columns = found.selected_columns
    return (columns.at, columns.seq) if after else (columns.at.desc(), columns.seq.desc())


def _of_kind(wanted: Filter, kind: str, before: Place | None, after: Place | None) -> Select[Any]:
    found = select(EVENT).where(EVENT.c.kind == kind)
    if wanted.source is not None:
        found = found.where(EVENT.c.source == wanted.source)
    # One bound on each side, whatever is asked for: with more of them SQLite would choose the wrong index.
    lower = [each for each in (wanted.since and Place(wanted.since, 0), after) if each]
    upper = [each for each in (wanted.until and Place(wanted.until, 0), before) if each]
    place = tuple_(EVENT.c.at, EVENT.c.seq)
    if lower:
        found = found.where(place > _values(max(lower)))
    if upper:
        found = found.where(place < _values(min(upper)))
    return found


def _values(place: Place) -> Any:
    return tuple_(literal(place.at, schema.UtcDateTime()), literal(place.seq, BigInteger()))


async def older(
    engine: AsyncEngine, wanted: Filter, *, before: Place | None = None, limit: int, offset: int = 0
) -> list[Stored]:
    """Return the newest events, or the newest before a place; newest first.

    Args:
        offset: how many of them to skip: that takes time in proportion, so it is for small numbers.
    """
    return await _fetch(engine, query(wanted, engine.dialect.name, before=before, limit=limit, offset=offset))


async def newer(engine: AsyncEngine, wanted: Filter, *, after: Place, limit: int) -> list[Stored]:
    """Return the oldest events after a place; newest first all the same."""
    return (await _fetch(engine, query(wanted, engine.dialect.name, after=after, limit=limit)))[::-1]


async def _fetch(engine: AsyncEngine, chosen: Select[Any] | CompoundSelect[Any]) -> list[Stored]:
    async with reading(engine) as connection:
        return [from_row(row) for row in await connection.execute(chosen)]
