"""Announcements and expected times: what members may say of the future, whatever the clocks do."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any
from urllib.parse import urlencode
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bits.counters import Counters
from bits.state import ANNOUNCED
from bits.web.fields import AHEAD, Fields, local
from tests.conftest import ROME, Server
from tests.test_account import a_member
from tests.test_admin import SECRET, Browser

NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)


@pytest.fixture(scope="module")
def members(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("announcements")
    server = Server(folder, cookie_secret=SECRET, login_rate="0", time_zone="Europe/Rome").start()
    yield server
    server.stop()
    assert "Traceback" not in server.errors, server.errors


def hours(count: float) -> str:
    """Return what a datetime-local input would send: a time at noon, so that no clock is changed over it."""
    day = datetime.now(ROME).replace(hour=12, minute=0) + timedelta(days=2)
    return (day + timedelta(hours=count)).strftime("%Y-%m-%dT%H:%M")


def announce(browser: Browser, **fields: str) -> tuple[int, str, str]:
    whole = {"value": "closed", "begins": hours(0), "until": hours(2), "note": ""} | fields
    return browser.post("/announcements", whole | {"csrf": browser.csrf("/announcements")})


def withdraw(browser: Browser, number: object) -> tuple[int, str, str]:
    return browser.post("/announcements/withdraw", {"id": str(number), "csrf": browser.csrf("/announcements")})


def test_what_is_announced_may_be_withdrawn_by_its_author_and_by_admins(members: Server) -> None:
    anna, bruno, root = (a_member(members, *who) for who in (["anna"], ["bruno"], ["root", "--admin"]))
    status, url, page = announce(anna, note=" Spring   cleaning <b> ")
    assert (status, url) == (200, "/announcements?done=announced")
    assert "Spring cleaning &lt;b&gt;" in page
    (found,) = members.json("/data")["announced"]
    begins = datetime.fromtimestamp(found["begins"] / 1000, ROME)
    assert begins.strftime("%Y-%m-%dT%H:%M") == hours(0)
    assert (found["value"], found["note"], found["user"]) == (0, "Spring cleaning <b>", "anna")
    assert "Withdraw</button>" not in bruno.get("/announcements")[2]
    status, _, page = withdraw(bruno, found["id"])
    assert (status, "Only its author and administrators" in page) == (400, True)
    assert withdraw(anna, found["id"])[1] == "/announcements?done=withdrawn"
    assert members.json("/data")["announced"] == []
    assert withdraw(anna, found["id"])[0] == 400
    announce(anna, value="open")
    assert withdraw(root, members.json("/data")["announced"][0]["id"])[1] == "/announcements?done=withdrawn"
    for number in (0, -1, "x", "9" * 30):
        status, _, page = withdraw(root, number)
        assert (status, "This announcement is not there any more." in page) == (400, True)
        assert 'href="#"' not in page and 'href="#id"' not in page  # no field could be led to


def test_a_log_of_more_than_a_thousand_million_events_has_announcements_too(make_server: Callable[..., Server]) -> None:
    server = make_server(cookie_secret=SECRET, time_zone="Europe/Rome")
    server.say("status 1")
    server.stop()
    with closing(sqlite3.connect(server.folder / "bits.db")) as database, database:
        database.execute("UPDATE event SET seq = seq + 1234567890")
    server.start()
    anna = a_member(server, "anna")
    announce(anna)
    (found,) = server.json("/data")["announced"]
    assert found["id"] > 1_234_567_890
    assert withdraw(anna, found["id"])[1] == "/announcements?done=withdrawn"


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"value": "away"}, "value"),
        ({"value": ""}, "value"),
        ({"begins": ""}, "begins"),
        ({"begins": "2020-01-01T12:00"}, "begins"),
        ({"begins": "soon"}, "begins"),
        ({"until": ""}, "until"),
        ({"until": "2999-01-01T12:00"}, "until"),
        ({"note": "x" * 201}, "note"),
        ({"begins": hours(2), "until": hours(2)}, "until"),
        ({"begins": hours(3), "until": hours(2)}, "until"),
    ],
)
def test_refusals_are_told_beside_their_fields_and_keep_what_was_typed(
    members: Server, fields: dict[str, str], field: str
) -> None:
    browser = Browser(members)
    if browser.sign_in("refused")[0] != 200:
        browser = a_member(members, "refused")
    before = members.json("/data")["seq"]
    status, _, page = announce(browser, **({"note": "typed with care"} | fields))
    assert status == 400
    assert f'<p class="bad" id="{field}-wrong">' in page
    assert f'value="{fields.get("note", "typed with care")}"' in page
    assert members.json("/data")["seq"] == before


def test_no_announcement_is_forgotten_for_a_newer_one(members: Server) -> None:
    browser = a_member(members, "busy")
    for _ in range(ANNOUNCED):
        announce(browser)
    status, _, page = announce(browser)
    assert (status, "withdraw one first" in page) == (400, True)
    assert len(members.json("/data")["announced"]) == ANNOUNCED


def test_a_status_with_a_note_and_an_expected_time(members: Server) -> None:
    browser = a_member(members, "noted")
    fields = {"value": "away", "note": "Out for  pizza", "until": hours(1), "csrf": browser.csrf("/admin")}
    assert browser.post("/admin", fields)[1] == "/admin?done=status"
    status = members.json("/data")["status"]
    assert (status["value"], status["note"]) == ("away", "Out for pizza")
    until = datetime.fromtimestamp(status["until"] / 1000, ROME)
    assert until.strftime("%Y-%m-%dT%H:%M") == hours(1)
    assert "Out for pizza" in browser.get("/admin")[2]


# --- the reading of times


def read(typed: str, now: datetime = NOW, zone: str = "Europe/Rome") -> tuple[datetime | None, dict[str, str]]:
    ctx: Any = SimpleNamespace(counters=Counters(), renderer=SimpleNamespace(gettext=lambda _: lambda text: text))
    request: Any = SimpleNamespace(
        ctx=SimpleNamespace(),
        app=SimpleNamespace(ctx=SimpleNamespace(bits=ctx)),
        body=urlencode({"at": typed}).encode(),
        headers={},
        cookies={},
        args={},
    )
    fields = Fields(request)
    return fields.moment("at", ZoneInfo(zone), now), fields.errors


def test_times_that_the_clocks_skip_or_say_twice_are_told() -> None:
    assert "put forward" in read("2026-03-29T02:30")[1]["at"]
    assert "twice" in read("2026-10-25T02:30")[1]["at"]
    assert read("2026-03-29T03:00") == (datetime(2026, 3, 29, 1, 0, tzinfo=UTC), {})
    assert read("2026-10-25T03:00") == (datetime(2026, 10, 25, 2, 0, tzinfo=UTC), {})
    assert read("2026-10-25T01:59:59") == (datetime(2026, 10, 24, 23, 59, 59, tzinfo=UTC), {})


@given(st.integers(1, int(AHEAD.total_seconds() // 60)), st.sampled_from(["Europe/Rome", "Asia/Kolkata", "UTC"]))
def test_every_minute_of_a_year_is_read_as_it_was_meant_or_told(minutes: int, zone: str) -> None:
    meant = NOW + timedelta(minutes=minutes)
    at, errors = read(local(meant, ZoneInfo(zone)), zone=zone)
    assert at == meant or (at is None and "twice" in errors["at"])


@given(st.text(max_size=30))
def test_no_text_is_read_as_a_time_by_accident(typed: str) -> None:
    at, errors = read(typed)
    assert (at is None) == (bool(errors) or not typed.strip())
