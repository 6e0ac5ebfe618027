"""The hours of temperatures, and the series made of them: equal to what the raw log gives, on both databases."""

from __future__ import annotations

import asyncio
import itertools
import random
from datetime import datetime, timedelta
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import delete, func, select

from bits import rollup, schema
from bits.counters import Counters
from bits.events import BRIDGE, Message, Report, Temperature
from bits.rollup import DAY, HOUR, LONGEST, POINTS, Point, Rollup, series, take_in
from bits.store import Store, make_engine, reading, writing
from tests.conftest import T0, at, until

Sample = tuple[float, int, float]  # seconds after T0, sensor, °C


@pytest.fixture(autouse=True)
def _small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rollup, "CHUNK", 7)
    monkeypatch.setattr(rollup, "PAUSE", 0.0)


async def fill(store: Store, samples: list[Sample]) -> None:
    await store.append([Report(Temperature(sensor, value), BRIDGE, at(second)) for second, sensor, value in samples])


async def take_in_all(store: Store) -> None:
    while await take_in(store.engine):
        pass


async def hours(store: Store) -> Any:
    async with reading(store.engine) as connection:
        rows = await connection.execute(select(schema.hour))
        return {(r.sensor, r.hour): (r.count, pytest.approx(r.total), r.low, r.high) for r in rows}


def expected(samples: list[Sample]) -> dict[tuple[int, int], tuple[int, float, float, float]]:
    """The slow and obvious way."""
    found: dict[tuple[int, int], list[float]] = {}
    for second, sensor, value in samples:
        found.setdefault((sensor, int(at(second).timestamp() // HOUR)), []).append(value)
    return {key: (len(all_), sum(all_), min(all_), max(all_)) for key, all_ in found.items()}


def some(count: int, seed: int = 1, span: float = 3 * DAY) -> list[Sample]:
    """Samples in no order of time: what a bridge kept comes late."""
    dice = random.Random(seed)
    return [
        (round(dice.uniform(0, span), 3), dice.choice([0, 1, 255]), round(dice.gauss(15, 9), 2)) for _ in range(count)
    ]


async def test_hours_equal_what_the_log_gives(store: Store) -> None:
    samples = [(0.0, 0, 1.0), (3599.999999, 0, 2.0), (3600.0, 0, 4.0), (7199.999999, 0, 8.0), *some(200)]
    await store.append([Report(Message("between"), BRIDGE, at(0))])
    await fill(store, samples)
    await take_in_all(store)
    assert await hours(store) == expected(samples)


async def test_what_comes_later_is_added_once(store: Store) -> None:
    samples = some(100)
    for begin in range(0, 100, 10):
        await fill(store, samples[begin : begin + 10])
        await take_in(store.engine)
    await take_in_all(store)
    await take_in_all(store)
    assert await hours(store) == expected(samples)


async def test_a_restart_in_the_middle_goes_on_where_it_was(store: Store, db_uri: str) -> None:
    samples = some(60)
    await fill(store, samples)
    assert await take_in(store.engine)
    again = Store(make_engine(db_uri))
    assert await take_in(again.engine)
    task = Rollup(again.engine, Counters())
    task.start()
    await asyncio.sleep(0)
    await task.stop()  # at any instant
    await task.stop()
    await take_in_all(again)
    await again.close()
    assert await hours(store) == expected(samples)


async def test_nodes_that_share_a_database_count_each_sample_once(store: Store, db_uri: str) -> None:
    samples = some(150)
    await fill(store, samples)
    nodes = [Store(make_engine(db_uri)) for _ in range(3)]
    await asyncio.gather(*(take_in_all(node) for node in nodes))
    assert await hours(store) == expected(samples)
    for node in nodes:
        await node.close()


async def test_the_background_task_keeps_up_and_survives_a_database_that_refuses(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rollup, "RETRY", 0.0)
    monkeypatch.setattr(rollup, "JITTER", 0.0)
    counters = Counters()
    real, tried = take_in, list[object]()

    async def sometimes(engine: object) -> bool:
        tried.append(engine)
        if len(tried) == 2:
            raise OSError("no database")
        return await real(store.engine)

    monkeypatch.setattr(rollup, "take_in", sometimes)
    task = Rollup(store.engine, counters, every=0.0)
    task.start()
    samples = some(40)
    await fill(store, samples)
    await until(lambda: len(tried) > 20, "some rounds")
    await task.stop()
    assert counters["rollup_failed_total"] == 1
    await take_in_all(store)
    assert await hours(store) == expected(samples)


# --- series


def bins(samples: list[Sample], begin: datetime, end: datetime, step: int) -> Any:
    found: dict[int, dict[int, list[float]]] = {}
    for second, sensor, value in samples:
        if begin <= at(second) < end:
            found.setdefault(sensor, {}).setdefault(int(at(second).timestamp() // step), []).append(value)
    return {
        sensor: [(pytest.approx(sum(v) / len(v)), min(v), max(v)) for _, v in sorted(all_.items())]
        for sensor, all_ in sorted(found.items())
    }


@pytest.mark.parametrize("span", [DAY, 2 * DAY, 7 * DAY, 31 * DAY, 366 * DAY])
@pytest.mark.parametrize("taken_in", ["none", "some", "all"])
async def test_a_series_equals_what_the_log_gives(
    store: Store, span: int, taken_in: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    samples = some(120, seed=span, span=span)
    await fill(store, samples)
    if taken_in == "some":
        await take_in(store.engine)
    elif taken_in == "all":
        await take_in_all(store)
    monkeypatch.setattr(rollup, "CHUNK", 1000)
    begin, end = T0, T0 + timedelta(seconds=span)
    step, sensors = await series(store.engine, begin, end)
    assert {sensor: [point[1:] for point in points] for sensor, points in sensors.items()} == bins(
        samples, begin, end, step
    )
    for points in sensors.values():
        assert [point.at for point in points] == sorted({point.at for point in points})
        assert len(points) <= POINTS + 1
        assert all(T0.timestamp() <= point.at <= end.timestamp() for point in points)
    assert step == {DAY: 173, 2 * DAY: 346, 7 * DAY: HOUR, 31 * DAY: 2 * HOUR, 366 * DAY: DAY}[span]


async def test_a_sample_alone_keeps_its_time_and_value(store: Store) -> None:
    await fill(store, [(10.5, 3, 21.25)])
    found = await series(store.engine, T0, at(DAY))
    assert found.sensors == {3: [Point(int(T0.timestamp()) + 10, 21.25, 21.25, 21.25)]}
    assert (await series(store.engine, at(11), at(DAY))).sensors == {}


async def test_too_many_samples_are_read_from_the_hours(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    await fill(store, some(60, span=DAY))
    await take_in_all(store)
    monkeypatch.setattr(rollup, "RAW_SAMPLES", 59)
    assert (await series(store.engine, T0, at(DAY))).step == HOUR
    monkeypatch.setattr(rollup, "RAW_SAMPLES", 60)
    assert (await series(store.engine, T0, at(DAY))).step == 173


@pytest.mark.parametrize(("span", "points"), [(0, 1), (-5, 1), (LONGEST + 1, 1), (DAY, 0), (DAY, POINTS + 1)])
async def test_what_is_out_of_bounds_is_refused(store: Store, span: int, points: int) -> None:
    with pytest.raises(ValueError, match="expected"):
        await series(store.engine, T0, at(span), points)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    samples=st.lists(
        st.tuples(
            st.integers(0, 10**7).map(lambda n: n / 100),
            st.integers(0, 2),
            st.integers(-4000, 9000).map(lambda n: n / 100),
        ),
        max_size=40,
    ),
    cuts=st.lists(st.integers(0, 40), max_size=4),
)
async def test_however_the_log_grows_the_hours_are_its_own(
    store: Store, samples: list[Sample], cuts: list[int]
) -> None:
    async with writing(store.engine) as connection:
        for table in (schema.event, schema.hour, schema.rollup):
            await connection.execute(delete(table))
    for begin, end in itertools.pairwise([0, *sorted(cuts), len(samples)]):
        await fill(store, samples[begin:end])
        await take_in(store.engine)
    await take_in_all(store)
    assert await hours(store) == expected(samples)
    async with reading(store.engine) as connection:
        counted = await connection.scalar(select(func.coalesce(func.sum(schema.hour.c.count), 0)))
    assert counted == len(samples)
