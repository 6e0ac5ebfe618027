"""A member's tokens, by which programs of theirs may write."""

from __future__ import annotations

from collections.abc import Sequence

from sanic import Blueprint, HTTPResponse, Request

from bits import tokens
from bits.tokens import LABEL_LENGTH, MOST, SCOPES, TokenError
from bits.web import context
from bits.web.admin import page, see_other, signed_in, to_the_door
from bits.web.auth import member
from bits.web.fields import Fields
from bits.web.query import ID_MOST, whole
from bits.web.route import form as every_field
from bits.web.route import get
from bits.web.users import User

bp = Blueprint("tokens")


async def _tokens(
    request: Request, user: User, form: Fields | None = None, *, made: str = "", chosen: Sequence[str] = ()
) -> HTTPResponse:
    rows = await tokens.of(context.of(request).engine, user.id)
    return page(
        request, "tokens.html", form=form, tokens=rows, scopes=SCOPES, longest=LABEL_LENGTH, made=made, chosen=chosen
    )


def _refuse(form: Fields, reason: str) -> None:
    """Say why a token is not made or not revoked, beside a field where it concerns one."""
    _ = form._
    name, sentence = {
        "bad-label": ("label", _("The name has 1 to 64 characters that can be shown.")),
        "no-scope": ("scope", _("Choose at least one thing that the token may do.")),
        "bad-scope": ("scope", _("A token cannot be given that right.")),
        "too-many": ("", _("You have %(most)s tokens, which is the most: revoke one first.")),
        "gone": ("", _("This token is not among yours.")),
    }[reason]
    form.refuse(name, reason, sentence, most=MOST)


@get(bp, "/tokens")
async def tokens_page(request: Request) -> HTTPResponse:
    """Show members their tokens: when each was made and last used, and for what it is good."""
    user = await member(request)
    if user is None:
        return to_the_door(request)
    return await _tokens(request, user)


@bp.post("/tokens")
async def make(request: Request) -> HTTPResponse:
    """Make a token and show it, this once: so this answers with the page itself."""
    user = await signed_in(request)
    if isinstance(user, HTTPResponse):
        return user
    form = Fields(request, "tokens")
    chosen = tuple(every_field(request).get("scope", []))
    try:
        made = await tokens.create(context.of(request).engine, user.id, form.raw("label"), chosen)
    except TokenError as error:
        _refuse(form, error.reason)
        return await _tokens(request, user, form, chosen=chosen)
    return await _tokens(request, user, made=made)


@bp.post("/tokens/revoke")
async def revoke(request: Request) -> HTTPResponse:
    user = await signed_in(request)
    if isinstance(user, HTTPResponse):
        return user
    form = Fields(request, "tokens")
    number = whole(form.raw("id"), 1, ID_MOST) or 0
    if not await tokens.revoke(context.of(request).engine, user.id, number):
        _refuse(form, "gone")
        return await _tokens(request, user, form)
    return see_other("/tokens?done=revoked")
