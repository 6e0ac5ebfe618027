"""How long the event loop is held up by a broadcast: `python -m benchmarks.pause [--clients N] [--threads N]`.

A task on the loop wants to wake every millisecond; what it is late by, while broadcasts go out to clients over
loopback TCP, is the pause. The clients are ends in this process that nobody reads: their buffers take what is sent.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import socket
import statistics
import time

import uvloop

from bits import limits
from bits._hub import FORMS, GOING_AWAY, WEBSOCKET, Hub
from bits._ws import text_frame

FRAME = text_frame(b"x" * 220)
TICK = 0.001


async def measure(clients: int, threads: int, broadcasts: int) -> tuple[list[float], list[float]]:
    """Return, per broadcast, the longest pause in seconds, and how long the broadcast took."""
    hub = Hub(lambda form: FRAME, os.close, threads=max(threads, 0), ping=0)
    hub.start()
    listener = socket.create_server(("127.0.0.1", 0), backlog=1024)
    ends = []
    for _ in range(clients):
        theirs = socket.create_connection(listener.getsockname())
        ours, _ = listener.accept()
        ours.setblocking(False)
        ours.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        hub.add(ours.detach(), WEBSOCKET, b"")
        ends.append(theirs)
    hub.wake()
    while hub.counters()["joined"] < clients:
        await asyncio.sleep(0.01)
    pauses, durations = [], []
    for number in range(1, broadcasts + 1):
        await asyncio.sleep(0.1)
        worst = 0.0
        begun = last = time.perf_counter()
        hub.publish((FRAME,) * FORMS)
        while hub.counters()["sent"] < number * clients:
            worst = max(worst, time.perf_counter() - last)  # the publishing itself, the first time
            last = time.perf_counter()
            await asyncio.sleep(TICK)
            worst = max(worst, time.perf_counter() - last - TICK)
            last = time.perf_counter()
        durations.append(time.perf_counter() - begun)
        pauses.append(worst)
    hub.close(GOING_AWAY)
    for end in ends:
        end.close()
    listener.close()
    return pauses, durations


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--clients", type=int, default=9_500)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--broadcasts", type=int, default=30)
    given = parser.parse_args()
    limits.descriptors()
    pauses, durations = uvloop.run(measure(given.clients, given.threads, given.broadcasts))
    taken, held, worst = (
        1e3 * value for value in (statistics.median(durations), statistics.median(pauses), max(pauses))
    )
    print(
        f"{given.clients} clients, {given.threads} threads: a broadcast takes {taken:.1f} ms, "
        f"the loop is held up for {held:.2f} ms (median), {worst:.2f} ms at most"
    )


if __name__ == "__main__":
    main()
