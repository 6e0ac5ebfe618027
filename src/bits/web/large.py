"""Bodies larger than the server takes in general: read by the handlers that want them, up to their own limit."""

from __future__ import annotations

from typing import cast

from sanic import Request
from sanic.exceptions import PayloadTooLarge
from sanic.http import Http

from bits.web.words import N_

# So much of what is refused is read and forgotten: a browser shows our answer only once it has sent everything.
FORGOTTEN = 16 * 1024 * 1024


async def read_body(request: Request, limit: int) -> bool:
    """Read the body of a request to a handler with stream=True.

    Returns:
        False: it has more than limit bytes, and was not kept.
    Raises:
        PayloadTooLarge: it has more than anybody would send in earnest.
    """
    stream = cast(Http, request.stream)
    parts: list[bytes] = []
    size = 0
    while (data := await stream.read()) is not None:
        size += len(data)
        if size <= limit:
            parts.append(data)
        else:
            parts.clear()
        if size > FORGOTTEN:
            raise PayloadTooLarge(N_("The body has more than %(most)s bytes.", most=FORGOTTEN))
    request.body = b"".join(parts)
    return size <= limit
