"""The miniprotocol: bytes to validated events, beside the least that pure Python could do."""

from __future__ import annotations

from typing import Any

import pytest

from benchmarks.data import chunks, lines, unrepeated
from bits._proto import Decoder, encode
from tests import reference
from tests.test_proto import describe

COUNT = 20_000
STREAMS = {
    "v1": lines(COUNT),
    "v2": lines(COUNT, numbered=True),
    "v1 unrepeated": unrepeated(COUNT),
}


def split(pieces: list[bytes]) -> list[list[tuple[bytes, ...]]]:
    """Tuples of words, nothing checked."""
    return [[tuple(line.split()) for line in piece.split(b"\n")] for piece in pieces]


def decode(pieces: list[bytes]) -> list[list[Any]]:
    decoder = Decoder()
    return [decoder.feed(piece) for piece in pieces]


@pytest.mark.parametrize("stream", STREAMS)
@pytest.mark.parametrize("size", [4096, 65536, 1 << 30], ids=["4k", "64k", "whole"])
@pytest.mark.parametrize("way", [split, decode])
def test_decode(benchmark: Any, way: Any, size: int, stream: str) -> None:
    data = STREAMS[stream]
    benchmark.group = f"miniprotocol {stream}, {COUNT} lines, read by {min(size, len(data))}"
    pieces = chunks(data, size)
    events = [line for piece in decode(pieces) for line in piece]
    assert [describe(event) for event in events] == reference.read(data)
    assert not any(fields["type"] == "malformed" for fields in reference.read(data))
    benchmark(way, pieces)


def test_encode(benchmark: Any) -> None:
    benchmark.group = "encode"
    events = Decoder().feed(STREAMS["v1"])
    assert b"".join(map(encode, events)) == STREAMS["v1"]
    benchmark(lambda: [encode(event) for event in events])
