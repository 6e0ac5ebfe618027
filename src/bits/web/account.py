"""A member's own account: the password, and whether the name is shown."""

from __future__ import annotations

from sanic import Blueprint, HTTPResponse, Request

from bits import schema
from bits.web import context, users
from bits.web.admin import page, see_other, signed_in, throttled, to_the_door
from bits.web.auth import check_password, member, sign_in
from bits.web.fields import Fields
from bits.web.route import get
from bits.web.users import PASSWORD_MAX, PASSWORD_MIN

bp = Blueprint("account")


@get(bp, "/account")
async def account_page(request: Request) -> HTTPResponse:
    user = await member(request)
    return to_the_door(request) if user is None else page(request, "account.html", user=user)


@bp.post("/account/password")
async def change_password(request: Request) -> HTTPResponse:
    """Change the password. That ends all sessions of it: this browser gets a new one."""
    user = await signed_in(request)
    if isinstance(user, HTTPResponse):
        return user
    form = Fields(request)
    new = form.password("new", PASSWORD_MIN, PASSWORD_MAX)
    if form.raw("again") != new:
        form.refuse("again", "differs", form._("This is not the same as above."))
    if form.errors:
        return page(request, "account.html", form=form, user=user)
    checked = await check_password(request, user.name, form.raw("old"))
    if isinstance(checked, int):
        return throttled(request, "account.html", form, "old", checked, user=user)
    if checked is None:
        form.refuse("old", "wrong-password", form._("This is not your password."))
        return page(request, "account.html", form=form, user=user)
    engine = context.of(request).engine
    await users.change(engine, schema.user.c.id == user.id, password=new)
    response = see_other("/account?done=password")
    changed = await users.by_id(engine, user.id)
    if changed:
        sign_in(request, response, changed)
    return response


@bp.post("/account/listed")
async def set_listed(request: Request) -> HTTPResponse:
    """Say whether everybody may read the name while the member is in."""
    user = await signed_in(request)
    if isinstance(user, HTTPResponse):
        return user
    ctx = context.of(request)
    listed = Fields(request).raw("listed") == "1"
    await users.change(ctx.engine, schema.user.c.id == user.id, listed=listed)
    await ctx.roster.reload()
    return see_other(f"/account?done={'listed' if listed else 'unlisted'}")
