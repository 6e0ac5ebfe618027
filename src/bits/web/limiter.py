"""How often somebody may do something."""

from __future__ import annotations

import math
import time
from collections import OrderedDict
from collections.abc import Callable, Hashable

REMEMBERED = 1024  # keys; one that has long been quiet is as good as a new one


class Limiter:
    """A bucket for each key: so many requests at once, and then so many a minute.

    Args:
        rate: a minute, and at once; 0: as many as come.
        clock: seconds, never backwards.
    """

    def __init__(self, rate: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._rate = rate
        self._clock = clock
        self._full_at: OrderedDict[Hashable, float] = OrderedDict()  # by key: when its bucket will be full again

    def take(self, key: Hashable) -> int:
        """Let a request through, and return 0; or return the seconds until another may come."""
        if not self._rate:
            return 0
        now, each = self._clock(), 60 / self._rate
        full_at = max(now, self._full_at.pop(key, now)) + each
        over = full_at - now - 60
        self._full_at[key] = full_at - each if over > 1e-6 else full_at
        if len(self._full_at) > REMEMBERED:
            self._full_at.popitem(last=False)
        return max(1, math.ceil(over)) if over > 1e-6 else 0
