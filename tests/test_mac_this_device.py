"""The page about "this device" on the space's network: fonera/bits_fonera/this_device.py."""

from __future__ import annotations

import base64
import hashlib
import hmac
import html
import re
from urllib.parse import parse_qs, urlsplit

import pytest
from bits_fonera.this_device import MAX_REQUEST, answer, is_complete
from hypothesis import given
from hypothesis import strategies as st

KEY = "a key of the space, with an è"
SERVER = "https://bits.example.org/"
NOW = 1_770_000_000
REAL, MADE_UP = "00:1b:63:84:45:e6", "da:a1:19:00:00:01"
ADDRESSES = {"192.168.1.23": REAL, "192.168.1.24": MADE_UP}


def ask(request: bytes, ip: str = "192.168.1.23", server: str = SERVER) -> tuple[str, dict[str, str], str]:
    """Return status line without the version, headers in lower case, and body."""
    head, _, body = answer(request, ip, ADDRESSES.get, KEY, server, NOW).partition(b"\r\n\r\n")
    first, *lines = head.decode().split("\r\n")
    assert first.startswith("HTTP/1.1 ")
    return first[9:], {name.lower(): value for name, value in (line.split(": ", 1) for line in lines)}, body.decode()


def get(path: str = "/", method: str = "GET", host: str = "192.168.1.1:8081", **headers: str) -> bytes:
    fields = {"Host": host} | {name.replace("_", "-"): value for name, value in headers.items()}
    lines = [f"{method} {path} HTTP/1.1", *(f"{name}: {value}" for name, value in fields.items())]
    return "\r\n".join([*lines, "", ""]).encode()


def target(body: str) -> str:
    found = re.search(r'href="([^"]*)"', body)
    assert found
    return html.unescape(found[1])


@pytest.mark.parametrize(("ip", "mac", "randomised"), [("192.168.1.23", REAL, "0"), ("192.168.1.24", MADE_UP, "1")])
def test_the_page_leads_to_the_server_with_a_proof(ip: str, mac: str, randomised: str) -> None:
    status, headers, body = ask(get(), ip)
    assert status == "200 OK"
    assert headers["connection"] == "close"
    assert mac in body
    url = urlsplit(target(body))
    assert f"{url.scheme}://{url.netloc}{url.path}" == "https://bits.example.org/devices"
    asked = {name: values[0] for name, values in parse_qs(url.query, strict_parsing=True).items()}
    digest = hmac.new(KEY.encode(), mac.encode(), hashlib.sha256).hexdigest()
    text = f"this-device {digest} {NOW} {randomised}"
    sign = hmac.new(KEY.encode(), text.encode(), hashlib.sha256).hexdigest()
    assert asked == {"digest": digest, "at": str(NOW), "randomised": randomised, "sign": sign}
    assert mac not in url.query


def test_only_a_made_up_address_is_explained_with_how_to_switch_it_off() -> None:
    assert "iPhone" not in ask(get())[2]
    body = ask(get(), "192.168.1.24")[2]
    for word in ("randomised", "iPhone", "Android", "Windows", "Linux"):
        assert word in body


def test_a_device_that_is_no_neighbour_is_told_so() -> None:
    status, _, body = ask(get(), "10.9.9.9")
    assert status == "200 OK"
    assert "not among the neighbours" in body
    assert "/devices" not in body


@pytest.mark.parametrize(
    ("accepts", "language"),
    [
        ("", "en"),
        ("it", "it"),
        ("it-IT,it;q=0.9,en;q=0.8", "it"),
        ("en-GB,it;q=0.5", "en"),
        ("de", "en"),
        ("de,it;q=0.1", "it"),
        ("it;q=0", "en"),
        ("it;q=many,;;,", "en"),
        ("it;q=nan", "en"),
    ],
)
def test_the_page_speaks_the_readers_language(accepts: str, language: str) -> None:
    _, headers, body = ask(get(Accept_Language=accepts), "192.168.1.24")
    assert headers["content-language"] == language
    assert f'<html lang="{language}">' in body
    assert ("Questo dispositivo" in body) == (language == "it")


def test_the_page_lets_nothing_in_and_nothing_out() -> None:
    _, headers, body = ask(get())
    policy = headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "frame-ancestors 'none'" in policy
    style = body.partition("<style>")[2].partition("</style>")[0]
    assert f"'sha256-{base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()}'" in policy
    assert "<script" not in body
    assert headers["cache-control"] == "no-store"
    assert headers["referrer-policy"] == "no-referrer"


def test_what_goes_into_the_page_is_escaped() -> None:
    body = ask(get(), server="""https://x/"><script>alert('1')</script>&amp""")[2]
    assert "<script" not in body
    assert target(body).startswith("""https://x/"><script>alert('1')</script>&amp/devices?digest=""")


def test_head_is_get_without_the_body() -> None:
    _, headers, body = ask(get())
    status, head_headers, nothing = ask(get(method="HEAD"))
    assert status == "200 OK"
    assert nothing == ""
    assert head_headers == headers
    assert int(headers["content-length"]) == len(body.encode())


@pytest.mark.parametrize(
    ("request_bytes", "status"),
    [
        (b"", "400 Bad Request"),
        (b"GET / HTTP/1.1", "400 Bad Request"),  # no LF
        (b"GET / HTTP/1.1\r\nHost: a\r\n", "400 Bad Request"),  # not ended
        (b"GET /\r\n\r\n", "400 Bad Request"),
        (b"GET  / HTTP/1.1\r\nHost: a\r\n\r\n", "400 Bad Request"),
        (b"\x16\x03\x01\x02\x00\x01\n\n", "400 Bad Request"),  # TLS on a port without
        (b"GET / HTTP/1.1\r\n\r\n", "400 Bad Request"),  # no host
        (b"GET / HTTP/1.1\r\nnonsense\r\n\r\n", "400 Bad Request"),
        (b"GET / HTTP/1.1\r\nHost : a\r\n\r\n", "400 Bad Request"),
        (b"GET / HTTP/2.0\r\nHost: a\r\n\r\n", "505 HTTP Version Not Supported"),
        (get(method="POST"), "405 Method Not Allowed"),
        (get(method="get"), "405 Method Not Allowed"),
        (get("/favicon.ico"), "404 Not Found"),
        (get("//"), "404 Not Found"),
        (get("/" + "a" * MAX_REQUEST), "414 URI Too Long"),
        (b"G" * (MAX_REQUEST + 1), "414 URI Too Long"),
        (get(Cookie="a" * MAX_REQUEST), "431 Request Header Fields Too Large"),
        (get(host="evil.example.org"), "421 Misdirected Request"),
        (get(host="evil.example.org:8081"), "421 Misdirected Request"),
        (get("/?reload"), "200 OK"),
        (b"GET / HTTP/1.0\n\n", "200 OK"),
        (b"GET / HTTP/1.1\nHost: fonera.lan\n\n", "200 OK"),
        (get(host="[fd00::1]:8081"), "200 OK"),
        (get(host="router"), "200 OK"),
    ],
)
def test_each_request_gets_its_status(request_bytes: bytes, status: str) -> None:
    found, headers, body = ask(request_bytes)
    assert found == status
    assert int(headers["content-length"]) == len(body.encode())
    assert ("allow" in headers) == status.startswith("405")
    assert ("/devices" in body) == (status == "200 OK")


@given(st.one_of(st.binary(max_size=200), st.binary(max_size=60).map(lambda noise: b"GET / HTTP/1.1\r\n" + noise)))
def test_any_bytes_get_an_answer(request_bytes: bytes) -> None:
    status, _, _ = ask(request_bytes)
    assert status[:3] in {"200", "400", "404", "405", "421", "505"}


@given(st.text(max_size=60))
def test_any_preference_of_languages_gets_an_answer(accepts: str) -> None:
    status, _, _ = ask(b"GET / HTTP/1.1\r\nHost: a\r\nAccept-Language: " + accepts.encode() + b"\r\n\r\n")
    assert status[:3] in {"200", "400"}


def test_a_request_is_complete_with_its_empty_line_or_when_it_is_too_long() -> None:
    whole = get()
    assert is_complete(whole)
    assert not any(is_complete(whole[:cut]) for cut in range(len(whole)))
    assert is_complete(b"a" * (MAX_REQUEST + 1))
    assert not is_complete(b"a" * MAX_REQUEST)
