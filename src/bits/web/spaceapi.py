"""The state for the SpaceAPI's directories and apps."""

from __future__ import annotations

from datetime import UTC, datetime

import msgspec
from sanic import Blueprint, HTTPResponse, NotFound, Request

from bits.spaceapi import document
from bits.web import context
from bits.web.address import origin
from bits.web.body import Body
from bits.web.framing import CORS
from bits.web.route import get
from bits.web.words import N_

bp = Blueprint("spaceapi")

ICONS = ("open", "closed")


@get(bp, "/spaceapi.json")
async def spaceapi(request: Request) -> HTTPResponse:
    """Versions 14 and 15; docs/spaceapi.md."""
    ctx = context.of(request)
    # Made anew for each: what it says changes with the clock, and depends on the name we are called by.
    now = datetime.now(UTC)
    described = document(ctx.config, ctx.live.state, ctx.live.fresh, ctx.roster.listed, now, origin(request))
    body = Body(msgspec.json.encode(described), "application/json; charset=utf-8", vary="Accept-Encoding, Host")
    answer = body.answer(request)
    answer.headers.update(CORS)
    return answer


@get(bp, "/icon/<name:str>")
async def icon(request: Request, name: str) -> HTTPResponse:
    """The icons of the state: at addresses that stay, since directories keep them."""
    stem, _, suffix = name.partition(".")
    if stem not in ICONS or suffix != "svg":
        raise NotFound(N_("There is no such icon."))
    assets = context.of(request).assets
    answer = assets.bodies[assets.names[name]].answer(request, cache="public, max-age=86400")
    answer.headers.update(CORS)
    return answer
