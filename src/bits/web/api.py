"""Answers for machines."""

from __future__ import annotations

from datetime import UTC, datetime
from email.utils import format_datetime

from sanic import Blueprint, HTTPResponse, Request
from sanic.response import text

from bits.counters import Counters, exposition
from bits.web import context, query
from bits.web.behind import wait_for_event
from bits.web.framing import CORS
from bits.web.route import get

bp = Blueprint("api")


@get(bp, "/status")
async def status(request: Request) -> HTTPResponse:
    """One byte: 1 open, 0 anything else."""
    live = context.of(request).live
    return text(live.digit, headers={**CORS, "Cache-Control": "no-cache"}, content_type="text/plain")


@get(bp, "/data")
async def data(request: Request) -> HTTPResponse:
    """Current state as JSON; with `since` and `wait`, what happened since. Fields, units, caching: docs/live.md."""
    if "wait" in request.args and request.method == "GET":
        return await wait_for_event(request)
    form = query.choice(request, "timestamps", "ms", ("ms", "iso"))
    answer = context.of(request).live.channels[form].snapshot().answer(request)
    answer.headers.update(CORS)
    return answer


@get(bp, "/data.php")
async def clock(request: Request) -> HTTPResponse:
    """The local time of the space: the router, which has no clock of its own, sets its own by it.

    The header has it as UTC, for routers that are set to another time zone.
    """
    now = datetime.now(context.of(request).config.time_zone)
    headers = {"Cache-Control": "no-store", "Date": format_datetime(now.astimezone(UTC), usegmt=True)}
    return text(now.strftime("%Y-%m-%d %H:%M:%S"), headers=headers)


@get(bp, "/metrics")
async def metrics(request: Request) -> HTTPResponse:
    """Counters and gauges in Prometheus' format."""
    ctx = context.of(request)
    now = Counters(ctx.counters)
    now["push_clients"] = len(ctx.live)
    now.update(ctx.ingest.gauges())
    now["seq"] = ctx.live.state.seq
    now["downloads_under_way"] = ctx.history.downloads.total()
    hub = ctx.live.hub.counters()
    for name in ("joined", "left", "conflated", "pings", "heartbeats"):
        now[f"push_{name}_total"] = hub[name]
    now["push_writes_total"] = hub["sent"]
    for reason in ("stalled", "slow", "silent", "flooded", "protocol"):
        now[f'push_cut_off_total{{reason="{reason}"}}'] = hub[reason]
    now.update(ctx.front.counters())
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
