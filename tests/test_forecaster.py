"""The forecast where it is served: learned from the log in a process of its own, kept true, shown in every form."""

from __future__ import annotations

import asyncio
import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, date, datetime, timedelta
from html.parser import HTMLParser
from io import BytesIO
from itertools import chain, pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from benchmarks.forecast import fill
from benchmarks.places import place
from bits.config import Config
from bits.counters import Counters
from bits.events import BRIDGE, WEB, Heartbeat, Late, Message, Report, Status, Stored, Temperature
from bits.forecast.days import Calendar
from bits.forecast.occupancy import CLOSED, OPEN, UNKNOWN, Record
from bits.forecast.outlook import look_ahead
from bits.forecaster import Forecaster
from bits.refit import in_own_process, learn, read, task, to_record
from bits.store import Store
from bits.web.palette import CLASSIC, PALETTES, SAFE, ink, level, luminance
from tests.conftest import HISTORY_WEEKS, ROME, ROOT, T0, Server, at, history, until, wait_until

# --- from the log


async def test_the_log_gives_its_transitions_and_its_silences(store: Store) -> None:
    await store.append(
        [
            Report(Status("open"), BRIDGE, at(0)),
            Report(Temperature(0, 20.5), BRIDGE, at(100)),
            Report(Message("nobody home"), WEB, at(500)),  # tells nothing of the state
            Report(Heartbeat(), BRIDGE, at(2000)),
            Report(Status("closed"), WEB, at(2500)),
            Report(Late("away"), BRIDGE, at(2400)),
            Report(Temperature(0, 20.5), BRIDGE, at(4000.25)),
        ]
    )
    begin = T0.timestamp()
    statuses = [(moment - begin, value) for moment, value in await store.transitions()]
    assert [value for _, value in statuses] == ["open", "away", "closed"]
    assert np.allclose([moment for moment, _ in statuses], [0, 2400, 2500], atol=1e-3)
    silences = [(start - begin, stop - begin) for start, stop in await store.silences(900)]
    assert np.allclose(sorted(silences), [(100, 2000), (2500, 4000.25), (4000.25, np.inf)], atol=1e-3)
    assert [value for _, value in await store.transitions(at(2450))] == ["open", "away", "closed"]
    assert [value for _, value in await store.transitions(at(2600))] == ["away", "closed"]
    assert [value for _, value in await store.transitions(at(-5))] == ["open", "away", "closed"]
    assert await store.first_status() == at(0)


async def test_an_empty_log_has_none(store: Store) -> None:
    assert [*await store.transitions(), *await store.transitions(at(0)), *await store.silences(900)] == []
    assert await store.first_status() is None
    given = task(Config(db_uri="sqlite://", time_zone=ROME), date(2026, 3, 2), at(0).timestamp())
    assert len((await read(store, given)).times) == 0


def test_what_was_known_when() -> None:
    statuses = [(0.0, "open"), (5000.0, "closed"), (4000.0, "away")]
    record = to_record(statuses, [(1000.0, 3000.0), (6000.0, np.inf)], patience=900, away="open", end=9000)
    assert list(zip(record.times.tolist(), record.values.tolist(), strict=True)) == [
        (0, OPEN),
        (1900, UNKNOWN),
        (3000, OPEN),
        (4000, OPEN),
        (5000, CLOSED),
        (6900, UNKNOWN),
    ]
    assert record.end == 9000
    for away, code in (("open", OPEN), ("closed", CLOSED), ("unknown", UNKNOWN)):
        assert to_record([(0.0, "away")], [], patience=0, away=away, end=1).values.tolist() == [code]
    assert to_record([], [(0.0, np.inf)], patience=900, away="closed", end=5).end == 5


async def test_both_databases_and_another_process_lead_to_the_same_outlook(store: Store, db_uri: str) -> None:
    count = 6
    record = place("nights", count, zone=ROME, first=date(2026, 1, 5))
    values = [Status("open" if value else "closed") for value in record.values]
    moments = [datetime.fromtimestamp(moment, UTC) for moment in record.times]
    await store.append([Report(value, WEB, moment) for value, moment in zip(values, moments, strict=True)])
    origin = date(2026, 1, 5) + timedelta(weeks=count)
    config = Config(db_uri=db_uri, time_zone=ROME, stale_after=0.0)
    given = task(config, origin, record.end)
    here, there = await learn(given), await in_own_process(given)
    known = look_ahead(record, ROME, origin, Calendar("IT"))
    assert np.array_equal(here.p, there.p)
    assert np.allclose(here.p, known.p, atol=1e-3)
    # With silence taken for what it is, nothing but a quarter of an hour after each change is known.
    silent = await learn(task(Config(db_uri=db_uri, time_zone=ROME), origin, record.end))
    assert silent.weeks == 0


async def test_what_goes_wrong_elsewhere_is_told(tmp_path: Path) -> None:
    given = task(Config(db_uri=f"sqlite:///{tmp_path}/none/bits.db"), date(2026, 1, 5), 0.0)
    with pytest.raises(RuntimeError, match="unable to open database file"):
        await in_own_process(given)


async def test_a_forecast_that_fails_is_tried_again(
    store: Store, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    calls = 0

    async def fail(_task: object) -> Any:
        nonlocal calls
        calls += 1
        raise RuntimeError("no memory")

    monkeypatch.setattr("bits.forecaster.in_own_process", fail)
    monkeypatch.setattr("bits.forecaster.RETRY", 0.01)
    monkeypatch.setattr("bits.forecaster.AFTER_START", 0.0)
    await store.append([Report(Status("open"), WEB, at(-30 * 86400))])
    counters = Counters()
    forecaster = Forecaster(Config(), store, counters, lambda: at(0), lambda: False, lambda: None)
    await forecaster.start()
    await until(lambda: calls > 2)
    await forecaster.stop()
    await forecaster.stop()
    assert counters["forecast_failed_total"] >= 2
    assert "no memory" in caplog.text
    assert forecaster.present() is None


async def test_a_young_log_is_not_learned_from(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bits.forecaster.AFTER_START", 0.0)
    await store.append([Report(Status("open"), WEB, at(-13 * 86400))])
    asked = asyncio.Event()
    first = store.first_status

    async def first_status() -> datetime | None:
        asked.set()
        return await first()

    monkeypatch.setattr(store, "first_status", first_status)
    forecaster = Forecaster(Config(), store, Counters(), lambda: at(0), lambda: False, lambda: None)
    await forecaster.start()
    await asyncio.wait_for(asked.wait(), 10)
    await forecaster.stop()
    assert forecaster.outlook is None


async def test_statuses_are_kept_as_long_as_they_matter(store: Store) -> None:
    now = at(0)
    forecaster = Forecaster(Config(), store, Counters(), lambda: now, lambda: False, lambda: None)
    await forecaster.start()
    for hour in range(200):
        now = at(3600 * hour)
        forecaster.on_events([Stored(hour + 1, Status("open" if hour % 2 else "closed"), BRIDGE, now)])
    await forecaster.stop()
    kept = [moment for moment, _ in forecaster._recent]
    assert len(kept) == 98
    assert kept[0] < (now - timedelta(days=4)).timestamp() <= kept[1]


# --- as served


def test_presence_is_a_week_of_half_hours(settled: Server) -> None:
    known = settled.json("/presence")
    assert [len(day) for day in known["forecast"]] == [48] * 7
    assert all(isinstance(p, float) and 0 <= p <= 1 for day in known["forecast"] for p in day)
    assert known["known"] is True
    headers = settled.get("/presence")[1]
    assert headers["access-control-allow-origin"] == "*"
    assert settled.get("/presence", If_None_Match=headers["etag"])[0] == 304
    # The same week as the command shows, and as the arrays say.
    told = json.loads(settled.run("forecast", "--json").stdout)
    assert told["forecast"] == known["forecast"]
    today = datetime.now(ROME).date()
    outlook = look_ahead(history(), ROME, today, Calendar("IT"))
    assert np.allclose(known["forecast"][today.weekday()], outlook.p[0], atol=0.01)


def test_the_api_tells_all(settled: Server) -> None:
    known = settled.json("/api/v1/forecast")
    assert known["time_zone"] == "Europe/Rome"
    assert known["slot_minutes"] == 30
    assert known["weeks"] >= HISTORY_WEEKS - 1
    for low, p, high in zip(*(chain(*known[key]) for key in ("low", "forecast", "high")), strict=True):
        assert 0 <= low <= p <= high <= 1
    assert [date.fromisoformat(day["date"]).weekday() for day in known["days"]] == list(range(7))
    assert datetime.now(ROME).date().isoformat() in [day["date"] for day in known["days"]]
    assert known["score"]["weeks"] == 6
    assert set(known["score"]["skill"]) == {"climatology", "recent_weeks", "predecessor"}
    assert len(known["nowcast"]["forecast"]) == 24


def test_an_event_changes_the_next_hours_without_learning_anew(settled: Server) -> None:
    settled.say("status 0")
    closed = settled.json("/api/v1/forecast")["nowcast"]
    settled.say("status 1")
    opened = settled.json("/api/v1/forecast")["nowcast"]
    assert (closed["open"], opened["open"]) == (False, True)
    assert opened["forecast"][0] > closed["forecast"][0] + 0.3
    assert "until" in opened or opened["forecast"][-1] >= 0.5
    assert "until" not in closed
    assert closed["opening"]["timestamp"] > closed["timestamp"]
    assert settled.metric("forecasts_total") == 1


def test_a_space_without_a_past_says_so(server: Server) -> None:
    known = server.json("/presence")
    assert known == {"forecast": [[0.5] * 48] * 7, "known": False, "weeks": 0}
    told = server.json("/api/v1/forecast")
    assert told["score"] is told["nowcast"] is None
    assert (told["low"][0][0], told["high"][0][0]) == (0, 1)
    assert "Not enough data yet" in server.get("/")[2].decode()
    image = Image.open(BytesIO(server.get("/bits_presence.png")[2]))
    assert image.size == (710, 268)


def test_a_server_that_stops_while_it_learns_leaves_nobody_behind(
    make_server: Callable[..., Server], tmp_path: Path
) -> None:
    uri = f"sqlite:///{tmp_path}/full.db"
    asyncio.run(fill(uri, history()))
    server = make_server(db_uri=uri, stale_after="0")
    pid = server.process.pid

    def child() -> str:  # whichever thread started it
        children = ""
        for thread in os.listdir(f"/proc/{pid}/task"):
            with suppress(OSError):  # a thread may end while we look
                children += Path(f"/proc/{pid}/task/{thread}/children").read_text()
        return children.strip()

    learner = int(wait_until(child, "a learner"))
    assert server.stop() == 0
    wait_until(lambda: not Path(f"/proc/{learner}").exists(), "the learner's end")


class Table(HTMLParser):
    """Reads tables as a screen reader would: caption, headers by scope, cells."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.captions: list[str] = []
        self.columns: list[str] = []
        self.rows: dict[str, list[str]] = {}
        self.marked: list[dict[str, str | None]] = []
        self._into: Callable[[str], None] = lambda text: None
        self._row: list[str] = []
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        known = dict(attrs)
        if tag in ("th", "td") and "aria-current" in known:
            self.marked.append(known)
        if tag == "caption":
            self.captions.append("")
            self._into = lambda text: self.captions.__setitem__(-1, self.captions[-1] + text)
        elif tag == "th" and known["scope"] == "col":
            self.columns.append("")
            self._into = lambda text: self.columns.__setitem__(-1, self.columns[-1] + text)
        elif tag == "th":
            assert known["scope"] == "row"
            self._row = []
            self._into = lambda text: self.rows.__setitem__(text, self._row)
        elif tag == "td":
            self._row.append("")
            row = self._row
            self._into = lambda text: row.__setitem__(-1, row[-1] + text)

    def handle_endtag(self, tag: str) -> None:
        if tag in ("th", "td", "caption"):
            self._into = lambda text: None

    def handle_data(self, data: str) -> None:
        self._into(data)


def test_the_page_has_a_table_that_can_be_read_aloud(settled: Server) -> None:
    page = settled.get("/")[2].decode()
    read_ = Table(page)
    assert read_.captions[0] == "How likely it is open, for each half hour of the coming week"
    assert [column[:3] for column in read_.columns[:7]] == ["Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"]
    assert len(read_.rows) == 48
    known = settled.json("/presence")["forecast"]
    for slot, (time, cells) in enumerate(sorted(read_.rows.items())):
        assert time == f"{slot // 2:02}:{slot % 2 * 30:02}"
        assert cells == [f"{round(100 * day[slot])}%" for day in known]
    now = datetime.now(ROME)
    assert [mark["aria-current"] for mark in read_.marked[:2]] == ["date", "time"] or now.minute in (29, 30, 59, 0)
    assert "Checked on the last 6 weeks" in page
    assert 'href="/bits_presence.png"' in page


def test_hours_of_the_night_are_folded_away_where_nothing_happens(
    make_server: Callable[..., Server], tmp_path: Path
) -> None:
    uri = f"sqlite:///{tmp_path}/full.db"
    asyncio.run(fill(uri, history("semesters")))
    server = make_server(db_uri=uri, time_zone="Europe/Rome", stale_after="0", closures=f"{date.today()} Party")
    wait_until(lambda: server.metric("forecasts_total"), "a forecast")
    shown, _, folded = server.get("/")[2].decode().partition("<details>")
    assert "00:00" not in Table(shown[shown.index("<table") :]).rows
    assert {"08:00", "20:30"} <= set(Table(shown[shown.index("<table") :]).rows)
    assert "03:00" in Table(folded).rows
    assert "Party" in shown
    days = {day["date"]: day for day in server.json("/api/v1/forecast")["days"]}
    assert days[datetime.now(ROME).date().isoformat()]["reason"] == "Party"


def test_italian(settled: Server) -> None:
    page = settled.get("/", Accept_Language="it")[2].decode()
    assert "Quanto è probabile che sia aperto" in page
    assert "lun" in Table(page).columns[0]


def test_the_palette_is_remembered(settled: Server) -> None:
    assert 'data-palette="blind"' in settled.get("/")[2].decode()
    status, headers, page = settled.get("/?palette=classic")
    assert 'data-palette="classic"' in page.decode()
    assert re.match(r"palette=classic; Path=/; Max-Age=\d+; SameSite=Lax; HttpOnly", headers["set-cookie"])
    assert "cookie" in headers["vary"].lower()
    assert 'data-palette="classic"' in settled.get("/", Cookie="palette=classic")[2].decode()
    assert 'data-palette="classic"' in settled.get("/outlook", Cookie="palette=classic")[2].decode()
    status, headers, page = settled.get("/blind", Cookie="palette=classic")
    assert (status, 'data-palette="blind"' in page.decode()) == (200, True)
    assert headers["set-cookie"].startswith("palette=blind;")
    assert 'data-palette="blind"' in settled.get("/", Cookie="palette=%22%3E%3Cscript%3E")[2].decode()


@pytest.mark.parametrize("scale", [1, 2])
@pytest.mark.parametrize("palette", PALETTES)
def test_the_image_is_sharp_and_in_the_colours_asked_for(settled: Server, palette: str, scale: int) -> None:
    status, headers, png = settled.get(f"/bits_presence.png?palette={palette}&scale={scale}")
    assert (status, headers["content-type"]) == (200, "image/png")
    image = Image.open(BytesIO(png)).convert("RGB")
    assert image.size == (710 * scale, 268 * scale)
    known = settled.json("/presence")["forecast"]
    for day, hour in ((0, 3), (4, 20), (6, 12)):
        p = sum(known[day][2 * hour : 2 * hour + 2]) / 2
        colour = f"#{bytes(image.getpixel(((48 + hour * 27 + 1) * scale, (34 + day * 24 + 1) * scale))).hex()}"  # type: ignore[arg-type]
        assert colour == PALETTES[palette][level(p)]
    assert settled.get("/bits_presence.png", If_None_Match=headers["etag"])[0] in (200, 304)
    assert settled.get(f"/bits_presence.png?palette={palette}&scale={scale}", If_None_Match=headers["etag"])[0] == 304


@pytest.mark.parametrize(
    "path", ["/bits_presence.png?palette=pink", "/bits_presence.png?scale=9", "/bits_presence.png?scale=x"]
)
def test_what_cannot_be_drawn_is_refused(server: Server, path: str) -> None:
    assert server.get(path)[0] == 400


# --- colours


def test_the_style_sheet_has_the_palettes_colours() -> None:
    css = (ROOT / "src/bits/web/client/base.css").read_text()
    for name, colours in PALETTES.items():
        prefix = "" if name == "blind" else f'[data-palette="{name}"] '
        for step, colour in enumerate(colours):
            assert f"\n{prefix}.p{step} {{ background: {colour}; color: {ink(colour)}; }}" in css


def test_the_default_palette_rises_in_lightness_and_all_can_be_read() -> None:
    lightness = [luminance(colour) for colour in SAFE]
    assert lightness == sorted(lightness)
    assert min(b - a for a, b in pairwise(lightness)) > 0.01
    for colour in SAFE + CLASSIC:
        light, dark = sorted((luminance(colour), luminance(ink(colour))), reverse=True)
        assert (light + 0.05) / (dark + 0.05) >= 4.5


# --- the command


def forecast(*arguments: str, given: str = "") -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "bits", "forecast", *arguments],
        input=given,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def rows_of(record: Record) -> str:
    lines = ["timestamp_utc,value"]
    for moment, value in zip(record.times, record.values, strict=True):
        lines.append(f"{datetime.fromtimestamp(moment, UTC):%Y-%m-%dT%H:%M:%SZ},{'open' if value else 'closed'}")
    return "\n".join(lines)


def test_the_command_scores_a_file(tmp_path: Path) -> None:
    file = tmp_path / "rows.csv"
    file.write_text(rows_of(place("door", 30)))
    run = forecast("--score", "--json", "--csv", str(file), "--tz", "Europe/Berlin")
    told = json.loads(run.stdout)
    assert list(told) == ["brier", "log_loss", "calibration_error", "weeks", "skill"]
    assert list(told["skill"]) == ["climatology", "recent_weeks", "predecessor"]
    assert 0 < told["brier"] < 0.25
    assert told["weeks"] == 9
    words = forecast("--score", "--csv", str(file), "--tz", "Europe/Berlin").stdout
    assert "Checked on the last 9 weeks" in words
    assert f"{told['brier']:.4f}" in words
    assert "hours ahead" in words


def test_the_command_draws_the_week() -> None:
    drawn = forecast("--csv", "-", "--tz", "Europe/Berlin", given=rows_of(place("semesters", 30))).stdout
    assert "Mon" in drawn.splitlines()[2]
    assert re.search(r"^10:30( +\d+){7} *$", drawn, re.MULTILINE)
    assert "\x1b" not in drawn  # no colour where there is none


@pytest.mark.parametrize(
    ("given", "arguments", "code", "said"),
    [
        ("", (), 0, "Not enough data yet"),
        ("", ("--score",), 0, "Not enough data yet"),
        ("2026-01-01T00:00:00Z,open", ("--score", "--json"), 0, '"brier": null'),
        ("2026-01-01T00:00:00Z,open", (), 0, "Not enough data yet"),
        (
            "2016-01-01T00:00:00Z,closed\n2026-01-01T00:00:00Z,closed",
            ("--score",),
            0,
            "no better than the plain average",
        ),
        (
            "2026-01-01T00:00:00Z,open\n2025-01-01T00:00:00Z,open",
            (),
            1,
            "bits: -: line 2: 2025-01-01T00:00:00Z is earlier",
        ),
        ("2026-01-01T00:00:00Z,ajar", (), 1, "bits: -: line 1: expected open, closed, away or unknown"),
        ("", ("--tz", "Mars/Olympus"), 1, "bits: --tz: expected an IANA time zone"),
        ("", ("--holidays-country", "XX"), 1, "bits: holidays_country, holidays_region: "),
    ],
)
def test_odd_input_is_answered_with_a_sentence(given: str, arguments: tuple[str, ...], code: int, said: str) -> None:
    run = forecast("--csv", "-", *arguments, given=given)
    assert said in run.stdout + run.stderr
    assert run.returncode == code
    assert "Traceback" not in run.stderr
    assert "Warning" not in run.stderr


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    assert "cannot be read" in forecast("--csv", str(tmp_path / "none.csv")).stderr
    (tmp_path / "latin.csv").write_bytes(b"2026-01-01T00:00:00Z,\xe8")
    assert "is not UTF-8 text" in forecast("--csv", str(tmp_path / "latin.csv")).stderr
