"""The miniprotocol: bytes to validated events, beside the least that pure Python could do."""

from __future__ import annotations

from typing import Any

import pytest

from benchmarks.data import chunks, lines
from bits._proto import Decoder, Malformed, encode

COUNT = 20_000


def split(pieces: list[bytes]) -> list[list[tuple[bytes, ...]]]:
    """Tuples of words, nothing checked."""
    return [[tuple(line.split()) for line in piece.split(b"\n")] for piece in pieces]


def decode(pieces: list[bytes]) -> list[list[Any]]:
    decoder = Decoder()
    return [decoder.feed(piece) for piece in pieces]


@pytest.mark.parametrize("numbered", [False, True], ids=["v1", "v2"])
@pytest.mark.parametrize("size", [4096, 65536, 1 << 30], ids=["4k", "64k", "whole"])
@pytest.mark.parametrize("way", [split, decode])
def test_decode(benchmark: Any, way: Any, size: int, numbered: bool) -> None:
    benchmark.group = f"{COUNT} lines, {'version 2' if numbered else 'version 1'}, read by {size}"
    data = lines(COUNT, numbered=numbered)
    events = [line for piece in decode(chunks(data, size)) for line in piece]
    assert len(events) == COUNT
    assert not any(isinstance(line, Malformed) for line in events)
    assert b"".join(map(encode, events)) == data
    benchmark(way, chunks(data, size))


def test_encode(benchmark: Any) -> None:
    benchmark.group = "encode"
    data = lines(COUNT)
    events = Decoder().feed(data)
    assert b"".join(map(encode, events)) == data
    benchmark(lambda: [encode(event) for event in events])
