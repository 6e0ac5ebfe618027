"""The members' area: sign in, set the status, leave a message, play a sound."""

from __future__ import annotations

import asyncio
import re
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlencode

from sanic import BadRequest, Blueprint, HTTPResponse, Request, ServiceUnavailable
from sanic.response import redirect

from bits.events import WEB, Event, Message, Report, Sound, Status, Stored
from bits.web import context
from bits.web.auth import check_form, client_address, form_token, log, member, sign_in, sign_out
from bits.web.pages import view
from bits.web.reader import language_of
from bits.web.route import field, get
from bits.web.users import User, authenticate
from bits.web.words import N_

bp = Blueprint("admin")

COMMIT_SECONDS = 10  # a form waits so long for its commit before it says that the database is busy
MESSAGE_LENGTH = 1000  # characters; any of them fits the miniprotocol's line


def see_other(to: str) -> HTTPResponse:
    return redirect(to, status=303)


def page(
    request: Request, template: str, status: int = 200, *, current: str = "members", **values: Any
) -> HTTPResponse:
    ctx = context.of(request)
    body = ctx.renderer.page(template, language_of(request), current=current, csrf=form_token(request), **values)
    return HTTPResponse(body.data, status=status, content_type=body.content_type, headers={"Cache-Control": "no-store"})


async def signed_in(request: Request) -> User | HTTPResponse:
    """Return the member who sent a form of ours, or where to send the browser."""
    check_form(request)
    return await member(request) or see_other("/login")


async def _submit(request: Request, event: Event, user: User) -> None:
    """Send an event down the one write path and wait until it is in the log."""
    report = Report(event, WEB, datetime.now(UTC), user.name)
    await committed(context.of(request).presence.submit([report]))


async def committed(stored: asyncio.Future[list[Stored]]) -> None:
    """Wait until what was submitted is in the log."""
    try:
        await asyncio.wait_for(asyncio.shield(stored), COMMIT_SECONDS)
    except TimeoutError:
        raise ServiceUnavailable(N_("The database is busy: this will be stored as soon as it can be.")) from None


# Where one may come back to after signing in: pages of ours, and no address that leads elsewhere.
COME_BACK = re.compile(
    r"/(admin|people|devices|tokens|wiki|wiki/[a-z0-9-]{1,64}(/(edit|history|diff|revision))?)(\?[A-Za-z0-9=&_%+-]{0,400})?"
)


def _next(given: str) -> str:
    return given if COME_BACK.fullmatch(given) else "/admin"


def to_the_door(request: Request) -> HTTPResponse:
    """Send a browser to sign in first, and back to where it wanted to go."""
    wanted = request.path + (f"?{request.query_string}" if request.query_string else "")
    return see_other("/login?" + urlencode({"next": _next(wanted)}))


@get(bp, "/login")
async def login_page(request: Request) -> HTTPResponse:
    to = _next(str(request.args.get("next", "")))
    if await member(request):
        return see_other(to)
    return page(request, "login.html", failed=False, to=to)


@bp.post("/login")
async def login(request: Request) -> HTTPResponse:
    check_form(request)
    ctx = context.of(request)
    to = _next(field(request, "next"))
    user = await authenticate(ctx.engine, field(request, "name"), field(request, "password"))
    if user is None:
        ctx.counters["logins_failed_total"] += 1
        log.warning("sign-in refused from %s", client_address(request))
        return page(request, "login.html", status=403, failed=True, to=to)
    response = see_other(to)
    sign_in(request, response, user)
    return response


@bp.post("/logout")
async def logout(request: Request) -> HTTPResponse:
    check_form(request)
    response = see_other("/")
    sign_out(request, response)
    return response


@get(bp, "/admin")
async def admin_page(request: Request) -> HTTPResponse:
    user = await member(request)
    if user is None:
        return see_other("/login")
    ctx = context.of(request)
    return page(
        request,
        "admin.html",
        user=user.name,
        state=view(ctx.live.state, ctx.live.fresh, ctx.config, ctx.roster.listed),
        done=request.args.get("done"),
        closing=ctx.caretaker.closing,
        sign=ctx.caretaker.sign,
    )


@bp.post("/admin")
async def set_status(request: Request) -> HTTPResponse:
    user = await signed_in(request)
    if isinstance(user, HTTPResponse):
        return user
    value = field(request, "value")
    if value not in ("open", "closed", "away"):
        raise BadRequest(f"value={value[:40]}: expected open, closed or away.")
    await _submit(request, Status(value), user)
    return see_other("/admin?done=status")


@bp.post("/message")
async def send_message(request: Request) -> HTTPResponse:
    user = await signed_in(request)
    if isinstance(user, HTTPResponse):
        return user
    words = " ".join(field(request, "text").split())  # the board's display has no lines to break
    if not 1 <= len(words) <= MESSAGE_LENGTH:
        raise BadRequest(f"The message has {len(words)} characters: expected 1 to {MESSAGE_LENGTH}.")
    try:
        message = Message(words)
    except ValueError as error:
        raise BadRequest(f"{error}.") from None
    await _submit(request, message, user)
    return see_other("/admin?done=message")


@bp.post("/sound")
async def play_sound(request: Request) -> HTTPResponse:
    user = await signed_in(request)
    if isinstance(user, HTTPResponse):
        return user
    number = field(request, "number")
    if not (number.isascii() and number.isdecimal() and len(number) <= 3 and int(number) <= 255):
        raise BadRequest(f"number={number[:40]}: expected a whole number from 0 to 255.")
    await _submit(request, Sound(int(number)), user)
    return see_other("/admin?done=sound")
