"""The log in a database: append-only, one order, the same on SQLite and PostgreSQL."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import AsyncIterator, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from datetime import datetime
from types import MappingProxyType
from typing import Any, NamedTuple

from sqlalchemy import (
    Column,
    ColumnElement,
    Connection,
    Double,
    Engine,
    Row,
    Select,
    TextClause,
    cast,
    create_engine,
    extract,
    func,
    insert,
    select,
    text,
    union_all,
)
from sqlalchemy import event as on
from sqlalchemy.engine import make_url
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine

from bits import schema
from bits.deduce import Past
from bits.events import (
    AUTO,
    BRIDGE,
    DEDUCED,
    Announce,
    Enter,
    Event,
    Gone,
    Heartbeat,
    Late,
    Leave,
    Message,
    Report,
    Seen,
    Sound,
    Status,
    Stored,
    Temperature,
    Withdraw,
)
from bits.state import ANNOUNCED, HISTORY, State

# Any fixed number will do, as long as nothing else in the database locks on it.
LOCK = 0x62697473

# Where nodes tell one another of new events, on PostgreSQL.
CHANNEL = "bits"

Decide = Callable[[list[Stored]], Sequence[Report]]

DRIVERS = {"sqlite": "sqlite+aiosqlite", "postgresql": "postgresql+asyncpg"}


# In the column "value" of a status that came late, which has nothing there else.
LATE = 1.0


class Columns(NamedTuple):
    """How an event lies in the table's columns of its own."""

    kind: str
    key: int = 0
    value: float | None = None
    text: str | None = None
    begins: datetime | None = None


def to_columns(event: Event) -> Columns:
    match event:
        case Status(value=value):
            return Columns("status", text=value)
        case Temperature(sensor=sensor, value=degrees):
            return Columns("temperature", sensor, degrees)
        case Enter(person=person):
            return Columns("enter", person)
        case Leave(person=person):
            return Columns("leave", person)
        case Message(text=words):
            return Columns("message", text=words)
        case Sound(number=number):
            return Columns("sound", number)
        case Heartbeat():
            return Columns("heartbeat")
        case Late(value=value):
            return Columns("status", value=LATE, text=value)
        case Seen(digest=digest, person=person):
            return Columns("seen", person or 0, text=digest)
        case Gone(digest=digest, person=person):
            return Columns("gone", person or 0, text=digest)
        case Announce(value=value, begins=begins):
            return Columns("announce", text=value, begins=begins)
        case Withdraw(announcement=seq):
            return Columns("withdraw", text=str(seq))


FROM_COLUMNS: dict[str, Callable[[Any], Event]] = {
    "status": lambda row: Status(row.text) if row.value is None else Late(row.text),
    "temperature": lambda row: Temperature(row.key, row.value),
    "enter": lambda row: Enter(row.key),
    "leave": lambda row: Leave(row.key),
    "message": lambda row: Message(row.text),
    "sound": lambda row: Sound(row.key),
    "heartbeat": lambda row: Heartbeat(),
    "seen": lambda row: Seen(row.text, row.key),
    "gone": lambda row: Gone(row.text, row.key),
    "announce": lambda row: Announce(row.text, row.begins),
    "withdraw": lambda row: Withdraw(int(row.text)),
}


def from_row(row: Row[Any]) -> Stored:
    event = FROM_COLUMNS[row.kind](row)
    return Stored(row.seq, event, row.source, row.at, row.author, row.bridge, row.number, row.note, row.until)


def make_engine(uri: str, *, recycle: float = 3600, spare: int = 4) -> AsyncEngine:
    """Make the engine for a `sqlite:///` or `postgresql://` URI; nothing is opened yet.

    Args:
        spare: connections to PostgreSQL beside the one that is kept, for a moment.
    """
    url = make_url(uri)
    name = url.get_backend_name()
    engine = create_async_engine(
        url.set(drivername=DRIVERS[name]),
        pool_recycle=round(recycle),
        pool_pre_ping=name == "postgresql",
        # Many nodes share one PostgreSQL: each keeps one connection, and a few more for a moment.
        **({"pool_size": 1, "max_overflow": spare} if name == "postgresql" else {}),
    )
    if name == "sqlite":
        _prepare_sqlite(engine.sync_engine)
    return engine


def _prepare_sqlite(engine: Engine) -> None:
    on.listen(engine, "connect", _set_up_sqlite)
    on.listen(engine, "begin", _begin_sqlite)


def _set_up_sqlite(connection: Any, _record: object) -> None:
    connection.isolation_level = None  # the driver starts no transactions of its own: _begin_sqlite does
    cursor = connection.cursor()
    cursor.execute("PRAGMA journal_mode = WAL")
    # An event is told once it is committed, so a commit must survive a power cut, not just a crash of ours.
    cursor.execute("PRAGMA synchronous = FULL")
    cursor.execute("PRAGMA busy_timeout = 5000")
    cursor.close()


def _begin_sqlite(connection: Connection) -> None:
    # A writer takes the lock at once: two that read first and then both want to write would be refused.
    writing = connection.get_execution_options().get("bits_writing", False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writing else "BEGIN")


@asynccontextmanager
async def writing(engine: AsyncEngine) -> AsyncIterator[AsyncConnection]:
    """Open a transaction that holds the one lock all writers take; commit at the end."""
    async with engine.connect() as connection:
        await connection.execution_options(bits_writing=True)
        async with connection.begin():
            if engine.dialect.name == "postgresql":
                await connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": LOCK})
            yield connection


@asynccontextmanager
async def reading(engine: AsyncEngine) -> AsyncIterator[AsyncConnection]:
    """Open a transaction in which every query sees the same instant of the log."""
    async with engine.connect() as connection:
        if engine.dialect.name == "postgresql":
            await connection.execution_options(isolation_level="REPEATABLE READ", postgresql_readonly=True)
        async with connection.begin():
            yield connection


def is_passing(error: Exception) -> bool:
    """Tell whether a failed append is worth trying again: the database is busy, away, or out of room."""
    original = getattr(error, "orig", None)
    if isinstance(original, sqlite3.Error):
        return isinstance(original, sqlite3.OperationalError)
    if getattr(error, "connection_invalidated", False):
        return True
    # SQLSTATE classes: 08 connection, 40 rollback, 53 out of resources, 55 not available, 57 intervention.
    state = str(getattr(original, "sqlstate", None) or "")
    if isinstance(error, (OSError, TimeoutError, PoolTimeout)):
        return True
    return state[:2] in {"08", "40", "53", "55", "57"}


class Store:
    """The log. Append commits before it returns; seq rises strictly, in commit order."""

    def __init__(self, engine: AsyncEngine, writer: AsyncEngine | None = None) -> None:
        """Args: writer: connections of its own for appending, so that no crowd of readers can hold it up."""
        self.engine = engine
        self._writer = writer or engine
        self.is_shared = engine.dialect.name == "postgresql"  # other nodes may write to this log too
        # SQLite has no asynchronous driver, only threads behind one: a transaction of five steps would change
        # threads a dozen times. Appending is the hot path, so there it is one visit to a thread of its own.
        self._direct: Engine | None = None
        if engine.dialect.name == "sqlite":
            self._direct = create_engine(engine.url.set(drivername="sqlite"))
            _prepare_sqlite(self._direct)
            self._thread = ThreadPoolExecutor(1, "log writer")

    async def close(self) -> None:
        """Let go of the database. May be called twice."""
        if self._direct is not None:
            await asyncio.get_running_loop().run_in_executor(None, self._thread.shutdown)
            self._direct.dispose()
        await self._writer.dispose()
        await self.engine.dispose()

    async def append(self, reports: Sequence[Report]) -> list[Stored]:
        """Commit events in one transaction, in the given order, and return them with their seq."""
        if not reports:
            return []
        if self._direct is not None:
            return await asyncio.get_running_loop().run_in_executor(self._thread, self._append_direct, reports)
        async with writing(self._writer) as connection:
            return await connection.run_sync(_append, reports)

    async def append_after(self, seq: int, decide: Decide) -> tuple[list[Stored], list[Stored]]:
        """Commit what is wanted in the light of everything that others have committed after seq.

        Args:
            decide: given the others' events, says which to append; called under the lock that all writers take, so
                that nothing can come in between.
        Returns:
            (theirs, ours), both in order; all of theirs stand before ours.
        """
        async with writing(self._writer) as connection:
            return await connection.run_sync(_append_after, seq, decide)

    def _append_direct(self, reports: Sequence[Report]) -> list[Stored]:
        assert self._direct is not None
        with self._direct.connect() as connection:
            connection.execution_options(bits_writing=True)
            with connection.begin():
                return _append(connection, reports)

    async def since(self, seq: int, *, limit: int = 1000) -> list[Stored]:
        """Return the events after seq, oldest first."""
        query = select(schema.event).where(schema.event.c.seq > seq).order_by(schema.event.c.seq).limit(limit)
        async with reading(self.engine) as connection:
            return [from_row(row) for row in await connection.execute(query)]

    async def latest(self, kind: str, *, key: int = 0, limit: int = 1, offset: int = 0) -> list[Stored]:
        """Return the newest events of a kind, newest first."""
        async with reading(self.engine) as connection:
            return await _fetch(connection, _newest(kind, key).limit(limit).offset(offset))

    async def transitions(self, since: datetime | None = None) -> list[tuple[float, str]]:
        """Return all statuses, by time: seconds since 1970, and the value.

        Args:
            since: leave out those stored before the last one that had happened by then.
        """
        table = schema.event
        query = select(self._epoch(table.c.at), table.c.text).where(table.c.kind == "status", table.c.key == 0)
        async with reading(self.engine) as connection:
            if since is not None:
                newest = _newest("status").with_only_columns(table.c.seq).where(table.c.at <= since, IN_TIME)
                seq = await connection.scalar(newest.limit(1))
                query = query.where(table.c.seq >= (seq or 0))
            rows = await connection.execute(query.order_by(table.c.at, table.c.seq))
            return [(float(at), value) for at, value in rows]

    async def first_status(self) -> datetime | None:
        """Return when the log's first status happened."""
        table = schema.event
        query = select(table.c.at).where(table.c.kind == "status", table.c.key == 0).order_by(table.c.seq).limit(1)
        async with reading(self.engine) as connection:
            first: datetime | None = await connection.scalar(query)
            return first

    async def silences(self, longest: float) -> list[tuple[float, float]]:
        """Return where nobody told anything of the space for longer than some seconds: from when to when.

        Told is what a bridge says, and every status; the last sign of life is given as a silence without an end (inf).
        """
        table = schema.event
        at = self._epoch(table.c.at)
        is_sign = (table.c.source == BRIDGE) | (table.c.kind == "status")
        told = select(at.label("at"), func.lag(at).over(order_by=at).label("before")).where(is_sign).subquery()
        query = select(told.c.before, told.c.at).where(told.c.at - told.c.before > longest)
        last = select(func.max(at)).where(is_sign)
        async with reading(self.engine) as connection:
            found = [(float(begin), float(end)) for begin, end in await connection.execute(query)]
            newest = await connection.scalar(last)
        return found if newest is None else [*found, (float(newest), float("inf"))]

    async def comings(self, limit: int) -> list[Stored]:
        """Return the last arrivals and departures, newest first by the time they happened."""
        async with reading(self.engine) as connection:
            found = [each for kind in ("enter", "leave") for each in await _last(connection, kind, limit)]
        return sorted(found, key=lambda stored: (stored.at, stored.seq), reverse=True)[:limit]

    async def past(self) -> Past:
        """Rebuild what the rules need besides the state, by index look-ups only."""
        table = schema.event
        async with reading(self.engine) as connection:
            seq = await connection.scalar(select(func.coalesce(func.max(table.c.seq), 0)))
            words = _newest("status").where(IN_TIME, table.c.source.not_in(DEDUCED)).with_only_columns(table.c.at)
            by_hand: datetime | None = await connection.scalar(words.limit(1))
            people = {
                kind: last[0].at
                for kind in ("enter", "leave", "seen", "gone")
                if (last := await _last(connection, kind, 1))
            }
            spoken = select(table).where(table.c.source == AUTO, table.c.kind == "message")
            said = await _fetch(connection, spoken.order_by(table.c.at.desc()).limit(1))
            since = {name: seen.at for name, seen in (await _seen(connection)).items()}
        return Past(
            seq=seq or 0,
            by_hand=by_hand,
            since=MappingProxyType(since),
            gone=people.get("gone"),
            people=max(people.values(), default=None),
            said=said[0] if said else None,
        )

    def _epoch(self, at: Column[datetime]) -> ColumnElement[float]:
        """Seconds since 1970, worked out in the database: a million dates in Python would take seconds."""
        if self.engine.dialect.name == "sqlite":
            return (func.julianday(at, type_=Double) - 2440587.5) * 86400.0
        return cast(extract("epoch", at), Double)

    async def state(self) -> State:
        """Rebuild the state from the log, by index look-ups only: the log's length does not matter."""
        async with reading(self.engine) as connection:
            seq = await connection.scalar(select(func.coalesce(func.max(schema.event.c.seq), 0)))
            status = await _fetch(connection, _newest("status").where(IN_TIME).limit(1))
            message = await _fetch(connection, _newest("message").limit(1))
            samples: list[Stored] = []
            sensors: dict[int, Stored] = {}
            for sensor in await _values(connection, schema.event.c.key, schema.event.c.kind == "temperature"):
                of_sensor = await _fetch(connection, _newest("temperature", sensor).limit(HISTORY))
                sensors[sensor] = of_sensor[0]
                samples += of_sensor
            entered = await _newest_per_key(connection, "enter")
            left = await _newest_per_key(connection, "leave")
            heard = await connection.scalar(_last_heard())
            newest = await _fetch(connection, _newest("announce").limit(ANNOUNCED))
            withdrawn = {int(row.text) for row in await connection.execute(_withdrawals(newest))}
            announced = {each.seq: None if each.seq in withdrawn else each for each in reversed(newest)}
            devices = {
                name: seen.event.person
                for name, seen in (await _seen(connection)).items()
                if isinstance(seen.event, Seen) and seen.event.person is not None
            }
            bridges: dict[str, int] = {}
            for bridge in await _values(connection, schema.event.c.bridge, schema.NUMBERED):
                highest = select(func.max(schema.event.c.number)).where(schema.event.c.bridge == bridge)
                bridges[bridge] = await connection.scalar(highest) or 0
        samples.sort(key=lambda sample: -sample.seq)
        people: dict[int, datetime] = {
            who: arrival.at for who, arrival in entered.items() if who not in left or left[who].seq < arrival.seq
        }
        return State(
            seq=seq or 0,
            status=status[0] if status else None,
            sensors=MappingProxyType(sensors),
            history=tuple(samples[:HISTORY]),
            message=message[0] if message else None,
            people=MappingProxyType(people),
            devices=MappingProxyType(devices),
            bridges=MappingProxyType(bridges),
            announced=MappingProxyType(announced),
            heard=heard,
        )


def _append_after(connection: Connection, seq: int, decide: Decide) -> tuple[list[Stored], list[Stored]]:
    table = schema.event
    theirs = [from_row(row) for row in connection.execute(select(table).where(table.c.seq > seq).order_by(table.c.seq))]
    reports = decide(theirs)
    ours = _append(connection, reports) if reports else []
    if ours and connection.dialect.name == "postgresql":
        # Heard by every node once this is committed, and not before.
        connection.execute(text("SELECT pg_notify(:channel, :seq)"), {"channel": CHANNEL, "seq": str(ours[-1].seq)})
    return theirs, ours


def _append(connection: Connection, reports: Sequence[Report]) -> list[Stored]:
    """Append within a transaction that holds the writers' lock."""
    last = connection.scalar(select(func.coalesce(func.max(schema.event.c.seq), 0)))
    stored = [report.stored(seq) for seq, report in enumerate(reports, start=(last or 0) + 1)]
    connection.execute(
        insert(schema.event),
        [
            {
                "seq": item.seq,
                "at": item.at,
                "source": item.source,
                "author": item.author,
                "bridge": item.bridge,
                "number": item.number,
                "note": item.note,
                "until": item.until,
                **to_columns(item.event)._asdict(),
            }
            for item in stored
        ],
    )
    return stored


def _newest(kind: str, key: int = 0) -> Select[Any]:
    table = schema.event
    return select(table).where(table.c.kind == kind, table.c.key == key).order_by(table.c.seq.desc())


def _last_heard() -> Select[Any]:
    """When a bridge was last heard: the newest of each kind, as the index has them."""
    table = schema.event
    each = [
        select(func.max(table.c.at).label("at")).where(table.c.source == BRIDGE, table.c.kind == kind)
        for kind in FROM_COLUMNS
    ]
    return select(func.max(union_all(*each).subquery().c.at))


def _withdrawals(announced: Sequence[Stored]) -> Select[Any]:
    oldest = announced[-1].seq if announced else 0
    return _newest("withdraw").where(schema.event.c.seq > oldest)


async def _last(connection: AsyncConnection, kind: str, limit: int) -> list[Stored]:
    """Return the last comings or goings of a kind, by when they happened: of one kind, so that nothing sorts."""
    table = schema.event
    query = select(table).where(table.c.kind == kind)
    return await _fetch(connection, query.order_by(table.c.at.desc(), table.c.seq.desc()).limit(limit))


# Of statuses: those that counted when they came.
IN_TIME = schema.event.c.value.is_(None)


async def _fetch(connection: AsyncConnection, query: Select[Any]) -> list[Stored]:
    return [from_row(row) for row in await connection.execute(query)]


def distinct(column: Column[Any], where: ColumnElement[bool] | TextClause) -> Select[Any]:
    """List a column's values by hopping from one to the next in an index, instead of reading all rows.

    Neither database does this "loose index scan" by itself; the recursive form is PostgreSQL's wiki's.
    """
    hop = select(func.min(column).label("value")).where(where).cte("hop", recursive=True)
    following = select(func.min(column)).where(where, column > hop.c.value).scalar_subquery()
    hop = hop.union_all(select(following).where(hop.c.value.is_not(None)))
    return select(hop.c.value).where(hop.c.value.is_not(None))


async def _values(
    connection: AsyncConnection, column: Column[Any], where: ColumnElement[bool] | TextClause
) -> list[Any]:
    return [row.value for row in await connection.execute(distinct(column, where))]


async def _seen(connection: AsyncConnection) -> dict[str, Stored]:
    """Return which of the members' devices are about, each with the event that told of it."""
    table = schema.event
    newest: Select[Any] = select(table).where(schema.OF_DEVICES).order_by(table.c.seq.desc()).limit(1)
    about: dict[str, Stored] = {}
    for digest in (await connection.execute(select(schema.device.c.digest))).scalars().all():
        said = await _fetch(connection, newest.where(table.c.text == digest))
        if said and isinstance(said[0].event, Seen):
            about[digest] = said[0]
    return about


async def _newest_per_key(connection: AsyncConnection, kind: str) -> dict[int, Stored]:
    table = schema.event
    keys = distinct(table.c.key, table.c.kind == kind).subquery("keys")
    newest = (
        select(func.max(table.c.seq))
        .where(table.c.kind == kind, table.c.key == keys.c.value)
        .correlate(keys)
        .scalar_subquery()
    )
    chosen = select(newest.label("seq")).select_from(keys).subquery("chosen")
    query = select(table).join(chosen, table.c.seq == chosen.c.seq)
    return {row.key: from_row(row) for row in await connection.execute(query)}
