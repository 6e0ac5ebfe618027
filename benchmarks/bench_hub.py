"""A broadcast: the hub's own loop beside what a Python loop over the same sockets does."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from typing import Any

import pytest

from bits._hub import FORMS, GOING_AWAY, WEBSOCKET, Hub
from bits._ws import text_frame

CLIENTS = 500
FRAME = text_frame(b"x" * 220)


@pytest.fixture
def pairs() -> Iterator[list[tuple[socket.socket, socket.socket]]]:
    made = [socket.socketpair() for _ in range(CLIENTS)]
    for ours, theirs in made:
        ours.setblocking(False)
        theirs.setblocking(False)
    yield made
    for ours, theirs in made:
        ours.close()
        theirs.close()


def drain(pairs: list[tuple[socket.socket, socket.socket]]) -> None:
    for _, theirs in pairs:
        assert theirs.recv(65536) == FRAME


def test_hub(benchmark: Any, pairs: list[tuple[socket.socket, socket.socket]]) -> None:
    benchmark.group = f"a frame to {CLIENTS} sockets"
    hub = Hub(lambda form: FRAME, os.close, threads=0, ping=0)
    for ours, _ in pairs:
        hub.add(os.dup(ours.fileno()), WEBSOCKET, b"")
    hub.turn()

    def broadcast() -> None:
        hub.publish((FRAME,) * FORMS)
        hub.turn()

    broadcast()
    drain(pairs)
    benchmark.pedantic(broadcast, teardown=lambda: drain(pairs), rounds=60, warmup_rounds=3)
    hub.close(GOING_AWAY)


def test_python_loop(benchmark: Any, pairs: list[tuple[socket.socket, socket.socket]]) -> None:
    benchmark.group = f"a frame to {CLIENTS} sockets"

    def broadcast() -> None:
        for ours, _ in pairs:
            ours.send(FRAME)

    broadcast()
    drain(pairs)
    benchmark.pedantic(broadcast, teardown=lambda: drain(pairs), rounds=60, warmup_rounds=3)


def test_publish_returns_at_once(benchmark: Any, pairs: list[tuple[socket.socket, socket.socket]]) -> None:
    """What a broadcast costs the loop when a thread does the sending."""
    benchmark.group = "publish, the loop's part"
    hub = Hub(lambda form: FRAME, os.close, threads=1, ping=0)
    hub.start()
    for ours, _ in pairs:
        hub.add(os.dup(ours.fileno()), WEBSOCKET, b"")
    hub.wake()
    frames = (FRAME,) + (None,) * (FORMS - 1)
    benchmark.pedantic(lambda: hub.publish(frames), rounds=200)
    hub.close(GOING_AWAY)
