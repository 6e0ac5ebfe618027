"""Developer mode: start anew when the code changes.

Sanic's own reloader wants its process manager, which runs the server in another process than production does;
here the one process replaces itself, and the live clients come back by themselves.
"""

from __future__ import annotations

import asyncio
import logging
import os
import sys
from pathlib import Path

log = logging.getLogger("bits.reload")

WATCHED = Path(__file__).parent.parent
SUFFIXES = {".py", ".so", ".html", ".po", ".md", ".json"}


def _stamps() -> dict[Path, int]:
    stamps = {}
    for file in WATCHED.rglob("*"):
        if file.suffix in SUFFIXES and "node_modules" not in file.parts:
            try:
                stamps[file] = file.stat().st_mtime_ns
            except FileNotFoundError:
                continue  # an editor's temporary file
    return stamps


async def on_change() -> None:
    """Wait for a file of the package to change, then replace this process by a fresh one."""
    before = await asyncio.to_thread(_stamps)
    while (now := await asyncio.to_thread(_stamps)) == before:  # noqa: ASYNC110 - files tell nobody
        await asyncio.sleep(0.5)
    changed = sorted(file.name for file in before.keys() | now.keys() if before.get(file) != now.get(file))
    log.info("starting anew: %s changed", ", ".join(changed[:5]))
    os.execv(sys.executable, sys.orig_argv)  # noqa: S606
