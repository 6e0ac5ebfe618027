"""The members who are listed, and that their names alone are in what the server tells."""

from __future__ import annotations

from collections.abc import Callable

from sqlalchemy import insert, update

from bits import schema
from bits.roster import Roster
from bits.store import Store, writing
from tests.conftest import T0, Server, until, wait_until
from tests.test_live import follow, receive


async def add(store: Store, number: int, name: str, listed: bool) -> None:
    row = {"id": number, "name": name, "password": "", "admin": False, "created": T0, "number": number}
    async with writing(store.engine) as connection:
        await connection.execute(insert(schema.user).values(row | {"listed": listed}))


async def test_only_who_wants_it_is_listed(store: Store) -> None:
    changes: list[int] = []
    roster = Roster(store.engine, lambda: changes.append(len(roster.listed)))
    await add(store, 1, "anna", True)
    await add(store, 2, "bruno", False)
    await roster.start()
    assert dict(roster.listed) == {1: "anna"}
    await roster.reload()
    assert changes == [1]  # told once, not at every look
    await roster.stop()
    await roster.stop()


async def test_what_others_change_is_noticed(store: Store) -> None:
    await add(store, 1, "anna", True)
    roster = Roster(store.engine, lambda: None, every=0.01)
    await roster.start()
    async with writing(store.engine) as connection:
        await connection.execute(update(schema.user).values(listed=False))
    await until(lambda: not roster.listed, "the change")
    await roster.stop()


def test_names_are_told_by_the_server(make_server: Callable[..., Server]) -> None:
    server = make_server()
    for words in (["add", "anna"], ["add", "bruno"], ["modify", "anna", "--listed"]):
        done = server.run("user", *words, *(["--password-stdin"] if words[0] == "add" else []), input="long enough\n")
        assert done.returncode == 0, done.stderr
    server.stop()
    server.start()  # sooner than half a minute
    server.say("enter 1", "enter 2")
    wait_until(lambda: server.json("/data")["people"] == {"count": 2, "names": ["anna"]}, "both, and the name of one")
    with follow(server) as stream:
        assert receive(stream)["people"]["names"] == ["anna"]
        server.say("leave 1")
        assert receive(stream)["people"] == {"count": 1}
