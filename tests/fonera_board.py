"""A board as docs/link.md has it, slow and obvious: what the bridge's tests talk to."""

from __future__ import annotations

from bits_fonera.link import Ack, Data, Decoder, Hello, Noise, Session, encode


class Board:
    """One end of the link; bytes and time are passed in."""

    def __init__(self) -> None:
        self.cold()

    def cold(self) -> None:
        """Start with nothing remembered."""
        self.session: int | None = None
        self.n = 0
        self.outbox: list[tuple[str, int]] = []
        self.under_way: tuple[str, int] | None = None
        self.seen = (0, 0)
        self.taken: list[str] = []
        self.ages: list[int] = []
        self.warm()

    def warm(self) -> None:
        """Start with the memory intact."""
        self.decoder = Decoder()
        self.due = 0
        self.wait = 250
        self.replies = b""

    def press(self, line: str, now: int) -> None:
        self.outbox.append((line, now))

    @property
    def waiting(self) -> list[str]:
        return [line for line, _ in ([self.under_way] if self.under_way else []) + self.outbox]

    def receive(self, data: bytes) -> None:
        for frame in self.decoder.feed(data):
            match frame:
                case Session(sid) if self.session is None:
                    self.session = sid
                case Ack(sid, n) if (sid, n) == (self.session, self.n):
                    self.under_way = None
                case Data(sid, n, age, line):
                    if not (sid == self.seen[0] and n <= self.seen[1]):
                        self.seen = (sid, n)
                        self.taken.append(line)
                        self.ages.append(age)
                    self.replies += encode(Ack(sid, n))
                case Hello() | Noise() | Session() | Ack():
                    pass

    def output(self, now: int) -> bytes:
        data, self.replies = self.replies, b""
        if self.session is None:
            if now >= self.due:
                self.due = now + 500
                data += encode(Hello())
            return data
        if self.under_way is None and self.outbox:
            self.under_way = self.outbox.pop(0)
            self.n += 1
            self.due, self.wait = now, 250
        if self.under_way and now >= self.due:
            line, happened = self.under_way
            data += encode(Data(self.session, self.n, now - happened, line))
            self.due = now + self.wait
            self.wait = min(self.wait * 2, 2000)
        return data
