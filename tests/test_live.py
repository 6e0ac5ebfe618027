"""Push over real sockets: the snapshot, every event after it, nothing twice, nothing missed."""

from __future__ import annotations

import json
import re
import socket
import struct
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from functools import reduce
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st
from websockets.exceptions import ConnectionClosedError, InvalidStatus
from websockets.sync.client import ClientConnection, connect

from bits.events import (
    BRIDGE,
    Announce,
    Enter,
    Event,
    Heartbeat,
    Leave,
    Message,
    Sound,
    Status,
    Stored,
    Temperature,
    Withdraw,
)
from bits.state import State, apply, freshness
from bits.web.framing import accept_key
from bits.web.wire import Wire
from tests.conftest import Server, wait_until
from tests.test_state import events
from tests.test_ws import client_frame

VECTORS = json.loads((Path(__file__).parent / "vectors" / "stream.json").read_text())
UTC_MS = Wire("ms", UTC)


def follow(server: Server, query: str = "", **options: Any) -> ClientConnection:
    stream: ClientConnection = connect(server.url.replace("http", "ws") + "/ws" + query, **options)
    return stream


def receive(stream: ClientConnection) -> dict[str, Any]:
    frame = json.loads(stream.recv(timeout=10))
    assert isinstance(frame, dict)
    return frame


# --- the reducer that docs/live.md describes; the page's own is held to the same vectors


def reducer(state: dict[str, Any], frame: dict[str, Any]) -> dict[str, Any]:
    if "version" in frame:
        return frame
    if frame["seq"] < state["seq"] or (frame["seq"] == state["seq"] and "stale" not in frame):
        return state
    state = state | {key: value for key, value in frame.items() if key != "sound"}
    if sample := frame.get("tempint"):
        state["tempinthist"] = [sample, *state.get("tempinthist", [])][:100]
        others = [other for other in state.get("sensors", []) if other["sensor"] != sample["sensor"]]
        state["sensors"] = sorted([*others, sample], key=lambda other: other["sensor"])
    return state


@pytest.mark.parametrize("vector", VECTORS, ids=[vector["name"] for vector in VECTORS])
def test_the_stream_vectors(vector: dict[str, Any]) -> None:
    assert reduce(reducer, vector["frames"], vector["snapshot"]) == vector["after"]


def test_announcements_and_names_are_told() -> None:
    when = datetime(2013, 11, 10, 15, 58, 36, 123456, tzinfo=UTC)
    hour = timedelta(hours=1)
    log = [
        Stored(1, Announce("closed", when + 2 * hour), "web", when, "anna", note="holiday", until=when + 3 * hour),
        Stored(2, Announce("open", when + hour), "web", when, "bruno", until=when + 2 * hour),
        Stored(3, Announce("open", when), "web", when, "bruno", until=when + hour),
        Stored(4, Withdraw(3), "web", when),
        Stored(5, Status("away"), "web", when, "anna", note="at the shop", until=when + hour),
        Stored(6, Enter(1), BRIDGE, when),
        Stored(7, Enter(2), BRIDGE, when),
    ]
    state = reduce(apply, log, State())
    wire = Wire("ms", UTC, lambda: {1: "anna"})
    stamp, ms = 1384099116123, 3_600_000
    told = [
        {"id": 2, "value": 1, "begins": stamp + ms, "ends": stamp + 2 * ms, "user": "bruno"},
        {"id": 1, "value": 0, "begins": stamp + 2 * ms, "ends": stamp + 3 * ms, "user": "anna", "note": "holiday"},
    ]
    data = wire.snapshot(state, freshness(state, when, 900))
    assert data["announced"] == wire.frame(log[3], state)["announced"] == told
    assert data["people"] == wire.frame(log[6], state)["people"] == {"count": 2, "names": ["anna"]}
    assert data["status"] == {
        "timestamp": stamp,
        "modifiedby": "web",
        "value": "away",
        "user": "anna",
        "note": "at the shop",
        "until": stamp + ms,
    }
    assert not {"status", "open", "close"} & set(re.findall(r"[a-z]+", json.dumps(wire.frame(log[3], state))))
    assert "user" not in Wire("ms", UTC).snapshot(state, freshness(state, when, 900))["status"]


@given(st.lists(st.tuples(events, st.sampled_from([BRIDGE, "web"])), min_size=1, max_size=150), st.integers(0, 150))
def test_snapshot_and_stream_make_the_truth(happened: list[tuple[Event, str]], cut: int) -> None:
    """Invariant 3, for every prefix: the snapshot there, and the frames after it, equal the snapshot at the end."""
    start = datetime(2026, 1, 1, tzinfo=UTC)
    steps = [
        Stored(seq, event, source, start + timedelta(seconds=seq), None)
        for seq, (event, source) in enumerate(happened, 1)
    ]
    now = start + timedelta(seconds=1000)
    early = reduce(apply, steps[:cut], State())
    known = UTC_MS.snapshot(early, freshness(early, now, 0))
    state = early
    for stored in steps[cut:]:
        state = apply(state, stored)
        known = reducer(known, json.loads(json.dumps(UTC_MS.frame(stored, state))))
    assert known == json.loads(json.dumps(UTC_MS.snapshot(state, freshness(state, now, 0))))


def test_old_clients_find_their_fields() -> None:
    """Field by field as since 2011, in both forms of timestamps."""
    when = datetime(2013, 11, 10, 16, 25, 16, 123456, tzinfo=UTC)
    steps = [
        Stored(1, Status("open"), BRIDGE, when),
        Stored(2, Temperature(0, 21.5), BRIDGE, when),
        Stored(3, Message("text, <not> escaped"), "web", when, "anna"),
    ]
    state = reduce(apply, steps, State())
    fresh = freshness(state, when, 900)
    sample = {"timestamp": 1384100716123, "value": 21.5, "modifiedby": "BITS", "sensor": 0}
    assert UTC_MS.snapshot(state, fresh) == {
        "version": 3,
        "seq": 3,
        "status": {"timestamp": 1384100716123, "modifiedby": "BITS", "value": "open"},
        "tempint": sample,
        "message": {"timestamp": 1384100716123, "user": "anna", "value": "text, <not> escaped"},
        "tempinthist": [sample],
        "sensors": [sample],
        "people": {"count": 0},
        "announced": [],
        "heard": 1384100716123,
        "stale": False,
    }
    iso = Wire("iso", ZoneInfo("Europe/Rome")).snapshot(state, fresh)
    assert iso["status"]["timestamp"] == iso["heard"] == "2013-11-10 17:25:16.123456"


def test_the_phone_widget_is_not_misled() -> None:
    """It looks for the words anywhere in a frame: only frames about the status may hold them as keys or values."""
    when = datetime(2026, 1, 1, tzinfo=UTC)
    state = apply(State(), Stored(1, Status("open"), BRIDGE, when))
    for event in (Temperature(0, 1.5), Enter(1), Leave(1), Message("hi"), Sound(1), Heartbeat()):
        text = json.dumps(UTC_MS.frame(Stored(2, event, BRIDGE, when), state))
        assert not any(word in text for word in ("status", "open", "close"))
    unknown = json.dumps(UTC_MS.liveness(state, freshness(state, when + timedelta(days=1), 900)))
    assert "status" in unknown
    assert "open" not in unknown


# --- over the wire


def test_first_the_snapshot_then_every_event(server: Server) -> None:
    server.say("status 1")
    with follow(server) as stream:
        first = receive(stream)
        assert first == server.json("/data")
        assert first["status"]["value"] == "open"
        server.say("temperature 0 21.5", "message Q2lhbw==", "enter 4", "status 0")
        frames = [receive(stream) for _ in range(4)]
        assert [next(iter(frame)) for frame in frames] == ["tempint", "message", "people", "status"]
        assert [frame["seq"] for frame in frames] == sorted(frame["seq"] for frame in frames)
        assert reduce(reducer, frames, first) == server.json("/data")


def test_joining_during_a_burst_there_is_no_gap_and_no_double(server: Server) -> None:
    server.say("temperature 0 0")
    done = threading.Event()

    def speak() -> None:
        server.say(*(f"temperature {n % 2} {n}" for n in range(1, 20_000)))
        done.set()

    speaker = threading.Thread(target=speak)
    speaker.start()
    with ExitStack() as stack:
        streams: list[ClientConnection] = []
        while not done.is_set() and len(streams) < 40:
            streams.append(stack.enter_context(follow(server, max_queue=None)))
        speaker.join()
        server.say("message Q2lhbw==")
        truth = server.json("/data")
        for stream in streams:
            state = receive(stream)
            while "message" not in state:
                frame = receive(stream)
                # Either the very next one, or a snapshot for a reader that was too slow.
                assert "version" in frame or frame["seq"] == state["seq"] + 1
                state = reducer(state, frame)
            assert state == truth
        assert streams


def test_a_client_that_comes_back_gets_what_it_missed(server: Server) -> None:
    server.say("status 1")
    with follow(server) as stream:
        state = receive(stream)
    server.say("temperature 0 21.5", "status 0", "enter 3")
    with follow(server, f"?since={state['seq']}") as stream:
        frames = [receive(stream) for _ in range(4)]
        assert [frame["seq"] for frame in frames] == [state["seq"] + n for n in (1, 2, 3, 3)]
        assert "stale" in frames[-1]
        assert reduce(reducer, frames, state) == server.json("/data")


@pytest.mark.parametrize("since", [0, 10**9])
def test_a_client_whose_past_is_not_remembered_gets_a_snapshot(make_server: Callable[..., Server], since: int) -> None:
    server = make_server()
    server.say("status 1", "temperature 0 1")
    server.stop()
    server.start()
    with follow(server, f"?since={since}") as stream:
        assert receive(stream) == server.json("/data")


def test_the_old_form_of_timestamps(make_server: Callable[..., Server]) -> None:
    server = make_server(time_zone="Europe/Rome")
    with follow(server, "?timestamps=iso") as old, follow(server) as new:
        receive(old), receive(new)
        server.say("status 1")
        stamp = status_of(old)["timestamp"]
        local = datetime.strptime(stamp, "%Y-%m-%d %H:%M:%S.%f").replace(tzinfo=ZoneInfo("Europe/Rome"))
        assert int(local.timestamp() * 1000) == status_of(new)["timestamp"]


def status_of(stream: ClientConnection) -> dict[str, Any]:
    while True:
        frame = receive(stream)
        if "status" in frame:
            status = frame["status"]
            assert isinstance(status, dict)
            return status


def test_silence_is_told_and_a_sign_of_life_clears_it(make_server: Callable[..., Server]) -> None:
    server = make_server(stale_after="1")
    with follow(server) as stream:
        assert receive(stream)["stale"] is True
        server.say("status 1")
        while (frame := receive(stream)).get("stale") is not False:
            pass
        assert frame["status"]["value"] == "open"
        assert server.get("/status")[2] == b"1"
        heard = server.json("/data")["heard"]
        while (frame := receive(stream)).get("stale") is not True:
            heard = frame.get("heard", heard)
        assert frame["status"]["value"] == "unknown"
        assert frame["heard"] == heard
        data = server.json("/data")
        assert data["stale"] is True
        assert data["status"]["value"] == "unknown"
        assert data["heard"] == heard
        assert server.get("/status")[2] == b"0"
        server.say("status 1")  # nothing new, but a sign of life
        while (frame := receive(stream)).get("stale") is not False:
            pass
        assert frame["status"] == {**data["status"], "value": "open"}
        assert server.get("/status")[2] == b"1"


def test_a_board_that_repeats_itself_does_not_look_dead(make_server: Callable[..., Server]) -> None:
    server = make_server(stale_after="2")
    server.say("status 1")
    end = time.monotonic() + 5
    while time.monotonic() < end:
        server.say("status 1")
        assert server.json("/data")["stale"] is False
        assert server.get("/status")[2] == b"1"
    # And its repeating does not fill the log: about one heartbeat each half of stale_after.
    assert server.metric("seq") < 15


def test_no_extension_is_agreed(server: Server) -> None:
    with follow(server, compression="deflate") as stream:
        assert stream.response is not None
        assert "Sec-WebSocket-Extensions" not in stream.response.headers
        receive(stream)


def test_a_client_that_says_too_much_is_closed_with_the_right_code(server: Server) -> None:
    with follow(server) as stream:
        receive(stream)
        stream.send("hello")
        stream.ping().wait(10)
        stream.send("x" * 5000)
        with pytest.raises(ConnectionClosedError) as closed:
            stream.recv(timeout=10)
        assert closed.value.rcvd is not None
        assert closed.value.rcvd.code == 1009
    assert server.metric('push_cut_off_total{reason="protocol"}') == 1


def test_garbage_closes_with_1002(server: Server) -> None:
    with raw(server, KEY) as client:
        while b'"stale"' not in client.recv(65536):
            pass
        client.sendall(b"\xff\xff\xff\xff")
        assert client.recv(65536) == b"\x88\x02" + struct.pack("!H", 1002)


def test_frames_sent_along_with_the_handshake_are_not_lost(server: Server) -> None:
    with raw(server, KEY, after=client_frame(9, b"early")) as client:
        received = b""
        while b"early" not in received:
            received += client.recv(65536)
        assert received.endswith(b"\x8a\x05early")


KEY = {
    "Upgrade": "websocket",
    "Connection": "keep-alive, Upgrade",
    "Sec-WebSocket-Version": "13",
    "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
}


def raw(server: Server, headers: dict[str, str], after: bytes = b"") -> socket.socket:
    host, port = server.url.removeprefix("http://").split(":")
    client = socket.create_connection((host, int(port)), timeout=10)
    head = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    client.sendall(f"GET /ws HTTP/1.1\r\nHost: {host}\r\n{head}\r\n".encode() + after)
    return client


@pytest.mark.parametrize(
    ("change", "status", "said"),
    [
        ({"Upgrade": ""}, 426, b"speaks WebSocket"),
        ({"Connection": "keep-alive"}, 426, b"speaks WebSocket"),
        ({"Sec-WebSocket-Version": "8"}, 426, b"Sec-WebSocket-Version: 13"),
        ({"Sec-WebSocket-Key": "short"}, 400, b"16 bytes"),
        ({"Sec-WebSocket-Key": ""}, 400, b"16 bytes"),
    ],
)
def test_a_wrong_handshake_is_refused_with_a_sentence(
    server: Server, change: dict[str, str], status: int, said: bytes
) -> None:
    with raw(server, KEY | change) as client:
        answer = client.recv(65536)
        assert answer.startswith(b"HTTP/1.1 %d " % status)
        assert said in answer


def test_the_key_of_the_standard() -> None:
    assert accept_key(b"dGhlIHNhbXBsZSBub25jZQ==") == "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="
    assert accept_key(b"not base64!") is None


def test_more_live_clients_than_allowed_are_told_to_come_back(make_server: Callable[..., Server]) -> None:
    server = make_server(push_clients="2")
    with follow(server) as one, follow(server) as two:
        receive(one), receive(two)
        with pytest.raises(InvalidStatus, match="503"):
            follow(server)
    assert server.metric('push_refused_total{reason="too-many"}') == 1
    wait_until(lambda: server.metric("push_clients") == 0, "the places are free again")
    with follow(server) as again:
        receive(again)


def test_a_hundred_clients_all_hear(server: Server) -> None:
    with ExitStack() as stack:
        streams = [stack.enter_context(follow(server)) for _ in range(100)]
        for stream in streams:
            receive(stream)
        assert server.metric("push_clients") == 100
        server.say("message Q2lhbw==")
        for stream in streams:
            while "message" not in receive(stream):
                pass
    wait_until(lambda: server.metric("push_clients") == 0, "all are gone")
