"""What to say at this moment: until when it will probably be open, and when it will probably open."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import NamedTuple
from zoneinfo import ZoneInfo

import numpy as np

from bits.forecast.nowcast import HORIZONS, SPANS, Now, inputs, predict, state_at
from bits.forecast.occupancy import OPEN, UNKNOWN, Floats, Record, open_and_known
from bits.forecast.outlook import MINUTES, SLOTS, Outlook
from bits.forecast.slots import midnight, place

STEP = timedelta(minutes=MINUTES)
LIKELY = 0.5


class Opening(NamedTuple):
    """When the space will be open. is_likely: at least as probable as not; else it is just the best chance."""

    at: datetime
    p: float
    is_likely: bool


@dataclass(frozen=True, slots=True)
class Present:
    """The outlook at an instant.

    Args:
        at: the instant.
        is_open: what holds then; None: unknown.
        p: probability that it is open 30, 60, … minutes later, twelve hours long; empty: nothing is known.
        until: when an open space will probably have closed; None: not within twelve hours, or it is not open.
        opening: when a closed one will probably open, within the week; None: it is open, or nothing is known.
    """

    at: datetime
    is_open: bool | None
    p: tuple[float, ...] = ()
    until: datetime | None = None
    opening: Opening | None = None


def at_present(outlook: Outlook, record: Record, zone: ZoneInfo, now: datetime) -> Present:
    """Say what can be said at an instant.

    Args:
        record: of the last three days at least.
    """
    day, slot = place(now.timestamp(), zone, MINUTES)
    ahead = (day - outlook.origin).days
    index = len(outlook.before) * SLOTS + ahead * SLOTS + slot
    weekly = np.concatenate([outlook.before, outlook.p]).reshape(-1)
    (state,), age = state_at(record, np.array([now.timestamp()]))
    if not outlook.is_known or state == UNKNOWN or not 0 <= ahead < 7 or index + HORIZONS >= len(weekly):
        return Present(now, None if state == UNKNOWN else state == OPEN)
    share, expected = _looked_back(record, weekly, index, now.timestamp())
    known = Now(
        np.array([state == OPEN]),
        age,
        share[None],
        expected[None],
        weekly[index : index + HORIZONS + 1][None],
    )
    p = predict(outlook.weights, inputs(known), known.is_open)[0]
    p = np.where(_is_closure(outlook, index)[:HORIZONS], 0.0, p)
    if state == OPEN:
        return Present(now, True, tuple(p.tolist()), until=_until(p, now))
    return Present(now, False, tuple(p.tolist()), opening=_opening(outlook, p, weekly, index, now, zone))


def _looked_back(record: Record, weekly: Floats, index: int, now: float) -> tuple[Floats, Floats]:
    """Return the share open over each of SPANS, and the share that was expected."""
    expected = np.array([weekly[max(index - round(hours * SLOTS / 24), 0) : index].mean() for hours in SPANS])
    spans = np.array(SPANS) * 3600
    pieces = open_and_known(record, now - np.append(spans[::-1], 0.0))
    seconds, known = (np.cumsum(piece[::-1]) for piece in pieces)
    return np.clip((seconds + (spans - known) * expected) / spans, 0, 1), expected


def _is_closure(outlook: Outlook, index: int) -> np.ndarray[tuple[int], np.dtype[np.bool_]]:
    days = np.concatenate([np.zeros(len(outlook.before), bool), outlook.closed])
    return np.repeat(days, SLOTS)[index + 1 :]


def _until(p: Floats, now: datetime) -> datetime | None:
    """Return when the probability falls to one half; it is 1 now."""
    below = np.flatnonzero(p < LIKELY)
    if not len(below):
        return None
    first = int(below[0])
    start = p[first - 1] if first else 1.0
    share = (start - LIKELY) / max(start - p[first], 1e-9)
    return now + (first + float(share)) * STEP


def _opening(outlook: Outlook, p: Floats, weekly: Floats, index: int, now: datetime, zone: ZoneInfo) -> Opening | None:
    """Return the first slot that is as likely open as not; else the best chance of the week."""
    coming = weekly[index + 1 :].copy()
    coming[: len(p)] = p
    likely = np.flatnonzero(coming >= LIKELY)
    best = int(likely[0]) if len(likely) else int(coming.argmax())
    if coming[best] <= 0:
        return None
    if best < HORIZONS:
        at = now + (best + 1) * STEP
    else:
        day, slot = divmod(index + 1 + best - len(outlook.before) * SLOTS, SLOTS)
        start = datetime.fromtimestamp(midnight(outlook.origin + timedelta(days=day), zone), UTC)
        local = start.astimezone(zone).replace(tzinfo=None) + slot * STEP
        at = local.replace(tzinfo=zone)
    return Opening(_round(at.astimezone(UTC)), float(coming[best]), bool(len(likely)))


def _round(at: datetime) -> datetime:
    """Return the begin of the half hour, since no more is claimed."""
    return at - timedelta(minutes=at.minute % MINUTES, seconds=at.second, microseconds=at.microsecond)
