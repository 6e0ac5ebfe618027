"""The board: its own tests, its budget, and its image in QEMU with a bridge of a few lines at the other end."""

from __future__ import annotations

import base64
import random
import shutil
import socket
import subprocess
import threading
import unicodedata
import zlib
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from bits_panel import AWAY, CLICK, CLOSED, IMAGE, OPENED, QEMU, REFUSED, TAKEN, Beep, Emulator

from tests.conftest import ROOT, wait_until

FIRMWARE = ROOT / "firmware"
COMPILER = "arm-none-eabi-gcc"


def make(*arguments: str) -> str:
    """Run make for the firmware and return what it prints."""
    run = subprocess.run(
        ["make", "-C", str(FIRMWARE), *arguments], capture_output=True, text=True, timeout=240, check=False
    )
    assert run.returncode == 0, run.stdout + run.stderr
    return run.stdout


def need(*programs: str) -> None:
    for program in programs:
        if not shutil.which(program):
            pytest.skip(f"no {program} on this machine")


# --- on this machine


def test_its_own_tests_pass() -> None:
    need("gcc", "make")
    printed = make("test", "CC=gcc")
    assert printed.count(" checks\n") == len(list((FIRMWARE / "test").glob("test_*.c")))


def test_the_fuzzers_find_nothing_in_a_moment() -> None:
    need("gcc", "make")
    assert "fuzz regs" in make("fuzz", "FUZZ_SECONDS=1", "CC=gcc")


@pytest.fixture(scope="session")
def built() -> str:
    """The images, built; what the build printed about their size."""
    need(COMPILER, "make")
    make()
    return make("size")


def test_the_images_are_within_the_budget(built: str) -> None:
    for image in ("stm32f4", "qemu"):
        assert f"build/bits-{image}.elf: flash " in built
        assert f"build/bits-{image}.elf: worst stack " in built
    assert IMAGE.stat().st_size < 32 * 1024


def test_a_build_over_the_budget_fails(built: str, tmp_path: Path) -> None:
    """More flash or RAM than there is does not link; a stack that does not suffice is found out by its script."""
    narrow = (FIRMWARE / "boards/stm32f4.ld").read_text().replace("STACK_SIZE = 1536", "STACK_SIZE = 512")
    for name, script, wanted in (
        ("stack", narrow, "stack: over the budget"),
        ("flash", narrow.replace("32K", "8K"), "will not fit in region `FLASH'"),
        ("ram", narrow.replace("LENGTH = 8K", "LENGTH = 4K"), "will not fit in region `RAM'"),
    ):
        path = tmp_path / f"{name}.ld"
        path.write_text(script)
        objects = [str(path) for path in (FIRMWARE / "build/qemu").rglob("*.o")]
        elf = str(tmp_path / f"{name}.elf")
        link = [COMPILER, "-mcpu=cortex-m4", "-mthumb", "-nostdlib", "-T", str(path), *objects, "-o", elf]
        run = subprocess.run(link, capture_output=True, text=True, check=False)
        if run.returncode == 0:
            stack = ["python3", str(FIRMWARE / "tools/stack.py"), elf, str(FIRMWARE / "build/qemu")]
            run = subprocess.run(stack, capture_output=True, text=True, check=False)
        assert run.returncode != 0
        assert wanted in run.stderr


def test_without_the_compiler_one_sentence_says_so() -> None:
    need("make")
    run = subprocess.run(
        ["make", "-C", str(FIRMWARE), "CROSS=no-such-", "size"], capture_output=True, text=True, check=False
    )
    assert run.returncode != 0
    assert "no-such-gcc is missing: on Debian, apt-get install gcc-arm-none-eabi" in run.stderr


# --- in QEMU


def frame(body: str) -> bytes:
    return f"{body}*{zlib.crc32(body.encode()):08x}\n".encode()


class Bridge:
    """The other end of the link, as simple as can be. It listens in a thread of its own until it is closed."""

    def __init__(self, emulator: Emulator) -> None:
        self.emulator = emulator
        self.sid = random.randrange(1, 2**31)
        self.n = 0
        self.acknowledged = 0
        self.seen = (0, 0)
        self.taken: list[str] = []
        self.ages: list[int] = []
        self.heard: list[str] = []
        self.silent = False  # hears all, answers nothing
        self.connect()

    def connect(self) -> None:
        self.socket = self.emulator.connect()
        self._thread = threading.Thread(target=self._listen, args=(self.socket,))
        self._thread.start()

    def close(self) -> None:
        self.socket.shutdown(socket.SHUT_RDWR)
        self._thread.join(5)
        self.socket.close()

    def send(self, data: bytes) -> None:
        self.socket.sendall(data)

    def _listen(self, connection: socket.socket) -> None:
        waiting = b""
        with suppress(OSError):  # closed while it answers
            while data := connection.recv(65536):
                *lines, waiting = (waiting + data).split(b"\n")
                for line in lines:
                    body = line[:-9].decode("latin-1")
                    # A board that is reset in the middle of a frame spoils it and the next one.
                    if frame(body) == line + b"\n" and not self.silent:
                        self._hear(body)
                    self.heard.append(body)

    def _hear(self, body: str) -> None:
        kind, *words = body.split(" ", 4)
        if kind == "h":
            self.send(frame(f"s {random.randrange(1, 2**31)}"))
        elif kind == "a" and int(words[0]) == self.sid:
            self.acknowledged = int(words[1])
        elif kind == "d":
            sid, n, age = map(int, words[:3])
            if sid != self.seen[0] or n > self.seen[1]:
                self.taken.append(words[3])
                self.ages.append(age)
                self.seen = (sid, n)
            self.send(frame(f"a {sid} {n}"))

    def tell(self, line: str) -> None:
        """Send a line and wait for its acknowledgement; the board is quicker than 250 ms or the test fails."""
        self.n += 1
        self.send(frame(f"d {self.sid} {self.n} 0 {line}"))
        wait_until(lambda: self.acknowledged == self.n, f"the answer to {line}")

    def tell_message(self, text: str) -> None:
        self.tell(f"message {base64.b64encode(text.encode()).decode()}")

    def wait_taken(self, *lines: str) -> None:
        """Wait until exactly these have been taken."""
        wait_until(lambda: len(self.taken) >= len(lines), f"{lines}, not {self.taken}")
        assert self.taken == list(lines)


@pytest.fixture
def make_board(built: str) -> Iterator[Callable[..., Emulator]]:
    need(QEMU)
    made: list[Emulator] = []

    def make(fast: bool = False) -> Emulator:
        made.append(Emulator(fast=fast))
        return made[-1].start()

    yield make
    for emulator in made:
        emulator.close()


@pytest.fixture
def board(make_board: Callable[..., Emulator]) -> Emulator:
    return make_board()


@pytest.fixture
def bridge(board: Emulator) -> Iterator[Bridge]:
    bridge = Bridge(board)
    yield bridge
    bridge.close()


def test_boots(board: Emulator) -> None:
    assert board.boots == ["cold"]
    assert board.rows[0] == "Unknown             "
    assert board.rows[1] == " --.- C    --.- C   "
    assert not board.led


def test_a_bouncing_press_toggles_once(board: Emulator, bridge: Bridge) -> None:
    assert board.press(bounces=30) == OPENED
    board.wait_row(0, "Open ")
    board.wait(lambda: board.led)
    bridge.wait_taken("status 1")
    assert board.press(bounces=30) == CLOSED
    board.wait_row(0, "Closed ")
    board.wait(lambda: not board.led)
    bridge.wait_taken("status 1", "status 0")
    board.wait(lambda: "queued" not in board.rows[3])
    assert board.beeps.count(CLICK) == 2
    assert max(bridge.ages) < 1000


def test_a_long_press_is_away(board: Emulator, bridge: Bridge) -> None:
    assert board.long_press() == AWAY
    board.wait_row(0, "Away ")
    assert board.press() == OPENED
    bridge.wait_taken("status 2", "status 1")


def test_keypad(board: Emulator, bridge: Bridge) -> None:
    assert board.type("42") == CLICK
    board.wait_row(3, "Number: 42_")
    assert board.key("#") == TAKEN
    board.wait_row(3, "Welcome")
    assert board.type("123456") == CLICK
    assert board.key("7") == REFUSED
    assert board.key("*") == TAKEN
    board.wait_row(3, "Goodbye")
    assert board.key("#") == REFUSED
    bridge.wait_taken("enter 42", "leave 123456")


def test_temperature(board: Emulator, bridge: Bridge) -> None:
    board.adc(1, 4095)  # an open wire
    board.celsius(0, 21.5)
    board.wait_row(1, " 21.5 C    --.- C")
    wait_until(lambda: "temperature 0 21.5" in bridge.taken, "the temperature")
    # Noise of a degree up and down. A key takes 60 ms, so a reading is made of ten of these values.
    noise = random.Random(1)
    readings = []
    for _ in range(30):
        board.adc(0, 887 + noise.randrange(-12, 13))
        board.key("1")
        readings.append(float(board.rows[1][:5]))
    board.adc(0, 0)  # shorted
    board.wait_row(1, " --.- C    --.- C")
    readings += [float(line.split()[2]) for line in bridge.taken]
    assert max(abs(reading - 21.5) for reading in readings) <= 0.7
    assert not [line for line in bridge.taken if line.startswith("temperature 1")]


def test_message(board: Emulator, bridge: Bridge) -> None:
    bridge.tell_message("Città “già” — 5 €")
    board.wait_row(2, 'Citta "gia" - 5 EUR ')
    bridge.tell_message("Pizza tonight at eight, bring friends")
    board.wait_row(2, "Pizza tonight at eig")
    board.wait_row(2, "izza tonight at eigh")
    board.wait_row(2, "zza tonight at eight")
    text = "".join(map(chr, range(0xC0, 0x100)))
    bridge.tell_message(text)
    folded = "".join(unicodedata.normalize("NFD", c)[0] for c in text[:6])
    board.wait_row(2, folded + "AECEEEEIIII")


def test_sound(board: Emulator, bridge: Bridge) -> None:
    bridge.tell("sound 2")
    board.wait(lambda: board.beeps == [Beep(660, 150), Beep(880, 150), Beep(1100, 250)], "three notes")


def test_clock(board: Emulator, bridge: Bridge) -> None:
    bridge.tell("clock 1764041157")
    board.wait_row(0, "Unknown        03:25")
    board.wait_row(3, "Tue 25 Nov 2025     ")
    board.wait_row(0, "Unknown        03:26")  # three seconds later
    board.reset()
    board.wait_row(0, "Unknown        03:26")


def test_link_down_after_silence(make_board: Callable[..., Emulator]) -> None:
    board = make_board(fast=True)
    board.wait_row(3, "link down")


def test_link_down_when_the_server_is(board: Emulator, bridge: Bridge) -> None:
    bridge.tell("server 0")
    board.wait_row(3, "link down")
    bridge.tell("server 1")
    board.wait(lambda: "link down" not in board.rows[3])


def test_own_status_comes_before_what_is_told(board: Emulator, bridge: Bridge) -> None:
    wait_until(lambda: "h" in bridge.heard, "its question for a session")
    bridge.tell("status 0")
    board.wait_row(0, "Closed ")
    bridge.silent = True
    assert board.press() == OPENED
    wait_until(lambda: any("status 1" in body for body in bridge.heard), "the press")
    bridge.send(frame(f"d {bridge.sid} {bridge.n + 1} 0 status 2"))
    bridge.n += 1
    wait_until(lambda: f"a {bridge.sid} {bridge.n}" in bridge.heard, "the answer")
    board.wait_row(0, "Open ")
    bridge.silent = False
    bridge.wait_taken("status 1")
    board.wait_row(0, "Away ")


def test_a_warm_reset_loses_and_doubles_nothing(board: Emulator, bridge: Bridge) -> None:
    bridge.tell_message("Ciao")
    wait_until(lambda: "h" in bridge.heard, "its question for a session")
    assert board.press() == OPENED
    bridge.wait_taken("status 1")
    bridge.silent = True
    assert board.press() == CLOSED
    assert board.type("7#") == TAKEN
    assert board.press() == OPENED
    for _ in range(3):
        heard = len(bridge.heard)
        board.reset()
        board.wait_row(0, "Open ")
        board.wait_row(2, "Ciao")
        board.wait_row(3, "3 queued")
        wait_until(lambda heard=heard: len(bridge.heard) > heard, "a sending")  # type: ignore[misc]
    assert board.boots == ["cold", "warm", "warm", "warm"]
    # The last message once more, as if its answer had been lost: known, and answered again.
    bridge.silent = False
    bridge.send(frame(f"d {bridge.sid} 1 0 message eA=="))
    bridge.wait_taken("status 1", "status 0", "enter 7", "status 1")
    board.wait(lambda: "queued" not in board.rows[3])
    board.wait_row(2, "Ciao")
    bridge.wait_taken("status 1", "status 0", "enter 7", "status 1")


def test_resets_at_any_moment(board: Emulator, bridge: Bridge) -> None:
    """Resets while a number is typed, taken and sent: what was answered arrives, once and in order."""
    dice = random.Random(3)
    answered = []
    for person in range(100, 120):
        since = len(board.beeps)
        for key in f"{person}#":
            board.send(f"key {key}")
        # The fourth key is down after some 200 ms and is taken 20 ms later.
        with suppress(TimeoutError):
            board.wait(lambda since=since: TAKEN in board.beeps[since:], seconds=dice.uniform(0.19, 0.27))  # type: ignore[misc]
        board.reset()
        answered += [f"enter {person}"] if TAKEN in board.beeps[since:] else []
    assert board.type("999#") == TAKEN
    wait_until(lambda: "enter 999" in bridge.taken, "the last one")
    # Keys from before a reset may be read after it, and make shorter numbers.
    taken = [line for line in bridge.taken if len(line) == len("enter 100")]
    assert taken == sorted(set(taken))
    assert set(answered) <= set(taken)
    assert set(board.boots[1:]) == {"warm"}


def test_a_hanging_program_is_reset_by_the_watchdog(board: Emulator, bridge: Bridge) -> None:
    assert board.press() == OPENED
    bridge.wait_taken("status 1")
    board.hang()
    assert board.boots == ["cold", "watchdog"]
    board.wait_row(0, "Open ")
    assert board.press() == CLOSED
    bridge.wait_taken("status 1", "status 0")


def test_a_full_outbox_refuses(board: Emulator) -> None:
    for person in range(32):
        assert board.type(f"{person}#") == TAKEN
    assert board.press() == REFUSED
    board.wait_row(3, "Not taken: full")
    board.wait_row(0, "Unknown ")
    bridge = Bridge(board)
    try:
        bridge.wait_taken(*(f"enter {person}" for person in range(32)))
    finally:
        bridge.close()


def test_the_bridge_goes_and_comes_back(board: Emulator, bridge: Bridge) -> None:
    assert board.press() == OPENED
    bridge.wait_taken("status 1")
    bridge.close()
    assert board.press() == CLOSED
    bridge.connect()
    bridge.wait_taken("status 1", "status 0")


@pytest.mark.parametrize(
    "noise",
    [
        pytest.param(bytes(random.Random(2).randrange(256) for _ in range(5000)), id="random bytes"),
        pytest.param(b"d 1 1 0 stat", id="half a line"),
        pytest.param(b"x" * 10_000, id="a line of 10 kB"),
        pytest.param(b"d 1 1 0 status 1*00000000\n" * 100, id="wrong checksums"),
        pytest.param(b"\n" * 1000, id="empty lines"),
        pytest.param(frame("d 1 1 0 frobnicate") + frame("d 1 2 0 message ????"), id="lines that nobody knows"),
        pytest.param(frame("s 0") + frame("x 1") + frame("d 1 0 0 status 1"), id="bad bodies"),
    ],
)
def test_noise_changes_nothing(board: Emulator, bridge: Bridge, noise: bytes) -> None:
    bridge.send(noise)
    bridge.send(frame("lost with half a line"))  # what the noise may spoil
    bridge.tell("status 0")
    board.wait_row(0, "Closed ")
    assert board.press() == OPENED
    bridge.wait_taken("status 1")
    assert board.boots == ["cold"]
