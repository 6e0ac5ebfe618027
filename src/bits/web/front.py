"""The front door in its place: between the listening socket and everything that answers."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Callable
from typing import Any

from sanic import BadRequest, Sanic
from sanic.http import Http as SanicHttp
from sanic.models.server_types import Signal
from sanic.server import HttpProtocol

from bits._door import Answer, Door
from bits._http import ROUTES, read
from bits._hub import EVENT_STREAM, LONG_POLL, WEBSOCKET
from bits.counters import Counters
from bits.web.body import whole
from bits.web.framing import CORS, turn_away
from bits.web.live import LONGEST_WAIT, Live
from bits.web.words import N_

# A head may take as long as a slow phone needs, not as long as an attacker likes.
HEAD_SECONDS = 10.0
IDLE_SECONDS = 75.0  # longer than the load balancers' own, so that it is they who close

SILENT_SECONDS = 5
GONE_SECONDS = 120

PAUSE = 0.1  # before accepting again when there was no descriptor left

TRANSPORTS = {"/ws": WEBSOCKET, "/events": EVENT_STREAM, "/data": LONG_POLL}


class Http(SanicHttp):
    """Sanic's requests, but that a target which cannot be parsed does not keep it from refusing the request."""

    __slots__ = ()

    def create_empty_request(self) -> None:
        self.url = None
        super().create_empty_request()


class Handed(HttpProtocol):
    """Sanic's side of a connection that came by the door, which has read the first of it already."""

    HTTP_CLASS = Http
    __slots__ = ("_first", "_on_lost")

    def __init__(self, first: bytes, on_lost: Callable[[], None], **given: Any) -> None:
        super().__init__(**given)
        self._first = first
        self._on_lost = on_lost

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)  # type: ignore[no-untyped-call]
        self.data_received(self._first)  # before the loop reads on: no later byte can overtake it
        self._first = b""

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)  # type: ignore[no-untyped-call]
        self._on_lost()


class Front:
    """Tie the door to the loop, the hub and Sanic.

    Args:
        app: gets every request that the door does not answer itself.
        most: connections at the door, and again behind it, at once.
        fast: False gives every request to the app.
    """

    def __init__(self, live: Live, counters: Counters, *, most: int, fast: bool) -> None:
        self._live = live
        self._counters = counters
        self._most = most
        self._fast = fast
        self._door: Door | None = None
        self._connections: set[Any] = set()
        self._arriving: set[asyncio.Task[Any]] = set()
        self._behind = 0  # connections that were handed on and have not ended
        self._signal = Signal()

    def start(self, app: Sanic, listener: socket.socket) -> None:  # type: ignore[type-arg]
        self._app = app
        self._listener = listener
        if listener.family != socket.AF_UNIX:
            # Accepted sockets inherit these, which saves a call each. A browser speaks first: the kernel keeps a
            # connection to itself until it has. What is sent is sent whole: nothing is to wait for more. And a
            # client that is gone without a word is given up after some minutes, not after the kernel's quarter hour.
            listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_DEFER_ACCEPT, SILENT_SECONDS)
            listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, GONE_SECONDS * 1000)
        self._loop = asyncio.get_running_loop()
        self._door = Door(
            listener.fileno(),
            self._answer,
            self._join,
            self._hand_on,
            most=self._most,
            head_seconds=HEAD_SECONDS,
            idle_seconds=IDLE_SECONDS,
            fast=self._fast,
        )
        self._live.on_change = self._door.outdate
        self._live.on_answered = self._adopt
        self._loop.add_reader(self._door.fileno(), self._on_ready)
        self._loop.add_reader(listener.fileno(), self._on_connect)
        self._sweeper = self._loop.create_task(self._sweep(), name="door sweeper")

    async def stop(self, grace: float) -> None:
        """Take in nobody else, let what is being answered end, and let go. May be called twice."""
        door, self._door = self._door, None
        if door is None:
            return
        self._loop.remove_reader(self._listener.fileno())
        self._loop.remove_reader(door.fileno())
        self._listener.close()
        self._sweeper.cancel()
        self._live.on_answered = os.close
        self._live.on_change = lambda: None
        door.close()
        self._signal.stopped = True
        for one in list(self._connections):
            one.close_if_idle()
        end = self._loop.time() + grace
        while (self._connections or self._arriving) and self._loop.time() < end:  # noqa: ASYNC110 - Sanic tells nobody
            await asyncio.sleep(0.02)
        for one in list(self._connections):
            one.abort()

    def counters(self) -> dict[str, int]:
        """Return what the metrics show of the door."""
        door = self._door
        if door is None:
            return {}
        now = {
            "http_accepted_total": door.accepted,
            "http_fast_total": door.answered,
            "http_fast_unchanged_total": door.unchanged,
            "http_handed_on_total": door.handed_on,
            "http_waiting": len(door),
            "http_connections": self._behind,
        }
        return now | {f'http_refused_total{{reason="{name}"}}': count for name, count in door.refused().items()}

    # --- from the loop

    def _on_ready(self) -> None:
        if self._door is not None:
            self._door.on_ready(self._loop.time())

    def _on_connect(self) -> None:
        if self._door is not None and not self._door.on_connect(self._loop.time()):
            self._loop.remove_reader(self._listener.fileno())
            self._loop.call_later(PAUSE, self._accept_again)

    def _accept_again(self) -> None:
        if self._door is not None:
            self._loop.add_reader(self._listener.fileno(), self._on_connect)

    def _adopt(self, fd: int) -> None:
        if self._door is None:
            os.close(fd)
        else:
            self._door.adopt(fd, self._loop.time())

    async def _sweep(self) -> None:
        while self._door is not None:
            self._door.sweep(self._loop.time())
            await asyncio.sleep(1.0)

    # --- behind the door

    async def be_strict(self, head: bytes) -> None:
        """Judge the head of a request on a connection that Sanic keeps as strictly as the door judged the first.

        Raises:
            BadRequest: it is malformed, or could be understood in two ways; Sanic answers it and closes.
        """
        verdict, _, known = read(head + b"\r\n\r\n")
        if verdict == "bad":
            self._counters[f'http_refused_behind_total{{reason="{known["reason"]}"}}'] += 1
            raise BadRequest(N_("This is not a request of HTTP/1.1, or a dangerous one."))

    # --- from the door

    def _answer(self, route: int, iso: int) -> Answer:
        if ROUTES[route] == "/status":
            headers = {"Content-Type": "text/plain", "Content-Length": 1, "Cache-Control": "no-cache", **CORS}
            return Answer(whole("200 OK", headers, self._live.digit.encode()))
        channel = self._live.channels["iso" if iso else "ms"]
        return channel.snapshot().finished(CORS)

    def _join(
        self,
        fd: int,
        route: int,
        iso: int,
        since: int | None,
        wait: float,
        stale: bool | None,
        last: bool,
        key: bytes | None,
        early: bytes,
    ) -> None:
        wait = min(wait, LONGEST_WAIT)
        self._live.join(
            fd, TRANSPORTS[ROUTES[route]], iso, since, wait=wait, stale=stale, last=last, key=key, early=early
        )

    def _hand_on(self, fd: int, received: bytes) -> None:
        if self._behind >= self._most:
            self._counters['http_refused_total{reason="too-many"}'] += 1
            turn_away(fd, "Too many connections (web_connections); come back later.", 5)
            return
        self._behind += 1
        peer = socket.socket(self._listener.family, socket.SOCK_STREAM, 0, fileno=fd)

        task = self._loop.create_task(self._arrive(peer, received))
        self._arriving.add(task)
        task.add_done_callback(self._arriving.discard)

    async def _arrive(self, peer: socket.socket, received: bytes) -> None:
        try:
            await self._loop.connect_accepted_socket(
                lambda: Handed(
                    received,
                    self._leave,
                    loop=self._loop,
                    app=self._app,
                    connections=self._connections,
                    signal=self._signal,
                ),
                peer,
            )
        except OSError:
            peer.close()  # gone already
            self._leave()

    def _leave(self) -> None:
        self._behind -= 1
