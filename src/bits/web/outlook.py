"""The forecast in all its views: JSON, an image, and what the pages say of it. Made once per change, not per reader."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Any

from babel.dates import get_day_names
from sanic import Blueprint, HTTPResponse, Request

from bits.config import Config
from bits.events import Status, Stored
from bits.forecast import figures
from bits.forecast.days import Calendar
from bits.forecast.outlook import MINUTES, Outlook, nothing
from bits.forecast.present import Present
from bits.forecaster import Forecaster
from bits.liveness import Clock
from bits.web import context, query
from bits.web.body import Body
from bits.web.framing import CORS
from bits.web.palette import DEFAULT, PALETTES
from bits.web.picture import Words, draw
from bits.web.reader import language_of
from bits.web.route import get
from bits.web.said import Said, days_of, say
from bits.web.wire import encode

bp = Blueprint("outlook")

REFRESH = 60  # seconds that what is said of the next hours may be old


class Outlooks:
    """The views, finished."""

    def __init__(self, config: Config, forecaster: Forecaster, clock: Clock) -> None:
        self._config = config
        self._forecaster = forecaster
        self._clock = clock
        self._version = 0  # of the outlook
        self._events = 0
        self._stamp: object = None
        self._said: Said | None = None
        self._bodies: dict[object, Body] = {}
        self._pictures: dict[object, Body] = {}

    def outdate(self) -> None:
        """There is a new outlook."""
        self._version += 1
        self._pictures = {}  # another: what is being drawn still goes into the old one

    @property
    def version(self) -> object:
        """Differs whenever what a view would show may have changed: by a new outlook, an event, silence, or time."""
        return (
            self._version,
            self._events,
            self._forecaster.is_unknown(),
            int(self._clock().timestamp()) // REFRESH,
        )

    def _refresh(self) -> None:
        if self._stamp != self.version:
            self._stamp = self.version
            self._bodies.clear()
            self._said = None

    def on_events(self, batch: Sequence[Stored]) -> None:
        """A status changes what is said of the next hours."""
        self._events += any(isinstance(stored.event, Status) for stored in batch)

    # --- for machines

    def presence(self) -> Body:
        return self._body("presence", self._presence)

    def api(self) -> Body:
        """All there is, as shapes.Forecast in v1 declares it."""
        return self._body("api", self._api)

    def _body(self, name: str, make: Callable[[], dict[str, Any]]) -> Body:
        self._refresh()
        if name not in self._bodies:
            self._bodies[name] = Body(encode(make()), "application/json", vary="Accept-Encoding")
        return self._bodies[name]

    def _presence(self) -> dict[str, Any]:
        week = self._week()
        return {key: week[key] for key in ("forecast", "known", "weeks")}

    def _week(self) -> dict[str, Any]:
        return figures.week(self._outlook(), self._config.time_zone)

    def _outlook(self) -> Outlook:
        """Return the outlook, or what is to be said without one."""
        if self._forecaster.outlook:
            return self._forecaster.outlook
        today = self._clock().astimezone(self._config.time_zone).date()
        return nothing(today, Calendar(closures=self._config.closures))

    def _api(self) -> dict[str, Any]:
        data = self._week()
        data["days"] = [
            {"date": day.date.isoformat(), "holiday": day.is_holiday, "closed": day.is_closed, "reason": day.reason}
            for day in days_of(self._outlook(), self._config, None)
        ]
        present = self._forecaster.present()
        data["nowcast"] = _present_json(present) if present and present.p else None
        return data

    # --- for people

    def said(self) -> Said | None:
        """Return what a page says; None: there is no forecast yet."""
        self._refresh()
        outlook = self._forecaster.outlook
        if self._said is None and outlook and outlook.is_known:
            self._said = say(outlook, self._forecaster.present(), self._config, self._clock(), self._version)
        return self._said

    async def picture(self, language: str, palette: str, scale: int, words: Words) -> Body:
        """Draw, in a thread."""
        key = language, palette, scale
        pictures = self._pictures
        if key not in pictures:
            outlook = self._forecaster.outlook
            hours = _hours(figures.table(outlook.p, outlook)) if outlook and outlook.is_known else None
            png = await asyncio.to_thread(draw, hours, words, palette=palette, scale=scale)
            pictures[key] = Body(png, "image/png", vary="Accept-Language")
        return pictures[key]


def _hours(rows: figures.Table) -> figures.Table:
    """Return the means of the hours."""
    per = len(rows[0]) // 24
    return [[sum(row[hour * per : (hour + 1) * per]) / per for hour in range(24)] for row in rows]


def _iso(at: datetime) -> str:
    return at.astimezone(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")


def _present_json(present: Present) -> dict[str, Any]:
    data: dict[str, Any] = {
        "timestamp": _iso(present.at),
        "open": present.is_open,
        "step_minutes": MINUTES,
        "forecast": [round(p, 4) for p in present.p],
    }
    if present.until:
        data["until"] = _iso(present.until)
    if present.opening:
        at, p, is_likely = present.opening
        data["opening"] = {"timestamp": _iso(at), "forecast": round(p, 4), "likely": is_likely}
    return data


# --- routes


@get(bp, "/presence")
async def presence(request: Request) -> HTTPResponse:
    """The chance of an open door for each half hour of the week, Monday 00:00 first."""
    answer = context.of(request).outlooks.presence().answer(request)
    answer.headers.update(CORS)
    return answer


@get(bp, "/bits_presence.png")
async def image(request: Request) -> HTTPResponse:
    """The forecast as an image."""
    ctx = context.of(request)
    palette = query.choice(request, "palette", DEFAULT, tuple(PALETTES))
    scale = query.integer(request, "scale", 1, 1, 3)
    language = language_of(request)
    gettext = ctx.renderer.gettext(language)
    words = Words(
        title=gettext("How likely is %(space)s open? In percent, by hour") % {"space": ctx.config.space_name},
        weekdays=weekdays(language),
        legend=gettext("Chance of an open door"),
        nothing=gettext("Not enough data yet for a forecast."),
    )
    return (await ctx.outlooks.picture(language, palette, scale, words)).answer(request)


def weekdays(language: str) -> list[str]:
    names = get_day_names("abbreviated", locale=language)
    return [names[day] for day in range(7)]
