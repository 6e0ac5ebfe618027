"""Push: the snapshot and every event after it, to everyone who listens."""

from __future__ import annotations

import asyncio
import base64
import binascii
import hashlib
import os
from collections import deque
from collections.abc import Sequence
from datetime import tzinfo
from typing import cast

from sanic import Blueprint, HTTPResponse, Request

from bits._hub import GOING_AWAY, Hub
from bits._ws import text_frame
from bits.counters import Counters
from bits.events import Stored
from bits.state import Freshness, State, apply
from bits.web import context, query
from bits.web.body import Body
from bits.web.wire import Form, Wire, encode

bp = Blueprint("live")

# Frames kept for clients that come back: a few minutes of a busy space.
RECENT = 512

WEBSOCKET_GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"  # RFC 6455 section 1.3


class Channel:
    """One wire form: its clients, its recent frames, its finished snapshot."""

    def __init__(self, wire: Wire, live: Live) -> None:
        self.wire = wire
        self.hub = Hub(self.snapshot_frame)
        self._live = live
        self._recent: deque[tuple[int, bytes]] = deque(maxlen=RECENT)
        self._complete_after = 0  # _recent holds every frame after this seq
        self._snapshot: Body | None = None

    def snapshot(self) -> Body:
        if self._snapshot is None:
            data = encode(self.wire.snapshot(self._live.state, self._live.fresh))
            self._snapshot = Body(data, "application/json; charset=utf-8")
        return self._snapshot

    def snapshot_frame(self) -> bytes:
        return text_frame(self.snapshot().data)

    def reset(self) -> None:
        self._recent.clear()
        self._complete_after = self._live.state.seq
        self._snapshot = None

    def outdate(self) -> None:
        self._snapshot = None

    def remember(self, seq: int, frame: bytes) -> None:
        if len(self._recent) == RECENT:
            self._complete_after = self._recent[0][0]
        self._recent.append((seq, frame))

    def first(self, since: int | None) -> bytes:
        """Return what a client that has everything up to `since` is to be told first."""
        live = self._live
        if since is None or not self._complete_after <= since <= live.state.seq:
            return self.snapshot_frame()
        missed = [frame for seq, frame in self._recent if seq > since]
        return b"".join(missed) + text_frame(encode(self.wire.liveness(live.state, live.fresh)))


class Live:
    """Hold the state that the views show, in every form finished, and push its changes."""

    def __init__(self, zone: tzinfo, counters: Counters, *, clients: int, stall: float) -> None:
        self.state = State()
        self.fresh = Freshness(stale=False, unknown=False, until=None)
        self.version = 0  # rises whenever what a view would show may have changed
        self.counters = counters
        self.clients = clients
        self.stall = stall
        forms: tuple[Form, ...] = ("ms", "iso")
        self.channels: dict[str, Channel] = {form: Channel(Wire(form, zone), self) for form in forms}
        self._sweeper: asyncio.Task[None] | None = None

    def start(self, state: State, fresh: Freshness) -> None:
        self.state, self.fresh = state, fresh
        self.version += 1
        loop = asyncio.get_running_loop()
        for channel in self.channels.values():
            channel.reset()
            hub = channel.hub
            loop.add_reader(hub.fileno(), self._on_ready, hub)
        self._sweeper = asyncio.create_task(self._sweep(), name="hub sweeper")

    @staticmethod
    def _on_ready(hub: Hub) -> None:
        hub.on_ready(asyncio.get_running_loop().time())

    def stop(self) -> None:
        """Say goodbye to every client. May be called twice."""
        sweeper, self._sweeper = self._sweeper, None
        if sweeper is None:
            return
        sweeper.cancel()
        loop = asyncio.get_running_loop()
        for channel in self.channels.values():
            loop.remove_reader(channel.hub.fileno())
            channel.hub.close(GOING_AWAY, loop.time())

    async def _sweep(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            await asyncio.sleep(min(1.0, self.stall / 4))
            for channel in self.channels.values():
                channel.hub.sweep(loop.time(), self.stall)

    def __len__(self) -> int:
        return sum(len(channel.hub) for channel in self.channels.values())

    def on_events(self, batch: Sequence[Stored]) -> None:
        """Take in a committed batch and push it: one write per client for all of it."""
        steps: list[tuple[Stored, State]] = []
        for stored in batch:
            self.state = apply(self.state, stored)
            steps.append((stored, self.state))
        self.version += 1
        now = asyncio.get_running_loop().time()
        for channel in self.channels.values():
            channel.outdate()
            if channel.wire.form == "iso" and not len(channel.hub):
                channel.reset()  # nobody uses the old form: do not encode for nobody
                continue
            frames = []
            for stored, state in steps:
                frame = text_frame(encode(channel.wire.frame(stored, state)))
                channel.remember(stored.seq, frame)
                frames.append(frame)
            channel.hub.publish(b"".join(frames), now)

    def on_freshness(self, fresh: Freshness) -> None:
        """Tell everyone that the state has become stale, or is no longer."""
        self.fresh = fresh
        self.version += 1
        now = asyncio.get_running_loop().time()
        for channel in self.channels.values():
            channel.outdate()
            channel.hub.publish(text_frame(encode(channel.wire.liveness(self.state, fresh))), now)


def accept_key(key: str) -> str | None:
    """Return the answer to a Sec-WebSocket-Key; None: it is not 16 bytes of base64."""
    try:
        if len(base64.b64decode(key, validate=True)) != 16:
            return None
    except binascii.Error:
        return None
    return base64.b64encode(hashlib.sha1(key.encode() + WEBSOCKET_GUID, usedforsecurity=False).digest()).decode()


def _refusal(request: Request) -> HTTPResponse | str:
    """Check an opening handshake (RFC 6455 section 4.2.1). Returns the accept key, or the answer to send."""
    headers = request.headers
    connection = {token.strip().lower() for token in headers.get("connection", "").split(",")}
    if headers.get("upgrade", "").strip().lower() != "websocket" or "upgrade" not in connection:
        return HTTPResponse(
            "This address speaks WebSocket: expected the headers Connection: Upgrade and Upgrade: websocket.\n",
            status=426,
            headers={"Upgrade": "websocket", "Connection": "Upgrade"},
        )
    if headers.get("sec-websocket-version", "").strip() != "13":
        return HTTPResponse(
            "Expected Sec-WebSocket-Version: 13.\n", status=426, headers={"Sec-WebSocket-Version": "13"}
        )
    accept = accept_key(headers.get("sec-websocket-key", "").strip())
    if accept is None:
        return HTTPResponse("Expected a Sec-WebSocket-Key of 16 bytes in base64.\n", status=400)
    return accept


@bp.get("/ws")
async def websocket(request: Request) -> HTTPResponse:
    """Hand the connection over to the hub: snapshot (or what was missed since `since`), then every event.

    No extension is ever agreed, so that one encoded frame serves all.
    """
    live = context.of(request).live
    since = query.integer(request, "since", None, 0, 2**63 - 1)
    channel = live.channels[query.choice(request, "timestamps", "ms", ("ms", "iso"))]
    accept = _refusal(request)
    if isinstance(accept, HTTPResponse):
        return accept
    if len(live) >= live.clients:
        live.counters['push_refused_total{reason="too-many"}'] += 1
        return HTTPResponse(
            "Too many live connections (push_clients); come back later.\n",
            status=503,
            headers={"Retry-After": "30"},
        )
    transport = cast(asyncio.Transport, request.transport)
    handshake = (
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        f"Sec-WebSocket-Accept: {accept}\r\n\r\n"
    ).encode()
    # The hub gets a descriptor of its own for the same socket. aborting the transport closes Sanic's without a
    # FIN; Sanic then cancels this handler, as it does whenever a client is gone, and never answers. No await
    # between the snapshot and the hub's list: an event cannot slip through.
    fd = os.dup(transport.get_extra_info("socket").fileno())
    early = bytes(request.protocol.recv_buffer)  # type: ignore[attr-defined]
    channel.hub.add(fd, handshake + channel.first(since), asyncio.get_running_loop().time(), early)
    transport.abort()
    return await asyncio.get_running_loop().create_future()  # type: ignore[no-any-return]
