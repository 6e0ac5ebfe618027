"""Members who may sign in."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from itertools import count
from typing import Any, TypeVar

from passlib.hash import argon2
from sqlalchemy import ColumnElement, insert, select, update
from sqlalchemy import delete as remove
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncEngine

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


def check_name(name: str) -> str:
    """Return a usable name.

    Raises:
        BitsError: it is empty, too long, reserved, or holds what cannot be shown.
    """
    if not (name and name == name.strip() and name.isprintable() and len(name) <= NAME_LENGTH):
        raise BitsError(f"the name {name[:80]!r}: expected 1 to {NAME_LENGTH} printable characters, no space around")
    if name.lower() in {"bits", "web", "mac", "auto"}:
        raise BitsError(f"the name {name!r} stands for a part of the system: choose another")
    return name


def check_password(password: str) -> str:
    if not PASSWORD_MIN <= len(password) <= PASSWORD_MAX:
        raise BitsError(f"the password has {len(password)} characters: expected {PASSWORD_MIN} to {PASSWORD_MAX}")
    return password


async def _hash(password: str) -> str:
    async with _hashing:
        return str(await asyncio.to_thread(argon2.hash, password))


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


# --- for the command line: each opens and closes the database itself


@asynccontextmanager
async def _opened(config: Config) -> AsyncIterator[AsyncEngine]:
    engine = make_engine(config.db_uri)
    try:
        await upgrade(engine)
        yield engine
    finally:
        await engine.dispose()


async def opened(config: Config, work: Callable[[AsyncEngine], Awaitable[T]]) -> T:
    """Do something with the database, on the command line's behalf."""
    async with _opened(config) as engine:
        return await work(engine)


async def add(config: Config, name: str, password: str, admin: bool, number: int | None = None) -> None:
    """Add a member.

    Args:
        number: on the keypad; None: the lowest that is free, from 1.
    """
    values = {
        "name": check_name(name),
        "password": await _hash(check_password(password)),
        "admin": admin,
        "created": datetime.now(UTC),
    }
    async with _opened(config) as engine:
        try:
            async with writing(engine) as connection:
                taken = set((await connection.execute(select(schema.user.c.number))).scalars())
                if number in taken:
                    raise BitsError(f"the number {number} is another member's")
                free = next(each for each in count(1) if each not in taken) if number is None else number
                await connection.execute(insert(schema.user).values(values | {"number": free}))
        except IntegrityError:
            raise BitsError(f"there is a user {name!r} already") from None


async def delete(config: Config, name: str) -> None:
    """Delete a member, their tokens, and what says whose the devices are.

    A running server lets the devices go within half a minute, and takes none of the tokens any more.
    """
    theirs = select(schema.user.c.id).where(schema.user.c.name == name)
    async with _opened(config) as engine, writing(engine) as connection:
        await connection.execute(remove(schema.device).where(schema.device.c.user_id.in_(theirs)))
        await tokens.forget(connection, theirs)
        result = await connection.execute(remove(schema.user).where(schema.user.c.name == name))
        if result.rowcount == 0:
            raise BitsError(f"there is no user {name!r}")


async def modify(
    config: Config,
    name: str,
    password: str | None,
    admin: bool | None,
    number: int | None = None,
    listed: bool | None = None,
) -> None:
    """Change what is not None."""
    values: dict[str, Any] = {}
    if password is not None:
        values["password"] = await _hash(check_password(password))
    if admin is not None:
        values["admin"] = admin
    if number is not None:
        values["number"] = number
    if listed is not None:
        values["listed"] = listed
    if not values:
        raise BitsError("nothing to change: expected --password, --admin, --listed, their --no- or --number")
    async with _opened(config) as engine:
        try:
            async with writing(engine) as connection:
                result = await connection.execute(update(schema.user).where(schema.user.c.name == name).values(values))
        except IntegrityError:
            raise BitsError(f"the number {number} is another member's") from None
        if result.rowcount == 0:
            raise BitsError(f"there is no user {name!r}")


async def names(engine: AsyncEngine) -> dict[int, str]:
    """Return the members' names by their numbers."""
    async with reading(engine) as connection:
        rows = await connection.execute(select(schema.user.c.number, schema.user.c.name))
        return {row.number: row.name for row in rows}


async def list_(config: Config) -> list[User]:
    async with _opened(config) as engine, reading(engine) as connection:
        rows = await connection.execute(select(schema.user).order_by(schema.user.c.name))
        return [User(**row._mapping) for row in rows]
