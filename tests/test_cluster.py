"""Several nodes on one log: the same order everywhere, nothing missed, nothing twice, whoever dies."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import ExitStack, asynccontextmanager
from typing import Any

import pytest
from sqlalchemy.engine import make_url

from bits.bus import Bus
from bits.counters import Counters
from bits.events import BRIDGE, Report, Status, Stored, Temperature
from bits.follow import Follower
from bits.migrate import upgrade
from bits.presence import Presence
from bits.store import Store, make_engine
from tests.conftest import Server, at, until, wait_until
from tests.test_ingest import KEYS, Peer
from tests.test_live import follow, receive

pytestmark = pytest.mark.postgres


class Node:
    """What a node is but for its sockets."""

    def __init__(self, uri: str) -> None:
        self.counters = Counters()
        self.store = Store(make_engine(uri))
        bus = Bus()
        self.told: list[Stored] = []
        bus.subscribe(self.told.extend)
        self.presence = Presence(self.store, bus, self.counters)
        self.follower = Follower(uri, self.presence, self.counters)


@asynccontextmanager
async def nodes(uri: str, count: int) -> AsyncIterator[list[Node]]:
    made = [Node(uri) for _ in range(count)]
    await upgrade(made[0].store.engine)
    for node in made:
        await node.presence.start()
        node.follower.start()
    yield made
    for node in made:
        await node.follower.stop()
        await node.presence.stop()
        await node.store.close()


async def test_two_writers_and_everybody_hears_the_same(postgres_uri: str) -> None:
    async with nodes(postgres_uri, 3) as three:

        async def write(node: Node, sensor: int) -> None:
            for n in range(500):
                await node.presence.submit([Report(Temperature(sensor, n / 10), BRIDGE, at(n))])

        await asyncio.gather(write(three[0], 0), write(three[1], 1))
        for node in three:
            await until(lambda node=node: len(node.told) >= 1000)  # type: ignore[misc]
        log = await three[2].store.since(0, limit=2000)
        assert [stored.seq for stored in log] == list(range(1, 1001))
        for node in three:
            assert node.told == log
            assert node.presence.state == three[0].presence.state


async def test_the_same_press_on_two_nodes_is_one_event(postgres_uri: str) -> None:
    """Repeating the current status changes nothing, and what is current is decided by the log."""
    async with nodes(postgres_uri, 2) as two:
        for n in range(40):
            value = "open" if n % 2 == 0 else "closed"
            results = await asyncio.gather(
                *(node.presence.submit([Report(Status(value), BRIDGE, at(n))]) for node in two)
            )
            assert sum(map(len, results)) == 1
        log = await two[0].store.since(0)
        assert [stored.event for stored in log] == [Status("open"), Status("closed")] * 20


async def test_a_lost_ear_misses_nothing(postgres_uri: str, postgres: Any) -> None:
    async with nodes(postgres_uri, 2) as two:
        await two[0].presence.submit([Report(Status("open"), BRIDGE, at(0))])
        await until(lambda: len(two[1].told) == 1)
        name = make_url(postgres_uri).database
        for n in range(1, 4):
            postgres.psql(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                f"WHERE datname = '{name}' AND query LIKE 'LISTEN%';"
            )
            for sample in range(5):
                await two[0].presence.submit([Report(Temperature(n, sample), BRIDGE, at(n))])
            await until(lambda n=n: len(two[1].told) == 1 + 5 * n)  # type: ignore[misc]
        assert two[1].told == await two[0].store.since(0)
        assert two[1].counters["follow_reconnects_total"] >= 1


# --- as processes


@pytest.fixture
def pair(make_server: Callable[..., Server], postgres_uri: str) -> tuple[Server, Server]:
    first = make_server(db_uri=postgres_uri)
    return first, make_server(db_uri=postgres_uri)


def test_what_happens_on_one_node_is_pushed_by_the_other(pair: tuple[Server, Server]) -> None:
    here, there = pair
    with follow(there) as stream, there.bridge() as bridge:
        receive(stream)
        here.say("status 1", *(f"temperature 0 {n}" for n in range(50)), "message Q2lhbw==")
        values = []
        while "message" not in (frame := receive(stream)):
            if "tempint" in frame:
                values.append(frame["tempint"]["value"])
        assert values == list(range(50))
        wait_until(lambda: there.get("/status")[2] == b"1")
        received = b""
        while b"message Q2lhbw==" not in received:
            received += bridge.recv(65536)
        assert received.startswith(b"status 1\n")
    assert here.json("/data") == there.json("/data")


def test_a_node_that_is_killed_takes_nothing_with_it(pair: tuple[Server, Server]) -> None:
    here, there = pair
    with follow(there, max_queue=None) as stream:
        receive(stream)
        done = 0

        def speak() -> None:
            nonlocal done
            for n in range(10_000):
                try:
                    here.say(f"temperature 0 {n / 10}")  # acknowledged once committed
                except (OSError, AssertionError):
                    return
                done = n + 1

        speaker = threading.Thread(target=speak)
        speaker.start()
        wait_until(lambda: done > 30)
        here.kill()
        speaker.join()
        seen = 0
        while seen < done:
            if "tempint" in (frame := receive(stream)):
                assert frame["tempint"]["value"] == seen / 10
                seen += 1
        there.say("status 1")
        while "status" not in receive(stream):
            pass


async def log_of(uri: str) -> list[Stored]:
    store = Store(make_engine(uri))
    try:
        return await store.since(0, limit=100_000)
    finally:
        await store.close()


def test_a_bridge_that_goes_from_node_to_node_loses_and_doubles_nothing(
    make_server: Callable[..., Server], postgres_uri: str
) -> None:
    """It leaves each node amid its lines, which that goes on to store; others write meanwhile."""
    here, there = (make_server(db_uri=postgres_uri, bridge_keys=KEYS, bridge_ping="0") for _ in range(2))
    count, window = 1200, 60
    is_over = threading.Event()

    def others(server: Server, sensor: int) -> None:
        n = 0
        while not is_over.is_set():
            n += 1
            server.say(f"temperature {sensor} {n % 900}")

    writers = [threading.Thread(target=others, args=(server, 1 + n)) for n, server in enumerate((here, there))]
    for writer in writers:
        writer.start()
    acked = moves = 0
    with ExitStack() as left_open:
        left_open.callback(is_over.set)
        while acked < count:
            moves += 1
            peer = left_open.enter_context(Peer((here, there)[moves % 2].bridge()))
            last = peer.welcome()
            assert last >= acked
            sent = acked = last
            while acked < min(last + 100, count):
                upto = min(acked + window, count)
                peer.say(*(f"@{n} 5 temperature 0 {n / 10}" for n in range(sent + 1, upto + 1)))
                sent = max(sent, upto)
                acked = int(peer.hear("ack").removeprefix("ack "))
            peer.say(*(f"@{n} 5 temperature 0 {n / 10}" for n in range(sent + 1, min(sent + window, count) + 1)))
        is_over.set()
        for writer in writers:
            writer.join(20)
    assert moves >= 6
    log = asyncio.run(log_of(postgres_uri))
    ours = [stored for stored in log if stored.bridge == "attic"]
    assert [stored.number for stored in ours] == list(range(1, count + 1))
    assert [stored.event for stored in ours] == [Temperature(0, n / 10) for n in range(1, count + 1)]
    assert [stored.seq for stored in log] == list(range(1, len(log) + 1))
    assert len(log) > len(ours)
    for server in (here, there):
        wait_until(lambda server=server: server.json("/data")["seq"] >= log[-1].seq)  # type: ignore[misc]

    with Peer(here.bridge()) as one, Peer(there.bridge()) as other:
        assert one.welcome() == count
        assert other.welcome("cellar", "another key of its own") == 0
        other.say("@1 0 status 1")
        assert one.hear("status") == "status 1"
        other.say("@2 0 status 2")
        assert one.hear("status") == "status 2"
        # The node it is connected to dies; the other knows all that was acknowledged.
        one.say(f"@{count + 1} 0 sound 9")
        assert one.hear("ack") == f"ack {count + 1}"
        here.kill()
        assert one.hear("ack") == ""
        assert other.hear("sound") == "sound 9"
    with Peer(there.bridge()) as one:
        assert one.line() == "status 0"  # away, to who has not said hello
        assert one.welcome() == count + 1
        assert one.hear("status") == "status 2"
        there.say("status 0")
        assert one.hear("status") == "status 0"


def test_workers_share_a_port_and_are_replaced(make_server: Callable[..., Server], postgres_uri: str) -> None:
    server = make_server(db_uri=postgres_uri, workers="3")
    children = wait_until(lambda: workers_of(server))
    assert len(children) == 3
    with ExitStack() as stack:
        streams = [stack.enter_context(follow(server)) for _ in range(30)]
        for stream in streams:
            receive(stream)
        server.say("message Q2lhbw==")
        for stream in streams:
            while "message" not in receive(stream):
                pass
    os.kill(children[0], signal.SIGKILL)
    wait_until(lambda: len(workers_of(server)) == 3 and children[0] not in workers_of(server), "it is replaced")
    for _ in range(30):  # the kernel deals connections out: some go to the new one
        assert server.get("/healthz")[0] == 200
    server.say("status 1")
    wait_until(lambda: all(server.get("/status")[2] == b"1" for _ in range(20)))
    assert "is replaced" in server.errors
    assert server.stop() == 0
    assert not any(os.path.exists(f"/proc/{child}") for child in children)


def workers_of(server: Server) -> list[int]:
    with open(f"/proc/{server.process.pid}/task/{server.process.pid}/children") as children:
        return [int(child) for child in children.read().split()]


def test_workers_share_a_unix_socket(make_server: Callable[..., Server], postgres_uri: str, tmp_path: Any) -> None:
    import socket

    make_server(db_uri=postgres_uri, workers="2", web_usocket=str(tmp_path / "web"))
    for _ in range(10):
        with socket.socket(socket.AF_UNIX) as client:
            client.settimeout(10)
            client.connect(str(tmp_path / "web"))
            client.sendall(b"GET /data HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
            received = b""
            while data := client.recv(65536):
                received += data
            assert json.loads(received.partition(b"\r\n\r\n")[2])["version"] == 3


def test_workers_die_with_their_parent(make_server: Callable[..., Server], postgres_uri: str) -> None:
    server = make_server(db_uri=postgres_uri, workers="2")
    children = wait_until(lambda: workers_of(server))
    os.kill(server.process.pid, signal.SIGKILL)
    server.process.wait(10)
    wait_until(lambda: not any(os.path.exists(f"/proc/{child}") for child in children))
