"""The members' area: sign in, set the status, leave a message, play a sound."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from types import MappingProxyType
from typing import Any
from urllib.parse import urlencode

from sanic import Blueprint, HTTPResponse, Request, ServiceUnavailable
from sanic.response import redirect

from bits.events import WEB, Event, Message, Report, Sound, Status, Stored
from bits.state import State
from bits.web import context
from bits.web.auth import check_form, check_password, form_token, member, sign_in, sign_out
from bits.web.fields import AHEAD, Fields, local
from bits.web.pages import view
from bits.web.reader import language_of
from bits.web.route import get
from bits.web.users import User
from bits.web.words import N_

bp = Blueprint("admin")

COMMIT_SECONDS = 10  # a form waits so long for its commit before it says that the database is busy
NOTE_LENGTH = 200  # characters
MESSAGE_LENGTH = 1000  # characters; any of them fits the miniprotocol's line


def see_other(to: str) -> HTTPResponse:
    return redirect(to, status=303)


def page(
    request: Request,
    template: str,
    status: int = 200,
    *,
    current: str = "members",
    form: Fields | None = None,
    headers: Mapping[str, str] = MappingProxyType({}),
    **values: Any,
) -> HTTPResponse:
    """Render a members' page; one whose form has errors shows them beside the fields.

    `done` in the query names what was just done: each page has a sentence for those words it knows, and shows no other.
    """
    ctx = context.of(request)
    body = ctx.renderer.page(
        template,
        language_of(request),
        current=current,
        csrf=form_token(request),
        is_admin=getattr(request.ctx, "is_admin", False),
        form=form,
        **({"done": request.args.get("done")} | values),
    )
    if form and form.errors and status == 200:
        status = 400
    more = {"Cache-Control": "no-store", **headers}
    return HTTPResponse(body.data, status=status, content_type=body.content_type, headers=more)


async def signed_in(request: Request) -> User | HTTPResponse:
    """Return the member who sent a form of ours, or where to send the browser."""
    check_form(request)
    return await member(request) or see_other("/login")


async def submit(
    request: Request,
    event: Event,
    user: User,
    *,
    note: str | None = None,
    until: datetime | None = None,
    provided: Callable[[State], bool] | None = None,
) -> list[Stored]:
    """Send an event down the one write path and wait until it is in the log. Returns what was stored."""
    report = Report(event, WEB, datetime.now(UTC), user.name, note=note or None, until=until)
    return await committed(context.of(request).presence.submit([report], provided=provided))


async def committed(stored: asyncio.Future[list[Stored]]) -> list[Stored]:
    """Wait until what was submitted is in the log, and return it."""
    try:
        return await asyncio.wait_for(asyncio.shield(stored), COMMIT_SECONDS)
    except TimeoutError:
        raise ServiceUnavailable(N_("The database is busy: this will be stored as soon as it can be.")) from None


# Where one may come back to after signing in: pages of ours, and no address that leads elsewhere.
PAGES = r"admin|people|devices|tokens|announcements|account|users(?:/[0-9]{1,9})?"
WIKI = r"wiki|wiki/[a-z0-9-]{1,64}(?:/(?:edit|history|diff|revision))?"
COME_BACK = re.compile(rf"/({PAGES}|{WIKI})" + r"(\?[A-Za-z0-9=&_%+-]{0,400})?")


def _next(given: str) -> str:
    return given if COME_BACK.fullmatch(given) else "/admin"


def to_the_door(request: Request) -> HTTPResponse:
    """Send a browser to sign in first, and back to where it wanted to go."""
    wanted = request.path + (f"?{request.query_string}" if request.query_string else "")
    to = _next(wanted)
    return see_other("/login" if to == "/admin" else "/login?" + urlencode({"next": to}))


@get(bp, "/login")
async def login_page(request: Request) -> HTTPResponse:
    to = _next(str(request.args.get("next", "")))
    if await member(request):
        return see_other(to)
    return page(request, "login.html", to=to)


@bp.post("/login")
async def login(request: Request) -> HTTPResponse:
    check_form(request)
    form = Fields(request)
    to = _next(form.raw("next"))
    user = await check_password(request, form.raw("name"), form.raw("password"))
    if user is None:
        form.refuse("password", "wrong-password", form._("Name and password do not fit together."))
        return page(request, "login.html", status=403, form=form, to=to)
    if isinstance(user, int):
        return throttled(request, "login.html", form, "password", user, to=to)
    response = see_other(to)
    sign_in(request, response, user)
    return response


def throttled(request: Request, template: str, form: Fields, name: str, wait: int, **values: Any) -> HTTPResponse:
    """Show a form again whose password was not even looked at."""
    said = form._("Too many attempts: try again in %(wait)s seconds.")
    form.refuse(name, "too-often", said, wait=wait)
    return page(request, template, status=429, form=form, headers={"Retry-After": str(wait)}, **values)


@bp.post("/logout")
async def logout(request: Request) -> HTTPResponse:
    check_form(request)
    response = see_other("/")
    sign_out(request, response)
    return response


def _show(request: Request, user: User, form: Fields | None = None) -> HTTPResponse:
    ctx = context.of(request)
    zone = ctx.config.time_zone
    now = datetime.now(UTC)
    return page(
        request,
        "admin.html",
        form=form,
        user=user.name,
        state=view(ctx.live.state, ctx.live.fresh, ctx.config, ctx.roster.listed),
        closing=ctx.caretaker.closing,
        sign=ctx.caretaker.sign,
        first=local(now, zone),
        last=local(now + AHEAD, zone),
        in_one=local(now + timedelta(hours=1), zone),
        in_two=local(now + timedelta(hours=2), zone),
        tonight=f"{now.astimezone(zone):%Y-%m-%d}T23:59",
        note_length=NOTE_LENGTH,
        message_length=MESSAGE_LENGTH,
    )


@get(bp, "/admin")
async def admin_page(request: Request) -> HTTPResponse:
    user = await member(request)
    return to_the_door(request) if user is None else _show(request, user)


@bp.post("/admin")
async def set_status(request: Request) -> HTTPResponse:
    user = await signed_in(request)
    if isinstance(user, HTTPResponse):
        return user
    form = Fields(request)
    value = form.choice("value", ("open", "closed", "away"))
    note = form.line("note", NOTE_LENGTH)
    until = form.moment("until", context.of(request).config.time_zone, datetime.now(UTC))
    if form.errors:
        return _show(request, user, form)
    await submit(request, Status(value), user, note=note, until=until)
    return see_other("/admin?done=status")


@bp.post("/message")
async def send_message(request: Request) -> HTTPResponse:
    user = await signed_in(request)
    if isinstance(user, HTTPResponse):
        return user
    form = Fields(request)
    words = form.line("text", MESSAGE_LENGTH, 1)  # one: the board's display has no lines to break
    if form.errors:
        return _show(request, user, form)
    await submit(request, Message(words), user)
    return see_other("/admin?done=message")


@bp.post("/sound")
async def play_sound(request: Request) -> HTTPResponse:
    user = await signed_in(request)
    if isinstance(user, HTTPResponse):
        return user
    form = Fields(request)
    number = form.whole("number", 0, 255)
    if form.errors:
        return _show(request, user, form)
    await submit(request, Sound(number), user)
    return see_other("/admin?done=sound")
