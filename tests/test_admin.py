"""The members' area, as a browser would use it."""

from __future__ import annotations

import http.cookiejar
import re
import urllib.parse
import urllib.request
from collections.abc import Callable
from typing import Any

import pytest

from tests.conftest import Server
from tests.test_ingest import lines_of

Make = Callable[..., Server]
PASSWORD = "correct horse"
SECRET = "0123456789abcdef0123456789abcdef"


class Browser:
    """Keeps cookies, follows redirects, sends forms."""

    def __init__(self, server: Server) -> None:
        self.server = server
        self.cookies = http.cookiejar.CookieJar()
        self.opener = urllib.request.build_opener(urllib.request.HTTPCookieProcessor(self.cookies))

    def get(self, path: str) -> tuple[int, str, str]:
        return self._open(urllib.request.Request(self.server.url + path))

    def post(self, path: str, fields: dict[str, str], **headers: str) -> tuple[int, str, str]:
        return self.post_encoded(path, urllib.parse.urlencode(fields), **headers)

    def post_encoded(self, path: str, form: str, **headers: str) -> tuple[int, str, str]:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return self._open(urllib.request.Request(self.server.url + path, form.encode(), named))

    def _open(self, request: urllib.request.Request) -> tuple[int, str, str]:
        try:
            answer: Any = self.opener.open(request, timeout=10)
        except urllib.error.HTTPError as error:
            answer = error
        with answer:
            return answer.status, answer.url.removeprefix(self.server.url), answer.read().decode()

    def csrf(self, path: str) -> str:
        found = re.search(r'name="csrf" value="([^"]+)"', self.get(path)[2])
        assert found
        return found[1]

    def sign_in(self, name: str = "anna", password: str = PASSWORD) -> tuple[int, str, str]:
        return self.post("/login", {"name": name, "password": password, "csrf": self.csrf("/login")})


@pytest.fixture
def members(make_server: Make) -> Server:
    server = make_server(cookie_secret=SECRET)
    added = server.run("user", "add", "anna", "--password-stdin", input=PASSWORD + "\n")
    assert added.stdout == "added anna\n", added.stderr
    return server


def test_a_status_set_in_the_browser_reaches_the_bridge_and_the_log(members: Server) -> None:
    browser = Browser(members)
    assert browser.sign_in()[:2] == (200, "/admin")
    with members.bridge() as bridge:
        for value, line in (("open", "status 1"), ("closed", "status 0"), ("open", "status 1"), ("away", "status 0")):
            status, url, page = browser.post("/admin", {"value": value, "csrf": browser.csrf("/admin")})
            assert (status, url) == (200, "/admin?done=status")
            assert "The status is set." in page
            assert lines_of(bridge, 1) == [line]
    log = members.json("/log?format=json")["log"]
    assert [(entry["value"], entry["modifiedby"]) for entry in log] == [
        ("away", "web"),
        ("open", "web"),
        ("closed", "web"),
        ("open", "web"),
    ]


def test_messages_and_sounds_reach_the_bridge(members: Server) -> None:
    browser = Browser(members)
    browser.sign_in()
    with members.bridge() as bridge:
        browser.post("/message", {"text": "  Ciao\r\n a tutti ☕ ", "csrf": browser.csrf("/admin")})
        assert lines_of(bridge, 1) == ["message Q2lhbyBhIHR1dHRpIOKYlQ=="]
        browser.post("/sound", {"number": "7", "csrf": browser.csrf("/admin")})
        assert lines_of(bridge, 1) == ["sound 7"]
    message = members.json("/data")["message"]
    assert (message["user"], message["value"]) == ("anna", "Ciao a tutti ☕")


def test_who_is_not_signed_in_is_sent_to_the_door(members: Server) -> None:
    browser = Browser(members)
    assert browser.get("/admin")[1] == "/login"
    csrf = browser.csrf("/login")
    for path, fields in (("/admin", {"value": "open"}), ("/message", {"text": "x"}), ("/sound", {"number": "1"})):
        assert browser.post(path, {**fields, "csrf": csrf})[1] == "/login"
    assert members.json("/data")["seq"] == 0


def test_a_wrong_password_and_an_unknown_name_are_refused_alike(members: Server) -> None:
    browser = Browser(members)
    wrong = browser.sign_in(password="wrong horse")
    unknown = browser.sign_in(name="nobody")
    for status, url, page in (wrong, unknown, browser.sign_in(name="a\0", password="x" * 2000)):
        assert (status, url) == (403, "/login")
        assert "do not fit together" in page
    assert members.metric("logins_failed_total") == 3
    assert "wrong horse" not in members.errors
    assert not list(browser.cookies)


def test_forms_from_elsewhere_are_refused(members: Server) -> None:
    browser = Browser(members)
    browser.sign_in()
    csrf = browser.csrf("/admin")
    fields = {"value": "open", "csrf": csrf}
    assert browser.post("/admin", {"value": "open"})[0] == 403
    assert browser.post("/admin", {"value": "open", "csrf": csrf[:-2]})[0] == 403
    assert browser.post("/admin", fields, Origin="https://evil.example")[0] == 403
    assert browser.post("/admin", fields, Sec_Fetch_Site="cross-site")[0] == 403
    stranger = Browser(members)
    assert browser.post("/admin", {"value": "open", "csrf": stranger.csrf("/login")})[0] == 403
    assert browser.post("/admin", fields, Origin="http://[x")[0] == 403
    assert members.metric("forms_refused_total") == 6
    assert members.json("/data")["seq"] == 0
    assert browser.post("/admin", fields, Origin=members.url, Sec_Fetch_Site="same-origin")[0] == 200


@pytest.mark.parametrize(
    ("path", "fields"),
    [
        ("/admin", {"value": "ajar"}),
        ("/admin", {}),
        ("/admin", {"value": "open", "note": "x" * 201}),
        ("/admin", {"value": "open", "note": "a\x07b"}),
        ("/admin", {"value": "open", "until": "tomorrow"}),
        ("/admin", {"value": "open", "until": "2020-01-01T10:00"}),
        ("/admin", {"value": "open", "until": "8999-12-31T23:59"}),
        ("/admin", {"value": "open", "until": "0001-01-01T00:00"}),
        ("/message", {"text": ""}),
        ("/message", {"text": "   "}),
        ("/message", {"text": "x" * 1001}),
        ("/message", {"text": "nul \0 character"}),
        ("/sound", {"number": "256"}),
        ("/sound", {"number": "-1"}),
        ("/sound", {"number": "one"}),
    ],
)
def test_wrong_fields_are_told_beside_them(members: Server, path: str, fields: dict[str, str]) -> None:
    browser = Browser(members)
    browser.sign_in()
    status, _, page = browser.post(path, {**fields, "csrf": browser.csrf("/admin")})
    assert status == 400
    (name,) = re.findall(r'<p class="bad" id="(\w+)-wrong">', page)
    assert name in {"/admin": ("value", "note", "until"), "/message": ("text",), "/sound": ("number",)}[path]
    assert f'<a href="#{name}">' in page
    assert name == "value" or f'aria-invalid="true" aria-describedby="{name}-wrong" autofocus' in page
    assert members.json("/data")["seq"] == 0
    assert "bits_fields_refused_total" in members.get("/metrics")[2].decode()


def test_what_is_no_form_at_all_is_refused_without_a_fuss(members: Server) -> None:
    kinds = ("application/x-www-form-urlencoded", "multipart/form-data", "multipart/form-data; boundary=x", "")
    for kind in kinds:
        for body in (b"name=\xff\xfe", b"&".join(b"name=%d" % n for n in range(100)), b"--x\r\n", b""):
            request = urllib.request.Request(members.url + "/login", body, {"Content-Type": kind})
            with pytest.raises(urllib.error.HTTPError) as refusal:
                urllib.request.urlopen(request, timeout=10)
            assert refusal.value.code == 403
            refusal.value.close()
    assert "Traceback" not in members.errors


def test_signing_out(members: Server) -> None:
    browser = Browser(members)
    browser.sign_in()
    assert browser.post("/logout", {"csrf": browser.csrf("/admin")})[1] == "/"
    assert browser.get("/admin")[1] == "/login"


def test_a_session_survives_a_restart_but_not_a_new_password_nor_a_new_secret(members: Server) -> None:
    browser = Browser(members)
    browser.sign_in()
    members.stop()
    members.start()
    assert browser.get("/admin")[1] == "/admin"
    assert members.run("user", "modify", "anna", "--password-stdin", input="another horse\n").returncode == 0
    assert browser.get("/admin")[1] == "/login"
    assert browser.sign_in(password="another horse")[1] == "/admin"
    members.stop()
    members.settings["cookie_secret"] = SECRET[::-1]
    members.start()
    assert browser.get("/admin")[1] == "/login"


def test_the_cookie_is_out_of_reach_of_scripts_and_other_sites(make_server: Make) -> None:
    server = make_server(cookie_secret=SECRET, trusted_proxies="127.0.0.1")
    server.run("user", "add", "anna", "--password-stdin", input=PASSWORD + "\n")
    browser = Browser(server)
    csrf = browser.csrf("/login")

    def cookie(**headers: str) -> str:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        fields = urllib.parse.urlencode({"name": "anna", "password": PASSWORD, "csrf": csrf}).encode()
        request = urllib.request.Request(server.url + "/login", fields, named)

        class Stay(urllib.request.HTTPRedirectHandler):
            def redirect_request(self, *_: Any) -> None:
                return None

        try:
            urllib.request.build_opener(Stay()).open(request, timeout=10)
        except urllib.error.HTTPError as answer:
            with answer:
                assert answer.status == 303
                return str(answer.headers["set-cookie"])
        raise AssertionError

    assert {"HttpOnly", "SameSite=Lax", "Path=/"} <= set(cookie().split("; "))
    assert "Secure" not in cookie()
    assert "Secure" in cookie(X_Forwarded_Proto="https").split("; ")


def test_managing_users(members: Server) -> None:
    run = members.run
    assert run("user", "add", "bruno", "--admin", "--password-stdin", input="long enough\n").stdout == "added bruno\n"
    listed = run("user", "list").stdout.splitlines()
    assert [line.split()[:2] for line in listed] == [["anna", "member"], ["bruno", "admin"]]
    assert [line.split()[2] for line in listed] == ["1", "2"]
    assert run("user", "modify", "bruno", "--no-admin").returncode == 0
    assert run("user", "modify", "bruno", "--number", "42").returncode == 0
    assert run("user", "list").stdout.splitlines()[1].split()[:3] == ["bruno", "member", "42"]
    chosen = run("user", "add", "dora", "--number", "7", "--password-stdin", input="long enough\n")
    assert chosen.stdout == "added dora\n"
    assert "member" in run("user", "list").stdout.splitlines()[1]
    assert run("user", "delete", "bruno").stdout == "deleted bruno\n"
    for arguments, said in (
        (("add", "anna", "--password-stdin"), "there is a user 'anna' already"),
        (("add", "web", "--password-stdin"), "stands for a part of the system"),
        (("add", " x", "--password-stdin"), "expected 1 to 64 printable characters"),
        (("delete", "bruno"), "there is no user 'bruno'"),
        (("modify", "bruno", "--admin"), "there is no user 'bruno'"),
        (("modify", "anna"), "nothing to change"),
        (("modify", "anna", "--number", "7"), "the number 7 is another member's"),
        (("add", "emma", "--number", "7", "--password-stdin"), "the number 7 is another member's"),
        (("add", "auto", "--password-stdin"), "stands for a part of the system"),
    ):
        result = run("user", *arguments, input="long enough\n")
        assert result.returncode == 1
        assert said in result.stderr
        assert "Traceback" not in result.stderr
    for number in ("-1", "1000000", "x"):
        assert run("user", "modify", "anna", "--number", number).returncode == 2
    short = run("user", "add", "carla", "--password-stdin", input="short\n")
    assert "the password has 5 characters: expected 8 to 1024" in short.stderr
