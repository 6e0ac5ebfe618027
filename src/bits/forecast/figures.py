"""The outlook as plain figures, as every view shows them: Monday first, 00:00 first."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, timedelta
from typing import Any, TypeVar
from zoneinfo import ZoneInfo

from bits.forecast.outlook import MINUTES, Outlook
from bits.forecast.score import Score

DAY_BEGINS, DAY_ENDS = 8 * 60 // MINUTES, 21 * 60 // MINUTES  # shown, whatever happens
NEVER = 0.05  # a slot that stays below that all week is left out of the night
FEW = 6  # weeks; a forecast from fewer is called a guess
INTERVAL = 0.9
BASELINES = ("climatology", "recent_weeks", "predecessor")

Table = list[list[float]]
T = TypeVar("T")


def monday_first(rows: Sequence[T], origin: date) -> list[T]:
    """Turn rows that begin with the origin's weekday."""
    return [rows[(day - origin.weekday()) % 7] for day in range(7)]


def dates(outlook: Outlook) -> list[date]:
    return monday_first([outlook.origin + timedelta(days=index) for index in range(7)], outlook.origin)


def table(p: Any, outlook: Outlook) -> Table:
    return [[round(float(value), 4) for value in row] for row in monday_first(p, outlook.origin)]


def shown(rows: Table) -> tuple[int, int]:
    """Return the slots worth showing, as begin and end: by day, and at night as far as something happens."""
    busy = [slot for slot in range(len(rows[0])) if max(row[slot] for row in rows) >= NEVER]
    return min([DAY_BEGINS, *busy]), max([DAY_ENDS - 1, *busy]) + 1


def clock(slot: int) -> str:
    return f"{slot * MINUTES // 60:02}:{slot * MINUTES % 60:02}"


def week(outlook: Outlook, zone: ZoneInfo) -> dict[str, Any]:
    """Return the coming week."""
    return {
        "time_zone": zone.key,
        "slot_minutes": MINUTES,
        "origin": outlook.origin.isoformat(),
        "known": outlook.is_known,
        "weeks": outlook.weeks,
        "forecast": table(outlook.p, outlook),
        "interval": INTERVAL,
        "low": table(outlook.low, outlook),
        "high": table(outlook.high, outlook),
        "score": score(outlook.score) if outlook.score else None,
    }


def score(of: Score | None) -> dict[str, Any]:
    """Return the score; null where there is none."""
    if of is None:
        unknown = dict.fromkeys(("brier", "log_loss", "calibration_error"))
        return {**unknown, "weeks": 0, "skill": dict.fromkeys(BASELINES)}
    return {
        "brier": round(of.brier, 6),
        "log_loss": round(of.log_loss, 6),
        "calibration_error": round(of.calibration_error, 6),
        "weeks": of.weeks,
        "skill": {name: skill if skill is None else round(skill, 6) for name, skill in of.skill.items()},
    }
