"""The state and the events as JSON: field by field what clients since 2011 rely on (docs/live.md)."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta, tzinfo
from typing import Any, Literal

from bits.events import BRIDGE, Enter, Gone, Heartbeat, Late, Leave, Message, Seen, Sound, Status, Stored, Temperature
from bits.state import Freshness, State

Json = dict[str, Any]
Form = Literal["ms", "iso"]

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
MILLISECOND = timedelta(milliseconds=1)


def encode(value: Json) -> bytes:
    """Write JSON as short as it can be, in UTF-8."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False).encode()


class Wire:
    """One wire form: how timestamps are written.

    Args:
        form: "ms": integers, milliseconds since 1970 UTC; "iso": local text, for clients of the 2015 server.
        zone: of the space; used by "iso".
    """

    def __init__(self, form: Form, zone: tzinfo) -> None:
        self.form = form
        self.zone = zone

    def _stamp(self, at: datetime) -> int | str:
        if self.form == "ms":
            return (at - EPOCH) // MILLISECOND
        return at.astimezone(self.zone).strftime("%Y-%m-%d %H:%M:%S.%f")

    def status(self, stored: Stored, *, unknown: bool = False) -> Json:
        assert isinstance(stored.event, Status | Late)
        return {
            "timestamp": self._stamp(stored.at),
            "modifiedby": stored.source,
            "value": "unknown" if unknown else stored.event.value,
        }

    def _sample(self, stored: Stored) -> Json:
        assert isinstance(stored.event, Temperature)
        return {
            "timestamp": self._stamp(stored.at),
            "value": stored.event.value,
            "modifiedby": stored.source,
            "sensor": stored.event.sensor,
        }

    def _message(self, stored: Stored) -> Json:
        assert isinstance(stored.event, Message)
        return {
            "timestamp": self._stamp(stored.at),
            "user": stored.author or stored.source,
            "value": stored.event.text,
        }

    def snapshot(self, state: State, fresh: Freshness) -> Json:
        """Return the whole state; what is not known is left out."""
        data: Json = {"version": 3, "seq": state.seq}
        if state.status:
            data["status"] = self.status(state.status, unknown=fresh.unknown)
        if state.history:
            data["tempint"] = self._sample(state.history[0])
        if state.message:
            data["message"] = self._message(state.message)
        if state.history:
            data["tempinthist"] = [self._sample(sample) for sample in state.history]
            data["sensors"] = [self._sample(state.sensors[sensor]) for sensor in sorted(state.sensors)]
        data["people"] = {"count": len(state.people)}
        if state.heard:
            data["heard"] = self._stamp(state.heard)
        data["stale"] = fresh.stale
        return data

    def frame(self, stored: Stored, state: State) -> Json:
        """Return what one event changed; state is the one it led to.

        Only frames about the status may hold the words "status", "open" or "close" as keys: the phone widget
        looks for them anywhere.
        """
        frame: Json = {}
        match stored.event:
            case Status():
                frame["status"] = self.status(stored)
            case Temperature():
                frame["tempint"] = self._sample(stored)
            case Message():
                frame["message"] = self._message(stored)
            case Enter() | Leave():
                frame["people"] = {"count": len(state.people)}
            case Sound(number=number):
                frame["sound"] = {
                    "timestamp": self._stamp(stored.at),
                    "number": number,
                    "modifiedby": stored.source,
                }
            case Heartbeat() | Late() | Seen() | Gone():
                pass
        if stored.source == BRIDGE and state.heard:
            frame["heard"] = self._stamp(state.heard)
        frame["seq"] = stored.seq
        return frame

    def liveness(self, state: State, fresh: Freshness) -> Json:
        """Return how far the state may be believed: sent when that turns, and to a client that resumes."""
        frame: Json = {}
        if state.status:
            frame["status"] = self.status(state.status, unknown=fresh.unknown)
        if state.heard:
            frame["heard"] = self._stamp(state.heard)
        frame["stale"] = fresh.stale
        frame["seq"] = state.seq
        return frame
