"""What other sites show of ours: the badge, the custom element, the page for frames."""

from __future__ import annotations

import gzip
import signal
import threading
import xml.etree.ElementTree as ElementTree
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bits.web.badge import DARK, LIGHT, draw, width
from tests import test_browser
from tests.conftest import Server, wait_until
from tests.test_browser import expect, shoot

browser, open_page = test_browser.browser, test_browser.open_page

SVG = "{http://www.w3.org/2000/svg}"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder: Path = tmp_path_factory.mktemp("widgets")
    server = Server(folder, space_name="Lab <&>", stale_after="0").start()
    server.say("status 1")
    yield server
    server.stop()
    assert "Traceback" not in server.errors, server.errors


def badge(server: Server, query: str = "", **headers: str) -> tuple[str, list[str], dict[str, str]]:
    """Return title, the two texts, and the headers."""
    status, answered, body = server.get(f"/badge.svg{query}", **headers)
    assert status == 200, body
    svg = ElementTree.fromstring(body)
    title = svg.findtext(f"{SVG}title") or ""
    assert svg.get("role") == "img"
    assert svg.get("aria-label") == title
    return title, [text.text or "" for text in svg.iter(f"{SVG}text")], answered


def test_the_badge_shows_the_state_in_the_readers_language(server: Server) -> None:
    server.say("status 1")
    assert badge(server)[:2] == ("Lab <&>: Open", ["Lab <&>", "open"])
    assert badge(server, Accept_Language="it")[:2] == ("Lab <&>: Aperto", ["Lab <&>", "aperto"])
    assert badge(server, "?lang=it&label=Aula")[1] == ["Aula", "aperto"]
    server.say("status 0")
    title, texts, headers = badge(server)
    assert (title, texts[1]) == ("Lab <&>: Closed", "closed")
    assert headers["content-type"] == "image/svg+xml"
    assert headers["access-control-allow-origin"] == "*"
    assert headers["cross-origin-resource-policy"] == "cross-origin"
    assert "max-age=60" in headers["cache-control"]
    assert server.get("/badge.svg", If_None_Match=headers["etag"])[::2] == (304, b"")
    server.say("status 1")
    assert server.get("/badge.svg", If_None_Match=headers["etag"])[0] == 200


def test_a_badge_is_light_dark_or_as_the_system_wishes(server: Server) -> None:
    bodies = {theme: server.get(f"/badge.svg?theme={theme}")[2] for theme in ("light", "dark", "auto")}
    assert len(set(bodies.values())) == 3
    assert [theme for theme, body in bodies.items() if b"prefers-color-scheme" in body] == ["auto"]
    assert b'rx="0"' in server.get("/badge.svg?style=flat-square")[2]


@pytest.mark.parametrize(
    ("query", "reason"),
    [
        ("style=plastic", "style"),
        ("theme=pink", "theme"),
        ("lang=xx", "lang"),
        ("label=" + "a" * 41, "label"),
        ("label=a%00b", "label"),
        ("label=%EF%BF%BE", "label"),
        ("label=%E2%80%AEgnirts", "label"),
    ],
)
def test_what_a_badge_cannot_show_is_refused_by_name(server: Server, query: str, reason: str) -> None:
    counter = f'badge_refused_total{{reason="{reason}"}}'
    before = server.metric(counter)
    status, _, body = server.get(f"/badge.svg?{query}")
    assert status == 400
    assert reason.encode() in body
    assert b"expected" in body
    assert server.metric(counter) == before + 1


@pytest.mark.parametrize("label", ["<script>alert(1)</script>", '"><x y="', "&amp;", "日本語 ☕ è", "</svg>", "%00"])
def test_labels_are_text_whatever_they_hold(server: Server, label: str) -> None:
    assert badge(server, f"?label={quote(label, safe='')}")[1][0] == label


@given(st.text(max_size=40).filter(str.isprintable))
def test_any_label_fits_its_field(label: str) -> None:
    svg = ElementTree.fromstring(draw(label, "open", "open", f"{label}: Open", "flat", "auto").data)
    first, second = svg.iter(f"{SVG}text")
    lengths = [float(text.get("textLength", "-1")) for text in (first, second)]
    assert all(length >= 0 for length in lengths)
    assert abs(lengths[0] - width(label)) <= 0.5
    assert float(svg.get("width", "0")) == sum(lengths) + 4 * 7


def test_the_colours_can_be_read() -> None:
    def luminance(colour: str) -> float:
        digits = colour[1:] if len(colour) == 7 else "".join(2 * digit for digit in colour[1:])
        parts = [int(digits[at : at + 2], 16) / 255 for at in (0, 2, 4)]
        linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
        return sum(weight * part for weight, part in zip((0.2126, 0.7152, 0.0722), linear, strict=True))

    for back, ink in [*LIGHT.values(), *DARK.values()]:
        dark, light = sorted((luminance(back), luminance(ink)))
        assert (light + 0.05) / (dark + 0.05) >= 4.5, (back, ink)


def test_the_page_for_frames_works_without_scripts(server: Server) -> None:
    server.say("status 1")
    status, headers, body = server.get("/widget", Accept_Language="it")
    assert status == 200
    assert "frame-ancestors *" in headers["content-security-policy"]
    page = body.decode()
    assert '<noscript><meta http-equiv="refresh" content="60"></noscript>' in page
    assert '<a class="open" href="/">Aperto</a>' in page
    assert "Lab &lt;&amp;&gt;" in page
    assert "set-cookie" not in headers
    assert "since" in server.get("/widget?lang=en", Accept_Language="it")[2].decode()
    assert server.get("/widget", If_None_Match=headers["etag"], Accept_Language="it")[0] == 304
    assert server.get("/widget?lang=xx")[0] == 400


def test_the_script_is_for_any_site_and_asked_for_again_soon(server: Server) -> None:
    status, headers, body = server.get("/widget.js")
    assert status == 200
    assert headers["content-type"].startswith("text/javascript")
    assert headers["access-control-allow-origin"] == "*"
    assert headers["cross-origin-resource-policy"] == "cross-origin"
    assert headers["cache-control"] == "public, max-age=300"
    assert server.get("/widget.js", If_None_Match=headers["etag"])[::2] == (304, b"")
    assert len(gzip.compress(body)) < 4000


# --- on another site, in a real browser


class Elsewhere:
    """Another site: one page, at another address, as strict as can be."""

    def __init__(self) -> None:
        self.html = ""
        self.policy = ""
        other = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                body = other.html.encode()
                self.send_response(200 if self.path == "/" else 404)
                self.send_header("Content-Type", "text/html; charset=utf-8")
                self.send_header("Content-Security-Policy", other.policy)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.2", 0), Handler)
        self.url = f"http://127.0.0.2:{self.server.server_port}/"
        self.thread = threading.Thread(target=self.server.serve_forever)
        self.thread.start()

    def show(self, url: str, elements: str, policy: str = "script-src {url}; connect-src {url}") -> str:
        self.html = f'<!doctype html><html lang="en"><meta charset="utf-8"><title>Elsewhere</title>{elements}'
        self.html += f'<script src="{url}/widget.js" async></script>'
        self.policy = "default-src 'none'; base-uri 'none'; require-trusted-types-for 'script'; "
        self.policy += policy.format(url=url)
        return self.url

    def stop(self) -> None:
        self.server.shutdown()
        self.thread.join()
        self.server.server_close()


@pytest.fixture
def elsewhere() -> Iterator[Elsewhere]:
    site = Elsewhere()
    yield site
    site.stop()


@pytest.mark.browser
def test_the_element_lives_on_another_site_without_cookies(
    server: Server, elsewhere: Elsewhere, open_page: Callable[..., Any]
) -> None:
    server.say("status 1")
    elements = (
        f'<bits-status id="a" src="{server.url}">The lab: <i slot="until-live">?</i></bits-status>'
        f'<p><bits-status id="b" src="{server.url}/" lang="de" compact></bits-status>'
        '<bits-status id="c" lang="fr"></bits-status>'
        '<bits-status id="d" src="javascript:alert(1)"></bits-status>'
    )
    page = open_page("about:blank", quiet=False)
    complaints: list[str] = []
    page.on("console", lambda said: complaints.append(said.text))
    page.context.add_cookies([{"name": "palette", "value": "blind", "url": server.url}])
    sent: list[Any] = []
    page.on("request", lambda request: sent.append(request))
    page.goto(elsewhere.show(server.url, elements))
    a, b, c, d = (page.locator(f"#{name} [role=status]") for name in "abcd")
    expect(a).to_have_text("Open")
    expect(b).to_have_text("Offen")
    expect(c).to_have_text("Ouvert")
    expect(d).to_have_text("Unknown")
    expect(page.locator("#a i")).to_be_hidden()
    expect(page.locator("#a [part=detail]")).to_contain_text("since")
    expect(page.locator("#b [part=detail]")).to_be_hidden()
    assert page.locator("#d a").get_attribute("href") is None
    assert page.evaluate("getComputedStyle(document.querySelector('#a').shadowRoot.querySelector('a')).borderRadius")
    assert complaints == ["bits-status: src is no address of a space"]  # no word of the policy: nothing broke it
    server.say("status 0")
    expect(a).to_have_text("Closed")
    expect(b).to_have_text("Geschlossen")
    asked = [request for request in sent if request.url.startswith(server.url)]
    assert sorted(request.url.removeprefix(server.url) for request in asked) == ["/events", "/widget.js"]
    assert [request.all_headers().get("cookie") for request in asked if "events" in request.url] == [None]
    assert [cookie["name"] for cookie in page.context.cookies()] == ["palette"]
    page.evaluate("document.querySelector('#a').lang = 'it'")
    expect(a).to_have_text("Chiuso")
    page.emulate_media(color_scheme="dark")
    shoot(page, "widget-dark")
    for name in "abcd":
        page.evaluate(f"document.querySelector('#{name}').remove()")
    wait_until(lambda: server.metric("push_clients") == 0, "the connection's end")


@pytest.mark.browser
def test_the_element_says_unknown_when_it_cannot_reach_the_space(
    make_server: Callable[..., Server], elsewhere: Elsewhere, open_page: Callable[..., Any]
) -> None:
    server = make_server(stale_after="0")
    server.say("status 1")
    page = open_page(
        elsewhere.show(server.url, f'<bits-status src="{server.url}">Lab</bits-status>'),
        quiet=False,
    )
    word = page.locator("[role=status]")
    expect(word).to_have_text("Open")
    server.stop()
    expect(word).to_have_text("Unknown")
    expect(page.locator("[part=detail]")).to_contain_text("not connected · last known: Open")
    server.start()
    server.say("status 0")
    page.evaluate("dispatchEvent(new Event('online'))")  # not to wait for the backoff
    expect(word).to_have_text("Closed")
    expect(page.locator("[part=detail]")).not_to_contain_text("not connected")


@pytest.mark.browser
@pytest.mark.parametrize("held_back", [False, True])
def test_the_element_polls_where_streams_do_not_come_through(
    server: Server, elsewhere: Elsewhere, open_page: Callable[..., Any], held_back: bool
) -> None:
    server.say("status 1")
    page = open_page("about:blank", quiet=False)
    page.clock.install()
    page.route("**/events*", lambda route: None if held_back else route.abort())
    page.goto(elsewhere.show(server.url, "<bits-status>Lab</bits-status>"))
    word = page.locator("[role=status]")
    expect(word).to_have_text("…")
    for _ in range(3 if held_back else 1):
        page.clock.run_for(6000)
    expect(word).to_have_text("Open")
    server.say("status 0")
    page.clock.run_for(20_000)
    expect(word).to_have_text("Closed")


@pytest.mark.browser
def test_the_element_notices_a_stream_that_has_died_in_silence(
    make_server: Callable[..., Server], elsewhere: Elsewhere, open_page: Callable[..., Any]
) -> None:
    server = make_server(stale_after="0")
    server.say("status 1")
    page = open_page("about:blank", quiet=False)
    page.clock.install()
    page.goto(elsewhere.show(server.url, "<bits-status>Lab</bits-status>"))
    word = page.locator("[role=status]")
    expect(word).to_have_text("Open")
    server.process.send_signal(signal.SIGSTOP)  # its connections stay, and say nothing
    try:
        page.clock.run_for(91_000)
        for _ in range(4):
            page.clock.run_for(15_000)
        expect(word).to_have_text("Unknown")
    finally:
        server.process.send_signal(signal.SIGCONT)
    server.say("status 0")
    page.evaluate("dispatchEvent(new Event('online'))")
    expect(word).to_have_text("Closed")


@pytest.mark.browser
def test_the_element_rests_while_nobody_looks(
    server: Server, elsewhere: Elsewhere, open_page: Callable[..., Any]
) -> None:
    server.say("status 1")
    page = open_page(elsewhere.show(server.url, "<bits-status>Lab</bits-status>"))
    word = page.locator("[role=status]")
    expect(word).to_have_text("Open")

    def look(hidden: str) -> None:
        page.evaluate(f"Object.defineProperty(document, 'hidden', {{value: {hidden}, configurable: true}})")
        page.evaluate("document.dispatchEvent(new Event('visibilitychange'))")

    look("true")
    wait_until(lambda: server.metric("push_clients") == 0, "the rest")
    server.say("status 0")
    look("false")
    expect(word).to_have_text("Closed")
    wait_until(lambda: server.metric("push_clients") == 1, "the way back")


@pytest.mark.browser
def test_the_element_and_the_badge_mark_what_is_stale(
    make_server: Callable[..., Server], elsewhere: Elsewhere, open_page: Callable[..., Any]
) -> None:
    server = make_server(stale_after="900", space_name="Lab")
    assert badge(server)[:2] == ("Lab: Unknown (the board is silent)", ["Lab", "unknown"])
    page = open_page(elsewhere.show(server.url, "<bits-status>Lab</bits-status>"))
    expect(page.locator("a")).to_have_attribute("part", "status unknown stale")
    expect(page.locator("[part=detail]")).to_have_text("the board is silent")
    server.say("status 1")
    expect(page.locator("a")).to_have_attribute("part", "status open")
    assert badge(server)[0] == "Lab: Open"


@pytest.mark.browser
@pytest.mark.parametrize("scripts", [True, False])
def test_the_frame_is_shown_on_another_site_and_the_homepage_is_not(
    server: Server, elsewhere: Elsewhere, open_page: Callable[..., Any], scripts: bool
) -> None:
    server.say("status 1")
    frames = "".join(f'<iframe src="{server.url}{path}" width="320" height="60"></iframe>' for path in ("/widget", "/"))
    url = elsewhere.show(server.url, frames, policy="frame-src {url}")
    page = open_page(url, quiet=False, java_script_enabled=scripts)
    framed = page.frame_locator("iframe").nth(0)
    expect(framed.locator("a:visible")).to_have_text("Open")
    expect(framed.locator("[part=detail], small:visible").first).to_contain_text("since")
    if scripts:
        server.say("status 0")
        expect(framed.locator("a:visible")).to_have_text("Closed")
    shoot(page, f"widget-frame-{scripts}")
    expect(page.frame_locator("iframe").nth(1).locator("#status")).to_have_count(0)
