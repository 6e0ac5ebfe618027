"""The bridge's settings: one TOML file, each value checked before anything is opened."""

from __future__ import annotations

import os
import re
import tomllib
from typing import Any

from bits_fonera.errors import BridgeError

_BAUDS = (9600, 19200, 38400, 57600, 115200, 230400, 460800, 921600)
_NAME = re.compile(r"[A-Za-z0-9._-]{1,32}")


def _address(value: str, default_port: int) -> tuple[str, int]:
    """Read host:port, [v6]:port, or a host alone."""
    found = re.fullmatch(r"(?:\[([^\[\]]+)\]|([^:\[\]/\s]+))(?::([0-9]{1,5}))?", value)
    port = int(found[3] or default_port) if found else 0
    if found is None or not 1 <= port <= 65535:
        raise ValueError("host:port, as in 10.0.0.1:8888 or [fd00::1]:8888")
    return found[1] or found[2], port


class Config:
    """All settings, by the names they have in the file. See docs/fonera.md."""

    def __init__(self, values: dict[str, Any], path: str = "the configuration") -> None:
        """Check the values.

        Raises: BridgeError: a key is not known, is missing, or is not what is expected: one sentence for the first.
        """
        self._values = dict(values)
        self._path = path
        self.keys: list[str] = []  # all there are
        # The miniprotocol
        self.server = self._get("server", "", lambda text: _address(text, 8888))
        self.bridge = self._get("bridge", "", self._matching(_NAME, "1 to 32 letters, digits, '.', '_' or '-'"))
        self.protocol = self._get("protocol", "auto", self._one_of("auto", "1", "2"))
        self.key = self._get("key", "", str)
        if self.protocol != "1" and len(self.key) < 16:
            raise self._error("key", "at least 16 characters, the same as in the server's bridge_keys")
        self.ping_interval_ms = self._number("ping_interval", 20, 1, 3600) * 1000
        self.backoff_max_ms = self._number("backoff_max", 60, 1, 3600) * 1000
        # The board
        self.serial = self._get("serial", "" if "i2c" in values else "/dev/ttyS0", self._port)
        self.i2c = self._get("i2c", "", self._bus)
        if self.serial and self.i2c:
            raise self._error("serial", "nothing when i2c is set: the board hangs on one of the two")
        self.baud = self._number("baud", 115200, 50, 4_000_000)
        if self.baud not in _BAUDS:
            raise self._error("baud", f"one of {', '.join(map(str, _BAUDS))}, got {self.baud}")
        # The disk
        self.spool = self._get("spool", "/etc/bits-fonera/spool", self._file)
        self.spool_size = self._number("spool_size", 256 * 1024, 4096, 16 * 1024 * 1024)
        # The server's web side
        self.http = self._get("http", "", lambda text: _address(text, 80) if text else None)
        self.set_clock = self._flag("set_clock", False)
        if self.set_clock and not self.http:
            raise self._error("http", "host:port of the server's pages, since set_clock takes the time from there")
        # The log
        self.syslog = self._flag("syslog", True)
        # The MAC detector
        self.mac_path = self._get("mac_path", "off", self._one_of("off", "miniprotocol", "http"))
        self.mac_key = self._get("mac_key", "", str)
        self.mac_password = self._get("mac_password", "", str)
        self.mac_interface = self._get("mac_interface", "br-lan", self._matching(_NAME, "a network interface's name"))
        self.mac_scan_interval_ms = self._number("mac_scan_interval", 30, 1, 3600) * 1000
        self.mac_arrive_after_ms = self._number("mac_arrive_after", 300, 0, 86400) * 1000
        self.mac_leave_after_ms = self._number("mac_leave_after", 1200, 1, 86400) * 1000
        self.this_device_listen = self._get(
            "this_device_listen", "", lambda text: _address(text, 8080) if text else None
        )
        self.this_device_url = self._get("this_device_url", "", self._url)
        if (self.mac_path != "off" or self.this_device_listen) and len(self.mac_key) < 32:
            raise self._error("mac_key", "at least 32 random characters, the same as the server's mac_key")
        if self.mac_path == "http" and not (self.http and self.mac_password):
            raise self._error(
                "mac_password", 'the server\'s password for /macupdate, and http, since mac_path is "http"'
            )
        if self.this_device_listen and not self.this_device_url:
            raise self._error(
                "this_device_url", "the server's address as members see it, as in https://bits.example.org"
            )
        if self._values:
            raise BridgeError(f"{path}: {min(self._values)}: there is no such key; docs/fonera.md lists them all")

    # --- how values are read

    def _error(self, key: str, expected: str) -> BridgeError:
        return BridgeError(f"{self._path}: {key}: expected {expected}")

    def _pop(self, key: str, default: Any) -> Any:
        self.keys.append(key)
        return self._values.pop(key, default)

    def _get(self, key: str, default: str, read: Any) -> Any:
        """Take a text out of the values. Without a default that reads, it has to be there."""
        value = self._pop(key, default)
        if not isinstance(value, str):
            raise self._error(key, f"a text in quotes, got {value!r}")
        try:
            return read(value)
        except ValueError as error:
            raise self._error(key, f"{error}, got {value!r}") from None

    def _number(self, key: str, default: int, low: int, high: int) -> int:
        value = self._pop(key, default)
        if type(value) is not int or not low <= value <= high:
            raise self._error(key, f"a whole number from {low} to {high}, got {value!r}")
        return value

    def _flag(self, key: str, default: bool) -> bool:
        value = self._pop(key, default)
        if not isinstance(value, bool):
            raise self._error(key, f"true or false, got {value!r}")
        return value

    @staticmethod
    def _one_of(*words: str) -> Any:
        def read(text: str) -> str:
            if text not in words:
                raise ValueError(" or ".join(f'"{word}"' for word in words))
            return text

        return read

    @staticmethod
    def _matching(form: re.Pattern[str], what: str) -> Any:
        def read(text: str) -> str:
            if not form.fullmatch(text):
                raise ValueError(what)
            return text

        return read

    @staticmethod
    def _port(text: str) -> str:
        if text.startswith("tcp:"):
            _address(text[4:], 0)
        elif text and not text.removeprefix("unix:").startswith("/"):
            raise ValueError("a path as in /dev/ttyS0, unix:/path or tcp:host:port")
        return text

    @staticmethod
    def _bus(text: str) -> str:
        if text and not text.startswith("/"):
            raise ValueError("a path as in /dev/i2c-0")
        return text

    @staticmethod
    def _file(text: str) -> str:
        if not os.path.isabs(text) or text.endswith("/"):
            raise ValueError("an absolute path of a file")
        return text

    @staticmethod
    def _url(text: str) -> str:
        if text and not re.fullmatch(r"https?://[^\s\"'<>]+", text):
            raise ValueError("an address that begins with http:// or https://")
        return text.rstrip("/")


def load(path: str) -> tuple[Config, list[str]]:
    """Read a file.

    Returns: the settings, and a sentence for each thing that works but should not be so.
    Raises: BridgeError: the file cannot be read, is no TOML, or says something that is not expected.
    """
    try:
        with open(path, "rb") as file:
            mode = os.fstat(file.fileno()).st_mode
            values = tomllib.load(file)
    except OSError as error:
        raise BridgeError(f"{path} cannot be read: {error.strerror}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise BridgeError(f"{path} is no TOML: {error}") from None
    config = Config(values, path)
    warnings = []
    if mode & 0o077 and (config.key or config.mac_key):
        warnings.append(f"{path} holds keys and others may read it: chmod 600 {path}")
    return config, warnings
