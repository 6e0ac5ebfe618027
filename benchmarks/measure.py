"""The numbers of the main way: `python benchmarks/measure.py [--rows 5000000]`. Prints, gates nothing.

Real server, real sockets, a temporary SQLite on this machine's disk. Times on a shared machine are noisy: read the
ratios, and run it twice.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import random
import socket
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from websockets.sync.client import connect

from bits._proto import Decoder
from bits.bus import Bus
from bits.counters import Counters
from bits.events import BRIDGE, Report, Sound
from bits.migrate import upgrade
from bits.presence import Presence
from bits.store import Store, make_engine

sys.path.insert(0, str(Path(__file__).parent.parent))
from tests import reference


def percentile(values: list[float], share: float) -> float:
    return sorted(values)[min(len(values) - 1, int(share * len(values)))]


def milliseconds(values: list[float]) -> str:
    return f"p50 {percentile(values, 0.5) * 1000:.2f} ms, p99 {percentile(values, 0.99) * 1000:.2f} ms"


def start(folder: Path) -> tuple[subprocess.Popen[str], str, tuple[str, int], float]:
    environment = os.environ | {"BITS_WEB_PORT": "0", "BITS_CONTROL_PORT": "0"}
    began = time.perf_counter()
    process = subprocess.Popen(
        [sys.executable, "-m", "bits", "serve"],
        cwd=folder,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    assert process.stdout
    words = process.stdout.readline().split()
    took = time.perf_counter() - began
    host, _, port = words[words.index("bridges") + 1].rpartition(":")
    return process, words[words.index("page") + 1].rstrip("/"), (host, int(port)), took


def resident(pid: int) -> int:
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS"):
            return int(line.split()[1])
    return 0


def the_line_to_the_last_browser(url: str, control: tuple[str, int], clients: int = 100, rounds: int = 200) -> None:
    """Time from the line's arrival at the server's socket to the last of the clients; and the commit alone."""
    import select

    with ExitStack() as stack:
        streams = []
        for _ in range(clients):
            stream = stack.enter_context(
                socket.create_connection((url.split("/")[2].split(":")[0], int(url.split(":")[-1])))
            )
            stream.sendall(
                b"GET /ws HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
            )
            while b'"stale"' not in stream.recv(65536):
                pass
            streams.append(stream)
        watch = select.epoll()
        by_fd = {stream.fileno(): stream for stream in streams}
        for fd in by_fd:
            watch.register(fd, select.EPOLLIN)
        bridge = stack.enter_context(socket.create_connection(control))
        bridge.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        last: list[float] = []
        committed: list[float] = []
        for n in range(rounds):
            waiting = set(by_fd)
            began = time.perf_counter()
            bridge.sendall(f"temperature 0 {n / 10}\n".encode())
            while waiting:
                for fd, _ in watch.poll(5):
                    if b'"tempint"' in by_fd[fd].recv(65536):
                        waiting.discard(fd)
            last.append(time.perf_counter() - began)
            time.sleep(0.005)
        print(f"line to the last of {clients} browsers: {milliseconds(last)}")
        watch.close()

    async def commits() -> None:
        with tempfile.TemporaryDirectory(dir=".") as folder:
            engine = make_engine(f"sqlite:///{folder}/bits.db")
            await upgrade(engine)
            store = Store(engine)
            for n in range(rounds):
                began = time.perf_counter()
                await store.append([Report(Sound(n % 9), BRIDGE, datetime.now(UTC))])
                committed.append(time.perf_counter() - began)
                await asyncio.sleep(0.005)
            await engine.dispose()

    asyncio.run(commits())
    share = statistics.median(committed) / statistics.median(last)
    print(f"  of which the commit (append alone): {milliseconds(committed)}, {share:.0%} of the median")


def parser() -> None:
    chance = random.Random(1)
    lines = [
        chance.choice(["status 1", "status 0", f"temperature {n % 4} {chance.uniform(-10, 40):.2f}", f"enter {n}"])
        for n in range(100_000)
    ]
    data = ("\n".join(lines) + "\n").encode()
    parsers: dict[str, Callable[[], list[Any]]] = {
        "compiled, validated": lambda: Decoder().feed(data),
        "reference parser": lambda: reference.read(data),
        "python split to tuples, nothing checked": lambda: [tuple(line.split(b" ")) for line in data.split(b"\n")],
    }
    for name, run in parsers.items():
        times = []
        for _ in range(5):
            began = time.perf_counter()
            result = run()
            times.append(time.perf_counter() - began)
            assert len(result) >= len(lines)
        print(f"miniprotocol, {name}: {len(lines) / min(times) / 1e6:.2f} M lines/s")


def ingest(control: tuple[str, int]) -> None:
    lines = 50_000
    data = b"".join(b"temperature %d %d.25\n" % (n % 4, n % 50) for n in range(lines)) + b"ping end\n"
    with socket.create_connection(control) as bridge:
        began = time.perf_counter()
        sender = threading.Thread(target=bridge.sendall, args=(data,))
        sender.start()
        received = b""
        while b"pong end" not in received:
            received = received[-20:] + bridge.recv(65536)
        took = time.perf_counter() - began
        sender.join()
    print(f"ingest with commits, one bridge: {lines / took:,.0f} lines/s")


def rebuild(rows: int) -> None:
    """Start-up of the state on logs of very different length: index look-ups only."""
    for size in (5_000, rows):
        with tempfile.TemporaryDirectory(dir=".") as folder:
            uri = f"sqlite:///{folder}/bits.db"

            async def prepare(uri: str = uri) -> None:
                engine = make_engine(uri)
                await upgrade(engine)
                await engine.dispose()

            asyncio.run(prepare())
            with sqlite3.connect(f"{folder}/bits.db") as database:
                kinds = (
                    "temperature",
                    "temperature",
                    "temperature",
                    "enter",
                    "leave",
                    "status",
                    "heartbeat",
                    "message",
                )
                database.execute("PRAGMA synchronous = OFF")
                database.executemany(
                    "INSERT INTO event VALUES (?, ?, ?, ?, NULL, ?, ?, ?)",
                    (
                        (
                            n,
                            "2026-01-01 00:00:00.000000",
                            kind := kinds[n % 8],
                            BRIDGE if n % 3 else "web",
                            n % 5 if kind == "temperature" else n // 8 % 40 if kind in ("enter", "leave") else 0,
                            20.5 if kind == "temperature" else None,
                            ("open", "closed")[n // 8 % 2]
                            if kind == "status"
                            else "ciao"
                            if kind == "message"
                            else None,
                        )
                        for n in range(1, size + 1)
                    ),
                )
            database.close()

            async def time_it(uri: str = uri) -> list[float]:
                engine = make_engine(uri)
                presence = Presence(Store(engine), Bus(), Counters())
                times = []
                for _ in range(10):
                    began = time.perf_counter()
                    await presence.start()
                    times.append(time.perf_counter() - began)
                    await presence.stop()
                await engine.dispose()
                return times

            times = asyncio.run(time_it())
            print(f"state rebuilt from {size:,} rows: first {times[0] * 1000:.1f} ms, then {min(times) * 1000:.1f} ms")


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--rows", type=int, default=5_000_000)
    rows = arguments.parse_args().rows
    parser()
    with tempfile.TemporaryDirectory(dir=".") as folder:
        process, url, control, took = start(Path(folder))
        try:
            print(f"start-up, new database: {took:.2f} s")
            print(f"resident memory, idle: {resident(process.pid) / 1024:.0f} MB")
            the_line_to_the_last_browser(url, control)
            ingest(control)
            with connect(url.replace("http", "ws") + "/ws") as stream:
                assert json.loads(stream.recv())["seq"] > 50_000
        finally:
            process.terminate()
            process.wait(20)
        process, _, _, took = start(Path(folder))
        print(f"start-up, existing database: {took:.2f} s")
        process.terminate()
        process.wait(20)
    rebuild(rows)


if __name__ == "__main__":
    main()
