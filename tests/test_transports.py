"""The page stays live whatever stands between it and the server: real Chromium, through real proxies."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from typing import Any

import pytest

from tests import proxies
from tests.conftest import WAIT, Server, wait_until
from tests.proxies import Habits, Proxy, proxy

sync_api = pytest.importorskip("playwright.sync_api")
expect = sync_api.expect

pytestmark = pytest.mark.browser

# What takes a real page a minute, in seconds: client/transports.ts, TIMES.
TIMES = {
    "greet": 2000,
    "steady": 3000,
    "idle": 2000,
    "grace": 300,
    "wait": 4000,
    "poll": 500,
    "retry": 100,
    "longest": 1000,
    "upgrade": 600_000,
}
# Written on the page before its modules run.
HURRY = """new MutationObserver((_, observer) => {
    document.documentElement.dataset.times = %s;
    observer.disconnect();
}).observe(document, { childList: true });"""

Open = Callable[..., tuple[Any, Proxy]]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    made = Server(tmp_path_factory.mktemp("transports"), push_ping="0.5").start()
    made.say("status 0")
    yield made
    made.stop()
    assert "Traceback" not in made.errors, made.errors


@pytest.fixture(scope="module")
def browser(chromium: str) -> Iterator[Any]:
    with sync_api.sync_playwright() as playwright:
        launched = playwright.chromium.launch(
            executable_path=chromium,
            args=["--no-sandbox", "--disable-gpu", "--disable-background-networking"],
            ignore_default_args=["--disable-back-forward-cache"],
        )
        yield launched
        launched.close()


@pytest.fixture
def open_page(server: Server, browser: Any) -> Iterator[Open]:
    """Open the homepage through a proxy, with a clock that is in a hurry."""
    contexts: list[Any] = []
    running: list[AbstractContextManager[Proxy]] = []

    def open_page(habits: Habits, **times: int) -> tuple[Any, Proxy]:
        running.append(proxy(server.url, habits))
        made = running[-1].__enter__()
        contexts.append(browser.new_context(locale="en-GB"))
        page = contexts[-1].new_page()
        page.set_default_timeout(WAIT * 1000)
        page.add_init_script(HURRY % json.dumps(json.dumps({**TIMES, **times})))
        page.goto(made.url)
        return page, made

    yield open_page
    for context in contexts:
        context.close()
    for one in running:
        one.__exit__(None, None, None)


def changes(server: Server, page: Any) -> None:
    """Something happens at the space, and the page shows it."""
    now = page.locator("#hero").get_attribute("data-value")
    server.say("status 0" if now == "open" else "status 1")
    expect(page.locator("#status")).to_have_text("Closed" if now == "open" else "Open", timeout=WAIT * 1000)


def heard_by(page: Any, *transports: str) -> None:
    expect(page.locator("#link")).to_have_attribute(
        "data-transport", re.compile(f"^({'|'.join(transports)})$"), timeout=WAIT * 1000
    )


@pytest.mark.parametrize(
    ("habits", "transport"),
    [
        pytest.param(proxies.PLAIN, "websocket", id="good"),
        pytest.param(proxies.NO_WEBSOCKET, "sse", id="refuses WebSockets"),
        pytest.param(proxies.HANGS_WEBSOCKET, "sse", id="leaves WebSockets hanging"),
        pytest.param(proxies.KILLS_WEBSOCKET, "sse", id="kills WebSockets"),
        pytest.param(proxies.STRIPS_UPGRADE, "sse", id="strips the upgrade"),
        pytest.param(proxies.BUFFERS, "long-poll", id="buffers"),
    ],
)
def test_the_page_finds_the_best_way(server: Server, open_page: Open, habits: Habits, transport: str) -> None:
    page, _ = open_page(habits, upgrade=4000)  # a machine that stalls may miss the best at first
    heard_by(page, transport)
    expect(page.locator("#link")).to_have_text("Live: this page changes by itself")
    for _ in range(3):
        changes(server, page)
    heard_by(page, transport)


@pytest.mark.parametrize("habits", [proxies.CLOSES_IDLE, proxies.SWALLOWS_IDLE], ids=["closes", "swallows"])
def test_idle_connections_are_dropped(server: Server, open_page: Open, habits: Habits) -> None:
    page, _ = open_page(habits)
    expect(page.locator("#link")).to_have_attribute("data-link", re.compile("live|polling"), timeout=WAIT * 1000)
    for _ in range(3):
        page.wait_for_timeout(600)  # it falls idle
        changes(server, page)
    heard_by(page, "poll")


def test_where_everything_is_bad_the_page_polls(server: Server, open_page: Open) -> None:
    page, _ = open_page(proxies.EVERYTHING)
    heard_by(page, "poll")
    expect(page.locator("#link")).to_have_text("Up to date every few seconds")
    for _ in range(3):
        changes(server, page)
    unchanged = server.metric("http_fast_unchanged_total")
    wait_until(lambda: server.metric("http_fast_unchanged_total") > unchanged, "a poll that costs no body")


def test_a_better_way_is_taken_once_there_is_one(server: Server, open_page: Open) -> None:
    page, between = open_page(proxies.EVERYTHING, upgrade=500, rarely=1000)
    heard_by(page, "poll")
    changes(server, page)
    between.habits = proxies.PLAIN
    heard_by(page, "websocket")
    changes(server, page)
    polls = len(between.asked)
    changes(server, page)
    assert "/data" not in between.asked[polls:]


def test_the_button_back_brings_a_live_page(server: Server, open_page: Open) -> None:
    page, between = open_page(proxies.PLAIN)
    heard_by(page, "websocket")
    page.evaluate("window.sameDocument = true")
    page.goto(f"{between.url}/info")
    wait_until(lambda: server.metric("push_clients") == 0, "the page has hung up")
    server.say("status 0", "message Q2lhbw==")
    page.go_back(wait_until="commit")
    assert page.evaluate("window.sameDocument"), "the browser has not kept the page"
    expect(page.locator("#message-text")).to_have_text("Ciao", timeout=WAIT * 1000)
    changes(server, page)


def test_the_history_pauses_and_resumes(server: Server, open_page: Open) -> None:
    page, between = open_page(proxies.NO_WEBSOCKET)
    page.goto(f"{between.url}/log?kind=message")
    rows = page.locator("#entries tr")
    before = rows.count()
    server.say("message dW5v")
    expect(rows).to_have_count(before + 1, timeout=WAIT * 1000)
    page.get_by_role("button", name="Pause").press("Enter")
    wait_until(lambda: server.metric("push_clients") == 0, "the page has hung up")
    server.say("message ZHVl")
    expect(rows.first).to_contain_text("uno")
    page.get_by_role("button", name="Resume").press("Enter")
    expect(rows.first).to_contain_text("due", timeout=WAIT * 1000)
    expect(rows).to_have_count(before + 2)
