"""The forecast: it never peeks, says what plain sums say, beats what it must beat, and knows what it does not know."""

from __future__ import annotations

from datetime import date, datetime, timedelta
from functools import cache
from pathlib import Path
from zoneinfo import ZoneInfo

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks import plain_forecast
from benchmarks.places import FIRST, HABITS, ZONE, place
from bits.config import Closure
from bits.forecast import kernel, model, rows, score
from bits.forecast.days import Calendar, calendar, check, country_of
from bits.forecast.occupancy import OPEN, UNKNOWN, Floats, Occupancy, Record, occupancy
from bits.forecast.online import shares, week_loss
from bits.forecast.outlook import Outlook, look_ahead
from bits.forecast.score import Score
from bits.forecast.slots import grid, midnight
from bits.forecast.weeks import Weeks, arrange, span

DATA = Path(__file__).parent.parent.parent / "shared" / "data"


@cache
def weeks_of(habit: str, count: int) -> Weeks:
    return arrange(occupancy(place(habit, count), grid(FIRST, 7 * count, ZONE)))


def outlook_of(record: Record, origin: date, **known: object) -> Outlook:
    return look_ahead(record, ZONE, origin, Calendar(**known))  # type: ignore[arg-type]


# --- no peeking


@settings(max_examples=15, deadline=None)
@given(st.integers(3, 29), st.integers(0, 2**32), st.sampled_from(["volunteers", "semesters"]))
def test_the_future_never_changes_a_forecast(first: int, seed: int, habit: str) -> None:
    """Whatever happens from some week on: no forecast of that week or an earlier one is another for it."""
    weeks = weeks_of(habit, 30)
    rng = np.random.default_rng(seed)
    is_open, seen = weeks.is_open.copy(), weeks.seen.copy()
    seen[first:] = rng.random(seen[first:].shape) < rng.random()
    is_open[first:] = (rng.random(seen[first:].shape) < rng.random()) * seen[first:]
    other = Weeks(weeks.begin, is_open, seen, weeks.holiday, weeks.closed)
    one, two = model.forecast(weeks), model.forecast(other)
    assert one and two
    made = int(np.searchsorted(one.targets, first, side="right"))
    assert np.array_equal(one.p[:made], two.p[:made])
    assert np.array_equal(one.size[:made], two.size[:made])
    if (is_open[first:] * seen[first:]).any():
        assert not np.array_equal(one.p[made:], two.p[made:])  # or the test would prove nothing


def test_what_happens_after_the_origin_is_not_looked_at() -> None:
    record = place("nights", 12)
    origin = FIRST + timedelta(weeks=10, days=3)
    then = midnight(origin, ZONE)
    one, two = outlook_of(record, origin), outlook_of(record.until(then), origin)
    assert np.array_equal(one.p, two.p)
    assert np.array_equal(one.weights, two.weights)
    assert one.score == two.score


def test_trust_follows_the_better_and_never_peeks() -> None:
    losses = np.array([[0.1] * 10 + [0.9] * 30, [0.5] * 40])
    trust = shares(losses, half_life=10, rate=15)
    assert trust.shape == (2, 41)
    assert trust[:, 0].tolist() == [0.5, 0.5]
    assert trust[0, 10] > 0.99
    assert trust[1, 40] > 0.99  # habits have changed, and the old merits are forgotten
    assert np.array_equal(shares(losses[:, :7], half_life=10, rate=15), trust[:, :8])


# --- the same as plain sums


@pytest.mark.parametrize("index", [0, 1, 2, 5])
def test_arrays_say_what_loops_say(index: int) -> None:
    count = 9
    record = place("semesters", count, seed=3)
    chosen = kernel.settings(8)[index]
    shares_ = plain_forecast.occupancy(
        record.times.tolist(), record.values.tolist(), record.end, FIRST, 7 * count, ZONE
    )
    seen = occupancy(record, grid(FIRST, 7 * count, ZONE))
    assert np.allclose(np.array(shares_, float), seen.share, equal_nan=True, atol=1e-6)
    weeks = arrange(seen)
    targets = np.arange(2, count + 1)
    p, size = kernel.forecast(kernel.Past(weeks, targets), chosen)
    plain = plain_forecast.forecast(
        weeks.is_open.tolist(), weeks.seen.tolist(), weeks.workday.tolist(), chosen, targets.tolist()
    )
    assert np.abs(np.array(plain) - p).max() < 5e-4  # single precision
    assert (size <= targets[:, None] + 1e-3).all()
    losses = week_loss(p[:-1], weeks.is_open[2:], weeks.seen[2:])
    by_hand = [
        plain_forecast.week_loss(q.tolist(), weeks.is_open[w + 2].tolist(), weeks.seen[w + 2].tolist())
        for w, q in enumerate(p[:-1])
    ]
    assert np.allclose(losses, by_hand, atol=1e-5)


# --- how good it is


def beats(of: Score | None, *, by: float = 0.0) -> None:
    assert of
    for name, (brier, log_loss) in of.baselines.items():
        assert of.brier <= (1 - by) * brier, name
        assert of.log_loss <= log_loss, name


@pytest.mark.parametrize("habit", HABITS)
def test_it_beats_every_baseline_on_every_kind_of_place(habit: str) -> None:
    count = 180 if habit == "hall" else 120
    of = outlook_of(place(habit, count), FIRST + timedelta(weeks=count)).score
    beats(of)
    assert of
    assert of.weeks == round(0.3 * count)
    if habit != "hall":  # it had been shut for months, and opened again while it was scored
        assert of.calibration_error <= 0.03


@pytest.mark.parametrize("name", ["gym_open", "gym_busy"])
def test_it_beats_every_baseline_on_a_real_place(name: str) -> None:
    file = DATA / f"{name}.csv"
    if not file.exists():
        pytest.skip(f"{file} is not here")
    zone = ZoneInfo("Europe/Zurich")
    with file.open(newline="") as lines:
        record = rows.parse(lines)
    end = datetime.fromtimestamp(record.end, zone).date()
    outlook = look_ahead(record, zone, end - timedelta(days=end.weekday()), calendar("", "", zone.key, ()))
    beats(outlook.score, by=0.05)
    assert outlook.score
    assert outlook.score.calibration_error <= 0.03
    for nowcast, weekly in outlook.score.nowcast.values():
        assert nowcast < weekly


def test_the_bounds_hold_the_truth_nine_times_in_ten() -> None:
    """Places whose chances are known, since they are made by them."""
    inside = total = 0
    for seed in range(8):
        rng = np.random.default_rng(seed)
        truth = np.clip(rng.beta(1.2, 2.0, (7, 1)) * np.repeat(rng.random((1, 12)), 4, axis=1), 0.01, 0.99)
        count = 24
        share = (rng.random((count, 7, 48)) < truth).astype(float).reshape(-1, 48)
        made = model.forecast(arrange(Occupancy(FIRST, share)))
        assert made
        low, high = made.interval()
        inside += int(((low <= truth) & (truth <= high)).sum())
        total += truth.size
        assert (low <= made.p[-1]).all()
        assert (made.p[-1] <= high).all()
    assert inside / total >= 0.85


def test_bounds_narrow_with_the_weeks() -> None:
    widths = []
    for count in (3, 10, 40):
        outlook = outlook_of(place("nights", count), FIRST + timedelta(weeks=count))
        widths.append(float((outlook.high - outlook.low).mean()))
    assert widths == sorted(widths, reverse=True)
    assert widths[0] > 1.5 * widths[-1]


def test_a_change_of_habits_is_noticed() -> None:
    """Evenings for half a year, then mornings: after three weeks the forecast says mornings."""
    share = np.zeros((29, 7, 48))
    share[:26, :, 36:44] = 1
    share[26:, :, 16:24] = 1
    made = model.forecast(arrange(Occupancy(FIRST, share.reshape(-1, 48))))
    assert made
    assert made.p[-1][:, 18:22].mean() > 0.7
    assert made.p[-1][:, 38:42].mean() < 0.3


# --- days that are not like others


def with_holidays(closed: bool) -> tuple[Floats, set[date]]:
    days = 7 * 60
    share = np.zeros((days, 48))
    share[:, 20:30] = 1
    holidays = {FIRST + timedelta(days=day) for day in range(10, days + 7, 37)}
    for day in holidays:
        if closed and (index := (day - FIRST).days) < days:
            share[index] = 0
    return share, holidays


def test_a_holiday_is_forecast_from_holidays() -> None:
    for closed in (True, False):
        share, holidays = with_holidays(closed)
        count = 60
        origin = FIRST + timedelta(weeks=count)
        holidays |= {origin + timedelta(days=2)}
        made = model.forecast(arrange(Occupancy(FIRST, share), lambda day, known=holidays: day in known))  # type: ignore[misc]
        assert made
        p = made.p[-1][:, 20:30].mean(1)
        assert p[1] > 0.9
        assert (p[2] < 0.2) == closed


def test_an_announced_closure_is_certain_and_teaches_nothing() -> None:
    count = 20
    record = place("hall", count)
    origin = FIRST + timedelta(weeks=count)
    shut = (Closure(origin + timedelta(days=1), origin + timedelta(days=2), "painting"),)
    outlook = outlook_of(record, origin, closures=shut)
    assert outlook.closed == (False, True, True, False, False, False, False)
    assert not outlook.p[1:3].any()
    assert not outlook.high[1:3].any()
    assert outlook.p[0].max() > 0.8
    # A closure of the past is left out, as if nobody had looked.
    past = Closure(origin - timedelta(days=21), origin - timedelta(days=1), "rebuilt")
    cut = Record(*clip(record, midnight(past.first, ZONE)), record.end)
    told, untold = outlook_of(cut, origin, closures=(past,)), outlook_of(cut, origin)
    assert told.p[0].max() > 0.8 > untold.p[0].max()


def clip(record: Record, at: float) -> tuple[Floats, np.ndarray[tuple[int], np.dtype[np.int8]]]:
    """Close for good at an instant."""
    kept = record.until(at)
    return np.append(kept.times, at), np.append(kept.values, np.int8(0))


def test_the_calendar_knows_the_worlds_holidays() -> None:
    assert country_of("Europe/Rome") == "IT"
    assert country_of("UTC") == ""
    assert calendar("", "", "Europe/Zurich", ()).is_holiday(date(2026, 8, 1))
    assert not calendar("none", "", "Europe/Zurich", ()).is_holiday(date(2026, 8, 1))
    assert calendar("DE", "BY", "UTC", ()).is_holiday(date(2026, 1, 6))
    assert not calendar("DE", "", "UTC", ()).is_holiday(date(2026, 1, 6))
    with pytest.raises(ValueError, match="XX"):
        check("XX", "")
    with pytest.raises(ValueError, match="ZZ"):
        check("IT", "ZZ")


# --- little, odd or nothing


@pytest.mark.parametrize("days", [0, 1, 6, 8, 10])
def test_too_little_says_so(days: int) -> None:
    origin = FIRST + timedelta(days=days)
    for record in (
        Record(np.array([]), np.array([], np.int8), 0.0),
        Record(np.array([float(midnight(FIRST, ZONE))]), np.array([OPEN], np.int8), float(midnight(origin, ZONE))),
    ):
        outlook = outlook_of(record, origin)
        assert not outlook.is_known
        assert outlook.score is None
        assert (outlook.p == 0.5).all()
        assert not outlook.low.any()
        assert (outlook.high == 1).all()


@pytest.mark.parametrize("value", [0, OPEN, UNKNOWN])
def test_ten_years_of_the_same(value: int) -> None:
    begin = float(midnight(FIRST, ZONE))
    record = Record(np.array([begin]), np.array([value], np.int8), begin + 3650 * 86400)
    outlook = outlook_of(record, FIRST + timedelta(days=3640))
    assert np.isfinite(outlook.p).all()
    if value == UNKNOWN:
        assert not outlook.is_known
        assert outlook.score is None
    else:
        assert np.abs(outlook.p - value).max() < 0.01
        assert outlook.score
        assert outlook.score.skill["climatology"] is None  # nobody is better than who makes no error
        assert outlook.score.brier < 1e-5


def test_months_without_a_sign_of_life_are_no_months_of_closed_doors() -> None:
    count = 60
    record = place("hall", count)
    dead, back = (midnight(FIRST + timedelta(weeks=week), ZONE) for week in (30, 55))
    before, after = record.times < dead, record.times >= back
    times = np.concatenate([record.times[before], [dead], record.times[after]])
    values = np.concatenate([record.values[before], [UNKNOWN], record.values[after]]).astype(np.int8)
    outlook = outlook_of(Record(times, values, record.end), FIRST + timedelta(weeks=count))
    assert outlook.weeks == 35
    assert outlook.p[0, 24:40].min() > 0.8


def test_a_first_week_that_begins_in_its_midst() -> None:
    assert span(date(2026, 1, 7), date(2026, 1, 12)) == (date(2026, 1, 5), 1)
    assert span(date(2026, 1, 5), date(2026, 1, 12)) == (date(2026, 1, 5), 1)
    assert span(date(2026, 1, 4), date(2026, 1, 12)) == (date(2025, 12, 29), 2)
    assert span(date(2026, 1, 14), date(2026, 1, 12)) == (date(2026, 1, 12), 0)
    assert span(date(1990, 1, 1), date(2026, 1, 12))[1] == 522


# --- the score, by hand


def test_scores_by_hand() -> None:
    p = np.array([[[0.0, 0.25, 0.75, 1.0]]])
    is_open, seen = np.array([[[0, 1, 1, 0]]], np.float32), np.array([[[1, 1, 1, 0]]], np.float32)
    assert score.brier(p, is_open, seen) == pytest.approx((0 + 0.75**2 + 0.25**2) / 3)
    expected = -(np.log(0.999) + np.log(0.25) + np.log(0.75)) / 3
    assert score.log_loss(p, is_open, seen) == pytest.approx(expected)
    bins = score.reliability(p, is_open, seen)
    assert [(bin_.low, bin_.forecast, bin_.open, round(bin_.share, 3)) for bin_ in bins] == [
        (0.0, 0.0, 0.0, 0.333),
        (0.2, 0.25, 1.0, 0.333),
        (0.7, 0.75, 1.0, 0.333),
    ]


@pytest.mark.parametrize(("count", "expected"), [(0, 0), (8, 0), (9, 1), (10, 2), (11, 3), (12, 4), (40, 12), (73, 22)])
def test_how_many_weeks_are_scored(count: int, expected: int) -> None:
    assert score.scored(count) == expected


def test_the_predecessors_rule_bit_by_bit() -> None:
    weeks = weeks_of("nights", 30)
    said = score.predecessor(weeks)
    slots = np.zeros((7, 48), np.uint8)
    for week in range(30):
        assert np.allclose(said[week], np.sqrt(slots / 255))
        slots //= 2
        slots[weeks.is_open[week] > 0] |= 0x80


def test_climatology_and_recent_weeks_by_hand() -> None:
    weeks = weeks_of("nights", 11)
    for week in (1, 5, 10):
        for said, past in (
            (score.climatology(weeks), slice(week)),
            (score.recent_weeks(weeks, 4), slice(max(week - 4, 0), week)),
        ):
            seen = weeks.seen[past].sum(0)
            assert np.allclose(said[week] * seen, weeks.is_open[past].sum(0))
