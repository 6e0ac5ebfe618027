"""Addresses and shapes that clients of earlier servers know: each pinned, as the contract has it."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from io import BytesIO
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from PIL import Image
from websockets.sync.client import connect

from tests.conftest import Server

ROME = ZoneInfo("Europe/Rome")
MINUTE = timedelta(minutes=1)
STAMP = re.compile(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d{6}")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    server = Server(tmp_path_factory.mktemp("compat"), time_zone="Europe/Rome").start()
    server.say("status 1", "status 0", "status 1", "temperature 0 21.5", "message Q2lhbw==")
    yield server
    server.stop()


def is_now(milliseconds: Any) -> bool:
    return isinstance(milliseconds, int) and abs(datetime.now(UTC).timestamp() * 1000 - milliseconds) < 60_000


def is_local_now(stamp: str) -> bool:
    assert STAMP.fullmatch(stamp), stamp
    return abs(datetime.fromisoformat(stamp).replace(tzinfo=ROME) - datetime.now(UTC)) < MINUTE


def test_status_is_one_digit(server: Server) -> None:
    status, headers, body = server.get("/status")
    assert (status, headers["content-type"], body) == (200, "text/plain", b"1")


def test_data_is_the_state(server: Server) -> None:
    data = server.json("/data")
    assert data["version"] == 3
    assert {"value": "open", "modifiedby": "BITS"}.items() <= data["status"].items()
    assert {"value": 21.5, "modifiedby": "BITS", "sensor": 0}.items() <= data["tempint"].items()
    assert data["tempinthist"] == [data["tempint"]]
    assert {"user", "value", "timestamp"} == set(data["message"])
    assert all(is_now(data[key]["timestamp"]) for key in ("status", "tempint", "message"))


def test_data_with_local_times(server: Server) -> None:
    data = server.json("/data?timestamps=iso")
    assert all(is_local_now(data[key]["timestamp"]) for key in ("status", "tempint", "message"))
    assert is_local_now(data["tempinthist"][0]["timestamp"])


def test_what_is_not_known_is_left_out(tmp_path_factory: pytest.TempPathFactory) -> None:
    fresh = Server(tmp_path_factory.mktemp("fresh")).start()
    try:
        assert not {"status", "tempint", "message", "tempinthist"} & set(fresh.json("/data"))
        assert fresh.get("/status")[2] == b"0"
    finally:
        fresh.stop()


def test_log_as_json(server: Server) -> None:
    entries = server.json("/log?format=json")["log"]
    assert [entry["value"] for entry in entries] == ["open", "closed", "open"]
    assert all(is_now(entry["timestamp"]) and entry["modifiedby"] == "BITS" for entry in entries)
    assert server.json("/log?offset=1&limit=1&format=json")["log"] == entries[1:2]
    assert is_local_now(server.json("/log?format=json&timestamps=iso")["log"][0]["timestamp"])


@pytest.mark.parametrize("query", ["offset=-1", "offset=x", "limit=0", "limit=501", "format=xml", "timestamps=unix"])
def test_bad_parameters_of_the_log(server: Server, query: str) -> None:
    status, _, body = server.get(f"/log?{query}")
    assert (status, query.partition("=")[0] in body.decode()) == (400, True)


def test_log_as_a_page(server: Server) -> None:
    page = server.get("/log?offset=1&limit=1")[2].decode()
    assert page.count('<span class="word" data-value="closed">') == 1


def test_presence_is_a_week_of_half_hours(server: Server) -> None:
    forecast = server.json("/presence")["forecast"]
    assert [len(day) for day in forecast] == [48] * 7
    assert all(0.0 <= each <= 1.0 for day in forecast for each in day)


def test_presence_as_an_image(server: Server) -> None:
    pictures = [server.get(f"/bits_presence.png{query}") for query in ("", "?palette=blind", "?palette=classic")]
    for status, headers, body in pictures:
        assert (status, headers["content-type"]) == (200, "image/png")
        with Image.open(BytesIO(body)) as image:
            assert image.format == "PNG"
            image.verify()


def test_blind_is_the_homepage_in_other_colours(server: Server) -> None:
    status, headers, body = server.get("/blind")
    assert status == 200
    assert 'id="hero" data-value="open"' in body.decode()
    assert headers["set-cookie"].startswith("palette=blind;")


def test_the_routers_clock(server: Server) -> None:
    status, headers, body = server.get("/data.php")
    assert (status, headers["content-type"]) == (200, "text/plain; charset=utf-8")
    said = datetime.strptime(body.decode(), "%Y-%m-%d %H:%M:%S").replace(tzinfo=ROME)
    assert abs(said - datetime.now(UTC)) < MINUTE
    assert abs(parsedate_to_datetime(headers["date"]) - said) < timedelta(seconds=2)


def test_info_is_a_page(server: Server) -> None:
    status, headers, body = server.get("/info")
    assert (status, headers["content-type"], b"<h1" in body) == (200, "text/html; charset=utf-8", True)


def test_frames(server: Server) -> None:
    """The phones' widget looks for words anywhere in a frame: only frames of a status have them."""
    address = "ws" + server.url.removeprefix("http") + "/ws"
    with connect(address) as socket, connect(address + "?timestamps=iso") as local:
        assert json.loads(socket.recv(10)) == server.json("/data")
        assert json.loads(local.recv(10)) == server.json("/data?timestamps=iso")
        server.say("enter 7", "temperature 0 22", "message c3RhdHVzIG9wZW4=", "leave 7", "sound 3", "status 0")
        seen: list[str] = []
        while not seen or '"status"' not in seen[-1]:
            seen.append(str(socket.recv(10)))
            assert "seq" in json.loads(seen[-1])
        for frame in seen[:-1]:
            if "message" not in json.loads(frame):  # a message's words are its author's
                assert not re.search("status|open|close", frame), frame
        assert json.loads(seen[-1])["status"]["value"] == "closed"
        stamps = [STAMP.search(str(local.recv(10))) for _ in seen]
        assert any(stamps)
        with connect(address + f"?since={json.loads(seen[0])['seq']}") as later:
            missed = json.loads(later.recv(10))
            assert missed["seq"] == json.loads(seen[1])["seq"]


def test_the_same_over_server_sent_events_and_long_polling(server: Server) -> None:
    seq = server.json("/data")["seq"]
    server.say("status 0", "status 1")
    missed = server.json(f"/data?since={seq}&wait=5")
    assert "status" in json.dumps(missed)
    import urllib.request

    request = urllib.request.Request(server.url + "/events", headers={"Last-Event-ID": str(seq)})
    with urllib.request.urlopen(request, timeout=10) as stream:
        assert stream.headers["content-type"].startswith("text/event-stream")
        lines = iter(stream.readline, b"")
        found = next(line for line in lines if line.startswith(b"id:"))
    assert int(found.partition(b":")[2]) > seq
