"""Local time: which day and slot of the space an instant falls into. The only place that knows of time zones."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from math import gcd
from typing import NamedTuple
from zoneinfo import ZoneInfo

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int64]

DAY = 86400
WEEK = 7 * DAY
# Every offset from UTC, and every instant at which one changes, is a multiple of this many minutes. (Those of the
# nineteenth century were not; nobody has a log of it.)
QUARTER = 15


class Grid(NamedTuple):
    """Cells of equal length in UTC, each within one slot of one local day.

    Args:
        start: seconds since 1970 of the first cell's begin.
        length: of a cell, seconds.
        slot: shape (cells,), index of the cell's slot: day * slots_a_day + slot of the day, days from `first`.
        first: the first local day.
        shape: (days, slots a day).
    """

    start: int
    length: int
    slot: Ints
    first: date
    shape: tuple[int, int]

    @property
    def edges(self) -> Ints:
        """Shape (cells + 1,), seconds since 1970."""
        return self.start + self.length * np.arange(len(self.slot) + 1)


def midnight(day: date, zone: ZoneInfo) -> int:
    """Return the instant at which a local day begins, in seconds since 1970; where the clock skips 00:00, its first."""
    return int(datetime(day.year, day.month, day.day, tzinfo=zone).timestamp())


def grid(first: date, days: int, zone: ZoneInfo, minutes: int = 30) -> Grid:
    """Lay a grid over some local days.

    Args:
        minutes: length of a slot; a divisor of 60.
    Raises:
        ValueError: minutes is none, or there is no day.
    """
    if minutes < 1 or 60 % minutes:
        raise ValueError(f"slots of {minutes} minutes: expected a divisor of 60")
    if days < 1:
        raise ValueError(f"{days} days: expected at least one")
    length = gcd(minutes, QUARTER) * 60
    per_day = 24 * 60 // minutes
    # A day more at either end, whatever the offset; what does not belong to the days is cut off below.
    start = int(datetime(first.year, first.month, first.day, tzinfo=UTC).timestamp()) - DAY
    begins = start + length * np.arange((days + 2) * DAY // length)
    local = begins + offsets(begins, zone) - (start + DAY)
    inside = (local >= 0) & (local < days * DAY)
    kept = np.flatnonzero(inside)
    low, high = kept[0], kept[-1] + 1  # one stretch: a day's instants follow one another
    return Grid(int(begins[low]), length, local[low:high] // (minutes * 60), first, (days, per_day))


def offsets(at: Ints, zone: ZoneInfo) -> Ints:
    """Return the zone's offset from UTC, in seconds, at each of some instants.

    Args:
        at: shape (n,), seconds since 1970, rising.
    """
    changes, values = _changes(int(at[0]), int(at[-1]), zone)
    return values[np.searchsorted(changes, at, side="right")]


def _changes(begin: int, end: int, zone: ZoneInfo) -> tuple[Ints, Ints]:
    """Find when the offset changes: asked once a week, then searched for within the weeks that differ.

    No zone has ever changed twice within one; Morocco, which stops daylight saving for Ramadan, comes nearest.

    Returns: (changes, values): values[i] holds before changes[i], values[-1] from the last on.
    """

    def offset(at: int) -> int:
        local = datetime.fromtimestamp(at, zone)
        return int((local.utcoffset() or timedelta(0)).total_seconds())

    changes: list[int] = []
    values = [offset(begin)]
    for week in range(begin, end + WEEK, WEEK):
        after = offset(week + WEEK)
        if after == values[-1]:
            continue
        low, high = week, week + WEEK
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (middle, high) if offset(middle) == values[-1] else (low, middle)
        changes.append(high)
        values.append(after)
    return np.array(changes, np.int64), np.array(values, np.int64)


def place(at: float, zone: ZoneInfo, minutes: int = 30) -> tuple[date, int]:
    """Return the local day and slot an instant falls into."""
    local = datetime.fromtimestamp(at, zone)
    return local.date(), (local.hour * 60 + local.minute) // minutes
