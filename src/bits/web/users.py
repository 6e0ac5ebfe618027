"""Members who may sign in."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from itertools import count
from typing import Any, TypeVar

from passlib.hash import argon2
from sqlalchemy import ColumnElement, insert, select, update
from sqlalchemy import delete as remove
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from bits import schema, tokens
from bits.config import Config
from bits.errors import BitsError
from bits.migrate import upgrade
from bits.store import make_engine, reading, writing

T = TypeVar("T")

NAME_LENGTH = 64
PASSWORD_MIN, PASSWORD_MAX = 8, 1024  # the upper limit bounds the work of hashing what a stranger sends

# Hashing takes 64 MiB and some 50 ms on purpose: a flood of sign-ins must not take all memory and cores.
_hashing = asyncio.Semaphore(2)


@dataclass(frozen=True, slots=True)
class User:
    id: int
    name: str
    admin: bool
    created: datetime
    password: str  # the hash
    number: int  # on the keypad, and in the log's "enter" and "leave"
    listed: bool  # whether everybody may read the name while the member is in


class UserError(BitsError):
    """A member cannot be added or changed so; `reason` says in a word why."""

    def __init__(self, reason: str, said: str) -> None:
        super().__init__(said)
        self.reason = reason


class Hash(str):
    """A password's hash; a log of queries with their values does not show it."""

    __slots__ = ()

    def __repr__(self) -> str:
        return "<hash>"


def check_name(name: str) -> str:
    """Return a usable name.

    Raises:
        UserError: it is empty, too long, reserved, or holds what cannot be shown.
    """
    if not (name and name == name.strip() and name.isprintable() and len(name) <= NAME_LENGTH):
        said = f"the name {name[:80]!r}: expected 1 to {NAME_LENGTH} printable characters, no space around"
        raise UserError("bad-name", said)
    if name.lower() in {"bits", "web", "mac", "auto"}:
        raise UserError("reserved", f"the name {name!r} stands for a part of the system: choose another")
    return name


def check_password(password: str) -> str:
    if not PASSWORD_MIN <= len(password) <= PASSWORD_MAX:
        said = f"the password has {len(password)} characters: expected {PASSWORD_MIN} to {PASSWORD_MAX}"
        raise UserError("bad-password", said)
    return password


async def _hash(password: str) -> Hash:
    async with _hashing:
        return Hash(await asyncio.to_thread(argon2.hash, check_password(password)))


@cache
def _hash_of_nobody() -> str:
    return str(argon2.hash("nobody"))


async def find(engine: AsyncEngine, where: ColumnElement[bool]) -> User | None:
    async with reading(engine) as connection:
        row = (await connection.execute(select(schema.user).where(where))).one_or_none()
    return User(**row._mapping) if row else None


async def by_id(engine: AsyncEngine, number: int) -> User | None:
    return await find(engine, schema.user.c.id == number)


async def authenticate(engine: AsyncEngine, name: str, password: str) -> User | None:
    """Return the user whose name and password these are. An unknown name takes as long as a wrong password."""
    if len(password) > PASSWORD_MAX or len(name) > NAME_LENGTH or "\0" in name:
        return None
    user = await find(engine, schema.user.c.name == name)
    async with _hashing:
        hashed = user.password if user else await asyncio.to_thread(_hash_of_nobody)
        fits = await asyncio.to_thread(argon2.verify, password, hashed)
    return user if fits else None


async def create(engine: AsyncEngine, name: str, password: str, admin: bool, number: int | None = None) -> None:
    """Add a member.

    Args:
        number: on the keypad; None: the lowest that is free, from 1.

    Raises:
        UserError: name or password cannot be used, or name or number are another member's.
    """
    values = {
        "name": check_name(name),
        "password": await _hash(password),
        "admin": admin,
        "created": datetime.now(UTC),
    }
    try:
        async with writing(engine) as connection:
            taken = set((await connection.execute(select(schema.user.c.number))).scalars())
            if number in taken:
                raise UserError("number-taken", f"the number {number} is another member's")
            free = next(each for each in count(1) if each not in taken) if number is None else number
            await connection.execute(insert(schema.user).values(values | {"number": free}))
    except IntegrityError:
        raise UserError("name-taken", f"there is a user {name!r} already") from None


async def change(
    engine: AsyncEngine,
    who: ColumnElement[bool],
    *,
    password: str | None = None,
    admin: bool | None = None,
    number: int | None = None,
    listed: bool | None = None,
    keep_admin: bool = False,
) -> None:
    """Change of one member what is not None.

    Args:
        keep_admin: refuse to leave nobody who is an administrator.

    Raises:
        UserError: there is no such member, or this cannot be.
    """
    given = {"admin": admin, "number": number, "listed": listed}
    values: dict[str, Any] = {name: value for name, value in given.items() if value is not None}
    if password is not None:
        values["password"] = await _hash(password)
    try:
        async with writing(engine) as connection:
            result = await connection.execute(update(schema.user).where(who).values(values))
            if result.rowcount == 0:
                raise UserError("gone", "there is no such user")
            if keep_admin:
                await _keep_admin(connection)
    except IntegrityError:
        raise UserError("number-taken", f"the number {number} is another member's") from None


async def drop(engine: AsyncEngine, who: ColumnElement[bool], *, keep_admin: bool = False) -> None:
    """Delete a member, their tokens, and what says whose the devices are. Arguments and errors as in `change`."""
    theirs = select(schema.user.c.id).where(who)
    async with writing(engine) as connection:
        await connection.execute(remove(schema.device).where(schema.device.c.user_id.in_(theirs)))
        await tokens.forget(connection, theirs)
        result = await connection.execute(remove(schema.user).where(who))
        if result.rowcount == 0:
            raise UserError("gone", "there is no such user")
        if keep_admin:
            await _keep_admin(connection)


async def _keep_admin(connection: AsyncConnection) -> None:
    if (await connection.execute(select(schema.user.c.id).where(schema.user.c.admin).limit(1))).first() is None:
        raise UserError("last-admin", "this is the last administrator")


async def everybody(engine: AsyncEngine) -> list[User]:
    async with reading(engine) as connection:
        rows = await connection.execute(select(schema.user).order_by(schema.user.c.name))
        return [User(**row._mapping) for row in rows]


# --- for the command line: each opens and closes the database itself


async def opened(config: Config, work: Callable[[AsyncEngine], Awaitable[T]]) -> T:
    """Do something with the database, on the command line's behalf."""
    engine = make_engine(config.db_uri)
    try:
        await upgrade(engine)
        return await work(engine)
    finally:
        await engine.dispose()


async def add(config: Config, name: str, password: str, admin: bool, number: int | None = None) -> None:
    await opened(config, lambda engine: create(engine, name, password, admin, number))


async def delete(config: Config, name: str) -> None:
    """A running server lets the devices go within half a minute, and takes none of the tokens any more."""
    try:
        await opened(config, lambda engine: drop(engine, schema.user.c.name == name))
    except UserError:
        raise BitsError(f"there is no user {name!r}") from None


async def modify(
    config: Config,
    name: str,
    password: str | None,
    admin: bool | None,
    number: int | None = None,
    listed: bool | None = None,
) -> None:
    """Change what is not None."""
    if (password, admin, number, listed) == (None, None, None, None):
        raise BitsError("nothing to change: expected --password, --admin, --listed, their --no- or --number")

    async def work(engine: AsyncEngine) -> None:
        who = schema.user.c.name == name
        await change(engine, who, password=password, admin=admin, number=number, listed=listed)

    try:
        await opened(config, work)
    except UserError as error:
        raise BitsError(f"there is no user {name!r}" if error.reason == "gone" else str(error)) from None


async def list_(config: Config) -> list[User]:
    return await opened(config, everybody)


async def names(engine: AsyncEngine) -> dict[int, str]:
    """Return the members' names by their numbers."""
    async with reading(engine) as connection:
        rows = await connection.execute(select(schema.user.c.number, schema.user.c.name))
        return {row.number: row.name for row in rows}
