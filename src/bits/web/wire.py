"""The state and the events as JSON: field by field what clients since 2011 rely on (docs/live.md)."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta, tzinfo
from typing import Any, Literal

from bits.events import (
    BRIDGE,
    Announce,
    Enter,
    Gone,
    Heartbeat,
    Late,
    Leave,
    Message,
    Seen,
    Sound,
    Status,
    Stored,
    Temperature,
    Withdraw,
)
from bits.roster import names_of, signer
from bits.state import Freshness, State

Json = dict[str, Any]
Form = Literal["ms", "iso"]

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
MILLISECOND = timedelta(milliseconds=1)


def encode(value: Json) -> bytes:
    """Write JSON as short as it can be, in UTF-8."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False).encode()


# What the entries of the history are called; no other kind is in it.
HISTORY_KINDS: Mapping[type, str] = {
    Status: "status",
    Late: "status",
    Temperature: "temperature",
    Message: "message",
    Sound: "sound",
    Announce: "announcement",
    Withdraw: "withdrawal",
    Enter: "arrival",
    Leave: "departure",
}


class Wire:
    """One wire form: how timestamps are written.

    Args:
        form: "ms": integers, milliseconds since 1970 UTC; "iso": local text, for clients of the 2015 server.
        zone: of the space; used by "iso".
        listed: gives the names, by number, of those who let everybody read that they are in.
    """

    def __init__(self, form: Form, zone: tzinfo, listed: Callable[[], Mapping[int, str]] = dict) -> None:
        self.form = form
        self.zone = zone
        self._listed = listed

    def _stamp(self, at: datetime) -> int | str:
        if self.form == "ms":
            return (at - EPOCH) // MILLISECOND
        return at.astimezone(self.zone).strftime("%Y-%m-%d %H:%M:%S.%f")

    def status(self, stored: Stored, *, unknown: bool = False) -> Json:
        assert isinstance(stored.event, Status | Late)
        status: Json = {
            "timestamp": self._stamp(stored.at),
            "modifiedby": stored.source,
            "value": "unknown" if unknown else stored.event.value,
        }
        if name := signer(stored, self._listed()):
            status["user"] = name
        if stored.note:
            status["note"] = stored.note
        if stored.until:
            status["until"] = self._stamp(stored.until)
        return status

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

    def people(self, state: State) -> Json:
        """Return how many are in; and the names of those of them who want that."""
        names = names_of(state, self._listed())
        return {"count": len(state.people)} | ({"names": names} if names else {})

    def announced(self, state: State) -> list[Json]:
        """Return what was announced and not withdrawn, in the order it begins; what is over has not gone by itself.

        The value is a digit as in /status, since only frames about the status may hold the words.
        """
        found = []
        for seq, stored in state.announced.items():
            if stored is None:
                continue
            assert isinstance(stored.event, Announce)
            found.append((stored.event.begins, {"id": seq, **self._announcement(stored, stored.event)}))
        return [one for _, one in sorted(found, key=lambda each: each[0])]

    def _announcement(self, stored: Stored, announce: Announce) -> Json:
        assert stored.until is not None
        one: Json = {
            "value": int(announce.value == "open"),
            "begins": self._stamp(announce.begins),
            "ends": self._stamp(stored.until),
            "user": stored.author or stored.source,
        }
        return one | ({"note": stored.note} if stored.note else {})

    def entry(self, stored: Stored) -> Json:
        """Return an event of the history, of any kind that everybody may read (history.KINDS).

        Who came or went is not told.
        """
        entry: Json = {
            "seq": stored.seq,
            "kind": HISTORY_KINDS[type(stored.event)],
            "timestamp": self._stamp(stored.at),
        }
        match stored.event:
            case Status():
                return entry | self.status(stored)
            case Late():
                return entry | self.status(stored) | {"late": True}
            case Temperature():
                return entry | self._sample(stored)
            case Message():
                return entry | self._message(stored)
            case Announce():
                return entry | self._announcement(stored, stored.event)
            case Sound(number=number):
                entry["number"] = number
            case Withdraw(announcement=seq):
                entry["announcement"] = seq
        return entry | {"modifiedby": stored.source}

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
        data["people"] = self.people(state)
        data["announced"] = self.announced(state)
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
                frame["people"] = self.people(state)
            case Announce() | Withdraw():
                frame["announced"] = self.announced(state)
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
        frame["people"] = self.people(state)
        if state.heard:
            frame["heard"] = self._stamp(state.heard)
        frame["stale"] = fresh.stale
        frame["seq"] = state.seq
        return frame
