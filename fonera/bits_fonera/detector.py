"""Deduce from sightings of MAC addresses who has arrived and who has left; no I/O, no clock.

A MAC address is turned into its digest as it comes in, and only the digest is kept. See docs/mac.md.
"""

from __future__ import annotations

import hmac

_HEX = frozenset("0123456789abcdefABCDEF")


def digest(mac: str, key: str) -> str:
    """Return what stands for a MAC address on every wire and in every table.

    Args:
        mac: six bytes in hexadecimal with a colon or hyphen between, in either case.
        key: the space's key, `mac_key` on both sides.
    Returns: HMAC-SHA256 of the address as 17 lower-case characters with colons, in 64 lower-case hexadecimal digits.
    Raises: ValueError: this is no MAC address, or the key is empty: anybody could compute such a digest.
    Source: docs/protocol.md, Devices.
    """
    if not key:
        raise ValueError("the key for digests of MAC addresses is empty")
    text = ":".join(f"{byte:02x}" for byte in _bytes(mac))
    return hmac.digest(key.encode(), text.encode(), "sha256").hex()


def is_randomised(mac: str) -> bool:
    """Tell whether a device made this address up, as phones do for each network.

    Returns: True for a locally administered address of one device; False for a maker's address and for a multicast one.
    Raises: ValueError: this is no MAC address.
    Source: IEEE 802, section 8.4: bit 1 of the first byte is "local", bit 0 is "group".
    """
    return _bytes(mac)[0] & 0b11 == 0b10


def _bytes(mac: str) -> bytes:
    words = mac.replace("-", ":").split(":")
    if len(words) != 6 or any(len(word) != 2 or not set(word) <= _HEX for word in words):
        raise ValueError(f"{mac!r} is no MAC address: expected six bytes with a colon between, as in 00:1b:63:84:45:e6")
    return bytes.fromhex("".join(words))


class Detector:
    """Who is about, by digest.

    Arriving. Sightings of a device make a visit as long as no gap between two of them is longer than half of
    `arrive_after_ms`. It has arrived when first and last are at least `arrive_after_ms` apart. So it takes three
    sightings at least, spread over the whole time: who passes by twice, however far apart, has not come.

    Leaving. A device that has arrived leaves when `leave_after_ms` have gone by without a sighting. Phones sleep, so
    this must be the longer of the two times by far.

    What is deduced depends on the sightings alone, not on how often due() is asked.

    Args:
        key: the space's key for digests.
        arrive_after_ms: 0: the first sighting is an arrival.
        leave_after_ms: at least 1.
        limit: how many devices are kept, about or not. One more, and the one not seen for longest is dropped, those
            who have not arrived first: addresses made up by the thousand shall not push members out.
    Raises: ValueError: a time or the limit is out of range, or the key is empty.
    """

    def __init__(self, key: str, arrive_after_ms: int, leave_after_ms: int, limit: int = 1000) -> None:
        if not key:
            raise ValueError("the key for digests of MAC addresses is empty")
        if arrive_after_ms < 0 or leave_after_ms < 1 or limit < 1:
            raise ValueError(
                f"expected arrive_after_ms >= 0, leave_after_ms >= 1, limit >= 1; "
                f"got {arrive_after_ms}, {leave_after_ms}, {limit}"
            )
        self.dropped = 0  # devices that went for want of room
        self._key = key
        self._arrive_after_ms = arrive_after_ms
        self._leave_after_ms = leave_after_ms
        self._limit = limit
        self._now_ms = 0
        # Both in the order of their last sighting, oldest first: who is due is always at the front.
        self._visits: dict[str, tuple[int, int]] = {}  # not arrived: first and last sighting
        self._present: dict[str, int] = {}  # arrived: last sighting
        self._news: list[tuple[str, str, int]] = []  # kind, digest, when it happened

    def sighting(self, mac: str, now_ms: int) -> None:
        """Take note of a device that has just given a sign of life.

        Args:
            mac: its address.
            now_ms: monotonic time.
        Raises: ValueError: this is no MAC address.
        """
        self._seen(digest(mac, self._key), now_ms, self._arrive_after_ms)

    def arrive(self, mac: str, now_ms: int) -> None:
        """Take note of a device that is about beyond doubt: somebody holds it in their hand and registers it.

        It has arrived now, however new it is, so that its leaving will be told.

        Args, Raises: as sighting().
        """
        self._seen(digest(mac, self._key), now_ms, arrive_after_ms=0)

    def resume(self, digests: list[str], now_ms: int) -> None:
        """Go on with devices that were about before a restart: no second `seen` for them, and `gone` still comes.

        They count as sighted now: while nobody looked, nobody can have been seen leaving.
        """
        self._pass_time(now_ms)
        for name in digests:
            self._make_room(name)
            self._visits.pop(name, None)
            self._present.pop(name, None)
            self._present[name] = self._now_ms

    def due(self, now_ms: int) -> list[tuple[str, str, int]]:
        """Return what has happened and was not returned before, oldest first by the time it was deduced.

        Returns: kind, "seen" or "gone"; digest; age in ms. A device came with the first sighting of its visit, and
            left with its last one: that is what the age counts from.
        """
        self._pass_time(now_ms)
        news, self._news = self._news, []
        return [(kind, name, self._now_ms - at_ms) for kind, name, at_ms in news]

    def present(self) -> list[str]:
        """Return the digests of all that have arrived and not left, the one not seen for longest first."""
        return list(self._present)

    @property
    def next_due_ms(self) -> int | None:
        """The time from which due() has something to return, if no sighting comes in between; None: never."""
        if self._news:
            return self._now_ms
        for last_ms in self._present.values():
            return last_ms + self._leave_after_ms
        return None

    def _seen(self, name: str, now_ms: int, arrive_after_ms: int) -> None:
        self._pass_time(now_ms)
        if name in self._present:
            del self._present[name]  # to the end of the order
            self._present[name] = self._now_ms
            return
        first_ms, _ = self._visits.pop(name, (self._now_ms, 0))
        self._make_room(name)
        if self._now_ms - first_ms >= arrive_after_ms:
            self._present[name] = self._now_ms
            self._news.append(("seen", name, first_ms))
        else:
            self._visits[name] = (first_ms, self._now_ms)

    def _pass_time(self, now_ms: int) -> None:
        """Let those go whose time has run out: visits that broke off without a word."""
        self._now_ms = max(self._now_ms, now_ms)  # the order above depends on it
        while self._present:
            name, last_ms = next(iter(self._present.items()))
            if self._now_ms - last_ms < self._leave_after_ms:
                break
            self._leave(name)
        while self._visits:
            name, (_, last_ms) = next(iter(self._visits.items()))
            if 2 * (self._now_ms - last_ms) <= self._arrive_after_ms:
                break
            del self._visits[name]

    def _make_room(self, name: str) -> None:
        if name in self._present or name in self._visits or len(self._present) + len(self._visits) < self._limit:
            return
        self.dropped += 1
        if self._visits:
            del self._visits[next(iter(self._visits))]
        else:
            self._leave(next(iter(self._present)))

    def _leave(self, name: str) -> None:
        self._news.append(("gone", name, self._present.pop(name)))
