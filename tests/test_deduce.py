"""What the server deduces: pure rules, tried on tables of cases and on many lives."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import reduce
from zoneinfo import ZoneInfo

from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import insert

from bits import schema
from bits.deduce import STAYS, Deduction, Past, Rules, deduce, remember
from bits.events import AUTO, BRIDGE, MAC, WEB, Enter, Gone, Leave, Message, Report, Seen, Status, Stored, Temperature
from bits.state import State, apply, consequences
from bits.store import Store, writing
from tests.conftest import at

PHONE, LAPTOP, OTHERS = "a" * 64, "b" * 64, "c" * 64
HOLD = 1800.0

RULES = Rules(
    opens=True,
    closes=True,
    hold=timedelta(seconds=HOLD),
    close_after=timedelta(0),
    warning=timedelta(seconds=900),
    zone=UTC,
)
FORGETFUL = replace(RULES, close_after=timedelta(hours=2))


class Life:
    """A space, driven by hand: what is told, and what the caretaker would do of it."""

    def __init__(self, rules: Rules = RULES) -> None:
        self.rules = rules
        self.state = State()
        self.past = Past()
        self.log: list[Stored] = []

    def tell(self, event: object, when: float, source: str = BRIDGE) -> Life:
        for report in consequences(self.state, Report(event, source, at(when))):  # type: ignore[arg-type]
            stored = report.stored(self.state.seq + 1)
            self.log.append(stored)
            self.state = apply(self.state, stored)
            self.past = remember(self.past, stored)
        return self

    def seen(self, when: float, digest: str = PHONE, person: int = 1) -> Life:
        return self.tell(Seen(digest, person), when, MAC)

    def gone(self, when: float, digest: str = PHONE) -> Life:
        return self.tell(Gone(digest, None), when, MAC)

    def deduced(self, when: float) -> Deduction:
        return deduce(self.state, self.past, self.rules, at(when))

    def pass_time(self, when: float) -> Life:
        """Do all that follows at an instant."""
        for _ in range(10):
            todo = self.deduced(when)
            if todo.event is None:
                return self
            before = self.state.seq
            self.tell(todo.event, when, todo.source)
            assert self.state.seq > before, f"{todo} changes nothing"
        raise AssertionError("it does not come to rest")


# --- devices


def test_who_arrives_opens_and_the_last_to_leave_closes() -> None:
    life = Life().tell(Status("closed"), 0).seen(4000)
    assert life.deduced(4001) == Deduction(Status("open"), MAC)
    life.pass_time(4001).seen(5000, OTHERS, 2).gone(6000)
    assert life.deduced(6001) == Deduction()
    life.gone(7000, OTHERS)
    assert life.deduced(7001) == Deduction(Status("closed"), MAC)
    assert life.pass_time(7001).state.value == "closed"


def test_nothing_is_deduced_while_what_somebody_set_is_young_and_then_it_is() -> None:
    life = Life().tell(Status("closed"), 1000, WEB).seen(1100)
    assert life.deduced(1100) == Deduction(look=at(1000 + HOLD))
    assert life.deduced(999 + HOLD) == Deduction(look=at(1000 + HOLD))
    assert life.deduced(1000 + HOLD) == Deduction(Status("open"), MAC)
    # Who has gone meanwhile opens nothing.
    assert life.gone(1200).deduced(1000 + HOLD) == Deduction()
    # And closing likewise: somebody opened by hand, the last one left soon after.
    life = Life().seen(0).pass_time(1).tell(Status("open"), 1000).gone(1100)
    assert life.deduced(1200) == Deduction(look=at(1000 + HOLD))
    assert life.deduced(1000 + HOLD) == Deduction(Status("closed"), MAC)


def test_who_was_there_before_somebody_closed_does_not_open_again() -> None:
    life = Life().seen(0).pass_time(1).tell(Status("closed"), 5000)
    assert life.deduced(5000 + 10 * HOLD) == Deduction()
    assert Life().tell(Status("closed"), 5000).seen(5000).deduced(5000 + 10 * HOLD) == Deduction()
    # Nor does their laptop, when they switch it on later; but the next to come does.
    assert life.seen(6000, LAPTOP).deduced(5000 + 10 * HOLD) == Deduction()
    assert life.seen(7000, OTHERS, 2).deduced(5000 + 10 * HOLD) == Deduction(Status("open"), MAC)


def test_who_left_before_somebody_opened_does_not_close() -> None:
    life = Life().seen(0).pass_time(1).gone(100).tell(Status("open"), 200)
    assert life.deduced(200 + 10 * HOLD) == Deduction()


def test_people_at_the_keypad_keep_it_open_and_alone_close_nothing() -> None:
    life = Life().seen(0).pass_time(1).tell(Enter(42), 100).gone(5000)
    assert life.deduced(6000) == Deduction()
    assert life.tell(Leave(42), 7000).deduced(7001) == Deduction(Status("closed"), MAC)
    life = Life().tell(Status("open"), 0).tell(Enter(42), 100).tell(Leave(42), 5000)
    assert life.deduced(9000) == Deduction()


def test_who_signs_out_at_the_keypad_has_left_whatever_they_left_behind() -> None:
    life = Life(FORGETFUL).seen(0).pass_time(1).tell(Leave(1), 5000).tell(Status("closed"), 5001)
    assert life.deduced(50000) == Deduction()
    life.tell(Status("open"), 60000)
    assert life.deduced(60000).look == at(60000 + 7200 - 900)


def test_each_direction_can_be_switched_off() -> None:
    assert Life(replace(RULES, opens=False)).seen(0).deduced(1) == Deduction()
    life = Life(replace(RULES, closes=False)).seen(0).pass_time(1).gone(100)
    assert life.deduced(10**6) == Deduction()


def test_away_is_somebodys_word_too() -> None:
    life = Life().seen(0).pass_time(1).tell(Status("away"), 1000).gone(1100)
    assert life.deduced(10**6) == Deduction()
    assert life.seen(9000).deduced(9000) == Deduction(Status("open"), MAC)


def test_a_repeated_press_counts_where_the_server_had_opened_by_itself() -> None:
    life = Life().seen(0).pass_time(1).tell(Status("open"), 5000)
    assert life.state.status
    assert (life.state.status.source, life.past.by_hand) == (BRIDGE, at(5000))
    assert life.gone(5100).deduced(5200) == Deduction(look=at(5000 + HOLD))
    before = life.state.seq
    assert life.tell(Status("open"), 5300).state.seq == before  # beside somebody's word it tells nothing new


def test_a_press_that_comes_late_wins_over_what_was_deduced_meanwhile() -> None:
    life = Life().tell(Status("open"), 0).seen(100).tell(Status("closed"), 200).seen(3000, OTHERS, 2).pass_time(3000)
    assert life.state.value == "open"
    late = Report(Status("away"), BRIDGE, at(2900), bridge="attic", number=1, age=timedelta(seconds=300))
    assert [one.event for one in consequences(life.state, late)] == [Status("away")]


# --- left open


def test_left_open_it_warns_and_then_closes() -> None:
    life = Life(FORGETFUL).tell(Status("open"), 0)
    assert life.deduced(10) == Deduction(look=at(7200 - 900))
    told = life.deduced(7200 - 900)
    words = "Nobody seen since 12:00: closing at 14:00 unless somebody presses the button"
    assert (told.event, told.source) == (Message(words), AUTO)
    life.pass_time(7200 - 900)
    assert life.deduced(7199) == Deduction(look=at(7200), closing=at(7200))
    assert life.deduced(7200) == Deduction(Status("closed"), AUTO)
    assert life.pass_time(7200).deduced(10**6) == Deduction()


def test_the_words_tell_the_spaces_time() -> None:
    life = Life(replace(FORGETFUL, zone=ZoneInfo("Europe/Rome"))).tell(Status("open"), 0)
    event = life.deduced(7200 - 900).event
    assert isinstance(event, Message)
    assert "since 13:00: closing at 15:00" in event.text


def test_whatever_shows_somebody_keeps_it_open_and_the_warning_is_taken_back() -> None:
    signs: list[Callable[[Life], Life]] = [
        lambda life: life.tell(Status("open"), 6500),
        lambda life: life.tell(Status("open"), 6500, WEB),
        lambda life: life.tell(Enter(4), 6500),
        lambda life: life.seen(6500),
    ]
    for sign in signs:
        life = Life(FORGETFUL).tell(Status("open"), 0).pass_time(6300)
        sign(life)
        todo = life.deduced(6501)
        assert (todo.event, todo.source) == (Message(STAYS), AUTO)
        life.pass_time(6501)
        assert life.state.value == "open"
        assert life.deduced(6502).closing is None
        life.pass_time(7200).gone(8000).pass_time(8000)
        assert [s.event for s in life.log if s.source == AUTO][1:] == [Message(STAYS)]


def test_a_device_that_is_about_is_a_sign_all_the_time() -> None:
    life = Life(replace(FORGETFUL, closes=False)).seen(0).pass_time(1)
    assert life.deduced(10**6) == Deduction()
    assert life.gone(10**6).deduced(10**6).look == at(10**6 + 7200 - 900)


def test_who_was_not_warned_in_time_is_warned_now_and_has_the_whole_time() -> None:
    life = Life(FORGETFUL).tell(Status("open"), 0)  # and then the server did not run
    life.pass_time(9000)
    assert isinstance(life.log[-1].event, Message)
    assert "closing at 14:45" in life.log[-1].event.text
    assert life.deduced(9000 + 899).closing == at(9900)
    assert life.deduced(9900) == Deduction(Status("closed"), AUTO)


def test_without_a_warning_it_just_closes() -> None:
    life = Life(replace(FORGETFUL, warning=timedelta(0))).tell(Status("open"), 0)
    assert life.deduced(7199) == Deduction(look=at(7200))
    assert life.deduced(7200) == Deduction(Status("closed"), AUTO)


def test_a_message_of_somebodys_over_the_warning_does_not_make_it_come_again() -> None:
    life = Life(FORGETFUL).tell(Status("open"), 0).pass_time(6300).tell(Message("ciao"), 6400, WEB).pass_time(6500)
    assert [s.event for s in life.log if s.source == AUTO and isinstance(s.event, Message)][1:] == []
    assert life.deduced(7200) == Deduction(Status("closed"), AUTO)


def test_an_old_warning_is_not_taken_back_the_next_day() -> None:
    life = Life(FORGETFUL).tell(Status("open"), 0).pass_time(6300).pass_time(7200).tell(Status("open"), 90000)
    assert life.deduced(90001) == Deduction(look=at(90000 + 7200 - 900))


def test_never_is_the_default_and_nothing_known_asks_for_nothing() -> None:
    assert Life().tell(Status("open"), 0).deduced(10**9) == Deduction()
    assert Life(FORGETFUL).deduced(0) == Deduction()


# --- many lives

steps = st.lists(
    st.tuples(
        st.integers(1, 4000),
        st.one_of(
            st.tuples(st.just("hand"), st.sampled_from(["open", "closed", "away"]), st.sampled_from([BRIDGE, WEB])),
            st.tuples(st.just("seen"), st.sampled_from([(PHONE, 1), (LAPTOP, 1), (OTHERS, 2)])),
            st.tuples(st.just("gone"), st.sampled_from([PHONE, LAPTOP, OTHERS])),
            st.tuples(st.just("enter"), st.integers(1, 3)),
            st.tuples(st.just("leave"), st.integers(1, 3)),
            st.tuples(st.just("talk")),
        ),
    ),
    max_size=25,
)


def live(happened: list[tuple[int, tuple[object, ...]]], rules: Rules) -> Life:
    """Let things happen, and let the caretaker act whenever it wants to be woken in between."""
    life = Life(rules)
    now = 0.0
    for wait, what in happened:
        until = now + wait
        while (look := life.deduced(now).look) is not None and look <= at(until):
            now = max(now + 1, (look - at(0)).total_seconds())
            life.pass_time(now)
        now = max(now, until)
        match what:
            case ("hand", str(value), str(source)):
                life.tell(Status(value), now, source)
            case ("seen", (str(digest), int(person))):
                life.seen(now, digest, person)
            case ("gone", str(digest)):
                life.gone(now, digest)
            case ("enter", int(person)):
                life.tell(Enter(person), now)
            case ("leave", int(person)):
                life.tell(Leave(person), now)
            case _:
                life.tell(Message("ciao"), now, WEB)
        life.pass_time(now)
    return life


@settings(max_examples=300, deadline=None)
@given(steps, st.booleans(), st.booleans(), st.sampled_from([0, 3000, 20000]), st.sampled_from([0, 900, 2000]))
def test_whatever_happens_the_rules_hold(
    happened: list[tuple[int, tuple[object, ...]]], opens: bool, closes: bool, after: int, warning: int
) -> None:
    rules = replace(
        RULES,
        opens=opens,
        closes=closes,
        close_after=timedelta(seconds=after),
        warning=timedelta(seconds=warning),
    )
    life = live(happened, rules)
    state, past = State(), Past()
    by_hand: datetime | None = None
    for stored in life.log:
        value = stored.event.value if isinstance(stored.event, Status) else None
        present = [person for person in state.devices.values() if person in state.people]
        if value and stored.source == MAC:
            assert by_hand is None or stored.at >= by_hand + rules.hold, "the button always wins"
            assert value in ("open", "closed")
            if value == "open":
                assert opens and present, "nobody opens who is not there"
            else:
                assert closes and not state.people, "it closes when nobody is in"
        elif value and stored.source == AUTO:
            assert value == "closed" and after and not present
            assert past.sign and stored.at >= past.sign + rules.close_after
            if warning:
                said = past.said
                assert said and isinstance(said.event, Message) and said.event.text.startswith("Nobody seen")
                assert past.sign < said.at <= stored.at - rules.warning, "told before it happens"
        elif value:
            by_hand = stored.at
        state, past = apply(state, stored), remember(past, stored)
    assert (state, past) == (life.state, life.past)


@given(steps)
def test_after_a_restart_and_on_every_node_the_same_is_deduced(happened: list[tuple[int, tuple[object, ...]]]) -> None:
    life = live(happened, FORGETFUL)
    again = reduce(remember, [*life.log, *life.log], Past())
    assert again == life.past
    for later in (0, 1000, 10_000, 100_000):
        now = later + 4000.0 * 25
        assert deduce(reduce(apply, life.log, State()), again, FORGETFUL, at(now)) == life.deduced(now)


# --- the past, from the log


async def test_the_past_rebuilt_equals_the_fold_of_the_whole_log(store: Store) -> None:
    async with writing(store.engine) as connection:
        who = {"name": "anna", "password": "", "admin": False, "created": at(0), "number": 1}
        await connection.execute(insert(schema.user).values(id=1, **who))
        for digest in (PHONE, LAPTOP):
            device = {"user_id": 1, "digest": digest, "label": "x", "created": at(0)}
            await connection.execute(insert(schema.device).values(device))
    assert await store.past() == Past()
    life = Life(FORGETFUL).tell(Status("open"), 0).pass_time(6300).tell(Enter(9), 6310).pass_time(6320)
    life.seen(6400).seen(6500, LAPTOP).gone(7000).tell(Leave(9), 8000).tell(Temperature(0, 20), 9000)
    life.tell(Status("closed"), 9001, WEB).seen(9002, OTHERS, 2).gone(9003, OTHERS).tell(Message("ciao"), 9004, WEB)
    for stored in life.log:
        await store.append([Report(stored.event, stored.source, stored.at)])
    assert await store.past() == life.past
    assert (dict(life.past.since), life.past.said and life.past.said.event) == ({LAPTOP: at(6500)}, Message(STAYS))
    life.pass_time(9001 + HOLD)
    assert await store.comings(3) == [s for s in life.log if isinstance(s.event, (Enter, Leave))][::-1][:3]
