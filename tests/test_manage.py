"""Members, as administrators manage them in a browser."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest

from bits.web import users
from bits.web.users import UserError
from tests.conftest import Server
from tests.test_account import a_member
from tests.test_admin import PASSWORD, SECRET, Browser


@pytest.fixture(scope="module")
def members(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    server = Server(tmp_path_factory.mktemp("manage"), cookie_secret=SECRET, login_rate="0").start()
    yield server
    server.stop()
    assert "Traceback" not in server.errors, server.errors


@pytest.fixture(scope="module")
def root(members: Server) -> Browser:
    return a_member(members, "root", "--admin")


def path_of(root: Browser, name: str) -> str:
    found = re.search(rf'href="(/users/\d+)">{name}<', root.get("/users")[2])
    assert found, name
    return found[1]


def made_in(page: str) -> str:
    found = re.search(r'<code class="token">([^<]+)</code>', page)
    assert found
    return found[1]


def test_a_member_is_added_with_a_password_shown_once(members: Server, root: Browser) -> None:
    fields = {"name": "  bruno  verdi ", "keypad": "42", "csrf": root.csrf("/users")}
    status, _, page = root.post("/users", fields)
    assert status == 200
    assert Browser(members).sign_in("bruno verdi", made_in(page))[1] == "/admin"
    page = root.get("/users")[2]
    assert "<td>42</td><td>member</td>" in page
    assert '<code class="token">' not in page


@pytest.mark.parametrize(
    ("fields", "field", "said"),
    [
        ({"name": ""}, "name", "Fill this in."),
        ({"name": "x" * 65}, "name", "This has 65 characters: at most 64 fit."),
        ({"name": "BITS"}, "name", "This name stands for a part of the system."),
        ({"name": "root"}, "name", "Another member has this name."),
        ({"name": "n", "keypad": "1"}, "keypad", "Another member has this number."),
        ({"name": "n", "keypad": "1000000"}, "keypad", "Expected a whole number from 0 to 999999."),
        ({"name": "n", "keypad": "-1"}, "keypad", "Expected a whole number from 0 to 999999."),
        ({"name": "n", "keypad": "²"}, "keypad", "Expected a whole number from 0 to 999999."),
        ({"name": "n", "password": "short"}, "password", "A password has 8 to 1024 characters."),
    ],
)
def test_what_cannot_be_is_told_beside_its_field(root: Browser, fields: dict[str, str], field: str, said: str) -> None:
    status, _, page = root.post("/users", {**fields, "csrf": root.csrf("/users")})
    assert status == 400
    assert f'<p class="bad" id="{field}-wrong">{said}</p>' in page
    assert f'value="{fields["name"][:64]}' in page


def test_only_administrators_come_in(members: Server, root: Browser) -> None:
    stranger, member = Browser(members), a_member(members, "carla")
    path = path_of(root, "carla")
    csrf = member.csrf("/account")
    assert stranger.get("/users")[1] == "/login?next=%2Fusers"
    for answer in (
        member.get("/users"),
        member.get(path),
        member.post("/users", {"name": "dora", "csrf": csrf}),
        member.post(path, {"keypad": "9", "admin": "1", "csrf": csrf}),
        member.post(path + "/password", {"csrf": csrf}),
        member.post(path + "/delete", {"confirmed": "1", "csrf": csrf}),
    ):
        assert answer[0] == 403
        assert "Only administrators manage members" in answer[2]
    assert "/users" not in member.get("/admin")[2]
    assert "/users" in root.get("/admin")[2]


def test_rights_are_given_and_taken(members: Server, root: Browser) -> None:
    emma = a_member(members, "emma")
    path = path_of(root, "emma")
    answer = root.post(path, {"keypad": "55", "admin": "1", "csrf": root.csrf(path)})
    assert answer[1] == "/users?done=changed"
    assert emma.get("/users")[0] == 200
    root.post(path, {"keypad": "55", "csrf": root.csrf(path)})
    assert emma.get("/users")[0] == 403


def test_a_reset_password_and_a_deletion_end_the_sessions_at_once(members: Server, root: Browser) -> None:
    fabio = a_member(members, "fabio")
    path = path_of(root, "fabio")
    made = made_in(root.post(path + "/password", {"csrf": root.csrf(path)})[2])
    assert fabio.get("/admin")[1] == "/login"
    assert fabio.sign_in("fabio", made)[1] == "/admin"
    unconfirmed = root.post(path + "/delete", {"csrf": root.csrf(path)})
    assert (unconfirmed[0], "Tick this to delete." in unconfirmed[2]) == (400, True)
    assert root.post(path + "/delete", {"confirmed": "1", "csrf": root.csrf(path)})[1] == "/users?done=deleted"
    assert fabio.get("/admin")[1] == "/login"
    assert fabio.sign_in("fabio", made)[0] == 403
    assert root.get(path)[0] == 404


def test_nobody_deletes_themselves_and_one_administrator_stays(root: Browser) -> None:
    path = path_of(root, "root")
    status, _, page = root.post(path + "/delete", {"confirmed": "1", "csrf": root.csrf(path)})
    assert (status, "<li>You cannot delete yourself" in page) == (400, True)  # no link to a field that is not there
    status, _, page = root.post(path, {"keypad": "1", "csrf": root.csrf(path)})
    assert (status, "This is the last administrator" in page) == (400, True)
    assert root.get("/users")[0] == 200


@pytest.mark.parametrize("number", ["0", "999999999", "99999999999999999999999", "-1", "x"])
def test_members_that_are_not_there(root: Browser, number: str) -> None:
    assert root.get(f"/users/{number}")[0] == 404


def test_the_hash_is_shown_by_no_log() -> None:
    assert PASSWORD not in repr(users.Hash(PASSWORD))
    with pytest.raises(UserError) as refusal:
        users.check_password("secret")
    assert "secret" not in str(refusal.value)
