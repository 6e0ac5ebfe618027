"""Past temperatures: as JSON for the chart, and summed up for the page."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Hashable, Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

from sanic import BadRequest, Blueprint, HTTPResponse, Request
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncEngine

from bits import tasks
from bits.counters import Counters
from bits.events import Stored, Temperature
from bits.liveness import Clock
from bits.rollup import DAY, LONGEST, POINTS, Point, series
from bits.web import context, query
from bits.web.body import Body
from bits.web.framing import CORS
from bits.web.route import get
from bits.web.turns import Turns
from bits.web.wire import encode
from bits.web.words import N_

log = logging.getLogger("bits.web")

bp = Blueprint("temperatures")

SPANS = {"day": DAY, "week": 7 * DAY, "month": 31 * DAY, "year": 366 * DAY}
NO_TIME = 4_102_444_800_000  # milliseconds: 2100; nothing later is a time to ask for
WHOLE_DAYS = 125 * DAY  # longer spans are told by half days at least
KEPT = 64  # answers
FRESH = 10.0  # seconds that an answer may be old: many charts ask for the same
WAITING = 32  # requests that may wait for the database; more are told to come back
EVERY = 300.0  # seconds between two summaries


class Range(NamedTuple):
    """°C."""

    low: float
    mean: float
    high: float


class Temperatures:
    """Down-sampled temperatures, read by one request at a time: a chart is no reason to keep the log's readers waiting.

    Args:
        names: of the sensors that have one.
        every: seconds between two summaries.
    """

    def __init__(
        self, engine: AsyncEngine, clock: Clock, names: Mapping[int, str], counters: Counters, *, every: float = EVERY
    ) -> None:
        # By sensor, then one for each of SPANS; None: no sample. And its version.
        self.summary: dict[int, list[Range | None]] = {}
        self.version = 0
        self._engine = engine
        self._clock = clock
        self._names = names
        self._counters = counters
        self._every = every
        self._kept: dict[Hashable, tuple[float, Body]] = {}
        sentence = N_("Too many ask for charts at once: try again.")
        self._turns = Turns(counters, "temperatures", sentence, at_once=1, waiting=WAITING)
        self._heard: set[int] = set()  # sensors, since the start
        self._news = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    async def body(self, begin: int, end: int) -> Body:
        """Return what was, from one second since 1970 to another: a little more, so that many ask for the same.

        Raises:
            ServiceUnavailable: too many wait already.
        """
        grain = max(1, (end - begin) // POINTS)
        key = begin // grain * grain, -(-end // grain) * grain
        return await self.kept(key, lambda: self._read(*key))

    async def kept(self, key: Hashable, make: Callable[[], Awaitable[Body]]) -> Body:
        """Return an answer as it was made a moment ago, or make it when its turn comes.

        Raises:
            ServiceUnavailable: too many wait already.
        """
        async with self._turns.one():
            kept = self._kept.pop(key, None)
            if kept is None or kept[0] < time.monotonic():
                kept = time.monotonic() + FRESH, await make()
            self._kept[key] = kept  # the newest last
            if len(self._kept) > KEPT:
                del self._kept[next(iter(self._kept))]
            return kept[1]

    async def _read(self, begin: int, end: int) -> Body:
        if end - begin > WHOLE_DAYS:
            begin = begin // DAY * DAY  # half a day's mean at the edge would look like a change of weather
        until = min(_instant(end), self._clock())
        found = await series(self._engine, min(_instant(begin), until - timedelta(seconds=1)), until)
        data = {
            "since": begin * 1000,
            "until": int(until.timestamp() * 1000),
            "step": found.step * 1000,
            "sensors": [
                {"sensor": sensor, "name": self._names.get(sensor, ""), "points": [_rounded(point) for point in points]}
                for sensor, points in found.sensors.items()
            ],
        }
        return Body(encode(data), "application/json", vary="Accept-Encoding")

    def now(self) -> float:
        """Seconds since 1970."""
        return self._clock().timestamp()

    # --- the summary, at hand for every page

    def start(self) -> None:
        self._task = asyncio.create_task(self._keep_up(), name="temperatures")

    async def stop(self) -> None:
        """May be called twice."""
        task, self._task = self._task, None
        await tasks.end(task)

    def on_events(self, batch: Sequence[Stored]) -> None:
        """A sensor that speaks for the first time is no news for later."""
        for stored in batch:
            if isinstance(stored.event, Temperature) and stored.event.sensor not in self._heard:
                self._heard.add(stored.event.sensor)
                self._news.set()

    def outdate(self) -> None:
        """Much of the past has come to be known."""
        self._news.set()

    async def _keep_up(self) -> None:
        while True:
            self._news.clear()
            try:
                await self._sum_up()
            except (SQLAlchemyError, OSError) as error:
                log.error("the temperatures cannot be summed up: %s", error)
            with suppress(TimeoutError):
                async with asyncio.timeout(self._every):
                    await self._news.wait()

    async def _sum_up(self) -> None:
        now = self._clock()
        summary: dict[int, list[Range | None]] = {}
        for place, span in enumerate(SPANS.values()):
            async with self._turns.free:
                found = await series(self._engine, now - timedelta(seconds=span), now + timedelta(seconds=1))
            for sensor, points in found.sensors.items():
                summary.setdefault(sensor, [None] * len(SPANS))[place] = _range(points)
        summary = dict(sorted(summary.items()))
        if summary != self.summary:
            self.summary = summary
            self.version += 1


def _instant(second: int) -> datetime:
    return datetime.fromtimestamp(second, UTC)


def _rounded(point: Point) -> list[float]:
    return [point.at * 1000, round(point.mean, 2), round(point.low, 2), round(point.high, 2)]


def _range(points: list[Point]) -> Range:
    """Sum up; the mean is that of the steps, so that hours of many samples do not count for more."""
    mean = sum(point.mean for point in points) / len(points)
    return Range(min(point.low for point in points), mean, max(point.high for point in points))


@get(bp, "/temperatures")
async def temperatures(request: Request) -> HTTPResponse:
    """What the sensors said: of the last day, week, month or year, or `since` a time, `until` another."""
    ctx = context.of(request)
    since = query.integer(request, "since", None, 0, NO_TIME)
    until = query.integer(request, "until", None, 0, NO_TIME)
    span = SPANS[query.choice(request, "span", "day", tuple(SPANS))]
    now = int(ctx.temperatures.now() * 1000)
    if until is None:
        until = now
    if since is None:
        since = until - span * 1000
    elif "span" in request.args:
        raise refused(ctx.counters, "both", N_("%(names)s: expected only one of them.", names="span, since"))
    if not 1000 <= until - since <= LONGEST * 1000:
        sentence = N_(
            "%(names)s: expected from 1 second to %(most)s days between them.",
            names=f"since={since}, until={until}",
            most=LONGEST // DAY,
        )
        raise refused(ctx.counters, "span", sentence)
    answer = (await ctx.temperatures.body(max(0, since // 1000), until // 1000)).answer(request)
    answer.headers.update(CORS)
    return answer


def refused(counters: Counters, reason: str, sentence: str) -> BadRequest:
    counters[f'temperatures_refused_total{{reason="{reason}"}}'] += 1
    return BadRequest(sentence)
