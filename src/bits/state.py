"""What is true at the space now: a pure fold over the log."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from types import MappingProxyType

from bits.events import BRIDGE, Enter, Heartbeat, Leave, Message, Sound, Status, Stored, Temperature

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
        heard: when a bridge was last heard.
    """

    seq: int = 0
    status: Stored | None = None
    sensors: Mapping[int, Stored] = field(default_factory=lambda: MappingProxyType({}))
    history: tuple[Stored, ...] = ()
    message: Stored | None = None
    people: Mapping[int, datetime] = field(default_factory=lambda: MappingProxyType({}))
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
    heard = stored.at if stored.source == BRIDGE else state.heard
    match stored.event:
        case Status():
            return replace(state, seq=stored.seq, heard=heard, status=stored)
        case Temperature(sensor=sensor):
            return replace(
                state,
                seq=stored.seq,
                heard=heard,
                sensors=MappingProxyType({**state.sensors, sensor: stored}),
                history=(stored, *state.history[: HISTORY - 1]),
            )
        case Message():
            return replace(state, seq=stored.seq, heard=heard, message=stored)
        case Enter(person=person):
            people = {**state.people, person: stored.at}
            return replace(state, seq=stored.seq, heard=heard, people=MappingProxyType(people))
        case Leave(person=person):
            people = {who: since for who, since in state.people.items() if who != person}
            return replace(state, seq=stored.seq, heard=heard, people=MappingProxyType(people))
        case Sound() | Heartbeat():
            return replace(state, seq=stored.seq, heard=heard)


def changes(state: State, event: object) -> bool:
    """Tell whether an event says anything that the state does not hold already."""
    match event:
        case Status(value=value):
            return value != state.value
        case Enter(person=person):
            return person not in state.people
        case Leave(person=person):
            return person in state.people
    return True


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
