"""What members do, in a real Chromium: with the keyboard, and without scripts."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from tests.conftest import Server
from tests.test_admin import PASSWORD, SECRET, Make
from tests.test_announcements import hours
from tests.test_browser import browser, expect, open_page  # noqa: F401 - fixtures
from tests.test_ingest import lines_of

pytestmark = pytest.mark.browser
Open = Callable[..., Any]


@pytest.fixture
def members(make_server: Make) -> Server:
    server = make_server(cookie_secret=SECRET, time_zone="Europe/Rome")
    server.run("user", "add", "anna", "--admin", "--password-stdin", input=PASSWORD + "\n").check_returncode()
    return server


def sign_in(page: Any, name: str, password: str) -> None:
    """By keyboard alone: the first field has the focus."""
    expect(page.get_by_label("Name")).to_be_focused()
    page.keyboard.type(name)
    page.keyboard.press("Tab")
    page.keyboard.type(password)
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", name=f"Hello, {name}")).to_be_visible()


def test_a_member_s_day(members: Server, open_page: Open) -> None:  # noqa: F811
    home = open_page(members.url)
    page = open_page(members.url + "/login", java_script_enabled=False)
    sign_in(page, "anna", PASSWORD)
    page.get_by_text("With a note, or until when").click()
    page.get_by_role("radio", name="Away").check()
    page.get_by_label("Note").fill("Out for pizza")
    page.get_by_label("Probably until").fill(hours(1))
    page.get_by_role("button", name="Set the status").click()
    expect(page.get_by_role("status")).to_have_text("The status is set.")
    expect(home.locator("#status")).to_have_text("Away")
    expect(home.locator("#hero")).to_contain_text("Out for pizza")

    with members.bridge() as bridge:
        page.get_by_label("Number of the sound").fill("7")
        page.get_by_role("button", name="Play").click()
        expect(page.get_by_role("status")).to_have_text("The sound is played.")
        assert lines_of(bridge, 2) == ["status 0", "sound 7"]  # how it is comes first

    page.get_by_role("link", name="Announcements").click()
    page.get_by_role("radio", name="Closed").check()
    page.get_by_label("From").fill(hours(0))
    page.get_by_label("Until").fill(hours(3))
    page.get_by_label("Note").fill("Spring cleaning")
    page.keyboard.press("Enter")
    expect(home.get_by_text("Spring cleaning")).to_be_visible()
    page.get_by_role("button", name="Withdraw").click()
    expect(home.get_by_text("Spring cleaning")).to_have_count(0)

    members.say("enter 1")
    page.get_by_role("link", name="My account").click()
    page.get_by_label("Everybody may read my name").check()
    page.get_by_role("button", name="Save").click()
    expect(home.get_by_text("anna").first).to_be_visible()

    page.get_by_label("The present password").fill(PASSWORD)
    page.get_by_label("A new one").fill("another horse")
    page.get_by_label("The new one again").fill("another horse")
    page.keyboard.press("Enter")
    expect(page.get_by_role("status")).to_contain_text("The password is changed.")

    page.get_by_role("link", name="Manage members").click()
    page.get_by_label("Name", exact=True).fill("bruno")
    page.get_by_role("button", name="Add").click()
    made = page.locator("code.token").inner_text()
    bruno, again = open_page(members.url + "/login"), open_page(members.url + "/login")
    sign_in(bruno, "bruno", made)
    sign_in(again, "anna", "another horse")

    manage = bruno.get_by_role("link", name="Manage members")
    expect(manage).to_have_count(0)
    page.get_by_role("link", name="bruno").click()
    page.get_by_label("Administrator").check()
    page.get_by_role("button", name="Save").click()
    expect(page.get_by_role("status")).to_have_text("The member is changed.")
    expect(page.get_by_role("row", name="bruno")).to_contain_text("administrator")
    bruno.reload()
    expect(manage).to_be_visible()

    page.get_by_role("link", name="bruno").click()
    page.get_by_role("button", name="Set the password").click()
    made = page.locator("code.token").inner_text()
    bruno.reload()  # signed out, and back by the new one
    sign_in(bruno, "bruno", made)

    page.get_by_label("Yes, delete bruno").check()
    page.get_by_role("button", name="Delete").click()
    expect(page.get_by_role("status")).to_contain_text("The member is deleted")
    expect(page.get_by_role("row", name="bruno")).to_have_count(0)
    bruno.reload()
    expect(bruno.get_by_role("heading", name="Sign in")).to_be_visible()
