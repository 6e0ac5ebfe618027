"""A bridge's conversation, sans I/O: who is welcome, what lines mean, and the same log however they come."""

from __future__ import annotations

import hmac
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bits import events
from bits._proto import Decoder, Nak, Nonce, Pong, encode
from bits.events import BRIDGE, MAC, Enter, Message, Report, Status, Stored, Temperature
from bits.session import KEPT, MOST_HELLOS, Answer, Batch, Denied, Proven, Refused, Session, Step, proof
from bits.state import State, apply, consequences
from tests.conftest import at

KEYS = {"attic": "the key of the attic", "cellar": "clé de la cave, secrète"}
NONCE = "9f86d081884c7d659a2feaa0c55ad015"
PHONE, STRANGE = "ab" * 32, "cd" * 32


def owner(digest: str) -> tuple[int, str] | None:
    return (7, "anna") if digest == PHONE else None


def new() -> Session:
    return Session(KEYS, owner, lambda: NONCE)


def say(session: Session, *lines: str) -> list[Step]:
    return session.receive("".join(line + "\n" for line in lines).encode(), at(0))


def hello(bridge: str, key: str, nonce: str = NONCE) -> str:
    return f"hello 2 {bridge} {hmac.new(key.encode(), nonce.encode(), 'sha256').hexdigest()}"


def welcomed(bridge: str = "attic") -> Session:
    session = new()
    assert say(session, f"hello 2 {bridge}", hello(bridge, KEYS[bridge])) == [Answer(Nonce(NONCE)), Proven(bridge)]
    return session


def reports(steps: list[Step]) -> list[Report]:
    return [report for step in steps if isinstance(step, Batch) for report in step.reports]


@pytest.mark.parametrize("bridge", KEYS)
def test_a_bridge_with_the_key_is_welcome(bridge: str) -> None:
    session = welcomed(bridge)
    assert session.bridge == bridge


def test_the_proof_is_made_as_rfc_4231_has_it() -> None:
    """Test case 2: key "Jefe", its digest well known."""
    expected = "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843"
    assert proof("Jefe", "what do ya want for nothing?") == expected


@pytest.mark.parametrize(
    ("lines", "reason"),
    [
        (["hello 2 attic", hello("attic", "another key altogether")], "bad-proof"),
        (["hello 2 attic", hello("attic", KEYS["cellar"])], "bad-proof"),
        (["hello 2 attic", hello("attic", KEYS["attic"], "0" * 32)], "bad-proof"),
        (["hello 2 attic", hello("cellar", KEYS["attic"])], "bad-proof"),
        (["hello 2 roof", hello("roof", KEYS["attic"])], "unknown-bridge"),
        (["hello 2 ATTIC", hello("ATTIC", KEYS["attic"])], "unknown-bridge"),
        ([hello("attic", KEYS["attic"])], "no-nonce"),
        (["hello 2 roof"] * (MOST_HELLOS + 1), "too-many-hellos"),
    ],
)
def test_others_are_not_and_nothing_comes_after(lines: list[str], reason: str) -> None:
    session = new()
    steps = say(session, "status 1", *lines, "status 0")
    assert [type(step) for step in steps] == [Batch, *[Answer] * (len(lines) - 1), Denied]
    assert isinstance(steps[-1], Denied)
    assert steps[-1].reason == reason
    assert [report.event for report in reports(steps)] == [Status("open")]
    assert say(session, "hello 2 attic", "status 0") == []
    assert session.bridge is None


def test_a_nonce_is_good_for_one_proof_and_the_newest_counts() -> None:
    nonces = iter(["1" * 32, "2" * 32])
    session = Session(KEYS, owner, lambda: next(nonces))
    say(session, "hello 2 attic", "hello 2 attic")
    assert say(session, hello("attic", KEYS["attic"], "1" * 32)) == [Denied("bad-proof", "attic")]
    assert Session(KEYS, owner)._make_nonce() != Session(KEYS, owner)._make_nonce()


def test_numbered_lines_happened_when_they_say() -> None:
    steps = say(
        welcomed(),
        "@41 90500 status 2",
        "@42 0 temperature 3 -1.5",
        "@43 10 message Q2lhbw==",
        f"@44 20 seen {PHONE}",
        f"@45 20 seen {STRANGE}",
        f"@46 20 gone {PHONE}",
        "enter 4",
    )
    ms = timedelta(milliseconds=1)
    assert reports(steps) == [
        Report(Status("away"), BRIDGE, at(-90.5), None, "attic", 41, 90500 * ms),
        Report(Temperature(3, -1.5), BRIDGE, at(0), None, "attic", 42, 0 * ms),
        Report(Message("Ciao"), BRIDGE, at(-0.01), BRIDGE, "attic", 43, 10 * ms),
        Report(events.Seen(PHONE, 7), MAC, at(-0.02), "anna", "attic", 44, 20 * ms),
        Report(events.Seen(STRANGE, None), MAC, at(-0.02), None, "attic", 45, 20 * ms),
        Report(events.Gone(PHONE, 7), MAC, at(-0.02), "anna", "attic", 46, 20 * ms),
        Report(Enter(4), BRIDGE, at(0)),
    ]
    [batch] = steps
    assert isinstance(batch, Batch)
    assert (batch.ack, batch.numbered, batch.is_fresh) == (46, 6, True)


def test_what_is_old_or_of_devices_is_no_sign_of_life_of_now() -> None:
    for line in ("@1 1000 status 1", f"@1 0 seen {PHONE}"):
        [batch] = say(welcomed(), line)
        assert isinstance(batch, Batch)
        assert not batch.is_fresh


def test_answers_stand_in_the_order_of_the_lines() -> None:
    steps = say(
        welcomed(), "@1 0 status 1", "@2 0 sound 1", "@3 0 temperature 0 warm", "@4 0 sound 2", "ping 7", "pong 8"
    )
    first, nak, second, pong = steps
    assert isinstance(first, Batch)
    assert isinstance(second, Batch)
    assert isinstance(nak, Refused)
    assert (first.ack, second.ack) == (2, 4)
    assert nak == Refused("bad-number", b"temperature 0 warm", 3)
    assert nak.answer == Nak(3, "bad-number")
    assert pong == Answer(Pong("7"))


def test_a_number_before_the_welcome_is_refused() -> None:
    assert say(new(), "@7 0 status 1", "@8 0 noise") == [
        Refused("not-welcome", b"@7", 7),
        Refused("not-welcome", b"@8", 8),
    ]


@pytest.mark.parametrize(
    "line", ["welcome 1", f"nonce {NONCE}", "ack 1", "nak 1 x", "hello 2 attic", hello("cellar", KEYS["cellar"])]
)
def test_what_only_a_server_says_or_a_second_hello_is_refused(line: str) -> None:
    assert say(welcomed(), line, "ping 1") == [
        Refused("not-expected", line.encode()[:KEPT]),
        Answer(Pong("1")),
    ]


def test_version_1_goes_on_as_ever() -> None:
    lines = ["status 1", "temperature 0 21.5", "enter 4", "leave 4", "message Q2lhbw==", "sound 3"]
    plain, other = new(), welcomed()
    assert say(plain, *lines) == say(other, *lines)
    [batch] = say(plain, *lines)
    assert isinstance(batch, Batch)
    assert (batch.ack, batch.numbered, batch.is_fresh, len(batch.reports)) == (0, 0, True, 6)
    assert all(report.bridge is None and report.at == at(0) for report in batch.reports)


# --- any way to cut the stream, any repetition: the same log

EVENTS = st.sampled_from(
    [
        "status 0", "status 1", "status 2", "temperature 0 21.5", "temperature 1 -3", "enter 7", "leave 7", "sound 1",
        f"seen {PHONE}", f"gone {PHONE}", f"seen {STRANGE}", "message Q2lhbw==", "noise", "sound 256", "hello 2 x",
    ]
)  # fmt: skip


def store(log: list[Stored], state: State, steps: list[Step]) -> State:
    for report in reports(steps):
        for one in consequences(state, report):
            log.append(one.stored(state.seq + 1))
            state = apply(state, log[-1])
    return state


@given(lines=st.lists(EVENTS, max_size=30), data=st.data())
def test_however_the_stream_is_cut_and_whatever_is_repeated_the_log_is_the_same(lines: list[str], data: Any) -> None:
    numbered = [f"@{n} {(len(lines) - n) * 500} {line}\n".encode() for n, line in enumerate(lines, 1)]
    once: list[Stored] = []
    state = store(once, State(), welcomed().receive(b"".join(numbered), at(0)))
    refused = {n for n, line in enumerate(lines, 1) if line in ("noise", "sound 256", "hello 2 x")}
    assert [s.number for s in once if s.number] == [n for n in range(1, len(lines) + 1) if n not in refused]

    log: list[Stored] = []
    other = State()
    done = 0  # what the bridge has sent at least once
    while True:
        # A connection: it begins at or before what has not been sent, and breaks anywhere, even amid a line.
        begin = data.draw(st.integers(0, done))
        stream = b"".join(numbered[begin:])
        if data.draw(st.booleans()):
            stream = stream[: data.draw(st.integers(0, len(stream)))]
        session = welcomed()
        end = begin + stream.count(b"\n")
        acked, naked = 0, set()
        while stream:
            size = data.draw(st.integers(1, len(stream)))
            steps = session.receive(stream[:size], at(0))
            stream = stream[size:]
            other = store(log, other, steps)
            for step in steps:
                if isinstance(step, Batch):
                    assert step.ack > acked
                    acked = step.ack
                elif isinstance(step, Refused):
                    assert step.n is not None
                    assert step.n > acked, "a nak behind an ack that stands for its number too"
                    naked.add(step.n)
        assert naked == {n for n in refused if begin < n <= end}
        done = max(done, end)
        if done == len(numbered):
            break
    assert log == once
    assert other == state


@given(st.binary(max_size=300))
def test_any_bytes_at_all(noise: bytes) -> None:
    """Nothing but refusals and what the decoder takes; what is refused has an answer that can be sent."""
    for session in (new(), welcomed()):
        for step in session.receive(noise + b"\n", at(0)):
            if isinstance(step, Refused) and step.answer:
                assert Decoder().feed(encode(step.answer)) == [step.answer]
