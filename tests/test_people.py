"""Who is there, as a member's browser, the router and strangers find it: a real server, real sockets."""

from __future__ import annotations

import hmac
import json
import re
import time
import urllib.parse
from collections.abc import Callable
from typing import Any

import pytest

from bits.devices import MOST, digest
from bits.events import BRIDGE, Enter, Leave, Stored
from bits.web.people import Visit, visits
from tests.conftest import Server, at, wait_until
from tests.test_admin import PASSWORD, SECRET, Browser
from tests.test_ingest import KEYS, Peer, lines_of
from tests.test_live import follow, receive

Make = Callable[..., Server]
KEY = "key of the space, 32 characters!"
ROUTER = "password of the router, 32 chars"
PHONE = digest("00:1b:63:84:45:e6", KEY)
SETTINGS = {
    "cookie_secret": SECRET,
    "mac_key": KEY,
    "mac_password": ROUTER,
    "button_wins": "0",
    "stale_after": "0",
}


def link_to(name: str = PHONE, *, ago: float = 0, randomised: int = 0, key: str = KEY) -> str:
    """Return what the router's page leads to."""
    moment = int(time.time() - ago)
    sign = hmac.digest(key.encode(), f"this-device {name} {moment} {randomised}".encode(), "sha256").hex()
    return f"/devices?digest={name}&at={moment}&randomised={randomised}&sign={sign}"


def fields_of(link: str) -> dict[str, str]:
    return dict(urllib.parse.parse_qsl(urllib.parse.urlsplit(link).query))


@pytest.fixture
def space(make_server: Make) -> Server:
    server = make_server(**SETTINGS)
    for name, number in (("anna", "7"), ("bruno", "42")):
        added = server.run("user", "add", name, "--number", number, "--password-stdin", input=PASSWORD + "\n")
        assert added.returncode == 0, added.stderr
    return server


def signed_in(server: Server, name: str = "anna") -> Browser:
    browser = Browser(server)
    assert browser.sign_in(name)[:2] == (200, "/admin")
    return browser


def tell(server: Server, macs: object, password: str = ROUTER) -> tuple[int, str]:
    """Send the router's list."""
    given = macs if isinstance(macs, str) else json.dumps(macs)
    status, _, said = Browser(server).post("/macupdate", {"password": password, "macs": given})
    return status, said


def register(browser: Browser, link: str, label: str = "phone", **more: str) -> tuple[int, str, str]:
    return browser.post("/devices", {**fields_of(link), "label": label, "csrf": browser.csrf("/devices"), **more})


def value(server: Server) -> str | None:
    return server.json("/data").get("status", {}).get("value")  # type: ignore[no-any-return]


# --- the way through


def test_a_member_arrives_is_shown_to_members_and_leaves(space: Server) -> None:
    anna, bruno, stranger = signed_in(space), signed_in(space, "bruno"), Browser(space)
    with follow(space) as stream, space.bridge() as bridge:
        frames = [receive(stream)]
        status, url, page = register(anna, link_to())
        assert (status, url) == (200, "/devices?done=added")
        assert "The device is registered." in page
        assert "here now" in page
        assert lines_of(bridge, 1) == ["status 1"]
        wait_until(lambda: value(space) == "open")
        for each in (anna, bruno):
            roster = each.get("/people")[2]
            assert re.search(r'<span class="name">anna</span>', roster)
            assert "still here" in roster
        assert tell(space, [PHONE, "0" * 64]) == (200, "ok\n")
        assert value(space) == "open"
        assert tell(space, ["0" * 64]) == (200, "ok\n")
        assert lines_of(bridge, 1) == ["status 0"]
        wait_until(lambda: value(space) == "closed")
        while frames[-1].get("status", {}).get("value") != "closed":
            frames.append(receive(stream))
    roster = bruno.get("/people")[2]
    assert "Nobody has signed in" in roster
    assert "<td>anna</td>" in roster
    assert "still here" not in roster
    assert [frame["people"]["count"] for frame in frames if "people" in frame] == [0, 1, 0]
    # A name is nobody's business but the members'.
    public = [json.dumps(frames), *(stranger.get(path)[2] for path in ("/", "/data", "/log?format=json", "/log"))]
    assert not any("anna" in text or PHONE in text or "phone" in text.split() for text in public)
    log = space.json("/log?format=json")["log"]
    assert [(entry["value"], entry["modifiedby"]) for entry in log] == [("closed", "mac"), ("open", "mac")]
    assert "by members’ devices" in stranger.get("/")[2]
    assert space.metric('deduced_total{source="mac"}') == 2


def test_a_bridge_that_tells_of_devices_opens_and_closes_too(make_server: Make) -> None:
    server = make_server(**SETTINGS, bridge_keys=KEYS)
    server.run("user", "add", "anna", "--password-stdin", input=PASSWORD + "\n")
    anna = signed_in(server)
    anna.post("/devices", {"mac": "001b.6384.45e6", "label": "phone", "csrf": anna.csrf("/devices")})
    with Peer(server.bridge()) as peer:
        assert peer.welcome() == 0
        peer.say(f"@1 90000 seen {PHONE}", f"@2 80000 seen {'0' * 64}")
        assert peer.hear("status") == "status 1"
        assert re.search(r'<span class="name">anna</span>', anna.get("/people")[2])
        peer.say(f"@3 1000 gone {PHONE}")
        assert peer.hear("status") == "status 0"
    assert "still here" not in anna.get("/people")[2]
    assert server.json("/data")["people"] == {"count": 0}


@pytest.mark.postgres
def test_it_does_not_matter_which_node_one_speaks_to(make_server: Make, postgres_uri: str) -> None:
    here, there = (make_server(**SETTINGS, db_uri=postgres_uri) for _ in range(2))
    here.run("user", "add", "anna", "--password-stdin", input=PASSWORD + "\n")
    register(signed_in(here), link_to())
    for node in (here, there):
        wait_until(lambda node=node: value(node) == "open")  # type: ignore[misc]
    for node in (there, here, there):
        assert tell(node, [PHONE]) == (200, "ok\n")
    assert "here now" in signed_in(there).get("/devices")[2]
    for node in (there, here):
        assert tell(node, []) == (200, "ok\n")
    for node in (here, there):
        wait_until(lambda node=node: value(node) == "closed")  # type: ignore[misc]
    log = there.json("/log?format=json")["log"]
    assert [(entry["value"], entry["modifiedby"]) for entry in log] == [("closed", "mac"), ("open", "mac")]
    assert len(re.findall("<td>anna</td>", signed_in(here).get("/people")[2])) == 1


def test_the_button_wins_for_its_time(make_server: Make) -> None:
    server = make_server(**SETTINGS | {"button_wins": "1.5"})
    server.run("user", "add", "anna", "--password-stdin", input=PASSWORD + "\n")
    register(signed_in(server), link_to())
    wait_until(lambda: value(server) == "open")
    tell(server, [])
    wait_until(lambda: value(server) == "closed")
    server.say("status 1")
    server.say("status 0")
    pressed = time.monotonic()
    tell(server, [PHONE])
    assert server.json("/data")["people"] == {"count": 1}
    assert value(server) == "closed"
    wait_until(lambda: value(server) == "open")
    assert time.monotonic() - pressed > 1.0


def test_left_open_members_are_told_before_it_closes(make_server: Make) -> None:
    server = make_server(**SETTINGS | {"auto_close_after": "3", "auto_close_warning": "1.5"})
    server.run("user", "add", "anna", "--password-stdin", input=PASSWORD + "\n")
    anna = signed_in(server)
    with server.bridge() as bridge:
        server.say("status 1")
        assert lines_of(bridge, 1) == ["status 1"]
        (words,) = lines_of(bridge, 1)
        assert words.startswith("message ")
        assert value(server) == "open"
        assert "The space closes by itself" in anna.get("/admin")[2]
        # Who presses Open once more keeps it open; everybody hears of that.
        anna.post("/admin", {"value": "open", "csrf": anna.csrf("/admin")})
        lines_of(bridge, 2)
        message = server.json("/data")["message"]
        assert (message["user"], message["value"]) == ("auto", "Somebody has been seen: it stays open.")
        assert "The space closes by itself" not in anna.get("/admin")[2]
        assert lines_of(bridge, 2)[1] == "status 0"
    log = server.json("/log?format=json")["log"]
    assert [(entry["value"], entry["modifiedby"]) for entry in log] == [
        ("closed", "auto"),
        ("open", "web"),
        ("open", "BITS"),
    ]


# --- devices


def test_a_link_is_kept_through_the_door(space: Server) -> None:
    browser = Browser(space)
    link = link_to()
    status, url, page = browser.get(link)
    assert status == 200
    assert url == "/login?" + urllib.parse.urlencode({"next": link})
    found = re.search(r'name="next" value="([^"]*)"', page)
    assert found
    kept = found[1].replace("&amp;", "&")
    assert kept == link
    form = {"name": "anna", "csrf": browser.csrf(url), "next": kept}
    wrong = browser.post("/login", {**form, "password": "wrong horse"})
    assert wrong[0] == 403 and link.replace("&", "&amp;") in wrong[2]
    status, url, page = browser.post("/login", {**form, "password": PASSWORD})
    assert (status, url) == (200, link)
    assert "Register this device" in page
    assert browser.get("/login?" + urllib.parse.urlencode({"next": "/people"}))[1] == "/people"


def test_the_door_leads_nowhere_else(space: Server) -> None:
    for elsewhere in (
        "https://evil.example/",
        "//evil.example/devices?x",
        "/devices?a=b\r\nSet-Cookie:x=y",
        "/devices/../logout",
        "/devicesx",
        "/\\evil.example",
        "/devices?" + "a" * 500,
        "javascript:alert(1)",
    ):
        browser = Browser(space)
        csrf = browser.csrf("/login?" + urllib.parse.urlencode({"next": elsewhere}))
        form = {"name": "anna", "password": PASSWORD, "csrf": csrf, "next": elsewhere}
        assert browser.post("/login", form)[1] == "/admin", elsewhere


def test_who_is_not_signed_in_sees_nothing(space: Server) -> None:
    register(signed_in(space), link_to())
    browser = Browser(space)
    for path in ("/people", "/devices"):
        status, url, page = browser.get(path)
        assert (status, url) == (200, "/login?" + urllib.parse.urlencode({"next": path}))
        assert "anna" not in page
    csrf = browser.csrf("/login")
    for path in ("/devices", "/devices/remove"):
        assert (
            browser.post(path, {**fields_of(link_to("b" * 64)), "id": "1", "label": "x", "csrf": csrf})[1] == "/login"
        )
        assert signed_in(space).post(path, {"id": "1", "label": "x"})[0] == 403
    assert "phone" in signed_in(space).get("/devices")[2]


def test_a_device_is_added_by_its_address_and_removed(space: Server) -> None:
    anna = signed_in(space)
    typed = {"mac": "00-1B-63-84-45-E6", "label": "<b>phone</b>", "csrf": anna.csrf("/devices")}
    assert anna.post("/devices", typed)[1] == "/devices?done=added"
    page = anna.get("/devices")[2]
    assert "&lt;b&gt;phone&lt;/b&gt;" in page
    assert "here now" not in page
    assert "45:e6" not in page.lower().replace("00:1b:63:84:45:e6", "")
    tell(space, [PHONE])
    assert "here now" in anna.get("/devices")[2]
    wait_until(lambda: value(space) == "open")
    found = re.search(r'name="id" value="(\d+)"', anna.get("/devices")[2])
    assert found
    # Another's it stays.
    bruno = signed_in(space, "bruno")
    refused = bruno.post("/devices/remove", {"id": found[1], "csrf": bruno.csrf("/devices")})
    assert refused[0] == 400 and "not among yours" in refused[2]
    status, url, page = anna.post("/devices/remove", {"id": found[1], "csrf": anna.csrf("/devices")})
    assert (status, url) == (200, "/devices?done=removed")
    assert "You have registered no device." in page
    assert space.json("/data")["people"] == {"count": 0}
    wait_until(lambda: value(space) == "closed")
    # Neither the log nor the database knows the address.
    space.stop()
    stored = b"".join(file.read_bytes() for file in space.folder.iterdir() if file.is_file())
    for spelled in ("00:1b:63:84:45:e6", "00-1b-63-84-45-e6", "001b638445e6"):
        assert spelled not in space.errors.lower()
        assert spelled.encode() not in stored.lower()


def test_a_made_up_address_is_explained_and_needs_a_tick(space: Server) -> None:
    anna = signed_in(space)
    typed = {"mac": "02:1b:63:84:45:e6", "label": "phone", "csrf": anna.csrf("/devices")}
    status, _, page = anna.post("/devices", typed)
    assert status == 400
    assert 'name="confirmed"' in page and 'value="02:1b:63:84:45:e6"' in page and 'value="phone"' in page
    assert '<p class="bad" id="confirmed-wrong">' in page
    assert anna.post("/devices", {**typed, "confirmed": "1"})[1] == "/devices?done=added"
    link = link_to("d" * 64, randomised=1)
    assert 'name="confirmed"' in anna.get(link)[2]
    assert register(anna, link)[0] == 400
    assert register(anna, link, confirmed="1")[1] == "/devices?done=added"
    assert space.metric('devices_refused_total{reason="randomised"}') == 2


def test_what_cannot_be_registered_is_said_and_counted(space: Server) -> None:
    anna, bruno = signed_in(space), signed_in(space, "bruno")
    register(bruno, link_to("c" * 64))
    csrf = anna.csrf("/devices")
    old, forged = link_to(ago=601), link_to(key="another key with 32 characters!!")
    refusals: list[tuple[tuple[int, str, str], str, str]] = [
        (anna.post("/devices", {"mac": "00:1b", "label": "x", "csrf": csrf}), "bad-mac", "no MAC address"),
        (anna.post("/devices", {"label": "x", "csrf": csrf}), "bad-mac", "no MAC address"),
        (register(anna, link_to(), label=" "), "bad-label", "1 to 64 characters"),
        (register(anna, link_to(), label="x" * 65), "bad-label", "1 to 64 characters"),
        (anna.get(old), "old-link", "older than ten minutes"),
        (register(anna, old), "old-link", "older than ten minutes"),
        (anna.get(forged), "bad-link", "not made by the router"),
        (register(anna, forged), "bad-link", "not made by the router"),
        (anna.get("/devices?digest=x"), "bad-link", "not made by the router"),
        (anna.get(link_to("c" * 64)), "registered", "registered already"),
        (register(anna, link_to("c" * 64)), "registered", "registered already"),
        (anna.post("/devices/remove", {"id": "1x", "csrf": csrf}), "gone", "not among yours"),
        (anna.post("/devices/remove", {"id": "9" * 30, "csrf": csrf}), "gone", "not among yours"),
    ]
    counted: dict[str, int] = {}
    fields = {"bad-mac": "mac", "bad-label": "label"}
    for (status, _, page), reason, said in refusals:
        assert status == 400
        assert said in page
        if field := fields.get(reason):
            assert f'aria-invalid="true" aria-describedby="{field}-wrong" autofocus' in page
            assert f'<a href="#{field}">' in page and f'<p class="bad" id="{field}-wrong">' in page
        else:
            assert "aria-invalid" not in page and 'href="#"' not in page
        counted[reason] = counted.get(reason, 0) + 1
    for reason, times in counted.items():
        assert space.metric(f'devices_refused_total{{reason="{reason}"}}') == times, reason
    for n in range(MOST):
        typed = {"mac": f"00:1b:63:84:45:{n:02x}", "label": "x", "csrf": csrf}
        assert anna.post("/devices", typed)[0] == 200
    assert f"You have {MOST} devices" in register(anna, link_to())[2]
    assert space.json("/data")["people"] == {"count": 1}  # bruno's


def test_without_a_key_nothing_can_be_registered(make_server: Make) -> None:
    server = make_server(cookie_secret=SECRET)
    server.run("user", "add", "anna", "--password-stdin", input=PASSWORD + "\n")
    anna = signed_in(server)
    page = anna.get("/devices")[2]
    assert "By its MAC address" not in page
    for answer in (
        anna.get(link_to()),
        register_without_form(anna, mac="00:1b:63:84:45:e6"),
        register_without_form(anna, **fields_of(link_to())),
    ):
        assert answer[0] == 400 and "mac_key is not set" in answer[2]


def register_without_form(browser: Browser, **fields: str) -> tuple[int, str, str]:
    return browser.post("/devices", {**fields, "label": "x", "csrf": browser.csrf("/admin")})


def test_a_deleted_member_takes_the_devices_along(space: Server) -> None:
    register(signed_in(space), link_to())
    assert space.json("/data")["people"] == {"count": 1}
    assert space.run("user", "delete", "anna").returncode == 0
    space.stop()
    space.start()
    assert space.json("/data")["people"] == {"count": 0}
    assert tell(space, [PHONE])[0] == 200
    assert space.json("/data")["people"] == {"count": 0}


# --- the router's list


def test_what_a_router_may_not_send(space: Server) -> None:
    digests = [f"{n:064x}" for n in range(501)]
    before = space.json("/data")["seq"]
    for macs, status, said, reason in (
        ("", 400, "macs: expected a JSON list of digests.", "bad-list"),
        ("{}", 400, "macs: expected a JSON list of digests.", "bad-list"),
        ("[", 400, "macs: expected a JSON list of digests.", "bad-list"),
        ("[" * 20_000, 400, "macs: expected a JSON list of digests.", "bad-list"),
        ([PHONE, 1], 400, "macs, number 1: expected 64 hexadecimal digits in lower case.", "bad-digest"),
        ([PHONE.upper()], 400, "macs, number 0: expected 64 hexadecimal digits in lower case.", "bad-digest"),
        (["00:1b:63:84:45:e6"], 400, "macs, number 0: expected 64 hexadecimal", "bad-digest"),
        (digests, 400, "macs has 501 digests: expected at most 500.", "too-many"),
    ):
        counter = f'macupdates_refused_total{{reason="{reason}"}}'
        times = space.metric(counter)
        answer = tell(space, macs)
        assert answer[0] == status and answer[1].startswith(said), answer
        assert space.metric(counter) == times + 1
    for password in ("", "wrong", "è", ROUTER + "x", ROUTER[:-1]):
        assert tell(space, [PHONE], password) == (403, "The password is wrong.\n")
    assert space.metric('macupdates_refused_total{reason="wrong-password"}') == 5
    assert tell(space, digests[:500]) == (200, "ok\n")
    assert space.json("/data")["seq"] == before
    assert ROUTER not in space.errors


def test_a_list_that_is_no_form_or_too_large(space: Server) -> None:
    def post(body: bytes) -> int:
        import urllib.request

        request = urllib.request.Request(space.url + "/macupdate", body)
        try:
            answer: Any = urllib.request.urlopen(request, timeout=10)
        except urllib.error.HTTPError as error:
            answer = error
        with answer:
            return int(answer.status)

    assert post(b"\xff\xfe") == 400
    assert post(b"&".join(b"a=%d" % n for n in range(33))) == 400
    assert space.metric('macupdates_refused_total{reason="bad-form"}') == 2
    assert post(b"password=" + b"x" * 70_000) == 413
    assert space.metric('http_errors_total{status="413"}') == 1


def test_without_a_password_no_list_is_taken(make_server: Make) -> None:
    server = make_server()
    assert tell(server, [], "") == (404, "This server takes no lists of devices: mac_password is not set.\n")
    assert server.metric('macupdates_refused_total{reason="not-offered"}') == 1


# --- visits


def test_arrivals_and_departures_make_visits() -> None:
    events = [
        Stored(1, Leave(9), BRIDGE, at(0)),  # who came longer ago than is told
        Stored(2, Enter(1), BRIDGE, at(10)),
        Stored(3, Enter(2), BRIDGE, at(20)),
        Stored(4, Leave(1), BRIDGE, at(30)),
        Stored(5, Enter(1), BRIDGE, at(40)),
    ]
    assert visits(events[::-1]) == [
        Visit(1, at(40), None),
        Visit(1, at(10), at(30)),
        Visit(2, at(20), None),
        Visit(9, None, at(0)),
    ]
    assert visits([]) == []


def test_numbers_without_a_name_are_told_as_numbers(space: Server) -> None:
    space.say("enter 999", "enter 42", "leave 999")
    roster = signed_in(space).get("/people")[2]
    assert "<td>number 999</td>" in roster
    assert '<span class="name">bruno</span>' in roster
    assert space.json("/data")["people"] == {"count": 1}
