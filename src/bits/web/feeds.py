"""What happened as a feed, what is to come as a calendar. Made once per change, not per reader."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import formatdate

from babel.numbers import format_percent
from sanic import Blueprint, HTTPResponse, Request

from bits.events import AUTO, BRIDGE, MAC, WEB, Announce, Message, Status, Stored, Withdraw
from bits.forecast.slots import midnight
from bits.roster import signer
from bits.store import Store
from bits.web import atom, context, ical, query
from bits.web.address import origin
from bits.web.body import LANGUAGE_VARIES, Body
from bits.web.context import Context
from bits.web.framing import CORS
from bits.web.reader import language_of
from bits.web.route import get

bp = Blueprint("feeds")

KINDS = "status", "message", "announcement"
ENTRIES = 50  # the newest, of a feed
# Finished answers kept. Their number is what readers make of it: languages, and names for this server.
KEPT = 32
# Those of older announcements than the newest ENTRIES can stand between: state.ANNOUNCED is what may be withdrawn.
WITHDRAWALS = 2 * ENTRIES


@dataclass(frozen=True, slots=True)
class Told:
    """The newest that was told, newest first. withdrawn: by the seq of the announcement, what withdrew it."""

    statuses: list[Stored]
    messages: list[Stored]
    announced: list[Stored]
    withdrawn: Mapping[int, Stored]


async def gather(store: Store) -> Told:
    """Read what the feeds tell, by index look-ups only."""
    return Told(
        statuses=[each for each in await store.latest("status", limit=ENTRIES) if isinstance(each.event, Status)],
        messages=await store.latest("message", limit=ENTRIES),
        announced=await store.latest("announce", limit=ENTRIES),
        withdrawn={
            each.event.announcement: each
            for each in await store.latest("withdraw", limit=WITHDRAWALS)
            if isinstance(each.event, Withdraw)
        },
    )


@dataclass(frozen=True, slots=True)
class Finished:
    """An answer, and the second it was made in."""

    body: Body
    made: int


class Feeds:
    """What was told, at hand, and the answers made of it: read anew when something of it has changed."""

    def __init__(self) -> None:
        self._stamp: object = None
        self._told = Told([], [], [], {})
        self._reading = asyncio.Lock()  # when something has changed, all readers come at once
        self._finished: dict[object, Finished] = {}

    async def finished(self, ctx: Context, key: object, make: Callable[[Told], Body]) -> Finished:
        async with self._reading:
            state, outlook = ctx.live.state, ctx.forecaster.outlook
            stamp = (
                (state.status, state.message, state.announced, ctx.roster.listed),
                outlook and outlook.origin,
                _today(ctx),
            )
            if stamp != self._stamp:
                self._told = await gather(ctx.store)
                self._finished.clear()
                self._stamp = stamp
        if key not in self._finished:
            if len(self._finished) == KEPT:
                self._finished.clear()
            self._finished[key] = Finished(make(self._told), int(time.time()))
        return self._finished[key]


def _today(ctx: Context) -> object:
    return datetime.now(ctx.config.time_zone).date()


def answer(request: Request, finished: Finished) -> HTTPResponse:
    """Answer by either validator. Within the second in which it was made, the time is none: it could change again."""
    body, modified = finished.body, formatdate(finished.made, usegmt=True)
    is_past = time.time() >= finished.made + 1
    if is_past and "if-none-match" not in request.headers and request.headers.get("if-modified-since") == modified:
        response = HTTPResponse(status=304, headers={"Cache-Control": "no-cache", "ETag": body.etag, "Vary": body.vary})
    else:
        response = body.answer(request)
    if is_past:
        response.headers["Last-Modified"] = modified
    response.headers.update(CORS)
    return response


class Words:
    """The words of a language for what happened. listed: the names that everybody may read."""

    def __init__(self, ctx: Context, language: str) -> None:
        self.gettext = ctx.renderer.gettext(language)
        self.moment: Callable[[datetime], str] = ctx.renderer.environments[language].filters["moment"]
        self.language = language
        self.space = ctx.config.space_name
        self._listed = ctx.roster.listed

    def status(self, value: str) -> str:
        _ = self.gettext
        return {"open": _("Open"), "closed": _("Closed"), "away": _("Away")}.get(value, value)

    def source(self, source: str) -> str:
        _ = self.gettext
        known = {BRIDGE: _("the button"), WEB: _("the website"), MAC: _("members’ devices"), AUTO: _("a timer")}
        return known.get(source, source)

    def who(self, stored: Stored) -> str:
        """Who set a status: a member only where they want that known."""
        return signer(stored, self._listed) or self.source(stored.source)

    def span(self, begins: datetime, ends: datetime | None) -> str:
        return f"{self.moment(begins)} – {self.moment(ends)}" if ends else self.moment(begins)


# --- the feed


def entries_of(told: Told, words: Words, kinds: Collection[str]) -> list[atom.Entry]:
    """Return the newest things told, newest first."""
    entries: list[atom.Entry] = []
    if "status" in kinds:
        entries += [_status(stored, words) for stored in told.statuses]
    if "message" in kinds:
        entries += [_message(stored, words) for stored in told.messages]
    if "announcement" in kinds:
        entries += [_announcement(stored, told.withdrawn.get(stored.seq), words) for stored in told.announced]
    return sorted(entries, key=lambda entry: (entry.updated, entry.seq), reverse=True)[:ENTRIES]


def _status(stored: Stored, words: Words) -> atom.Entry:
    _ = words.gettext
    assert isinstance(stored.event, Status)
    value, who = stored.event.value, words.who(stored)
    mark = {"open": "●", "closed": "■", "away": "▲"}.get(value, "?")
    lines = [_("%(status)s, by %(who)s") % {"status": words.status(value), "who": who}, stored.note or ""]
    if stored.until:
        lines.append(_("Expected until %(when)s") % {"when": words.moment(stored.until)})
    title, text = f"{mark} {words.status(value)}", "\n".join(filter(None, lines))
    return atom.Entry(stored.seq, "status", stored.at, stored.at, title, who, text, "/log")


def _message(stored: Stored, words: Words) -> atom.Entry:
    _ = words.gettext
    assert isinstance(stored.event, Message)
    who = stored.author or words.source(stored.source)
    title = _("Message from %(who)s") % {"who": who}
    return atom.Entry(stored.seq, "message", stored.at, stored.at, title, who, stored.event.text, "/")


def _announcement(stored: Stored, withdrawal: Stored | None, words: Words) -> atom.Entry:
    _ = words.gettext
    assert isinstance(stored.event, Announce)
    if stored.event.value == "open":
        title = _("Opening withdrawn") if withdrawal else _("Opening announced")
    else:
        title = _("Closure withdrawn") if withdrawal else _("Closure announced")
    text = "\n".join(filter(None, [words.span(stored.event.begins, stored.until), stored.note]))
    who = stored.author or words.source(stored.source)
    updated = max(stored.at, withdrawal.at) if withdrawal else stored.at
    return atom.Entry(stored.seq, "announcement", stored.at, updated, title, who, text, "/")


@get(bp, "/feed.atom")
async def feed(request: Request) -> HTTPResponse:
    """The newest status changes, messages and announcements; `kind` chooses one of them."""
    ctx = context.of(request)
    kind = query.choice(request, "kind", "all", ("all", *KINDS))
    language, base = language_of(request), origin(request)

    def make(told: Told) -> Body:
        words = Words(ctx, language)
        path = "/feed.atom" if kind == "all" else f"/feed.atom?kind={kind}"
        heading = atom.Heading(base, path, language, words.space, words.space)
        data = atom.write(heading, entries_of(told, words, KINDS if kind == "all" else (kind,)))
        return Body(data, "application/atom+xml; charset=utf-8", vary=LANGUAGE_VARIES)

    return answer(request, await ctx.feeds.finished(ctx, ("feed", kind, language, base), make))


# --- the calendar


def announced(told: Told, words: Words, host: str) -> list[ical.Entry]:
    """Return what was announced; what was withdrawn is said to be off, since calendars keep what they were told."""
    _ = words.gettext
    entries = []
    for stored in told.announced:
        assert isinstance(stored.event, Announce)
        event, withdrawal = stored.event, told.withdrawn.get(stored.seq)
        summary = _("%(space)s is open") if event.value == "open" else _("%(space)s is closed")
        summary %= {"space": words.space}
        if withdrawal:
            summary = _("Withdrawn: %(what)s") % {"what": summary}
        entries.append(
            ical.Entry(
                uid=f"announcement-{stored.seq}@{host}",
                revision=1 if withdrawal else 0,
                told=withdrawal.at if withdrawal else stored.at,
                begins=event.begins,
                ends=stored.until if stored.until and stored.until > event.begins else None,
                state="CANCELLED" if withdrawal else "CONFIRMED",
                summary=summary,
                description=stored.note or "",
            )
        )
    return entries


def likely(ctx: Context, told: Told, words: Words, host: str) -> list[ical.Entry]:
    """Return when the space will probably be open in the coming week, where enough is known for that."""
    _ = words.gettext
    outlook, zone = ctx.forecaster.outlook, ctx.config.time_zone
    if outlook is None:
        return []
    standing = [
        (stored.event.begins, stored.until)
        for stored in told.announced
        if isinstance(stored.event, Announce) and stored.until and stored.seq not in told.withdrawn
    ]
    found = ical.expected(outlook, zone, datetime.now(zone).date(), standing)
    return [
        ical.Entry(
            uid=f"expected-{hours.day.isoformat()}-{hours.number}@{host}",
            # The forecast of a day is made anew on each of the seven days before.
            revision=7 - (hours.day - outlook.origin).days,
            told=datetime.fromtimestamp(midnight(outlook.origin, zone), UTC),
            begins=hours.begins,
            ends=hours.ends,
            state="TENTATIVE",
            summary=_("%(space)s is probably open") % {"space": words.space},
            description=_("By the forecast, not announced: open with a probability of %(percent)s.")
            % {"percent": format_percent(hours.p, "#,##0 %", locale=words.language)},
        )
        for hours in found
    ]


@get(bp, "/calendar.ics")
async def calendar(request: Request) -> HTTPResponse:
    """Announced openings and closures, and the hours of the coming week in which it will probably be open."""
    ctx = context.of(request)
    language, base = language_of(request), origin(request)

    def make(told: Told) -> Body:
        words, host = Words(ctx, language), atom.authority(base)
        entries = announced(told, words, host) + likely(ctx, told, words, host)
        data = ical.write(words.space, language, base + "/", ctx.config.space_place, entries)
        return Body(data, "text/calendar; charset=utf-8", vary=LANGUAGE_VARIES)

    return answer(request, await ctx.feeds.finished(ctx, ("calendar", language, base), make))
