"""Before a space registers with the SpaceAPI's directory: what it would refuse, and what it would like better."""

from __future__ import annotations

import urllib.request
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import NamedTuple
from urllib.error import HTTPError, URLError

import msgspec

from bits.config import Config
from bits.events import BRIDGE, Status, Stored, Temperature
from bits.spaceapi import document, problem
from bits.state import Freshness, State, apply

PATIENCE = 10.0  # seconds: the directory waits no longer
LARGEST = 1 << 20  # bytes; documents have a few thousand


class Finding(NamedTuple):
    is_refused: bool  # else it is advice
    sentence: str


def settings(config: Config) -> Iterator[Finding]:
    """Check what these settings would make, with nothing known yet and with everything."""
    now = datetime.now(UTC)
    full = apply(State(), Stored(1, Status("open"), BRIDGE, now, None, note="note"))
    full = apply(full, Stored(2, Temperature(0, 20.0), BRIDGE, now, None))
    origin = config.public_url or "https://space.example"
    for state in (State(), full):
        made = document(config, state, Freshness(False, False, None), {}, now, origin)
        if wrong := problem(msgspec.json.encode(made)):
            yield Finding(True, wrong)
            return
    if not config.public_url:
        yield Finding(False, "public_url is not set: addresses are made of the name that each client calls us by")
    elif not config.public_url.startswith("https://"):
        yield Finding(False, "public_url is not https://: the directory wants a valid certificate")
    if config.space_latitude is None:
        yield Finding(False, "space_latitude and space_longitude are not set: valid for version 15 only, on no map")
    if not config.space_contact:
        yield Finding(False, "space_contact is not set: nobody will know how to reach you")
    if not config.space_logo:
        yield Finding(False, "space_logo is not set: ours is shown")
    if not config.space_url:
        yield Finding(False, "space_url is not set: this page stands for the space's own")


def endpoint(url: str) -> Iterator[Finding]:
    """Ask an endpoint as the directory does, and check the answer."""
    request = urllib.request.Request(url, headers={"Origin": "https://validator.example"})  # noqa: S310
    try:
        with urllib.request.urlopen(request, timeout=PATIENCE) as answer:  # noqa: S310 - the user named it
            data, headers, final = answer.read(LARGEST + 1), answer.headers, answer.url
    except HTTPError as error:
        yield Finding(True, f"the answer is {error.code} {error.reason}")
        return
    except (URLError, OSError) as error:
        yield Finding(True, f"there is no answer: {getattr(error, 'reason', error)}")
        return
    if headers.get("Access-Control-Allow-Origin") not in ("*", "https://validator.example"):
        yield Finding(True, "Access-Control-Allow-Origin is not *: other sites' pages cannot read it")
    if not (headers.get("Content-Type") or "").startswith("application/json"):
        yield Finding(True, f"Content-Type is {headers.get('Content-Type')}, not application/json")
    if len(data) > LARGEST:
        yield Finding(True, f"it is longer than {LARGEST} bytes")
    elif wrong := problem(data):
        yield Finding(True, wrong)
    if not final.startswith("https://"):
        yield Finding(False, "it is not served by https://: the directory wants a valid certificate")
    if not headers.get("ETag") and not headers.get("Cache-Control"):
        yield Finding(False, "neither ETag nor Cache-Control: each look transfers all of it")
