"""Where browsers reach this server: for what needs whole addresses, feeds and other people's machines."""

from __future__ import annotations

import re

from sanic import BadRequest, Request

from bits.web import context
from bits.web.auth import is_https
from bits.web.words import N_

HOST = re.compile(r"[A-Za-z0-9._-]{1,253}(:[0-9]{1,5})?|\[[0-9A-Fa-f:.]{2,45}\](:[0-9]{1,5})?")


def origin(request: Request) -> str:
    """Return scheme, host and port as browsers know them: as configured, else as this request says.

    Raises:
        BadRequest: it says what no host is called.
    """
    configured: str = context.of(request).config.public_url
    if configured:
        return configured
    host = request.headers.get("host", "localhost")
    if not HOST.fullmatch(host):
        raise BadRequest(N_("%(name)s: expected a name or an address, and perhaps a port.", name="Host"))
    return f"{'https' if is_https(request) else 'http'}://{host}"
