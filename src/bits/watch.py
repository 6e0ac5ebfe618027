"""Follow a space in a terminal, in a pipe, or in a desktop's bar."""

from __future__ import annotations

import asyncio
import json
import random
import sys
import time
from collections.abc import AsyncGenerator, Callable, Iterable, Iterator
from contextlib import aclosing
from datetime import datetime
from html import escape
from typing import Any

from websockets.asyncio.client import connect
from websockets.exceptions import InvalidHandshake, InvalidStatus, InvalidURI, WebSocketException

from bits.errors import BitsError

RETRY_SECONDS = 30.0  # the longest wait between two attempts

# By shape as well as by colour.
MARKS = {"open": "●", "closed": "■", "away": "▲"}
COLOURS = {"open": "\x1b[1;32m", "closed": "\x1b[1;31m", "away": "\x1b[1;33m"}
PLAIN = "\x1b[0m"

Frame = dict[str, Any]
# Lines for a frame; for None: the connection is lost, and none may be worth saying.
Form = Callable[[Frame | None], Iterable[str]]


def printable(value: object) -> str:
    """Return text that cannot move the cursor, ring the bell or hide what stands before it."""
    return "".join(c if c.isprintable() else "�" for c in str(value))


def _clock(stamp: Any) -> str:
    """Return a local time, with its day where that is not today."""
    try:
        at = datetime.fromtimestamp(stamp / 1000).astimezone()
    except (TypeError, ValueError, OverflowError, OSError):  # absent, or no instant of any calendar
        return "--:--"
    return f"{at:%H:%M}" if at.date() == datetime.now().astimezone().date() else f"{at:%Y-%m-%d %H:%M}"


# --- words


def _status(status: Frame) -> str:
    by = ", ".join(printable(status[key]) for key in ("modifiedby", "user") if key in status)
    note = f": {printable(status['note'])}" if "note" in status else ""
    until = f", until {_clock(status['until'])}" if "until" in status else ""
    return f"({by}){note}{until}"


def _sample(sample: Frame) -> str:
    return f"{_clock(sample['timestamp'])} {sample['value']:.1f} °C (sensor {printable(sample['sensor'])})"


def _message(message: Frame) -> str:
    return f"{_clock(message['timestamp'])} {printable(message['user'])}: {printable(message['value'])}"


def _people(people: Frame) -> str:
    names = f" ({', '.join(map(printable, people['names']))})" if people.get("names") else ""
    return f"{printable(people['count'])} present{names}"


def _announced(announced: Iterable[Frame]) -> Iterator[tuple[int, str]]:
    """Put into words what is not over, each with its number."""
    for one in announced:
        if one["ends"] / 1000 > time.time():
            note = f": {printable(one['note'])}" if "note" in one else ""
            span = f"{_clock(one['begins'])} to {_clock(one['ends'])}"
            yield (
                int(one["id"]),
                f"announced by {printable(one['user'])}: {'open' if one['value'] else 'closed'} {span}{note}",
            )


class Lines:
    """A line for each thing that changes. colour: with shapes and colours, for a terminal."""

    def __init__(self, *, colour: bool = False) -> None:
        self._colour = colour
        self._said: dict[str, str] = {}  # a server says again, to who comes back, what may have changed

    def __call__(self, frame: Frame | None) -> Iterator[str]:
        for what, line in self._describe(frame or {}):
            if self._said.get(what) != line:
                self._said[what] = line
                yield line

    def _describe(self, frame: Frame) -> Iterator[tuple[str, str]]:
        if status := frame.get("status"):
            value = printable(status["value"])
            if self._colour:
                value = f"{COLOURS.get(value, '')}{MARKS.get(value, '?')} {value}{PLAIN}"
            yield "status", f"{_clock(status['timestamp'])} {value} {_status(status)}"
        if frame.get("stale"):
            heard = f"{_clock(frame.get('heard'))} the board was last heard"
            yield "stale", heard if "heard" in frame else "the board was never heard"
        elif "stale" in frame:
            self._said.pop("stale", None)
        for sample in frame.get("sensors") or ([frame["tempint"]] if "tempint" in frame else []):
            yield f"sensor {sample['sensor']}", _sample(sample)
        if message := frame.get("message"):
            yield "message", _message(message)
        if "people" in frame and (frame["people"]["count"] or "version" not in frame or "people" in self._said):
            yield "people", f"      {_people(frame['people'])}"
        if "announced" in frame:
            standing = {f"announced {number}": line for number, line in _announced(frame["announced"])}
            for what in [what for what in self._said if what.startswith("announced ") and what not in standing]:
                yield "", f"      no longer {self._said.pop(what).strip()}"
            for what, line in standing.items():
                yield what, f"      {line}"
        if sound := frame.get("sound"):
            line = f"{_clock(sound['timestamp'])} sound {printable(sound['number'])} ({printable(sound['modifiedby'])})"
            yield f"sound {frame['seq']}", line


def as_json(frame: Frame | None) -> Iterator[str]:
    """Return a frame on one line; what a terminal would obey is escaped, which JSON allows anywhere in a text."""
    if frame is not None:
        text = json.dumps(frame, ensure_ascii=False)
        yield "".join(c if c.isprintable() else json.dumps(c)[1:-1] for c in text)


def fold(state: Frame, frame: Frame) -> Frame:
    """Return the state after a frame, by the rules of docs/live.md; the history of temperatures is not kept."""
    if "version" in frame:
        return {key: value for key, value in frame.items() if key != "tempinthist"}
    last = state.get("seq", 0)
    if frame["seq"] < last if "stale" in frame else frame["seq"] <= last:
        return state
    now = state | {key: value for key, value in frame.items() if key != "sound"}
    if sample := frame.get("tempint"):
        others = [each for each in state.get("sensors", []) if each["sensor"] != sample["sensor"]]
        now["sensors"] = sorted([*others, sample], key=lambda each: each["sensor"])
    return now


class Bar:
    """What Waybar's custom module reads (man 5 waybar-custom, "return-type": "json"): a line when it changes."""

    def __init__(self) -> None:
        self._state: Frame = {}
        self._said = ""

    def __call__(self, frame: Frame | None) -> Iterator[str]:
        if frame is not None:
            self._state = fold(self._state, frame)
        line = self._line(is_lost=frame is None)
        if line != self._said:
            self._said = line
            yield line

    def _line(self, *, is_lost: bool) -> str:
        status = self._state.get("status", {})
        value = str(status.get("value", "unknown"))
        value = "offline" if is_lost else value if value in MARKS else "unknown"
        return json.dumps(
            {
                "text": f"{MARKS.get(value, '?')} {value}",
                "alt": value,
                "class": value,
                "percentage": 100 if value == "open" else 0,
                # Waybar reads it as Pango's markup.
                "tooltip": escape("\n".join(self._tooltip(value, status))),
            }
        )

    def _tooltip(self, value: str, status: Frame) -> Iterator[str]:
        state = self._state
        if value == "offline":
            yield "not connected; what was last heard:" if state else "not connected"
        if status:
            yield f"{printable(status['value'])} since {_clock(status['timestamp'])} {_status(status)}"
        if state.get("stale"):
            yield f"the board was last heard {_clock(state['heard'])}" if "heard" in state else "the board is silent"
        yield from map(_sample, state.get("sensors", []))
        if state.get("people"):
            yield _people(state["people"])
        if "message" in state:
            yield _message(state["message"])
        for _, line in _announced(state.get("announced", [])):
            yield line


# --- the connection


def _read(text: str | bytes) -> tuple[int, Frame]:
    """Return a frame and its seq.

    Raises:
        ValueError: this is not a frame.
    """
    try:
        frame = json.loads(text)
        return int(frame["seq"]), dict(frame)
    except (ValueError, KeyError, TypeError, AttributeError, OverflowError) as error:
        raise ValueError(f"not a frame: {error!r}") from None


def _is_passing(error: InvalidHandshake) -> bool:
    """Tell a server, or the proxy before it, that is not ready from one that is no such server."""
    return isinstance(error, InvalidStatus) and error.response.status_code >= 500


async def _follow(url: str, *, patient: bool) -> AsyncGenerator[Frame | str, None]:
    """Yield frames, and, once each time the connection is lost, why. patient: believe in the address whatever comes."""
    seq: int | None = None
    attempt = 0
    while True:
        why = "the server has ended the connection"
        try:
            async with connect(url if seq is None else f"{url}?since={seq}", open_timeout=10) as stream:
                async for text in stream:
                    try:
                        seq, frame = _read(text)
                    except ValueError:
                        raise BitsError(f"{url} does not speak like a BITS server") from None
                    attempt = 0  # here, and not once connected: a server that hangs up at once is no success
                    yield frame
        except InvalidHandshake as error:
            if seq is None and attempt == 0 and not patient and not _is_passing(error):
                raise BitsError(f"{url} is not the live stream of a BITS server: {error}") from None
            why = str(error)
        except (InvalidURI, ValueError) as error:  # ValueError: a port or a host name that cannot be
            raise BitsError(f"{url}: {error}") from None
        except (OSError, WebSocketException) as error:
            why = str(error) or type(error).__name__
        if attempt == 0:
            yield why
        # Full jitter: after a restart of the server its clients do not come back all at once.
        await asyncio.sleep(random.uniform(0, min(RETRY_SECONDS, 0.5 * 2**attempt)))  # noqa: S311
        attempt = min(attempt + 1, 10)


def say(line: str) -> None:
    """Print at once, into a pipe too: a line that waits in a buffer is no news."""
    print(line, flush=True)


async def watch(url: str, form: Form, *, once: bool = False, show: Callable[[str], None] = say) -> None:
    """Print every change at a space until cancelled; come back, missing nothing, when the connection breaks.

    Args:
        url: of the WebSocket, ws:// or wss://.
        form: how to tell it. A Bar is never told that the address is wrong: it shows that it is not connected.
        once: end with the first that can be said.
        show: takes a line; what it raises ends the watch, so that a closed pipe is not taken for a broken connection.
    Raises:
        BitsError: the address is not a WebSocket of BITS; or `once`, and there is no connection.
    """
    async with aclosing(_follow(url, patient=isinstance(form, Bar))) as news:
        async for each in news:
            is_lost = isinstance(each, str)
            try:
                lines = list(form(None if isinstance(each, str) else each))
            except (KeyError, TypeError, ValueError, AttributeError, OverflowError):
                raise BitsError(f"{url} does not speak like a BITS server") from None
            for line in lines:
                show(line)
            if once and is_lost and not lines:
                raise BitsError(f"{url}: {each}")
            if once:
                return
            if is_lost:
                print(f"not connected ({each}); trying again", file=sys.stderr)
