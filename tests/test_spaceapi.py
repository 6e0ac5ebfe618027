"""The SpaceAPI: what we make is valid by the published schemas, and what is not is told before one registers."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft7Validator
from msgspec.json import encode

from bits import register
from bits.config import CONTACTS, Config, Link
from bits.events import BRIDGE, Enter, Event, Status, Stored, Temperature
from bits.spaceapi import document, problem
from bits.state import Freshness, State, apply
from tests.conftest import Server, at, wait_until

SCHEMAS = Path(__file__).parent.parent.parent / "shared" / "spaceapi"
ORIGIN = "https://status.example"
FULL = Config(
    space_name="Lab",
    space_logo="/static/logo.png",
    space_place="Via Roma 1",
    space_url="https://lab.example",
    space_links=(Link("Wiki", "/wiki"), Link("Mail", "mailto:lab@lab.example")),
    space_latitude=45.07,
    space_longitude=7.68,
    space_contact={"email": "lab@lab.example", "irc": "irc://irc.example/#lab"},
    sensor_names={0: "Hall"},
    time_zone=ZoneInfo("Europe/Rome"),
    public_url=ORIGIN,
)
KNOWN = Freshness(False, False, None)


def schema(version: str) -> Draft7Validator:
    file = SCHEMAS / f"{version}.json"
    if not file.is_file():
        pytest.skip(f"the SpaceAPI's schemas are not at {SCHEMAS}")
    return Draft7Validator(json.loads(file.read_text("utf-8")))


def folded(*events: Stored) -> State:
    state = State()
    for stored in events:
        state = apply(state, stored)
    return state


def stored(seq: int, event: Event, seconds: float = 0, **more: Any) -> Stored:
    return Stored(seq, event, BRIDGE, at(seconds), **more)


def made(config: Config, state: State, fresh: Freshness = KNOWN, **more: Any) -> dict[str, Any]:
    listed = more.get("listed", {})
    data = encode(document(config, state, fresh, listed, more.get("now", at(0)), ORIGIN))
    assert problem(data) is None
    found: dict[str, Any] = json.loads(data)
    return found


configs = st.builds(
    Config,
    space_name=st.text(max_size=30),
    space_logo=st.sampled_from(["", "/logo.svg", "https://x.example/logo.svg"]),
    space_place=st.text(max_size=30),
    space_url=st.sampled_from(["", "https://x.example/", "/about"]),
    space_latitude=st.none() | st.floats(-90, 90),
    space_longitude=st.floats(-180, 180),
    space_contact=st.dictionaries(st.sampled_from(CONTACTS), st.text(min_size=1, max_size=20), max_size=3),
    space_links=st.lists(st.builds(Link, st.text(max_size=9), st.just("https://x.example/")), max_size=2).map(tuple),
    sensor_names=st.dictionaries(st.integers(0, 3), st.text(max_size=9), max_size=3),
)
events = st.lists(
    st.one_of(
        st.builds(Status, st.sampled_from(["open", "closed", "away"])),
        st.builds(Temperature, st.integers(0, 3), st.floats(-55, 125)),
        st.builds(Enter, st.integers(1, 3)),
    ),
    max_size=8,
)


@given(configs, events, st.booleans(), st.integers(0, 5000), st.text(max_size=20))
def test_what_we_say_is_valid_in_each_version_that_it_names(
    config: Config, happened: list[Event], unknown: bool, age: int, note: str
) -> None:
    state = folded(
        *(
            stored(seq, event, note=note if isinstance(event, Status) else None)
            for seq, event in enumerate(happened, start=1)
        )
    )
    described = made(config, state, Freshness(unknown, unknown, None), now=at(age), listed={1: "anna"})
    for version in described["api_compatibility"]:
        assert list(schema(version).iter_errors(described)) == []
    assert ("14" in described["api_compatibility"]) == (config.space_latitude is not None)


def test_everything_known() -> None:
    state = folded(
        stored(1, Status("open"), 5, author="anna", note="come in"),
        stored(2, Temperature(0, 21.5), 6),
        stored(3, Temperature(1, 8.25), 7),
        stored(4, Enter(1), 8),
        stored(5, Enter(2), 9),
    )
    described = made(FULL, state, listed={1: "anna"}, now=at(10))
    seconds = int(at(0).timestamp())
    assert described == {
        "api_compatibility": ["14", "15"],
        "space": "Lab",
        "logo": f"{ORIGIN}/static/logo.png",
        "url": "https://lab.example",
        "contact": {"email": "lab@lab.example", "irc": "irc://irc.example/#lab"},
        "location": {"address": "Via Roma 1", "lat": 45.07, "lon": 7.68, "timezone": "Europe/Rome"},
        "state": {
            "open": True,
            "lastchange": seconds + 5,
            "trigger_person": "anna",
            "message": "come in",
            "icon": {"open": f"{ORIGIN}/icon/open.svg", "closed": f"{ORIGIN}/icon/closed.svg"},
        },
        "sensors": {
            "temperature": [
                {"value": 21.5, "unit": "°C", "location": "Hall", "lastchange": seconds + 6},
                {"value": 8.25, "unit": "°C", "location": "Sensor 1", "lastchange": seconds + 7},
            ],
            "people_now_present": [{"value": 2, "names": ["anna"]}],
        },
        "feeds": {"calendar": {"url": f"{ORIGIN}/calendar.ics", "type": "ical"}},
        "links": [{"name": "Wiki", "url": f"{ORIGIN}/wiki"}],
    }


def test_what_is_not_known_is_left_out() -> None:
    assert "open" not in made(FULL, State())["state"]
    state = folded(stored(1, Status("open"), author="bert"), stored(2, Temperature(0, 21.5)))
    silent = made(FULL, state, Freshness(True, True, None), now=at(FULL.stale_after + 1))
    assert "open" not in silent["state"]
    assert silent["state"]["lastchange"] == int(at(0).timestamp())
    assert "temperature" not in silent["sensors"]
    assert "trigger_person" not in silent["state"]  # not listed
    assert "names" not in silent["sensors"]["people_now_present"][0]


def test_away_is_closed_with_a_word() -> None:
    assert made(FULL, folded(stored(1, Status("away"))))["state"]["message"] == "away"
    away = made(FULL, folded(stored(1, Status("away"), note="back soon")))["state"]
    assert (away["open"], away["message"]) == (False, "away: back soon")


# Each breaks a rule; the schemas see all but those marked, which they cannot say.
BROKEN: dict[str, tuple[Callable[[dict[str, Any]], object], bool]] = {
    "no space": (lambda d: d.pop("space"), True),
    "no logo": (lambda d: d.pop("logo"), True),
    "no url": (lambda d: d.pop("url"), True),
    "no contact": (lambda d: d.pop("contact"), True),
    "no version": (lambda d: d.pop("api_compatibility"), True),
    "a version of numbers": (lambda d: d.update(api_compatibility=[14, 15]), True),
    "open is null": (lambda d: d["state"].update(open=None), True),
    "open is a word": (lambda d: d["state"].update(open="yes"), True),
    "lastchange is text": (lambda d: d["state"].update(lastchange="1384100716"), True),
    "lastchange in milliseconds": (lambda d: d["state"].update(lastchange=1384100716000), False),
    "an icon too few": (lambda d: d["state"]["icon"].pop("closed"), True),
    "an icon that is not absolute": (lambda d: d["state"]["icon"].update(open="/icon/open.svg"), False),
    "a unit without degrees": (lambda d: d["sensors"]["temperature"][0].update(unit="C"), True),
    "a sensor without value": (lambda d: d["sensors"]["temperature"][0].update(value=None), True),
    "a sensor without location": (lambda d: d["sensors"]["temperature"][0].pop("location"), True),
    "names of nobody": (lambda d: d["sensors"]["people_now_present"][0].update(names=[]), True),
    "14 without a place": (lambda d: d.pop("location"), True),
    "half a place": (lambda d: d["location"].pop("lat"), True),
    "beyond the pole": (lambda d: d["location"].update(lat=91), False),
    "a feed without address": (lambda d: d["feeds"]["calendar"].pop("url"), True),
    "a link without a name": (lambda d: d["links"][0].pop("name"), True),
}


@pytest.mark.parametrize("name", BROKEN)
def test_what_a_directory_would_refuse_is_told(name: str) -> None:
    mutate, by_schema = BROKEN[name]
    state = folded(stored(1, Status("open")), stored(2, Temperature(0, 20.0)), stored(3, Enter(1)))
    broken = made(FULL, state, listed={1: "anna"})
    mutate(broken)
    assert problem(json.dumps(broken).encode())
    if by_schema:
        assert any(list(schema(version).iter_errors(broken)) for version in ("14", "15"))


@given(st.binary(max_size=80) | st.text(max_size=80).map(str.encode))
def test_anything_can_be_checked(data: bytes) -> None:
    assert problem(data)


def test_the_settings_are_checked() -> None:
    assert list(register.settings(FULL)) == []
    advice = list(register.settings(Config()))
    assert len(advice) == 5
    assert not any(finding.is_refused for finding in advice)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    server = Server(tmp_path_factory.mktemp("spaceapi"), space_latitude="45", space_longitude="7").start()
    yield server
    server.stop()


def test_over_http(server: Server) -> None:
    server.say("status 1")
    server.say("temperature 0 21.5")
    wait_until(lambda: "temperature" in server.json("/spaceapi.json").get("sensors", {}), "the temperature")
    _, headers, body = server.get("/spaceapi.json")
    found = json.loads(body)
    assert found["state"]["open"] is True
    assert abs(datetime.now(UTC) - datetime.fromtimestamp(found["state"]["lastchange"], UTC)) < timedelta(minutes=1)
    assert headers["content-type"].startswith("application/json")
    assert headers["access-control-allow-origin"] == "*"
    assert found["logo"] == f"{server.url}/icon/open.svg"
    for version in ("14", "15"):
        assert list(schema(version).iter_errors(found)) == []
    assert server.get("/spaceapi.json", If_None_Match=headers["etag"])[0] == 304
    for name in ("open", "closed"):
        assert server.get(f"/icon/{name}.svg")[1]["content-type"] == "image/svg+xml"
    assert server.get("/icon/favicon.svg")[0] == 404
    for host in ('ev"il<>', "x" * 300, "a b"):
        assert server.get("/spaceapi.json", Host=host)[0] == 400
    assert json.loads(server.get("/spaceapi.json", Host="[::1]:80")[2])["url"] == "http://[::1]:80/"


def test_the_command(server: Server) -> None:
    checked = server.run("spaceapi", "check", f"{server.url}/spaceapi.json")
    assert checked.returncode == 0, checked
    assert "ok" in checked.stdout
    assert "https" in checked.stdout
    refused = server.run("spaceapi", "check", f"{server.url}/data")
    assert refused.returncode == 1
    assert "refused" in refused.stdout
    assert "404" in server.run("spaceapi", "check", f"{server.url}/nothing").stdout
    assert "expected an address" in server.run("spaceapi", "check", "ftp://x").stderr
    assert "advice" in server.run("spaceapi", "check").stdout
