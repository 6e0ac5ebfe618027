"""The feed and the calendar, read back by other people's parsers."""

from __future__ import annotations

import asyncio
import itertools
import re
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any
from xml.etree import ElementTree
from zoneinfo import ZoneInfo

import feedparser
import icalendar
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import text

from benchmarks import forecast
from bits.events import BRIDGE, MAC, WEB, Announce, Late, Message, Report, Status, Withdraw
from bits.forecast.days import Calendar
from bits.forecast.outlook import SLOTS, Outlook, nothing
from bits.migrate import upgrade
from bits.store import Store, make_engine
from bits.web import atom, ical
from bits.web.feeds import WITHDRAWALS, gather
from tests.conftest import ROME, Server, at, history, wait_until
from tests.test_admin import PASSWORD

ATOM = f"{{{atom.ATOM}}}"
NASTY = "<b>&amp;\x07\x1b[31m ]]> ☕\n;,\\ \x85\ufffe"
HOUR = timedelta(hours=1)

PAST = [
    Report(Status("open"), BRIDGE, at(0)),
    Report(Status("closed"), WEB, at(60), "anna", note=NASTY, until=at(7200)),
    Report(Message(NASTY), WEB, at(120), "bruno"),
    Report(Late("open"), BRIDGE, at(90)),
    Report(Status("away"), WEB, at(180), "bruno"),
    Report(
        Announce("closed", at(0) + 48 * HOUR),
        WEB,
        at(240),
        "anna",
        note="Holiday; " + "è" * 200,
        until=at(0) + 72 * HOUR,
    ),
    Report(Announce("open", at(0) + 24 * HOUR), WEB, at(300), "bruno", until=at(0) + 26 * HOUR),
    Report(Withdraw(7), WEB, at(360), "bruno"),
    Report(Status("open"), MAC, at(420)),
]


async def fill(uri: str, reports: Sequence[Report]) -> None:
    engine = make_engine(uri)
    await upgrade(engine)
    store = Store(engine)
    await store.append(reports)
    await store.close()


@pytest.fixture(scope="module")
def space(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("feeds")
    settings = {"time_zone": "Europe/Rome", "space_name": "Lab", "space_place": "Via 1, Milano", "stale_after": "0"}
    server = Server(folder, public_url="https://bits.example.org", **settings)
    with ThreadPoolExecutor(1) as thread:
        thread.submit(lambda: asyncio.run(fill(server.settings["db_uri"], PAST))).result()
    server.run("user", "add", "bruno", "--password-stdin", input=PASSWORD + "\n")
    server.run("user", "modify", "bruno", "--listed")
    server.start()
    yield server
    server.stop()
    assert "Traceback" not in server.errors, server.errors


def test_the_feed_tells_what_happened(space: Server) -> None:
    status, headers, body = space.get("/feed.atom")
    assert status == 200
    assert headers["content-type"] == "application/atom+xml; charset=utf-8"
    assert headers["access-control-allow-origin"] == "*"
    feed = feedparser.parse(body)
    assert not feed.bozo, feed.bozo_exception
    assert feed.version == "atom10"
    assert feed.feed.id == "tag:bits.example.org,2026:feed"
    assert feed.feed.title == "Lab"
    assert feed.feed.updated == "2026-03-02T12:07:00.000Z"
    assert {(link.rel, link.href) for link in feed.feed.links} == {
        ("self", "https://bits.example.org/feed.atom"),
        ("alternate", "https://bits.example.org/"),
    }
    told = [(entry.id.rpartition("/")[2], entry.tags[0].term, entry.title, entry.author) for entry in feed.entries]
    assert told == [
        ("9", "status", "● Open", "members’ devices"),
        ("7", "announcement", "Opening withdrawn", "bruno"),
        ("6", "announcement", "Closure announced", "anna"),
        ("5", "status", "▲ Away", "bruno"),
        ("3", "message", "Message from bruno", "bruno"),
        ("2", "status", "■ Closed", "the website"),  # anna is not listed
        ("1", "status", "● Open", "the button"),
    ]
    assert feed.entries[1].published == "2026-03-02T12:05:00.000Z"
    assert feed.entries[1].updated == "2026-03-02T12:06:00.000Z"
    assert {entry.link for entry in feed.entries} == {"https://bits.example.org/", "https://bits.example.org/log"}


def test_the_feed_is_what_the_standard_asks_for(space: Server) -> None:
    """RFC 4287, sections 4.1.1 and 4.1.2."""
    root = ElementTree.fromstring(space.get("/feed.atom")[2])
    assert root.tag == f"{ATOM}feed"
    assert root.get("{http://www.w3.org/XML/1998/namespace}lang") == "en"
    assert root.get("{http://www.w3.org/XML/1998/namespace}base") == "https://bits.example.org/"
    entries = root.findall(f"{ATOM}entry")
    for element in (root, *entries):
        for name in ("id", "title", "updated"):
            assert len(element.findall(ATOM + name)) == 1
        assert element.find(f"{ATOM}author/{ATOM}name") is not None
        assert re.fullmatch(r"tag:[a-z0-9.-]+,\d{4}:.+", str(element.findtext(f"{ATOM}id")))
    assert len({entry.findtext(f"{ATOM}id") for entry in entries}) == len(entries)
    message = next(entry for entry in entries if "Message" in str(entry.findtext(f"{ATOM}title")))
    content = message.find(f"{ATOM}content")
    assert content is not None
    assert content.get("type") == "text"
    assert content.text == "<b>&amp;��[31m ]]> ☕\n;,\\ ��"


def test_a_kind_of_its_own_and_another_language(space: Server) -> None:
    for kind, count in (("status", 4), ("message", 1), ("announcement", 2)):
        feed = feedparser.parse(space.get(f"/feed.atom?kind={kind}")[2])
        assert {entry.tags[0].term for entry in feed.entries} == {kind}
        assert len(feed.entries) == count
        assert feed.feed.links[0].href.endswith(f"/feed.atom?kind={kind}")
    status, _, body = space.get("/feed.atom?kind=seen")
    assert (status, body) == (400, b"kind=seen: expected all or status or message or announcement.\n")
    feed = feedparser.parse(space.get("/feed.atom", Accept_Language="it")[2])
    assert feed.feed.language == "it"
    assert feed.entries[0].title == "● Aperto"


def test_what_a_reader_has_is_not_sent_again(space: Server) -> None:
    for path in ("/feed.atom", "/calendar.ics"):
        # In the second in which it was made there is nothing to tell by the time.
        wait_until(lambda path=path: "last-modified" in space.get(path)[1])  # type: ignore[misc]
        headers = space.get(path)[1]
        assert "Accept-Language" in headers["vary"]
        assert space.get(path, If_None_Match=headers["etag"])[0] == 304
        assert space.get(path, If_Modified_Since=headers["last-modified"])[0] == 304
        assert space.get(path, If_Modified_Since=headers["last-modified"], If_None_Match='"another"')[0] == 200
        assert space.get(path, If_Modified_Since="Mon, 02 Mar 2026 12:00:00 GMT")[0] == 200


def test_news_are_in_the_feed_at_once_and_cost_one_reading(make_server: Any) -> None:
    server = make_server()
    empty = feedparser.parse(server.get("/feed.atom")[2])
    assert not empty.bozo
    assert empty.entries == []
    server.say("status 1", "temperature 0 21")
    assert [entry.title for entry in feedparser.parse(server.get("/feed.atom")[2]).entries] == ["● Open"]
    etag = server.get("/feed.atom")[1]["etag"]
    server.say("temperature 0 22")  # is nobody's news
    assert server.get("/feed.atom", If_None_Match=etag)[0] == 304
    server.say("message Q2lhbw==")
    assert len(feedparser.parse(server.get("/feed.atom", If_None_Match=etag)[2]).entries) == 2
    # Without a configured address, the one that the reader uses, if it is one.
    other = server.get("/feed.atom", Host="a-b.example:80")[2]
    assert ElementTree.fromstring(other).findtext(f"{ATOM}id") == "tag:a-b.example,2026:feed"
    assert server.get("/feed.atom", Host="a&b.example:80")[0] == 400
    assert 'type="application/atom+xml" href="/feed.atom"' in server.get("/")[2].decode()


def lines(body: bytes) -> list[bytes]:
    assert body.endswith(b"\r\n")
    assert b"\n" not in body.replace(b"\r\n", b"")
    found = body.removesuffix(b"\r\n").split(b"\r\n")
    assert all(len(line) <= 75 for line in found)
    for line in found:
        line.decode()  # no character is torn apart
    return found


def read(body: bytes) -> tuple[Any, list[Any]]:
    """Return the calendar and its events, by the order they begin in."""
    calendar: Any = icalendar.Calendar.from_ical(body)
    return calendar, sorted(calendar.walk("VEVENT"), key=lambda event: event["DTSTART"].dt)


def test_the_calendar_tells_what_was_announced(space: Server) -> None:
    status, headers, body = space.get("/calendar.ics")
    assert (status, headers["content-type"]) == (200, "text/calendar; charset=utf-8")
    assert lines(body)[0] == b"BEGIN:VCALENDAR"
    calendar, events = read(body)
    opening, closure = (event for event in events if event["UID"].startswith("announcement"))
    assert calendar["VERSION"] == "2.0"
    assert calendar["X-WR-CALNAME"] == "Lab"
    assert closure["UID"] == "announcement-6@bits.example.org"
    assert (closure["STATUS"], closure["SEQUENCE"], closure["SUMMARY"]) == ("CONFIRMED", 0, "Lab is closed")
    assert closure["DTSTART"].dt == at(0) + 48 * HOUR
    assert closure["DTEND"].dt == at(0) + 72 * HOUR
    assert closure["DTSTAMP"].dt == at(240)
    assert closure["DESCRIPTION"] == "Holiday; " + "è" * 200
    assert closure["LOCATION"] == "Via 1, Milano"
    assert closure["URL"] == "https://bits.example.org/"
    assert (opening["STATUS"], opening["SEQUENCE"]) == ("CANCELLED", 1)
    assert opening["SUMMARY"] == "Withdrawn: Lab is open"
    assert opening["DTSTAMP"].dt == at(360)


def test_a_calendar_without_entries_is_one_nevertheless() -> None:
    body = ical.write("Lab", "en", "http://localhost:8008/", "", [])
    lines(body)
    calendar, events = read(body)
    assert not events
    (zone,) = calendar.subcomponents  # a component at least, as RFC 5545 wants it, and nothing that is shown
    assert (zone.name, zone["TZID"], zone.to_tz().utcoffset(at(0).replace(tzinfo=None))) == (
        "VTIMEZONE",
        "UTC",
        timedelta(),
    )
    ahead = ical.Entry("1@localhost", 0, at(0), at(0), at(60), "CONFIRMED", "Open", "")
    assert b"VTIMEZONE" not in ical.write("Lab", "en", "http://localhost:8008/", "", [ahead])


@pytest.mark.parametrize("make", ["feed", "calendar"])
@given(words=st.text(max_size=300), place=st.text(max_size=50))
def test_no_text_breaks_either(make: str, words: str, place: str) -> None:
    origin = "http://localhost:8008"
    cleaned = atom.clean(words)
    if make == "feed":
        entry = atom.Entry(1, "message", at(0), at(0), words, words, words, "/")
        root = ElementTree.fromstring(atom.write(atom.Heading(origin, "/feed.atom", "en", words, place), [entry]))
        assert (root.findtext(f"{ATOM}entry/{ATOM}content") or "") == cleaned
        return
    ahead = ical.Entry("1@localhost", 0, at(0), at(0), at(60), "CONFIRMED", words, words)
    body = ical.write("Lab", "en", origin, place, [ahead])
    lines(body)
    _, (event,) = read(body)
    assert event["SUMMARY"] == cleaned
    assert event.get("DESCRIPTION", "") == cleaned


@given(st.text(max_size=60))
def test_any_address_gives_an_authority(host: str) -> None:
    assert re.fullmatch(r"[a-z0-9-](?:[a-z0-9.-]*[a-z0-9-])?", atom.authority(f"http://{host}"))


async def test_what_is_told_is_read_by_the_index(store: Store) -> None:
    await store.append(PAST)
    told = await gather(store)
    assert [stored.seq for stored in told.statuses] == [9, 5, 2, 1]
    assert [stored.seq for stored in told.announced] == [7, 6]
    assert told.withdrawn.keys() == {7}
    if store.engine.dialect.name == "sqlite":
        query = f"SELECT * FROM event WHERE kind = 'withdraw' AND key = 0 ORDER BY seq DESC LIMIT {WITHDRAWALS}"
        async with store.engine.connect() as connection:
            plan = (await connection.execute(text("EXPLAIN QUERY PLAN " + query))).all()
        assert [row.detail for row in plan] == ["SEARCH event USING INDEX event_by_kind (kind=? AND key=?)"]


# --- expected hours


def outlook(origin: date, *stretches: tuple[int, int, float], weeks: int = 20) -> Outlook:
    """Return a forecast that is as likely as not nowhere but from slot to slot of the week."""
    p = np.full(7 * SLOTS, 0.1)
    for first, last, value in stretches:
        p[first:last] = value
    return replace(nothing(origin, Calendar()), weeks=weeks, p=p.reshape(7, SLOTS))


def spans(hours: list[ical.Hours]) -> list[tuple[str, int, str, str, float]]:
    form = "%d %H:%M"
    return [
        (
            each.day.isoformat(),
            each.number,
            f"{each.begins.astimezone(ROME):{form}}",
            f"{each.ends.astimezone(ROME):{form}}",
            round(each.p, 2),
        )
        for each in hours
    ]


MONDAY = date(2026, 3, 2)


def test_hours_are_stretches_of_likely_slots() -> None:
    week = outlook(MONDAY, (20, 24, 0.8), (40, 44, 0.6), (46, 50, 0.9), (7 * SLOTS - 2, 7 * SLOTS, 0.5))
    assert spans(ical.expected(week, ROME, MONDAY, [])) == [
        ("2026-03-02", 0, "02 10:00", "02 12:00", 0.8),
        ("2026-03-02", 1, "02 20:00", "02 22:00", 0.6),
        ("2026-03-02", 2, "02 23:00", "03 01:00", 0.9),
        ("2026-03-08", 0, "08 23:00", "09 00:00", 0.5),
    ]
    assert len(ical.expected(week, ROME, MONDAY + timedelta(days=1), [])) == 1


def test_where_something_is_announced_the_forecast_is_silent() -> None:
    week = outlook(MONDAY, (20, 30, 0.8))
    noon = datetime(2026, 3, 2, 12, 10, tzinfo=ROME).astimezone(UTC)
    assert [each[2:4] for each in spans(ical.expected(week, ROME, MONDAY, [(noon, noon + HOUR)]))] == [
        ("02 10:00", "02 12:00"),
        ("02 13:30", "02 15:00"),
    ]


def test_who_knows_too_little_expects_nothing() -> None:
    assert ical.expected(outlook(MONDAY, (20, 30, 0.8), weeks=0), ROME, MONDAY, []) == []


def test_hours_on_the_night_the_clock_changes() -> None:
    sunday = date(2026, 3, 29)
    assert spans(ical.expected(outlook(sunday, (4, 6, 0.8)), ROME, sunday, [])) == []  # 02:00 to 03:00 is not there
    (whole,) = ical.expected(outlook(sunday, (2, 8, 0.8)), ROME, sunday, [])
    assert whole.ends - whole.begins == 2 * HOUR


@given(st.lists(st.floats(0, 1), min_size=SLOTS, max_size=SLOTS), st.sampled_from(["Europe/Rome", "Asia/Kathmandu"]))
def test_expected_hours_are_apart_and_in_order(p: list[float], name: str) -> None:
    week = outlook(MONDAY, *((slot, slot + 1, value) for slot, value in enumerate(p)))
    hours = ical.expected(week, ZoneInfo(name), MONDAY, [])
    assert all(each.begins < each.ends for each in hours)
    assert all(one.ends < other.begins for one, other in itertools.pairwise(hours))
    assert len({(each.day, each.number) for each in hours}) == len(hours)
    assert sum((each.ends - each.begins for each in hours), timedelta()) == HOUR / 2 * sum(value >= 0.5 for value in p)


def test_a_settled_space_has_expected_hours_in_its_calendar(make_server: Any, tmp_path: Path) -> None:
    uri = f"sqlite:///{tmp_path}/full.db"
    with ThreadPoolExecutor(1) as thread:
        thread.submit(lambda: asyncio.run(forecast.fill(uri, history("hall")))).result()
    space = make_server(db_uri=uri, time_zone="Europe/Rome", stale_after="0")
    wait_until(lambda: b"TENTATIVE" in space.get("/calendar.ics")[2], "a forecast")
    body = space.get("/calendar.ics", Accept_Language="it")[2]
    lines(body)
    _, events = read(body)
    today = datetime.now(ROME).date()
    for event in events:
        assert event["STATUS"] == "TENTATIVE"
        assert event["UID"].startswith("expected-")
        assert today <= event["DTSTART"].dt.astimezone(ROME).date() < today + timedelta(days=7)
        assert 1 <= event["SEQUENCE"] <= 7
        assert re.search(r"probabilità del \d+ %\.", event["DESCRIPTION"])
        assert event["DTSTAMP"].dt < datetime.now(UTC)
