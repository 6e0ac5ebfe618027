"""Members, as administrators manage them."""

from __future__ import annotations

import secrets

from sanic import Blueprint, Forbidden, HTTPResponse, NotFound, Request

from bits import schema
from bits.web import context, users
from bits.web.admin import page, see_other, signed_in, to_the_door
from bits.web.auth import member
from bits.web.fields import Fields
from bits.web.route import get
from bits.web.users import NAME_LENGTH, PASSWORD_MAX, PASSWORD_MIN, User, UserError
from bits.web.words import N_

bp = Blueprint("manage")

NUMBER_MOST = 999_999  # on the keypad


def _only_admins(request: Request, user: User) -> User:
    if not user.admin:
        context.of(request).counters["admins_only_refused_total"] += 1
        raise Forbidden(N_("Only administrators manage members: ask one of them."))
    return user


async def _admin(request: Request) -> User | HTTPResponse:
    """Return the administrator who sent a form, or where to send the browser."""
    user = await signed_in(request)
    return user if isinstance(user, HTTPResponse) else _only_admins(request, user)


async def _someone(request: Request, number: int) -> User:
    found = await users.by_id(context.of(request).engine, number) if 0 < number < 1 << 31 else None
    if found is None:
        raise NotFound(N_("There is no such member: perhaps somebody has deleted them."))
    return found


def _refuse(form: Fields, error: UserError) -> None:
    """Say beside a field why the table has not taken it."""
    name, sentence = {
        "bad-name": ("name", form._("A name has printable characters only.")),
        "reserved": ("name", form._("This name stands for a part of the system.")),
        "name-taken": ("name", form._("Another member has this name.")),
        "number-taken": ("keypad", form._("Another member has this number.")),
        "last-admin": ("admin", form._("This is the last administrator: make somebody else one first.")),
        "gone": ("", form._("There is no such member: perhaps somebody has deleted them.")),
        "bad-password": ("password", form._("This password cannot be used.")),
    }[error.reason]
    form.refuse(name, error.reason, sentence)


def _given_or_made(form: Fields) -> tuple[str, bool]:
    """Return the password that was typed, or else a new one; and whether it is that."""
    if form.raw("password"):
        return form.password("password", PASSWORD_MIN, PASSWORD_MAX), False
    return secrets.token_urlsafe(12), True


async def _list(request: Request, form: Fields | None = None, made: tuple[str, str] | None = None) -> HTTPResponse:
    found = await users.everybody(context.of(request).engine)
    return page(request, "users.html", form=form, users=found, made=made, name_length=NAME_LENGTH, most=NUMBER_MOST)


def _one(
    request: Request, user: User, someone: User, form: Fields | None = None, made: tuple[str, str] | None = None
) -> HTTPResponse:
    return page(request, "user.html", form=form, one=someone, is_me=someone.id == user.id, made=made, most=NUMBER_MOST)


@get(bp, "/users")
async def list_(request: Request) -> HTTPResponse:
    user = await member(request)
    if user is None:
        return to_the_door(request)
    _only_admins(request, user)
    return await _list(request)


@bp.post("/users")
async def add(request: Request) -> HTTPResponse:
    """Add a member. A password that is made here is shown this once: so this answers with the page itself."""
    user = await _admin(request)
    if isinstance(user, HTTPResponse):
        return user
    ctx = context.of(request)
    form = Fields(request)
    name = form.line("name", NAME_LENGTH, 1)
    number = form.whole("keypad", 0, NUMBER_MOST) if form.raw("keypad").strip() else None
    password, is_made = _given_or_made(form)
    if not form.errors:
        try:
            await users.create(ctx.engine, name, password, form.raw("admin") == "1", number)
        except UserError as error:
            _refuse(form, error)
    if form.errors:
        return await _list(request, form)
    return await _list(request, made=(name, password)) if is_made else see_other("/users?done=added")


@get(bp, "/users/<number:int>")
async def one(request: Request, number: int) -> HTTPResponse:
    user = await member(request)
    if user is None:
        return to_the_door(request)
    _only_admins(request, user)
    return _one(request, user, await _someone(request, number))


@bp.post("/users/<number:int>")
async def modify(request: Request, number: int) -> HTTPResponse:
    user = await _admin(request)
    if isinstance(user, HTTPResponse):
        return user
    ctx = context.of(request)
    someone = await _someone(request, number)
    form = Fields(request)
    keypad = form.whole("keypad", 0, NUMBER_MOST)
    admin = form.raw("admin") == "1"
    if not form.errors:
        try:
            await users.change(
                ctx.engine, schema.user.c.id == someone.id, number=keypad, admin=admin, keep_admin=someone.admin
            )
        except UserError as error:
            _refuse(form, error)
    if form.errors:
        return _one(request, user, someone, form)
    await ctx.roster.reload()
    # Whoever has stepped back has no business here any more.
    return see_other("/users?done=changed" if admin or someone.id != user.id else "/admin")


@bp.post("/users/<number:int>/password")
async def reset_password(request: Request, number: int) -> HTTPResponse:
    """Give a member another password, which ends their sessions; one that is made here is shown this once."""
    user = await _admin(request)
    if isinstance(user, HTTPResponse):
        return user
    someone = await _someone(request, number)
    form = Fields(request)
    password, is_made = _given_or_made(form)
    if form.errors:
        return _one(request, user, someone, form)
    await users.change(context.of(request).engine, schema.user.c.id == someone.id, password=password)
    return _one(request, user, someone, made=(someone.name, password)) if is_made else see_other("/users?done=password")


@bp.post("/users/<number:int>/delete")
async def delete(request: Request, number: int) -> HTTPResponse:
    user = await _admin(request)
    if isinstance(user, HTTPResponse):
        return user
    ctx = context.of(request)
    someone = await _someone(request, number)
    form = Fields(request)
    if someone.id == user.id:
        form.refuse("", "oneself", form._("You cannot delete yourself: another administrator can."))
    elif form.raw("confirmed") != "1":
        form.refuse("confirmed", "unconfirmed", form._("Tick this to delete."))
    else:
        try:
            await users.drop(ctx.engine, schema.user.c.id == someone.id, keep_admin=True)
        except UserError as error:
            _refuse(form, error)
    if form.errors:
        return _one(request, user, someone, form)
    await ctx.roster.reload()
    await ctx.devices.reload()
    return see_other("/users?done=deleted")
