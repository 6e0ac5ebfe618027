"""What other sites show of ours: the badge, the custom element, the page for frames."""

from __future__ import annotations

import xml.etree.ElementTree as ElementTree
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bits.web.badge import DARK, LIGHT, draw, width
from tests.conftest import Server

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


def test_a_silent_board_is_unknown_on_the_badge(make_server: Callable[..., Server]) -> None:
    server = make_server(stale_after="900", space_name="Lab")
    assert badge(server)[:2] == ("Lab: Unknown (the board is silent)", ["Lab", "unknown"])


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
