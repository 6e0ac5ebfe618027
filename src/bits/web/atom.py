"""What was told, as an Atom feed (RFC 4287): words and times in, XML out."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from urllib.parse import urlsplit
from xml.etree.ElementTree import Element, SubElement, register_namespace, tostring

ATOM = "http://www.w3.org/2005/Atom"
XML = "http://www.w3.org/XML/1998/namespace"
register_namespace("", ATOM)

# What XML 1.0 (section 2.2) knows no way to write, and what no reader wants: control characters.
UNWRITABLE = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ud800-\udfff\ufffe\uffff]")

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Entry:
    """One thing that was told.

    Args:
        seq: of the event; the entry's identity, whatever becomes of the rest.
        kind: "status", "message" or "announcement".
        at: when it happened. updated: when its words last changed.
        path: of the page that shows it.
    """

    seq: int
    kind: str
    at: datetime
    updated: datetime
    title: str
    author: str
    text: str
    path: str


@dataclass(frozen=True, slots=True)
class Heading:
    """The feed itself. origin: scheme, host and port as readers know them; path: of the feed, with its query."""

    origin: str
    path: str
    language: str
    title: str
    author: str


def clean(text: str) -> str:
    """Return text as any machine-read format can hold it."""
    return UNWRITABLE.sub("�", text.replace("\r\n", "\n").replace("\r", "\n"))


def authority(origin: str) -> str:
    """Return a name for who gives out identifiers, by the address: letters, digits, dots and hyphens."""
    try:
        host = urlsplit(origin).hostname or ""
    except ValueError:  # no address at all: the request's Host may say anything
        host = ""
    return re.sub("[^a-z0-9.-]+", "-", host.encode("ascii", "replace").decode()).strip(".-") or "localhost"


def tag(origin: str, what: str) -> str:
    """Return a tag: URI (RFC 4151): it stays the same wherever and however the thing is shown."""
    return f"tag:{authority(origin)},2026:{what}"


def stamp(at: datetime) -> str:
    return at.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def write(heading: Heading, entries: Sequence[Entry]) -> bytes:
    """Write the feed, in UTF-8."""
    feed = Element(
        f"{{{ATOM}}}feed", {f"{{{XML}}}lang": heading.language, f"{{{XML}}}base": clean(heading.origin) + "/"}
    )
    _add(feed, "id", tag(heading.origin, "feed"))
    _add(feed, "title", heading.title)
    _add(feed, "updated", stamp(max((entry.updated for entry in entries), default=EPOCH)))
    _author(feed, heading.author)
    _link(feed, "self", heading.origin + heading.path, "application/atom+xml")
    _link(feed, "alternate", heading.origin + "/", "text/html")
    _add(feed, "generator", "BITS")
    for entry in entries:
        each = SubElement(feed, f"{{{ATOM}}}entry")
        _add(each, "id", tag(heading.origin, f"event/{entry.seq}"))
        _add(each, "title", entry.title)
        _add(each, "published", stamp(entry.at))
        _add(each, "updated", stamp(entry.updated))
        _author(each, entry.author)
        _link(each, "alternate", heading.origin + entry.path, "text/html")
        SubElement(each, f"{{{ATOM}}}category", term=entry.kind)
        _add(each, "content", entry.text, type="text")
    written: bytes = tostring(feed, encoding="utf-8", xml_declaration=True)
    return written


def _add(parent: Element, name: str, text: str, **attributes: str) -> None:
    SubElement(parent, f"{{{ATOM}}}{name}", attributes).text = clean(text)


def _author(parent: Element, name: str) -> None:
    _add(SubElement(parent, f"{{{ATOM}}}author"), "name", name)


def _link(parent: Element, rel: str, href: str, type_: str) -> None:
    SubElement(parent, f"{{{ATOM}}}link", rel=rel, href=clean(href), type=type_)
