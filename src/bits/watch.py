"""Follow a space in a terminal."""

from __future__ import annotations

import asyncio
import json
import random
import sys
from collections.abc import Callable, Iterator
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
    if not isinstance(stamp, int):
        return "--:--"
    return f"{datetime.fromtimestamp(stamp / 1000).astimezone():%H:%M}"


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
        yield f"{_clock(sample['timestamp'])} {sample['value']:.1f} °C (sensor {sample['sensor']})"
    if message := frame.get("message"):
        yield f"{_clock(message['timestamp'])} {printable(message['user'])}: {printable(message['value'])}"
    if "people" in frame and (frame["people"]["count"] or "version" not in frame):
        yield f"      {frame['people']['count']} present"
    if sound := frame.get("sound"):
        yield f"{_clock(sound['timestamp'])} sound {sound['number']} ({printable(sound['modifiedby'])})"


async def watch(url: str, *, as_json: bool, show: Callable[[str], None] = print) -> None:
    """Print every change at a space until cancelled; come back, missing nothing, when the connection breaks.

    Args:
        url: of the WebSocket, ws:// or wss://.
    Raises:
        BitsError: the address is not a WebSocket of BITS.
    """
    seq: int | None = None
    attempt = 0
    while True:
        try:
            async with connect(url if seq is None else f"{url}?since={seq}", open_timeout=10) as stream:
                attempt = 0
                async for text in stream:
                    frame = json.loads(text)
                    seq = frame["seq"]
                    if as_json:
                        show(json.dumps(frame, ensure_ascii=False))
                        continue
                    for line in describe(frame):
                        show(line)
        except InvalidURI as error:
            raise BitsError(f"{url}: {error}") from None
        except InvalidHandshake as error:
            if seq is None and attempt == 0:
                raise BitsError(f"{url} is not the live stream of a BITS server: {error}") from None
        except (json.JSONDecodeError, KeyError, TypeError):
            raise BitsError(f"{url} does not speak like a BITS server") from None
        except (OSError, TimeoutError, WebSocketException) as error:
            if attempt == 0:
                print(f"not connected ({error}); trying again", file=sys.stderr)
        # Full jitter: after a restart of the server its clients do not come back all at once.
        await asyncio.sleep(random.uniform(0, min(RETRY_SECONDS, 0.5 * 2**attempt)))  # noqa: S311
        attempt = min(attempt + 1, 10)
