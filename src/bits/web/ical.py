"""What is to come, as a calendar (RFC 5545): words and times in, lines out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from zoneinfo import ZoneInfo

import numpy as np
from icalendar import Calendar, Event, Timezone, TimezoneStandard

from bits.forecast.outlook import MINUTES, SLOTS, Outlook
from bits.forecast.present import LIKELY
from bits.web.atom import clean

# How often a calendar that somebody subscribed to is to be fetched.
REFRESH = timedelta(hours=1)


@dataclass(frozen=True, slots=True)
class Hours:
    """Hours in which the space will probably be open.

    Args:
        day: local, on which they begin. number: of those of that day, from 0.
        p: mean probability.
    """

    day: date
    number: int
    begins: datetime
    ends: datetime
    p: float


@dataclass(frozen=True, slots=True)
class Entry:
    """One entry of the calendar.

    Args:
        uid: the same whenever it is told, and no other's.
        revision: rises with each change.
        told: when this revision came about.
        ends: None, where it is not known, or not after the begin.
        state: CONFIRMED, TENTATIVE or CANCELLED.
    """

    uid: str
    revision: int
    told: datetime
    begins: datetime
    ends: datetime | None
    state: str
    summary: str
    description: str


def expected(
    outlook: Outlook, zone: ZoneInfo, today: date, announced: Sequence[tuple[datetime, datetime]]
) -> list[Hours]:
    """Return the stretches of a forecast that are at least as likely open as not, from today on.

    Args:
        announced: from when to when something was announced: there the forecast has no say.
    """
    if not outlook.is_known:
        return []
    p = outlook.p.reshape(-1)
    edges = [_instant(outlook.origin, slot, zone) for slot in range(len(p) + 1)]
    likely = p >= LIKELY
    for begins, ends in announced:
        likely &= [not (edges[slot] < ends and begins < edges[slot + 1]) for slot in range(len(p))]
    turns = np.flatnonzero(np.diff(np.concatenate([[False], likely, [False]]).astype(int)))
    found: list[Hours] = []
    for first, last in turns.reshape(-1, 2).tolist():
        day = outlook.origin + timedelta(days=first // SLOTS)
        if day >= today and edges[first] < edges[last]:  # not where the clock skips just that
            number = sum(each.day == day for each in found)
            found.append(Hours(day, number, edges[first], edges[last], float(p[first:last].mean())))
    return found


def _instant(origin: date, slot: int, zone: ZoneInfo) -> datetime:
    """Return when a slot begins, UTC; slots count from the origin's midnight, by the clock on the wall."""
    days, of_day = divmod(slot, SLOTS)
    local = datetime.combine(origin + timedelta(days=days), time()) + of_day * timedelta(minutes=MINUTES)
    return local.replace(tzinfo=zone).astimezone(UTC)


def write(name: str, language: str, url: str, place: str, entries: Sequence[Entry]) -> bytes:
    """Write the calendar: all times in UTC, so that it needs no time zones of its own.

    Without entries it holds that of UTC nevertheless: a calendar has at least one component (RFC 5545, section 3.6),
    and an event that is none would be shown.
    """
    calendar = Calendar()
    calendar.add("prodid", "-//BITS//Presence//EN")
    calendar.add("version", "2.0")
    for key in ("name", "x-wr-calname"):  # RFC 7986, and what clients knew before it
        calendar.add(key, clean(name))
    calendar.add("refresh-interval", REFRESH, parameters={"VALUE": "DURATION"})
    calendar.add("x-published-ttl", "PT1H")
    for entry in entries:
        event = Event()
        event.add("uid", entry.uid)
        event.add("sequence", entry.revision)
        event.add("dtstamp", entry.told)
        event.add("last-modified", entry.told)
        event.add("dtstart", entry.begins)
        if entry.ends:
            event.add("dtend", entry.ends)
        event.add("status", entry.state)
        event.add("transp", "TRANSPARENT")  # nobody is busy because of it
        event.add("summary", clean(entry.summary), parameters={"LANGUAGE": language})
        if entry.description:
            event.add("description", clean(entry.description), parameters={"LANGUAGE": language})
        if place:
            event.add("location", clean(place))
        event.add("url", clean(url))
        calendar.add_component(event)
    if not entries:
        calendar.add_component(_utc())
    written: bytes = calendar.to_ical()
    return written


def _utc() -> Timezone:
    zone, always = Timezone(), TimezoneStandard()
    always.add("dtstart", datetime(1970, 1, 1))
    always.add("tzoffsetfrom", timedelta())
    always.add("tzoffsetto", timedelta())
    zone.add("tzid", "UTC")
    zone.add_component(always)
    return zone
