"""The wiki as members use it, in a real Chromium."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from io import BytesIO
from typing import Any

import pytest
from PIL import Image

from tests.conftest import Server
from tests.test_admin import PASSWORD, SECRET
from tests.test_browser import browser, expect, open_page, shoot
from tests.test_wiki import ATTACKS

__all__ = ["browser", "open_page"]

pytestmark = pytest.mark.browser
Open = Callable[..., Any]


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    server = Server(
        tmp_path_factory.mktemp("wiki"), cookie_secret=SECRET, space_name="Hackerspace", time_zone="Europe/Rome"
    ).start()
    for name, rights in (("anna", []), ("bruno", []), ("carla", ["--admin"])):
        server.run("user", "add", name, *rights, "--password-stdin", input=PASSWORD + "\n")
    yield server
    server.stop()
    assert "Traceback" not in server.errors, server.errors


def sign_in(site: Server, open_page: Open, name: str, path: str = "/admin", **options: Any) -> Any:
    page = open_page(site.url + "/login", **options)
    page.get_by_label("Name").fill(name)
    page.get_by_label("Password").fill(PASSWORD)
    page.get_by_role("button", name="Sign in").click()
    page.goto(site.url + path)
    return page


PAGE = """# The laser cutter

It *cuts* and **engraves** wood, acrylic glass and cardboard. See [[Info]] and [[House rules]].

## Before you begin

1. Read the [manual](https://example.org/manual).
2. Switch on the `extractor fan`.

| material | speed, mm/s | power |
| --- | ---: | :-: |
| plywood, 3 mm | 20 | 60 % |
| acrylic glass, a long name so that the table is wide | 8 | 70 % |

```python
for layer in drawing.layers_that_have_a_long_name_to_be_wide():
    laser.cut(layer, speed=20, power=0.6)  # never leave it alone
```

> Never leave it alone.
"""


def test_a_page_from_the_first_word_to_the_picture(site: Server, open_page: Open) -> None:
    page = sign_in(site, open_page, "anna", "/wiki", quiet=False)  # a refusal is a 400, which Chromium notes
    page.get_by_label("Title").fill("The laser cutter")
    page.get_by_role("button", name="Write").click()
    text = page.get_by_label("Text, in Markdown")
    preview = page.locator("#preview")
    expect(preview.get_by_role("heading", name="The laser cutter")).to_be_visible()
    text.fill(PAGE)  # shown beside, without a click
    expect(preview.get_by_role("cell", name="plywood, 3 mm")).to_be_visible()
    expect(preview.get_by_role("link", name="House rules")).to_have_class("missing")
    picture = BytesIO()
    Image.linear_gradient("L").resize((640, 360)).save(picture, "PNG")
    text.evaluate("area => area.setSelectionRange(area.value.length, area.value.length)")
    page.get_by_label("Add a picture").set_input_files(
        {"name": "The lid.png", "mimeType": "image/png", "buffer": picture.getvalue()}
    )
    expect(text).to_have_value(re.compile(r"!\[The lid\]\(/wiki/files/[0-9a-f]{64}\.png\)"))
    expect(preview.get_by_role("img", name="The lid")).to_be_visible()
    page.get_by_label("Add a picture").set_input_files(
        {"name": "no.png", "mimeType": "image/png", "buffer": b"<svg onload=alert(1)>"}
    )
    expect(page.locator("#upload [role=status]")).to_have_text(
        "This is no PNG, JPEG, GIF or WebP picture that can be read."
    )
    page.get_by_label("What have you changed?").fill("all that I know")
    for width in (1440, 768, 360, 320):
        page.set_viewport_size({"width": width, "height": 900})
        shoot(page, f"wiki-edit-{width}")
        assert page.evaluate("document.documentElement.scrollWidth") == width
    page.get_by_role("button", name="Save").click()
    expect(page.get_by_role("status")).to_have_text("The page is saved.")
    reader = open_page(site.url + "/wiki/the-laser-cutter", quiet=False)
    assert reader.get_by_role("img", name="The lid").evaluate("image => image.naturalWidth") == 640
    expect(reader.get_by_role("link", name="Edit")).to_have_count(0)
    reader.get_by_role("link", name="House rules").click()
    expect(reader.get_by_role("link", name="Write it")).to_be_visible()
    reader.get_by_role("link", name="Wiki").click()
    reader.get_by_label("Look for").fill("engraves acrylic")
    reader.keyboard.press("Enter")
    expect(reader.locator(".found mark")).to_have_text(["engraves", "acrylic"])
    reader.locator(".found").get_by_role("link", name="The laser cutter").click()
    expect(reader.get_by_role("heading", name="The laser cutter")).to_be_visible()
    for width, scheme in ((1440, "light"), (768, "dark"), (360, "dark"), (320, "light")):
        reader.emulate_media(color_scheme=scheme)
        reader.set_viewport_size({"width": width, "height": 900})
        for path, name in (("/the-laser-cutter", "page"), ("/house-rules", "missing"), ("?q=laser", "search")):
            reader.goto(f"{site.url}/wiki{path}")
            shoot(reader, f"wiki-{name}-{width}")
            assert reader.evaluate("document.documentElement.scrollWidth") == width, (path, width)


def test_who_leaves_with_an_unsaved_text_is_asked(site: Server, open_page: Open) -> None:
    page = sign_in(site, open_page, "anna", "/wiki/unsaved/edit")
    asked = []

    def stay(dialog: Any) -> None:
        asked.append(dialog.type)
        dialog.dismiss()

    page.on("dialog", stay)
    page.get_by_label("Text, in Markdown").press_sequentially("half a thought")
    page.evaluate("location.href = '/wiki'")
    page.wait_for_function("true")
    expect(page.get_by_label("Text, in Markdown")).to_have_value(re.compile("half a thought"))
    page.get_by_role("link", name="Cancel").click(no_wait_after=True)
    assert "beforeunload" in asked


@pytest.mark.parametrize("script", [True, False])
def test_a_conflict_loses_nothing(site: Server, open_page: Open, script: bool) -> None:
    address = f"/wiki/rules-{script}".lower()
    anna = sign_in(site, open_page, "anna", address + "/edit", java_script_enabled=script, quiet=False)
    anna.get_by_label("Text, in Markdown").fill("# Rules\n\n1. Be kind.\n2. Tidy up.")
    if not script:
        anna.get_by_role("button", name="Preview").click()
        expect(anna.locator("#preview").get_by_role("heading", name="Rules")).to_be_visible()
    anna.get_by_role("button", name="Save").click()
    anna.goto(site.url + address + "/edit")
    bruno = sign_in(site, open_page, "bruno", address + "/edit", java_script_enabled=script)
    bruno.get_by_label("Text, in Markdown").fill("# Rules\n\n1. Be kind.\n2. Tidy up, and take out the rubbish.")
    bruno.get_by_role("button", name="Save").click()
    anna.get_by_label("Text, in Markdown").fill("# Rules\n\n1. Be kind and patient.\n2. Tidy up.")
    anna.get_by_role("button", name="Save").click()
    expect(anna.get_by_role("alert")).to_contain_text("Somebody else has changed this page meanwhile.")
    expect(anna.locator("del")).to_contain_text(["1. Be kind.", "2. Tidy up, and take out the rubbish."])
    expect(anna.locator("ins")).to_contain_text(["1. Be kind and patient."])
    expect(anna.get_by_label("Text, in Markdown")).to_have_value(re.compile("kind and patient"))
    for width, scheme in ((1440, "light"), (360, "dark")):
        anna.emulate_media(color_scheme=scheme)
        anna.set_viewport_size({"width": width, "height": 900})
        shoot(anna, f"wiki-conflict-{width}")
        assert not script or anna.evaluate("document.documentElement.scrollWidth") == width
    anna.get_by_label("Text, in Markdown").fill("# Rules\n\n1. Be kind and patient.\n2. Take out the rubbish.")
    anna.get_by_role("button", name="Save").click()
    expect(anna.get_by_role("status")).to_have_text("The page is saved.")
    # And back to what it was.
    anna.get_by_role("link", name="Earlier versions").click()
    expect(anna.get_by_role("cell", name="bruno")).to_be_visible()
    for width, scheme in ((1440, "light"), (360, "dark")):
        anna.emulate_media(color_scheme=scheme)
        anna.set_viewport_size({"width": width, "height": 900})
        shoot(anna, f"wiki-history-{width}")
        assert not script or anna.evaluate("document.documentElement.scrollWidth") == width
    anna.get_by_role("button", name="Compare").click()
    expect(anna.locator("ins")).to_contain_text(["1. Be kind and patient."])
    anna.get_by_role("link", name="Earlier versions").click()
    anna.locator("tbody tr").last.get_by_role("link").click()
    shoot(anna, "wiki-revision")
    anna.get_by_role("button", name="Restore it").click()
    expect(anna.get_by_role("status")).to_have_text("The page is what it was.")
    expect(anna.get_by_role("listitem").filter(has_text="Tidy up.")).to_be_visible()


def test_an_admin_deletes_and_the_pictures_are_shown(site: Server, open_page: Open) -> None:
    carla = sign_in(site, open_page, "carla", "/wiki/short-lived/edit", quiet=False)
    carla.get_by_label("Text, in Markdown").fill("# Short-lived")
    carla.get_by_role("button", name="Save").click()
    carla.get_by_role("link", name="Earlier versions").click()
    carla.get_by_role("button", name="Delete the page").click()
    expect(carla.get_by_role("status")).to_contain_text("The page is deleted")
    carla.goto(site.url + "/wiki/short-lived")
    expect(carla.get_by_role("heading", name="There is no such page")).to_be_visible()
    carla.goto(site.url + "/wiki/files")
    picture = BytesIO()
    Image.new("RGB", (200, 100), "teal").save(picture, "JPEG")
    carla.locator("#file").set_input_files({"name": "a.jpg", "mimeType": "image/jpeg", "buffer": picture.getvalue()})
    carla.get_by_role("button", name="Add").click()
    expect(carla.get_by_role("status")).to_contain_text("The picture is stored")
    for width in (1440, 360):
        carla.set_viewport_size({"width": width, "height": 900})
        shoot(carla, f"wiki-files-{width}")
        assert carla.evaluate("document.documentElement.scrollWidth") == width


def test_nothing_runs_in_a_page_of_attacks(site: Server, open_page: Open) -> None:
    page = sign_in(site, open_page, "anna", "/wiki/attacks/edit", quiet=False)  # pictures that are nowhere
    ran: list[str] = []

    def note(dialog: Any) -> None:
        ran.append(dialog.message)
        dialog.dismiss()

    page.on("dialog", note)
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    attacks = [attack for attack in ATTACKS if not re.search(r"[\x00-\x08\x0b-\x1f]", attack)]
    source = "# Attacks\n\n" + "\n\n".join(f"{attack}\n\n* * *" for attack in attacks)
    page.get_by_label("Text, in Markdown").fill(source)  # shown by the script as well
    expect(page.locator("#preview hr").nth(20)).to_be_attached()
    page.get_by_role("button", name="Save").click()
    expect(page.get_by_role("status")).to_have_text("The page is saved.")
    for link in page.locator("article a").all():
        scheme = link.evaluate("a => a.protocol")  # ":" of an address that is none
        assert scheme in ("http:", "https:", ":"), link.get_attribute("href")
    names = page.evaluate(
        "[...document.querySelectorAll('article *')].flatMap(e => e.getAttributeNames()).filter(n => /^on/.test(n))"
    )
    assert names == []
    assert page.locator("article :is(script, style, svg, math, iframe, object, embed, form, input)").count() == 0
    assert ran == []
    assert not [url for url in asked if "evil.example" in url]
