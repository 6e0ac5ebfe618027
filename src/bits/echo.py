"""The WebSocket codec on its own, for conformance suites: all comes back. `python -m bits.echo --port N`."""

from __future__ import annotations

import asyncio
from typing import cast

import click
import uvloop

from bits import limits
from bits._ws import LARGEST_MAX_MESSAGE, Connection, close_frame, frame_header
from bits.web.framing import accept_key, handshake

MOST_HEAD = 8192
OPCODES = {"text": 1, "binary": 2, "ping": 10}  # a ping is answered by a pong

# How long a client may take to read what it is owed after a close, and to end the connection.
LINGER_SECONDS = 10.0

REFUSED = (
    b"HTTP/1.1 426 Upgrade Required\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nConnection: close\r\n"
    b"Content-Length: 0\r\n\r\n"
)


class Echo(asyncio.Protocol):
    """One client: an opening handshake, then whatever it says comes back.

    Args:
        max_message: bytes; a longer message ends the connection with 1009.
    """

    def __init__(self, max_message: int) -> None:
        self._connection = Connection(max_message)
        self._head = b""
        self._is_open = False
        self._deadline: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def connection_lost(self, exc: Exception | None) -> None:
        if self._deadline:
            self._deadline.cancel()

    # Who does not take its echoes is not read either.
    def pause_writing(self) -> None:
        if not self._connection.ended:
            self._transport.pause_reading()

    def resume_writing(self) -> None:
        self._transport.resume_reading()

    def data_received(self, data: bytes) -> None:
        if not self._is_open:
            self._head += data
            head, blank, data = self._head.partition(b"\r\n\r\n")
            if not blank:
                if len(self._head) > MOST_HEAD:
                    self._transport.abort()
                return
            self._is_open = self._shake_hands(head)
            self._head = b""
        if self._is_open and data:
            self._answer(data)

    def _shake_hands(self, head: bytes) -> bool:
        """Answer the opening handshake (RFC 6455 section 4.2). Returns whether the connection is open."""
        lines = (line.partition(b":") for line in head.split(b"\r\n")[1:])
        headers = {name.strip().lower(): value.strip() for name, _, value in lines}
        accept = accept_key(headers.get(b"sec-websocket-key", b""))
        asked = headers.get(b"upgrade", b"").lower(), headers.get(b"sec-websocket-version")
        if accept is None or asked != (b"websocket", b"13"):
            self._transport.write(REFUSED)
            self._transport.close()
            return False
        self._transport.write(handshake(accept))
        return True

    def _answer(self, data: bytes) -> None:
        if self._connection.ended:
            return
        for what, value in self._connection.feed(data):
            if isinstance(value, int):
                self._transport.write(close_frame(value))
                self._linger()
            else:
                self._transport.writelines([frame_header(OPCODES[what], len(value)), value])

    def _linger(self) -> None:
        """End our half of the connection, and read on without looking until the client ends its own.

        Closing at once would leave bytes unread, which makes the kernel send a reset: the client would lose the
        echoes and the close frame that are still on their way.
        """
        self._transport.write_eof()
        self._transport.resume_reading()
        self._deadline = asyncio.get_running_loop().call_later(LINGER_SECONDS, self._transport.abort)


async def serve(host: str, port: int, max_message: int) -> None:
    """Echo until cancelled."""
    server = await asyncio.get_running_loop().create_server(lambda: Echo(max_message), host, port)
    host, port = server.sockets[0].getsockname()[:2]
    print(f"ready ws://{host}:{port}/", flush=True)
    await server.serve_forever()


@click.command()
@click.option("--host", default="127.0.0.1", show_default=True)
@click.option("--port", type=click.IntRange(0, 65535), default=0, help="0: any free one.")
@click.option(
    "--max-message",
    type=click.IntRange(1, LARGEST_MAX_MESSAGE),
    default=16 << 20,
    show_default=True,
    help="Bytes; a longer one ends the connection with 1009.",
)
def main(host: str, port: int, max_message: int) -> None:
    """Send every WebSocket message back, through the codec of BITS."""
    limits.descriptors()
    uvloop.run(serve(host, port, max_message))


if __name__ == "__main__":
    main()
