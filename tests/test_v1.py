"""The API, version 1, as programs use it."""

from __future__ import annotations

import html
import json
import os
import re
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import hypothesis
import msgspec
import pytest
from hypothesis import strategies as st
from jsonschema import Draft202012Validator, validate

from bits import events
from bits.state import ANNOUNCED
from bits.web.v1 import problem, routes, shapes
from bits.web.v1.problem import KINDS
from tests.conftest import ROOT, T0, Server
from tests.test_admin import PASSWORD, SECRET, Browser
from tests.test_tokens import make_token

Answer = tuple[int, dict[str, str], Any]
ALL = ("status", "message", "announce", "sound")


class Client:
    """A program with a token."""

    def __init__(self, server: Server, token: str | None = None) -> None:
        self.server = server
        self.token = token

    def ask(self, method: str, path: str, body: Any = None, **headers: str) -> Answer:
        """Send JSON, or bytes as they are; return status, headers in lower case, and what came, read."""
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        if self.token:
            named.setdefault("authorization", f"Bearer {self.token}")
        data = body if body is None or isinstance(body, bytes) else json.dumps(body).encode()
        if data is not None:
            named.setdefault("content-type", "application/json")
        request = urllib.request.Request(self.server.url + "/api/v1" + path, data, named, method=method)
        try:
            answer: Any = urllib.request.urlopen(request, timeout=10)
        except urllib.error.HTTPError as error:
            answer = error
        with answer:
            received = answer.read()
            told = {name.lower(): value for name, value in answer.headers.items()}
        is_json = "json" in told.get("content-type", "") and method != "HEAD"
        return answer.status, told, json.loads(received) if is_json and received else received

    def get(self, path: str, **headers: str) -> Any:
        status, _, found = self.ask("GET", path, **headers)
        assert status == 200, found
        return found

    def post(self, path: str, body: Any) -> Answer:
        return self.ask("POST", path, body)


def announcement(days: float) -> dict[str, str]:
    begins = datetime.now(UTC) + timedelta(days=days)
    return {"value": "open", "begins": begins.isoformat(), "ends": (begins + timedelta(days=1)).isoformat()}


def kind(found: Any) -> str:
    """Return the last word of a problem's type."""
    return str(found["type"]).removeprefix("/api/v1/#")


@pytest.fixture(scope="module")
def space(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server for all tests of this file, with a member, and an administrator who is listed."""
    server = Server(tmp_path_factory.mktemp("api"), cookie_secret=SECRET, api_rate="0", stale_after="0")
    for name, more in (("anna", ()), ("root", ("--admin",))):
        server.run("user", "add", name, *more, "--password-stdin", input=PASSWORD + "\n").check_returncode()
    server.run("user", "modify", "root", "--listed").check_returncode()
    server.start()
    yield server
    server.stop()
    assert "Traceback" not in server.errors, server.errors


def token_of(server: Server, name: str, *scopes: str) -> str:
    browser = Browser(server)
    browser.sign_in(name)
    return make_token(browser, *scopes)


@pytest.fixture(scope="module")
def token(space: Server) -> str:
    return token_of(space, "anna", *ALL)


@pytest.fixture(scope="module")
def root(space: Server) -> Client:
    return Client(space, token_of(space, "root", *ALL))


@pytest.fixture
def client(space: Server, token: str) -> Client:
    return Client(space, token)


# --- reading


def test_the_state_is_what_the_page_shows(client: Client) -> None:
    client.server.say("status 1", "temperature 1 -3.25", "temperature 0 21.5", "enter 1", "message Q2lhbw==")
    state = client.get("/state")
    assert state["status"]["value"] == "open" and state["status"]["modifiedby"] == "BITS"
    assert [(each["sensor"], each["value"]) for each in state["sensors"]] == [(0, 21.5), (1, -3.25)]
    assert state["message"]["value"] == "Ciao" and state["message"]["user"] == "BITS"
    assert state["people"]["names"] == [] and state["people"]["count"] >= 1
    assert state["stale"] is False
    old = client.server.json("/data")
    told = datetime.fromisoformat(state["status"]["timestamp"])
    assert told.tzinfo is not None and int(told.timestamp() * 1000) == old["status"]["timestamp"]
    assert state["seq"] == old["seq"]


def test_an_unchanged_state_costs_a_304(client: Client) -> None:
    _, headers, _ = client.ask("GET", "/state")
    assert headers["access-control-allow-origin"] == "*"
    status, _, body = client.ask("GET", "/state", if_none_match=headers["etag"])
    assert (status, body) == (304, b"")
    assert client.ask("HEAD", "/state")[0] == 200
    client.post("/messages", {"value": "another"})
    assert client.ask("GET", "/state", if_none_match=headers["etag"])[0] == 200


def test_events_come_page_by_page(client: Client) -> None:
    for number in range(7):
        client.server.say(f"temperature 7 {number}", f"sound {number}", "status 1", "status 0")
    whole = client.get("/events?limit=500")
    assert "next" not in whole
    for limit in (1, 3, 500):
        found, path = [], f"/events?limit={limit}"
        page = client.get(path)
        while "next" in page:
            assert len(page["events"]) == limit
            found += page["events"]
            page = client.get(f"{path}&cursor={page['next']}")
        assert found + page["events"] == whole["events"]
    order = [(each["timestamp"], each["seq"]) for each in whole["events"]]
    assert order == sorted(order, reverse=True)


def test_events_by_kind_and_time(client: Client) -> None:
    client.server.say("temperature 3 1", "sound 9")
    client.server.say("temperature 3 2")
    client.server.say("temperature 3 3")
    some = client.get("/events?kind=temperature&kind=sound&limit=4")["events"]
    assert [each["kind"] for each in some] == ["temperature", "temperature", "sound", "temperature"]
    assert client.get("/events?kind=temperature&kind=sound&kind=sound&limit=4")["events"] == some
    since, until = some[3]["timestamp"], some[0]["timestamp"]
    between = client.get(f"/events?since={since}&until={until}&kind=temperature")["events"]
    assert some[3] in between and some[1] in between and some[0] not in between


def test_nobody_reads_who_came_or_whose_device_is_about(client: Client) -> None:
    client.server.say("enter 4711", "leave 4711")
    events = client.get("/events?limit=2&kind=arrival&kind=departure")["events"]
    assert [set(each) for each in events] == [{"kind", "seq", "timestamp"}] * 2
    assert "4711" not in json.dumps([{**each, "seq": 0, "timestamp": ""} for each in events])
    for hidden in ("seen", "gone", "heartbeat", "enter"):
        status, _, found = client.ask("GET", f"/events?kind={hidden}")
        assert (status, kind(found), found["at"]) == (400, "bad-parameter", "kind[0]")


PERSON, DIGEST = 987654, "ab" * 32
HAPPENED = st.sampled_from(
    [
        events.Status("away"),
        events.Late("open"),
        events.Temperature(1, 2.5),
        events.Enter(PERSON),
        events.Leave(PERSON),
        events.Message("hello"),
        events.Sound(3),
        events.Announce("closed", T0),
        events.Withdraw(1),
        events.Seen(DIGEST, PERSON),
        events.Gone(DIGEST, PERSON),
        events.Heartbeat(),
    ]
)


@hypothesis.given(HAPPENED, st.sampled_from(["anna", "berta", None]), st.sampled_from(["see you", None]), st.booleans())
def test_what_is_shown_is_as_described_and_tells_on_nobody(
    event: events.Event, author: str | None, note: str | None, unknown: bool
) -> None:
    stored = events.Stored(7, event, events.WEB, T0, author, note=note, until=T0)
    if isinstance(event, events.Seen | events.Gone | events.Heartbeat):
        with pytest.raises(ValueError, match="not for the public"):
            shapes.shown(stored, {})
        return
    shown = shapes.shown(stored, {1: "berta"}, unknown=unknown)
    told = msgspec.json.encode(shown)
    assert msgspec.json.decode(told, type=shapes.Event) == shown
    assert str(PERSON).encode() not in told and DIGEST.encode() not in told
    if isinstance(event, events.Status | events.Late | events.Enter | events.Leave):
        assert b"anna" not in told  # who is not listed


@pytest.mark.parametrize(
    ("query", "at"),
    [
        ("limit=0", "limit"),
        ("limit=501", "limit"),
        ("limit=x", "limit"),
        ("limit=1&limit=2", "limit"),
        ("limit=99999999999999999999", "limit"),
        ("since=yesterday", "since"),
        ("since=2026-01-01T00:00:00", "since"),
        ("until=0", "until"),
        ("cursor=1", "cursor"),
        ("cursor=-1-1", "cursor"),
        ("kinds=status", None),
        ("kind=%FF", None),
    ],
)
def test_parameters_have_limits(client: Client, query: str, at: str | None) -> None:
    status, headers, found = client.ask("GET", f"/events?{query}")
    assert (status, headers["content-type"], kind(found)) == (400, "application/problem+json", "bad-parameter")
    assert found.get("at") == at
    assert found["status"] == 400 and found["title"] and found["detail"].endswith(".")


def test_a_cursor_from_nowhere_makes_no_sense(client: Client) -> None:
    status, _, found = client.ask("GET", f"/events?cursor={'9' * 18}-1")
    assert (status, kind(found)) == (422, "not-sensible")
    assert client.get("/events?since=0001-01-01T00:00:00%2B14:00&limit=1")["events"]


def test_past_temperatures_are_down_sampled(client: Client) -> None:
    client.server.say("temperature 5 10", "temperature 5 20")
    found = client.get("/history?points=1")
    sensor = next(each for each in found["sensors"] if each["sensor"] == 5)
    assert sensor["points"] == [
        {"timestamp": sensor["points"][0]["timestamp"], "mean": 15.0, "low": 10.0, "high": 20.0}
    ]
    assert found["step"] == 86400
    span = datetime.fromisoformat(found["until"]) - datetime.fromisoformat(found["since"])
    assert span == timedelta(days=1)
    assert client.get("/history?until=2020-01-01T00:00:00Z")["sensors"] == []
    assert client.get("/history?until=0001-01-01T12:00:00Z")["sensors"] == []
    for wrong in ("since=2020-01-02T00:00:00Z&until=2020-01-01T00:00:00Z", "since=1900-01-01T00:00:00Z"):
        status, _, found = client.ask("GET", f"/history?{wrong}")
        assert (status, kind(found)) == (422, "not-sensible")


def test_past_temperatures_are_read_one_at_a_time_and_once_for_all_who_ask(client: Client) -> None:
    name = 'temperatures_refused_total{reason="busy"}'
    before = client.server.metric(name)
    spans = [
        f"/api/v1/history?since=1995-01-01T00:00:00Z&until=2004-12-{1 + n % 28:02}T{n // 28:02}:00:00Z"
        for n in range(200)
    ]
    answers = client.server.at_once(spans)
    refused = [answer for answer in answers if answer.startswith(b"HTTP/1.1 503")]
    assert sum(answer.startswith(b"HTTP/1.1 200") for answer in answers) == len(spans) - len(refused)
    assert refused and client.server.metric(name) == before + len(refused)
    for answer in refused:
        head, _, body = answer.partition(b"\r\n\r\n")
        assert b"retry-after: 5" in head.lower() and b"application/problem+json" in head
        assert kind(json.loads(body)) == "busy"
    found = client.get("/history?until=2020-01-01T00:00:00Z&points=7")
    assert client.get("/history?until=2020-01-01T00:00:00Z&points=7") == found


# --- writing


def test_a_status_is_set_by_a_token(client: Client) -> None:
    until = (datetime.now(UTC) + timedelta(hours=2)).replace(microsecond=0)
    status, headers, told = client.post(
        "/status", {"value": "away", "note": " gone  for food ", "until": until.isoformat()}
    )
    assert (status, headers["cache-control"]) == (200, "no-store")
    assert (told["value"], told["note"], told["modifiedby"]) == ("away", "gone for food", "web")
    assert datetime.fromisoformat(told["until"]) == until
    assert "user" not in told  # anna is not listed
    assert client.get("/state")["status"] == told
    again = client.post("/status", {"value": "away", "note": "gone for food", "until": until.isoformat()})[2]
    assert again["seq"] == told["seq"]


def test_a_message_is_sent_and_signed(client: Client) -> None:
    status, _, told = client.post("/messages", {"value": "the tea\n is  ready ☕"})
    assert (status, told["value"], told["user"]) == (201, "the tea is ready ☕", "anna")
    assert client.get("/messages?limit=1")["messages"] == [told]
    assert client.server.json("/data")["message"]["value"] == "the tea is ready ☕"


def test_an_announcement_comes_and_goes(client: Client) -> None:
    begins = datetime.now(UTC) + timedelta(days=1)
    given = {"value": "closed", "begins": begins.isoformat(), "ends": (begins + timedelta(days=1)).isoformat()}
    status, _, told = client.post("/announcements", given | {"note": "holiday"})
    assert (status, told["value"], told["note"], told["user"]) == (201, "closed", "holiday", "anna")
    assert told in client.get("/state")["announced"]
    assert client.ask("DELETE", f"/announcements/{told['seq']}")[0] == 204
    assert told not in client.get("/state")["announced"]
    for gone in (told["seq"], 10**30, 0):
        status, _, found = client.ask("DELETE", f"/announcements/{gone}")
        assert (status, kind(found)) == (404, "not-found")
    last = client.get("/events?kind=withdrawal&limit=1")["events"][0]
    assert last["announcement"] == told["seq"] and last["user"] == "anna"


def test_what_others_announce_only_administrators_withdraw(client: Client, root: Client) -> None:
    ours, theirs = (one.post("/announcements", announcement(3))[2]["seq"] for one in (client, root))
    status, _, found = client.ask("DELETE", f"/announcements/{theirs}")
    assert (status, kind(found)) == (403, "not-yours")
    assert [root.ask("DELETE", f"/announcements/{seq}")[0] for seq in (ours, theirs)] == [204, 204]


def test_no_more_is_announced_than_is_kept(client: Client) -> None:
    def announce(day: int) -> Answer:
        return client.post("/announcements", announcement(day))

    # As many wait for the same commit as there are threads: what the last place is, is decided there.
    with ThreadPoolExecutor(8) as threads:
        answers = list(threads.map(announce, range(1, ANNOUNCED + 7)))
    made = [told["seq"] for status, _, told in answers if status == 201]
    assert len(made) == ANNOUNCED
    assert [(status, kind(told)) for status, _, told in answers if status != 201] == [(409, "no-room")] * 6
    assert {each["seq"] for each in client.get("/state")["announced"]} == set(made)
    for seq in made:
        assert client.ask("DELETE", f"/announcements/{seq}")[0] == 204


def test_who_is_listed_is_told_to_have_set_the_status(client: Client, root: Client) -> None:
    told = root.post("/status", {"value": "open", "note": "for once"})[2]
    assert told["user"] == "root"
    assert client.get("/state")["status"] == client.get("/events?kind=status&limit=1")["events"][0] == told


def test_a_sound_is_played_at_the_space(client: Client) -> None:
    with client.server.bridge() as bridge:
        reader = bridge.makefile()
        reader.readline()  # the status
        assert client.post("/sounds", {"number": 3})[0] == 201
        assert "sound 3\n" in iter(reader.readline, "")


@pytest.mark.parametrize(
    ("path", "body", "status", "word", "at"),
    [
        ("/status", {"value": "ajar"}, 400, "bad-body", "value"),
        ("/status", {}, 400, "bad-body", None),
        ("/status", {"value": "open", "more": 1}, 400, "bad-body", None),
        ("/status", {"value": "open", "note": "x" * 201}, 400, "bad-body", "note"),
        ("/status", {"value": "open", "note": "  "}, 422, "not-sensible", "note"),
        ("/status", {"value": "open", "until": "2026-01-01T00:00:00"}, 400, "bad-body", "until"),
        ("/status", {"value": "open", "until": "2020-01-01T00:00:00Z"}, 422, "not-sensible", "until"),
        ("/status", {"value": "open", "until": "9999-12-31T23:59:59-14:00"}, 422, "not-sensible", "until"),
        ("/messages", {"value": ""}, 400, "bad-body", "value"),
        ("/messages", {"value": "x" * 1001}, 400, "bad-body", "value"),
        ("/messages", {"value": "a\0b"}, 422, "not-sensible", "value"),
        ("/messages", {"value": "\n "}, 422, "not-sensible", "value"),
        ("/messages", [1], 400, "bad-body", None),
        ("/messages", b"{", 400, "bad-body", None),
        ("/messages", b'{"value":"\xff"}', 400, "bad-body", None),
        ("/messages", b'{"value":"\\ud800"}', 400, "bad-body", None),
        ("/messages", b"[" * 10_000, 400, "bad-body", None),
        ("/messages", b" " * 17_000, 413, "too-large", None),
        ("/messages", b" " * 70_000, 413, "too-large", None),
        ("/sounds", {"number": 256}, 400, "bad-body", "number"),
        ("/sounds", {"number": 1.5}, 400, "bad-body", "number"),
        (
            "/announcements",
            announcement(2) | {"ends": announcement(1)["begins"]},
            422,
            "not-sensible",
            "ends",
        ),
        ("/announcements", announcement(1) | {"begins": "0001-01-01T00:00:00Z"}, 422, "not-sensible", "begins"),
        ("/announcements", announcement(1) | {"ends": "9999-12-31T23:59:59Z"}, 422, "not-sensible", "ends"),
        ("/announcements", announcement(1) | {"note": "\x1b[31m"}, 422, "not-sensible", "note"),
        ("/messages", {"value": "\x1b]0;\x07"}, 422, "not-sensible", "value"),
    ],
)
def test_bodies_have_limits(client: Client, path: str, body: Any, status: int, word: str, at: str | None) -> None:
    before = client.get("/state")["seq"]
    answered, headers, found = client.post(path, body)
    assert (answered, headers["content-type"], kind(found)) == (status, "application/problem+json", word)
    assert found.get("at") == at
    assert client.get("/state")["seq"] == before


def test_what_is_refused_is_counted(client: Client) -> None:
    before = client.server.metric('api_refused_total{reason="not-json"}')
    status, _, found = client.ask("POST", "/messages", b"value=x", content_type="application/x-www-form-urlencoded")
    assert (status, kind(found)) == (415, "not-json")
    assert client.server.metric('api_refused_total{reason="not-json"}') == before + 1


# --- who may


def test_writing_takes_a_token(space: Server, token: str) -> None:
    for given in ("", "Basic YTpi", "Bearer", token):
        status, headers, found = Client(space).ask("POST", "/sounds", {"number": 1}, authorization=given)
        assert (status, kind(found)) == (401, "bad-token" if given == "Bearer" else "no-token")
        assert headers["www-authenticate"].startswith('Bearer realm="bits"')
    for given in (f"Bearer {token}x", f"Bearer bits_{'a' * 43}"):
        status, headers, found = Client(space).ask("POST", "/sounds", {"number": 1}, authorization=given)
        assert (status, kind(found)) == (401, "bad-token")
        assert headers["www-authenticate"] == 'Bearer realm="bits", error="invalid_token"'


def test_a_token_does_what_it_is_for_and_nothing_else(space: Server) -> None:
    client = Client(space, token_of(space, "anna", "message"))
    assert client.post("/messages", {"value": "hello"})[0] == 201
    status, headers, found = client.post("/status", {"value": "open"})
    assert (status, kind(found)) == (403, "insufficient-scope")
    assert headers["www-authenticate"] == 'Bearer realm="bits", error="insufficient_scope", scope="status"'


# --- the rest of HTTP


def test_all_that_goes_wrong_is_a_problem(client: Client) -> None:
    status, headers, found = client.ask("GET", "/nothing")
    assert (status, headers["content-type"], kind(found)) == (404, "application/problem+json", "not-found")
    assert headers["access-control-allow-origin"] == "*"
    status, headers, found = client.ask("PUT", "/state")
    assert (status, kind(found)) == (405, "not-allowed")
    assert {"GET", "HEAD"} <= set(headers["allow"].replace(" ", "").split(","))


@pytest.mark.parametrize(
    ("status", "word"), [(500, "our-fault"), (503, "busy"), (413, "too-large"), (418, "about:blank")]
)
def test_what_the_server_finds_wrong_itself_is_a_problem_too(status: int, word: str) -> None:
    answer = problem.answer(status, "It went wrong.", {"Retry-After": "5"}, RuntimeError())
    assert answer.body is not None
    found = json.loads(answer.body)
    assert (answer.status, kind(found), found["status"], found["detail"]) == (status, word, status, "It went wrong.")
    assert answer.content_type == "application/problem+json"
    assert answer.headers["retry-after"] == "5"


def test_any_site_may_ask(client: Client) -> None:
    status, headers, _ = client.ask("OPTIONS", "/messages", origin="https://example.org")
    assert (status, headers["access-control-allow-origin"]) == (204, "*")
    assert headers["access-control-allow-methods"] == "GET, POST, HEAD, OPTIONS"
    assert "Authorization" in headers["access-control-allow-headers"]
    assert "access-control-allow-credentials" not in headers
    assert client.ask("OPTIONS", "/announcements/1")[1]["access-control-allow-methods"] == "DELETE, OPTIONS"


# --- the description


def test_the_description_holds(client: Client) -> None:
    """Its schemas are JSON Schema, its references lead somewhere, its examples are what it says."""
    told = client.get("/openapi.json")
    assert told["openapi"].startswith("3.1.")
    schemas = told["components"]["schemas"]
    for schema in schemas.values():
        Draft202012Validator.check_schema(schema)
    names: list[str] = []
    for path, operations in told["paths"].items():
        for operation in operations.values():
            names.append(operation["operationId"])
            assert operation["summary"] and operation["description"]
            assert {each["name"] for each in operation["parameters"] if each["in"] == "path"} == set(
                re.findall(r"{(\w+)}", path)
            )
            assert {"400", "500"} <= set(operation["responses"])
            assert ("security" in operation) == ({"401", "403", "429"} <= set(operation["responses"]))
            for response in [*operation["responses"].values(), operation.get("requestBody", {"description": "it"})]:
                for media in response.get("content", {}).values():
                    examples = [media["example"]] if "example" in media else []
                    examples += [each["value"] for each in media.get("examples", {}).values()]
                    assert examples
                    for example in examples:
                        validate(example, {**media["schema"], "components": {"schemas": schemas}}, Draft202012Validator)
    assert len(names) == len(set(names))
    for name in re.findall(r'"\$ref": "#/components/schemas/([^"]+)"', json.dumps(told)):
        assert name in schemas
    assert {"get_state", "get_events", "get_history", "get_forecast", "get_messages", "withdraw"} <= set(names)


def test_the_page_says_what_the_description_says(client: Client) -> None:
    told = client.get("/openapi.json")
    status, headers, page = client.ask("GET", "/", accept="text/html")
    assert (status, headers["content-type"]) == (200, "text/html; charset=utf-8")
    text = page.decode()
    for path, operations in told["paths"].items():
        for method in operations:
            assert f"<code>{method.upper()} {path}</code>" in text
    for name in (*told["components"]["schemas"], *KINDS):
        assert f'id="{name}"' in text
    targets = set(re.findall(r'href="#([^"]+)"', text)) - {"main"}
    assert targets <= set(re.findall(r'id="([^"]+)"', text))
    assert "http://" not in text and "<script" not in text  # nothing comes from elsewhere


def test_the_examples_on_the_page_run(client: Client) -> None:
    """In a shell, as they stand there."""
    text = html.unescape(client.ask("GET", "/")[2].decode())
    commands = re.findall(r"<code>(curl [^<]+)</code>", text)
    assert len(commands) == len(routes.table.operations)
    environment = {"URL": client.server.url, "TOKEN": client.token or "", "PATH": os.environ["PATH"]}
    for command in commands:
        script = command.replace("curl ", "curl -sS -w '\\n%{http_code}' ", 1)
        ran = subprocess.run(["sh", "-c", script], env=environment, capture_output=True, text=True, timeout=20)
        assert ran.stderr == ""
        status = int(ran.stdout.rpartition("\n")[2])
        # What the examples announce is long over, and what they withdraw was never announced.
        expected = 422 if "announcements" in command and "--json" in command else 404 if "DELETE" in command else 0
        assert status == expected or (not expected and 200 <= status < 300), (command, ran.stdout)


def test_schemathesis_finds_nothing(client: Client, tmp_path: Path) -> None:
    """Whatever the description allows, and more: all checks, sensible data and nonsense."""
    client.server.say("status 1", "temperature 0 21.5", "enter 1", "message Q2lhbw==", "sound 1")
    (tmp_path / "schemathesis.toml").write_text(
        f"""
        hooks = "{ROOT}/tests/near_dates.py"
        [checks]
        # 422: as described, but makes no sense, which no schema can say. 404, 409: withdrawn already, too many to come.
        positive_data_acceptance.expected-statuses = ["2xx", "404", "409", "422"]
        [warnings]
        fail-on = true
        [[operations]]
        # Most dates that a schema allows are past, or far.
        include-path = "/api/v1/announcements"
        warnings = false
        """
    )
    ran = subprocess.run(
        [
            *(Path(sys.executable).with_name("schemathesis"), "--config-file", "schemathesis.toml", "run"),
            *(client.server.url + "/api/v1/openapi.json", "--checks", "all", "--mode", "all", "--max-examples", "15"),
            *("--generation-deterministic", "--no-color", "--header", f"Authorization: Bearer {client.token}"),
        ],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert ran.returncode == 0, ran.stdout[-8000:] + ran.stderr
    operations = len(routes.table.operations)
    assert f"Tested: {operations}" in ran.stdout


def test_the_documentation_names_all_there_is() -> None:
    text = (ROOT / "docs/api.md").read_text()
    for one in routes.table.operations:
        assert f"`{one.method} {one.template.replace('{seq}', '<seq>')}`" in text
    for word, (status, title) in KINDS.items():
        assert f"| `{word}` | {status} | {title} |" in text
