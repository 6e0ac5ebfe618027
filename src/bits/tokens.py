"""Tokens by which a member's programs may write: random, shown once, kept as digests only."""

from __future__ import annotations

import hashlib
import logging
import re
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import ColumnElement, Select, delete, func, insert, select, update
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from bits import schema
from bits.store import reading, writing

log = logging.getLogger("bits.tokens")

SCOPES = ("status", "message", "announce", "sound")
MOST = 20  # of one member
LABEL_LENGTH = 64
SECRET_BYTES = 32
# The prefix tells people, and programs that search published code for secrets, what it is.
TOKEN = re.compile(r"bits_[A-Za-z0-9_-]{43}")

# The last use is told to the minute: a busy program must not cost a commit each time.
USED_EVERY = timedelta(minutes=1)

table = schema.token


class TokenError(ValueError):
    """A token that cannot be made; the reason is a word for a form and a counter."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


@dataclass(frozen=True, slots=True)
class Token:
    """What is known of a token: not the token itself."""

    id: int
    label: str
    scopes: tuple[str, ...]
    created: datetime
    used: datetime | None
    name: str  # the member's
    admin: bool  # whether that member is one


def _digest(token: str) -> str:
    return hashlib.sha256(token.encode()).hexdigest()


def _tokens() -> Select[Any]:
    columns = table.c.id, table.c.label, table.c.scopes, table.c.created, table.c.used
    return (
        select(*columns, schema.user.c.name, schema.user.c.admin)
        .join(schema.user, schema.user.c.id == table.c.user_id)
        .order_by(table.c.id)
    )


async def _fetch(engine: AsyncEngine, query: Select[Any]) -> list[Token]:
    async with reading(engine) as connection:
        rows = (await connection.execute(query)).all()
    return [Token(**{**row._mapping, "scopes": tuple(row.scopes.split())}) for row in rows]


async def create(engine: AsyncEngine, user_id: int, label: str, scopes: Sequence[str]) -> str:
    """Make a token and return it: nobody can read it again.

    Raises:
        TokenError: "bad-label", "no-scope", "bad-scope" or "too-many".
    """
    label = label.strip()
    if not (1 <= len(label) <= LABEL_LENGTH and label.isprintable()):
        raise TokenError("bad-label")
    if not scopes:
        raise TokenError("no-scope")
    if not set(scopes) <= set(SCOPES):
        raise TokenError("bad-scope")
    token = "bits_" + secrets.token_urlsafe(SECRET_BYTES)
    values = {
        "user_id": user_id,
        "digest": _digest(token),
        "label": label,
        "scopes": " ".join(scope for scope in SCOPES if scope in scopes),
        "created": datetime.now(UTC),
    }
    async with writing(engine) as connection:
        if (await connection.scalar(select(func.count()).where(table.c.user_id == user_id)) or 0) >= MOST:
            raise TokenError("too-many")
        await connection.execute(insert(table).values(values))
    return token


async def of(engine: AsyncEngine, user_id: int) -> list[Token]:
    """Return a member's tokens, the oldest first."""
    return await _fetch(engine, _tokens().where(table.c.user_id == user_id))


async def of_name(engine: AsyncEngine, name: str) -> list[Token]:
    return await _fetch(engine, _tokens().where(schema.user.c.name == name))


async def find(engine: AsyncEngine, given: str, now: datetime) -> Token | None:
    """Return what is known of a token, and note that it was used; None: there is no such token (any more)."""
    if not TOKEN.fullmatch(given):
        return None
    found = await _fetch(engine, _tokens().where(table.c.digest == _digest(given)))
    if not found:
        return None
    token = found[0]
    if token.used is None or now - token.used >= USED_EVERY:
        try:
            async with writing(engine) as connection:
                await connection.execute(update(table).where(table.c.id == token.id).values(used=now))
        except (SQLAlchemyError, OSError) as error:  # no reason to refuse what it was used for
            log.warning("the use of a token could not be noted: %s", error)
    return token


async def revoke(engine: AsyncEngine, user_id: int, number: int) -> bool:
    """Delete one of a member's tokens; it is good for nothing from this instant. Returns whether there was one."""
    return await _delete(engine, table.c.id == number, table.c.user_id == user_id)


async def revoke_of_name(engine: AsyncEngine, name: str, number: int) -> bool:
    theirs = select(schema.user.c.id).where(schema.user.c.name == name)
    return await _delete(engine, table.c.id == number, table.c.user_id.in_(theirs))


async def _delete(engine: AsyncEngine, *where: ColumnElement[bool]) -> bool:
    async with writing(engine) as connection:
        return bool((await connection.execute(delete(table).where(*where))).rowcount)


async def forget(connection: AsyncConnection, user_ids: Select[Any]) -> None:
    """Delete the tokens of members who are being deleted."""
    await connection.execute(delete(table).where(table.c.user_id.in_(user_ids)))
