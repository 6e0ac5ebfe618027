"""From the log to the outlook: the coming week, the next hours, and how good such forecasts have been."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime, timedelta
from zoneinfo import ZoneInfo

import numpy as np

from bits.forecast import model, nowcast, score
from bits.forecast.days import Calendar
from bits.forecast.occupancy import Floats, Record, occupancy
from bits.forecast.score import Score
from bits.forecast.slots import grid, midnight
from bits.forecast.weeks import arrange, span

MINUTES = 30
SLOTS = 24 * 60 // MINUTES
BEFORE = 3  # days


@dataclass(frozen=True, slots=True)
class Outlook:
    """All that can be said at an origin. Arrays of shape (7, slots) begin with the origin's weekday.

    Args:
        origin: the first day forecast; what happened before it was used, and nothing else.
        weeks: of history that were seen, at least in part.
        p: probability that the space is open for at least half of the slot; 0 on announced closures.
        low, high: bounds of p, nine times in ten.
        before: shape (3, slots), what had been forecast for the three days before.
        holiday, closed: shape (7,): public holidays, announced closures.
        weights: for `nowcast.predict`.
        score: None: too little is known for one.
    """

    origin: date
    weeks: int
    p: Floats
    low: Floats
    high: Floats
    before: Floats
    holiday: tuple[bool, ...]
    closed: tuple[bool, ...]
    weights: Floats
    score: Score | None

    @property
    def is_known(self) -> bool:
        """Whether anything is: else p is one half everywhere, between 0 and 1."""
        return self.weeks >= model.FIRST


def look_ahead(record: Record, zone: ZoneInfo, origin: date, calendar: Calendar) -> Outlook:
    """Forecast the seven days from a day on, by what is known before its midnight.

    Args:
        record: may go on after that; what does is not looked at.
    """
    record = record.until(midnight(origin, zone))
    if not len(record.times):
        return nothing(origin, calendar)
    begin, count = span(datetime.fromtimestamp(float(record.times[0]), zone).date(), origin)
    if not count:
        return nothing(origin, calendar)
    cells = grid(begin, 7 * count, zone, MINUTES)
    seen = occupancy(record, cells)
    weeks = arrange(seen, calendar.is_holiday, calendar.is_closure)
    forecasts = model.forecast(weeks)
    if forecasts is None:
        return nothing(origin, calendar)

    def by_week(days: Floats) -> Floats:
        """Leave out the weeks that have no forecast; a week's slots are one row."""
        return days.reshape(count, 7 * SLOTS)[model.FIRST :]

    trained = nowcast.train(
        forecasts.p[:-1].reshape(-1, 7 * SLOTS),
        *map(by_week, (weeks.is_open, weeks.seen, seen.share, *nowcast.states(record, cells))),
    )
    p, (low, high) = forecasts.p[-1], forecasts.interval()
    is_open = ~weeks.closed[:, None]
    return Outlook(
        origin=origin,
        weeks=weeks.known,
        p=np.where(is_open, p, 0.0),
        low=np.where(is_open, np.minimum(low, p), 0.0),
        high=np.where(is_open, np.maximum(high, p), 0.0),
        before=forecasts.p[-2:][0][-BEFORE:],  # of the one forecast there is, if no other
        holiday=tuple(map(bool, weeks.holiday[-1])),
        closed=tuple(map(bool, weeks.closed)),
        weights=trained.weights,
        score=score.score(weeks, forecasts, trained),
    )


def nothing(origin: date, calendar: Calendar) -> Outlook:
    """Return the outlook of who knows nothing but the announced closures."""
    days = [origin + timedelta(days=day) for day in range(7)]
    closed = [calendar.is_closure(day) for day in days]
    is_open = np.repeat(~np.array(closed)[:, None], SLOTS, axis=1)
    return Outlook(
        origin=origin,
        weeks=0,
        p=np.where(is_open, 0.5, 0.0),
        low=np.zeros((7, SLOTS)),
        high=np.where(is_open, 1.0, 0.0),
        before=np.full((BEFORE, SLOTS), 0.5),
        holiday=tuple(calendar.is_holiday(day) for day in days),
        closed=tuple(closed),
        weights=nowcast.untrained().weights,
        score=None,
    )
