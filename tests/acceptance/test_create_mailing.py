"""The second way of making a mailing in a real browser: filters, a live count, and the same filters once more."""

from __future__ import annotations

from typing import Any

import pytest

from example_project.crm.models import Contact, Country, Tag
from massmail.models import Mailing
from tests import world
from tests.acceptance.looking import faults, faults_of, let_in, shown, window_of
from tests.adminpages import url

pytestmark = [pytest.mark.browser, pytest.mark.django_db(transaction=True)]


def visit(page: Any, live_server: Any, person: Any) -> Any:
    """Open the list of mailings as `person`."""
    let_in(page.context, person, live_server.url)
    page.set_default_timeout(10_000)
    page.goto(live_server.url + url(Mailing, "changelist"))
    return page


@pytest.fixture
def market(alice: Any, bob: Any) -> list[Country]:
    """Five Germans and three Austrians of Alice, two Austrians of Bob, and forty countries more."""
    countries = [Country.objects.create(name=name) for name in ("Germany", "Austria")]
    world.contacts(alice, 5, prefix="german", country=countries[0])
    world.contacts(alice, 3, prefix="austrian", country=countries[1])
    world.contacts(bob, 2, prefix="other", country=countries[1])
    others = Country.objects.bulk_create(Country(name=f"Island {n:02}") for n in range(40))
    for country in others:
        world.contacts(alice, 1, prefix=f"island{country.pk}-", country=country, massmail=False)
    Tag.objects.create(name="fair")
    return countries


@pytest.mark.parametrize("width", [1280, 390])
def test_filters_count_create_again(width, page, expect, live_server, alice, market):
    page.set_viewport_size({"width": width, "height": 900})
    visit(page, live_server, alice).locator(".object-tools a").click()
    panel = page.locator("[data-massmail-count]")
    expect(panel).to_contain_text("Matching contact persons 50", use_inner_text=True)

    # Germany stands among the first of 42 countries, the other one is found by typing.
    page.get_by_label("Germany", exact=True).check()
    expect(panel).to_contain_text("Matching contact persons 5", use_inner_text=True)
    page.get_by_role("searchbox", name="Find in “Country”").fill("austr")
    page.get_by_label("Austria", exact=True).check()
    expect(panel).to_contain_text("Matching contact persons 10", use_inner_text=True)
    expect(panel).to_contain_text("Not assigned to the mailing's owner 2", use_inner_text=True)
    assert page.get_by_label("Germany", exact=True).is_checked()
    assert page.get_by_label("Island 03").count() == 0
    page.get_by_label("Only recipients assigned to the owner").check()
    expect(panel).to_contain_text("Left out 0", use_inner_text=True)
    expect(panel.get_by_role("link", name="First0 Last0").first).to_be_visible()
    assert page.evaluate("document.documentElement.scrollWidth") <= width

    page.get_by_role("button", name="Create mailing").click()
    expect(page.locator(".messagelist")).to_contain_text("to 8 addresses")
    expect(page.locator("#content")).to_contain_text("Country: Austria, Germany · Assigned to: alice")
    page.get_by_role("link", name="Use these filters again").click()
    assert page.get_by_label("Germany", exact=True).is_checked()
    assert page.get_by_label("Austria", exact=True).is_checked()
    expect(panel).to_contain_text("Will get it 8", use_inner_text=True)
    page.get_by_label("Austria", exact=True).uncheck()
    expect(panel).to_contain_text("Will get it 5", use_inner_text=True)


def test_without_a_script(browser, expect, live_server, alice, market):
    context = browser.new_context(java_script_enabled=False)
    page = visit(context.new_page(), live_server, alice)
    page.locator(".object-tools a").click()
    page.get_by_role("searchbox", name="Find in “Country”").fill("germ")
    page.get_by_role("button", name="Find").click()
    page.get_by_label("Germany", exact=True).check()
    page.get_by_role("button", name="Count").click()
    expect(page.locator("[data-massmail-count]")).to_contain_text("Matching contact persons 5", use_inner_text=True)
    page.get_by_role("button", name="Create mailing").click()
    expect(page.locator(".messagelist")).to_contain_text("to 5 addresses")
    context.close()


def test_pages_can_be_read_by_everybody(browser, live_server, alice, boss, market):
    found = []
    for person, query in ((alice, ""), (boss, "?type=crm.company")):
        with window_of(browser, person, live_server.url) as page:
            found += faults_of(page, [live_server.url + url(Mailing, "create") + query])
            page.locator("[data-massmail-count] dl, .massmail-count-error:visible").first.wait_for()
            found += faults(page)
    assert not found, shown(found)


def test_a_late_answer_does_not_replace_a_newer_one(page, expect, live_server, alice, market):
    visit(page, live_server, alice)
    page.goto(live_server.url + url(Mailing, "create"))
    panel = page.locator("[data-massmail-count]")
    expect(panel).to_contain_text("Matching contact persons 50", use_inner_text=True)
    held: list[Any] = []
    page.route("**/create/count/", lambda route: held.append(route) if not held else route.continue_())
    page.get_by_label("Germany", exact=True).check()
    page.wait_for_timeout(800)
    page.get_by_label("Germany", exact=True).uncheck()
    page.get_by_label("Search", exact=True).fill("german1")
    expect(panel).to_contain_text("Matching contact persons 1", use_inner_text=True)
    assert held
    assert Contact.objects.filter(email__startswith="german1").count() == 1
