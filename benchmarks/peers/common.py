"""What the peers have in common: the bytes they push, and the port that tells them to."""

from __future__ import annotations

import argparse
import asyncio
import base64
import json
import resource
from collections.abc import Callable

FIRST = '{"version":3}'


def frame(line: bytes, seq: int) -> str:
    """Return what BITS pushes for a `message <base64>` line, byte for byte but for the times."""
    text = base64.b64decode(line.split()[1]).decode()
    return json.dumps(
        {
            "message": {"timestamp": 1384100716000, "user": "BITS", "value": text},
            "heard": 1384100716000,
            "seq": seq,
        },
        separators=(",", ":"),
    )


def arguments() -> tuple[int, int]:
    """Return the port for clients and the control port; raise the limit of descriptors on the way."""
    parser = argparse.ArgumentParser()
    parser.add_argument("port", type=int)
    parser.add_argument("control", type=int)
    given = parser.parse_args()
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return given.port, given.control


async def control(port: int, broadcast: Callable[[str], object]) -> asyncio.Server:
    """Listen for lines; each is broadcast. `broadcast` may be a coroutine function."""
    seq = 0

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal seq
        while line := await reader.readline():
            seq += 1
            done = broadcast(frame(line, seq))
            if asyncio.iscoroutine(done):
                await done
        writer.close()

    return await asyncio.start_server(serve, "127.0.0.1", port)
