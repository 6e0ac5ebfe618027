"""The control port: lines from bridges in, lines to bridges out."""

from __future__ import annotations

import asyncio
import logging
import socket
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from ipaddress import IPv4Network, IPv6Network, ip_address
from typing import cast

from bits._proto import Ack, Ping, Welcome, encode
from bits.counters import Counters
from bits.events import Message, Report, Sound, Status, Stored
from bits.liveness import Clock
from bits.presence import Presence
from bits.session import Answer, Batch, Denied, Owner, Proven, Refused, Session

log = logging.getLogger("bits.ingest")

# Reports of one bridge that may wait for their commit before its socket is read no further.
WAITING_HIGH = 4000
WAITING_LOW = 1000

# Bytes a bridge may leave unread before it is cut off: some hundred messages; it is told the current status
# when it connects again.
UNREAD_LIMIT = 256 * 1024

# From the kernel, seconds: a bridge whose VPN is gone without a word is noticed after about two minutes.
KEEPALIVE = {"TCP_KEEPIDLE": 60, "TCP_KEEPINTVL": 20, "TCP_KEEPCNT": 3}

# Of a welcomed bridge's silence, until it is dropped.
INTERVALS = 3

Networks = Sequence[IPv4Network | IPv6Network]


def is_allowed(peer: object, networks: Networks) -> bool:
    """Tell whether a peer's address, as a transport gives it, may speak. Unix sockets have modes instead."""
    if not isinstance(peer, tuple):
        return True
    address = ip_address(str(peer[0]).partition("%")[0])
    mapped = getattr(address, "ipv4_mapped", None)
    return any((mapped or address) in network for network in networks)


class Ingest:
    """Every connected bridge.

    Args:
        heard: told when a bridge was heard.
        allow: where bridges may connect from.
        limit: how many at once.
        keys: of the bridges that may number their lines, by name.
        ping: seconds of silence after which such a bridge is pinged; 0: never.
        owner: tells whose a device is.
    """

    def __init__(
        self,
        presence: Presence,
        counters: Counters,
        clock: Clock,
        heard: Callable[[datetime], None],
        *,
        allow: Networks,
        limit: int,
        keys: Mapping[str, str],
        ping: float,
        owner: Owner = lambda digest: None,
    ) -> None:
        self.presence = presence
        self.counters = counters
        self.clock = clock
        self.heard = heard
        self.allow = allow
        self.limit = limit
        self.keys = keys
        self.ping = ping
        self.owner = owner
        self.links: set[Link] = set()
        self.welcomed: dict[str, Link] = {}
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
        if not told:
            return
        lines = [b"".join(encode(event, version) for event in told) for version in (1, 2)]
        for link in list(self.links):
            link.tell(lines[link.version - 1])

    def gauges(self) -> dict[str, int]:
        """Return how many bridges are connected, and which of those that have a key."""
        return {"bridges": len(self.links)} | {
            f'bridge_welcome{{bridge="{name}"}}': int(name in self.welcomed) for name in self.keys
        }


@dataclass(frozen=True, slots=True)
class Due:
    """What a link owes its bridge once a commit is done.

    Args:
        at: when the lines came that call for it.
    """

    done: asyncio.Future[list[Stored]]
    step: Batch | Answer | Refused | Proven
    at: datetime


class Link(asyncio.Protocol):
    """One connected bridge."""

    def __init__(self, ingest: Ingest) -> None:
        self.version = 1  # of what we say
        self._ingest = ingest
        self._loop = asyncio.get_running_loop()
        self._session = Session(ingest.keys, ingest.owner)
        self._due: deque[Due] = deque()
        self._answers = bytearray()
        self._last: asyncio.Future[list[Stored]] | None = None
        self._waiting = 0
        self._is_full = False  # of reports that wait for their commit
        self._is_deaf = False  # the bridge does not read its answers
        self._malformed = 0
        self._peer = "?"
        # Seconds of the loop's clock.
        self._said = self._heard = self._pinged = 0.0
        self._look_at = 0.0
        self._timer: asyncio.TimerHandle | None = None

    # --- the connection

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
        transport.set_write_buffer_limits(UNREAD_LIMIT)
        ingest.links.add(self)
        ingest.counters["bridges_connected_total"] += 1
        log.info("bridge %s: connected", self._peer)
        ingest.heard(ingest.clock())
        if status := ingest.presence.state.value:
            self.tell(encode(Status(status)))

    def connection_lost(self, exc: Exception | None) -> None:
        if self._timer:
            self._timer.cancel()
        if self in self._ingest.links:
            self._leave()
            log.info("bridge %s: gone%s", self._peer, f" ({exc})" if exc else "")

    def _leave(self) -> None:
        ingest = self._ingest
        ingest.links.discard(self)
        bridge = self._session.bridge
        if bridge is not None and ingest.welcomed.get(bridge) is self:
            del ingest.welcomed[bridge]

    def pause_writing(self) -> None:
        # Who does not read the answers is asked nothing more: they would pile up here.
        self._is_deaf = True
        self._read_on()

    def resume_writing(self) -> None:
        self._is_deaf = False
        self._read_on()

    def _read_on(self) -> None:
        if self.transport.is_closing():
            return
        if self._is_full or self._is_deaf:
            self.transport.pause_reading()
        else:
            self.transport.resume_reading()

    # --- in

    def data_received(self, data: bytes) -> None:
        ingest = self._ingest
        if self not in ingest.links:
            return
        now = ingest.clock()
        self._heard = self._loop.time()
        is_fresh = False
        for step in self._session.receive(data, now):
            match step:
                case Batch():
                    is_fresh |= step.is_fresh
                    self._submit(step, now)
                case Answer():
                    self._owe(step, now)
                case Refused():
                    self._refuse(step)
                    if step.answer:
                        self._owe(step, now)
                case Proven(bridge=bridge):
                    self._take_over(bridge)
                    # Its turn comes when all is in that an earlier connection of this bridge has sent, here or, on a
                    # log that others write to, elsewhere.
                    self._due.append(Due(self._push([]), step, now))
                case Denied(reason=reason, bridge=bridge):
                    ingest.counters[f'bridges_refused_total{{reason="{reason}"}}'] += 1
                    log.warning("bridge %s: refused as %s, %s", self._peer, bridge, reason)
                    self._flush()
                    self._leave()
                    self.transport.close()
        self._flush()
        if not is_fresh:
            ingest.heard(now)

    def _submit(self, batch: Batch, now: datetime) -> None:
        """Send reports down the write path."""
        self._ingest.counters["lines_taken_total"] += len(batch.reports)
        self._waiting += len(batch.reports)
        if self._waiting > WAITING_HIGH and not self._is_full:
            self._is_full = True
            self._read_on()
        self._due.append(Due(self._push(batch.reports), batch, now))

    def _push(self, reports: list[Report]) -> asyncio.Future[list[Stored]]:
        # If a batch is lost, so must be those after it: an acknowledged number stands for all below.
        self._last = self._ingest.presence.submit(reports, after=self._last)
        self._last.add_done_callback(self._on_commit)
        return self._last

    def _owe(self, step: Answer | Refused, now: datetime) -> None:
        """Answer when all that stands before is committed."""
        if self._due:
            self._due.append(Due(self._due[-1].done, step, now))
        else:
            self._pay(step)

    def _on_commit(self, done: asyncio.Future[list[Stored]]) -> None:
        if done.cancelled() or done.exception():
            # The lines are lost to us; a bridge that is cut off knows, one that goes on would not.
            self._due.clear()
            self.transport.abort()
            return
        # What was committed together is acknowledged together.
        ack = 0
        while self._due and self._due[0].done.done() and not self._due[0].done.exception():
            due = self._due.popleft()
            if isinstance(due.step, Batch):
                self._count(due.step, due.done.result(), due.at)
                ack = max(ack, due.step.ack)
                continue
            if ack:
                self._answers += encode(Ack(ack))
                ack = 0
            self._pay(due.step)
        if ack:
            self._answers += encode(Ack(ack))
        self._flush()
        if self._is_full and self._waiting <= WAITING_LOW:
            self._is_full = False
            self._read_on()

    def _count(self, batch: Batch, stored: list[Stored], at: datetime) -> None:
        self._waiting -= len(batch.reports)
        if not stored:
            self._ingest.heard(at)
        if batch.numbered:
            known = batch.numbered - sum(one.number is not None for one in stored)
            self._ingest.counters["lines_repeated_total"] += known

    def _refuse(self, refused: Refused) -> None:
        self._ingest.counters[f'lines_refused_total{{reason="{refused.reason}"}}'] += 1
        self._malformed += 1
        # Noise on a wire must not fill the disk with its log: ten lines, then ever more seldom.
        if self._malformed <= 10 or self._malformed & (self._malformed - 1) == 0:
            log.warning(
                "bridge %s: line %srefused, %s: %r (%d so far)",
                self._peer,
                "" if refused.n is None else f"{refused.n} ",
                refused.reason,
                refused.start,
                self._malformed,
            )

    # --- a bridge that is welcome

    def _take_over(self, bridge: str) -> None:
        """Be the one connection of this bridge."""
        ingest = self._ingest
        before = ingest.welcomed.get(bridge)
        ingest.welcomed[bridge] = self
        self._peer = f"{bridge} ({self._peer})"
        if before is not None:
            ingest.counters["bridges_replaced_total"] += 1
            log.warning("bridge %s: connected a second time; the first is closed", self._peer)
            before.transport.abort()

    def _welcome(self, bridge: str) -> None:
        if self.transport.is_closing():
            return
        state = self._ingest.presence.state
        last = state.bridges.get(bridge, 0)
        log.info("bridge %s: welcome, its last number is %d", self._peer, last)
        self._ingest.counters["bridges_welcomed_total"] += 1
        self._answers += encode(Welcome(last))
        self.version = 2
        if state.value == "away":  # it has been told "closed"
            self._answers += encode(Status("away"), self.version)
        if self._ingest.ping:
            self._said = self._heard = self._pinged = self._loop.time()
            self._watch()

    def _watch(self) -> None:
        """Look again when a ping is due, or silence has lasted too long."""
        interval = self._ingest.ping
        self._look_at = min(
            self._said + interval, max(self._heard, self._pinged) + interval, self._heard + INTERVALS * interval
        )
        self._timer = self._loop.call_at(self._look_at, self._on_time)

    def _on_time(self) -> None:
        if self.transport.is_closing():
            return
        now = self._loop.time()
        interval = self._ingest.ping
        if self._is_full or now - self._look_at > interval:
            # We did not read: its lines wait for the log, or this process itself stood still.
            self._heard = now
        if now - self._heard >= INTERVALS * interval:
            self._ingest.counters["bridges_silent_total"] += 1
            log.warning("bridge %s: dropped, silent for %.1f s", self._peer, now - self._heard)
            self.transport.abort()
            return
        # A bridge that we tell much may have nothing to say for longer than that: it is pinged too.
        if now - self._said >= interval or now - max(self._heard, self._pinged) >= interval:
            self._pinged = now
            self._answers += encode(Ping(f"{now:.0f}"))
            self._flush()
        self._watch()

    # --- out

    def _pay(self, step: Answer | Refused | Proven) -> None:
        match step:
            case Answer(line=line):
                self._answers += encode(line)
            case Refused(answer=nak):
                self._ingest.counters["naks_total"] += 1
                assert nak
                self._answers += encode(nak)
            case Proven(bridge=bridge):
                self._welcome(bridge)

    def _flush(self) -> None:
        """Send the answers. Their number is bounded by what was read, and no more is read until they have gone out."""
        if self._answers:
            self._send(bytes(self._answers))
            self._answers.clear()

    def tell(self, lines: bytes) -> None:
        """Send what was not asked for."""
        if self.transport.get_write_buffer_size() + len(lines) > UNREAD_LIMIT and not self.transport.is_closing():
            self._ingest.counters["bridges_cut_off_total"] += 1
            log.warning("bridge %s: cut off, it reads nothing", self._peer)
            self.transport.abort()
            return
        self._send(lines)

    def _send(self, lines: bytes) -> None:
        if not self.transport.is_closing():
            self._said = self._loop.time()
            self.transport.write(lines)
