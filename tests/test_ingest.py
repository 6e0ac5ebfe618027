"""The control port over real sockets."""

from __future__ import annotations

import socket
from collections.abc import Callable
from ipaddress import ip_network

import pytest

from bits.ingest import is_allowed
from tests.conftest import Server, wait_until


def lines_of(link: socket.socket, count: int) -> list[str]:
    received = b""
    while received.count(b"\n") < count:
        data = link.recv(65536)
        assert data, f"closed after {received!r}"
        received += data
    return received.decode().splitlines()


def is_closed(link: socket.socket) -> bool:
    try:
        return link.recv(1) == b""
    except ConnectionResetError:
        return True


def test_a_line_in_any_pieces_is_one_event(server: Server) -> None:
    with server.bridge() as link:
        link.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for byte in b"temperature 3 -12.5\r\n":
            link.send(bytes([byte]))
        assert wait_until(lambda: server.json("/data").get("tempint"))["value"] == -12.5


def test_a_burst_is_stored_in_order(server: Server) -> None:
    server.say(*(f"temperature {n % 4} {n / 10}" for n in range(5000)))
    data = server.json("/data")
    assert [sample["value"] for sample in data["tempinthist"]] == [n / 10 for n in range(4999, 4899, -1)]
    assert server.metric("events_stored_total") >= 5000
    assert server.metric("commits_total") < 500


def test_refused_lines_are_counted_by_reason_and_the_link_goes_on(server: Server) -> None:
    refusals = {
        "unknown-command": b"frobnicate 1",
        "wrong-word-count": b"status",
        "bad-number": b"status open",
        "out-of-range": b"status 2",
        "bad-base64": b"message ???",
        "bad-utf8": b"message /w==",
        "line-too-long": b"message " + b"A" * 5000,
        "not-offered": b"hello 2 fonera",
    }
    with server.bridge() as link:
        for line in refusals.values():
            link.sendall(line + b"\n")
        link.sendall(b"temperature 0 nan\nstatus 1\nping still-here\n")
        assert lines_of(link, 2) == ["status 1", "pong still-here"]
    for reason in refusals:
        assert server.metric(f'lines_refused_total{{reason="{reason}"}}') >= 1, reason
    assert "line refused, unknown-command: b'frobnicate 1'" in server.errors
    assert server.get("/status")[2] == b"1"


def test_noise_does_not_fill_the_log(server: Server) -> None:
    server.say(*["noise"] * 3000)
    assert server.metric('lines_refused_total{reason="unknown-command"}') == 3000
    assert 10 < server.errors.count("line refused") < 30


def test_a_bridge_is_told_the_status_when_it_connects_and_whatever_changes(server: Server) -> None:
    server.say("status 1")
    with server.bridge() as one, server.bridge() as other:
        assert lines_of(one, 1) == ["status 1"]
        assert lines_of(other, 1) == ["status 1"]
        one.sendall(b"status 1\nstatus 0\nmessage Q2lhbyDimJU=\nsound 7\ntemperature 0 20\nenter 4\n")
        told = ["status 0", "message Q2lhbyDimJU=", "sound 7"]
        assert lines_of(one, 3) == told
        assert lines_of(other, 3) == told


def test_a_bridge_that_reads_nothing_is_cut_off_and_delays_nobody(server: Server) -> None:
    with server.bridge() as deaf, server.bridge() as speaker:
        deaf.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1)
        speaker.settimeout(20)
        words = b"message " + b"QUFB" * 1000 + b"\n"
        for _ in range(40):
            speaker.sendall(words * 50 + b"ping here\n")
            while b"pong here\n" not in speaker.recv(1 << 20):
                pass
            if server.metric("bridges_cut_off_total"):
                break
        assert server.metric("bridges_cut_off_total") == 1
        assert "it reads nothing" in server.errors


def test_strangers_are_closed_at_once_and_counted(make_server: Callable[..., Server]) -> None:
    server = make_server(control_allow="10.0.0.0/8, 127.0.0.2")
    with server.bridge() as link:
        assert is_closed(link)
    assert server.metric('bridges_refused_total{reason="not-allowed"}') == 1
    with socket.create_connection(server.control, source_address=("127.0.0.2", 0)) as link:
        link.sendall(b"status 1\n")
        assert lines_of(link, 1) == ["status 1"]


def test_too_many_bridges_are_refused(make_server: Callable[..., Server]) -> None:
    server = make_server(control_connections="2")
    with server.bridge() as one, server.bridge() as two:
        for link in (one, two):
            link.sendall(b"ping x\n")
            lines_of(link, 1)
        with server.bridge() as three:
            assert is_closed(three)
    assert server.metric('bridges_refused_total{reason="too-many"}') == 1


def test_a_unix_socket_serves_bridges_too(make_server: Callable[..., Server], tmp_path: object) -> None:
    path = f"{tmp_path}/control.sock"
    server = make_server(control_usocket=path, control_usocket_mode="0600")
    with socket.socket(socket.AF_UNIX) as link:
        link.connect(path)
        link.sendall(b"status 1\nping x\n")
        assert lines_of(link, 2) == ["status 1", "pong x"]
    assert server.get("/status")[2] == b"1"


@pytest.mark.parametrize(
    ("peer", "allowed"),
    [
        (("10.8.0.7", 1), True),
        (("10.9.0.7", 1), False),
        (("::1", 1, 0, 0), True),
        (("fe80::1%eth0", 1, 0, 3), False),
        (("::ffff:10.8.0.7", 1, 0, 0), True),  # IPv4 on a socket of both kinds
        ("", True),  # a unix socket: its permissions decide
    ],
)
def test_the_allow_list(peer: object, allowed: bool) -> None:
    assert is_allowed(peer, [ip_network("10.8.0.0/24"), ip_network("::1/128")]) is allowed
