"""Request heads: what is plain, what is somebody else's, what is refused; against a slow and obvious reference."""

from __future__ import annotations

import base64
import re
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bits._http import REASONS, read

KEY = base64.b64encode(b"0123456789abcdef").decode()
UPGRADE = (
    "Upgrade: websocket",
    "Connection: keep-alive, Upgrade",
    "Sec-WebSocket-Version: 13",
    f"Sec-WebSocket-Key: {KEY}",
)


def head(line: str, *headers: str, host: str | None = "Host: example.org") -> bytes:
    return "\r\n".join([line, *([host] if host else []), *headers, "", ""]).encode("latin-1")


# --- the reference: the rules of docs/live.md and RFC 9112, written down once more, in another way

TOKEN = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+\Z")


def reference(data: bytes) -> tuple[str, str | None]:
    """Return (verdict, reason) for bytes that hold a complete head of moderate length."""
    text = data.decode("latin-1").removeprefix("\r\n")
    if not TOKEN.match(text[:1]):
        return "bad", "request-line"
    ends = [match.end() for match in re.finditer(r"\n\r?\n", text)]
    if not ends:
        return "more", None
    if re.search(r"\n\n\Z", text[: ends[0]]):
        return "bad", "bare-line-end"
    whole = text[: ends[0]]
    if not whole.endswith("\r\n\r\n"):
        return "bad", "bare-line-end"
    whole = whole.removesuffix("\r\n\r\n")
    for at, char in enumerate(whole + "\r\n"):
        if char == "\r" and (whole + "\r\n")[at + 1 : at + 2] == "\n":
            continue
        if char == "\n" and at and (whole + "\r\n")[at - 1] == "\r":
            continue
        if char in "\r\n":
            return "bad", "bare-line-end"
        if (ord(char) < 32 and char != "\t") or ord(char) == 127:
            return "bad", "control-character"
    line, *fields = whole.split("\r\n")
    parts = line.split(" ")
    if "\t" in line or len(parts) != 3 or not TOKEN.match(parts[0]):
        return "bad", "request-line"
    method, target, version = parts
    if version not in ("HTTP/1.0", "HTTP/1.1"):
        return "bad", "version"
    if not (target.startswith("/") or target == "*" or re.match(r"(?i)https?://.", target)):
        return "bad", "target"
    values: dict[str, list[str]] = {}
    plain = version == "HTTP/1.1" and len(fields) <= 64
    for field in fields:
        if field[:1] in (" ", "\t"):
            return "bad", "folded-header"
        name, colon, value = field.partition(":")
        if not colon or not TOKEN.match(name):
            return "bad", "header-name"
        value = value.strip(" \t")
        values.setdefault(name.lower(), []).append(value)
        # In the order they come: the first fault is the one that is named.
        same = values[name.lower()]
        if name.lower() == "host" and (len(same) > 1 or not value or re.search(r"[ ,/]", value)):
            return "bad", "host"
        if name.lower() == "content-length" and (len(same) > 1 or not re.fullmatch(r"[0-9]{1,18}", value)):
            return "bad", "content-length"
        if name.lower() == "transfer-encoding" and (len(same) > 1 or value.lower() != "chunked"):
            return "bad", "transfer-encoding"
    if version == "HTTP/1.1" and "host" not in values:
        return "bad", "host"
    if "transfer-encoding" in values and version == "HTTP/1.0":
        return "bad", "transfer-encoding"
    if "transfer-encoding" in values and "content-length" in values:
        return "bad", "length-and-encoding"
    return ("fast", None) if plain and is_plain(method, target, values) else ("other", None)


def is_plain(method: str, target: str, values: dict[str, list[str]]) -> bool:
    path, mark, query = target.partition("?")
    if path not in ("/status", "/data", "/ws", "/events") or (path == "/status" and mark):
        return False
    given: dict[str, str] = {}
    for item in query.split("&") if mark else []:
        name, equals, value = item.strip(" \t").partition("=")
        patterns = {
            "timestamps": "ms|iso",
            "since": "[0-9]{1,18}",
            "wait": r"[0-9]{1,9}(\.[0-9]{1,9})?",
            "stale": "[01]",
        }
        if not equals or name in given or not re.fullmatch(patterns.get(name, "(?!)"), value):
            return False
        given[name] = value
    if "wait" in given and (path != "/data" or float(given["wait"]) > 300):
        return False
    if path == "/data" and ("wait" in given) != ("since" in given):
        return False
    if "stale" in given and "wait" not in given:
        return False
    if method == "HEAD":
        if path not in ("/status", "/data") or "wait" in given:
            return False
    elif method != "GET":
        return False
    strange = "content-length transfer-encoding expect te trailer range http2-settings if-match if-range"
    if any(name in values for name in f"{strange} if-modified-since if-unmodified-since".split()):
        return False
    single = ("connection", "if-none-match", "accept-encoding", "upgrade", "sec-websocket-version", "sec-websocket-key")
    if any(len(values.get(name, [])) > 1 for name in single):
        return False
    connection = [item.strip(" \t").lower() for item in ",".join(values.get("connection", ["keep-alive"])).split(",")]
    if not set(connection) <= {"close", "keep-alive", "upgrade"}:
        return False
    if "*" in values.get("if-none-match", [""])[0]:
        return False
    if "upgrade" in values and (path != "/ws" or values["upgrade"][0].lower() != "websocket"):
        return False
    if path == "/events" and "last-event-id" in values:
        ids = values["last-event-id"]
        if len(ids) > 1 or not re.fullmatch("[0-9]{1,18}", ids[0]):
            return False
    # Of WebSockets' own headers, whatever the path: only in their one right form.
    version, key = values.get("sec-websocket-version", ["13"])[0], values.get("sec-websocket-key", [KEY])[0]
    if version != "13" or not is_key(key):
        return False
    if path == "/ws":
        needed = {"upgrade", "sec-websocket-version", "sec-websocket-key"}
        return needed <= set(values) and "upgrade" in connection and "close" not in connection
    return "upgrade" not in connection


def is_key(key: str) -> bool:
    try:
        return (
            len(base64.b64decode(key, validate=True)) == 16 and base64.b64encode(base64.b64decode(key)).decode() == key
        )
    except ValueError:
        return False


# --- plain requests


@pytest.mark.parametrize(
    "path", ["/status", "/data", "/events", "/data?timestamps=iso", "/events?since=0&timestamps=ms"]
)
def test_plain_requests_are_ours(path: str) -> None:
    verdict, _, known = read(head(f"GET {path} HTTP/1.1"))
    assert verdict == "fast"
    assert known["route"] == path.partition("?")[0]
    assert known["size"] == len(head(f"GET {path} HTTP/1.1"))


@pytest.mark.parametrize(
    ("request_", "expected"),
    [
        (head("HEAD /data HTTP/1.1"), {"is_head": True, "close": False}),
        (head("GET /data HTTP/1.1", "Connection: close"), {"close": True}),
        (head("GET /data HTTP/1.1", "connection:Keep-Alive ,CLOSE"), {"close": True}),
        (head("GET /data?timestamps=iso HTTP/1.1"), {"iso": True, "since": None, "wait": None}),
        (head("GET /data?since=17&wait=2.5 HTTP/1.1"), {"since": 17, "wait": 2.5}),
        (head("GET /data?wait=300&since=0 HTTP/1.1"), {"since": 0, "wait": 300.0, "stale": None}),
        (head("GET /data?wait=1&since=0&stale=1 HTTP/1.1"), {"stale": True}),
        (head("GET /data HTTP/1.1", 'If-None-Match: \t W/"abc", "d" '), {"if_none_match": b'W/"abc", "d"'}),
        (head("GET /data HTTP/1.1", "Accept-Encoding: br, gzip;q=0.5"), {"gzip": True}),
        (head("GET /data HTTP/1.1", "Accept-Encoding: gzip;q=0.0, br"), {"gzip": False}),
        (head("GET /data HTTP/1.1", "Accept-Encoding: identity"), {"gzip": False}),
        (head("GET /events?since=3 HTTP/1.1", "Last-Event-ID: 9"), {"since": 9}),
        (head("GET /ws?since=3 HTTP/1.1", *UPGRADE), {"since": 3, "key": KEY.encode()}),
        (b"\r\n" + head("GET /status HTTP/1.1"), {"size": len(head("GET /status HTTP/1.1")) + 2}),
        (head("GET /status HTTP/1.1", "X-Forwarded-For: 1.2.3.4", "Cookie: a=b", "Via: 1.1 x"), {"route": "/status"}),
    ],
)
def test_what_is_known_of_them(request_: bytes, expected: dict[str, Any]) -> None:
    verdict, _, known = read(request_)
    assert verdict == "fast"
    assert {name: known[name] for name in expected} == expected


@pytest.mark.parametrize(
    "request_",
    [
        head("GET / HTTP/1.1"),
        head("POST /status HTTP/1.1"),
        head("get /status HTTP/1.1"),
        head("GET /status? HTTP/1.1"),
        head("GET /status/ HTTP/1.1"),
        head("GET //status HTTP/1.1"),
        head("GET /st%61tus HTTP/1.1"),
        head("GET http://example.org/status HTTP/1.1"),
        head("GET /status HTTP/1.0"),
        head("GET /data?since=1 HTTP/1.1"),
        head("GET /data?since=1&wait=301 HTTP/1.1"),
        head("GET /data?since=1&since=2&wait=1 HTTP/1.1"),
        head("GET /data?since=-1&wait=1 HTTP/1.1"),
        head("GET /data?x=1 HTTP/1.1"),
        head("HEAD /events HTTP/1.1"),
        head("GET /data HTTP/1.1", "Content-Length: 0"),
        head("GET /data HTTP/1.1", "Transfer-Encoding: chunked"),
        head("GET /data HTTP/1.1", "Expect: 100-continue"),
        head("GET /data HTTP/1.1", "If-None-Match: *"),
        head("GET /data HTTP/1.1", "Connection: close, x-own"),
        head("GET /data HTTP/1.1", "Connection: Upgrade, HTTP2-Settings", "Upgrade: h2c", "HTTP2-Settings: "),
        head("GET /data HTTP/1.1", *(f"X-{n}: y" for n in range(70))),
        head("GET /ws HTTP/1.1"),
        head("GET /ws HTTP/1.1", *UPGRADE[1:]),
        head("GET /ws HTTP/1.1", *UPGRADE[:3], "Sec-WebSocket-Key: short"),
        head("GET /ws HTTP/1.1", *UPGRADE[:2], "Sec-WebSocket-Version: 8", UPGRADE[3]),
    ],
)
def test_anything_else_is_not(request_: bytes) -> None:
    assert read(request_)[0] == "other"
    assert reference(request_)[0] == "other"


# --- refusals

SMUGGLED = "GET /smuggled HTTP/1.1\r\nHost: example.org\r\n\r\n"

BAD: list[tuple[str, bytes]] = [
    ("bare-line-end", b"GET / HTTP/1.1\nHost: a\n\n"),
    ("bare-line-end", b"GET / HTTP/1.1\r\nHost: a\n\r\n"),
    ("bare-line-end", b"GET / HTTP/1.1\r\nHost: a\r\nX: b\n\nGET /smuggled HTTP/1.1\r\n\r\n"),
    ("bare-line-end", b"GET / HTTP/1.1\r\nHost: a\r\nX: b\rY: c\r\n\r\n"),
    ("bare-line-end", b"GET / HTTP/1.1\rHost: a\r\n\r\n"),
    ("control-character", head("GET / HTTP/1.1", "X: a\0b")),
    ("control-character", head("GET / HTTP/1.1", "X: a\x0bb")),
    ("control-character", head("GET / HTTP/1.1", "X: a\x7fb")),
    ("control-character", head("GET /\0 HTTP/1.1")),
    ("request-line", head("GET  / HTTP/1.1")),
    ("request-line", head("GET / HTTP/1.1 ")),
    ("request-line", head("GET /a b HTTP/1.1")),
    ("request-line", head("GET\t/ HTTP/1.1")),
    ("request-line", head("GET /")),
    ("request-line", head("G(T / HTTP/1.1")),
    ("request-line", b" GET / HTTP/1.1\r\nHost: a\r\n\r\n"),
    ("request-line", b"\x16\x03\x01\x02\x00\x01\x00"),
    ("request-line", b"\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n"),
    ("version", head("GET / HTTP/2.0")),
    ("version", head("GET / HTTP/1.2")),
    ("version", head("GET / http/1.1")),
    ("version", head("GET / HTTP/1.10")),
    ("target", head("GET a HTTP/1.1")),
    ("target", head("GET http:// HTTP/1.1")),
    ("target", head("CONNECT example.org:80 HTTP/1.1")),
    ("header-name", head("GET / HTTP/1.1", "Content-Length : 5")),
    ("header-name", head("GET / HTTP/1.1", "X\t: 5")),
    ("header-name", head("GET / HTTP/1.1", ": 5")),
    ("header-name", head("GET / HTTP/1.1", "no colon")),
    ("header-name", head("GET / HTTP/1.1", "Transf\xe9r-Encoding: chunked")),
    ("folded-header", head("GET / HTTP/1.1", "X: a", " b")),
    ("folded-header", head("GET / HTTP/1.1", "Transfer-Encoding: chunked", "\tx")),
    ("host", head("GET / HTTP/1.1", host=None)),
    ("host", head("GET / HTTP/1.1", "Host: b")),
    ("host", head("GET / HTTP/1.1", host="Host: ")),
    ("host", head("GET / HTTP/1.1", host="Host: a, b")),
    ("host", head("GET / HTTP/1.1", host="Host: a/b")),
    ("content-length", head("POST / HTTP/1.1", "Content-Length: 5", "Content-Length: 5")),
    ("content-length", head("POST / HTTP/1.1", "Content-Length: 5, 5")),
    ("content-length", head("POST / HTTP/1.1", "Content-Length: +5")),
    ("content-length", head("POST / HTTP/1.1", "Content-Length: -5")),
    ("content-length", head("POST / HTTP/1.1", "Content-Length: 0x5")),
    ("content-length", head("POST / HTTP/1.1", "Content-Length: 5 5")),
    ("content-length", head("POST / HTTP/1.1", "Content-Length: ")),
    ("content-length", head("POST / HTTP/1.1", "Content-Length: 9223372036854775808")),
    ("content-length", head("POST / HTTP/1.1", "Content-Length: 5_0")),
    ("transfer-encoding", head("POST / HTTP/1.1", "Transfer-Encoding: gzip, chunked")),
    ("transfer-encoding", head("POST / HTTP/1.1", "Transfer-Encoding: xchunked")),
    ("transfer-encoding", head("POST / HTTP/1.1", "Transfer-Encoding: chunked", "Transfer-Encoding: identity")),
    ("transfer-encoding", head("POST / HTTP/1.1", "Transfer-Encoding: ")),
    ("transfer-encoding", head("POST / HTTP/1.1", 'Transfer-Encoding: "chunked"')),
    ("transfer-encoding", head("POST / HTTP/1.0", "Transfer-Encoding: chunked")),
    ("length-and-encoding", head("POST / HTTP/1.1", "Content-Length: 5", "Transfer-Encoding: chunked")),
    ("length-and-encoding", head("POST / HTTP/1.1", "transfer-encoding: Chunked", "content-length: 5")),
]


@pytest.mark.parametrize(("reason", "request_"), BAD)
def test_what_could_be_read_in_two_ways_is_refused_by_name(reason: str, request_: bytes) -> None:
    verdict, _, known = read(request_)
    assert (verdict, known) == ("bad", {"reason": reason})


def test_every_reason_has_a_case() -> None:
    assert {reason for reason, _ in BAD} == set(REASONS)


@pytest.mark.parametrize(
    "data",
    [
        b"GET /" + b"a" * 5000,
        b"GET / HTTP/1.1\r\n" + b"X: " + b"a" * 9000,
        head("GET / HTTP/1.1", "X: " + "a" * 9000),
        head("GET /" + "a" * 5000 + " HTTP/1.1"),
    ],
)
def test_what_is_too_long_is_refused(data: bytes) -> None:
    assert read(data)[0] == "long"


# --- against the reference

NAMES = [
    "Host",
    "host",
    "Connection",
    "If-None-Match",
    "Accept-Encoding",
    "Content-Length",
    "Transfer-Encoding",
    "Upgrade",
    "Sec-WebSocket-Version",
    "Sec-WebSocket-Key",
    "Last-Event-ID",
    "Expect",
    "Range",
    "X-Own",
]
VALUES = [
    "example.org",
    "keep-alive",
    "close",
    "Upgrade",
    "keep-alive, Upgrade",
    "websocket",
    "WebSocket",
    "13",
    KEY,
    '"abc"',
    "*",
    "gzip, br",
    "chunked",
    "5",
    "0",
    "",
    " padded\t",
    "a, b",
    "two words",
]
requests = st.builds(
    lambda method, target, version, fields: (
        f"{method} {target} {version}\r\n" + "".join(f"{name}:{value}\r\n" for name, value in fields) + "\r\n"
    ).encode("latin-1"),
    st.sampled_from(["GET", "GET", "GET", "HEAD", "POST", "get"]),
    st.sampled_from(
        [
            "/status",
            "/data",
            "/data?timestamps=iso",
            "/data?since=1&wait=2",
            "/data?since=1",
            "/data?since=1&wait=2&stale=1",
            "/data?stale=1",
            "/ws?stale=1",
            "/ws",
            "/ws?since=2",
            "/events",
            "/events?timestamps=ms",
            "/",
            "*",
        ]
    ),
    st.sampled_from(["HTTP/1.1", "HTTP/1.1", "HTTP/1.1", "HTTP/1.0", "HTTP/3"]),
    st.lists(st.tuples(st.sampled_from(NAMES), st.sampled_from(VALUES).map(lambda value: " " + value)), max_size=6).map(
        lambda fields: [("Host", " example.org"), *fields]
    ),
)
whole_upgrade = st.permutations([*UPGRADE, "Host: example.org", "Origin: http://example.org"]).map(
    lambda fields: head("GET /ws HTTP/1.1", *fields, host=None)
)
mutations = st.lists(
    st.tuples(
        st.floats(0, 1), st.sampled_from(["insert", "delete", "replace"]), st.sampled_from("\r\n\t :,\0aA5/?=;\x7f")
    ),
    max_size=2,
)


def mutate(data: bytes, changes: list[tuple[float, str, str]]) -> bytes:
    for where, what, char in changes:
        at = int(where * (len(data) - 1))
        byte = char.encode()
        data = data[:at] + (byte if what != "delete" else b"") + data[at + (what != "insert") :]
    return data


@settings(deadline=None, max_examples=1500)
@given(st.one_of(requests, whole_upgrade), mutations)
def test_the_reader_agrees_with_the_reference(request_: bytes, changes: list[tuple[float, str, str]]) -> None:
    data = mutate(request_, changes)
    verdict, _, known = read(data)
    assert (verdict, known.get("reason")) == reference(data)


@settings(deadline=None, max_examples=300)
@given(requests, mutations, st.lists(st.integers(1, 200), max_size=8))
def test_any_split_gives_the_same_verdict(request_: bytes, changes: Any, cuts: list[int]) -> None:
    data = mutate(request_, changes) + SMUGGLED.encode()
    whole = read(data)
    seen = 0
    end = 0
    for cut in [*cuts, len(data)]:
        end = min(end + cut, len(data))
        verdict, seen, known = read(data[:end], seen)
        if verdict != "more":
            assert (verdict, known) == (whole[0], whole[2])
            return
    assert whole[0] == "more"


@settings(deadline=None)
@given(st.binary(max_size=300))
def test_noise_is_judged_too(data: bytes) -> None:
    verdict, seen, _ = read(data)
    assert verdict in ("more", "other", "bad", "fast", "long")
    assert seen <= len(data)
