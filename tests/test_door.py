"""The front door over real sockets, with a clock of the test's own."""

from __future__ import annotations

import os
import select
import socket
from collections.abc import Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bits._door import BAD, LATE, LONG, Answer, Door, refusal
from tests.conftest import wait_until
from tests.test_http import BAD as BAD_HEADS
from tests.test_http import UPGRADE, head

PLAIN = b'HTTP/1.1 200 OK\r\nContent-Length: 4\r\nETag: W/"tag"\r\n\r\nbody'
PACKED = b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 2\r\n\r\ngz"
UNCHANGED = b'HTTP/1.1 304 Not Modified\r\nETag: W/"tag"\r\n\r\n'
STATUS = b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n1"

GET_STATUS = head("GET /status HTTP/1.1")
GET_DATA = head("GET /data HTTP/1.1")


class House:
    """A door, and what stands behind it: lists."""

    def __init__(self, *, most: int = 100, fast: bool = True, body: bytes = PLAIN) -> None:
        self.now = 0.0
        self.listener = socket.create_server(("127.0.0.1", 0), backlog=1000)
        self.listener.setblocking(False)
        self.asked: list[tuple[int, int]] = []
        self.joined: list[tuple[object, ...]] = []
        self.handed: list[tuple[int, bytes]] = []
        self.body = body
        self.door = Door(
            self.listener.fileno(),
            self._answer,
            lambda *given: self.joined.append(given),
            lambda fd, received: self.handed.append((fd, received)),
            most=most,
            head_seconds=10,
            idle_seconds=75,
            fast=fast,
        )
        self.clients: list[socket.socket] = []

    def _answer(self, route: int, iso: int) -> Answer:
        self.asked.append((route, iso))
        return Answer(STATUS) if route == 0 else Answer(self.body, PACKED, UNCHANGED, b'"tag"')

    def connect(self, data: bytes = b"", *, small: bool = False) -> socket.socket:
        client = socket.socket()
        if small:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2048)
        client.connect(self.listener.getsockname())
        client.settimeout(10)
        self.clients.append(client)
        if data:
            client.sendall(data)
        self.turn()
        return client

    def turn(self, now: float | None = None) -> None:
        """See to whatever there is to see to."""
        self.now = self.now if now is None else now
        while select.select([self.listener], [], [], 0)[0]:
            self.door.on_connect(self.now)
        for _ in range(200):
            if not select.select([self.door], [], [], 0)[0]:
                break
            self.door.on_ready(self.now)
        self.door.sweep(self.now)

    def close(self) -> None:
        self.door.close()
        self.listener.close()
        for client in self.clients:
            client.close()
        for fd in [*(entry[0] for entry in self.joined), *(fd for fd, _ in self.handed)]:
            assert isinstance(fd, int)
            os.close(fd)


@pytest.fixture
def house() -> Iterator[House]:
    house = House()
    yield house
    house.close()


def read(client: socket.socket, house: House, size: int) -> bytes:
    """Read exactly so many bytes while the door works."""
    received = b""
    while len(received) < size:
        house.turn()
        if select.select([client], [], [], 0.05)[0]:
            data = client.recv(size - len(received))
            assert data, received
            received += data
    return received


def read_all(client: socket.socket, house: House) -> bytes:
    """Read to the end of the stream."""
    received = b""
    while True:
        house.turn()
        if select.select([client], [], [], 0.05)[0]:
            try:
                data = client.recv(65536)
            except ConnectionResetError:
                return received
            if not data:
                return received
            received += data


def test_a_plain_request_is_answered_from_finished_bytes(house: House) -> None:
    client = house.connect(GET_STATUS)
    assert read(client, house, len(STATUS)) == STATUS
    client.sendall(GET_DATA)
    assert read(client, house, len(PLAIN)) == PLAIN
    client.sendall(GET_DATA)
    assert read(client, house, len(PLAIN)) == PLAIN
    assert house.asked == [(0, 0), (1, 0)]  # each once
    house.door.outdate()
    client.sendall(GET_DATA)
    assert read(client, house, len(PLAIN)) == PLAIN
    assert house.asked == [(0, 0), (1, 0), (1, 0)]
    assert (house.door.accepted, house.door.answered) == (1, 4)


@pytest.mark.parametrize(
    ("headers", "answer"),
    [
        (['If-None-Match: W/"tag"'], UNCHANGED),
        (['If-None-Match: "x", "tag"'], UNCHANGED),
        (['If-None-Match: "ta"', 'X: "tag"'], PLAIN),
        (['If-None-Match: W/"tag"', "Accept-Encoding: gzip"], UNCHANGED),
        (["Accept-Encoding: gzip"], PACKED),
    ],
)
def test_conditions_and_codings(house: House, headers: list[str], answer: bytes) -> None:
    client = house.connect(head("GET /data HTTP/1.1", *headers))
    assert read(client, house, len(answer)) == answer


def test_head_is_answered_without_a_body(house: House) -> None:
    client = house.connect(head("HEAD /data HTTP/1.1") + GET_STATUS)
    expected = PLAIN.removesuffix(b"body") + STATUS
    assert read(client, house, len(expected)) == expected


def test_close_is_said_and_done(house: House) -> None:
    client = house.connect(head("GET /status HTTP/1.1", "Connection: close") + GET_STATUS)
    assert read_all(client, house) == STATUS.replace(b"OK\r\n", b"OK\r\nConnection: close\r\n")
    house.turn(3)
    assert len(house.door) == 0


@settings(deadline=None, max_examples=60)
@given(
    st.lists(st.sampled_from([GET_STATUS, GET_DATA, head("HEAD /data HTTP/1.1")]), min_size=1, max_size=40),
    st.lists(st.integers(1, 300), max_size=20),
)
def test_pipelined_requests_in_any_pieces_are_answered_in_order(requests: list[bytes], cuts: list[int]) -> None:
    house = House()
    try:
        stream = b"".join(requests)
        answers = {GET_STATUS: STATUS, GET_DATA: PLAIN}
        expected = b"".join(answers.get(request, PLAIN.removesuffix(b"body")) for request in requests)
        client = house.connect()
        at = 0
        for cut in [*cuts, len(stream)]:
            client.sendall(stream[at : at + cut])
            at += cut
            house.turn()
        assert read(client, house, len(expected)) == expected
        assert house.door.answered == len(requests)
    finally:
        house.close()


def test_a_client_that_does_not_take_its_answers_is_not_read_and_then_dropped() -> None:
    body = b"HTTP/1.1 200 OK\r\nContent-Length: 300000\r\n\r\n" + b"x" * 300_000
    house = House(body=body)
    client = house.connect(small=True)
    client.setblocking(False)
    sent = 0
    for _ in range(1000):
        try:
            sent += client.send(GET_DATA)
        except BlockingIOError:
            break
        house.turn()
    assert house.door.answered < 40  # what is not taken is not made
    house.turn(5)
    assert len(house.door) == 1
    house.turn(11)
    assert len(house.door) == 0
    assert house.door.refused()["answer-not-taken"] == 1
    house.close()


def test_a_slow_taker_gets_every_byte_in_order() -> None:
    body = b"HTTP/1.1 200 OK\r\nContent-Length: 300000\r\n\r\n" + bytes(range(250)) * 1200
    house = House(body=body)
    client = house.connect(small=True)
    client.sendall((GET_DATA + GET_STATUS) * 5)
    assert read(client, house, 5 * (len(body) + len(STATUS))) == (body + STATUS) * 5
    house.close()


def test_what_is_not_plain_goes_on_untouched(house: House) -> None:
    request = head("POST /status HTTP/1.1", "Content-Length: 3") + b"abc"
    client = house.connect(GET_STATUS + request)
    assert read(client, house, len(STATUS)) == STATUS
    assert [received for _, received in house.handed] == [request]
    os.write(house.handed[0][0], b"from behind")
    assert read(client, house, 11) == b"from behind"
    assert len(house.door) == 0
    assert house.door.handed_on == 1


def test_a_door_that_is_not_fast_hands_everything_on_but_refuses_as_well() -> None:
    house = House(fast=False)
    house.connect(GET_STATUS)
    assert house.handed[0][1] == GET_STATUS
    assert read_all(house.connect(BAD_HEADS[0][1]), house) == BAD
    house.close()


def test_push_clients_go_to_the_hub(house: House) -> None:
    house.connect(head("GET /ws?since=4&timestamps=iso HTTP/1.1", *UPGRADE) + b"early")
    house.connect(head("GET /events HTTP/1.1", "Last-Event-ID: 7"))
    house.connect(head("GET /data?since=9&wait=30&stale=0 HTTP/1.1", "Connection: close"))
    house.connect(head("GET /data?since=9&wait=30 HTTP/1.1") + GET_STATUS)
    key = UPGRADE[3].partition(": ")[2].encode()
    assert [entry[1:] for entry in house.joined] == [
        (2, 1, 4, -1.0, None, 0, key, b"early"),
        (3, 0, 7, -1.0, None, 0, None, b""),
        (1, 0, 9, 30.0, False, 1, None, b""),
        (1, 0, 9, 30.0, None, 1, None, GET_STATUS),  # closing tells the client to send the one behind it again
    ]
    assert len(house.door) == 0


def test_an_answered_long_poll_comes_back(house: House) -> None:
    client = house.connect(head("GET /data?since=9&wait=30 HTTP/1.1"))
    fd = house.joined.pop()[0]
    assert isinstance(fd, int)
    house.door.adopt(fd, house.now)
    client.sendall(GET_STATUS)
    assert read(client, house, len(STATUS)) == STATUS


@pytest.mark.parametrize(("reason", "request_"), BAD_HEADS)
def test_a_bad_head_is_refused_counted_and_closed(house: House, reason: str, request_: bytes) -> None:
    client = house.connect(request_ + GET_STATUS)
    assert read_all(client, house) == BAD
    assert house.door.refused()[reason] == 1
    assert house.door.answered == 0
    assert house.handed == []
    house.turn(3)
    assert len(house.door) == 0


def test_a_long_head_is_refused(house: House) -> None:
    client = house.connect(head("GET /status HTTP/1.1", "X: " + "x" * 9000))
    assert read_all(client, house) == LONG
    assert house.door.refused()["head-too-long"] == 1


def test_half_a_head_for_ever_is_not_waited_for(house: House) -> None:
    client = house.connect(b"GET /status HTTP/1.1\r\nHost:")
    for second in range(1, 11):
        client.sendall(b"x")  # a byte a second does not keep it alive
        house.turn(second)
    assert len(house.door) == 1
    house.turn(11)
    assert read_all(client, house) == LATE
    assert house.door.refused()["head-too-late"] == 1
    house.turn(14)
    assert len(house.door) == 0


def test_a_silent_connection_is_not_waited_for_either_but_an_idle_one_longer(house: House) -> None:
    silent, idle = house.connect(), house.connect(GET_STATUS)
    house.turn(11)
    assert read_all(silent, house) == LATE
    house.turn(74)
    assert len(house.door) == 1
    house.turn(76)
    assert len(house.door) == 0
    assert read_all(idle, house) == STATUS


def test_newcomers_push_out_those_that_say_nothing() -> None:
    house = House(most=50)
    good = house.connect(GET_STATUS)
    for _ in range(200):
        house.connect(b"GET /sta")
    assert len(house.door) <= 50
    assert house.door.refused()["evicted"] >= 150
    # Whoever asks properly is served all the same, and one that waits between requests is the last to go.
    assert read(house.connect(GET_STATUS), house, len(STATUS)) == STATUS
    assert read(good, house, len(STATUS)) == STATUS
    good.sendall(GET_STATUS)
    assert read(good, house, len(STATUS)) == STATUS
    house.close()


def test_no_more_than_a_portion_is_accepted_at_once(house: House) -> None:
    for _ in range(150):
        client = socket.create_connection(house.listener.getsockname())
        house.clients.append(client)
    for portion in (64, 128, 150):
        wait_until(lambda: select.select([house.listener], [], [], 0)[0])
        assert house.door.on_connect(0.0)
        assert house.door.accepted == portion


def test_gone_clients_leave_nothing(house: House) -> None:
    for data in (b"", GET_STATUS, b"GET /"):
        house.connect(data).close()
    house.turn()
    assert len(house.door) == 0


def test_answers_must_be_whole() -> None:
    with pytest.raises(ValueError, match="not a whole answer"):
        Answer(b"HTTP/1.1 200 OK\r\n")
    assert refusal("503 Service Unavailable", "No.").endswith(b"Content-Length: 4\r\n\r\nNo.\n")
