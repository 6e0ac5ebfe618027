"""How the JSON of snapshots and events is framed for each way of pushing: once per event, never per client."""

from __future__ import annotations

import base64
import binascii
import contextlib
import hashlib
import os
from collections.abc import Callable, Sequence

from bits._door import refusal
from bits._ws import text_frame

# One object of the stream: its seq, its JSON.
Item = tuple[int, bytes]

WEBSOCKET_GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"  # RFC 6455 section 1.3

CORS = {"Access-Control-Allow-Origin": "*"}  # for what any site may read

# Delimited by the end of the connection. A proxy that compresses collects first: it must not transform; nginx collects
# anyway, unless it is told not to.
EVENT_STREAM_CACHING = "no-store, no-transform"
EVENT_STREAM_HEAD = (
    b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n"
    b"Cache-Control: " + EVENT_STREAM_CACHING.encode() + b"\r\nX-Accel-Buffering: no\r\n"
    b"Access-Control-Allow-Origin: *\r\nConnection: close\r\n\r\n"
)


def handshake(accept: str) -> bytes:
    """Return the end of a WebSocket's opening handshake."""
    return (
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        f"Sec-WebSocket-Accept: {accept}\r\n\r\n"
    ).encode()


def accept_key(key: bytes) -> str | None:
    """Return the answer to a Sec-WebSocket-Key; None: it is not 16 bytes of base64."""
    try:
        if len(base64.b64decode(key, validate=True)) != 16:
            return None
    except (binascii.Error, ValueError):
        return None
    return base64.b64encode(hashlib.sha1(key + WEBSOCKET_GUID, usedforsecurity=False).digest()).decode()


def websocket(items: Sequence[Item]) -> bytes:
    return b"".join([text_frame(data) for _, data in items])


def event_stream(items: Sequence[Item]) -> bytes:
    """Return blocks of an event stream; JSON holds no line ends."""
    return b"".join([b"id: %d\ndata: %b\n\n" % item for item in items])


def long_poll(items: Sequence[Item]) -> bytes:
    """Return the whole answer to a long poll: an array of what a WebSocket would have carried."""
    body = b"[%b]" % b",".join([data for _, data in items])
    return (
        b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nCache-Control: no-store\r\n"
        b"Access-Control-Allow-Origin: *\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body)
    )


def turn_away(fd: int, sentence: str, seconds: int) -> None:
    """Answer 503 on a bare descriptor, and close it."""
    with contextlib.suppress(OSError):  # it may be gone already
        os.write(fd, refusal(f"503 Service Unavailable\r\nRetry-After: {seconds}", sentence))
    os.close(fd)


# In the order of the hub's transports.
FRAMINGS: tuple[Callable[[Sequence[Item]], bytes], ...] = (websocket, event_stream, long_poll)
