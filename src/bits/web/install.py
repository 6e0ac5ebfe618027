"""What makes the page an app, and what other sites embed: docs/widgets.md."""

from __future__ import annotations

import asyncio
import json
from functools import lru_cache
from hashlib import blake2b
from io import BytesIO

from PIL import Image, ImageDraw
from sanic import Blueprint, HTTPResponse, NotFound, Request
from sanic.response import text

from bits.web import context, query
from bits.web.body import Body
from bits.web.framing import CORS
from bits.web.palette import DEFAULT
from bits.web.reader import language_of
from bits.web.render import LANGUAGES
from bits.web.route import get
from bits.web.words import N_
from bits.wiki import address_of

bp = Blueprint("install")

DAY = "public, max-age=86400"
SOON = "public, max-age=300"  # at an address that stays while its content changes: asked for again after minutes
EMBEDDED = {**CORS, "Cross-Origin-Resource-Policy": "cross-origin"}
# The one page that any site may show in a frame: there is a link in it, and nothing that a click could do.
FRAME_POLICY = "default-src 'self'; object-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors *"

NOT_KEPT = ("widget-", "frame-", "worker-", "log-", "edit-")  # assets that the homepage does without

PAGE_LIGHT, PAGE_DARK = "#f6f6f3", "#131517"

# Name: pixels, and the share of the width that the mark takes. Phones cut what is maskable to a circle of 80 %.
ICONS = {
    "icon-192.png": (192, 0.8),
    "icon-512.png": (512, 0.8),
    "icon-maskable-192.png": (192, 0.56),
    "icon-maskable-512.png": (512, 0.56),
    "apple-touch-icon.png": (180, 0.66),
}

# What is not for search engines: members' pages, machines' addresses, and history at any depth but the first.
UNINDEXED = """
    /admin /login /logout /account /users /devices /people /message /announcements /tokens
    /api/ /data /events /ws /status /temperatures /metrics /healthz /readyz
    /outlook /widget /offline /log? /log. /*?palette=
    /wiki/new /wiki/*/edit /wiki/*/history /wiki/*/diff /wiki/*/revision
"""
INDEXED = ("/", "/log", "/wiki", "/info")
MAPPED = 1000  # pages of the wiki in the site map


@lru_cache
def draw_icon(size: int, share: float, *, round_corners: bool) -> Body:
    """Draw the app's icon: the favicon's broken ring, and a full dot within: somebody is in."""
    scale = 2
    side = size * scale
    icon = Image.new("RGBA", (side, side), (0, 0, 0, 0) if round_corners else PAGE_DARK)
    pen = ImageDraw.Draw(icon)
    if round_corners:
        pen.rounded_rectangle((0, 0, side - 1, side - 1), side * 0.2, fill=PAGE_DARK)
    middle, radius = side / 2, side * share / 2
    box = (middle - radius, middle - radius, middle + radius, middle + radius)
    for start in range(0, 360, 60):  # dashes of 6 to gaps of 5, as the favicon has them
        pen.arc(box, start - 90 - 16, start - 90 + 17, fill="#eceded", width=round(radius * 0.28))
    dot = radius * 0.42
    pen.ellipse((middle - dot, middle - dot, middle + dot, middle + dot), fill="#58c79f")
    file = BytesIO()
    icon.resize((size, size), Image.Resampling.LANCZOS).save(file, "PNG", optimize=True)
    return Body(file.getvalue(), "image/png", vary="Accept-Encoding")


async def icon(request: Request) -> HTTPResponse:
    """The app's icons; made when first asked for."""
    name = request.path[1:]
    size, share = ICONS[name]
    body = await asyncio.to_thread(draw_icon, size, share, round_corners=name.startswith("icon-") and share == 0.8)
    return body.answer(request, cache=DAY)


for name in ICONS:
    bp.add_route(icon, f"/{name}", methods=("GET", "HEAD"), name=name.replace("-", "_").removesuffix(".png"))


@get(bp, "/widget.js")
async def script(request: Request) -> HTTPResponse:
    """The custom element for other sites."""
    assets = context.of(request).assets
    answer = assets.bodies[assets.names["widget.js"]].answer(request, cache=SOON)
    answer.headers.update(EMBEDDED)
    return answer


@get(bp, "/widget")
async def frame(request: Request) -> HTTPResponse:
    """The status for frames of other sites: without scripts too. Parameter: lang."""
    ctx = context.of(request)
    language = query.choice(request, "lang", language_of(request), LANGUAGES)
    answer = ctx.home.body(ctx, language, DEFAULT, "widget.html").answer(request)
    answer.headers.update(EMBEDDED)
    answer.headers["Content-Security-Policy"] = FRAME_POLICY
    return answer


@get(bp, "/manifest.webmanifest")
async def manifest(request: Request) -> HTTPResponse:
    """What a phone needs to install the page, in the reader's language."""
    ctx = context.of(request)
    language = language_of(request)
    _ = ctx.renderer.gettext(language)
    name = ctx.config.space_name
    icons = [
        {
            "src": f"/{file}",
            "sizes": f"{size}x{size}",
            "type": "image/png",
            "purpose": "maskable" if "maskable" in file else "any",
        }
        for file, (size, _share) in ICONS.items()
        if file.startswith("icon-")
    ]
    described = {
        "id": "/",
        "name": name,
        "short_name": name if len(name) <= 12 else name.strip().partition(" ")[0][:12],
        "description": _("Is %(space)s open? Live, with temperature and messages.") % {"space": name},
        "lang": language,
        "dir": "ltr",
        "start_url": "/",
        "scope": "/",
        "display": "standalone",
        "theme_color": PAGE_LIGHT,
        "background_color": PAGE_LIGHT,
        "icons": icons,
        "shortcuts": [
            {"name": _("History"), "url": "/log"},
            {"name": _("Members"), "url": "/admin"},
        ],
    }
    data = json.dumps(described, ensure_ascii=False, separators=(",", ":")).encode()
    return Body(data, "application/manifest+json").answer(request)


@get(bp, "/worker.js")
async def worker(request: Request) -> HTTPResponse:
    """The service worker, with the names of what the homepage needs; with none of them it takes its leave."""
    ctx = context.of(request)
    assets = ctx.assets
    needed = [f"/static/{name}" for name in sorted(assets.bodies) if not name.startswith(NOT_KEPT)]
    script = assets.bodies[assets.names["worker.js"]].data
    version = blake2b(script + "".join(needed).encode(), digest_size=8).hexdigest()
    told = json.dumps({"version": version, "assets": needed if ctx.config.web_offline else []})
    return Body(f"const BITS={told};\n".encode() + script, "text/javascript; charset=utf-8").answer(request)


@get(bp, "/offline")
async def offline(request: Request) -> HTTPResponse:
    """What the worker shows instead of a public page that it cannot get."""
    return context.of(request).renderer.page("offline.html", language_of(request), current="").answer(request)


@get(bp, "/robots.txt")
async def robots(request: Request) -> HTTPResponse:
    """Search engines are welcome to the public pages."""
    lines = ["User-agent: *", *(f"Disallow: {path}" for path in UNINDEXED.split())]
    if url := context.of(request).config.public_url:
        lines += ["", f"Sitemap: {url}/sitemap.xml"]
    return text("\n".join(lines) + "\n", headers={"Cache-Control": DAY})


@get(bp, "/sitemap.xml")
async def sitemap(request: Request) -> HTTPResponse:
    """The public pages; only where it is configured what their addresses begin with."""
    ctx = context.of(request)
    url = ctx.config.public_url
    if not url:
        raise NotFound(N_("There is no site map: %(name)s is not set.", name="public_url"))
    written = [address_of(slug) for slug, _title in await ctx.wiki.pages(offset=0, limit=MAPPED)]
    # Each once: the first page of the wiki is among what is always there.
    places = "".join(f"<url><loc>{url}{path}</loc></url>" for path in dict.fromkeys([*INDEXED, *written]))
    head = '<?xml version="1.0" encoding="UTF-8"?>'
    body = f'{head}<urlset xmlns="http://www.sitemaps.org/schemas/sitemap/0.9">{places}</urlset>'
    return Body(body.encode(), "application/xml", vary="Accept-Encoding").answer(request, cache=DAY)
