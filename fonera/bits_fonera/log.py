"""Say what happens: to syslog, or to stderr in the foreground. Python's logging would be a megabyte more."""

from __future__ import annotations

import sys
import syslog
from collections.abc import Callable

_PRIORITIES = {"info": syslog.LOG_INFO, "warning": syslog.LOG_WARNING, "error": syslog.LOG_ERR}


def to_syslog() -> Callable[[str, str], None]:
    """Return a function that takes a level and a sentence."""
    syslog.openlog("bits-fonera", syslog.LOG_PID, syslog.LOG_DAEMON)
    return lambda level, text: syslog.syslog(_PRIORITIES[level], text)


def to_stderr() -> Callable[[str, str], None]:
    """Return a function that takes a level and a sentence."""
    return lambda level, text: print(f"{level}: {text}", file=sys.stderr, flush=True)
