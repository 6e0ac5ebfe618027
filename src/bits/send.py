"""Say a line to the server, as a bridge would, and wait until it is stored."""

from __future__ import annotations

import secrets
import socket
import time
from collections.abc import Callable, Sequence

from bits._proto import Decoder, Enter, Leave, Message, Ping, Pong, Sound, Status, Temperature, encode
from bits.config import Config
from bits.errors import BitsError
from bits.listen import endpoint

PATIENCE = 5.0  # seconds for the whole exchange

Line = Status | Temperature | Enter | Leave | Message | Sound


def _status(value: str) -> Status:
    return Status({"1": "open", "0": "closed"}.get(value, value))


# What each command makes of its words; those after the last named one are joined, so that a message needs no quotes.
COMMANDS: dict[str, tuple[Callable[..., Line], str]] = {
    "status": (_status, "open|closed"),
    "temperature": (lambda sensor, value: Temperature(int(sensor), float(value)), "SENSOR DEGREES"),
    "enter": (lambda person: Enter(int(person)), "NUMBER"),
    "leave": (lambda person: Leave(int(person)), "NUMBER"),
    "message": (lambda *words: Message(" ".join(words)), "TEXT"),
    "sound": (lambda number: Sound(int(number)), "NUMBER"),
}


def parse(words: Sequence[str]) -> Line:
    """Make a line of the words a person typed.

    Raises:
        BitsError: there is no such command, or its words are wrong.
    """
    command, *arguments = words
    if command not in COMMANDS:
        raise BitsError(f"unknown command {command!r}: expected one of {', '.join(COMMANDS)}")
    make, usage = COMMANDS[command]
    try:
        line = make(*arguments)
    except TypeError:
        raise BitsError(f"expected: bits send {command} {usage}") from None
    except ValueError as error:
        raise BitsError(f"bits send {command} {usage}: {error}") from None
    if isinstance(line, Status) and line.value == "away":
        raise BitsError("the miniprotocol knows open and closed only: set away on the members' page")
    return line


def send(config: Config, line: Line) -> None:
    """Send a line to the server that this configuration describes; return once it is stored.

    Raises:
        BitsError: there is no server, it refuses to listen, or it does not answer in time.
    """
    address = str(config.control_usocket or endpoint(config.control_host, config.control_port))
    token = secrets.token_hex(8)
    deadline = time.monotonic() + PATIENCE
    try:
        with _connect(config) as link:
            # The server answers a ping when all that stands before it is committed.
            link.sendall(encode(line) + encode(Ping(token)))
            decoder = Decoder()
            while True:
                left = deadline - time.monotonic()
                if left <= 0:  # a server that talks without end does not answer either
                    raise TimeoutError
                link.settimeout(left)
                data = link.recv(65536)
                if not data:
                    raise BitsError(f"the server at {address} closed the connection: is this address in control_allow?")
                if Pong(token) in decoder.feed(data):
                    return
    except TimeoutError:
        raise BitsError(f"the server at {address} did not answer within {PATIENCE:.0f} s") from None
    except (ConnectionResetError, BrokenPipeError):
        raise BitsError(f"the server at {address} refused the connection: is this address in control_allow?") from None
    except OSError as error:
        raise BitsError(f"no server at {address}: {error.strerror or error}; is `bits serve` running?") from None
    except UnicodeError:
        raise BitsError(f"no server at {address}: that is not the name of a host (control_host)") from None


def _connect(config: Config) -> socket.socket:
    if config.control_usocket:
        link = socket.socket(socket.AF_UNIX)
        link.settimeout(PATIENCE)
        try:
            link.connect(str(config.control_usocket))
        except OSError:
            link.close()
            raise
        return link
    return socket.create_connection((config.control_host.strip("[]"), config.control_port), timeout=PATIENCE)
