"""The wiki as a folder of markdown files: the first pages, import and export."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

from bits.config import Config
from bits.errors import BitsError
from bits.migrate import upgrade
from bits.store import make_engine
from bits.web.markup import render, title_of
from bits.web.pictures import read_picture
from bits.wiki import SHIPPED, Wiki, WikiError, check_slug, tidy

FIRST_PAGES = Path(__file__).parent.parent / "pages"

SAID = {
    "bad-slug": "a page's file is called by lower case letters, digits and dashes between them, at most 64, and .md",
    "empty": "it is empty",
    "too-long": "it has more than 64 KiB",
    "too-tangled": "it has too many brackets, links or cells of tables, or nests too deeply",
    "bad-characters": "it holds characters that cannot be shown",
    "too-large": "it has more than 2 MiB",
    "no-file": "it is empty",
    "no-picture": "it is no PNG, JPEG, GIF or WebP picture that can be read",
    "too-many-pixels": "it has too many pixels",
    "full": "there is no room for more pictures",
}


def _refused(file: Path, error: WikiError) -> BitsError:
    return BitsError(f"{file}: {SAID[error.reason]}")


def _read(folder: Path, replace: tuple[str, str] = ("", "")) -> list[tuple[str, str, str]]:
    """Return (slug, title, source) of each markdown file.

    Raises:
        BitsError: one is no page.
    """
    if not folder.is_dir():
        raise BitsError(f"{folder}: there is no such folder")
    pages = []
    for file in sorted(folder.glob("*.md")):
        try:
            source = tidy(file.read_text("utf-8").replace(*replace) if replace[0] else file.read_text("utf-8"))
            pages.append((check_slug(file.stem), title_of(render(source, escape=True), file.stem), source))
        except WikiError as error:
            raise _refused(file, error) from None
        except (OSError, UnicodeDecodeError) as error:
            raise BitsError(f"{file} cannot be read: {error}") from None
    return pages


async def first_pages(wiki: Wiki, config: Config) -> None:
    """Give a wiki that has never had any page those of pages_dir, and those that come with the program."""
    space = ("{{space}}", config.space_name)
    pages = {slug: (slug, title, source) for slug, title, source in _read(FIRST_PAGES, space)}
    if config.pages_dir:
        pages |= {page[0]: page for page in _read(config.pages_dir, space)}
    await wiki.put(list(pages.values()), author=SHIPPED, at=datetime.now(UTC), first=True)


async def import_(config: Config, folder: Path) -> str:
    """Store a folder's pages and pictures. Returns a sentence."""
    pages, files = _read(folder), sorted(folder.glob("files/*.*"))  # noqa: ASYNC240 - nothing else goes on
    now = datetime.now(UTC)
    engine = make_engine(config.db_uri)
    try:
        await upgrade(engine)
        wiki = Wiki(engine)
        pictures = 0
        for file in files:
            try:
                # What it is called by its content has been stripped of all else before; anew it would be another.
                picture = read_picture(file.read_bytes(), bare=False)
                if f"{picture.digest}.{picture.kind}" != file.name:
                    raise BitsError(f"{file}: its name is not the SHA-256 of what it holds, or not its kind")
                await wiki.add_file(picture.digest, picture.kind, picture.data, author=SHIPPED, at=now)
            except WikiError as error:
                raise _refused(file, error) from None
            pictures += 1
        changed = await wiki.put(pages, author=SHIPPED, at=now, first=False)
    finally:
        await engine.dispose()
    return f"{len(pages)} pages, {changed} of them new or different; {pictures} pictures"


async def export(config: Config, folder: Path) -> str:
    """Write all pages and pictures into a folder. Returns a sentence."""
    engine = make_engine(config.db_uri)
    try:
        await upgrade(engine)
        wiki = Wiki(engine)
        (folder / "files").mkdir(parents=True, exist_ok=True)
        slugs = sorted(await wiki.slugs())
        for slug in slugs:
            (folder / f"{slug}.md").write_text(await wiki.text(slug), "utf-8", newline="\n")
        pictures = 0
        async for file, data in wiki.all_files():
            (folder / "files" / f"{file.digest}.{file.kind}").write_bytes(data)
            pictures += 1
    except OSError as error:
        raise BitsError(f"{folder}: {error.strerror}") from None
    finally:
        await engine.dispose()
    return f"{len(slugs)} pages, {pictures} pictures"
