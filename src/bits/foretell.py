"""`bits forecast`: the coming week in a terminal, and how good such forecasts have been."""

from __future__ import annotations

import asyncio
import sys
import time
from datetime import datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

from bits.config import Config
from bits.errors import BitsError
from bits.forecast import figures, rows
from bits.forecast.occupancy import Record
from bits.forecast.outlook import Outlook, look_ahead
from bits.forecast.score import LEAST_BEFORE, Score
from bits.refit import learn, task
from bits.web.palette import PALETTES, ink, level


def foretell(config: Config, file: str | None, *, score: bool) -> Outlook:
    """Look ahead: from now, by the space's own log; or from the end of a file of transitions.

    Args:
        file: path, or "-" for standard input.
        score: look from a Monday, so that weeks are those of the calendar.
    """
    record = read(file, away=rows.CODES[config.away_counts_as]) if file else None
    end = record.end if record else time.time()
    origin = datetime.fromtimestamp(end, config.time_zone).date()
    if score:
        origin -= timedelta(days=origin.weekday())
    given = task(config, origin, end)
    return look_ahead(record, given.time_zone, origin, given.calendar) if record else asyncio.run(learn(given))


def read(file: str, *, away: int) -> Record:
    """Raises: BitsError: the file cannot be read, or a line of it is wrong."""
    try:
        if file == "-":
            return rows.parse(sys.stdin, away=away)
        with Path(file).open(encoding="utf-8", newline="") as lines:
            return rows.parse(lines, away=away)
    except OSError as error:
        raise BitsError(f"{file}: cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise BitsError(f"{file}: is not UTF-8 text") from None
    except ValueError as error:
        raise BitsError(f"{file}: {error}") from None


def as_table(outlook: Outlook, zone: ZoneInfo, *, palette: str, colour: bool) -> str:
    """Draw the week, Monday first, in colour or without."""
    if not outlook.is_known:
        return "Not enough data yet: a forecast needs two weeks of openings and closings at least."
    days, rows_ = figures.dates(outlook), figures.table(outlook.p, outlook)
    marks = figures.monday_first(
        ["closed" if outlook.closed[i] else "holiday" if outlook.holiday[i] else "" for i in range(7)], outlook.origin
    )
    lines = [
        f"Chance that it is open, in percent ({zone}; from {outlook.origin}; {outlook.weeks} weeks of history)",
        "",
    ]
    lines.append("      " + "".join(f"{day:%a %d}".center(8) for day in days))
    if any(marks):
        lines.append("      " + "".join(mark.center(8) for mark in marks))
    lines.extend(
        figures.clock(slot) + " " + "".join(_cell(row[slot], palette, colour) for row in rows_)
        for slot in range(*figures.shown(rows_))
    )
    if outlook.weeks < figures.FEW:
        lines += ["", f"Not enough data yet for more than a guess: {outlook.weeks} weeks."]
    if outlook.score:
        lines += ["", sentence(outlook.score)]
    return "\n".join(lines)


def _cell(p: float, palette: str, colour: bool) -> str:
    text = f"{round(p * 100)}".rjust(5) + "   "
    if not colour:
        return text
    ground = PALETTES[palette][level(p)]

    def channels(of: str) -> str:
        return ";".join(str(int(of[at : at + 2], 16)) for at in (1, 3, 5))

    return f"\x1b[48;2;{channels(ground)};38;2;{channels(ink(ground))}m{text}\x1b[0m"


def sentence(score: Score) -> str:
    better = f"{score.better} % better" if score.better else "no better"
    return (
        f"Checked on the last {score.weeks} weeks, each forecast from the weeks before it: "
        f"Brier score {score.brier:.4f}, {better} than the plain average of all weeks."
    )


def as_score(outlook: Outlook) -> str:
    """Return the score for people: against the baselines, how well calibrated, and how the next hours do."""
    score = outlook.score
    if score is None:
        return (
            f"Not enough data yet: a score needs more than {LEAST_BEFORE} whole weeks, and there are {outlook.weeks}."
        )
    lines = [sentence(score), "", f"{'':24}{'Brier':>8}{'log loss':>10}{'skill':>8}"]
    lines.append(f"{'this forecast':24}{score.brier:8.4f}{score.log_loss:10.4f}")
    for name, (brier, log_loss) in score.baselines.items():
        skill = score.skill[name]
        lines.append(f"{name:24}{brier:8.4f}{log_loss:10.4f}" + (f"{skill:8.3f}" if skill is not None else f"{'-':>8}"))
    lines += ["", f"Calibration error {score.calibration_error:.4f}", f"{'said':>8}{'was open':>10}{'of slots':>10}"]
    lines += [f"{100 * bin_.forecast:7.1f}%{100 * bin_.open:9.1f}%{100 * bin_.share:9.1f}%" for bin_ in score.bins]
    if score.nowcast:
        lines += ["", f"{'hours ahead':>12}{'nowcast':>10}{'weekly forecast':>17}   Brier"]
        lines += [f"{hours:12g}{own:10.4f}{weekly:17.4f}" for hours, (own, weekly) in score.nowcast.items()]
    return "\n".join(lines)
