"""Run the bridge: the one place where sockets are opened and clocks are read. What to do is decided elsewhere."""

from __future__ import annotations

import os
import signal
import socket
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol

from bits_fonera import clock, fetch
from bits_fonera.bridge import Bridge
from bits_fonera.clock import Now
from bits_fonera.config import Config
from bits_fonera.errors import BridgeError
from bits_fonera.i2c import BUSY_MS, IDLE_POLL_MS, POLL_MS, I2cPort, LinuxBus
from bits_fonera.link import ID_MAX
from bits_fonera.net import READ, WRITE, Exchange, Watch, connect, why_failed
from bits_fonera.serial_port import SerialPort
from bits_fonera.spool import Spool
from bits_fonera.uplink import Uplink

if TYPE_CHECKING:
    from bits_fonera.devices import Devices

Log = Callable[[str, str], None]

BOARD_RETRY_MS = 1_000
CLOCK_MS = 600_000  # between two looks at the server's clock: the router's own loses less than a second in this
CLOCK_RETRY_MS = 30_000
CLOCK_TOLERANCE_S = 2


class Port(Protocol):
    """The wire to the board. One that has a fileno() is watched, any other is asked every so often."""

    def read(self) -> bytes: ...
    def write(self, data: bytes) -> int: ...
    def close(self) -> None: ...


def open_board(config: Config) -> Port:
    """Open the wire that the configuration names. Raises: OSError."""
    return I2cPort(LinuxBus(config.i2c)) if config.i2c else SerialPort(config.serial, config.baud)


def draw_session() -> int:
    """Return a session by chance."""
    return int.from_bytes(os.urandom(4), "big") % ID_MAX + 1


def chance() -> float:
    """Return a number from 0 to 1. The module for it would be a megabyte more."""
    return os.urandom(1)[0] / 255


class Program:
    """The bridge as a process.

    Args:
        config, log: see there.
        open_wire: opens the wire to the board. Raises: OSError.
    """

    def __init__(self, config: Config, log: Log, open_wire: Callable[[Config], Port] = open_board) -> None:
        self._config = config
        self._log = log
        self._open_wire = open_wire
        self._boot = clock.read_boot()
        try:
            os.makedirs(os.path.dirname(config.spool), exist_ok=True)
            spool = Spool(config.spool, config.spool_size)
        except OSError as error:
            raise BridgeError(f"the spool {config.spool} cannot be opened: {error}") from None
        if spool.damaged:
            log("warning", f"{spool.damaged} damaged records of the spool were skipped")
        if spool.pending:
            log("info", f"{len(spool.pending)} lines are in the spool")
        self._spool = spool
        uplink = Uplink(
            spool,
            bridge=config.bridge,
            key=config.key,
            version=config.protocol,
            ping_interval_ms=config.ping_interval_ms,
            backoff_max_ms=config.backoff_max_ms,
            chance=chance,
            log=log,
        )
        self._uplink = uplink
        self._bridge = Bridge(spool, uplink, draw_session, log)
        self.watch = Watch()
        self._stopping = False
        self._server: socket.socket | None = None
        self._attempts = 0
        self._board: Port | None = None
        self._board_output = bytearray()
        self._board_trouble = ""
        self._board_retry_ms = 0
        self._is_polled = False  # whether the board is one that cannot be watched
        self._board_poll_ms = 0
        self._board_busy_ms = 0  # until then it is asked often
        self._clock_due_ms = 0
        self._clock_trouble = ""
        self._clock_exchange: Exchange | None = None
        self._devices: Devices | None = None
        if config.mac_path != "off" or config.this_device_listen:
            from bits_fonera.devices import Devices  # memory only for who wants it

            self._devices = Devices(config, self.watch, log, self._bridge.report)

    def run(self) -> None:
        """Go on until stop() is called."""
        now = self._read_clock()
        due_ms = self._step(now)
        while not self._stopping:
            until_ms = min(due_ms, self._board_poll_ms) if self._is_polled else due_ms
            is_called = self.watch.wait(max(until_ms - now.ms, 0))
            now = self._read_clock()
            # On I2C it mostly is the board that has nothing to say, fifty times a second.
            if self._poll_board(now) or is_called or now.ms >= due_ms:
                due_ms = self._step(now)
        for opened in (self._server, self._board, self._devices):
            if opened:
                opened.close()
        self._spool.close()
        self.watch.close()

    def stop(self) -> None:
        """End run() after the present step."""
        self._stopping = True

    def stop_on(self, *numbers: signal.Signals) -> None:
        """End run() when one of these signals comes, which also ends a wait."""
        ours, theirs = socket.socketpair()
        for end in (ours, theirs):
            end.setblocking(False)
        signal.set_wakeup_fd(theirs.fileno())
        self._signal_ends = (ours, theirs)
        self.watch.set(ours, READ, lambda _: self.stop())
        for number in numbers:
            signal.signal(number, lambda *_: None)

    # --- one step

    def _read_clock(self) -> Now:
        now = clock.read(self._boot)
        if self._devices:
            self._devices.begin_step(now)
        return now

    def _step(self, now: Now) -> int:
        """Do what is due; return when the next thing is, in ms."""
        self._look_after_board(now)
        self._bridge.tick(now)
        self._look_after_server(now)
        self._write_board(now)
        self._look_after_clock(now)
        due: list[int | None] = [self._bridge.next_due_ms(self._board is not None and not self._board_output)]
        if self._board is None:
            due.append(self._board_retry_ms)
        under_way = self._clock_exchange
        due.append(under_way.deadline_ms if under_way and not under_way.is_over else self._clock_due_ms)
        if self._devices:
            self._devices.step(now)
            due.append(self._devices.next_due_ms())
        return min(ms for ms in due if ms is not None)

    # --- the board

    def _look_after_board(self, now: Now) -> None:
        if self._board is None and now.ms >= self._board_retry_ms:
            try:
                self._board = self._open_wire(self._config)
            except OSError as error:
                self._board_failed(error, now)
                return
            if self._board_trouble:
                self._board_trouble = ""
                self._log("info", "the wire to the board is open again")
            self._board_output.clear()
            self._is_polled = not hasattr(self._board, "fileno")
            self._board_poll_ms = now.ms
            self._watch_board()

    def _poll_board(self, now: Now) -> bool:
        """Ask a board that cannot be watched, if it is time. Returns whether there is something to be done now."""
        if not self._is_polled or self._board is None or now.ms < self._board_poll_ms:
            return False
        is_busy = self._read_board(now) or bool(self._board_output)
        if is_busy:
            self._board_busy_ms = now.ms + BUSY_MS
        self._board_poll_ms = now.ms + (POLL_MS if now.ms < self._board_busy_ms else IDLE_POLL_MS)
        return is_busy

    def _watch_board(self) -> None:
        if not self._is_polled:
            self.watch.set(self._board, READ | WRITE if self._board_output else READ, self._board_ready)

    def _board_ready(self, events: int) -> None:
        if events & READ:
            self._read_board(self._read_clock())

    def _read_board(self, now: Now) -> bool:
        """Returns whether something came, if only the end."""
        if self._board is None:
            return False
        try:
            data = self._board.read()
        except OSError as error:
            self._board_failed(error, now)
            return True
        if data:
            self._bridge.board_bytes(data, now)
        return bool(data)

    def _write_board(self, now: Now) -> None:
        if self._board is None:
            return
        if not self._board_output:
            self._board_output += self._bridge.board.output(now.ms)
        if self._board_output:
            try:
                del self._board_output[: self._board.write(bytes(self._board_output))]
            except OSError as error:
                self._board_failed(error, now)
                return
        self._watch_board()

    def _board_failed(self, error: OSError, now: Now) -> None:
        if str(error) != self._board_trouble:
            self._board_trouble = str(error)
            self._log("warning", f"no wire to the board: {error}")
        self._board_retry_ms = now.ms + BOARD_RETRY_MS
        if self._board is not None:
            if not self._is_polled:
                self.watch.set(self._board, 0, self._board_ready)
            self._board.close()
            self._board = None
            self._is_polled = False

    # --- the server

    def _look_after_server(self, now: Now) -> None:
        if self._uplink.broken:
            self._server_lost(self._uplink.broken, now)
        if self._uplink.wants_connection(now):
            self._uplink.connecting(now)
            self._attempts += 1
            try:
                self._server = connect(self._config.server, self._attempts)
            except OSError as error:
                self._server_lost(str(error), now)
                return
            self.watch.set(self._server, WRITE, self._server_ready)
        elif self._server is not None and self._uplink.is_connected:
            self._write_server(now)

    def _server_ready(self, events: int) -> None:
        assert self._server
        now = self._read_clock()
        if not self._uplink.is_connected:
            if error := why_failed(self._server):
                return self._server_lost(error, now)
            self._bridge.server_connected(now)
        elif events & READ:
            try:
                data = self._server.recv(65536)
            except BlockingIOError:
                return None
            except OSError as error:
                return self._server_lost(str(error), now)
            if not data:
                return self._server_lost("the server has closed it", now)
            self._bridge.server_bytes(data, now)
        return None

    def _write_server(self, now: Now) -> None:
        assert self._server
        output = self._uplink.output
        while output:
            try:
                del output[: self._server.send(output)]
            except BlockingIOError:
                break
            except OSError as error:
                return self._server_lost(str(error), now)
            # There is room: what waits behind the first lines may follow.
            self._bridge.tick(now)
        self.watch.set(self._server, READ | WRITE if output else READ, self._server_ready)
        return None

    def _server_lost(self, reason: str, now: Now) -> None:
        if self._server is not None:
            self.watch.set(self._server, 0, self._server_ready)
            self._server.close()
            self._server = None
        self._bridge.server_lost(reason, now)

    # --- the clock

    def _look_after_clock(self, now: Now) -> None:
        under_way = self._clock_exchange
        if under_way and not under_way.is_over:
            if now.ms >= under_way.deadline_ms:
                under_way.end("no answer")
            return
        if now.ms < self._clock_due_ms:
            return
        self._clock_due_ms = now.ms + CLOCK_MS
        if self._config.http:
            request = fetch.get(self._config.http, "/data.php")
            self._clock_exchange = Exchange(self.watch, self._config.http, request, now, self._clock_answered)
        elif now.wall_ms >= clock.YEAR_2020_MS:
            local = time.localtime(now.wall_ms // 1000)
            self._bridge.local_time(clock.seconds(*local[:6]) + now.wall_ms % 1000 / 1000, now)

    def _clock_answered(self, answer: bytes, error: str) -> None:
        now = clock.read(self._boot)
        try:
            if error:
                raise ValueError(error)
            status, headers, body = fetch.parse(answer)
            if status != 200:
                raise ValueError(f"status {status}")
            local_s = clock.parse_local(body.decode("ascii", "replace"))
            self._bridge.local_time(local_s, now)
            if self._config.set_clock:
                self._set_clock(local_s, headers.get("date", ""), now)
            self._clock_trouble = ""
        except ValueError as wrong:
            self._clock_due_ms = now.ms + CLOCK_RETRY_MS
            if str(wrong) != self._clock_trouble:
                self._clock_trouble = str(wrong)
                self._log("warning", f"/data.php did not tell the time: {wrong}")

    def _set_clock(self, local_s: int, date: str, now: Now) -> None:
        # The page tells local time. A header tells UTC where there is one; else our own time zone has to be right.
        local = time.gmtime(local_s)
        utc_s = clock.parse_http_date(date) if date else round(time.mktime((*local[:6], 0, 0, -1)))
        if abs(utc_s - now.wall_ms / 1000) <= CLOCK_TOLERANCE_S:
            return
        try:
            time.clock_settime(time.CLOCK_REALTIME, utc_s)
            self._log("info", f"the clock was {utc_s - now.wall_ms // 1000} s slow and has been set")
        except OSError as error:
            self._log("warning", f"the clock cannot be set: {error}")
