"""What the bridge decides, with bytes and time passed in: no sockets, no waiting."""

from __future__ import annotations

import base64
import errno
import json
import os
import random
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from bits_fonera import clock, fetch, protocol
from bits_fonera.bridge import Bridge
from bits_fonera.clock import Now
from bits_fonera.link import ID_MAX
from bits_fonera.protocol import Refused
from bits_fonera.spool import Spool
from bits_fonera.uplink import Phase, Uplink
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.fonera_board import Board
from tests.fonera_server import FakeServer

VECTORS = json.loads((Path(__file__).parent / "vectors" / "miniprotocol.json").read_text())
STEP = 50  # ms


class Rig:
    """A board, a bridge and a server on a table, and hands that unplug them."""

    def __init__(self, path: Path, server: FakeServer, version: str = "auto", **options: Any) -> None:
        self.path = path
        self.version = version
        self.options: dict[str, Any] = {"key": "secret", "ping_interval_ms": 20_000, "backoff_max_ms": 60_000} | options
        self.board = Board()
        self.server = server
        self.reachable = True
        self.board_plugged = True
        self.connected = False
        self.ms = 1000
        self.boot = "boot-one"
        self.wall_ms = 1_767_225_600_000
        self.log: list[str] = []
        self.attempts: list[int] = []
        self.chance = random.Random(1)
        self.restart()

    @property
    def now(self) -> Now:
        return Now(self.boot, self.ms, self.wall_ms)

    def restart(self) -> None:
        """The bridge starts anew, from what is on disk."""
        if self.connected:
            self.connected = False
        self.spool = Spool(str(self.path))
        log: Callable[[str, str], None] = lambda level, text: self.log.append(f"{level}: {text}")  # noqa: E731
        self.uplink = Uplink(
            self.spool, bridge="attic", version=self.version, chance=lambda: 1.0, log=log, **self.options
        )
        self.bridge = Bridge(self.spool, self.uplink, lambda: self.chance.randint(1, ID_MAX), log)

    def cut(self) -> None:
        """The connection breaks, with what was on its way."""
        if self.connected:
            self.connected = False
            self.uplink.output.clear()
            self.bridge.server_lost("reset", self.now)

    def step(self) -> None:
        self.ms += STEP
        self.wall_ms += STEP
        bridge, uplink, server = self.bridge, self.uplink, self.server
        bridge.tick(self.now)
        if uplink.broken:
            self.cut_with(uplink.broken)
        if uplink.wants_connection(self.now):
            self.attempts.append(self.ms)
            uplink.connecting(self.now)
            if self.reachable:
                self.connected = True
                server.connect()
                bridge.server_connected(self.now)
            else:
                bridge.server_lost("refused", self.now)
        if self.connected:
            server.receive(bytes(uplink.output))
            uplink.output.clear()
            data, server.output = server.output, b""
            if data:
                bridge.server_bytes(data, self.now)
            if server.closed:
                self.cut_with("closed")
        if self.board_plugged:
            bridge.board_bytes(self.board.output(self.ms), self.now)
            self.board.receive(bridge.board.output(self.ms))

    def cut_with(self, reason: str) -> None:
        self.connected = False
        self.bridge.server_lost(reason, self.now)

    def run(self, ms: int) -> None:
        for _ in range(ms // STEP):
            self.step()

    def press(self, *lines: str) -> None:
        for line in lines:
            self.board.press(line, self.ms)


@pytest.fixture
def server() -> FakeServer:
    return FakeServer()


@pytest.fixture
def rig(tmp_path: Path, server: FakeServer) -> Rig:
    return Rig(tmp_path / "spool", server)


# --- the miniprotocol


def decoded(lines: list[protocol.Line]) -> list[Any]:
    """Write lines as the shared vectors do."""
    written = []
    for line in lines:
        kind = {"refused": "malformed"}.get(type(line).__name__.lower(), type(line).__name__.lower())
        fields = line._asdict()
        if kind == "status":
            fields["value"] = ("closed", "open", "away")[fields["value"]]
        if kind == "malformed":
            fields["line"] = fields["line"].decode("latin-1")
        written.append({"type": kind} | fields)
    return written


# What a server may say, and a bridge has to understand.
OURS = {"message", "sound", "nonce", "welcome", "ack", "nak", "ping", "pong"}


def cases() -> Iterator[Any]:
    for case in VECTORS["decode"]:
        kinds = {line["type"] for line in case["lines"]}
        if kinds and kinds <= OURS | {"status"}:
            yield pytest.param(case, id=case["name"])


@pytest.mark.parametrize("case", list(cases()))
def test_the_shared_vectors(case: dict[str, Any]) -> None:
    data = "".join(
        part if isinstance(part, str) else part["repeat"][0] * part["repeat"][1]
        for part in ([case["bytes"]] if isinstance(case["bytes"], str) else case["bytes"])
    ).encode("latin-1")
    assert decoded(protocol.Decoder().feed(data)) == case["lines"]
    decoder = protocol.Decoder()
    assert decoded([line for byte in data for line in decoder.feed(bytes([byte]))]) == case["lines"]


def test_enough_vectors_are_about_what_a_server_says() -> None:
    assert len(list(cases())) >= 8


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("", "empty-line"),
        ("frobnicate 1", "unknown-command"),
        ("@1 0 status 1", "unknown-command"),
        ("status", "wrong-word-count"),
        ("status  1", "wrong-word-count"),
        ("status 3", "out-of-range"),
        ("ack 0", "out-of-range"),
        ("ack -1", "bad-number"),
        ("welcome 9223372036854775808", "out-of-range"),
        ("nak 1 Bad", "bad-token"),
        ("nonce 12", "bad-token"),
        ("message a", "bad-base64"),
        ("message YR==", "bad-base64"),
        ("message /w==", "bad-utf8"),
        ("message AA==", "bad-text"),
        ("ping \x7f", "bad-token"),
    ],
)
def test_refusals(line: str, reason: str) -> None:
    assert protocol.decode(line.encode()) == Refused(reason, line.encode())


def test_a_line_too_long_is_skipped_and_nothing_else() -> None:
    data = b"x" * 10_000 + b"\nack 1\n" + b"y" * 4095 + b"\n" + b"z" * 4096 + b"\nack 2\n"
    lines = protocol.Decoder().feed(data)
    assert [line for line in lines if not isinstance(line, Refused)] == [protocol.Ack(1), protocol.Ack(2)]
    assert [line.reason for line in lines if isinstance(line, Refused)] == [
        "line-too-long",
        "unknown-command",
        "line-too-long",
    ]


@given(st.binary(max_size=300))
def test_no_line_is_too_much(data: bytes) -> None:
    protocol.Decoder().feed(data + b"\n")


@given(st.text(min_size=1).filter(lambda text: "\0" not in text))
def test_messages_are_cut_between_characters(text: str) -> None:
    shown = base64.b64decode(protocol.for_display(text)).decode()
    assert len(shown.encode()) <= 240
    if len(text.encode()) <= 240:
        assert shown == text
    else:
        assert shown.endswith("…")
        assert text.startswith(shown[:-1])
        assert len(shown.encode()) > 240 - 4


# --- version 2


def test_a_session(rig: Rig, server: FakeServer) -> None:
    server.last = 41
    rig.press("status 1")
    rig.run(1000)
    rig.press("temperature 0 21.5")
    rig.run(1000)
    assert [(n, event) for n, _, event in server.stored] == [(42, "status 1"), (43, "temperature 0 21.5")]
    assert server.hellos[0] == "hello 2 attic"
    assert rig.uplink.phase is Phase.UP
    assert not rig.spool.pending
    assert "server 1" in rig.board.taken
    assert rig.board.taken[-1] == "status 1"


def test_nothing_is_sent_before_the_welcome(rig: Rig, server: FakeServer) -> None:
    server.key = "another"
    rig.press("status 1")
    rig.run(5000)
    assert not server.stored
    assert not any(line.startswith("@") for line in server.seen_lines)
    assert not rig.board.waiting  # it is on disk
    server.key = "secret"
    rig.run(60_000)
    assert server.events == ["status 1"]


def test_what_happened_while_the_server_was_away_comes_once_in_order_with_its_age(rig: Rig, server: FakeServer) -> None:
    rig.run(1000)
    rig.reachable = False
    rig.cut()
    for n in range(600):
        rig.press(f"enter {n}")
        rig.run(100)
    assert not server.stored
    rig.restart()
    rig.reachable = True
    rig.run(70_000)
    assert server.events == [f"enter {n}" for n in range(600)]
    ages = [age for _, age, _ in server.stored]
    assert ages[0] - ages[-1] == pytest.approx(599 * 100, abs=5000)
    assert [n for n, _, _ in server.stored] == list(range(1, 601))


def test_no_more_lines_are_under_way_than_the_window_has_room_for(rig: Rig, server: FakeServer) -> None:
    server.acknowledging = False
    for n in range(400):
        rig.bridge.report(f"seen {n:064x}", 0, rig.now)
    rig.run(2000)
    assert len(server.stored) == 256
    server.acknowledging = True
    server.say("ack 256")
    rig.run(1000)
    assert len(server.stored) == 400


def test_the_socket_is_given_no_more_than_it_takes(rig: Rig) -> None:
    rig.run(200)
    for n in range(400):
        rig.bridge.report(f"seen {n:064x}", 0, rig.now)
    for _ in range(50):
        rig.bridge.tick(rig.now)
    assert len(rig.uplink.output) < 4096 + 200


def test_a_refused_line_is_not_sent_again(rig: Rig, server: FakeServer) -> None:
    server.refusing = {"temperature 0 warm": "bad-number"}
    rig.press("temperature 0 warm", "status 1")
    rig.run(2000)
    rig.cut()
    rig.run(3000)
    assert server.events == ["status 1"]
    assert not rig.spool.pending
    assert any("bad-number" in line for line in rig.log)


def test_an_acknowledgement_of_what_was_never_sent_is_nonsense(rig: Rig, server: FakeServer) -> None:
    server.acknowledging = False
    rig.press("status 1")
    rig.run(1000)
    server.say("ack 1000000", "nak 77 bad-number", "welcome 5", "nonce " + "0" * 32)
    rig.run(100)
    assert [entry.line for entry in rig.spool.pending] == ["status 1"]
    assert rig.uplink.refused == 4


def test_a_welcome_without_a_proof_is_not_believed(rig: Rig, server: FakeServer) -> None:
    rig.version = "2"
    rig.restart()
    server.version = 1
    rig.press("status 1")
    rig.run(500)
    server.say("welcome 0")
    rig.run(500)
    assert rig.uplink.phase is Phase.GREETING
    assert not server.stored


@pytest.mark.parametrize("last", [2**63 - 1, 2**63 - 10**8])
def test_a_welcome_beyond_all_numbers_is_not_believed(rig: Rig, server: FakeServer, last: int) -> None:
    server.last = last
    rig.press("status 1")
    rig.run(3000)
    assert not server.stored
    assert any("claims" in line for line in rig.log)


def test_a_server_that_is_ahead_of_our_numbers(rig: Rig, server: FakeServer) -> None:
    rig.press("status 1")
    rig.run(1000)
    rig.reachable = False
    rig.cut()
    rig.press("status 0")
    rig.run(1000)
    server.last = 500
    rig.reachable = True
    rig.run(10_000)
    assert [(n, event) for n, _, event in server.stored] == [(1, "status 1"), (501, "status 0")]
    assert any("numbered from 501" in line for line in rig.log)


def test_a_full_disk(rig: Rig, server: FakeServer, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: Any) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    rig.run(1000)
    rig.reachable = False
    rig.cut()
    with monkeypatch.context() as patch:
        patch.setattr(os, "pwrite", full)
        rig.press("enter 1", "enter 2")
        rig.run(3000)
        assert rig.board.waiting == ["enter 1", "enter 2"]  # the bridge cannot promise anything
        rig.reachable = True
        rig.run(10_000)
        assert server.events == ["enter 1", "enter 2"]  # the server can
        assert not rig.board.waiting
        assert sum("No space left" in line for line in rig.log) < 5
    rig.press("enter 3")
    rig.run(1000)
    rig.restart()
    rig.press("enter 4")
    rig.run(1000)
    assert server.events == [f"enter {n}" for n in range(1, 5)]


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**32))
def test_whatever_breaks_each_press_is_stored_once(tmp_path_factory: pytest.TempPathFactory, seed: int) -> None:
    chance = random.Random(seed)
    server = FakeServer()
    rig = Rig(tmp_path_factory.mktemp("spool") / "spool", server, "2", backoff_max_ms=2000)
    pressed: list[str] = []
    for _ in range(1200):
        if chance.random() < 0.1:
            pressed.append(f"enter {len(pressed)}")
            rig.press(pressed[-1])
        match chance.randrange(60):
            case 0:
                rig.cut()
            case 1:
                rig.restart()
            case 2:
                rig.board.warm()
            case 3:
                rig.reachable = not rig.reachable
            case 4:
                server.acknowledging = not server.acknowledging
            case 5:
                rig.board_plugged = not rig.board_plugged
            case 6:  # the router starts again, and its clock is wrong
                rig.restart()
                rig.boot, rig.ms, rig.wall_ms = f"boot{chance.random()}", rig.ms, 0
        rig.step()
    rig.reachable = rig.board_plugged = server.acknowledging = True
    rig.run(30_000)
    assert server.events == pressed
    assert [n for n, _, _ in server.stored] == list(range(1, len(pressed) + 1))


# --- time


def test_a_clock_that_jumps_changes_no_age(rig: Rig, server: FakeServer) -> None:
    rig.reachable = False
    rig.press("enter 1")
    rig.run(10_000)
    rig.wall_ms -= 10**11
    rig.press("enter 2")
    rig.run(10_000)
    rig.wall_ms += 10**12
    rig.reachable = True
    rig.run(20_000)
    ages = {event: age for _, age, event in server.stored}
    assert ages["enter 1"] - ages["enter 2"] == pytest.approx(10_000, abs=600)
    assert ages["enter 1"] < 45_000


def test_the_age_counts_from_the_press_not_from_the_bridge(rig: Rig, server: FakeServer) -> None:
    rig.board_plugged = False
    rig.press("status 1")
    rig.run(60_000)
    rig.board_plugged = True
    rig.run(1000)
    assert server.stored[0][1] == pytest.approx(60_000, abs=1000)


def test_the_board_is_told_the_time_every_ten_seconds(rig: Rig) -> None:
    rig.run(500)
    rig.bridge.local_time(1_000_000, rig.now)
    rig.run(35_000)
    clocks = [int(line.split()[1]) for line in rig.board.taken if line.startswith("clock ")]
    assert clocks == pytest.approx([1_000_000, 1_000_010, 1_000_020, 1_000_030], abs=1)


def test_the_board_hears_something_where_nobody_knows_the_time(rig: Rig) -> None:
    rig.reachable = False
    rig.run(35_000)
    assert rig.board.taken.count("server 0") >= 3


def test_times_of_the_server() -> None:
    assert clock.parse_local("2026-03-02 12:00:05") == 1_772_452_805
    assert clock.parse_http_date("Sun, 06 Nov 1994 08:49:37 GMT") == 784_111_777
    assert clock.parse_local("2024-02-29 00:00:00\n") == 1_709_164_800
    for text in ("", "2026-03-02", "2026-13-02 12:00:05", "2025-02-29 00:00:00", "2026-03-02 24:00:00", "x-y-z a:b:c"):
        with pytest.raises(ValueError, match="expected"):
            clock.parse_local(text)
    for text in ("", "Sun, 06 Xyz 1994 08:49:37 GMT", "Sun, 06 anF 1994 08:49:37 GMT"):
        with pytest.raises(ValueError, match="expected"):
            clock.parse_http_date(text)


@given(st.datetimes())
def test_dates_as_the_calendar_has_them(moment: Any) -> None:
    moment = moment.replace(microsecond=0)
    if moment.year >= 1970:
        seconds = (moment - type(moment)(1970, 1, 1)).total_seconds()
        assert clock.parse_local(moment.strftime("%Y-%m-%d %H:%M:%S")) == seconds


# --- keepalive and backoff


def test_pings_keep_a_silent_connection(rig: Rig, server: FakeServer) -> None:
    rig.run(200_000)
    assert len(rig.attempts) == 1
    assert server.pings == pytest.approx(9, abs=1)
    server.say("ping xyz")
    rig.run(100)
    assert "pong xyz" in server.seen_lines


def test_a_silent_server_is_left_after_three_intervals(rig: Rig, server: FakeServer) -> None:
    rig.run(1000)
    server.receive = lambda data: None  # type: ignore[method-assign]
    rig.run(58_000)
    assert len(rig.attempts) == 1
    rig.run(4_000)
    assert any("silent for 60 s" in line for line in rig.log)
    assert "server 0" in rig.board.taken


def test_attempts_come_ever_more_seldom_up_to_the_cap(rig: Rig, server: FakeServer) -> None:
    rig.reachable = False
    rig.run(400_000)
    gaps = [(b - a) / 1000 for a, b in zip(rig.attempts, rig.attempts[1:], strict=False)]
    assert gaps[:6] == pytest.approx([1, 2, 4, 8, 16, 32], abs=0.1)
    assert gaps[6:] == pytest.approx([60] * len(gaps[6:]), abs=0.1)
    rig.reachable = True
    rig.run(80_000)
    rig.cut()  # a good connection, this one
    before = len(rig.attempts)
    rig.run(1100)
    assert len(rig.attempts) == before + 1


def test_half_of_each_delay_is_chance(tmp_path: Path) -> None:
    def delay(chance: float) -> int | None:
        uplink = Uplink(
            Spool(str(tmp_path / "spool")),
            bridge="attic",
            key="k",
            version="2",
            ping_interval_ms=1000,
            backoff_max_ms=60_000,
            chance=lambda: chance,
            log=lambda level, text: None,
        )
        uplink.lost("refused", Now("b", 0, 0))
        return uplink.next_due_ms()

    assert (delay(0.0), delay(0.5), delay(1.0)) == (500, 750, 1000)


def test_a_server_that_asks_and_does_not_read_is_left(rig: Rig, server: FakeServer) -> None:
    rig.run(1000)
    for _ in range(30):
        rig.bridge.server_bytes(b"ping " + b"x" * 60 + b"\n" + (b"ping " + b"y" * 60 + b"\n") * 60, rig.now)
    assert rig.uplink.broken
    assert len(rig.uplink.output) < 80_000


def test_nonsense_is_borne_and_logged_with_a_bound(rig: Rig, server: FakeServer) -> None:
    rig.run(1000)
    for n in range(2000):
        server.say(f"nonsense {n}")
    server.output += b"\xff" * 5000 + b"\n"
    rig.run(100)
    assert rig.uplink.refused == 2001
    assert len(rig.attempts) == 1
    assert sum("refused" in line for line in rig.log) < 30
    rig.press("status 1")
    rig.run(1000)
    assert server.events == ["status 1"]


@settings(max_examples=100, deadline=None)
@given(data=st.lists(st.binary(max_size=200) | st.sampled_from([b"welcome 0\n", b"ack 1\n", b"nonce " + b"0" * 32])))
def test_whatever_a_server_says(tmp_path_factory: pytest.TempPathFactory, data: list[bytes]) -> None:
    rig = Rig(tmp_path_factory.mktemp("spool") / "spool", FakeServer())
    rig.press("status 1")
    rig.run(500)
    for piece in data:
        rig.server.output += piece
        rig.step()
    rig.server.output += b"\n"
    rig.run(120_000)
    assert [event for event in rig.server.events if event == "status 1"] == ["status 1"]


# --- towards the board


def test_older_news_does_not_undo_a_press(rig: Rig, server: FakeServer) -> None:
    rig.run(1000)
    rig.cut()
    rig.reachable = False
    rig.board.taken.clear()
    rig.press("status 1")
    rig.run(5000)
    rig.reachable = True
    rig.run(10_000)  # on connecting the server says `status 0`
    assert server.events == ["status 1"]
    assert [line for line in rig.board.taken if line.startswith("status")] == ["status 1"]


def test_the_echo_of_a_press_may_come_a_moment_after_its_acknowledgement(rig: Rig, server: FakeServer) -> None:
    rig.run(1000)
    rig.board.taken.clear()
    server.acknowledging = False
    rig.press("status 1")
    rig.run(1000)
    server.output = b""
    server.say("status 0", "ack 1")
    rig.run(100)
    server.say("status 1")
    rig.run(2000)
    assert [line for line in rig.board.taken if line.startswith("status")] == ["status 1"]


def test_a_press_that_the_server_has_is_not_undone_by_what_was_told_before(rig: Rig, server: FakeServer) -> None:
    rig.run(3000)
    assert "status 0" in rig.board.taken
    rig.board.taken.clear()
    server.status = "status 1"  # so that the press changes nothing, and is not said again
    rig.press("status 1")
    rig.run(5000)
    assert not [line for line in rig.board.taken if line.startswith("status")]


def test_older_news_that_waits_for_the_board_is_taken_back(rig: Rig, server: FakeServer) -> None:
    rig.run(1000)
    rig.board_plugged = False
    server.say("sound 1", "status 2")  # the sound goes first, and the status waits behind it
    rig.run(500)
    rig.bridge.board.output(rig.ms)
    server.acknowledging = False
    rig.board.taken.clear()
    rig.press("status 1")
    rig.board_plugged = True
    rig.run(5000)
    assert not [line for line in rig.board.taken if line.startswith("status")]
    server.say("ack 1")
    rig.run(2000)
    assert [line for line in rig.board.taken if line.startswith("status")] == ["status 1"]


def test_a_board_that_lost_its_memory_after_a_press_is_not_told_older_news(rig: Rig, server: FakeServer) -> None:
    rig.run(1000)
    server.acknowledging = False
    rig.press("status 1")
    rig.run(1000)
    rig.board.cold()
    rig.run(3000)
    assert "server 1" in rig.board.taken
    assert not [line for line in rig.board.taken if line.startswith("status")]


def test_newer_news_is_passed_on_once_the_press_is_stored(rig: Rig, server: FakeServer) -> None:
    rig.run(1000)
    rig.board.taken.clear()
    server.acknowledging = False
    rig.press("status 1")
    rig.run(1000)
    server.output = b""
    server.say("status 2", "status 0")  # somebody on the web
    rig.run(5000)
    assert not [line for line in rig.board.taken if line.startswith("status")]
    server.say("ack 1")
    rig.run(2000)
    assert [line for line in rig.board.taken if line.startswith("status")] == ["status 0"]


def test_a_board_that_lost_its_memory_is_told_again(rig: Rig, server: FakeServer) -> None:
    server.status = "status 1"
    rig.run(1000)
    server.say("message " + base64.b64encode(b"Ciao").decode())
    rig.run(5000)
    rig.board.cold()
    rig.run(5000)
    assert set(rig.board.taken) >= {"status 1", "server 1", "message Q2lhbw=="}
    assert max(rig.board.ages) >= 4900  # the message is as old as it is


def test_messages_and_sounds(rig: Rig, server: FakeServer) -> None:
    rig.run(1000)
    server.say("message " + base64.b64encode("è".encode() * 200).decode(), "sound 3", "sound 4")
    rig.run(2000)
    shown = next(line for line in rig.board.taken if line.startswith("message"))
    assert base64.b64decode(shown.split()[1]).decode() == "è" * 118 + "…"
    assert [line for line in rig.board.taken if line.startswith("sound")] == ["sound 3", "sound 4"]


def test_the_board_is_told_whether_the_server_is_in_reach(rig: Rig) -> None:
    rig.run(1000)
    rig.reachable = False
    rig.cut()
    rig.run(1000)
    rig.reachable = True
    rig.run(5000)
    assert [line for line in rig.board.taken if line.startswith("server")][:3] == ["server 1", "server 0", "server 1"]


# --- version 1


def test_a_server_of_version_1(rig: Rig, server: FakeServer) -> None:
    server.version = 1
    rig.press("status 2", "enter 42")
    rig.bridge.report(f"seen {0:064x}", 0, rig.now)
    rig.run(2900)
    assert not server.stored
    rig.run(5000)
    assert server.events == ["status 0", "enter 42"]
    assert not rig.spool.pending
    assert rig.uplink.phase is Phase.UP_1
    rig.restart()
    rig.run(10_000)
    assert server.events == ["status 0", "enter 42"]


def test_version_1_sends_again_what_may_not_have_arrived(rig: Rig, server: FakeServer) -> None:
    server.version = 1
    rig.version = "1"
    rig.restart()
    rig.press("status 1")
    rig.run(1000)
    assert server.events == ["status 1"]
    rig.cut()
    rig.run(5000)
    assert server.events == ["status 1", "status 1"]  # repeating the current status changes nothing
    rig.cut()
    rig.run(5000)
    assert len(server.events) == 2
    assert server.hellos == []


def test_version_1_with_a_spool_that_gives_up_temperatures(tmp_path: Path, server: FakeServer) -> None:
    rig = Rig(tmp_path / "spool", server, "1")
    rig.spool.limit = 4096
    rig.run(500)
    for n in range(30):
        rig.bridge.report(f"temperature 0 {n}", 0, rig.now)
    rig.run(100)
    for n in range(60):
        rig.bridge.report(f"enter {n}", 0, rig.now)
    assert rig.spool.dropped
    rig.run(20_000)
    assert [event for event in server.events if event.startswith("enter")] == [
        f"enter {n}" for n in range(60 - rig.bridge.not_taken)
    ]
    assert not rig.spool.pending


def test_a_server_that_grows_up(rig: Rig, server: FakeServer) -> None:
    server.version = 1
    rig.press("enter 1")
    rig.run(8000)
    server.version = 2
    server.last = 10
    rig.cut()
    rig.run(3000)
    rig.press("enter 2")
    rig.run(1000)
    assert [(n, event) for n, _, event in server.stored] == [(0, "enter 1"), (11, "enter 2")]


def test_a_nonce_that_comes_late_leads_to_version_2(rig: Rig, server: FakeServer) -> None:
    server.version = 1
    rig.run(4000)
    server.say("nonce " + "0" * 32)
    server.version = 2
    rig.run(15_000)
    assert rig.uplink.phase is Phase.UP
    assert any("after all" in line for line in rig.log)


# --- the web side


def test_requests_and_answers() -> None:
    assert fetch.get(("10.0.0.1", 80), "/data.php") == (
        b"GET /data.php HTTP/1.0\r\nHost: 10.0.0.1:80\r\nConnection: close\r\n\r\n"
    )
    request = fetch.post_form(("fd00::1", 8008), "/macupdate", {"password": "a b&ü", "macs": '["x"]'})
    assert b"Host: [fd00::1]:8008\r\n" in request
    assert request.endswith(b"\r\n\r\npassword=a%20b%26%C3%BC&macs=%5B%22x%22%5D")
    answer = b"HTTP/1.1 200 OK\r\nDate: Sun, 06 Nov 1994 08:49:37 GMT\r\n\r\nbody"
    assert fetch.parse(answer) == (200, {"date": "Sun, 06 Nov 1994 08:49:37 GMT"}, b"body")
    for nonsense in (b"", b"nonsense\r\n\r\n", b"HTTP/1.0 x\r\n\r\n", b"HTTP/1.0 200 OK\r\n"):
        with pytest.raises(ValueError, match="expected"):
            fetch.parse(nonsense)
