"""Markdown pages as clean HTML."""

from __future__ import annotations

import html
import re
from dataclasses import dataclass
from pathlib import Path

import nh3
from markdown import Markdown
from markupsafe import Markup

from bits.config import Config

SHIPPED = Path(__file__).parent.parent / "pages"
EXTENSIONS = ("fenced_code", "tables", "sane_lists", "toc")


@dataclass(frozen=True, slots=True)
class Page:
    title: str
    html: Markup


def to_html(source: str, *, escape: bool) -> Markup:
    """Render markdown.

    Args:
        source: markdown, from members.
        escape: show raw HTML in the source as text; else keep what is harmless of it.
    Returns:
        HTML that is safe to put into a page, whatever the source.
    """
    markdown = Markdown(extensions=list(EXTENSIONS), output_format="html")
    if escape:
        # The documented way to switch raw HTML off: what is not parsed as HTML is escaped as text.
        markdown.preprocessors.deregister("html_block")
        markdown.inlinePatterns.deregister("html")
    # Cleaned in either case: a link may hold javascript:, and extensions may change.
    return Markup(nh3.clean(markdown.convert(source), link_rel="noopener noreferrer"))  # noqa: S704


def read_page(config: Config, slug: str) -> Page | None:
    """Return the page of a slug from the configured folder, else the one that comes with the program."""
    for folder in (config.pages_dir, SHIPPED):
        file = Path(folder) / f"{slug}.md" if folder else None
        if file and file.is_file():
            source = file.read_text("utf-8").replace("{{space}}", config.space_name)
            body = to_html(source, escape=config.markdown_escape)
            heading = re.search(r"<h1[^>]*>(.*?)</h1>", body, re.DOTALL)
            title = html.unescape(re.sub(r"<[^>]+>", "", heading[1])) if heading else slug
            return Page(title, body)
    return None
