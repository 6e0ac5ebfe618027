"""From transitions to slots: no second lost or counted twice, whatever the clocks do."""

from __future__ import annotations

from datetime import date, datetime, timedelta
from zoneinfo import ZoneInfo

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bits.forecast.occupancy import CLOSED, OPEN, UNKNOWN, Record, occupancy
from bits.forecast.slots import grid, midnight, place

ROME, SYDNEY = ZoneInfo("Europe/Rome"), ZoneInfo("Australia/Sydney")
ZONES = [
    "Europe/Rome",
    "Australia/Sydney",
    "Australia/Lord_Howe",  # moves by half an hour
    "Asia/Kathmandu",  # UTC+5:45
    "America/Sao_Paulo",
    "America/Havana",  # skips and repeats midnight
    "Pacific/Chatham",
    "UTC",
]


def record(*rows: tuple[float, int], end: float) -> Record:
    return Record(np.array([at for at, _ in rows], float), np.array([value for _, value in rows], np.int8), end)


@st.composite
def records(draw: st.DrawFn, begin: float, span: int) -> Record:
    moments = draw(st.lists(st.integers(-3600, span + 3600), min_size=1, max_size=12))
    values = draw(st.lists(st.sampled_from([OPEN, CLOSED, UNKNOWN]), min_size=len(moments), max_size=len(moments)))
    end = draw(st.integers(max(moments), span + 7200))
    return record(*zip((begin + moment for moment in sorted(moments)), values, strict=True), end=begin + end)


@settings(max_examples=60, deadline=None)
@given(st.data(), st.sampled_from(ZONES), st.integers(0, 730), st.sampled_from([60, 30, 20, 15, 12]))
def test_it_counts_minutes_as_one_would_by_hand(data: st.DataObject, name: str, into: int, minutes: int) -> None:
    zone = ZoneInfo(name)
    first = date(2017, 10, 1) + timedelta(days=into)
    cells = grid(first, 2, zone, minutes)
    begin = int(cells.start)
    span = cells.length * len(cells.slot)
    seen = data.draw(records(begin, span))
    # By hand: every half minute of the two days asks the clock on the wall where it belongs.
    step = 30
    per_day = 24 * 60 // minutes
    is_open, known, length = (np.zeros(2 * per_day) for _ in range(3))
    for at in range(begin, begin + span, step):
        local = datetime.fromtimestamp(at, zone)
        slot = (local.date() - first).days * per_day + (local.hour * 60 + local.minute) // minutes
        length[slot] += step
        for start, stop, value in zip(seen.times, [*seen.times[1:], seen.end], seen.values, strict=True):
            seconds = max(0.0, min(stop, at + step) - max(start, at))
            known[slot] += seconds * (value != UNKNOWN)
            is_open[slot] += seconds * (value == OPEN)
    share = occupancy(seen, cells).share.reshape(-1)
    enough = (known > 0) & (known >= length / 2)
    assert np.array_equal(~np.isnan(share), enough)
    assert np.allclose(share[enough], is_open[enough] / known[enough])


@pytest.mark.parametrize(
    ("zone", "day", "hours"),
    [
        ("Europe/Rome", date(2026, 3, 29), 23),
        ("Europe/Rome", date(2026, 10, 25), 25),
        ("Australia/Sydney", date(2026, 10, 4), 23),
        ("Australia/Sydney", date(2026, 4, 5), 25),
        ("Australia/Lord_Howe", date(2026, 10, 4), 23.5),
        ("Australia/Lord_Howe", date(2026, 4, 5), 24.5),
        ("America/Sao_Paulo", date(2018, 11, 4), 23),  # begins at 01:00
        ("Europe/Rome", date(2026, 6, 1), 24),
    ],
)
def test_days_of_unusual_length(zone: str, day: date, hours: float) -> None:
    cells = grid(day, 1, ZoneInfo(zone))
    assert cells.length * len(cells.slot) == hours * 3600
    assert cells.start == midnight(day, ZoneInfo(zone))


def test_the_hour_that_no_clock_shows_is_missing() -> None:
    day = date(2026, 3, 29)
    begin = midnight(day, ROME)
    share = occupancy(record((begin, OPEN), end=begin + 86400), grid(day, 1, ROME)).share[0]
    assert np.flatnonzero(np.isnan(share)).tolist() == [4, 5]
    assert np.nanmin(share) == 1.0


def test_the_hour_that_comes_twice_is_the_mean_of_both() -> None:
    day = date(2026, 10, 25)
    begin = midnight(day, ROME)
    # Open during the first 02:00 to 03:00 only.
    share = occupancy(
        record((begin + 2 * 3600, OPEN), (begin + 3 * 3600, CLOSED), end=begin + 90000), grid(day, 1, ROME)
    )
    assert share.share[0, 4:6].tolist() == [0.5, 0.5]
    assert share.share[0, 6] == 0


def test_unknown_is_missing_and_not_closed() -> None:
    day = date(2026, 6, 1)
    begin = midnight(day, ROME)
    seen = record((begin, OPEN), (begin + 3600, UNKNOWN), (begin + 3 * 3600, CLOSED), end=begin + 4 * 3600)
    share = occupancy(seen, grid(day, 1, ROME)).share[0]
    assert share[:2].tolist() == [1, 1]
    assert np.isnan(share[2:6]).all()
    assert share[6:8].tolist() == [0, 0]
    assert np.isnan(share[8:]).all()


def test_repeats_and_equal_instants_count_once() -> None:
    day = date(2026, 6, 1)
    begin = midnight(day, ROME)
    rows = [(begin, CLOSED), (begin, OPEN), (begin + 600, OPEN), (begin + 900, OPEN), (begin + 900, CLOSED)]
    assert occupancy(record(*rows, end=begin + 1800), grid(day, 1, ROME)).share[0, 0] == 0.5


def test_bad_arrays_are_refused() -> None:
    cells = grid(date(2026, 6, 1), 1, ROME)
    with pytest.raises(ValueError, match="times fall"):
        occupancy(record((10, OPEN), (5, CLOSED), end=20), cells)
    with pytest.raises(ValueError, match="as many of each"):
        occupancy(Record(np.zeros(2), np.zeros(3, np.int8), 1.0), cells)
    with pytest.raises(ValueError, match="divisor of 60"):
        grid(date(2026, 6, 1), 1, ROME, 7)
    with pytest.raises(ValueError, match="at least one"):
        grid(date(2026, 6, 1), 0, ROME)


def test_nothing_known_is_all_missing() -> None:
    nothing = Record(np.array([]), np.array([], np.int8), 0.0)
    assert np.isnan(occupancy(nothing, grid(date(2026, 6, 1), 2, SYDNEY)).share).all()


def test_place_names_the_day_and_the_slot() -> None:
    at = datetime(2026, 10, 25, 23, 59, tzinfo=ROME).timestamp()
    assert place(at, ROME) == (date(2026, 10, 25), 47)
    assert place(at + 60, ROME) == (date(2026, 10, 26), 0)
