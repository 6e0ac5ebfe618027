"""The page as an app: what a phone needs to install it, and what it shows without a connection."""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from io import BytesIO
from pathlib import Path
from socket import socket
from typing import Any
from xml.etree import ElementTree

import pytest
from PIL import Image

from bits.config import Config
from bits.web.app import create_app
from bits.web.install import UNINDEXED
from tests import test_browser
from tests.conftest import Server, wait_until
from tests.test_admin import PASSWORD, SECRET
from tests.test_browser import PHONE, expect, shoot

browser, open_page = test_browser.browser, test_browser.open_page
sync_error = test_browser.sync_api.Error
Make = Callable[..., Server]


@pytest.fixture(scope="module", params=["", "https://space.example"])
def site(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server that does not know where browsers reach it, and one that does."""
    folder = tmp_path_factory.mktemp("site")
    server = Server(folder, public_url=request.param, space_name="Officina delle Cose", stale_after="0").start()
    server.say("status 1")
    yield server
    server.stop()
    assert "Traceback" not in server.errors, server.errors


def test_the_manifest_names_the_space_in_the_readers_language(site: Server) -> None:
    server = site
    status, headers, body = server.get("/manifest.webmanifest", Accept_Language="it")
    assert (status, headers["content-type"]) == (200, "application/manifest+json")
    assert "Accept-Language" in headers["vary"]
    manifest = json.loads(body)
    assert (manifest["name"], manifest["short_name"], manifest["lang"]) == ("Officina delle Cose", "Officina", "it")
    assert manifest["shortcuts"][0]["name"] == "Storico"
    assert json.loads(server.get("/manifest.webmanifest")[2])["shortcuts"][0]["name"] == "History"
    sizes = set()
    for icon in manifest["icons"]:
        status, headers, body = server.get(icon["src"])
        assert (status, headers["content-type"]) == (200, "image/png")
        picture = Image.open(BytesIO(body))
        assert icon["sizes"] == f"{picture.width}x{picture.height}"
        # Phones cut what is maskable: it must be painted to its corners. The other has round ones.
        corner = picture.convert("RGBA").getpixel((0, 0))
        assert isinstance(corner, tuple)
        assert (corner[3] == 255) == (icon["purpose"] == "maskable")
        sizes.add((icon["purpose"], icon["sizes"]))
    assert sizes == {(purpose, size) for purpose in ("any", "maskable") for size in ("192x192", "512x512")}
    assert Image.open(BytesIO(server.get("/apple-touch-icon.png")[2])).size == (180, 180)
    page = server.get("/")[2].decode()
    assert '<link rel="manifest" href="/manifest.webmanifest">' in page
    assert '<link rel="apple-touch-icon" href="/apple-touch-icon.png">' in page


def test_search_engines_are_told_what_is_public(site: Server) -> None:
    server, url = site, site.settings["public_url"]
    lines = server.get("/robots.txt")[2].decode().splitlines()
    assert lines[0] == "User-agent: *"
    assert "Disallow: /admin" in lines
    assert "Disallow: /" not in lines
    assert [line for line in lines if line.startswith("Sitemap")] == ([f"Sitemap: {url}/sitemap.xml"] if url else [])
    status, _, body = server.get("/sitemap.xml")
    assert status == (200 if url else 404)
    assert (b"<loc>https://space.example/log</loc>" in body) == bool(url)


def test_robots_txt_keeps_from_nothing_but_what_there_is() -> None:
    with socket() as web, socket() as control:
        app = create_app(Config(), web, control)
    app.finalize()
    routes = [f"/{route.path}" for route in app.router.routes]
    for path in UNINDEXED.split():
        begin = path.partition("?")[0].partition("*")[0]
        assert any(re.sub("<.*?>", "info", route).startswith(begin) for route in routes), path


def test_the_site_map_leads_to_the_wiki(make_server: Make, tmp_path: Path) -> None:
    server = make_server(public_url="https://space.example")
    folder = tmp_path / "pages"
    folder.mkdir()
    (folder / "laser-cutter.md").write_text("# The laser cutter\n")
    server.run("wiki", "import", str(folder)).check_returncode()
    root = ElementTree.fromstring(server.get("/sitemap.xml")[2])
    found = [each.text for each in root.iter("{http://www.sitemaps.org/schemas/sitemap/0.9}loc")]
    assert found == [f"https://space.example{path}" for path in ("/", "/log", "/wiki", "/info", "/wiki/laser-cutter")]


def test_links_to_the_homepage_have_a_preview(site: Server) -> None:
    server, url = site, site.settings["public_url"]
    page = server.get("/")[2].decode()
    assert '<meta property="og:title" content="Officina delle Cose: Open">' in page
    # Previews need whole addresses, and Host is anybody's word: there are none unless they are configured.
    assert ('<meta property="og:image" content="https://space.example/bits_presence.png">' in page) == bool(url)
    assert ('<link rel="canonical" href="https://space.example/">' in page) == bool(url)
    assert server.get("/bits_presence.png")[0] == 200


def test_no_other_page_may_be_framed(site: Server) -> None:
    for path in ("/", "/log", "/login", "/nowhere"):
        _, headers, _ = site.get(path, Accept="text/html")
        assert "frame-ancestors 'self'" in headers["content-security-policy"], path


def test_the_worker_is_never_stored_and_names_what_the_homepage_needs(make_server: Make) -> None:
    server = make_server()
    status, headers, body = server.get("/worker.js")
    assert (status, headers["cache-control"]) == (200, "no-cache")
    assert headers["content-type"].startswith("text/javascript")
    told = json.loads(body.partition(b";\n")[0].removeprefix(b"const BITS="))
    page = server.get("/")[2].decode()
    needed = set(re.findall(r"/static/(?:main|style|favicon)[\w.-]+", page))
    assert len(needed) == 3
    assert needed <= set(told["assets"])
    assert all(server.get(asset)[0] == 200 for asset in told["assets"])
    assert not [asset for asset in told["assets"] if "widget" in asset or "worker" in asset]
    server.stop()
    server.settings["web_offline"] = "false"
    server.start()
    assert json.loads(server.get("/worker.js")[2].partition(b";\n")[0].removeprefix(b"const BITS="))["assets"] == []
    assert "data-offline" not in server.get("/")[2].decode()


# --- in a real browser


def with_worker(page: Any) -> None:
    """Wait until the worker has taken over."""
    ready = "navigator.serviceWorker.controller?.state === 'activated'"
    wait_until(lambda: page.evaluate(ready), "the worker's rule")


def stored(page: Any) -> dict[str, list[str]]:
    """Return what the caches hold: paths, by cache."""
    found: dict[str, list[str]] = page.evaluate(
        """async () => {
          const found = {};
          for (const name of await caches.keys())
            found[name] = (await (await caches.open(name)).keys()).map(({ url }) => new URL(url).pathname);
          return found;
        }"""
    )
    return found


@pytest.mark.browser
def test_a_browser_would_install_it(server: Server, open_page: Callable[..., Any]) -> None:
    page = open_page(server.url)
    with_worker(page)
    devtools = page.context.new_cdp_session(page)
    manifest = devtools.send("Page.getAppManifest")
    assert manifest["url"] == server.url + "/manifest.webmanifest"
    assert manifest["errors"] == []
    # Playwright's contexts are all like private windows; nothing else may stand in the way.
    errors = devtools.send("Page.getInstallabilityErrors")["installabilityErrors"]
    assert {error["errorId"] for error in errors} <= {"in-incognito"}


class BadGateway(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_error(502)

    def log_message(self, *_: object) -> None:
        pass


@pytest.mark.browser
def test_without_a_connection_the_last_state_is_shown_as_old(make_server: Make, open_page: Callable[..., Any]) -> None:
    server = make_server(time_zone="Europe/Rome", space_name="Lab")
    server.say("status 1")
    page = open_page(server.url, quiet=False, viewport=PHONE)
    with_worker(page)
    expect(page.locator("#kept")).to_be_hidden()
    # What the page has heard since it was loaded counts, not only how it was loaded.
    server.say("status 0", "message PC9zY3JpcHQ+PGI+")
    expect(page.locator("#message-text")).to_have_text("</script><b>")
    kept = """async () => {
      const heard = await (await caches.open("bits-state")).match("/");
      return heard && (await heard.json()).state.message;
    }"""
    wait_until(lambda: page.evaluate(kept), "the message in the copy")
    server.stop()
    page.reload()
    expect(page.locator("#status")).to_have_text("Closed")
    expect(page.locator("#message-text")).to_have_text("</script><b>")
    expect(page.locator("#kept")).to_contain_text("No connection: this is what was last known")
    expect(page.locator("#kept time")).to_have_attribute("datetime", re.compile(r"^20\d\d-\d\d-\d\dT"))
    expect(page.locator("#kept time")).not_to_be_empty()
    expect(page).to_have_title("? No connection – Lab")
    expect(page.locator("#link")).to_have_attribute("data-link", "offline", timeout=1000)  # at once
    shoot(page, "offline-phone")
    page.emulate_media(color_scheme="dark")
    shoot(page, "offline-phone-dark")
    page.goto(server.url + "/log")
    expect(page.locator("h1")).to_have_text("No connection")
    shoot(page, "offline-log")
    page.locator("main a").click()
    expect(page.locator("#kept")).to_be_visible()
    # A proxy before a server that is down is no connection either.
    with ThreadingHTTPServer(("127.0.0.1", int(server.settings["web_port"])), BadGateway) as proxy:
        thread = threading.Thread(target=proxy.serve_forever)
        thread.start()
        page.reload()
        expect(page.locator("#kept")).to_be_visible()
        proxy.shutdown()
        thread.join()
    server.start()
    page.evaluate("dispatchEvent(new Event('online'))")
    expect(page).to_have_title("■ Closed – Lab")  # and no news
    server.say("status 1")
    expect(page.locator("#status")).to_have_text("Open")
    expect(page.locator("#kept")).to_be_hidden()
    expect(page).to_have_title("● Open – Lab")
    expect(page.locator("#link")).to_have_attribute("data-link", "live")
    page.reload()
    expect(page.locator("#status")).to_have_text("Open")
    expect(page.locator("#kept")).to_be_hidden()


@pytest.mark.browser
def test_nothing_of_members_is_ever_stored(make_server: Make, open_page: Callable[..., Any]) -> None:
    server = make_server(cookie_secret=SECRET)
    server.run("user", "add", "anna", "--password-stdin", input=PASSWORD + "\n")
    page = open_page(server.url, quiet=False)
    with_worker(page)
    page.goto(server.url + "/login")
    page.get_by_label("Name").fill("anna")
    page.get_by_label("Password").fill(PASSWORD)
    page.get_by_role("button", name="Sign in").click()
    expect(page.locator("h1")).to_contain_text("anna")
    for path in ("/people", "/devices", "/log", "/info", "/"):
        page.goto(server.url + path)
    found = stored(page)
    paths = {path for paths in found.values() for path in paths}
    assert {path for path in paths if not path.startswith("/static/")} <= {"/", "/offline"}
    texts = page.evaluate(
        """async () => {
          const texts = [];
          for (const name of await caches.keys()) {
            const cache = await caches.open(name);
            for (const key of await cache.keys()) texts.push(await (await cache.match(key)).text());
          }
          return texts.join();
        }"""
    )
    assert "anna" not in texts
    server.stop()
    with pytest.raises(sync_error, match="ERR_CONNECTION_REFUSED"):
        page.goto(server.url + "/admin")


@pytest.mark.browser
def test_old_copies_are_deleted_and_the_worker_goes_when_told(make_server: Make, open_page: Callable[..., Any]) -> None:
    server = make_server()
    page = open_page(server.url + "/log", quiet=False)  # where no worker is asked for
    for name in ("bits-of-yesterday", "somebody-elses"):
        page.evaluate("name => caches.open(name).then(() => {})", name)
    page.goto(server.url)
    with_worker(page)
    wait_until(lambda: "bits-of-yesterday" not in stored(page), "the old cache's end")
    assert "somebody-elses" in stored(page)
    server.stop()
    server.settings["web_offline"] = "false"
    server.start()
    page.goto(server.url)
    page.evaluate("navigator.serviceWorker.getRegistration().then((one) => one?.update()).catch(() => {})")
    wait_until(lambda: list(stored(page)) == ["somebody-elses"], "the caches' end")
    gone = "navigator.serviceWorker.getRegistration().then((one) => !one)"
    wait_until(lambda: page.evaluate(gone), "the worker's end")
    page.reload()
    assert page.evaluate("navigator.serviceWorker.controller") is None
