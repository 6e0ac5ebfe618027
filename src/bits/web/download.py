"""The history as a file: of any size, a portion at a time, as fast as it is taken."""

from __future__ import annotations

import asyncio
import csv
import logging
import time
import zlib
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime
from io import StringIO
from typing import NamedTuple, cast

from sanic import Blueprint, HTTPResponse, Request, ServiceUnavailable
from sqlalchemy.exc import SQLAlchemyError

from bits.events import Announce, Late, Message, Sound, Status, Stored, Temperature, Withdraw
from bits.history import Filter, Place, older
from bits.web import context, query
from bits.web.auth import near
from bits.web.body import accepts_gzip
from bits.web.context import Context
from bits.web.framing import CORS
from bits.web.history import asked
from bits.web.wire import HISTORY_KINDS, Wire, encode
from bits.web.words import N_

bp = Blueprint("download")
log = logging.getLogger("bits.download")

AT_ONCE = 8  # downloads; each holds one portion in memory, and takes the database's time
EACH = 2  # of them from one address: nobody shall keep everybody else waiting
PORTION = 500  # events: some milliseconds of the loop's time
STALL = 60.0  # seconds that a reader may take nothing
SLOWEST = 4096  # bytes a second that a reader takes in the long run
RETRY_AFTER = 10  # seconds

COLUMNS = ("seq", "time", "kind", "value", "sensor", "source", "user", "text", "begins", "until", "late")
# What a spreadsheet would take for a formula.
FORMULA = ("=", "+", "-", "@", "\t", "\r")


class Shape(NamedTuple):
    """How a file is written: what comes first, each portion, and what comes last."""

    content_type: str
    head: bytes
    portion: Callable[[list[Stored], bool], bytes]  # whether it is the first
    tail: bytes


def plain(text: str | None) -> str:
    """Return a text that a spreadsheet takes for one."""
    return f"'{text}" if text and text.startswith(FORMULA) else text or ""


def stamp(at: datetime | None) -> str:
    return at.astimezone(UTC).isoformat().replace("+00:00", "Z") if at else ""


def record(stored: Stored, wire: Wire) -> list[object]:
    """Return a line of the table: COLUMNS. Names are those that the JSON has."""
    value: object = ""
    sensor: object = ""
    text = stored.note
    begins: datetime | None = None
    match stored.event:
        case Status(value=word) | Late(value=word):
            value = plain(word)
        case Temperature(sensor=sensor, value=value):
            pass  # numbers: a minus is no formula there
        case Message(text=text):
            pass
        case Sound(number=value) | Withdraw(announcement=value):
            pass
        case Announce(value=word):
            value, begins = plain(word), stored.event.begins
    return [
        stored.seq,
        stamp(stored.at),
        HISTORY_KINDS[type(stored.event)],
        value,
        sensor,
        plain(stored.source),
        plain(wire.entry(stored).get("user")),
        plain(text),
        stamp(begins),
        stamp(stored.until),
        "late" if isinstance(stored.event, Late) else "",
    ]


def shape_of(name: str, wire: Wire) -> Shape:
    def table(entries: list[Stored], _first: bool) -> bytes:
        file = StringIO()
        csv.writer(file).writerows(record(stored, wire) for stored in entries)  # RFC 4180 as it is
        return file.getvalue().encode()

    def lines(entries: list[Stored], _first: bool) -> bytes:
        return b"".join([encode(wire.entry(stored)) + b"\n" for stored in entries])

    def array(entries: list[Stored], first: bool) -> bytes:
        return (b"\n" if first else b",\n") + b",\n".join([encode(wire.entry(stored)) for stored in entries])

    return {
        "csv": Shape("text/csv; charset=utf-8; header=present", (",".join(COLUMNS) + "\r\n").encode(), table, b""),
        "json": Shape("application/json", b'{"log":[', array, b"\n]}\n"),
        "jsonl": Shape("application/jsonl; charset=utf-8", b"", lines, b""),
    }[name]


async def portions(ctx: Context, wanted: Filter) -> AsyncIterator[list[Stored]]:
    """Yield everything up to now, newest first; what is stored meanwhile is left out.

    Each portion is a short reading of its own: a slow reader keeps no transaction open.
    """
    newest = ctx.live.state.seq
    before: Place | None = None
    while True:
        async with ctx.history.reads.free:
            found = await older(ctx.engine, wanted, before=before, limit=PORTION)
        if not found:
            return
        before = Place(found[-1].at, found[-1].seq)
        yield [stored for stored in found if stored.seq <= newest]


class Patience:
    """How long a reader may still keep us waiting, in seconds: what it takes earns more, up to a minute.

    Only the time in which we wait for the reader counts, not the database's.
    """

    def __init__(self) -> None:
        self.left = STALL

    def took(self, size: int, seconds: float) -> None:
        """Take in that a reader took so many bytes, in so many seconds."""
        self.left = max(0.0, min(STALL, self.left - seconds + size / SLOWEST))


async def download(request: Request) -> HTTPResponse | None:
    """All of the history that is asked for, as a file."""
    ctx = context.of(request)
    name = request.path.rpartition(".")[2]
    form = query.choice(request, "timestamps", "ms", ("ms", "iso"))
    wanted = asked(request).filter(ctx.config.time_zone)
    shape = shape_of(name, ctx.live.channels[form].wire)
    headers = {
        "Content-Disposition": f'attachment; filename="log.{name}"',
        "Cache-Control": "no-store",
        "Vary": "Accept-Encoding",
        **CORS,
    }
    packer = None
    if accepts_gzip(request.headers.get("accept-encoding", "")):
        headers["Content-Encoding"] = "gzip"
        packer = zlib.compressobj(4, wbits=31)
    if request.method == "HEAD":
        return HTTPResponse(headers=headers, content_type=shape.content_type)
    under_way, reader = ctx.history.downloads, near(request)
    if under_way.total() >= AT_ONCE or under_way[reader] >= EACH:
        ctx.counters['downloads_refused_total{reason="too-many"}'] += 1
        raise ServiceUnavailable(
            N_("Too many downloads at once; come back in a moment."), headers={"Retry-After": str(RETRY_AFTER)}
        )
    under_way[reader] += 1
    patience = Patience()
    try:
        response = await request.respond(headers=headers, content_type=shape.content_type)
        assert response is not None

        async def send(data: bytes, *, last: bool = False) -> None:
            if packer:
                data = packer.compress(data) + (packer.flush() if last else b"")
            if data:
                begun = time.monotonic()
                await asyncio.wait_for(response.send(data), patience.left)
                patience.took(len(data), time.monotonic() - begun)

        await send(shape.head)
        first = True
        async for entries in portions(ctx, wanted):
            if entries:
                await send(shape.portion(entries, first))
                first = False
        await send(shape.tail, last=True)
        await response.eof()
    except TimeoutError:
        ctx.counters['downloads_ended_total{reason="stalled"}'] += 1
        _cut_off(request)
    except (SQLAlchemyError, OSError) as error:
        # Its end is missing, so that nobody takes a part for the whole.
        log.error("a download ended early: %s", error)
        ctx.counters['downloads_ended_total{reason="database"}'] += 1
        _cut_off(request)
    finally:
        under_way[reader] -= 1
        if not under_way[reader]:
            del under_way[reader]
    return None


def _cut_off(request: Request) -> None:
    cast(asyncio.Transport, request.transport).abort()


for each in ("csv", "json", "jsonl"):
    bp.route(f"/log.{each}", ("GET", "HEAD"), name=each)(download)
