"""The forecast of a week: many simple forecasters, trusted by how well each did on this space's own past."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from bits.forecast import kernel, stack
from bits.forecast.occupancy import Floats
from bits.forecast.online import expit, logit, shares, week_loss
from bits.forecast.weeks import Weeks

KERNELS = 48
FIRST = 2  # weeks to look back on before the first forecast
HALF_LIFE = 60.0
KERNEL_RATE = 15.0
FINAL_RATE = 100.0
Z = 1.645  # nine times in ten


@dataclass(frozen=True, slots=True)
class Forecasts:
    """One forecast a week, each from the weeks before it alone.

    Args:
        targets: shape (t,), which weeks; the last one is the week to come.
        p: shape (t, 7, slots), probability that the space is open for at least half of the slot.
        size: shape (t, 7), effective number of past weeks that speak.
    """

    targets: np.ndarray[tuple[int], np.dtype[np.int64]]
    p: Floats
    size: Floats

    def interval(self, index: int = -1) -> tuple[Floats, Floats]:
        """Return the bounds between which the probability lies nine times in ten (Wilson's), each (7, slots)."""
        p, size = self.p[index], np.maximum(self.size[index][:, None], 1e-3)
        scale = 1 + Z**2 / size
        middle = (p + Z**2 / (2 * size)) / scale
        half = Z / scale * np.sqrt(p * (1 - p) / size + Z**2 / (4 * size**2))
        return np.clip(middle - half, 0, 1), np.clip(middle + half, 0, 1)


def forecast(weeks: Weeks) -> Forecasts | None:
    """Forecast every week of the past from those before it, and the week to come; None: too little is known."""
    if len(weeks) < FIRST or weeks.known < FIRST:
        return None
    targets = np.arange(FIRST, len(weeks) + 1)
    past = kernel.Past(weeks, targets)
    drawn = [kernel.forecast(past, chosen) for chosen in kernel.settings(KERNELS)]
    candidates = np.stack([p for p, _ in drawn])
    sizes = np.stack([size for _, size in drawn])
    known = slice(FIRST, len(weeks))
    truth = weeks.is_open[known], weeks.seen[known]
    trust = shares(week_loss(candidates[:, :-1], *truth), half_life=HALF_LIFE, rate=KERNEL_RATE)
    by_likeness = expit(np.einsum("kt,ktds->tds", trust, logit(candidates)))
    stacked = stack.forecasts(past, by_likeness)
    between = expit((logit(by_likeness) + logit(stacked)) / 2)
    final = np.concatenate([by_likeness[None], stacked, between])
    trust_final = shares(week_loss(final[:, :-1], *truth), half_life=HALF_LIFE, rate=FINAL_RATE)
    p = expit(np.einsum("kt,ktds->tds", trust_final, logit(final)))
    return Forecasts(targets, p, np.einsum("kt,ktd->td", trust, sizes))
