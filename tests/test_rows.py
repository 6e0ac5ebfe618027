"""Rows of transitions: read as people write them, or refused with the line."""

from __future__ import annotations

import pytest

from bits.forecast.occupancy import CLOSED, OPEN, UNKNOWN
from bits.forecast.rows import parse


def test_rows_are_read() -> None:
    record = parse(
        [
            "timestamp_utc,value\n",
            "2026-01-01T00:00:00Z,open\n",
            "\n",
            "2026-01-01T01:00:00+01:00,closed\n",
            "2026-01-01 00:00:00.5,Away\n",
            "2026-01-01T00:00:01Z, unknown\n",
        ],
        away=OPEN,
    )
    assert (record.times - record.times[0]).tolist() == [0, 0, 0.5, 1]
    assert record.values.tolist() == [OPEN, CLOSED, OPEN, UNKNOWN]
    assert record.end == record.times[-1]


def test_nothing_is_a_record_too() -> None:
    assert len(parse([]).times) == len(parse(["timestamp_utc,value\n"]).times) == 0


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        (["2026-01-01T00:00:00Z,ajar"], "line 1: expected open, closed, away or unknown, not 'ajar'"),
        (["2026-01-02T00:00:00Z,open", "2026-01-01T00:00:00Z,open"], "line 2: 2026-01-01T00:00:00Z is earlier than"),
        (["timestamp,value", "yesterday,open"], "line 2: expected a time like"),
        (["2026-01-01T00:00:00Z"], "line 1: expected timestamp,value, not 1 fields"),
        (["2026-01-01T00:00:00Z,open,1"], "line 1: expected timestamp,value, not 3 fields"),
        (["0001-01-01T00:00:00Z,open"], "line 1: expected a year from 1900"),
        (["9999-12-31T23:59:59Z,open"], "line 1: expected a year from 1900"),
        (['2026-01-01T00:00:00Z,"open'], "line 1: "),
        (["2026-01-01T00:00:00Z,open", "2026-01-01T00:00:00Z,\0"], "line 2"),
    ],
)
def test_a_bad_line_is_named(lines: list[str], said: str) -> None:
    with pytest.raises(ValueError, match=r"^line") as refused:
        parse(lines)
    assert str(refused.value).startswith(said)
