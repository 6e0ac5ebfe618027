"""The one write path: rules, group commit, commit before telling, and what happens when the log cannot be written."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import AsyncIterator, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from bits.bus import Bus
from bits.counters import Counters
from bits.events import BRIDGE, WEB, Announce, Enter, Leave, Report, Sound, Status, Stored
from bits.migrate import upgrade
from bits.presence import Presence
from bits.state import ANNOUNCED
from bits.store import Store, make_engine
from bits.web.announcements import has_room
from tests.conftest import at, until


class Setup:
    def __init__(self, store: Store) -> None:
        self.store = store
        self.counters = Counters()
        self.bus = Bus()
        self.told: list[Stored] = []
        self.bus.subscribe(self.told.extend)
        self.presence = Presence(store, self.bus, self.counters)


@pytest.fixture
async def setup(tmp_path: Path) -> AsyncIterator[Setup]:
    engine = make_engine(f"sqlite:///{tmp_path}/bits.db")
    await upgrade(engine)
    setup = Setup(Store(engine))
    await setup.presence.start()
    yield setup
    await setup.presence.stop()
    await engine.dispose()


async def test_the_same_again_is_not_stored(setup: Setup) -> None:
    submit = setup.presence.submit
    assert [s.seq for s in await submit([Report(Status("open"), WEB, at(0))])] == [1]
    assert await submit([Report(Status("open"), BRIDGE, at(1))]) == []
    assert await submit([Report(Leave(1), BRIDGE, at(2))]) == []
    batch = [Report(event, BRIDGE, at(3)) for event in (Enter(1), Enter(1), Status("open"), Status("closed"))]
    assert [s.event for s in await submit(batch)] == [Enter(1), Status("closed")]
    assert await setup.store.since(0) == setup.told
    assert setup.presence.state == await setup.store.state()


async def test_who_comes_at_once_for_the_last_place_does_not_both_get_it(setup: Setup) -> None:
    now = datetime.now(UTC)
    report = Report(Announce("closed", now), WEB, now, "anna", until=now + timedelta(days=1))
    waiting = [setup.presence.submit([report], provided=has_room) for _ in range(ANNOUNCED + 2)]
    stored = await asyncio.gather(*waiting)
    assert [len(one) for one in stored] == [1] * ANNOUNCED + [0, 0]
    assert setup.counters["commits_total"] == 1
    assert len(setup.presence.state.announced) == ANNOUNCED


async def test_what_waits_together_is_committed_together(setup: Setup) -> None:
    waiting = [setup.presence.submit([Report(Sound(n), BRIDGE, at(n))]) for n in range(200)]
    stored = await asyncio.gather(*waiting)
    assert [[s.seq for s in one] for one in stored] == [[n] for n in range(1, 201)]
    assert setup.counters["commits_total"] == 1
    assert setup.counters["events_stored_total"] == 200


async def test_nobody_is_told_before_the_commit(setup: Setup, tmp_path: Path) -> None:
    """Invariant 1: whatever a subscriber hears can be read from the database at that moment."""
    missing: list[int] = []

    def check(batch: Sequence[Stored]) -> None:
        with sqlite3.connect(tmp_path / "bits.db") as database:
            durable = {seq for (seq,) in database.execute("SELECT seq FROM event")}
        database.close()
        missing.extend(stored.seq for stored in batch if stored.seq not in durable)

    setup.bus.subscribe(check)
    await asyncio.gather(*(setup.presence.submit([Report(Sound(n % 9), WEB, at(n))]) for n in range(50)))
    assert len(setup.told) == 50
    assert missing == []


async def test_a_locked_database_delays_but_loses_nothing(setup: Setup, tmp_path: Path) -> None:
    other = sqlite3.connect(tmp_path / "bits.db", isolation_level=None)
    # The writer gives up waiting for the lock at once, so that the test does not wait for its patience.
    async with setup.store.engine.connect() as connection:
        await connection.exec_driver_sql("PRAGMA busy_timeout = 1")
    other.execute("BEGIN IMMEDIATE")
    waiting = setup.presence.submit([Report(Status("open"), WEB, at(0))])
    await until(lambda: setup.counters["store_retries_total"] >= 2, "a retry")
    assert not waiting.done()
    assert setup.told == []
    other.execute("ROLLBACK")
    other.close()
    assert [s.seq for s in await waiting] == [1]


async def test_a_report_that_cannot_be_stored_fails_alone(setup: Setup) -> None:
    before = setup.presence.submit([Report(Status("open"), WEB, at(1))])
    bad = setup.presence.submit([Report(Sound(1), WEB, at(0).replace(tzinfo=None))])
    after = setup.presence.submit([Report(Status("closed"), WEB, at(2))])
    with pytest.raises(Exception, match="time zone"):
        await bad
    assert [s.seq for s in await before + await after] == [1, 2]
    assert setup.counters["reports_failed_total"] == 1


async def test_what_comes_after_a_report_that_cannot_be_stored_fails_with_it_if_it_says_so(setup: Setup) -> None:
    """Or a number could be in the log, and one below it not."""
    bad = setup.presence.submit([Report(Sound(1), WEB, at(0).replace(tzinfo=None))])
    after = setup.presence.submit([Report(Sound(2), WEB, at(1))], after=bad)
    other = setup.presence.submit([Report(Sound(3), WEB, at(2))])
    last = setup.presence.submit([Report(Sound(4), WEB, at(3))], after=after)
    for failed in (bad, after, last):
        with pytest.raises(Exception, match="time zone"):
            await failed
    with pytest.raises(Exception, match="time zone"):
        await setup.presence.submit([Report(Sound(5), WEB, at(4))], after=last)
    good = setup.presence.submit([Report(Sound(6), WEB, at(5))], after=other)
    assert [s.event for s in await other + await good] == [Sound(3), Sound(6)]


async def test_nothing_to_store_still_has_its_turn(setup: Setup) -> None:
    before = setup.presence.submit([Report(Status("open"), WEB, at(0))])
    assert await setup.presence.submit([]) == []
    assert before.done()
    assert setup.presence.state.value == "open"


async def test_stopping_commits_what_is_queued(setup: Setup) -> None:
    waiting = setup.presence.submit([Report(Status("open"), WEB, at(0))])
    await setup.presence.stop()
    assert [s.seq for s in waiting.result()] == [1]
    await setup.presence.stop()


async def test_a_failing_subscriber_does_not_keep_others_from_hearing(
    setup: Setup, caplog: pytest.LogCaptureFixture
) -> None:
    heard: list[Stored] = []
    setup.bus.subscribe(lambda batch: 1 // 0)  # type: ignore[arg-type]
    setup.bus.subscribe(heard.extend)
    await setup.presence.submit([Report(Status("open"), WEB, at(0))])
    assert [s.seq for s in heard] == [1]
    assert "a subscriber failed" in caplog.text
