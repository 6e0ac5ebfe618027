"""Every page of the server under axe-core: WCAG 2.2 AA in light and dark, on a phone and on a desk.

A new page goes into one of the three lists.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests import test_browser
from tests.conftest import ROOT, WAIT, Server
from tests.test_admin import PASSWORD, SECRET

pytestmark = pytest.mark.browser

browser = test_browser.browser

PUBLIC_PAGES = [
    "/",
    "/blind",
    "/log",
    "/log?kind=all&limit=5",
    "/log?offset=1&limit=1",
    "/info",
    "/wiki",
    "/wiki?q=space",
    "/wiki/nowhere",
    "/login",
    "/nowhere",
    "/offline",
    "/widget",
    "/api/v1/",
]
MEMBER_PAGES = ["/admin", "/announcements", "/account", "/people", "/devices", "/tokens", "/wiki/info/edit"]
ADMIN_PAGES = [
    "/users",
    "/users/1",
    "/wiki/info/history",
    "/wiki/info/diff?from=1&to=1",
    "/wiki/info/revision?id=1",
    "/wiki/files",
]

AXE = ROOT / "src/bits/web/client/node_modules/axe-core/axe.min.js"
TAGS = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]
RULES = {"type": "tag", "values": TAGS}
COLOURS = {"type": "rule", "values": ["color-contrast"]}  # all that the scheme can change

# Width, scheme, what is looked at: all of it at both widths and in both schemes, and no second for what is the same.
LOOKS = [(320, "light", RULES), (320, "dark", COLOURS), (1280, "light", COLOURS), (1280, "dark", RULES)]

RUN = """only => axe.run({runOnly: only, resultTypes: ["violations"]}).then(({violations}) => violations.map(
    ({id, help, nodes}) => `${id}: ${help}\\n` + nodes.map(
        node => `    ${node.html.slice(0, 300)}\\n    ${node.failureSummary.replace(/\\s+/g, " ")}`).join("\\n")))"""
# Once what follows the width by script has followed it.
OVERFLOW = """new Promise(done => requestAnimationFrame(() => requestAnimationFrame(() =>
    done(document.documentElement.scrollWidth - document.documentElement.clientWidth))))"""


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server with something on each page."""
    folder = tmp_path_factory.mktemp("site")
    server = Server(
        folder,
        cookie_secret=SECRET,
        space_name="Hackerspace",
        space_place="Via Golgi 42, Milano",
        space_links="Chat=https://example.org/chat",
        sensor_names="0=Lab,1=Roof",
        time_zone="Europe/Rome",
    )
    server.start()
    for name, more in (("anna", "--listed"), ("root", "--admin")):
        server.run("user", "add", name, "--password-stdin", input=PASSWORD + "\n").check_returncode()
        server.run("user", "modify", name, more).check_returncode()
    server.say("status 1", "status 0", "status 1", "enter 1", "enter 2", "message Q2lhbw==")
    server.say(*(f"temperature {n % 2} {18 + n % 2 * -9 + n / 40:.2f}" for n in range(40)))
    yield server
    server.stop()
    assert "Traceback" not in server.errors, server.errors


@pytest.fixture(scope="module")
def readers(browser: Any, site: Server) -> Iterator[dict[str, Any]]:
    """A page each of somebody, of a member, of an admin."""
    pages = {}
    for name in ("", "anna", "root"):
        page = pages[name] = browser.new_context(locale="en-GB", reduced_motion="reduce").new_page()
        page.set_default_timeout(WAIT * 1000)
        if name:
            page.goto(site.url + "/login")
            page.get_by_label("Name").fill(name)
            page.get_by_label("Password").fill(PASSWORD)
            page.get_by_role("button", name="Sign in").click()
            page.wait_for_url(site.url + "/admin")
    yield pages
    for page in pages.values():
        page.context.close()


PAGES = [
    *(("", path) for path in PUBLIC_PAGES),
    *(("anna", path) for path in MEMBER_PAGES),
    *(("root", path) for path in ADMIN_PAGES),
]


@pytest.mark.parametrize(("reader", "path"), PAGES)
def test_everybody_can_use_it(site: Server, readers: dict[str, Any], reader: str, path: str) -> None:
    page = readers[reader]
    answer = page.goto(site.url + path)
    assert answer.status == (404 if path.endswith("/nowhere") else 200)
    if page.locator("#chart").count():
        page.locator("#chart canvas").wait_for()
    page.evaluate(Path(AXE).read_text())
    found = {}
    for width, scheme, only in LOOKS:
        page.set_viewport_size({"width": width, "height": 800})
        page.emulate_media(color_scheme=scheme, reduced_motion="reduce")
        assert page.evaluate(OVERFLOW) == 0, f"{path} scrolls sideways at {width} px"
        found[f"{width} px, {scheme}"] = page.evaluate(RUN, only)
    complaints = [f"{look}: {each}" for look, all_ in found.items() for each in all_]
    assert complaints == [], "\n".join(complaints)
    # Letters twice as large, on a screen of 640 px.
    page.set_viewport_size({"width": 640, "height": 800})
    page.evaluate("document.documentElement.style.fontSize = '200%'")
    assert page.evaluate(OVERFLOW) == 0, f"{path} scrolls sideways in letters of twice the size"
