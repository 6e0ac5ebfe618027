"""What is true at the space now: a pure fold over the log."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from types import MappingProxyType
from typing import Any, TypeVar

from bits.events import (
    AUTO,
    BRIDGE,
    DEDUCED,
    WEB,
    Announce,
    Enter,
    Gone,
    Heartbeat,
    Late,
    Leave,
    Message,
    Report,
    Seen,
    Sound,
    Status,
    Stored,
    Temperature,
    Withdraw,
)

K = TypeVar("K")
V = TypeVar("V")

ANNOUNCED = 20  # announcements kept: the newest, whatever has become of them
HISTORY = 100  # samples kept for the chart; clients since 2011 expect that many


@dataclass(frozen=True, slots=True)
class State:
    """The fold of the log up to seq; immutable.

    Args:
        status: the newest status event.
        sensors: the newest sample of each sensor, by sensor id.
        history: the newest samples of all sensors, newest first, at most HISTORY.
        message: the newest message event.
        people: who is in (keypad number), and since when.
        devices: whose devices are about: the person by digest.
        bridges: the highest number stored of each bridge.
        announced: the newest announcements, at most ANNOUNCED, by seq; None: it was withdrawn.
        heard: when a bridge was last heard.
    """

    seq: int = 0
    status: Stored | None = None
    sensors: Mapping[int, Stored] = field(default_factory=lambda: MappingProxyType({}))
    history: tuple[Stored, ...] = ()
    message: Stored | None = None
    people: Mapping[int, datetime] = field(default_factory=lambda: MappingProxyType({}))
    devices: Mapping[str, int] = field(default_factory=lambda: MappingProxyType({}))
    bridges: Mapping[str, int] = field(default_factory=lambda: MappingProxyType({}))
    announced: Mapping[int, Stored | None] = field(default_factory=lambda: MappingProxyType({}))
    heard: datetime | None = None

    @property
    def value(self) -> str | None:
        """The status in a word: open, closed or away; None: nobody has ever said."""
        return self.status.event.value if self.status and isinstance(self.status.event, Status) else None


def apply(state: State, stored: Stored) -> State:
    """Return the state after one more event of the log.

    Raises:
        ValueError: the event is not newer than the state.
    """
    if stored.seq <= state.seq:
        raise ValueError(f"event {stored.seq} after state {state.seq}: expected a higher seq")
    now: dict[str, Any] = {"seq": stored.seq}
    # What was kept while the link was down comes late: it is no older news of the bridge than we have.
    if stored.source == BRIDGE and (state.heard is None or stored.at > state.heard):
        now["heard"] = stored.at
    if stored.bridge is not None:
        now["bridges"] = MappingProxyType({**state.bridges, stored.bridge: stored.number})
    match stored.event:
        case Status():
            now["status"] = stored
        case Temperature(sensor=sensor):
            now["sensors"] = MappingProxyType({**state.sensors, sensor: stored})
            now["history"] = (stored, *state.history[: HISTORY - 1])
        case Message():
            now["message"] = stored
        case Enter(person=person):
            now["people"] = MappingProxyType({**state.people, person: stored.at})
        case Leave(person=person):
            now["people"] = _without(state.people, person)
        case Seen(digest=digest, person=person):
            now["devices"] = MappingProxyType({**state.devices, digest: person})
        case Gone(digest=digest):
            now["devices"] = _without(state.devices, digest)
        case Announce():
            newest = {**state.announced, stored.seq: stored}
            now["announced"] = MappingProxyType(dict([*newest.items()][-ANNOUNCED:]))
        case Withdraw(announcement=seq) if seq in state.announced:
            now["announced"] = MappingProxyType({**state.announced, seq: None})
        case Sound() | Heartbeat() | Late() | Withdraw():
            pass
    return replace(state, **now)


def _without(mapping: Mapping[K, V], key: K) -> Mapping[K, V]:
    return MappingProxyType({each: value for each, value in mapping.items() if each != key})


def consequences(state: State, report: Report) -> list[Report]:
    """Return what of a report is to be stored, in the light of all that stands in the log.

    Nothing, where it says what is known already; more than itself, where something follows from it: a device brings
    its owner along. A number of a bridge is stored once, if need be with a mere sign of life to carry it.
    """
    if report.bridge is not None and (report.number or 0) <= state.bridges.get(report.bridge, 0):
        return []
    wanted = _changes(state, report)
    if not wanted and report.bridge is not None:
        return [replace(report, event=Heartbeat(), source=BRIDGE)]
    return wanted


def _changes(state: State, report: Report) -> list[Report]:
    match report.event:
        case Status(value=value):
            return _status(state, report, value)
        case Enter(person=person):
            return [] if person in state.people else [report]
        case Leave(person=person):
            return [report] if person in state.people else []
        case Seen(digest=digest, person=person):
            if person is None or digest in state.devices:
                return []
            return [report] if person in state.people else [report, _follows(report, Enter(person))]
        case Gone(digest=digest):
            owner = state.devices.get(digest)
            if owner is None:
                return []
            report = replace(report, event=Gone(digest, owner))
            others = any(device != digest and whose == owner for device, whose in state.devices.items())
            return [report] if others or owner not in state.people else [report, _follows(report, Leave(owner))]
        case Withdraw(announcement=seq):
            return [report] if state.announced.get(seq) else []
    return [report]


def _follows(report: Report, event: Enter | Leave) -> Report:
    return replace(report, event=event, bridge=None, number=None)


def _status(state: State, report: Report, value: str) -> list[Report]:
    """Judge a status: the newest by time counts, but a bridge's own always in its order.

    Somebody's word counts more than what is deduced: it is no late news beside that, and it is worth storing when it
    says the same, since from then on it is their word that stands.
    """
    last = state.status
    is_word = report.source not in DEDUCED
    if is_word and last is not None and last.source in DEDUCED:
        return [report]
    if last is not None and last.at > report.at:
        if report.bridge is not None and last.bridge == report.bridge:
            report = replace(report, at=last.at)  # the network's haste, not the board's
        elif last.at <= report.at + report.age:
            return [replace(report, event=Late(value))]
    says_more = report.source == WEB and last is not None and (report.note, report.until) != (last.note, last.until)
    return [report] if value != state.value or says_more or (is_word and _is_questioned(state)) else []


def _is_questioned(state: State) -> bool:
    """Tell whether the server has announced to change the status that somebody has set."""
    said, status = state.message, state.status
    return said is not None and said.source == AUTO and status is not None and said.at > status.at


@dataclass(frozen=True, slots=True)
class Freshness:
    """How far the state may be believed at an instant.

    Args:
        stale: no bridge has been heard for the configured time.
        unknown: and nobody else has set the status since, so that it is no longer known.
        until: the earliest instant at which either may turn by mere passing of time, if any.
    """

    stale: bool
    unknown: bool
    until: datetime | None


def freshness(state: State, now: datetime, stale_after: float) -> Freshness:
    """Judge the state's age.

    Args:
        now: aware.
        stale_after: seconds; 0: nothing ever gets stale.
    """
    if not stale_after:
        return Freshness(stale=False, unknown=False, until=None)
    span = timedelta(seconds=stale_after)
    silent_at = state.heard + span if state.heard else None
    set_at = state.status.at + span if state.status else None
    stale = silent_at is None or silent_at <= now
    unknown = stale and (set_at is None or set_at <= now)
    to_come = [at for at in (silent_at, set_at) if at is not None and at > now]
    return Freshness(stale, unknown, min(to_come, default=None))
