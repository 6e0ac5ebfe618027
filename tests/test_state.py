"""The fold and the judgement of its age."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bits.events import (
    BRIDGE,
    WEB,
    Enter,
    Event,
    Heartbeat,
    Leave,
    Message,
    Sound,
    Status,
    Stored,
    Temperature,
)
from bits.state import HISTORY, State, apply, changes, freshness
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
        if changes(thinned, event):
            thinned = apply(thinned, stored(seq, event))
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
