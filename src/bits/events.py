"""The vocabulary: what can happen at a space, on its way to the log and once it is there."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from bits._proto import Enter, Leave, Message, Sound, Status, Temperature

__all__ = [
    "BRIDGE",
    "WEB",
    "Enter",
    "Event",
    "Heartbeat",
    "Leave",
    "Message",
    "Report",
    "Sound",
    "Status",
    "Stored",
    "Temperature",
]

# Where an event came from, as clients since 2011 know it ("modifiedby").
BRIDGE = "BITS"
WEB = "web"


@dataclass(frozen=True, slots=True)
class Heartbeat:
    """A sign of life from a bridge that had nothing else to say."""


Event = Status | Temperature | Enter | Leave | Message | Sound | Heartbeat


@dataclass(frozen=True, slots=True)
class Report:
    """An event on its way to the log.

    Args:
        event: what happened.
        source: BRIDGE, WEB or another short word.
        at: when it happened; aware, UTC.
        author: the member who did it, where one is known.
    """

    event: Event
    source: str
    at: datetime
    author: str | None = None


@dataclass(frozen=True, slots=True)
class Stored:
    """An event in the log. seq rises strictly, in commit order."""

    seq: int
    event: Event
    source: str
    at: datetime
    author: str | None = None
