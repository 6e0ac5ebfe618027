"""The SpaceAPI's document: the state for directories, maps and apps of all hackerspaces (https://spaceapi.io).

One document is valid for versions 14 and 15. The types below are what we write, and by them a document is checked
before a space registers: no looser than the published schemas for every key that they name.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Annotated, Literal
from urllib.parse import urljoin

import msgspec
from msgspec import UNSET, Meta, Struct, UnsetType

from bits.config import Config
from bits.events import Temperature
from bits.roster import names_of, signer
from bits.state import Freshness, State

Url = Annotated[str, Meta(pattern=r"^https?://[^\s/]+")]
Latitude = Annotated[float, Meta(ge=-90, le=90)]
Longitude = Annotated[float, Meta(ge=-180, le=180)]
# Seconds since 1970. A time in milliseconds, the usual mistake, would lie after the year 5000.
Seconds = Annotated[float, Meta(ge=0, lt=100_000_000_000)]


class Location(Struct, omit_defaults=True):
    """Without coordinates the document is one of version 15 alone."""

    address: str | UnsetType = UNSET
    lat: Latitude | UnsetType = UNSET
    lon: Longitude | UnsetType = UNSET
    timezone: str | UnsetType = UNSET

    def __post_init__(self) -> None:
        if (self.lat is UNSET) != (self.lon is UNSET):
            raise ValueError("Expected `lat` and `lon`, or neither")


class Icon(Struct):
    open: Url
    closed: Url


class Door(Struct, omit_defaults=True):
    """The space's state; without `open` where that is not known just now."""

    open: bool | UnsetType = UNSET
    lastchange: Seconds | UnsetType = UNSET
    trigger_person: str | UnsetType = UNSET
    message: str | UnsetType = UNSET
    icon: Icon | UnsetType = UNSET


class Thermometer(Struct):
    value: float
    unit: Literal["°C", "°F", "K", "°De", "°N", "°R", "°Ré", "°Rø"]
    location: str
    lastchange: Seconds | UnsetType = UNSET


class People(Struct):
    value: Annotated[float, Meta(ge=0)]
    names: Annotated[list[str], Meta(min_length=1)] | UnsetType = UNSET


class Sensors(Struct, omit_defaults=True):
    temperature: list[Thermometer] | UnsetType = UNSET
    people_now_present: list[People] | UnsetType = UNSET


class Feed(Struct):
    url: Url
    type: str | UnsetType = UNSET


class Feeds(Struct, omit_defaults=True):
    blog: Feed | UnsetType = UNSET
    wiki: Feed | UnsetType = UNSET
    calendar: Feed | UnsetType = UNSET
    flickr: Feed | UnsetType = UNSET


class Link(Struct):
    name: str
    url: Url


class Document(Struct, omit_defaults=True):
    api_compatibility: Annotated[list[str], Meta(min_length=1)]
    space: Annotated[str, Meta(min_length=1)]
    logo: Url
    url: Url
    contact: dict[str, object]
    location: Location | UnsetType = UNSET
    state: Door | UnsetType = UNSET
    sensors: Sensors | UnsetType = UNSET
    feeds: Feeds | UnsetType = UNSET
    links: list[Link] | UnsetType = UNSET

    def __post_init__(self) -> None:
        if "14" not in self.api_compatibility and "15" not in self.api_compatibility:
            raise ValueError("Expected `api_compatibility` to name version 14 or 15")
        if "14" in self.api_compatibility and (self.location is UNSET or self.location.lat is UNSET):
            raise ValueError("Version 14 needs `location` with `lat` and `lon`")


def document(
    config: Config, state: State, fresh: Freshness, listed: Mapping[int, str], now: datetime, origin: str
) -> Document:
    """Describe the space.

    Args:
        listed: names of members who are content to be read, by number.
        now: readings older than `stale_after` then are left out.
        origin: where browsers reach this server: scheme, host and port.
    """
    here = config.space_latitude is not None
    location = Location(timezone=config.time_zone.key)
    if config.space_place:
        location.address = config.space_place
    if config.space_latitude is not None and config.space_longitude is not None:
        location.lat, location.lon = config.space_latitude, config.space_longitude
    links = [Link(link.label, urljoin(origin + "/", link.href)) for link in config.space_links]
    return Document(
        api_compatibility=["14", "15"] if here else ["15"],
        space=config.space_name or "BITS",
        logo=urljoin(origin + "/", config.space_logo or "/icon/open.svg"),
        url=urljoin(origin + "/", config.space_url),
        contact=dict(config.space_contact),
        location=location,
        state=_door(state, fresh, listed, origin),
        sensors=_sensors(config, state, listed, now),
        feeds=Feeds(calendar=Feed(f"{origin}/calendar.ics", "ical")),
        links=[link for link in links if link.url.startswith("http")] or UNSET,
    )


def _door(state: State, fresh: Freshness, listed: Mapping[int, str], origin: str) -> Door:
    door = Door(icon=Icon(f"{origin}/icon/open.svg", f"{origin}/icon/closed.svg"))
    status = state.status
    if status is None:
        return door
    door.lastchange = int(status.at.timestamp())
    door.trigger_person = signer(status, listed) or UNSET
    if not fresh.unknown:
        door.open = state.value == "open"
        # The SpaceAPI knows two states; the third is told in words.
        words = [*(["away"] if state.value == "away" else []), *([status.note] if status.note else [])]
        door.message = ": ".join(words) or UNSET
    return door


def _sensors(config: Config, state: State, listed: Mapping[int, str], now: datetime) -> Sensors:
    oldest = now - timedelta(seconds=config.stale_after) if config.stale_after else None
    temperature = [
        Thermometer(
            stored.event.value, "°C", config.sensor_names.get(sensor) or f"Sensor {sensor}", int(stored.at.timestamp())
        )
        for sensor, stored in sorted(state.sensors.items())
        if isinstance(stored.event, Temperature) and (oldest is None or stored.at >= oldest)
    ]
    return Sensors(temperature or UNSET, [People(len(state.people), names_of(state, listed) or UNSET)])


def problem(data: bytes) -> str | None:
    """Return what a directory would refuse of a document, or None where there is nothing."""
    try:
        msgspec.json.decode(data, type=Document)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        return str(error)
    return None
