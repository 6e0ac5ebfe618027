"""Pages for people."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TypeGuard

from sanic import Blueprint, HTTPResponse, NotFound, Request

from bits.config import Config
from bits.events import Announce, Event, Message, Stored, Temperature
from bits.roster import names_of, signer
from bits.state import Freshness, State
from bits.web import context
from bits.web.body import LANGUAGE_VARIES, Body
from bits.web.context import Context
from bits.web.reader import language_of, palette_of, remember
from bits.web.route import get
from bits.web.words import N_

bp = Blueprint("pages")

COOKIE_VARIES = LANGUAGE_VARIES + ", Cookie"


@dataclass(frozen=True, slots=True)
class Sensor:
    sensor: int
    name: str
    value: float
    at: datetime
    trend: str  # "rising", "falling", "steady"; empty: nothing can be said


@dataclass(frozen=True, slots=True)
class Words:
    text: str
    user: str
    at: datetime


@dataclass(frozen=True, slots=True)
class View:
    """The state as a page shows it."""

    value: str
    since: datetime | None
    source: str
    user: str  # who set it, where everybody may read the name
    note: str | None
    until: datetime | None
    stale: bool
    heard: datetime | None
    sensors: list[Sensor]
    message: Words | None
    people: int
    names: list[str]
    coming: list[tuple[Announce, Stored]]


TREND_SPAN = timedelta(hours=1)  # looked back
TREND_STEADY = 0.3  # °C that a thermometer may wander without meaning anything


def trend(history: Sequence[Stored], sensor: int) -> str:
    """Tell where a sensor's temperature is going: its newest sample against its oldest of the last hour.

    The script does the same (client/state.ts).

    Args:
        history: samples, newest first.
    """
    own = [(stored.at, stored.event.value) for stored in history if is_of(stored.event, sensor)]
    recent = [value for at, value in own if own[0][0] - at <= TREND_SPAN]
    if len(recent) < 2:
        return ""
    difference = recent[0] - recent[-1]
    return "rising" if difference > TREND_STEADY else "falling" if difference < -TREND_STEADY else "steady"


def is_of(event: Event, sensor: int) -> TypeGuard[Temperature]:
    return isinstance(event, Temperature) and event.sensor == sensor


def coming(state: State, now: datetime) -> list[tuple[Announce, Stored]]:
    """Return what was announced and is not over, in the order it begins."""
    found = [
        (stored.event, stored)
        for stored in state.announced.values()
        if stored and isinstance(stored.event, Announce) and stored.until and stored.until > now
    ]
    return sorted(found, key=lambda each: (each[0].begins, each[1].seq))


def view(state: State, fresh: Freshness, config: Config, listed: Mapping[int, str]) -> View:
    """Choose what a page shows of a state.

    Args:
        listed: the names that everybody may read, by the members' numbers.
    """
    sensors = []
    for sensor, stored in sorted(state.sensors.items()):
        assert isinstance(stored.event, Temperature)
        sensors.append(
            Sensor(
                sensor, config.sensor_names.get(sensor, ""), stored.event.value, stored.at, trend(state.history, sensor)
            )
        )
    message = None
    if state.message:
        assert isinstance(state.message.event, Message)
        message = Words(state.message.event.text, state.message.author or state.message.source, state.message.at)
    status = state.status
    return View(
        value=(not fresh.unknown and state.value) or "unknown",
        since=status.at if status else None,
        source=status.source if status else "",
        user=(status and signer(status, listed)) or "",
        note=status.note if status else None,
        until=status.until if status else None,
        stale=fresh.stale,
        heard=state.heard,
        sensors=sensors,
        message=message,
        people=len(state.people),
        names=names_of(state, listed),
        coming=coming(state, datetime.now(UTC)),
    )


class HomePage:
    """The homepage, rendered once per change, language and palette, not once per reader."""

    def __init__(self) -> None:
        self._version: object = None
        self._pages: dict[tuple[str, str, str], Body] = {}

    def body(self, ctx: Context, language: str, palette: str, template: str = "home.html") -> Body:
        """Return the page, or with outlook.html just what of it changes as time goes by."""
        live = ctx.live
        version = live.version, ctx.outlooks.version, ctx.temperatures.version
        if self._version != version:
            self._version = version
            self._pages.clear()
        key = language, palette, template
        if key not in self._pages:
            self._pages[key] = ctx.renderer.page(
                template,
                language,
                vary=COOKIE_VARIES,
                current="home",
                state=view(live.state, live.fresh, ctx.config, ctx.roster.listed),
                summary=ctx.temperatures.summary,
                data=live.channels["ms"].wire.snapshot(live.state, live.fresh),
                sensor_names={str(sensor): name for sensor, name in ctx.config.sensor_names.items()},
                said=ctx.outlooks.said(),
                palette=palette,
            )
        return self._pages[key]


@get(bp, "/")
async def home(request: Request) -> HTTPResponse:
    """Show what is true now, and will be; `palette` is remembered."""
    ctx = context.of(request)
    palette = palette_of(request)
    answer = ctx.home.body(ctx, language_of(request), palette).answer(request)
    if request.args.get("palette"):
        remember(answer, palette)
    return answer


@get(bp, "/blind")
async def blind(request: Request) -> HTTPResponse:
    """The homepage in colours that all eyes can tell apart, from now on: an address known since 2013."""
    ctx = context.of(request)
    answer = ctx.home.body(ctx, language_of(request), "blind").answer(request)
    remember(answer, "blind")
    return answer


@get(bp, "/outlook")
async def outlook(request: Request) -> HTTPResponse:
    """What of the homepage changes as time goes by: the page fetches it now and then."""
    ctx = context.of(request)
    return ctx.home.body(ctx, language_of(request), palette_of(request), "outlook.html").answer(request)


@get(bp, "/static/<name:str>")
async def static(request: Request, name: str) -> HTTPResponse:
    """An asset; its name changes with its content, so it may be kept for ever."""
    body = context.of(request).assets.bodies.get(name)
    if body is None:
        raise NotFound(N_("There is no such file."))
    return body.answer(request, cache="public, max-age=31536000, immutable")


@get(bp, "/favicon.ico")
async def favicon(request: Request) -> HTTPResponse:
    assets = context.of(request).assets
    return assets.bodies[assets.names["favicon.svg"]].answer(request, cache="public, max-age=86400")
