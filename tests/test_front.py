"""The whole way in, over real sockets: the door against Sanic itself, every way to push, and what is refused."""

from __future__ import annotations

import json
import shutil
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.conftest import Server, wait_until
from tests.test_http import BAD, SMUGGLED, UPGRADE, head
from tests.test_ws import client_frame


def connect(server: Server, data: bytes = b"") -> socket.socket:
    host, port = server.url.removeprefix("http://").split(":")
    client = socket.create_connection((host, int(port)), timeout=10)
    client.sendall(data)
    return client


class Reply:
    """One answer, read off a stream."""

    def __init__(self, stream: Any, *, bodyless: bool = False) -> None:
        line = stream.readline()
        if not line:
            raise EOFError
        self.status = int(line.split()[1])
        self.headers: dict[str, str] = {}
        while (line := stream.readline().strip()) != b"":
            name, _, value = line.decode().partition(":")
            self.headers[name.lower()] = value.strip()
        size = int(self.headers.get("content-length", 0))
        self.body = b"" if bodyless or self.status in (204, 304) else stream.read(size)

    def meaning(self) -> tuple[Any, ...]:
        """What a client acts upon."""
        kept = ("content-type", "content-length", "etag", "cache-control", "content-encoding", "vary")
        headers = {name: self.headers.get(name) for name in (*kept, "access-control-allow-origin")}
        if self.status == 304:  # it has no body to be of a type or length
            headers.pop("content-type")
            headers.pop("content-length")
        closes = self.headers.get("connection", "").lower() == "close"
        return self.status, self.body, headers, closes


def exchange(server: Server, requests: list[bytes], cuts: list[int]) -> list[tuple[Any, ...]]:
    """Send requests on one connection, in pieces, and read the answers until one closes."""
    data = b"".join(requests)
    with connect(server) as client, client.makefile("rb") as stream:
        at = 0
        for cut in cuts:
            client.sendall(data[at : at + cut])
            at += cut
        client.sendall(data[at:])
        answers = []
        for request in requests:
            answers.append(Reply(stream, bodyless=request.startswith(b"HEAD")).meaning())
            if answers[-1][3] or b"close" in request.lower():
                break
        return answers


# --- the door against Sanic


@pytest.fixture(scope="module")
def twins(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Server, Server]]:
    """Two servers with one past: in the second, the door hands every request on."""
    folders = [tmp_path_factory.mktemp(name) for name in ("door", "sanic")]
    first = Server(folders[0]).start()
    first.say("status 1", *(f"temperature {n % 3} {n / 2}" for n in range(60)), "message Q2lhbyDimJU=")
    first.stop()
    shutil.copy(folders[0] / "bits.db", folders[1] / "bits.db")
    pair = (Server(folders[0]).start(), Server(folders[1], log_requests="true").start())
    yield pair
    for server in pair:
        server.stop()
        assert "Traceback" not in server.errors, server.errors


spaces = st.sampled_from(["", " ", "  ", "\t", " \t "])
fields = st.one_of(
    st.sampled_from(
        [
            ("X-Forwarded-For", "203.0.113.7, 10.0.0.1"),
            ("X-Forwarded-Proto", "https"),
            ("Forwarded", "for=192.0.2.60;proto=http"),
            ("Via", "1.1 balancer"),
            ("Cookie", "a=b; c=d"),
            ("User-Agent", "Mozilla/5.0 (X11; Linux x86_64)"),
            ("Accept", "*/*"),
            ("Origin", "https://example.org"),
            ("X-Unknown", "ünknown"),
            ("Accept-Language", "it, en;q=0.5"),
        ]
    ),
    st.tuples(
        st.sampled_from(["Accept-Encoding", "ACCEPT-ENCODING", "accept-encoding"]),
        st.sampled_from(
            ["gzip", "gzip, br", "br;q=1, gzip;q=0", "gzip;q=0.000", "*", "x-gzip ; q=0.1", "identity", ""]
        ),
    ),
    st.tuples(
        st.sampled_from(["If-None-Match", "if-none-match"]),
        st.sampled_from(
            ['"x"', "{etag}", '"x", {etag}', "{strong}", '"a,b", {strong}', 'W/"x"', "*", "", '"', "{bare}"]
        ),
    ),
    st.tuples(st.just("Connection"), st.sampled_from(["keep-alive", "Keep-Alive"])),
)
plain = st.tuples(
    st.sampled_from(["GET", "GET", "GET", "HEAD"]),
    st.sampled_from(["/status", "/data", "/data", "/data?timestamps=iso", "/data?timestamps=ms"]),
    st.lists(st.tuples(fields, spaces, spaces), max_size=5, unique_by=lambda field: field[0][0].lower()),
)


def build(parts: Any, etags: dict[str, str]) -> bytes:
    method, target, given = parts
    etag = etags.get(target, 'W/"none"')
    tags = {"etag": etag, "strong": etag.removeprefix("W/"), "bare": etag.removeprefix("W/").strip('"')}
    lines = [
        f"{name}:{before or ' '}{value.format(**tags) if name.lower() == 'if-none-match' else value}"
        # Sanic takes "keep-alive " for another word, and closes; RFC 9110 section 5.5 does not.
        + (after if name != "Connection" else "")
        for (name, value), before, after in given
    ]
    return "\r\n".join([f"{method} {target} HTTP/1.1", "Host: example.org", *lines, "", ""]).encode()


compared = 0


@settings(deadline=None, max_examples=400, suppress_health_check=list(HealthCheck))
@given(st.lists(plain, min_size=1, max_size=12), st.lists(st.integers(1, 400), max_size=6))
def test_the_door_answers_as_sanic_does(twins: tuple[Server, Server], requests: list[Any], cuts: list[int]) -> None:
    global compared
    etags = {
        target: twins[0].get(target)[1]["etag"] for target in ("/data", "/data?timestamps=iso", "/data?timestamps=ms")
    }
    data = [build(parts, etags) for parts in requests]
    ours, theirs = (exchange(server, data, cuts) for server in twins)
    assert ours == theirs
    compared += len(data)


def test_that_was_a_comparison(twins: tuple[Server, Server]) -> None:
    """Thousands of requests, and it was not Sanic against Sanic."""
    assert compared > 1000
    assert twins[0].metric("http_fast_total") > compared / 2
    assert twins[1].metric("http_fast_total") == 0


# --- one connection, two servers behind it


def test_a_connection_goes_from_the_door_to_sanic_and_stays_there(server: Server) -> None:
    requests = [head("GET /status HTTP/1.1"), head("GET /log?format=json HTTP/1.1"), head("GET /status HTTP/1.1")]
    for cuts in ([], [1] * 60, [len(requests[0]) + 3]):
        answers = exchange(server, requests, cuts)
        assert [answer[0] for answer in answers] == [200, 200, 200]
        assert answers[0][1] == answers[2][1] == b"0"
        assert json.loads(answers[1][1]) == {"log": []}


def test_a_body_that_comes_behind_its_head_arrives(server: Server) -> None:
    body = b"name=" + b"x" * 30_000
    request = head(
        "POST /login HTTP/1.1", "Content-Type: application/x-www-form-urlencoded", f"Content-Length: {len(body)}"
    )
    with connect(server, request + body[:10]) as client, client.makefile("rb") as stream:
        for at in range(10, len(body), 1000):
            client.sendall(body[at : at + 1000])
        assert Reply(stream).status in (200, 400, 401, 403)
    assert "Traceback" not in server.errors


# --- what is refused, at the door and behind it


@pytest.mark.parametrize("behind", [False, True], ids=["at the door", "behind it"])
def test_nothing_is_smuggled(server: Server, behind: bool) -> None:
    """Each is refused and its connection closed; what was sent behind it is never answered."""
    for reason, request in BAD:
        with connect(server) as client, client.makefile("rb") as stream:
            if behind:
                client.sendall(head("GET /healthz HTTP/1.1"))
                assert Reply(stream).status == 200
            client.sendall(request + SMUGGLED.encode())
            client.shutdown(socket.SHUT_WR)
            try:
                assert Reply(stream).status == 400, (reason, request)
                rest = stream.read()
            except ConnectionResetError:
                rest = b""
            except EOFError:
                assert behind  # Sanic waits for the end of the head, and says nothing where none comes
                rest = b""
            assert b"HTTP/1.1" not in rest, (reason, request, rest)
    name = "http_refused_behind_total" if behind else "http_refused_total"
    text = server.get("/metrics")[2].decode()
    counts = {reason: f'{name}{{reason="{reason}"}}' in text for reason, _ in BAD}
    if not behind:
        assert all(counts.values())
    refused = sum(int(line.rpartition(" ")[2]) for line in text.splitlines() if line.startswith(f"bits_{name}"))
    assert refused >= (len(BAD) if not behind else len(BAD) // 2)


# --- every way to push


def objects(reply: Reply) -> list[dict[str, Any]]:
    found = json.loads(reply.body)
    assert isinstance(found, list)
    return found


def test_server_sent_events(server: Server) -> None:
    server.say("status 1")
    with connect(server, head("GET /events HTTP/1.1")) as client, client.makefile("rb") as stream:
        assert stream.readline() == b"HTTP/1.1 200 OK\r\n"
        headers = b""
        while (line := stream.readline()) != b"\r\n":
            headers += line.lower()
        assert b"content-type: text/event-stream" in headers
        first = event(stream)
        assert first == (server.json("/data")["seq"], server.json("/data"))
        server.say("temperature 0 21.5", "status 0")
        number, sample = event(stream)
        assert (number, sample["tempint"]["value"]) == (first[0] + 1, 21.5)
    for resume in ("GET /events HTTP/1.1", f"GET /events?since={first[0] + 1} HTTP/1.1"):
        with connect(server, head(resume, f"Last-Event-ID: {first[0]}")) as client, client.makefile("rb") as stream:
            while stream.readline() != b"\r\n":
                pass
            assert [event(stream)[0] for _ in range(3)] == [first[0] + 1, first[0] + 2, first[0] + 2]


def event(stream: Any) -> tuple[int, dict[str, Any]]:
    number = stream.readline().strip().removeprefix(b"id: ")
    data = stream.readline().strip().removeprefix(b"data: ")
    assert stream.readline() == b"\n"
    return int(number), json.loads(data)


def test_long_polling(server: Server) -> None:
    server.say("status 1")
    with connect(server) as client, client.makefile("rb") as stream:

        def poll(since: int, wait: str = "20") -> list[dict[str, Any]]:
            client.sendall(head(f"GET /data?since={since}&wait={wait} HTTP/1.1"))
            return objects(Reply(stream))

        # Older than what is remembered, or from another life: the snapshot.
        assert poll(10**9) == [server.json("/data")]
        seq = server.json("/data")["seq"]
        missed = poll(seq - 1)
        assert [frame["seq"] for frame in missed] == [seq, seq]
        assert "stale" in missed[-1]
        # Nothing new: it waits, for an event or in vain.
        client.sendall(head(f"GET /data?since={seq}&wait=20 HTTP/1.1"))
        wait_until(lambda: server.metric("push_clients") == 1)
        server.say("message Q2lhbw==")
        frames = objects(Reply(stream))
        assert [frame["message"]["value"] for frame in frames] == ["Ciao"]
        assert poll(frames[-1]["seq"], "0.5") == []
        # What the client believes may have turned between two polls.
        seq = frames[-1]["seq"]
        client.sendall(head(f"GET /data?since={seq}&wait=20&stale=1 HTTP/1.1"))
        assert [frame["stale"] for frame in objects(Reply(stream))] == [False]
        client.sendall(head(f"GET /data?since={seq}&wait=0.25&stale=0 HTTP/1.1"))
        assert objects(Reply(stream)) == []
        # And the connection is an ordinary one again.
        client.sendall(head("GET /status HTTP/1.1") + head("GET /healthz HTTP/1.1"))
        assert [Reply(stream).body, Reply(stream).body] == [b"1", b"ok"]


def test_all_transports_tell_the_same(server: Server) -> None:
    server.say("status 1")
    seq = server.json("/data")["seq"]
    lines = [f"temperature 0 {n}" for n in range(20)]
    with ExitStack() as stack:
        sse = stack.enter_context(connect(server, head(f"GET /events?since={seq} HTTP/1.1")))
        stream = stack.enter_context(sse.makefile("rb"))
        while stream.readline() != b"\r\n":
            pass
        event(stream)  # how far the state may be believed
        server.say(*lines)
        by_sse = [event(stream)[1] for _ in lines]
    with connect(server) as client, client.makefile("rb") as stream:
        client.sendall(head(f"GET /data?since={seq}&wait=5 HTTP/1.1"))
        by_poll = objects(Reply(stream))[:-1]
    assert by_sse == by_poll
    assert [frame["tempint"]["value"] for frame in by_sse] == list(range(20))


@pytest.mark.parametrize("transport", ["/ws", "/events", "/data?since=0&wait=1"])
def test_requests_that_are_not_plain_find_their_way_too(server: Server, transport: str) -> None:
    """The same routes behind Sanic, for clients with something odd about them."""
    odd = [*UPGRADE[:1], "Connection: Upgrade, X-Own", *UPGRADE[2:]] if transport == "/ws" else ["Connection: x-own"]
    server.say("status 1")
    with connect(server, head(f"GET {transport} HTTP/1.1", *odd)) as client:
        received = b""
        while b'"status"' not in received:
            data = client.recv(65536)
            assert data, received
            received += data
        assert received.startswith(b"HTTP/1.1 101" if transport == "/ws" else b"HTTP/1.1 200")
    assert server.metric("http_handed_on_total") >= 1
    assert server.metric("push_joined_total") == 1


# --- those who mean no good


def latency(server: Server, stream: Any) -> float:
    """Return how long a message takes to a client that behaves."""
    begun = time.monotonic()
    server.say("message Q2lhbw==")
    while b'"message"' not in stream.recv(65536):
        pass
    return time.monotonic() - begun


def good_client(server: Server) -> socket.socket:
    client = connect(server, head("GET /ws HTTP/1.1", *UPGRADE))
    while b'"stale"' not in client.recv(65536):
        pass
    return client


def test_half_open_connections_cost_their_own_place_only(make_server: Callable[..., Server]) -> None:
    server = make_server(web_connections="500")
    with ExitStack() as stack:
        good = stack.enter_context(good_client(server))
        for _ in range(5000):
            stack.enter_context(connect(server, b"GET /data HTTP/1.1\r\nHost"))
        assert latency(server, good) < 5
        assert server.get("/status")[2] == b"0"
        wait_until(lambda: server.metric('http_refused_total{reason="evicted"}') >= 4400)
        assert server.metric("http_waiting") <= 500
    assert server.metric("push_clients") <= 1


def test_connections_that_say_nothing_are_not_even_accepted(server: Server) -> None:
    with ExitStack() as stack:
        good = stack.enter_context(good_client(server))
        before = server.metric("http_accepted_total")
        for _ in range(2000):
            stack.enter_context(connect(server))
        assert latency(server, good) < 5
        # The kernel keeps them to itself until they speak (or for some seconds).
        assert server.metric("http_accepted_total") - before < 200


def test_a_reader_of_nothing_is_given_up(make_server: Callable[..., Server]) -> None:
    server = make_server(push_stall="1")
    with good_client(server) as good, socket.socket() as deaf:
        deaf.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1024)
        host, port = server.url.removeprefix("http://").split(":")
        deaf.connect((host, int(port)))
        deaf.sendall(head("GET /ws HTTP/1.1", *UPGRADE))
        wait_until(lambda: server.metric("push_clients") == 2)
        big = "message " + "QUFB" * 900

        def cut_off() -> bool:
            server.say(*[big] * 20)
            good.setblocking(False)
            try:
                while good.recv(1 << 20):
                    pass
            except BlockingIOError:
                pass
            good.settimeout(10)
            return sum(server.metric(f'push_cut_off_total{{reason="{why}"}}') for why in ("stalled", "slow")) == 1

        wait_until(cut_off, "the deaf one is cut off")
        assert latency(server, good) < 5


def test_a_flood_of_pings_is_cut_off(server: Server) -> None:
    with good_client(server) as good, good_client(server) as bad:
        try:
            for _ in range(200):
                bad.sendall(client_frame(9, b"") * 50)
        except (BrokenPipeError, ConnectionResetError):
            pass
        wait_until(lambda: server.metric('push_cut_off_total{reason="flooded"}') == 1)
        assert latency(server, good) < 5


@pytest.mark.parametrize(
    ("frame", "code"),
    [
        (b"\x82\xff" + b"\xff" * 8 + b"mask", 1002),  # 2^64 - 1 bytes
        (b"\x82\xff\x7f" + b"\xff" * 7 + b"mask", 1009),  # 2^63 - 1 bytes
        (b"\x81\x05hello", 1002),  # not masked
        (b"\xff" * 100, 1002),
    ],
)
def test_frames_that_cannot_be_are_refused_with_their_code(server: Server, frame: bytes, code: int) -> None:
    with good_client(server) as good, good_client(server) as bad:
        bad.sendall(frame)
        assert bad.recv(100) == b"\x88\x02" + code.to_bytes(2, "big")
        wait_until(lambda: server.metric('push_cut_off_total{reason="protocol"}') == 1)
        assert latency(server, good) < 5


def test_half_a_frame_for_ever_ends_with_the_pings(make_server: Callable[..., Server]) -> None:
    server = make_server(push_ping="0.5")
    with good_client(server) as half:
        half.sendall(b"\x81\xfe\x10")
        received = b""
        while data := half.recv(100):
            received += data
        assert received == b"\x89\x00"
    assert server.metric('push_cut_off_total{reason="silent"}') == 1


def test_idle_clients_are_pinged_and_stay_when_they_answer(make_server: Callable[..., Server]) -> None:
    server = make_server(push_ping="0.5")
    with good_client(server) as client:
        for _ in range(4):
            assert client.recv(100) == b"\x89\x00"
            client.sendall(client_frame(10, b""))
        assert server.metric("push_clients") == 1
    with connect(server, head("GET /events HTTP/1.1")) as client:
        received = b""
        while not received.endswith(b":\n\n:\n\n"):
            received += client.recv(65536)


def test_more_connections_than_allowed_behind_the_door(make_server: Callable[..., Server]) -> None:
    server = make_server(web_connections="16")
    waiting = head("POST /login HTTP/1.1", "Content-Length: 10")
    with ExitStack() as stack:
        for _ in range(40):  # more than there are places: those that are refused leave none free
            stack.enter_context(connect(server, waiting))
        wait_until(lambda: server.get("/metrics")[0] == 503)
        with connect(server, head("GET /healthz HTTP/1.1")) as one, one.makefile("rb") as stream:
            assert Reply(stream).status == 503
        assert server.get("/status")[2] == b"0"  # the door itself answers on
