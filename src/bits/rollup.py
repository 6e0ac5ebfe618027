"""Past temperatures: hours made from the log little by little, and series of any span for a chart, down-sampled."""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Callable
from contextlib import suppress
from datetime import datetime
from typing import Any, NamedTuple

from sqlalchemy import (
    BigInteger,
    ColumnElement,
    FromClause,
    Integer,
    Select,
    cast,
    extract,
    func,
    insert,
    select,
    true,
    union_all,
    update,
)
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from bits import schema, tasks
from bits.counters import Counters
from bits.store import distinct, reading, writing

log = logging.getLogger("bits.rollup")

CHUNK = 4000  # events of the log looked at in one go: some milliseconds of the database's time
PAUSE = 0.1  # seconds between two of them, so that whoever writes to the log hardly notices
EVERY = 60.0  # seconds between two looks at a log whose hours are up to date; what is newer is read from the log itself
JITTER = 10.0  # nodes that share a database take turns by chance
RETRY = 60.0
GRACE = 2.0  # seconds that a transaction under way has to end when the server stops

POINTS = 500  # of a series, at most
HOUR = 3600
DAY = 24 * HOUR
RAW_SPAN = 2 * DAY  # up to which the samples themselves are read
RAW_SAMPLES = 100_000  # unless there are more of them: a sensor that tells every two seconds
LONGEST = 10 * 366 * DAY
STEPS = (1, 2, 3, 6, 12, 24, 48, 72, 168, 336)  # hours that one point may stand for

HOURS = schema.hour
EVENT = schema.event
ROW = 1  # the one row of "rollup"


class Point(NamedTuple):
    """What a sensor said in one step of a series.

    Args:
        at: the mean time of the samples, seconds since 1970 UTC; where they come from hours, by the hours' middles.
        mean, low, high: °C.
    """

    at: int
    mean: float
    low: float
    high: float


class Series(NamedTuple):
    """Temperatures of a span.

    Args:
        step: seconds that one point stands for.
        sensors: points in rising order of time, by sensor; steps without a sample have none.
    """

    step: int
    sensors: dict[int, list[Point]]


async def series(engine: AsyncEngine, since: datetime, until: datetime, points: int = POINTS) -> Series:
    """Return the temperatures from one instant until before another, down-sampled.

    The samples of at most two days are read from the log, if they are not too many; longer spans from the hours, with
    what has come since they were last brought up to date. So the work is bounded, whatever is asked for.

    Args:
        since, until: aware.
        points: of each sensor, about, at most: 1 to POINTS. Steps begin at multiples of their length since 1970 UTC.
    Raises:
        ValueError: the span is empty or longer than LONGEST, or points is out of range.
    """
    begin, end = int(since.timestamp()), int(until.timestamp())
    if not 0 < end - begin <= LONGEST:
        raise ValueError(f"from {since} until {until}: expected a span of up to {LONGEST // DAY} days")
    if not 1 <= points <= POINTS:
        raise ValueError(f"{points} points: expected 1 to {POINTS}")
    async with reading(engine) as connection:
        if end - begin <= RAW_SPAN and await _samples(connection, since, until) <= RAW_SAMPLES:
            step = -(-(end - begin) // points)
            return Series(step, await _points(connection, _raw(connection, since, until), step, end))
        least = -(-(end - begin) // (points * HOUR))
        step = HOUR * next((hours for hours in STEPS if hours >= least), least)
        return Series(step, await _points(connection, await _hours(connection, begin, end), step, end))


async def _samples(connection: AsyncConnection, since: datetime, until: datetime) -> int:
    """Count samples, but not for long."""
    some = select(EVENT.c.seq).where(_between(since, until)).limit(RAW_SAMPLES + 1).subquery()
    return await connection.scalar(select(func.count()).select_from(some)) or 0


def _between(since: datetime, until: datetime) -> ColumnElement[bool]:
    return (EVENT.c.kind == "temperature") & (EVENT.c.at >= since) & (EVENT.c.at < until)


def _second(connection: AsyncConnection) -> ColumnElement[int]:
    """When an event happened, in whole seconds since 1970."""
    if connection.dialect.name == "sqlite":
        # Of its text, without the fraction: that would be rounded, and could end in the next hour.
        return cast(func.strftime("%s", func.substr(EVENT.c.at, 1, 19)), Integer)
    return cast(func.floor(extract("epoch", EVENT.c.at)), BigInteger)


def _raw(connection: AsyncConnection, since: datetime, until: datetime) -> FromClause:
    """Each sample as a part of a point: sensor, second, count, total, low, high."""
    value = EVENT.c.value
    return (
        select(
            EVENT.c.key.label("sensor"),
            _second(connection).label("second"),
            func.length("1").label("count"),
            value.label("total"),
            value.label("low"),
            value.label("high"),
        )
        .where(_between(since, until))
        .subquery("part")
    )


async def _hours(connection: AsyncConnection, begin: int, end: int) -> FromClause:
    """Each hour as a part of a point: those made, and the log's newest as if they were."""
    sensors = (await connection.execute(distinct(HOURS.c.sensor, true()))).scalars().all()
    done = await connection.scalar(select(schema.rollup.c.seq)) or 0
    tail = _by_hour(connection, done, await _chunk_end(connection, done)).subquery("tail")
    # By sensor, since the table is ordered so: hours of other years are not looked at.
    made = select(HOURS).where(HOURS.c.sensor.in_(sensors))
    part = union_all(
        *(
            each.where(columns.hour >= begin // HOUR, columns.hour <= (end - 1) // HOUR)
            for each, columns in ((made, HOURS.c), (select(tail), tail.c))
        )
    ).subquery("hours")
    middle = part.c.hour * HOUR + HOUR // 2
    rest = (part.c[name] for name in ("count", "total", "low", "high"))
    return select(part.c.sensor, middle.label("second"), *rest).subquery("part")


async def _points(connection: AsyncConnection, part: FromClause, step: int, end: int) -> dict[int, list[Point]]:
    """Put the parts together, step by step."""
    count, place = func.sum(part.c.count), part.c.second // step
    query: Select[Any] = (
        select(
            part.c.sensor,
            func.sum(part.c.second * part.c.count) / count,
            func.sum(part.c.total) / count,
            func.min(part.c.low),
            func.max(part.c.high),
        )
        .group_by(part.c.sensor, place)
        .order_by(part.c.sensor, place)
    )
    found: dict[int, list[Point]] = {}
    for sensor, at, mean, low, high in await connection.execute(query):
        # An hour that has only begun has its middle in the future.
        found.setdefault(sensor, []).append(Point(min(int(at), end), mean, low, high))
    return found


# --- the hours


async def _chunk_end(connection: AsyncConnection, done: int) -> int:
    """Return the seq up to which the next look at the log goes."""
    following = select(EVENT.c.seq).where(EVENT.c.seq > done).order_by(EVENT.c.seq).limit(CHUNK).subquery()
    return await connection.scalar(select(func.max(following.c.seq))) or done


def _by_hour(connection: AsyncConnection, after: int, upto: int) -> Select[Any]:
    """Sum up the samples of a stretch of the log, as the table of hours has them."""
    hour = _second(connection) // HOUR
    value = EVENT.c.value
    return (
        select(
            EVENT.c.key.label("sensor"),
            hour.label("hour"),
            func.count().label("count"),
            func.sum(value).label("total"),
            func.min(value).label("low"),
            func.max(value).label("high"),
        )
        # Told so, the planner cannot take an index by kind and walk through all samples there have ever been.
        .where(EVENT.c.kind.concat("") == "temperature", EVENT.c.seq > after, EVENT.c.seq <= upto)
        .group_by(EVENT.c.key, hour)
    )


async def take_in(engine: AsyncEngine) -> bool:
    """Add the next stretch of the log to the hours: wholly or not at all, and once, however many nodes try.

    Returns:
        Whether there may be more to take in.
    """
    async with reading(engine) as connection:
        done = await connection.scalar(select(schema.rollup.c.seq)) or 0
        upto = await _chunk_end(connection, done)
        rows = [dict(row) for row in (await connection.execute(_by_hour(connection, done, upto))).mappings()]
        is_full = upto - done >= CHUNK
    if not rows and not is_full:
        return False  # a few events of other kinds: looked at again with what comes next
    # What was read stays true: the log is only appended to, in the order of seq. So the lock is held for the sums only.
    async with writing(engine) as connection:
        now = await connection.scalar(select(schema.rollup.c.seq))
        if (now or 0) != done:
            return True  # another node was faster
        if now is None:
            await connection.execute(insert(schema.rollup).values(id=ROW, seq=upto))
        else:
            await connection.execute(update(schema.rollup).values(seq=upto))
        if rows:
            await connection.execute(_add(connection), rows)
    return is_full


def _add(connection: AsyncConnection) -> Any:
    dialect: Any = sqlite if connection.dialect.name == "sqlite" else postgresql
    adding = dialect.insert(HOURS)
    new = adding.excluded
    lower = func.min if connection.dialect.name == "sqlite" else func.least
    higher = func.max if connection.dialect.name == "sqlite" else func.greatest
    return adding.on_conflict_do_update(
        index_elements=[HOURS.c.sensor, HOURS.c.hour],
        set_={
            "count": HOURS.c.count + new.count,
            "total": HOURS.c.total + new.total,
            "low": lower(HOURS.c.low, new.low),
            "high": higher(HOURS.c.high, new.high),
        },
    )


class Rollup:
    """Bring the hours up to date in the background, so gently that the log's writers hardly notice.

    Args:
        caught_up: called when they were far behind and no longer are.
    """

    def __init__(
        self,
        engine: AsyncEngine,
        counters: Counters,
        caught_up: Callable[[], None] = lambda: None,
        *,
        every: float = EVERY,
    ) -> None:
        self._engine = engine
        self._counters = counters
        self._caught_up = caught_up
        self._every = every
        self._ending = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        self._ending.clear()
        self._task = asyncio.create_task(self._keep_up(), name="rollup")

    async def stop(self) -> None:
        """End, rather between two transactions than within one. May be called twice."""
        task, self._task = self._task, None
        self._ending.set()
        if task:
            await asyncio.wait({task}, timeout=GRACE)
        await tasks.end(task)

    async def _keep_up(self) -> None:
        delay = PAUSE
        was_behind = False
        while not await self._ends_within(delay):
            try:
                is_behind = await take_in(self._engine)
                if was_behind and not is_behind:
                    self._caught_up()
                was_behind = is_behind
                delay = PAUSE if is_behind else self._every + random.uniform(0, JITTER)  # noqa: S311
            except (SQLAlchemyError, OSError) as error:
                self._counters["rollup_failed_total"] += 1
                log.error("the hours of temperatures cannot be brought up to date: %s", error)
                delay = RETRY

    async def _ends_within(self, delay: float) -> bool:
        with suppress(TimeoutError):
            async with asyncio.timeout(delay):
                return await self._ending.wait()
        return False
