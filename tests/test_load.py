"""The load tester: it must find exactly what a server did to its clients, in any framing and any split."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import io
import json
import re
import resource
import socket
import struct
import threading
import time
import xml.etree.ElementTree as ET
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path

import pytest
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st

from bits._load import EVENT_STREAM, LONG_POLL, POLL, TRANSPORTS, WEBSOCKET, Swarm
from bits.cli import bits
from bits.errors import BitsError
from bits.load import Options, Result, run
from bits.load.options import parse_control, parse_mix, parse_sources
from bits.load.progress import Progress
from bits.load.report import histogram, percentile
from tests.conftest import WAIT, Server

MARKER = b"load-test-"
UPGRADED = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\r\n"
STREAM = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n"
CHUNKED = b"HTTP/1.1 200 OK\r\ntransfer-encoding:  Chunked\r\nX: y\r\n\r\n"


def object_of(number: int) -> bytes:
    return b'{"message":{"value":"%s%d-xx"},"seq":%d}' % (MARKER, number, number + 100)


def frame(payload: bytes, opcode: int = 1, final: bool = True) -> bytes:
    head = bytes([opcode | (0x80 if final else 0)])
    if len(payload) < 126:
        return head + bytes([len(payload)]) + payload
    if len(payload) < 65536:
        return head + b"\x7e" + struct.pack(">H", len(payload)) + payload
    return head + b"\x7f" + struct.pack(">Q", len(payload)) + payload


def block(payload: bytes, end: bytes = b"\n") -> bytes:
    return end.join((b"id: 5", b"data: " + payload, b"", b""))


def chunk(data: bytes) -> bytes:
    return b"%x\r\n%s\r\n" % (len(data), data)


def answer(body: bytes, *headers: bytes) -> bytes:
    return b"\r\n".join((b"HTTP/1.1 200 OK", b"Content-Length: %d" % len(body), *headers, b"", body))


class Other:
    """A swarm and the other end of its connections, in one thread: whatever is sent has come before `feed` returns."""

    def __init__(
        self,
        kind: int,
        clients: int = 1,
        *,
        marker: bytes = MARKER,
        ramp: float = 0,
        in_flight: int = 100,
        poll: float = 0,
        sources: tuple[str, ...] = (),
        again_long: bytes = b"GET /data?since=%lld&wait=9 HTTP/1.1\r\n\r\n",
    ) -> None:
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.listener.settimeout(WAIT)
        self.ends: list[socket.socket] = []
        self.swarm = Swarm(
            "127.0.0.1",
            self.listener.getsockname()[1],
            sources,
            [clients if one == kind else 0 for one in range(len(TRANSPORTS))],
            [b"GET /%s HTTP/1.1\r\n\r\n" % name.encode() for name in TRANSPORTS],
            again_long,
            b"GET /poll HTTP/1.1\r\nIf-None-Match: %s\r\n\r\n",
            marker,
            ramp=ramp,
            in_flight=in_flight,
            poll=poll,
            epoch=time.monotonic(),
        )
        self.turn()

    def turn(self) -> None:
        self.swarm.run(time.monotonic() + 0.0005)

    def accept(self) -> socket.socket:
        end, _ = self.listener.accept()
        end.settimeout(WAIT)
        self.ends.append(end)
        self.turn()
        return end

    def request(self, end: socket.socket) -> bytes:
        """Return the next request that a client sends."""
        asked = b""
        while not asked.endswith(b"\r\n\r\n"):
            self.turn()
            asked += end.recv(1)
        return asked

    def feed(self, end: socket.socket, *pieces: bytes) -> None:
        for piece in pieces:
            end.sendall(piece)
            self.turn()

    def close(self) -> None:
        for one in (*self.ends, self.listener):
            one.close()


@contextlib.contextmanager
def other(kind: int, **settings: object) -> Iterator[tuple[Other, socket.socket]]:
    """A swarm of one client, connected, its request read."""
    one = Other(kind, **settings)  # type: ignore[arg-type]
    try:
        end = one.accept()
        one.request(end)
        yield one, end
    finally:
        one.close()


def found(swarm: Swarm) -> tuple[int, int, int]:
    return swarm.received, swarm.doubled, swarm.disordered


def numbers_of(swarm: Swarm, kind: int) -> list[int]:
    pairs = memoryview(swarm.arrivals(kind)).cast("I").tolist()
    assert all(before <= after for before, after in zip(pairs[1::2], pairs[3::2], strict=False))
    return pairs[::2]


# --- one client


def expected(numbers: list[int]) -> tuple[int, int, int]:
    """What a tester that remembers everything says of a stream."""
    seen: set[int] = set()
    doubled = disordered = 0
    for number in numbers:
        if number in seen:
            doubled += 1
        elif seen and number < max(seen):
            disordered += 1
        seen.add(number)
    return len(seen), doubled, disordered


def on_the_wire(form: str, number: int, style: int) -> bytes:
    """Return a message, with what may stand around and within it in that form."""
    payload = object_of(number)
    if form == "websocket":
        cut = style % (len(payload) + 1)
        return (
            frame(payload),
            frame(b"ping", 9) + frame(payload),
            frame(payload[:cut], final=False) + frame(payload[cut:], 0),
            frame(payload[:cut], final=False) + frame(b"", 9) + frame(b"", 0, False) + frame(payload[cut:], 0),
            frame(payload + b" " * 200),
            frame(payload + b" " * 66000),
        )[style % 6]
    whole = (
        block(payload),
        block(payload, b"\r\n"),
        b": heartbeat\n\n" + block(payload),
        b"retry: 3000\n\n: note\n" + block(payload),
    )[style % 4]
    if form == "sse":
        return whole
    cut = style % (len(whole) + 1)
    return b"".join(chunk(part) for part in (whole[:cut], whole[cut:]) if part)


@settings(max_examples=150, deadline=None)
@given(
    form=st.sampled_from(["websocket", "sse", "chunked"]),
    messages=st.lists(st.tuples(st.integers(0, 40), st.integers(0, 500)), max_size=12),
    cuts=st.lists(st.floats(0, 1), max_size=8),
)
def test_any_stream_in_any_split_is_understood(form: str, messages: list[tuple[int, int]], cuts: list[float]) -> None:
    kind = WEBSOCKET if form == "websocket" else EVENT_STREAM
    head = {"websocket": UPGRADED, "sse": STREAM, "chunked": CHUNKED}[form]
    stream = head + b"".join(on_the_wire(form, *message) for message in messages)
    places = [0, *sorted(int(cut * len(stream)) for cut in cuts), len(stream)]
    with other(kind) as (one, end):
        one.feed(end, *(stream[low:high] for low, high in pairwise(places) if low < high))
        swarm = one.swarm
        # What is larger than a socket's buffer comes in several turns.
        deadline = time.monotonic() + WAIT
        while swarm.bytes_received < len(stream):
            assert time.monotonic() < deadline
            one.turn()
        numbers = [number for number, _ in messages]
        assert found(swarm) == expected(numbers)
        assert (swarm.ready, swarm.broken, swarm.dropped, swarm.failed) == (1, 0, 0, 0)
        assert numbers_of(swarm, kind) == list(dict.fromkeys(numbers))


@pytest.mark.parametrize("form", ["websocket", "sse", "chunked"])
def test_byte_by_byte(form: str) -> None:
    kind = WEBSOCKET if form == "websocket" else EVENT_STREAM
    stream = {"websocket": UPGRADED, "sse": STREAM, "chunked": CHUNKED}[form]
    stream += b"".join(on_the_wire(form, number, style) for number, style in enumerate((0, 1, 2, 3, 2, 1)))
    with other(kind) as (one, end):
        one.feed(end, *(stream[i : i + 1] for i in range(len(stream))))
        assert found(one.swarm) == (6, 0, 0)
        assert one.swarm.broken == 0


def test_chunks_may_name_extensions_and_end_the_stream() -> None:
    with other(EVENT_STREAM) as (one, end):
        one.feed(end, CHUNKED + b"0002D ; a=b\r\n" + block(object_of(7)).ljust(0x2D)[:0x2D])
        assert one.swarm.broken == 0
    with other(EVENT_STREAM) as (one, end):
        one.feed(end, CHUNKED + chunk(block(object_of(7))) + b"0\r\n\r\n")
        assert found(one.swarm) == (1, 0, 0)
        assert (one.swarm.ready, one.swarm.dropped) == (0, 1)
        assert one.swarm.trouble == "the server ended the stream"


def test_pings_are_answered_with_what_they_carry() -> None:
    with other(WEBSOCKET) as (one, end):
        for payload in (b"", b"a", b"x" * 125):
            one.feed(end, (UPGRADED if not one.swarm.pings else b"") + frame(payload, 9))
            pong = end.recv(1000)
            assert pong == b"\x8a" + bytes([0x80 | len(payload)]) + bytes(4) + payload
        assert one.swarm.pings == 3


@pytest.mark.parametrize(
    "nonsense",
    [
        frame(b"x" * 126, 9),  # control frames are short
        frame(b"x" * 60000, 9),
        frame(b"x", 9, final=False),  # and whole
        frame(b"x", 3),
        frame(b"x", 11),
        b"\xc1\x00",  # a reserved bit
        b"\x81\x80",  # a mask, from a server
        frame(b"x", 0),  # goes on, and nothing has begun
        frame(b"x", 1, final=False) + frame(b"x"),  # begins amid another
        b"\x81\x7f" + b"\xff" * 8,
    ],
    ids=lambda data: data[:4].hex(),
)
def test_frames_against_the_protocol_are_not_understood(nonsense: bytes) -> None:
    with other(WEBSOCKET) as (one, end):
        one.feed(end, UPGRADED + nonsense)
        one.turn()
        assert (one.swarm.broken, one.swarm.dropped, one.swarm.ready) == (1, 1, 0)


def test_fragments_for_ever_are_bounded() -> None:
    with other(WEBSOCKET) as (one, end):
        one.feed(end, UPGRADED + frame(b"", 1, final=False))
        with contextlib.suppress(OSError):
            for _ in range(100):
                one.feed(end, frame(b"x" * 8000, 0, final=False))
        assert (one.swarm.broken, one.swarm.dropped) == (1, 1)


def test_a_message_that_never_ends_is_bounded() -> None:
    for kind, head in ((EVENT_STREAM, STREAM), (WEBSOCKET, b"")):
        with other(kind) as (one, end):
            with contextlib.suppress(OSError):
                one.feed(end, head, *[b"x" * 8000] * 100)
            assert one.swarm.broken == 1
            assert one.swarm.ready == 0


@pytest.mark.parametrize("size", [b"xyz\r\n", b"fffffffff\r\n", b"5\r\nhelloXX"])
def test_bad_chunks_are_not_understood(size: bytes) -> None:
    with other(EVENT_STREAM) as (one, end):
        one.feed(end, CHUNKED + size)
        assert one.swarm.broken == 1


def test_a_close_frame_and_a_closed_connection_drop_the_client() -> None:
    with other(WEBSOCKET) as (one, end):
        one.feed(end, UPGRADED + frame(object_of(0)) + frame(b"\x03\xe9", 8))
        assert (one.swarm.received, one.swarm.dropped, one.swarm.ready) == (1, 1, 0)
    with other(EVENT_STREAM) as (one, end):
        one.feed(end, STREAM)
        end.close()
        one.turn()
        assert (one.swarm.dropped, one.swarm.failed, one.swarm.ready_of(EVENT_STREAM)) == (1, 0, 0)


def test_who_is_refused_was_never_there() -> None:
    for kind in range(len(TRANSPORTS)):
        with other(kind) as (one, end):
            one.feed(end, b"HTTP/1.1 503 Too many\r\nContent-Length: 0\r\n\r\n")
            assert (one.swarm.failed, one.swarm.dropped, one.swarm.ever_ready) == (1, 0, 0)
            assert one.swarm.trouble == "the server answered HTTP/1.1 503 Too many"
            assert one.swarm.complete > 0


def test_a_snapshot_or_a_change_of_freshness_may_repeat_what_came() -> None:
    with other(WEBSOCKET) as (one, end):
        one.feed(end, UPGRADED + frame(object_of(1)) + frame(b'{"version":3,"message":' + object_of(1)[11:-1] + b"}"))
        assert found(one.swarm) == (1, 0, 0)
        # A client too slow for the stream is given the newest snapshot: the message in it has come.
        one.feed(end, frame(b'{"version":3,"message":' + object_of(4)[11:-1] + b"}"))
        assert found(one.swarm) == (2, 0, 0)
        one.feed(end, frame(object_of(4)))
        assert found(one.swarm) == (2, 1, 0)


def test_watching_counts_by_seq_from_the_first_snapshot_on() -> None:
    with other(WEBSOCKET, marker=b"") as (one, end):
        one.feed(end, UPGRADED + frame(b'{"version":3,"seq":10}'))
        assert found(one.swarm) == (0, 0, 0)
        one.feed(end, frame(b'{"heard":1,"seq":11}') + frame(b'{"status":{},"stale":true,"seq":11}'))
        assert found(one.swarm) == (1, 0, 0)
        one.feed(end, frame(b'{"heard":1,"seq":13}') + frame(b'{"heard":1,"seq":12}'))
        assert found(one.swarm) == (3, 0, 1)
        one.feed(end, frame(b'{"heard":1,"seq":11}') + frame(b'{"heard":1,"seq":9}'))
        assert found(one.swarm) == (3, 2, 1)
        assert numbers_of(one.swarm, WEBSOCKET) == [11, 13, 12]


def test_a_long_poll_comes_back_with_the_highest_seq() -> None:
    with other(LONG_POLL) as (one, end):
        one.feed(end, answer(b'[{"version":3,"seq":100}]'))
        assert one.request(end).startswith(b"GET /data?since=100&wait=9 ")
        one.feed(end, answer(b"[]"))
        assert one.request(end).startswith(b"GET /data?since=100&wait=9 ")
        whole = answer(b"[%s,%s]" % (object_of(0), object_of(1)), b"X: y")
        one.feed(end, *(whole[i : i + 1] for i in range(len(whole))))
        assert one.request(end).startswith(b"GET /data?since=101&wait=9 ")
        assert found(one.swarm) == (2, 0, 0)
        one.feed(end, answer(b"[%s]" % object_of(1)))
        assert found(one.swarm) == (2, 1, 0)


def test_a_poller_keeps_its_etag_and_owes_no_order() -> None:
    with other(POLL) as (one, end):
        one.feed(end, answer(object_of(3), b'ETag: "one"'))
        assert b'If-None-Match: "one"\r\n' in one.request(end)
        one.feed(end, b'HTTP/1.1 304 Not Modified\r\nETag: "two"\r\n\r\n')
        assert b'If-None-Match: "two"\r\n' in one.request(end)
        one.feed(end, answer(object_of(3), b'ETag: "one"'))
        one.request(end)
        one.feed(end, answer(object_of(5), b'ETag: "three"'))
        assert found(one.swarm) == (2, 0, 0)
        assert one.swarm.ready_of(POLL) == 1


def test_pollers_rest_and_a_dead_one_is_passed_over() -> None:
    one = Other(POLL, 2, poll=0.05)
    try:
        ends = [one.accept(), one.accept()]
        for end in ends:
            one.request(end)
            one.feed(end, answer(b"{}"))
        ends[0].close()
        one.turn()
        assert (one.swarm.ready, one.swarm.dropped) == (1, 1)
        ends[1].setblocking(False)
        with contextlib.suppress(BlockingIOError):
            assert not ends[1].recv(1), "asked again before it had rested"
        ends[1].settimeout(WAIT)
        deadline = time.monotonic() + WAIT
        while one.swarm.bytes_received < 3 * len(answer(b"{}")):
            assert time.monotonic() < deadline
            one.swarm.run(time.monotonic() + 0.06)
            assert one.request(ends[1]).startswith(b"GET /poll ")
            one.feed(ends[1], answer(b"{}"))
    finally:
        one.close()


def test_a_request_that_is_too_long_is_not_sent_half() -> None:
    with other(LONG_POLL, again_long=b"GET /%lld" + b"x" * 2000) as (one, end):
        one.feed(end, answer(b"[]"))
        assert (one.swarm.dropped, one.swarm.trouble) == (1, "the request could not be sent")
        with contextlib.suppress(ConnectionResetError):
            assert end.recv(10) == b""


def test_connects_are_bounded_in_rate_and_in_number_under_way() -> None:
    for slow, most, waiting in ((0.01, 100, 1), (0.0, 3, 3)):
        one = Other(WEBSOCKET, 5, ramp=slow, in_flight=most)
        try:
            for _ in range(waiting):
                one.accept()
            one.listener.setblocking(False)
            with pytest.raises(BlockingIOError):
                one.listener.accept()
        finally:
            one.close()


def test_one_that_is_answered_lets_the_next_connect() -> None:
    one = Other(WEBSOCKET, 3, in_flight=1)
    try:
        for count in range(1, 4):
            end = one.accept()
            one.request(end)
            one.feed(end, UPGRADED)
            assert one.swarm.ready == count
        assert one.swarm.complete >= one.swarm.begun > 0
    finally:
        one.close()


def test_source_addresses_take_turns() -> None:
    one = Other(WEBSOCKET, 4, sources=("127.0.0.7", "127.0.0.8"))
    try:
        sources = [one.accept().getpeername()[0] for _ in range(4)]
        assert sorted(sources) == ["127.0.0.7", "127.0.0.7", "127.0.0.8", "127.0.0.8"]
    finally:
        one.close()


def test_a_source_that_is_not_ours_says_so() -> None:
    one = Other(WEBSOCKET, 1, sources=("192.0.2.1",))
    one.close()
    assert one.swarm.failed == 1
    assert one.swarm.trouble.startswith("a source address cannot be used: ")


# --- whole tests, against a server that can be told to be bad


class Unfaithful:
    """A push server that sends each client what the test says, for every broadcast.

    Args:
        deliver: given the client's number, the broadcast's and its text, returns the texts to send.
        leave: given the same, whether the connection is closed then.
    """

    def __init__(
        self,
        deliver: Callable[[int, int, str], list[str]] = lambda client, number, text: [text],
        leave: Callable[[int, int], bool] = lambda client, number: False,
        *,
        silent: bool = False,
        refuse_from: int = 10**9,
    ) -> None:
        self.deliver, self.leave, self.silent, self.refuse_from = deliver, leave, silent, refuse_from
        self.clients: list[tuple[str, asyncio.StreamWriter]] = []
        self.waiting: list[asyncio.StreamWriter] = []
        self.targets: list[str] = []
        self.hosts: set[str] = set()
        self.sources: set[str] = set()
        self.seq = 0
        started = threading.Event()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._serve, args=(started,))
        self._thread.start()
        assert started.wait(WAIT)

    def _serve(self, started: threading.Event) -> None:
        async def main() -> None:
            self._end = asyncio.Event()
            pages = await asyncio.start_server(self._page, "127.0.0.1", 0)
            control = await asyncio.start_server(self._control, "127.0.0.1", 0)
            self.url = f"http://127.0.0.1:{pages.sockets[0].getsockname()[1]}"
            self.control = ("127.0.0.1", control.sockets[0].getsockname()[1])
            started.set()
            await self._end.wait()
            for server in (pages, control):
                server.close()
            for _, writer in self.clients:
                writer.transport.abort()
            for task in asyncio.all_tasks() - {asyncio.current_task()}:
                task.cancel()

        try:
            self._loop.run_until_complete(main())
            self._loop.run_until_complete(asyncio.sleep(0))
        finally:
            self._loop.close()

    def stop(self) -> None:
        self._loop.call_soon_threadsafe(self._end.set)
        self._thread.join(WAIT)
        assert not self._thread.is_alive()

    async def _page(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        kind = ""
        try:
            while head := (await reader.readuntil(b"\r\n\r\n")).decode():
                target = head.split(" ")[1]
                self.targets.append(target)
                self.hosts.update(re.findall(r"(?i)^host: (.*)\r$", head, re.MULTILINE))
                self.sources.add(writer.get_extra_info("peername")[0])
                if self.silent:
                    continue
                if not kind and len(self.clients) >= self.refuse_from:
                    writer.write(b"HTTP/1.1 503 Full\r\nContent-Length: 0\r\n\r\n")
                    continue
                if not kind:
                    kind = "ws" if "Upgrade" in head else "sse" if "event-stream" in head else "long"
                    self.clients.append((kind, writer))
                if kind == "ws":
                    writer.write(UPGRADED + frame(b'{"version":3,"seq":0}'))
                    while True:
                        await reader.readexactly(1)
                elif kind == "sse":
                    writer.write(CHUNKED + chunk(block(b'{"version":3,"seq":0}')))
                elif "wait=0" in target:
                    writer.write(answer(b'[{"version":3,"seq":0}]'))
        except (asyncio.IncompleteReadError, ConnectionError, asyncio.CancelledError):
            pass
        finally:
            writer.transport.abort()

    async def _control(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while line := await reader.readline():
                text = base64.b64decode(line.split()[1]).decode()
                number = int(text.split("-")[2])
                self.seq += 1
                for index, (kind, client) in enumerate(self.clients):
                    payloads = [
                        json.dumps({"message": {"value": one}, "seq": self.seq}, separators=(",", ":")).encode()
                        for one in self.deliver(index, number, text)
                    ]
                    if kind == "ws":
                        client.write(b"".join(map(frame, payloads)))
                    elif kind == "sse":
                        client.write(b"".join(chunk(block(payload)) for payload in payloads))
                    else:
                        client.write(answer(b"[" + b",".join(payloads) + b"]"))
                    if self.leave(index, number):
                        client.close()
        except (ConnectionError, asyncio.CancelledError):
            pass
        finally:
            writer.transport.abort()


@pytest.fixture
def unfaithful() -> Iterator[Callable[..., Unfaithful]]:
    made: list[Unfaithful] = []

    def make(*arguments: object, **settings: object) -> Unfaithful:
        made.append(Unfaithful(*arguments, **settings))  # type: ignore[arg-type]
        return made[-1]

    yield make
    for one in made:
        one.stop()


Make = Callable[..., Unfaithful]


def small(server: Unfaithful, **more: object) -> Options:
    """A short test of that server."""
    given: dict[str, object] = {
        "url": server.url,
        "control": server.control,
        "clients": 30,
        "mix": {"websocket": 1.0, "sse": 1.0, "longpoll": 1.0},
        "broadcasts": 8,
        "interval": 0.05,
        "timeout": 1.0,
    }
    return Options(**given | more)  # type: ignore[arg-type]


def test_what_a_server_does_wrong_is_found_to_the_message(unfaithful: Make) -> None:
    """Client 3 never gets broadcast 2, client 5 gets 4 twice and 1 again later, client 7 gets 6 before 5."""
    kept: dict[int, str] = {}

    def deliver(client: int, number: int, text: str) -> list[str]:
        kept[number] = text
        if (client, number) == (3, 2):
            return []
        if (client, number) == (5, 4):
            return [text, text]
        if (client, number) == (5, 6):
            return [kept[1], text]
        if client == 7 and number == 5:
            return []
        if client == 7 and number == 6:
            return [text, kept[5]]
        return [text]

    result = run(small(unfaithful(deliver), processes=2))
    assert (result.lost, result.doubled, result.disordered) == (1, 2, 1)
    assert (result.connected, result.failed, result.dropped, result.not_understood) == (30, 0, 0, 0)
    assert result.messages == 30 * 8 - 1
    assert (result.broadcasts, len(result.each)) == (8, 8)
    assert not result.clean
    assert sum(map(sum, result.histograms.values())) == result.messages


def test_a_faithful_server_is_found_clean(unfaithful: Make) -> None:
    server = unfaithful()
    result = run(small(server, size=200, host_header="peer.example", mix={"longpoll": 1, "sse": 2}))
    assert result.clean, result.text()
    assert (result.messages, result.bytes_per_message) == (240, 200)
    assert set(result.by_transport) == {"longpoll", "sse"}
    assert server.hosts == {"peer.example"}
    for latency in (result.latency_ms, *result.each):
        assert latency
        assert 0 <= latency.first <= latency.median <= latency.p99 <= latency.last


def test_who_leaves_and_who_is_refused(unfaithful: Make) -> None:
    """Client 2 is closed after broadcast 3, of 8: it loses four. The last two are never let in."""
    server = unfaithful(leave=lambda client, number: (client, number) == (2, 3), refuse_from=18)
    result = run(small(server, clients=20, mix={"websocket": 1}, timeout=0.5))
    assert (result.connected, result.failed, result.dropped, result.lost) == (18, 2, 1, 4)
    assert result.trouble == "the server answered HTTP/1.1 503 Full"
    assert "503" in result.text()
    assert not result.clean


def test_another_path_and_other_sources(unfaithful: Make) -> None:
    server = unfaithful()
    sources = ("127.0.0.5", "127.0.0.6")
    result = run(small(server, path="/sub/any?x=100%", sources=sources, broadcasts=1))
    assert result.clean, result.text()
    assert server.sources == set(sources)
    assert {target.partition("&")[0] for target in server.targets} == {"/sub/any?x=100%"}
    assert any("&since=0&wait=0" in target for target in server.targets)


def test_a_server_that_never_answers_is_given_up(unfaithful: Make) -> None:
    with pytest.raises(BitsError, match=r"no client could connect: nobody answered"):
        run(small(unfaithful(silent=True), timeout=0.2))


def test_the_limit_ends_a_test(unfaithful: Make) -> None:
    started = time.monotonic()
    result = run(small(unfaithful(), broadcasts=10_000, interval=0.2, limit=3.0))
    assert result.broadcasts < 10_000
    assert result.trouble == "the limit of 3 s was reached"
    assert time.monotonic() - started < WAIT


# --- whole tests, against the real server


def test_the_real_server_gives_everybody_everything(server: Server, tmp_path: Path) -> None:
    page = tmp_path / "report.html"
    done = server.run(
        *("load", "--url", server.url, "--control", "{}:{}".format(*server.control)),
        *("--clients", "400", "--mix", "ws=70,sse=20,longpoll=5,poll=5", "--processes", "2"),
        *("--broadcasts", "5", "--interval", "0.1", "--poll", "0.2", "--sources", "127.0.0.3-127.0.0.6"),
        *("--server-pid", str(server.process.pid), "--json", "--html", str(page)),
    )
    assert done.returncode == 0, done.stdout + done.stderr
    result = json.loads(done.stdout)
    assert result["clean"]
    assert (result["connected"], result["lost"]) == (400, 0)
    assert result["messages"] >= 380 * 5
    assert set(result["by_transport"]) == set(TRANSPORTS)
    assert result["server"]["cpu_us_per_message"] > 0
    assert "connecting" in done.stderr
    text = page.read_text("utf-8")
    assert "http://" not in text.replace("http://www.w3.org", "")
    assert "<script" not in text
    drawings = [ET.fromstring(one) for one in re.findall(r"<svg.*?</svg>", text, re.DOTALL)]
    assert len(drawings) == 2
    assert len(drawings[0].findall("polyline")) == 4
    assert len(drawings[1].findall("rect")) >= 4


def test_watching_the_real_server(server: Server) -> None:
    """What came before counts for nothing; what comes meanwhile has come to all."""
    server.say("message " + base64.b64encode(b"before").decode())
    said: list[str] = []

    def show(phase: str, totals: dict[str, int], clients: int) -> None:
        if phase == "watching" and len(said) < 3:
            said.append(phase)
            server.say("message " + base64.b64encode(b"while").decode())

    mix = {"websocket": 1.0, "sse": 1.0, "longpoll": 1.0}
    result = run(Options(url=server.url, clients=60, mix=mix, watch=1.0), show)
    assert result.clean, result.text()
    assert len(said) == 3
    # A bridge that comes or speaks may be news of its own.
    assert result.broadcasts >= 3
    assert result.messages >= 180
    assert result.latency_ms
    assert result.latency_ms.first == 0


def test_nothing_to_watch(server: Server) -> None:
    result = run(Options(url=server.url, clients=3, watch=0.1))
    assert (result.connected, result.broadcasts, result.latency_ms) == (3, 0, None)
    assert "Nothing was received" in result.html()
    json.loads(result.json())


# --- what it is asked


def invoke(*arguments: str) -> str:
    """Run `bits load` where it must fail; return the sentence."""
    done = CliRunner().invoke(bits, ["load", *arguments])
    assert isinstance(done.exception, BitsError), done.output
    return str(done.exception)


def test_mistakes_are_told_in_a_sentence(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        closed = listener.getsockname()[1]
    assert "Connection refused" in invoke("--url", f"http://127.0.0.1:{closed}", "--clients", "1")
    assert "ws=70" in invoke("--mix", "ws=70,carrier-pigeon=1")
    assert "each once" in invoke("--mix", "ws,ws")
    assert "each once" in invoke("--mix", "ws=0")
    assert "each once" in invoke("--mix", "ws=nan")
    assert "no TLS" in invoke("--url", "https://127.0.0.1")
    assert "no TLS" in invoke("--url", "http://127.0.0.1:99999")
    assert "no such host" in invoke("--url", "http://nowhere.invalid")
    assert "HOST:PORT" in invoke("--control", "8888")
    assert "127.0.0.2-127.0.0.9" in invoke("--sources", "127.0.0.9-127.0.0.2")
    assert "source addresses" in invoke("--clients", "100000", "--sources", "127.0.0.1")
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    sentence = invoke("--clients", str(hard * 2), "--processes", "2")
    assert f"need {hard + 64} open files each, and the limit is {hard}" in sentence
    assert "no process of that number" in invoke("--server-pid", "999999999")
    assert "there is no such folder" in invoke("--html", str(tmp_path / "not" / "there.html"))


def test_a_control_port_that_is_closed(unfaithful: Make) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        closed = listener.getsockname()
    with pytest.raises(BitsError, match="cannot trigger broadcasts"):
        run(small(unfaithful(), control=closed))


def test_the_exit_code_tells_whether_all_was_well(unfaithful: Make) -> None:
    for deliver, code in ((lambda client, number, text: [text], 0), (lambda client, number, text: [text] * 2, 1)):
        server = unfaithful(deliver)
        where = ["--url", server.url, "--control", "{}:{}".format(*server.control)]
        done = CliRunner().invoke(bits, ["load", *where, "--clients", "5", "--broadcasts", "2", "--interval", "0.05"])
        assert done.exit_code == code, done.output
        assert re.search(rf"lost / doubled / out of order +0 / {10 * code} / 0", done.output)


@given(
    st.integers(1, 100_000),
    st.dictionaries(st.sampled_from(TRANSPORTS), st.floats(0.001, 1e6), min_size=1),
)
def test_shares_add_up(clients: int, mix: dict[str, float]) -> None:
    counts = Options(clients=clients, mix=mix).counts()
    assert sum(counts) == clients
    total = sum(mix.values())
    for name, count in zip(TRANSPORTS, counts, strict=True):
        assert abs(count - clients * mix.get(name, 0) / total) < 1


def test_what_is_written_on_the_command_line() -> None:
    assert parse_mix("ws=70, sse=30,poll") == {"websocket": 70, "sse": 30, "poll": 1}
    assert parse_sources("127.0.0.2-127.0.0.4,10.0.0.1") == ("127.0.0.2", "127.0.0.3", "127.0.0.4", "10.0.0.1")
    assert parse_control("[::1]:8888") == ("::1", 8888)


def test_as_many_sources_and_processes_as_it_takes() -> None:
    assert len(Options(clients=12_000).addresses()) == 1
    assert len(Options(clients=100_000).addresses()) == 9
    assert len(Options(clients=28_000, sources=("127.0.0.1",)).addresses()) == 1
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    assert Options(clients=hard - 64).process_count() == 1
    assert Options(clients=hard - 63).process_count() == 2
    assert Options(clients=10, processes=3).process_count() == 3


# --- what it tells


@given(st.lists(st.floats(0, 1e6), min_size=1), st.floats(0, 100))
def test_percentiles_and_histograms(values: list[float], percent: float) -> None:
    ordered = sorted(values)
    value = percentile(ordered, percent)
    assert value in ordered
    assert sum(one <= value for one in ordered) >= round(len(ordered) * percent / 100, 6)
    assert percentile(ordered, 0) == ordered[0]
    assert percentile(ordered, 100) == ordered[-1]
    edges = [ordered[-1] * i / 7 for i in range(8)]
    counts = histogram(ordered, edges)
    assert sum(counts) == len(ordered)
    assert counts[0] == (sum(one < edges[1] for one in ordered) if edges[1] else 0)


def test_percentiles_are_by_nearest_rank() -> None:
    assert percentile(range(1, 101), 99) == 99
    assert percentile(range(1, 11), 50) == 5
    assert percentile(range(1, 1001), 99.9) == 999


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_progress_is_one_line_on_a_terminal_and_some_elsewhere() -> None:
    totals = {"ready": 3, "received": 7, "failed": 1, "dropped": 0, "broken": 0}
    for stream in (Terminal(), io.StringIO()):
        with Progress(stream) as progress:
            for _ in range(1000):
                progress.show("connecting", totals, 4)
            progress.show("watching", totals | {"failed": 0}, 4)
        written = stream.getvalue()
        assert "connecting: 3 of 4 clients, 7 messages, 1 in trouble" in written
        assert "watching: 3 of 4 clients, 7 messages" in written
        if stream.isatty():
            assert "\n" not in written
            assert written.endswith("\r\x1b[K")
        else:
            assert 2 <= written.count("\n") < 100
            assert "\x1b" not in written


def test_a_result_names_its_transports_in_its_drawings() -> None:
    empty: dict[str, list[float]] = {}
    result = Result(
        clients=1, connected=1, connects_per_second=1, broadcasts=0, messages=0, latency_ms=None, by_transport={},
        each=[], lost=0, doubled=0, disordered=0, failed=0, dropped=0, not_understood=0, pings=0, bytes_per_message=0,
        tester_cpu_us_per_message=0, server={}, trouble="<b>&", machine={"bits": "0"}, curves=empty, edges=[],
        histograms={},
    )  # fmt: skip
    assert result.clean
    assert "&lt;b&gt;&amp;" in result.html()
    assert "<b>" not in result.html()
