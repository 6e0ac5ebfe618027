"""A server as docs/protocol.md has it, in memory: what the bridge's tests talk to. The real one is tested elsewhere."""

from __future__ import annotations

import hmac


class FakeServer:
    """What is stored, and the connection of the moment.

    Args:
        version: 1 refuses `hello` without a word, as servers of version 1 do.
    """

    def __init__(self, version: int = 2, key: str = "secret") -> None:
        self.version = version
        self.key = key
        self.stored: list[tuple[int, int, str]] = []  # n (0 in version 1), age, event
        self.last = 0
        self.refusing: dict[str, str] = {}  # event, reason
        self.acknowledging = True
        self.status = "status 0"
        self.hellos: list[str] = []
        self.pings = 0
        self.connect()

    @property
    def events(self) -> list[str]:
        return [event for _, _, event in self.stored]

    def connect(self) -> None:
        self.line = b""
        self.nonce = ""
        self.welcomed = False
        self.output = f"{self.status}\n".encode()
        self.closed = False
        self.seen_lines: list[str] = []

    def say(self, *lines: str) -> None:
        self.output += "".join(line + "\n" for line in lines).encode()

    def receive(self, data: bytes) -> None:
        *ended, self.line = (self.line + data).split(b"\n")
        for line in ended:
            if not self.closed:
                self._handle(line.decode("ascii"))

    def _handle(self, line: str) -> None:
        self.seen_lines.append(line)
        words = line.split(" ")
        if words[0] == "ping":
            self.pings += 1
            self.say(f"pong {words[1]}")
        elif words[0] == "pong":
            pass
        elif words[0] == "hello":
            self.hellos.append(line)
            if self.version == 2:
                self._hello(words)
        elif line.startswith("@"):
            self._numbered(int(words[0][1:]), int(words[1]), " ".join(words[2:]))
        else:
            self.stored.append((0, 0, line))

    def _hello(self, words: list[str]) -> None:
        if len(words) == 3:
            self.nonce = f"{len(self.hellos):032x}"
            self.say(f"nonce {self.nonce}")
        elif words[3] == hmac.new(self.key.encode(), self.nonce.encode(), "sha256").hexdigest():
            self.welcomed = True
            self.say(f"welcome {self.last}")
        else:
            self.closed = True

    def _numbered(self, n: int, age: int, event: str) -> None:
        if not self.welcomed:
            self.say(f"nak {n} not-welcome")
        elif event in self.refusing:
            self.say(f"nak {n} {self.refusing[event]}")
        else:
            if n > self.last:
                self.last = n
                self.stored.append((n, age, event))
                if event.startswith("status ") and event != self.status:
                    self.status = event
                    self.say(event)
            if self.acknowledging:
                self.say(f"ack {n}")
