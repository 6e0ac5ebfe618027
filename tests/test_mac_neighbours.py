"""The neighbour table and the stations on a network: fonera/bits_fonera/neighbours.py and stations.py."""

from __future__ import annotations

import contextlib
import errno
import os
import socket
import struct
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from bits_fonera import neighbours, stations
from bits_fonera.stations import Stations, parse_assoclist, parse_clients, parse_leases
from hypothesis import given
from hypothesis import strategies as st

from tests.conftest import ROOT, wait_until
from tests.hosts import Hosts, skip_without

MAC = "00:1b:63:84:45:e6"

# Stations, the addresses they have found and the sentences they have said.
Maker = Callable[[], tuple[Stations, list[str], list[str]]]


# --- messages


def attribute(kind: int, value: bytes) -> bytes:
    return struct.pack("=HH", 4 + len(value), kind) + value + b"\0" * (-len(value) % 4)


def message(kind: int, body: bytes) -> bytes:
    return struct.pack("=IHHII", 16 + len(body), kind, 2, 1, 0) + body + b"\0" * (-len(body) % 4)


def entry(ip: str = "10.0.0.7", mac: str = MAC, state: int = neighbours.REACHABLE, family: int = 0) -> bytes:
    family = family or (socket.AF_INET6 if ":" in ip else socket.AF_INET)
    address = socket.inet_pton(socket.AF_INET6 if ":" in ip else socket.AF_INET, ip)
    body = struct.pack("=BxxxiHBB", family, 3, state, 0, 1)
    return message(28, body + attribute(1, address) + attribute(2, bytes.fromhex(mac.replace(":", ""))))


DONE = message(3, struct.pack("=i", 0))


def told(found: neighbours.Messages) -> list[tuple[str, str, int, int]]:
    return [(each.ip, each.mac, each.state, each.ifindex) for each in found.neighbours]


def test_a_dump_in_parts_is_read_to_its_end() -> None:
    found = neighbours.parse(entry() + entry("fe80::1", state=neighbours.STALE))
    assert not found.done
    neighbours.parse(entry("10.0.0.8", "02:00:00:00:00:01") + DONE, found)
    assert found.done
    assert told(found) == [
        ("10.0.0.7", MAC, 2, 3),
        ("fe80::1", MAC, 4, 3),
        ("10.0.0.8", "02:00:00:00:00:01", 2, 3),
    ]
    assert (found.error, found.malformed) == (0, 0)


@pytest.mark.parametrize(
    "mac", ["ff:ff:ff:ff:ff:ff", "33:33:00:00:00:01", "01:00:5e:00:00:01", "00:00:00:00:00:00", "00:01"]
)
def test_what_is_not_one_device_is_left_out(mac: str) -> None:
    found = neighbours.parse(entry(mac=mac))
    assert found.neighbours == []
    assert found.malformed == 0


def test_what_a_bridge_tells_of_its_ports_is_left_out() -> None:
    assert neighbours.parse(entry(family=7)).neighbours == []


def test_an_error_ends_a_dump() -> None:
    found = neighbours.parse(message(2, struct.pack("=i", -errno.EPERM) + b"\0" * 16))
    assert found.done
    assert found.error == errno.EPERM


def test_a_bad_message_does_not_hide_the_next() -> None:
    bad_attribute = message(28, struct.pack("=BxxxiHBB", socket.AF_INET, 3, 2, 0, 1) + struct.pack("=HH", 40, 1))
    short_address = message(28, struct.pack("=BxxxiHBB", socket.AF_INET6, 3, 2, 0, 1) + attribute(1, b"four"))
    found = neighbours.parse(bad_attribute + short_address + message(28, b"\2") + message(2, b"") + entry())
    assert told(found) == [("10.0.0.7", MAC, 2, 3)]
    assert found.malformed == 4


@given(st.binary(max_size=200))
def test_any_bytes_can_be_parsed(data: bytes) -> None:
    neighbours.parse(data)


GOOD = entry() + entry("fe80::1") + message(16, struct.pack("=BxHiII", 0, 1, 3, 0, 0) + attribute(3, b"br0\0")) + DONE


@given(st.data())
def test_a_message_with_wrong_bytes_or_cut_short_can_be_parsed(data: st.DataObject) -> None:
    spoiled = bytearray(GOOD)
    for at in data.draw(st.lists(st.integers(0, len(GOOD) - 1), max_size=5)):
        spoiled[at] = data.draw(st.integers(0, 255))
    found = neighbours.parse(bytes(spoiled[: data.draw(st.integers(0, len(spoiled)))]))
    assert len(found.neighbours) <= 2


@given(st.integers(0, len(GOOD)))
def test_a_truncated_datagram_says_so(cut: int) -> None:
    found = neighbours.parse(GOOD[:cut])
    assert (
        found.done
        or found.malformed
        or cut in {0, len(entry()), len(entry()) + len(entry("fe80::1")), len(GOOD) - len(DONE)}
    )


# --- what programs print


def test_leases_tell_whom_to_ask() -> None:
    text = (
        f"1700000000 {MAC} 192.168.1.23 phone 01:{MAC}\n"
        "1700000000 02:00:00:00:00:01 192.168.1.300 bad *\n"
        "duid 00:01:00:01\n"
        "1700000000 12345 fd00::17 laptop 00:01:00:01:aa\n"
        "\n"
    )
    assert parse_leases(text) == ["192.168.1.23", "fd00::17"]


def test_hostapds_clients_are_those_it_has_let_in() -> None:
    text = f'{{"freq": 2437, "clients": {{"{MAC}": {{"auth": true, "assoc": true, "authorized": true}},' + (
        '"02:00:00:00:00:01": {"auth": true, "assoc": true, "authorized": false},'
        '"ff:ff:ff:ff:ff:ff": {"authorized": true}, "nonsense": {"authorized": true}}}'
    )
    assert parse_clients(text) == [MAC]


def test_iwinfos_list_has_an_address_at_the_start_of_each_entry() -> None:
    text = (
        f"{MAC.upper()}  -58 dBm / -95 dBm (SNR 37)  120 ms ago\n"
        "\tRX: 65.0 MBit/s, MCS 7, 20MHz                   1234 Pkts.\n"
        "\tTX: 72.2 MBit/s, MCS 7, 20MHz, short GI          987 Pkts.\n"
        "\texpected throughput: unknown\n\n"
        "02:00:00:00:00:01  unknown / -95 dBm (SNR -95)  2000 ms ago\n"
    )
    assert parse_assoclist(text) == [MAC, "02:00:00:00:00:01"]
    assert parse_assoclist("No station connected\n") == []


@given(st.one_of(st.text(), st.sampled_from(["[]", "{}", '{"clients": []}', '{"clients": {"a": 1}}', "[" * 100_000])))
def test_any_text_can_be_parsed(text: str) -> None:
    for parse in (parse_leases, parse_clients, parse_assoclist):
        assert parse(text) == []


# --- programs, run for real


def program(folder: Path, name: str, script: str) -> None:
    path = folder / name
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)


@pytest.fixture
def on_loopback(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Maker]:
    """Stations at an access point whose programs are scripts; nobody is on a loopback, so they alone tell."""
    monkeypatch.setenv("PATH", f"{tmp_path}")
    with contextlib.ExitStack() as stack:

        def make() -> tuple[Stations, list[str], list[str]]:
            macs: list[str] = []
            sentences: list[str] = []
            found = Stations("lo", macs.append, lease_files=(), wireless=("wlan7",), say=sentences.append)
            stack.callback(found.close)
            return found, macs, sentences

        yield make


def polled(found: Stations, macs: list[str]) -> list[str]:
    def poll() -> list[str]:
        found.poll()
        return macs

    return list(wait_until(poll, "a sighting"))


def test_hostapd_on_ubus_tells_of_its_stations(tmp_path: Path, on_loopback: Maker) -> None:
    program(
        tmp_path,
        "ubus",
        f"""[ "$*" = "call hostapd.wlan7 get_clients" ] && echo '{{"clients": {{"{MAC}": {{"authorized": true}}}}}}'""",
    )
    found, macs, _ = on_loopback()
    assert set(polled(found, macs)) == {MAC}


def test_where_hostapd_is_not_on_ubus_iwinfo_is_asked(tmp_path: Path, on_loopback: Maker) -> None:
    program(tmp_path, "ubus", "exit 4")
    program(tmp_path, "iwinfo", f'[ "$*" = "wlan7 assoclist" ] && echo "{MAC}  -58 dBm / -95 dBm (SNR 37)  120 ms ago"')
    found, macs, _ = on_loopback()
    assert set(polled(found, macs)) == {MAC}


def test_a_program_that_hangs_is_ended_and_nobody_waits(tmp_path: Path, on_loopback: Maker) -> None:
    program(tmp_path, "ubus", f"echo $$ >>{tmp_path}/pids; while :; do :; done")
    program(tmp_path, "iwinfo", f'echo "{MAC}  -58 dBm / -95 dBm (SNR 37)  120 ms ago"')
    found, macs, _ = on_loopback()
    polled(found, macs)
    found.close()
    for pid in (tmp_path / "pids").read_text().split():
        with pytest.raises(ProcessLookupError):
            os.kill(int(pid), 0)


def test_where_there_is_no_program_that_is_said_once(
    on_loopback: Maker,
) -> None:
    found, macs, sentences = on_loopback()
    for _ in range(3):
        found.poll()
    assert macs == []
    assert len([sentence for sentence in sentences if "wlan7" in sentence]) == 1


def test_an_interface_that_is_not_there_is_said_once() -> None:
    sentences: list[str] = []
    found = Stations("nothere0", pytest.fail, say=sentences.append)
    found.poll()
    found.poll()
    found.close()
    assert len([sentence for sentence in sentences if "nothere0" in sentence]) == 1


def test_without_root_the_ping_is_missed_and_the_rest_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    def refused() -> socket.socket:
        raise PermissionError(errno.EPERM, os.strerror(errno.EPERM))

    monkeypatch.setattr(stations, "_open_ping", refused)
    sentences: list[str] = []
    found = Stations("lo", pytest.fail, lease_files=(), wireless=(), say=sentences.append)
    found.poll()
    found.poll()
    assert len(found.readers()) == 1
    assert found.lookup("127.0.0.1") is None
    found.close()
    assert len(sentences) == 1
    assert "root" in sentences[0]


def test_only_an_access_point_of_this_network_is_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stations, "_NETWORK", str(tmp_path))
    for name, bridge in (("wlan0", "br-lan"), ("wlan1", "br-guest"), ("wlan2", ""), ("lan1", "br-lan")):
        (tmp_path / name).mkdir()
        if bridge:
            (tmp_path / bridge).mkdir(exist_ok=True)
            (tmp_path / name / "master").symlink_to(f"../{bridge}")
        if name.startswith("wlan"):
            (tmp_path / name / "phy80211").mkdir()
    assert stations._wireless("br-lan") == ["wlan0"]
    assert stations._wireless("wlan2") == ["wlan2"]
    monkeypatch.setattr(stations, "_NETWORK", str(tmp_path / "nothing"))
    assert stations._wireless("br-lan") == []


def test_an_answer_to_our_ping_is_a_sighting_whatever_the_state_of_the_entry() -> None:
    macs: list[str] = []
    table: list[neighbours.Neighbour] = []
    asked: list[tuple[str, int]] = []

    class Pinged(Stations):
        def _table(self) -> list[neighbours.Neighbour]:
            return table

        def _send_ping(self, ip: str, sequence: int) -> None:
            asked.append((ip, sequence))

    found = Pinged("lo", macs.append, lease_files=(), wireless=(), say=lambda sentence: None)
    found.close()
    with (
        socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as ping,
        socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as host,
    ):
        for udp in (ping, host):
            udp.bind(("::1", 0))
        ping.setblocking(False)
        found._ping = ping

        def answers(token: bytes, sequence: int, kind: int = 129) -> None:
            host.sendto(struct.pack("!BBHHH", kind, 0, 0, 0, sequence) + token, ping.getsockname())
            found._read_ping()

        answers(found._token, 0)
        assert (macs, asked) == ([], [("::1", 1)])  # not known: asked by name
        answers(found._token, 1)
        assert (macs, asked) == ([], [("::1", 1)])  # but once only
        table.append(neighbours.Neighbour("::1", MAC, neighbours.STALE, 1))
        for token, kind in ((b"another!", 129), (b"", 129), (found._token, 128)):
            answers(token, 0, kind)
        assert macs == []
        answers(found._token, 0)
        assert macs == [MAC]


def test_of_a_device_that_is_silent_one_address_is_asked() -> None:
    other, awake, asking = "02:00:00:00:00:01", "02:00:00:00:00:02", "02:00:00:00:00:03"
    asked: list[str] = []

    class Known(Stations):
        def _table(self) -> list[neighbours.Neighbour]:
            return [
                neighbours.Neighbour("fe80::7", MAC, neighbours.STALE, 1),
                neighbours.Neighbour("10.0.0.7", MAC, neighbours.STALE, 1),
                neighbours.Neighbour("fd00::7", MAC, neighbours.STALE, 1),
                neighbours.Neighbour("fe80::1", other, neighbours.STALE, 1),
                neighbours.Neighbour("10.0.0.2", awake, neighbours.STALE, 1),
                neighbours.Neighbour("fe80::2", awake, neighbours.REACHABLE, 1),
                neighbours.Neighbour("10.0.0.3", asking, neighbours.PROBE, 1),
            ]

        def _send_byte(self, ip: str) -> None:
            asked.append(ip)

    macs: list[str] = []
    found = Known("lo", macs.append, lease_files=(), wireless=())
    found.poll()
    found.close()
    assert asked == ["10.0.0.7", "fe80::1"]
    assert macs == [awake]


def test_of_many_silent_addresses_a_few_are_asked_at_a_time_and_all_in_turn(tmp_path: Path) -> None:
    leases = tmp_path / "dhcp.leases"
    ips = {f"127.0.7.{n}" for n in range(100)}
    leases.write_text("".join(f"1700000000 {MAC} {ip} name *\n" for ip in ips))
    asked: list[str] = []

    class Counted(Stations):
        def _send_byte(self, ip: str) -> None:
            asked.append(ip)

    found = Counted("lo", pytest.fail, lease_files=(str(leases), str(tmp_path / "nothing")), wireless=())
    for _ in range(4):
        before = len(asked)
        found.poll()
        assert len(asked) - before == 32
    found.close()
    assert set(asked) == ips


# --- a real network

# What the router runs: polls without pause, short times, and says what it finds, a line each.
ROUTER = """
import selectors, sys, time
from bits_fonera.detector import Detector, digest
from bits_fonera.stations import Stations

def now():
    return time.monotonic_ns() // 1_000_000

names = {}
def sighting(mac):
    names[digest(mac, "key")] = mac
    detector.sighting(mac, now())

detector = Detector("key", 600, 5000)
stations = Stations("br0", sighting, lease_files=(sys.argv[1],), wireless=())
selector = selectors.DefaultSelector()
for reader, action in stations.readers():
    selector.register(reader, selectors.EVENT_READ, action)
selector.register(sys.stdin, selectors.EVENT_READ, None)
poll_ms = 0
while True:
    if now() >= poll_ms:
        stations.poll()
        poll_ms = now() + 100
    for key, _ in selector.select(0.05):
        if key.data is None:
            line = sys.stdin.readline()
            if not line:
                stations.close()
                sys.exit()
            print("lookup", stations.lookup(line.strip()), flush=True)
        else:
            key.data()
    for kind, name, age in detector.due(now()):
        print(kind, names[name], flush=True)
"""


class Network:
    """A router and two hosts, each a namespace, on one bridge; one host speaks IPv6 alone, the other IPv4 alone."""

    def __init__(self, folder: Path, hosts: Hosts) -> None:
        self.leases = folder / "dhcp.leases"
        self.hosts = hosts
        self.macs = {"six": "02:00:00:00:06:01", "four": "00:1b:63:84:04:01"}
        self.own = "02:00:00:00:00:aa"
        self._make()

    def ip(self, host: str, *words: str) -> None:
        self.hosts.run(host, "ip", *words)

    def set(self, host: str, name: str, value: str) -> None:
        self.hosts.run(host, "sh", "-c", f"echo {value} >/proc/sys/net/{name}")

    def _make(self) -> None:
        self.ip("router", "link", "add", "br0", "address", self.own, "type", "bridge")
        for port, host in (("port6", "six"), ("port4", "four")):
            self.ip(host, "link", "add", "eth0", "address", self.macs[host], "type", "veth",
                    "peer", "name", port, "netns", self.hosts.namespaces["router"])  # fmt: skip
            self.ip("router", "link", "set", port, "master", "br0", "up")
        self.set("four", "ipv6/conf/eth0/disable_ipv6", "1")
        self.ip("router", "addr", "add", "10.77.0.1/24", "dev", "br0")
        self.ip("four", "addr", "add", "10.77.0.4/24", "dev", "eth0")
        # How long an answer counts, and how soon one is asked for again: else the tests would take minutes.
        for family in ("ipv4", "ipv6"):
            self.set("router", f"{family}/neigh/br0/base_reachable_time_ms", "1000")
            self.set("router", f"{family}/neigh/br0/delay_first_probe_time", "1")
            self.set("router", f"{family}/neigh/br0/retrans_time_ms", "100")
        for host, name in (("router", "br0"), ("six", "eth0"), ("four", "eth0")):
            self.ip(host, "link", "set", name, "up")
        for number, mac, state in ((7, self.own, "reachable"), (8, "02:00:00:00:00:08", "permanent")):
            self.ip("router", "neigh", "add", f"10.77.0.{number}", "lladdr", mac, "dev", "br0", "nud", state)
        self.leases.write_text(f"1700000000 {self.macs['four']} 10.77.0.4 phone *\n")


@pytest.fixture
def network(tmp_path: Path) -> Iterator[Network]:
    skip_without("ip")
    with Hosts(tmp_path, "router", "six", "four") as hosts:
        yield Network(tmp_path, hosts)


class Router:
    """The detector's process in the router's namespace, and what it has said."""

    def __init__(self, network: Network) -> None:
        self.lines: list[str] = []
        self.process = subprocess.Popen(
            [*network.hosts.prefix("router"), sys.executable, "-S", "-c", ROUTER, str(network.leases)],
            env=os.environ | {"PYTHONPATH": str(ROOT / "fonera")},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self._collector = threading.Thread(target=self._collect)
        self._collector.start()

    def _collect(self) -> None:
        assert self.process.stdout
        for line in self.process.stdout:
            self.lines.append(line.strip())

    def hears(self, line: str) -> None:
        wait_until(lambda: line in self.lines or self.process.poll() is not None, f"{line!r}, after {self.lines}")
        assert line in self.lines

    def ask(self, ip: str) -> None:
        assert self.process.stdin
        self.process.stdin.write(f"{ip}\n")
        self.process.stdin.flush()

    def close(self) -> None:
        assert self.process.stdin
        assert self.process.stdout
        self.process.stdin.close()
        try:
            assert self.process.wait(15) == 0
        finally:
            self.process.kill()
            self.process.wait()
            self._collector.join()
            self.process.stdout.close()


def test_hosts_on_a_bridge_are_found_and_one_that_goes_down_is_gone(network: Network) -> None:
    with contextlib.closing(Router(network)) as router:
        router.hears(f"seen {network.macs['six']}")  # it answers the ping to all nodes
        router.hears(f"seen {network.macs['four']}")  # it has a lease, is asked and answers
        router.ask("::ffff:10.77.0.4")
        router.hears(f"lookup {network.macs['four']}")
        router.ask("10.77.0.1")  # the router itself
        router.hears("lookup None")

        network.ip("six", "link", "set", "eth0", "down")
        router.hears(f"gone {network.macs['six']}")
        network.ip("six", "link", "set", "eth0", "up")
        wait_until(lambda: router.lines.count(f"seen {network.macs['six']}") == 2, "coming back")
        # All the while the other was there, and was asked again and again.
        assert f"gone {network.macs['four']}" not in router.lines
        network.ip("four", "link", "set", "eth0", "down")
        router.hears(f"gone {network.macs['four']}")
    told = [line for line in router.lines if not line.startswith("lookup")]
    # Never the router itself, nor what an administrator says or what was true once.
    assert {line.split()[1] for line in told} == set(network.macs.values())
    assert len(told) == 5  # who stays is seen once
