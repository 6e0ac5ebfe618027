"""Members' devices: addresses and links read, owners known, the log kept in step with what is registered."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import delete, insert, update

from bits import schema
from bits.bus import Bus
from bits.counters import Counters
from bits.devices import LABEL_LENGTH, MOST, DeviceError, Devices, Link, digest, is_randomised, read_link
from bits.events import BRIDGE, MAC, Enter, Gone, Leave, Report, Seen
from bits.migrate import upgrade
from bits.presence import Presence
from bits.store import Store, make_engine, writing
from tests.conftest import T0, at, until

KEY = "k" * 32
MAC_ADDRESS = "00:1b:63:84:45:e6"
PHONE, LAPTOP, STRANGE = "a" * 64, "b" * 64, "f" * 64


# --- addresses


def test_a_digest_is_what_the_protocol_says() -> None:
    expected = hmac.new(KEY.encode(), MAC_ADDRESS.encode(), hashlib.sha256).hexdigest()
    for spelled in (
        "00:1b:63:84:45:e6",
        "00-1B-63-84-45-E6",
        "001b.6384.45e6",
        "001B638445E6",
        "  00:1B:63:84:45:e6\t",
    ):
        assert digest(spelled, KEY) == expected
    assert digest(MAC_ADDRESS, "è" * 32) == hmac.new(("è" * 32).encode(), MAC_ADDRESS.encode(), "sha256").hexdigest()


def test_the_router_makes_the_same_digest() -> None:
    from bits_fonera import detector

    assert digest(MAC_ADDRESS, KEY) == detector.digest(MAC_ADDRESS, KEY)


@pytest.mark.parametrize(
    "wrong",
    [
        "",
        "00:1b:63:84:45",
        "00:1b:63:84:45:e6:00",
        "00:1b:63:84:45:eg",
        "00:1b-63:84-45:e6",
        "00:1b:63:84:45:e6\n00:1b:63:84:45:e7",
        "٠٠:1b:63:84:45:e6",
        "01:00:5e:00:00:fb",  # a group's
        "ff:ff:ff:ff:ff:ff",
        "00:00:00:00:00:00",
        "0" * 10_000,
    ],
)
def test_what_is_no_address_of_a_device_is_refused_and_not_repeated(wrong: str) -> None:
    with pytest.raises(DeviceError) as refusal:
        digest(wrong, KEY)
    assert refusal.value.reason == "bad-mac"
    assert not wrong or wrong not in str(refusal.value)


@given(st.binary(min_size=6, max_size=6).filter(lambda octets: not octets[0] & 1 and any(octets)))
def test_made_up_addresses_are_recognised(octets: bytes) -> None:
    assert is_randomised(octets.hex(":")) == (octets.hex()[1] in "26ae")


# --- links


def link(key: str = KEY, **changed: str) -> dict[str, str]:
    fields = {"digest": PHONE, "at": str(int(T0.timestamp())), "randomised": "0"} | changed
    said = f"this-device {fields['digest']} {fields['at']} {fields['randomised']}"
    return {"sign": hmac.new(key.encode(), said.encode(), "sha256").hexdigest()} | fields


def test_the_routers_own_link_is_taken_for_ten_minutes() -> None:
    from urllib.parse import parse_qsl, urlsplit

    from bits_fonera import this_device

    made = this_device.link(MAC_ADDRESS, KEY, "https://bits.example.org", int(T0.timestamp()))
    fields = dict(parse_qsl(urlsplit(made).query))
    for seconds in (-59, 0, 600):
        assert read_link(fields, KEY, at(seconds)) == Link(digest(MAC_ADDRESS, KEY), int(T0.timestamp()), False)
    assert read_link(link(randomised="1"), KEY, T0).randomised
    for seconds in (-61, 601, 10**7):
        with pytest.raises(DeviceError, match="old-link"):
            read_link(fields, KEY, at(seconds))


@pytest.mark.parametrize(
    "wrong",
    [
        {},
        {"digest": PHONE},
        link("another key of the same length...."),
        link() | {"randomised": "1"},
        link() | {"at": str(int(T0.timestamp()) + 1)},
        link() | {"digest": LAPTOP},
        link(digest=PHONE.upper()),
        link(at="1e9"),
        link(at="٣"),
        link(at="-1"),
        link(at="9" * 13),
        link(randomised="2"),
        link() | {"sign": ""},
        link() | {"sign": "è" * 64},
        link() | {"sign": link()["sign"].upper()},
    ],
)
def test_other_links_are_not_the_routers(wrong: dict[str, str]) -> None:
    with pytest.raises(DeviceError, match="bad-link"):
        read_link(wrong, KEY, T0)


def test_without_a_key_no_link_is_good() -> None:
    with pytest.raises(DeviceError, match="no-key"):
        read_link(link(), None, T0)


# --- the register


class Node:
    """What of a server knows devices."""

    def __init__(self, uri: str) -> None:
        self.time = T0
        self.store = Store(make_engine(uri))
        bus = Bus()
        self.presence = Presence(self.store, bus, Counters())
        self.devices = Devices(self.store, self.presence, lambda: self.time, every=0.02)
        bus.subscribe(self.devices.on_events)

    async def start(self) -> None:
        await self.presence.start()
        await self.devices.start()

    async def stop(self) -> None:
        await self.devices.stop()
        await self.devices.stop()
        await self.presence.stop()

    @property
    def people(self) -> dict[int, datetime]:
        return dict(self.presence.state.people)

    async def told(self) -> list[object]:
        return [(stored.event, stored.source) for stored in await self.store.since(0)]


@asynccontextmanager
async def running(node: Node) -> AsyncIterator[Devices]:
    await node.start()
    yield node.devices
    await node.stop()


@pytest.fixture
async def node(db_uri: str) -> AsyncIterator[Node]:
    """A node that is not started; anna has the number 1, bruno the number 42."""
    made = Node(db_uri)
    await upgrade(made.store.engine)
    async with writing(made.store.engine) as connection:
        for user, name, number in ((1, "anna", 1), (2, "bruno", 42)):
            row = {"id": user, "name": name, "password": "", "admin": False, "created": T0, "number": number}
            await connection.execute(insert(schema.user).values(row))
    yield made
    await made.store.close()


async def test_registered_devices_have_owners_and_others_have_none(node: Node) -> None:
    async with running(node) as devices:
        assert (len(devices), devices.owner(PHONE)) == (0, None)
        await devices.add(2, PHONE, "  my phone ")
        assert (len(devices), devices.owner(PHONE), devices.owner(STRANGE)) == (1, (42, "bruno"), None)
        (mine,) = await devices.of(2)
        assert (mine.digest, mine.label, mine.created) == (PHONE, "my phone", T0)
        assert await devices.of(1) == []
    async with running(node) as devices:
        assert devices.owner(PHONE) == (42, "bruno")


async def test_what_cannot_be_registered(node: Node) -> None:
    async with running(node) as devices:
        await devices.add(1, PHONE, "phone")
        for user, name, label, reason in (
            (1, PHONE, "again", "registered"),
            (2, PHONE, "anna's", "registered"),
            (1, LAPTOP, "", "bad-label"),
            (1, LAPTOP, "   ", "bad-label"),
            (1, LAPTOP, "x" * (LABEL_LENGTH + 1), "bad-label"),
            (1, LAPTOP, "a\0b", "bad-label"),
            (1, LAPTOP, "a\u202eb", "bad-label"),
        ):
            with pytest.raises(DeviceError, match=reason):
                await devices.add(user, name, label)
        for n in range(MOST - 1):
            await devices.add(1, f"{n:064x}", "x" * LABEL_LENGTH)
        with pytest.raises(DeviceError, match="too-many"):
            await devices.add(1, LAPTOP, "laptop")
        await devices.add(2, LAPTOP, "laptop")
        for user, number in ((2, 1), (1, 999)):
            with pytest.raises(DeviceError, match="gone"):
                await devices.remove(user, number)


async def test_a_list_says_who_is_about_and_who_is_not(node: Node) -> None:
    async with running(node) as devices:
        await devices.add(1, PHONE, "phone")
        await devices.add(2, LAPTOP, "laptop")
        await devices.about([PHONE, STRANGE])
        assert node.people == {1: T0}
        node.time = at(60)
        assert await devices.about([STRANGE, PHONE]) == []
        await devices.about([LAPTOP])
        assert node.people == {42: at(60)}
        assert set(node.presence.state.devices) == {LAPTOP}
        await devices.about([])
        assert (node.people, dict(node.presence.state.devices)) == ({}, {})
        assert await node.told() == [
            (Seen(PHONE, 1), MAC),
            (Enter(1), MAC),
            (Gone(PHONE, 1), MAC),
            (Leave(1), MAC),
            (Seen(LAPTOP, 42), MAC),
            (Enter(42), MAC),
            (Gone(LAPTOP, 42), MAC),
            (Leave(42), MAC),
        ]


async def test_who_deletes_a_device_is_let_go(node: Node) -> None:
    async with running(node) as devices:
        await devices.add(1, PHONE, "phone")
        await devices.here(PHONE)
        assert node.people == {1: T0}
        (mine,) = await devices.of(1)
        await (await devices.remove(1, mine.id))
        assert (node.people, devices.owner(PHONE)) == ({}, None)
        assert await devices.here(PHONE) == []


async def test_a_member_deleted_elsewhere_is_let_go_and_another_number_taken_over(node: Node) -> None:
    async with running(node) as devices:
        await devices.add(1, PHONE, "phone")
        await devices.add(2, LAPTOP, "laptop")
        await devices.about([PHONE, LAPTOP])
        async with writing(node.store.engine) as connection:
            await connection.execute(delete(schema.device).where(schema.device.c.user_id == 1))
            await connection.execute(delete(schema.user).where(schema.user.c.id == 1))
            await connection.execute(update(schema.user).values(number=7))
        await until(lambda: set(node.people) == {7})
        assert devices.owner(LAPTOP) == (7, "bruno")


async def test_a_device_deleted_while_no_server_ran_takes_its_owner_along_at_the_start(node: Node) -> None:
    async with running(node) as devices:
        await devices.add(1, PHONE, "phone")
        await devices.add(2, LAPTOP, "laptop")
        await devices.about([PHONE, LAPTOP])
        await node.presence.submit([Report(Enter(3), BRIDGE, T0)])  # at the door, without a device
    async with writing(node.store.engine) as connection:
        await connection.execute(delete(schema.device).where(schema.device.c.user_id == 1))
    async with running(node):
        assert set(node.people) == {3, 42}
        # Who once had a device, and has now come in at the door, stays.
        await node.presence.submit([Report(Enter(1), BRIDGE, T0)])
    async with running(node):
        assert set(node.people) == {1, 3, 42}


@pytest.mark.postgres
async def test_a_device_registered_on_one_node_is_known_on_the_others(postgres_uri: str) -> None:
    here, there = Node(postgres_uri), Node(postgres_uri)
    await upgrade(here.store.engine)
    async with writing(here.store.engine) as connection:
        row = {"id": 1, "name": "anna", "password": "", "admin": False, "created": T0, "number": 1}
        await connection.execute(insert(schema.user).values(row))
    async with running(here), running(there):
        await here.devices.add(1, PHONE, "phone")
        await until(lambda: there.devices.owner(PHONE) == (1, "anna"))
        await there.devices.about([PHONE])
        here.presence.look()
        await until(lambda: here.people == {1: T0})
        # The same list on another node says nothing new.
        assert await here.devices.about([PHONE]) == []
    await here.store.close()
    await there.store.close()


async def test_a_device_seen_before_its_owner_is_known_has_the_table_read_at_once(node: Node) -> None:
    node.devices = Devices(node.store, node.presence, lambda: T0, every=3600)
    bus = Bus()
    bus.subscribe(node.devices.on_events)
    node.presence = Presence(node.store, bus, Counters())
    node.devices._presence = node.presence
    async with running(node) as devices:
        async with writing(node.store.engine) as connection:
            device = {"user_id": 1, "digest": PHONE, "label": "phone", "created": T0}
            await connection.execute(insert(schema.device).values(device))
        await node.presence.submit([replace(Report(Seen(PHONE, 1), MAC, T0), author="anna")])
        await until(lambda: devices.owner(PHONE) == (1, "anna"))
        assert node.people == {1: T0}
