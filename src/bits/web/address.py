"""Where browsers reach this server: for what needs whole addresses, feeds and other people's machines."""

from __future__ import annotations

from sanic import Request

from bits.web import context
from bits.web.auth import is_https


def origin(request: Request) -> str:
    """Return scheme, host and port as browsers know them: as configured, else as this request says."""
    configured: str = context.of(request).config.public_url
    if configured:
        return configured
    return f"{'https' if is_https(request) else 'http'}://{request.headers.get('host', 'localhost')}"
