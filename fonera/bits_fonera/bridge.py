"""What the bridge decides: what is taken from the board, what it is told, and when. No I/O, no clock."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from bits_fonera.clock import Now, before
from bits_fonera.link import Data, Endpoint
from bits_fonera.protocol import Message, Sound, Status, for_display
from bits_fonera.spool import Entry, Outcome, Spool
from bits_fonera.uplink import Uplink

SIGN_OF_LIFE_MS = 10_000  # the board shows that the link is down after three of these
ECHO_MS = 500  # the server's own word on a status follows its acknowledgement within this


class _News(NamedTuple):
    """Something the board is to know, and when it happened."""

    line: str
    ms: int


class Bridge:
    """The board on one side, the server on the other, the spool between.

    Args:
        draw: returns a session by chance, 1 to 2^31 - 1.
        log: takes a level ("info", "warning") and a sentence.
    """

    def __init__(self, spool: Spool, uplink: Uplink, draw: Callable[[], int], log: Callable[[str, str], None]) -> None:
        self.spool = spool
        self.uplink = uplink
        self.board = Endpoint(spool.seen, draw)
        self.not_taken = 0  # lines for which there was no room
        self._log = log
        self._trouble = ""  # why lines were not put on disk, as logged last
        self._known: dict[str, _News] = {}  # what a board that has lost its memory is told again, by kind
        self._held: _News | None = None  # the server's status, while one of the board's is on its way
        self._held_until = 0
        self._pressed = ""  # the board's last status, which the server says again when it has it
        self._own_status = sum(entry.is_status for entry in spool.pending)  # on their way to the server
        self._local_offset_ms: int | None = None  # local time less our clock
        self._next_sign_ms = 0

    # --- from the board, and from ourselves

    def board_bytes(self, data: bytes, now: Now) -> None:
        """Take what came over the wire."""
        for frame in self.board.receive(data, now.ms):
            if isinstance(frame, Data):
                self._take(frame, now)
            else:
                self._introduce()

    def report(self, line: str, age_ms: int, now: Now) -> bool:
        """Take a line that is not the board's. Returns whether there was room for it."""
        return self._append(line, before(now, age_ms), (0, 0)).kept

    def local_time(self, local_s: float, now: Now) -> None:
        """Learn what time it is at the space: seconds since 1970 as if local were UTC."""
        self._local_offset_ms = round(local_s * 1000) - now.ms
        self._next_sign_ms = now.ms

    # --- from the server

    def server_connected(self, now: Now) -> None:
        self.uplink.connected(now)
        self._tell_reach(now)

    def server_lost(self, reason: str, now: Now) -> None:
        self.uplink.lost(reason, now)
        self._tell_reach(now)

    def server_bytes(self, data: bytes, now: Now) -> None:
        """Take what the server sent."""
        news, done = self.uplink.receive(data, now)
        self._gone(done, now)
        for line in news:
            match line:
                case Status(value):
                    self._held = _News(f"status {value}", now.ms)
                case Message(text):
                    self._tell("message", f"message {for_display(text)}", now.ms)
                case Sound(number):
                    self.board.tell("sound", f"sound {number}", now.ms)
        self._release(now)
        self._tell_reach(now)

    # --- what time does

    def tick(self, now: Now) -> None:
        """Do what is due."""
        self._gone(self.uplink.tick(now), now)
        self._release(now)
        self._tell_reach(now)
        if now.ms >= self._next_sign_ms:
            self._next_sign_ms = now.ms + SIGN_OF_LIFE_MS
            if self._local_offset_ms is not None:
                self.board.tell("clock", str((now.ms + self._local_offset_ms) // 1000), now.ms)
            elif known := self._known.get("server"):
                self.board.tell("server", known.line, now.ms)

    def next_due_ms(self, board_listens: bool) -> int:
        """When tick() or, if the wire can take it, the board's end has something to do, if nothing happens before."""
        due = [self._next_sign_ms, self.uplink.next_due_ms(), self.board.next_due_ms if board_listens else None]
        if self._held and not self._own_status:
            due.append(self._held_until)
        return min(ms for ms in due if ms is not None)

    # --- inside

    def _take(self, frame: Data, now: Now) -> None:
        board = (frame.sid, frame.n)
        outcome = self.spool.flush() if self.spool.holds(board) else None
        if outcome is None:
            outcome = self._append(frame.line, before(now, frame.age_ms), board)
        if outcome.stored:
            self.board.take(*board)

    def _append(self, line: str, then: Now, board: tuple[int, int]) -> Outcome:
        dropped = self.spool.dropped
        outcome = self.spool.append(line, then, board)
        if outcome.kept and line.startswith("status "):
            self._own_status += 1
            self._pressed = line
            self._hold()
        if self.spool.dropped != dropped:
            self._log("warning", f"the spool is full: {self.spool.dropped - dropped} old temperatures were dropped")
        if not outcome.kept:
            self.not_taken += 1
        if outcome.error != self._trouble:
            self._trouble = outcome.error
            if outcome.error:
                what = "kept in memory only" if outcome.kept else "not taken"
                self._log("warning", f"{line[:64]!r} was {what}: {outcome.error}")
            else:
                self._log("info", "the spool takes lines again")
        return outcome

    def _gone(self, done: list[Entry], now: Now) -> None:
        """Let go of what the server has. What never was on disk is only now taken from the board."""
        for entry in done:
            if not entry.stored and entry.board[0]:
                self.board.take(*entry.board)
            if entry.is_status:
                self._own_status -= 1
                self._held_until = now.ms + ECHO_MS

    def _hold(self) -> None:
        """Take back the server's status, if it has not been sent to the board: it is older than the press."""
        if self.board.withdraw("status") and self._held is None:
            self._held = self._known.get("status")

    def _release(self, now: Now) -> None:
        """Pass the server's status on, unless one of the board's is on its way: older news shall not undo a press."""
        if self._held is None or self._own_status:
            return
        if now.ms >= self._held_until or self._held.line == self._pressed:
            self._tell("status", *self._held)
            self._held = None

    def _tell(self, kind: str, line: str, ms: int) -> None:
        self._known[kind] = _News(line, ms)
        self.board.tell(kind, line, ms)

    def _tell_reach(self, now: Now) -> None:
        """Tell the board when the server comes into reach, and when it goes out of it."""
        line = f"server {int(self.uplink.is_up)}"
        known = self._known.get("server")
        if (known is None or known.line != line) and (self.uplink.is_up or self.uplink.has_failed):
            self._tell("server", line, now.ms)

    def _introduce(self) -> None:
        """Tell a board that has lost its memory what it would know."""
        for kind, news in self._known.items():
            self.board.tell(kind, news.line, news.ms)
        if self._own_status:
            self._hold()
        self._next_sign_ms = 0
