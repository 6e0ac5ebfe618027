"""From irregular transitions to the share of each slot that the space was open."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bits.forecast.slots import Grid

Floats = NDArray[np.floating[Any]]
Bools = NDArray[np.bool_]

CLOSED, OPEN, UNKNOWN = 0, 1, -1


@dataclass(frozen=True, slots=True)
class Record:
    """What is known of a space: a step function of time.

    Args:
        times: shape (n,), seconds since 1970, rising; of equal ones the last counts.
        values: shape (n,), OPEN, CLOSED or UNKNOWN from that instant until the next.
        end: the instant up to which the last value is known to hold.
    """

    times: Floats
    values: NDArray[np.int8]
    end: float

    def until(self, end: float) -> Record:
        """Return what was known at an instant."""
        count = int(np.searchsorted(self.times, end, side="right"))
        return Record(self.times[:count], self.values[:count], min(self.end, end))


@dataclass(frozen=True, slots=True)
class Occupancy:
    """How much of each slot the space was open.

    Args:
        first: the first day.
        share: shape (days, slots), 0..1; NaN where less than half of the slot is known, or the clock skipped it.
    """

    first: date
    share: Floats


def occupancy(record: Record, grid: Grid) -> Occupancy:
    """Return the open share of each slot of a grid.

    Raises:
        ValueError: times and values differ in length, or times fall.
    Source: integrate the step function once, difference it at the cells' edges, sum the cells of each slot:
        O(n + cells log n). A slot that the clock passes twice (the 25-hour day) is the mean of both.
    """
    slots = grid.shape[0] * grid.shape[1]
    length = np.bincount(grid.slot, minlength=slots) * float(grid.length)
    in_cells = open_and_known(record, grid.edges.astype(np.float64))
    is_open, known = (np.bincount(grid.slot, seconds, slots) for seconds in in_cells)
    share = np.full(slots, np.nan)
    seen = (known > 0) & (known >= 0.5 * length)
    share[seen] = np.clip(is_open[seen] / known[seen], 0.0, 1.0)
    return Occupancy(grid.first, share.reshape(grid.shape))


def open_and_known(record: Record, edges: Floats) -> tuple[Floats, Floats]:
    """Return for how many seconds of each cell the space was open, and for how many that is known.

    Args:
        edges: shape (m + 1,), seconds since 1970, rising.
    Returns: two arrays of shape (m,).
    Raises:
        ValueError: times and values differ in length, or times fall.
    """
    times, values = np.asarray(record.times, np.float64), np.asarray(record.values)
    if times.shape != values.shape or times.ndim != 1:
        raise ValueError(f"{times.shape} times and {values.shape} values: expected as many of each")
    if np.any(np.diff(times) < 0):
        raise ValueError("times fall")
    return (
        _seconds(times, values == OPEN, record.end, edges),
        _seconds(times, values != UNKNOWN, record.end, edges),
    )


def _seconds(times: Floats, holds: Bools, end: float, edges: Floats) -> Floats:
    """Return for how many seconds of each cell something held.

    Args:
        times: shape (n,), rising. holds: shape (n,), from that instant; nothing holds before the first, nor from end.
        edges: shape (m + 1,), rising.
    Returns: shape (m,).
    """
    if not len(times):
        return np.zeros(len(edges) - 1)
    stops = np.minimum(np.append(times, max(end, times[0])), end)
    total = np.concatenate(([0.0], np.cumsum(np.diff(stops) * holds)))
    # Relative to the record's begin, so that sums of years keep their microseconds.
    return np.diff(np.interp(edges - times[0], stops - times[0], total))
