"""The next hours: the weekly forecast, corrected by whether the space is open at this moment and since when."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from bits.forecast.occupancy import CLOSED, OPEN, UNKNOWN, Bools, Floats, Record
from bits.forecast.online import EPSILON, Ridge, expit, logit
from bits.forecast.slots import Grid, Ints

HORIZONS = 24  # slots ahead: twelve hours of thirty minutes
SPANS = (1.0, 3.0, 24.0, 72.0)  # hours looked back
HALF_LIFE = 60.0
PENALTY = 50.0
# With nothing learned: how much the present state says, and for how many slots.
PRIOR_SHIFT, PRIOR_SLOTS = 3.0, 6.0
INPUTS = 13


@dataclass(frozen=True, slots=True)
class Now:
    """What is known at some instants.

    Args:
        is_open: shape (n,), the state.
        age: shape (n,), seconds in that state.
        shares: shape (n, 4), share open over each of SPANS before; what is unknown counts as expected.
        expected: shape (n, 4), the same of the weekly forecast.
        ahead: shape (n, HORIZONS + 1), the weekly forecast of the slot at the instant, and of those that follow.
    """

    is_open: Bools
    age: Floats
    shares: Floats
    expected: Floats
    ahead: Floats


def inputs(now: Now) -> Floats:
    """Return the regressions' inputs, shape (HORIZONS, n, INPUTS); the first is the forecast's logit, the last 1."""
    ahead = logit(now.ahead)
    present, later = ahead[:, :1], ahead[:, 1:]
    shape = later.shape
    age = np.log1p(now.age / 1800.0)[:, None]
    surprise = now.shares - now.expected
    columns = [
        later,
        present,
        np.minimum.accumulate(ahead, axis=1)[:, 1:],
        np.maximum.accumulate(ahead, axis=1)[:, 1:],
        age,
        age**2 / 4,
        now.shares[:, [0]],
        now.shares[:, [1]],
        now.shares[:, [2]],
        surprise[:, [1]],
        surprise[:, [2]],
        logit(now.shares[:, 3:] * 0.98 + 0.01) / 2,
        np.ones((1, 1)),
    ]
    return np.stack([np.broadcast_to(column, shape) for column in columns], -1).swapaxes(0, 1)


def untrained() -> Ridge:
    """Return one regression for each horizon and each state, closed and open, with nothing learned yet."""
    prior = np.zeros((2, HORIZONS, INPUTS))
    prior[..., 0] = 1.0
    shift = PRIOR_SHIFT * np.exp(-np.arange(1, HORIZONS + 1) / PRIOR_SLOTS)
    prior[CLOSED, :, -1], prior[OPEN, :, -1] = -shift, shift
    return Ridge(prior, np.full(prior.shape, PENALTY), HALF_LIFE)


def predict(weights: Floats, x: Floats, is_open: Bools) -> Floats:
    """Return the probability that the space is open after each horizon, shape (n, HORIZONS).

    Args:
        weights: shape (2, HORIZONS, INPUTS), learned.
        x: shape (HORIZONS, n, INPUTS), from `inputs`. is_open: shape (n,), the state.
    """
    chosen = weights[is_open.astype(int)].swapaxes(0, 1)  # (HORIZONS, n, INPUTS)
    return np.clip(expit((x * chosen).sum(-1).T), EPSILON, 1 - EPSILON)


def state_at(record: Record, at: Floats) -> tuple[Floats, Floats]:
    """Return the state at some instants (OPEN, CLOSED, UNKNOWN) and its age in seconds.

    Args:
        at: shape (n,), seconds since 1970. Before the record, and after its end, the state is UNKNOWN.
    """
    if not len(record.times):
        return np.full(len(at), float(UNKNOWN)), np.zeros(len(at))
    changed = np.flatnonzero(np.diff(record.values, prepend=np.int8(-2)))
    times, values = record.times[changed], record.values[changed]
    index = np.searchsorted(times, at, side="right") - 1
    known = (index >= 0) & (at <= record.end)
    index = np.maximum(index, 0)
    return np.where(known, values[index], float(UNKNOWN)), np.where(known, at - times[index], 0.0)


def states(record: Record, grid: Grid) -> tuple[Floats, Floats]:
    """Return, at the begin of each slot, the state (OPEN, CLOSED, UNKNOWN) and its age in seconds.

    Returns: two arrays of the grid's shape; state UNKNOWN where the record does not reach, or the clock skips the slot.
    """
    slots = grid.shape[0] * grid.shape[1]
    state, age = np.full(slots, float(UNKNOWN)), np.zeros(slots)
    shown, first_cell = np.unique(grid.slot, return_index=True)
    state[shown], age[shown] = state_at(record, (grid.start + grid.length * first_cell).astype(np.float64))
    return state.reshape(grid.shape), age.reshape(grid.shape)


@dataclass(frozen=True, slots=True)
class Trained:
    """What the past has taught.

    Args:
        weights: shape (2, HORIZONS, INPUTS), for `predict`.
        p: shape (weeks, slots a week, HORIZONS): forecasts made at the begin of each slot from the weeks before and
            what had happened until then; NaN where none could be made.
        weekly: the same shape: what the weekly forecast said.
        truth: the same shape: whether it was open then; NaN where unknown.
    """

    weights: Floats
    p: Floats
    weekly: Floats
    truth: Floats


def train(weekly: Floats, is_open: Floats, seen: Floats, share: Floats, state: Floats, age: Floats) -> Trained:
    """Learn from weeks that follow one another, each forecast before it is learned from.

    Args:
        weekly: shape (weeks, slots a week), each week's forecast, made before it began.
        is_open, seen: the same shape, as in Weeks.
        share: the same shape, open share of each slot; NaN unknown.
        state, age: the same shape, at the begin of each slot, from `states`.
    """
    weeks, slots = weekly.shape
    ridge = untrained()
    p, said, truth = (np.full((weeks, slots, HORIZONS), np.nan, np.float32) for _ in range(3))
    flat = weekly.reshape(-1)
    look = Lookback(np.where(np.isnan(share.reshape(-1)), flat, share.reshape(-1)), flat, slots // 7)
    # A forecast is for its own week: the next week's is made later than these rows.
    rows = np.arange(slots - HORIZONS)
    ahead = rows[:, None] + np.arange(HORIZONS + 1)
    for week in range(weeks):
        known = (state[week, rows] >= 0) & (week * slots + rows >= look.longest)
        chosen = rows[known]
        if not len(chosen):
            continue
        at = week * slots + chosen
        now = Now(state[week, chosen] == OPEN, age[week, chosen], *look.at(at), weekly[week][ahead[known]])
        later = ahead[known][:, 1:]
        outcome, visible = is_open[week][later], seen[week][later]
        x = inputs(now)
        p[week, chosen] = predict(ridge.weights, x, now.is_open)
        said[week, chosen] = weekly[week][later]
        truth[week, chosen] = np.where(visible > 0, outcome, np.nan)
        own = np.stack([~now.is_open, now.is_open])[:, None, :]
        ridge.learn(x, outcome.T, own * visible.T)
    return Trained(ridge.weights, p, said, truth)


class Lookback:
    """Means over the SPANS before any slot.

    Args:
        share, expected: shape (n,), per slot. slots: a day.
    """

    def __init__(self, share: Floats, expected: Floats, slots: int) -> None:
        self._share = np.concatenate([[0.0], np.cumsum(share)])
        self._expected = np.concatenate([[0.0], np.cumsum(expected)])
        self._spans = np.array([max(round(hours * slots / 24), 1) for hours in SPANS])
        self.longest = int(self._spans[-1])

    def at(self, index: Ints) -> tuple[Floats, Floats]:
        """Args: index: shape (n,), each at least `longest`. Returns: (share, expected), each (n, SPANS)."""
        before = index[:, None] - self._spans
        share = (self._share[index][:, None] - self._share[before]) / self._spans
        expected = (self._expected[index][:, None] - self._expected[before]) / self._spans
        return share, expected
