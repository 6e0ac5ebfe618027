"""What follows from who is about: pure rules, by which the server opens and closes the space. See docs/people.md."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta, tzinfo
from types import MappingProxyType

from bits.events import AUTO, DEDUCED, MAC, Enter, Event, Gone, Leave, Message, Seen, Status, Stored
from bits.state import State

# Said when somebody has turned up after a warning: else that would stand as the last message.
STAYS = "Somebody has been seen: it stays open."


@dataclass(frozen=True, slots=True)
class Past:
    """What of the log the rules need besides the state: a fold, like that.

    Args:
        seq: of the last event folded in.
        by_hand: when somebody last set the status.
        since: since when each device is about.
        gone: when a device was last lost.
        people: when there was the last sign of anybody at the door, or of a device.
        said: what the server last said by itself.
    """

    seq: int = 0
    by_hand: datetime | None = None
    since: Mapping[str, datetime] = field(default_factory=lambda: MappingProxyType({}))
    gone: datetime | None = None
    people: datetime | None = None
    said: Stored | None = None

    @property
    def sign(self) -> datetime | None:
        """When there was the last sign of anybody at all."""
        return _latest(self.by_hand, self.people)


def _latest(*times: datetime | None) -> datetime | None:
    return max((at for at in times if at is not None), default=None)


def remember(past: Past, stored: Stored) -> Past:
    """Return the past with one more event of the log; one that is in it already changes nothing."""
    if stored.seq <= past.seq:
        return past
    past = replace(past, seq=stored.seq)
    at = stored.at
    match stored.event:
        case Status() if stored.source not in DEDUCED:
            return replace(past, by_hand=at)
        case Enter() | Leave():
            return replace(past, people=_latest(past.people, at))
        case Seen(digest=digest):
            since = MappingProxyType({**past.since, digest: at})
            return replace(past, people=_latest(past.people, at), since=since)
        case Gone(digest=digest):
            since = MappingProxyType({each: when for each, when in past.since.items() if each != digest})
            return replace(past, people=_latest(past.people, at), gone=_latest(past.gone, at), since=since)
        case Message() if stored.source == AUTO:
            return replace(past, said=stored)
    return past


@dataclass(frozen=True, slots=True)
class Rules:
    """The settings.

    Args:
        opens: open when a device's owner has arrived.
        closes: close when the last of them has left, and nobody is in.
        hold: for so long what somebody has set stands, whatever devices tell.
        close_after: close after so long without a sign of anybody; zero: never.
        warning: so long before, say so.
        zone: of the space, for times in words.
    """

    opens: bool
    closes: bool
    hold: timedelta
    close_after: timedelta
    warning: timedelta
    zone: tzinfo


@dataclass(frozen=True, slots=True)
class Deduction:
    """What is to be done.

    Args:
        event: to be submitted now, if anything. source: with it, MAC or AUTO.
        look: when to look again, even if nothing happens; None: not needed.
        closing: the instant of which everybody has been told that the space closes by itself.
    """

    event: Event | None = None
    source: str = MAC
    look: datetime | None = None
    closing: datetime | None = None


def deduce(state: State, past: Past, rules: Rules, now: datetime) -> Deduction:
    """Deduce what follows from state and past at an instant.

    The answer depends on what is true now and not on what has just changed, so it is the same however often one asks,
    after a restart too, and on every node.

    Args:
        past: of the same log up to the same seq.
        now: aware.
    """
    value = state.value
    wait: datetime | None = None
    wanted = _wanted(state, past, rules)
    if wanted is not None:
        wait = past.by_hand + rules.hold if past.by_hand else None
        if wait is None or wait <= now:
            return Deduction(Status(wanted), MAC)
    if value == "open":
        nobody = _nobody(state, past, rules, now)
        return replace(nobody, look=min((at for at in (nobody.look, wait) if at is not None), default=None))
    return Deduction(look=wait)


def _wanted(state: State, past: Past, rules: Rules) -> str | None:
    """Return what the status should be by the devices alone, if that is not what it is."""

    def is_news(at: datetime | None) -> bool:
        return at is not None and (past.by_hand is None or at > past.by_hand)

    if state.value != "open":
        return "open" if rules.opens and is_news(_last_arrival(state, past)) else None
    return "closed" if rules.closes and not state.people and is_news(past.gone) else None


def _last_arrival(state: State, past: Past) -> datetime | None:
    """Return when the last of those who are in by device arrived: a person is there from their first device on.

    Who has signed out at the door is not there, whatever they have left behind.
    """
    arrivals: dict[int, datetime] = {}
    for digest, person in state.devices.items():
        if person in state.people and digest in past.since:
            arrivals[person] = min(past.since[digest], arrivals.get(person, past.since[digest]))
    return max(arrivals.values(), default=None)


def _nobody(state: State, past: Past, rules: Rules, now: datetime) -> Deduction:
    """Judge whether the space was left open: a warning in time, then the closing."""
    said = past.said if past.said and isinstance(past.said.event, Message) else None
    warned = said if said and said.event != Message(STAYS) else None
    is_somebody = _last_arrival(state, past) is not None
    due = past.sign + rules.close_after if past.sign and rules.close_after and not is_somebody else None
    if warned and (due is None or warned.at < due - rules.warning):  # somebody has been seen since
        is_standing = state.message is not None and state.message.seq == warned.seq
        if is_standing and now < warned.at + rules.warning:
            return Deduction(Message(STAYS), AUTO)
        warned = None
    if due is None:
        return Deduction()
    if rules.warning and not warned:
        if now < due - rules.warning:
            return Deduction(look=due - rules.warning)
        assert past.sign
        closing = max(due, now + rules.warning)
        words = (
            f"Nobody seen since {past.sign.astimezone(rules.zone):%H:%M}: closing at "
            f"{closing.astimezone(rules.zone):%H:%M} unless somebody presses the button"
        )
        return Deduction(Message(words), AUTO)
    closing = max(due, warned.at + rules.warning) if warned else due
    if closing <= now:
        return Deduction(Status("closed"), AUTO)
    return Deduction(look=closing, closing=closing if warned else None)
