"""The browser extension: what its package holds, and what it does in a real Chromium."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
import threading
import zipfile
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import ROOT, WAIT, Server, wait_until

sync_api = pytest.importorskip("playwright.sync_api")
expect = sync_api.expect

expect.set_options(timeout=WAIT * 1000)

Make = Callable[..., Server]

EXTENSION = ROOT / "clients" / "webextension"
VECTORS = json.loads((ROOT / "tests" / "vectors" / "stream.json").read_text("utf-8"))
AXE = ROOT / "src" / "bits" / "web" / "client" / "node_modules" / "axe-core" / "axe.min.js"
LANGUAGES = ("en", "it", "de", "fr")


def manifest() -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads((EXTENSION / "manifest.json").read_text("utf-8"))
    return loaded


def messages(language: str) -> dict[str, str]:
    file = EXTENSION / "_locales" / language / "messages.json"
    return {key: value["message"] for key, value in json.loads(file.read_text("utf-8")).items()}


# --- the package


def files_of(value: Any) -> Iterator[str]:
    """Every file that a part of the manifest names."""
    if isinstance(value, str) and re.search(r"\.(js|html|css|png)$", value):
        yield value
    elif isinstance(value, dict | list):
        for each in value.values() if isinstance(value, dict) else value:
            yield from files_of(each)


def test_the_manifest_is_one_for_both_browsers() -> None:
    """developer.chrome.com/docs/extensions/reference/manifest, extensionworkshop.com on Firefox's differences."""
    keys = manifest()
    assert keys["manifest_version"] == 3
    assert re.fullmatch(r"\d+(\.\d+){1,3}", keys["version"])
    background = keys["background"]
    assert background == {"service_worker": "background.js", "scripts": ["background.js"], "type": "module"}
    gecko = keys["browser_specific_settings"]["gecko"]
    assert re.fullmatch(r"[\w.-]+@[\w.-]+", gecko["id"])
    assert len(gecko["id"]) <= 80
    # Both keys of the background: Chromium 121, Firefox 121; optional_host_permissions: Firefox 128.
    assert int(keys["minimum_chrome_version"]) >= 121
    assert float(gecko["strict_min_version"]) >= 128
    assert "host_permissions" not in keys  # nothing may be read before somebody has said where
    assert set(keys["permissions"]) == {"alarms", "notifications", "storage"}
    assert "unsafe" not in keys["content_security_policy"]["extension_pages"]
    for file in files_of(keys):
        assert (EXTENSION / file).is_file(), file
    pages = "".join(file.read_text("utf-8") for file in EXTENSION.glob("*.html"))
    assert not re.search(r"<script(?![^>]*src=)|\son\w+=|style=", pages)
    assert not re.search(r"innerHTML|eval\(|https?://\w", scripts())


def scripts() -> str:
    return "".join(file.read_text("utf-8") for file in sorted(EXTENSION.glob("*.js")))


def test_every_text_is_there_in_every_language() -> None:
    pages = "".join(file.read_text("utf-8") for file in EXTENSION.glob("*.html"))
    raw = (EXTENSION / "manifest.json").read_text("utf-8")
    used = {
        *re.findall(r'data-text="(\w+)"', pages),
        *re.findall(r"__MSG_(\w+)__", raw),
        *re.findall(r'\btext\("(\w+)"', scripts()),
        *re.findall(r'Error\("(\w+)"\)', scripts()),
        *re.findall(r'"(address_\w+)"', scripts()),
        *("open", "closed", "away", "unknown"),
    }
    english = messages("en")
    assert used == english.keys()
    for language in LANGUAGES:
        texts = messages(language)
        assert texts.keys() == english.keys()
        for key, words in texts.items():
            assert words
            assert sorted(re.findall(r"\$\d", words)) == sorted(re.findall(r"\$\d", english[key])), (language, key)
        assert len(texts["description"]) <= 132  # Chromium's shop takes no more
        assert len(texts["name"]) <= 45  # Firefox'


# --- in a browser


class Extension:
    """The extension in a Chromium of its own, whose permission for this machine is given."""

    def __init__(self, playwright: Any, chromium: str, folder: Path) -> None:
        source = folder / "extension"
        shutil.copytree(EXTENSION, source)
        keys = manifest() | {"host_permissions": ["http://127.0.0.1/*"]}  # nobody is there to say yes to the browser
        (source / "manifest.json").write_text(json.dumps(keys), "utf-8")
        self.start: Callable[[], Any] = lambda: playwright.chromium.launch_persistent_context(
            folder / "profile",
            executable_path=chromium,
            headless=False,
            locale="en-GB",
            args=[
                "--headless=new",
                "--no-sandbox",
                "--disable-gpu",
                "--disable-background-networking",
                f"--disable-extensions-except={source}",
                f"--load-extension={source}",
            ],
        )
        self.begin()
        # Installed, it asks for the address: in the first tab, which a test would else want at the same moment.
        asked = "chrome.tabs.query({}).then((tabs) => tabs.some((tab) => (tab.url ?? '').endsWith('options.html')))"
        wait_until(lambda: self.ask(asked), "the settings")

    def begin(self) -> None:
        self.context = self.start()
        workers = self.context.service_workers
        self.worker = workers[0] if workers else self.context.wait_for_event("serviceworker", timeout=WAIT * 1000)
        self.base = self.worker.url.rpartition("/")[0]

    def ask(self, expression: str) -> Any:
        return self.worker.evaluate(expression)

    def badge(self) -> str:
        return str(self.ask("chrome.action.getBadgeText({})"))

    def look(self) -> None:
        """What the alarm does every minute."""
        self.ask("chrome.alarms.create('look', { when: Date.now() })")

    def title(self) -> str:
        return str(self.ask("chrome.action.getTitle({})"))

    def notified(self) -> list[str]:
        return sorted(self.ask("chrome.notifications.getAll()"))

    def open(self, page: str, **options: Any) -> Any:
        opened = self.context.new_page()
        opened.set_default_timeout(WAIT * 1000)
        opened.goto(f"{self.base}/{page}")
        return opened

    def set_up(self, address: str) -> Any:
        page = self.open("options.html")
        page.get_by_label("Address of the space’s page").fill(address)
        page.get_by_role("button", name="Save").click()
        return page

    def follow(self, server: Server) -> None:
        page = self.set_up(server.url)
        expect(page.get_by_text("Saved.")).to_be_visible()
        page.close()

    def says(self, words: str) -> None:
        wait_until(lambda: words in self.title(), f"a title with {words!r}")


@pytest.fixture(scope="module")
def playwright() -> Iterator[Any]:
    with sync_api.sync_playwright() as running:
        yield running


@pytest.fixture
def extension(playwright: Any, chromium: str, tmp_path: Path) -> Iterator[Extension]:
    running = Extension(playwright, chromium, tmp_path)
    yield running
    running.context.close()


def violations(page: Any) -> Any:
    """What of WCAG a page does not keep, by axe-core."""
    page.evaluate(AXE.read_text("utf-8") + ";0")
    return page.evaluate("axe.run().then((result) => result.violations)")


@pytest.fixture
def elsewhere() -> Iterator[str]:
    """The address of a server of another kind."""
    with HTTPServer(("127.0.0.1", 0), BaseHTTPRequestHandler) as other:  # 501 to everything, as a page
        thread = threading.Thread(target=other.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{other.server_port}"
        other.shutdown()
        thread.join()


@pytest.mark.browser
def test_from_the_button_to_the_toolbar(make_server: Make, extension: Extension) -> None:
    server = make_server()
    extension.says("Set the address of the server first")
    server.say("status 1")
    extension.follow(server)
    host = server.url.removeprefix("http://")
    wait_until(lambda: extension.title().startswith(f"{host}: Open since "), "the title")
    assert extension.notified() == []  # what held before is no news
    server.say("status 0")
    extension.says("Closed since")
    assert extension.notified() == []  # not asked for
    server.say("status 1", "enter 1", "enter 2")
    extension.says("Open since")
    wait_until(lambda: extension.badge() == "2", "the badge")
    assert extension.notified() == ["status"]
    # Once per opening: neither what comes after it nor a server that was away is another.
    extension.ask("chrome.notifications.clear('status')")
    server.stop()
    extension.says("The server cannot be reached")
    assert extension.badge() == "?"
    server.start()
    extension.look()
    extension.says("Open since")
    server.say("temperature 0 21.5", "message Q2lhbw==")
    wait_until(lambda: extension.ask("chrome.storage.session.get('state')")["state"].get("message"), "the message")
    assert extension.notified() == []
    # After a start of the browser, too, what holds is no news.
    extension.context.close()
    extension.begin()
    extension.says("Open since")
    assert extension.notified() == []
    server.say("status 0", "status 1")
    wait_until(lambda: extension.notified() == ["status"], "a notification")


@pytest.mark.browser
def test_the_popup_and_the_settings(server: Server, extension: Extension, elsewhere: str) -> None:
    page = extension.set_up("")
    for typed, said in (
        ("", "Type the address of the space’s page."),
        ("x" * 300, "This address is too long."),
        ("http://a b", "This is no address, like https://bits.example.org."),
        ("ftp://127.0.0.1", "The address must begin with https:// or http://."),
        ("http://anna:secret@127.0.0.1", "The address must not hold a name and password."),
        ("http://127.0.0.1:1", "There is no answer from this address."),
        (elsewhere, "What answers there is not BITS."),
    ):
        page.get_by_label("Address of the space’s page").fill(typed)
        page.get_by_role("button", name="Save").click()
        expect(page.get_by_role("alert")).to_have_text(said)
        expect(page.get_by_label("Address of the space’s page")).to_have_value(typed)
        expect(page.get_by_label("Address of the space’s page")).to_be_focused()
    assert not extension.ask("chrome.storage.local.get('origin')")
    popup = extension.open("popup.html")
    expect(popup.get_by_role("heading")).to_have_text("Unknown")
    expect(popup.get_by_text("Set the address of the server first")).to_be_visible()
    page.get_by_label("Address of the space’s page").fill(f" {server.url}/log?offset=20 ")
    page.get_by_label("When the space closes").check()
    page.get_by_role("button", name="Save").click()
    expect(page.get_by_text("Saved.")).to_be_visible()
    expect(page.get_by_label("Address of the space’s page")).to_have_value(server.url)
    server.say("status 1", "temperature 0 21.5", "temperature 1 -3.25", "enter 1", "message PGI+Q2lhbzwvYj4g4piV")
    expect(popup.get_by_role("heading")).to_have_text("Open")
    expect(popup.locator("#mark")).to_have_text("●")
    expect(popup.locator("#since")).to_contain_text("since ")
    expect(popup.locator("#temperature")).to_contain_text("21.5 °C")
    expect(popup.locator("#temperature")).to_contain_text("-3.3 °C")
    expect(popup.locator("#people")).to_have_text("One person is here")
    expect(popup.locator("#message")).to_contain_text("<b>Ciao</b> ☕")
    assert popup.get_by_role("link", name="Open the page").get_attribute("href") == server.url
    for shown in (page, popup):
        for scheme in ("light", "dark"):
            shown.emulate_media(color_scheme=scheme)
            assert [(each["id"], each["nodes"]) for each in violations(shown)] == []
    extension.ask("chrome.notifications.clear('status')")
    server.say("status 0")
    expect(popup.get_by_role("heading")).to_have_text("Closed")
    wait_until(lambda: extension.notified() == ["status"], "a notification")


@pytest.mark.browser
def test_a_worker_that_was_put_to_sleep_goes_on(server: Server, extension: Extension) -> None:
    server.say("status 0")
    extension.follow(server)
    extension.says("Closed since")
    assert extension.ask("chrome.alarms.get('look')")["periodInMinutes"] == 1
    page = extension.open("options.html")
    devtools = extension.context.browser.new_browser_cdp_session()

    def workers() -> list[str]:
        targets = devtools.send("Target.getTargets")["targetInfos"]
        return [target["targetId"] for target in targets if target["type"] == "service_worker"]

    (worker,) = workers()
    devtools.send("Target.closeTarget", {"targetId": worker})
    wait_until(lambda: not workers(), "the end of the worker")
    server.say("status 1")
    page.evaluate("chrome.alarms.create('look', { when: Date.now() })")
    wait_until(lambda: "Open since" in page.evaluate("chrome.action.getTitle({})"), "the title")
    assert page.evaluate("chrome.notifications.getAll()") == {"status": True}
    # What follows from frames is what the server's own fold leads to, but for the history.
    for vector in VECTORS:
        wanted = {key: value for key, value in vector["after"].items() if key != "tempinthist"}
        folded = page.evaluate(
            """async ([first, frames]) => {
                const { fold } = await import("/space.js");
                return frames.reduce(fold, fold(null, first));
            }""",
            [vector["snapshot"], vector["frames"]],
        )
        assert folded == wanted, vector["name"]
    # Shapes differ, not just colours: the icons are not alike where only ink counts.
    inks = page.evaluate(
        """async () => {
            const { draw } = await import("/icon.js");
            const opaque = ({ data }) => data.filter((_, at) => at % 4 === 3).map((alpha) => Number(alpha > 128));
            return ["open", "closed", "away"].map((value) => opaque(draw(value, 32)).join(""));
        }"""
    )
    assert len(set(inks)) == 3


def test_it_is_packed_alike_every_time(tmp_path: Path) -> None:
    first, second = (
        subprocess.run(
            [sys.executable, ROOT / "scripts" / "webextension.py", tmp_path / name],
            capture_output=True,
            text=True,
            check=True,
        ).stdout.strip()
        for name in ("one", "two")
    )
    assert Path(first).name == f"bits-webextension-{manifest()['version']}.zip"
    assert Path(first).read_bytes() == Path(second).read_bytes()
    with zipfile.ZipFile(first) as packed:
        assert packed.testzip() is None
        names = packed.namelist()
    assert "jsconfig.json" not in names
    assert "manifest.json" in names  # at the top, where browsers look
    assert set(files_of(manifest())) <= set(names)
    assert {f"_locales/{language}/messages.json" for language in LANGUAGES} <= set(names)
