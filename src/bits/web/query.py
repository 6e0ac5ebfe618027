"""Parameters of a request: read, checked, or refused with a sentence."""

from __future__ import annotations

import re
from typing import overload

from sanic import BadRequest, Request

from bits.web.words import N_

SEQ_MOST = 2**63 - 1
ID_MOST = 2**31 - 1  # of a row in any table but the log


def whole(given: str, low: int, high: int) -> int | None:
    """Read a decimal number; None where it is no whole one from low to high."""
    # isdecimal takes any script's digits and int() an unbounded length: neither is wanted here.
    is_one = given.isascii() and given.isdecimal() and len(given) <= 19 and low <= int(given) <= high
    return int(given) if is_one else None


@overload
def integer(request: Request, name: str, default: int, low: int, high: int) -> int: ...
@overload
def integer(request: Request, name: str, default: None, low: int, high: int) -> int | None: ...
def integer(request: Request, name: str, default: int | None, low: int, high: int) -> int | None:
    """Return a decimal parameter of the query.

    Raises:
        BadRequest: it is not a whole number from low to high.
    """
    given = request.args.get(name)
    if given is None:
        return default
    number = whole(str(given), low, high)
    if number is None:
        expected = N_(
            "%(name)s=%(given)s: expected a whole number from %(low)s to %(high)s.",
            name=name,
            given=given[:40],
            low=low,
            high=high,
        )
        raise BadRequest(expected)
    return number


def seconds(request: Request, name: str, high: float) -> float:
    """Return a parameter in seconds; 0 where it is missing.

    Raises:
        BadRequest: it is not a plain decimal from 0 to high.
    """
    given = str(request.args.get(name, "0"))
    if not (re.fullmatch(r"[0-9]{1,9}(\.[0-9]{1,9})?", given) and float(given) <= high):
        expected = N_(
            "%(name)s=%(given)s: expected seconds from 0 to %(high)s.", name=name, given=given[:40], high=f"{high:g}"
        )
        raise BadRequest(expected)
    return float(given)


def choice(request: Request, name: str, default: str, choices: tuple[str, ...]) -> str:
    """Return a parameter of the query that has a few possible values.

    Raises:
        BadRequest: it is none of them.
    """
    given = str(request.args.get(name, default))
    if given not in choices:
        expected = N_("%(name)s=%(given)s: expected %(choices)s.", name=name, given=given[:40], choices=choices)
        raise BadRequest(expected)
    return given
