"""Who is there: the members' roster, their devices, and the router's list of those that are about."""

from __future__ import annotations

import hmac
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, tzinfo
from typing import Any

from sanic import BadRequest, Blueprint, Forbidden, HTTPResponse, NotFound, Request, SanicException
from sanic.response import text

from bits.devices import DIGEST, MOST, MOST_ABOUT, DeviceError, Link, digest, is_randomised, read_link
from bits.events import Enter, Leave, Stored
from bits.web import context, users
from bits.web.admin import committed, page, see_other, signed_in, to_the_door
from bits.web.auth import client_address, log, member
from bits.web.fields import Fields
from bits.web.query import ID_MOST, whole
from bits.web.route import form, get
from bits.web.users import User

bp = Blueprint("people")

SHOWN = 100  # visits
LINK = ("digest", "at", "randomised", "sign")


# --- the roster


@dataclass(frozen=True, slots=True)
class Visit:
    """Somebody's stay; came is None where that is too long ago, left where they have not."""

    person: int
    came: datetime | None
    left: datetime | None


def visits(events: Sequence[Stored]) -> list[Visit]:
    """Pair arrivals with departures, newest first by what happened last."""
    here: dict[int, datetime] = {}
    found: list[Visit] = []
    for stored in sorted(events, key=lambda stored: stored.seq):
        match stored.event:
            case Enter(person=person):
                here[person] = stored.at
            case Leave(person=person):
                found.append(Visit(person, here.pop(person, None), stored.at))
    found += [Visit(person, came, None) for person, came in here.items()]
    return sorted(found, key=lambda visit: visit.left or visit.came or datetime.min.replace(tzinfo=UTC), reverse=True)


def _rows(found: Sequence[Visit], names: Mapping[int, str], zone: tzinfo) -> list[dict[str, Any]]:
    return [
        {
            "person": visit.person,
            "name": names.get(visit.person),
            "came": visit.came,
            "left": visit.left,
            "same_day": visit.came and visit.left and _day(visit.came, zone) == _day(visit.left, zone),
        }
        for visit in found
    ]


def _day(at: datetime, zone: tzinfo) -> object:
    return at.astimezone(zone).date()


@get(bp, "/people")
async def roster(request: Request) -> HTTPResponse:
    """Show members who is in, and who came and went."""
    if await member(request) is None:
        return to_the_door(request)
    ctx = context.of(request)
    names = await users.names(ctx.engine)
    here = sorted(ctx.presence.state.people.items(), key=lambda each: each[1])
    found = visits(await ctx.store.comings(2 * SHOWN))[:SHOWN]
    return page(
        request,
        "people.html",
        here=[{"person": person, "name": names.get(person), "since": since} for person, since in here],
        visits=_rows(found, names, ctx.config.time_zone),
    )


# --- a member's devices


def _refuse(form: Fields, reason: str) -> None:
    """Say why a device is not registered or not deleted, beside a field where it concerns one."""
    _ = form._
    name, sentence = {
        "bad-mac": ("mac", _("This is no MAC address of a device: expected one like 00:1b:63:84:45:e6.")),
        "bad-label": ("label", _("The name has 1 to 64 characters that can be shown.")),
        "bad-link": ("", _("This link was not made by the router of the space.")),
        "old-link": (
            "",
            _("This link is older than ten minutes: open the router’s page about your device again."),
        ),
        "no-key": ("", _("This server knows no key for devices (mac_key is not set).")),
        "registered": ("mac" if form.raw("mac") else "", _("This device is registered already.")),
        "too-many": ("", _("You have %(most)s devices, which is the most: delete one first.")),
        "randomised": ("confirmed", _("This address is randomised: tick this to register it as it is.")),
        "gone": ("", _("This device is not among yours.")),
    }[reason]
    form.refuse(name, reason, sentence, most=MOST)


async def _devices(
    request: Request,
    user: User,
    form: Fields | None = None,
    *,
    link: Mapping[str, str] | None = None,
    randomised: bool = False,
) -> HTTPResponse:
    """Show a member's devices.

    Args:
        link: the router's, whose device is to be registered.
        randomised: its address is, or the one that was typed.
    """
    ctx = context.of(request)
    about = ctx.presence.state.devices
    rows = [
        {"id": each.id, "label": each.label, "created": each.created, "is_about": each.digest in about}
        for each in await ctx.devices.of(user.id)
    ]
    return page(
        request,
        "devices.html",
        form=form,
        devices=rows,
        can_type=ctx.config.mac_key is not None,
        opens=ctx.config.mac_opens,
        closes=ctx.config.mac_closes,
        link=link,
        randomised=randomised,
    )


@get(bp, "/devices")
async def devices_page(request: Request) -> HTTPResponse:
    """Show a member their devices; with the router's link, offer to register the one it is about."""
    user = await member(request)
    if user is None:
        return to_the_door(request)
    ctx = context.of(request)
    given = {name: str(request.args.get(name, "")) for name in LINK}
    if not any(given.values()):
        return await _devices(request, user)
    try:
        link = read_link(given, ctx.config.mac_key, datetime.now(UTC))
        if ctx.devices.owner(link.digest):
            raise DeviceError("registered")
    except DeviceError as error:
        form = Fields(request, "devices")
        _refuse(form, error.reason)
        return await _devices(request, user, form)
    return await _devices(request, user, link=given, randomised=link.randomised)


@bp.post("/devices")
async def add_device(request: Request) -> HTTPResponse:
    """Register a device: by the router's link, or by the MAC address, which is made a digest of at once."""
    user = await signed_in(request)
    if isinstance(user, HTTPResponse):
        return user
    ctx = context.of(request)
    form = Fields(request, "devices")
    given = {name: form.raw(name) for name in LINK}
    mac = form.raw("mac")
    link: Link | None = None
    randomised = False
    try:
        if any(given.values()):
            link = read_link(given, ctx.config.mac_key, datetime.now(UTC))
            name, randomised = link.digest, link.randomised
        elif ctx.config.mac_key is None:
            raise DeviceError("no-key")
        else:
            name, randomised = digest(mac, ctx.config.mac_key), is_randomised(mac)
        if randomised and form.raw("confirmed") != "1":
            raise DeviceError("randomised")
        await ctx.devices.add(user.id, name, form.raw("label"))
    except DeviceError as error:
        _refuse(form, error.reason)
        return await _devices(request, user, form, link=given if link else None, randomised=randomised)
    if link:
        await committed(ctx.devices.here(name))  # it was on the space's network just now
    return see_other("/devices?done=added")


@bp.post("/devices/remove")
async def remove_device(request: Request) -> HTTPResponse:
    user = await signed_in(request)
    if isinstance(user, HTTPResponse):
        return user
    form = Fields(request, "devices")
    try:
        left = await context.of(request).devices.remove(user.id, whole(form.raw("id"), 1, ID_MOST) or 0)
    except DeviceError as error:
        _refuse(form, error.reason)
        return await _devices(request, user, form)
    await committed(left)
    return see_other("/devices?done=removed")


# --- the router's list


def _turned_away(request: Request, reason: str, error: SanicException) -> SanicException:
    context.of(request).counters[f'macupdates_refused_total{{reason="{reason}"}}'] += 1
    log.warning("/macupdate from %s: refused, %s", client_address(request), reason)
    return error


def _digests(request: Request, given: str) -> dict[str, None]:
    """Read the list, each digest once.

    Raises:
        BadRequest: it is none, or too long, or something in it is no digest.
    """
    try:
        found = json.loads(given)
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, list):
        raise _turned_away(request, "bad-list", BadRequest("macs: expected a JSON list of digests."))
    if len(found) > MOST_ABOUT:
        said = f"macs has {len(found)} digests: expected at most {MOST_ABOUT}."
        raise _turned_away(request, "too-many", BadRequest(said))
    for index, each in enumerate(found):
        if not isinstance(each, str) or not DIGEST.fullmatch(each):
            said = f"macs, number {index}: expected 64 hexadecimal digits in lower case."
            raise _turned_away(request, "bad-digest", BadRequest(said))
    return dict.fromkeys(found)


@bp.post("/macupdate")
async def take_list(request: Request) -> HTTPResponse:
    """Take the digests of all devices that are about, from a router of the predecessor's kind (docs/people.md)."""
    ctx = context.of(request)
    if ctx.config.mac_password is None:
        said = "This server takes no lists of devices: mac_password is not set."
        raise _turned_away(request, "not-offered", NotFound(said))
    try:
        fields = form(request)
    except ValueError:
        raise _turned_away(request, "bad-form", BadRequest("Expected a form with password and macs.")) from None
    password = fields.get("password", [""])[0]
    if not hmac.compare_digest(password.encode(), ctx.config.mac_password.encode()):
        raise _turned_away(request, "wrong-password", Forbidden("The password is wrong."))
    await committed(ctx.devices.about(_digests(request, fields.get("macs", [""])[0])))
    return text("ok\n")
