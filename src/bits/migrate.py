"""Bring a database to this program's schema, or say clearly why that cannot be."""

from __future__ import annotations

import sqlite3
from pathlib import Path

from sqlalchemy import Connection, inspect, text
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncEngine

from bits import schema
from bits.errors import BitsError
from bits.store import writing

MIGRATIONS = Path(__file__).parent / "migrations"


def revision_of(connection: Connection) -> str | None:
    """Return the schema revision a database is at; None: it is empty of ours."""
    if not inspect(connection).has_table("alembic_version"):
        return None
    return connection.execute(text("SELECT version_num FROM alembic_version")).scalar()


def _upgrade(connection: Connection) -> str:
    """Upgrade inside the caller's transaction. Returns a sentence."""
    found = revision_of(connection)
    if found == schema.REVISION:
        return f"The database is at schema {schema.REVISION}; nothing to do."
    # Not at the top: nine starts of ten need none of it, and it takes a fifth of a second to load.
    from alembic import command
    from alembic.config import Config as AlembicConfig
    from alembic.script import ScriptDirectory

    alembic = AlembicConfig()
    alembic.set_main_option("script_location", str(MIGRATIONS))
    known = {script.revision for script in ScriptDirectory.from_config(alembic).walk_revisions()}
    if found is not None and found not in known:
        raise BitsError(
            f"the database is at schema {found}, which this program does not know (it knows up to "
            f"{schema.REVISION}): it was written by a newer version; upgrade this one"
        )
    alembic.attributes["connection"] = connection
    command.upgrade(alembic, "head")
    if found is None:
        return f"Created the tables (schema {schema.REVISION})."
    return f"Upgraded the database from schema {found} to {schema.REVISION}."


def _probe(file: str) -> None:
    """Open a SQLite file once by hand: aiosqlite's thread outlives a connection that fails, and complains later."""
    connection = sqlite3.connect(file)
    try:
        connection.execute("PRAGMA schema_version")
    finally:
        connection.close()


async def upgrade(engine: AsyncEngine) -> str:
    """Create or upgrade the tables in one transaction; several nodes may do so at once.

    Returns:
        A sentence that says what was done.
    Raises:
        BitsError: the database cannot be opened, or is of a newer schema.
    """
    try:
        if engine.dialect.name == "sqlite":
            _probe(str(engine.url.database))
        async with writing(engine) as connection:
            return await connection.run_sync(_upgrade)
    except (SQLAlchemyError, sqlite3.Error, OSError) as error:
        cause = getattr(error, "orig", None) or error
        shown = engine.url.render_as_string(hide_password=True).replace("+aiosqlite", "").replace("+asyncpg", "")
        raise BitsError(f"the database {shown} cannot be opened (db_uri): {cause}") from error
