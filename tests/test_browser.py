"""What a person sees: the page in a real Chromium, changing without a reload."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from benchmarks.page import first_view
from tests.conftest import ROOT, WAIT, Server, wait_until
from tests.test_admin import PASSWORD, SECRET
from tests.test_people import SETTINGS, link_to

sync_api = pytest.importorskip("playwright.sync_api")
expect = sync_api.expect
expect.set_options(timeout=WAIT * 1000)

pytestmark = pytest.mark.browser
Make = Callable[..., Server]

SCREENSHOTS = ROOT / "screenshots"
DESKTOP = {"width": 1440, "height": 900}
PHONE = {"width": 360, "height": 760}


@pytest.fixture(scope="module")
def browser(chromium: str) -> Iterator[Any]:
    with sync_api.sync_playwright() as playwright:
        launched = playwright.chromium.launch(
            executable_path=chromium,
            args=["--no-sandbox", "--disable-gpu", "--disable-background-networking"],
        )
        yield launched
        launched.close()


@pytest.fixture
def open_page(browser: Any) -> Iterator[Callable[..., Any]]:
    """Open pages that must not complain on the console, and close them after the test."""
    contexts = []
    complaints: list[str] = []

    def open_page(url: str, *, quiet: bool = True, **options: Any) -> Any:
        context = browser.new_context(**{"viewport": DESKTOP, "locale": "en-GB", **options})
        contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(WAIT * 1000)
        if quiet:
            page.on("pageerror", lambda error: complaints.append(str(error)))
            page.on("console", lambda said: complaints.append(said.text) if said.type == "error" else None)
        page.goto(url)
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert complaints == []


def shoot(page: Any, name: str) -> None:
    SCREENSHOTS.mkdir(exist_ok=True)
    page.screenshot(path=SCREENSHOTS / f"{name}.png", full_page=True)


def test_the_page_changes_without_a_reload(server: Server, open_page: Callable[..., Any]) -> None:
    page = open_page(server.url)
    page.evaluate("window.sameDocument = true")
    expect(page.locator("#link")).to_have_text("Live: this page changes by itself")
    expect(page.locator("#status")).to_have_text("Unknown")
    server.say("status 1")
    expect(page.locator("#status")).to_have_text("Open")
    expect(page.locator("#since")).to_contain_text("by the button")
    expect(page.locator("#stale")).to_be_hidden()
    expect(page).to_have_title("● Open – BITS")
    assert "circle" in page.locator("link[rel=icon]").get_attribute("href")
    server.say("temperature 0 20", "temperature 0 21.5", "temperature 1 -3.25")
    expect(page.locator("#sensors li").nth(0)).to_contain_text("21.5 °C")
    expect(page.locator("#sensors li").nth(0).locator(".trend")).to_have_attribute("aria-label", "rising")
    expect(page.locator("#sensors li").nth(1)).to_contain_text("-3.3 °C")
    expect(page.locator("#chart canvas")).to_be_visible()
    server.say("message PGI+Q2lhbzwvYj4g4piV", "enter 1")
    expect(page.locator("#message-text")).to_have_text("<b>Ciao</b> ☕")
    expect(page.locator("#people")).to_have_text("One person is here")
    server.say("status 0")
    expect(page.locator("#status")).to_have_text("Closed")
    expect(page).to_have_title("■ Closed – BITS")
    assert page.evaluate("window.sameDocument")


def test_the_longest_word_for_a_status_stays_whole(server: Server, open_page: Callable[..., Any]) -> None:
    server.say("status 0")
    page = open_page(server.url, locale="de-DE")
    expect(page.locator("#status")).to_have_text("Geschlossen")
    for width in (320, 360, 768, 1440):
        page.set_viewport_size({"width": width, "height": 760})
        lines = page.locator("#status").evaluate("at => at.offsetHeight / parseFloat(getComputedStyle(at).lineHeight)")
        assert round(lines) == 1, width


def test_every_open_browser_changes(server: Server, open_page: Callable[..., Any]) -> None:
    pages = [open_page(server.url) for _ in range(3)]
    server.say("status 1")
    for page in pages:
        expect(page.locator("#status")).to_have_text("Open")


def test_the_page_survives_a_restart_of_the_server(make_server: Make, open_page: Callable[..., Any]) -> None:
    server = make_server()
    server.say("status 1")
    page = open_page(server.url, quiet=False)
    page.evaluate("window.sameDocument = true")
    expect(page.locator("#link")).to_have_attribute("data-link", "live")
    server.stop()
    expect(page.locator("#link")).not_to_have_attribute("data-link", "live")
    expect(page.locator("#status")).to_have_text("Open")
    server.start()
    server.say("status 0", "message Q2lhbw==")
    expect(page.locator("#status")).to_have_text("Closed")
    expect(page.locator("#message-text")).to_have_text("Ciao")
    expect(page.locator("#link")).to_have_attribute("data-link", "live")
    assert page.evaluate("window.sameDocument")


def test_updates_can_be_paused_by_keyboard(server: Server, open_page: Callable[..., Any]) -> None:
    page = open_page(server.url)
    expect(page.locator("#link")).to_have_attribute("data-link", "live")
    button = page.get_by_role("button", name="Pause updates")
    button.focus()
    page.keyboard.press("Enter")
    expect(page.locator("#link")).to_have_text("Paused: this page does not change by itself")
    wait_until(lambda: server.metric("push_clients") == 0, "the page has hung up")
    server.say("status 1", "temperature 0 20", "message Q2lhbw==")
    expect(page.locator("#status")).to_have_text("Unknown")
    expect(page.get_by_role("button", name="Resume updates")).to_be_focused()
    page.keyboard.press("Space")
    expect(page.locator("#link")).to_have_text("Live: this page changes by itself")
    expect(page.locator("#status")).to_have_text("Open")
    expect(page.locator("#message-text")).to_have_text("Ciao")
    expect(button).to_be_focused()


def test_silence_is_shown_and_cleared(make_server: Make, open_page: Callable[..., Any]) -> None:
    server = make_server(stale_after="1.5")
    page = open_page(server.url)
    expect(page.locator("#stale")).to_have_text("The board has never been heard.")
    server.say("status 1")
    expect(page.locator("#status")).to_have_text("Open")
    expect(page.locator("#status")).to_have_text("Unknown")
    expect(page.locator("#stale")).to_contain_text("The board has not been heard since")
    shoot(page, "home-silent")
    server.say("status 1")
    expect(page.locator("#status")).to_have_text("Open")
    expect(page.locator("#stale")).to_be_hidden()


def test_a_member_sets_the_status_for_everybody(make_server: Make, open_page: Callable[..., Any]) -> None:
    server = make_server(cookie_secret=SECRET)
    server.run("user", "add", "anna", "--password-stdin", input=PASSWORD + "\n")
    visitor = open_page(server.url)
    member = open_page(server.url + "/admin")
    shoot(member, "login")
    member.get_by_label("Name").fill("anna")
    member.get_by_label("Password").fill(PASSWORD)
    member.get_by_role("button", name="Sign in").click()
    expect(member.get_by_role("heading", name="Hello, anna")).to_be_visible()
    shoot(member, "admin")
    member.get_by_role("button", name="Open").click()
    expect(member.get_by_role("status")).to_have_text("The status is set.")
    expect(visitor.locator("#status")).to_have_text("Open")
    expect(visitor.locator("#since")).to_contain_text("by the website")
    member.get_by_label("For everybody").fill("Ciao a tutti")
    member.get_by_role("button", name="Send").click()
    expect(visitor.locator("#message-text")).to_have_text("Ciao a tutti")
    expect(visitor.locator("#message-user")).to_have_text("anna")
    member.get_by_role("button", name="Sign out").click()
    expect(member).to_have_url(server.url + "/")


def test_a_member_registers_the_device_in_their_hand(make_server: Make, open_page: Callable[..., Any]) -> None:
    server = make_server(**SETTINGS, time_zone="Europe/Rome", space_name="Hackerspace")
    for name in ("anna", "bruno"):
        server.run("user", "add", name, "--password-stdin", input=PASSWORD + "\n")
    visitor = open_page(server.url)
    member = open_page(server.url + link_to(), quiet=False)  # a refusal is a 400, which Chromium notes
    member.get_by_label("Name").fill("anna")
    member.get_by_label("Password").fill(PASSWORD)
    member.get_by_role("button", name="Sign in").click()
    expect(member.get_by_role("heading", name="Register this device")).to_be_visible()
    shoot(member, "devices-link")
    member.get_by_label("What do you call it?").fill("phone")
    member.get_by_role("button", name="Register").click()
    expect(member.get_by_role("status")).to_have_text("The device is registered.")
    expect(member.get_by_text("here now")).to_be_visible()
    expect(visitor.locator("#status")).to_have_text("Open")
    expect(visitor.locator("#since")).to_contain_text("by members’ devices")
    expect(visitor.locator("#people")).to_have_text("One person is here")
    server.say("enter 2", "enter 999", "leave 999")
    member.get_by_role("link", name="Who is here").click()
    expect(member.locator(".roster li")).to_have_count(2)
    expect(member.locator(".roster")).to_contain_text("anna")
    expect(member.get_by_role("cell", name="number 999")).to_be_visible()
    member.get_by_role("link", name="My devices").click()
    member.get_by_label("MAC address").fill("02:1b:63:84:45:e7")
    member.get_by_label("What do you call it?").fill("a laptop whose name is as long as a name of a device can be, 64.")
    member.get_by_role("button", name="Register").click()
    expect(member.get_by_role("alert")).to_contain_text("randomised")
    for width, viewport in (("1440", DESKTOP), ("360", PHONE)):
        for path, name in (("/people", "people"), ("/devices", "devices"), ("/admin", "admin-tabs")):
            page = member.context.new_page()
            page.set_viewport_size(viewport)
            page.goto(server.url + path)
            shoot(page, f"{name}-{width}")
            assert page.evaluate("document.documentElement.scrollWidth") == viewport["width"], (path, width)
            page.close()
        member.set_viewport_size(viewport)
        shoot(member, f"devices-randomised-{width}")
        assert member.evaluate("document.documentElement.scrollWidth") == viewport["width"]
    member.get_by_label("Register it as it is").check()
    member.get_by_role("button", name="Register").click()
    expect(member.locator(".devices li")).to_have_count(2)
    shoot(member, "devices-two-360")
    member.get_by_role("button", name="Delete phone").click()
    expect(member.get_by_role("status")).to_have_text("The device is deleted.")
    expect(member.locator(".devices li")).to_have_count(1)
    expect(visitor.locator("#people")).to_have_text("One person is here")
    server.say("leave 2")
    expect(visitor.locator("#people")).to_have_text("Nobody has signed in")
    expect(visitor.locator("#status")).to_have_text("Closed")


def test_members_are_told_before_it_closes(make_server: Make, open_page: Callable[..., Any]) -> None:
    server = make_server(cookie_secret=SECRET, auto_close_after="60", auto_close_warning="59", stale_after="0")
    server.run("user", "add", "anna", "--password-stdin", input=PASSWORD + "\n")
    server.say("status 1")
    visitor = open_page(server.url)
    expect(visitor.locator("#message-text")).to_contain_text("unless somebody presses the button")
    member = open_page(server.url + "/login", viewport=PHONE, locale="it-IT")
    member.get_by_label("Nome").fill("anna")
    member.get_by_label("Password").fill(PASSWORD)
    member.get_by_role("button", name="Accedi").click()
    expect(member.get_by_role("alert")).to_contain_text("Lo spazio chiude da solo")
    shoot(member, "admin-closing-360")
    member.get_by_role("button", name="Aperto").click()
    expect(member.get_by_role("alert")).to_have_count(0)
    expect(visitor.locator("#message-text")).to_have_text("Somebody has been seen: it stays open.")


def test_the_state_is_there_without_javascript(server: Server, open_page: Callable[..., Any]) -> None:
    server.say("status 1", "temperature 0 21.5", "message Q2lhbw==")
    page = open_page(server.url, java_script_enabled=False)
    expect(page.locator("#status")).to_have_text("Open")
    expect(page.locator("#sensors li")).to_contain_text("21.5 °C")
    expect(page.locator("#message-text")).to_have_text("Ciao")
    assert "The chart needs JavaScript" in page.locator("#chart").inner_text()
    shoot(page, "home-without-javascript")


def test_server_and_script_write_the_same_words(make_server: Make, open_page: Callable[..., Any]) -> None:
    """A reader must not see texts jump when the script takes over."""
    server = make_server(time_zone="Europe/Rome", sensor_names="1=Lab")
    server.say("status 1", "temperature 0 21.5", "temperature 1 3", "message Q2lhbw==", "enter 1", "enter 2")
    for locale in ("en-GB", "it-IT"):
        texts = []
        for script in (False, True):
            page = open_page(server.url, locale=locale, java_script_enabled=script)
            if script:
                expect(page.locator("#link")).to_have_attribute("data-link", "live")
            parts = (
                "#status",
                "#since",
                "#sensors .name >> nth=0",
                "#sensors .value >> nth=0",
                "#sensors .when >> nth=0",
            )
            texts.append([page.locator(part).inner_text() for part in (*parts, "#message", "#people")])
            texts[-1].append(page.title())
        # Months and weekdays may be shortened differently by the two sides' data; figures and words may not differ.
        assert [re.sub(r"[,.]", "", text) for text in texts[0]] == [re.sub(r"[,.]", "", text) for text in texts[1]]


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize(("width", "viewport"), [("desktop", DESKTOP), ("phone", PHONE)])
def test_screenshots(
    make_server: Make, open_page: Callable[..., Any], scheme: str, width: str, viewport: dict[str, int]
) -> None:
    server = make_server(
        space_name="Hackerspace",
        space_place="Via Golgi 42, Milano",
        space_links="Wiki=https://example.org/wiki,Chat=https://example.org/chat",
        sensor_names="0=Lab,1=Roof",
        time_zone="Europe/Rome",
    )
    server.say("status 1", *(f"temperature {n % 2} {18 + n % 2 * -9 + n / 40:.2f}" for n in range(100)))
    server.say("message Q2lhbyBhIHR1dHRpOiBj4oCZw6ggaWwgY2Fmw6g=", "enter 1", "enter 2")
    language = "it-IT" if width == "phone" else "en-GB"
    page = open_page(server.url, viewport=viewport, color_scheme=scheme, locale=language)
    expect(page.locator("#chart canvas")).to_be_visible()
    expect(page.locator("#link")).to_have_attribute("data-link", "live")
    shoot(page, f"home-{width}-{scheme}")
    overflow = page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
    assert overflow == 0, "the page scrolls sideways"
    for path in ("log", "info"):
        page.goto(f"{server.url}/{path}")
        shoot(page, f"{path}-{width}-{scheme}")
        assert page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth") == 0
    assert (SCREENSHOTS / f"home-{width}-{scheme}.png").stat().st_size > 10_000


def test_the_forecast_is_a_table_in_the_colours_one_asks_for(settled: Server, open_page: Callable[..., Any]) -> None:
    page = open_page(settled.url)
    table = page.get_by_role("table", name="How likely it is open, for each half hour of the coming week")
    expect(table.get_by_role("columnheader")).to_have_count(7)
    expect(table.locator("[aria-current=time]")).to_have_count(1)
    cell = table.locator("tbody td").first
    ground = "element => getComputedStyle(element).backgroundColor"
    safe = cell.evaluate(ground)
    page.get_by_role("link", name="Show it in green and red").click()
    expect(page.locator("#forecast")).to_have_attribute("data-palette", "classic")
    assert cell.evaluate(ground) != safe
    page.goto(settled.url)  # remembered
    expect(page.locator("#forecast")).to_have_attribute("data-palette", "classic")
    page.goto(settled.url + "/blind")
    assert cell.evaluate(ground) == safe
    page.goto(settled.url + "/info")
    picture = page.get_by_role("img", name="How likely it is open, by weekday and hour")
    assert picture.evaluate("image => image.naturalWidth") == 2 * 710  # enough for a screen of two pixels to one
    assert picture.evaluate("image => image.clientWidth") <= 736  # as wide as the text at most


def test_the_first_view_keeps_to_its_budget(settled: Server, browser: Any) -> None:
    settled.say("temperature 0 21.5", "temperature 1 8", "message Q2lhbw==", "enter 1", "status 1")
    answers = first_view(browser, settled.url + "/")
    of = {kind: sum(size for each, size in answers if each == kind) for kind, _ in answers}
    assert {"Document", "Script", "Stylesheet"} <= of.keys()
    assert of["Script"] <= 40_000, of
    assert of["Stylesheet"] <= 8_000, of
    assert sum(of.values()) <= 100_000, of


def test_what_is_to_come_changes_with_the_status(settled: Server, open_page: Callable[..., Any]) -> None:
    settled.say("status 0")
    page = open_page(settled.url)
    page.evaluate("window.sameDocument = true")
    outlook = page.locator("#outlook")
    expect(outlook).to_contain_text(re.compile("will probably open about|best chance"))
    settled.say("status 1")
    expect(page.locator("#status")).to_have_text("Open")
    expect(outlook).to_contain_text("probably")
    expect(outlook).not_to_contain_text("open about")
    expect(outlook).to_contain_text(re.compile(r"if you arrive in 30 minutes: \d+%"))
    assert page.evaluate("window.sameDocument")


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [320, 360, 768, 1440])
def test_the_forecast_fits_every_screen(
    settled: Server, open_page: Callable[..., Any], width: int, scheme: str
) -> None:
    page = open_page(settled.url, viewport={"width": width, "height": 900}, color_scheme=scheme)
    expect(page.locator("#link")).to_have_text("Live: this page changes by itself")
    shoot(page, f"forecast-{width}-{scheme}")
    assert page.evaluate("document.documentElement.scrollWidth") == width
    # Nothing is wider than its cell.
    assert page.evaluate("[...document.querySelectorAll('.forecast td')].every(td => td.scrollWidth <= td.clientWidth)")


def test_the_folder_for_screenshots_is_ignored() -> None:
    assert "screenshots/" in Path(ROOT / ".gitignore").read_text().split()


def test_a_token_is_made_and_revoked(make_server: Make, open_page: Callable[..., Any]) -> None:
    server = make_server(cookie_secret=SECRET)
    server.run("user", "add", "anna", "--password-stdin", input=PASSWORD + "\n").check_returncode()
    page = open_page(server.url + "/tokens", locale="it-IT", viewport=PHONE)  # asks to sign in first, and comes back
    page.fill("#name", "anna")
    page.fill("#password", PASSWORD)
    page.keyboard.press("Enter")
    expect(page.locator("h1")).to_have_text("I miei token")
    page.fill("#label", "campanello")
    page.get_by_label("riprodurre suoni").check()
    page.get_by_role("button", name="Crealo").click()
    made = page.locator(".token").inner_text()
    ask = """token => fetch("/api/v1/sounds", {
        method: "POST",
        body: '{"number": 1}',
        headers: {"Content-Type": "application/json", Authorization: "Bearer " + token},
    }).then(answer => answer.status)"""
    assert page.evaluate(ask, made) == 201
    shoot(page, "tokens-phone")
    page.get_by_role("button", name="Revoca campanello").click()
    expect(page.locator("[role=status]")).to_contain_text("Il token è revocato")
