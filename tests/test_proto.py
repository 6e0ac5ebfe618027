import base64
import json
import math
import sys
from collections.abc import Callable, Iterable
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from bits import _proto
from bits._proto import (
    REASONS,
    Ack,
    Decoder,
    Enter,
    Gone,
    Hello,
    Leave,
    Line,
    Malformed,
    Message,
    Nak,
    Nonce,
    Numbered,
    Ping,
    Pong,
    Seen,
    Sound,
    Status,
    Temperature,
    Welcome,
    encode,
)
from tests import reference

VECTORS = json.loads((Path(__file__).parent / "vectors" / "miniprotocol.json").read_text())
PROOF = "0123456789abcdef" * 4
MOST = 2**63 - 1


def stream(parts: Any) -> bytes:
    """Spell out the compact form that the vectors use for bytes."""
    if isinstance(parts, str):
        return parts.encode("latin-1")
    if isinstance(parts, dict):
        text, times = parts["repeat"]
        return stream(text) * int(times)
    return b"".join(stream(part) for part in parts)


def describe(line: Line) -> dict[str, Any]:
    """Turn a line into the dict that the vectors and the reference use."""
    described: dict[str, Any] = {"type": type(line).__name__.lower()}
    for name in line.__match_args__:
        value = getattr(line, name)
        if isinstance(value, bytes):
            value = value.decode("latin-1")
        elif name == "line":
            value = describe(value)
        described[name] = value
    return described


def build(described: dict[str, Any]) -> Line:
    """Make a line from its dict, through its constructor."""
    fields = {name: value for name, value in described.items() if name != "type"}
    if "line" in fields and isinstance(fields["line"], dict):
        fields["line"] = build(fields["line"])
    made: Line = getattr(_proto, described["type"].capitalize())(**fields)
    return made


def decode(pieces: Iterable[bytes], max_line: int = 4096) -> list[dict[str, Any]]:
    decoder = Decoder(max_line)
    lines = []
    for piece in pieces:
        lines += decoder.feed(piece)
        assert 0 <= decoder.pending < max_line
    return [describe(line) for line in lines]


def bytewise(data: bytes) -> list[bytes]:
    return [data[i : i + 1] for i in range(len(data))]


def exactly(lines: list[dict[str, Any]]) -> str:
    """Tell apart what == does not: -0.0 from 0.0, 21.0 from 21, True from 1."""
    return repr(lines)


# ---- Vectors ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("case", VECTORS["decode"], ids=lambda case: case["name"])
def test_decode_vector(case: dict[str, Any]) -> None:
    data, expected = stream(case["bytes"]), exactly(case["lines"])
    assert exactly(decode([data])) == expected
    assert exactly(decode(bytewise(data))) == expected
    assert exactly(reference.read(data)) == expected
    # With trailing data, in the same piece: whatever was unfinished ends, then comes a good line.
    followed = data + b"\nsound 9\n"
    assert exactly(decode([followed])) == exactly(reference.read(followed))
    assert decode([followed])[-1] == {"type": "sound", "number": 9}


@pytest.mark.parametrize("case", VECTORS["encode"], ids=lambda case: case["name"])
def test_encode_vector(case: dict[str, Any]) -> None:
    assert encode(build(case["line"])) == stream(case["bytes"])


def test_vectors_show_every_reason_and_every_type() -> None:
    def flat(lines: list[dict[str, Any]]) -> Iterable[dict[str, Any]]:
        for line in lines:
            yield line
            if line["type"] == "numbered":
                yield line["line"]

    shown = [line for case in VECTORS["decode"] for line in flat(case["lines"])]
    assert {line["reason"] for line in shown if line["type"] == "malformed"} == set(REASONS)
    types = {name.lower() for name, kind in vars(_proto).items() if hasattr(kind, "__match_args__")}
    assert {line["type"] for line in shown} == types - {"_value"}


def test_the_page_lists_every_reason() -> None:
    page = (Path(__file__).parents[1] / "docs" / "protocol.md").read_text()
    table = page.split("## Refusals")[1].split("##")[0]
    listed = [row.split("`")[1] for row in table.splitlines() if row.startswith("| `")]
    assert listed == list(REASONS)


# ---- Properties ------------------------------------------------------------------------------------------

digits = st.text("0123456789", min_size=1, max_size=21)
limits = st.sampled_from([0, 1, 2, 255, 256, 999999, 1000000, 10**12, 10**12 + 1, MOST, MOST + 1, 10**19 - 1])
decimals = st.from_regex(r"[+-]?[0-9]{0,20}\.?[0-9]{0,20}(e[0-9])?", fullmatch=True)
base64s = st.binary(max_size=12).map(lambda data: base64.b64encode(data).decode())
words = st.one_of(
    digits,
    limits.map(str),
    decimals,
    base64s,
    st.text(max_size=9).map(lambda text: base64.b64encode(text.encode()).decode()),
    st.text("abYZ09+/=_-.", max_size=9),
    st.text("0123456789abcdefA", min_size=30, max_size=70),
    st.sampled_from(["", "2", "attic", "bad-number", PROOF, PROOF[:32], PROOF * 2, "21.5", "\r"]),
)
commands = st.sampled_from([name.decode() for name in reference.BEHIND_NUMBER | reference.VERSION_2])
plain = st.builds(lambda name, rest: " ".join([name, *rest]), commands, st.lists(words, max_size=4))
numbered = st.builds(lambda n, age, line: f"@{n} {age} {line}", words, words, plain)
near = st.one_of(plain, plain, numbered, st.text(max_size=9)).map(lambda text: text.encode("utf-8"))
ends = st.sampled_from([b"\n", b"\n", b"\r\n", b"\r\r\n", b""])
streams = st.lists(
    st.one_of(st.tuples(near, ends).map(b"".join), st.binary(max_size=80)),
    max_size=6,
).map(b"".join)


@given(streams, st.sampled_from([4096, 4096, 2, 3, 16, 40, 70]), st.lists(st.integers(0, 400), max_size=6))
def test_compiled_equals_reference_however_it_is_split(data: bytes, max_line: int, cuts: list[int]) -> None:
    expected = exactly(reference.read(data, max_line))
    edges = [0, *sorted(min(cut, len(data)) for cut in cuts), len(data)]
    assert exactly(decode([data], max_line)) == expected
    assert exactly(decode([data[a:b] for a, b in pairwise(edges)], max_line)) == expected
    assert exactly(decode(bytewise(data), max_line)) == expected


@given(
    st.one_of(
        st.floats(-273.15, 1000).map(repr),
        st.floats(-273.15, 1000).map(lambda value: f"{value:.17f}"),
        st.from_regex(r"[+-]?[0-9]{1,3}\.[0-9]{0,27}", fullmatch=True),
        st.from_regex(r"[+-]?\.[0-9]{1,30}", fullmatch=True),
        st.integers(2**53 - 3, 2**53 + 3).map(lambda n: f"{n // 10**15}.{n % 10**15:015}"),
    )
)
@example("9.007199254740993")
@example("0.000000000000000000")
@example("." + "0" * 30 + "1")
def test_temperature_is_read_as_float_reads_it(text: str) -> None:
    (line,) = Decoder().feed(b"temperature 0 %s\n" % text.encode())
    match line:
        case Temperature(0, value):
            assert value.hex() == float(text).hex()
        case Malformed("bad-number"):
            assert len(text) > 32 or "e" in text
        case _:
            assert line == Malformed("out-of-range", b"temperature 0 " + text.encode())
            assert not -273.15 <= float(text) <= 1000


def is_sendable(text: str) -> bool:
    return 1 <= len(text.encode()) <= 3000


characters = st.characters(exclude_categories=["Cs"], exclude_characters="\0")
statuses = st.sampled_from(["open", "closed"]).map(Status)
temperatures = st.builds(Temperature, st.integers(0, 255), st.floats(-273.15, 1000))
exact_temperatures = temperatures.filter(lambda line: line.value == 0 or abs(line.value) >= 1e-13)
numbers = st.integers(1, MOST)
tokens = st.text(st.characters(min_codepoint=0x21, max_codepoint=0x7E), min_size=1, max_size=64)
lower_hex = st.sampled_from("0123456789abcdef")
events: st.SearchStrategy[Any] = st.one_of(
    statuses,
    exact_temperatures,
    st.builds(Enter, st.integers(0, 999999)),
    st.builds(Leave, st.integers(0, 999999)),
    st.builds(Message, st.text(characters, min_size=1).filter(is_sendable)),
    st.builds(Sound, st.integers(0, 255)),
)
digests = st.text(lower_hex, min_size=64, max_size=64)
numbered_events: st.SearchStrategy[Any] = st.one_of(
    events,
    st.just(Status("away")),
    st.builds(Seen, digests),
    st.builds(Gone, digests),
)
sendable: st.SearchStrategy[Any] = st.one_of(
    events,
    st.builds(
        Hello,
        st.from_regex(r"[A-Za-z0-9._-]{1,32}", fullmatch=True),
        st.none() | digests,
    ),
    st.builds(Nonce, st.text(lower_hex, min_size=32, max_size=128)),
    st.builds(Welcome, st.integers(0, MOST)),
    st.builds(Numbered, numbers, st.integers(0, 10**12), numbered_events),
    st.builds(Ack, numbers),
    st.builds(Nak, numbers, st.from_regex(r"[a-z0-9-]{1,32}", fullmatch=True)),
    st.builds(Ping, tokens),
    st.builds(Pong, tokens),
)


@given(sendable)
def test_round_trip(line: Line) -> None:
    sent = encode(line)
    assert sent.count(b"\n") == 1
    assert len(sent) <= 4096
    assert Decoder().feed(sent) == [line]


@given(sendable | st.just(Status("away")))
def test_only_away_depends_on_the_version(line: Line) -> None:
    """Without a number it goes as 2 to a bridge that was welcomed, as 0 to any other."""
    if line == Status("away"):
        assert (encode(line), encode(line, 1), encode(line, version=2)) == (b"status 0\n", b"status 0\n", b"status 2\n")
    else:
        assert encode(line) == encode(line, 1) == encode(line, version=2)


@given(st.floats(-1e-13, 1e-13))
def test_a_temperature_next_to_zero_still_fits_the_grammar(value: float) -> None:
    (line,) = Decoder().feed(encode(Temperature(0, value)))
    assert isinstance(line, Temperature)
    assert abs(line.value - value) <= 1e-29


@given(sendable)
def test_equal_lines_are_interchangeable(line: Any) -> None:
    again = type(line)(*(getattr(line, name) for name in line.__match_args__))
    assert again == line
    assert hash(again) == hash(line)
    assert eval(repr(line), vars(_proto)) == line


# ---- The decoder's memory --------------------------------------------------------------------------------


def test_pending_is_what_was_kept() -> None:
    decoder = Decoder()
    assert decoder.pending == 0
    assert decoder.feed(b"status 1\nstat") == [Status("open")]
    assert decoder.pending == 4
    assert decoder.feed(b"us 0\n") == [Status("closed")]
    assert decoder.pending == 0


def test_a_line_that_never_ends_costs_one_refusal_and_no_memory() -> None:
    decoder = Decoder(16)
    lines = [line for _ in range(1000) for line in decoder.feed(b"0123456789")]
    assert lines == [Malformed("line-too-long", b"0123456789012345")]
    assert decoder.pending == 0
    assert decoder.feed(b"\nsound 1\n") == [Sound(1)]


def test_refused_lines_are_kept_in_part() -> None:
    (line,) = Decoder().feed(b"x" * 65 + b"\n")
    assert line == Malformed("unknown-command", b"x" * 64) == Malformed("unknown-command", b"x" * 65)


@pytest.mark.parametrize("max_line", [1, 0, -1, 2**20 + 1, 2**64])
def test_max_line_has_limits(max_line: int) -> None:
    with pytest.raises(ValueError, match=r"max_line is .*, expected 2 to 1048576"):
        Decoder(max_line)


def test_decoder_takes_bytes_only() -> None:
    with pytest.raises(TypeError):
        Decoder().feed(bytearray(b"status 1\n"))  # type: ignore[arg-type]


# ---- Values ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("make", "complaint"),
    [
        (lambda: Status("ajar"), "status is 'ajar', expected 'open', 'closed' or 'away'"),
        (lambda: Temperature(256, 20), "sensor is 256, expected 0 to 255"),
        (lambda: Temperature(-1, 20), "sensor is -1, expected 0 to 255"),
        (lambda: Temperature(0, math.nan), "temperature is nan, expected -273.15 to 1000.0"),
        (lambda: Temperature(0, math.inf), "temperature is inf"),
        (lambda: Temperature(0, -273.16), "temperature is -273.16"),
        (lambda: Temperature(0, 1000.5), "temperature is 1000.5"),
        (lambda: Enter(1000000), "person is 1000000, expected 0 to 999999"),
        (lambda: Leave(-1), "person is -1, expected 0 to 999999"),
        (lambda: Enter(2**70), "person is 1180591620717411303424"),
        (lambda: Message(""), "text is 0 bytes as UTF-8, expected 1 to 3000"),
        (lambda: Message("é" * 1501), "text is 3002 bytes"),
        (lambda: Message("a\0"), "text has a NUL at 1, expected none"),
        (lambda: Message("a\udc80"), "text has a lone surrogate at 1"),
        (lambda: Sound(256), "sound is 256, expected 0 to 255"),
        (lambda: Seen(PROOF[1:]), "digest is '1234.*', expected 64 lower-case hex digits"),
        (lambda: Gone(PROOF.upper()), "digest is '0123.*', expected 64 lower-case hex digits"),
        (lambda: Seen("00:1b:63:84:45:e6"), "digest is '00:1b:63:84:45:e6'"),
        (lambda: Gone(""), "digest is ''"),
        (lambda: Hello(""), "bridge is '', expected 1 to 32 of A-Z a-z 0-9"),
        (lambda: Hello("a b"), "bridge is 'a b'"),
        (lambda: Hello("caffè"), "bridge is 'caffè'"),
        (lambda: Hello("\udc80"), "bridge is '"),
        (lambda: Hello("a" * 33), "bridge is 'a"),
        (lambda: Hello("a", PROOF.upper()), "expected 64 lower-case hex digits"),
        (lambda: Hello("a", PROOF[1:]), "expected 64 lower-case hex digits"),
        (lambda: Nonce("a" * 31), "expected 32 to 128 lower-case hex digits"),
        (lambda: Nonce("a" * 129), "expected 32 to 128 lower-case hex digits"),
        (lambda: Welcome(-1), "last is -1, expected 0 to 9223372036854775807"),
        (lambda: Welcome(MOST + 1), "last is 9223372036854775808"),
        (lambda: Ack(0), "n is 0, expected 1 to 9223372036854775807"),
        (lambda: Nak(0, "x"), "n is 0"),
        (lambda: Nak(1, "Bad"), "reason is 'Bad', expected 1 to 32 of a-z 0-9 -"),
        (lambda: Ping(" "), "token is ' ', expected 1 to 64 printable ASCII"),
        (lambda: Ping("a" * 65), "token is 'a"),
        (lambda: Pong(""), "token is ''"),
        (lambda: Numbered(0, 0, Sound(1)), "n is 0"),
        (lambda: Numbered(1, 10**12 + 1, Sound(1)), "age_ms is 1000000000001, expected 0 to 1000000000000"),
        (lambda: encode(Sound(1), version=0), "version is 0, expected 1 or 2"),
        (lambda: encode(Sound(1), version=3), "version is 3, expected 1 or 2"),
        (lambda: Malformed("bad-luck", b""), "reason is 'bad-luck', expected one of empty-line, "),
    ],
)
def test_constructors_say_what_came_and_what_was_expected(make: Callable[[], object], complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        make()


@pytest.mark.parametrize(
    "make",
    [
        lambda: Enter("1"),  # type: ignore[arg-type]
        lambda: Enter(1.0),  # type: ignore[arg-type]
        lambda: Enter(True),
        lambda: Status(None),  # type: ignore[arg-type]
        lambda: Message(b"x"),  # type: ignore[arg-type]
        lambda: Numbered(1, 0, Ping("x")),  # type: ignore[arg-type]
        lambda: Numbered(1, 0, Numbered(1, 0, Sound(1))),  # type: ignore[arg-type]
        lambda: Malformed("bad-text", "x"),  # type: ignore[arg-type]
        lambda: encode(Malformed("bad-text", b"x")),
        lambda: encode(Numbered(1, 0, Malformed("bad-text", b"x"))),
        lambda: Seen(None),  # type: ignore[arg-type]
        lambda: Gone(PROOF.encode()),  # type: ignore[arg-type]
        lambda: encode(Seen(PROOF)),  # type: ignore[arg-type]
        lambda: encode(Gone(PROOF), version=2),  # type: ignore[arg-type]
        lambda: encode("status 1"),  # type: ignore[arg-type]
    ],
)
def test_wrong_types_are_refused(make: Callable[[], object]) -> None:
    with pytest.raises(TypeError):
        make()


@given(sendable | st.just(Malformed("bad-text", b"x")))
def test_lines_cannot_change(line: Any) -> None:
    before = repr(line)
    for name in line.__match_args__:
        with pytest.raises(AttributeError):
            setattr(line, name, getattr(line, name))
    with pytest.raises(TypeError, match="cannot change"):
        line.__init__(*(getattr(line, name) for name in line.__match_args__))
    assert repr(line) == before


def test_lines_that_came_off_the_wire_cannot_change_either() -> None:
    data = b"".join(stream(case["bytes"]) for case in VECTORS["encode"]) + b"nonsense\n"
    for line in Decoder().feed(data):
        with pytest.raises(TypeError, match="cannot change"):
            line.__init__(*(getattr(line, name) for name in line.__match_args__))


def test_lines_of_different_types_differ() -> None:
    assert Enter(1) != Leave(1)
    assert Seen(PROOF) != Gone(PROOF)
    assert Ping("x") != Pong("x")
    assert Status("open") != "open"
    assert len({Enter(1), Leave(1), Sound(1), Enter(1)}) == 3


def test_lines_cannot_be_subclassed() -> None:
    with pytest.raises(TypeError):
        type("Ajar", (Status,), {})


@given(
    st.lists(
        st.sampled_from(
            [
                b"temperature 0 21.5",
                b"temperature 0 21.50",
                b"temperature 10 1.5",
                b"temperature 255 -20.123456789",
                b"temperature 0 21.5\r",
                b"temperature 0 -0",
                b"enter 4",
                b"enter 04",
                b"leave 4",
                b"enter 999999",
                b"sound 3",
                b"sound 30",
                b"status 1",
                b"message QQ==",
                b"enter 9999999",
                b"temperature 0 nan",
            ]
        ),
        max_size=60,
    )
)
def test_a_line_read_from_memory_is_the_line_that_was_judged(lines: list[bytes]) -> None:
    """Short good lines are remembered; whatever came before, each gives what a fresh look gives."""
    stream = b"".join(line + b"\n" for line in lines)
    assert Decoder().feed(stream) == [one for line in lines for one in Decoder(max_line=40).feed(line + b"\n")]
    numbered = b"".join(b"@%d 0 %b\n" % (n, line) for n, line in enumerate(lines, 1))
    inner = [getattr(line, "line", None) for line in Decoder().feed(numbered)]
    assert [repr(line) for line in inner] == [repr(line) for line in Decoder().feed(stream)]


def test_away_is_remembered_for_no_line_without_a_number() -> None:
    """Memory does not know whether a line stood behind a number; so what may not stand alone stays out of it."""
    padding = b"ping x\n" * 10  # far enough from the end that memory is asked
    numbered, refused = Numbered(7, 0, Status("away")), Malformed("out-of-range", b"status 2")
    for _ in range(3):
        lines = Decoder().feed(b"@7 0 status 2\nstatus 2\n@7 0 status 2\nstatus 1\n" + padding)
        assert lines[:4] == [numbered, refused, numbered, Status("open")]


def test_who_shares_a_remembered_line_gives_it_back() -> None:
    """The decoder counts references by hand; one too few crashes much later, one too many leaks."""
    data = b"enter 77\n@1 0 enter 77\n@2 0 enter 77\n" + b"ping x\n" * 10  # far enough from the end to be known
    Decoder().feed(data)
    once = Decoder().feed(data)[0]
    owners = sys.getrefcount(once)
    again: list[Any] = Decoder().feed(data)
    assert again[0] is again[1].line is again[2].line is once
    assert sys.getrefcount(once) == owners + 3
    del again
    assert sys.getrefcount(once) == owners
    made = Numbered(1, 0, once)
    assert sys.getrefcount(once) == owners + 1
    with pytest.raises(TypeError, match="cannot change"):
        made.__init__(1, 0, Enter(1))
    del made
    assert sys.getrefcount(once) == owners


@given(st.binary(min_size=1, max_size=80), st.integers(2, 60), st.integers(1, 90))
def test_a_line_as_long_as_may_be_in_pieces(text: bytes, max_line: int, size: int) -> None:
    """At, below and above the limit, whole and cut, the refusal and what follows it are the same."""
    data = text.replace(b"\n", b" ") + b"\nenter 4\n"
    expected = reference.read(data, max_line)
    assert decode((data[at : at + size] for at in range(0, len(data), size)), max_line) == expected
