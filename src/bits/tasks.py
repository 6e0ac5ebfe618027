"""Background tasks, and their end."""

from __future__ import annotations

import asyncio
from contextlib import suppress


async def end(task: asyncio.Task[None] | None) -> None:
    """Cancel a task and wait until it is gone; None is gone already."""
    if task:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task
