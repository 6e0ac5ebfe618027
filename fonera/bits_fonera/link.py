"""The link to the board: frames, and the bridge's end of the conversation. No I/O, no clock; see docs/link.md."""

from __future__ import annotations

import re
import zlib
from collections import deque
from collections.abc import Callable, Iterator
from typing import NamedTuple

FRAME_MAX = 384  # bytes, LF included
ID_MAX = 2**31 - 1  # sessions and numbers
AGE_MAX = 2**32 - 1  # ms

RETRY_MS = 250  # until a line is sent again, doubling
RETRY_MAX_MS = 2000
SOUNDS_MAX = 8  # sounds that wait for the board; of everything else only the newest waits


class Hello(NamedTuple):
    """The board has no session."""


class Session(NamedTuple):
    """The bridge gives it one."""

    sid: int


class Data(NamedTuple):
    """A line of the sender's session."""

    sid: int
    n: int
    age_ms: int
    line: str


class Ack(NamedTuple):
    """Line n of the receiver's session has been taken."""

    sid: int
    n: int


class Noise(NamedTuple):
    """Something that is no frame, and why."""

    reason: str


Frame = Hello | Session | Data | Ack | Noise


def encode(frame: Hello | Session | Data | Ack) -> bytes:
    """Return a frame as it goes over the wire."""
    match frame:
        case Hello():
            body = b"h"
        case Session(sid):
            body = b"s %d" % sid
        case Data(sid, n, age_ms, line):
            body = b"d %d %d %d %s" % (sid, n, age_ms, line.encode("ascii"))
        case Ack(sid, n):
            body = b"a %d %d" % (sid, n)
    return b"%s*%08x\n" % (body, zlib.crc32(body))


_INTEGER = rb"(0|[1-9][0-9]{0,9})"
_BODY = re.compile(
    rb"(?P<hello>h)|s %(i)s|d %(i)s %(i)s %(i)s ([\x20-\x7e]+)|a %(i)s %(i)s" % {b"i": _INTEGER},
)
_CRC = re.compile(rb"\*[0-9a-f]{8}")


def decode(line: bytes) -> Frame:
    """Read one line, without its LF."""
    if not line:
        return Noise("empty")
    body, tail = line[:-9], line[-9:]
    if not _CRC.fullmatch(tail):
        return Noise("no-crc")
    # An empty body has no CRC to be wrong about: whatever its digits, it is no body.
    if body and zlib.crc32(body) != int(tail[1:], 16):
        return Noise("bad-crc")
    found = _BODY.fullmatch(body)
    if found is None:
        return Noise("bad-body")
    hello, given, sid, n, age, text, acked_sid, acked_n = found.groups()
    if hello:
        return Hello()
    if given:
        return Session(int(given)) if 1 <= int(given) <= ID_MAX else Noise("bad-body")
    identity = (int(sid or acked_sid), int(n or acked_n))
    if not all(1 <= number <= ID_MAX for number in identity) or int(age or 0) > AGE_MAX:
        return Noise("bad-body")
    return Data(*identity, int(age), text.decode("ascii")) if text else Ack(*identity)


class Decoder:
    """Turn the wire's bytes into frames; however they are cut into pieces, the frames are the same."""

    def __init__(self) -> None:
        self._line = bytearray()
        self._skipping = False

    def feed(self, data: bytes) -> list[Frame]:
        """Return the frames that these bytes complete, noise among them."""
        frames: list[Frame] = []
        *ended, rest = data.split(b"\n")
        for piece in ended:
            self._add(piece, frames)
            if not self._skipping:
                frames.append(decode(bytes(self._line)))
            self._line.clear()
            self._skipping = False
        self._add(rest, frames)
        return frames

    def _add(self, piece: bytes, frames: list[Frame]) -> None:
        if self._skipping:
            return
        self._line += piece[: FRAME_MAX - len(self._line)]
        if len(self._line) == FRAME_MAX:
            frames.append(Noise("too-long"))
            self._line.clear()
            self._skipping = True


class _Waiting(NamedTuple):
    kind: str
    line: str
    happened_ms: int


class Endpoint:
    """The bridge's end of the link.

    Bytes from the wire go into receive(), bytes for the wire come out of output(). Whoever takes a line that receive()
    returned says so with take(); until then the board repeats it.

    Args:
        seen: session and number of the last line taken from the board, from disk; (0, 0) for none.
        draw: returns a session by chance, 1 to 2^31 - 1.
    """

    def __init__(self, seen: tuple[int, int], draw: Callable[[], int]) -> None:
        self.seen = seen
        self.noise: dict[str, int] = {}
        self.heard_ms: int | None = None  # the last good frame
        self._draw = draw
        self._decoder = Decoder()
        self._offered = (0, 0)
        self._sid = draw()
        self._n = 0
        self._outbox: deque[_Waiting] = deque()
        self._under_way: _Waiting | None = None
        self._due_ms = 0
        self._retry_ms = RETRY_MS
        self._replies = bytearray()

    def receive(self, data: bytes, now_ms: int) -> Iterator[Hello | Data]:
        """Yield the lines to take, repeated ones that have not been taken among them, and calls for a session.

        Each frame is judged when it is asked for: the same line may be there twice, and is known the second time.
        """
        for frame in self._decoder.feed(data):
            if isinstance(frame, Noise):
                self.noise[frame.reason] = self.noise.get(frame.reason, 0) + 1
                continue
            self.heard_ms = now_ms
            if isinstance(frame, Hello):
                self._replies += encode(Session(self._fresh_session()))
                yield frame
            elif isinstance(frame, Data):
                if frame.sid == self.seen[0] and frame.n <= self.seen[1]:
                    self._replies += encode(Ack(frame.sid, frame.n))
                else:
                    self._offered = (frame.sid, frame.n)
                    yield frame
            elif isinstance(frame, Ack) and self._under_way and frame == (self._sid, self._n):
                self._under_way = None

    def take(self, sid: int, n: int) -> None:
        """Acknowledge a line to the board, unless it has gone on to another meanwhile."""
        if self._offered == (sid, n):
            self.seen = (sid, n)
            self._replies += encode(Ack(sid, n))

    def tell(self, kind: str, line: str, happened_ms: int) -> None:
        """Queue a line for the board. A newer one takes the place of those of its kind that have not been sent."""
        same = [waiting for waiting in self._outbox if waiting.kind == kind]
        keep = SOUNDS_MAX - 1 if kind == "sound" else 0
        for stale in same[: max(len(same) - keep, 0)]:
            self._outbox.remove(stale)
        self._outbox.append(_Waiting(kind, line, happened_ms))

    def withdraw(self, kind: str) -> bool:
        """Take back the lines of a kind that have not been sent. Returns whether there were any."""
        count = len(self._outbox)
        self._outbox = deque(waiting for waiting in self._outbox if waiting.kind != kind)
        return len(self._outbox) < count

    def output(self, now_ms: int) -> bytes:
        """Return what is to be written to the wire now."""
        if self._under_way is None and self._outbox:
            if self._n == ID_MAX:
                self._sid, self._n = self._draw(), 0
            self._under_way = self._outbox.popleft()
            self._n += 1
            self._due_ms, self._retry_ms = now_ms, RETRY_MS
        if self._under_way is not None and now_ms >= self._due_ms:
            self._replies += self._frame(self._under_way, now_ms)
            self._due_ms = now_ms + self._retry_ms
            self._retry_ms = min(self._retry_ms * 2, RETRY_MAX_MS)
        data = bytes(self._replies)
        self._replies.clear()
        return data

    @property
    def next_due_ms(self) -> int | None:
        """When output() has something to say again, unless something comes in before."""
        if self._under_way is None:
            return 0 if self._outbox else None
        return self._due_ms

    def _frame(self, waiting: _Waiting, now_ms: int) -> bytes:
        age = min(max(now_ms - waiting.happened_ms, 0), AGE_MAX)
        if waiting.kind == "clock":
            # A clock is as old as its last sending: what it showed then, and the time since.
            return encode(Data(self._sid, self._n, 0, f"clock {int(waiting.line) + age // 1000}"))
        return encode(Data(self._sid, self._n, age, waiting.line))

    def _fresh_session(self) -> int:
        while True:
            sid = self._draw()
            if sid != self.seen[0]:
                return sid
