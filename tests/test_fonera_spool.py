"""The spool: what is promised survives power cuts at any point, full disks and damage, within bounds."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from bits_fonera import spool as module
from bits_fonera.clock import Now, age_ms, before
from bits_fonera.spool import Spool, load_names, save_names, seal, unseal
from hypothesis import given, settings
from hypothesis import strategies as st

T = Now("aaaaaaaa", 1000, 1_767_225_600_000)


def lines(spool: Spool) -> list[str]:
    return [entry.line for entry in spool.pending]


def numbers(spool: Spool) -> list[int]:
    return [entry.n for entry in spool.pending]


def filled(path: Path, count: int = 5, last: int = 40) -> Spool:
    spool = Spool(str(path))
    spool.settle(last)
    for n in range(1, count + 1):
        assert spool.append(f"enter {n}", before(T, n), (7, n)).stored
    return spool


def test_what_was_appended_is_there_again(tmp_path: Path) -> None:
    spool = filled(tmp_path / "spool")
    again = Spool(spool.path)
    assert [(e.n, e.then, e.board, e.line) for e in again.pending] == [
        (40 + n, before(T, n), (7, n), f"enter {n}") for n in range(1, 6)
    ]
    assert (again.seen, again.highest, again.damaged) == ((7, 5), 45, 0)
    assert os.stat(spool.path).st_mode & 0o777 == 0o600


def test_an_entry_costs_one_write_and_an_acknowledgement_none(tmp_path: Path) -> None:
    spool = filled(tmp_path / "spool")
    assert spool.writes == 5
    size = os.path.getsize(spool.path)
    assert [entry.n for entry in spool.acknowledge(43)] == [41, 42, 43]
    assert spool.writes == 5
    assert os.path.getsize(spool.path) == size
    again = Spool(spool.path)
    again.settle(43)
    assert numbers(again) == [44, 45]
    assert again.writes == 0


def test_a_power_cut_at_every_byte(tmp_path: Path) -> None:
    spool = filled(tmp_path / "spool", 6)
    data = Path(spool.path).read_bytes()
    ends = [i + 1 for i, byte in enumerate(data) if byte == 10]
    for cut in range(len(data) + 1):
        path = tmp_path / "cut"
        path.write_bytes(data[:cut])
        whole = sum(end <= cut for end in ends)
        again = Spool(str(path))
        assert lines(again) == [f"enter {n}" for n in range(1, whole + 1)]
        assert again.seen == ((7, whole) if whole else (0, 0))
        assert again.damaged == 0
        again.settle(40)
        assert again.append("status 1", T, (7, 9)).stored
        again.close()
        last = Spool(str(path))
        assert lines(last) == [*(f"enter {n}" for n in range(1, whole + 1)), "status 1"]
        assert numbers(last) == [40 + n for n in range(1, whole + 2)]
        assert last.damaged == 0


class CutError(BaseException):
    """The power goes."""


@contextmanager
def failing(monkeypatch: pytest.MonkeyPatch, at: int, error: BaseException, lasting: bool) -> Iterator[list[str]]:
    """Let the calls that change a disk fail from the `at`-th on; a write that fails has written half."""
    calls: list[str] = []
    with monkeypatch.context() as patch:
        for name in ("open", "pwrite", "write", "fsync", "ftruncate", "rename"):
            real = getattr(os, name)

            def call(*arguments: Any, name: str = name, real: Any = real) -> Any:
                calls.append(name)
                if len(calls) == at or (lasting and len(calls) > at):
                    if name in ("pwrite", "write"):
                        real(arguments[0], arguments[1][: len(arguments[1]) // 2], *arguments[2:])
                    raise error
                return real(*arguments)

            patch.setattr(os, name, call)
        yield calls


def exercise(spool: Spool, promised: list[str]) -> None:
    """Appends, acknowledgements, renumbering and replacements of the file."""
    for n in range(1, 9):
        if spool.append(f"enter {n}", T, (7, n)).stored:
            promised.append(f"enter {n}")
        if n == 2:
            spool.settle(100)
        if n == 5:
            for entry in spool.acknowledge(spool.pending[-1].n if spool.pending else 0):
                if entry.line in promised:
                    promised.remove(entry.line)
        if n == 7:
            spool.settle(200)


def test_nothing_is_promised_before_it_is_synced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spool = Spool(str(tmp_path / "spool"), 8192)
    with failing(monkeypatch, 0, CutError(), False) as calls:
        spool.append("status 1", T, (7, 1))
        assert calls == ["open", "pwrite", "fsync", "open", "fsync"]  # the second for the file's name
        spool.append("status 0", T, (7, 2))
        assert calls[5:] == ["pwrite", "fsync"]
        spool.settle(10)
        assert calls[7:] == ["open", "write", "fsync", "rename", "open", "fsync"]


def test_what_a_failed_write_left_behind_is_cut_off(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spool = Spool(str(tmp_path / "spool"))
    spool.settle(0)
    for n in range(1, 5):
        with failing(monkeypatch, 1 if n == 1 else 1 + (n > 2), OSError(errno.ENOSPC, "full"), True):
            spool.append(f"enter {n}", T, (7, n))
    spool.acknowledge(3)  # the server took them from memory
    assert os.path.getsize(spool.path) > 60  # half of the four, the second of them whole
    assert spool.flush().stored
    assert lines(Spool(spool.path)) == ["enter 4"]


def test_a_new_file_whose_name_is_not_synced_holds_nothing_twice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spool = filled(tmp_path / "spool", 4)
    spool.limit = 400  # all is done with, and the file is long: the next line begins it anew
    spool.acknowledge(44)
    with failing(monkeypatch, 6, OSError(errno.EIO, "broken"), False) as calls:
        assert not spool.append("enter 5", T, (7, 5)).stored
        assert calls == ["open", "write", "fsync", "rename", "open", "fsync"]
    assert spool.append("enter 6", T, (7, 6)).stored
    again = Spool(spool.path)
    assert lines(again) == ["enter 5", "enter 6"]
    assert numbers(again) == [45, 46]


@pytest.mark.parametrize("error", [CutError(), OSError(errno.ENOSPC, "No space left on device")], ids=["cut", "full"])
@pytest.mark.parametrize("lasting", [False, True], ids=["once", "for good"])
def test_a_disk_that_fails_at_every_call(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: BaseException, lasting: bool
) -> None:
    at, reached = 0, True
    while reached:
        at += 1
        path = tmp_path / f"spool{at}"
        promised: list[str] = []
        spool = Spool(str(path), 400)
        with failing(monkeypatch, at, error, lasting) as calls:
            try:
                exercise(spool, promised)
            except CutError:
                pass
            except OSError:
                assert isinstance(error, OSError)  # from settle(): nothing is sent then
            reached = len(calls) >= at
        highest = spool.highest
        again = Spool(str(path), 400)
        # All that was promised is there once, in order; more only where the promise was about to be made, or where
        # an acknowledgement is not on disk, which the next welcome repeats.
        there = lines(again)
        assert [line for line in there if line in promised] == promised
        assert there == sorted(set(there))
        assert numbers(again) == sorted(numbers(again))
        if again.highest is not None and highest is not None:
            assert again.highest <= max(highest, *numbers(again), 0)
        again.settle(again.highest or 0)
        assert again.append("status 1", T, (8, 1)).stored
        assert lines(Spool(str(path), 400))[-1] == "status 1"
    assert at > 15


@pytest.mark.parametrize("position", range(0, 330, 3))
def test_a_damaged_byte_costs_its_record_alone(tmp_path: Path, position: int) -> None:
    spool = filled(tmp_path / "spool", 6)
    path = Path(spool.path)
    data = bytearray(path.read_bytes())
    data[position % len(data)] ^= 0x41
    path.write_bytes(data)
    again = Spool(str(path))
    assert len(again.pending) >= 4
    assert set(lines(again)) < {f"enter {n}" for n in range(1, 7)}
    assert again.damaged in (1, 2) or not data.endswith(b"\n")
    if data.endswith(b"\n") and again.damaged:
        # The last number given out may have been in a damaged record, and must not be given out again.
        assert (again.highest or 0) >= 46
    again.settle(40)
    assert again.append("status 1", T, (7, 9)).stored
    assert lines(Spool(str(path)))[-1] == "status 1"


def test_a_damaged_record_that_the_server_has_doubles_nothing(tmp_path: Path) -> None:
    spool = filled(tmp_path / "spool", 5)
    path = Path(spool.path)
    path.write_bytes(path.read_bytes()[:-5] + b"****\n")
    again = Spool(str(path))
    assert again.settle(45) == (4, 0)
    assert not again.pending


@given(st.binary(max_size=3000))
@settings(max_examples=200, deadline=None)
def test_whatever_is_in_the_file(tmp_path_factory: pytest.TempPathFactory, data: bytes) -> None:
    path = tmp_path_factory.mktemp("any") / "spool"
    path.write_bytes(data)
    spool = Spool(str(path))
    assert not spool.pending
    assert spool.append("status 1", T, (7, 1)).stored
    assert lines(Spool(str(path))) == ["status 1"]


@pytest.mark.parametrize("text", ["", "!", "! x 1 1", "1 boot 1", "1 boot x 1 1 1 status 1", "! 1 1 1 1"])
def test_a_record_of_another_form_is_skipped(tmp_path: Path, text: str) -> None:
    path = tmp_path / "spool"
    path.write_bytes(seal(text) + seal("41 boot 1 2 7 1 status 1"))
    spool = Spool(str(path))
    assert lines(spool) == ["status 1"]
    assert spool.damaged == 1
    assert unseal(seal(text)) == text


def test_a_long_file_is_begun_anew_when_all_is_done(tmp_path: Path) -> None:
    spool = Spool(str(tmp_path / "spool"), 8192)
    spool.settle(0)
    for n in range(1, 2000):
        assert spool.append("temperature 0 21.5", T, (7, n)).stored
        spool.acknowledge(n)
        assert os.path.getsize(spool.path) <= 8192 // 4 + 100
    assert spool.writes == 1999
    again = Spool(spool.path, 8192)
    assert (again.highest, again.seen) == (1999, (7, 1999))


def test_the_bound_holds_and_old_temperatures_go_first(tmp_path: Path) -> None:
    spool = Spool(str(tmp_path / "spool"), 8192)
    spool.settle(0)
    for n in range(1, 1001):
        line = f"enter {n}" if n % 20 == 0 else f"temperature 0 {n / 10}"
        assert spool.append(line, T, (7, n)).kept
        assert os.path.getsize(spool.path) <= 8192
    assert spool.dropped
    kept = lines(spool)
    assert [line for line in kept if line.startswith("enter")] == [f"enter {n}" for n in range(20, 1001, 20)]
    first = next(n for n in range(1, 1001) if f"temperature 0 {n / 10}" in kept)
    assert all(f"temperature 0 {n / 10}" in kept for n in range(first, 1001) if n % 20)
    assert spool.writes == 1000
    again = Spool(spool.path, 8192)
    assert lines(again) == kept
    assert numbers(again) == sorted(set(numbers(again)))


def test_a_spool_full_of_presses_takes_no_more_and_writes_no_more(tmp_path: Path) -> None:
    spool = Spool(str(tmp_path / "spool"), 4096)
    n = 0
    while spool.append(f"enter {n + 1}", T, (7, n + 1)).stored:
        n += 1
    assert n > 50
    writes = spool.writes
    for _ in range(100):
        outcome = spool.append("status 1", T, (7, n + 1))
        assert not outcome.kept
        assert "full" in outcome.error
    assert spool.writes == writes
    spool.settle(0)
    assert spool.seen == (7, n)
    # Room is made when there is enough to be gained.
    spool.acknowledge(n // 4)
    assert spool.append("status 1", T, (7, n + 1)).stored
    assert lines(Spool(spool.path, 4096))[-1] == "status 1"


def test_numbers_are_given_by_the_first_welcome(tmp_path: Path) -> None:
    spool = Spool(str(tmp_path / "spool"))
    spool.append("status 1", T, (7, 1))
    spool.append("status 0", T, (7, 2))
    assert numbers(Spool(spool.path)) == [0, 0]
    assert spool.settle(41) == (0, 2)
    assert numbers(spool) == numbers(Spool(spool.path)) == [42, 43]
    assert spool.settle(42) == (1, 0)
    assert numbers(spool) == [43]


def test_a_server_that_is_ahead_of_all_our_numbers(tmp_path: Path) -> None:
    spool = filled(tmp_path / "spool", 3)
    assert spool.settle(100) == (0, 3)
    assert numbers(spool) == numbers(Spool(spool.path)) == [101, 102, 103]


def test_new_numbers_that_cannot_be_written_are_not_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spool = filled(tmp_path / "spool", 3)
    with failing(monkeypatch, 1, OSError(errno.ENOSPC, "full"), True), pytest.raises(OSError, match="full"):
        spool.settle(100)
    assert numbers(spool) == [41, 42, 43]
    assert spool.settle(100) == (0, 3)


def test_a_line_in_memory_alone_waits_for_those_before_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spool = filled(tmp_path / "spool", 1)
    with failing(monkeypatch, 1, OSError(errno.EIO, "broken"), True):
        outcome = spool.append("status 1", T, (7, 2))
        assert (outcome.kept, outcome.stored) == (True, False)
        assert spool.holds((7, 2)) is spool.pending[-1]
        assert spool.next_unsent() is spool.pending[0]
        assert spool.next_unsent() is None
        spool.acknowledge(41)
        assert spool.next_unsent() is spool.pending[0]
    assert spool.flush().stored
    assert spool.holds((7, 2)) is None
    assert lines(Spool(spool.path)) == ["enter 1", "status 1"]


def test_the_memory_for_lines_that_no_disk_takes_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spool = filled(tmp_path / "spool", 1)
    with failing(monkeypatch, 1, OSError(errno.ENOSPC, "full"), True):
        kept = sum(spool.append(f"seen {n}", T).kept for n in range(200))
    assert kept == module.HELD_MAX


def test_a_folder_that_is_not_there_is_borne(tmp_path: Path) -> None:
    spool = Spool(str(tmp_path / "gone" / "spool"))
    outcome = spool.append("status 1", T, (7, 1))
    assert outcome.kept
    assert not outcome.stored
    (tmp_path / "gone").mkdir()
    assert spool.flush().stored


def test_version_1_leaves_a_mark(tmp_path: Path) -> None:
    spool = Spool(str(tmp_path / "spool"))
    spool.append("status 1", T, (7, 1))
    spool.next_unsent()
    assert spool.give_up().line == "status 1"
    assert spool.sent == 0
    spool.mark_done()
    again = Spool(spool.path)
    assert not again.pending
    assert again.seen == (7, 1)
    assert again.highest is None


def test_refusing_one(tmp_path: Path) -> None:
    spool = filled(tmp_path / "spool", 4)
    for _ in range(3):
        spool.next_unsent()
    refused = spool.refuse(42)
    assert refused
    assert refused.line == "enter 2"
    assert spool.sent == 2
    assert spool.refuse(42) is None
    following = spool.next_unsent()
    assert following
    assert following.n == 44


def test_ages() -> None:
    assert age_ms(T, Now(T.boot, 3500, 0)) == 2500  # the clock was set back by decades: no matter
    later = Now("bbbbbbbb", 700, T.wall_ms + 90_000)
    assert age_ms(T, later) == 90_000
    assert age_ms(T, Now("bbbbbbbb", 700, T.wall_ms - 90_000)) == 700  # older than this run of the kernel
    assert age_ms(Now("aaaaaaaa", 5, 5), later) == 700  # noted before the clock was set
    assert age_ms(T, Now("bbbbbbbb", 0, 10**15)) == 10**12
    assert age_ms(before(T, -50), T) == 0


def test_names(tmp_path: Path) -> None:
    path = str(tmp_path / "present")
    assert load_names(path) == []
    save_names(path, ["a", "b"])
    assert load_names(path) == ["a", "b"]
    save_names(path, [])
    assert load_names(path) == []
    (tmp_path / "present").write_bytes(b"nonsense")
    assert load_names(path) == []
