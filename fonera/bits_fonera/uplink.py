"""The conversation with the server: who we are, what is sent when, and when to give up and come back.

No I/O and no clock: bytes and time are passed in; what is to be written is in `output`.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum

from bits_fonera import protocol
from bits_fonera.clock import Now, age_ms
from bits_fonera.protocol import Ack, Message, Nak, Nonce, Ping, Pong, Refused, Sound, Status, Welcome
from bits_fonera.spool import Entry, Spool

WINDOW = 256  # lines that may be under way
OUTPUT_LOW = 4096  # bytes: no more lines are made into bytes while the socket has not taken those
OUTPUT_HIGH = 64 * 1024  # bytes of answers to a server that does not read; then it is left

CONNECT_MS = 15_000
PATIENCE_MS = 3_000  # for an answer to `hello`, before the server is taken for one of version 1
PATIENCE_MAX_MS = 48_000
SETTLED_MS = 10_000  # a connection that lasted as long was a good one: the next attempt comes soon
BACKOFF_MS = 1_000
V1_KEEP_MS = 2_000  # a line to a server of version 1 counts as arrived if the connection lives on so long
SILENT_INTERVALS = 3


class Phase(Enum):
    """How far the conversation has come."""

    WAITING = "waiting to connect"
    CONNECTING = "connecting"
    GREETING = "waiting for the nonce"
    PROVING = "waiting for the welcome"
    UP = "up, version 2"
    UP_1 = "up, version 1"


class Uplink:
    """One server, however many connections it takes.

    Args:
        spool: what is to be sent.
        bridge, key: our name, and the key shared with the server.
        version: "1", "2" or "auto": 2, unless nothing answers to `hello`.
        ping_interval_ms: of silence before we say something; three of the server's silence, and it is left.
        backoff_max_ms: the longest time between two attempts.
        chance: returns a number from 0 to 1.
        log: takes a level ("info", "warning") and a sentence.
    """

    def __init__(
        self,
        spool: Spool,
        *,
        bridge: str,
        key: str,
        version: str,
        ping_interval_ms: int,
        backoff_max_ms: int,
        chance: Callable[[], float],
        log: Callable[[str, str], None],
    ) -> None:
        self.phase = Phase.WAITING
        self.output = bytearray()
        self.broken = ""  # why the connection is to be closed; whoever owns it calls lost()
        self.has_failed = False  # to reach the server, at least once
        self.refused = 0  # lines of the server's
        self._spool = spool
        self._bridge = bridge
        self._key = key
        self._version = version
        self._ping_interval_ms = ping_interval_ms
        self._backoff_max_ms = backoff_max_ms
        self._chance = chance
        self._log = log
        self._decoder = protocol.Decoder()
        self._backoff_ms = BACKOFF_MS
        self._patience_ms = PATIENCE_MS
        self._retry_at = 0
        self._since = 0  # ms, when the phase began
        self._up_since: int | None = None
        self._heard = 0
        self._said = 0
        self._pings = 0
        self._highest_sent = 0
        self._written_1: list[int] = []  # ms, when each line that counts as sent was, to a server of version 1

    # --- what the connection does

    @property
    def is_up(self) -> bool:
        return self.phase in (Phase.UP, Phase.UP_1)

    @property
    def is_connected(self) -> bool:
        return self.phase not in (Phase.WAITING, Phase.CONNECTING)

    def wants_connection(self, now: Now) -> bool:
        return self.phase is Phase.WAITING and now.ms >= self._retry_at

    def connecting(self, now: Now) -> None:
        self._enter(Phase.CONNECTING, now)

    def connected(self, now: Now) -> None:
        """Say hello, on a connection that has just been made."""
        self._decoder = protocol.Decoder()
        self._heard = self._said = now.ms
        self._highest_sent = 0
        if self._version == "1":
            self._up(Phase.UP_1, now)
        else:
            self._enter(Phase.GREETING, now)
            self._say(protocol.hello(self._bridge), now)

    def lost(self, reason: str, now: Now) -> None:
        """The connection has ended, or could not be made."""
        # A connection of version 1 that breaks takes with it what was written just before: it is sent again.
        self._spool.rewind()
        self._written_1.clear()
        self.output.clear()
        self.broken = ""
        lasted = self._up_since is not None and now.ms - self._up_since >= SETTLED_MS
        if lasted:
            self._backoff_ms = BACKOFF_MS
        # Half of it is chance: bridges that lost the same server do not come back all at once.
        delay = round(self._backoff_ms * (0.5 + self._chance() / 2))
        self._backoff_ms = min(self._backoff_ms * 2, self._backoff_max_ms)
        self._up_since = None
        self.has_failed = True
        self._retry_at = now.ms + delay
        self._log("warning", f"no connection to the server ({reason}); next attempt in {delay / 1000:.1f} s")
        self._enter(Phase.WAITING, now)

    def receive(self, data: bytes, now: Now) -> tuple[list[Status | Message | Sound], list[Entry]]:
        """Take the server's bytes.

        Returns: what is for the board, and the entries that the server has, or will not have.
        """
        self._heard = now.ms
        news: list[Status | Message | Sound] = []
        done: list[Entry] = []
        for line in self._decoder.feed(data):
            match line:
                case Status() | Message() | Sound():
                    news.append(line)
                case Nonce(nonce) if self.phase is Phase.GREETING:
                    self._say(protocol.hello(self._bridge, self._key, nonce), now)
                    self._enter(Phase.PROVING, now)
                case Nonce() if self.phase is Phase.UP_1 and self._version == "auto":
                    self._patience_ms = min(self._patience_ms * 4, PATIENCE_MAX_MS)
                    self._break("the server speaks version 2 after all, it only took its time")
                case Welcome(last) if self.phase is Phase.PROVING:
                    done += self._welcome(last, now)
                case Ack(n) if self.phase is Phase.UP and n <= self._highest_sent:
                    done += self._spool.acknowledge(n)
                case Nak(n, reason) if self.phase is Phase.UP and n <= self._highest_sent:
                    done += self._refuse(n, reason)
                case Ping(token):
                    self._say(f"pong {token}\n".encode(), now)
                case Pong():
                    pass
                case Refused(reason, text):
                    self._complain(f"refused a line of the server's ({reason}): {text!r}")
                case _:
                    self._complain(f"the server said {line!r} while we were {self.phase.value}")
            if self.broken:
                break
        if len(self.output) > OUTPUT_HIGH:
            self._break("the server does not read what it asks for")
        return news, done

    # --- what time does

    def tick(self, now: Now) -> list[Entry]:
        """Do what is due, and make output of what the window and the socket have room for.

        Returns: entries that count as arrived, at a server that does not tell.
        """
        waited = now.ms - self._since
        done: list[Entry] = []
        if self.phase is Phase.CONNECTING and waited >= CONNECT_MS:
            self._break("no answer")
        elif self.phase is Phase.GREETING and self._version == "auto" and waited >= self._patience_ms:
            self._log("info", "no answer to hello: taking the server for one of version 1")
            self._up(Phase.UP_1, now)
        elif self.phase in (Phase.GREETING, Phase.PROVING, Phase.UP):
            if now.ms - self._heard >= SILENT_INTERVALS * self._ping_interval_ms:
                self._break(f"silent for {(now.ms - self._heard) / 1000:.0f} s")
            elif self.phase is Phase.UP and now.ms - self._said >= self._ping_interval_ms:
                self._pings += 1
                self._say(f"ping {self._pings}\n".encode(), now)
        if self.phase is Phase.UP_1:
            done = self._arrived_1(now)
        self._fill(now)
        return done

    def next_due_ms(self) -> int | None:
        """When tick() has something to do next, if nothing happens before."""
        match self.phase:
            case Phase.WAITING:
                return self._retry_at
            case Phase.CONNECTING:
                return self._since + CONNECT_MS
            case Phase.UP_1:
                return self._written_1[0] + V1_KEEP_MS if self._written_1 else None
        silence = self._heard + SILENT_INTERVALS * self._ping_interval_ms
        if self.phase is Phase.GREETING and self._version == "auto":
            return min(silence, self._since + self._patience_ms)
        return min(silence, self._said + self._ping_interval_ms) if self.phase is Phase.UP else silence

    # --- inside

    def _enter(self, phase: Phase, now: Now) -> None:
        self.phase = phase
        self._since = now.ms

    def _up(self, phase: Phase, now: Now) -> None:
        self._enter(phase, now)
        self._up_since = now.ms
        self._log("info", f"the server is in reach, version {2 if phase is Phase.UP else 1}")

    def _say(self, data: bytes, now: Now) -> None:
        self.output += data
        self._said = now.ms

    def _break(self, reason: str) -> None:
        self.broken = self.broken or reason

    def _welcome(self, last: int, now: Now) -> list[Entry]:
        if last > protocol.NUMBER_MAX - 10**9:
            self._break(f"the server claims to have {last} lines of ours")
            return []
        before = list(self._spool.pending)
        try:
            had, renumbered = self._spool.settle(last)
        except OSError as error:
            self._break(f"the spool cannot be written, so nothing can be sent: {error}")
            return []
        if renumbered:
            self._log("info", f"{renumbered} lines that wait are numbered from {last + 1}")
        self._highest_sent = last
        self._up(Phase.UP, now)
        return before[:had]

    def _refuse(self, n: int, reason: str) -> list[Entry]:
        entry = self._spool.refuse(n)
        if entry is None:
            return []
        self._complain(f"the server will not have {entry.line[:64]!r}: {reason}")
        return [entry]

    def _arrived_1(self, now: Now) -> list[Entry]:
        done = []
        # A temperature that was given up for want of room may have been among those written.
        del self._written_1[: len(self._written_1) - self._spool.sent]
        while self._written_1 and now.ms - self._written_1[0] >= V1_KEEP_MS and not self.output:
            self._written_1.pop(0)
            done.append(self._spool.give_up())
        if done and not self._spool.pending:
            self._spool.mark_done()
        return done

    def _fill(self, now: Now) -> None:
        if self.broken or not self.is_up:
            return
        while len(self.output) < OUTPUT_LOW and self._spool.sent < WINDOW:
            entry = self._spool.next_unsent()
            if entry is None:
                break
            if self.phase is Phase.UP:
                self._say(protocol.numbered(entry.n, age_ms(entry.then, now), entry.line), now)
                self._highest_sent = entry.n
            else:
                self._say(protocol.version_1(entry.line), now)
                self._written_1.append(now.ms)

    def _complain(self, text: str) -> None:
        """Log the first ten, then ever fewer: whoever talks nonsense must not fill the log."""
        self.refused += 1
        count = self.refused
        if count <= 10 or (count % 10 == 0 and (count // 10).bit_count() == 1):
            self._log("warning", f"{text} (number {count})")
