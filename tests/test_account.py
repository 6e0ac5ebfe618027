"""A member's own account, as a browser would use it; and that no password gets into a log."""

from __future__ import annotations

import re
import urllib.error
import urllib.parse
from collections.abc import Iterator

import pytest

from bits.web.auth import ADDRESSES
from tests.conftest import Server
from tests.test_admin import PASSWORD, SECRET, Browser, Make


@pytest.fixture(scope="module")
def members(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """One server for all, that logs everything it can; each test has a member of its own."""
    server = Server(
        tmp_path_factory.mktemp("members"),
        cookie_secret=SECRET,
        log_requests="true",
        log_queries="true",
        developer_mode="true",
        login_rate="0",
    ).start()
    yield server
    server.stop()
    assert "Traceback" not in server.errors, server.errors
    assert "INSERT INTO" in server.errors
    assert not re.search(rf"{PASSWORD}|another horse|\$argon2|typed by root", server.errors)


def a_member(server: Server, name: str, *more: str) -> Browser:
    added = server.run("user", "add", name, *more, "--password-stdin", input=PASSWORD + "\n")
    assert added.returncode == 0, added.stderr
    browser = Browser(server)
    browser.sign_in(name)
    return browser


def change(browser: Browser, old: str, new: str, again: str | None = None) -> tuple[int, str, str]:
    fields = {"old": old, "new": new, "again": new if again is None else again}
    return browser.post("/account/password", fields | {"csrf": browser.csrf("/account")})


def test_a_new_password_ends_all_other_sessions(members: Server) -> None:
    browser, other = a_member(members, "anna"), Browser(members)
    other.sign_in("anna")
    assert other.get("/account")[1] == "/account"
    status, url, page = change(browser, PASSWORD, "another horse")
    assert (status, url) == (200, "/account?done=password")
    assert "The password is changed." in page
    assert other.get("/account")[1] == "/login?next=%2Faccount"
    assert browser.get("/admin")[1] == "/admin"
    assert other.sign_in("anna")[0] == 403
    assert other.sign_in("anna", "another horse")[:2] == (200, "/admin")


@pytest.mark.parametrize(
    ("old", "new", "again", "field", "said"),
    [
        ("wrong horse", "another horse", None, "old", "This is not your password."),
        (PASSWORD, "short", None, "new", "A password has 8 to 1024 characters."),
        (PASSWORD, "x" * 1025, None, "new", "A password has 8 to 1024 characters."),
        (PASSWORD, "another horse", "another house", "again", "This is not the same as above."),
        ("", "", "", "new", "A password has 8 to 1024 characters."),
    ],
)
def test_a_refused_password_is_told_beside_its_field(
    members: Server, old: str, new: str, again: str | None, field: str, said: str
) -> None:
    name = f"refused-{field}-{len(new)}"
    browser = a_member(members, name)
    status, _, page = change(browser, old, new, again)
    assert status == 400
    assert f'<p class="bad" id="{field}-wrong">{said}</p>' in page
    assert "horse" not in page
    assert Browser(members).sign_in(name)[1] == "/admin"


def test_the_name_is_shown_at_once_where_that_is_wanted(members: Server) -> None:
    browser = a_member(members, "listed", "--number", "77")
    members.say("enter 77")
    assert "names" not in members.json("/data")["people"]
    page = browser.post("/account/listed", {"listed": "1", "csrf": browser.csrf("/account")})[2]
    assert "Everybody may read your name now" in page
    assert re.search(r'name="listed" value="1" checked', page)
    assert members.json("/data")["people"]["names"] == ["listed"]
    assert browser.post("/account/listed", {"csrf": browser.csrf("/account")})[1] == "/account?done=unlisted"
    assert "names" not in members.json("/data")["people"]


def test_forms_without_their_token_are_refused(members: Server) -> None:
    browser = a_member(members, "csrf")
    for path in ("/account/password", "/account/listed", "/announcements", "/announcements/withdraw", "/users"):
        assert browser.post(path, {"csrf": "x"})[0] == 403


def test_what_is_done_is_said_in_our_own_words_only(members: Server) -> None:
    page = a_member(members, "flash").get("/account?done=Send+me+your+password")[2]
    assert "Send me" not in page
    assert 'role="status"' not in page


def test_no_password_typed_anywhere_is_logged(members: Server) -> None:
    """The fixture looks through the log at the end; here the rest is typed that could be logged."""
    root = a_member(members, "root", "--admin")
    root.post("/users", {"name": "typed", "password": "typed by root", "csrf": root.csrf("/users")})
    assert Browser(members).sign_in("typed", "typed by root")[1] == "/admin"
    number = re.search(r'href="/users/(\d+)">typed<', root.get("/users")[2])
    assert number
    path = f"/users/{number[1]}"
    root.post(path + "/password", {"password": "typed by root too", "csrf": root.csrf(path)})
    assert Browser(members).sign_in("typed", "typed by root too")[1] == "/admin"


def test_passwords_cannot_be_tried_without_end(make_server: Make) -> None:
    server = make_server(cookie_secret=SECRET, login_rate="3", trusted_proxies="127.0.0.1")
    server.run("user", "add", "anna", "--password-stdin", input=PASSWORD + "\n")
    browser = Browser(server)
    csrf = browser.csrf("/login")

    def attempt(name: str, address: str, password: str = "wrong horse") -> int:
        fields = {"name": name, "password": password, "csrf": csrf}
        return browser.post("/login", fields, X_Forwarded_For=address)[0]

    assert [attempt(f"n{n}", "2001:db8::1") for n in range(3)] == [403] * 3
    # The whole network is meant, but nobody else.
    assert attempt("anna", "2001:db8::2", PASSWORD) == 429
    assert attempt("bruno", "192.0.2.1") == 403
    # Who guesses a member's password from one address does not lock out the member at another.
    guesses = [attempt("anna", "192.0.2.2") for _ in range(9)]
    assert guesses[:3] == [403] * 3 and 429 in guesses
    assert attempt("anna", "192.0.2.3", PASSWORD) == 200
    assert server.metric("logins_throttled_total") == 1 + guesses.count(429)
    assert server.metric("logins_failed_total") == 4 + guesses.count(403)


def test_one_name_cannot_be_tried_from_any_number_of_addresses(make_server: Make) -> None:
    server = make_server(cookie_secret=SECRET, login_rate="1", trusted_proxies="127.0.0.1")
    browser = Browser(server)
    csrf = browser.csrf("/login")

    def attempt(address: str) -> int:
        fields = {"name": "anna", "password": "wrong horse", "csrf": csrf}
        return browser.post("/login", fields, X_Forwarded_For=address)[0]

    assert next(n for n in range(200) if attempt(f"192.0.2.{n}") == 429) >= ADDRESSES
    assert server.metric("logins_throttled_total") == 1


def test_passwords_tried_at_the_account_count_as_those_at_the_door(make_server: Make) -> None:
    server = make_server(cookie_secret=SECRET, login_rate="3")
    browser = a_member(server, "anna")
    assert change(browser, "wrong horse", "another horse")[0] == 400
    assert 429 in [change(browser, "wrong horse", "another horse")[0] for _ in range(9)]
    assert Browser(server).sign_in("anna")[0] == 429


def test_a_refusal_says_when_to_come_back(make_server: Make) -> None:
    server = make_server(cookie_secret=SECRET, login_rate="1")
    browser = Browser(server)
    browser.sign_in()
    fields = urllib.parse.urlencode({"name": "anna", "password": "x", "csrf": browser.csrf("/login")}).encode()
    with pytest.raises(urllib.error.HTTPError) as refusal:
        browser.opener.open(server.url + "/login", fields, timeout=10)
    with refusal.value as answer:
        assert (answer.code, 1 <= int(answer.headers["retry-after"]) <= 60) == (429, True)
        page = answer.read().decode()
    assert "Too many attempts: try again in" in page
    assert 'name="name" type="text" value="anna"' in page
