"""Measure BITS, its peers and the floor side by side: `make bench-peers`.

Each server runs on one core and the load tester on the other, in turn, for some rounds; the table has the medians.
Compare rows of one table only: the machine's mood moves all of them together.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import platform
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

HERE = Path(__file__).parent
ROOT = HERE.parent.parent
BUILD = ROOT / "build" / "peers"
VENV = ROOT / ".venv-peers"
RESULTS = ROOT / "benchmarks" / "RESULTS.md"
PACKAGES = ("picows", "aiohttp", "tornado", "websockets", "sanic", "socketify", "uvloop")

SERVER_CORE, TESTER_CORE = {0}, {1}


class Peer(NamedTuple):
    """A server to measure.

    Args:
        command: with {port} and {control} and {folder}.
        free: it may use both cores, and the tester too.
    """

    name: str
    command: list[str]
    free: bool = False


def bits(threads: int) -> list[str]:
    return [
        f"{sys.executable}", "-m", "bits", "serve", "--web-port", "{port}", "--control-port", "{control}",
        "--db-uri", "sqlite:///{folder}/bits.db", "--push-clients", "20000", "--push-threads", str(threads),
    ]  # fmt: skip


def python(name: str) -> list[str]:
    return [str(VENV / "bin" / "python"), str(HERE / f"peer_{name}.py"), "{port}", "{control}"]


FLOOR = "floor: C, send()"
PEERS = [
    Peer(FLOOR, [str(BUILD / "floor"), "{port}", "{control}"]),
    Peer("floor: C, io_uring", [str(BUILD / "floor"), "{port}", "{control}", "uring"]),
    Peer("BITS, one thread", bits(1)),
    Peer("BITS, two threads, two cores", bits(2), free=True),
    Peer("uWebSockets (socketify)", python("socketify")),
    Peer("picows", python("picows")),
    Peer("nginx + nchan", [sys.executable, str(HERE / "peer_nchan.py"), "{port}", "{control}"]),
    Peer("aiohttp", python("aiohttp")),
    Peer("websockets broadcast()", python("websockets")),
    Peer("Sanic's own", python("sanic")),
    Peer("Tornado", python("tornado")),
]
GETS = {
    FLOOR: ("/status", "/data"),
    "BITS, one thread": ("/status", "/data"),
    "nginx + nchan": ("/status", "/data"),
    "Sanic's own": ("/status", "/data"),
}


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as one:
        return int(one.getsockname()[1])


def children(pid: int) -> list[int]:
    """Return a process and its descendants."""
    out = subprocess.run(["ps", "-eo", "pid=,ppid="], capture_output=True, text=True, check=True).stdout
    pairs = [tuple(map(int, line.split())) for line in out.splitlines()]
    family = [pid]
    for one in family:
        family += [child for child, parent in pairs if parent == one]
    return family


@contextlib.contextmanager
def running(peer: Peer) -> Iterator[tuple[int, int, list[int]]]:
    """Start a server; give its ports and its processes once it is ready."""
    port, control = free_port(), free_port()
    # In memory, where there is any: a disk's flush is not what is compared here.
    with tempfile.TemporaryDirectory(dir="/dev/shm" if Path("/dev/shm").is_dir() else None) as folder:
        command = [part.format(port=port, control=control, folder=folder) for part in peer.command]
        process = subprocess.Popen(
            command,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            start_new_session=True,
            preexec_fn=None if peer.free else lambda: os.sched_setaffinity(0, SERVER_CORE),
        )
        try:
            assert process.stdout
            line = process.stdout.readline()
            if "ready" not in line:
                raise RuntimeError(f"{peer.name}: did not start")
            time.sleep(0.5)
            yield port, control, children(process.pid)
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGTERM)
            try:
                process.wait(5)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()


def push(peer: Peer, clients: int, broadcasts: int) -> dict[str, Any]:
    with running(peer) as (port, control, pids):
        command = [
            sys.executable, "-m", "bits", "load", "--clients", str(clients), "--url", f"http://127.0.0.1:{port}",
            "--control", f"127.0.0.1:{control}", "--broadcasts", str(broadcasts), "--interval", "0.3",
            "--in-flight", "200", "--limit", "120", "--json",
        ]  # fmt: skip
        for pid in pids:
            command += ["--server-pid", str(pid)]
        done = subprocess.run(
            command,
            capture_output=True,
            text=True,
            check=False,
            preexec_fn=None if peer.free else lambda: os.sched_setaffinity(0, TESTER_CORE),
        )
    if not done.stdout:
        raise RuntimeError(f"{peer.name}: {done.stderr.strip().splitlines()[-1]}")
    found: dict[str, Any] = json.loads(done.stdout)
    if not found["latency_ms"]:
        raise RuntimeError(f"{peer.name}: nothing was received")
    return found


def gets(peer: Peer, path: str, requests: int) -> tuple[float, float]:
    """Return the server's microseconds for one request, and requests a second."""
    with running(peer) as (port, _, pids):
        etag = []
        if path == "/data":
            with socket.create_connection(("127.0.0.1", port)) as one:
                one.sendall(b"GET /data HTTP/1.1\r\nHost: x\r\n\r\n")
                head = one.recv(65536).decode(errors="replace")
            etag = [line.split(": ", 1)[1] for line in head.split("\r\n") if line.lower().startswith("etag:")][:1]
        before = sum(processor(pid) for pid in pids)
        out = subprocess.run(
            [str(BUILD / "gets"), str(port), "64", str(requests), path, *etag],
            capture_output=True,
            text=True,
            check=True,
            preexec_fn=lambda: os.sched_setaffinity(0, TESTER_CORE),
        ).stdout
        return (sum(processor(pid) for pid in pids) - before) / requests * 1e6, float(out)


def processor(pid: int) -> float:
    total: float = 0.0
    with contextlib.suppress(OSError):
        for task in Path(f"/proc/{pid}/task").iterdir():
            total += int((task / "schedstat").read_text().split()[0]) / 1e9
    return total


def prepare() -> list[str]:
    """Build and install what is needed. Returns what could not be."""
    missing = []
    BUILD.mkdir(parents=True, exist_ok=True)
    for name in ("floor", "gets"):
        subprocess.run(["cc", "-O2", "-o", str(BUILD / name), str(HERE / f"{name}.c")], check=True)
    if not VENV.exists():
        subprocess.run([sys.executable, "-m", "venv", str(VENV)], check=True)
        subprocess.run([str(VENV / "bin" / "pip"), "install", "--quiet", *PACKAGES], check=True)
    if not list(Path("/usr/lib/nginx/modules").glob("*nchan*")) and os.geteuid() == 0 and shutil.which("apt-get"):
        subprocess.run(["apt-get", "install", "-y", "-q", "nginx", "libnginx-mod-nchan"], check=False)
    if not list(Path("/usr/lib/nginx/modules").glob("*nchan*")):
        missing.append("nginx + nchan: not installed (apt install nginx libnginx-mod-nchan)")
    return missing


def versions() -> str:
    names = ", ".join(f"{name} {peer_version(name)}" for name in PACKAGES)
    nginx = (
        subprocess.run(["nginx", "-v"], capture_output=True, text=True, check=False).stderr.strip()
        if shutil.which("nginx")
        else ""
    )
    return f"BITS {version('bits-server')}; {names}; {nginx.removeprefix('nginx version: ')}"


def peer_version(name: str) -> str:
    code = f"from importlib.metadata import version; print(version({name!r}))"
    return subprocess.run(
        [str(VENV / "bin" / "python"), "-c", code], capture_output=True, text=True, check=False
    ).stdout.strip()


def machine() -> str:
    model = next(
        (line.split(":")[1].strip() for line in Path("/proc/cpuinfo").read_text().splitlines() if "model name" in line),
        platform.machine(),
    )
    return f"{model}, {os.cpu_count()} cores, Linux {platform.release()}, Python {platform.python_version()}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--clients", type=int, default=10_000)
    parser.add_argument("--broadcasts", type=int, default=15)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--requests", type=int, default=200_000)
    parser.add_argument("--only", help="servers whose names contain this, and the floor")
    parser.add_argument("--output", type=Path, default=RESULTS)
    given = parser.parse_args()
    troubles = prepare()
    peers = [peer for peer in PEERS if not given.only or peer.name == FLOOR or given.only in peer.name]
    found: dict[str, list[dict[str, Any]]] = {peer.name: [] for peer in peers}
    costs: dict[tuple[str, str], list[tuple[float, float]]] = {}
    for turn in range(given.rounds):
        for peer in peers:
            try:
                found[peer.name].append(push(peer, given.clients, given.broadcasts))
                result = found[peer.name][-1]
                print(f"{turn + 1}. {peer.name}: last {result['latency_ms']['last']:.1f} ms", flush=True)
            except (RuntimeError, subprocess.CalledProcessError) as error:
                troubles.append(str(error))
                print(error, flush=True)
        for peer in peers:
            for path in GETS.get(peer.name, ()):
                try:
                    costs.setdefault((peer.name, path), []).append(gets(peer, path, given.requests))
                except (RuntimeError, subprocess.CalledProcessError) as error:
                    troubles.append(f"{peer.name} {path}: {error}")
    text = table(found, costs, given.clients, troubles)
    print(text)
    given.output.write_text(text)


def table(
    found: dict[str, list[dict[str, Any]]],
    costs: dict[tuple[str, str], list[tuple[float, float]]],
    clients: int,
    troubles: list[str],
) -> str:
    def middle(name: str, *keys: str) -> float:
        values = []
        for result in found[name]:
            value: Any = result
            for key in keys:
                value = value[key]
            values.append(value)
        return float(statistics.median(values))

    lines = [
        "# Side by side",
        "",
        f"Made by `make bench-peers` on {datetime.now(UTC):%Y-%m-%d}: {machine()}.",
        f"{versions()}.",
        "",
        f"A 120-byte text to {clients:,} WebSocket clients; the server on one core and the tester on the other, but",
        "for the row that says otherwise; medians. Latency is from the trigger's line to the client's receipt; BITS",
        "stores the event (SQLite, in memory-backed files) before it tells anybody, the others do not store. Spread is",
        "from the first client to the last.",
        "",
        "| push server | last client, ms | ÷ floor | spread, ms | server CPU a message, µs | ÷ floor | "
        "memory per idle client, bytes | new clients/s |",
        "| --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    floor_last = middle(FLOOR, "latency_ms", "last")
    floor_cpu = middle(FLOOR, "server", "cpu_us_per_message")
    for name, results in found.items():
        if not results:
            continue
        last, cpu = middle(name, "latency_ms", "last"), middle(name, "server", "cpu_us_per_message")
        lines.append(
            f"| {name} | {last:.1f} | {last / floor_last:.2f} | {last - middle(name, 'latency_ms', 'first'):.1f} | "
            f"{cpu:.2f} | {cpu / floor_cpu:.2f} | "
            f"{middle(name, 'server', 'rss_bytes_per_client'):,.0f} | {middle(name, 'connects_per_second'):,.0f} |"
        )
        lost = sum(result["lost"] + result["doubled"] + result["disordered"] for result in results)
        if lost:
            troubles.append(f"{name}: {lost} messages lost, doubled or out of order")
    lines += [
        "",
        "Small answers over 64 connections that stay open:",
        "",
        "| server | GET /status, µs of CPU | a second | GET /data answered 304, µs of CPU | a second |",
        "| --- | --- | --- | --- | --- |",
    ]
    for name in found:
        if (name, "/status") in costs:
            cells = []
            for path in ("/status", "/data"):
                measured = costs.get((name, path), [])
                if measured:
                    cells.append(f"{statistics.median(cost for cost, _ in measured):.2f}")
                    cells.append(f"{statistics.median(rate for _, rate in measured):,.0f}")
            lines.append(f"| {name} | {' | '.join(cells)} |")
    if troubles:
        lines += ["", "What did not go well:", "", *(f"- {trouble}" for trouble in dict.fromkeys(troubles))]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
