"""Proxies as they are met between browsers and servers: real sockets, each bad in its own way."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Callable, Coroutine, Iterator
from dataclasses import dataclass, replace
from typing import Any

MOST = 1 << 20


@dataclass(frozen=True)
class Habits:
    """What a proxy does to what passes.

    Args:
        upgrade: of a WebSocket: "pass"; "refuse" with 400; "hang", never answering; "kill" right after the greeting;
            "strip" the headers that ask for it.
        hold: an answer of unknown length is held until it ends, or until so many bytes of it have come; 0: passes.
        idle: seconds without a byte from the server after which a waiting connection is given up; 0: never.
        silently: what was given up stays open, and swallows; else it is closed.
    """

    upgrade: str = "pass"
    hold: int = 0
    idle: float = 0.0
    silently: bool = False


PLAIN = Habits()
NO_WEBSOCKET = Habits(upgrade="refuse")
HANGS_WEBSOCKET = Habits(upgrade="hang")
KILLS_WEBSOCKET = Habits(upgrade="kill")
STRIPS_UPGRADE = Habits(upgrade="strip")
BUFFERS = Habits(upgrade="refuse", hold=MOST)
CLOSES_IDLE = Habits(idle=0.3)
SWALLOWS_IDLE = replace(CLOSES_IDLE, silently=True)
EVERYTHING = replace(SWALLOWS_IDLE, upgrade="kill", hold=MOST)


class Proxy:
    """Pass each request on to the server, on a connection of its own. `habits` may be changed at any time.

    Args:
        target: host and port of the server.
    """

    def __init__(self, target: tuple[str, int], habits: Habits) -> None:
        self.target = target
        self.habits = habits
        self.swallowed = 0  # bytes that came for somebody who had been given up
        self.asked: list[str] = []  # targets
        self._serving: set[asyncio.Task[Any] | None] = set()  # what waits for good is forgotten unless it is held

    async def start(self) -> None:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.url = f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"

    def close(self) -> None:
        self._server.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._serving.add(asyncio.current_task())
        try:
            while await self._request(reader, writer):
                pass
        except (OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass  # either side has gone, or was given up, or the test is over
        finally:
            self._serving.discard(asyncio.current_task())
            writer.close()

    async def _request(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        """Serve one request. Returns whether another may follow on this connection."""
        habits = self.habits
        lines = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")[:-2]
        self.asked.append(lines[0].split(" ")[1])
        upgrade = any(line.lower() == "upgrade: websocket" for line in lines)
        if upgrade and habits.upgrade == "refuse":
            writer.write(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
            return False
        if upgrade and habits.upgrade == "hang":
            await reader.read()  # until the browser has enough
            return False
        if upgrade and habits.upgrade == "strip":
            lines = [line for line in lines if not line.lower().startswith(("upgrade:", "connection:"))]
            upgrade = False
        server, to_server = await asyncio.open_connection(*self.target)
        try:
            to_server.write(("\r\n".join(lines) + "\r\n\r\n").encode("latin-1"))
            head = await self._answer(server, writer, habits, upgrade=upgrade)
            if upgrade and b" 101 " in head:
                if habits.upgrade != "kill":
                    await self._both_ways(reader, writer, server, to_server, habits)
                return False
            return b"content-length:" in head.lower() and b"connection: close" not in head.lower()
        finally:
            to_server.close()

    async def _answer(
        self, server: asyncio.StreamReader, writer: asyncio.StreamWriter, habits: Habits, *, upgrade: bool
    ) -> bytes:
        async def read_head() -> bytes:
            return await server.readuntil(b"\r\n\r\n")

        head = await self._patiently(read_head, habits)
        if upgrade and b" 101 " in head:
            writer.write(head)
            if habits.upgrade == "kill":
                writer.write(await server.read(65536))  # the greeting still comes through
                await writer.drain()
            return head
        lengths = [line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")]
        if b" 304 " in head.split(b"\r\n", 1)[0]:
            writer.write(head)
        elif lengths:
            writer.write(head + await server.readexactly(int(lengths[0].split(b":")[1])))
        else:
            await self._stream(head, server, writer, habits)
        await writer.drain()
        return head

    async def _stream(
        self, head: bytes, server: asyncio.StreamReader, writer: asyncio.StreamWriter, habits: Habits
    ) -> None:
        held = head
        while True:
            data = await self._patiently(lambda: server.read(65536), habits)
            held += data
            if not data or len(held) >= habits.hold:
                writer.write(held)
                await writer.drain()
                held = b""
            if not data:
                return

    async def _patiently(self, read: Callable[[], Coroutine[Any, Any, bytes]], habits: Habits) -> bytes:
        """Read what the server sends; give the connection up when it says nothing for too long."""
        if not habits.idle:
            return await read()
        with contextlib.suppress(TimeoutError):
            return await asyncio.wait_for(read(), habits.idle)
        if not habits.silently:
            raise ConnectionAbortedError("idle")
        # Take what the server says, and tell nobody.
        while data := await read():
            self.swallowed += len(data)
        return await asyncio.get_running_loop().create_future()  # type: ignore[no-any-return]

    async def _both_ways(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        server: asyncio.StreamReader,
        to_server: asyncio.StreamWriter,
        habits: Habits,
    ) -> None:
        async def up() -> None:
            while data := await reader.read(65536):
                to_server.write(data)

        async def down() -> None:
            while data := await self._patiently(lambda: server.read(65536), habits):
                writer.write(data)

        tasks = [asyncio.ensure_future(up()), asyncio.ensure_future(down())]
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


@contextlib.contextmanager
def proxy(url: str, habits: Habits = PLAIN) -> Iterator[Proxy]:
    """Run a proxy in a thread of its own, since the browser's driver keeps this one's loop."""
    host, _, port = url.removeprefix("http://").rpartition(":")
    made = Proxy((host, int(port)), habits)
    ready = threading.Event()
    loop = asyncio.new_event_loop()

    async def run() -> None:
        await made.start()
        ready.set()
        await over.wait()
        made.close()
        while serving := asyncio.all_tasks() - {asyncio.current_task()}:
            for task in serving:
                task.cancel()
            await asyncio.gather(*serving, return_exceptions=True)
        await asyncio.sleep(0.01)  # what was closed is gone in the next turns

    over = asyncio.Event()
    thread = threading.Thread(target=lambda: loop.run_until_complete(run()), name="proxy")
    thread.start()
    ready.wait()
    try:
        yield made
    finally:
        loop.call_soon_threadsafe(over.set)
        thread.join()
        loop.close()
