"""The tables. Every change to them is a migration in migrations/versions/."""

from __future__ import annotations

from datetime import UTC, datetime

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    DateTime,
    Dialect,
    Double,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    Text,
    UniqueConstraint,
    false,
    text,
)
from sqlalchemy.types import TypeDecorator

# The newest migration. Compared with the database at each start, so that a start need not load Alembic.
REVISION = "0006"


class UtcDateTime(TypeDecorator[datetime]):
    """An instant: aware UTC in Python; timestamptz in PostgreSQL, naive UTC text in SQLite."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        if value is None:
            return None
        if value.tzinfo is None:
            raise ValueError(f"{value} has no time zone: expected an aware datetime")
        value = value.astimezone(UTC)
        return value.replace(tzinfo=None) if dialect.name == "sqlite" else value

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


metadata = MetaData()

NUMBERED = text("bridge IS NOT NULL")
OF_DEVICES = text("kind IN ('seen', 'gone')")

# Append-only: never updated, never deleted from; a mistake is corrected by another event.
event = Table(
    "event",
    metadata,
    # Given out by the writer under a lock (store.py), not by a sequence: a sequence hands out numbers before
    # the commit, and a reader that tails by seq could step over a row committed late.
    Column("seq", BigInteger().with_variant(Integer, "sqlite"), primary_key=True, autoincrement=False),
    Column("at", UtcDateTime, nullable=False),
    Column("kind", String(16), nullable=False),
    Column("source", String(32), nullable=False),
    Column("author", String(64)),
    # Which sensor, person or sound; 0 for kinds that have no such number, so that one index serves all.
    Column("key", Integer, nullable=False),
    Column("value", Double),
    Column("text", Text),
    # Who numbered it, and how: of a bridge that speaks version 2.
    Column("bridge", String(32)),
    Column("number", BigInteger),
    # What the author adds to a status or an announcement: words, from when (of an announcement), until when.
    Column("note", Text),
    Column("begins", UtcDateTime),
    Column("until", UtcDateTime),
    # "The newest of this kind (and key)": every read of the start-up.
    Index("event_by_kind", "kind", "key", "seq"),
    # By when it happened: the pages of the history, the last comings and goings, and when the board was last heard.
    Index("event_by_time", "kind", "at", "seq"),
    Index("event_by_source", "source", "kind", "at", "seq"),
    # Each number of a bridge once, and the highest.
    Index("event_by_number", "bridge", "number", unique=True, sqlite_where=NUMBERED, postgresql_where=NUMBERED),
    # "Is this device about": the newest that was said of it.
    Index("event_by_digest", "text", "seq", sqlite_where=OF_DEVICES, postgresql_where=OF_DEVICES),
)

user = Table(
    "user",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("name", String(64), nullable=False, unique=True),
    Column("password", String(255), nullable=False),
    Column("admin", Boolean, nullable=False),
    Column("created", UtcDateTime, nullable=False),
    # Who it is to the keypad, and in the log's "enter" and "leave".
    Column("number", Integer, nullable=False),
    # Whether everybody may read the name while the member is in.
    Column("listed", Boolean, nullable=False, default=False),
    UniqueConstraint("number", name="user_number"),
)

device = Table(
    "device",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("user_id", Integer, ForeignKey("user.id"), nullable=False),
    # Of its MAC address, which itself is stored nowhere.
    Column("digest", String(64), nullable=False, unique=True),
    Column("label", String(64), nullable=False),
    Column("created", UtcDateTime, nullable=False),
    Index("device_by_user", "user_id"),
)

token = Table(
    "token",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("user_id", Integer, ForeignKey("user.id"), nullable=False),
    # SHA-256 of the token, which itself is shown once and stored nowhere: it is random, so that needs no slow hash.
    Column("digest", String(64), nullable=False, unique=True),
    Column("label", String(64), nullable=False),
    # Words with a space between.
    Column("scopes", String(255), nullable=False),
    Column("created", UtcDateTime, nullable=False),
    Column("used", UtcDateTime),
    Index("token_by_user", "user_id"),
)

# The temperatures of each hour, made from the log (rollup.py) and never told otherwise than it: for charts of years.
hour = Table(
    "hour",
    metadata,
    Column("sensor", Integer, primary_key=True, autoincrement=False),
    # Hours since 1970 UTC.
    Column("hour", Integer, primary_key=True, autoincrement=False),
    Column("count", Integer, nullable=False),
    Column("total", Double, nullable=False),
    Column("low", Double, nullable=False),
    Column("high", Double, nullable=False),
)

# How far in the log the hours have come: one row.
rollup = Table(
    "rollup",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=False),
    Column("seq", BigInteger, nullable=False),
)

# Everything a page of the wiki has ever been: never changed, never deleted from.
revision = Table(
    "revision",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("slug", String(64), nullable=False),
    Column("at", UtcDateTime, nullable=False),
    Column("author", String(64), nullable=False),
    Column("comment", String(200), nullable=False),
    Column("title", String(120), nullable=False),
    # From here on there was no such page, until a later one.
    Column("deleted", Boolean, nullable=False),
    # Of one that is deleted: only admins could change it, and only they may write it again.
    Column("locked", Boolean, nullable=False, server_default=false()),
    Column("text", Text, nullable=False),
    Index("revision_by_slug", "slug", "id"),
)

# The pages there are. The words to search them by are kept beside them by the database itself (migration 0005).
page = Table(
    "page",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("slug", String(64), nullable=False, unique=True),
    Column("revision", Integer, ForeignKey("revision.id"), nullable=False),
    Column("locked", Boolean, nullable=False),
    Column("title", String(120), nullable=False),
    Column("text", Text, nullable=False),
)

# Pictures, by the SHA-256 of their bytes.
file = Table(
    "file",
    metadata,
    Column("digest", String(64), primary_key=True),
    Column("kind", String(8), nullable=False),
    Column("size", Integer, nullable=False),
    Column("author", String(64), nullable=False),
    Column("at", UtcDateTime, nullable=False),
    Column("data", LargeBinary, nullable=False),
)
