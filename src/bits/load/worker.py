"""One process of a load test: its share of the clients, run between two looks at the pipe."""

from __future__ import annotations

import resource
import time
from dataclasses import dataclass, replace
from multiprocessing.connection import Connection

from bits import limits
from bits._load import TRANSPORTS, Swarm
from bits.load.options import Options

# Seconds between two looks at the pipe; the clients are served all the while.
SLICE = 0.05

COUNTS = (
    "ready",
    "ever_ready",
    "failed",
    "dropped",
    "received",
    "bytes_received",
    "doubled",
    "disordered",
    "pings",
    "broken",
)


@dataclass(frozen=True, slots=True)
class Progress:
    """How far one process is."""

    counts: dict[str, int]
    there: tuple[int, ...]  # clients that are there now, of each transport
    begun: float
    complete: float  # 0: some clients are neither there nor refused yet
    trouble: str


@dataclass(frozen=True, slots=True)
class Outcome:
    """What one process has to tell at the end."""

    progress: Progress
    arrivals: dict[str, bytes]  # by transport: (number, microseconds since the epoch), native uint32
    processor: float  # seconds used while messages came


def work(pipe: Connection, options: Options, counts: tuple[int, ...], epoch: float) -> None:
    """Be a process of the test: report progress until told to stop, then the outcome."""
    limits.descriptors()
    host, port = options.address()
    first, waiting, polling = options.requests()
    swarm = Swarm(
        host,
        port,
        options.addresses(),
        counts,
        first,
        waiting,
        polling,
        options.marker.encode(),
        ramp=options.ramp,
        in_flight=options.in_flight,
        poll=options.poll,
        epoch=epoch,
    )

    def progress() -> Progress:
        there = tuple(swarm.ready_of(kind) for kind in range(len(TRANSPORTS)))
        counts = {name: getattr(swarm, name) for name in COUNTS}
        return Progress(counts, there, swarm.begun, swarm.complete, swarm.trouble)

    last: Progress | None = None
    used = 0.0
    try:
        while not pipe.poll():
            received, before = swarm.received, _processor()
            swarm.run(time.monotonic() + SLICE)
            if swarm.received > received and swarm.complete:
                used += _processor() - before
            now = progress()
            if now != last:
                pipe.send(now)
                last = now
        arrivals = {name: swarm.arrivals(kind) for kind, name in enumerate(TRANSPORTS)}
        pipe.send(Outcome(progress(), arrivals, used))
    except (BrokenPipeError, EOFError, KeyboardInterrupt):
        pass  # whoever wanted to know is gone


def _processor() -> float:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


def share(options: Options, counts: tuple[int, ...], index: int, processes: int) -> tuple[Options, tuple[int, ...]]:
    """Return one process's part of the test."""
    part = tuple(count // processes + (index < count % processes) for count in counts)
    addresses = options.addresses()
    # Each process begins at another address, so that they do not all crowd the first one's ports.
    turned = addresses[index % len(addresses) :] + addresses[: index % len(addresses)] if addresses else ()
    return (
        replace(
            options,
            sources=turned,
            clients=sum(part),
            ramp=options.ramp / processes,
            in_flight=max(1, options.in_flight // processes),
        ),
        part,
    )
