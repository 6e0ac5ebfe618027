"""The history: pages at any depth, what of it whom, files of any size, and what appears by itself."""

from __future__ import annotations

import asyncio
import csv
import gzip
import http.client
import json
import re
import socket
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from datetime import timedelta
from html import unescape
from io import StringIO
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from urllib.parse import urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sanic import ServiceUnavailable
from sqlalchemy import insert
from sqlalchemy.ext.asyncio import AsyncEngine

from bits import schema
from bits.config import Config
from bits.counters import Counters
from bits.events import (
    AUTO,
    BRIDGE,
    WEB,
    Announce,
    Enter,
    Event,
    Gone,
    Heartbeat,
    Late,
    Leave,
    Message,
    Report,
    Seen,
    Sound,
    Status,
    Stored,
    Temperature,
    Withdraw,
)
from bits.history import BEGINNING, KINDS, Filter, Place, newer, older, query
from bits.migrate import upgrade
from bits.store import Store, make_engine, to_columns
from bits.web import download as downloads
from bits.web import history as pages
from bits.web import render
from bits.web.download import AT_ONCE, EACH, FORMULA, SLOWEST, STALL, Patience, download, plain
from bits.web.turns import Turns
from tests import test_browser
from tests.conftest import T0, WAIT, Server, at, until, wait_until
from tests.test_admin import PASSWORD

sync_api = pytest.importorskip("playwright.sync_api")
expect = sync_api.expect

browser, open_page = test_browser.browser, test_browser.open_page
ALL = Filter(KINDS["all"])


def reports() -> list[Report]:
    """Everything that can happen, a minute apart; and two that came late."""
    happened: list[tuple[Event, str, str | None]] = [
        (Status("open"), BRIDGE, None),
        (Temperature(0, -3.5), BRIDGE, None),
        (Enter(41), BRIDGE, None),
        (Seen("a" * 64, 41), "mac", None),
        (Message('=1+1, "so"\r\nè qui'), WEB, "anna"),
        (Sound(3), WEB, "bruno"),
        (Heartbeat(), BRIDGE, None),
        (Announce("closed", at(90_000)), WEB, "bruno"),
        (Withdraw(8), WEB, "bruno"),
        (Gone("a" * 64, 41), "mac", None),
        (Leave(41), BRIDGE, None),
        (Status("away"), WEB, "bruno"),
        (Status("closed"), WEB, "anna"),
    ]
    found = [
        Report(
            event,
            source,
            at(60 * minute),
            author,
            note="-back soon" if event == Status("away") else None,
            until=at(100_000) if isinstance(event, Announce) else None,
        )
        for minute, (event, source, author) in enumerate(happened, start=1)
    ]
    found += [Report(Late("closed"), BRIDGE, at(90)), Report(Message("<b>auto</b>"), AUTO, at(60))]
    return found


async def fill(uri: str, rows: list[dict[str, Any]]) -> None:
    engine = make_engine(uri)
    await upgrade(engine)
    async with engine.begin() as connection:
        for begin in range(0, len(rows), 20_000):
            await connection.execute(insert(schema.event), rows[begin : begin + 20_000])
    await engine.dispose()


def many(count: int) -> list[dict[str, Any]]:
    """Return rows of a busy space, most of them temperatures; some happen at the same instant."""
    warm: list[Event] = [Temperature(0, 21.5)] * 7
    happens = [*warm, Status("open"), Heartbeat(), Message("Ciao a tutti")]
    return [
        {
            "seq": seq,
            "at": T0 + timedelta(seconds=seq // 3),
            "source": BRIDGE if seq % 7 else WEB,
            **to_columns(happens[seq % len(happens)])._asdict(),
        }
        for seq in range(1, count + 1)
    ]


# --- reading


@pytest.fixture
async def busy(db_uri: str) -> AsyncIterator[AsyncEngine]:
    """A log with a good number of events, on each database."""
    await fill(db_uri, many(20_000))
    engine = make_engine(db_uri)
    if engine.dialect.name == "postgresql":
        async with engine.begin() as connection:
            await connection.exec_driver_sql("ANALYZE event")
    yield engine
    await engine.dispose()


async def plan(engine: AsyncEngine, wanted: Filter, **where: Any) -> str:
    """Return what the database intends to do for a page."""
    dialect = engine.dialect
    explain = "EXPLAIN QUERY PLAN" if dialect.name == "sqlite" else "EXPLAIN"
    chosen = query(wanted, dialect.name, limit=21, **where).compile(
        dialect=dialect, compile_kwargs={"literal_binds": True}
    )
    async with engine.connect() as connection:
        rows = await connection.exec_driver_sql(f"{explain} {chosen}")
        return "\n".join(str(row[-1]) for row in rows)


async def test_no_page_reads_or_sorts_more_than_it_shows(busy: AsyncEngine) -> None:
    tomorrow = T0 + timedelta(days=1)
    middle = Place(at(3000), 9000)
    for wanted in (
        Filter(KINDS["status"]),
        Filter(KINDS["temperature"], WEB),
        Filter(KINDS["people"], None, T0, tomorrow),
        ALL,
        Filter(KINDS["all"], BRIDGE, T0, tomorrow),
    ):
        index = "event_by_source" if wanted.source else "event_by_time"
        if busy.dialect.name == "postgresql":
            index = "event_by_"  # it knows how rare a source is, and may choose the other one
        for where in ({}, {"before": middle}, {"after": middle}, {"after": BEGINNING}, {"offset": 500}):
            steps = await plan(busy, wanted, **where)
            assert steps.count(index) == len(wanted.kinds), steps
            assert not re.search("SCAN event|Seq Scan|Bitmap|TEMP B-TREE|Sort  ", steps), steps


async def test_pages_by_place_are_the_whole_log_once(busy: AsyncEngine) -> None:
    for wanted in (ALL, Filter(KINDS["status"]), Filter(KINDS["all"], WEB)):
        whole = await older(busy, wanted, limit=30_000)
        assert [(each.at, each.seq) for each in whole] == sorted(((e.at, e.seq) for e in whole), reverse=True)
        assert not any(isinstance(each.event, Heartbeat) for each in whole)
        down: list[Stored] = []
        up: list[Stored] = []
        place: Place | None = None
        while page := await older(busy, wanted, before=place, limit=997):
            down += page
            place = Place(page[-1].at, page[-1].seq)
        assert down == whole
        place = BEGINNING
        while page := await newer(busy, wanted, after=place, limit=997):
            up = page + up
            place = Place(page[0].at, page[0].seq)
        assert up == whole
        assert await older(busy, wanted, limit=7, offset=1234) == whole[1234:1241]


async def test_days_and_sources(store: Store) -> None:
    stored = await store.append(reports())
    found = await older(store.engine, ALL, limit=100)
    public = [each for each in stored if not isinstance(each.event, Seen | Gone | Heartbeat)]
    assert found == sorted(public, key=lambda each: (each.at, each.seq), reverse=True)
    part = Filter(KINDS["all"], WEB, at(5 * 60), at(8 * 60))
    assert [each.event for each in await older(store.engine, part, limit=9)] == [stored[5].event, stored[4].event]


# --- the pages


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server at which everything has happened, in March; anna lets everybody read her name."""
    folder = tmp_path_factory.mktemp("told")
    server = Server(folder, time_zone="Europe/Rome", stale_after="0", sensor_names="0=Lab")

    async def tell() -> None:
        engine = make_engine(server.settings["db_uri"])
        await upgrade(engine)
        store = Store(engine)
        await store.append(reports())
        await store.close()

    with ThreadPoolExecutor(1) as thread:
        thread.submit(lambda: asyncio.run(tell())).result()
    for name in ("anna", "bruno"):
        server.run("user", "add", name, "--password-stdin", input=PASSWORD + "\n").check_returncode()
    server.run("user", "modify", "anna", "--listed").check_returncode()
    server.start()
    yield server
    server.stop()
    assert "Traceback" not in server.errors, server.errors


def page_of(server: Server, path: str, status: int = 200) -> str:
    found, headers, body = server.get(path, Accept="text/html")
    assert found == status, body
    assert headers["content-type"].startswith("text/html")
    return body.decode()


def lines_of(page: str) -> list[str]:
    """Return the entries of a page, as text."""
    body = page.partition('<tbody id="entries">')[2].partition("</tbody>")[0]
    rows = re.findall("<tr>(.*?)</tr>", body, re.DOTALL)
    return [" ".join(unescape(re.sub("<[^>]*>", " ", row)).split()) for row in rows]


def link_of(page: str, word: str) -> str | None:
    found = re.search(rf'href="([^"]*)"[^>]*>[^<]*{word}', page)
    return unescape(found[1]) if found else None


def test_what_everybody_may_read(told: Server) -> None:
    page = page_of(told, "/log?kind=all")
    assert lines_of(page) == [
        "Mon, 2 Mar 2026, 13:13 Closed anna, the website",
        "Mon, 2 Mar 2026, 13:12 Away -back soon the website",
        "Mon, 2 Mar 2026, 13:11 Somebody left the button",
        "Mon, 2 Mar 2026, 13:09 An announcement was withdrawn the website",
        "Mon, 2 Mar 2026, 13:08 Announced: closed from Tue, 3 Mar 2026, 14:00 until Tue, 3 Mar 2026, 16:46 bruno, "
        "the website",
        "Mon, 2 Mar 2026, 13:06 Sound 3 the website",
        'Mon, 2 Mar 2026, 13:05 =1+1, "so" è qui anna, the website',
        "Mon, 2 Mar 2026, 13:03 Somebody came the button",
        "Mon, 2 Mar 2026, 13:02 -3.5 °C Lab the button",
        "Mon, 2 Mar 2026, 13:01 Closed (told later) the button",
        "Mon, 2 Mar 2026, 13:01 <b>auto</b> a timer",
        "Mon, 2 Mar 2026, 13:01 Open the button",
    ]
    assert "<b>auto" not in page
    assert '<time datetime="2026-03-02T12:13:00Z">' in page
    files = "".join(told.get(f"/log.{name}?kind=all")[2].decode() for name in ("csv", "json", "jsonl"))
    for text in (page, files):
        assert "41" not in re.sub(r"\d{13}", "", text)
        assert "aaaa" not in text
        assert not re.search("seen|gone|heartbeat", text)


def test_filters(told: Server) -> None:
    assert [line.split()[5] for line in lines_of(page_of(told, "/log"))] == ["Closed", "Away", "Closed", "Open"]
    assert [line.partition("13:")[2] for line in lines_of(page_of(told, "/log?kind=people"))] == [
        "11 Somebody left the button",
        "03 Somebody came the button",
    ]
    assert len(lines_of(page_of(told, "/log?kind=all&source=timer"))) == 1
    assert len(lines_of(page_of(told, "/log?kind=all&source=devices"))) == 0
    assert "There is nothing here." in page_of(told, "/log?kind=all&source=devices")
    # A day is the space's own: it begins at 23:00 UTC.
    page = page_of(told, "/log?kind=message&day=2026-03-02")
    assert len(lines_of(page)) == 2
    assert link_of(page, "Sun, 1 Mar 2026") == "/log?day=2026-03-01&kind=message"
    assert link_of(page, "Tue, 3 Mar 2026") == "/log?day=2026-03-03&kind=message"
    assert lines_of(page_of(told, "/log?day=2026-03-01")) == []
    assert '<option value="message" selected>' in page
    assert 'value="2026-03-02"' in page


def test_pages_lead_to_one_another(told: Server) -> None:
    first = page_of(told, "/log?kind=all&limit=5")
    assert link_of(first, "Newer") is None
    assert link_of(first, "Newest") is None
    seen, page = lines_of(first), first
    while (to := link_of(page, "Older")) is not None:
        page = page_of(told, to)
        seen += lines_of(page)
    whole = lines_of(page_of(told, "/log?kind=all"))
    assert seen == whole
    assert len(lines_of(page)) == 2
    up = page_of(told, str(link_of(page, "Newer")))
    assert lines_of(up) == whole[5:10]
    # What is nearer to the newest than a page is the newest page, with all that it has.
    top = page_of(told, str(link_of(up, "Newer")))
    assert lines_of(top) == whole[:5]
    assert 'id="live"' in top
    assert 'id="live"' not in up
    last = page_of(told, str(link_of(first, "Oldest")))
    assert lines_of(last) == whole[-5:]
    assert (link_of(last, "Older"), link_of(last, "Oldest")) == (None, None)
    assert lines_of(page_of(told, str(link_of(last, "Newest")))) == whole[:5]
    below = page_of(told, "/log?before=1-1")
    assert lines_of(below) == []
    assert link_of(below, "Newest") == "/log"
    assert link_of(below, "Oldest") == "/log?after=0-0"


def test_json_pages(told: Server) -> None:
    old = told.json("/log?format=json")
    assert [entry["value"] for entry in old["log"]] == ["closed", "away", "closed", "open"]
    assert old["log"][0] == {"timestamp": 1772453580000, "modifiedby": "web", "value": "closed", "user": "anna"}
    assert "kind" not in old["log"][0]
    found: list[Any] = []
    to: str | None = "/log?format=json&kind=all&limit=5"
    while to:
        answer = told.json(to)
        found += answer["log"]
        to = answer.get("older")
    kinds = [entry["kind"] for entry in found]
    assert kinds.count("arrival") == kinds.count("departure") == 1
    assert {"kind": "arrival", "modifiedby": "BITS", "seq": 3, "timestamp": 1772452980000} in found
    assert len(found) == 12
    assert told.json("/log.json?kind=all")["log"] == found
    lines = told.get("/log.jsonl?kind=all")[2].decode().splitlines()
    assert [json.loads(line) for line in lines] == found
    assert told.get("/log?format=json")[1]["access-control-allow-origin"] == "*"
    # Who asks for a kind is told it, page by page.
    page = told.json("/log?format=json&kind=status&limit=1&timestamps=iso")
    assert page["log"][0]["timestamp"] == "2026-03-02 13:13:00.000000"
    assert {"kind", "seq"} <= told.json(page["older"])["log"][0].keys()


def test_a_table(told: Server) -> None:
    status, headers, body = told.get("/log.csv?kind=all")
    assert (status, headers["content-type"]) == (200, "text/csv; charset=utf-8; header=present")
    assert headers["content-disposition"] == 'attachment; filename="log.csv"'
    assert headers["access-control-allow-origin"] == "*"
    text = body.decode()
    assert text.count("\n") == text.count("\r\n")
    rows = list(csv.DictReader(StringIO(text, newline="")))
    assert len(rows) == 12
    by_kind = {row["kind"]: row for row in rows}
    assert by_kind["message"]["text"] == "<b>auto</b>"
    assert [row["text"] for row in rows if row["user"] == "anna"] == ["", '\'=1+1, "so"\r\nè qui']
    assert [row["text"] for row in rows if row["value"] == "away"] == ["'-back soon"]
    assert by_kind["temperature"]["value"] == "-3.5"
    assert by_kind["status"]["time"] == "2026-03-02T12:01:00Z"
    assert by_kind["announcement"]["begins"] == "2026-03-03T13:00:00Z"
    packed = told.get("/log.csv?kind=all", Accept_Encoding="gzip")
    assert gzip.decompress(packed[2]) == body
    assert told.get("/log.csv?kind=sound&day=2026-03-01")[2] == body[: body.index(b"\r\n") + 2]


@given(st.text(max_size=20) | st.sampled_from(["=A1", "+1", "-1", "@x", "\t=1", "\r=1", "'=1"]))
def test_no_text_is_a_formula(text: str) -> None:
    assert not plain(text).startswith(FORMULA)
    assert plain(text).removeprefix("'") == text.removeprefix("'")


def test_head_of_a_file(told: Server) -> None:
    connection = http.client.HTTPConnection(urlsplit(told.url).netloc, timeout=10)
    connection.request("HEAD", "/log.csv?kind=all")
    answer = connection.getresponse()
    assert (answer.status, answer.read()) == (200, b"")
    assert answer.headers["content-disposition"]
    connection.close()


@pytest.mark.parametrize(
    "wrong",
    [
        "kind=seen",
        "source=mac",
        "day=yesterday",
        "day=2026-02-30",
        "day=1969-12-31",
        "day=9999-12-31",
        "day=%D9%A3026-01-01",
        "before=1",
        "before=1-x",
        "before=-1-1",
        "after=" + "9" * 30 + "-1",
        "after=999999999999999999-1",
        "before=" + "9" * 18 + "-" + "9" * 19,
        "offset=100001",
        "before=1-1&after=1-1",
        "offset=0&before=1-1",
    ],
)
def test_what_is_no_history_is_refused(told: Server, wrong: str) -> None:
    status, _, body = told.get(f"/log?{wrong}")
    assert status == 400
    assert re.search(rb"[Ee]xpected .*\.", body)
    assert len(body) < 200
    if not re.match("before|after|offset", wrong):
        assert told.get(f"/log.csv?{wrong}")[0] == 400


def test_a_day_that_is_none_keeps_what_was_typed_beside_its_field(told: Server) -> None:
    page = page_of(told, "/log?kind=people&source=button&day=2%2F3%22%3E", 400)
    assert 'value="2/3&#34;&gt;" aria-invalid="true" aria-describedby="day-problem"' in page
    assert "“2/3&#34;&gt;” is no day" in page
    assert '<option value="people" selected>' in page
    assert '<option value="button" selected>' in page


# --- files of any size

ROWS = 200_000


@pytest.fixture(scope="module")
def long(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("long")
    uri = f"sqlite:///{folder}/long.db"
    with ThreadPoolExecutor(1) as thread:
        thread.submit(lambda: asyncio.run(fill(uri, many(ROWS)))).result()
    server = Server(folder, db_uri=uri, stale_after="0", trusted_proxies="127.0.0.1").start()
    yield server
    server.stop()
    assert "Traceback" not in server.errors, server.errors


def memory(server: Server) -> float:
    """The server's own memory, in MB."""
    status = Path(f"/proc/{server.process.pid}/status").read_text()
    return int(re.search(r"RssAnon:\s+(\d+)", status)[1]) / 1000  # type: ignore[index]


def begin_download(server: Server, path: str, address: str) -> socket.socket:
    """Ask for a file and take the first of it; the rest is not read."""
    url = urlsplit(server.url)
    link = socket.socket()
    link.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    link.settimeout(20)
    link.connect((url.hostname, url.port))
    link.sendall(f"GET {path} HTTP/1.1\r\nHost: x\r\nX-Forwarded-For: {address}\r\n\r\n".encode())
    assert link.recv(1024).startswith(b"HTTP/1.1 200")
    return link


def test_a_large_file_takes_no_memory_and_holds_up_nobody(long: Server) -> None:
    long.get("/log.csv?kind=status")  # what is made once is made
    before = memory(long)
    connection = http.client.HTTPConnection(urlsplit(long.url).netloc, timeout=60)
    connection.request("GET", "/log.csv?kind=all")
    answer = connection.getresponse()
    lines, most = 0, before
    while data := answer.read(1 << 20):
        lines += data.count(b"\n")
        most = max(most, memory(long))
        assert long.get("/status")[0] == 200
    connection.close()
    assert lines == 1 + ROWS * 9 // 10
    assert most - before < 8  # of a file of 11 MB


def test_who_reads_slowly_or_goes_away_costs_nothing_and_others_wait_their_turn(long: Server) -> None:
    with ExitStack() as readers:
        before = memory(long)
        for n in range(EACH):
            readers.enter_context(begin_download(long, "/log.jsonl?kind=all", f"2001:db8::{n}"))
        # A whole network is one reader, and keeps nobody else waiting.
        assert long.get("/log.csv?kind=all", X_Forwarded_For="2001:db8::99")[0] == 503
        assert long.get("/log.csv?kind=sound", X_Forwarded_For="192.0.2.1")[0] == 200
        for n in range(EACH, AT_ONCE):
            readers.enter_context(begin_download(long, "/log.jsonl?kind=all", f"192.0.2.{n}"))
        status, headers, body = long.get("/log.csv?kind=all", X_Forwarded_For="192.0.2.99")
        assert (status, headers["retry-after"]) == (503, "10")
        assert b"Too many downloads at once" in body
        assert long.metric('downloads_refused_total{reason="too-many"}') == 2
        assert long.get("/log?kind=all")[0] == 200
        # SQLite's own memory for some more connections; the files would be 70 MB.
        assert memory(long) - before < 25
    wait_until(lambda: long.get("/log.csv?kind=sound")[0] == 200, "room for another download")
    wait_until(lambda: long.metric("downloads_under_way") == 0, "the end of all downloads")


def test_who_takes_less_than_the_least_is_out_of_patience_in_the_end() -> None:
    slow, steady, quick = Patience(), Patience(), Patience()
    for _ in range(1000):
        slow.took(SLOWEST, 1.5)
        steady.took(SLOWEST, 1.0)
        quick.took(100 * SLOWEST, 0.1)
    assert slow.left == 0
    assert steady.left == quick.left == STALL
    quick.took(1, STALL - 1)  # no haste in the past makes up for a stall
    assert 1 <= quick.left < 1.1


@pytest.mark.parametrize("limits", [{"STALL": 0.05}, {"STALL": 0.2, "SLOWEST": 1 << 30}])
async def test_a_download_that_is_not_read_ends(
    store: Store, monkeypatch: pytest.MonkeyPatch, limits: dict[str, float]
) -> None:
    """One reader takes nothing; the other takes each portion just before it would be cut off, and is all the same."""
    await store.append(reports())
    for name, limit in limits.items():
        monkeypatch.setattr(downloads, name, limit)
    monkeypatch.setattr(downloads, "PORTION", 1)
    counters, aborted = Counters(), asyncio.Event()
    past = pages.History(counters)

    async def send(_data: bytes) -> None:
        assert past.downloads.total() == 1
        await asyncio.sleep(0.05 if "SLOWEST" in limits else WAIT)

    async def respond(**_: Any) -> Any:
        return SimpleNamespace(send=send)

    shown = SimpleNamespace(entry=lambda stored: {"seq": stored.seq})
    live = SimpleNamespace(channels={"ms": SimpleNamespace(wire=shown)}, state=SimpleNamespace(seq=99))
    ctx = SimpleNamespace(config=Config(), counters=counters, engine=store.engine, history=past, live=live)
    request: Any = SimpleNamespace(
        app=SimpleNamespace(ctx=SimpleNamespace(bits=ctx)),
        path="/log.jsonl",
        method="GET",
        args={"kind": "all"},
        headers={},
        ip="192.0.2.1",
        respond=respond,
        transport=SimpleNamespace(abort=aborted.set),
    )
    assert await download(request) is None
    assert aborted.is_set()
    assert counters['downloads_ended_total{reason="stalled"}'] == 1
    assert not past.downloads


def test_what_strangers_read_waits_its_turn_and_does_not_wait_without_end(long: Server) -> None:
    deep = [f"/log?kind=all&source=any&offset={100_000 - n}" for n in range(2 * pages.WAITING)]
    answers = long.at_once([*deep, *["/api/v1/events"] * 20, "/log?kind=sound", "/log?kind=people&format=json"])
    heads = [answer.partition(b"\r\n\r\n")[0].lower() for answer in answers]
    assert all(head.startswith(b"http/1.1 200") for head in heads[-2:])  # made once for all, and not kept from them
    assert sum(head.startswith(b"http/1.1 200") for head in heads) >= pages.WAITING
    refused = [place for place, head in enumerate(heads) if head.startswith(b"http/1.1 503")]
    assert refused
    assert all(b"retry-after: 5" in heads[place] for place in refused)
    of_the_api = [place for place in refused if len(deep) <= place < len(deep) + 20]
    assert of_the_api
    assert all(b"application/problem+json" in heads[place] and b"#busy" in answers[place] for place in of_the_api)
    assert long.metric('reads_refused_total{reason="busy"}') == len(refused)
    assert long.get("/log?kind=all&offset=20")[0] == 200


async def test_turns_are_taken_in_order_and_given_back_whatever_happens() -> None:
    counters = Counters()
    turns = Turns(counters, "reads", "Too many.", at_once=1, waiting=2)
    done: list[int] = []
    go_on = asyncio.Event()

    async def take(number: int) -> None:
        async with turns.one():
            done.append(number)
            await go_on.wait()
            if number == 1:
                raise RuntimeError

    tasks = [asyncio.create_task(take(number)) for number in range(4)]
    await until(tasks[3].done, "a refusal")
    assert isinstance(tasks[3].exception(), ServiceUnavailable)
    tasks[0].cancel()
    go_on.set()
    found = await asyncio.gather(*tasks, return_exceptions=True)
    assert [type(each) for each in found[:3]] == [asyncio.CancelledError, RuntimeError, type(None)]
    assert done == [0, 1, 2]
    await asyncio.gather(take(4), take(5), take(6))
    assert counters['reads_refused_total{reason="busy"}'] == 1


async def test_a_long_page_leaves_the_loop_time_for_others(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(render, "PORTION", 0)
    renderer = render.Renderer(Config(), render.Assets())
    values: dict[str, Any] = {"current": "", "code": 404, "title": "404", "text": "x" * 5, "text_language": "en"}
    ticks = 0

    async def tick() -> None:
        nonlocal ticks
        while True:
            ticks += 1
            await asyncio.sleep(0)

    ticking = asyncio.create_task(tick())
    found = await renderer.long_page("error.html", "en", **values, meant=["/log"] * 500)
    ticking.cancel()
    assert ticks > 50
    assert found.data == renderer.page("error.html", "en", **values, meant=["/log"] * 500).data


def test_a_page_is_made_once_for_all_who_ask(long: Server) -> None:
    etag = long.get("/log?kind=all")[1]["etag"]
    assert long.get("/log?kind=all", If_None_Match=etag)[0] == 304
    before = lines_of(page_of(long, "/log?kind=message"))
    long.say("message " + "Q2lhbw==")
    after = lines_of(page_of(long, "/log?kind=message"))
    assert after[1:] == before[:-1]
    assert "Ciao" in after[0]


def test_beyond_what_is_counted_a_page_leads_on_by_place(long: Server) -> None:
    page = page_of(long, "/log?kind=temperature&offset=100000&limit=500")
    assert len(lines_of(page)) == 500
    to = str(link_of(page, "Older"))
    assert to.startswith("/log?before=")
    below = page_of(long, to)
    last, following = (re.findall(r'id="e(\d+)"', each) for each in (page, below))
    warm = [row["seq"] for row in many(ROWS) if row["kind"] == "temperature"]
    assert warm.index(int(last[-1])) - 1 == warm.index(int(following[0]))


# --- the page in a browser


@pytest.mark.browser
def test_new_entries_appear_on_top_and_move_nothing_that_is_read(server: Server, open_page: Callable[..., Any]) -> None:
    server.say(*(f"temperature 0 {n}" for n in range(30)), "status 1")
    page = open_page(server.url + "/log?kind=all&limit=20", viewport={"width": 360, "height": 500})
    rows = page.locator("#entries tr")
    expect(page.locator("#news")).to_have_text("New entries appear by themselves")
    page.evaluate("window.sameDocument = true")
    server.say("enter 7")
    expect(rows.first).to_contain_text("Somebody came")
    expect(page.locator("#news")).to_have_text("One new entry")
    expect(rows).to_have_count(21)
    server.say("message Q2lhbyA8Yj4=")
    expect(rows.first).to_contain_text("Ciao <b>")
    # Who reads further down goes on reading.
    tenth = page.locator("#entries tr", has_text="25.0 °C")
    tenth.evaluate("row => row.scrollIntoView({block: 'center'})")
    before = tenth.bounding_box()["y"]
    server.say("sound 3", "temperature 0 40", "leave 7")
    expect(rows.first).to_contain_text("Somebody left")
    expect(rows).to_have_count(25)
    assert tenth.bounding_box()["y"] == pytest.approx(before, abs=1.5)
    # Paused, nothing changes; then all that was missed comes.
    page.get_by_role("button", name="Pause updates").click()
    server.say("status 0")
    server.say("temperature 0 41")
    wait_until(lambda: page.evaluate("fetch('/data').then(answer => answer.json())")["tempint"]["value"] == 41)
    expect(rows).to_have_count(25)
    page.get_by_role("button", name="Resume updates").click()
    expect(rows).to_have_count(27)
    expect(page.locator("#news")).to_have_text("2 new entries")
    # What leads on from here still leads on without a gap.
    page.get_by_role("link", name="Older").click()
    expect(page.locator("#live")).to_have_count(0)
    expect(rows.first).to_contain_text("10.0 °C")


@pytest.mark.browser
def test_a_page_shows_only_what_was_asked_for(server: Server, open_page: Callable[..., Any]) -> None:
    page = open_page(server.url + "/log")
    expect(page.locator("#nothing")).to_be_visible()
    page.get_by_label("What").select_option("Messages")
    page.get_by_role("button", name="Show").click()
    page.wait_for_url("**/log?kind=message*")
    server.say("status 1", "temperature 0 21", "message Q2lhbw==")
    rows = page.locator("#entries tr")
    expect(rows).to_have_count(1)
    expect(rows).to_contain_text("Ciao")
    expect(page.locator("#nothing")).to_have_count(0)
    # More at once than fits: the page begins anew, and misses nothing.
    page = open_page(server.url + "/log?kind=temperature&limit=5")
    server.say(*(f"temperature 0 {n}" for n in range(12)))
    rows = page.locator("#entries tr")
    expect(rows.first).to_contain_text("11.0 °C")
    numbers = [
        int(each.removeprefix("e"))
        for each in page.locator("#entries tr td:first-child").evaluate_all("c => c.map(t => t.id)")
    ]
    assert numbers == list(range(numbers[0], numbers[0] - len(numbers), -1))


@pytest.mark.browser
def test_a_reader_turns_pages_chooses_a_day_and_takes_the_file_along(
    told: Server, open_page: Callable[..., Any]
) -> None:
    page = open_page(told.url + "/log?kind=all&limit=5")
    rows = page.locator("#entries tr")
    for click, first in (
        ("", "Closed"),
        ("Older", "Sound 3"),
        ("Newer", "Closed"),
        ("Oldest", "Somebody came"),
        ("Newest", "Closed"),
    ):
        if click:
            page.get_by_role("link", name=click).click()
        expect(rows.first).to_contain_text(first)
        expect(rows).to_have_count(5)
    page.get_by_label("What").select_option("Messages")
    page.get_by_label("Day").fill("2026-03-02")
    page.get_by_role("button", name="Show").click()
    expect(rows).to_have_count(2)
    page.get_by_role("link", name="Sun, 1 Mar 2026").click()
    expect(page.get_by_text("There is nothing here.")).to_be_visible()
    page.get_by_role("link", name="Mon, 2 Mar 2026").click()
    expect(rows).to_have_count(2)
    with page.expect_download() as begun:
        page.get_by_role("link", name="CSV").click()
    assert begun.value.suggested_filename.endswith(".csv")
    file = begun.value.path().read_bytes()
    assert file == told.get("/log.csv?kind=message&day=2026-03-02")[2]
    assert file.count(b"<b>auto</b>") == 1
