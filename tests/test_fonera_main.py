"""The bridge as a process, between a board on a unix socket and a server on loopback."""

from __future__ import annotations

import os
import selectors
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from bits_fonera import i2c
from bits_fonera.clock import seconds
from bits_fonera.config import Config, load
from bits_fonera.errors import BridgeError
from bits_fonera.i2c import I2cPort
from bits_fonera.main import Port, Program

from tests.conftest import ROOT, Server, wait_until
from tests.fonera_board import Board
from tests.fonera_server import FakeServer

SECRET = "0123456789abcdef"  # shared with the server
KEY = "k" * 32  # for digests


class Loop:
    """A thread in which a fake board and a fake server live, on real sockets."""

    def __init__(self, folder: Path) -> None:
        self.board = Board()
        self.server = FakeServer(key=SECRET)
        self.web: Callable[[bytes], bytes] = lambda request: b""
        self.web_requests: list[bytes] = []
        self.lock = threading.Lock()
        self._selector = selectors.DefaultSelector()
        self.board_path = str(folder / "board")
        wire = socket.socket(socket.AF_UNIX)
        wire.bind(self.board_path)
        wire.listen()
        self.control = socket.create_server(("127.0.0.1", 0))
        self.pages = socket.create_server(("127.0.0.1", 0))
        self.http = f"127.0.0.1:{self.pages.getsockname()[1]}"
        self._open: dict[str, socket.socket] = {}
        for listener, kind in ((wire, "board"), (self.control, "server"), (self.pages, "web")):
            self._selector.register(listener, selectors.EVENT_READ, f"accept {kind}")
        self._listeners = (wire, self.control, self.pages)
        self._ending = False
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def press(self, *lines: str) -> None:
        with self.lock:
            for line in lines:
                self.board.press(line, self._ms())

    def cut(self) -> None:
        """End the server's connection."""
        with self.lock:
            self._end("server")

    def end(self) -> None:
        self._ending = True
        self._thread.join()
        for opened in (*self._listeners, *self._open.values()):
            opened.close()
        self._selector.close()

    @staticmethod
    def _ms() -> int:
        return time.monotonic_ns() // 1_000_000

    def _end(self, kind: str) -> None:
        if opened := self._open.pop(kind, None):
            self._selector.unregister(opened)
            opened.close()

    def _run(self) -> None:
        while not self._ending:
            for key, _ in self._selector.select(0.01):
                with self.lock:
                    self._ready(key)
            with self.lock:
                if wire := self._open.get("board"):
                    self._send("board", wire, self.board.output(self._ms()))
                if link := self._open.get("server"):
                    data, self.server.output = self.server.output, b""
                    self._send("server", link, data)

    def _send(self, kind: str, opened: socket.socket, data: bytes) -> None:
        try:
            opened.sendall(data)
        except OSError:
            self._end(kind)

    def _ready(self, key: selectors.SelectorKey) -> None:
        opened, kind = key.fileobj, str(key.data)
        assert isinstance(opened, socket.socket)
        if kind.startswith("accept "):
            kind = kind.removeprefix("accept ")
            link, _ = opened.accept()
            if kind == "web":
                self._answer(link)
                return
            self._end(kind)
            self._open[kind] = link
            self._selector.register(link, selectors.EVENT_READ, kind)
            if kind == "server":
                self.server.connect()
            return
        if self._open.get(kind) is not opened:
            return
        try:
            data = opened.recv(65536)
        except OSError:
            data = b""
        if not data:
            self._end(kind)
        elif kind == "board":
            self.board.receive(data)
        else:
            self.server.receive(data)

    def _answer(self, link: socket.socket) -> None:
        with link:
            link.settimeout(5)
            request = b""
            while b"\r\n\r\n" not in request:
                request += link.recv(65536)
            self.web_requests.append(request)
            link.sendall(self.web(request))


@pytest.fixture
def loop(tmp_path: Path) -> Iterator[Loop]:
    made = Loop(tmp_path)
    yield made
    made.end()


def toml(values: dict[str, Any]) -> str:
    def text(value: Any) -> str:
        return str(value).lower() if isinstance(value, bool | int) else f'"{value}"'

    return "".join(f"{key} = {text(value)}\n" for key, value in values.items())


class Process:
    """`bits-fonera`, as the router starts it."""

    def __init__(self, folder: Path, **values: Any) -> None:
        self.file = folder / "bits-fonera.toml"
        self.file.write_text(toml(values))
        self.file.chmod(0o600)
        self.folder = folder
        self.errors = ""
        self.start()

    def start(self) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-S", "-m", "bits_fonera", "--config", str(self.file), "--foreground"],
            env={"PYTHONPATH": str(ROOT / "fonera"), "PATH": os.environ["PATH"]},
            stderr=subprocess.PIPE,
            text=True,
        )
        self._collector = threading.Thread(target=self._collect)
        self._collector.start()

    def _collect(self) -> None:
        assert self.process.stderr
        for line in self.process.stderr:
            self.errors += line

    def end(self, number: signal.Signals = signal.SIGTERM) -> int:
        if self.process.poll() is None:
            self.process.send_signal(number)
        code = self.process.wait(15)
        self._collector.join(5)
        assert self.process.stderr
        self.process.stderr.close()
        return code

    def proc(self, name: str) -> str:
        return Path(f"/proc/{self.process.pid}/{name}").read_text()

    def resident_kb(self) -> int:
        return int(self.proc("status").partition("VmRSS:")[2].split()[0])

    def cpu_s(self) -> float:
        fields = self.proc("stat").rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def switches(self) -> int:
        return int(self.proc("status").partition("\nvoluntary_ctxt_switches:")[2].split()[0])


@pytest.fixture
def make_bridge(tmp_path: Path) -> Iterator[Callable[..., Process]]:
    made: list[Process] = []

    def make(loop: Loop, **values: Any) -> Process:
        host, port = loop.control.getsockname()
        defaults = {
            "server": f"{host}:{port}",
            "bridge": "attic",
            "key": SECRET,
            "serial": f"unix:{loop.board_path}",
            "spool": str(tmp_path / "spool" / "spool"),
            "backoff_max": 1,
        }
        made.append(Process(tmp_path, **(defaults | values)))
        return made[-1]

    yield make
    for bridge in made:
        bridge.end()
        assert "Traceback" not in bridge.errors, bridge.errors


Make = Callable[..., Process]


def test_a_press_arrives_and_news_comes_back(loop: Loop, make_bridge: Make) -> None:
    bridge = make_bridge(loop)
    loop.press("status 1", "temperature 0 21.5")
    wait_until(lambda: loop.server.events == ["status 1", "temperature 0 21.5"], "both events")
    wait_until(lambda: "status 1" in loop.board.taken and "server 1" in loop.board.taken, "the status on the board")
    assert bridge.end() == 0
    assert "Traceback" not in bridge.errors


def test_kill_it_at_any_time(loop: Loop, make_bridge: Make) -> None:
    bridge = make_bridge(loop)
    expected = []
    for round_ in range(6):
        for n in range(5):
            expected.append(f"enter {round_ * 5 + n}")
            loop.press(expected[-1])
        count = round_ * 5 + round_ % 5
        wait_until(lambda: len(loop.server.events) >= count, "some events")  # noqa: B023 - called at once
        if round_ == 3:
            loop.cut()
        bridge.end(signal.SIGKILL)
        bridge.start()
    wait_until(lambda: len(loop.server.events) >= len(expected), "all events")
    wait_until(lambda: not loop.board.waiting, "an empty outbox")
    assert loop.server.events == expected
    assert [n for n, _, _ in loop.server.stored] == list(range(1, 31))


def test_the_time_goes_to_the_board(loop: Loop, make_bridge: Make) -> None:
    loop.web = lambda request: b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n\r\n2026-03-02 12:00:05"
    make_bridge(loop, http=loop.http)
    shown = wait_until(lambda: next((line for line in loop.board.taken if line.startswith("clock ")), None), "a clock")
    assert int(shown.split()[1]) - seconds(2026, 3, 2, 12, 0, 5) in (0, 1, 2)
    assert loop.web_requests[0].startswith(b"GET /data.php HTTP/1.0\r\n")


@pytest.mark.parametrize(
    "answer", [b"", b"nonsense", b"HTTP/1.0 500 No\r\n\r\n", b"HTTP/1.0 200 OK\r\n\r\n" + b"9" * 99_999]
)
def test_a_server_that_does_not_know_the_time(loop: Loop, make_bridge: Make, answer: bytes) -> None:
    loop.web = lambda request: answer
    bridge = make_bridge(loop, http=loop.http)
    wait_until(lambda: "did not tell the time" in bridge.errors, "a word on it")
    loop.press("status 1")
    wait_until(lambda: loop.server.events == ["status 1"], "the event")


@pytest.mark.parametrize(
    ("head", "body", "utc"),
    [
        (b"Date: Mon, 02 Mar 2026 11:00:05 GMT\r\n", b"2026-03-02 12:00:05", 1_772_449_205),
        (b"", b"2026-03-02 12:00:05", 1_772_449_205),  # by the time zone of the router
    ],
)
def test_the_routers_clock_is_set(
    loop: Loop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, head: bytes, body: bytes, utc: int
) -> None:
    monkeypatch.setenv("TZ", "CET-1CEST,M3.5.0,M10.5.0/3")
    time.tzset()
    clocks: list[float] = []
    monkeypatch.setattr(time, "clock_settime", lambda which, seconds: clocks.append(seconds))
    loop.web = lambda request: b"HTTP/1.0 200 OK\r\n" + head + b"\r\n" + body
    host, port = loop.control.getsockname()
    values = {"server": f"{host}:{port}", "bridge": "attic", "key": SECRET, "serial": f"unix:{loop.board_path}"}
    values |= {"spool": str(tmp_path / "spool" / "spool"), "http": loop.http}
    program = Program(Config(values | {"set_clock": True}), lambda level, text: None)
    thread = threading.Thread(target=program.run)
    thread.start()
    try:
        wait_until(lambda: clocks, "the clock")
        assert clocks == [utc]
    finally:
        program.stop()
        thread.join(15)
        monkeypatch.undo()
        time.tzset()


def test_memory_and_idle_work(loop: Loop, make_bridge: Make) -> None:
    bridge = make_bridge(loop)
    loop.press("status 1")
    wait_until(lambda: loop.server.events and not loop.board.waiting, "the event")
    wait_until(
        lambda: "server 1" in loop.board.taken and loop.board.taken[-1].startswith(("status", "server", "clock")),
        "rest",
    )
    before, since, switches = bridge.cpu_s(), time.monotonic(), bridge.switches()
    wait_until(lambda: time.monotonic() - since > 4, "some idle time")
    # A clock every 10 s, a ping every 20 s: two dozen wake-ups would be a loop that spins.
    assert bridge.switches() - switches < 24
    assert (bridge.cpu_s() - before) / (time.monotonic() - since) < 0.02
    assert bridge.resident_kb() < 16 * 1024


def test_a_board_that_is_not_there_yet(loop: Loop, make_bridge: Make, tmp_path: Path) -> None:
    bridge = make_bridge(loop, serial=f"unix:{tmp_path}/later")
    wait_until(lambda: "no wire to the board" in bridge.errors, "a word on it")
    os.rename(loop.board_path, tmp_path / "later")
    loop.press("status 1")
    wait_until(lambda: loop.server.events == ["status 1"], "the event")
    assert bridge.errors.count("no wire") == 1
    assert "open again" in bridge.errors


def test_a_terminal(loop: Loop, make_bridge: Make) -> None:
    ours, theirs = os.openpty()
    name = os.ttyname(theirs)
    board = Board()
    make_bridge(loop, serial=name)
    os.set_blocking(ours, False)
    board.press("status 1", 0)
    start = time.monotonic()

    def turn() -> bool:
        ms = int((time.monotonic() - start) * 1000)
        os.write(ours, board.output(ms))
        with suppress(BlockingIOError):
            board.receive(os.read(ours, 4096))
        return loop.server.events == ["status 1"] and "server 1" in board.taken

    wait_until(turn, "a press over a terminal")
    os.close(ours)
    os.close(theirs)


# --- the MAC detector


def test_who_is_about_is_posted(loop: Loop, make_bridge: Make) -> None:
    loop.web = lambda request: b"HTTP/1.0 403 Forbidden\r\n\r\n"
    bridge = make_bridge(
        loop, http=loop.http, mac_path="http", mac_password="p&w", mac_key=KEY, mac_interface="none-such"
    )
    wait_until(lambda: any(b"/macupdate" in request for request in loop.web_requests), "a post")
    request = next(request for request in loop.web_requests if b"/macupdate" in request)
    assert request.startswith(b"POST /macupdate HTTP/1.0\r\n")
    assert request.endswith(b"\r\n\r\npassword=p%26w&macs=%5B%5D")
    wait_until(lambda: "/macupdate failed: 403" in bridge.errors, "a word on it")
    assert "there is no interface none-such" in bridge.errors


def test_the_page_about_this_device(loop: Loop, make_bridge: Make) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    make_bridge(loop, this_device_listen=f"127.0.0.1:{port}", this_device_url="https://bits.example.org", mac_key=KEY)

    def page() -> bytes:
        try:
            with socket.create_connection(("127.0.0.1", port), timeout=5) as browser:
                browser.sendall(b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
                answer = b""
                while data := browser.recv(65536):
                    answer += data
                return answer
        except ConnectionRefusedError:
            return b""

    assert wait_until(page, "the page").startswith(b"HTTP/1.1 200 OK\r\n")


# --- I2C


class FakeBus:
    """The board's register file, with nothing but memory behind it."""

    def __init__(self, board: Board) -> None:
        self.board = board
        self.start = time.monotonic()
        self.output = b""
        self.pulled = False
        self.identity = i2c.IDENTITY
        self.transfers = 0

    def transfer(self, address: int, write: bytes, read: int) -> bytes:
        if self.pulled or address != 0x42:
            raise OSError(121, "Remote I/O error")
        self.transfers += 1
        self.output += self.board.output(int((time.monotonic() - self.start) * 1000))
        register, data = write[0], write[1:]
        if register == i2c.DATA:
            assert len(data) <= 30
            self.board.receive(data)
            answer, self.output = self.output[:read], self.output[read:]
            return answer.ljust(read, b"\0")
        values = {0: self.identity[0], 1: self.identity[1], 2: min(len(self.output) + 2, 255), 3: 30}
        return bytes(values.get(register + i, 0) for i in range(read))

    def close(self) -> None:
        pass


def test_a_board_on_i2c(loop: Loop, tmp_path: Path) -> None:
    board = Board()
    bus = FakeBus(board)
    host, port = loop.control.getsockname()
    values = {"server": f"{host}:{port}", "bridge": "attic", "key": SECRET, "i2c": "/dev/i2c-0"}
    log: list[str] = []
    opened: list[Config] = []

    def open_wire(config: Config) -> Port:
        opened.append(config)
        return I2cPort(bus)

    config = Config(values | {"spool": str(tmp_path / "spool" / "spool"), "backoff_max": 1})
    program = Program(config, lambda level, text: log.append(text), open_wire)
    thread = threading.Thread(target=program.run)
    thread.start()
    try:
        board.press("status 1", 0)
        wait_until(lambda: loop.server.events == ["status 1"] and "status 1" in board.taken, "a press over I2C")
        bus.pulled = True
        wait_until(lambda: any("no wire" in text for text in log), "a word on it")
        board.press("status 0", 0)
        bus.pulled = False
        wait_until(lambda: loop.server.events == ["status 1", "status 0"], "a press after the bus is back")
        assert len(opened) >= 2
        # Asked seldom once there is nothing to say: the second second of silence.
        begin = time.monotonic()
        wait_until(lambda: time.monotonic() - begin > 1, "a second")
        transfers, since = bus.transfers, time.monotonic()
        wait_until(lambda: time.monotonic() - since > 1, "another")
        assert 5 < (bus.transfers - transfers) / (time.monotonic() - since) < 40
    finally:
        program.stop()
        thread.join(15)


def test_something_else_on_i2c() -> None:
    bus = FakeBus(Board())
    bus.identity = b"\x00\x01"
    with pytest.raises(OSError, match="expected a board of version 1"):
        I2cPort(bus)


# --- configuration


GOOD = {"server": "10.0.0.1", "bridge": "attic", "key": SECRET}


@pytest.mark.parametrize(
    ("values", "complaint"),
    [
        ({}, "server: expected host:port"),
        (GOOD | {"server": "a:b:c"}, "server: expected host:port"),
        (GOOD | {"server": "10.0.0.1:0"}, "server: expected host:port"),
        (GOOD | {"server": 5}, "server: expected a text in quotes"),
        (GOOD | {"bridge": "a b"}, "bridge: expected 1 to 32 letters"),
        (GOOD | {"key": ""}, "key: expected at least 16"),
        (GOOD | {"protocol": "3"}, 'protocol: expected "auto" or "1" or "2"'),
        (GOOD | {"serial": "ttyS0"}, "serial: expected a path"),
        (GOOD | {"serial": "tcp:localhost"}, "serial: expected host:port"),
        (GOOD | {"serial": "/dev/ttyS0", "i2c": "/dev/i2c-0"}, "serial: expected nothing"),
        (GOOD | {"i2c": "0"}, "i2c: expected a path"),
        (GOOD | {"spool": "spool"}, "spool: expected an absolute path"),
        (GOOD | {"spool_size": 10}, "spool_size: expected a whole number from 4096"),
        (GOOD | {"ping_interval": True}, "ping_interval: expected a whole number"),
        (GOOD | {"baud": 9601}, "baud: expected one of 9600,"),
        (GOOD | {"set_clock": 1}, "set_clock: expected true or false"),
        (GOOD | {"set_clock": True}, "http: expected"),
        (GOOD | {"mac_path": "miniprotocol"}, "mac_key: expected at least 32"),
        (GOOD | {"mac_path": "http", "mac_key": KEY}, "mac_password: expected"),
        (GOOD | {"this_device_listen": "10.0.0.1", "mac_key": KEY}, "this_device_url: expected"),
        (GOOD | {"this_device_url": "example.org"}, "this_device_url: expected an address"),
        (GOOD | {"sever": "x"}, "sever: there is no such key"),
    ],
)
def test_a_configuration_that_is_not_good(values: dict[str, Any], complaint: str) -> None:
    with pytest.raises(BridgeError) as error:
        Config(values)
    assert complaint in str(error.value)


def test_a_configuration_that_is_good() -> None:
    config = Config(GOOD)
    assert config.server == ("10.0.0.1", 8888)
    assert config.serial == "/dev/ttyS0"
    assert Config(GOOD | {"i2c": "/dev/i2c-1"}).serial == ""
    assert Config(GOOD | {"server": "[fd00::1]:99"}).server == ("fd00::1", 99)
    assert Config({"server": "s", "bridge": "b", "protocol": "1"}).key == ""


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-S", "-m", "bits_fonera", *arguments],
        env={"PYTHONPATH": str(ROOT / "fonera")},
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )


def test_check(tmp_path: Path) -> None:
    file = tmp_path / "bits-fonera.toml"
    file.write_text(toml(GOOD))
    file.chmod(0o644)
    result = run("--check", str(file))
    assert (result.returncode, "chmod 600" in result.stderr) == (0, True)
    file.chmod(0o600)
    result = run("--check", str(file))
    assert (result.returncode, result.stderr) == (0, "")
    file.write_text(toml(GOOD | {"baud": "fast"}))
    result = run("--check", str(file))
    assert result.returncode == 2
    assert result.stderr == f"error: {file}: baud: expected a whole number from 50 to 4000000, got 'fast'\n"
    for text in (b"= 1", b"\xff"):
        file.write_bytes(text)
        with pytest.raises(BridgeError, match="is no TOML"):
            load(str(file))
    with pytest.raises(BridgeError, match="cannot be read"):
        load(str(tmp_path / "missing"))


def test_usage(tmp_path: Path) -> None:
    assert run("--version").stdout == "0.1.0\n"
    assert "--check FILE" in run("--help").stdout
    assert run("--frobnicate").returncode == 2
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "spool").mkdir()
    file = tmp_path / "bits-fonera.toml"
    file.write_text(toml(GOOD | {"spool": str(tmp_path / "folder" / "spool")}))
    result = run("--config", str(file), "--foreground")
    assert result.returncode == 2
    assert "cannot be opened" in result.stderr


# --- the real server


def test_with_the_real_server(make_server: Callable[..., Server], loop: Loop, make_bridge: Make) -> None:
    server = make_server(bridge_keys=f"attic={SECRET}")
    host, port = server.control
    bridge = make_bridge(loop, server=f"{host}:{port}", protocol="2")
    loop.press("status 1")
    wait_until(lambda: server.get("/status")[2] == b"1", "the status")
    wait_until(lambda: "status 1" in loop.board.taken, "the status on the board")
    server.kill()
    loop.press("temperature 0 21.5", "temperature 0 22.5", "status 2", "status 0")
    wait_until(lambda: not loop.board.waiting, "an empty outbox")
    bridge.end(signal.SIGKILL)
    bridge.start()
    server.start()
    wait_until(lambda: server.get("/data")[2].count(b'"closed"'), "the last status")
    log = server.json("/log?format=json&limit=100")["log"]
    assert [entry["value"] for entry in log] == ["closed", "away", "open"]
    temperatures = [entry["value"] for entry in server.json("/data")["tempinthist"]]
    assert temperatures == [22.5, 21.5]
    times = [entry["timestamp"] for entry in reversed(log)]
    assert times == sorted(times)
