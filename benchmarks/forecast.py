"""What the forecast costs: `python -m benchmarks.forecast`.

By number of transitions in ten years: time and memory to learn and to look ahead, each size in a process of its own;
the same sums in plain Python; and the loop's longest pause while a forecast is made elsewhere, and in a thread.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import numpy as np
import uvloop
from sqlalchemy import insert

from benchmarks import plain_forecast
from bits import refit, schema
from bits.config import Config
from bits.forecast import kernel
from bits.forecast.days import Calendar
from bits.forecast.occupancy import Record, occupancy
from bits.forecast.outlook import look_ahead
from bits.forecast.slots import grid, midnight
from bits.forecast.weeks import arrange
from bits.migrate import upgrade
from bits.store import make_engine, writing

ZONE = ZoneInfo("Europe/Rome")
FIRST = date(2016, 1, 4)
YEARS = 10


def busy_place(count: int, weeks: int = 52 * YEARS) -> Record:
    """Return so many transitions in some weeks: a door that opens and closes all day long, less in the mornings."""
    rng = np.random.default_rng(1)
    begin = midnight(FIRST, ZONE)
    span = weeks * 7 * 86400
    hours = rng.choice(24, count, p=np.array([1] * 8 + [3] * 6 + [8] * 10) / 106)
    days = rng.choice(weeks * 7, count)
    times = np.unique(begin + days * 86400 + hours * 3600 + rng.integers(0, 3600, count) + rng.random(count))
    return Record(times, (np.arange(len(times)) % 2 ^ 1).astype(np.int8), begin + span)


def origin(weeks: int = 52 * YEARS) -> date:
    return FIRST + timedelta(weeks=weeks)


def measure(count: int) -> dict[str, float]:
    """Learn once, in this process, and tell what it took."""
    record = busy_place(count)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    cells = grid(FIRST, 7 * 52 * YEARS, ZONE)
    begin = time.perf_counter()
    occupancy(record, cells)
    middle = time.perf_counter()
    look_ahead(record, ZONE, origin(), Calendar())
    end = time.perf_counter()
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return {
        "transitions": len(record.times),
        "occupancy_ms": 1000 * (middle - begin),
        "all_s": end - middle,
        "more_memory_mb": (most - before) / 1024,
    }


def apart(*arguments: str) -> dict[str, float]:
    done = subprocess.run([sys.executable, "-m", "benchmarks.forecast", *arguments], capture_output=True, check=True)
    result: dict[str, float] = json.loads(done.stdout)
    return result


def beside_plain(count: int, weeks: int) -> dict[str, float]:
    """Time occupancy, and the forecast of all weeks by one setting, in arrays and in plain Python."""
    record = busy_place(count * weeks // (52 * YEARS), weeks)
    chosen = kernel.settings(1)[0]
    targets = np.arange(2, weeks + 1)
    array_occupancy = array_forecast = float("inf")
    for _ in range(3):
        begin = time.perf_counter()
        seen = occupancy(record, grid(FIRST, 7 * weeks, ZONE))
        array_occupancy = min(array_occupancy, time.perf_counter() - begin)
        begin = time.perf_counter()
        p, _ = kernel.forecast(kernel.Past(arrange(seen), targets), chosen)
        array_forecast = min(array_forecast, time.perf_counter() - begin)

    times, values = record.times.tolist(), record.values.tolist()
    begin = time.perf_counter()
    shares = plain_forecast.occupancy(times, values, record.end, FIRST, 7 * weeks, ZONE)
    plain_occupancy = time.perf_counter() - begin
    begin = time.perf_counter()
    known = [[float(share is not None) for share in day] for day in shares]
    is_open = [[float(share is not None and share >= 0.5) for share in day] for day in shares]
    cut = [[days[7 * week : 7 * week + 7] for week in range(weeks)] for days in (is_open, known)]
    workday = [day < 5 for day in range(7)]
    plain = plain_forecast.forecast(cut[0], cut[1], workday, chosen, targets.tolist())
    plain_forecast_time = time.perf_counter() - begin
    worst = float(np.abs(np.array(plain) - p).max())
    assert worst < 1e-3, f"the two differ by {worst}"
    return {
        "transitions": len(times),
        "weeks": weeks,
        "array_occupancy_s": array_occupancy,
        "plain_occupancy_s": plain_occupancy,
        "array_forecast_s": array_forecast,
        "plain_forecast_s": plain_forecast_time,
        "ratio": (plain_occupancy + plain_forecast_time) / (array_occupancy + array_forecast),
    }


async def fill(uri: str, record: Record) -> None:
    engine = make_engine(uri)
    await upgrade(engine)
    rows = [
        {
            "seq": number,
            "at": datetime.fromtimestamp(at, UTC),
            "kind": "status",
            "source": "BITS",
            "key": 0,
            "text": "open" if value else "closed",
        }
        for number, (at, value) in enumerate(zip(record.times.tolist(), record.values.tolist(), strict=True), start=1)
    ]
    async with writing(engine) as connection:
        for start in range(0, len(rows), 10_000):
            await connection.execute(insert(schema.event), rows[start : start + 10_000])
    await engine.dispose()


async def longest_pause(work: Callable[[], Awaitable[object]]) -> tuple[float, float]:
    """Return how long some work took, and for how long the loop did not turn meanwhile, at most; seconds."""
    longest = 0.0
    done = False

    async def tick() -> None:
        nonlocal longest
        last = time.perf_counter()
        while not done:
            await asyncio.sleep(0)
            now = time.perf_counter()
            longest = max(longest, now - last)
            last = now

    ticking = asyncio.create_task(tick())
    await asyncio.sleep(0)
    begin = time.perf_counter()
    await work()
    took = time.perf_counter() - begin
    done = True
    await ticking
    return took, longest


async def pauses(count: int) -> dict[str, float]:
    with tempfile.TemporaryDirectory() as folder:
        uri = f"sqlite:///{Path(folder) / 'bits.db'}"
        await fill(uri, busy_place(count))
        config = Config(db_uri=uri, time_zone=ZONE, stale_after=0.0)
        task = refit.task(config, origin(), midnight(origin(), ZONE))
        idle = await longest_pause(lambda: asyncio.sleep(3))
        process = await longest_pause(lambda: refit.in_own_process(task))
        thread = await longest_pause(lambda: asyncio.to_thread(lambda: asyncio.run(refit.learn(task))))
    names = ("idle", "process", "thread")
    both = zip(names, (idle, process, thread), strict=True)
    return {f"{name}_{what}": value for name, pair in both for what, value in zip(("s", "pause_s"), pair, strict=True)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--one", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--plain-weeks", type=int, default=52 * YEARS)
    chosen = parser.parse_args()
    if chosen.one:
        print(json.dumps(measure(chosen.one)))
        return
    print(f"{'transitions':>12}{'occupancy':>12}{'all':>9}{'memory':>10}   (ten years; medians of {chosen.rounds})")
    for count in (50_000, 100_000, 200_000, 400_000, 1_000_000):
        runs = [apart("--one", str(count)) for _ in range(chosen.rounds)]
        middle = {key: statistics.median(run[key] for run in runs) for key in runs[0]}
        print(
            f"{middle['transitions']:12,.0f}{middle['occupancy_ms']:9.1f} ms{middle['all_s']:7.2f} s"
            f"{middle['more_memory_mb']:7.0f} MB"
        )
    paused = uvloop.run(pauses(200_000))
    print("\nlongest pause of the loop while the server learns from 200,000 transitions, reading included:")
    for name in ("idle", "process", "thread"):
        print(f"  {name:8} {1000 * paused[name + '_pause_s']:7.1f} ms   ({paused[name + '_s']:.1f} s)")
    plain = beside_plain(200_000, chosen.plain_weeks)
    print(
        f"\nplain Python, {plain['transitions']:,.0f} transitions in {plain['weeks']:.0f} weeks, one of 48 settings:\n"
        f"  occupancy {plain['plain_occupancy_s']:.2f} s against {1000 * plain['array_occupancy_s']:.1f} ms, "
        f"forecast {plain['plain_forecast_s']:.1f} s against {1000 * plain['array_forecast_s']:.1f} ms: "
        f"{plain['ratio']:.0f} times slower"
    )


if __name__ == "__main__":
    main()
