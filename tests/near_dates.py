"""For schemathesis: what is announced lies ahead, which no schema can say."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import schemathesis


@schemathesis.hook
def map_body(context: Any, body: Any) -> Any:
    """Bring announcements whose times can be read near; all else stays as it is, and wrong."""
    if not isinstance(body, dict) or not {"begins", "ends"} <= body.keys():
        return body
    try:
        given = [datetime.fromisoformat(body[key]) for key in ("begins", "ends")]
    except (TypeError, ValueError):
        return body
    if any(at.tzinfo is None for at in given):
        return body
    now = datetime.now(UTC)
    ahead = {key: (now + timedelta(days=days)).isoformat() for key, days in (("begins", 1), ("ends", 2))}
    return body | ahead
