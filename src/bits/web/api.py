"""Answers for machines."""

from __future__ import annotations

from datetime import UTC, datetime

from sanic import Blueprint, HTTPResponse, Request
from sanic.response import text

from bits.counters import Counters, exposition
from bits.web import context, query
from bits.web.route import get

bp = Blueprint("api")

ANYONE = {"Access-Control-Allow-Origin": "*"}


@get(bp, "/status")
async def status(request: Request) -> HTTPResponse:
    """One byte: 1 open, 0 anything else."""
    live = context.of(request).live
    is_open = live.state.value == "open" and not live.fresh.unknown
    return text("1" if is_open else "0", headers={**ANYONE, "Cache-Control": "no-cache"})


@get(bp, "/data")
async def data(request: Request) -> HTTPResponse:
    """Current state as JSON. Fields, units and caching: docs/live.md."""
    form = query.choice(request, "timestamps", "ms", ("ms", "iso"))
    answer = context.of(request).live.channels[form].snapshot().answer(request)
    answer.headers.update(ANYONE)
    return answer


@get(bp, "/data.php")
async def clock(request: Request) -> HTTPResponse:
    """The local time of the space: the router, which has no clock of its own, sets its own by it."""
    now = datetime.now(context.of(request).config.time_zone)
    return text(now.strftime("%Y-%m-%d %H:%M:%S"), headers={"Cache-Control": "no-store"})


@get(bp, "/metrics")
async def metrics(request: Request) -> HTTPResponse:
    """Counters and gauges in Prometheus' format."""
    ctx = context.of(request)
    hubs = [channel.hub for channel in ctx.live.channels.values()]
    now = Counters(ctx.counters)
    now["push_clients"] = len(ctx.live)
    now["bridges"] = len(ctx.ingest.links)
    now["seq"] = ctx.live.state.seq
    now["push_joined_total"] = sum(hub.joined for hub in hubs)
    now["push_left_total"] = sum(hub.left for hub in hubs)
    now["push_writes_total"] = sum(hub.sent for hub in hubs)
    now["push_conflated_total"] = sum(hub.conflated for hub in hubs)
    now['push_cut_off_total{reason="stalled"}'] = sum(hub.stalled for hub in hubs)
    now['push_cut_off_total{reason="protocol"}'] = sum(hub.broken for hub in hubs)
    return text(exposition(now), content_type="text/plain; version=0.0.4; charset=utf-8")


@get(bp, "/healthz")
async def healthz(_request: Request) -> HTTPResponse:
    """Say that this process answers."""
    return text("ok")


@get(bp, "/readyz")
async def readyz(request: Request) -> HTTPResponse:
    """Say whether the log can be read; a load balancer sends nobody here while it cannot."""
    try:
        await context.of(request).store.since(2**62, limit=1)
    except Exception as error:
        return text(f"the database does not answer: {type(error).__name__}", status=503)
    return text(f"ok {datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}")
