"""What the homepage says of the outlook: the table, the present, and the words' figures."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime

from bits.config import Config
from bits.forecast import figures
from bits.forecast.days import Calendar
from bits.forecast.outlook import MINUTES, Outlook
from bits.forecast.present import Present
from bits.forecast.score import Score
from bits.web.palette import level


@dataclass(frozen=True, slots=True)
class Day:
    """A column of the table."""

    date: date
    is_today: bool
    is_holiday: bool
    is_closed: bool
    reason: str


@dataclass(frozen=True, slots=True)
class Slot:
    """A row of the table: a half hour, through the week."""

    time: str
    cells: list[tuple[int, int]]  # percent, step of the palette
    now: int | None  # the column that is now


@dataclass(frozen=True, slots=True)
class Said:
    """What a page shows of the outlook.

    Args:
        rows: what is always shown. folded: the hours at which nothing happens, before and after.
    """

    days: list[Day]
    rows: list[Slot]
    folded: list[Slot]
    is_guess: bool
    weeks: int
    score: Score | None
    present: Present | None
    arrive: int | None  # percent, in half an hour
    version: int  # of the outlook


def days_of(outlook: Outlook, config: Config, today: date | None) -> list[Day]:
    announced = Calendar(closures=config.closures)
    days = []
    for day, is_holiday, is_closed in zip(
        figures.dates(outlook),
        figures.monday_first(outlook.holiday, outlook.origin),
        figures.monday_first(outlook.closed, outlook.origin),
        strict=True,
    ):
        closure = announced.closure(day)
        days.append(Day(day, day == today, is_holiday, is_closed, closure.reason if closure else ""))
    return days


def say(outlook: Outlook, present: Present | None, config: Config, now: datetime, version: int) -> Said:
    local = now.astimezone(config.time_zone)
    days = days_of(outlook, config, local.date())
    today = next((index for index, day in enumerate(days) if day.is_today), None)
    slot_now = (local.hour * 60 + local.minute) // MINUTES
    table = figures.table(outlook.p, outlook)
    begin, end = figures.shown(table)
    rows = [
        Slot(
            figures.clock(slot),
            [(round(100 * row[slot]), level(row[slot])) for row in table],
            today if slot == slot_now else None,
        )
        for slot in range(len(table[0]))
    ]
    return Said(
        days=days,
        rows=rows[begin:end],
        folded=rows[:begin] + rows[end:],
        is_guess=outlook.weeks < figures.FEW,
        weeks=outlook.weeks,
        score=outlook.score,
        present=present if present and present.p else None,
        arrive=round(present.p[0] * 100) if present and present.p else None,
        version=version,
    )
