"""What was: the log as a page and as JSON."""

from __future__ import annotations

import asyncio
import re
from collections import Counter
from collections.abc import Awaitable, Callable, Hashable, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta, tzinfo
from typing import Any
from urllib.parse import urlencode

from sanic import BadRequest, Blueprint, HTTPResponse, Request

from bits.counters import Counters
from bits.events import AUTO, BRIDGE, MAC, WEB, Late, Stored
from bits.history import BEGINNING, KINDS, Filter, Place, newer, older
from bits.roster import signer
from bits.web import context, query
from bits.web.body import Body
from bits.web.context import Context
from bits.web.framing import CORS
from bits.web.reader import language_of
from bits.web.route import get
from bits.web.turns import Turns
from bits.web.wire import HISTORY_KINDS, encode
from bits.web.words import N_

bp = Blueprint("history")

DEEPEST = 100_000  # entries that may be skipped by number: the database counts them one by one
LIMIT = 20
DEFAULT_KIND = "status"
SOURCES = {"any": None, "button": BRIDGE, "website": WEB, "devices": MAC, "timer": AUTO}

MICROSECOND = timedelta(microseconds=1)
LAST_DAY = date(9998, 12, 31)

AT_ONCE = 2  # reads of the log: of PostgreSQL each node has five connections
WAITING = 64  # reads: as many as are done in a second or two; more are told to come back
KEPT = 64  # pages, at most: filters and languages are the readers' choice


class History:
    """The newest pages as readers have last asked for them: each made once per change, however many fetch it.

    Whatever of the log strangers have read for them has its turn, so that connections are left for everything else.
    """

    def __init__(self, counters: Counters) -> None:
        sentence = N_("Too many read the history at once: try again.")
        self.reads = Turns(counters, "reads", sentence, at_once=AT_ONCE, waiting=WAITING)
        self._version: object = None
        self._made: dict[Hashable, asyncio.Task[Body]] = {}
        self.downloads: Counter[Hashable] = Counter()  # under way, by their readers' addresses (download.py)

    async def body(self, version: object, key: Hashable, make: Callable[[], Awaitable[Body]]) -> Body:
        """Return a page; who asks while it is being made waits for it.

        Args:
            version: what is kept of another is forgotten.
        """
        if self._version != version:
            self._version = version
            self._made.clear()
        task = self._made.get(key)
        if task is None or (task.done() and (task.cancelled() or task.exception())):
            if len(self._made) == KEPT:
                self._made.clear()
            task = self._made[key] = asyncio.ensure_future(_made(make))
        return await asyncio.shield(task)  # one reader who goes away takes it from nobody else


async def _made(make: Callable[[], Awaitable[Body]]) -> Body:
    return await make()


@dataclass(frozen=True, slots=True)
class Asked:
    """What of the log a reader wants to see.

    Args:
        day: of the space; None: all.
    """

    kind: str = DEFAULT_KIND
    source: str = "any"
    day: date | None = None

    def filter(self, zone: tzinfo) -> Filter:
        begin = end = None
        if self.day:
            begin, end = (
                datetime.combine(self.day + timedelta(days=days), time(), zone).astimezone(UTC) for days in (0, 1)
            )
        return Filter(KINDS[self.kind], SOURCES[self.source], begin, end)

    def parameters(self) -> dict[str, str]:
        """Return how to ask for it, without what goes without saying."""
        given = {"kind": self.kind, "source": self.source, "day": str(self.day or "")}
        return {name: value for name, value in given.items() if value not in (DEFAULT_KIND, "any", "")}


class BadDay(BadRequest):
    """What was given as a day is none, and its field is to say so."""


def asked(request: Request) -> Asked:
    """Read what a reader wants to see.

    Raises:
        BadRequest: it is nothing that there is.
    """
    kind = query.choice(request, "kind", DEFAULT_KIND, tuple(KINDS))
    source = query.choice(request, "source", "any", tuple(SOURCES))
    given = str(request.args.get("day", ""))
    return Asked(kind, source, _day(given) if given else None)


def _day(given: str) -> date:
    try:
        if not re.fullmatch(r"[0-9]{4}-[0-9]{2}-[0-9]{2}", given):
            raise ValueError
        day = date.fromisoformat(given)
    except ValueError:
        day = date.max
    if not BEGINNING.at.date() <= day <= LAST_DAY:
        raise BadDay(N_("%(name)s=%(given)s: expected a date like 2026-03-02.", name="day", given=given[:40]))
    return day


def place(request: Request, name: str) -> Place | None:
    """Read a place between two entries, as the links give it.

    Raises:
        BadRequest: it is none.
    """
    given = str(request.args.get(name, ""))
    if not given:
        return None
    try:
        return read(given)
    except (ValueError, OverflowError):
        expected = N_(
            "%(name)s=%(given)s: expected a place as the links of the history give it.", name=name, given=given[:40]
        )
        raise BadRequest(expected) from None


def read(given: str) -> Place:
    """Read a place: microseconds since 1970, and a seq.

    Raises:
        ValueError: it is none.
        OverflowError: no calendar goes so far.
    """
    found = re.fullmatch(r"([0-9]{1,18})-([0-9]{1,18})", given)
    if not found:
        raise ValueError(given)
    return Place(BEGINNING.at + int(found[1]) * MICROSECOND, int(found[2]))


def written(at: Place) -> str:
    return f"{(at.at - BEGINNING.at) // MICROSECOND}-{at.seq}"


def beside(stored: Stored) -> str:
    return written(Place(stored.at, stored.seq))


@dataclass(frozen=True, slots=True)
class Page:
    """A page of the log, newest first, and how to ask for those around it; None: there is none."""

    entries: list[Stored]
    newest: dict[str, Any] | None = None
    newer: dict[str, Any] | None = None
    older: dict[str, Any] | None = None
    oldest: dict[str, Any] | None = None


async def by_number(ctx: Context, wanted: Filter, offset: int, limit: int) -> Page:
    """Return the page that begins so many entries below the newest."""
    # One more than asked for tells whether there is an older page.
    found = await older(ctx.engine, wanted, limit=limit + 1, offset=offset)
    entries = found[:limit]
    below: dict[str, Any] | None = None
    if len(found) > limit:
        deep = offset + limit > DEEPEST
        below = {"before": beside(entries[-1])} if deep else {"offset": offset + limit}
    return Page(
        entries,
        newest={} if offset else None,
        newer={"offset": max(0, offset - limit)} if offset else None,
        older=below,
        oldest={"after": written(BEGINNING)} if below else None,
    )


async def by_place(ctx: Context, wanted: Filter, before: Place | None, after: Place | None, limit: int) -> Page:
    """Return the newest page, the one before a place, or the one after it."""
    if after is not None:
        found = await newer(ctx.engine, wanted, after=after, limit=limit + 1)
        if len(found) > limit:
            entries = found[1:]
            is_last = after == BEGINNING
            return Page(
                entries,
                newest={},
                newer={"after": beside(entries[0])},
                older=None if is_last else {"before": beside(entries[-1])},
                oldest=None if is_last else {"after": written(BEGINNING)},
            )
        before = None  # there are no more than these: the newest page, whole
    found = await older(ctx.engine, wanted, before=before, limit=limit + 1)
    entries = found[:limit]
    more = len(found) > limit
    return Page(
        entries,
        newest={} if before else None,
        newer={"after": beside(entries[0])} if before and entries else None,
        older={"before": beside(entries[-1])} if more else None,
        oldest={"after": written(BEGINNING)} if more or (before and not entries) else None,
    )


def shown(stored: Stored, listed: Mapping[int, str]) -> dict[str, Any]:
    """Choose what a page shows of an entry; a status has the name of who set it only if everybody may read that."""
    kind = HISTORY_KINDS[type(stored.event)]
    user = stored.author if kind in ("message", "announcement") else signer(stored, listed)
    return {
        "kind": kind,
        "event": stored.event,
        "seq": stored.seq,
        "at": stored.at,
        "source": stored.source,
        "user": user,
        "note": stored.note,
        "until": stored.until,
        "late": isinstance(stored.event, Late),
    }


@get(bp, "/log")
async def log(request: Request) -> HTTPResponse:
    """Past events, newest first: a page, or JSON with format=json."""
    ctx = context.of(request)
    offset = query.integer(request, "offset", None, 0, DEEPEST)
    limit = query.integer(request, "limit", LIMIT, 1, 500)
    shape = query.choice(request, "format", "html", ("html", "json"))
    form = query.choice(request, "timestamps", "ms", ("ms", "iso"))
    before, after = place(request, "before"), place(request, "after")
    if sum(each is not None for each in (offset, before, after)) > 1:
        raise BadRequest(N_("%(names)s: expected only one of them.", names="offset, before, after"))
    problem = False
    try:
        chosen = asked(request)
    except BadDay:
        if shape == "json" or "text/html" not in request.headers.get("accept", ""):
            raise
        problem = True
        chosen = Asked(str(request.args.get("kind", DEFAULT_KIND)), str(request.args.get("source", "any")))
    is_newest = not (before or after or offset or problem)
    language = language_of(request)
    today = datetime.now(ctx.config.time_zone).date()

    def link(more: dict[str, Any] | None) -> str | None:
        if more is None:
            return None
        size = {"limit": limit} if limit != LIMIT else {}
        parameters = {**more, **size, **chosen.parameters()} | more
        if shape == "json":
            parameters |= {
                name: request.args.get(name) for name in ("kind", "format", "timestamps") if name in request.args
            }
        return "/log?" + urlencode(parameters) if parameters else "/log"

    async def make() -> Body:
        # Of the newest pages there are a few dozen, each made once for all: they wait, where others are sent away.
        reads = ctx.history.reads
        turn = reads.free if is_newest and chosen.day is None and limit == LIMIT else reads.one()
        async with turn:
            return await in_turn()

    async def in_turn() -> Body:
        seq = ctx.live.state.seq  # what comes after this the page hears of, or has already
        wanted = chosen.filter(ctx.config.time_zone)
        if problem:
            page = Page([])
        elif offset is not None:
            page = await by_number(ctx, wanted, offset, limit)
        else:
            page = await by_place(ctx, wanted, before, after, limit)
        if shape == "json":
            wire = ctx.live.channels[form].wire
            # Those who have never asked for a kind know statuses without a word about that.
            write = wire.entry if "kind" in request.args else wire.status
            links = {"newer": link(page.newer), "older": link(page.older)}
            found = {"log": [write(stored) for stored in page.entries]}
            data = encode(found | {name: to for name, to in links.items() if to})
            return Body(data, "application/json; charset=utf-8", vary="Accept-Encoding")
        listed = ctx.roster.listed
        return await ctx.renderer.long_page(
            "log.html",
            language,
            current="log",
            entries=[shown(stored, listed) for stored in page.entries],
            links={name: link(getattr(page, name)) for name in ("newest", "newer", "older", "oldest")},
            is_live=not (problem or offset) and page.newest is None and chosen.day in (None, today),
            seq=seq,
            asked=chosen,
            limit=limit if limit != LIMIT else None,
            kinds=KIND_WORDS,
            sources=SOURCE_WORDS,
            query=urlencode({"kind": chosen.kind, **chosen.parameters()}),
            sensor_names=ctx.config.sensor_names,
            problem=problem,
            typed=str(request.args.get("day", ""))[:40],
            days=_around(chosen, today),
            link_day=lambda day: link({"day": str(day)}),
            first_day=BEGINNING.at.date(),
            today=today,
        )

    if not is_newest:
        body = await make()
    else:
        key = chosen, limit, shape, form, "kind" in request.args, offset, language, today
        body = await ctx.history.body(ctx.live.version, key, make)
    answer = body.answer(request, status=400 if problem else 200)
    if shape == "json":
        answer.headers.extend(CORS)
    return answer


KIND_WORDS = {
    "status": N_("Open and closed"),
    "temperature": N_("Temperatures"),
    "message": N_("Messages"),
    "sound": N_("Sounds"),
    "announcement": N_("Announcements"),
    "people": N_("Arrivals and departures"),
    "all": N_("Everything"),
}
SOURCE_WORDS = {
    "any": N_("Anybody"),
    "button": N_("the button"),
    "website": N_("the website"),
    "devices": N_("members’ devices"),
    "timer": N_("a timer"),
}


def _around(chosen: Asked, today: date) -> tuple[date | None, date | None]:
    """Return the day before the chosen one, and the one after it, where these may hold anything."""
    if chosen.day is None:
        return None, None
    before = chosen.day - timedelta(days=1)
    return (
        before if before >= BEGINNING.at.date() else None,
        chosen.day + timedelta(days=1) if chosen.day < today else None,
    )
