"""The codec as conformance suites see it: a table of cases in their categories, over real sockets."""

from __future__ import annotations

import itertools
import os
import socket
import struct
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from websockets.sync.client import connect as open_websocket

from bits._ws import Connection
from tests.test_http import UPGRADE, head
from tests.test_ws import BINARY, CLOSE, PING, PONG, TEXT, client_frame, close_payload

MAX = 16 << 20


@pytest.fixture(scope="module")
def echo() -> Iterator[tuple[str, int]]:
    """An echo server; its address."""
    process = subprocess.Popen(
        [sys.executable, "-m", "bits.echo", "--port", "0", "--max-message", str(MAX)], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout
    host, _, port = process.stdout.readline().removeprefix("ready ws://").strip().rstrip("/").rpartition(":")
    yield host, int(port)
    process.terminate()
    process.wait(10)
    process.stdout.close()


class Client:
    """A connection after its handshake, frame by frame."""

    def __init__(self, address: tuple[str, int]) -> None:
        self.socket = socket.create_connection(address, timeout=20)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.stream = self.socket.makefile("rb")
        self.socket.sendall(head("GET /any HTTP/1.1", *UPGRADE))
        while self.stream.readline() != b"\r\n":
            pass

    def receive(self) -> tuple[int, bytes] | None:
        """Return the next frame's opcode and payload; None at the end."""
        try:
            start = self.stream.read(2)
            if len(start) < 2:
                return None
            assert start[0] & 0x80, "echoes are single frames"
            size = start[1]
            assert size < 128, "a server does not mask"
            if size == 126:
                (size,) = struct.unpack("!H", self.stream.read(2))
            elif size == 127:
                (size,) = struct.unpack("!Q", self.stream.read(8))
            return start[0] & 15, self.stream.read(size)
        except ConnectionResetError:
            return None

    def close(self) -> None:
        self.stream.close()
        self.socket.close()


@pytest.fixture
def client(echo: tuple[str, int]) -> Iterator[Client]:
    client = Client(echo)
    yield client
    client.close()


Frames = list[tuple[int, bytes]]


def closed(code: int) -> tuple[int, bytes]:
    return CLOSE, struct.pack("!H", code)


A = b"a"
SNOWMAN = "κόσμε ☃ 𝄞".encode()
CASES: dict[str, tuple[bytes, Frames]] = {}

# 1, framing: every form of a length, text and binary
for size in (0, 1, 125, 126, 127, 128, 65535, 65536, 131072):
    CASES[f"text of {size}"] = (client_frame(TEXT, A * size), [(TEXT, A * size)])
    CASES[f"binary of {size}"] = (client_frame(BINARY, b"\xfe" * size), [(BINARY, b"\xfe" * size)])

# 2, pings and pongs
for size in (0, 1, 8, 125):
    CASES[f"ping of {size}"] = (client_frame(PING, b"\xfe" * size), [(PONG, b"\xfe" * size)])
CASES["ping of 126"] = (client_frame(PING, A * 126), [closed(1002)])
CASES["pong unasked"] = (client_frame(PONG, b"x") + client_frame(PING, b"y"), [(PONG, b"y")])
CASES["ten pings"] = (
    b"".join(client_frame(PING, b"%d" % n) for n in range(10)),
    [(PONG, b"%d" % n) for n in range(10)],
)

# 3, reserved bits; 4, reserved opcodes
for rsv in range(1, 8):
    CASES[f"reserved bits {rsv}"] = (
        client_frame(TEXT, A) + client_frame(TEXT, A, rsv=rsv) + client_frame(PING),
        [(TEXT, A), closed(1002)],
    )
for opcode in (3, 4, 5, 6, 7, 11, 12, 13, 14, 15):
    CASES[f"reserved opcode {opcode}"] = (client_frame(opcode, A), [closed(1002)])

# 5, fragments
CASES["two fragments"] = (client_frame(TEXT, b"one", fin=False) + client_frame(0, b"two"), [(TEXT, b"onetwo")])
CASES["a ping between"] = (
    client_frame(TEXT, b"one", fin=False) + client_frame(PING, b"p") + client_frame(0, b"two"),
    [(PONG, b"p"), (TEXT, b"onetwo")],
)
CASES["empty fragments"] = (
    client_frame(TEXT, b"", fin=False) + client_frame(0, b"", fin=False) + client_frame(0, b"x"),
    [(TEXT, b"x")],
)
CASES["many fragments of binary"] = (
    client_frame(BINARY, b"0", fin=False)
    + b"".join(client_frame(0, b"1", fin=False) for _ in range(500))
    + client_frame(0),
    [(BINARY, b"0" + b"1" * 500)],
)
CASES["a fragmented ping"] = (client_frame(PING, b"p", fin=False), [closed(1002)])
CASES["a continuation of nothing"] = (client_frame(0, b"x"), [closed(1002)])
CASES["a second beginning"] = (client_frame(TEXT, b"x", fin=False) + client_frame(TEXT, b"y"), [closed(1002)])
CASES["a continuation after the end"] = (
    client_frame(TEXT, b"x", fin=False) + client_frame(0, b"y") + client_frame(0, b"z"),
    [(TEXT, b"xy"), closed(1002)],
)

# 6, UTF-8
VALID = [SNOWMAN, b"\x00", b"\x7f", b"\xc2\x80", b"\xdf\xbf", b"\xe0\xa0\x80", b"\xed\x9f\xbf", b"\xee\x80\x80"]
VALID += [
    b"\xef\xbf\xbd",
    b"\xef\xbf\xbe",
    b"\xef\xbf\xbf",
    b"\xf0\x90\x80\x80",
    b"\xf4\x8f\xbf\xbf",
    b"\xf0\x9f\xbf\xbe",
]
for text in VALID:
    CASES[f"text {text!r}"] = (client_frame(TEXT, text), [(TEXT, text)])
INVALID = [
    b"\x80",
    b"\xbf",
    b"\xc0\xaf",
    b"\xc1\x81",
    b"\xe0\x80\xaf",
    b"\xe0\x9f\xbf",
    b"\xed\xa0\x80",
    b"\xed\xbf\xbf",
]
INVALID += [b"\xf0\x80\x80\xaf", b"\xf0\x8f\xbf\xbf", b"\xf4\x90\x80\x80", b"\xf5\x80\x80\x80", b"\xf8\x88\x80\x80\x80"]
INVALID += [
    b"\xfe",
    b"\xff",
    b"\xe2\x98",
    b"\xce",
    b"abc\xce\xfa",
    b"12345678\xff12345678",
    SNOWMAN + b"\xed\xa0\x80ok",
]
for text in INVALID:
    CASES[f"text not UTF-8 {text!r}"] = (client_frame(TEXT, text), [closed(1007)])
CASES["a character in two fragments"] = (
    client_frame(TEXT, b"\xe2\x98", fin=False) + client_frame(0, b"\x83"),
    [(TEXT, b"\xe2\x98\x83")],
)

# 7, closing
CASES["close"] = (client_frame(CLOSE), [closed(1000)])
CASES["close, then more"] = (client_frame(CLOSE) + client_frame(PING) + client_frame(TEXT, A), [closed(1000)])
CASES["two closes"] = (client_frame(CLOSE) * 2, [closed(1000)])
CASES["close amid fragments"] = (client_frame(TEXT, b"x", fin=False) + client_frame(CLOSE), [closed(1000)])
for code in (1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 3000, 3999, 4000, 4999):
    CASES[f"close {code}"] = (client_frame(CLOSE, close_payload(code, b"why")), [closed(code)])
for code in (0, 999, 1004, 1005, 1006, 1016, 1100, 2000, 2999, 5000, 65535):
    CASES[f"close {code}, which is none"] = (client_frame(CLOSE, close_payload(code)), [closed(1002)])
CASES["close with one byte"] = (client_frame(CLOSE, b"\x03"), [closed(1002)])
CASES["close with the longest reason"] = (client_frame(CLOSE, close_payload(1000, A * 123)), [closed(1000)])
CASES["close with too long a reason"] = (client_frame(CLOSE, close_payload(1000, A * 124)), [closed(1002)])
CASES["close with a reason not UTF-8"] = (client_frame(CLOSE, close_payload(1000, b"\xce\xfa")), [closed(1007)])

# Masks and lengths
CASES["not masked"] = (client_frame(TEXT, A, mask=None), [closed(1002)])
CASES["a mask of zeros"] = (client_frame(TEXT, SNOWMAN, mask=bytes(4)), [(TEXT, SNOWMAN)])
CASES["a length that could be shorter"] = (client_frame(TEXT, A, length=b"\x7e\x00\x01"), [closed(1002)])
CASES["too long"] = (client_frame(BINARY, length=b"\x7f" + struct.pack("!Q", MAX + 1)), [closed(1009)])
CASES["too long in fragments"] = (
    client_frame(BINARY, A, fin=False) + client_frame(0, length=b"\x7f" + struct.pack("!Q", MAX)),
    [closed(1009)],
)
CASES["2^63"] = (client_frame(BINARY, length=b"\x7f\x80" + bytes(7)), [closed(1002)])


@pytest.mark.parametrize("name", CASES)
def test_case(client: Client, name: str) -> None:
    data, expected = CASES[name]
    client.socket.sendall(data)
    assert [client.receive() for _ in expected] == expected
    if expected and expected[-1][0] == CLOSE:
        assert client.receive() is None
    else:
        client.socket.sendall(client_frame(PING, b"still there"))
        assert client.receive() == (PONG, b"still there")


@pytest.mark.parametrize("name", [name for name, (data, _) in CASES.items() if len(data) < 300])
def test_case_byte_by_byte(name: str) -> None:
    """The same, chopped as small as can be, without the network between."""
    data, expected = CASES[name]
    connection = Connection(MAX)
    came = [event for byte in data for event in connection.feed(bytes([byte]))]
    assert came == Connection(MAX).feed(data)
    assert len(came) == len(expected)


def test_bad_text_ends_the_connection_before_it_is_complete(client: Client) -> None:
    """Fail fast: what cannot become right is not waited for."""
    whole = client_frame(TEXT, SNOWMAN + b"\xff" + A * 1000)
    client.socket.sendall(whole[: 8 + len(SNOWMAN) + 1 + 4])
    assert client.receive() == closed(1007)


def test_nothing_owed_is_lost_by_a_close_while_the_client_still_sends(client: Client) -> None:
    """Bytes left unread at a close would turn it into a reset, which takes the echo along."""
    message = bytes(1 << 20)
    # The rest is more than any buffer between takes: it can be sent only if it is read.
    stream = client_frame(BINARY, message, mask=bytes(4)) + client_frame(TEXT, b"\xff") + b"z" * (24 << 20)
    with ThreadPoolExecutor(1) as sender:
        sent = sender.submit(client.socket.sendall, stream)
        assert client.receive() == (BINARY, message)
        assert client.receive() == closed(1007)
        assert client.receive() is None
        sent.result(20)


@pytest.mark.parametrize("size", [1 << 20, 4 << 20, MAX])
def test_big_messages(client: Client, size: int) -> None:
    block = os.urandom(1 << 16)
    message = block * (size >> 16)
    mask = b"\x37\xfa\x21\x3d"
    key = int.from_bytes(mask * (len(block) // 4), "big")
    masked = (int.from_bytes(block, "big") ^ key).to_bytes(len(block), "big")
    client.socket.sendall(b"\x82\xff" + struct.pack("!Q", size) + mask)
    for _ in range(size >> 16):
        client.socket.sendall(masked)
    assert client.receive() == (BINARY, message)


def test_a_client_that_only_announces_megabytes_costs_none() -> None:
    connection = Connection(MAX)
    assert connection.feed(client_frame(BINARY, length=b"\x7f" + struct.pack("!Q", MAX)) + b"x" * 10) == []
    assert connection.held <= 4096


def test_a_client_library_gets_back_what_it_sends(echo: tuple[str, int]) -> None:
    with open_websocket(f"ws://{echo[0]}:{echo[1]}/", compression=None, max_size=None) as stream:
        for message in ("ciao ☕", b"\x00\xff", "", "x" * 100_000):
            stream.send(message)
            assert stream.recv(timeout=10) == message
        stream.send(["in ", "three ", "pieces"])
        assert stream.recv(timeout=10) == "in three pieces"
        assert stream.ping().wait(10)


@pytest.mark.parametrize(
    "opening",
    [
        head("GET / HTTP/1.1"),
        head("GET / HTTP/1.1", *UPGRADE).replace(b"Version: 13", b"Version: 8"),
        head("GET / HTTP/1.1", *UPGRADE).replace(b"Upgrade: websocket", b"Upgrade: h2c"),
        head("GET / HTTP/1.1", *UPGRADE).replace(b"Key: ", b"Key: short"),
    ],
)
def test_what_is_no_handshake_is_refused(echo: tuple[str, int], opening: bytes) -> None:
    with socket.create_connection(echo, timeout=10) as client:
        client.sendall(opening)
        received = b""
        while data := client.recv(1000):
            received += data
        assert received.startswith(b"HTTP/1.1 426 ")
        assert b"\r\nSec-WebSocket-Version: 13\r\n" in received


messages = st.lists(st.one_of(st.text(max_size=300), st.binary(max_size=300)), max_size=6)


@settings(deadline=None)
@given(messages, st.randoms(use_true_random=False))
def test_any_fragments_masks_and_splits_give_back_the_same(sent: list[str | bytes], chance: object) -> None:
    import random

    assert isinstance(chance, random.Random)
    stream = b""
    for message in sent:
        data = message.encode() if isinstance(message, str) else message
        cuts = sorted(chance.randrange(len(data) + 1) for _ in range(chance.randrange(4)))
        pieces = [data[a:b] for a, b in itertools.pairwise([0, *cuts, len(data)])]
        opcode = TEXT if isinstance(message, str) else BINARY
        for number, piece in enumerate(pieces):
            if chance.random() < 0.3:
                stream += client_frame(PING, b"between")
            mask = chance.randbytes(4)
            stream += client_frame(opcode if number == 0 else 0, piece, fin=number == len(pieces) - 1, mask=mask)
    connection = Connection(1000)
    came = []
    at = 0
    while at < len(stream):
        step = chance.randrange(1, 80)
        came += connection.feed(stream[at : at + step])
        at += step
    echoed = [value for what, value in came if what != "ping"]
    assert echoed == [message.encode() if isinstance(message, str) else message for message in sent]
