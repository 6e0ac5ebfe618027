"""What goes over the wire: one declaration each gives the parsing, its limits, and the schema in the description."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, date, datetime
from typing import Annotated, Literal

from msgspec import UNSET, Meta, Struct, UnsetType

from bits import events
from bits.events import Stored
from bits.rollup import POINTS
from bits.roster import signer
from bits.web.admin import MESSAGE_LENGTH, NOTE_LENGTH

PAGE, MOST = 50, 500  # entries of a page: unless told otherwise, and at most
CURSOR = r"^[0-9]{1,18}-[0-9]{1,18}$"

Time = Annotated[datetime, Meta(tz=True)]
Value = Literal["open", "closed", "away"]
Seq = Annotated[int, Meta(description="Its number in the log.")]
At = Annotated[datetime, Meta(tz=True, description="When it happened, UTC.")]
By = Annotated[str, Meta(description="BITS: the board; web: a member, here or on the site; mac, auto: the server.")]
Ends = Annotated[datetime, Meta(tz=True, description="When its author expects it to end.")]
Note = Annotated[str, Meta(description="What its author has to say about it.")]
Author = Annotated[str, Meta(description="A member's name, or what of the system it was.")]


# --- what happened


class Status(Struct, kw_only=True, tag_field="kind", tag="status"):
    """Whether the space is open: it changed, or somebody said so again."""

    seq: Seq
    timestamp: At
    modifiedby: By
    value: Annotated[
        Literal["open", "closed", "away", "unknown"],
        Meta(description="unknown: the board is silent, and nobody else has set it since. Never in the log."),
    ]
    user: Annotated[str, Meta(description="Who set it, if that member lets everybody read it.")] | UnsetType = UNSET
    note: Note | UnsetType = UNSET
    until: Ends | UnsetType = UNSET
    late: (
        Annotated[bool, Meta(description="true: it was told after what happened later, and changed nothing.")]
        | UnsetType
    ) = UNSET


class Temperature(Struct, kw_only=True, tag_field="kind", tag="temperature"):
    """A sample of a thermometer."""

    seq: Seq
    timestamp: At
    modifiedby: By
    sensor: int
    value: Annotated[float, Meta(description="°C")]


class Arrival(Struct, kw_only=True, tag_field="kind", tag="arrival"):
    """Somebody came. Who, nobody is told."""

    seq: Seq
    timestamp: At


class Departure(Struct, kw_only=True, tag_field="kind", tag="departure"):
    """Somebody went. Who, nobody is told."""

    seq: Seq
    timestamp: At


class Message(Struct, kw_only=True, tag_field="kind", tag="message"):
    """Words for everyone, and for the display at the space."""

    seq: Seq
    timestamp: At
    user: Author
    value: Annotated[str, Meta(description="Plain text: escape it before you put it into HTML.")]


class Sound(Struct, kw_only=True, tag_field="kind", tag="sound"):
    """A sound was played at the space."""

    seq: Seq
    timestamp: At
    modifiedby: By
    number: Annotated[int, Meta(ge=0, le=255)]


class Announcement(Struct, kw_only=True, tag_field="kind", tag="announcement"):
    """An opening or a closure to come was announced. Its seq is its id."""

    seq: Seq
    timestamp: At
    user: Author
    value: Literal["open", "closed"]
    begins: Time
    ends: Time
    note: Note | UnsetType = UNSET


class Withdrawal(Struct, kw_only=True, tag_field="kind", tag="withdrawal"):
    """What was announced will not be."""

    seq: Seq
    timestamp: At
    user: Author
    announcement: Annotated[int, Meta(description="The seq of what was announced.")]


Event = Status | Temperature | Arrival | Departure | Message | Sound | Announcement | Withdrawal
Kind = Literal["status", "temperature", "message", "sound", "announcement", "withdrawal", "arrival", "departure"]
# As the log calls them. Signs of life say nothing to the public, and members' devices are nobody's business.
KINDS: dict[Kind, str] = {
    "status": "status",
    "temperature": "temperature",
    "message": "message",
    "sound": "sound",
    "announcement": "announce",
    "withdrawal": "withdraw",
    "arrival": "enter",
    "departure": "leave",
}


def shown(stored: Stored, listed: Mapping[int, str], *, unknown: bool = False) -> Event:
    """Return an event as the public may read it.

    Args:
        listed: the names of those who let everybody read them.
        unknown: of a status: it may not be believed at present.
    """
    seq, at, source = stored.seq, stored.at, stored.source
    signed = stored.author or source
    note = stored.note or UNSET
    match stored.event:
        case events.Status(value=value) | events.Late(value=value):
            return Status(
                seq=seq,
                timestamp=at,
                modifiedby=source,
                value="unknown" if unknown else value,  # type: ignore[arg-type]
                user=signer(stored, listed) or UNSET,
                note=note,
                until=stored.until or UNSET,
                late=True if isinstance(stored.event, events.Late) else UNSET,
            )
        case events.Temperature(sensor=sensor, value=degrees):
            return Temperature(seq=seq, timestamp=at, modifiedby=source, sensor=sensor, value=degrees)
        case events.Enter():
            return Arrival(seq=seq, timestamp=at)
        case events.Leave():
            return Departure(seq=seq, timestamp=at)
        case events.Message(text=words):
            return Message(seq=seq, timestamp=at, user=signed, value=words)
        case events.Sound(number=number):
            return Sound(seq=seq, timestamp=at, modifiedby=source, number=number)
        case events.Announce(value=value, begins=begins):
            assert stored.until is not None
            return Announcement(
                seq=seq,
                timestamp=at,
                user=signed,
                value=value,  # type: ignore[arg-type]
                begins=begins,
                ends=stored.until,
                note=note,
            )
        case events.Withdraw(announcement=announcement):
            return Withdrawal(seq=seq, timestamp=at, user=signed, announcement=announcement)
    raise ValueError(f"{stored.event} is not for the public")


# --- answers


class People(Struct, kw_only=True):
    """Who is in."""

    count: int
    names: Annotated[list[str], Meta(description="Of those of them who let everybody read that.")]


class State(Struct, kw_only=True):
    """What is true now. What is not known is left out."""

    seq: Annotated[int, Meta(description="The newest event that this includes.")]
    status: Status | UnsetType = UNSET
    message: Message | UnsetType = UNSET
    sensors: Annotated[list[Temperature], Meta(description="The newest sample of each, by number.")]
    people: People
    announced: Annotated[list[Announcement], Meta(description="What stands, by when it begins; what is over as well.")]
    heard: Annotated[datetime, Meta(tz=True, description="When the board was last heard.")] | UnsetType = UNSET
    stale: Annotated[bool, Meta(description="The board has been silent for longer than the space finds normal.")]


Next = Annotated[str, Meta(description="The cursor of the next page; left out on the last.")] | UnsetType


class Events(Struct, kw_only=True):
    """A page of the log, newest first by when it happened."""

    events: list[Event]
    next: Next = UNSET


class Messages(Struct, kw_only=True):
    """A page of messages, newest first."""

    messages: list[Message]
    next: Next = UNSET


class Point(Struct, kw_only=True):
    """What a sensor said in one step."""

    timestamp: Annotated[datetime, Meta(tz=True, description="The mean time of the samples.")]
    mean: Annotated[float, Meta(description="°C")]
    low: Annotated[float, Meta(description="The lowest, °C.")]
    high: Annotated[float, Meta(description="The highest, °C.")]


class Sensor(Struct, kw_only=True):
    """A sensor and what it said, the oldest first; steps without a sample are left out."""

    sensor: int
    name: Annotated[str, Meta(description="What the space calls it.")] | UnsetType = UNSET
    points: list[Point]


class History(Struct, kw_only=True):
    """Temperatures of a span, down-sampled."""

    since: Time
    until: Time
    step: Annotated[int, Meta(ge=1, description="Seconds that one point stands for.")]
    sensors: list[Sensor]


Chance = Annotated[float, Meta(ge=0, le=1)]
Week = Annotated[
    list[Annotated[list[Chance], Meta(min_length=48, max_length=48)]],
    Meta(min_length=7, max_length=7, description="By day, Monday first, and half hour of local time, 00:00 first."),
]


class Day(Struct, kw_only=True):
    """A day of the week that is forecast."""

    date: date
    holiday: bool
    closed: Annotated[bool, Meta(description="Announced as closed.")]
    reason: str


class Opening(Struct, kw_only=True):
    """When a closed space will probably open, or else its best chance."""

    timestamp: Time
    forecast: Chance
    likely: bool


class Nowcast(Struct, kw_only=True):
    """The next hours."""

    timestamp: Time
    open: bool
    step_minutes: int
    forecast: Annotated[list[Chance], Meta(description="The chance of an open door after one step, two, …")]
    until: Annotated[datetime, Meta(tz=True, description="When an open space will probably have closed.")] | (
        UnsetType
    ) = UNSET
    opening: Opening | UnsetType = UNSET


class Skill(Struct, kw_only=True):
    """By how much better than simpler forecasts: 1 is perfect, 0 no better."""

    climatology: float | None
    recent_weeks: float | None
    predecessor: float | None


class Score(Struct, kw_only=True):
    """How good such forecasts have been; null where nothing is known yet."""

    brier: float | None
    log_loss: float | None
    calibration_error: float | None
    weeks: Annotated[int, Meta(description="Weeks that were scored.")]
    skill: Skill


class Forecast(Struct, kw_only=True):
    """The chance of an open door in each half hour of the coming week (docs/forecast.md)."""

    time_zone: Annotated[str, Meta(description="Of the space.")]
    slot_minutes: int
    origin: Annotated[date, Meta(description="The first day forecast.")]
    known: Annotated[bool, Meta(description="false: too little is known; all chances are 0.5.")]
    weeks: Annotated[int, Meta(description="Weeks it has learned from.")]
    forecast: Week
    interval: Annotated[float, Meta(description="How often the chance lies from low to high.")]
    low: Week
    high: Week
    score: Score | None
    days: Annotated[list[Day], Meta(min_length=7, max_length=7, description="Monday first.")]
    nowcast: Nowcast | None


# --- what is asked


class Paging(Struct, kw_only=True, forbid_unknown_fields=True):
    """A part of the log, page by page."""

    cursor: (
        Annotated[str, Meta(pattern=CURSOR, max_length=37, description="The next of the page before.")] | UnsetType
    ) = UNSET
    limit: Annotated[int, Meta(ge=1, le=MOST, description="Entries of a page.")] = PAGE


class Range(Paging, kw_only=True, forbid_unknown_fields=True):
    """Which part of the log."""

    kind: Annotated[
        list[Kind], Meta(max_length=8, description="Only these; repeat it for several (kind=a&kind=b).")
    ] = []
    since: Annotated[datetime, Meta(tz=True, description="Nothing before this instant.")] | UnsetType = UNSET
    until: Annotated[datetime, Meta(tz=True, description="Nothing at or after this instant.")] | UnsetType = UNSET


class Span(Struct, kw_only=True, forbid_unknown_fields=True):
    """A span of the past."""

    since: Annotated[datetime, Meta(tz=True, description="From here: a day before until, if left out.")] | (
        UnsetType
    ) = UNSET
    until: Annotated[datetime, Meta(tz=True, description="Before here: now, if left out.")] | UnsetType = UNSET
    points: Annotated[int, Meta(ge=1, le=POINTS, description="Of each sensor, about, at most.")] = POINTS


class NewStatus(Struct, kw_only=True, forbid_unknown_fields=True):
    """A status to be set."""

    value: Value
    note: (
        Annotated[str, Meta(min_length=1, max_length=NOTE_LENGTH, description="Words beside the status.")] | UnsetType
    ) = UNSET
    until: (
        Annotated[datetime, Meta(tz=True, description="When you expect it to end: within a year from now.")] | UnsetType
    ) = UNSET


class NewMessage(Struct, kw_only=True, forbid_unknown_fields=True):
    """A message to be sent."""

    value: Annotated[
        str,
        Meta(min_length=1, max_length=MESSAGE_LENGTH, description="Plain text; white space becomes single spaces."),
    ]


class NewAnnouncement(Struct, kw_only=True, forbid_unknown_fields=True):
    """An opening or a closure to come."""

    value: Literal["open", "closed"]
    begins: Annotated[datetime, Meta(tz=True, description="Within a year from now.")]
    ends: Annotated[datetime, Meta(tz=True, description="After it begins, within a year from now.")]
    note: Annotated[str, Meta(min_length=1, max_length=NOTE_LENGTH)] | UnsetType = UNSET


class NewSound(Struct, kw_only=True, forbid_unknown_fields=True):
    """A sound to be played."""

    number: Annotated[int, Meta(ge=0, le=255)]


def utc(at: datetime) -> datetime:
    """Return an instant in UTC; one at the ends of the calendar keeps its digits."""
    try:
        return at.astimezone(UTC)
    except OverflowError:
        return at.replace(tzinfo=UTC)
