"""`bits-fonera`: carry what happens at a space to the BITS server, and back."""

from __future__ import annotations

import signal
import sys

from bits_fonera import __version__, config, log
from bits_fonera.errors import BridgeError
from bits_fonera.main import Program

USAGE = """\
bits-fonera [--config FILE] [--foreground]   run; the default is /etc/bits-fonera.toml
bits-fonera --check FILE                     tell whether a configuration is good
bits-fonera --version

--foreground logs to stderr. See docs/fonera.md.
"""


def main(arguments: list[str]) -> int:
    """Run the command. Returns the exit code: 0, or 2 for a usage or a configuration that is not good."""
    path, check, foreground = "/etc/bits-fonera.toml", False, False
    words = iter(arguments)
    for word in words:
        if word in ("--config", "--check"):
            path, check = next(words, ""), word == "--check"
        elif word == "--foreground":
            foreground = True
        elif word == "--version":
            print(__version__)
            return 0
        elif word in ("-h", "--help"):
            print(USAGE, end="")
            return 0
        else:
            print(f"{word}: no such option\n\n{USAGE}", end="", file=sys.stderr)
            return 2
    say = log.to_stderr()
    try:
        settings, warnings = config.load(path)
        if check:
            for warning in warnings:
                say("warning", warning)
            print(f"{path} is good")
            return 0
        if settings.syslog and not foreground:
            say = log.to_syslog()
        for warning in warnings:
            say("warning", warning)
        program = Program(settings, say)
        program.stop_on(signal.SIGTERM, signal.SIGINT)
        say("info", f"bits-fonera {__version__} runs as {settings.bridge}")
        program.run()
    except BridgeError as error:
        say("error", str(error))
        return 2
    return 0
