"""The caretaker acts on what is deduced: in time, once, and never against a press that comes in the same moment."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from sqlalchemy import insert

from bits import schema
from bits.bus import Bus
from bits.caretaker import Caretaker, rules_of
from bits.config import Config
from bits.counters import Counters
from bits.deduce import STAYS, Rules
from bits.events import AUTO, BRIDGE, MAC, WEB, Enter, Gone, Message, Report, Seen, Status
from bits.follow import Follower
from bits.migrate import upgrade
from bits.presence import Presence
from bits.store import Store, make_engine, writing
from tests.conftest import T0, until

PHONE = "a" * 64
RULES = rules_of(Config())
FORGETFUL = replace(RULES, close_after=timedelta(hours=2))


class Node:
    """What of a server deduces, with a clock of its own."""

    def __init__(self, uri: str, rules: Rules = RULES) -> None:
        self.time = T0
        self.counters = Counters()
        self.store = Store(make_engine(uri))
        bus = Bus()
        self.presence = Presence(self.store, bus, self.counters)
        self.caretaker = Caretaker(self.presence, self.store, rules, self.counters, lambda: self.time)
        bus.subscribe(self.caretaker.on_events)

    @asynccontextmanager
    async def running(self) -> AsyncIterator[Node]:
        await self.presence.start()
        await self.caretaker.start()
        yield self
        self.caretaker.stop()
        self.caretaker.stop()
        await self.presence.stop()
        await self.store.close()

    async def tell(self, event: Status | Seen | Gone | Enter | Message, source: str = BRIDGE) -> None:
        await self.presence.submit([Report(event, source, self.time)])

    async def wait(self, seconds: float) -> None:
        """Let the clock go on, as the timer would find it."""
        self.time += timedelta(seconds=seconds)
        self.caretaker.look()
        await self.rest()

    async def rest(self) -> None:
        """Wait until nothing is under way."""
        while (under_way := self.caretaker._under_way) is not None and not under_way.done():
            await under_way
            await asyncio.sleep(0)
        await self.presence.submit([])

    async def statuses(self) -> list[tuple[str, str]]:
        return [(s.event.value, s.source) for s in await self.store.since(0) if isinstance(s.event, Status)]

    async def said(self) -> list[str]:
        return [s.event.text for s in await self.store.since(0) if isinstance(s.event, Message) and s.source == AUTO]


@pytest.fixture
async def uri(tmp_path: Path) -> str:
    return await prepared(f"sqlite:///{tmp_path}/bits.db")


async def prepared(uri: str) -> str:
    engine = make_engine(uri)
    await upgrade(engine)
    async with writing(engine) as connection:
        row = {"id": 1, "name": "anna", "password": "", "admin": False, "created": T0, "number": 1}
        await connection.execute(insert(schema.user).values(row))
        device = {"user_id": 1, "digest": PHONE, "label": "phone", "created": T0}
        await connection.execute(insert(schema.device).values(device))
    await engine.dispose()
    return uri


async def test_arriving_opens_and_leaving_closes(uri: str) -> None:
    async with Node(uri).running() as node:
        await node.tell(Seen(PHONE, 1), MAC)
        await until(lambda: node.presence.state.value == "open")
        await node.wait(60)
        await node.tell(Gone(PHONE, None), MAC)
        await until(lambda: node.presence.state.value == "closed")
        assert await node.statuses() == [("open", MAC), ("closed", MAC)]
        assert node.counters['deduced_total{source="mac"}'] == 2


async def test_it_looks_again_when_the_hold_is_over(uri: str) -> None:
    async with Node(uri).running() as node:
        await node.tell(Status("closed"))
        await node.wait(10)
        await node.tell(Seen(PHONE, 1), MAC)
        await node.wait(1700)
        assert node.presence.state.value == "closed"
        await node.wait(100)
        assert node.presence.state.value == "open"


async def test_the_timer_rings_by_itself(uri: str) -> None:
    node = Node(uri, replace(RULES, hold=timedelta(seconds=0.3)))
    begun = datetime.now(UTC)
    node.caretaker._clock = lambda: datetime.now(UTC)
    async with node.running():
        await node.presence.submit([Report(Status("closed"), BRIDGE, begun)])
        await node.presence.submit([Report(Seen(PHONE, 1), MAC, datetime.now(UTC))])
        assert node.presence.state.value == "closed"
        await until(lambda: node.presence.state.value == "open")
        assert node.presence.state.status
        assert node.presence.state.status.at >= begun + timedelta(seconds=0.3)


async def test_a_press_in_the_same_moment_wins(uri: str) -> None:
    """It is decided to open, and while that is on its way to the log somebody presses: closed."""
    async with Node(uri, replace(RULES, hold=timedelta(0))).running() as node:
        await node.tell(Status("closed"))
        await node.wait(10)
        seen = node.presence.submit([Report(Seen(PHONE, 1), MAC, node.time)])
        press = None

        def in_between(_: object) -> None:
            nonlocal press  # after the caretaker has decided, before the log has it
            press = node.presence.submit([Report(Status("away"), BRIDGE, node.time)])

        decide = node.presence.submit

        def submit(reports, **given):  # type: ignore[no-untyped-def]
            if any(report.source == MAC and isinstance(report.event, Status) for report in reports) and not press:
                in_between(None)
            return decide(reports, **given)

        node.presence.submit = submit  # type: ignore[method-assign]
        await seen
        await until(lambda: press is not None and press.done())
        await node.rest()
        assert node.presence.state.value == "away"
        assert await node.statuses() == [("closed", BRIDGE), ("away", BRIDGE)]


async def test_left_open_everybody_is_told_and_then_it_closes(uri: str) -> None:
    async with Node(uri, FORGETFUL).running() as node:
        await node.tell(Status("open"))
        await node.wait(7200 - 901)
        assert await node.said() == []
        assert node.caretaker.closing is None
        await node.wait(2)
        assert await node.said() == ["Nobody seen since 12:00: closing at 14:00 unless somebody presses the button"]
        assert node.caretaker.closing
        assert node.caretaker.sign == T0
        await node.wait(898)
        assert node.presence.state.value == "open"
        await node.wait(10)
        assert await node.statuses() == [("open", BRIDGE), ("closed", AUTO)]
        assert node.caretaker.closing is None


@pytest.mark.parametrize("source", [BRIDGE, WEB])
async def test_the_same_again_from_somebody_keeps_it_open(uri: str, source: str) -> None:
    async with Node(uri, FORGETFUL).running() as node:
        await node.tell(Status("open"))
        await node.wait(6400)
        await node.tell(Status("open"), source)
        await node.rest()
        assert (await node.said())[1:] == [STAYS]
        assert node.caretaker.closing is None
        await node.wait(900)
        assert node.presence.state.value == "open"


async def test_after_a_restart_it_knows_what_it_knew(uri: str) -> None:
    async with Node(uri, FORGETFUL).running() as node:
        await node.tell(Status("open"))
        await node.wait(6400)
    again = Node(uri, FORGETFUL)
    again.time = T0 + timedelta(seconds=6500)
    async with again.running():
        await again.rest()
        assert len(await again.said()) == 1
        assert again.caretaker.closing == node.caretaker._past.said.at + timedelta(seconds=900)  # type: ignore[union-attr]
        await again.wait(900)
        assert await again.statuses() == [("open", BRIDGE), ("closed", AUTO)]


async def test_what_is_stored_before_the_past_is_read_is_not_missed(uri: str) -> None:
    node = Node(uri)
    await node.presence.start()
    await node.tell(Seen(PHONE, 1), MAC)
    assert node.presence.state.value is None
    await node.caretaker.start()
    await until(lambda: node.presence.state.value == "open")
    node.caretaker.stop()
    await node.presence.stop()
    await node.store.close()


@pytest.mark.postgres
async def test_several_nodes_deduce_the_same_and_it_is_stored_once(postgres_uri: str) -> None:
    await prepared(postgres_uri)
    nodes = [Node(postgres_uri, FORGETFUL) for _ in range(3)]
    followers = [Follower(postgres_uri, node.presence, node.counters) for node in nodes]
    async with nodes[0].running(), nodes[1].running(), nodes[2].running():
        for follower in followers:
            follower.start()
        await nodes[0].tell(Seen(PHONE, 1), MAC)
        for node in nodes:
            await until(lambda node=node: node.presence.state.value == "open")  # type: ignore[misc]
        await nodes[1].tell(Gone(PHONE, None), MAC)
        await nodes[2].presence.submit([])
        for node in nodes:
            await until(lambda node=node: node.presence.state.value == "closed")  # type: ignore[misc]
        await nodes[0].tell(Status("open"))
        seq = nodes[0].presence.state.seq
        for node in nodes:
            await until(lambda node=node: node.presence.state.seq >= seq)  # type: ignore[misc]
        for seconds in (6400, 1000):
            await asyncio.gather(*(node.wait(seconds) for node in nodes))
        for node in nodes:
            await until(lambda node=node: node.presence.state.value == "closed")  # type: ignore[misc]
        expected = [("open", MAC), ("closed", MAC), ("open", BRIDGE), ("closed", AUTO)]
        assert await nodes[0].statuses() == expected
        assert len(await nodes[0].said()) == 1
        for follower in followers:
            await follower.stop()
