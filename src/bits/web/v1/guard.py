"""Who may write: tokens (RFC 6750), and how often."""

from __future__ import annotations

import math
import time
from collections import OrderedDict
from collections.abc import Callable
from datetime import UTC, datetime

from sanic import Request

from bits import tokens
from bits.tokens import Token
from bits.web import context
from bits.web.v1.problem import Refusal

REALM = 'Bearer realm="bits"'
REMEMBERED = 1024  # tokens; one that has long been quiet is as good as a new one


class Limiter:
    """A bucket for each token: so many requests at once, and then so many a minute.

    Args:
        rate: a minute, and at once; 0: as many as come.
        clock: seconds, never backwards.
    """

    def __init__(self, rate: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._rate = rate
        self._clock = clock
        self._full_at: OrderedDict[int, float] = OrderedDict()  # by token: when its bucket will be full again

    def take(self, token: int) -> int:
        """Let a request through, and return 0; or return the seconds until another may come."""
        if not self._rate:
            return 0
        now, each = self._clock(), 60 / self._rate
        full_at = max(now, self._full_at.pop(token, now)) + each
        over = full_at - now - 60
        self._full_at[token] = full_at - each if over > 1e-6 else full_at
        if len(self._full_at) > REMEMBERED:
            self._full_at.popitem(last=False)
        return max(1, math.ceil(over)) if over > 1e-6 else 0


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
