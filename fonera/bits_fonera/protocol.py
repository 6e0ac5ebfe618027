"""The miniprotocol as a bridge speaks it: the server's bytes into lines, and ours into bytes. See docs/protocol.md."""

from __future__ import annotations

import binascii
import hmac
import re
from collections.abc import Callable
from typing import NamedTuple

LINE_MAX = 4096  # bytes, LF included
NUMBER_MAX = 2**63 - 1
MESSAGE_MAX = 3000  # bytes of UTF-8


class Status(NamedTuple):
    """0 closed, 1 open, 2 away."""

    value: int


class Message(NamedTuple):
    """A text for the display, not empty."""

    text: str


class Sound(NamedTuple):
    """Play the n-th."""

    number: int


class Nonce(NamedTuple):
    """What the proof is to be made over."""

    value: str


class Welcome(NamedTuple):
    """The highest number the server has."""

    last: int


class Ack(NamedTuple):
    """Everything up to n is stored."""

    n: int


class Nak(NamedTuple):
    """n is refused for good."""

    n: int
    reason: str


class Ping(NamedTuple):
    """Asks for a pong with the same token."""

    token: str


class Pong(NamedTuple):
    """Answers a ping."""

    token: str


class Refused(NamedTuple):
    """A line that is none of those, its first bytes, and what is wrong."""

    reason: str
    line: bytes


Line = Status | Message | Sound | Nonce | Welcome | Ack | Nak | Ping | Pong | Refused

_BASE64 = re.compile(rb"(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?")
_REASON = re.compile(rb"[a-z0-9-]{1,32}")
_NONCE = re.compile(rb"[0-9a-f]{32,128}")
_TOKEN = re.compile(rb"[\x21-\x7e]{1,64}")


class _BadLineError(Exception):
    """This line is refused, for the reason named."""


def _integer(word: bytes, low: int, high: int) -> int:
    if not word.isdigit() or len(word) > 19:
        raise _BadLineError("bad-number")
    value = int(word)
    if not low <= value <= high:
        raise _BadLineError("out-of-range")
    return value


def _token(word: bytes, form: re.Pattern[bytes]) -> str:
    if not form.fullmatch(word):
        raise _BadLineError("bad-token")
    return word.decode("ascii")


def _text(word: bytes) -> str:
    if not _BASE64.fullmatch(word):
        raise _BadLineError("bad-base64")
    data = binascii.a2b_base64(word)
    if binascii.b2a_base64(data, newline=False) != word:
        raise _BadLineError("bad-base64")
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError:
        raise _BadLineError("bad-utf8") from None
    if not 1 <= len(data) <= MESSAGE_MAX or "\0" in text:
        raise _BadLineError("bad-text")
    return text


# What a server may say: how many arguments, and how to read them.
_COMMANDS: dict[bytes, tuple[int, Callable[..., Line]]] = {
    b"status": (1, lambda value: Status(_integer(value, 0, 2))),
    b"message": (1, lambda text: Message(_text(text))),
    b"sound": (1, lambda number: Sound(_integer(number, 0, 255))),
    b"nonce": (1, lambda value: Nonce(_token(value, _NONCE))),
    b"welcome": (1, lambda last: Welcome(_integer(last, 0, NUMBER_MAX))),
    b"ack": (1, lambda n: Ack(_integer(n, 1, NUMBER_MAX))),
    b"nak": (2, lambda n, reason: Nak(_integer(n, 1, NUMBER_MAX), _token(reason, _REASON))),
    b"ping": (1, lambda token: Ping(_token(token, _TOKEN))),
    b"pong": (1, lambda token: Pong(_token(token, _TOKEN))),
}


def decode(line: bytes) -> Line:
    """Read one line of the server's, without its end."""
    if not line:
        return Refused("empty-line", b"")
    words = line.split(b" ")
    if words[0] not in _COMMANDS:
        return Refused("unknown-command", line[:64])
    count, read = _COMMANDS[words[0]]
    if len(words) != count + 1 or b"" in words:
        return Refused("wrong-word-count", line[:64])
    try:
        return read(*words[1:])
    except _BadLineError as reason:
        return Refused(str(reason), line[:64])


class Decoder:
    """Turn the server's bytes into lines; a bad line costs itself and nothing else."""

    def __init__(self) -> None:
        self._line = bytearray()
        self._skipping = False

    def feed(self, data: bytes) -> list[Line]:
        """Return the lines that these bytes complete."""
        lines: list[Line] = []
        *ended, rest = data.split(b"\n")
        for piece in ended:
            self._add(piece, lines)
            if not self._skipping:
                lines.append(decode(bytes(self._line).removesuffix(b"\r")))
            self._line.clear()
            self._skipping = False
        self._add(rest, lines)
        return lines

    def _add(self, piece: bytes, lines: list[Line]) -> None:
        if self._skipping:
            return
        self._line += piece[: LINE_MAX - len(self._line)]
        if len(self._line) == LINE_MAX:
            lines.append(Refused("line-too-long", bytes(self._line[:64])))
            self._line.clear()
            self._skipping = True


def hello(bridge: str, key: str = "", nonce: str = "") -> bytes:
    """Return the first `hello`, or the second, with its proof over the nonce."""
    if not nonce:
        return f"hello 2 {bridge}\n".encode()
    proof = hmac.digest(key.encode(), nonce.encode(), "sha256").hex()
    return f"hello 2 {bridge} {proof}\n".encode()


def numbered(n: int, age_ms: int, line: str) -> bytes:
    """Return a line of version 2."""
    return f"@{n} {age_ms} {line}\n".encode("ascii")


def version_1(line: str) -> bytes:
    """Return a line as a server of version 1 knows it: no `away`, and b"" for devices."""
    if line.startswith(("seen ", "gone ")):
        return b""
    return ("status 0" if line == "status 2" else line).encode("ascii") + b"\n"


def for_display(text: str, limit: int = 240) -> str:
    """Return the base64 of a text, cut between characters to so many bytes of UTF-8, `…` included."""
    data = text.encode()
    if len(data) > limit:
        ellipsis = "…".encode()
        data = data[: limit - len(ellipsis)].decode("utf-8", "ignore").encode() + ellipsis
    return binascii.b2a_base64(data, newline=False).decode("ascii")
