"""Follow a space in a terminal."""

from __future__ import annotations

import asyncio
import json
import random
import sys
from collections.abc import AsyncGenerator, Callable, Iterator
from contextlib import aclosing
from datetime import datetime
from typing import Any

from websockets.asyncio.client import connect
from websockets.exceptions import InvalidHandshake, InvalidURI, WebSocketException

from bits.errors import BitsError

RETRY_SECONDS = 30.0  # the longest wait between two attempts


def printable(value: object) -> str:
    """Return text that cannot move the cursor, ring the bell or hide what stands before it."""
    return "".join(c if c.isprintable() else "�" for c in str(value))


def _clock(stamp: Any) -> str:
    try:
        return f"{datetime.fromtimestamp(stamp / 1000).astimezone():%H:%M}"
    except (TypeError, ValueError, OverflowError, OSError):  # absent, or no instant of any calendar
        return "--:--"


def describe(frame: dict[str, Any]) -> Iterator[str]:
    """Put a frame into words, a line for each thing it tells."""
    if status := frame.get("status"):
        yield f"{_clock(status['timestamp'])} {printable(status['value'])} ({printable(status['modifiedby'])})"
    if frame.get("stale"):
        yield (
            f"{_clock(frame.get('heard'))} the board was last heard"
            if "heard" in frame
            else "the board was never heard"
        )
    samples = frame.get("sensors") or ([frame["tempint"]] if "tempint" in frame else [])
    for sample in samples:
        yield f"{_clock(sample['timestamp'])} {sample['value']:.1f} °C (sensor {printable(sample['sensor'])})"
    if message := frame.get("message"):
        yield f"{_clock(message['timestamp'])} {printable(message['user'])}: {printable(message['value'])}"
    if "people" in frame and (frame["people"]["count"] or "version" not in frame):
        yield f"      {printable(frame['people']['count'])} present"
    if sound := frame.get("sound"):
        yield f"{_clock(sound['timestamp'])} sound {printable(sound['number'])} ({printable(sound['modifiedby'])})"


def _as_json(frame: object) -> str:
    """Return a frame on one line; what a terminal would obey is escaped, which JSON allows anywhere in a text."""
    return "".join(c if c.isprintable() else json.dumps(c)[1:-1] for c in json.dumps(frame, ensure_ascii=False))


def _read(text: str | bytes, *, as_json: bool) -> tuple[int, list[str]]:
    """Return the seq of a frame and the lines that tell it.

    Raises:
        ValueError: this is not a frame.
    """
    try:
        frame = json.loads(text)
        return int(frame["seq"]), [_as_json(frame)] if as_json else list(describe(frame))
    except (ValueError, KeyError, TypeError, AttributeError, OverflowError) as error:
        raise ValueError(f"not a frame: {error!r}") from None


async def _follow(url: str, *, as_json: bool) -> AsyncGenerator[list[str], None]:
    seq: int | None = None
    attempt = 0
    while True:
        try:
            async with connect(url if seq is None else f"{url}?since={seq}", open_timeout=10) as stream:
                async for text in stream:
                    try:
                        seq, lines = _read(text, as_json=as_json)
                    except ValueError:
                        raise BitsError(f"{url} does not speak like a BITS server") from None
                    attempt = 0  # here, and not once connected: a server that hangs up at once is no success
                    yield lines
        except InvalidHandshake as error:
            if seq is None and attempt == 0:
                raise BitsError(f"{url} is not the live stream of a BITS server: {error}") from None
        except (InvalidURI, ValueError) as error:  # ValueError: a port or a host name that cannot be
            raise BitsError(f"{url}: {error}") from None
        except (OSError, WebSocketException) as error:
            if attempt == 0:
                print(f"not connected ({error}); trying again", file=sys.stderr)
        # Full jitter: after a restart of the server its clients do not come back all at once.
        await asyncio.sleep(random.uniform(0, min(RETRY_SECONDS, 0.5 * 2**attempt)))  # noqa: S311
        attempt = min(attempt + 1, 10)


def say(line: str) -> None:
    """Print at once, into a pipe too: a line that waits in a buffer is no news."""
    print(line, flush=True)


async def watch(url: str, *, as_json: bool, show: Callable[[str], None] = say) -> None:
    """Print every change at a space until cancelled; come back, missing nothing, when the connection breaks.

    Args:
        url: of the WebSocket, ws:// or wss://.
        show: takes a line; what it raises ends the watch, so that a closed pipe is not taken for a broken connection.
    Raises:
        BitsError: the address is not a WebSocket of BITS.
    """
    async with aclosing(_follow(url, as_json=as_json)) as news:
        async for lines in news:
            for line in lines:
                show(line)
