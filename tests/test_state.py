"""The fold and the judgement of its age."""

from __future__ import annotations

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bits.events import (
    BRIDGE,
    MAC,
    WEB,
    Announce,
    Enter,
    Event,
    Gone,
    Heartbeat,
    Late,
    Leave,
    Message,
    Report,
    Seen,
    Sound,
    Status,
    Stored,
    Temperature,
    Withdraw,
)
from bits.state import ANNOUNCED, HISTORY, State, apply, consequences, freshness
from tests.conftest import at

events = st.one_of(
    st.sampled_from(["open", "closed", "away"]).map(Status),
    st.builds(Temperature, st.integers(0, 3), st.floats(-50, 50)),
    st.integers(0, 3).map(Enter),
    st.integers(0, 3).map(Leave),
    st.just(Message("ciao ☕")),
    st.just(Sound(1)),
    st.just(Heartbeat()),
)


def announcement(state: State) -> list[int]:
    return [seq for seq, one in state.announced.items() if one is not None]


def test_what_is_announced_stands_until_it_is_withdrawn() -> None:
    state = State()
    for seq in range(1, ANNOUNCED + 3):
        state = apply(state, Stored(seq, Announce("closed", at(seq)), WEB, at(0), until=at(seq + 60)))
    newest = list(range(3, ANNOUNCED + 3))
    assert announcement(state) == newest
    assert consequences(state, Report(Withdraw(1), WEB, at(0))) == []  # long since forgotten
    withdrawn = Report(Withdraw(5), WEB, at(0))
    assert consequences(state, withdrawn) == [withdrawn]
    state = apply(state, withdrawn.stored(100))
    assert announcement(state) == [seq for seq in newest if seq != 5]
    assert consequences(state, withdrawn) == []


def test_a_member_may_say_more_about_the_same_status() -> None:
    state = apply(State(), Stored(1, Status("away"), WEB, at(0), "anna"))
    assert consequences(state, Report(Status("away"), WEB, at(1))) == []
    told = Report(Status("away"), WEB, at(1), "anna", note="at the shop", until=at(900))
    assert consequences(state, told) == [told]
    state = apply(state, told.stored(2))
    assert consequences(state, told) == []
    assert consequences(state, Report(Status("away"), BRIDGE, at(2))) == []  # the button knows of no notes


def stored(seq: int, event: Event, source: str = BRIDGE) -> Stored:
    return Stored(seq, event, source, at(seq))


def test_each_kind_changes_its_part_and_nothing_else() -> None:
    state = apply(State(), stored(1, Status("open"), WEB))
    assert state.status
    assert state.status.seq == 1
    assert state.heard is None
    state = apply(state, stored(2, Temperature(4, 21.5)))
    assert state.sensors[4].seq == 2
    assert state.history[0].seq == 2
    assert state.heard == at(2)
    state = apply(state, stored(3, Enter(7)))
    assert dict(state.people) == {7: at(3)}
    state = apply(state, stored(4, Message("hi"), WEB))
    assert state.message
    assert state.message.seq == 4
    assert state.heard == at(3)
    state = apply(state, stored(5, Leave(7)))
    assert not state.people
    state = apply(state, stored(9, Heartbeat()))
    assert (state.seq, state.heard, state.status and state.status.seq) == (9, at(9), 1)


def test_an_old_event_is_refused() -> None:
    state = apply(State(), stored(5, Status("open")))
    with pytest.raises(ValueError, match="expected a higher seq"):
        apply(state, stored(5, Status("closed")))


@given(st.lists(events, max_size=130))
def test_history_is_the_newest_samples_newest_first(happened: list[Event]) -> None:
    state = State()
    for seq, event in enumerate(happened, start=1):
        state = apply(state, stored(seq, event))
    samples = [seq for seq, event in enumerate(happened, start=1) if isinstance(event, Temperature)]
    assert [sample.seq for sample in state.history] == samples[::-1][:HISTORY]


@given(st.lists(events, max_size=40))
def test_dropping_what_changes_nothing_leads_to_the_same_place(happened: list[Event]) -> None:
    whole = thinned = State()
    for seq, event in enumerate(happened, start=1):
        whole = apply(whole, stored(seq, event))
        for wanted in consequences(thinned, Report(event, BRIDGE, at(seq))):
            thinned = apply(thinned, stored(seq, wanted.event))
    known = whole.status.event if whole.status else None
    assert (thinned.status.event if thinned.status else None) == known
    assert set(thinned.people) == set(whole.people)
    assert thinned.history == whole.history


def test_freshness_turns_exactly_at_its_time() -> None:
    state = apply(State(), stored(10, Status("open")))
    before, on_time = freshness(state, at(69.9), 60), freshness(state, at(70), 60)
    assert (before.stale, before.unknown, before.until) == (False, False, at(70))
    assert (on_time.stale, on_time.unknown, on_time.until) == (True, True, None)


def test_a_status_set_by_hand_is_believed_while_the_board_is_silent() -> None:
    state = apply(apply(State(), stored(10, Status("open"))), stored(100, Status("closed"), WEB))
    fresh = freshness(state, at(120), 60)
    assert (fresh.stale, fresh.unknown, fresh.until) == (True, False, at(160))
    assert freshness(state, at(160), 60).unknown


def test_nothing_heard_ever_is_stale_and_zero_means_never() -> None:
    assert freshness(State(), at(0), 60).stale
    assert not freshness(State(), at(0), 0).stale


def numbered(number: int, event: Event, when: float, *, age: float = 0, bridge: str = "attic") -> Report:
    return Report(event, BRIDGE, at(when), bridge=bridge, number=number, age=timedelta(seconds=age))


def after(state: State, *reports: Report) -> State:
    for report in reports:
        for one in consequences(state, report):
            state = apply(state, one.stored(state.seq + 1))
    return state


def test_a_number_counts_once_and_is_kept_even_where_it_tells_nothing_new() -> None:
    state = after(State(), numbered(1, Status("open"), 0), numbered(2, Status("open"), 1))
    assert (state.seq, dict(state.bridges)) == (2, {"attic": 2})
    assert consequences(state, numbered(2, Status("closed"), 2)) == []
    assert consequences(state, numbered(2, Status("closed"), 2, bridge="cellar")) != []
    (sign,) = consequences(state, numbered(9, Status("open"), 3))
    assert (sign.event, sign.bridge, sign.number) == (Heartbeat(), "attic", 9)


def test_news_that_come_late_do_not_undo_what_happened_after_them() -> None:
    state = after(State(), Report(Status("open"), WEB, at(100)), numbered(1, Status("closed"), 40, age=90))
    assert state.value == "open"
    assert dict(state.bridges) == {"attic": 1}
    assert consequences(state, numbered(2, Status("away"), 50, age=80))[0].event == Late("away")
    # What happened since counts, in its order, even where the network made times fall by a little.
    state = after(state, numbered(3, Status("closed"), 110, age=30), numbered(4, Status("open"), 109.9, age=30))
    assert state.value == "open"
    assert state.status
    assert state.status.at == at(110)


def test_a_clock_that_was_set_back_holds_nothing_up() -> None:
    state = after(State(), Report(Status("open"), WEB, at(3600)), numbered(1, Status("closed"), 10))
    assert state.value == "closed"


def test_last_heard_does_not_go_back_with_late_news() -> None:
    state = after(State(), Report(Heartbeat(), BRIDGE, at(100)), numbered(1, Temperature(0, 20), 40, age=60))
    assert state.heard == at(100)


def test_a_device_brings_its_owner_and_the_last_one_takes_him_along() -> None:
    phone, laptop = "a" * 64, "b" * 64

    def about(event: Seen | Gone, when: float) -> Report:
        return Report(event, MAC, at(when), "anna")

    state = after(State(), about(Seen(phone, 7), 1), about(Seen(phone, 7), 2), about(Seen(laptop, 7), 3))
    assert (state.seq, dict(state.people)) == (3, {7: at(1)})
    state = after(state, about(Gone(phone, None), 10), about(Gone("c" * 64, None), 11), about(Seen("c" * 64, None), 12))
    assert (state.seq, set(state.people), set(state.devices)) == (4, {7}, {laptop})
    state = after(state, about(Gone(laptop, None), 20))
    assert (state.seq, set(state.people), set(state.devices)) == (6, set(), set())
    # Who left by the keypad is not brought back by a phone that was there all along, nor taken out twice.
    state = after(State(), about(Seen(phone, 7), 1), Report(Leave(7), BRIDGE, at(5)), about(Seen(phone, 7), 6))
    assert not state.people
    assert after(state, about(Gone(phone, 7), 9)).seq == 4
