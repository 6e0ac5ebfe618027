"""The forecast beside gradient boosting: `python -m benchmarks.forecast_anchor [FILE.csv=ZONE …]`.

LightGBM (pip install lightgbm; no dependency of BITS) gets the same information: weekday, slot, week of the year, the
decayed means of slots, how busy the last days were, holidays. It learns anew every four weeks, from all weeks before.
Places are made up (benchmarks/places.py), and whatever files of transitions are given.

With --seeds N, each made-up place lives N lives, in three lengths, and is compared with the baselines instead: how many
of the lives does each win, when there may be nothing to learn but the weekday and the hour?
"""

from __future__ import annotations

import argparse
import time
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np

from benchmarks.places import FIRST, HABITS, ZONE, place
from bits.forecast import kernel, model, rows, stack
from bits.forecast.days import calendar
from bits.forecast.figures import BASELINES
from bits.forecast.occupancy import Floats, Record, occupancy
from bits.forecast.score import brier, calibration_error, climatology, log_loss, reliability, score, scored
from bits.forecast.slots import grid
from bits.forecast.weeks import Weeks, arrange, span

EVERY = 4  # weeks
SETTINGS = {
    "objective": "binary",
    "learning_rate": 0.05,
    "num_leaves": 15,
    "min_data_in_leaf": 200,
    "lambda_l2": 10.0,
    "feature_fraction": 0.7,
    "bagging_fraction": 0.7,
    "bagging_freq": 1,
    "num_threads": 2,
    "seed": 1,
    "verbose": -1,
}
TREES = 120


def weeks_of(record: Record, zone: ZoneInfo) -> Weeks:
    first = datetime.fromtimestamp(float(record.times[0]), zone).date()
    last = datetime.fromtimestamp(record.end, zone).date()
    begin, count = span(first, last - timedelta(days=last.weekday()))
    known = calendar("", "", zone.key, ())
    return arrange(occupancy(record, grid(begin, 7 * count, zone)), known.is_holiday)


def boosted(weeks: Weeks, count: int) -> Floats:
    """Return LightGBM's forecasts of the last weeks."""
    import lightgbm  # type: ignore[import-not-found,import-untyped,unused-ignore]

    targets = np.arange(model.FIRST, len(weeks))
    past = kernel.Past(weeks, targets)
    x, _ = stack.inputs(past, np.full((len(targets), *weeks.is_open.shape[1:]), 0.5))
    days, slots = np.divmod(np.arange(x.shape[1]), weeks.slots)
    where = np.stack([np.broadcast_to(column, x.shape[:2]) for column in (days, slots, targets[:, None] % 52)], -1)
    x = np.concatenate([x[..., 1:-1], where], -1)
    y, seen = (array[model.FIRST :].reshape(x.shape[:2]) for array in (weeks.is_open, weeks.seen))
    made = np.full(x.shape[:2], np.nan)
    for index in range(len(targets) - count, len(targets), EVERY):
        known = seen[:index] > 0
        age = np.broadcast_to(0.5 ** ((index - np.arange(index)) / stack.HALF_LIFE), known.T.shape).T[known]
        data = lightgbm.Dataset(x[:index][known], y[:index][known], weight=age)
        booster: Any = lightgbm.train(SETTINGS, data, TREES)
        ahead = slice(index, min(index + EVERY, len(targets)))
        made[ahead] = booster.predict(x[ahead].reshape(-1, x.shape[-1])).reshape(-1, x.shape[1])
    return made[-count:].reshape(-1, *weeks.is_open.shape[1:])


def compare(name: str, weeks: Weeks) -> None:
    count = scored(len(weeks))
    truth = weeks.is_open[-count:], weeks.seen[-count:]
    begin = time.perf_counter()
    made = model.forecast(weeks)
    assert made
    own_seconds = time.perf_counter() - begin
    begin = time.perf_counter()
    theirs = boosted(weeks, count)
    their_seconds = time.perf_counter() - begin
    print(f"{name:16}{count:6}", end="")
    for p in (made.p[-count - 1 : -1], theirs, climatology(weeks)[-count:]):
        error = calibration_error(reliability(p, *truth))
        print(f"{brier(p, *truth):10.4f}{log_loss(p, *truth):8.4f}{error:7.3f}", end="")
    print(f"{own_seconds:9.2f}{their_seconds:7.2f}", flush=True)


def lives(habit: str, count: int, seeds: int) -> None:
    """Compare one kind of place, over some lives of it, with the baselines."""
    scores = []
    for seed in range(1, seeds + 1):
        weeks = arrange(occupancy(place(habit, count, seed=seed), grid(FIRST, 7 * count, ZONE)))
        of = score(weeks, made) if (made := model.forecast(weeks)) else None
        assert of
        scores.append(of)
    print(f"{habit:12}{count:6}", end="")
    for name in BASELINES:
        for index, own in ((0, "brier"), (1, "log_loss")):
            ratios = np.array([getattr(of, own) / of.baselines[name][index] for of in scores])
            print(f"{ratios.mean():9.3f}{(ratios > 1).sum():4}", end="")
    print(f"{max(of.calibration_error for of in scores):9.3f}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("files", nargs="*", metavar="FILE.csv=ZONE")
    parser.add_argument("--seeds", type=int, default=0)
    chosen = parser.parse_args()
    if chosen.seeds:
        print(f"ratio to each baseline (Brier, log loss), and lives of {chosen.seeds} that it won")
        print(f"{'':12}{'weeks':>6}" + "".join(f"{name:>26}" for name in BASELINES) + f"{'calib':>9}")
        for habit in HABITS:
            for count in (45, 75, 110):
                lives(habit, count, chosen.seeds)
        return
    print(f"{'':16}{'weeks':>6}{'BITS':>10}{'':15}{'LightGBM':>10}{'':15}{'climatology':>11}{'':14}{'seconds':>9}")
    print(f"{'':22}" + 3 * f"{'Brier':>10}{'log':>8}{'calib':>7}" + f"{'BITS':>9}{'LGBM':>7}")
    for given in chosen.files:
        file, _, zone = given.partition("=")
        with Path(file).open(newline="") as lines:
            compare(Path(file).stem, weeks_of(rows.parse(lines), ZoneInfo(zone)))
    for habit in HABITS:
        count = 220 if habit == "hall" else 150
        record = place(habit, count)
        compare(habit, arrange(occupancy(record, grid(FIRST, 7 * count, ZONE))))


if __name__ == "__main__":
    main()
