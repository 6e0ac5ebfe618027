"""The homepage: what it says of people and of what is to come, and the past of its temperatures."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from bits.config import Config
from bits.events import BRIDGE, WEB, Announce, Enter, Event, Leave, Message, Report, Status, Stored, Temperature
from bits.migrate import upgrade
from bits.rollup import DAY
from bits.state import Freshness, State
from bits.store import Store, make_engine
from bits.web.pages import coming, trend, view
from tests import test_browser
from tests.conftest import Server, at, wait_until
from tests.test_admin import PASSWORD
from tests.test_browser import expect

browser, open_page = test_browser.browser, test_browser.open_page
browser_test = pytest.mark.browser
HOURS = 400 * 24  # of the past
NOW = datetime.now(UTC)


def past() -> list[Report]:
    """Two sensors that report each hour, a member's word, and announcements."""
    found = []
    for hour in range(HOURS, 0, -1):
        for sensor in (0, 1):
            value = 20 - 10 * sensor + (hour % 24) / 4
            found.append(
                Report(Temperature(sensor, value), BRIDGE, NOW - timedelta(hours=hour) + timedelta(minutes=30))
            )

    def later(hours: float) -> datetime:
        return NOW + timedelta(hours=hours)

    return [
        *found,
        *(Report(Enter(person), BRIDGE, NOW) for person in (1, 2, 3, 4)),
        Report(Leave(4), BRIDGE, NOW),
        Report(Message("Ciao"), WEB, NOW, "bruno"),
        Report(Announce("closed", later(48)), WEB, NOW, "bruno", note="the building <is> closed", until=later(72)),
        Report(Announce("open", later(24)), WEB, NOW, "anna", until=later(25)),
        Report(Announce("open", later(-3)), WEB, NOW, "anna", note="it is over", until=later(-2)),
        Report(Status("open"), WEB, NOW, "anna", note="Soldering & tea", until=later(2)),
    ]


async def fill(uri: str) -> None:
    store = Store(make_engine(uri))
    await upgrade(store.engine)
    await store.append(past())
    await store.close()


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder: Path = tmp_path_factory.mktemp("home")
    server = Server(folder, sensor_names="0=Lab", space_name="Hackerspace", time_zone="Europe/Rome")
    with ThreadPoolExecutor(1) as thread:  # the browser's loop may be running in this one
        thread.submit(lambda: asyncio.run(fill(server.settings["db_uri"]))).result()
    for name in ("anna", "bruno", "carla"):
        server.run("user", "add", name, "--password-stdin", input=PASSWORD + "\n").check_returncode()
    for name in ("anna", "carla"):
        server.run("user", "modify", name, "--listed").check_returncode()
    server.start()
    yield server
    server.stop()
    assert "Traceback" not in server.errors, server.errors


def caught_up(site: Server) -> dict[str, Any]:
    """Wait until the hours are made, and return the year."""

    def year() -> Any:
        found = site.json("/temperatures?span=year")
        return found if len(found["sensors"]) == 2 and len(found["sensors"][0]["points"]) > 360 else None

    return dict(wait_until(year, "the hours"))


# --- the past, as JSON


def test_spans_are_down_sampled_with_lowest_and_highest(site: Server) -> None:
    year = caught_up(site)
    assert year["step"] == DAY * 1000
    lab, other = year["sensors"]
    assert (lab["sensor"], lab["name"], other["sensor"], other["name"]) == (0, "Lab", 1, "")
    when, mean, low, high = lab["points"][100]
    assert (low, high, mean) == (20, 25.75, pytest.approx(22.875, abs=0.01))
    assert year["since"] <= when <= year["until"]
    for span, step, points in (("day", 172_000, 24), ("week", 3600_000, 168), ("month", 7200_000, 372)):
        found = site.json(f"/temperatures?span={span}")
        assert step <= found["step"] <= step + 2000  # the span is a little longer, to be the same for many
        assert abs(len(found["sensors"][0]["points"]) - points) <= 1
    assert site.json("/temperatures") == site.json("/temperatures?span=day")


def test_any_span_may_be_asked_for_and_finer_the_shorter_it_is(site: Server) -> None:
    caught_up(site)
    end = int(NOW.timestamp() * 1000) - 40 * DAY * 1000
    found = site.json(f"/temperatures?since={end - 5 * 3600_000}&until={end}")
    assert [len(sensor["points"]) for sensor in found["sensors"]] == [5, 5]
    assert found["step"] in (36_000, 37_000)
    assert all(low == high == mean for _, mean, low, high in found["sensors"][0]["points"])
    assert site.json(f"/temperatures?since=0&until={DAY * 1000}")["sensors"] == []


def test_it_may_be_read_from_any_site_and_is_not_sent_twice(site: Server) -> None:
    caught_up(site)
    until = int(NOW.timestamp() * 1000) - DAY * 1000
    path = f"/temperatures?span=week&until={until}"
    status, headers, body = site.get(path)
    assert (status, headers["access-control-allow-origin"]) == (200, "*")
    assert site.get(path, If_None_Match=headers["etag"])[::2] == (304, b"")
    packed = site.get(path, Accept_Encoding="gzip")
    assert packed[1]["content-encoding"] == "gzip"
    assert len(packed[2]) < len(body) / 2


@pytest.mark.parametrize(
    ("query", "reason"),
    [
        ("span=decade", None),
        ("since=-1", None),
        ("since=1e9", None),
        ("until=99999999999999", None),
        ("span=day&since=5", "both"),
        ("since=10000&until=10500", "span"),
        ("since=20000&until=10000", "span"),
        ("since=0&until=400000000000", "span"),
    ],
)
def test_what_is_no_span_is_refused_with_a_sentence(site: Server, query: str, reason: str | None) -> None:
    name = f'temperatures_refused_total{{reason="{reason}"}}'
    before = site.metric(name)
    status, _, body = site.get(f"/temperatures?{query}")
    assert status == 400
    assert b"expected" in body
    if reason:
        assert site.metric(name) == before + 1


# --- the page, as the server writes it


class Text(HTMLParser):
    """The text in each element that has an id, but not in hidden ones."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.found: dict[str, str] = {}
        self._open: list[tuple[str, str | None, bool]] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        hidden = "hidden" in given or any(each[2] for each in self._open)
        if tag not in ("meta", "link", "img", "input", "br", "circle", "rect", "path"):
            self._open.append((tag, given.get("id"), hidden))
        if given.get("id") and not hidden:
            self.found[given["id"] or ""] = ""

    def handle_endtag(self, tag: str) -> None:
        while self._open and self._open.pop()[0] != tag:
            pass

    def handle_data(self, data: str) -> None:
        if not any(hidden for _, _, hidden in self._open):
            for _, name, _ in self._open:
                if name:
                    self.found[name] += data


def page(site: Server, **headers: str) -> dict[str, str]:
    found = Text(site.get("/", **headers)[2].decode()).found
    return {name: re.sub(r"\s+", " ", text).strip() for name, text in found.items()}


def test_who_and_why_and_until_when_is_there_without_scripts(site: Server) -> None:
    shown = page(site)
    assert shown["status"] == "Open"
    assert shown["since"].endswith(", by anna (the website)")
    assert shown["note-text"] == "Soldering & tea"
    assert shown["until"].startswith("expected until ")
    assert shown["heard"].startswith("The board was last heard ")
    assert "stale" not in shown
    assert shown["people"] == "3 people are here"
    assert shown["names"] == "anna, carla", "only of who is listed"
    assert shown["message-user"] == "bruno", "who signs a message signs it by name"
    assert [word in shown["coming"] for word in ("Open", "Closed", "the building <is> closed", "bruno", "anna")] == [
        True
    ] * 5
    assert shown["coming"].index("Open") < shown["coming"].index("Closed")
    assert "it is over" not in shown["coming"]
    italian = page(site, Accept_Language="it")
    assert italian["since"].endswith("da anna (il sito)") or "anna" in italian["since"]
    assert italian["until"].startswith("previsto fino a ")


def test_the_past_is_there_in_figures_without_scripts(site: Server) -> None:
    caught_up(site)
    figures = wait_until(lambda: (found := page(site)["past"]).count("last year") == 2 and found, "the summary")
    for line in ("Lab, last day", "Lab, last week", "Sensor 1, last month", "Sensor 1, last year"):
        assert line in figures
    assert re.search(r"Lab, last year\s*20\.0\s*22\.9\s*25\.8", figures), figures


def temperatures(*values: tuple[float, float, int]) -> list[Stored]:
    """Minutes, °C, sensor; newest first."""
    return [Stored(99 - n, Temperature(s, v), BRIDGE, at(60 * minute)) for n, (minute, v, s) in enumerate(values)]


@pytest.mark.parametrize(
    ("history", "expected"),
    [  # as in client/state.test.ts
        ([], ""),
        ([(0, 20, 0)], ""),
        ([(30, 20.5, 0), (0, 20, 0)], "rising"),
        ([(30, 19.5, 0), (0, 20, 0)], "falling"),
        ([(30, 20.2, 0), (0, 20, 0)], "steady"),
        ([(90, 20, 0), (60, 20, 0), (0, 10, 0)], "steady"),
        ([(30, 20, 0), (20, 5, 1), (0, 20, 0)], "steady"),
    ],
)
def test_the_trend_is_the_scripts(history: list[tuple[float, float, int]], expected: str) -> None:
    assert trend(temperatures(*history), 0) == expected


def test_what_is_over_or_withdrawn_is_not_announced_any_more() -> None:
    def announced(seq: int, begins: float, ends: float) -> Stored:
        return Stored(seq, Announce("open", at(begins)), WEB, at(0), None, until=at(ends))

    state = State(announced={1: announced(1, 5, 10), 2: None, 3: announced(3, 30, 40), 4: announced(4, 20, 50)})
    assert [event.begins for event, _ in coming(state, at(10))] == [at(20), at(30)]
    assert [event.begins for event, _ in coming(state, at(9))] == [at(5), at(20), at(30)]
    assert coming(state, at(50)) == []


def test_a_name_is_shown_only_of_who_is_listed() -> None:
    def seen(event: Event, author: str | None) -> Any:
        state = State(status=Stored(1, event, WEB, at(0), author))
        return view(state, Freshness(stale=False, unknown=False, until=None), Config(), {7: "anna"}).user

    assert seen(Status("open"), "anna") == "anna"
    assert seen(Status("open"), "bruno") == ""
    assert seen(Status("open"), None) == ""


# --- the page in a browser


@browser_test
def test_the_chart_shows_the_span_one_chooses(site: Server, open_page: Callable[..., Any]) -> None:
    caught_up(site)
    page = open_page(site.url)
    summary = page.locator("#chart-summary")
    expect(summary).to_contain_text("Lab: 20 to 25.8 °C · Sensor 1: 10 to 15.8 °C")
    day = summary.inner_text()
    # By keyboard alone.
    page.get_by_role("radio", name="day").focus()
    page.keyboard.press("ArrowRight")
    expect(page.get_by_role("radio", name="week")).to_be_checked()
    expect(summary).not_to_contain_text(day.partition("·")[0])
    page.get_by_role("radio", name="year").check()
    expect(summary).to_contain_text(str((NOW - timedelta(days=365)).year))
    expect(page.get_by_role("img", name="Temperature so far")).to_be_visible()
    page.get_by_text("The past in figures").click()
    expect(page.get_by_role("rowheader", name="Lab, last year")).to_be_visible()


@browser_test
def test_one_zooms_by_dragging_and_by_keyboard_into_finer_data(site: Server, open_page: Callable[..., Any]) -> None:
    caught_up(site)
    page = open_page(site.url)
    page.locator("#chart canvas").wait_for()
    with page.expect_response(re.compile("span=year")):
        page.get_by_role("radio", name="year").check()
    box = page.locator("#chart .u-over").bounding_box()
    with page.expect_response(re.compile("since=")) as answer:
        page.mouse.move(box["x"] + box["width"] * 0.5, box["y"] + 50)
        page.mouse.down()
        page.mouse.move(box["x"] + box["width"] * 0.6, box["y"] + 60, steps=4)
        page.mouse.up()
    zoomed = answer.value.json()
    assert 30 < (zoomed["until"] - zoomed["since"]) / 1000 / DAY < 45
    assert zoomed["step"] <= 3 * 3600_000
    before = page.locator("#chart-summary").inner_text()
    site.say("temperature 0 21")  # live news do not undo the zoom
    expect(page.locator("#sensors li").nth(0)).to_contain_text("21.0 °C")
    assert page.locator("#chart-summary").inner_text() == before
    for button, factor in (("Closer", 0.5), ("Wider", 1), ("Earlier", 1), ("Later", 1)):
        with page.expect_response(re.compile("since=")) as answer:
            page.get_by_role("button", name=button).press("Enter")
        wanted = factor * (zoomed["until"] - zoomed["since"])
        found = answer.value.json()
        assert found["until"] - found["since"] == pytest.approx(wanted, rel=0.02)
    with page.expect_response(re.compile("span=year")):
        page.get_by_role("button", name="Reset").press("Enter")


@browser_test
def test_new_samples_go_into_the_chart(site: Server, open_page: Callable[..., Any]) -> None:
    page = open_page(site.url)
    expect(page.locator("#chart-summary")).to_contain_text("Lab: 20 to")
    site.say("temperature 0 35.5")
    expect(page.locator("#chart-summary")).to_contain_text("Lab: 20 to 35.5 °C")
    site.say("temperature 9 50")
    expect(page.locator("#chart-summary")).to_contain_text("Sensor 9: 50 to 50 °C")


@browser_test
def test_a_past_that_cannot_be_loaded_is_said_and_what_is_known_is_shown(
    site: Server, open_page: Callable[..., Any]
) -> None:
    page = open_page(site.url, quiet=False)
    page.route(re.compile("/temperatures"), lambda route: route.fulfill(status=503, body="Busy."))
    page.reload()
    expect(page.locator("#chart-summary")).to_contain_text("The past could not be loaded.")
    expect(page.locator("#chart-summary")).to_contain_text("Lab:")
    expect(page.locator("#chart canvas")).to_be_visible()


@browser_test
def test_names_and_announcements_appear_by_themselves(site: Server, open_page: Callable[..., Any]) -> None:
    page = open_page(site.url)
    texts = {name: page.locator(f"#{name}").inner_text() for name in ("since", "note", "names", "coming", "heard")}
    plain = open_page(site.url, java_script_enabled=False)
    for name, text in texts.items():
        if name != "heard":
            assert re.sub(r"[,.\s]", "", plain.locator(f"#{name}").inner_text()) == re.sub(r"[,.\s]", "", text), name
    expect(page.locator("#coming li")).to_have_count(2)
    site.say("leave 3")
    expect(page.locator("#names")).to_have_text("anna")
    site.say("enter 3")
    expect(page.locator("#names")).to_have_text("anna, carla")


@browser_test
def test_a_screen_reader_is_told_of_a_turn_once(site: Server, open_page: Callable[..., Any]) -> None:
    page = open_page(site.url)
    told = page.locator("#told")
    expect(page.locator("#link")).to_have_attribute("data-link", "live")
    assert told.inner_text() == "", "what the page begins with is read anyway"
    page.evaluate(
        "window.changes = [];"
        "new MutationObserver(() => changes.push(document.getElementById('told').textContent))"
        ".observe(document.getElementById('told'), {childList: true, subtree: true, characterData: true})"
    )
    site.say("status 0", "temperature 0 20", "enter 9", "status 0")
    expect(told).to_have_text("Closed")
    site.say("status 1")
    expect(told).to_have_text("Open")
    assert page.evaluate("changes") == ["Closed", "Open"]
    site.say("leave 9")
