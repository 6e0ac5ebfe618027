"""Read the miniprotocol slowly and obviously, straight from docs/protocol.md: the compiled decoder's oracle.

Lines are the plain dicts that tests/vectors/miniprotocol.json uses.
"""

import base64
import binascii
import re
from collections.abc import Callable
from typing import Any

Fields = dict[str, Any]


class RefusedError(Exception):
    """Carry the reason for which a line is refused."""


def integer(least: int, most: int) -> Callable[[bytes], int]:
    def read(word: bytes) -> int:
        if not re.fullmatch(rb"[0-9]{1,19}", word):
            raise RefusedError("bad-number")
        if not least <= int(word) <= most:
            raise RefusedError("out-of-range")
        return int(word)

    return read


def celsius(word: bytes) -> float:
    if len(word) > 32 or not re.fullmatch(rb"[+-]?([0-9]+(\.[0-9]*)?|\.[0-9]+)", word):
        raise RefusedError("bad-number")
    if not -273.15 <= float(word) <= 1000:
        raise RefusedError("out-of-range")
    return float(word)


def text(word: bytes) -> str:
    try:
        data = base64.b64decode(word, validate=True)
    except binascii.Error:
        raise RefusedError("bad-base64") from None
    if base64.b64encode(data) != word:  # b64decode forgives what the grammar does not
        raise RefusedError("bad-base64")
    try:
        value = data.decode("utf-8")
    except UnicodeDecodeError:
        raise RefusedError("bad-utf8") from None
    if len(data) > 3000 or "\0" in value:
        raise RefusedError("bad-text")
    return value


def token(pattern: bytes) -> Callable[[bytes], str]:
    def read(word: bytes) -> str:
        if not re.fullmatch(pattern, word):
            raise RefusedError("bad-token")
        return word.decode("ascii")

    return read


NUMBER = integer(1, 2**63 - 1)
VERSION_1: dict[bytes, dict[str, Callable[[bytes], Any]]] = {
    b"status": {"value": lambda word: ["closed", "open"][integer(0, 1)(word)]},
    b"temperature": {"sensor": integer(0, 255), "value": celsius},
    b"enter": {"person": integer(0, 999999)},
    b"leave": {"person": integer(0, 999999)},
    b"message": {"text": text},
    b"sound": {"number": integer(0, 255)},
}
DIGEST = {"digest": token(rb"[0-9a-f]{64}")}
BEHIND_NUMBER: dict[bytes, dict[str, Callable[[bytes], Any]]] = VERSION_1 | {
    b"status": {"value": lambda word: ["closed", "open", "away"][integer(0, 2)(word)]},
    b"seen": DIGEST,
    b"gone": DIGEST,
}
VERSION_2: dict[bytes, dict[str, Callable[[bytes], Any]]] = {
    b"hello": {
        "version": integer(2, 2),
        "bridge": token(rb"[A-Za-z0-9._-]{1,32}"),
        "proof": token(rb"[0-9a-f]{64}"),
    },
    b"nonce": {"value": token(rb"[0-9a-f]{32,128}")},
    b"welcome": {"last": integer(0, 2**63 - 1)},
    b"ack": {"n": NUMBER},
    b"nak": {"n": NUMBER, "reason": token(rb"[a-z0-9-]{1,32}")},
    b"ping": {"token": token(rb"[!-~]{1,64}")},
    b"pong": {"token": token(rb"[!-~]{1,64}")},
}


def malformed(reason: str, line: bytes) -> Fields:
    return {"type": "malformed", "reason": reason, "line": line[:64].decode("latin-1")}


def command(line: bytes, table: dict[bytes, dict[str, Callable[[bytes], Any]]]) -> Fields:
    try:
        if not line:
            raise RefusedError("empty-line")
        name, *words = line.split(b" ")
        if name not in table:
            raise RefusedError("unknown-command")
        readers = table[name]
        optional = 1 if name == b"hello" else 0
        if not len(readers) - optional <= len(words) <= len(readers) or b"" in words:
            raise RefusedError("wrong-word-count")
        fields: Fields = dict.fromkeys(readers)
        for (field, read), word in zip(readers.items(), words, strict=False):
            fields[field] = read(word)
        fields.pop("version", None)
        return {"type": name.decode(), **fields}
    except RefusedError as refusal:
        return malformed(str(refusal), line)


def numbered(line: bytes) -> Fields:
    try:
        parts = line[1:].split(b" ", 2)
        if len(parts) < 3 or not parts[1]:
            raise RefusedError("wrong-word-count")
        n, age_ms = NUMBER(parts[0]), integer(0, 10**12)(parts[1])
    except RefusedError as refusal:
        return malformed(str(refusal), line)
    return {"type": "numbered", "n": n, "age_ms": age_ms, "line": command(parts[2], BEHIND_NUMBER)}


def read(stream: bytes, max_line: int = 4096) -> list[Fields]:
    """Return the lines of a whole stream.

    Args:
        stream: everything the peer sent; what follows the last LF is an unfinished line.
        max_line: longest line, in bytes, LF included.
    """
    lines = []
    *ended, unfinished = stream.split(b"\n")
    for line in ended:
        if len(line) >= max_line:
            lines.append(malformed("line-too-long", line[:max_line]))
        elif line.startswith(b"@"):
            lines.append(numbered(line.removesuffix(b"\r")))
        else:
            lines.append(command(line.removesuffix(b"\r"), VERSION_1 | VERSION_2))
    if len(unfinished) >= max_line:
        lines.append(malformed("line-too-long", unfinished[:max_line]))
    return lines
