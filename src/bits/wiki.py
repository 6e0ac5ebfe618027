"""The wiki in the database: pages, everything they have ever been, pictures, and the search."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import delete, func, insert, select, text, update
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from bits import schema
from bits.store import reading, writing

SLUG_LENGTH = 64
TITLE_LENGTH = 120
COMMENT_LENGTH = 200
PAGE_BYTES = 64 * 1024  # of UTF-8: some ten thousand words
FILE_BYTES = 2 * 1024 * 1024
FILES_BYTES = 200 * 1024 * 1024  # all pictures together: members cannot fill the disk
QUERY_LENGTH = 200
FOUND = 50  # pages that a search shows
SHIPPED = "BITS"  # the author of what no member has written

SLUG = re.compile(r"[a-z0-9]+(-[a-z0-9]+)*")
TAKEN = frozenset({"files", "new", "preview"})  # addresses under /wiki/ that are no pages
UNSHOWN = re.compile(r"[^\t\n\x20-\x7e\xa0-\ud7ff\ue000-\U0010ffff]")
# Around what was looked for, in a snippet: no page can hold these.
MARK, UNMARK = "\x02", "\x03"


class WikiError(Exception):
    """Something that cannot be done; the reason is a word that pages have a sentence for."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class Conflict(Exception):  # noqa: N818 - nobody has made a mistake
    """Somebody else has changed the page meanwhile; current is None where they have deleted it."""

    def __init__(self, current: Revision | None) -> None:
        super().__init__()
        self.current = current


@dataclass(frozen=True, slots=True)
class Head:
    """What is known of a page without its text.

    Args:
        version: rises with every change to any page.
    """

    slug: str
    revision: int
    title: str
    locked: bool
    at: datetime
    version: int


@dataclass(frozen=True, slots=True)
class Revision:
    """What a page was, once. In lists without its text."""

    id: int
    slug: str
    at: datetime
    author: str
    comment: str
    title: str
    deleted: bool
    text: str = ""


@dataclass(frozen=True, slots=True)
class Found:
    slug: str
    title: str
    snippet: str  # with MARK and UNMARK; plain text otherwise


@dataclass(frozen=True, slots=True)
class File:
    digest: str
    kind: str
    size: int
    author: str
    at: datetime

    @property
    def url(self) -> str:
        return f"/wiki/files/{self.digest}.{self.kind}"


def slug_of(title: str) -> str:
    """Return the address a title leads to; empty where it has no letter that can be in one."""
    plain = unicodedata.normalize("NFKD", title).encode("ascii", "ignore").decode().lower()
    slug = "-".join(re.findall(r"[a-z0-9]+", plain))[:SLUG_LENGTH].strip("-")
    return "" if slug in TAKEN else slug


def address_of(slug: str) -> str:
    """Return where a page is: `info` has been at an address of its own since 2013."""
    return "/info" if slug == "info" else f"/wiki/{slug}"


def check_slug(slug: str) -> str:
    """Raises: WikiError: bad-slug."""
    if not (len(slug) <= SLUG_LENGTH and SLUG.fullmatch(slug) and slug not in TAKEN):
        raise WikiError("bad-slug")
    return slug


def tidy(source: str) -> str:
    """Return a text as it is stored: lines end in one way, and so does the last.

    Raises:
        WikiError: empty, too-long, bad-characters.
    """
    if len(source) - source.count("\r") > PAGE_BYTES:  # before any work
        raise WikiError("too-long")
    source = "\n".join(line.rstrip() for line in source.replace("\r\n", "\n").replace("\r", "\n").split("\n")).strip(
        "\n"
    )
    if not source:
        raise WikiError("empty")
    source += "\n"
    if UNSHOWN.search(source):
        raise WikiError("bad-characters")
    if len(source.encode()) > PAGE_BYTES:
        raise WikiError("too-long")
    return source


def check_comment(comment: str) -> str:
    """Raises: WikiError: bad-comment."""
    comment = " ".join(comment.split())
    if len(comment) > COMMENT_LENGTH or UNSHOWN.search(comment):
        raise WikiError("bad-comment")
    return comment


P, R, F = schema.page.c, schema.revision.c, schema.file.c
LISTED = (R.id, R.slug, R.at, R.author, R.comment, R.title, R.deleted)
VERSION = select(func.coalesce(func.max(R.id), 0)).scalar_subquery()


def _revision(row: Any) -> Revision | None:
    return Revision(**row._mapping) if row else None


class Wiki:
    """Read and write pages. Every change adds a revision; none is ever changed or deleted."""

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine
        self._is_sqlite = engine.dialect.name == "sqlite"

    # --- pages

    async def head(self, slug: str) -> Head | None:
        """Return the state of a page, by indexed reads only."""
        query = (
            select(P.slug, P.revision, P.title, P.locked, R.at, VERSION.label("version"))
            .join(schema.revision, R.id == P.revision)
            .where(P.slug == slug)
        )
        async with reading(self._engine) as connection:
            row = (await connection.execute(query)).one_or_none()
        return Head(**row._mapping) if row else None

    async def text(self, slug: str) -> str:
        async with reading(self._engine) as connection:
            return await connection.scalar(select(P.text).where(P.slug == slug)) or ""

    async def slugs(self) -> frozenset[str]:
        async with reading(self._engine) as connection:
            return frozenset((await connection.execute(select(P.slug))).scalars())

    async def pages(self, *, offset: int, limit: int) -> list[tuple[str, str]]:
        """Return (slug, title), by title."""
        query = select(P.slug, P.title).order_by(func.lower(P.title), P.slug).offset(offset).limit(limit)
        async with reading(self._engine) as connection:
            return [(row.slug, row.title) for row in await connection.execute(query)]

    async def current(self, slug: str) -> Revision | None:
        """Return what a page is now, with its text."""
        async with reading(self._engine) as connection:
            return await self._current(connection, slug)

    async def _current(self, connection: AsyncConnection, slug: str) -> Revision | None:
        query = select(*LISTED, R.text).join(schema.page, P.revision == R.id).where(P.slug == slug)
        return _revision((await connection.execute(query)).one_or_none())

    async def save(
        self, slug: str, source: str, *, title: str, author: str, comment: str, base: int, at: datetime, admin: bool
    ) -> Revision | None:
        """Make a text what a page is, if nobody else has changed the page since.

        Args:
            source: as tidy() returns it.
            base: the revision that the author has changed; 0: there was no page.
        Returns:
            The revision; None: it was that already.
        Raises:
            Conflict: somebody else has changed it.
            WikiError: locked.
        """
        async with writing(self._engine) as connection:
            now = await self._current(connection, slug)
            if now and now.text == source:
                return None
            if not admin and await self._is_locked(connection, slug):
                raise WikiError("locked")
            if (now.id if now else 0) != base:
                raise Conflict(now)
            return await self._write(connection, slug, source, title, author, comment, at, exists=bool(now))

    async def put(self, pages: Sequence[tuple[str, str, str]], *, author: str, at: datetime, first: bool) -> int:
        """Store (slug, title, source) whatever was there before. Returns how many were different.

        Args:
            first: only where there has never been any page.
        """
        changed = 0
        async with writing(self._engine) as connection:
            if first and await connection.scalar(select(VERSION)):
                return 0
            for slug, title, source in pages:
                now = await self._current(connection, slug)
                if now is None or now.text != source:
                    await self._write(connection, slug, source, title, author, "", at, exists=bool(now))
                    changed += 1
        return changed

    async def _write(
        self,
        connection: AsyncConnection,
        slug: str,
        source: str,
        title: str,
        author: str,
        comment: str,
        at: datetime,
        *,
        exists: bool,
    ) -> Revision:
        values = {"slug": slug, "at": at, "author": author, "comment": comment, "title": title, "deleted": False}
        locked = not exists and await self._is_locked(connection, slug)  # before this revision is the last
        done = await connection.execute(insert(schema.revision).values(values | {"text": source}))
        number = int(done.inserted_primary_key[0])  # type: ignore[index]
        page = {"revision": number, "title": title, "text": source}
        if exists:
            await connection.execute(update(schema.page).where(P.slug == slug).values(page))
        else:
            await connection.execute(insert(schema.page).values(page | {"slug": slug, "locked": locked}))
        return Revision(id=number, slug=slug, at=at, author=author, comment=comment, title=title, deleted=False)

    async def remove(self, slug: str, *, author: str, base: int, at: datetime) -> None:
        """Take a page away; its revisions stay, and one more that says so, as does its lock. Raises: Conflict."""
        async with writing(self._engine) as connection:
            now = await self._current(connection, slug)
            if not now or now.id != base:
                raise Conflict(now)
            gone = {"slug": slug, "at": at, "author": author, "comment": "", "title": now.title, "deleted": True}
            locked = await self._is_locked(connection, slug)
            await connection.execute(insert(schema.revision).values(gone | {"text": "", "locked": locked}))
            await connection.execute(delete(schema.page).where(P.slug == slug))

    async def lock(self, slug: str, locked: bool) -> None:
        """Let only administrators change a page, or everybody again."""
        async with writing(self._engine) as connection:
            await connection.execute(update(schema.page).where(P.slug == slug).values(locked=locked))

    async def is_locked(self, slug: str) -> bool:
        """Tell whether only admins may change a page, or write it again if it is deleted."""
        async with reading(self._engine) as connection:
            return await self._is_locked(connection, slug)

    async def _is_locked(self, connection: AsyncConnection, slug: str) -> bool:
        last = select(R.locked).where(R.slug == slug).order_by(R.id.desc()).limit(1).scalar_subquery()
        page = select(P.locked).where(P.slug == slug).scalar_subquery()
        return bool(await connection.scalar(select(func.coalesce(page, last))))

    # --- revisions

    async def history(self, slug: str, *, before: int | None, limit: int) -> list[Revision]:
        """Return the revisions of a page, newest first, without their texts."""
        query = select(*LISTED).where(R.slug == slug).order_by(R.id.desc()).limit(limit)
        if before is not None:
            query = query.where(R.id < before)
        async with reading(self._engine) as connection:
            return [Revision(**row._mapping) for row in await connection.execute(query)]

    async def revision(self, slug: str, number: int) -> Revision | None:
        query = select(*LISTED, R.text).where(R.slug == slug, R.id == number)
        async with reading(self._engine) as connection:
            return _revision((await connection.execute(query)).one_or_none())

    # --- the search

    async def search(self, query: str) -> list[Found]:
        """Return the pages that have words beginning with each of the query's, the best first.

        Args:
            query: anything: only letters and digits of it reach the database, each word quoted.
        """
        words = re.findall(r"\w+", query)[:16]
        if not words:
            return []
        if self._is_sqlite:
            wanted = " ".join(f'"{word}"*' for word in words)
            statement = text(
                "SELECT page.slug, page.title, snippet(page_words, 1, :mark, :unmark, '…', 24) AS snippet"
                " FROM page_words JOIN page ON page.id = page_words.rowid"
                " WHERE page_words MATCH :wanted ORDER BY bm25(page_words, 10.0, 1.0), page.slug LIMIT :most"
            )
            values = {"wanted": wanted, "mark": MARK, "unmark": UNMARK, "most": FOUND}
        else:
            wanted = " & ".join(f"'{word}':*" for word in words)
            statement = text(
                "SELECT slug, title, ts_headline('simple', text, wanted, :options) AS snippet"
                " FROM (SELECT slug, title, text, query AS wanted"
                " FROM page, to_tsquery('simple', :wanted) AS query WHERE words @@ query"
                " ORDER BY ts_rank(words, query) DESC, slug LIMIT :most) AS best"
            )
            options = f'StartSel="{MARK}", StopSel="{UNMARK}", MaxWords=24, MinWords=12'
            values = {"wanted": wanted, "options": options, "most": FOUND}
        async with reading(self._engine) as connection:
            return [Found(**row._mapping) for row in await connection.execute(statement, values)]

    # --- pictures

    async def add_file(self, digest: str, kind: str, data: bytes, *, author: str, at: datetime) -> File:
        """Store a picture once, however often it is sent.

        Raises:
            WikiError: full.
        """
        file = {"digest": digest, "kind": kind, "size": len(data), "author": author, "at": at}
        async with writing(self._engine) as connection:
            known = (await connection.execute(self._files().where(F.digest == digest))).one_or_none()
            if known:
                return File(**known._mapping)
            used = await connection.scalar(select(func.coalesce(func.sum(F.size), 0)))
            if int(used or 0) + len(data) > FILES_BYTES:
                raise WikiError("full")
            await connection.execute(insert(schema.file).values(file | {"data": data}))
        return File(**file)  # type: ignore[arg-type]

    def _files(self) -> Any:
        return select(F.digest, F.kind, F.size, F.author, F.at)

    async def files(self, *, offset: int, limit: int) -> list[File]:
        """Return the pictures, newest first."""
        query = self._files().order_by(F.at.desc(), F.digest).offset(offset).limit(limit)
        async with reading(self._engine) as connection:
            return [File(**row._mapping) for row in await connection.execute(query)]

    async def file(self, digest: str, kind: str) -> bytes | None:
        async with reading(self._engine) as connection:
            data = await connection.scalar(select(F.data).where(F.digest == digest, F.kind == kind))
        return bytes(data) if data is not None else None

    async def remove_file(self, digest: str) -> None:
        async with writing(self._engine) as connection:
            await connection.execute(delete(schema.file).where(F.digest == digest))

    async def all_files(self) -> AsyncIterator[tuple[File, bytes]]:
        """Yield every picture; one at a time in memory."""
        offset = 0
        while found := await self.files(offset=offset, limit=1):
            data = await self.file(found[0].digest, found[0].kind)
            if data is not None:
                yield found[0], data
            offset += 1
