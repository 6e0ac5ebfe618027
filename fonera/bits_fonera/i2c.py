"""Reach the board as a slave on an I2C bus: its register file as a wire of bytes. See docs/link.md, Over I2C."""

from __future__ import annotations

import array
import fcntl
import os
import struct
from typing import Protocol

ADDRESS = 0x42
ID, WAITING, DATA = 0x00, 0x02, 0x10
IDENTITY = b"\xb1\x01"  # the registers ID and VERSION
POLL_MS = 20  # while the two talk
IDLE_POLL_MS = 50  # while they do not: asking 50 times a second takes half a per cent of a processor
BUSY_MS = 500  # of silence, after which they do not

_I2C_RDWR = 0x0707  # linux/i2c-dev.h
_I2C_M_RD = 0x0001  # linux/i2c.h


class Bus(Protocol):
    """Something that carries I2C transfers."""

    def transfer(self, address: int, write: bytes, read: int) -> bytes:
        """Write, then after a repeated start read so many bytes, in one transfer. Raises: OSError."""

    def close(self) -> None:
        """Let go of it."""


class LinuxBus:
    """An adapter of the kernel's, as /dev/i2c-0."""

    def __init__(self, path: str) -> None:
        self._fd = os.open(path, os.O_RDWR | os.O_CLOEXEC)

    def transfer(self, address: int, write: bytes, read: int) -> bytes:
        out, back = array.array("B", write), array.array("B", bytes(read))
        # struct i2c_msg: address, flags, length, pointer. The arrays live until the call has returned.
        messages = struct.pack("HHHP", address, 0, len(out), out.buffer_info()[0])
        if read:
            messages += struct.pack("HHHP", address, _I2C_M_RD, read, back.buffer_info()[0])
        table = array.array("B", messages)
        fcntl.ioctl(self._fd, _I2C_RDWR, struct.pack("PI", table.buffer_info()[0], 2 if read else 1))
        return back.tobytes()

    def close(self) -> None:
        os.close(self._fd)


class I2cPort:
    """The board on a bus. It cannot be watched: it has to be asked every POLL_MS, or IDLE_POLL_MS.

    Raises: OSError: nobody answers at the address, or it is no board of ours.
    """

    def __init__(self, bus: Bus) -> None:
        self._bus = bus
        self._room = 0
        try:
            identity = bus.transfer(ADDRESS, bytes([ID]), 2)
            if identity != IDENTITY:
                raise OSError(f"expected a board of version 1 at 0x42 (b1 01), its registers read {identity.hex(' ')}")
        except OSError:
            bus.close()
            raise

    def read(self) -> bytes:
        """Return what has come, b"" for nothing yet."""
        waiting, self._room = self._bus.transfer(ADDRESS, bytes([WAITING]), 2)
        if not waiting:
            return b""
        # A board that has less than it said fills up with zeros, which no frame has.
        return self._bus.transfer(ADDRESS, bytes([DATA]), waiting).replace(b"\0", b"")

    def write(self, data: bytes) -> int:
        """Return how many bytes were taken: as many as the board had room for when it was read last."""
        data = data[: self._room]
        if data:
            self._bus.transfer(ADDRESS, bytes([DATA]) + data, 0)
            self._room -= len(data)
        return len(data)

    def close(self) -> None:
        self._bus.close()
