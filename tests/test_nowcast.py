"""The next hours: better than the week's forecast, from nothing that comes later, and said as people ask for it."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from functools import cache

import numpy as np
import pytest

from benchmarks.places import FIRST, ZONE, place
from bits.config import Closure
from bits.forecast import model, nowcast
from bits.forecast.days import Calendar
from bits.forecast.nowcast import HORIZONS
from bits.forecast.occupancy import CLOSED, OPEN, UNKNOWN, Record, occupancy
from bits.forecast.outlook import Outlook, look_ahead
from bits.forecast.present import at_present
from bits.forecast.slots import grid, midnight
from bits.forecast.weeks import arrange

COUNT = 40
ORIGIN = FIRST + timedelta(weeks=COUNT)


@cache
def outlook() -> Outlook:
    return look_ahead(place("volunteers", COUNT), ZONE, ORIGIN, Calendar())


def at(hour: float, day: date = ORIGIN) -> datetime:
    return datetime.fromtimestamp(midnight(day, ZONE) + hour * 3600, UTC)


def since(*rows: tuple[float, int], end: float) -> Record:
    """What happened on the day, after three days of closed doors."""
    begin = midnight(ORIGIN, ZONE)
    times = [begin - 4 * 86400.0, *(begin + hour * 3600 for hour, _ in rows)]
    return Record(np.array(times), np.array([CLOSED, *(value for _, value in rows)], np.int8), begin + end * 3600)


def test_the_next_hours_are_better_known_than_the_week() -> None:
    scored = outlook().score
    assert scored
    for hours, (own, weekly) in scored.nowcast.items():
        assert own < weekly, hours
    assert scored.nowcast[0.5][0] < 0.6 * scored.nowcast[0.5][1]


def test_an_open_door_stays_open_for_a_while() -> None:
    present = at_present(outlook(), since((17.0, OPEN), end=18), ZONE, at(18))
    assert present.is_open
    assert len(present.p) == HORIZONS
    assert present.p[0] > 0.8
    assert present.p[-1] < 0.2
    assert present.until
    assert at(18.5) < present.until < at(24)
    assert present.opening is None


def test_a_door_that_has_long_been_open_closes_sooner() -> None:
    fresh = at_present(outlook(), since((20.0, OPEN), end=21), ZONE, at(21))
    long = at_present(outlook(), since((12.0, OPEN), end=21), ZONE, at(21))
    assert fresh.until
    assert long.until
    assert long.until < fresh.until


def test_a_closed_door_opens_when_it_usually_does() -> None:
    tuesday = ORIGIN + timedelta(days=1)
    record = since((17.0, OPEN), (20.0, CLOSED), end=24 + 12)
    present = at_present(outlook(), record, ZONE, at(12, tuesday))
    assert present.is_open is False
    assert present.until is None
    assert present.opening
    assert present.opening.is_likely
    assert at(16, tuesday) <= present.opening.at <= at(20.5, tuesday)
    assert present.opening.at.minute in (0, 30)


def test_the_best_chance_is_told_where_nothing_is_likely() -> None:
    known = outlook()
    faint = replace(known, p=np.minimum(known.p, 0.3), before=np.minimum(known.before, 0.3))
    present = at_present(faint, since(end=3), ZONE, at(3))
    assert present.opening
    assert not present.opening.is_likely
    assert present.opening.p <= 0.4


def test_an_announced_closure_is_no_time_to_come() -> None:
    shut = Calendar(closures=(Closure(ORIGIN, ORIGIN + timedelta(days=6), "holidays"),))
    closed = look_ahead(place("volunteers", COUNT), ZONE, ORIGIN, shut)
    present = at_present(closed, since(end=12), ZONE, at(12))
    assert present.opening is None
    assert not any(present.p)
    # Somebody is there all the same: it is open now, and will not be for long.
    assert at_present(closed, since((11.0, OPEN), end=12), ZONE, at(12)).is_open


@pytest.mark.parametrize(
    ("record", "now"),
    [
        (since((10.0, UNKNOWN), end=12), at(12)),
        (since(end=12), at(13)),  # nothing is known of this hour
        (Record(np.array([]), np.array([], np.int8), 0.0), at(12)),
    ],
)
def test_who_does_not_know_the_state_says_nothing(record: Record, now: datetime) -> None:
    present = at_present(outlook(), record, ZONE, now)
    assert present.is_open is None
    assert present.p == ()


def test_an_outlook_that_is_too_old_says_nothing() -> None:
    record = since(end=24 * 9)
    assert at_present(outlook(), record, ZONE, at(12, ORIGIN + timedelta(days=5))).p
    assert at_present(outlook(), record, ZONE, at(12, ORIGIN + timedelta(days=8))).p == ()
    assert at_present(outlook(), record, ZONE, at(12, ORIGIN - timedelta(days=1))).p == ()


def test_with_nothing_learned_the_state_counts_for_some_hours() -> None:
    prior = replace(outlook(), weights=nowcast.untrained().weights)
    is_open = at_present(prior, since((17.0, OPEN), end=18), ZONE, at(18)).p
    is_shut = at_present(prior, since(end=18), ZONE, at(18)).p
    assert is_open[0] > 0.8
    assert is_shut[0] < 0.3
    assert abs(is_open[-1] - is_shut[-1]) < 0.1


def test_the_future_never_changes_the_next_hours() -> None:
    count = 12
    record = place("nights", count)
    cells = grid(FIRST, 7 * count, ZONE)
    seen = occupancy(record, cells)
    weeks = arrange(seen)
    made = model.forecast(weeks)
    assert made
    state, age = nowcast.states(record, cells)
    shape = (count - model.FIRST, -1)
    arrays = [
        made.p[:-1].reshape(shape),
        *(x[model.FIRST :].reshape(shape) for x in (weeks.is_open, weeks.seen)),
        *(x.reshape(count, -1)[model.FIRST :] for x in (seen.share, state, age)),
    ]
    one = nowcast.train(*arrays)
    rng = np.random.default_rng(1)
    week, slot = 6, 200
    changed = [array.copy() for array in arrays]
    for array in changed[1:4]:  # what was open, what was seen, what share
        array[week, slot:] = rng.random(array[week, slot:].shape) < 0.5
        array[week + 1 :] = rng.random(array[week + 1 :].shape) < 0.5
    for array in changed[4:]:  # the state at this very slot's begin is known
        array[week, slot + 1 :] = 0
        array[week + 1 :] = 0
    two = nowcast.train(*changed)
    assert np.array_equal(one.p[:week], two.p[:week], equal_nan=True)
    assert np.array_equal(one.p[week, : slot + 1], two.p[week, : slot + 1], equal_nan=True)
    assert not np.array_equal(one.p[week + 1 :], two.p[week + 1 :], equal_nan=True)


def test_states_at_the_begin_of_slots() -> None:
    begin = midnight(FIRST, ZONE)
    record = Record(
        np.array([begin + 900.0, begin + 1800, begin + 2000, begin + 5400]),
        np.array([OPEN, OPEN, OPEN, UNKNOWN], np.int8),
        begin + 7200.0,
    )
    state, age = nowcast.states(record, grid(FIRST, 1, ZONE))
    assert state[0, :5].tolist() == [UNKNOWN, OPEN, OPEN, UNKNOWN, UNKNOWN]
    assert age[0, 1:3].tolist() == [900, 2700]
