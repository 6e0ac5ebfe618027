"""Members' tokens: made, shown once, used, revoked."""

from __future__ import annotations

import html
import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from urllib.parse import urlencode

import pytest
from sqlalchemy import insert, select
from sqlalchemy.ext.asyncio import AsyncEngine

from bits import schema, tokens
from bits.config import Config
from bits.store import Store, reading, writing
from bits.tokens import MOST, TokenError
from bits.web import users
from bits.web.limiter import REMEMBERED, Limiter
from tests.conftest import Server
from tests.test_admin import PASSWORD, SECRET, Browser

Make = Callable[..., Server]
NOW = datetime(2026, 3, 2, 12, 0, tzinfo=UTC)


def send_form(browser: Browser, *scopes: str, label: str = "a program") -> tuple[int, str, str]:
    fields = [("csrf", browser.csrf("/tokens")), ("label", label), *(("scope", scope) for scope in scopes)]
    return browser.post_encoded("/tokens", urlencode(fields))


def make_token(browser: Browser, *scopes: str, label: str = "a program") -> str:
    """Make a token in the browser and return it."""
    page = send_form(browser, *scopes, label=label)[2]
    found = re.search(r'class="token">([^<]+)<', page)
    assert found, html.unescape(re.sub(r"<[^>]+>", " ", page))
    return found[1]


# --- in the database, on both


async def add_member(engine: AsyncEngine, name: str = "anna", number: int = 1) -> int:
    values = {"name": name, "password": "", "admin": False, "created": NOW, "number": number, "listed": False}
    async with writing(engine) as connection:
        made = await connection.execute(insert(schema.user).values(values))
    assert made.inserted_primary_key
    return int(made.inserted_primary_key[0])


async def test_a_token_is_kept_as_a_digest_and_found_again(store: Store) -> None:
    engine = store.engine
    anna = await add_member(engine)
    made = await tokens.create(engine, anna, " my script ", ["sound", "status"])
    assert tokens.TOKEN.fullmatch(made)
    async with reading(engine) as connection:
        row = (await connection.execute(select(schema.token))).one()
    assert made not in str(row) and made.removeprefix("bits_") not in str(row)
    found = await tokens.find(engine, made, NOW)
    assert found is not None
    assert (found.name, found.label, found.scopes, found.used) == ("anna", "my script", ("status", "sound"), None)
    for other in (made[:-1], made + "a", made.swapcase(), "", "bits_" + "a" * 43):
        assert await tokens.find(engine, other, NOW) is None


async def test_the_last_use_is_noted_to_the_minute(store: Store) -> None:
    engine = store.engine
    anna = await add_member(engine)
    made = await tokens.create(engine, anna, "script", ["status"])
    for seconds, noted in ((0, 0), (1, 0), (59.9, 0), (60, 60), (61, 60), (200, 200)):
        await tokens.find(engine, made, NOW + timedelta(seconds=seconds))
        assert [each.used for each in await tokens.of(engine, anna)] == [NOW + timedelta(seconds=noted)]


async def test_members_have_their_own_tokens_and_a_bounded_number(store: Store) -> None:
    engine = store.engine
    anna, berta = await add_member(engine), await add_member(engine, "berta", 2)
    made = [await tokens.create(engine, anna, f"number {index}", ["status"]) for index in range(MOST)]
    with pytest.raises(TokenError, match="too-many"):
        await tokens.create(engine, anna, "one more", ["status"])
    await tokens.create(engine, berta, "hers", ["message"])
    first = (await tokens.of(engine, anna))[0]
    assert not await tokens.revoke(engine, berta, first.id)
    assert await tokens.revoke(engine, anna, first.id)
    assert not await tokens.revoke(engine, anna, first.id)
    assert await tokens.find(engine, made[0], NOW) is None
    assert await tokens.find(engine, made[1], NOW) is not None
    assert len(await tokens.of_name(engine, "anna")) == MOST - 1


@pytest.mark.parametrize(
    ("label", "scopes", "reason"),
    [
        ("", ["status"], "bad-label"),
        (" ", ["status"], "bad-label"),
        ("x" * 65, ["status"], "bad-label"),
        ("a\0b", ["status"], "bad-label"),
        ("x", [], "no-scope"),
        ("x", ["status", "admin"], "bad-scope"),
    ],
)
async def test_what_a_token_is_for_is_checked(store: Store, label: str, scopes: list[str], reason: str) -> None:
    with pytest.raises(TokenError, match=reason):
        await tokens.create(store.engine, await add_member(store.engine), label, scopes)


async def test_who_is_deleted_has_no_tokens(store: Store, db_uri: str) -> None:
    anna = await add_member(store.engine)
    made = await tokens.create(store.engine, anna, "script", ["status"])
    await users.delete(Config(db_uri=db_uri), "anna")
    assert await tokens.find(store.engine, made, NOW) is None


# --- how often


def test_a_token_is_good_for_so_many_requests_a_minute() -> None:
    now = 1000.0
    limiter = Limiter(3, lambda: now)
    assert [limiter.take(1) for _ in range(5)] == [0, 0, 0, 20, 20]
    assert limiter.take(2) == 0
    now += 19.5
    assert limiter.take(1) == 1
    now += 0.5
    assert [limiter.take(1) for _ in range(2)] == [0, 20]
    now += 3600
    assert [limiter.take(1) for _ in range(4)] == [0, 0, 0, 20]


def test_any_number_of_tokens_takes_bounded_memory() -> None:
    limiter = Limiter(1, lambda: 0.0)
    for token in range(3 * REMEMBERED):
        limiter.take(token)
    assert len(limiter._full_at) == REMEMBERED
    assert all(Limiter(0).take(1) == 0 for _ in range(1000))


# --- on the site


@pytest.fixture
def members(make_server: Make) -> Server:
    server = make_server(cookie_secret=SECRET, api_rate="2")
    for name in ("anna", "berta"):
        added = server.run("user", "add", name, "--password-stdin", input=PASSWORD + "\n")
        assert added.stdout == f"added {name}\n", added.stderr
    return server


def sound(server: Server, token: str) -> int:
    from tests.test_v1 import Client

    status, headers, _ = Client(server, token).post("/sounds", {"number": 1})
    assert (status == 429) == ("retry-after" in headers)
    return status


def test_a_member_makes_and_revokes_a_token(members: Server) -> None:
    browser = Browser(members)
    assert browser.get("/tokens")[1] == "/login?next=%2Ftokens"
    browser.sign_in()
    assert "You have no tokens." in browser.get("/tokens")[2]
    made = make_token(browser, "sound", "message", label="the <doorbell>")
    page = browser.get("/tokens")[2]
    assert made not in page  # shown once
    assert "the &lt;doorbell&gt;" in page and "never used" in page
    assert [sound(members, made) for _ in range(3)] == [201, 201, 429]
    assert "last used" in browser.get("/tokens")[2]
    number = re.search(r'name="id" value="(\d+)"', page)
    assert number

    other = Browser(members)
    other.sign_in("berta")
    assert "the &lt;doorbell&gt;" not in other.get("/tokens")[2]
    status, _, said = other.post("/tokens/revoke", {"id": number[1], "csrf": other.csrf("/tokens")})
    assert status == 400 and "This token is not among yours." in said

    status, url, said = browser.post("/tokens/revoke", {"id": number[1], "csrf": browser.csrf("/tokens")})
    assert (status, url) == (200, "/tokens?done=revoked") and "The token is revoked" in said
    assert sound(members, made) == 401


def test_the_form_says_what_is_wrong_and_keeps_what_was_typed(members: Server) -> None:
    browser = Browser(members)
    browser.sign_in()
    status, _, page = send_form(browser, label="my program")
    assert status == 400 and "Choose at least one thing" in page and 'value="my program"' in page
    assert 'aria-describedby="scope-wrong"' in page and '<a href="#scope">' in page and 'id="scope"' in page
    status, _, page = send_form(browser, "status", label=" ")
    assert status == 400 and 'aria-invalid="true"' in page and 'value="status" checked' in page
    assert browser.post("/tokens", {"label": "x", "scope": "status"})[0] == 403  # not from our page
    assert send_form(browser, "status", label="x" * 100)[0] == 400
    assert members.metric('tokens_refused_total{reason="no-scope"}') == 1
    assert members.metric('tokens_refused_total{reason="bad-label"}') == 2


def test_the_command_line_lists_and_revokes(members: Server) -> None:
    browser = Browser(members)
    browser.sign_in()
    made = make_token(browser, "sound", label="doorbell")
    told = members.run("token", "list", "anna").stdout.split()
    assert "doorbell" in told and "sound" in told
    assert members.run("token", "list", "berta").stdout == ""
    assert members.run("token", "revoke", "berta", told[0]).returncode == 1
    assert members.run("token", "revoke", "anna", told[0]).stdout == f"revoked {told[0]}\n"
    assert sound(members, made) == 401
    assert members.run("token", "revoke", "nobody", "1").returncode == 1
