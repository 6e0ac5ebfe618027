"""How good the forecasts have been, and against what: every week forecast one week ahead, from the past alone."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from bits.forecast.model import Forecasts
from bits.forecast.nowcast import Trained
from bits.forecast.occupancy import Floats
from bits.forecast.online import slot_loss
from bits.forecast.weeks import Float32s, Weeks

SHARE = 0.3  # of the weeks is scored, the newest
LEAST_BEFORE = 8  # weeks to learn from before the first that is scored
BINS = 10
RECENT = (1, 2, 3, 4, 6, 8, 12, 16, 26)  # weeks; the best of them by hindsight, to be fair to the rule


@dataclass(frozen=True, slots=True)
class Bin:
    """Slots with a like forecast: how often was it open?"""

    low: float
    high: float
    forecast: float
    open: float
    share: float


@dataclass(frozen=True, slots=True)
class Score:
    """Lower is better, but skill.

    Args:
        brier: mean squared error of the probability.
        log_loss: mean negative log likelihood, nats.
        calibration_error: mean distance between forecast and frequency over ten bins of the forecast.
        weeks: scored.
        skill: 1 - brier / the baseline's; None where the baseline made no error at all.
        baselines: (brier, log loss) of each.
        bins: the reliability table; empty bins are left out.
        nowcast: by hours ahead, (brier of the nowcast, brier of the weekly forecast for the same slots).
    """

    brier: float
    log_loss: float
    calibration_error: float
    weeks: int
    skill: dict[str, float | None]
    baselines: dict[str, tuple[float, float]]
    bins: tuple[Bin, ...]
    nowcast: dict[float, tuple[float, float]]

    @property
    def better(self) -> int | None:
        """By how many percent the Brier score is better than climatology's; None: by less than half a percent."""
        skill = self.skill["climatology"]
        return round(100 * skill) if skill is not None and skill > 0.005 else None


def scored(count: int) -> int:
    """Return how many of some weeks are scored: 30 %, if at least 8 come before them."""
    return max(min(round(SHARE * count), count - LEAST_BEFORE), 0)


def brier(p: Floats, is_open: Float32s, seen: Float32s) -> float:
    return float((((p - is_open) ** 2) * seen).sum() / seen.sum())


def log_loss(p: Floats, is_open: Float32s, seen: Float32s) -> float:
    return float(slot_loss(p, is_open, seen).sum() / seen.sum())


def reliability(p: Floats, is_open: Float32s, seen: Float32s) -> tuple[Bin, ...]:
    index = np.minimum((p * BINS).astype(int), BINS - 1).reshape(-1)
    weight = seen.reshape(-1).astype(np.float64)
    count = np.bincount(index, weight, BINS)
    forecast = np.bincount(index, weight * p.reshape(-1), BINS)
    opened = np.bincount(index, weight * is_open.reshape(-1), BINS)
    return tuple(
        Bin(
            bin_ / BINS,
            (bin_ + 1) / BINS,
            float(forecast[bin_] / count[bin_]),
            float(opened[bin_] / count[bin_]),
            float(share),
        )
        for bin_, share in enumerate(count / count.sum())
        if share > 0
    )


def calibration_error(bins: tuple[Bin, ...]) -> float:
    """Return the mean distance between forecast and frequency."""
    return sum(bin_.share * abs(bin_.forecast - bin_.open) for bin_ in bins)


# --- what any forecast must beat


def climatology(weeks: Weeks) -> Floats:
    """Return the mean of the same slot over all weeks before, shape (weeks, 7, slots)."""
    return _before(weeks, len(weeks))


def recent_weeks(weeks: Weeks, count: int) -> Floats:
    """Return the mean of the same slot over the last weeks."""
    return _before(weeks, count)


def _before(weeks: Weeks, count: int) -> Floats:
    def window(x: Floats) -> Floats:
        sums = np.concatenate([np.zeros((1, *x.shape[1:])), np.cumsum(x, 0, dtype=np.float64)])
        return np.asarray(sums[:-1] - sums[np.maximum(np.arange(len(x)) - count, 0)])

    return window(weeks.is_open) / np.maximum(window(weeks.seen), 1)


def predecessor(weeks: Weeks) -> Floats:
    """Return the rule of 2013: eight bits a slot, halved each week, the high bit set where open; the square root.

    Source: the share is read as value / 255. The shifts keep the last eight weeks, the newest in the highest bit.
    """
    result = np.zeros(weeks.is_open.shape)
    for back in range(1, 9):
        result[back:] += weeks.is_open[:-back] * 2.0 ** (8 - back)
    return np.sqrt(result / 255)


def score(weeks: Weeks, forecasts: Forecasts, trained: Trained | None = None) -> Score | None:
    """Score the newest weeks; None where too few come before them, or nothing was seen in them."""
    count = scored(len(weeks))
    if not count or not weeks.seen[-count:].any():
        return None
    truth = weeks.is_open[-count:], weeks.seen[-count:]
    p = forecasts.p[-count - 1 : -1]
    recent = min((recent_weeks(weeks, k)[-count:] for k in RECENT), key=lambda q: brier(q, *truth))
    baselines = {
        name: (brier(q, *truth), log_loss(q, *truth))
        for name, q in (
            ("climatology", climatology(weeks)[-count:]),
            ("recent_weeks", recent),
            ("predecessor", predecessor(weeks)[-count:]),
        )
    }
    own = brier(p, *truth)
    bins = reliability(p, *truth)
    return Score(
        brier=own,
        log_loss=log_loss(p, *truth),
        calibration_error=calibration_error(bins),
        weeks=count,
        skill={name: 1 - own / theirs if theirs > 0 else None for name, (theirs, _) in baselines.items()},
        baselines=baselines,
        bins=bins,
        nowcast=_nowcast(trained, count) if trained else {},
    )


def _nowcast(trained: Trained, count: int) -> dict[float, tuple[float, float]]:
    result = {}
    for hours in (0.5, 1.0, 2.0, 4.0, 8.0):
        column = (slice(-count, None), slice(None), round(hours * 2) - 1)
        p, weekly, truth = trained.p[column], trained.weekly[column], trained.truth[column]
        known = ~np.isnan(p) & ~np.isnan(truth)
        if known.any():
            result[hours] = tuple(float(((q - truth)[known] ** 2).mean()) for q in (p, weekly))
    return result  # type: ignore[return-value]
