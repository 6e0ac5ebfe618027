"""Read the kernel's neighbour table: rtnetlink messages to and from bytes; no I/O.

The table says which MAC address answers for an IP address on the local network, and how fresh that knowledge is.
Source: rtnetlink(7), linux/netlink.h, linux/rtnetlink.h, linux/neighbour.h, linux/if_link.h.
"""

from __future__ import annotations

import socket
import struct
from collections.abc import Iterator

RTMGRP_NEIGH = 1 << 2  # bind() a netlink socket with this, and the kernel tells of every change (RTNLGRP_NEIGH)

# States of an entry. What we need to know is whether the device has given a sign of life lately:
REACHABLE = 0x02  # it has, within the kernel's reachable time (15 to 45 s): a sighting, and the only one
STALE = 0x04  # it has at some time past; whether it is still there nobody has asked
DELAY = 0x08  # as STALE, but a packet went there a moment ago; soon somebody will ask
PROBE = 0x10  # somebody is asking; so far no answer
# INCOMPLETE, FAILED: never an answer. NOARP, PERMANENT: an administrator's word or the kernel's own, not the device's.

_NEWLINK, _GETLINK, _NEWNEIGH, _GETNEIGH = 16, 18, 28, 30
_NLMSG_ERROR, _NLMSG_DONE = 2, 3
_REQUEST_DUMP = 0x001 | 0x300
_IFLA_ADDRESS, _IFLA_IFNAME = 1, 3
_NDA_DST, _NDA_LLADDR = 1, 2
_HEADER = struct.Struct("=IHHII")  # length with header, type, flags, sequence, port: in the machine's byte order
_NDMSG = struct.Struct("=BxxxiHBB")  # family, ifindex, state, flags, type
_IFINFO = struct.Struct("=BxHiII")  # family, device type, ifindex, flags, change
_ATTRIBUTE = struct.Struct("=HH")  # length with this header, type
_ADDRESS_BYTES = {int(socket.AF_INET): 4, int(socket.AF_INET6): 16}
_MAC_BYTES = 6


# Plain classes here: typing.NamedTuple or dataclasses would cost the bridge a megabyte of memory and more.
class Neighbour:
    """One entry of the table that has a MAC address of one device: not multicast, broadcast or zero.

    Args:
        ip: as inet_ntop writes it, without a scope.
        mac: 17 characters in lower case.
        state: one of the above.
        ifindex: the interface that the neighbour is at.
    """

    __slots__ = ("ifindex", "ip", "mac", "state")

    def __init__(self, ip: str, mac: str, state: int, ifindex: int) -> None:
        self.ip = ip
        self.mac = mac
        self.state = state
        self.ifindex = ifindex

    def __repr__(self) -> str:
        return f"Neighbour({self.ip!r}, {self.mac!r}, {self.state:#x}, {self.ifindex})"


class Link:
    """One interface of this machine; its mac is empty where it has none that Ethernet knows."""

    __slots__ = ("ifindex", "mac", "name")

    def __init__(self, name: str, mac: str, ifindex: int) -> None:
        self.name = name
        self.mac = mac
        self.ifindex = ifindex

    def __repr__(self) -> str:
        return f"Link({self.name!r}, {self.mac!r}, {self.ifindex})"


class Messages:
    """What the kernel said.

    Args:
        neighbours: new and changed entries.
        links: interfaces.
        done: a dump ends here: the last of its parts has come, or an error.
        error: 0, or the errno of the request's failure.
        malformed: messages that were not of their form, and were skipped.
    """

    __slots__ = ("done", "error", "links", "malformed", "neighbours")

    def __init__(self) -> None:
        self.neighbours: list[Neighbour] = []
        self.links: list[Link] = []
        self.done = False
        self.error = 0
        self.malformed = 0


def request_neighbours(sequence: int = 0) -> bytes:
    """Return the message that asks for the whole table, IPv4 and IPv6."""
    return _request(_GETNEIGH, _NDMSG.pack(socket.AF_UNSPEC, 0, 0, 0, 0), sequence)


def request_links(sequence: int = 0) -> bytes:
    """Return the message that asks for this machine's interfaces, to know its own addresses by."""
    return _request(_GETLINK, _IFINFO.pack(socket.AF_UNSPEC, 0, 0, 0, 0), sequence)


def parse(data: bytes, found: Messages | None = None) -> Messages:
    """Read a datagram from a netlink socket: an answer, a part of one, or news.

    Args:
        data: any bytes at all; what is not of its form is counted, never raised.
        found: what the parts before this one said, to be added to.
    Returns: what was found, the same object if one was given.
    """
    found = found or Messages()
    at = 0
    while at < len(data):
        if len(data) - at < _HEADER.size:
            found.malformed += 1
            break
        length, kind, _, _, _ = _HEADER.unpack_from(data, at)
        if not _HEADER.size <= length <= len(data) - at:
            found.malformed += 1  # where the next one begins nobody can tell
            break
        try:
            _read(kind, data[at + _HEADER.size : at + length], found)
        except (struct.error, ValueError):
            found.malformed += 1
        at += _aligned(length)
    return found


def usable_mac(address: bytes) -> str:
    """Return the address as text if it can be one device's, else "": multicast, broadcast, zero, not Ethernet's."""
    if len(address) != _MAC_BYTES or address[0] & 1 or not any(address):
        return ""
    return address.hex(":")


def mac_of(text: str) -> str:
    """Return the address in lower case if it can be one device's, else "": what programs print is not always one."""
    try:
        return usable_mac(bytes.fromhex(text.replace(":", ""))) if len(text) == 17 else ""
    except ValueError:
        return ""


def _request(kind: int, body: bytes, sequence: int) -> bytes:
    return _HEADER.pack(_HEADER.size + len(body), kind, _REQUEST_DUMP, sequence, 0) + body


def _read(kind: int, body: bytes, found: Messages) -> None:
    if kind == _NLMSG_DONE:
        found.done = True
    elif kind == _NLMSG_ERROR:
        found.done = True  # whatever it is that failed, nothing more comes of it
        found.error = -struct.unpack_from("=i", body)[0]
    elif kind == _NEWNEIGH:
        family, ifindex, state, _, _ = _NDMSG.unpack_from(body)
        # Bridges tell of their ports in the same messages, with another family (AF_BRIDGE) and no IP address.
        if family not in _ADDRESS_BYTES:
            return
        attributes = dict(_attributes(body[_NDMSG.size :]))
        ip = attributes.get(_NDA_DST, b"")
        mac = usable_mac(attributes.get(_NDA_LLADDR, b""))
        if len(ip) != _ADDRESS_BYTES[family]:
            raise ValueError(f"{len(ip)} bytes of address, expected {_ADDRESS_BYTES[family]}")
        if mac:
            found.neighbours.append(Neighbour(socket.inet_ntop(family, ip), mac, state, ifindex))
    elif kind == _NEWLINK:
        _, _, ifindex, _, _ = _IFINFO.unpack_from(body)
        attributes = dict(_attributes(body[_IFINFO.size :]))
        name = attributes.get(_IFLA_IFNAME, b"").rstrip(b"\0").decode()
        found.links.append(Link(name, usable_mac(attributes.get(_IFLA_ADDRESS, b"")), ifindex))


def _attributes(data: bytes) -> Iterator[tuple[int, bytes]]:
    at = 0
    while at < len(data):
        length, kind = _ATTRIBUTE.unpack_from(data, at)
        if not _ATTRIBUTE.size <= length <= len(data) - at:
            raise ValueError(f"an attribute of {length} bytes where {len(data) - at} are left")
        yield kind & 0x3FFF, data[at + _ATTRIBUTE.size : at + length]  # the upper two bits are flags
        at += _aligned(length)


def _aligned(length: int) -> int:
    return (length + 3) & ~3
