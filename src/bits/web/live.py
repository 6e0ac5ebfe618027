"""Push: the snapshot and every event after it, to everyone who listens."""

from __future__ import annotations

import asyncio
import os
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from datetime import tzinfo

from bits._hub import FORMS, GOING_AWAY, LONG_POLL, Hub
from bits.counters import Counters
from bits.events import Stored
from bits.state import Freshness, State, apply
from bits.web.body import Body
from bits.web.framing import EVENT_STREAM_HEAD, FRAMINGS, Item, accept_key, handshake, long_poll, turn_away
from bits.web.wire import Form, Wire, encode

# Events kept for clients that come back: a few minutes of a busy space.
RECENT = 512

# First words kept for clients that come back together: they stopped at a few events, not at many.
REMEMBERED = 32

# The longest a long poll may ask to wait, in seconds: proxies give up soon after.
LONGEST_WAIT = 300.0

TOO_MANY = "Too many live connections (push_clients); come back later."


class Channel:
    """One way to write timestamps: its recent events, its finished snapshot, what newcomers are told."""

    def __init__(self, wire: Wire, live: Live) -> None:
        self.wire = wire
        self._live = live
        self._recent: deque[Item] = deque(maxlen=RECENT)
        self._complete_after = 0  # _recent holds every event after this seq
        self._snapshot: Body | None = None
        self._first: dict[tuple[int, int | None], bytes] = {}

    def snapshot(self) -> Body:
        if self._snapshot is None:
            data = encode(self.wire.snapshot(self._live.state, self._live.fresh))
            self._snapshot = Body(data, "application/json", vary="Accept-Encoding")
        return self._snapshot

    def reset(self) -> None:
        """Forget everything; what is to come is remembered from here on."""
        self._recent.clear()
        self._complete_after = self._live.state.seq
        self.outdate()

    def outdate(self) -> None:
        self._snapshot = None
        self._first.clear()

    def remember(self, item: Item) -> None:
        if len(self._recent) == RECENT:
            self._complete_after = self._recent[0][0]
        self._recent.append(item)

    def _items(self, since: int | None) -> list[Item]:
        live = self._live
        if since is None or not self._complete_after <= since <= live.state.seq:
            return [(live.state.seq, self.snapshot().data)]
        missed = [item for item in self._recent if item[0] > since]
        return [*missed, (live.state.seq, encode(self.wire.liveness(live.state, live.fresh)))]

    def first(self, transport: int, since: int | None) -> bytes:
        """Return, framed, what a client that has everything up to `since` is to be told first."""
        key = transport, since
        if key not in self._first:
            if len(self._first) == REMEMBERED:
                self._first.clear()
            self._first[key] = FRAMINGS[transport // 2](self._items(since))
        return self._first[key]


class Live:
    """Hold the state that the views show, in every form finished, and push its changes.

    Args:
        clients: live connections at once, at most.
        threads, ping, stall, backlog: see Hub.
        listed: gives the names that everybody may read, by the members' numbers.
    """

    def __init__(
        self,
        zone: tzinfo,
        counters: Counters,
        *,
        clients: int,
        threads: int,
        ping: float,
        stall: float,
        backlog: int,
        listed: Callable[[], Mapping[int, str]] = dict,
    ) -> None:
        self.state = State()
        self.fresh = Freshness(stale=False, unknown=False, until=None)
        self.version = 0  # rises whenever what a view would show may have changed
        self.counters = counters
        self.clients = clients
        forms: tuple[Form, Form] = ("ms", "iso")
        self.channels: dict[str, Channel] = {form: Channel(Wire(form, zone, listed), self) for form in forms}
        self._by_index = tuple(self.channels.values())
        self.hub = Hub(
            lambda form: self._by_index[form % 2].first(form - form % 2, None),
            self._answered,
            threads=threads,
            ping=ping,
            stall=stall,
            backlog=backlog,
            nothing=long_poll([]),
        )
        self.on_change: Callable[[], None] = lambda: None
        self.on_answered: Callable[[int], None] = os.close
        self._running = False
        self._waking = False

    def start(self, state: State, fresh: Freshness) -> None:
        self.state, self.fresh = state, fresh
        for channel in self._by_index:
            channel.reset()
        self._changed()
        self.hub.start()
        asyncio.get_running_loop().add_reader(self.hub.fileno(), self.hub.on_notice)
        self._running = True

    def stop(self) -> None:
        """Say goodbye to every client. May be called twice."""
        if self._running:
            self._running = False
            asyncio.get_running_loop().remove_reader(self.hub.fileno())
            self.hub.close(GOING_AWAY)

    def __len__(self) -> int:
        return len(self.hub)

    def _answered(self, fd: int) -> None:
        """A long poll was answered; its connection goes back to where requests are read."""
        self.on_answered(fd)

    @property
    def digit(self) -> str:
        """1 open, 0 anything else."""
        return "1" if self.state.value == "open" and not self.fresh.unknown else "0"

    # --- what happened

    def _changed(self) -> None:
        self.version += 1
        for channel in self._by_index:
            channel.outdate()
        self.on_change()

    def on_events(self, batch: Sequence[Stored]) -> None:
        """Take in a committed batch and push it: one write per client for all of it."""
        steps: list[tuple[Stored, State]] = []
        for stored in batch:
            self.state = apply(self.state, stored)
            steps.append((stored, self.state))
        self._changed()
        items: list[list[Item]] = []
        for channel in self._by_index:
            if channel.wire.form == "iso" and not self._listeners(1):
                channel.reset()  # nobody uses the old form: do not encode for nobody
                items.append([])
                continue
            items.append([(stored.seq, encode(channel.wire.frame(stored, state))) for stored, state in steps])
            for item in items[-1]:
                channel.remember(item)
        self._publish(items)

    def on_freshness(self, fresh: Freshness) -> None:
        """Tell everyone that the state has become stale, or is no longer."""
        self.fresh = fresh
        self.refresh()

    def refresh(self) -> None:
        """Tell everyone anew what is no event: how far the state may be believed, and the names of who is in."""
        self._changed()
        self._publish(
            [[(self.state.seq, encode(channel.wire.liveness(self.state, self.fresh)))] for channel in self._by_index]
        )

    def _listeners(self, index: int) -> int:
        return sum(self.hub.of_form(transport + index) for transport in range(0, FORMS, 2))

    def _publish(self, items: list[list[Item]]) -> None:
        """Frame the items, by way to write timestamps, for every form that somebody listens to."""
        frames = tuple(
            FRAMINGS[form // 2](items[form % 2]) if items[form % 2] and self.hub.of_form(form) else None
            for form in range(FORMS)
        )
        if any(frames):
            self.hub.publish(frames)

    # --- who comes

    def join(
        self,
        fd: int,
        transport: int,
        form: int,
        since: int | None,
        *,
        wait: float = 0,
        stale: bool | None = None,
        last: bool = False,
        key: bytes | None = None,
        early: bytes = b"",
    ) -> None:
        """Take over a connection for good: tell it what it missed, and push from here on.

        Nothing is awaited between the snapshot and the hub's list, so that no event can slip through.

        Args:
            fd: a non-blocking socket whose request was read; the hub's from here on.
            transport: WEBSOCKET, EVENT_STREAM or LONG_POLL.
            form: index of the way to write timestamps.
            since: the seq the client has everything up to; None: it has nothing.
            wait: of a long poll, seconds.
            stale: of a long poll: what the client believes, since that may turn between two polls; None: unknown.
            last: of a long poll: close behind the answer.
            key: of a WebSocket's handshake, already checked.
            early: what a WebSocket's client sent behind its handshake.
        """
        if len(self.hub) >= self.clients:
            self.counters['push_refused_total{reason="too-many"}'] += 1
            turn_away(fd, TOO_MANY, 30)
            return
        if not self._waking:  # once for all that come in this turn of the loop
            self._waking = True
            asyncio.get_running_loop().call_soon(self._wake)
        channel = self._by_index[form]
        if transport == LONG_POLL:
            up_to_date = since == self.state.seq and stale in (None, self.fresh.stale)
            self.hub.wait(fd, LONG_POLL + form, wait, last, None if up_to_date else channel.first(LONG_POLL, since))
            return
        head = EVENT_STREAM_HEAD if key is None else handshake(accept_key(key) or "")
        self.hub.add(fd, transport + form, head + channel.first(transport, since), early)

    def _wake(self) -> None:
        self._waking = False
        self.hub.wake()
