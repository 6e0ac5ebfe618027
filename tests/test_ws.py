"""RFC 6455 on the server's side: every breach has its code, and no split of the stream matters."""

from __future__ import annotations

import itertools
import os
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bits._ws import MAX_MESSAGE_BYTES, close_frame, read, text_frame

TEXT, BINARY, CLOSE, PING, PONG = 1, 2, 8, 9, 10


def client_frame(
    opcode: int,
    payload: bytes = b"",
    *,
    fin: bool = True,
    mask: bytes | None = b"\x12\x34\x56\x78",
    rsv: int = 0,
    length: bytes | None = None,
) -> bytes:
    """Build a frame as a client sends it; the arguments allow every mistake."""
    size = len(payload)
    if length is None:
        length = (
            bytes([size])
            if size < 126
            else b"\x7e" + struct.pack("!H", size)
            if size < 65536
            else b"\x7f" + struct.pack("!Q", size)
        )
    first = bytes([(0x80 if fin else 0) | rsv << 4 | opcode])
    if mask is None:
        return first + length + payload
    masked = bytes(byte ^ mask[i % 4] for i, byte in enumerate(payload))
    return first + bytes([length[0] | 0x80]) + length[1:] + mask + masked


def close_payload(code: int, reason: bytes = b"") -> bytes:
    return struct.pack("!H", code) + reason


GOOD = {
    "nothing": (b"", []),
    "text": (client_frame(TEXT, "ciao ☕".encode()), []),
    "empty text": (client_frame(TEXT), []),
    "binary is not checked for UTF-8": (client_frame(BINARY, b"\xff\xfe"), []),
    "ping": (client_frame(PING, b"are you there"), [("ping", b"are you there")]),
    "empty ping": (client_frame(PING), [("ping", b"")]),
    "the longest ping": (client_frame(PING, b"x" * 125), [("ping", b"x" * 125)]),
    "pong": (client_frame(PONG, b"unasked"), []),
    "two pings": (client_frame(PING, b"1") + client_frame(PING, b"2"), [("ping", b"1"), ("ping", b"2")]),
    "fragments with a ping between, a character split": (
        client_frame(TEXT, b"\xe2\x98", fin=False) + client_frame(PING, b"p") + client_frame(0, b"\x95"),
        [("ping", b"p")],
    ),
    "the longest message": (client_frame(TEXT, b"a" * MAX_MESSAGE_BYTES), []),
    "close": (client_frame(CLOSE), [("close", 1000)]),
    "close with a code": (client_frame(CLOSE, close_payload(1001)), [("close", 1001)]),
    "close with a reason": (client_frame(CLOSE, close_payload(4999, "così".encode())), [("close", 4999)]),
    "nothing is read after a close": (client_frame(CLOSE) + b"\xff\xff\xff", [("close", 1000)]),
}

BAD = {
    "not masked": (client_frame(TEXT, b"x", mask=None), 1002),
    "reserved bit 1": (client_frame(TEXT, b"x", rsv=4), 1002),
    "reserved bit 3": (client_frame(PING, b"x", rsv=1), 1002),
    "opcode 3": (client_frame(3, b"x"), 1002),
    "opcode 11": (client_frame(11, b"x"), 1002),
    "a continuation of nothing": (client_frame(0, b"x"), 1002),
    "a new message inside another": (client_frame(TEXT, b"x", fin=False) + client_frame(TEXT, b"y"), 1002),
    "a ping in fragments": (client_frame(PING, b"x", fin=False), 1002),
    "a ping too long": (client_frame(PING, b"x" * 126), 1002),
    "a length not in its shortest form": (client_frame(TEXT, b"x", length=b"\x7e\x00\x01"), 1002),
    "a long length not in its shortest form": (
        client_frame(TEXT, b"x", length=b"\x7f" + struct.pack("!Q", 300)),
        1002,
    ),
    "a length of 2^63": (client_frame(TEXT, b"", length=b"\x7f" + struct.pack("!Q", 2**63)), 1002),
    "a message too big": (client_frame(TEXT, b"a" * (MAX_MESSAGE_BYTES + 1)), 1009),
    "a huge length announced": (client_frame(BINARY, b"", length=b"\x7f" + struct.pack("!Q", 2**40)), 1009),
    "fragments too big together": (
        client_frame(BINARY, b"a" * MAX_MESSAGE_BYTES, fin=False) + client_frame(0, b"a"),
        1009,
    ),
    "text that is not UTF-8": (client_frame(TEXT, b"caff\xe8"), 1007),
    "text that ends inside a character": (client_frame(TEXT, b"\xe2\x98"), 1007),
    "an overlong form": (client_frame(TEXT, b"\xc0\xaf"), 1007),
    "a surrogate": (client_frame(TEXT, b"\xed\xa0\x80"), 1007),
    "past U+10FFFF": (client_frame(TEXT, b"\xf4\x90\x80\x80"), 1007),
    "a close of one byte": (client_frame(CLOSE, b"\x03"), 1002),
    "a close with code 1005": (client_frame(CLOSE, close_payload(1005)), 1002),
    "a close with code 999": (client_frame(CLOSE, close_payload(999)), 1002),
    "a close with code 5000": (client_frame(CLOSE, close_payload(5000)), 1002),
    "a close whose reason is not UTF-8": (client_frame(CLOSE, close_payload(1000, b"\xff")), 1007),
}

CASES = GOOD | {name: (data, [("broken", code)]) for name, (data, code) in BAD.items()}


@pytest.mark.parametrize("name", CASES)
def test_whole_and_byte_by_byte(name: str) -> None:
    data, expected = CASES[name]
    assert read([data]) == expected
    assert read([data[i : i + 1] for i in range(len(data))]) == expected


@given(
    st.lists(st.sampled_from(sorted(GOOD)), max_size=6),
    st.sampled_from(sorted(CASES)),
    st.lists(st.integers(0, 20000), max_size=8),
)
def test_any_split_is_understood_alike(names: list[str], last: str, cuts: list[int]) -> None:
    data = b"".join(CASES[name][0] for name in [*names, last])
    edges = sorted({0, len(data), *(cut % (len(data) + 1) for cut in cuts)})
    chunks = [data[a:b] for a, b in itertools.pairwise(edges)]
    assert read(chunks) == read([data])


@given(st.lists(st.binary(max_size=60), max_size=5))
def test_any_bytes_end_in_a_documented_way(chunks: list[bytes]) -> None:
    for kind, value in read(chunks):
        assert (kind == "ping" and isinstance(value, bytes) and len(value) <= 125) or (
            kind in ("close", "broken") and isinstance(value, int) and 1000 <= value <= 4999
        )


@given(st.text(max_size=200))
def test_python_and_the_checker_agree_on_utf8(words: str) -> None:
    data = words.encode("utf-8", "surrogatepass")
    try:
        data.decode()
        expected: list[object] = []
    except UnicodeDecodeError:
        expected = [("broken", 1007)]
    assert read([client_frame(TEXT, data)]) == expected


@pytest.mark.parametrize("size", [0, 1, 125, 126, 65535, 65536, 70000])
def test_a_text_frame_holds_its_payload_in_the_shortest_form(size: int) -> None:
    payload = os.urandom(size)
    header = {0: 2, 1: 2, 125: 2, 126: 4, 65535: 4}.get(size, 10)
    frame = text_frame(payload)
    assert frame[0] == 0x81
    assert len(frame) == header + size
    assert frame.endswith(payload)


def test_a_close_frame_holds_its_code() -> None:
    assert close_frame(1001) == b"\x88\x02\x03\xe9"
    with pytest.raises(ValueError, match="close code 7"):
        close_frame(7)
