"""The hub over real sockets: everything arrives, in order, whatever the readers do."""

from __future__ import annotations

import contextlib
import os
import select
import socket
import threading
import time
from collections.abc import Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bits._hub import EVENT_STREAM, FORMS, GOING_AWAY, LONG_POLL, POLICY, TRY_LATER, WEBSOCKET, Hub
from bits._ws import close_frame, text_frame
from tests.conftest import wait_until
from tests.test_ws import BAD, client_frame, close_payload

SNAPSHOT = b"S" * 50
NOTHING = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n[]"


class Room:
    """A hub without threads, so that every step is the test's, and the other ends of its clients' sockets."""

    def __init__(self, newest: bytes = SNAPSHOT, *, ping: float = 0, backlog: int = 1 << 20) -> None:
        self.now = 0.0
        self.newest = newest
        self.back: list[int] = []
        self.hub = Hub(
            lambda form: self.newest,
            self.back.append,
            threads=0,
            ping=ping,
            stall=30,
            backlog=backlog,
            nothing=NOTHING,
        )
        self.ends: list[socket.socket] = []

    def _pair(self, small: bool) -> tuple[int, socket.socket]:
        ours, theirs = socket.socketpair()
        if small:
            ours.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1)  # the kernel makes it its least
        ours.setblocking(False)
        theirs.setblocking(False)
        self.ends.append(theirs)
        return ours.detach(), theirs

    def join(self, first: bytes = b"", *, small: bool = False, form: int = WEBSOCKET) -> socket.socket:
        fd, theirs = self._pair(small)
        self.hub.add(fd, form, first)
        self.turn()
        return theirs

    def poll(self, seconds: float, *, last: bool = False, answer: bytes | None = None) -> socket.socket:
        fd, theirs = self._pair(False)
        self.hub.wait(fd, LONG_POLL, seconds, last, answer)
        self.turn()
        return theirs

    def turn(self, now: float | None = None) -> None:
        """Let the hub see to whatever there is: messages, sockets, the clock, and what it asks for."""
        self.now = self.now if now is None else now
        for _ in range(3):
            self.hub.turn(self.now)
            if select.select([self.hub.fileno()], [], [], 0)[0]:
                self.hub.on_notice()
        self.hub.turn(self.now)

    def publish(self, frame: bytes) -> int:
        """Publish to every form. Returns how many took it whole at once."""
        before = self.count("sent")
        self.hub.publish((frame,) * FORMS)
        self.hub.turn(self.now)
        return self.count("sent") - before

    def count(self, name: str) -> int:
        return self.hub.counters()[name]

    def close(self) -> None:
        for end in self.ends:
            end.close()
        for fd in self.back:
            os.close(fd)


@pytest.fixture
def room() -> Iterator[Room]:
    room = Room()
    yield room
    room.close()


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
    assert room.publish(b"one") == 1
    late = room.join(b"hello")
    assert room.publish(b"two") == 2
    assert received(early) == b"helloonetwo"
    assert received(late) == b"hellotwo"
    assert len(room.hub) == 2
    assert (room.count("joined"), room.count("sent")) == (2, 3)


def test_every_form_gets_its_own_frame(room: Room) -> None:
    ends = [room.join(form=form) for form in range(LONG_POLL)]
    room.hub.publish(tuple(b"form %d" % form if form != 1 else None for form in range(FORMS)))
    room.turn()
    assert [received(end) for end in ends] == [b"form 0", b"", b"form 2", b"form 3"]
    assert [room.hub.of_form(form) for form in range(FORMS)] == [1, 1, 1, 1, 0, 0]


def test_added_before_is_told_added_after_is_not(room: Room) -> None:
    """In one turn, in the order they were handed in."""
    fd, before = room._pair(False)
    room.hub.add(fd, WEBSOCKET, b"state 1 ")
    room.hub.publish((b"event 2 ",) * FORMS)
    fd, between = room._pair(False)
    room.hub.add(fd, WEBSOCKET, b"state 2 ")
    room.hub.publish((b"event 3 ",) * FORMS)
    room.hub.publish((b"event 4 ",) * FORMS)
    room.turn()
    assert received(before) == b"state 1 event 2 event 3 event 4 "
    assert received(between) == b"state 2 event 3 event 4 "
    assert room.count("sent") == 3  # the last two were joined: one write


def test_a_burst_longer_than_can_wait_becomes_the_newest_snapshot(room: Room) -> None:
    end = room.join()
    for n in range(300):
        room.newest = b"newest %d" % n
        room.hub.publish((b"x" * 1000,) * FORMS)
    room.turn()
    assert received(end) == b"newest 299"
    assert room.count("conflated") == 1
    assert room.publish(b"on") == 1


def test_a_client_that_is_gone_is_forgotten_and_its_place_is_used_again(room: Room) -> None:
    for _ in range(200):
        room.join().close()
        stays = room.join()
        room.turn()
        room.publish(b"x")
    assert len(room.hub) == 200
    assert room.count("left") == 200
    assert received(stays) == b"x"


def test_a_client_that_vanishes_between_two_turns_is_noticed_by_writing(room: Room) -> None:
    room.join().close()
    fd, other = room._pair(False)
    room.hub.add(fd, WEBSOCKET, b"")
    assert room.publish(b"x") == 1
    assert len(room.hub) == 1
    assert received(other) == b"x"


def test_a_slow_reader_gets_the_newest_snapshot_and_holds_nobody_up(room: Room) -> None:
    slow, fast = room.join(small=True), room.join()
    big = text_frame(b"x" * 3000)
    count = 0
    while room.publish(big) == 2:
        count += 1
        assert count < 1000
    for _ in range(50):
        assert room.publish(b"after") == 1  # the slow one keeps waiting, the fast one does not
    room.newest = b"NEWEST"
    got = b""
    while not got.endswith(b"NEWEST"):
        got += received(slow) or b""
        room.turn()
    assert got == big * (len(got) // len(big)) + b"NEWEST"
    assert count <= len(got) // len(big) <= count + 1
    assert received(fast) == big * (count + 1) + b"after" * 50
    assert room.count("conflated") == 1
    assert room.publish(b"on") == 2


def test_a_frame_between_the_asking_for_a_snapshot_and_its_coming_is_in_it(room: Room) -> None:
    slow = room.join(small=True)
    while room.publish(text_frame(b"x" * 3000)) == 1:
        pass
    room.publish(b"missed")
    while received(slow):
        room.hub.turn(room.now)  # it has caught up and asked; the hub has not answered yet
    room.newest = b"with later"
    assert room.publish(b"later") == 0
    room.turn()
    assert (received(slow) or b"").endswith(b"with later")
    assert room.publish(b"on") == 1
    assert received(slow) == b"on"


def test_a_reader_that_misses_too_much_is_cut_off() -> None:
    """By bytes: a reader of one byte a second never stalls, and is never done."""
    room = Room(backlog=10_000)
    slow = room.join(small=True)
    while room.publish(b"x" * 3000) == 1:
        pass
    received(slow, 1)
    for _ in range(2):
        room.publish(b"y" * 3000)
    assert room.count("slow") == 0
    for _ in range(2):
        room.publish(b"y" * 3000)
    assert room.count("slow") == 1
    room.turn(6)
    assert len(room.hub) == 0
    room.close()


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
    while room.publish(text_frame(b"x" * 3000)) == 2:
        received(fine)
    received(fine)
    room.turn(29.9)
    assert len(room.hub) == 2
    room.turn(30.1)
    assert len(room.hub) == 1
    assert room.count("stalled") == 1
    while (data := received(stalled)) is not None:
        assert data
    assert room.publish(b"x") == 1


def test_a_stalled_reader_with_no_frame_under_way_is_told_why(room: Room) -> None:
    stalled = room.join(small=True)
    # Fill the buffer to the brim with small frames, so that the last attempt finds no room at all.
    while room.publish(b"y") == 1:
        pass
    received(stalled, 4096)
    room.turn(31)
    assert room.count("stalled") <= 1
    room.turn(62)
    rest = received(stalled) or b""
    assert rest.endswith(close_frame(TRY_LATER)) or set(rest) <= {ord("y"), ord("S")}


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
    assert room.publish(b"x") == 0
    end.close()
    room.turn()
    assert len(room.hub) == 0


@pytest.mark.parametrize("name", BAD)
def test_a_breach_closes_with_its_code(room: Room, name: str) -> None:
    data, code = BAD[name]
    end = room.join()
    end.send(data)
    room.turn()
    assert received(end) == close_frame(code)
    assert room.count("protocol") == 1
    room.turn(6)
    assert len(room.hub) == 0


def test_a_client_that_does_not_close_after_goodbye_is_dropped(room: Room) -> None:
    end = room.join()
    end.send(client_frame(3))
    room.turn()
    room.turn(4)
    assert len(room.hub) == 1
    room.turn(6)
    assert len(room.hub) == 0


def test_closing_says_goodbye_to_all(room: Room) -> None:
    ends = [room.join() for _ in range(5)]
    room.hub.close(GOING_AWAY)
    assert [received(end) for end in ends] == [close_frame(GOING_AWAY)] * 5
    assert [received(end) for end in ends] == [None] * 5
    assert len(room.hub) == 0
    room.hub.close(GOING_AWAY)
    again = room.join(b"hi")
    assert received(again) == b"hi"


def test_a_descriptor_that_cannot_be_watched_is_closed(room: Room) -> None:
    fd = os.open("/dev/null", os.O_WRONLY)
    room.hub.add(fd, WEBSOCKET, b"")
    room.turn()
    with pytest.raises(OSError, match="Bad file"):
        os.fstat(fd)
    assert len(room.hub) == 0


# --- by the clock


def test_the_silent_are_pinged_and_the_dead_dropped() -> None:
    room = Room(ping=20)
    alive, dead = room.join(), room.join()
    now = 0.0
    pinged = 0
    while now < 100:
        now += 0.5
        room.turn(now)
        if (received(alive) or b"").endswith(b"\x89\x00"):
            pinged += 1
            alive.send(client_frame(10, b""))
            room.turn(now)
    assert 4 <= pinged <= 6
    assert room.count("silent") == 1
    assert len(room.hub) == 1
    assert received(dead) == b"\x89\x00"
    assert received(dead) is None
    room.close()


def test_who_speaks_is_not_pinged() -> None:
    room = Room(ping=20)
    end = room.join()
    for second in range(0, 100, 5):
        end.send(client_frame(1, b"hello"))
        room.turn(second)
    assert received(end) == b""
    assert room.count("pings") == 0
    room.close()


def test_event_streams_get_a_comment_as_often() -> None:
    room = Room(ping=20)
    end = room.join(form=EVENT_STREAM)
    for second in range(101):
        room.turn(second)
    assert set((received(end) or b"").split(b"\n\n")) == {b":", b""}
    assert 4 <= room.count("heartbeats") <= 6
    room.close()


def test_a_ping_interval_longer_than_the_wheel_is_kept() -> None:
    room = Room(ping=1000)
    end = room.join()
    for second in range(0, 490, 10):
        room.turn(second)
    assert received(end) == b""
    for second in range(490, 1200, 10):
        room.turn(second)
    assert received(end) == b"\x89\x00"
    room.close()


@pytest.mark.parametrize("what", [client_frame(9, b""), client_frame(9, b"x" * 100), client_frame(1, b"x" * 1000)])
def test_a_thousand_frames_a_second_are_too_many(room: Room, what: bytes) -> None:
    end, other = room.join(), room.join()
    for n in range(1000):
        with contextlib.suppress(BlockingIOError, BrokenPipeError):
            end.send(what)
        if n % 10 == 9:
            room.turn(n / 1000)
    assert room.count("flooded") == 1
    # It was pushed off early, and told why.
    answered = received(end) or b""
    assert len(answered) < 130 * 102
    assert answered.endswith(close_frame(POLICY))
    assert room.publish(b"x") == 1
    assert received(other) == b"x"


def test_ten_pings_a_second_are_not(room: Room) -> None:
    end = room.join()
    for n in range(1000):
        end.send(client_frame(9, b"hi"))
        room.turn(n / 10)
        assert received(end) == b"\x8a\x02hi"
    assert room.count("flooded") == 0


# --- long polls


def test_a_long_poll_is_answered_once_and_goes_back_to_the_door(room: Room) -> None:
    end = room.poll(30)
    assert received(end) == b""
    assert room.publish(b"answer") == 1
    assert room.publish(b"next") == 0
    room.turn()
    assert received(end) == b"answer"
    assert len(room.back) == 1
    assert len(room.hub) == 0
    os.write(room.back[0], b"still open")
    assert received(end) == b"still open"


def test_a_long_poll_that_nothing_happens_for_is_answered_in_time(room: Room) -> None:
    end = room.poll(10)
    room.turn(9.5)
    assert received(end) == b""
    room.turn(10)
    assert received(end) == NOTHING
    assert len(room.back) == 1


def test_a_long_poll_that_missed_something_is_answered_at_once(room: Room) -> None:
    end = room.poll(10, answer=b"what you missed")
    assert received(end) == b"what you missed"
    assert len(room.back) == 1


def test_the_last_answer_of_a_connection_closes_it(room: Room) -> None:
    end = room.poll(10, last=True)
    room.publish(b"answer")
    assert received(end) == b"answer"
    assert received(end) is None
    assert room.back == []


def test_a_long_poll_that_goes_away_is_forgotten(room: Room) -> None:
    room.poll(10).close()
    room.turn()
    assert len(room.hub) == 0
    assert room.publish(b"x") == 0


def test_a_request_behind_a_long_poll_stays_unread(room: Room) -> None:
    end = room.poll(10)
    end.send(b"GET / HTTP/1.1")
    room.turn()
    room.publish(b"answer")
    room.turn()
    assert os.read(room.back[0], 100) == b"GET / HTTP/1.1"


def test_long_polls_are_answered_when_all_ends(room: Room) -> None:
    end = room.poll(10)
    room.hub.close(GOING_AWAY)
    assert received(end) == NOTHING
    assert received(end) is None


# --- threads


@pytest.mark.parametrize("threads", [1, 3])
def test_threads_push_what_is_handed_in(threads: int) -> None:
    """Clients come, go and are slow while frames are published: nobody's stream has a gap or a double."""
    hub = Hub(lambda form: b"", os.close, threads=threads, ping=0)
    hub.start()
    ends: list[socket.socket] = []
    firsts: list[int] = []
    for n in range(150):
        ours, theirs = socket.socketpair()
        ours.setblocking(False)
        theirs.settimeout(10)
        hub.add(ours.detach(), WEBSOCKET, b"<%d>" % n)
        hub.wake()
        ends.append(theirs)
        firsts.append(n)
        hub.publish((b"(%d)" % n,) * FORMS)
        if n % 3 == 0:
            ends.pop().close()
            firsts.pop()
    hub.publish((b"end",) * FORMS)
    for first, end in zip(firsts, ends, strict=True):
        stream = b""
        while not stream.endswith(b"end"):
            stream += end.recv(65536)
        assert stream == b"<%d>" % first + b"".join(b"(%d)" % n for n in range(first, 150)) + b"end"
    wait_until(lambda: len(hub) == 100, "those that went are forgotten")
    hub.close(GOING_AWAY)
    assert [end.recv(10) for end in ends] == [close_frame(GOING_AWAY)] * 100
    for end in ends:
        end.close()


def test_to_publish_is_not_to_wait() -> None:
    """The loop's part of a broadcast does not grow with those who listen: it is far below theirs."""
    hub = Hub(lambda form: b"", os.close, threads=1, ping=0)
    hub.start()
    ends = []
    for _ in range(2000):
        ours, theirs = socket.socketpair()
        ours.setblocking(False)
        hub.add(ours.detach(), WEBSOCKET, b"")
        ends.append(theirs)
    hub.wake()
    wait_until(lambda: hub.counters()["joined"] == 2000, "all are there")
    shares = []
    for n in range(1, 8):
        begun = time.perf_counter()
        hub.publish((b"x" * 120,) * FORMS)
        returned = time.perf_counter()
        wait_until(lambda: hub.counters()["sent"] == 2000 * n, "all have it")  # noqa: B023
        shares.append((returned - begun) / (time.perf_counter() - begun))
    assert sorted(shares)[3] < 0.3
    hub.close(GOING_AWAY)
    for end in ends:
        end.close()


def test_a_hub_without_threads_is_turned_by_hand_and_one_with_is_not() -> None:
    hub = Hub(lambda form: b"", os.close, threads=1)
    with pytest.raises(RuntimeError, match="threads of its own"):
        hub.turn()
    with pytest.raises(ValueError, match="expected 0 to 64"):
        Hub(lambda form: b"", os.close, threads=65)


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
        room.hub.add(fd, WEBSOCKET, b"x")
    room.turn()
    gc.collect()
    assert len(gc.get_objects()) <= made
    assert before <= made
    for _, theirs in pairs:
        theirs.close()
