"""Who has arrived and who has left, deduced from sightings: fonera/bits_fonera/detector.py."""

from __future__ import annotations

import hashlib
import hmac

import pytest
from bits_fonera.detector import Detector, digest, is_randomised
from hypothesis import given
from hypothesis import strategies as st

KEY = "a key of the space, with an è"
MAC = "00:1b:63:84:45:e6"
MINUTE = 60_000
ARRIVE, LEAVE = 5 * MINUTE, 30 * MINUTE
NAMES = [f"00:1b:63:84:45:{n:02x}" for n in range(8)]

# Who is sighted, and how long after the sighting before: gaps about the two times, and none.
sightings = st.lists(
    st.tuples(
        st.sampled_from(NAMES),
        st.one_of(st.integers(0, ARRIVE), st.integers(0, 2 * LEAVE), st.sampled_from([ARRIVE // 2, LEAVE - 1, LEAVE])),
    ),
    max_size=60,
)


def detector(limit: int = 1000) -> Detector:
    return Detector(KEY, ARRIVE, LEAVE, limit)


def arrived(mac: str = MAC) -> Detector:
    """A device that has arrived at 5 minutes and was announced."""
    found = detector()
    for minute in range(6):
        found.sighting(mac, minute * MINUTE)
    assert [kind for kind, _, _ in found.due(ARRIVE)] == ["seen"]
    return found


# --- addresses


def test_a_digest_is_what_the_protocol_says() -> None:
    expected = hmac.new(KEY.encode(), b"00:1b:63:84:45:e6", hashlib.sha256).hexdigest()
    assert digest(MAC, KEY) == digest("00-1B-63-84-45-E6", KEY) == expected
    assert digest(MAC, KEY + "!") != expected


@given(st.one_of(st.text(max_size=20), st.text("0123456789abcdef: -", min_size=17, max_size=17)))
def test_what_is_no_address_has_no_digest(text: str) -> None:
    words = text.replace("-", ":").split(":")
    if len(words) == 6 and all(len(word) == 2 and word.isascii() and word.isalnum() for word in words):
        return
    with pytest.raises(ValueError, match="no MAC address"):
        digest(text, KEY)


def test_there_is_no_digest_without_a_key() -> None:
    for make in (lambda: digest(MAC, ""), lambda: Detector("", ARRIVE, LEAVE)):
        with pytest.raises(ValueError, match="empty"):
            make()


@pytest.mark.parametrize(
    ("mac", "randomised"),
    [
        ("00:1b:63:84:45:e6", False),
        ("02:00:00:00:00:01", True),
        ("da:a1:19:00:00:01", True),
        ("DE-AD-BE-EF-00-01", True),
        ("03:00:00:00:00:01", False),  # local, but of a group: nobody's device
        ("ff:ff:ff:ff:ff:ff", False),
    ],
)
def test_made_up_addresses_are_told_by_their_bit(mac: str, randomised: bool) -> None:
    assert is_randomised(mac) is randomised


def test_times_out_of_range_are_refused() -> None:
    for arrive, leave, limit in ((-1, 1, 1), (0, 0, 1), (0, 1, 0)):
        with pytest.raises(ValueError, match="expected"):
            Detector(KEY, arrive, leave, limit)


# --- arriving


def test_a_device_that_stays_arrives_once_with_the_time_it_came() -> None:
    found = detector()
    for minute in range(10):
        found.sighting(MAC, minute * MINUTE)
        assert found.due(minute * MINUTE) == ([("seen", digest(MAC, KEY), ARRIVE)] if minute == 5 else [])
    assert found.present() == [digest(MAC, KEY)]


def test_who_asks_late_hears_the_same_with_a_greater_age() -> None:
    found = detector()
    for minute in range(6):
        found.sighting(MAC, minute * MINUTE)
    assert found.next_due_ms == ARRIVE
    assert found.due(7 * MINUTE) == [("seen", digest(MAC, KEY), 7 * MINUTE)]
    assert found.due(7 * MINUTE) == []


@given(st.integers(0, 2 * LEAVE), st.integers(0, 2 * LEAVE))
def test_who_passes_by_twice_never_arrives(start: int, gap: int) -> None:
    found = detector()
    found.sighting(MAC, start)
    found.sighting(MAC, start + gap)
    assert found.due(start + gap + LEAVE) == []
    assert found.present() == []


def test_a_gap_of_more_than_half_the_time_begins_a_new_visit() -> None:
    found = detector()
    for at in (0, ARRIVE // 2, ARRIVE + 1, ARRIVE + 1 + ARRIVE // 2):
        found.sighting(MAC, at)
        assert found.due(at) == []
    found.sighting(MAC, 2 * ARRIVE + 1)
    assert found.due(2 * ARRIVE + 1) == [("seen", digest(MAC, KEY), ARRIVE)]


def test_without_an_arrival_time_the_first_sighting_will_do() -> None:
    found = Detector(KEY, 0, LEAVE)
    found.sighting(MAC, 7)
    assert found.due(7) == [("seen", digest(MAC, KEY), 0)]


# --- leaving


def test_a_device_leaves_with_the_time_of_its_last_sighting() -> None:
    found = arrived()
    assert found.next_due_ms == ARRIVE + LEAVE
    assert found.due(ARRIVE + LEAVE - 1) == []
    assert found.due(ARRIVE + LEAVE + 10) == [("gone", digest(MAC, KEY), LEAVE + 10)]
    assert found.present() == []
    assert found.next_due_ms is None


@given(st.lists(st.integers(0, LEAVE - 1), max_size=50))
def test_a_phone_that_sleeps_for_less_never_leaves(gaps: list[int]) -> None:
    found, now = arrived(), ARRIVE
    for gap in gaps:
        now += gap
        found.sighting(MAC, now)
    assert found.due(now) == []
    assert found.present() == [digest(MAC, KEY)]


def test_who_comes_back_after_the_time_has_left_even_if_nobody_asked_meanwhile() -> None:
    found = arrived()
    back = ARRIVE + 2 * LEAVE
    for minute in range(6):
        found.sighting(MAC, back + minute * MINUTE)
    name = digest(MAC, KEY)
    assert found.due(back + ARRIVE) == [("gone", name, 2 * LEAVE + ARRIVE), ("seen", name, ARRIVE)]


def test_time_does_not_run_backwards() -> None:
    found = arrived()
    found.sighting(MAC, 0)
    assert found.next_due_ms == ARRIVE + LEAVE


# --- a restart


def test_after_a_restart_nobody_arrives_again_and_all_can_leave() -> None:
    names = arrived().present()
    found = detector()
    found.resume(names, 1000)
    for minute in range(20):
        found.sighting(MAC, minute * MINUTE + 1000)
    now = 19 * MINUTE + 1000
    assert found.due(now) == []
    assert found.due(now + LEAVE) == [("gone", names[0], LEAVE)]


# --- properties


@given(sightings, st.integers(1, 10))
def test_each_device_is_seen_and_gone_in_turn_and_in_the_order_of_time(
    chain: list[tuple[str, int]], limit: int
) -> None:
    found, now = detector(limit), 0
    last: dict[str, tuple[str, int]] = {}

    def hear() -> None:
        for kind, name, age in found.due(now):
            before, at = last.get(name, ("gone", 0))
            assert kind != before
            assert at <= now - age <= now
            last[name] = (kind, now - age)
        assert {name for name, (kind, _) in last.items() if kind == "seen"} == set(found.present())

    for mac, gap in chain:
        now += gap
        found.sighting(mac, now)
        hear()
        assert len(found.present()) <= limit
    now += LEAVE
    hear()
    assert found.present() == []


@given(sightings, st.integers(1, 10), st.lists(st.booleans(), min_size=60, max_size=60))
def test_it_does_not_matter_how_often_one_asks(chain: list[tuple[str, int]], limit: int, ask: list[bool]) -> None:
    often, now_and_then, now = detector(limit), detector(limit), 0
    told: list[list[tuple[str, str, int]]] = [[], []]
    for (mac, gap), asked in zip(chain, ask, strict=False):
        now += gap
        for found, news, asking in ((often, told[0], True), (now_and_then, told[1], asked)):
            found.sighting(mac, now)
            if asking:
                news += [(kind, name, now - age) for kind, name, age in found.due(now)]
    now += LEAVE
    for found, news in ((often, told[0]), (now_and_then, told[1])):
        news += [(kind, name, now - age) for kind, name, age in found.due(now)]
    assert told[0] == told[1]


@given(sightings)
def test_the_next_due_time_is_the_first_at_which_there_is_something_due(chain: list[tuple[str, int]]) -> None:
    found, now = detector(), 0
    for mac, gap in chain:
        now += gap
        found.sighting(mac, now)
        found.due(now)
    while (due := found.next_due_ms) is not None:
        assert found.due(due - 1) == []
        assert found.due(due) != []


# --- bounds


def test_made_up_addresses_by_the_thousand_push_no_member_out() -> None:
    found, mac = Detector(KEY, ARRIVE, LEAVE, limit=20), ARRIVE
    for minute in range(6):
        found.sighting(MAC, minute * MINUTE)
    for n in range(1000):
        found.sighting(f"02:00:00:00:{n >> 8:02x}:{n & 255:02x}", mac)
    assert found.present() == [digest(MAC, KEY)]
    assert found.dropped == 1000 - 19


def test_when_all_are_present_the_one_not_seen_for_longest_leaves_for_the_next() -> None:
    found = Detector(KEY, 0, LEAVE, limit=2)
    for now, mac in enumerate(NAMES[:3]):
        found.sighting(mac, now)
    names = [digest(mac, KEY) for mac in NAMES]
    assert found.due(2) == [("seen", names[0], 2), ("seen", names[1], 1), ("gone", names[0], 2), ("seen", names[2], 0)]
    assert found.present() == names[1:3]
    assert found.dropped == 1


def test_more_than_there_is_room_for_cannot_be_resumed() -> None:
    found = Detector(KEY, ARRIVE, LEAVE, limit=2)
    names = [digest(mac, KEY) for mac in NAMES[:3]]
    found.resume(names, 0)
    assert found.due(0) == [("gone", names[0], 0)]
    assert found.present() == names[1:]


def test_no_address_is_kept() -> None:
    found = arrived()
    found.sighting("00:1b:63:84:45:e7", ARRIVE)
    assert "00:1b:63" not in repr(vars(found))


def test_who_registers_a_device_in_their_hand_has_arrived() -> None:
    detector = Detector(KEY, 300_000, 1_200_000)
    detector.sighting(MAC, 1_000)
    detector.arrive(MAC, 5_000)
    assert detector.due(6_000) == [("seen", digest(MAC, KEY), 5_000)]
    detector.arrive(MAC, 7_000)
    assert detector.due(8_000) == []
    assert detector.due(1_207_000) == [("gone", digest(MAC, KEY), 1_200_000)]
