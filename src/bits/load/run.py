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
from itertools import chain
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from pathlib import Path

from bits._load import POLL, TRANSPORTS
from bits.errors import BitsError
from bits.load.options import LONGEST, Options
from bits.load.report import Result, summarise
from bits.load.worker import COUNTS, Outcome, Progress, share, work

# Idle clients are let settle for so long before memory is measured.
SETTLE = 1.0

# What was begun while watching has come everywhere when nothing has for so long.
QUIET = 0.5

# Seconds within which the server must take a trigger.
CONTROL_TIMEOUT = 10.0

Show = Callable[[str, dict[str, int], int], None]


class Stillness:
    """Tells when a count has not changed for so many seconds."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._last = -1
        self._since = 0.0

    def __call__(self, count: int) -> bool:
        now = time.monotonic()
        if count != self._last:
            self._last, self._since = count, now
        return now - self._since >= self._seconds


class Team:
    """The processes of a test."""

    def __init__(self, options: Options) -> None:
        self.epoch = time.monotonic()
        self.limit = self.epoch + min(options.limit, LONGEST)
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

    def there(self) -> list[int]:
        """Return how many clients of each transport are there, as last heard."""
        return [sum(one.there[kind] for one in self.progress if one) for kind in range(len(TRANSPORTS))]

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
        try:
            for pipe in self.pipes:
                pipe.send("stop")
            for pipe in self.pipes:
                message = pipe.recv()
                while not isinstance(message, Outcome):
                    message = pipe.recv()
                outcomes.append(message)
        except (EOFError, OSError):
            raise BitsError("a process of the load test has died") from None
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
    for pid in options.server_pids:
        if not Path(f"/proc/{pid}").exists():
            raise BitsError(f"--server-pid {pid}: there is no process of that number")
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

    def complete() -> bool:
        return all(one and one.complete for one in team.progress)

    # Who has not been answered when nobody is any more will not be.
    still = Stillness(options.timeout + (1 / options.ramp if options.ramp else 0))
    team.wait(
        options.limit,
        lambda now: complete() or still(now["ever_ready"] + now["failed"]),
        tell("connecting"),
    )
    totals = team.listen()
    reports = [one for one in team.progress if one]
    if totals["ever_ready"] == 0:
        why = next((one.trouble for one in reports if one.trouble), "nobody answered")
        raise BitsError(f"{options.url}: no client could connect: {why}")
    begun = min((one.begun for one in reports if one.begun), default=team.epoch)
    connected_at = max(one.complete for one in reports) if complete() else time.monotonic()
    processor_connected = _processor(options.server_pids)
    team.wait(max(SETTLE, options.hold), lambda now: False, tell("holding"))
    memory_after, processor_idle = _memory(options.server_pids), _processor(options.server_pids)
    received_before = team.listen()["received"]
    there = team.there()

    sent_us: dict[int, float] = {}
    watched_from = time.monotonic()
    if options.control:
        with _control(options.control) as control:
            sent_us = _trigger(options, control, team, tell)
            expected = received_before + sum(there[:POLL]) * len(sent_us)
            team.wait(options.timeout, lambda now: now["received"] >= expected, tell("waiting for the last"))
        watched_until = time.monotonic()
    else:
        team.wait(options.watch, lambda now: False, tell("watching"))
        watched_until = time.monotonic()
        quiet = Stillness(QUIET)
        team.wait(options.timeout, lambda now: quiet(now["received"]), tell("waiting for the last"))
    processor_after = _processor(options.server_pids)
    out_of_time = time.monotonic() >= team.limit
    outcomes = team.finish()

    totals = {name: sum(one.progress.counts[name] for one in outcomes) for name in COUNTS}
    arrivals = _by_number(outcomes)
    if not options.control:
        # Nobody knows when they were sent: the first to get one stands in for that.
        for number in sorted(set(chain.from_iterable(arrivals.values()))):
            first = min(min(numbers[number]) for numbers in arrivals.values() if number in numbers)
            if watched_from <= team.epoch + first / 1e6 < watched_until:
                sent_us[number] = first
    received = max(1, totals["received"] - received_before)
    server: dict[str, float] = {}
    if options.server_pids:
        server = {
            "cpu_us_per_message": (processor_after - processor_idle) / received * 1e6,
            "cpu_us_per_connect": (processor_connected - processor_before) / max(1, totals["ever_ready"]) * 1e6,
            "rss_bytes_per_client": (memory_after - memory_before) / max(1, sum(there)),
        }
    trouble = next((one.progress.trouble for one in outcomes if one.progress.trouble), "")
    return summarise(
        options,
        totals=totals,
        there=there,
        seconds=max(connected_at - begun, 1e-6),
        sent_us=sent_us,
        arrivals=arrivals,
        tester_cpu=sum(one.processor for one in outcomes) / received * 1e6,
        server=server,
        trouble=trouble or (f"the limit of {options.limit:g} s was reached" if out_of_time else ""),
    )


def _trigger(
    options: Options,
    control: socket.socket,
    team: Team,
    tell: Callable[[str], Callable[[dict[str, int]], None]],
) -> dict[int, float]:
    """Trigger the broadcasts. Returns when each was sent, in microseconds since the epoch."""
    sent_us: dict[int, float] = {}
    for number in range(options.broadcasts):
        if time.monotonic() >= team.limit:
            break
        line = b"message " + base64.b64encode(options.text(number).encode()) + b"\n"
        sent_us[number] = (time.monotonic() - team.epoch) * 1e6
        try:
            control.settimeout(CONTROL_TIMEOUT)
            control.sendall(line)
            control.settimeout(0)
            with contextlib.suppress(BlockingIOError):  # what the server has to say to a bridge is not for us
                while control.recv(65536):
                    pass
        except OSError as error:
            raise BitsError(f"the server takes no more broadcasts: {error.strerror or error}") from None
        team.wait(options.interval, lambda now: False, tell(f"broadcast {number + 1} of {options.broadcasts}"))
    return sent_us


def _by_number(outcomes: list[Outcome]) -> dict[str, dict[int, array[int]]]:
    """Return when each message came to each client: by transport and number, microseconds since the epoch."""
    arrivals: dict[str, dict[int, array[int]]] = defaultdict(lambda: defaultdict(lambda: array("I")))
    for outcome in outcomes:
        for transport, data in outcome.arrivals.items():
            pairs = array("I", data)
            for number, at in zip(pairs[::2], pairs[1::2], strict=True):
                arrivals[transport][number].append(at)
    return {name: dict(numbers) for name, numbers in arrivals.items()}


@contextlib.contextmanager
def _control(address: tuple[str, int]) -> Iterator[socket.socket]:
    try:
        control = socket.create_connection(address, timeout=CONTROL_TIMEOUT)
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
