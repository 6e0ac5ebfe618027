"""Spaces that do not exist, with the habits of those that do: seeded, so that every run sees the same."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import date, datetime, timedelta
from zoneinfo import ZoneInfo

import numpy as np

from bits.forecast.occupancy import Record

Sessions = list[tuple[float, float]]  # from when to when, hours of the day; may reach into the next
Habit = Callable[[np.random.Generator, date, float], Sessions]
ZONE = ZoneInfo("Europe/Berlin")
FIRST = date(2019, 1, 7)


def _chance(p: float, level: float) -> float:
    """Move a probability by a level of activity, in logits."""
    return float(1 / (1 + np.exp(-(np.log(p / (1 - p)) + level))))


def volunteers(rng: np.random.Generator, day: date, level: float) -> Sessions:
    """A hackerspace: evenings, some more than others, and weeks in which nobody comes."""
    if rng.random() > _chance((0.45, 0.8, 0.3, 0.6, 0.5, 0.35, 0.15)[day.weekday()], 2 * level):
        return []
    begin = rng.normal(18 if day.weekday() < 5 else 14, 1.2)
    return [(begin, min(begin + rng.gamma(4, 0.9), 29))]


def semesters(rng: np.random.Generator, day: date, level: float) -> Sessions:
    """A students' room: between lessons, whose times change twice a year; quiet between the terms."""
    of_year = day.timetuple().tm_yday
    in_term = of_year < 45 or 100 < of_year < 195 or of_year > 285
    if day.weekday() > 4:
        return []
    timetable = np.random.default_rng(day.year * 2 + (of_year > 195)).random((5, 5)) < 0.6
    return [
        (begin + rng.normal(0, 0.15), begin + 0.3 + rng.gamma(4, 0.35))
        for hour, begin in enumerate((8.5, 10.2, 12.1, 14.2, 16.3))
        if timetable[day.weekday(), hour] and rng.random() < _chance(0.75 if in_term else 0.1, 2 * level)
    ]


def hall(rng: np.random.Generator, day: date, _level: float) -> Sessions:
    """A hall with hours of its own, which closed for five months once."""
    if 1000 < (day - FIRST).days < 1150 or rng.random() > (0.97, 0.97, 0.97, 0.97, 0.95, 0.8, 0.5)[day.weekday()]:
        return []
    return [(rng.normal(9 if day.weekday() < 5 else 11, 0.3), rng.normal(22 if day.weekday() < 5 else 17, 0.5))]


def nights(rng: np.random.Generator, day: date, level: float) -> Sessions:
    """People who come in the afternoon, or not, and stay past midnight."""
    if rng.random() > _chance((0.4, 0.5, 0.6, 0.5, 0.7, 0.8, 0.4)[day.weekday()], 1.5 * level):
        return []
    begin = rng.normal(16, 3)
    return [(begin, begin + rng.gamma(3, 2.2))]


def door(rng: np.random.Generator, day: date, level: float) -> Sessions:
    """A door with a switch: hundreds of short openings a week, some of less than a second."""
    flaps: Sessions = []
    for begin, end in volunteers(rng, day, level) + semesters(rng, day, level):
        at = begin
        while at < end:
            shut = min(at + rng.exponential(0.2), end)
            flaps.append((at, shut))
            at = shut + (rng.exponential(0.08) if rng.random() > 0.1 else 0.5 / 3600)
    return flaps


HABITS: dict[str, Habit] = {habit.__name__: habit for habit in (volunteers, semesters, hall, nights, door)}


def place(habit: str, weeks: int, *, seed: int = 1, zone: ZoneInfo = ZONE, first: date = FIRST) -> Record:
    """Return what a space with some habit does in some weeks: transitions, and the end of the last week."""
    sessions = sorted(_sessions(HABITS[habit], weeks, seed, zone, first))
    times: list[float] = []
    for begin, end in sessions:
        if times and begin <= times[-1]:
            times[-1] = max(times[-1], end)
        else:
            times += [begin, end]
    close = datetime.combine(first + timedelta(weeks=weeks), datetime.min.time(), zone).timestamp()
    return Record(np.array(times), np.arange(len(times)).astype(np.int8) % 2 ^ 1, max(close, times[-1]))


def _sessions(habit: Habit, weeks: int, seed: int, zone: ZoneInfo, first: date) -> Iterator[tuple[float, float]]:
    rng = np.random.default_rng(seed)
    level = 0.0
    for day in (first + timedelta(days=index) for index in range(weeks * 7)):
        level = 0.9 * level + 0.25 * rng.standard_normal()
        midnight = datetime.combine(day, datetime.min.time(), zone).timestamp()
        for begin, end in habit(rng, day, level):
            if end > begin:
                yield midnight + begin * 3600, midnight + end * 3600
