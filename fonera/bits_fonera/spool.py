"""What has happened and the server does not have yet: kept on disk, within bounds, with few writes to flash.

The file is append-only. A record is a line: the CRC-32 of the rest in eight hexadecimal digits, a space, and

    <n> <boot> <ms> <wall_ms> <sid> <board_n> <line>
        An entry: its number to the server (0: not yet given), when it happened, and the board's session and number
        (0 0: not the board's).
    ! <highest> <sid> <board_n>
        All records before are done with; the highest number ever given out (-: none yet), the board's last line taken.

An entry costs one write and one fsync. What the server acknowledges costs none: after a restart its `welcome` tells
again. Only when the file has grown past a threshold is it replaced by a shorter one.
"""

from __future__ import annotations

import os
import zlib
from collections import deque
from contextlib import suppress
from typing import NamedTuple

from bits_fonera.clock import Now

RECORD_MIN, RECORD_MAX = 40, 8192  # bytes; ours have 45 to 400
HELD_MAX = 64  # lines kept in memory alone while the disk cannot be written


class Entry:
    """One line on its way to the server. `board` is (session, number) at the board, or (0, 0)."""

    __slots__ = ("board", "line", "n", "stored", "then")

    def __init__(self, n: int, then: Now, board: tuple[int, int], line: str, stored: bool = False) -> None:
        self.n = n
        self.then = then
        self.board = board
        self.line = line
        self.stored = stored  # False: in memory alone

    @property
    def is_status(self) -> bool:
        return self.line.startswith("status ")

    @property
    def record(self) -> bytes:
        then, board = self.then, self.board
        text = f"{self.n} {then.boot} {then.ms} {then.wall_ms} {board[0]} {board[1]} {self.line}"
        return seal(text)


def seal(text: str) -> bytes:
    """Return a record of this text."""
    data = text.encode("ascii")
    return b"%08x %s\n" % (zlib.crc32(data), data)


def unseal(record: bytes) -> str | None:
    """Return a record's text, or None if it is damaged."""
    crc, space, data = record[:8], record[8:9], record[9:-1]
    if space != b" " or record[-1:] != b"\n" or crc != b"%08x" % zlib.crc32(data) or not data.isascii():
        return None
    return data.decode("ascii")


class Outcome(NamedTuple):
    """What became of an entry. kept: it is in the spool; stored: on disk; error: why it is not."""

    kept: bool
    stored: bool
    error: str = ""


class Spool:
    """The entries that the server does not have, oldest first.

    `sent` of them, at the front, are on their way on the present connection.

    Args:
        path: the file; `<path>.new` beside it is used while it is replaced.
        limit: the largest size of the file, in bytes.
    Raises: OSError: the file is there and cannot be read. That it cannot be written is found out later, and borne.
    """

    def __init__(self, path: str, limit: int = 256 * 1024) -> None:
        self.path = path
        self.limit = limit
        self.pending: deque[Entry] = deque()
        self.sent = 0
        self.highest: int | None = None  # number given out; None: no server has been asked where to begin
        self.seen = (0, 0)  # the board's last line taken
        self.damaged = 0  # records skipped at the start
        self.dropped = 0  # temperatures that went for want of room
        self.writes = 0  # times that something was written and synced
        self._held = 0
        self._fd: int | None = None
        self._size = 0  # of what is whole in the file
        self._live = 0  # of that, bytes of entries still pending
        self._dirty = False  # there may be bytes behind _size
        self._is_named = False  # its name is on disk
        self._load()

    # --- what waits

    def next_unsent(self) -> Entry | None:
        """Return the next entry to send, and count it as sent.

        What is in memory alone goes only when nothing is before it: should we be killed before its acknowledgement is
        here, the server's word on its number must not be mistaken for one on others.
        """
        if self.sent == len(self.pending):
            return None
        entry = self.pending[self.sent]
        if not entry.stored and self.sent:
            return None
        self.sent += 1
        return entry

    def rewind(self) -> None:
        """Take nothing as sent: there is a new connection."""
        self.sent = 0

    def holds(self, board: tuple[int, int]) -> Entry | None:
        """Return the board's line that is in memory alone."""
        if self._held:
            for entry in self.pending:
                if entry.board == board and not entry.stored:
                    return entry
        return None

    # --- what comes

    def append(self, line: str, then: Now, board: tuple[int, int] = (0, 0)) -> Outcome:
        """Put a line on disk. If the disk will not have it, it is kept in memory, and is not the spool's to promise."""
        entry = Entry(0 if self.highest is None else self.highest + 1, then, board, line)
        if not self._make_room(len(entry.record)):
            return Outcome(False, False, f"the spool is full ({self.limit} bytes)")
        if self._held >= HELD_MAX:
            return Outcome(False, False, "the disk cannot be written, and no more is kept in memory")
        if self.highest is not None:
            self.highest += 1
        self.pending.append(entry)
        self._held += 1
        return self.flush()

    def flush(self) -> Outcome:
        """Try to put on disk what is in memory alone."""
        held = [entry for entry in self.pending if not entry.stored]
        data = b"".join(entry.record for entry in held)
        # When all that is in the file is done with, it is begun anew, now that something is written anyway.
        is_done = len(held) == len(self.pending) and self._size > self.limit // 4
        try:
            if is_done or self._size + len(data) > self.limit:
                self._replace()
            elif held:
                self._write(data)
        except OSError as error:
            return Outcome(True, False, str(error))
        for entry in held:
            self._is_stored(entry)
        return Outcome(True, True)

    # --- what goes

    def settle(self, last: int) -> tuple[int, int]:
        """Learn from a `welcome` what the server has.

        Returns: how many entries it had, and how many were given new numbers because it has gone past all of ours.
        Raises: OSError: the new numbers could not be written, and nothing may be sent.
        """
        if self.highest is not None and last <= self.highest:
            return len(self.acknowledge(last)), 0
        numbers = [entry.n for entry in self.pending]
        highest = self.highest
        for n, entry in enumerate(self.pending, last + 1):
            entry.n = n
        self.highest = last + len(numbers)
        # Sent under a number that is not on disk, an entry would get another after a restart, and be there twice.
        if any(entry.stored for entry in self.pending):
            try:
                self._replace()
            except OSError:
                for entry, n in zip(self.pending, numbers, strict=True):
                    entry.n = n
                self.highest = highest
                raise
            for entry in self.pending:
                self._is_stored(entry)
        return 0, len(numbers)

    def acknowledge(self, n: int) -> list[Entry]:
        """Let go of everything up to a number."""
        done = []
        while self.pending and self.pending[0].n <= n:
            done.append(self._remove(0))
        return done

    def refuse(self, n: int) -> Entry | None:
        """Let go of one that the server will not have."""
        for i, entry in enumerate(self.pending):
            if entry.n == n:
                return self._remove(i)
            if entry.n > n:
                break
        return None

    def give_up(self) -> Entry:
        """Let go of the oldest: a server of version 1 does not tell what it has."""
        return self._remove(0)

    def mark_done(self) -> None:
        """Write that nothing is pending, for no server will tell after a restart."""
        with suppress(OSError):  # at worst a line is sent again, to a server that does not mind
            self._write(self._mark())

    def close(self) -> None:
        if self._fd is not None:
            os.close(self._fd)
            self._fd = None

    def __del__(self) -> None:
        self.close()  # as a file object would, should one be forgotten

    # --- inside

    def _remove(self, i: int) -> Entry:
        entry = self.pending[i]
        del self.pending[i]
        self.sent -= i < self.sent
        if entry.stored:
            self._live -= len(entry.record)
        else:
            self._held -= 1
            self.seen = entry.board if entry.board[0] else self.seen
        return entry

    def _is_stored(self, entry: Entry) -> None:
        if not entry.stored:
            entry.stored = True
            self._held -= 1
            self._live += len(entry.record)
            self.seen = entry.board if entry.board[0] else self.seen

    def _make_room(self, length: int) -> bool:
        """See that the file can be kept within its bound, at the cost of the oldest temperatures if need be.

        An eighth of the bound is gained, or nothing is done: a full spool must not wear out the flash.
        """
        if self._size + length <= self.limit:
            return True
        excess = self._live + length - (self.limit - self.limit // 8)
        sparing: list[int] = []
        for i, entry in enumerate(self.pending):
            if excess <= 0:
                break
            if entry.stored and entry.line.startswith("temperature "):
                sparing.append(i)
                excess -= len(entry.record)
        if excess > 0:
            return False
        for i in reversed(sparing):
            self._remove(i)
        self.dropped += len(sparing)
        return True

    def _mark(self) -> bytes:
        return seal(f"! {'-' if self.highest is None else self.highest} {self.seen[0]} {self.seen[1]}")

    def _write(self, data: bytes) -> None:
        """Append and sync. What a failed attempt left behind is cut off first."""
        if self._fd is None:
            self._is_named = os.path.exists(self.path)
            self._fd = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        if self._dirty:
            os.ftruncate(self._fd, self._size)
        self._dirty = True
        written = os.pwrite(self._fd, data, self._size)
        if written != len(data):
            raise OSError(f"only {written} of {len(data)} bytes could be written")
        os.fsync(self._fd)
        self._sync_name()
        self._dirty = False
        self._size += len(data)
        self.writes += 1

    def _replace(self) -> None:
        """Replace the file by one that holds what is pending; whenever the power goes, one of the two is whole."""
        entries = [entry.record for entry in self.pending if entry.stored]
        held = [entry.record for entry in self.pending if not entry.stored]  # they are the newest
        data = b"".join([self._mark(), *entries, *held])
        new = self.path + ".new"
        fd = os.open(new, os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        try:
            if os.write(fd, data) != len(data):
                raise OSError("the new spool could not be written whole")
            os.fsync(fd)
            os.rename(new, self.path)
        except OSError:
            os.close(fd)
            with suppress(OSError):
                os.unlink(new)  # it takes room, on a disk that may have none
            raise
        self.close()
        self._fd, self._dirty, self._is_named = fd, True, False
        self._live = sum(map(len, entries))
        self._size = len(data) - sum(map(len, held))
        self._sync_name()
        self._size, self._dirty = len(data), False
        self.writes += 1

    def _sync_name(self) -> None:
        """See that a new file is found under its name after a power cut."""
        if self._is_named:
            return
        fd = os.open(os.path.dirname(self.path) or ".", os.O_RDONLY | os.O_CLOEXEC)
        try:
            os.fsync(fd)
        finally:
            os.close(fd)
        self._is_named = True

    def _load(self) -> None:
        try:
            file = open(self.path, "rb")  # noqa: SIM115
        except FileNotFoundError:
            return
        lost = 0
        with file:
            while record := file.readline(RECORD_MAX):
                if record[-1:] != b"\n":
                    # Half a record, from a power cut: it was never promised to anybody.
                    self._dirty = True
                    break
                self._size += len(record)
                text = unseal(record)
                if text is None or not self._understand(text):
                    self.damaged += 1
                    lost += 1 + len(record) // RECORD_MIN
        if self.highest is not None:
            # Each damaged record may have been an entry that was sent under its number, or two of them in one line.
            # A number too high leaves some out; one too low would be given out twice.
            self.highest += lost
        self._live = sum(len(entry.record) for entry in self.pending)

    def _understand(self, text: str) -> bool:
        try:
            if text[0] == "!":
                _, highest, sid, n = text.split(" ")
                self.highest = None if highest == "-" else int(highest)
                self.seen = (int(sid), int(n))
                self.pending.clear()
                return True
            number, boot, ms, wall_ms, sid, board_n, line = text.split(" ", 6)
            entry = Entry(int(number), Now(boot, int(ms), int(wall_ms)), (int(sid), int(board_n)), line, stored=True)
        except (ValueError, IndexError):
            return False
        self.pending.append(entry)
        if entry.n:
            self.highest = max(self.highest or 0, entry.n)
        if entry.board[0]:
            self.seen = entry.board
        return True


def load_names(path: str) -> list[str]:
    """Return what save_names() has written; [] if there is none, or it is damaged."""
    try:
        with open(path, "rb") as file:
            text = unseal(file.read())
    except OSError:
        return []
    return text.split() if text else []


def save_names(path: str, names: list[str]) -> None:
    """Keep a list of words on disk, in place of the one before.

    Raises: OSError: it could not be written; the one before is there still.
    """
    new = path + ".new"
    with open(new, "wb") as file:
        file.write(seal(" ".join(names)))
        file.flush()
        os.fsync(file.fileno())
    os.rename(new, path)
