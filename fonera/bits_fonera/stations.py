"""Look who is on the space's network: the only part of the MAC detector that does I/O.

What counts as a sign of life, each by itself:
- the kernel has just heard a neighbour answer (its entry is REACHABLE);
- a device answers the IPv6 ping to all nodes, and the neighbour table knows its MAC address. An address is never
  worked out from an fe80:: one: most of those are made up nowadays;
- a device is associated with the access point, which itself drops those that no longer answer.

A DHCP lease is none: it outlives the visit by hours. It only tells whom to ask.
"""

from __future__ import annotations

import os
import signal
import socket
import struct
import sys
from collections.abc import Callable, Sequence

from bits_fonera import neighbours
from bits_fonera.neighbours import Messages, Neighbour, mac_of

LEASE_FILES = ("/tmp/dhcp.leases",)  # noqa: S108 - where OpenWrt's dnsmasq has them

_ALL_NODES = "ff02::1"
_ECHO_REQUEST, _ECHO_REPLY = 128, 129  # RFC 4443, section 4
_ICMPV6_FILTER = 1  # linux/icmpv6.h: a bit that is set keeps that type out
_DISCARD = 9  # nobody listens there, and all we want is that the kernel asks for the MAC address
# Broadcasts wake every phone in the room, and cost air: of many addresses only some are asked at a time, in turn.
_ASKED_AT_A_TIME = 32
_AT_A_TIME = 256  # datagrams read in one go, so that a flood of them cannot keep the bridge from its other work
_DUMP_S = 1.0  # the kernel answers at once; this is for one that does not
_FILE_BYTES = 256 * 1024  # a lease takes 100 bytes, a station up to 1000
_NETWORK = "/sys/class/net"


def parse_leases(text: str) -> list[str]:
    """Return the IP addresses of dnsmasq's leases: expiry, MAC, IP, name, client's id on each line."""
    found = []
    for line in text.splitlines():
        words = line.split()
        ip = words[2] if len(words) >= 4 else ""
        if _is_ip(ip):
            found.append(ip)
    return found


def parse_clients(text: str) -> list[str]:
    """Return the MAC addresses in what `ubus call hostapd.<interface> get_clients` printed.

    Only those that hostapd has let in: anybody can associate who does not know the password.
    """
    import json  # only where there is an access point

    try:
        clients = json.loads(text)["clients"]
        return [found for mac, client in clients.items() if client.get("authorized") and (found := mac_of(mac))]
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return []


def parse_assoclist(text: str) -> list[str]:
    """Return the MAC addresses in what `iwinfo <interface> assoclist` printed: a line begins with each."""
    found = []
    for line in text.splitlines():
        mac = mac_of(line[:17])
        if mac and "dBm" in line:
            found.append(mac)
    return found


# What tells who is associated with a wireless interface, in order of preference: hostapd knows who has been let in.
_STATION_LISTS: tuple[tuple[Callable[[str], tuple[str, ...]], Callable[[str], list[str]]], ...] = (
    (lambda name: ("ubus", "call", f"hostapd.{name}", "get_clients"), parse_clients),
    (lambda name: ("iwinfo", name, "assoclist"), parse_assoclist),
)


class Stations:
    """The stations on one network, as they give signs of life.

    Args:
        interface: where the members' devices are, as "br-lan"; it may come and go.
        on_sighting: called with a MAC address for each sign of life.
        lease_files: dnsmasq's leases; those that do not exist are skipped.
        wireless: the access point's interfaces; None: those that are, or are bridged into, `interface`.
        say: called with a sentence about what is not possible here, once for each reason.
    """

    def __init__(
        self,
        interface: str,
        on_sighting: Callable[[str], None],
        lease_files: Sequence[str] = LEASE_FILES,
        wireless: Sequence[str] | None = None,
        say: Callable[[str], None] = lambda sentence: print(sentence, file=sys.stderr),
    ) -> None:
        self._interface = interface
        self._on_sighting = on_sighting
        self._lease_files = lease_files
        self._wireless = wireless
        self._say = say
        self._said: set[str] = set()
        self._ifindex = 0  # 0: not there
        self._own: set[str] = set()
        self._asked = ""  # the last address that was asked: the next poll begins behind it
        self._ping_failed = False
        self._token = os.urandom(8)  # tells answers to our pings from those to other programs'
        self._lists: dict[str, _StationList] = {}
        self._news = self._opened(_open_news, "the kernel's news of its neighbours")
        self._ping = self._opened(_open_ping, "pinging all nodes by IPv6, for which it takes root,")

    def readers(self) -> list[tuple[socket.socket, Callable[[], None]]]:
        """Return each socket to watch, with what to call when it can be read."""
        found: list[tuple[socket.socket, Callable[[], None]]] = []
        if self._news:
            found.append((self._news, self._read_news))
        if self._ping:
            found.append((self._ping, self._read_ping))
        return found

    def poll(self) -> None:
        """Report who is known to be there by now, and ask those who are silent.

        Answers come through the readers. What a program says about the access point's stations comes at the next
        poll: it has until then, and nobody waits for it.
        """
        self._find_interface()
        if not self._ifindex:
            self._once(f"there is no interface {self._interface}: no MAC addresses are found until there is")
            return
        table = self._table()
        for neighbour in table:
            if neighbour.state & neighbours.REACHABLE:
                self._sight(neighbour.mac)
        self._send_ping(_ALL_NODES, 0)
        self._ask(table)
        self._look_at_access_point()

    def lookup(self, ip: str) -> str | None:
        """Return the MAC address of a neighbour on this network, for the page about "this device".

        Args:
            ip: as accept() tells it, with or without a scope; also an IPv4 address mapped into IPv6.
        """
        if not self._ifindex:
            self._find_interface()
        wanted = ip.partition("%")[0].removeprefix("::ffff:")
        return next((found.mac for found in self._table() if found.ip == wanted and found.mac not in self._own), None)

    def close(self) -> None:
        """Close what is open and end what is running."""
        for opened in (self._news, self._ping):
            if opened:
                opened.close()
        self._news = self._ping = None
        for stations in self._lists.values():
            stations.close()
        self._lists = {}

    def _sight(self, mac: str) -> None:
        if mac not in self._own:
            self._on_sighting(mac)

    def _once(self, sentence: str) -> None:
        if sentence not in self._said:
            self._said.add(sentence)
            self._say(sentence)

    def _opened(self, opener: Callable[[], socket.socket], what: str) -> socket.socket | None:
        try:
            return opener()
        except OSError as error:
            self._once(f"{what} is not possible: {error}; fewer devices are found")
            return None

    # --- the kernel's table

    def _dump(self, request: bytes) -> Messages:
        found = Messages()
        try:
            with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, socket.NETLINK_ROUTE) as kernel:
                kernel.settimeout(_DUMP_S)
                kernel.send(request)
                while not found.done:
                    neighbours.parse(kernel.recv(65536), found)
        except OSError as error:
            self._once(f"reading the kernel's tables is not possible: {error}")
        if found.error:
            self._once(f"the kernel refuses to show its tables: {os.strerror(found.error)}")
        return found

    def _find_interface(self) -> None:
        links = self._dump(neighbours.request_links()).links
        self._own = {link.mac for link in links}
        self._ifindex = next((link.ifindex for link in links if link.name == self._interface), 0)

    def _table(self) -> list[Neighbour]:
        found = self._dump(neighbours.request_neighbours()).neighbours
        return [neighbour for neighbour in found if neighbour.ifindex == self._ifindex]

    def _read_news(self) -> None:
        assert self._news
        for _ in range(_AT_A_TIME):
            try:
                found = neighbours.parse(self._news.recv(65536))
            except OSError:  # nothing more; or there was too much of it (ENOBUFS), and the next poll sees it all
                return
            for neighbour in found.neighbours:
                if neighbour.ifindex == self._ifindex and neighbour.state & neighbours.REACHABLE:
                    self._sight(neighbour.mac)

    # --- IPv6 ping

    def _send_ping(self, ip: str, sequence: int) -> None:
        if not self._ping:
            return
        request = struct.pack("!BBHHH", _ECHO_REQUEST, 0, 0, 0, sequence) + self._token  # the kernel adds the checksum
        try:
            self._ping.sendto(request, (ip, 0, 0, self._ifindex))
        except OSError as error:
            if ip != _ALL_NODES:
                return
            # An interface that has just come up has no address yet: one failure is nothing to talk about.
            if self._ping_failed:
                self._once(f"pinging all nodes on {self._interface} is not possible: {error}; fewer devices are found")
            self._ping_failed = True
        else:
            self._ping_failed = False

    def _read_ping(self) -> None:
        assert self._ping
        answered: dict[str, int] = {}
        for _ in range(_AT_A_TIME):
            try:
                answer, source = self._ping.recvfrom(256)
            except OSError:
                break
            if len(answer) >= 16 and answer[0] == _ECHO_REPLY and answer[8:16] == self._token:
                answered[source[0].partition("%")[0]] = struct.unpack_from("!H", answer, 6)[0]
        if not answered:
            return
        known = {neighbour.ip: neighbour.mac for neighbour in self._table()}
        for ip, sequence in answered.items():
            if ip in known:
                self._sight(known[ip])
            elif sequence == 0:  # asked by name, it makes the kernel find its MAC address; once only
                self._send_ping(ip, 1)

    # --- asking who is silent

    def _ask(self, table: list[Neighbour]) -> None:
        """Send a byte to those of whom we do not know whether they are still there, so that the kernel asks them."""
        awake = {neighbour.mac for neighbour in table if neighbour.state & neighbours.REACHABLE}
        silent: dict[str, str] = {}  # one address for each MAC: IPv4 if it has one, as devices keep that longer
        for neighbour in table:
            if neighbour.state & neighbours.STALE and neighbour.mac not in awake | self._own:
                silent[neighbour.mac] = min(neighbour.ip, silent.get(neighbour.mac, neighbour.ip), key=_ipv4_first)
        known = {neighbour.ip for neighbour in table}
        leases = {ip for name in self._lease_files for ip in parse_leases(_text(name))}
        ips = sorted({*silent.values(), *(leases - known)})
        turn = [ip for ip in ips if ip > self._asked] + [ip for ip in ips if ip <= self._asked]
        for ip in turn[:_ASKED_AT_A_TIME]:
            self._asked = ip
            self._send_byte(ip)

    def _send_byte(self, ip: str) -> None:
        with socket.socket(socket.AF_INET6 if ":" in ip else socket.AF_INET, socket.SOCK_DGRAM) as udp:
            udp.setblocking(False)
            try:
                # A lease may be of another network, and that one is none of our business.
                udp.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, self._interface.encode())
                udp.sendto(b"\n", (ip, _DISCARD, 0, self._ifindex) if ":" in ip else (ip, _DISCARD))
            except OSError:
                return  # gone meanwhile, or no way there: then it is not on this network

    # --- the access point

    def _look_at_access_point(self) -> None:
        names = self._wireless if self._wireless is not None else _wireless(self._interface)
        for name in names:
            stations = self._lists.setdefault(name, _StationList(name))
            for mac in stations.next():
                self._sight(mac)
            if not stations.running:
                self._once(f"neither ubus nor iwinfo is there to tell who is associated with {name}")


class _StationList:
    """A program that lists the stations of one wireless interface, run again and again, never waited for."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._which = 0
        self._pid = 0
        self._output = -1

    @property
    def running(self) -> bool:
        return self._pid != 0

    def next(self) -> list[str]:
        """Return what the run before this one has found, and start another."""
        found = self._collect()
        if not self._pid:
            self._start()
        return found

    def close(self) -> None:
        """End the program, if it runs."""
        if self._pid:
            os.kill(self._pid, signal.SIGKILL)
            os.waitpid(self._pid, 0)
            self._ended()

    def _start(self) -> None:
        # A file in memory, not a pipe: it takes any length, so the program never waits for us.
        output = os.memfd_create("stations")
        actions = [
            (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
            (os.POSIX_SPAWN_DUP2, output, 1),
            (os.POSIX_SPAWN_OPEN, 2, os.devnull, os.O_WRONLY, 0),
        ]
        for _ in _STATION_LISTS:
            command = _STATION_LISTS[self._which][0](self._name)
            try:
                self._pid = os.posix_spawnp(command[0], command, os.environ, file_actions=actions)
                self._output = output
                return
            except OSError:  # there is no such program
                self._another()
        os.close(output)

    def _collect(self) -> list[str]:
        if not self._pid:
            return []
        try:
            pid, status = os.waitpid(self._pid, os.WNOHANG)
        except ChildProcessError:  # somebody else has waited for it
            pid, status = self._pid, 0
        if not pid:
            os.kill(self._pid, signal.SIGKILL)  # it has had its time, and will be gone by the next poll
            return []
        text = os.pread(self._output, _FILE_BYTES, 0).decode(errors="replace")
        self._ended()
        if status:
            self._another()  # hostapd is not on ubus, say
            return []
        return _STATION_LISTS[self._which][1](text)

    def _ended(self) -> None:
        os.close(self._output)
        self._pid, self._output = 0, -1

    def _another(self) -> None:
        self._which = (self._which + 1) % len(_STATION_LISTS)


def _open_news() -> socket.socket:
    news = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, socket.NETLINK_ROUTE)
    try:
        news.setblocking(False)
        news.bind((0, neighbours.RTMGRP_NEIGH))
    except OSError:
        news.close()
        raise
    return news


def _open_ping() -> socket.socket:
    ping = socket.socket(socket.AF_INET6, socket.SOCK_RAW, socket.IPPROTO_ICMPV6)
    try:
        ping.setblocking(False)
        wanted = [0xFFFFFFFF] * 8
        wanted[_ECHO_REPLY >> 5] &= ~(1 << (_ECHO_REPLY & 31))
        ping.setsockopt(socket.IPPROTO_ICMPV6, _ICMPV6_FILTER, struct.pack("=8I", *wanted))
        ping.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_LOOP, 0)  # we know that we are here
    except OSError:
        ping.close()
        raise
    return ping


def _wireless(interface: str) -> list[str]:
    """Return the wireless interfaces that are, or are bridged into, this one: not the guests', not an uplink's."""
    try:
        names = sorted(os.listdir(_NETWORK))
    except OSError:
        return []
    found = []
    for name in names:
        bridge = os.path.basename(os.path.realpath(f"{_NETWORK}/{name}/master"))
        if os.path.exists(f"{_NETWORK}/{name}/phy80211") and interface in (name, bridge):
            found.append(name)
    return found


def _text(name: str) -> str:
    try:
        with open(name, "rb") as file:
            return file.read(_FILE_BYTES).decode(errors="replace")
    except OSError:
        return ""


def _is_ip(text: str) -> bool:
    try:
        socket.inet_pton(socket.AF_INET6 if ":" in text else socket.AF_INET, text)
    except (OSError, ValueError):
        return False
    return True


def _ipv4_first(ip: str) -> tuple[bool, str]:
    return ":" in ip, ip
