"""Gates on cost, free of noise: instructions, system calls, bytes, memory. And that they trip.

Instruction counts hold for one compiler and one Python; benchmarks/gates.json has those that are known. To record the
ones of another machine, or after a change that is worth its price: `make gates`.
"""

from __future__ import annotations

import json
import os
import platform
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from benchmarks.data import chunks, lines
from benchmarks.gate import CASES
from bits._proto import Decoder
from tests.conftest import ROOT, Server
from tests.test_front import connect
from tests.test_http import UPGRADE, head

RECORD = ROOT / "benchmarks" / "gates.json"
TOLERANCE = 1.05

# Calls of each case: enough that what is left of chance in a run is far below the tolerance.
COUNTS = {"line": 60, "client": 60, "request": 60}


def environment() -> str:
    compiler = subprocess.run(["cc", "-dumpfullversion"], capture_output=True, text=True, check=False).stdout.strip()
    return f"{platform.machine()} python {platform.python_version()} cc {compiler}"


def instructions(case: str, slow: int = 0) -> float:
    """Return the instructions that one unit of a case takes, kernel not counted."""

    def run(count: int) -> int:
        done = subprocess.run(
            [
                "valgrind", "--tool=callgrind", "--callgrind-out-file=/dev/null",
                sys.executable, "-m", "benchmarks.gate", case, str(count), "--slow", str(slow),
            ],
            cwd=ROOT,
            env=os.environ | {"PYTHONHASHSEED": "0", "PYTHONDONTWRITEBYTECODE": "1"},
            capture_output=True,
            text=True,
            check=True,
        )  # fmt: skip
        found = re.search(r"Collected : (\d+)", done.stderr)
        assert found, done.stderr
        return int(found.group(1))

    count = COUNTS[case]
    return (run(3 * count) - run(count)) / (2 * count * CASES[case][1])


@pytest.fixture(scope="module")
def recorded() -> dict[str, float]:
    if not shutil.which("valgrind"):
        pytest.skip("valgrind is not installed")
    known = json.loads(RECORD.read_text()) if RECORD.exists() else {}
    if environment() not in known:
        pytest.skip(f"no counts are recorded for {environment()}: make gates")
    counts: dict[str, float] = known[environment()]
    return counts


@pytest.mark.parametrize("case", CASES)
def test_instructions(recorded: dict[str, float], case: str) -> None:
    """Within 5 % of what was recorded; and the same work made 20 % slower is not."""
    limit = recorded[case] * TOLERANCE
    assert instructions(case) < limit
    assert instructions(case, slow=20) > limit, "a slow-down of 20 % goes through this gate"


COUNTER = r"""
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdio.h>
#include <sys/epoll.h>
#include <sys/socket.h>
static long sends, receives, controls;
ssize_t send(int fd, const void *data, size_t size, int flags) {
    static ssize_t (*real)(int, const void *, size_t, int);
    if (!real) real = dlsym(RTLD_NEXT, "send");
    sends++;
    return real(fd, data, size, flags);
}
int epoll_ctl(int epfd, int operation, int fd, struct epoll_event *event) {
    static int (*real)(int, int, int, struct epoll_event *);
    if (!real) real = dlsym(RTLD_NEXT, "epoll_ctl");
    controls++;
    return real(epfd, operation, fd, event);
}
__attribute__((destructor)) static void tell(void) { fprintf(stderr, "calls %ld %ld\n", sends, controls); }
"""


def test_one_send_a_client_an_event_and_nothing_else(tmp_path: Path) -> None:
    """Counted by a shim between the extension and the C library."""
    if not shutil.which("cc"):
        pytest.skip("no C compiler on this machine")
    (tmp_path / "count.c").write_text(COUNTER)
    shim = tmp_path / "count.so"
    subprocess.run(["cc", "-shared", "-fPIC", "-o", shim, tmp_path / "count.c", "-ldl"], check=True)

    def calls(broadcasts: int) -> tuple[int, int]:
        done = subprocess.run(
            [sys.executable, "-m", "benchmarks.gate", "client", str(broadcasts)],
            cwd=ROOT,
            env=os.environ | {"LD_PRELOAD": str(shim)},
            capture_output=True,
            text=True,
            check=True,
        )
        found = re.search(r"calls (\d+) (\d+)", done.stderr)
        assert found, done.stderr
        return int(found.group(1)), int(found.group(2))

    (sends, controls), (more_sends, more_controls) = calls(10), calls(30)
    assert more_sends - sends == 20 * CASES["client"][1]
    assert more_controls == controls


def test_bytes_on_the_wire(server: Server) -> None:
    """As few as will do; a header that creeps in shows here."""
    server.say("status 1", "message Q2lhbw==", "temperature 0 21.5")

    def answer(request: bytes, ends: bytes) -> bytes:
        with connect(server, request) as client:
            received = b""
            while not received.endswith(ends):
                data = client.recv(65536)
                assert data
                received += data
            return received

    status = answer(head("GET /status HTTP/1.1"), b"\r\n\r\n1")
    assert len(status) == 122
    etag = server.get("/data")[1]["etag"]
    unchanged = answer(head("GET /data HTTP/1.1", f"If-None-Match: {etag}"), b"\r\n\r\n")
    assert len(unchanged) == 133
    with connect(server, head("GET /ws HTTP/1.1", *UPGRADE)) as client:
        stream = b""
        while b'"stale"' not in stream:
            stream += client.recv(65536)
        handshake, _, _ = stream.partition(b"\r\n\r\n")
        assert len(handshake) + 4 == 129
        client.settimeout(10)
        server.say("temperature 0 21.6", "status 0")
        frames = b""
        while b'"closed"' not in frames:
            frames += client.recv(65536)
        size = frames[1]
        assert size == 113  # a length in one byte
        text = frames[2 : 2 + size]
        assert json.loads(text)["tempint"]["value"] == 21.6
        assert b" " not in text  # compact
        assert len(text) == len(json.dumps(json.loads(text), separators=(",", ":")))


def test_memory_of_an_idle_client(tmp_path: Path) -> None:
    """At most 128 bytes in the server, measured on 4,000 of them."""
    server = Server(tmp_path, push_clients="10000", push_threads="1").start()
    try:
        found = load(server, "--clients", "4000", "--broadcasts", "3", "--interval", "0.2")
        assert found["clean"], found
        assert found["server"]["rss_bytes_per_client"] <= 128
    finally:
        server.stop()


def load(server: Server, *arguments: str) -> dict[str, Any]:
    """Run the load tester against a server."""
    control = f"{server.control[0]}:{server.control[1]}"
    done = subprocess.run(
        [
            sys.executable, "-m", "bits", "load", "--url", server.url, "--control", control,
            "--server-pid", str(server.process.pid), "--json", *arguments,
        ],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )  # fmt: skip
    assert done.stdout, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


# --- ratios, beside a baseline in the same run, with wide margins


def fastest(work: Any, rounds: int = 7) -> float:
    times = []
    for _ in range(rounds):
        begun = time.perf_counter()
        work()
        times.append(time.perf_counter() - begun)
    return min(times)


def test_decoding_is_several_times_faster_than_splitting() -> None:
    """Ten times where nothing disturbs (make bench); a third of that is an alarm."""
    pieces = chunks(lines(20_000))

    def split() -> list[Any]:
        return [[tuple(line.split()) for line in piece.split(b"\n")] for piece in pieces]

    def decode() -> list[Any]:
        decoder = Decoder()
        return [decoder.feed(piece) for piece in pieces]

    assert fastest(split) > 4 * fastest(decode)


def processor(pid: int) -> float:
    """Return a process's processor time so far, in seconds."""
    tasks = Path(f"/proc/{pid}/task").iterdir()
    return sum(int((task / "schedstat").read_text().split()[0]) for task in tasks) / 1e9


def cost_of_a_request(server: Server, path: str) -> float:
    """Return the server's processor seconds for a request, on a connection that stays open."""
    count = 1500
    request = head(f"GET {path} HTTP/1.1")
    with connect(server, request) as client:
        size = len(client.recv(65536))
        before = processor(server.process.pid)
        for _ in range(count):
            client.sendall(request)
            left = size
            while left:
                left -= len(client.recv(left))
        return (processor(server.process.pid) - before) / count


@pytest.mark.parametrize("path", ["/status", "/data"])
def test_the_door_costs_a_fraction_of_a_handler(make_server: Callable[..., Server], path: str) -> None:
    """Four times less is the aim; a dozen times is what is measured."""
    door, sanic = make_server(), make_server(log_requests="true")
    assert cost_of_a_request(sanic, path) > 4 * cost_of_a_request(door, path)
