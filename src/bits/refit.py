"""Learn from the whole log, in a process of its own: `python -m bits.refit` reads a Task and writes an Outlook.

A thread would not do: the interpreter runs one at a time, and the server's loop would wait for the forecast's turn.
The server loads no more of the log than it shows, and what learning takes is given back when the process ends.
"""

from __future__ import annotations

import asyncio
import os
import pickle
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from zoneinfo import ZoneInfo

import numpy as np

from bits.config import Config
from bits.forecast.days import Calendar, calendar
from bits.forecast.occupancy import CLOSED, UNKNOWN, Record
from bits.forecast.outlook import Outlook, look_ahead
from bits.forecast.rows import CODES, codes
from bits.store import Store, make_engine

NICE = 10  # whoever serves goes first


@dataclass(frozen=True, slots=True)
class Task:
    """What to learn from, and for when.

    Args:
        origin: the first day to forecast.
        now: seconds since 1970, up to which the log tells.
    """

    db_uri: str
    time_zone: ZoneInfo
    stale_after: float
    away_counts_as: str
    calendar: Calendar
    origin: date
    now: float


def task(config: Config, origin: date, now: float) -> Task:
    known = calendar(config.holidays_country, config.holidays_region, config.time_zone.key, config.closures)
    return Task(config.db_uri, config.time_zone, config.stale_after, config.away_counts_as, known, origin, now)


def to_record(
    statuses: Sequence[tuple[float, str]],
    silences: Sequence[tuple[float, float]],
    *,
    patience: float,
    away: str,
    end: float,
) -> Record:
    """Put together what was known when.

    Args:
        statuses: (instant, value), in the log's order.
        silences: (from, to) of more than `patience` seconds without a sign of life; within them, nothing is known from
            `patience` seconds on. None, where silence does not matter.
        end: the instant up to which the log tells.
    """
    known = codes(CODES[away])
    times = np.array([at for at, _ in statuses], np.float64)
    values = np.array([known.get(value, CLOSED) for _, value in statuses], np.int8)
    # A bridge delivers late what it could not deliver before: by time, then by the log's order.
    order = np.argsort(times, kind="stable")
    times, values = times[order], values[order]
    if silences and len(times):
        begin, stop = (np.array(column) for column in zip(*silences, strict=True))
        last = np.searchsorted(times, stop, side="right") - 1
        ends = np.isfinite(stop) & (last >= 0)
        times = np.concatenate([stop[ends], times, begin + patience])
        values = np.concatenate([values[last[ends]], values, np.full(len(begin), UNKNOWN, np.int8)])
        order = np.argsort(times, kind="stable")
        times, values = times[order], values[order]
    return Record(times, values, max(end, float(times[-1])) if len(times) else end)


async def read(store: Store, given: Task) -> Record:
    statuses = await store.transitions()
    silences = await store.silences(given.stale_after) if given.stale_after else []
    return to_record(statuses, silences, patience=given.stale_after, away=given.away_counts_as, end=given.now)


async def learn(given: Task) -> Outlook:
    store = Store(make_engine(given.db_uri))
    try:
        record = await read(store, given)
    finally:
        await store.close()
    return look_ahead(record, given.time_zone, given.origin, given.calendar)


def main() -> None:
    os.nice(NICE)
    given = pickle.load(sys.stdin.buffer)  # noqa: S301  # from our own parent, which started us
    try:
        outlook = asyncio.run(learn(given))
    except Exception as error:
        sys.exit(str(error).partition("\n")[0] or type(error).__name__)
    sys.stdout.buffer.write(pickle.dumps(outlook))


def _start() -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-m", "bits.refit"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={**os.environ, "OPENBLAS_NUM_THREADS": "1"},  # one core is enough to take
    )


async def in_own_process(given: Task) -> Outlook:
    """Learn elsewhere.

    Raises:
        RuntimeError: it went wrong; says how.
    """
    # Not asyncio's own: its fork copies the tables of all our pages while the loop waits. This is a vfork in a thread.
    process = await asyncio.to_thread(_start)
    try:
        answer, errors = await asyncio.to_thread(process.communicate, pickle.dumps(given))
    finally:
        process.kill()  # where we are told to end before it has
    if process.returncode:
        said = errors.decode(errors="replace").strip().rpartition("\n")[2]
        raise RuntimeError(said or f"it ended with {process.returncode}")
    outlook: Outlook = pickle.loads(answer)  # noqa: S301  # from our own child
    return outlook


if __name__ == "__main__":
    main()
