"""The work that the gates count: `python -m benchmarks.gate CASE COUNT [--slow PERCENT]`.

Each case does something COUNT times, and as little else as can be; tests/test_gates.py runs it under callgrind twice
and takes the difference, so that starting up does not count. `--slow` does so many percent of it twice.
"""

from __future__ import annotations

import argparse
import gc
import os
import socket
from collections.abc import Callable

from benchmarks.data import lines
from bits._door import Answer, Door
from bits._hub import FORMS, WEBSOCKET, Hub
from bits._proto import Decoder
from bits._ws import text_frame

CLIENTS = 100
FRAME = text_frame(b"x" * 220)
REQUESTS = 50
REQUEST = (
    b"GET /data HTTP/1.1\r\nHost: bits.example.org\r\nUser-Agent: widget/1.0\r\nAccept: */*\r\n"
    b'Accept-Encoding: gzip\r\nIf-None-Match: W/"HkgqbUQg6758"\r\n\r\n'
)
UNCHANGED = b'HTTP/1.1 304 Not Modified\r\nETag: W/"HkgqbUQg6758"\r\n\r\n'

LINES = 100


def line() -> Callable[[], None]:
    """Decode lines of the miniprotocol."""
    data = lines(LINES)
    decoder = Decoder()
    assert len(decoder.feed(data)) == LINES

    def decode() -> None:
        decoder.feed(data)

    return decode


def client() -> Callable[[], None]:
    """Send a frame to clients of the hub."""
    hub = Hub(lambda form: FRAME, os.close, threads=0, ping=0)
    ends = []
    for _ in range(CLIENTS):
        ours, theirs = socket.socketpair()
        ours.setblocking(False)
        hub.add(ours.detach(), WEBSOCKET, b"")
        ends.append(theirs)
    hub.turn()
    frames = (FRAME,) + (None,) * (FORMS - 1)
    inbox = bytearray(1 << 20)

    def broadcast() -> None:
        hub.publish(frames)
        hub.turn()
        if hub.counters()["sent"] % (100 * CLIENTS) == 0:
            for end in ends:
                end.recv_into(inbox)

    return broadcast


def request() -> Callable[[], None]:
    """Answer plain requests at the door."""
    listener = socket.create_server(("127.0.0.1", 0))
    listener.setblocking(False)
    answer = Answer(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", None, UNCHANGED, b'"HkgqbUQg6758"')
    door = Door(listener.fileno(), lambda route, iso: answer, print, lambda fd, received: os.close(fd), most=10)
    peer = socket.create_connection(listener.getsockname())
    door.on_connect(0.0)
    data = REQUEST * REQUESTS
    inbox = bytearray(1 << 20)

    def ask() -> None:
        answered = door.answered + REQUESTS
        peer.sendall(data)
        while door.answered < answered:
            door.on_ready(0.0)
        peer.recv_into(inbox)

    ask.keep = (listener, door, peer)  # type: ignore[attr-defined]
    return ask


# How many units one call of each case does.
CASES: dict[str, tuple[Callable[[], Callable[[], None]], int]] = {
    "line": (line, LINES),
    "client": (client, CLIENTS),
    "request": (request, REQUESTS),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("case", choices=CASES)
    parser.add_argument("count", type=int)
    parser.add_argument("--slow", type=int, default=0)
    given = parser.parse_args()
    gc.disable()
    work = CASES[given.case][0]()
    for number in range(given.count):
        work()
        if number * given.slow % 100 < given.slow:
            work()


if __name__ == "__main__":
    main()
