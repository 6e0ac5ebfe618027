"""The vocabulary: what can happen at a space, on its way to the log and once it is there."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from bits._proto import Enter, Leave, Message, Sound, Status, Temperature

__all__ = [
    "AUTO",
    "BRIDGE",
    "DEDUCED",
    "MAC",
    "WEB",
    "Announce",
    "Enter",
    "Event",
    "Gone",
    "Heartbeat",
    "Late",
    "Leave",
    "Message",
    "Report",
    "Seen",
    "Sound",
    "Status",
    "Stored",
    "Temperature",
    "Withdraw",
]

# Where an event came from, as clients since 2011 know it ("modifiedby").
BRIDGE = "BITS"
WEB = "web"
MAC = "mac"  # deduced from members' devices
AUTO = "auto"  # nobody has been seen for long

# What the server says by itself. All else is somebody's word.
DEDUCED = frozenset({MAC, AUTO})


@dataclass(frozen=True, slots=True)
class Heartbeat:
    """A sign of life from a bridge that had nothing else to say."""


@dataclass(frozen=True, slots=True)
class Late:
    """A status that came so late that another, which happened after it, already stood: it is history only."""

    value: str


@dataclass(frozen=True, slots=True)
class Seen:
    """A member's device is about.

    Args:
        digest: of its MAC address (docs/protocol.md, "Devices").
        person: whose it is; None: nobody's that we know.
    """

    digest: str
    person: int | None


@dataclass(frozen=True, slots=True)
class Gone:
    """A member's device is not about any more. Fields as in Seen."""

    digest: str
    person: int | None


@dataclass(frozen=True, slots=True)
class Announce:
    """An opening or a closure to come; its event's `until` is when it ends, its `note` says why.

    Args:
        value: "open" or "closed".
        begins: aware, UTC.
    """

    value: str
    begins: datetime


@dataclass(frozen=True, slots=True)
class Withdraw:
    """What was announced will not be.

    Args:
        announcement: the seq of the event that announced it.
    """

    announcement: int


Event = Status | Temperature | Enter | Leave | Message | Sound | Heartbeat | Late | Seen | Gone | Announce | Withdraw


@dataclass(frozen=True, slots=True)
class Report:
    """An event on its way to the log.

    Args:
        event: what happened.
        source: BRIDGE, WEB or another short word.
        at: when it happened; aware, UTC.
        author: the member who did it, where one is known.
        bridge: the bridge that numbered it, if one did.
        number: its number there.
        age: what of `at` is the bridge's word: how long ago it said that it happened.
        note: what the author has to say about a status, or an announcement.
        until: when the author expects that to end; aware, UTC.
    """

    event: Event
    source: str
    at: datetime
    author: str | None = None
    bridge: str | None = None
    number: int | None = None
    age: timedelta = timedelta()
    note: str | None = None
    until: datetime | None = None

    def stored(self, seq: int) -> Stored:
        """Return the event as it stands in the log under a number."""
        return Stored(
            seq, self.event, self.source, self.at, self.author, self.bridge, self.number, self.note, self.until
        )


@dataclass(frozen=True, slots=True)
class Stored:
    """An event in the log. seq rises strictly, in commit order; (bridge, number) is there once. Fields as in Report."""

    seq: int
    event: Event
    source: str
    at: datetime
    author: str | None = None
    bridge: str | None = None
    number: int | None = None
    note: str | None = None
    until: datetime | None = None
