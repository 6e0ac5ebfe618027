"""Many at once: clients that all come together, and all come back after a restart, while the space goes on talking."""

from __future__ import annotations

import json
import select
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import ExitStack
from typing import Any

from tests.conftest import Server
from tests.test_front import connect, good_client
from tests.test_http import UPGRADE, head


def test_a_storm_of_clients_starves_nobody(make_server: Callable[..., Server]) -> None:
    """5,000 connect as fast as they can, all in flight at once, while a bridge speaks and an old client listens."""
    server = make_server(push_clients="6000")
    with good_client(server) as old:
        storm = subprocess.Popen(
            [
                sys.executable, "-m", "bits", "load", "--clients", "5000", "--in-flight", "5000", "--url", server.url,
                "--watch", "1", "--timeout", "2", "--json",
            ],
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )  # fmt: skip
        waits = []
        number = 0
        while storm.poll() is None:
            number += 1
            begun = time.monotonic()
            server.say(f"temperature 0 {number / 10}")  # returns once it is committed
            waits.append(time.monotonic() - begun)
        found = json.loads(storm.communicate()[0])
        assert found["connected"] == 5000
        assert (found["failed"], found["dropped"], found["not_understood"]) == (0, 0, 0)
        assert len(waits) > 20
        assert max(waits) < 5
        old.settimeout(10)
        stream = b""
        while b'"value":%.1f,' % (number / 10) not in stream and b'"value":%d,' % (number // 10) not in stream[-300:]:
            stream += old.recv(1 << 20)
        # Every one, in order, in spite of the storm.
        values = [frame["tempint"]["value"] for frame in frames(stream) if "tempint" in frame]
        assert values == [n / 10 for n in range(1, len(values) + 1)]


def frames(stream: bytes) -> list[dict[str, Any]]:
    """Take whole text frames apart."""
    found = []
    at = 0
    while at + 4 <= len(stream):
        length, begin = stream[at + 1], at + 2
        if length == 126:
            length, begin = int.from_bytes(stream[at + 2 : at + 4], "big"), at + 4
        if begin + length > len(stream):
            break
        found.append(json.loads(stream[begin : begin + length]))
        at = begin + length
    return found


def test_all_come_back_at_once_after_a_restart(make_server: Callable[..., Server]) -> None:
    """2,000 reconnect together with the seq they have: each learns what is true now, and what happens next."""
    server = make_server()
    server.say("status 1", "temperature 0 20")
    seq = server.json("/data")["seq"]
    server.stop()
    server.start()
    server.say("temperature 0 21")
    with ExitStack() as stack:
        clients = [
            stack.enter_context(connect(server, head(f"GET /ws?since={seq} HTTP/1.1", *UPGRADE))) for _ in range(2000)
        ]
        server.say("message Q2lhbw==")
        heard = {client.fileno(): b"" for client in clients}
        by_fd = {client.fileno(): client for client in clients}
        poller = select.epoll()
        for fd in heard:
            poller.register(fd, select.EPOLLIN)
        waiting = set(heard)
        deadline = time.monotonic() + 30
        while waiting and time.monotonic() < deadline:
            for fd, _ in poller.poll(1):
                heard[fd] += receive(by_fd[fd])
                if b'"Ciao"' in heard[fd]:
                    waiting.discard(fd)
        poller.close()
        assert not waiting
        for stream in heard.values():
            handshake, _, rest = stream.partition(b"\r\n\r\n")
            assert handshake.startswith(b"HTTP/1.1 101")
            told = frames(rest)
            # What it missed and then all that follows, or the snapshot: nothing else, and nothing twice.
            assert [frame["seq"] for frame in told] == sorted(frame["seq"] for frame in told)
            assert any("21" in json.dumps(frame) for frame in told)
            assert sum('"Ciao"' in json.dumps(frame) for frame in told) == 1


def receive(client: socket.socket) -> bytes:
    data = client.recv(65536)
    assert data
    return data
