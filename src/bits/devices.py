"""The members' devices: known by a digest of the MAC address, and whose they are. See docs/people.md."""

from __future__ import annotations

import asyncio
import hmac
import logging
import re
from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import delete, func, insert, select
from sqlalchemy.exc import IntegrityError, SQLAlchemyError

from bits import schema, tasks
from bits.events import MAC, Enter, Gone, Leave, Report, Seen, Stored
from bits.liveness import Clock
from bits.presence import Presence
from bits.store import Store, reading, writing

log = logging.getLogger("bits.devices")

MOST = 20  # devices a member: who owns more does not carry them
LABEL_LENGTH = 64  # characters, as the column
MOST_ABOUT = 500  # digests in a list of who is about: as many as fit a form of 64 kB

# A member's device may have been registered on another node, or a member deleted from the command line.
RELOAD_SECONDS = 30.0

# How long the router's link is good, seconds; and how far its clock may be ahead of ours.
LINK_AGE = 600
LINK_AHEAD = 60

DIGEST = re.compile(r"[0-9a-f]{64}")
NOTATIONS = (r"(?:[0-9a-f]{2}:){5}[0-9a-f]{2}", r"(?:[0-9a-f]{2}-){5}[0-9a-f]{2}", r"(?:[0-9a-f]{4}\.){2}[0-9a-f]{4}")
MAC_ADDRESS = re.compile("|".join((*NOTATIONS, r"[0-9a-f]{12}")), re.ASCII)


class DeviceError(ValueError):
    """What a member asked for cannot be; the page has a sentence for each reason.

    Args:
        reason: a short word, stable: it also names the counter.
    """

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


def _octets(mac: str) -> bytes:
    """Read a MAC address in a usual notation.

    Raises:
        DeviceError: it is none, or none that a device has. The address is not in the error: it goes to no log.
    """
    mac = mac.strip().lower()
    if not MAC_ADDRESS.fullmatch(mac):
        raise DeviceError("bad-mac")
    octets = bytes.fromhex(re.sub("[^0-9a-f]", "", mac))
    if octets[0] & 1 or not any(octets):  # of a group, or nobody's
        raise DeviceError("bad-mac")
    return octets


def digest(mac: str, key: str) -> str:
    """Return what stands for a MAC address everywhere: HMAC-SHA256 (docs/protocol.md, "Devices").

    Raises:
        DeviceError: it is no device's address.
    """
    return hmac.digest(key.encode(), _octets(mac).hex(":").encode(), "sha256").hex()


def is_randomised(mac: str) -> bool:
    """Tell whether a device has made its address up: the "locally administered" bit (IEEE 802, section 8.2)."""
    return bool(_octets(mac)[0] & 2)


@dataclass(frozen=True, slots=True)
class Link:
    """What the router's page "This device" leads here with (docs/mac.md)."""

    digest: str
    at: int
    randomised: bool


def read_link(fields: Mapping[str, str], key: str | None, now: datetime) -> Link:
    """Check a link of the router's.

    Args:
        fields: digest, at, randomised and sign, as they came.
        key: the space's.
    Raises:
        DeviceError: it is not the router's, or too old.
    """
    if key is None:
        raise DeviceError("no-key")
    name, at, randomised, sign = (fields.get(each, "") for each in ("digest", "at", "randomised", "sign"))
    is_formed = DIGEST.fullmatch(name) and re.fullmatch("[0-9]{1,12}", at) and randomised in ("0", "1")
    if not is_formed or not DIGEST.fullmatch(sign):
        raise DeviceError("bad-link")
    expected = hmac.digest(key.encode(), f"this-device {name} {at} {randomised}".encode(), "sha256").hex()
    if not hmac.compare_digest(expected, sign):
        raise DeviceError("bad-link")
    if not -LINK_AHEAD <= now.timestamp() - int(at) <= LINK_AGE:
        raise DeviceError("old-link")
    return Link(name, int(at), randomised == "1")


def check_label(label: str) -> str:
    """Return what a member calls a device.

    Raises:
        DeviceError: it is empty, too long, or holds what cannot be shown.
    """
    label = label.strip()
    if not (1 <= len(label) <= LABEL_LENGTH and label.isprintable()):
        raise DeviceError("bad-label")
    return label


@dataclass(frozen=True, slots=True)
class Device:
    id: int
    digest: str
    label: str
    created: datetime


class Devices:
    """Every registered device, in memory: who is asked for with each sighting must not cost a query.

    What the log says of devices follows from what is registered: a device that is no longer, or has become
    somebody else's, is let go.

    Args:
        every: seconds after which the table is read again.
    """

    def __init__(self, store: Store, presence: Presence, clock: Clock, every: float = RELOAD_SECONDS) -> None:
        self._engine = store.engine
        self._store = store
        self._presence = presence
        self._clock = clock
        self._every = every
        self._owners: Mapping[str, tuple[int, str]] = {}
        self._reading = asyncio.Lock()  # an older reading must not replace a newer one
        self._outdated = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Read the table, let go what was deleted while nobody looked, and keep up with it."""
        await self.reload()
        await self._let_go()
        self._task = asyncio.create_task(self._keep_up(), name="devices")

    async def stop(self) -> None:
        """May be called twice."""
        task, self._task = self._task, None
        await tasks.end(task)

    def __len__(self) -> int:
        return len(self._owners)

    def owner(self, digest: str) -> tuple[int, str] | None:
        """Return whose device this is: the number on the keypad, and the name. None: it is not registered."""
        return self._owners.get(digest)

    # --- what members do

    async def of(self, user: int) -> list[Device]:
        """Return a user's devices, oldest first."""
        table = schema.device
        query = select(table.c.id, table.c.digest, table.c.label, table.c.created).where(table.c.user_id == user)
        async with reading(self._engine) as connection:
            rows = await connection.execute(query.order_by(table.c.id))
            return [Device(**row._mapping) for row in rows]

    async def add(self, user: int, digest: str, label: str) -> None:
        """Register a device as a user's.

        Raises:
            DeviceError: the label is no good, it is registered already, or the user has too many.
        """
        table = schema.device
        values = {"user_id": user, "digest": digest, "label": check_label(label), "created": self._clock()}
        try:
            async with writing(self._engine) as connection:
                known = await connection.scalar(select(table.c.id).where(table.c.digest == digest))
                count = await connection.scalar(select(func.count()).where(table.c.user_id == user))
                if known is not None:
                    raise DeviceError("registered")
                if (count or 0) >= MOST:
                    raise DeviceError("too-many")
                await connection.execute(insert(table).values(values))
        except IntegrityError:  # the user has just been deleted
            raise DeviceError("gone") from None
        log.info("a device was registered")
        await self.reload()

    async def remove(self, user: int, device: int) -> asyncio.Future[list[Stored]]:
        """Delete a user's device; the future is done when it is gone in the log too.

        Raises:
            DeviceError: the user has no such device.
        """
        table = schema.device
        async with writing(self._engine) as connection:
            result = await connection.execute(delete(table).where(table.c.id == device, table.c.user_id == user))
        if result.rowcount == 0:
            raise DeviceError("gone")
        log.info("a device was deleted")
        return await self.reload()

    # --- what is seen

    def here(self, digest: str) -> asyncio.Future[list[Stored]]:
        """Tell that a device is about now."""
        return self._presence.submit(self._seen([digest]))

    def about(self, digests: Collection[str]) -> asyncio.Future[list[Stored]]:
        """Tell which devices are about now: all of them, and no other."""
        now = self._clock()
        known = self._presence.state.devices
        left = [Report(Gone(name, None), MAC, now) for name in known if name not in digests]
        return self._presence.submit([*left, *self._seen([name for name in digests if name not in known])])

    def _seen(self, digests: Sequence[str]) -> list[Report]:
        now = self._clock()
        owned = [(name, self._owners[name]) for name in digests if name in self._owners]
        return [Report(Seen(name, number), MAC, now) for name, (number, _) in owned]

    # --- keeping up with the table

    def on_events(self, batch: Sequence[Stored]) -> None:
        """Notice a device that another node knows already; to be called after the state has changed."""
        if any(isinstance(stored.event, Seen) and stored.event.digest not in self._owners for stored in batch):
            self._outdated.set()

    async def reload(self) -> asyncio.Future[list[Stored]]:
        """Read the table; the future is done when the log says what follows."""
        async with self._reading:
            # What is about now was registered before this reading, or it is not registered any more.
            about = dict(self._presence.state.devices)
            query = select(schema.device.c.digest, schema.user.c.number, schema.user.c.name)
            async with reading(self._engine) as connection:
                rows = (await connection.execute(query.join(schema.user))).all()
            self._owners = {row.digest: (row.number, row.name) for row in rows}
        now = self._clock()
        strays = [name for name, person in about.items() if self._owners.get(name, (None, ""))[0] != person]
        return self._presence.submit([*(Report(Gone(name, None), MAC, now) for name in strays), *self._seen(strays)])

    async def _keep_up(self) -> None:
        while True:
            with suppress(TimeoutError):
                await asyncio.wait_for(self._outdated.wait(), self._every)
            self._outdated.clear()
            try:
                await (await self.reload())
            except (SQLAlchemyError, OSError) as error:
                log.error("the devices cannot be read: %s", error)

    async def _let_go(self) -> None:
        """Let people leave whose only device was deleted while no server ran to say so."""
        state = self._presence.state
        with_devices = set(state.devices.values())
        stray: list[Report] = []
        for person in state.people:
            if person in with_devices:
                continue
            came = await self._store.latest("enter", key=person)
            seen = await self._store.latest("seen", key=person)
            # Whom a device brought along stands right behind it in the log; others have signed in at the door.
            if came and seen and isinstance(came[0].event, Enter) and came[0].seq == seen[0].seq + 1:
                stray.append(Report(Leave(person), MAC, self._clock()))
        if stray:
            await self._presence.submit(stray)
