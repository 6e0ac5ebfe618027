"""Learning week by week: each step forecasts from what came before, then takes the week in. None can peek."""

from __future__ import annotations

import numpy as np

from bits.forecast.occupancy import Floats

EPSILON = 1e-3  # a forecast is never surer than this


def logit(p: Floats) -> Floats:
    p = np.clip(p, EPSILON, 1 - EPSILON)
    return np.asarray(np.log(p / (1 - p)))


def expit(x: Floats) -> Floats:
    return np.asarray(1 / (1 + np.exp(-np.clip(x, -30, 30))))


def decay(half_life: float) -> float:
    return float(0.5 ** (1 / half_life))


def slot_loss(p: Floats, is_open: Floats, seen: Floats) -> Floats:
    """Return the log loss of each slot, in nats; 0 where it was not seen."""
    p = np.clip(p, EPSILON, 1 - EPSILON)
    return np.asarray(-np.log(np.where(is_open > 0, p, 1 - p)) * seen)


def week_loss(p: Floats, is_open: Floats, seen: Floats) -> Floats:
    """Return the mean log loss of the seen slots of each week.

    Args:
        p: shape (..., weeks, 7, slots). is_open, seen: shape (weeks, 7, slots).
    Returns: shape (..., weeks), in nats; 0 for a week of which nothing was seen.
    """
    return np.asarray(slot_loss(p, is_open, seen).sum((-2, -1)) / np.maximum(seen.sum((-2, -1)), 1))


def shares(losses: Floats, *, half_life: float, rate: float) -> Floats:
    """Share out trust among forecasters, by their losses so far.

    Args:
        losses: shape (forecasters, weeks).
        half_life: weeks after which a loss counts half.
        rate: how fast trust follows: a forecaster worse by 1/rate in sum has the e-th part of the trust.
    Returns: shape (forecasters, weeks + 1): the shares with which to forecast each week, and the one after the last;
        none depends on its own week or a later one.
    Source: the exponentially weighted forecaster, with forgetting (Cesa-Bianchi and Lugosi, 2006, chapter 2).
    """
    sums = np.zeros((losses.shape[0], losses.shape[1] + 1))
    keep = decay(half_life)
    for week in range(losses.shape[1]):
        sums[:, week + 1] = keep * sums[:, week] + losses[:, week]
    trust = np.exp(-rate * (sums - sums.min(0)))
    return np.asarray(trust / trust.sum(0))


class Ridge:
    """Logistic regression with a prior, learned week by week; any number of them side by side.

    Keeps the second-order expansion of the decayed log-likelihood, each week's around the weights of its time: one
    step of iteratively reweighted least squares a week instead of many over all weeks.

    Args:
        prior: shape (..., features), the weights that nothing learned means.
        penalty: shape (..., features), pull towards them, in units of rows.
        half_life: weeks after which a row counts half.
    """

    def __init__(self, prior: Floats, penalty: Floats, half_life: float) -> None:
        self.weights = prior.copy()
        self._keep = decay(half_life)
        self._pull = penalty * prior
        self._penalty = penalty
        self._hessian = np.zeros((*prior.shape, prior.shape[-1]))
        self._linear = np.zeros(prior.shape)
        self._identity = np.eye(prior.shape[-1])

    def predict(self, x: Floats) -> Floats:
        """Args: x: shape (..., rows, features), or (rows, features) for all alike. Returns: shape (..., rows)."""
        return expit(self._fit(x))

    def _fit(self, x: Floats) -> Floats:
        return np.asarray(np.matmul(x, self.weights[..., None])[..., 0])

    def learn(self, x: Floats, y: Floats, weight: Floats) -> None:
        """Take in a week.

        Args:
            x: as for `predict`. y: shape (..., rows), 0 or 1. weight: shape (..., rows), 0 leaves out.
        """
        fitted = self._fit(x)
        p = expit(fitted)
        curvature = weight * np.maximum(p * (1 - p), EPSILON)
        pulled = curvature * fitted + weight * (y - p)
        transposed = np.swapaxes(x, -1, -2)
        self._hessian = self._keep * self._hessian + np.matmul(transposed * curvature[..., None, :], x)
        self._linear = self._keep * self._linear + np.matmul(transposed, pulled[..., None])[..., 0]
        system = self._hessian + self._penalty[..., None] * self._identity
        self.weights = np.linalg.solve(system, (self._linear + self._pull)[..., None])[..., 0]
