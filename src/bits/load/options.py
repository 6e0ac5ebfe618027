"""What a load test shall do, checked before it begins."""

from __future__ import annotations

import math
import secrets
import socket
from collections.abc import Mapping
from dataclasses import dataclass, field
from ipaddress import AddressValueError, IPv4Address
from urllib.parse import urlsplit

from bits import limits
from bits._load import TRANSPORTS
from bits.errors import BitsError

# Ports that one address has for connections to another; the kernel's default range, less some in use.
PORTS = 28_000

# The kernel looks among every second port first: where those are in use, each connect goes through all of them, which
# takes it a hundred times as long.
QUICK_PORTS = 12_000

# A process of ours needs some descriptors beside its clients'.
OWN_DESCRIPTORS = 64

# Times are kept as microseconds in 32 bits: 71 minutes.
LONGEST = 3600.0

PATHS = {"websocket": "/ws", "sse": "/events", "longpoll": "/data", "poll": "/data"}
NICKNAMES = {"ws": "websocket"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """A load test.

    Args:
        clients: how many.
        mix: shares of the transports, in any unit.
        url: of the server, http.
        control: address of its miniprotocol, to trigger broadcasts; None: watch what comes.
        broadcasts: how many to trigger; interval: seconds between two; size: bytes of their text.
        watch: seconds to watch, where nothing is triggered.
        hold: seconds to keep the idle clients before anything else.
        ramp: connects a second, over all processes; 0: as fast as it goes.
        in_flight: connects under way at once, over all processes.
        sources: addresses to connect from; empty: chosen, more than one only where ports run out.
        processes: 0: as few as the limit of descriptors allows.
        timeout: seconds to wait for what has not come: an answer to any of the connects, the rest of a broadcast.
        limit: seconds that everything may take, at most an hour.
        poll: seconds between two requests of a poller; wait: that a long poll asks for.
        path: instead of the usual ones; host_header: instead of the url's.
        server_pids: processes whose processor time and memory are measured, with their children.
    """

    clients: int = 1000
    mix: Mapping[str, float] = field(default_factory=lambda: {"websocket": 1.0})
    url: str = "http://127.0.0.1:8008"
    control: tuple[str, int] | None = None
    broadcasts: int = 10
    interval: float = 0.5
    size: int = 120
    watch: float = 10.0
    hold: float = 0.0
    ramp: float = 0.0
    in_flight: int = 500
    sources: tuple[str, ...] = ()
    processes: int = 0
    timeout: float = 10.0
    limit: float = 300.0
    poll: float = 5.0
    wait: float = 30.0
    path: str = ""
    host_header: str = ""
    server_pids: tuple[int, ...] = ()
    run_id: str = field(default_factory=lambda: secrets.token_hex(4))

    @property
    def marker(self) -> str:
        """What stands before a broadcast's number in its text; empty where they are not ours."""
        return f"load-{self.run_id}-" if self.control else ""

    def text(self, number: int) -> str:
        return f"{self.marker}{number}-".ljust(self.size, "x")

    def address(self) -> tuple[str, int]:
        """Return the server's address as numbers.

        Raises:
            BitsError: the url is not one, or there is no such host.
        """
        parts = urlsplit(self.url)
        try:
            if parts.scheme != "http" or not parts.hostname:
                raise ValueError
            port = parts.port or 80
        except ValueError:
            raise BitsError(f"{self.url}: expected an address like http://127.0.0.1:8008 (no TLS)") from None
        try:
            return socket.getaddrinfo(parts.hostname, port, socket.AF_INET, socket.SOCK_STREAM)[0][4][0:2]  # type: ignore[return-value]
        except (socket.gaierror, UnicodeError):
            raise BitsError(f"{self.url}: no such host") from None

    def counts(self) -> tuple[int, ...]:
        """Return how many clients each transport gets: the shares, rounded so that none is missing."""
        total = sum(self.mix.values())
        shares = [self.clients * self.mix.get(name, 0.0) / total for name in TRANSPORTS]
        counts = [math.floor(share) for share in shares]
        by_rest = sorted(range(len(shares)), key=lambda i: counts[i] - shares[i])
        for i in by_rest[: self.clients - sum(counts)]:
            counts[i] += 1
        return tuple(counts)

    def process_count(self) -> int:
        """Return how many processes it takes.

        Raises:
            BitsError: not even the given number will do.
        """
        room = limits.descriptors() - OWN_DESCRIPTORS
        if room <= 0:
            raise BitsError(
                f"a process may open {room + OWN_DESCRIPTORS} files, and the load tester needs more than "
                f"{OWN_DESCRIPTORS}: raise the limit (ulimit -n)"
            )
        needed = math.ceil(self.clients / room)
        if self.processes and self.processes < needed:
            each = math.ceil(self.clients / self.processes) + OWN_DESCRIPTORS
            raise BitsError(
                f"{self.clients} clients in {self.processes} processes need {each} open files each, and the limit is "
                f"{room + OWN_DESCRIPTORS}: raise it (ulimit -n) or use {needed} processes"
            )
        return self.processes or needed

    def addresses(self) -> tuple[str, ...]:
        """Return the addresses to connect from; empty: the kernel's choice will do.

        Raises:
            BitsError: there are not enough ports.
        """
        needed = math.ceil(self.clients / PORTS)
        if self.sources:
            if len(self.sources) < needed:
                raise BitsError(
                    f"{self.clients} clients need {needed} source addresses (an address has some {PORTS} ports), "
                    f"{len(self.sources)} are given (--sources)"
                )
            return self.sources
        if self.address()[0].startswith("127."):
            # Each run from others, so that it does not meet the ports the last one has just left.
            begin = int(self.run_id[:4], 16) % 60_000
            first = int(IPv4Address("127.1.0.1")) + begin
            return tuple(str(IPv4Address(first + i)) for i in range(math.ceil(self.clients / QUICK_PORTS)))
        if needed > 1:
            raise BitsError(
                f"{self.clients} clients need {needed} source addresses (an address has some {PORTS} ports): "
                "give the machine more, and name them with --sources"
            )
        return ()

    def requests(self) -> tuple[list[bytes], bytes, bytes]:
        """Return the first request of each transport, what a long poll sends next, and what a poller does."""
        parts = urlsplit(self.url)
        host = self.host_header or parts.netloc
        base = parts.path.rstrip("/")

        def request(transport: str, query: str = "", *headers: str) -> bytes:
            target = self.path or base + PATHS[transport]
            if query:
                target += ("&" if "?" in target else "?") + query
            return "\r\n".join((f"GET {target} HTTP/1.1", f"Host: {host}", *headers, "", "")).encode()

        upgrade = (
            "Upgrade: websocket",
            "Connection: Upgrade",
            "Sec-WebSocket-Version: 13",
            "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
        )
        first = [
            request("websocket", "", *upgrade),
            request("sse", "", "Accept: text/event-stream"),
            request("longpoll", "since=0&wait=0"),
            request("poll"),
        ]
        waiting = (
            request("longpoll", "\0").replace(b"%", b"%%").replace(b"\0", f"since=%lld&wait={self.wait:g}".encode())
        )
        polling = request("poll", "", "If-None-Match: \0").replace(b"%", b"%%").replace(b"\0", b"%s")
        return first, waiting, polling


def parse_mix(text: str) -> dict[str, float]:
    """Read "ws=70,sse=20,longpoll=5,poll=5", or one transport's name.

    Raises:
        BitsError: a transport is unknown, or a share is not a number above 0.
    """
    mix: dict[str, float] = {}
    for part in text.split(","):
        name, _, share = part.strip().partition("=")
        name = NICKNAMES.get(name, name)
        try:
            if name not in TRANSPORTS or name in mix:
                raise ValueError
            mix[name] = float(share or 1)
            if not 0 < mix[name] < math.inf:
                raise ValueError
        except ValueError:
            raise BitsError(f"--mix {part}: expected ws, sse, longpoll or poll, each once, like ws=70,sse=30") from None
    return mix


def parse_sources(text: str) -> tuple[str, ...]:
    """Read "10.0.0.2,10.0.0.3" or "127.0.0.2-127.0.0.9".

    Raises:
        BitsError: it is no such list.
    """
    addresses: list[str] = []
    try:
        for part in filter(None, text.split(",")):
            first, _, last = part.strip().partition("-")
            begin, end = int(IPv4Address(first)), int(IPv4Address(last or first))
            if not 0 <= end - begin < 65536:
                raise ValueError
            addresses += [str(IPv4Address(number)) for number in range(begin, end + 1)]
    except (AddressValueError, ValueError):
        raise BitsError(f"--sources {text}: expected IPv4 addresses, like 127.0.0.2-127.0.0.9") from None
    return tuple(addresses)


def parse_control(text: str) -> tuple[str, int]:
    """Read HOST:PORT.

    Raises:
        BitsError: it is not that.
    """
    host, _, port = text.rpartition(":")
    if not host or not port.isdecimal() or not 0 < int(port) < 65536:
        raise BitsError(f"--control {text}: expected HOST:PORT")
    return host.strip("[]"), int(port)
