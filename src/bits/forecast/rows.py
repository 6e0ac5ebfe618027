"""Transitions written as rows: `timestamp_utc,value`."""

from __future__ import annotations

import csv
from collections.abc import Iterable
from datetime import UTC, datetime

import numpy as np

from bits.forecast.occupancy import CLOSED, OPEN, UNKNOWN, Record

CODES = {"open": OPEN, "closed": CLOSED, "unknown": UNKNOWN}
LONGEST = 10_000_000  # rows
# What numpy's seconds and the calendar's years both hold, with room for a time zone.
FIRST_YEAR, LAST_YEAR = 1900, 2200


def codes(away: int) -> dict[str, int]:
    """Return what each status stands for."""
    return {**CODES, "away": away}


def parse(lines: Iterable[str], *, away: int = CLOSED) -> Record:
    """Read transitions; the last row is where the record ends.

    Args:
        lines: `2026-11-24T18:00:00Z,open`; the value is open, closed, away or unknown and holds until the next row.
            A first line that says `timestamp…` is skipped, and so are empty ones. Without an offset, a time is UTC.
        away: what "away" counts as.
    Raises:
        ValueError: names the line and what is wrong with it.
    """
    known = codes(away)
    times: list[float] = []
    values: list[int] = []
    rows = csv.reader(lines, strict=True)
    before = ""
    try:
        for row in rows:
            number = rows.line_num
            if not row or (not times and row[0].strip("\ufeff ").lower().startswith("timestamp")):
                continue
            if len(row) != 2:
                raise ValueError(f"line {number}: expected timestamp,value, not {len(row)} fields")
            at = _instant(row[0].strip("\ufeff "), number)
            if times and at < times[-1]:
                raise ValueError(f"line {number}: {row[0].strip()} is earlier than {before} before it")
            code = known.get(row[1].strip().lower())
            if code is None:
                raise ValueError(f"line {number}: expected open, closed, away or unknown, not {row[1].strip()[:40]!r}")
            if len(times) == LONGEST:
                raise ValueError(f"line {number}: expected no more than {LONGEST:,} rows")
            before = row[0].strip()
            times.append(at)
            values.append(code)
    except csv.Error as error:
        raise ValueError(f"line {rows.line_num}: {error}") from None
    return Record(np.array(times, np.float64), np.array(values, np.int8), times[-1] if times else 0.0)


def _instant(text: str, number: int) -> float:
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        raise ValueError(f"line {number}: expected a time like 2026-11-24T18:00:00Z, not {text[:40]!r}") from None
    if not FIRST_YEAR <= at.year < LAST_YEAR:
        raise ValueError(f"line {number}: expected a year from {FIRST_YEAR} to {LAST_YEAR - 1}, not {at.year}")
    return (at if at.tzinfo else at.replace(tzinfo=UTC)).timestamp()
