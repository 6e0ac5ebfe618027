"""What a reader prefers: the language, and the colours."""

from __future__ import annotations

from sanic import HTTPResponse, Request

from bits.web.palette import DEFAULT, PALETTES
from bits.web.render import negotiate

COOKIE = "palette"
YEAR = 365 * 86400


def language_of(request: Request) -> str:
    return negotiate(request.headers.get("accept-language", ""))


def palette_of(request: Request) -> str:
    """Return the palette a reader wants: by the address, else as remembered."""
    wanted = request.args.get(COOKIE) or request.cookies.get(COOKIE) or DEFAULT
    return wanted if wanted in PALETTES else DEFAULT


def remember(answer: HTTPResponse, palette: str) -> None:
    answer.add_cookie(COOKIE, palette, path="/", max_age=YEAR, samesite="Lax", httponly=True, secure=False)
