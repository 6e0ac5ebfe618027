"""The link: frames against the shared vectors, and two ends over a wire that does its worst."""

from __future__ import annotations

import json
import random
import tempfile
from pathlib import Path
from typing import Any

import pytest
from bits_fonera import link
from bits_fonera.clock import Now, before
from bits_fonera.link import Ack, Data, Decoder, Endpoint, Frame, Hello, Noise, Session, encode
from bits_fonera.spool import Spool
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.fonera_board import Board

VECTORS = json.loads((Path(__file__).parent / "vectors" / "link.json").read_text())


def wire_bytes(value: Any) -> bytes:
    if isinstance(value, str):
        return value.encode("latin-1")
    parts = (part if isinstance(part, str) else part["repeat"][0] * part["repeat"][1] for part in value)
    return "".join(parts).encode("latin-1")


def as_object(frame: Frame) -> dict[str, Any]:
    return {"type": type(frame).__name__.lower()} | frame._asdict()


@pytest.mark.parametrize("case", VECTORS["decode"], ids=lambda case: case["name"])
def test_vectors(case: dict[str, Any]) -> None:
    data = wire_bytes(case["bytes"])
    assert [as_object(frame) for frame in Decoder().feed(data)] == case["frames"]
    decoder = Decoder()
    assert [as_object(frame) for byte in data for frame in decoder.feed(bytes([byte]))] == case["frames"]


@pytest.mark.parametrize("case", VECTORS["decode"], ids=lambda case: case["name"])
def test_good_frames_are_encoded_as_they_came(case: dict[str, Any]) -> None:
    frames = Decoder().feed(wire_bytes(case["bytes"]))
    good = b"".join(encode(frame) for frame in frames if not isinstance(frame, Noise))
    assert Decoder().feed(good) == [frame for frame in frames if not isinstance(frame, Noise)]


IDS = st.integers(1, link.ID_MAX)
LINES = st.text(st.characters(min_codepoint=0x20, max_codepoint=0x7E), min_size=1, max_size=300)
FRAMES = st.one_of(
    st.just(Hello()),
    st.builds(Session, IDS),
    st.builds(Data, IDS, IDS, st.integers(0, link.AGE_MAX), LINES),
    st.builds(Ack, IDS, IDS),
)


@given(st.lists(FRAMES | st.binary(max_size=500)), st.data())
def test_any_split_gives_the_same_frames(parts: list[Any], data: st.DataObject) -> None:
    stream = b"".join(part if isinstance(part, bytes) else encode(part) for part in parts)
    whole = Decoder().feed(stream)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=8)))
    decoder, frames = Decoder(), []
    for start, end in zip([0, *cuts], [*cuts, len(stream)], strict=True):
        frames += decoder.feed(stream[start:end])
    assert frames == whole
    if not any(isinstance(part, bytes) for part in parts):
        assert frames == parts


def draws(chance: random.Random) -> Any:
    return lambda: chance.randint(1, link.ID_MAX)


def test_hello_is_answered_with_a_session_other_than_the_last_seen() -> None:
    choices = iter([3, 7, 7, 9])
    endpoint = Endpoint((7, 4), lambda: next(choices))
    assert list(endpoint.receive(encode(Hello()), 0)) == [Hello()]
    assert endpoint.output(0) == encode(Session(9))


def test_a_line_is_acknowledged_when_it_is_taken_and_not_before() -> None:
    endpoint = Endpoint((0, 0), lambda: 5)
    press = Data(7, 1, 20, "status 1")
    assert list(endpoint.receive(encode(press), 0)) == [press]
    assert endpoint.output(0) == b""
    assert list(endpoint.receive(encode(press), 250)) == [press]
    endpoint.take(7, 1)
    assert endpoint.output(250) == encode(Ack(7, 1))
    assert list(endpoint.receive(encode(press), 500)) == []
    assert endpoint.output(500) == encode(Ack(7, 1))


def test_the_same_line_twice_in_one_piece_is_taken_once() -> None:
    endpoint = Endpoint((0, 0), lambda: 5)
    taken = []
    for frame in endpoint.receive(encode(Data(7, 1, 0, "enter 1")) + encode(Data(7, 1, 250, "enter 1")), 0):
        assert isinstance(frame, Data)
        taken.append(frame.age_ms)
        endpoint.take(frame.sid, frame.n)
    assert taken == [0]
    assert endpoint.output(0) == 2 * encode(Ack(7, 1))


def test_taking_late_does_not_forget_the_newer_session() -> None:
    endpoint = Endpoint((0, 0), lambda: 5)
    list(endpoint.receive(encode(Data(7, 1, 0, "status 1")), 0))
    list(endpoint.receive(encode(Data(8, 1, 0, "status 0")), 0))
    endpoint.take(8, 1)
    endpoint.take(7, 1)
    assert endpoint.seen == (8, 1)


def sent(endpoint: Endpoint, now: int) -> list[Frame]:
    return Decoder().feed(endpoint.output(now))


def test_a_line_is_repeated_after_250_ms_and_twice_as_long_each_time() -> None:
    endpoint = Endpoint((0, 0), lambda: 5)
    endpoint.tell("status", "status 1", 0)
    times = [now for now in range(0, 10_001, 50) if sent(endpoint, now)]
    assert times == [0, 250, 750, 1750, 3750, 5750, 7750, 9750]
    list(endpoint.receive(encode(Ack(5, 2)) + encode(Ack(6, 1)), 10_000))
    assert endpoint.next_due_ms == 11_750
    list(endpoint.receive(encode(Ack(5, 1)), 10_000))
    assert endpoint.next_due_ms is None


def test_ages_are_worked_out_anew_and_a_clock_goes_on() -> None:
    endpoint = Endpoint((0, 0), lambda: 5)
    endpoint.tell("sound", "sound 3", 0)
    assert sent(endpoint, 40) == [Data(5, 1, 40, "sound 3")]
    assert sent(endpoint, 300) == [Data(5, 1, 300, "sound 3")]
    list(endpoint.receive(encode(Ack(5, 1)), 300))
    endpoint.tell("clock", "1000", 1000)
    assert sent(endpoint, 1000) == [Data(5, 2, 0, "clock 1000")]
    assert sent(endpoint, 3100) == [Data(5, 2, 0, "clock 1002")]


def test_what_waits_for_the_board_is_bounded() -> None:
    endpoint = Endpoint((0, 0), lambda: 5)
    endpoint.tell("status", "status 1", 0)
    endpoint.output(0)  # under way: no longer to be replaced
    for n in range(50):
        for kind in ("status", "message", "sound", "server", "clock"):
            endpoint.tell(kind, str(n) if kind == "clock" else f"{kind} {n}", 0)
    lines = []
    for n in range(1, 100):
        list(endpoint.receive(encode(Ack(5, n)), 0))
        lines += [frame.line for frame in sent(endpoint, 0) if isinstance(frame, Data)]
    assert sorted(lines) == sorted(
        ["status 49", "message 49", "server 49", "clock 49", *(f"sound {n}" for n in range(42, 50))]
    )


class Wire:
    """One direction: loses, flips and invents bytes, and delivers in pieces."""

    def __init__(self, chance: random.Random) -> None:
        self.chance = chance
        self.noisy = True
        self.bytes = b""

    def carry(self, data: bytes) -> bytes:
        chance = self.chance
        if self.noisy and data:
            damaged = bytearray(data)
            for _ in range(chance.choice((0, 0, 1, 2))):
                i = chance.randrange(len(damaged))
                match chance.randrange(3):
                    case 0:
                        damaged[i] ^= 1 << chance.randrange(8)
                    case 1:
                        del damaged[i : i + chance.randint(1, 10)]
                    case 2:
                        damaged[i:i] = chance.randbytes(chance.randint(1, 5))
                if not damaged:
                    break
            data = bytes(damaged)
        self.bytes += data
        size = chance.randint(0, len(self.bytes)) if self.noisy else len(self.bytes)
        ready, self.bytes = self.bytes[:size], self.bytes[size:]
        return ready


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32), st.sampled_from(["none", "warm", "cold"]), st.booleans())
def test_nothing_is_lost_doubled_or_disordered(seed: int, board_restarts: str, bridge_restarts: bool) -> None:
    chance = random.Random(seed)
    with tempfile.TemporaryDirectory() as folder:
        path = f"{folder}/spool"
        spool, board = Spool(path), Board()
        endpoint = Endpoint(spool.seen, draws(chance))
        up, down = Wire(chance), Wire(chance)
        pressed: list[str] = []
        may_be_missing: set[str] = set()
        told: list[str] = []
        heard: list[str] = []
        now = 0
        while True:
            now += 50
            noisy = now < 60_000
            up.noisy = down.noisy = noisy
            if noisy and chance.random() < 0.05:
                pressed.append(f"enter {len(pressed)}")
                board.press(pressed[-1], now)
            if noisy and chance.random() < 0.03:
                told.append(f"say {len(told)}")
                endpoint.tell(told[-1], told[-1], now)
            if noisy and chance.random() < 0.01:
                if board_restarts == "warm":
                    board.warm()
                elif board_restarts == "cold":
                    may_be_missing |= set(board.waiting)
                    heard += board.taken
                    board.cold()
            if noisy and chance.random() < 0.01:  # unplugged: what was under way is gone
                up.bytes = down.bytes = b""
            if noisy and bridge_restarts and chance.random() < 0.01:
                spool.close()
                spool = Spool(path)
                endpoint = Endpoint(spool.seen, draws(chance))
            for event in endpoint.receive(up.carry(board.output(now)), now):
                if isinstance(event, Data):
                    then = before(Now("boot", now, now), event.age_ms)
                    assert spool.append(event.line, then, (event.sid, event.n)).stored
                    if chance.random() < 0.9:  # else killed between disk and answer
                        endpoint.take(event.sid, event.n)
                    else:
                        spool.close()
                        spool = Spool(path)
                        endpoint = Endpoint(spool.seen, draws(chance))
                        break
            board.receive(down.carry(endpoint.output(now)))
            if not noisy and not board.waiting and endpoint.next_due_ms is None:
                break
            assert now < 300_000, (board.waiting, endpoint.next_due_ms)
        taken = [entry.line for entry in spool.pending]
        assert taken == [line for line in pressed if line in set(taken)]
        assert set(pressed) - set(taken) <= may_be_missing
        heard += board.taken
        if board_restarts != "cold":
            # A cold board has forgotten what it took, and takes what is repeated; the bridge tells it anew anyway.
            assert heard == [line for line in told if line in set(heard)]
        spool.close()
