# SPDX-License-Identifier: GPL-3.0-or-later
"""The emulated board and its front panel.

`Emulator` runs the board's image in QEMU and stands for the person in front of it, as docs/link.md, "The front panel",
has it. As a program, it shows the display in a terminal:

    python firmware/bits_panel.py --bridge-socket /tmp/board
"""

from __future__ import annotations

import argparse
import atexit
import json
import os
import select
import shutil
import socket
import subprocess
import sys
import tempfile
import termios
import threading
import time
import tty
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, NamedTuple

IMAGE = Path(__file__).parent / "build" / "bits-qemu.bin"
QEMU = "qemu-system-arm"
WAIT = 20.0  # seconds until a condition that does not come true is an error


class Beep(NamedTuple):
    hz: int
    ms: int


# The first notes of core/sound.c.
CLICK = Beep(2000, 10)
RELEASED = Beep(1000, 10)
OPENED = Beep(1000, 80)
CLOSED = Beep(1490, 80)
AWAY = Beep(1250, 300)
TAKEN = Beep(1800, 120)
REFUSED = Beep(200, 400)


class Emulator:
    """The board in QEMU, from `start()` to `close()`, or as a context.

    Args:
        bridge_socket: where the UART to the bridge shall listen: a unix socket, which takes one connection after the
            other. Without it, one in a folder of its own.
        image: what to run; `make -C firmware` builds it.
        fast: let the board's time run as fast as the machine can while the board has nothing to do: half a minute
            of silence takes a second or two. Not for what is measured in real time.
    """

    def __init__(self, *, bridge_socket: Path | str | None = None, image: Path = IMAGE, fast: bool = False) -> None:
        self.image = image
        self.fast = fast
        self._folder = Path(tempfile.mkdtemp(prefix="bits-panel-"))
        self.bridge_socket = Path(bridge_socket) if bridge_socket else self._folder / "bridge"
        self.rows = [""] * 4  # what the display shows, 20 characters each
        self.led = False
        self.beeps: list[Beep] = []
        self.boots: list[str] = []  # "cold", "warm", "watchdog"
        self._adc: dict[int, int] = {}
        self.changed = threading.Condition()
        self._process: subprocess.Popen[bytes] | None = None
        self._reader: threading.Thread | None = None
        self._sockets: list[socket.socket] = []
        self._qmp_lines: BinaryIO | None = None

    def __enter__(self) -> Emulator:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def start(self) -> Emulator:
        """Start the board and return when it has booted.

        Raises: RuntimeError: there is no QEMU or no image, or it does not start.
        """
        qemu = shutil.which(QEMU)
        if not qemu:
            raise RuntimeError(f"{QEMU} is missing: on Debian, apt-get install qemu-system-arm")
        if not self.image.exists():
            raise RuntimeError(f"{self.image} is missing: make -C firmware")
        atexit.register(self.close)  # for who forgets to
        try:
            self._start(qemu)
        except BaseException:
            self.close()
            raise
        return self

    def _start(self, qemu: str) -> None:
        # The panel and the control socket listen here, before QEMU starts: so no line of the board's is missed.
        with self._listen("panel") as panel, self._listen("qmp") as qmp:
            self._process = subprocess.Popen(  # noqa: S603
                [
                    qemu,
                    *("-M", "netduinoplus2", "-display", "none", "-monitor", "none", "-nodefaults"),
                    *("-kernel", str(self.image)),
                    *("-chardev", f"socket,id=bridge,path={self.bridge_socket},server=on,wait=off"),
                    *("-serial", "chardev:bridge"),
                    *("-chardev", f"socket,id=panel,path={self._folder}/panel", "-serial", "chardev:panel"),
                    *("-chardev", f"socket,id=qmp,path={self._folder}/qmp", "-mon", "chardev=qmp,mode=control"),
                    *(("-icount", "shift=3,sleep=off") if self.fast else ()),
                ],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
            )
            self._panel = self._accept(panel)
            self._qmp = self._accept(qmp)
        self._qmp_lines = self._qmp.makefile("rb")
        self._qmp_lines.readline()  # its greeting
        self._command("qmp_capabilities")
        self._reader = threading.Thread(target=self._read_panel, name="panel", daemon=True)
        self._reader.start()
        self.wait(lambda: self.boots and self.rows[3], "the board's start")

    @contextmanager
    def _listen(self, name: str) -> Iterator[socket.socket]:
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(str(self._folder / name))
            listener.listen(1)
            listener.settimeout(0.1)
            yield listener

    def _accept(self, listener: socket.socket) -> socket.socket:
        assert self._process
        assert self._process.stderr
        deadline = time.monotonic() + WAIT
        while time.monotonic() < deadline:
            try:
                connection, _ = listener.accept()
            except TimeoutError:
                if self._process.poll() is not None:
                    raise RuntimeError(f"QEMU ended: {self._process.stderr.read().decode().strip()}") from None
                continue
            connection.settimeout(None)
            self._sockets.append(connection)
            return connection
        raise RuntimeError(f"QEMU did not connect within {WAIT:.0f} s")

    def close(self) -> None:
        """End QEMU and everything around it. May be called twice."""
        atexit.unregister(self.close)
        process, self._process = self._process, None
        if process:
            process.terminate()
            try:
                process.wait(5)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
            if process.stderr:
                process.stderr.close()
        if self._reader:
            self._reader.join(5)
        if self._qmp_lines:
            self._qmp_lines.close()
        for connection in self._sockets:
            connection.close()
        self._sockets.clear()
        self.bridge_socket.unlink(missing_ok=True)
        shutil.rmtree(self._folder, ignore_errors=True)

    # --- what the board shows

    def _read_panel(self) -> None:
        waiting = b""
        with suppress(OSError):  # QEMU has ended
            while data := self._panel.recv(65536):
                *lines, waiting = (waiting + data).split(b"\n")
                with self.changed:
                    for line in lines:
                        with suppress(ValueError, IndexError):  # a reset has cut it short
                            self._show(line.decode("ascii", "replace"))
                    self.changed.notify_all()

    def _show(self, line: str) -> None:
        word, _, rest = line.partition(" ")
        if word == "lcd":
            self.rows[int(rest[0])] = rest[2:]
        elif word == "led":
            self.led = rest == "1"
        elif word == "beep":
            hz, ms = rest.split()
            self.beeps.append(Beep(int(hz), int(ms)))
        elif word == "boot":
            self.boots.append(rest)
            self.led = False  # as it is until the board says otherwise
            self.rows = [""] * 4
            for sensor, raw in self._adc.items():  # a reset of the board is none of the world around it
                self.send(f"adc {sensor} {raw}")

    def wait(self, condition: Callable[[], object], what: str = "the condition", seconds: float = WAIT) -> None:
        """Wait until the condition holds; it is asked again whenever the board has shown something.

        Raises: TimeoutError: it did not within that time.
        """
        with self.changed:
            if not self.changed.wait_for(condition, seconds):
                raise TimeoutError(f"{what} did not come true within {seconds:.0f} s; the display: {self.rows}")

    def wait_row(self, row: int, beginning: str, seconds: float = WAIT) -> None:
        """Wait until that row of the display begins so."""
        self.wait(lambda: self.rows[row].startswith(beginning), f"{beginning!r} in row {row}", seconds)

    def wait_beep(self, *beeps: Beep, since: int) -> Beep:
        """Return the first of these beeps that is heard, after the first `since` beeps of all."""
        self.wait(lambda: any(beep in beeps for beep in self.beeps[since:]), f"one of {beeps}")
        return next(beep for beep in self.beeps[since:] if beep in beeps)

    # --- what people do

    def send(self, line: str) -> None:
        """Send a line of the front panel's protocol."""
        self._panel.sendall(line.encode() + b"\n")

    def _down(self, bounces: int) -> None:
        since = len(self.beeps)
        for _ in range(bounces):
            self.send("button 1")
            self.send("button 0")
        self.send("button 1")
        self.wait_beep(CLICK, since=since)

    def press(self, *, bounces: int = 0) -> Beep:
        """Press the button and let it go. Returns how the board answered: OPENED, CLOSED or REFUSED."""
        self._down(bounces)
        since = len(self.beeps)
        self.send("button 0")
        return self.wait_beep(OPENED, CLOSED, REFUSED, since=since)

    def long_press(self) -> Beep:
        """Hold the button until the board answers, AWAY or REFUSED, and let it go."""
        self._down(0)
        answer = self.wait_beep(AWAY, REFUSED, since=len(self.beeps) - 1)
        since = len(self.beeps)
        self.send("button 0")
        self.wait_beep(RELEASED, since=since)
        return answer

    def key(self, key: str) -> Beep:
        """Press a key, `0` to `9`, `#` or `*`. Returns how the board answered: CLICK, TAKEN or REFUSED."""
        since = len(self.beeps)
        self.send(f"key {key}")
        return self.wait_beep(CLICK, TAKEN, REFUSED, since=since)

    def type(self, keys: str) -> Beep:
        """Press one key after the other. Returns the answer to the last."""
        return [self.key(key) for key in keys][-1]

    def adc(self, sensor: int, raw: int) -> None:
        """Set what the converter reads, 0 to 4095, of a sensor, 0 or 1."""
        self._adc[sensor] = raw
        self.send(f"adc {sensor} {raw}")

    def celsius(self, sensor: int, degrees: float) -> None:
        """Set a sensor as a TMP36 of that temperature would."""
        self.adc(sensor, round((500 + 10 * degrees) * 4095 / 3300))

    def hang(self) -> None:
        """Let the program hang and the watchdog bite; return when the board has come up again."""
        self._and_boot(lambda: self.send("hang"))

    def reset(self) -> None:
        """Reset the chip; its memory survives. Return when the board has come up again."""
        self._and_boot(lambda: self._command("system_reset"))

    def _and_boot(self, act: Callable[[], object]) -> None:
        boots = len(self.boots)
        act()
        self.wait(lambda: len(self.boots) > boots and self.rows[3], "the board's start")

    # --- the other sockets

    def connect(self) -> socket.socket:
        """Return a connection to the UART, as the bridge would have it.

        Read what comes: when 300 bytes or so have not been read, QEMU stops the board until they are. A real wire loses
        them.
        """
        connection = socket.socket(socket.AF_UNIX)
        connection.connect(str(self.bridge_socket))
        return connection

    def _command(self, name: str) -> None:
        assert self._qmp_lines
        self._qmp.sendall(json.dumps({"execute": name}).encode() + b"\n")
        for line in self._qmp_lines:
            answer = json.loads(line)
            if "error" in answer:
                raise RuntimeError(f"QEMU refuses {name}: {answer}")
            if "return" in answer:
                return
        raise RuntimeError(f"QEMU ended at {name}")


# --- in the terminal

HELP = "space: press   a: long press   0-9 # *: keypad   + -: warmer, colder   r: reset   h: hang   q: quit"


def draw(emulator: Emulator) -> None:
    with emulator.changed:
        rows, lamp = list(emulator.rows), "*" if emulator.led else " "
        beeps = ", ".join(f"{beep.hz} Hz" for beep in emulator.beeps[-3:])
    edge = "+" + "-" * 22 + "+"
    lines = [f"bridge: {emulator.bridge_socket}", edge, *(f"| {row:20} |" for row in rows), edge]
    lines += [f"({lamp}) open   buzzer: {beeps}", HELP]
    sys.stdout.write("\x1b[H" + "".join(line + "\x1b[K\r\n" for line in lines) + "\x1b[J")
    sys.stdout.flush()


def play(emulator: Emulator) -> None:
    """Draw the panel and pass keys on until `q`."""
    degrees = 21.0
    emulator.celsius(0, degrees)
    holding = False
    deadline = 0.0
    while True:
        draw(emulator)
        ready, _, _ = select.select([sys.stdin], [], [], 0.05)
        if holding and time.monotonic() >= deadline:
            emulator.send("button 0")
            holding = False
        key = os.read(sys.stdin.fileno(), 1).decode("ascii", "replace") if ready else None
        if key in ("q", "\x03", ""):
            return
        if key in (" ", "a") and not holding:
            emulator.send("button 1")
            holding, deadline = True, time.monotonic() + (0.1 if key == " " else 2.0)
        elif key in ("r", "h"):
            (emulator.reset if key == "r" else emulator.hang)()
        elif key in ("+", "-"):
            degrees += 0.5 if key == "+" else -0.5
            emulator.celsius(0, degrees)
        elif key and key in "0123456789#*":
            emulator.send(f"key {key}")


def main() -> None:
    parser = argparse.ArgumentParser(description="Run the emulated board and stand in front of it.", epilog=HELP)
    parser.add_argument("--bridge-socket", type=Path, help="where the UART to the bridge listens (a unix socket)")
    parser.add_argument("--image", type=Path, default=IMAGE, help="what to run (default: %(default)s)")
    arguments = parser.parse_args()
    if not sys.stdin.isatty():
        parser.error("this needs a terminal")
    before = termios.tcgetattr(sys.stdin)
    try:
        with Emulator(bridge_socket=arguments.bridge_socket, image=arguments.image) as emulator:
            tty.setraw(sys.stdin)
            sys.stdout.write("\x1b[2J")
            play(emulator)
    except RuntimeError as error:
        sys.exit(str(error))
    finally:
        termios.tcsetattr(sys.stdin, termios.TCSADRAIN, before)


if __name__ == "__main__":
    main()
