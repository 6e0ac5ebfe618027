"""The three clocks of one instant, and ages that a clock being set does not change."""

from __future__ import annotations

import time
from typing import NamedTuple

AGE_MAX = 10**12  # ms; the miniprotocol's limit
YEAR_2020_MS = 1_577_836_800_000  # a clock before this was never set: routers have none that runs without power


class Now(NamedTuple):
    """One instant.

    boot: names the run of the kernel. ms: since that began, sleep included; never set, never backwards.
    wall_ms: since 1970 UTC, as the system believes.
    """

    boot: str
    ms: int
    wall_ms: int


def age_ms(then: Now, now: Now) -> int:
    """Return for how long something has been past, 0 to 10^12 ms.

    Within one run of the kernel its own clock counts, so that setting the wall clock changes nothing. Across runs
    there is the wall clock only; but what happened in an earlier run is older than this run.
    """
    if then.boot == now.boot:
        age = now.ms - then.ms
    elif then.wall_ms < YEAR_2020_MS:
        age = now.ms
    else:
        age = max(now.wall_ms - then.wall_ms, now.ms)
    return min(max(age, 0), AGE_MAX)


def before(now: Now, ms: int) -> Now:
    """Return the instant that was so many milliseconds earlier."""
    return Now(now.boot, now.ms - ms, now.wall_ms - ms)


def read_boot() -> str:
    """Return a short name of this run of the kernel."""
    try:
        with open("/proc/sys/kernel/random/boot_id") as file:
            return file.read(8)
    except OSError:
        return "none"


def read(boot: str) -> Now:
    """Read the clocks."""
    return Now(boot, time.clock_gettime_ns(time.CLOCK_BOOTTIME) // 1_000_000, time.time_ns() // 1_000_000)


def seconds(year: int, month: int, day: int, hour: int, minute: int, second: int) -> int:
    """Return the seconds since 1970 of a date of the Gregorian calendar, as if it were UTC.

    Raises: ValueError: there is no such time.
    """
    is_leap = year % 4 == 0 and (year % 100 != 0 or year % 400 == 0)
    lengths = (31, 28 + is_leap, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31)
    if not (1970 <= year <= 9999 and 1 <= month <= 12 and 1 <= day <= lengths[month - 1]):
        raise ValueError(f"expected a date from 1970 to 9999, got {year}-{month}-{day}")
    if not (0 <= hour < 24 and 0 <= minute < 60 and 0 <= second <= 60):
        raise ValueError(f"expected a time of day, got {hour}:{minute}:{second}")
    last = year - 1
    days = last * 365 + last // 4 - last // 100 + last // 400 + sum(lengths[: month - 1]) + day - 719_163
    return ((days * 24 + hour) * 60 + minute) * 60 + second


_MONTHS = "JanFebMarAprMayJunJulAugSepOctNovDec"


def parse_local(text: str) -> int:
    """Read `YYYY-MM-DD HH:MM:SS`, the server's local time.

    Returns: seconds since 1970 as if local were UTC: what the board is told.
    Raises: ValueError: it is not of this form, or there is no such time.
    """
    date, _, time_of_day = text.strip().partition(" ")
    words = date.split("-") + time_of_day.split(":")
    if len(words) != 6 or not all(word.isascii() and word.isdigit() for word in words):
        raise ValueError(f"expected YYYY-MM-DD HH:MM:SS, got {text[:40]!r}")
    year, month, day, hour, minute, second = map(int, words)
    return seconds(year, month, day, hour, minute, second)


def parse_http_date(text: str) -> int:
    """Read an HTTP `Date`, as in `Sun, 06 Nov 1994 08:49:37 GMT`.

    Returns: seconds since 1970 UTC.
    Raises: ValueError: it is not of this form.
    Source: RFC 9110, section 5.6.7.
    """
    words = text.split()
    month, odd = divmod(_MONTHS.find(words[2]), 3) if len(words) == 6 and len(words[2]) == 3 else (0, 1)
    if odd or month < 0 or words[5] != "GMT":
        raise ValueError(f"expected an HTTP date, got {text[:40]!r}")
    return parse_local(f"{words[3]}-{month + 1}-{words[1]} {words[4]}")
