"""Run a load test: start the processes, trigger or watch, collect."""

from __future__ import annotations

import base64
import contextlib
import multiprocessing
import os
import socket
import time
from array import array
from collections import defaultdict
from collections.abc import Callable, Iterator
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from pathlib import Path

from bits.errors import BitsError
from bits.load.options import Options
from bits.load.report import Result, summarise
from bits.load.worker import COUNTS, Outcome, Progress, share, work

# Idle clients are let settle for so long before memory is measured.
SETTLE = 1.0

Show = Callable[[str, dict[str, int], int], None]


class Team:
    """The processes of a test."""

    def __init__(self, options: Options) -> None:
        self.epoch = time.monotonic()
        self.limit = self.epoch + options.limit
        context = multiprocessing.get_context("spawn")
        count = options.process_count()
        counts = options.counts()
        self.pipes: list[Connection] = []
        self.processes: list[BaseProcess] = []
        self.progress: list[Progress | None] = [None] * count
        for index in range(count):
            mine, theirs = context.Pipe()
            part, numbers = share(options, counts, index, count)
            process = context.Process(target=work, args=(theirs, part, numbers, self.epoch), daemon=True)
            process.start()
            theirs.close()
            self.pipes.append(mine)
            self.processes.append(process)

    def listen(self) -> dict[str, int]:
        """Take in what the processes have reported. Returns the totals."""
        for index, pipe in enumerate(self.pipes):
            try:
                while pipe.poll():
                    self.progress[index] = pipe.recv()
            except (EOFError, OSError):
                raise BitsError("a process of the load test has died") from None
        return {name: sum(one.counts[name] for one in self.progress if one) for name in COUNTS}

    def wait(
        self, seconds: float, done: Callable[[dict[str, int]], bool], tell: Callable[[dict[str, int]], None]
    ) -> bool:
        """Wait until something is so. Returns whether it came to be."""
        end = min(time.monotonic() + seconds, self.limit)
        while True:
            totals = self.listen()
            tell(totals)
            if done(totals):
                return True
            if time.monotonic() >= end:
                return False
            time.sleep(0.02)

    def finish(self) -> list[Outcome]:
        outcomes: list[Outcome] = []
        for pipe in self.pipes:
            pipe.send("stop")
        for pipe in self.pipes:
            message = pipe.recv()
            while not isinstance(message, Outcome):
                message = pipe.recv()
            outcomes.append(message)
        for process in self.processes:
            process.join(10)
        return outcomes

    def end(self) -> None:
        for process in self.processes:
            if process.is_alive():
                process.kill()
            process.join()
        for pipe in self.pipes:
            pipe.close()


def run(options: Options, show: Show = lambda phase, totals, clients: None) -> Result:
    """Run a test to its end.

    Args:
        show: told of the phase, the totals and the number of clients whenever there may be news.
    Raises:
        BitsError: it cannot be done as asked, or nobody could connect.
    """
    options.address()
    options.addresses()
    team = Team(options)
    try:
        return _run(options, team, show)
    finally:
        team.end()


def _run(options: Options, team: Team, show: Show) -> Result:
    clients = options.clients
    memory_before, processor_before = _memory(options.server_pids), _processor(options.server_pids)

    def tell(phase: str) -> Callable[[dict[str, int]], None]:
        return lambda totals: show(phase, totals, clients)

    everybody = team.wait(
        options.limit, lambda now: all(one and one.complete for one in team.progress), tell("connecting")
    )
    totals = team.listen()
    reports = [one for one in team.progress if one]
    if totals["ever_ready"] == 0:
        why = next((one.trouble for one in reports if one.trouble), "nobody answered")
        raise BitsError(f"{options.url}: no client could connect: {why}")
    begun = min((one.begun for one in reports if one.begun), default=team.epoch)
    complete = max((one.complete for one in reports), default=0.0) if everybody else time.monotonic()
    processor_connected = _processor(options.server_pids)
    team.wait(max(SETTLE, options.hold), lambda now: False, tell("holding"))
    memory_after, processor_idle = _memory(options.server_pids), _processor(options.server_pids)
    there = team.listen()["ready"]
    received_before = team.listen()["received"]

    sent_at: dict[int, float] = {}
    if options.control:
        with _control(options.control) as control:
            for number in range(options.broadcasts):
                line = b"message " + base64.b64encode(options.text(number).encode()) + b"\n"
                sent_at[number] = time.monotonic()
                control.sendall(line)
                if time.monotonic() > team.limit:
                    break
                team.wait(options.interval, lambda now: False, tell(f"broadcast {number + 1} of {options.broadcasts}"))
            # A poller is given what is newest when it asks: it owes no message.
            owing = there - options.counts()[3]
            expected = received_before + owing * len(sent_at)
            team.wait(options.timeout, lambda now: now["received"] >= expected, tell("waiting for the last"))
    else:
        team.wait(options.watch, lambda now: False, tell("watching"))
    processor_after = _processor(options.server_pids)
    outcomes = team.finish()

    totals = {name: sum(one.progress.counts[name] for one in outcomes) for name in COUNTS}
    arrivals: dict[str, dict[int, list[float]]] = defaultdict(lambda: defaultdict(list))
    for outcome in outcomes:
        for transport, data in outcome.arrivals.items():
            pairs = array("I", data)
            for number, at in zip(pairs[::2], pairs[1::2], strict=True):
                arrivals[transport][number].append(team.epoch + at / 1e6)
    if not options.control:
        # Nobody knows when they were sent: the first to get one stands in for that.
        for numbers in arrivals.values():
            for number, times in numbers.items():
                sent_at[number] = min([sent_at.get(number, times[0]), *times])
    received = max(1, totals["received"] - received_before)
    server: dict[str, float] = {}
    if options.server_pids:
        server = {
            "cpu_us_per_message": (processor_after - processor_idle) / received * 1e6,
            "cpu_us_per_connect": (processor_connected - processor_before) / max(1, totals["ever_ready"]) * 1e6,
            "rss_bytes_per_client": (memory_after - memory_before) / max(1, there),
        }
    return summarise(
        options,
        totals=totals,
        there=there,
        seconds=max(complete - begun, 1e-6),
        sent_at=sent_at,
        arrivals={name: dict(numbers) for name, numbers in arrivals.items()},
        tester_cpu=sum(one.processor for one in outcomes) / received * 1e6,
        server=server,
        trouble=next((one.progress.trouble for one in outcomes if one.progress.trouble), ""),
    )


@contextlib.contextmanager
def _control(address: tuple[str, int]) -> Iterator[socket.socket]:
    try:
        control = socket.create_connection(address, timeout=10)
    except OSError as error:
        raise BitsError(f"cannot trigger broadcasts at {address[0]}:{address[1]}: {error.strerror or error}") from None
    with control:
        control.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        yield control


# --- what the server uses


def _family(pids: tuple[int, ...]) -> set[int]:
    """Return the processes and their children, and theirs."""
    parents: dict[int, list[int]] = defaultdict(list)
    for entry in os.scandir("/proc"):
        if entry.name.isdecimal():
            with contextlib.suppress(OSError):
                fields = Path(entry.path, "stat").read_text().rpartition(")")[2].split()
                parents[int(fields[1])].append(int(entry.name))
    family: set[int] = set()
    waiting = list(pids)
    while waiting:
        pid = waiting.pop()
        if pid not in family:
            family.add(pid)
            waiting += parents[pid]
    return family


def _processor(pids: tuple[int, ...]) -> float:
    """Return the processor time of the processes so far, in seconds; by thread, where that is to the nanosecond."""
    total = 0.0
    for pid in _family(pids) if pids else ():
        with contextlib.suppress(OSError):
            for task in os.scandir(f"/proc/{pid}/task"):
                total += int(Path(task.path, "schedstat").read_text().split()[0]) / 1e9
    return total


def _memory(pids: tuple[int, ...]) -> float:
    """Return the resident memory of the processes, in bytes, without what comes from files (and is often shared)."""
    total = 0.0
    for pid in _family(pids) if pids else ():
        with contextlib.suppress(OSError):
            for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
                if line.startswith("Anonymous:"):
                    total += int(line.split()[1]) * 1024
    return total
