"""All three tiers in one: a press on the emulated board changes a page, and words come back to its display."""

from __future__ import annotations

import re
import sys
import time
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from bits_panel import AWAY

from tests.chain import WATCH, Chain, percentile, started
from tests.conftest import WAIT, wait_until
from tests.test_admin import PASSWORD
from tests.test_browser import shoot

sync_api = pytest.importorskip("playwright.sync_api")
expect = sync_api.expect

pytestmark = pytest.mark.browser

CUT_SECONDS = 60.0
PRESSES = 20


@pytest.fixture
def chain(tmp_path: Path) -> Iterator[Chain]:
    with Chain(tmp_path) as chain:
        yield started(chain)
    assert "Traceback" not in chain.server.errors, chain.server.errors
    assert "Traceback" not in chain.log.read_text(), chain.log.read_text()


@pytest.fixture
def browse(chain: Chain, chromium: str) -> Iterator[Callable[..., Any]]:
    """Open an address on a host."""
    with sync_api.sync_playwright() as playwright:
        browsers = []

        def browse(host: str, address: str) -> Any:
            browser = playwright.chromium.launch(
                executable_path=chain.chromium(chromium, host),
                args=["--no-sandbox", "--disable-gpu", "--disable-background-networking"],
            )
            browsers.append(browser)
            page = browser.new_context(locale="en-GB").new_page()
            page.set_default_timeout(WAIT * 1000)
            page.goto(address)
            return page

        yield browse
        for browser in browsers:
            browser.close()


@pytest.fixture
def page(chain: Chain, browse: Callable[..., Any]) -> Any:
    """The homepage, as a visitor sees it."""
    page = browse("visitor", chain.url)
    expect(page.locator("#link")).to_have_attribute("data-link", "live")
    return page


def add_member(chain: Chain) -> None:
    added = chain.server.run("user", "add", "anna", "--password-stdin", input=PASSWORD + "\n")
    assert added.returncode == 0, added.stderr


def sign_in(page: Any) -> None:
    page.get_by_label("Name").fill("anna")
    page.get_by_label("Password").fill(PASSWORD)
    page.get_by_role("button", name="Sign in").click()


def test_from_the_button_to_the_browser_and_back(chain: Chain, page: Any) -> None:
    board, status = chain.board, page.locator("#status")
    chain.press()
    expect(status).to_have_text("Open")
    expect(page.locator("#since")).to_contain_text("by the button")
    assert board.long_press() == AWAY
    expect(status).to_have_text("Away")
    board.wait_row(0, "Away")
    board.type("42#")
    expect(page.locator("#people")).to_have_text("One person is here")
    board.celsius(0, 23.5)
    expect(page.locator("#sensors")).to_contain_text("23.")

    add_member(chain)
    member = page.context.new_page()
    member.goto(chain.url + "login")
    sign_in(member)
    member.locator("#text").fill("Pizza “da Gino” è qui")
    member.get_by_role("button", name="Send").click()
    board.wait(lambda: 'Pizza "da Gino" e qu' in board.rows[2], "the message on the display")
    expect(page.locator("#message-text")).to_have_text("Pizza “da Gino” è qui")
    member.get_by_role("button", name="Closed").click()
    board.wait_row(0, "Closed")
    expect(status).to_have_text("Closed")
    shoot(page, "chain")

    page.evaluate(WATCH)
    taken = chain.measure(page, 10)
    print(f"button to browser: p50 {percentile(taken, 0.5) * 1000:.0f} ms, p99 {percentile(taken, 0.99) * 1000:.0f} ms")
    assert [value for _, _, value, _, _ in chain.statuses()][-10:] == ["open", "closed"] * 5


def wait_for(moment: float) -> None:
    """Wait until a time has come; what is tested is what a minute of silence does."""
    wait_until(lambda: time.monotonic() >= moment, "a time")


def test_what_is_pressed_while_the_link_is_cut_arrives_once_in_order_with_its_time(chain: Chain, page: Any) -> None:
    chain.press()
    expect(page.locator("#status")).to_have_text("Open")
    before = chain.statuses()
    chain.hosts.plug("router", chain.cable, "down")
    begin = time.monotonic()
    pressed: list[float] = []
    for n in range(PRESSES):
        wait_for(begin + n * CUT_SECONDS / PRESSES)
        pressed.append(chain.press())
        if n == PRESSES // 2:  # the router loses its power, too, amid all that
            chain.kill_bridge()
            chain.start_bridge()
    chain.board.wait(lambda: "link down" in chain.board.rows[3], "the board's notice")
    wait_for(begin + CUT_SECONDS)
    assert chain.statuses() == before
    chain.hosts.plug("router", chain.cable, "up")
    wait_until(lambda: len(chain.statuses()) >= len(before) + PRESSES, "the events")
    chain.in_reach()
    chain.press()  # and whatever comes behind them
    wait_until(lambda: len(chain.statuses()) > len(before) + PRESSES, "one more")
    came = chain.statuses()[len(before) :]
    assert len(came) == PRESSES + 1
    assert [value for _, _, value, _, _ in came] == ["closed", "open"] * (PRESSES // 2) + ["closed"]
    assert all(later[4] > earlier[4] for earlier, later in pairwise(came))  # type: ignore[operator]
    assert [bridge for _, _, _, bridge, _ in came] == ["attic"] * (PRESSES + 1)
    late = [at - when for (_, at, _, _, _), when in zip(came, pressed, strict=False)]
    assert all(-0.1 < seconds < 0.5 for seconds in late), late
    expect(page.locator("#status")).to_have_text("Closed")


def test_a_member_s_phone_opens_the_space_and_takes_its_leave(
    chain: Chain, page: Any, browse: Callable[..., Any]
) -> None:
    add_member(chain)
    phone = browse("phone", "http://10.77.0.1:8080/")  # the router's page about this very device
    shoot(phone, "this-device")
    phone.locator("a.go").click()
    sign_in(phone)
    phone.get_by_label("What do you call it?").fill("phone")
    phone.get_by_role("button", name="Register").click()
    expect(phone.locator(".devices")).to_contain_text("here now")
    expect(page.locator("#status")).to_have_text("Open")
    expect(page.locator("#since")).to_contain_text("by members’ devices")
    expect(page.locator("#people")).to_have_text("One person is here")
    chain.board.wait_row(0, "Open")
    phone.goto("http://192.0.2.193:8008/people")
    expect(phone.locator(".roster")).to_contain_text("anna")
    # Before it can notice that the phone goes, the router has to have noticed it; that changes nothing at the server.
    wait_until(lambda: chain.has("heartbeat"), "the router's word")
    chain.hosts.plug("phone", chain.lan, "down")
    expect(page.locator("#status")).to_have_text("Closed")
    expect(page.locator("#people")).to_have_text(re.compile("Nobody"))
    # Whoever presses has the last word: it stays closed although the phone comes back.
    chain.press()
    chain.press()
    expect(page.locator("#since")).to_contain_text("by the button")
    chain.hosts.plug("phone", chain.lan, "up")
    expect(page.locator("#people")).to_have_text("One person is here")
    expect(page.locator("#status")).to_have_text("Closed")


CALL = """
import socket
try:
    with socket.create_connection(({address!r}, {port}), timeout=5) as link:
        print("heard", link.recv(100))
except OSError as error:
    print(type(error).__name__)
"""


def test_nobody_outside_the_vpn_speaks_to_the_miniprotocol(chain: Chain) -> None:
    def call(host: str, address: str) -> str:
        code = CALL.format(address=address, port=chain.server.control[1])
        return chain.hosts.run(host, sys.executable, "-c", code)

    assert call("visitor", "192.0.2.129") == "ConnectionRefusedError"
    assert call("router", "192.0.2.1") == "ConnectionRefusedError"  # the same machine, past the VPN
    refused = chain.metric('bridges_refused_total{reason="not-allowed"}')
    assert call("visitor", "10.8.0.1") in ("heard b''", "ConnectionResetError")
    assert chain.metric('bridges_refused_total{reason="not-allowed"}') == refused + 1
