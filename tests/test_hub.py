"""The hub over real sockets: everything arrives, in order, whatever the readers do."""

from __future__ import annotations

import contextlib
import select
import socket
import threading
from collections.abc import Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bits._hub import GOING_AWAY, TRY_LATER, Hub
from bits._ws import close_frame, text_frame
from tests.test_ws import BAD, client_frame, close_payload

SNAPSHOT = b"S" * 50


class Clock:
    now = 0.0


class Room:
    """A hub and the other ends of its clients' sockets."""

    def __init__(self, newest: bytes = SNAPSHOT) -> None:
        self.clock = Clock()
        self.newest = newest
        self.hub = Hub(lambda: self.newest)
        self.ends: list[socket.socket] = []

    def join(self, first: bytes = b"", *, small: bool = False) -> socket.socket:
        ours, theirs = socket.socketpair()
        if small:
            ours.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1)  # the kernel makes it its least
        ours.setblocking(False)
        theirs.setblocking(False)
        self.hub.add(ours.detach(), first, self.clock.now)
        self.ends.append(theirs)
        return theirs

    def turn(self) -> None:
        """Let the hub see to whatever its sockets have to report."""
        while select.select([self.hub.fileno()], [], [], 0)[0]:
            before = (len(self.hub), self.hub.left, self.hub.conflated)
            self.hub.on_ready(self.clock.now)
            if (len(self.hub), self.hub.left, self.hub.conflated) == before:
                return

    def publish(self, frame: bytes) -> tuple[int, int]:
        return self.hub.publish(frame, self.clock.now)


@pytest.fixture
def room() -> Iterator[Room]:
    room = Room()
    yield room
    for end in room.ends:
        end.close()


def received(end: socket.socket, size: int = 1 << 20) -> bytes | None:
    """Return what is there to read; None at the end of the stream."""
    parts: list[bytes] = []
    while size:
        try:
            data = end.recv(min(size, 65536))
        except BlockingIOError:
            break
        except ConnectionResetError:
            return b"".join(parts) or None
        if not data:
            return b"".join(parts) or None
        parts.append(data)
        size -= len(data)
    return b"".join(parts)


def test_a_client_gets_its_first_bytes_and_then_every_frame(room: Room) -> None:
    early = room.join(b"hello")
    assert room.publish(b"one") == (1, 0)
    late = room.join(b"hello")
    assert room.publish(b"two") == (2, 0)
    assert received(early) == b"helloonetwo"
    assert received(late) == b"hellotwo"
    assert len(room.hub) == 2
    assert (room.hub.joined, room.hub.sent) == (2, 3)


def test_a_client_that_is_gone_is_forgotten_and_its_place_is_used_again(room: Room) -> None:
    for _ in range(200):
        room.join().close()
        stays = room.join()
        room.turn()
        room.publish(b"x")
    assert len(room.hub) == 200
    assert room.hub.left == 200
    assert received(stays) == b"x"


def test_a_client_that_vanishes_between_two_turns_is_noticed_by_writing(room: Room) -> None:
    room.join().close()
    other = room.join()
    assert room.publish(b"x") == (1, 0)
    assert len(room.hub) == 1
    assert received(other) == b"x"


def test_a_slow_reader_gets_the_newest_snapshot_and_holds_nobody_up(room: Room) -> None:
    slow, fast = room.join(small=True), room.join()
    big = text_frame(b"x" * 3000)
    count = 0
    while room.publish(big)[1] == 0:
        count += 1
        assert count < 1000
    for _ in range(50):
        assert room.publish(b"after") == (1, 1)  # the slow one keeps waiting, the fast one does not
    room.newest = b"NEWEST"
    got = b""
    while not got.endswith(b"NEWEST"):
        got += received(slow) or b""
        room.turn()
    assert got == big * (len(got) // len(big)) + b"NEWEST"
    assert count <= len(got) // len(big) <= count + 1
    assert received(fast) == big * (count + 1) + b"after" * 50
    assert room.hub.conflated == 1
    assert room.publish(b"on") == (2, 0)


@settings(deadline=None, max_examples=60)
@given(
    st.lists(
        st.one_of(
            st.tuples(st.just("publish"), st.integers(1, 9000)),
            st.tuples(st.just("read"), st.integers(1, 20000)),
            st.tuples(st.just("turn"), st.just(0)),
            st.tuples(st.just("ping"), st.integers(0, 125)),
        ),
        max_size=120,
    )
)
def test_no_byte_is_lost_doubled_or_interleaved(steps: list[tuple[str, int]]) -> None:
    """Whatever a reader with a tiny buffer does, its stream is a sequence of whole frames: each published frame
    at most once and in order, snapshots in place of what was missed, and at the end the newest is known."""
    room = Room()
    end = room.join(small=True)
    published: list[int] = []
    stream = b""
    for what, size in steps:
        if what == "publish":
            number = len(published)
            published.append(size)
            payload = b"%06d" % number + b"." * size
            room.newest = text_frame(b"S%06d" % number)
            room.publish(text_frame(payload))
        elif what == "read":
            stream += received(end, size) or b""
        elif what == "ping":
            with contextlib.suppress(BlockingIOError):
                end.send(client_frame(9, b"p" * size))
        else:
            room.turn()
    for _ in range(200):
        room.turn()
        stream += received(end) or b""
    last = -1
    at = 0
    while at < len(stream):
        opcode, length = stream[at] & 15, stream[at + 1]
        at += 2
        if length == 126:
            length = int.from_bytes(stream[at : at + 2], "big")
            at += 2
        payload = stream[at : at + length]
        at += length
        assert at <= len(stream)
        if opcode == 10:
            assert set(payload) <= {ord("p")}
            continue
        assert opcode == 1
        if payload.startswith(b"S"):
            assert int(payload[1:]) >= last  # a snapshot never goes back
            last = int(payload[1:])
        else:
            assert int(payload[:6]) > last
            last = int(payload[:6])
            assert payload == b"%06d" % last + b"." * published[last]
    assert last == len(published) - 1
    end.close()


def test_a_reader_that_stalls_too_long_is_cut_off(room: Room) -> None:
    stalled, fine = room.join(small=True), room.join()
    while room.publish(text_frame(b"x" * 3000))[1] == 0:
        received(fine)
    received(fine)
    room.clock.now = 29.9
    room.hub.sweep(room.clock.now, 30)
    assert len(room.hub) == 2
    room.clock.now = 30.1
    room.hub.sweep(room.clock.now, 30)
    assert len(room.hub) == 1
    assert room.hub.stalled == 1
    while (data := received(stalled)) is not None:
        assert data
    assert room.publish(b"x") == (1, 0)


def test_a_stalled_reader_with_no_frame_under_way_is_told_why(room: Room) -> None:
    stalled = room.join(small=True)
    # Fill the buffer to the brim with small frames, so that the last attempt finds no room at all.
    while room.publish(b"y" * 1)[1] == 0:
        pass
    received(stalled, 4096)
    room.clock.now = 31
    room.hub.sweep(room.clock.now, 30)
    assert room.hub.stalled == 1
    rest = received(stalled) or b""
    assert rest.endswith(close_frame(TRY_LATER)) or set(rest) == {ord("y")}


def test_a_ping_is_answered(room: Room) -> None:
    end = room.join()
    end.send(client_frame(9, b"are you there"))
    room.turn()
    assert received(end) == b"\x8a\x0dare you there"


def test_data_is_ignored_byte_by_byte(room: Room) -> None:
    end = room.join()
    for byte in client_frame(1, "ciao ☕".encode()) + client_frame(9, b"!"):
        end.send(bytes([byte]))
        room.turn()
    assert received(end) == b"\x8a\x01!"
    assert len(room.hub) == 1


def test_a_close_is_answered_with_its_code(room: Room) -> None:
    end = room.join()
    end.send(client_frame(8, close_payload(1001, b"tab closed")))
    room.turn()
    assert received(end) == close_frame(1001)
    assert len(room.hub) == 0
    assert room.publish(b"x") == (0, 0)
    end.close()
    room.turn()
    assert room.hub.left == 1


@pytest.mark.parametrize("name", BAD)
def test_a_breach_closes_with_its_code(room: Room, name: str) -> None:
    data, code = BAD[name]
    end = room.join()
    end.send(data)
    room.turn()
    assert received(end) == close_frame(code)
    assert room.hub.broken == 1
    assert len(room.hub) == 0


def test_a_client_that_does_not_close_after_goodbye_is_dropped(room: Room) -> None:
    end = room.join()
    end.send(client_frame(3))
    room.turn()
    room.clock.now = 4
    room.hub.sweep(room.clock.now, 30)
    assert room.hub.left == 0
    room.clock.now = 6
    room.hub.sweep(room.clock.now, 30)
    assert room.hub.left == 1


def test_closing_says_goodbye_to_all(room: Room) -> None:
    ends = [room.join() for _ in range(5)]
    room.hub.close(GOING_AWAY, room.clock.now)
    assert [received(end) for end in ends] == [close_frame(GOING_AWAY)] * 5
    assert [received(end) for end in ends] == [None] * 5
    assert len(room.hub) == 0
    room.hub.close(GOING_AWAY, room.clock.now)
    again = room.join(b"hi")
    assert received(again) == b"hi"


def test_a_descriptor_that_cannot_be_watched_is_refused_and_closed(tmp_path: object, room: Room) -> None:
    import os

    fd = os.open("/dev/null", os.O_WRONLY)
    with pytest.raises(OSError, match="not permitted"):
        room.hub.add(fd, b"", 0.0)
    with pytest.raises(OSError, match="Bad file"):
        os.fstat(fd)
    assert len(room.hub) == 0


def test_another_thread_is_refused(room: Room) -> None:
    errors: list[BaseException] = []

    def call() -> None:
        try:
            room.publish(b"x")
        except BaseException as error:
            errors.append(error)

    thread = threading.Thread(target=call)
    thread.start()
    thread.join()
    assert isinstance(errors[0], RuntimeError)


def test_no_client_costs_more_than_its_place() -> None:
    """The hub's own memory: a place in one C array, and nothing on Python's heap."""
    import gc

    room = Room()
    room.join().close()
    gc.collect()
    before = len(gc.get_objects())
    pairs = [socket.socketpair() for _ in range(200)]
    descriptors = [ours.detach() for ours, _ in pairs]
    made = len(gc.get_objects())
    for fd in descriptors:
        room.hub.add(fd, b"x", 0.0)
    gc.collect()
    assert len(gc.get_objects()) <= made
    assert before <= made
    for _, theirs in pairs:
        theirs.close()
