"""The log: the same suite on SQLite and on a real PostgreSQL."""

from __future__ import annotations

import asyncio
import sqlite3
from contextlib import AsyncExitStack
from functools import reduce
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Connection, insert, text
from sqlalchemy.exc import IntegrityError, SQLAlchemyError
from sqlalchemy.ext.asyncio import create_async_engine

from bits import schema
from bits.errors import BitsError
from bits.events import (
    BRIDGE,
    MAC,
    WEB,
    Announce,
    Enter,
    Event,
    Gone,
    Heartbeat,
    Late,
    Leave,
    Message,
    Report,
    Seen,
    Sound,
    Status,
    Temperature,
    Withdraw,
)
from bits.migrate import upgrade
from bits.schema import REVISION
from bits.state import State, apply
from bits.store import Store, is_passing, make_engine, reading, writing
from tests.conftest import at

EVENTS: list[Event] = [
    Status("open"),
    Temperature(3, -12.25),
    Enter(42),
    Message("Ciao, è aperto ☕"),
    Sound(7),
    Leave(42),
    Heartbeat(),
    Status("away"),
]


async def everything(store: Store) -> State:
    return reduce(apply, await store.since(0, limit=100_000), State())


async def test_append_gives_back_what_since_reads(store: Store) -> None:
    reports = [Report(event, BRIDGE, at(n), None) for n, event in enumerate(EVENTS)]
    reports.append(Report(Message("by hand"), WEB, at(99.123456), "anna"))
    stored = await store.append(reports)
    assert [item.seq for item in stored] == list(range(1, len(reports) + 1))
    assert await store.since(0) == stored
    assert [(s.event, s.source, s.at, s.author) for s in stored] == [
        (r.event, r.source, r.at, r.author) for r in reports
    ]


async def test_since_excludes_its_seq_and_keeps_to_the_limit(store: Store) -> None:
    await store.append([Report(Sound(n), WEB, at(n)) for n in range(10)])
    assert [item.seq for item in await store.since(4, limit=3)] == [5, 6, 7]
    assert await store.since(10) == []


async def test_appending_nothing_writes_nothing(store: Store) -> None:
    assert await store.append([]) == []
    assert await store.since(0) == []


async def test_a_batch_is_stored_whole_or_not_at_all(store: Store) -> None:
    await store.append([Report(Sound(0), WEB, at(0))])
    bad = Report(Sound(1), WEB, at(1), author="x" * 70)
    # An instant without a zone is refused while the batch is under way.
    naive = Report(Sound(2), WEB, at(2).replace(tzinfo=None))
    with pytest.raises(Exception, match="time zone"):
        await store.append([bad, naive])
    assert [item.seq for item in await store.since(0)] == [1]
    assert [item.seq for item in await store.append([Report(Sound(3), WEB, at(3))])] == [2]


async def test_latest_is_newest_first_and_paged(store: Store) -> None:
    await store.append([Report(Status("open" if n % 2 else "closed"), WEB, at(n)) for n in range(9)])
    await store.append([Report(Temperature(0, 20), BRIDGE, at(10))])
    assert [item.seq for item in await store.latest("status", limit=3, offset=2)] == [7, 6, 5]


async def test_two_writers_and_a_reader_that_misses_nothing(db_uri: str) -> None:
    """Invariant 2: seq rises in commit order, so that a reader who tails by seq steps over nothing."""
    engines = [make_engine(db_uri) for _ in range(3)]
    await upgrade(engines[0])
    first, second, reader = (Store(engine) for engine in engines)
    seen: list[int] = []
    writing = True

    async def write(store: Store, source: str) -> None:
        for n in range(60):
            await store.append([Report(Sound(n), source, at(n)) for _ in range(1 + n % 3)])

    async def tail() -> None:
        while True:
            last_round = not writing
            batch = await reader.since(seen[-1] if seen else 0)
            seen.extend(item.seq for item in batch)
            if last_round and not batch:
                return

    tailing = asyncio.create_task(tail())
    await asyncio.gather(write(first, "one"), write(second, "two"))
    writing = False
    await tailing
    assert seen == list(range(1, 241))
    for engine in engines:
        await engine.dispose()


async def test_state_rebuilt_equals_the_fold_of_the_whole_log(store: Store) -> None:
    """Invariant 3, and with more samples, sensors and people than the state keeps."""
    reports = [Report(event, WEB, at(n)) for n, event in enumerate(EVENTS)]
    reports += [Report(Temperature(n % 3, n / 4), BRIDGE, at(100 + n)) for n in range(250)]
    reports += [Report(Temperature(200, 1.5), BRIDGE, at(400))]
    reports += [Report(Enter(n), BRIDGE, at(500 + n)) for n in range(20)]
    reports += [Report(Leave(n), BRIDGE, at(600 + n)) for n in range(0, 20, 3)]
    reports += [Report(Enter(3), WEB, at(700)), Report(Message("last"), WEB, at(701), "anna")]
    reports += [Report(Late("closed"), BRIDGE, at(702), bridge="attic", number=8)]
    reports += [Report(Temperature(0, 20), BRIDGE, at(300), bridge=b, number=n) for n in (3, 4) for b in ("a", "b")]
    async with writing(store.engine) as connection:
        who = {"name": "anna", "password": "", "admin": False, "created": at(0), "number": 5}
        await connection.execute(insert(schema.user).values(id=1, **who))
        for digest in ("1" * 64, "2" * 64, "3" * 64):
            values = {"user_id": 1, "digest": digest, "label": "", "created": at(0)}
            await connection.execute(insert(schema.device).values(values))
    reports += [Report(Seen("1" * 64, 5), MAC, at(800)), Report(Gone("1" * 64, 5), MAC, at(801))]
    reports += [Report(Seen("2" * 64, 5), MAC, at(802))]
    seq = len(reports)
    reports += [Report(Announce("closed", at(n)), WEB, at(n), "anna", note="why", until=at(n + 9)) for n in range(30)]
    reports += [Report(Withdraw(seq + n), WEB, at(n)) for n in (2, 25, 30)]
    reports += [Report(Status("away"), WEB, at(900), "anna", note="soon back", until=at(1900))]
    await store.append(reports)
    state = await store.state()
    assert state == await everything(store)
    assert (dict(state.bridges), dict(state.devices)) == ({"attic": 8, "a": 4, "b": 4}, {"2" * 64: 5})


async def test_a_number_stands_in_the_log_once(store: Store) -> None:
    again = Report(Status("open"), BRIDGE, at(0), bridge="attic", number=1)
    await store.append([again])
    with pytest.raises(IntegrityError):
        await store.append([again])


async def test_an_older_database_is_brought_along(db_uri: str) -> None:
    from alembic import command
    from alembic.config import Config as AlembicConfig

    from bits.migrate import MIGRATIONS

    engine = make_engine(db_uri)
    alembic = AlembicConfig()
    alembic.set_main_option("script_location", str(MIGRATIONS))

    def old(connection: Connection) -> None:
        alembic.attributes["connection"] = connection
        command.upgrade(alembic, "0001")
        now = at(0).replace(tzinfo=None) if connection.dialect.name == "sqlite" else at(0)
        connection.execute(
            text("INSERT INTO \"user\" (id, name, password, admin, created) VALUES (3, 'anna', '', true, :now)"),
            {"now": now},
        )
        row = "INSERT INTO event (seq, at, kind, source, key, text) VALUES (1, :now, 'status', 'BITS', 0, 'open')"
        connection.execute(text(row), {"now": now})

    async with writing(engine) as connection:
        await connection.run_sync(old)
    assert "from schema 0001" in await upgrade(engine)
    store = Store(engine)
    assert (await store.state()).value == "open"
    async with engine.connect() as connection:
        assert await connection.scalar(text('SELECT number FROM "user"')) == 3
    await store.close()


async def test_an_empty_log_is_the_empty_state(store: Store) -> None:
    assert await store.state() == State()


async def test_rebuilding_reads_indexes_only(tmp_path: Path) -> None:
    """The start-up's time does not grow with the log: no query of it scans the table or sorts."""
    engine = make_engine(f"sqlite:///{tmp_path}/bits.db")
    await upgrade(engine)
    store = Store(engine)
    await store.append([Report(Temperature(n % 2, 20), BRIDGE, at(n)) for n in range(10)])
    await store.append([Report(Enter(1), BRIDGE, at(20)), Report(Leave(1), BRIDGE, at(21))])
    await store.append([Report(Seen("a" * 64, 1), MAC, at(22), bridge="attic", number=1)])
    async with writing(engine) as connection:
        who = {"id": 1, "name": "anna", "password": "", "admin": False, "created": at(0), "number": 1}
        await connection.execute(insert(schema.user).values(who))
        device = {"user_id": 1, "digest": "a" * 64, "label": "", "created": at(0)}
        await connection.execute(insert(schema.device).values(device))
    statements: list[tuple[str, Any]] = []

    from sqlalchemy import event as on

    on.listen(
        engine.sync_engine,
        "before_cursor_execute",
        lambda _c, _cur, sql, parameters, _ctx, _many: statements.append((sql, parameters)),
    )
    await store.state()
    await store.past()
    await store.comings(100)
    await engine.dispose()
    queries = [(sql, parameters) for sql, parameters in statements if "SELECT" in sql]
    assert len(queries) >= 12
    with sqlite3.connect(tmp_path / "bits.db") as database:
        for sql, parameters in queries:
            plan = " | ".join(row[3] for row in database.execute("EXPLAIN QUERY PLAN " + sql, parameters))
            assert "SCAN event" not in plan, (sql, plan)
            assert "TEMP B-TREE" not in plan, (sql, plan)
    database.close()


async def test_a_newer_schema_is_refused_with_a_sentence(store: Store) -> None:
    async with store.engine.begin() as connection:
        await connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    with pytest.raises(BitsError, match="schema 9999, which this program does not know"):
        await upgrade(store.engine)


async def test_a_database_that_cannot_be_opened_is_refused_with_a_sentence(tmp_path: Path) -> None:
    for uri in (f"sqlite:///{tmp_path}/no/such/folder/bits.db", "postgresql://u:secret@127.0.0.1:1/x"):
        engine = make_engine(uri)
        with pytest.raises(BitsError, match="cannot be opened") as refusal:
            await upgrade(engine)
        assert "secret" not in str(refusal.value)
        await engine.dispose()


async def test_the_newest_migration_is_the_one_the_program_expects(store: Store) -> None:
    from alembic.autogenerate import compare_metadata
    from alembic.migration import MigrationContext

    from bits.schema import metadata

    assert "nothing to do" in await upgrade(store.engine)
    async with store.engine.connect() as connection:
        assert await connection.scalar(text("SELECT version_num FROM alembic_version")) == REVISION
        differences = await connection.run_sync(
            lambda sync: compare_metadata(
                # The search's own, which the database keeps by itself.
                MigrationContext.configure(sync, opts={"include_object": lambda _, name, *__: "words" not in name}),
                metadata,
            )
        )
    assert differences == []


@pytest.mark.postgres
async def test_a_crowd_of_readers_does_not_hold_the_writer_up(postgres_uri: str) -> None:
    engine = make_engine(postgres_uri)
    await upgrade(engine)
    store = Store(engine, make_engine(postgres_uri, spare=0))
    async with AsyncExitStack() as crowd:
        for _ in range(5):  # all connections there are for reading
            await crowd.enter_async_context(reading(engine))
        async with asyncio.timeout(10):
            assert len(await store.append([Report(Status("open"), BRIDGE, at(0))])) == 1
    await store.close()


@pytest.mark.postgres
async def test_no_connection_to_be_had_is_no_reason_to_give_up(postgres_uri: str) -> None:
    engine = create_async_engine(make_engine(postgres_uri).url, pool_size=1, max_overflow=0, pool_timeout=0.01)
    async with reading(engine):
        with pytest.raises(SQLAlchemyError) as caught:
            await Store(engine).append([Report(Status("open"), BRIDGE, at(0))])
    assert is_passing(caught.value)
    await engine.dispose()
