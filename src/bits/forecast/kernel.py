"""Weeks like this one: the coming week is forecast as an average of past weeks, each weighted by its likeness."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from bits.forecast.occupancy import Bools, Floats
from bits.forecast.weeks import WEEK, Float32s, Weeks

YEAR = 365.2425 / WEEK  # in weeks

# Time constants, in weeks, of the measures of how busy the last days were: a change of habits shows there first.
BUSY = np.array([0.15, 0.6, 2.5])


@dataclass(frozen=True, slots=True)
class Settings:
    """What makes a past week like the one to come. Weeks and slots are the units.

    Args:
        age: weeks by which likeness falls to a third; inf: no week is too old.
        season: standard deviation of the distance within the year, weeks.
        holidays: of the difference in holidays a week.
        busy: shape (3,), of the log of the ratio of each measure in BUSY; inf: it does not count.
        lead: how much less that counts three days ahead, at least 1.
        workdays: weight of another workday of the same week in a workday's forecast.
        others: weight of any other day, as a share of that.
        ordinary: weight of an ordinary day in the forecast of a holiday.
        prior: weight of the slot's decayed mean, in weeks.
        prior_age: its time constant, weeks.
        width: standard deviation of the smoothing along the slots.
    """

    age: float
    season: float
    holidays: float
    busy: Floats
    lead: float
    workdays: float
    others: float
    ordinary: float
    prior: float
    prior_age: float
    width: float


def settings(count: int, seed: int = 0) -> list[Settings]:
    """Draw settings around those that suit most places, spread widely enough to suit the others.

    A third of them does not look at how busy the last days were, and a third not at the age of a week.
    """
    rng = np.random.default_rng(seed)
    factors = np.exp(rng.standard_normal((count, 13)))
    factors[0] = 1.0
    drawn = []
    for index, factor in enumerate(factors):
        drawn.append(
            Settings(
                age=np.inf if index % 3 == 2 else 40 * factor[0],
                season=8 * factor[1],
                holidays=1 * factor[2],
                busy=np.full(3, np.inf) if index % 3 == 1 else np.array([1.2, 0.7, 0.7]) * factor[3:6],
                lead=1 + factor[6],
                workdays=min(0.05 * factor[7], 0.9),
                others=min(0.3 * factor[8], 1.0),
                ordinary=0.5 * factor[9],
                prior=0.6 * factor[10],
                prior_age=12 * factor[11],
                width=0.7 * factor[12],
            )
        )
    return drawn


class Past:
    """What all settings share: distances between weeks, and how busy the days before each were.

    Args:
        targets: shape (t,), indices of weeks to forecast, each from the weeks before it; len(weeks) is the one to come.
    """

    def __init__(self, weeks: Weeks, targets: np.ndarray[tuple[int], np.dtype[np.int64]]) -> None:
        count = len(weeks)
        self.weeks = weeks
        self.targets = targets
        self.age = (targets[:, None] - np.arange(count)).astype(np.float32)
        self.is_past = self.age > 0
        self.season = np.abs((self.age + YEAR / 2) % YEAR - YEAR / 2).astype(np.float32)
        holidays = np.minimum(weeks.holidays_a_week, 2).astype(np.float32)
        self.holidays = holidays[targets][:, None] - holidays[:count]
        busy = np.log(busyness(weeks, BUSY) + 0.02).astype(np.float32)
        self.busy = (busy[targets][:, None] - busy[:count]) ** 2
        ordinary = (~weeks.holiday[:count])[:, :, None]
        self.is_open = weeks.is_open * ordinary
        self.seen = weeks.seen * ordinary
        special = weeks.holiday[:count][:, :, None]
        past = self.is_past.astype(np.float32)
        self.holiday_open = past @ (weeks.is_open * special).sum(1)
        self.holiday_seen = past @ (weeks.seen * special).sum(1)


def busyness(weeks: Weeks, constants: Floats) -> Floats:
    """Return the decayed share of time open, as known at the begin of each week.

    Args:
        constants: shape (c,), time constants in weeks.
    Returns: shape (weeks + 1, c), 0..1; 0 where nothing had been seen.
    """
    seen = weeks.seen.sum(2)
    share = weeks.is_open.sum(2) / np.maximum(seen, 1)
    known = (seen > 0).astype(np.float64)
    within = np.exp(-np.arange(WEEK)[::-1, None] / (WEEK * constants))
    opened, weight = (share * known) @ within, known @ within
    keep = np.exp(-1 / constants)
    sums = np.zeros((2, len(weeks) + 1, len(constants)))
    for week in range(len(weeks)):
        sums[:, week + 1] = keep * sums[:, week] + (opened[week], weight[week])
    return np.asarray(sums[0] / np.maximum(sums[1], 1e-9))


def smooth(x: Floats | Float32s, width: float) -> Floats:
    """Smooth along the slots of a week, its end joined to its begin.

    Args:
        x: shape (n, 7, slots). width: standard deviation, slots.
    """
    flat = x.reshape(len(x), -1)
    size = flat.shape[1]
    gain = np.exp(-0.5 * (2 * np.pi * np.arange(size // 2 + 1) / size * width) ** 2)
    return np.asarray(np.fft.irfft(np.fft.rfft(flat, axis=1) * gain.astype(flat.dtype), n=size, axis=1)).reshape(
        x.shape
    )


def pooling(workday: Bools, workdays: float, others: float) -> Float32s:
    """Return how much each weekday (columns) says about each (rows)."""
    alike = workday[:, None] & workday
    shares = np.where(alike, workdays, workdays * others).astype(np.float32)
    np.fill_diagonal(shares, 1.0)
    return shares


def forecast(past: Past, chosen: Settings) -> tuple[Floats, Floats]:
    """Forecast the targets by likeness to past weeks.

    Returns: (p, size): p of shape (targets, 7, slots), 0..1; size of shape (targets, 7), the effective number of
        weeks that speak.
    Source: Nadaraya-Watson regression on weeks; the effective number is Kish's.
    """
    weeks, age = past.weeks, past.age
    base = -age / np.float32(chosen.age)
    base -= 0.5 * (past.season / np.float32(chosen.season)) ** 2
    base -= 0.5 * (past.holidays / np.float32(chosen.holidays)) ** 2
    apart = past.busy @ (0.5 / chosen.busy**2).astype(np.float32)
    fading = (chosen.lead ** (-np.arange(WEEK) / 3)).astype(np.float32)
    likeness = base - fading[:, None, None] * apart  # (7, targets, weeks)
    likeness[:, ~past.is_past] = -np.inf
    likeness -= np.maximum(likeness.max(2, keepdims=True, initial=-1e30), -1e30)
    kernel = np.exp(likeness)

    pool = pooling(weeks.workday, chosen.workdays, chosen.others)
    both = smooth(np.concatenate([past.is_open, past.seen]), chosen.width)
    both = np.einsum("de,wes->dws", pool, both).astype(np.float32)
    count = len(weeks)
    numerator = np.matmul(kernel, both[:, :count]).swapaxes(0, 1)
    denominator = np.matmul(kernel, both[:, count:]).swapaxes(0, 1)

    recent = np.where(past.is_past, np.exp(-np.maximum(age, 0) / np.float32(chosen.prior_age)), 0)
    decayed_open = (recent @ past.is_open.reshape(count, -1)).reshape(numerator.shape)
    decayed_seen = (recent @ past.seen.reshape(count, -1)).reshape(numerator.shape)
    prior = (smooth(decayed_open, 2.0) + 0.3 * decayed_open.mean(1, keepdims=True) + 0.05) / (
        smooth(decayed_seen, 2.0) + 0.3 * decayed_seen.mean(1, keepdims=True) + 0.2
    )
    p = (numerator + chosen.prior * prior) / (np.maximum(denominator, 0) + chosen.prior)

    on_holiday = (past.holiday_open[:, None] + chosen.ordinary * p) / (past.holiday_seen[:, None] + chosen.ordinary)
    p = np.where(weeks.holiday[past.targets][:, :, None], on_holiday, p)

    known = past.seen.max(2).T[:, None]
    size = (kernel * known).sum(2) ** 2 / np.maximum((kernel**2 * known).sum(2), 1e-9)
    return np.clip(p, 0.0, 1.0).astype(np.float32), size.T
