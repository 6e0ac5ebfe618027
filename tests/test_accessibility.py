"""Every page of the server under axe-core: WCAG 2.2 AA in light and dark, on a phone and on a desk.

A new page goes into one of the three lists; what a form says when it refuses, into the fourth. Of each there are
pictures, to be looked at.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests import test_browser
from tests.conftest import ROOT, WAIT, Server
from tests.test_admin import PASSWORD, SECRET

pytestmark = pytest.mark.browser

browser, shoot = test_browser.browser, test_browser.shoot

PUBLIC_PAGES = [
    "/",
    "/blind",
    "/log",
    "/log?kind=all&limit=5",
    "/log?offset=1&limit=1",
    "/log?day=x",
    "/info",
    "/wiki",
    "/wiki?q=page",
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

# Who fills in which form of which page with what, by script: a browser would not send most of it.
FORMS: list[tuple[str, str, str, dict[str, str]]] = [
    ("", "/login", "", {"name": "anna", "password": "not hers"}),
    ("anna", "/admin", "details", {"value": "open", "note": "x" * 500, "until": "2001-01-01T00:00"}),
    ("anna", "/admin", "[action='/message']", {"text": ""}),
    ("anna", "/admin", "[action='/sound']", {"number": "999"}),
    ("anna", "/announcements", "", {"value": "open", "begins": "", "until": "2001-01-01T00:00", "note": "x" * 500}),
    ("anna", "/account", "[action='/account/password']", {"old": "x", "new": "short", "again": "other"}),
    ("anna", "/devices", "", {"mac": "01:02", "label": "phone"}),
    ("anna", "/devices", "", {"mac": "02:00:00:00:00:01", "label": "phone"}),
    ("anna", "/tokens", "", {"label": ""}),
    ("anna", "/tokens", "", {"label": "lamp"}),
    ("anna", "/wiki", "[action='/wiki/new']", {"title": "!"}),
    ("anna", "/wiki/info/edit", "", {"text": "", "comment": "x"}),
    ("anna", "/wiki/info/edit", "", {"text": "# Another\n\ntext", "base": "0"}),
    ("root", "/users", "", {"name": "root", "keypad": "-1", "password": "short"}),
    ("root", "/users", "", {"name": "guest"}),
    ("root", "/users/1", "[action='/users/1']", {"keypad": "-1"}),
    ("root", "/users/1", "[action$='/password']", {"password": "short"}),
    ("root", "/users/1", "[action$='/delete']", {}),
    ("root", "/wiki/files", "[enctype]", {}),
]

AXE = ROOT / "src/bits/web/client/node_modules/axe-core/axe.min.js"
TAGS = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]
RULES = {"type": "tag", "values": TAGS}
COLOURS = {"type": "rule", "values": ["color-contrast"]}  # all that the scheme can change

# Width, scheme, what is looked at: all of it at both widths and in both schemes, and no second for what is the same.
LOOKS = [(320, "light", RULES), (320, "dark", COLOURS), (1280, "light", COLOURS), (1280, "dark", RULES)]
SHOTS = [(360, "light"), (360, "dark"), (768, "light"), (768, "dark"), (1440, "light"), (1440, "dark")]

RUN = """only => axe.run({runOnly: only, resultTypes: ["violations"]}).then(({violations}) => violations.map(
    ({id, help, nodes}) => `${id}: ${help}\\n` + nodes.map(
        node => `    ${node.html.slice(0, 300)}\\n    ${node.failureSummary.replace(/\\s+/g, " ")}`).join("\\n")))"""
FILL_IN = """([where, fields]) => {
    const form = [...document.querySelectorAll("main form[method=post], main form[action='/wiki/new']")].find(
        each => !where || each.matches(where) || each.closest(where));
    for (const [name, value] of Object.entries(fields)) form.elements[name].value = value;
    form.noValidate = true;
    form.requestSubmit(form.querySelector('button:not([type=button])'));
}"""
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
        mac_key=SECRET,
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
    assert answer.status == {"/nowhere": 404, "/wiki/nowhere": 404, "/log?day=x": 400}.get(path, 200)
    if page.locator("#chart").count():
        page.locator("#chart canvas").wait_for()
    examine(page, path)


@pytest.mark.parametrize(("reader", "path", "form", "fields"), FORMS)
def test_everybody_understands_what_a_form_says(
    site: Server, readers: dict[str, Any], reader: str, path: str, form: str, fields: dict[str, str]
) -> None:
    page = readers[reader]
    page.goto(site.url + path)
    with page.expect_navigation():
        page.evaluate(FILL_IN, [form, fields])
    assert page.locator("[role=alert], [aria-invalid], code.token").first.is_visible()
    examine(page, f"{path} {form} {'+'.join(fields)}")


def examine(page: Any, name: str) -> None:
    """Look at a page in all ways."""
    page.evaluate(Path(AXE).read_text())
    found = {}
    for width, scheme, only in LOOKS:
        page.set_viewport_size({"width": width, "height": 800})
        page.emulate_media(color_scheme=scheme, reduced_motion="reduce")
        assert page.evaluate(OVERFLOW) == 0, f"{name} scrolls sideways at {width} px"
        found[f"{width} px, {scheme}"] = page.evaluate(RUN, only)
    complaints = [f"{look}: {each}" for look, all_ in found.items() for each in all_]
    assert complaints == [], "\n".join(complaints)
    for width, scheme in SHOTS:
        page.set_viewport_size({"width": width, "height": 800})
        page.emulate_media(color_scheme=scheme, reduced_motion="reduce")
        page.evaluate(OVERFLOW)
        shoot(page, f"page-{re.sub('[^a-z0-9]+', '-', name).strip('-') or 'home'}-{width}-{scheme}")
    # Letters twice as large, on a screen of 640 px.
    page.set_viewport_size({"width": 640, "height": 800})
    page.evaluate("document.documentElement.style.fontSize = '200%'")
    assert page.evaluate(OVERFLOW) == 0, f"{name} scrolls sideways in letters of twice the size"
