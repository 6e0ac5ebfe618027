"""Open the board's serial line: a terminal, or a socket that an emulator offers in its place."""

from __future__ import annotations

import os
import socket
import termios


class SerialPort:
    """A wire of bytes that can be watched by its fileno(). Nothing here waits.

    Raises: OSError: it is not there, or has gone.
    """

    def __init__(self, name: str, baud: int) -> None:
        self._socket: socket.socket | None = None
        if name.startswith("unix:"):
            self._socket = _connect(socket.AF_UNIX, name[5:])
        elif name.startswith("tcp:"):
            host, _, port = name[4:].rpartition(":")
            host = host.strip("[]")
            self._socket = _connect(socket.AF_INET6 if ":" in host else socket.AF_INET, (host, int(port)))
        self._fd = self._socket.fileno() if self._socket else _open_terminal(name, baud)

    def fileno(self) -> int:
        return self._fd

    def read(self) -> bytes:
        """Return what has come, b"" for nothing yet."""
        try:
            data = os.read(self._fd, 4096)
        except BlockingIOError:
            return b""
        if not data:
            raise OSError("the other end has closed it")
        return data

    def write(self, data: bytes) -> int:
        """Return how many bytes were taken."""
        try:
            return os.write(self._fd, data)
        except BlockingIOError:
            return 0

    def close(self) -> None:
        if self._socket:
            self._socket.close()
        else:
            os.close(self._fd)


def _connect(family: int, address: str | tuple[str, int]) -> socket.socket:
    wire = socket.socket(family, socket.SOCK_STREAM)
    try:
        wire.settimeout(1.0)  # it is on this machine
        wire.connect(address)
        wire.setblocking(False)
    except OSError:
        wire.close()
        raise
    return wire


def _open_terminal(name: str, baud: int) -> int:
    """Open a terminal as a plain wire: 8N1, no flow control, no editing, no echo, no signals."""
    speed = getattr(termios, f"B{baud}", None)
    if speed is None:
        raise OSError(f"{baud} baud is no speed that this system knows")
    fd = os.open(name, os.O_RDWR | os.O_NOCTTY | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        _, _, cflag, _, _, _, cc = termios.tcgetattr(fd)
        cflag &= ~(termios.CSIZE | termios.PARENB | termios.CSTOPB | getattr(termios, "CRTSCTS", 0))
        cflag |= termios.CS8 | termios.CREAD | termios.CLOCAL
        termios.tcsetattr(fd, termios.TCSANOW, [0, 0, cflag, 0, speed, speed, cc])
        termios.tcflush(fd, termios.TCIOFLUSH)
    except termios.error as error:
        os.close(fd)
        raise OSError(*error.args) from None
    return fd
