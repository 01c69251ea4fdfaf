"""Both ways of making a mailing, and starting it, with the keyboard alone."""

from __future__ import annotations

from typing import Any

import pytest

from example_project.crm.models import Contact, Country
from massmail.models import Mailing
from tests import world
from tests.acceptance.looking import DESKTOP, PHONE, let_in, view
from tests.adminpages import url

pytestmark = [pytest.mark.browser, pytest.mark.django_db(transaction=True)]

FARTHEST = 150  # presses of the Tab key


@pytest.fixture(params=[(DESKTOP, "light"), (PHONE, "dark")], ids=["desktop", "phone"])
def office(request: Any, page: Any, live_server: Any, alice: Any) -> Any:
    """Alice's browser, before her Germans and the others, with a message to send."""
    view(page, *request.param)
    world.settings()
    world.account(alice)
    world.message(alice, subject="Spring offer")
    germany, austria = [Country.objects.create(name=name) for name in ("Germany", "Austria")]
    world.contacts(alice, 5, prefix="german", country=germany)
    world.contacts(alice, 3, prefix="austrian", country=austria)
    let_in(page.context, alice, live_server.url)
    page.set_default_timeout(20_000)
    return page


def walk_to(page: Any, what: str, key: str = "Tab") -> None:
    """Press `key` until what the selector `what` means has the focus."""
    for _step in range(FARTHEST):
        if page.evaluate("what => document.activeElement.matches(what)", what):
            return
        page.keyboard.press(key)
    raise AssertionError(f"{what} is out of the keyboard's reach")


def choose_message_and_start(page: Any, expect: Any) -> None:
    walk_to(page, "#id_message")
    page.keyboard.type("Spring")
    walk_to(page, "[name=_save]")
    page.keyboard.press("Enter")
    expect(page.locator(".messagelist")).to_contain_text("Check the preview, then start.")
    walk_to(page, "button[formaction*='/start/'], form[action*='/start/'] button")
    page.keyboard.press("Enter")
    expect(page.locator(".messagelist")).to_contain_text("is started")
    assert Mailing.objects.get().status == "active"


def test_from_ticked_contacts(office, expect, live_server):
    office.goto(live_server.url + url(Contact, "changelist"))
    walk_to(office, "select[name=action]")
    office.keyboard.type("Create mailing")
    walk_to(office, "#action-toggle")
    office.keyboard.press("Space")
    walk_to(office, "button[name=index]", "Shift+Tab")
    office.keyboard.press("Enter")
    expect(office.locator(".messagelist")).to_contain_text("to 8 addresses")
    choose_message_and_start(office, expect)


def test_by_filters(office, expect, live_server):
    office.goto(live_server.url + url(Mailing, "changelist"))
    walk_to(office, ".object-tools a")
    office.keyboard.press("Enter")
    panel = office.locator("[data-massmail-count]")
    expect(panel).to_contain_text("Matching contact persons 8", use_inner_text=True)
    germany = Country.objects.get(name="Germany")
    walk_to(office, f"[name=f-country][value='{germany.pk}']")
    office.keyboard.press("Space")
    expect(panel).to_contain_text("Will get it 5", use_inner_text=True)
    walk_to(office, "[name=_create]")
    office.keyboard.press("Enter")
    expect(office.locator(".messagelist")).to_contain_text("to 5 addresses")
    choose_message_and_start(office, expect)
