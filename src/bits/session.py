"""One bridge's conversation with the server, sans I/O: bytes and time in, what is to be done out.

Version 1 and 2 of the miniprotocol: docs/protocol.md.
"""

from __future__ import annotations

import hmac
import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from bits import events
from bits._proto import Decoder, Gone, Hello, Malformed, Nak, Nonce, Numbered, Ping, Pong, Seen, encode
from bits.events import BRIDGE, MAC, Enter, Leave, Message, Report, Sound, Status, Temperature

if TYPE_CHECKING:
    from bits._proto import NumberedEvent

# A bridge needs two of a connection. More is somebody who tries keys out.
MOST_HELLOS = 8

# An event younger than this came as it happened: its time will do for the time at which the bridge was heard.
FRESH_MS = 1000

# Bytes of a line that was refused, as the decoder keeps them.
KEPT = 64

# Whose device has this digest: the person, and the name of the member.
Owner = Callable[[str], tuple[int, str] | None]


@dataclass(slots=True)
class Batch:
    """Reports to be stored, in order.

    Args:
        ack: the highest number among them; 0: none has one.
        numbered: how many have one.
        is_fresh: whether one of them tells that the bridge was heard just now.
    """

    reports: list[Report] = field(default_factory=list)
    ack: int = 0
    numbered: int = 0
    is_fresh: bool = False


@dataclass(frozen=True, slots=True)
class Answer:
    """A line for the bridge, once all that stands before is committed."""

    line: Nonce | Pong


@dataclass(frozen=True, slots=True)
class Refused:
    """A line that is not taken; the conversation goes on.

    Args:
        start: of the line, for the log.
        n: its number, which is to be refused for good; None: it has none.
    """

    reason: str
    start: bytes
    n: int | None = None

    @property
    def answer(self) -> Nak | None:
        return None if self.n is None else Nak(self.n, self.reason)


@dataclass(frozen=True, slots=True)
class Proven:
    """The bridge is who it says: it is to be told how far the log goes, after all that stands before is committed."""

    bridge: str


@dataclass(frozen=True, slots=True)
class Denied:
    """The bridge is not who it says: the connection is to be closed. Nothing comes after."""

    reason: str
    bridge: str


Step = Batch | Answer | Refused | Proven | Denied


def proof(key: str, nonce: str) -> str:
    """Return what proves that one has the key: HMAC-SHA256 of the nonce's digits, in hexadecimal."""
    return hmac.digest(key.encode(), nonce.encode("ascii"), "sha256").hex()


class Session:
    """What a connection's bytes mean.

    Answers come in the order of the lines they answer. The protocol would allow a `nak` to go ahead of the `ack` of a
    line before it, since it stands for its own number alone; but not behind an `ack` of a line after it, which would
    tell the bridge that the refused one was stored. In order, neither has to be thought of.

    Args:
        keys: the bridges' keys, by name.
        owner: tells whose a device is.
        make_nonce: returns 32 hexadecimal digits that nobody can foresee.
    """

    def __init__(
        self, keys: Mapping[str, str], owner: Owner, make_nonce: Callable[[], str] = lambda: secrets.token_hex(16)
    ) -> None:
        self.bridge: str | None = None  # once it is proven
        self._keys = keys
        self._owner = owner
        self._make_nonce = make_nonce
        self._decoder = Decoder()
        self._nonce: str | None = None
        self._hellos = 0
        self._is_over = False

    def receive(self, data: bytes, now: datetime) -> list[Step]:
        """Take bytes; return what they call for, in order.

        Args:
            now: aware.
        """
        steps: list[Step] = []
        if self._is_over:
            return steps
        batch = Batch()
        for line in self._decoder.feed(data):
            match line:
                case Numbered(n=n, age_ms=age_ms, line=event) if self.bridge and not isinstance(event, Malformed):
                    report = self._report(event, now, n, age_ms)
                    batch.reports.append(report)
                    batch.numbered += 1
                    batch.ack = max(batch.ack, n)
                    batch.is_fresh |= age_ms < FRESH_MS and report.source == BRIDGE
                    continue
                case Status() | Temperature() | Enter() | Leave() | Message() | Sound():
                    batch.reports.append(Report(line, BRIDGE, now, BRIDGE if isinstance(line, Message) else None))
                    batch.is_fresh = True
                    continue
                case Pong():
                    continue
                case Ping(token=token):
                    step: Step = Answer(Pong(token))
                case Malformed(reason=reason, line=start):
                    step = Refused(reason, start)
                case Numbered(n=n) if not self.bridge:
                    step = Refused("not-welcome", b"@%d" % n, n)
                case Numbered(n=n, line=Malformed(reason=reason, line=start)):
                    step = Refused(reason, start, n)
                case Hello() if not self.bridge:
                    step = self._greet(line)
                case _:
                    # What only a server says, or a second hello of a bridge that is welcome already.
                    step = Refused("not-expected", encode(line).rstrip()[:KEPT])
            if batch.reports:
                steps.append(batch)
                batch = Batch()
            steps.append(step)
            if isinstance(step, Denied):
                self._is_over = True
                return steps
        if batch.reports:
            steps.append(batch)
        return steps

    def _greet(self, hello: Hello) -> Step:
        self._hellos += 1
        if self._hellos > MOST_HELLOS:
            return Denied("too-many-hellos", hello.bridge)
        nonce, self._nonce = self._nonce, None  # good for one proof
        if hello.proof is None:
            # Whoever has no key gets one too: which names have keys is nobody's business.
            self._nonce = self._make_nonce()
            return Answer(Nonce(self._nonce))
        if nonce is None:
            return Denied("no-nonce", hello.bridge)
        key = self._keys.get(hello.bridge)
        is_good = hmac.compare_digest(proof(key or self._make_nonce(), nonce), hello.proof)
        if key is None:
            return Denied("unknown-bridge", hello.bridge)
        if not is_good:
            return Denied("bad-proof", hello.bridge)
        self.bridge = hello.bridge
        return Proven(hello.bridge)

    def _report(self, event: NumberedEvent, now: datetime, n: int, age_ms: int) -> Report:
        """Make a numbered line's report."""
        age = timedelta(milliseconds=age_ms)
        at = now - age
        match event:
            case Seen(digest=digest):
                person, name = self._owner(digest) or (None, None)
                return Report(events.Seen(digest, person), MAC, at, name, self.bridge, n, age)
            case Gone(digest=digest):
                person, name = self._owner(digest) or (None, None)
                return Report(events.Gone(digest, person), MAC, at, name, self.bridge, n, age)
            case _:
                return Report(event, BRIDGE, at, BRIDGE if isinstance(event, Message) else None, self.bridge, n, age)
