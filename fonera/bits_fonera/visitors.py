"""The page about "this device": a listener on the space's own network, and the browsers that come."""

from __future__ import annotations

import socket
from collections.abc import Callable

from bits_fonera import this_device
from bits_fonera.clock import Now
from bits_fonera.net import READ, WRITE, Watch

VISITORS_MAX = 16
VISITOR_MS = 10_000


class Visitor:
    """A browser on the page about "this device"."""

    def __init__(
        self, watch: Watch, opened: socket.socket, ip: str, now: Now, answer: Callable[[bytes, str], bytes]
    ) -> None:
        self.deadline_ms = now.ms + VISITOR_MS
        self.is_over = False
        self._watch = watch
        self._socket = opened
        self._ip = ip
        self._answer = answer
        self._request = b""
        self._output = b""
        opened.setblocking(False)
        watch.set(opened, READ, self._ready)

    def end(self) -> None:
        if not self.is_over:
            self.is_over = True
            self._watch.set(self._socket, 0, self._ready)
            self._socket.close()

    def _ready(self, events: int) -> None:
        try:
            if events & READ:
                data = self._socket.recv(4096)
                if not data:
                    return self.end()
                self._request += data
                if this_device.is_complete(self._request):
                    self._output = self._answer(self._request, self._ip)
            if self._output:
                self._output = self._output[self._socket.send(self._output) :]
                self._watch.set(self._socket, WRITE, self._ready)
                if not self._output:
                    self.end()
        except BlockingIOError:
            pass
        except OSError:
            self.end()
        return None


class Page:
    """The listener, and who is being answered.

    Args:
        answer: takes a request and the IP address it came from.
    Raises: OSError: this address cannot be listened on.
    """

    def __init__(self, watch: Watch, address: tuple[str, int], answer: Callable[[bytes, str], bytes]) -> None:
        self._watch = watch
        self._answer = answer
        self._now = Now("", 0, 0)
        self._visitors: list[Visitor] = []
        family = socket.AF_INET6 if ":" in address[0] else socket.AF_INET
        self._listener = socket.create_server(address, family=family, backlog=VISITORS_MAX)
        self._listener.setblocking(False)
        watch.set(self._listener, READ, self._accept)

    def step(self, now: Now) -> None:
        """Send those away who take too long."""
        self._now = now
        for visitor in self._visitors:
            if now.ms >= visitor.deadline_ms:
                visitor.end()
        self._visitors = [visitor for visitor in self._visitors if not visitor.is_over]

    def next_due_ms(self) -> int | None:
        return min((visitor.deadline_ms for visitor in self._visitors), default=None)

    def close(self) -> None:
        for visitor in self._visitors:
            visitor.end()
        self._listener.close()

    def _accept(self, events: int) -> None:
        try:
            opened, peer = self._listener.accept()
        except OSError:
            return
        if len(self._visitors) >= VISITORS_MAX:
            opened.close()
            return
        self._visitors.append(Visitor(self._watch, opened, str(peer[0]), self._now, self._answer))
