"""The page as an app: what a phone needs to install it, and what it shows without a connection."""

from __future__ import annotations

import json
from collections.abc import Callable
from io import BytesIO

import pytest
from PIL import Image

from tests.conftest import Server


def test_the_manifest_names_the_space_in_the_readers_language(make_server: Callable[..., Server]) -> None:
    server = make_server(space_name="Officina delle Cose")
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


@pytest.mark.parametrize("url", ["", "https://space.example"])
def test_search_engines_are_told_what_is_public(make_server: Callable[..., Server], url: str) -> None:
    server = make_server(public_url=url)
    lines = server.get("/robots.txt")[2].decode().splitlines()
    assert lines[0] == "User-agent: *"
    assert "Disallow: /admin" in lines
    assert "Disallow: /" not in lines
    assert [line for line in lines if line.startswith("Sitemap")] == ([f"Sitemap: {url}/sitemap.xml"] if url else [])
    status, _, body = server.get("/sitemap.xml")
    assert status == (200 if url else 404)
    assert (b"<loc>https://space.example/log</loc>" in body) == bool(url)


def test_no_other_page_may_be_framed(server: Server) -> None:
    for path in ("/", "/log", "/login", "/nowhere"):
        _, headers, _ = server.get(path, Accept="text/html")
        assert "frame-ancestors 'self'" in headers["content-security-policy"], path
