"""Markdown as clean HTML."""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import nh3
from markdown_it import MarkdownIt
from markdown_it.rules_inline import StateInline
from markdown_it.token import Token
from markupsafe import Markup

from bits.wiki import PAGE_BYTES, TITLE_LENGTH, WikiError, address_of, slug_of

# All that a page may consist of, whatever was written: what markdown makes, and harmless words of HTML.
TAGS = (
    "abbr b blockquote br caption cite code dd del details dfn dl dt em figcaption figure h1 h2 h3 h4 h5 h6 hr i ins"
    " kbd li mark p pre q s samp small strong sub summary sup table tbody tfoot thead tr u ul var"
)
ATTRIBUTES: dict[str, set[str]] = {
    **{tag: set[str]() for tag in TAGS.split()},
    "a": {"href", "title"},
    "img": {"src", "alt", "title", "width", "height"},
    "ol": {"start"},
    "td": {"align", "colspan", "rowspan"},
    "th": {"align", "colspan", "rowspan", "scope"},
}
SCHEMES = {"http", "https", "mailto", "tel", "geo", "irc", "ircs", "xmpp"}
# A long address can be named once and linked to by three letters, ten thousand times: so much of that is shown.
ADDRESSES = 16 * PAGE_BYTES
MISSING = "missing"  # the class of a link to a page that nobody has written yet

LINK = re.compile(r"\[\[([^\[\]|\n]{1,200})(?:\|([^\[\]|\n]{1,200}))?\]\]")


@dataclass(frozen=True, slots=True)
class Rendered:
    """A page as it is shown.

    Args:
        title: the text of its first heading; empty where there is none.
        has_h1: whether that heading is one of the first level.
    """

    title: str
    has_h1: bool
    html: Markup


def _link(state: StateInline, silent: bool) -> bool:
    """Read `[[Title of a page]]` or `[[address|words]]`."""
    if not state.src.startswith("[[", state.pos):
        return False
    found = LINK.match(state.src, state.pos)
    slug = found and slug_of(found[1])
    if not found or not slug or state.linkLevel:
        return False
    if not silent:
        token = state.push("link_open", "a", 1)
        token.attrs = {"href": address_of(slug)}
        if slug not in state.env["pages"]:
            token.attrs["class"] = MISSING
        state.push("text", "", 0).content = (found[2] or found[1]).strip()
        state.push("link_close", "a", -1)
    state.pos = found.end()
    return True


def _parser(*, escape: bool) -> MarkdownIt:
    # CommonMark bounds how deeply things nest, and this parser takes time in proportion to the text, whatever it is.
    parser = MarkdownIt("commonmark", {"html": not escape}).enable(["table", "strikethrough"])
    parser.inline.ruler.before("link", "wiki_link", _link)
    return parser


_parsers: dict[bool, MarkdownIt] = {}


def _title(tokens: list[Token]) -> tuple[str, bool]:
    for token, inline in pairwise(tokens):
        if token.type == "heading_open":
            words = "".join(child.content or " " for child in inline.children or () if child.type != "html_inline")
            return " ".join(words.split())[:TITLE_LENGTH], token.tag == "h1"
    return "", False


def render(source: str, *, escape: bool, pages: Collection[str] = ()) -> Rendered:
    """Render markdown.

    Args:
        source: markdown, from members.
        escape: show raw HTML in the source as text; else keep what is harmless of it.
        pages: the slugs of all pages; `[[links]]` to others are marked as missing.
    Returns:
        HTML that is safe to put into a page, whatever the source.
    Raises:
        WikiError: many-links.
    """
    parser = _parsers.get(escape) or _parsers.setdefault(escape, _parser(escape=escape))
    env: dict[str, Any] = {"pages": pages}
    tokens = parser.parse(source, env)
    links = (child for token in tokens for child in token.children or ())
    if sum(len(str(value)) for child in links for value in child.attrs.values()) > ADDRESSES:
        raise WikiError("many-links")
    for token in tokens:
        if token.type in ("td_open", "th_open") and "style" in token.attrs:
            token.attrs = {"align": str(token.attrs["style"]).rpartition(":")[2]}  # the policy forbids styles
    html = parser.renderer.render(tokens, parser.options, env)
    # Cleaned in either case: it is this line, not the parser, that decides what may be in a page.
    clean = nh3.clean(
        html,
        tags=set(ATTRIBUTES),
        attributes=ATTRIBUTES,
        allowed_classes={"a": {MISSING}},
        url_schemes=SCHEMES,
        link_rel="noopener noreferrer",
    )
    return Rendered(*_title(tokens), Markup(clean))  # noqa: S704


def title_of(source: str, slug: str) -> str:
    """Return what a page is called: its first heading, else its address as words."""
    return render(source, escape=True).title or slug.replace("-", " ").capitalize()
