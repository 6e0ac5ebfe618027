"""Descriptors: as many as the machine gives, and the kernel's table of them grown before the storm."""

from __future__ import annotations

import contextlib
import fcntl
import os
import resource

# What a process needs beside its clients: the database, bridges, log files, the loop's own.
RESERVE = 256


def descriptors() -> int:
    """Raise this process's limit of open descriptors as far as it may be, and return it."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < hard:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return hard


def reserve(count: int) -> None:
    """Make room in the kernel's table for so many descriptors, or as many as the limit allows.

    It doubles when it is full, and in a process with threads each doubling waits for an RCU grace period: some 20 ms
    in which nobody is accepted. Call this before any thread is started.
    """
    highest = min(count, descriptors()) - 1
    with contextlib.suppress(OSError):  # it is only haste
        os.close(fcntl.fcntl(0, fcntl.F_DUPFD_CLOEXEC, highest))
