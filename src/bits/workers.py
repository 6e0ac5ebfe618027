"""Several server processes on one machine: started together, ended together, replaced when one dies.

The parent opens every worker's sockets and keeps them: a worker that dies is replaced behind the same socket, and who
was waiting there is served by its successor. It forks before it has threads or a loop, so that workers share what was
loaded; it does nothing else than wait.
"""

from __future__ import annotations

import ctypes
import logging
import os
import secrets
import select
import signal
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from socket import AF_UNIX, socket

from bits import listen
from bits.config import SECRET_LENGTH, Config

log = logging.getLogger("bits.workers")

Bind = Callable[..., tuple[socket, socket]]
Run = Callable[[Config, socket, socket, Callable[[], None]], None]

# A worker that dies sooner than this is replaced only after as long: it will hardly do better at once.
YOUNG = 1.0

# Seconds that workers have to end; then they are killed.
PATIENCE = 10.0

PR_SET_PDEATHSIG = 1


class Supervisor:
    """Keep workers running.

    Args:
        sockets: of each worker: for browsers, for bridges.
        ready: called once all accept connections.
    """

    def __init__(
        self, config: Config, sockets: list[tuple[socket, socket]], run: Run, ready: Callable[[], None]
    ) -> None:
        self._config = config
        self._sockets = sockets
        self._run = run
        self._ready = ready
        self._workers: dict[int, tuple[int, float]] = {}  # by process: number, when it was started
        self._due: dict[int, float] = {}  # by number: when it is to be started again
        self._awaited: set[int] = set()
        self._stopping = False

    def supervise(self) -> None:
        """Start the workers, and stay until told to stop and all have ended."""
        self._reader, self._writer = os.pipe()
        for ending in (signal.SIGTERM, signal.SIGINT):
            signal.signal(ending, self._stop)
        # Wakes the wait below when a worker dies.
        signal.signal(signal.SIGCHLD, lambda *_: None)
        wake, wake_writer = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        signal.set_wakeup_fd(wake_writer, warn_on_full_buffer=False)
        self._awaited = set(range(len(self._sockets)))
        for number in range(len(self._sockets)):
            self._start(number)
        killing_at = 0.0
        while self._workers or (self._due and not self._stopping):
            speaking, _, _ = select.select([self._reader, wake], [], [], 0.5)
            if wake in speaking:
                os.read(wake, 4096)
            if self._reader in speaking:
                self._on_ready(os.read(self._reader, 4096))
            self._reap()
            now = time.monotonic()
            for number in [number for number, due in self._due.items() if due <= now and not self._stopping]:
                del self._due[number]
                self._start(number)
            if self._stopping:
                killing_at = killing_at or now + PATIENCE
                if now > killing_at:
                    self._signal(signal.SIGKILL)
        signal.set_wakeup_fd(-1)

    def _stop(self, *_: object) -> None:
        self._stopping = True
        self._signal(signal.SIGTERM)

    def _signal(self, number: signal.Signals) -> None:
        for process in self._workers:
            os.kill(process, number)

    def _start(self, number: int) -> None:
        process = os.fork()
        if process == 0:
            self._be_worker(number)
        self._workers[process] = (number, time.monotonic())
        if self._stopping:  # told to stop while starting
            os.kill(process, signal.SIGTERM)

    def _be_worker(self, number: int) -> None:
        """Never returns."""
        code = 1
        try:
            signal.set_wakeup_fd(-1)
            for one in (signal.SIGTERM, signal.SIGINT, signal.SIGCHLD):
                signal.signal(one, signal.SIG_DFL)
            # A worker does not outlive its parent, whatever the parent dies of.
            ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
            for other, pair in enumerate(self._sockets):
                if other != number:
                    for one_socket in pair:
                        one_socket.close()
            web, control = self._sockets[number]
            message = number.to_bytes(2, "big")

            def tell() -> None:
                os.write(self._writer, message)

            self._run(self._config, web, control, tell)
            code = 0
        except KeyboardInterrupt:
            code = 0
        except BaseException:
            log.exception("worker %d failed", number)
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(code)

    def _on_ready(self, messages: bytes) -> None:
        waited = bool(self._awaited)
        for at in range(0, len(messages), 2):
            self._awaited.discard(int.from_bytes(messages[at : at + 2], "big"))
        if waited and not self._awaited:
            self._ready()

    def _reap(self) -> None:
        while self._workers:
            process, status = os.waitpid(-1, os.WNOHANG)
            if process == 0:
                return
            number, started = self._workers.pop(process)
            if not self._stopping:
                how = os.waitstatus_to_exitcode(status)
                log.error("worker %d (process %d) ended with %d; it is replaced", number, process, how)
                now = time.monotonic()
                self._due[number] = now + (YOUNG if now - started < YOUNG else 0)


def supervise(config: Config, bind: Bind, run: Run, announce: Callable[[str, str], None]) -> None:
    """Run `workers` server processes until told to stop.

    Raises:
        BitsError: an address is taken.
    """
    if not config.cookie_secret:
        log.warning("cookie_secret is not set: members are signed out whenever the server restarts")
    first = bind(config, shared=True)
    web, control = first
    # Where any port would do, all take the one that the first was given.
    config = replace(
        config,
        cookie_secret=config.cookie_secret or secrets.token_hex(SECRET_LENGTH),
        web_port=config.web_port if web.family == AF_UNIX else web.getsockname()[1],
        control_port=config.control_port if control.family == AF_UNIX else control.getsockname()[1],
    )
    sockets = [first]
    for _ in range(1, config.workers):
        one_web, one_control = _beside(config, bind, first)
        sockets.append((one_web, one_control))
    addresses = listen.address(web), listen.address(control)
    Supervisor(config, sockets, run, lambda: announce(*addresses)).supervise()


def _beside(config: Config, bind: Bind, first: tuple[socket, socket]) -> tuple[socket, socket]:
    """Open sockets beside the first worker's: the same unix socket, or one of their own on the same port."""
    web, control = first
    only_tcp = replace(
        config,
        web_usocket=None,
        control_usocket=None,
        web_port=config.web_port if web.family != AF_UNIX else 0,
        control_port=config.control_port if control.family != AF_UNIX else 0,
    )
    own_web, own_control = bind(only_tcp, shared=True)
    if web.family == AF_UNIX:
        own_web.close()
        own_web = web.dup()
    if control.family == AF_UNIX:
        own_control.close()
        own_control = control.dup()
    return own_web, own_control
