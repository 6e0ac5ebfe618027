"""From a report to the log, to JSON and to a page."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from functools import reduce
from pathlib import Path
from typing import Any

import pytest

from bits._ws import text_frame
from bits.bus import Bus
from bits.config import Config
from bits.counters import Counters
from bits.events import BRIDGE, Report, Stored, Temperature
from bits.migrate import upgrade
from bits.presence import Presence
from bits.state import State, apply, freshness
from bits.store import Store, make_engine
from bits.web.body import Body
from bits.web.framing import event_stream, long_poll, websocket
from bits.web.pages import view
from bits.web.render import Assets, Renderer
from bits.web.wire import Wire, encode

NOW = datetime(2026, 3, 2, 12, tzinfo=UTC)
EVENTS = [Stored(n, Temperature(n % 3, 20 + n / 10), BRIDGE, NOW + timedelta(seconds=n)) for n in range(1, 200)]
STATE = reduce(apply, EVENTS, State())
FRESH = freshness(STATE, NOW + timedelta(seconds=300), 900)
WIRE = Wire("ms", UTC)


@pytest.fixture
def loop() -> Iterator[asyncio.AbstractEventLoop]:
    loop = asyncio.new_event_loop()
    yield loop
    loop.close()


@pytest.mark.parametrize("size", [1, 100])
def test_ingest_with_commit(benchmark: Any, loop: asyncio.AbstractEventLoop, tmp_path: Path, size: int) -> None:
    """A batch of reports, from the one write path to the log on disk and the bus."""
    benchmark.group = f"{size} reports, committed"
    told: list[Stored] = []

    async def start() -> tuple[Store, Presence]:
        engine = make_engine(f"sqlite:///{tmp_path}/bits.db")
        await upgrade(engine)
        store, bus = Store(engine), Bus()
        bus.subscribe(told.extend)
        presence = Presence(store, bus, Counters())
        await presence.start()
        return store, presence

    store, presence = loop.run_until_complete(start())
    numbers = iter(range(10**9))

    async def ingest() -> None:
        await presence.submit([Report(Temperature(0, next(numbers) % 700 / 10), BRIDGE, NOW) for _ in range(size)])

    loop.run_until_complete(ingest())
    assert len(told) == size
    assert len(loop.run_until_complete(store.since(0))) == size
    benchmark(lambda: loop.run_until_complete(ingest()))
    loop.run_until_complete(presence.stop())
    loop.run_until_complete(store.close())


def test_apply(benchmark: Any) -> None:
    benchmark.group = "fold 199 events"
    assert reduce(apply, EVENTS, State()).seq == 199
    benchmark(lambda: reduce(apply, EVENTS, State()))


def test_snapshot(benchmark: Any) -> None:
    benchmark.group = "a snapshot of 100 samples as JSON"
    assert json.loads(encode(WIRE.snapshot(STATE, FRESH)))["seq"] == 199
    benchmark(lambda: encode(WIRE.snapshot(STATE, FRESH)))


def test_snapshot_finished(benchmark: Any) -> None:
    benchmark.group = "a snapshot's answers: ETag, gzip"
    data = encode(WIRE.snapshot(STATE, FRESH))
    benchmark(lambda: Body(data, "application/json").finished({}))


@pytest.mark.parametrize("way", [websocket, event_stream, long_poll])
def test_frame(benchmark: Any, way: Any) -> None:
    benchmark.group = "an event, framed"
    item = (199, encode(WIRE.frame(EVENTS[-1], STATE)))
    assert item[1] in way([item])
    assert text_frame(item[1]) == websocket([item])
    benchmark(way, [item])


def test_page(benchmark: Any) -> None:
    benchmark.group = "the home page"
    config = Config()
    renderer = Renderer(config, Assets())

    def render() -> bytes:
        page = renderer.page(
            "home.html",
            "en",
            current="home",
            state=view(STATE, FRESH, config, {}),
            data=WIRE.snapshot(STATE, FRESH),
            sensor_names={},
            said=None,
            summary={},
            palette="blind",
        )
        return page.data

    assert b"BITS" in render()
    benchmark(render)
