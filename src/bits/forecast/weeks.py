"""Days arranged into weeks that end where the forecast begins."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import date, timedelta

import numpy as np
from numpy.typing import NDArray

from bits.forecast.occupancy import Bools, Occupancy
from bits.forecast.slots import Ints

Float32s = NDArray[np.float32]

WEEK = 7
# Beyond this many weeks nothing is remembered: ten years.
LONGEST = 522


@dataclass(frozen=True, slots=True)
class Weeks:
    """The past in weeks, and the calendar of the week to come. A week begins on the weekday of the day forecast first.

    Args:
        begin: the first day of the first week.
        is_open: shape (weeks, 7, slots), 1 where the space was open for at least half of the slot, else 0.
        seen: shape (weeks, 7, slots), 1 where that is known and the day was no announced closure, else 0.
        holiday: shape (weeks + 1, 7); the last week is the one to come.
        closed: shape (7,), announced closures of the week to come.
    """

    begin: date
    is_open: Float32s
    seen: Float32s
    holiday: Bools
    closed: Bools

    def __len__(self) -> int:
        return len(self.is_open)

    @property
    def slots(self) -> int:
        """Slots a day."""
        return int(self.is_open.shape[2])

    @property
    def known(self) -> int:
        """Weeks of which more than half was seen."""
        return int((self.seen.mean((1, 2)) > 0.5).sum())

    @property
    def holidays_a_week(self) -> Ints:
        """Shape (weeks + 1,): on workdays."""
        return np.asarray((self.holiday & self.workday).sum(1))

    @property
    def workday(self) -> Bools:
        """Shape (7,): Monday to Friday."""
        return (self.begin.weekday() + np.arange(WEEK)) % WEEK < 5


def span(first: date, origin: date) -> tuple[date, int]:
    """Return the first day of the first week and the number of weeks that reach back from origin to a day.

    Where that day stands amid a week, its whole week counts; no more than LONGEST weeks do.
    """
    count = min(max(-(-(origin - first).days // WEEK), 0), LONGEST)
    return origin - timedelta(days=WEEK * count), count


def arrange(
    occupancy: Occupancy,
    is_holiday: Callable[[date], bool] = lambda day: False,
    is_closure: Callable[[date], bool] = lambda day: False,
) -> Weeks:
    """Arrange days into weeks.

    Args:
        occupancy: a whole number of weeks; the day after them is the first to forecast.
    """
    days, slots = occupancy.share.shape
    count = days // WEEK
    dates = [occupancy.first + timedelta(days=day) for day in range(days + WEEK)]
    holiday = np.array([is_holiday(day) for day in dates]).reshape(count + 1, WEEK)
    closure = np.array([is_closure(day) for day in dates])
    share = np.where(closure[:days, None], np.nan, occupancy.share).reshape(count, WEEK, slots)
    seen = ~np.isnan(share)
    is_open = np.nan_to_num(share) >= 0.5
    return Weeks(occupancy.first, is_open.astype(np.float32), seen.astype(np.float32), holiday, closure[days:])
