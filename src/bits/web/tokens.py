"""A member's tokens, by which programs of theirs may write."""

from __future__ import annotations

from typing import Any

from sanic import Blueprint, HTTPResponse, Request

from bits import tokens
from bits.tokens import LABEL_LENGTH, MOST, SCOPES, TokenError
from bits.web import context
from bits.web.admin import page, see_other, signed_in, to_the_door
from bits.web.auth import member
from bits.web.route import field, form, get
from bits.web.users import User

bp = Blueprint("tokens")


async def _tokens(request: Request, user: User, *, status: int = 200, **values: Any) -> HTTPResponse:
    shown = {"made": None, "refused": None, "done": None, "label": "", "chosen": ()} | values
    rows = await tokens.of(context.of(request).engine, user.id)
    return page(
        request,
        "tokens.html",
        status=status,
        tokens=rows,
        scopes=SCOPES,
        most=MOST,
        longest=LABEL_LENGTH,
        **shown,
    )


def _refused(request: Request, reason: str) -> str:
    context.of(request).counters[f'tokens_refused_total{{reason="{reason}"}}'] += 1
    return reason


@get(bp, "/tokens")
async def tokens_page(request: Request) -> HTTPResponse:
    """Show members their tokens: when each was made and last used, and for what it is good."""
    user = await member(request)
    if user is None:
        return to_the_door(request)
    return await _tokens(request, user, done=request.args.get("done"))


@bp.post("/tokens")
async def make(request: Request) -> HTTPResponse:
    """Make a token and show it, this once: so this answers with the page itself."""
    user = await signed_in(request)
    if isinstance(user, HTTPResponse):
        return user
    label, chosen = field(request, "label"), tuple(form(request).get("scope", []))
    try:
        made = await tokens.create(context.of(request).engine, user.id, label, chosen)
    except TokenError as error:
        refused = _refused(request, error.reason)
        return await _tokens(request, user, status=400, refused=refused, label=label[:100], chosen=chosen)
    return await _tokens(request, user, made=made)


@bp.post("/tokens/revoke")
async def revoke(request: Request) -> HTTPResponse:
    user = await signed_in(request)
    if isinstance(user, HTTPResponse):
        return user
    given = field(request, "id")
    is_number = given.isascii() and given.isdecimal() and len(given) <= 9
    if not (is_number and await tokens.revoke(context.of(request).engine, user.id, int(given))):
        return await _tokens(request, user, status=400, refused=_refused(request, "gone"))
    return see_other("/tokens?done=revoked")
