"""The control port: lines from bridges in, lines to bridges out."""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import Callable, Sequence
from datetime import datetime
from ipaddress import IPv4Network, IPv6Network, ip_address
from typing import cast

from bits._proto import Decoder, Malformed, Ping, Pong, encode
from bits.counters import Counters
from bits.events import BRIDGE, Enter, Leave, Message, Report, Sound, Status, Stored, Temperature
from bits.liveness import Clock
from bits.presence import Presence

log = logging.getLogger("bits.ingest")

# Reports of one bridge that may wait for their commit before its socket is read no further.
WAITING_HIGH = 4000
WAITING_LOW = 1000

# Bytes a bridge may leave unread before it is cut off: some hundred messages; it is told the current status
# when it connects again.
UNREAD_LIMIT = 256 * 1024

# From the kernel, seconds: a bridge whose VPN is gone without a word is noticed after about two minutes.
KEEPALIVE = {"TCP_KEEPIDLE": 60, "TCP_KEEPINTVL": 20, "TCP_KEEPCNT": 3}

Networks = Sequence[IPv4Network | IPv6Network]


def is_allowed(peer: object, networks: Networks) -> bool:
    """Tell whether a peer's address, as a transport gives it, may speak. Unix sockets have modes instead."""
    if not isinstance(peer, tuple):
        return True
    address = ip_address(str(peer[0]).partition("%")[0])
    mapped = getattr(address, "ipv4_mapped", None)
    return any((mapped or address) in network for network in networks)


class Ingest:
    """Every connected bridge."""

    def __init__(
        self,
        presence: Presence,
        counters: Counters,
        clock: Clock,
        heard: Callable[[datetime], None],
        *,
        allow: Networks,
        limit: int,
    ) -> None:
        self.presence = presence
        self.counters = counters
        self.clock = clock
        self.heard = heard
        self.allow = allow
        self.limit = limit
        self.links: set[Link] = set()
        self._server: asyncio.Server | None = None

    async def start(self, listener: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        create = loop.create_unix_server if listener.family == socket.AF_UNIX else loop.create_server
        self._server = await create(lambda: Link(self), sock=listener)

    async def stop(self) -> None:
        """Take no more lines. What was taken is on its way through presence. May be called twice."""
        server, self._server = self._server, None
        if server is None:
            return
        server.close()
        for link in list(self.links):
            link.transport.close()
        await server.wait_closed()

    def on_events(self, batch: Sequence[Stored]) -> None:
        """Pass on to every bridge what it shows or plays, whoever caused it."""
        told = [s.event for s in batch if isinstance(s.event, (Status, Message, Sound))]
        lines = b"".join(map(encode, told))
        if lines:
            for link in list(self.links):
                link.send(lines)


class Link(asyncio.Protocol):
    """One connected bridge."""

    def __init__(self, ingest: Ingest) -> None:
        self._ingest = ingest
        self._decoder = Decoder()
        self._waiting = 0
        self._last: asyncio.Future[list[Stored]] | None = None
        self._malformed = 0
        self._peer = "?"

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport = cast(asyncio.Transport, transport)
        ingest = self._ingest
        peer = transport.get_extra_info("peername")
        self._peer = f"{peer[0]}:{peer[1]}" if isinstance(peer, tuple) else "unix"
        if not is_allowed(peer, ingest.allow):
            ingest.counters['bridges_refused_total{reason="not-allowed"}'] += 1
            log.warning("bridge %s: refused, not in control_allow", self._peer)
            transport.abort()
            return
        if len(ingest.links) >= ingest.limit:
            ingest.counters['bridges_refused_total{reason="too-many"}'] += 1
            log.warning("bridge %s: refused, %d are connected (control_connections)", self._peer, ingest.limit)
            transport.abort()
            return
        sock = transport.get_extra_info("socket")
        if sock.family in (socket.AF_INET, socket.AF_INET6):
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
            for option, value in KEEPALIVE.items():
                sock.setsockopt(socket.IPPROTO_TCP, getattr(socket, option), value)
        ingest.links.add(self)
        ingest.counters["bridges_connected_total"] += 1
        log.info("bridge %s: connected", self._peer)
        ingest.heard(ingest.clock())
        if status := ingest.presence.state.value:
            self.send(encode(Status(status)))

    def connection_lost(self, exc: Exception | None) -> None:
        if self in self._ingest.links:
            self._ingest.links.discard(self)
            log.info("bridge %s: gone%s", self._peer, f" ({exc})" if exc else "")

    def data_received(self, data: bytes) -> None:
        if self not in self._ingest.links:
            return
        ingest = self._ingest
        now = ingest.clock()
        reports: list[Report] = []
        told = False
        for line in self._decoder.feed(data):
            match line:
                case Status() | Temperature() | Enter() | Leave() | Message() | Sound():
                    reports.append(Report(line, BRIDGE, now, BRIDGE if isinstance(line, Message) else None))
                case Ping(token=token):
                    # Answered when all that stands before it is committed: a way to ask "have you got it?".
                    told |= self._submit(reports)
                    reports = []
                    self._after_commit(encode(Pong(token)))
                case Pong():
                    pass
                case Malformed(reason=reason, line=start):
                    self._refuse(reason, start)
                case _:
                    # Version 2's other lines: a bridge that gets no answer to its hello goes on in version 1.
                    self._refuse("not-offered", encode(line))
        told |= self._submit(reports)
        if not told:
            ingest.heard(now)

    def _submit(self, reports: list[Report]) -> bool:
        """Send reports down the write path. Returns whether there were any."""
        if not reports:
            return False
        self._ingest.counters["lines_taken_total"] += len(reports)
        self._waiting += len(reports)
        if self._waiting > WAITING_HIGH:
            self.transport.pause_reading()
        self._last = self._ingest.presence.submit(reports)
        self._last.add_done_callback(lambda done: self._committed(reports, done))
        return True

    def _committed(self, reports: list[Report], done: asyncio.Future[list[Stored]]) -> None:
        if done.cancelled() or done.exception():
            # The lines are lost to us; a bridge that is cut off knows, one that goes on would not.
            self.transport.abort()
            return
        if not done.result():
            self._ingest.heard(reports[-1].at)
        self._waiting -= len(reports)
        if self._waiting <= WAITING_LOW and not self.transport.is_closing():
            self.transport.resume_reading()

    def _after_commit(self, answer: bytes) -> None:
        if self._last is None or self._last.done():
            self.send(answer)
        else:
            self._last.add_done_callback(lambda _: self.send(answer))

    def _refuse(self, reason: str, start: bytes) -> None:
        self._ingest.counters[f'lines_refused_total{{reason="{reason}"}}'] += 1
        self._malformed += 1
        # Noise on a wire must not fill the disk with its log: ten lines, then ever more seldom.
        if self._malformed <= 10 or self._malformed & (self._malformed - 1) == 0:
            log.warning("bridge %s: line refused, %s: %r (%d so far)", self._peer, reason, start, self._malformed)

    def send(self, lines: bytes) -> None:
        if self.transport.is_closing():
            return
        if self.transport.get_write_buffer_size() + len(lines) > UNREAD_LIMIT:
            self._ingest.counters["bridges_cut_off_total"] += 1
            log.warning("bridge %s: cut off, it reads nothing", self._peer)
            self.transport.abort()
            return
        self.transport.write(lines)
