"""Push for requests that the front door did not find plain, and handed on: the same, by way of Sanic."""

from __future__ import annotations

import asyncio
import os
from typing import cast

from sanic import Blueprint, HTTPResponse, Request

from bits._hub import EVENT_STREAM, LONG_POLL, WEBSOCKET
from bits.web import context, query
from bits.web.framing import CORS, EVENT_STREAM_CACHING, accept_key
from bits.web.live import LONGEST_WAIT
from bits.web.route import get

bp = Blueprint("push")


def _refusal(request: Request) -> HTTPResponse | bytes:
    """Check an opening handshake (RFC 6455 section 4.2.1). Returns the client's key, or the answer to send."""
    headers = request.headers
    connection = {token.strip().lower() for token in headers.get("connection", "").split(",")}
    if headers.get("upgrade", "").strip().lower() != "websocket" or "upgrade" not in connection:
        return HTTPResponse(
            "This address speaks WebSocket: expected the headers Connection: Upgrade and Upgrade: websocket.\n",
            status=426,
            headers={"Upgrade": "websocket", "Connection": "Upgrade"},
        )
    if headers.get("sec-websocket-version", "").strip() != "13":
        return HTTPResponse(
            "Expected Sec-WebSocket-Version: 13.\n", status=426, headers={"Sec-WebSocket-Version": "13"}
        )
    key = headers.get("sec-websocket-key", "").strip().encode()
    if accept_key(key) is None:
        return HTTPResponse("Expected a Sec-WebSocket-Key of 16 bytes in base64.\n", status=400)
    return key


def _form(request: Request) -> int:
    return ("ms", "iso").index(query.choice(request, "timestamps", "ms", ("ms", "iso")))


def _since(request: Request) -> int | None:
    return query.integer(request, "since", None, 0, 2**63 - 1)


def _leave(request: Request) -> tuple[int, bytes]:
    """Take a connection away from Sanic. Returns a descriptor of our own for it, and what it has sent since.

    Aborting the transport closes Sanic's descriptor without a FIN; Sanic then cancels the handler, as it does
    whenever a client is gone, and never answers.
    """
    transport = cast(asyncio.Transport, request.transport)
    fd = os.dup(transport.get_extra_info("socket").fileno())
    early = bytes(request.protocol.recv_buffer)  # type: ignore[attr-defined]
    transport.abort()
    return fd, early


async def _gone() -> HTTPResponse:
    return await asyncio.get_running_loop().create_future()  # type: ignore[no-any-return]


@bp.get("/ws")
async def websocket(request: Request) -> HTTPResponse:
    """Hand the connection over to the hub: snapshot (or what was missed since `since`), then every event.

    No extension is ever agreed, so that one encoded frame serves all.
    """
    since, form = _since(request), _form(request)
    key = _refusal(request)
    if isinstance(key, HTTPResponse):
        return key
    fd, early = _leave(request)
    context.of(request).live.join(fd, WEBSOCKET, form, since, key=key, early=early)
    return await _gone()


@get(bp, "/events")
async def event_stream(request: Request) -> HTTPResponse:
    """The same as server-sent events; the id is the seq, and `Last-Event-ID` is honoured."""
    since, form = _since(request), _form(request)
    last_id = request.headers.get("last-event-id", "")
    if last_id:
        since = query.whole(last_id, 0, query.SEQ_MOST)
    if request.method == "HEAD":
        return HTTPResponse(content_type="text/event-stream", headers={**CORS, "Cache-Control": EVENT_STREAM_CACHING})
    fd, _ = _leave(request)
    context.of(request).live.join(fd, EVENT_STREAM, form, since)
    return await _gone()


async def wait_for_event(request: Request) -> HTTPResponse:
    """Answer GET /data?since=&wait= with what happened after `since`, as soon as there is anything."""
    since, form = _since(request), _form(request)
    wait = query.seconds(request, "wait", LONGEST_WAIT)
    stale = {"": None, "0": False, "1": True}[query.choice(request, "stale", "", ("", "0", "1"))]
    fd, _ = _leave(request)
    context.of(request).live.join(fd, LONG_POLL, form, since, wait=wait, stale=stale, last=True)
    return await _gone()
