"""Sockets that nobody waits for: one wait for all of them, and what the web takes: a request, and an answer."""

from __future__ import annotations

import os
import selectors
import socket
from collections.abc import Callable
from contextlib import suppress

from bits_fonera import fetch
from bits_fonera.clock import Now

READ, WRITE = selectors.EVENT_READ, selectors.EVENT_WRITE

FETCH_MS = 15_000

# From the kernel, seconds: ends connections of version 1, where nobody else notices that the VPN is gone.
KEEPALIVE = {"TCP_KEEPIDLE": 60, "TCP_KEEPINTVL": 20, "TCP_KEEPCNT": 3}


def connect(address: tuple[str, int], attempt: int = 0) -> socket.socket:
    """Begin to connect, without waiting; which of a name's addresses is tried depends on the attempt.

    Raises: OSError: the name is not known, or there is no way there.
    """
    found = socket.getaddrinfo(*address, type=socket.SOCK_STREAM)
    family, kind, number, _, target = found[attempt % len(found)]
    opened = socket.socket(family, kind, number)
    try:
        opened.setblocking(False)
        opened.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        opened.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        for name, value in KEEPALIVE.items():
            opened.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)
        with suppress(BlockingIOError):
            opened.connect(target)
    except OSError:
        opened.close()
        raise
    return opened


def why_failed(opened: socket.socket) -> str:
    """Return why a connection could not be made, "" if it was."""
    number = opened.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
    return os.strerror(number) if number else ""


class Watch:
    """What is open, what to call when it can be read or written, and one wait for all of it."""

    def __init__(self) -> None:
        self._selector = selectors.DefaultSelector()

    def set(self, opened: object, events: int, ready: Callable[[int], None]) -> None:
        """Watch something for these events from now on; 0 for none."""
        fd = opened.fileno()  # type: ignore[attr-defined]
        known = self._selector.get_map().get(fd)
        if known is None:
            if events:
                self._selector.register(fd, events, ready)
        elif not events:
            self._selector.unregister(fd)
        elif known.events != events:
            self._selector.modify(fd, events, ready)

    def wait(self, ms: int) -> bool:
        """Call what is ready, or return after so long. Returns whether something was ready."""
        ready = self._selector.select(ms / 1000)
        for key, events in ready:
            # An earlier call may have closed it.
            if self._selector.get_map().get(key.fd) is key:
                key.data(events)
        return bool(ready)

    def close(self) -> None:
        self._selector.close()


class Exchange:
    """One HTTP request under way.

    Args:
        done: called with the answer's bytes and "", or with b"" and what went wrong.
    """

    def __init__(
        self, watch: Watch, address: tuple[str, int], request: bytes, now: Now, done: Callable[[bytes, str], None]
    ) -> None:
        self.deadline_ms = now.ms + FETCH_MS
        self._watch = watch
        self._request = request
        self._done = done
        self._answer = bytearray()
        self._socket: socket.socket | None = None
        try:
            self._socket = connect(address)
        except OSError as error:
            self.end(str(error))
            return
        watch.set(self._socket, WRITE, self._ready)

    @property
    def is_over(self) -> bool:
        return self._socket is None

    def end(self, error: str) -> None:
        """Close it, and tell."""
        if self._socket:
            self._watch.set(self._socket, 0, self._ready)
            self._socket.close()
            self._socket = None
        self._done(b"" if error else bytes(self._answer), error)

    def _ready(self, events: int) -> None:
        assert self._socket
        try:
            if events & WRITE:
                if error := why_failed(self._socket):
                    return self.end(error)
                self._request = self._request[self._socket.send(self._request) :]
                if not self._request:
                    self._watch.set(self._socket, READ, self._ready)
                return None
            data = self._socket.recv(4096)
        except BlockingIOError:
            return None
        except OSError as error:
            return self.end(str(error))
        self._answer += data
        if not data or len(self._answer) > fetch.ANSWER_MAX:
            self.end("" if not data else "the answer is too long")
        return None
