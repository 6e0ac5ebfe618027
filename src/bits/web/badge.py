"""The status as a small picture, for README files and other people's pages: docs/widgets.md."""

from __future__ import annotations

import unicodedata
from functools import lru_cache
from html import escape

from sanic import BadRequest, Blueprint, HTTPResponse, Request

from bits.web import context, query
from bits.web.body import Body
from bits.web.framing import CORS
from bits.web.reader import language_of
from bits.web.render import LANGUAGES
from bits.web.route import get
from bits.web.words import N_

bp = Blueprint("badge")

STYLES = ("flat", "flat-square")
THEMES = ("light", "dark", "auto")
LONGEST_LABEL = 40  # characters
CACHE = "public, max-age=60"  # what copies it between us and readers may be a minute late
# A picture that is opened as a document runs nothing and loads nothing.
CONTENT_POLICY = "default-src 'none'; style-src 'unsafe-inline'"

HEIGHT, PADDING = 20, 7  # pixels
FONT_SIZE = 11
# Hundredths of the font's size that "DejaVu Sans" gives the characters from space to tilde. Browsers are told the
# length that comes out, and fit what they have of a font into it.
WIDTHS = (
    *(32, 40, 46, 84, 64, 95, 78, 27, 39, 39, 50, 84, 32, 36, 32, 34, 64, 64, 64, 64, 64, 64, 64, 64, 64, 64, 34, 34),
    *(84, 84, 84, 53, 100, 68, 69, 70, 77, 63, 58, 77, 75, 29, 29, 66, 56, 86, 75, 79, 60, 79, 69, 63, 61, 73, 68, 99),
    *(69, 61, 69, 39, 34, 39, 84, 50, 50, 61, 63, 55, 63, 62, 35, 63, 63, 28, 28, 58, 28, 97, 63, 61, 63, 63, 41, 52),
    *(39, 63, 59, 82, 59, 59, 52, 64, 34, 64, 84),
)

# Behind white and behind dark text these reach a contrast of 4.5; the label's background and ink, then the status's.
LIGHT = {"label": ("#4a4e54", "#fff"), "open": ("#0b6b4c", "#fff"), "closed": ("#a1322a", "#fff")}
LIGHT |= {"away": ("#8a5200", "#fff"), "unknown": ("#6a6e75", "#fff")}
DARK = {"label": ("#33373c", "#eceded"), "open": ("#58c79f", "#131517"), "closed": ("#f0857b", "#131517")}
DARK |= {"away": ("#f0b45a", "#131517"), "unknown": ("#a4aab1", "#131517")}


def width(text: str) -> float:
    """Return the pixels a text takes."""
    hundredths = 0
    for char in unicodedata.normalize("NFKD", text):
        if " " <= char <= "~":
            hundredths += WIDTHS[ord(char) - 32]
        elif unicodedata.east_asian_width(char) in "WF":
            hundredths += 100
        elif not unicodedata.combining(char):
            hundredths += 65
    return hundredths * FONT_SIZE / 100


@lru_cache(256)
def draw(label: str, word: str, value: str, title: str, style: str, theme: str) -> Body:
    """Draw a badge as SVG: once per state and way to show it, not once per reader."""
    first, second = (round(width(text) + 2 * PADDING) for text in (label, word))
    whole = first + second
    colours = DARK if theme == "dark" else LIGHT

    def fills(colours: dict[str, tuple[str, str]]) -> str:
        (back, ink), (field, word) = colours["label"], colours[value]
        return f".a{{fill:{back}}}.b{{fill:{ink}}}.c{{fill:{field}}}.d{{fill:{word}}}"

    rules = f"@media(prefers-color-scheme:dark){{{fills(DARK)}}}" if theme == "auto" else ""

    def write(left: int, room: int, text: str, name: str) -> str:
        length = room - 2 * PADDING
        return (
            f'<text class="{name}" x="{left + room / 2:g}" y="14" textLength="{length}" '
            f'lengthAdjust="spacingAndGlyphs">{escape(text)}</text>'
        )

    radius = 3 if style == "flat" else 0
    svg = (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{whole}" height="{HEIGHT}" role="img" '
        f'aria-label="{escape(title)}"><title>{escape(title)}</title><style>{fills(colours)}{rules}</style>'
        f'<clipPath id="r"><rect width="{whole}" height="{HEIGHT}" rx="{radius}"/></clipPath>'
        f'<g clip-path="url(#r)"><path class="a" d="M0 0h{first}v{HEIGHT}H0z"/>'
        f'<path class="c" d="M{first} 0h{second}v{HEIGHT}H{first}z"/></g>'
        f'<g text-anchor="middle" font-size="{FONT_SIZE}" font-family="Verdana,DejaVu Sans,sans-serif">'
        f"{write(0, first, label, 'b')}{write(first, second, word, 'd')}</g></svg>"
    )
    return Body(svg.encode(), "image/svg+xml", vary="Accept-Encoding, Accept-Language")


def label_of(request: Request, default: str) -> str:
    """Return the text on the left.

    Raises:
        BadRequest: it is too long, or holds what cannot be shown (nor be written in XML).
    """
    given = str(request.args.get("label", default)).strip() or default
    if len(given) > LONGEST_LABEL or not given.isprintable():
        expected = N_("%(name)s: expected at most %(most)s printable characters.", name="label", most=LONGEST_LABEL)
        raise BadRequest(expected)
    return given


@get(bp, "/badge.svg")
async def badge(request: Request) -> HTTPResponse:
    """The status as a badge. Parameters: style, theme, label, lang."""
    ctx = context.of(request)
    try:
        style = query.choice(request, "style", "flat", STYLES)
        theme = query.choice(request, "theme", "light", THEMES)
        language = query.choice(request, "lang", language_of(request), LANGUAGES)
        label = label_of(request, ctx.config.space_name[:LONGEST_LABEL])
    except BadRequest as error:
        name = next(name for name in ("style", "theme", "lang", "label") if str(error).startswith(name))
        ctx.counters[f'badge_refused_total{{reason="{name}"}}'] += 1
        raise
    _ = ctx.renderer.gettext(language)
    live = ctx.live
    value = (not live.fresh.unknown and live.state.value) or "unknown"
    word = {"open": _("Open"), "closed": _("Closed"), "away": _("Away"), "unknown": _("Unknown")}[value]
    title = f"{label}: {word}"
    if live.fresh.stale:
        title += " (" + _("the board is silent") + ")"
    answer = draw(label, word.lower(), value, title, style, theme).answer(request, cache=CACHE)
    answer.headers.update(CORS)
    answer.headers["Cross-Origin-Resource-Policy"] = "cross-origin"
    answer.headers["Content-Security-Policy"] = CONTENT_POLICY
    return answer
