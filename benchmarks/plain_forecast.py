"""The forecast by likeness to past weeks as one would write it down first: loops over transitions, slots and weeks.

What the arrays in bits.forecast are measured against, and tested against: both must say the same.
"""

from __future__ import annotations

import cmath
import math
from collections.abc import Sequence
from datetime import date, datetime, timedelta
from zoneinfo import ZoneInfo

from bits.forecast.kernel import BUSY, YEAR, Settings
from bits.forecast.occupancy import OPEN, UNKNOWN

SLOTS, SECONDS = 48, 1800
Week = list[list[float]]  # 7 × 48
EPSILON = 1e-3


def occupancy(
    times: Sequence[float], values: Sequence[int], end: float, first: date, days: int, zone: ZoneInfo
) -> list[list[float | None]]:
    """Return the open share of each slot of each day, None where less than half of it is known."""
    is_open = [[0.0] * SLOTS for _ in range(days)]
    known = [[0.0] * SLOTS for _ in range(days)]
    length = [[0.0] * SLOTS for _ in range(days)]
    begin = datetime.combine(first, datetime.min.time(), zone).timestamp()
    stop = datetime.combine(first + timedelta(days=days), datetime.min.time(), zone).timestamp()
    index = 0
    at = begin
    while at < stop:
        local = datetime.fromtimestamp(at, zone)
        day, slot = (local.date() - first).days, (local.hour * 60 + local.minute) // 30
        length[day][slot] += SECONDS
        while index + 1 < len(times) and times[index + 1] <= at:
            index += 1
        inside = index
        while inside < len(times) and times[inside] < at + SECONDS:
            until = times[inside + 1] if inside + 1 < len(times) else end
            seconds = min(until, at + SECONDS, end) - max(times[inside], at)
            if seconds > 0 and values[inside] != UNKNOWN:
                known[day][slot] += seconds
                if values[inside] == OPEN:
                    is_open[day][slot] += seconds
            inside += 1
        at += SECONDS
    return [
        [
            is_open[day][slot] / known[day][slot]
            if known[day][slot] > 0 and 2 * known[day][slot] >= length[day][slot]
            else None
            for slot in range(SLOTS)
        ]
        for day in range(days)
    ]


def _smoothing(width: float) -> list[float]:
    """Return the weights of the slots around one, along a week, by the Gaussian's spectrum."""
    size = 7 * SLOTS
    gain = [math.exp(-0.5 * (2 * math.pi * min(k, size - k) / size * width) ** 2) for k in range(size)]
    return [
        sum(gain[k] * cmath.exp(2j * cmath.pi * k * n / size).real for k in range(size)) / size for n in range(size)
    ]


def _smooth(week: Week, weights: list[float], reach: int = 20) -> Week:
    flat = [value for day in week for value in day]
    size = len(flat)
    smoothed = [
        sum(weights[shift % size] * flat[(slot - shift) % size] for shift in range(-reach, reach + 1))
        for slot in range(size)
    ]
    return [smoothed[day * SLOTS : (day + 1) * SLOTS] for day in range(7)]


def _busyness(is_open: list[Week], seen: list[Week], until: int, constant: float) -> float:
    share = weight = 0.0
    for week in range(until):
        for day in range(7):
            count = sum(seen[week][day])
            if count:
                ago = until * 7 - 1 - (week * 7 + day)
                fading = math.exp(-ago / (7 * constant))
                share += fading * sum(is_open[week][day]) / count
                weight += fading
    return share / max(weight, 1e-9)


def forecast(
    is_open: list[Week], seen: list[Week], workday: Sequence[bool], chosen: Settings, targets: Sequence[int]
) -> list[Week]:
    """Forecast some weeks from those before each, where there are no holidays."""
    near, far = _smoothing(chosen.width), _smoothing(2.0)
    smooth_open = [_smooth(week, near) for week in is_open]
    smooth_seen = [_smooth(week, near) for week in seen]

    def pooled(weeks: list[Week]) -> list[Week]:
        result = []
        for week in weeks:
            days = []
            for day in range(7):
                total = [0.0] * SLOTS
                for other in range(7):
                    alike = workday[day] and workday[other]
                    share = 1.0 if day == other else chosen.workdays * (1 if alike else chosen.others)
                    for slot in range(SLOTS):
                        total[slot] += share * week[other][slot]
                days.append(total)
            result.append(days)
        return result

    pooled_open, pooled_seen = pooled(smooth_open), pooled(smooth_seen)
    busy = [
        [math.log(_busyness(is_open, seen, week, constant) + 0.02) for constant in BUSY]
        for week in range(len(is_open) + 1)
    ]
    results = []
    for target in targets:
        recent_open, recent_seen = ([[0.0] * SLOTS for _ in range(7)] for _ in range(2))
        for week in range(target):
            fading = math.exp(-(target - week) / chosen.prior_age)
            for day in range(7):
                for slot in range(SLOTS):
                    recent_open[day][slot] += fading * is_open[week][day][slot]
                    recent_seen[day][slot] += fading * seen[week][day][slot]
        near_open, near_seen = _smooth(recent_open, far), _smooth(recent_seen, far)
        result = []
        for day in range(7):
            likeness = []
            for week in range(target):
                age = target - week
                season = abs((age + YEAR / 2) % YEAR - YEAR / 2)
                apart = sum(
                    0.5 * (busy[target][j] - busy[week][j]) ** 2 / chosen.busy[j] ** 2 for j in range(len(BUSY))
                )
                likeness.append(
                    -age / chosen.age - 0.5 * (season / chosen.season) ** 2 - chosen.lead ** (-day / 3) * apart
                )
            most = max(likeness)
            weights = [math.exp(value - most) for value in likeness]
            row = []
            for slot in range(SLOTS):
                numerator = denominator = 0.0
                for week in range(target):
                    numerator += weights[week] * pooled_open[week][day][slot]
                    denominator += weights[week] * pooled_seen[week][day][slot]
                mean_open = sum(recent_open[d][slot] for d in range(7)) / 7
                mean_seen = sum(recent_seen[d][slot] for d in range(7)) / 7
                prior = (near_open[day][slot] + 0.3 * mean_open + 0.05) / (near_seen[day][slot] + 0.3 * mean_seen + 0.2)
                p = (numerator + chosen.prior * prior) / (max(denominator, 0.0) + chosen.prior)
                row.append(min(max(p, 0.0), 1.0))
            result.append(row)
        results.append(result)
    return results


def week_loss(p: Week, is_open: Week, seen: Week) -> float:
    total = count = 0.0
    for day in range(7):
        for slot in range(SLOTS):
            q = min(max(p[day][slot], EPSILON), 1 - EPSILON)
            total -= seen[day][slot] * math.log(q if is_open[day][slot] else 1 - q)
            count += seen[day][slot]
    return total / max(count, 1.0)
