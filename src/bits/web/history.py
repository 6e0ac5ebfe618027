"""What was: the log as a page and as JSON."""

from __future__ import annotations

from urllib.parse import urlencode

from sanic import Blueprint, HTTPResponse, Request

from bits.events import Status
from bits.web import context, query
from bits.web.body import Body
from bits.web.reader import language_of
from bits.web.route import get
from bits.web.wire import encode

bp = Blueprint("history")

NO_TIME = 10**9  # a log longer than that in entries is not paged by number


@get(bp, "/log")
async def log(request: Request) -> HTTPResponse:
    """Past statuses, newest first: a page, or JSON with format=json."""
    ctx = context.of(request)
    offset = query.integer(request, "offset", 0, 0, NO_TIME)
    limit = query.integer(request, "limit", 20, 1, 500)
    shape = query.choice(request, "format", "html", ("html", "json"))
    form = query.choice(request, "timestamps", "ms", ("ms", "iso"))
    # One more than asked for tells whether there is an older page.
    found = await ctx.store.latest("status", limit=limit + 1, offset=offset)
    entries = found[:limit]
    if shape == "json":
        wire = ctx.live.channels[form].wire
        data = encode({"log": [wire.status(stored) for stored in entries]})
        return Body(data, "application/json; charset=utf-8").answer(request)

    def link(to: int) -> str:
        return "/log?" + urlencode({"offset": to, "limit": limit})

    page = ctx.renderer.page(
        "log.html",
        language_of(request),
        current="log",
        entries=[
            {"value": stored.event.value, "at": stored.at, "source": stored.source}
            for stored in entries
            if isinstance(stored.event, Status)
        ],
        offset=offset,
        limit=limit,
        older=link(offset + limit) if len(found) > limit else None,
        newer=link(max(0, offset - limit)) if offset else None,
    )
    return page.answer(request)
