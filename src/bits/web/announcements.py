"""Openings and closures to come, as members announce them."""

from __future__ import annotations

from datetime import UTC, datetime

from sanic import Blueprint, HTTPResponse, Request

from bits.events import Announce, Stored, Withdraw
from bits.state import ANNOUNCED, State
from bits.tokens import Token
from bits.web import context, query
from bits.web.admin import NOTE_LENGTH, page, see_other, signed_in, submit, to_the_door
from bits.web.auth import member
from bits.web.fields import AHEAD, Fields, local
from bits.web.pages import coming
from bits.web.route import get
from bits.web.users import User

bp = Blueprint("announcements")


def has_room(state: State) -> bool:
    """Tell whether another may be announced: the state keeps no more, and would forget the oldest before it is over."""
    return len(coming(state, datetime.now(UTC))) < ANNOUNCED


def may_withdraw(user: User | Token, stored: Stored) -> bool:
    return user.admin or stored.author == user.name


def _show(request: Request, user: User, form: Fields | None = None) -> HTTPResponse:
    ctx = context.of(request)
    now = datetime.now(UTC)
    zone = ctx.config.time_zone
    rows = [
        {"event": event, "stored": stored, "mine": may_withdraw(user, stored)}
        for event, stored in coming(ctx.presence.state, now)
    ]
    return page(
        request,
        "announcements.html",
        form=form,
        rows=rows,
        first=local(now, zone),
        last=local(now + AHEAD, zone),
        note_length=NOTE_LENGTH,
    )


@get(bp, "/announcements")
async def announcements(request: Request) -> HTTPResponse:
    user = await member(request)
    return to_the_door(request) if user is None else _show(request, user)


@bp.post("/announcements")
async def announce(request: Request) -> HTTPResponse:
    user = await signed_in(request)
    if isinstance(user, HTTPResponse):
        return user
    ctx = context.of(request)
    form = Fields(request)
    now = datetime.now(UTC)
    value = form.choice("value", ("open", "closed"))
    begins = form.moment("begins", ctx.config.time_zone, now, needed=True)
    until = form.moment("until", ctx.config.time_zone, now, needed=True)
    note = form.line("note", NOTE_LENGTH)
    if begins and until and until <= begins:
        form.refuse("until", "backwards", form._("The end must come after the beginning."))
    if form.errors or begins is None:
        return _show(request, user, form)
    if not await submit(request, Announce(value, begins), user, note=note, until=until, provided=has_room):
        said = form._("There are %(most)s announcements to come, which is the most: withdraw one first.")
        form.refuse("value", "too-many", said, most=ANNOUNCED)
        return _show(request, user, form)
    return see_other("/announcements?done=announced")


@bp.post("/announcements/withdraw")
async def withdraw(request: Request) -> HTTPResponse:
    """Withdraw an announcement: its author may, and every administrator."""
    user = await signed_in(request)
    if isinstance(user, HTTPResponse):
        return user
    form = Fields(request)
    number = query.whole(form.raw("id"), 1, query.SEQ_MOST) or 0
    stored = context.of(request).presence.state.announced.get(number)
    if stored is None:
        form.refuse("", "gone", form._("This announcement is not there any more."))
    elif not may_withdraw(user, stored):
        form.refuse("", "not-yours", form._("Only its author and administrators may withdraw this."))
    if form.errors:
        return _show(request, user, form)
    await submit(request, Withdraw(number), user)
    return see_other("/announcements?done=withdrawn")
