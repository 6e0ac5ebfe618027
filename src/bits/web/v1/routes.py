"""What the API can do."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
from msgspec import UNSET, UnsetType
from sanic import Blueprint, HTTPResponse, Request

from bits import events, rollup
from bits.events import WEB, Report, Stored
from bits.history import Filter, older
from bits.roster import names_of
from bits.state import ANNOUNCED, State
from bits.tokens import Token
from bits.web import context, history
from bits.web.admin import committed
from bits.web.announcements import has_room, may_withdraw
from bits.web.body import Body
from bits.web.context import Context
from bits.web.fields import AHEAD, is_printable
from bits.web.framing import CORS
from bits.web.reader import language_of
from bits.web.route import get
from bits.web.temperatures import FRESH
from bits.web.v1 import describe, shapes
from bits.web.v1.operation import BASE, Table
from bits.web.v1.problem import KINDS, Refusal

bp = Blueprint("v1", url_prefix=BASE)
table = Table(bp)

DAY = timedelta(days=1)
FIRST = datetime(1, 1, 1, tzinfo=UTC)  # that a calendar has

MESSAGES = Filter(("message",))

NOON = datetime(2026, 3, 2, 12, 0, tzinfo=UTC)
OPENED = shapes.Status(seq=4711, timestamp=NOON, modifiedby="web", value="open", user="anna", note="soldering evening")
SAID = shapes.Message(seq=4712, timestamp=NOON, user="anna", value="The tea is ready")
WARM = shapes.Temperature(seq=4713, timestamp=NOON, modifiedby="BITS", sensor=0, value=21.5)
CLOSURE = shapes.Announcement(
    seq=4714,
    timestamp=NOON,
    user="anna",
    value="closed",
    begins=NOON + DAY,
    ends=NOON + 2 * DAY,
    note="holiday",
)
RANG = shapes.Sound(seq=4715, timestamp=NOON, modifiedby="web", number=3)


# --- reading


class Answers:
    """What many ask for, made once: the state for each change, the page for each language."""

    def __init__(self) -> None:
        self._version = -1
        self._state = Body(b"", "application/json")
        self._pages: dict[str, Body] = {}

    def state(self, ctx: Context) -> Body:
        if self._version != ctx.live.version:
            self._version = ctx.live.version
            self._state = Body(msgspec.json.encode(_state(ctx)), "application/json", vary="Accept-Encoding")
        return self._state

    def page(self, ctx: Context, language: str) -> Body:
        if language not in self._pages:
            self._pages[language] = ctx.renderer.page(
                "api.html",
                language,
                current="api",
                description=describe.DESCRIPTION,
                operations=describe.sections(table),
                shapes=describe.shapes(table),
                problems=KINDS,
            )
        return self._pages[language]


def _state(ctx: Context) -> shapes.State:
    state, fresh, listed = ctx.live.state, ctx.live.fresh, ctx.roster.listed

    def shown(stored: Stored | None) -> shapes.Event | UnsetType:
        return shapes.shown(stored, listed, unknown=fresh.unknown) if stored else UNSET

    announced = [shown(stored) for stored in state.announced.values() if stored]
    return shapes.State(
        seq=state.seq,
        status=shown(state.status),  # type: ignore[arg-type]
        message=shown(state.message),  # type: ignore[arg-type]
        sensors=[shown(sample) for _, sample in sorted(state.sensors.items())],  # type: ignore[misc]
        people=shapes.People(count=len(state.people), names=names_of(state, listed)),
        announced=sorted(announced, key=lambda each: each.begins),  # type: ignore[arg-type]
        heard=state.heard or UNSET,
        stale=fresh.stale,
    )


@table.operation(
    "GET",
    "/state",
    summary="What is true now",
    answer=shapes.State,
    example=shapes.State(
        seq=4714,
        status=OPENED,
        message=SAID,
        sensors=[WARM],
        people=shapes.People(count=2, names=["anna"]),
        announced=[CLOSURE],
        heard=NOON,
        stale=False,
    ),
)
async def get_state(request: Request) -> Body:
    """Carries an ETag: ask with If-None-Match as often as you like. To be told of changes use /ws or /events, which
    are described in docs/live.md."""
    ctx = context.of(request)
    return ctx.api.state(ctx)


async def _page(ctx: Context, wanted: Filter, query: shapes.Paging) -> tuple[list[Any], str | UnsetType]:
    """Return a page of the log, and the cursor of the next."""
    try:
        before = history.read(query.cursor) if query.cursor is not UNSET else None
    except OverflowError:
        raise Refusal("not-sensible", "This cursor is none that was given out.", at="cursor") from None
    async with ctx.history.reads.one():
        found = await older(ctx.engine, wanted, before=before, limit=query.limit + 1)
    shown = [shapes.shown(stored, ctx.roster.listed) for stored in found[: query.limit]]
    return shown, history.beside(found[query.limit - 1]) if len(found) > query.limit else UNSET


@table.operation(
    "GET",
    "/events",
    summary="What happened, page by page",
    query=shapes.Range,
    answer=shapes.Events,
    refusals=("not-sensible", "busy"),
    example=shapes.Events(events=[WARM, SAID, OPENED], next="1772452800000000-4711"),
    asked="kind=status&kind=message&limit=3",
)
async def get_events(request: Request, query: shapes.Range) -> shapes.Events:
    """Newest first by when it happened. Any page is as quick as the first: give the next as cursor, with the same
    other parameters, until there is none."""
    ctx = context.of(request)
    wanted = Filter(
        tuple(shapes.KINDS[kind] for kind in dict.fromkeys(query.kind or shapes.KINDS)),
        since=shapes.utc(query.since) if query.since is not UNSET else None,
        until=shapes.utc(query.until) if query.until is not UNSET else None,
    )
    shown, cursor = await _page(ctx, wanted, query)
    return shapes.Events(events=shown, next=cursor)


@table.operation(
    "GET",
    "/messages",
    summary="The last messages",
    query=shapes.Paging,
    answer=shapes.Messages,
    refusals=("not-sensible", "busy"),
    example=shapes.Messages(messages=[SAID]),
    asked="limit=1",
)
async def get_messages(request: Request, query: shapes.Paging) -> shapes.Messages:
    """Newest first; paged as the events are."""
    shown, cursor = await _page(context.of(request), MESSAGES, query)
    return shapes.Messages(messages=shown, next=cursor)


@table.operation(
    "GET",
    "/history",
    summary="Past temperatures",
    query=shapes.Span,
    answer=shapes.History,
    refusals=("not-sensible", "busy"),
    example=shapes.History(
        since=NOON,
        until=NOON + DAY,
        step=3600,
        sensors=[
            shapes.Sensor(sensor=0, name="Lab", points=[shapes.Point(timestamp=NOON, mean=21.5, low=21.2, high=21.8)])
        ],
    ),
    asked="points=24",
)
async def get_history(request: Request, query: shapes.Span) -> Body:
    """Down-sampled, so that a chart of a day and one of ten years cost the same: up to two days from the samples, more
    from the means of hours."""
    ctx = context.of(request)
    # To a few seconds, so that all who want the newest ask for the same.
    now = -(-ctx.temperatures.now() // FRESH) * FRESH
    until = shapes.utc(query.until) if query.until is not UNSET else datetime.fromtimestamp(now, UTC)
    since = shapes.utc(query.since) if query.since is not UNSET else max(until, FIRST + DAY) - DAY

    async def make() -> Body:
        found = _history(await rollup.series(ctx.engine, since, until, query.points), since, until, ctx)
        return Body(msgspec.json.encode(found), "application/json", vary="Accept-Encoding")

    try:
        return await ctx.temperatures.kept((since, until, query.points), make)
    except ValueError as error:
        raise Refusal("not-sensible", f"{error}.", at="since") from None


def _history(found: rollup.Series, since: datetime, until: datetime, ctx: Context) -> shapes.History:
    names = ctx.config.sensor_names
    return shapes.History(
        since=since,
        until=until,
        step=found.step,
        sensors=[
            shapes.Sensor(
                sensor=sensor,
                name=names.get(sensor, UNSET),
                points=[
                    shapes.Point(
                        timestamp=datetime.fromtimestamp(at, UTC),
                        mean=round(mean, 3),
                        low=low,
                        high=high,
                    )
                    for at, mean, low, high in points
                ],
            )
            for sensor, points in sorted(found.sensors.items())
        ],
    )


WEEK = [[0.0] * 20 + [0.8] * 28] * 7


@table.operation(
    "GET",
    "/forecast",
    summary="When it will probably be open",
    answer=shapes.Forecast,
    example=shapes.Forecast(
        time_zone="Europe/Rome",
        slot_minutes=30,
        origin=NOON.date(),
        known=True,
        weeks=52,
        forecast=WEEK,
        interval=0.9,
        low=WEEK,
        high=WEEK,
        score=None,
        days=[shapes.Day(date=(NOON + day * DAY).date(), holiday=False, closed=False, reason="") for day in range(7)],
        nowcast=None,
    ),
)
async def get_forecast(request: Request) -> Body:
    """The coming week, how far to trust it, and the next hours."""
    return context.of(request).outlooks.api()


# --- writing


async def _submit(
    request: Request,
    token: Token,
    event: events.Event,
    *,
    note: str | None = None,
    until: datetime | None = None,
    provided: Callable[[State], bool] | None = None,
) -> Stored | None:
    """Send an event down the one write path; return it as stored, or None where it changed nothing or may not be."""
    report = Report(event, WEB, datetime.now(UTC), token.name, note=note, until=until)
    stored = await committed(context.of(request).presence.submit([report], provided=provided))
    return stored[0] if stored else None


def _text(given: str, at: str) -> str:
    """Return a text of one line.

    Raises:
        Refusal: nothing of it can be shown, or it holds a control character, which no board's display takes.
    """
    words = " ".join(given.split())
    if not words or not is_printable(words):
        raise Refusal("not-sensible", "Expected at least one character, and all of them to be shown.", at=at)
    return words


def _note(given: str | UnsetType) -> str | None:
    return None if given is UNSET else _text(given, "note")


def _soon(at: datetime, name: str) -> datetime:
    """Return an instant in UTC.

    Raises:
        Refusal: it is past, or further than a year from now.
    """
    at, now = shapes.utc(at), datetime.now(UTC)
    if not now < at < now + AHEAD:
        raise Refusal("not-sensible", f"{at:%Y-%m-%dT%H:%M:%SZ}: expected a time within a year from now.", at=name)
    return at


@table.operation(
    "POST",
    "/status",
    summary="Set the status",
    scope="status",
    body=shapes.NewStatus,
    answer=shapes.Status,
    refusals=("not-sensible",),
    example=OPENED,
    given=shapes.NewStatus(value="open", note="soldering evening"),
)
async def set_status(request: Request, token: Token, body: shapes.NewStatus) -> shapes.Event:
    """Answers with the status that stands now: where that is just what you say, nothing is stored."""
    ctx = context.of(request)
    until = _soon(body.until, "until") if body.until is not UNSET else None
    stored = await _submit(request, token, events.Status(body.value), note=_note(body.note), until=until)
    stored = stored or ctx.presence.state.status
    assert stored is not None
    return shapes.shown(stored, ctx.roster.listed)


@table.operation(
    "POST",
    "/messages",
    summary="Send a message",
    scope="message",
    body=shapes.NewMessage,
    answer=shapes.Message,
    status=201,
    refusals=("not-sensible",),
    example=SAID,
    given=shapes.NewMessage(value="The tea is ready"),
)
async def send_message(request: Request, token: Token, body: shapes.NewMessage) -> shapes.Event:
    """Everybody sees it at once, here and on the display at the space, signed with your name."""
    try:
        message = events.Message(_text(body.value, "value"))
    except ValueError as error:
        raise Refusal("not-sensible", f"{error}.", at="value") from None
    return await _stored(request, token, message)


@table.operation(
    "POST",
    "/announcements",
    summary="Announce an opening or a closure",
    scope="announce",
    body=shapes.NewAnnouncement,
    answer=shapes.Announcement,
    status=201,
    refusals=("not-sensible", "no-room"),
    example=CLOSURE,
    given=shapes.NewAnnouncement(value="closed", begins=CLOSURE.begins, ends=CLOSURE.ends, note="holiday"),
    link="withdraw",
)
async def announce(request: Request, token: Token, body: shapes.NewAnnouncement) -> shapes.Event:
    """There may be twenty to come. To change one, withdraw it and announce another."""
    begins, ends = _soon(body.begins, "begins"), _soon(body.ends, "ends")
    if not begins < ends:
        raise Refusal("not-sensible", "Expected that it ends after it begins.", at="ends")
    event = events.Announce(body.value, begins)
    stored = await _submit(request, token, event, note=_note(body.note), until=ends, provided=has_room)
    if stored is None:
        raise Refusal("no-room", f"There are {ANNOUNCED} announcements to come: withdraw one first.")
    return shapes.shown(stored, context.of(request).roster.listed)


@table.operation(
    "DELETE",
    "/announcements/<seq:int>",
    summary="Withdraw an announcement",
    scope="announce",
    status=204,
    refusals=("not-found", "not-yours"),
)
async def withdraw(request: Request, token: Token, seq: int) -> None:
    """Its author may, and every administrator."""
    announced = context.of(request).presence.state.announced.get(seq)
    if announced is None:
        raise Refusal("not-found", "No such announcement stands.", at="seq")
    if not may_withdraw(token, announced):
        raise Refusal("not-yours", "Only its author and administrators may withdraw this.", at="seq")
    await _submit(request, token, events.Withdraw(seq))


@table.operation(
    "POST",
    "/sounds",
    summary="Play a sound",
    scope="sound",
    body=shapes.NewSound,
    answer=shapes.Sound,
    status=201,
    example=RANG,
    given=shapes.NewSound(number=3),
)
async def play_sound(request: Request, token: Token, body: shapes.NewSound) -> shapes.Event:
    """It is played at the space, if the board knows one with this number."""
    return await _stored(request, token, events.Sound(body.number))


async def _stored(request: Request, token: Token, event: events.Event) -> shapes.Event:
    """Send what is always stored, and return it."""
    stored = await _submit(request, token, event)
    assert stored is not None
    return shapes.shown(stored, context.of(request).roster.listed)


table.add_preflights()


# --- the description


@get(bp, "/openapi.json")
async def openapi(request: Request) -> HTTPResponse:
    """The description for programs."""
    answer = describe.body(table).answer(request)
    answer.headers.update(CORS)
    return answer


@get(bp, "/")
async def page(request: Request) -> HTTPResponse:
    """The description for people."""
    ctx = context.of(request)
    return ctx.api.page(ctx, language_of(request)).answer(request)
