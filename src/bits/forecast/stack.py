"""What likeness to past weeks leaves unsaid: a logistic regression on its forecast, the last days and the calendar."""

from __future__ import annotations

import numpy as np

from bits.forecast.kernel import Past, busyness, smooth
from bits.forecast.occupancy import Floats
from bits.forecast.online import Ridge, decay, logit
from bits.forecast.weeks import WEEK

LEVELS = np.array([1 / 7, 0.5, 4.0, 16.0])  # time constants, weeks
HALF_LIFE = 100.0
# Pull towards the prior, in rows, as a ridge on standardised inputs would have it: logits spread widely, flags little.
# The spreads are fixed, not measured, so that no forecast depends on a later week.
PENALTY_LOGIT, PENALTY_FLAG = 4000.0, 250.0
PULLS = (1.0, 0.1, 0.01)  # shares of that: who forecasts decides by the past how far to let go of the prior


def inputs(past: Past, kernel_p: Floats) -> tuple[Floats, Floats]:
    """Return the regression's inputs.

    Args:
        kernel_p: shape (targets, 7, slots), the forecast to improve.
    Returns: (x, penalty), shapes (targets, 7 * slots, inputs) and (inputs,); the first input is the forecast's logit,
        the last is 1.
    """
    weeks, age = past.weeks, past.age
    count = len(weeks)
    shape = kernel_p.shape

    def mean(weight: Floats, prior: Floats | float, strength: float = 0.5) -> Floats:
        weight = np.where(past.is_past, weight, 0).astype(np.float32)
        is_open = smooth((weight @ past.is_open.reshape(count, -1)).reshape(shape), 0.7)
        seen = smooth((weight @ past.seen.reshape(count, -1)).reshape(shape), 0.7)
        return np.clip((is_open + strength * prior) / (np.maximum(seen, 0) + strength), 0, 1)

    def soft(p: Floats) -> Floats:
        return np.log((p + 0.01) / (1.01 - p))

    ever = mean(np.ones_like(age), 0.1)
    columns = [logit(kernel_p)]
    columns += [soft(mean(decay(half) ** np.maximum(age, 0), ever)) for half in (4.0, 16.0)]
    columns.append(soft(ever))
    columns += [soft(profile(past, ever, constant)) for constant in (0.5, 2.0)]
    last_year = mean((np.abs(age - 52) <= 1).astype(np.float32), ever, 1.0)
    columns.append(soft(last_year) - soft(ever))

    level = np.log(busyness(weeks, LEVELS) + 0.02)[past.targets]
    holiday = weeks.holiday.reshape(-1)
    around = np.concatenate([[False], holiday, [False]])
    days = past.targets[:, None] * WEEK + np.arange(WEEK)
    flat = [
        *(level[:, [index]] - level[:, [3]] for index in (0, 1, 2)),
        holiday[days],
        around[days + 2],  # the eve of a holiday
        around[days],  # the day after one
        np.minimum(weeks.holidays_a_week[past.targets], 3)[:, None],
        np.ones((1, 1)),
    ]
    penalty = np.array([PENALTY_LOGIT] * len(columns) + [PENALTY_FLAG] * len(flat))
    columns += [np.broadcast_to(np.broadcast_to(column, shape[:2])[:, :, None], shape) for column in flat]
    return np.stack(columns, -1).reshape(shape[0], -1, len(columns)), penalty


def profile(past: Past, ever: Floats, constant: float) -> Floats:
    """Return the decayed mean of a slot over the last days of the same kind, workdays or others.

    Args:
        ever: shape (targets, 7, slots), what holds where there were none. constant: weeks.
    """
    weeks = past.weeks
    result = np.empty_like(ever)
    to_end = (WEEK - 1 - np.arange(WEEK)) / WEEK
    for kind in (weeks.workday, ~weeks.workday):
        weight = np.where(past.is_past, np.exp(-np.maximum(past.age - 1, 0) / constant), 0).astype(np.float32)
        within = (np.exp(-to_end / constant) * kind)[:, None].astype(np.float32)
        is_open = weight @ (past.is_open * within).sum(1)
        seen = weight @ (past.seen * within).sum(1)
        mean = ever[:, kind].mean(1)
        result[:, kind] = ((is_open + 0.5 * mean) / (seen + 0.5))[:, None]
    return result


def forecasts(past: Past, kernel_p: Floats) -> Floats:
    """Forecast the targets, each by what the weeks before it have taught. Targets rise by one.

    Returns: shape (PULLS, targets, 7, slots).
    """
    x, penalty = inputs(past, kernel_p)
    prior = np.zeros((len(PULLS), x.shape[-1]))
    prior[:, 0] = 1.0
    ridge = Ridge(prior, np.array(PULLS)[:, None] * penalty, HALF_LIFE)
    result = np.empty((len(PULLS), *kernel_p.shape))
    for index, target in enumerate(past.targets):
        result[:, index] = ridge.predict(x[index]).reshape(len(PULLS), *kernel_p.shape[1:])
        if target < len(past.weeks):
            ridge.learn(x[index], past.weeks.is_open[target].reshape(-1), past.weeks.seen[target].reshape(-1))
    return result
