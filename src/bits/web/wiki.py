"""The wiki: pages that everybody reads and members write."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Collection
from datetime import UTC, datetime
from typing import Any
from urllib.parse import unquote, urlencode

from markupsafe import Markup, escape
from sanic import Blueprint, Forbidden, HTTPResponse, NotFound, Request
from sanic.exceptions import PayloadTooLarge
from sanic.headers import parse_content_header
from sanic.request.form import parse_multipart_form
from sanic.response import html, json, redirect, text

from bits.web import context, pictures, query
from bits.web.admin import page, see_other, signed_in, to_the_door
from bits.web.auth import SESSION, check_origin, is_form, member
from bits.web.body import Body
from bits.web.context import Context
from bits.web.differences import Line, differences
from bits.web.fields import Fields
from bits.web.large import read_body
from bits.web.markup import Rendered, render, title_of
from bits.web.pages import COOKIE_VARIES
from bits.web.reader import language_of
from bits.web.refusals import refused, sentence
from bits.web.route import field, get
from bits.web.users import User
from bits.web.words import N_
from bits.wiki import (
    COMMENT_LENGTH,
    FILE_BYTES,
    MARK,
    PAGE_BYTES,
    QUERY_LENGTH,
    TITLE_LENGTH,
    UNMARK,
    Conflict,
    Head,
    Revision,
    WikiError,
    address_of,
    check_comment,
    check_slug,
    slug_of,
    tidy,
)

bp = Blueprint("wiki")

# A form writes a letter in up to nine: what the textarea lets through comes back, however much too long.
FORM_BYTES = 9 * PAGE_BYTES + 16 * 1024
UPLOAD_BYTES = FILE_BYTES + 16 * 1024
PARTS = 8  # of a form with a picture, with the line at its end
PART_HEAD = 2048  # bytes: a file's name may have a thousand
LISTED = 100  # pages, revisions or pictures at once
KEPT_BYTES = 32 * 1024 * 1024  # of rendered pages, in memory
FILE_NAME = re.compile(r"([0-9a-f]{64})\.(png|jpg|gif|webp)")
DONE = ("", "saved", "same", "restored", "locked", "unlocked")

# A long text takes some tenths of a second to render or to compare: one after the other, beside everything else.
_rendering = asyncio.Semaphore(1)
PATIENCE = 3.0  # seconds of CPU: what takes longer is not stored, so that no reader waits for it


def _timed(source: str, *, escape: bool, pages: Collection[str]) -> tuple[Rendered, float]:
    began = time.thread_time()
    return render(source, escape=escape, pages=pages), time.thread_time() - began


async def _render(ctx: Context, source: str, *, patience: float = float("inf")) -> Rendered:
    pages = await ctx.wiki.slugs()
    async with _rendering:
        rendered, taken = await asyncio.to_thread(_timed, source, escape=ctx.config.markdown_escape, pages=pages)
    if taken > patience:
        raise WikiError("too-tangled")
    return rendered


async def _compare(before: str, after: str) -> list[Line]:
    async with _rendering:
        return await asyncio.to_thread(differences, before, after)


class Shelf:
    """Pages as rendered, once per change of the wiki and kind of reader, whichever node has changed it."""

    def __init__(self) -> None:
        self._making = asyncio.Lock()
        self._clear(-1)

    def _clear(self, version: int) -> None:
        self._version = version
        self._size = 0
        self._rendered: dict[str, Rendered] = {}
        self._bodies: dict[tuple[str, str, bool], Body] = {}

    async def body(self, ctx: Context, head: Head, language: str, *, is_member: bool, done: str) -> Body:
        """Return a page; done says what its reader has just done to it."""
        if head.version > self._version or self._size > KEPT_BYTES:
            self._clear(head.version)
        key = head.slug, language, is_member
        if key in self._bodies and not done:
            return self._bodies[key]
        rendered = await self._render(ctx, head.slug)
        if key in self._bodies and not done:
            return self._bodies[key]
        body = ctx.renderer.page(
            "wiki_page.html",
            language,
            vary=COOKIE_VARIES,
            current="info" if head.slug == "info" else "wiki",
            page=head,
            rendered=rendered,
            is_member=is_member,
            done=done,
        )
        # The wiki may have changed since the head was read.
        if head.version == self._version and not done:
            self._bodies[key] = body
            self._size += len(body.data)
        return body

    async def _render(self, ctx: Context, slug: str) -> Rendered:
        """Render a page once, however many wait for it."""
        async with self._making:
            if slug in self._rendered:
                return self._rendered[slug]
            version = self._version
            rendered = await _render(ctx, await ctx.wiki.text(slug))
            if version == self._version:  # else the wiki may have changed while this was rendered
                self._rendered[slug] = rendered
                self._size += len(rendered.html)
            return rendered


def _slug(given: str) -> str:
    try:
        return check_slug(given)
    except WikiError:
        raise NotFound(N_("There is no such page.")) from None


def _number(request: Request, name: str) -> int:
    """Read the number of a revision in a form; 0 where it is none."""
    return query.whole(field(request, name), 1, query.ID_MOST) or 0


# --- reading


async def _show(request: Request, slug: str) -> HTTPResponse:
    ctx = context.of(request)
    head = await ctx.wiki.head(slug)
    if head is None:
        return page(request, "wiki_missing.html", status=404, current="wiki", slug=slug)
    is_member = SESSION in request.cookies  # a hint, to offer what is refused to others anyway
    done = str(request.args.get("done", ""))
    if done not in DONE:
        done = ""
    return (await ctx.shelf.body(ctx, head, language_of(request), is_member=is_member, done=done)).answer(request)


@get(bp, "/info")
async def info(request: Request) -> HTTPResponse:
    """The page about the space, at the address it has always had."""
    return await _show(request, "info")


@get(bp, "/wiki/<slug:str>")
async def show(request: Request, slug: str) -> HTTPResponse:
    if slug == "info":
        return redirect("/info", status=301)
    proper = slug_of(unquote(slug)[:200])
    if proper and proper != slug and await context.of(request).wiki.head(proper):
        return redirect(address_of(proper), status=301)
    return await _show(request, _slug(slug))


def _marked(snippet: str) -> Markup:
    """Return a snippet with what was looked for marked, and everything else escaped."""
    return Markup(str(escape(snippet)).replace(MARK, "<mark>").replace(UNMARK, "</mark>"))  # noqa: S704 - escaped


@get(bp, "/wiki")
async def index(request: Request) -> HTTPResponse:
    """List the pages, or those with the words one looks for."""
    return await _index(request, str(request.args.get("q", "")))


async def _index(request: Request, words: str, form: Fields | None = None, *, title: str = "") -> HTTPResponse:
    ctx = context.of(request)
    offset = query.integer(request, "offset", 0, 0, 1_000_000)
    values: dict[str, Any] = {"found": None, "pages": [], "older": False}
    if len(words) > QUERY_LENGTH:
        form = refused(request, "long-query")
    if not form and words.strip():
        found = await ctx.wiki.search(words)
        values["found"] = [(each.slug, each.title, _marked(each.snippet)) for each in found]
    else:
        pages = await ctx.wiki.pages(offset=offset, limit=LISTED + 1)
        values |= {"pages": pages[:LISTED], "older": len(pages) > LISTED}
    return page(
        request,
        "wiki_index.html",
        form=form,
        current="wiki",
        q=words[: QUERY_LENGTH + 1],
        offset=offset,
        listed=LISTED,
        limits={"query": QUERY_LENGTH, "title": TITLE_LENGTH},
        is_member=SESSION in request.cookies,
        title=title[:TITLE_LENGTH],
        **values,
    )


@get(bp, "/wiki/new")
async def new(request: Request) -> HTTPResponse:
    """Lead from a title to the form of its page."""
    if await member(request) is None:
        return to_the_door(request)
    title = " ".join(str(request.args.get("title", "")).split())
    slug = slug_of(title) if len(title) <= TITLE_LENGTH else ""
    if not slug:
        return await _index(request, "", refused(request, "bad-title"), title=title)
    if await context.of(request).wiki.head(slug):
        return see_other(address_of(slug))
    return see_other(f"/wiki/{slug}/edit?" + urlencode({"title": title}))


# --- writing


async def _edit(
    request: Request, slug: str, source: str, base: int, *, status: int = 200, reason: str = "", **values: Any
) -> HTTPResponse:
    shown = {"comment": "", "preview": None, "conflict": None, "changes": None} | values
    return page(
        request,
        "wiki_edit.html",
        status=status,
        current="wiki",
        slug=slug,
        address=address_of(slug),
        source=source,
        base=base,
        form=refused(request, reason) if reason else None,
        signed_out=reason == "signed-out",
        text_length=PAGE_BYTES,
        comment_length=COMMENT_LENGTH,
        **shown,
    )


@get(bp, "/wiki/<slug:str>/edit")
async def edit(request: Request, slug: str) -> HTTPResponse:
    user = await member(request)
    if user is None:
        return to_the_door(request)
    ctx = context.of(request)
    slug = _slug(slug)
    now = await ctx.wiki.current(slug)
    if not user.admin and await ctx.wiki.is_locked(slug):
        source, base = (now.text, now.id) if now else ("", 0)
        return await _edit(request, slug, source, base, status=403, reason="locked")
    if now:
        return await _edit(request, slug, now.text, now.id)
    title = str(request.args.get("title", ""))[:TITLE_LENGTH]
    return await _edit(request, slug, f"# {title or slug.replace('-', ' ').capitalize()}\n\n", 0)


async def _read_text(request: Request) -> User | None:
    """Read a form with a text, of whoever sends it: of strangers none that is larger than all other forms."""
    user = await member(request)
    if await read_body(request, FORM_BYTES if user else request.app.config.REQUEST_MAX_SIZE):
        return user
    if user is None:
        refused(request, "signed-out")
        raise Forbidden(N_("You are signed out, and this text is too long to be kept: go back, copy it, and sign in."))
    refused(request, "too-long")
    raise PayloadTooLarge(N_("The text is far too long for a page: go back and shorten it."))


@bp.post("/wiki/<slug:str>/edit", stream=True)
async def save(request: Request, slug: str) -> HTTPResponse:
    """Show what a text would look like, or make it the page. Whatever is wrong, the text comes back."""
    check_origin(request)
    slug = _slug(slug)
    user = await _read_text(request)
    ctx = context.of(request)
    source, comment = field(request, "text"), field(request, "comment")
    base = _number(request, "base")
    shown: dict[str, Any] = {"comment": comment[: COMMENT_LENGTH + 1]}
    if user is None:
        return await _edit(request, slug, source, base, status=403, reason="signed-out", **shown)
    if not is_form(request, field(request, "csrf")):
        return await _edit(request, slug, source, base, status=403, reason="old-form", **shown)
    try:
        source = tidy(source)
        rendered = await _render(ctx, source, patience=PATIENCE)
        if field(request, "action") == "preview":
            return await _edit(request, slug, source, base, preview=rendered, **shown)
        saved = await ctx.wiki.save(
            slug,
            source,
            title=title_of(rendered, slug),
            author=user.name,
            comment=check_comment(comment),
            base=base,
            at=datetime.now(UTC),
            admin=user.admin,
        )
    except WikiError as error:
        status = 403 if error.reason == "locked" else 400
        return await _edit(request, slug, source, base, status=status, reason=error.reason, **shown)
    except Conflict as conflict:
        now = conflict.current
        changes = await _compare(now.text if now else "", source)
        shown |= {"conflict": now, "changes": changes}
        return await _edit(request, slug, source, now.id if now else 0, status=409, reason="conflict", **shown)
    return see_other(f"{address_of(slug)}?done={'saved' if saved else 'same'}")


@bp.post("/wiki/preview", stream=True)
async def preview(request: Request) -> HTTPResponse:
    """What a text looks like, for the page that is being written."""
    check_origin(request)
    user = await _read_text(request)
    if user is None or not is_form(request, field(request, "csrf")):
        raise Forbidden(N_("This form is too old, or you have signed in or out since: go back and load the page anew."))
    try:
        rendered = await _render(context.of(request), tidy(field(request, "text")), patience=PATIENCE)
    except WikiError as error:
        refused(request, error.reason)
        return text(sentence(request, error.reason), status=400)
    return html(rendered.html, headers={"Cache-Control": "no-store"})


# --- what a page has been: for members, since what was taken away is to be away for everybody else


@get(bp, "/wiki/<slug:str>/history")
async def history(request: Request, slug: str) -> HTTPResponse:
    user = await member(request)
    if user is None:
        return to_the_door(request)
    return await _history(request, _slug(slug), user)


async def _history(request: Request, slug: str, user: User, form: Fields | None = None) -> HTTPResponse:
    ctx = context.of(request)
    before = query.integer(request, "before", None, 1, query.ID_MOST)
    revisions = await ctx.wiki.history(slug, before=before, limit=LISTED + 1)
    if not revisions and before is None:
        raise NotFound(N_("There is no such page."))
    return page(
        request,
        "wiki_history.html",
        status=409 if form else 200,
        form=form,
        current="wiki",
        slug=slug,
        address=address_of(slug),
        head=await ctx.wiki.head(slug),
        revisions=revisions[:LISTED],
        older=revisions[LISTED - 1].id if len(revisions) > LISTED else None,
        user=user,
    )


async def _revision(request: Request, slug: str, name: str) -> Revision:
    number = query.integer(request, name, 0, 1, query.ID_MOST)
    found = await context.of(request).wiki.revision(slug, number)
    if found is None:
        raise NotFound(N_("There is no such page."))
    return found


@get(bp, "/wiki/<slug:str>/revision")
async def revision(request: Request, slug: str) -> HTTPResponse:
    """Show what a page was: `id` is the number of the revision."""
    if await member(request) is None:
        return to_the_door(request)
    ctx = context.of(request)
    old = await _revision(request, _slug(slug), "id")
    head = await ctx.wiki.head(slug)
    return page(
        request,
        "wiki_revision.html",
        current="wiki",
        address=address_of(slug),
        old=old,
        base=head.revision if head else 0,
        rendered=await _render(ctx, old.text),
    )


@get(bp, "/wiki/<slug:str>/diff")
async def diff(request: Request, slug: str) -> HTTPResponse:
    """Show what is different between the revisions `from` and `to`."""
    if await member(request) is None:
        return to_the_door(request)
    slug = _slug(slug)
    old, new = await _revision(request, slug, "from"), await _revision(request, slug, "to")
    if old.id > new.id:
        old, new = new, old
    changes = await _compare(old.text, new.text)
    return page(request, "wiki_diff.html", current="wiki", address=address_of(slug), old=old, new=new, changes=changes)


@bp.post("/wiki/<slug:str>/restore")
async def restore(request: Request, slug: str) -> HTTPResponse:
    """Make what a page was what it is: a new revision like the old one."""
    user = await signed_in(request)
    if isinstance(user, HTTPResponse):
        return user
    ctx = context.of(request)
    slug = _slug(slug)
    old = await ctx.wiki.revision(slug, _number(request, "revision"))
    if old is None or old.deleted:
        raise NotFound(N_("There is no such page."))
    said = ctx.renderer.gettext(language_of(request))(N_("Restored: as of {when}"))
    when = old.at.astimezone(ctx.config.time_zone).strftime("%Y-%m-%d %H:%M")
    try:
        await ctx.wiki.save(
            slug,
            old.text,
            title=old.title,
            author=user.name,
            comment=said.format(when=when),
            base=_number(request, "base"),
            at=datetime.now(UTC),
            admin=user.admin,
        )
    except WikiError as error:
        return await _history(request, slug, user, refused(request, error.reason))
    except Conflict:
        return await _history(request, slug, user, refused(request, "conflict"))
    return see_other(f"{address_of(slug)}?done=restored")


# --- for administrators


async def _admin(request: Request) -> User | HTTPResponse:
    user = await signed_in(request)
    if isinstance(user, User) and not user.admin:
        raise Forbidden(N_("Only administrators may do that."))
    return user


@bp.post("/wiki/<slug:str>/delete")
async def remove(request: Request, slug: str) -> HTTPResponse:
    user = await _admin(request)
    if isinstance(user, HTTPResponse):
        return user
    slug = _slug(slug)
    base = _number(request, "base")
    try:
        await context.of(request).wiki.remove(slug, author=user.name, base=base, at=datetime.now(UTC))
    except Conflict:
        return await _history(request, slug, user, refused(request, "conflict"))
    return see_other(f"/wiki/{slug}/history?done=deleted")


@bp.post("/wiki/<slug:str>/lock")
async def lock(request: Request, slug: str) -> HTTPResponse:
    user = await _admin(request)
    if isinstance(user, HTTPResponse):
        return user
    locked = field(request, "locked") == "1"
    await context.of(request).wiki.lock(_slug(slug), locked)
    return see_other(f"/wiki/{slug}/history?done={'locked' if locked else 'unlocked'}")


# --- pictures


async def _files(request: Request, user: User, form: Fields | None = None) -> HTTPResponse:
    offset = query.integer(request, "offset", 0, 0, 1_000_000)
    files = await context.of(request).wiki.files(offset=offset, limit=LISTED + 1)
    return page(
        request,
        "wiki_files.html",
        form=form,
        current="wiki",
        files=files[:LISTED],
        offset=offset,
        listed=LISTED,
        older=len(files) > LISTED,
        user=user,
        mebibytes=FILE_BYTES // 2**20,
    )


@get(bp, "/wiki/files")
async def files(request: Request) -> HTTPResponse:
    user = await member(request)
    if user is None:
        return to_the_door(request)
    return await _files(request, user)


def _parts(request: Request) -> tuple[str, bytes]:
    """Return a form's token and its file. Raises: WikiError: bad-form."""
    try:
        kind, parameters = parse_content_header(request.headers.get("content-type", ""))
        if kind != "multipart/form-data" or not parameters.get("boundary"):
            raise WikiError("bad-form")
        boundary = str(parameters["boundary"]).encode()
        # Reading takes time for each part and each line above it: ours are two of two.
        if request.body.count(boundary) > PARTS:
            raise WikiError("bad-form")
        if any(part.find(b"\r\n\r\n", 0, PART_HEAD) < 0 for part in request.body.split(boundary)[1:-1]):
            raise WikiError("bad-form")
        fields, sent = parse_multipart_form(request.body, boundary)  # type: ignore[no-untyped-call]
    except (ValueError, LookupError):  # of whatever it has been made to read
        raise WikiError("bad-form") from None
    file = sent.get("file")
    return str(fields.get("csrf", "")), file.body if file else b""


@bp.post("/wiki/files", stream=True)
async def upload(request: Request) -> HTTPResponse:
    """Take a picture; to scripts, which ask for JSON, say where it is."""
    check_origin(request)
    user = await member(request)
    fits = await read_body(request, UPLOAD_BYTES if user else 0)  # strangers fill no memory
    as_json = "application/json" in request.headers.get("accept", "")
    if user is None:
        return json({"refused": sentence(request, "signed-out")}, status=403) if as_json else see_other("/login")
    ctx = context.of(request)
    try:
        if not fits:
            raise WikiError("too-large")
        token, data = _parts(request)
        if not is_form(request, token):
            raise WikiError("old-form")
        picture = await pictures.take(data)
        file = await ctx.wiki.add_file(
            picture.digest, picture.kind, picture.data, author=user.name, at=datetime.now(UTC)
        )
    except WikiError as error:
        form = refused(request, error.reason, "uploads")
        if as_json:
            return json({"refused": form.errors["file"]}, status=400)
        return await _files(request, user, form)
    return json({"url": file.url}, status=201) if as_json else see_other("/wiki/files?done=uploaded")


@get(bp, "/wiki/files/<name:str>")
async def file(request: Request, name: str) -> HTTPResponse:
    """A picture; its name changes with its content, so it may be kept for ever."""
    named = FILE_NAME.fullmatch(name)
    data = await context.of(request).wiki.file(named[1], named[2]) if named else None
    if named is None or data is None:
        raise NotFound(N_("There is no such file."))
    body = Body(data, pictures.TYPES[named[2]], vary="Accept-Encoding")
    answer = body.answer(request, cache="public, max-age=31536000, immutable")
    # Opened by itself it is no page of ours, whatever a browser should take it for.
    answer.headers["Content-Security-Policy"] = "default-src 'none'; sandbox"
    answer.headers["Content-Disposition"] = f'inline; filename="{name[:12]}.{named[2]}"'
    return answer


@bp.post("/wiki/files/remove")
async def remove_file(request: Request) -> HTTPResponse:
    user = await _admin(request)
    if isinstance(user, HTTPResponse):
        return user
    digest = field(request, "digest")
    if re.fullmatch(r"[0-9a-f]{64}", digest):
        await context.of(request).wiki.remove_file(digest)
    return see_other("/wiki/files?done=removed")
