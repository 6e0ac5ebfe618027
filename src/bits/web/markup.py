"""Markdown as clean HTML."""

from __future__ import annotations

import html
import re
from collections.abc import Collection
from dataclasses import dataclass
from xml.etree.ElementTree import Element

import nh3
from markdown import Markdown
from markdown.extensions import Extension
from markdown.extensions.tables import TableExtension
from markdown.inlinepatterns import InlineProcessor, SimpleTagInlineProcessor
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
# The parser looks for the end of each of these anew, so that its time grows with the square of their number: a page of
# brackets would take minutes. And a long address can be named once and linked to by three letters, time and again.
BRACKETS = 2000  # in a page; as many "<"
BRACKETS_TOGETHER = 400  # without an empty line between
UNDERLINES = 1000  # of headings, and rules
ADDRESSES = 16 * PAGE_BYTES  # characters of HTML
CELLS = 10_000  # in all tables
MISSING = "missing"  # the class of a link to a page that nobody has written yet

# After "[[", since the parser looks for this where such a pair begins.
LINK = r"\[\[([^\[\]|\n]{1,200})(?:\|([^\[\]|\n]{1,200}))?\]\]"
UNDERLINE = re.compile(r"^[=-]+ *$", re.MULTILINE)
HEADING = re.compile(r"<h([1-6])>(.*?)</h\1>", re.DOTALL)


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


class _WikiLink(InlineProcessor):
    """`[[Title of a page]]` or `[[address|words]]`."""

    def __init__(self, pages: Collection[str]) -> None:
        super().__init__(LINK)
        self._pages = pages

    def handleMatch(  # type: ignore[override]  # noqa: N802 - the parser's name for it
        self, found: re.Match[str], data: str
    ) -> tuple[Element | None, int | None, int | None]:
        slug = slug_of(html.unescape(found[1]))
        if not slug:
            return None, None, None
        link = Element("a", {"href": address_of(slug)})
        if slug not in self._pages:
            link.set("class", MISSING)
        link.text = (found[2] or found[1]).strip()
        return link, found.start(), found.end()


def _check(source: str) -> None:
    """Refuse what would take the parser long."""
    if source.count("<") > BRACKETS or len(UNDERLINE.findall(source)) > UNDERLINES:
        raise WikiError("too-tangled")
    brackets = cells = 0
    for block in re.split(r"\n[ \t]*\n", source):
        together = block.count("[")
        lines = block.split("\n")
        brackets += together
        cells += len(lines) * max(line.count("|") for line in lines)  # a table fills short rows up
        if together > BRACKETS_TOGETHER or brackets > BRACKETS or cells > CELLS:
            raise WikiError("too-tangled")


def render(source: str, *, escape: bool, pages: Collection[str] = ()) -> Rendered:
    """Render markdown.

    Args:
        source: markdown, from members.
        escape: show raw HTML in the source as text; else keep what is harmless of it.
        pages: the slugs of all pages; `[[links]]` to others are marked as missing.
    Returns:
        HTML that is safe to put into a page, whatever the source.
    Raises:
        WikiError: too-tangled.
    """
    _check(source)
    # With `align`, since the policy forbids styles.
    extensions: list[str | Extension] = ["fenced_code", "sane_lists", TableExtension(use_align_attribute=True)]
    parser = Markdown(extensions=extensions, output_format="html")
    if escape:
        # The documented way to switch raw HTML off: what is not parsed as HTML is escaped as text.
        parser.preprocessors.deregister("html_block")
        parser.inlinePatterns.deregister("html")
    parser.inlinePatterns.register(_WikiLink(pages), "wiki_link", 175)  # after code, before other links
    parser.inlinePatterns.register(SimpleTagInlineProcessor(r"()~~(.+?)~~", "s"), "struck_out", 50)
    try:
        made = parser.convert(source)
    except RecursionError:
        raise WikiError("too-tangled") from None
    if len(made) > len(source) * 4 + ADDRESSES:
        raise WikiError("too-tangled")
    # Cleaned in either case: it is this line, not the parser, that decides what may be in a page.
    clean = nh3.clean(
        made,
        tags=set(ATTRIBUTES),
        attributes=ATTRIBUTES,
        allowed_classes={"a": {MISSING}},
        url_schemes=SCHEMES,
        link_rel="noopener noreferrer",
    )
    clean = clean.replace("<table>", '<table tabindex="0">')  # a wide one scrolls, by the keyboard too
    heading = HEADING.search(clean)
    title = " ".join(html.unescape(re.sub(r"<[^>]+>", " ", heading[2])).split()) if heading else ""
    return Rendered(title[:TITLE_LENGTH], bool(heading and heading[1] == "1"), Markup(clean))  # noqa: S704


def title_of(rendered: Rendered, slug: str) -> str:
    """Return what a page is called: its first heading, else its address as words."""
    return rendered.title or slug.replace("-", " ").capitalize()
