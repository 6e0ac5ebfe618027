"""Who may write: tokens (RFC 6750), and how often."""

from __future__ import annotations

from datetime import UTC, datetime

from sanic import Request

from bits import tokens
from bits.tokens import Token
from bits.web import context
from bits.web.v1.problem import Refusal

REALM = 'Bearer realm="bits"'


async def allow(request: Request, scope: str) -> Token:
    """Return whose token came with a request.

    Raises:
        Refusal: there is none, it is unknown, it does not allow this, or it was used too often.
    """
    ctx = context.of(request)
    scheme, _, given = request.headers.get("authorization", "").partition(" ")
    if scheme.lower() != "bearer":
        said = "Expected a header Authorization: Bearer bits_…; members make such tokens at /tokens."
        raise Refusal("no-token", said, headers={"WWW-Authenticate": REALM})
    token = await tokens.find(ctx.engine, given.strip(), datetime.now(UTC))
    if token is None:
        said = "This token is not known: it was revoked, or it is not whole."
        raise Refusal("bad-token", said, headers={"WWW-Authenticate": f'{REALM}, error="invalid_token"'})
    wait = ctx.limiter.take(token.id)
    if wait:
        said = f"This token was used too often (api_rate): the next request may come in {wait} s."
        raise Refusal("too-many", said, headers={"Retry-After": str(wait)})
    if scope not in token.scopes:
        said = f"This token allows {', '.join(token.scopes)}: expected {scope}."
        challenge = f'{REALM}, error="insufficient_scope", scope="{scope}"'
        raise Refusal("insufficient-scope", said, headers={"WWW-Authenticate": challenge})
    return token
