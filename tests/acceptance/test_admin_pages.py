"""The admin's pages in a real browser, under a strict Content-Security-Policy, with nothing in its console."""

from __future__ import annotations

from typing import Any

import pytest

from example_project.crm.models import Contact
from massmail.engine import lifecycle
from massmail.engine.standalone import run
from massmail.models import Delivery, EmailAccount, LeftOut, Mailing, MassmailSettings, Message, Signature
from massmail.outcomes import hold_account
from massmail.transport import memory
from tests import world
from tests.acceptance.looking import faults, faults_of, let_in, shown, window_of
from tests.adminpages import url

pytestmark = [pytest.mark.browser, pytest.mark.django_db(transaction=True)]


@pytest.fixture(autouse=True)
def outbox() -> Any:
    memory.clear()
    world.settings()
    yield memory.outbox
    memory.clear()


@pytest.fixture
def enter(page: Any, live_server: Any) -> Any:
    """Let somebody into the admin without the form."""

    def log_in(person: Any) -> Any:
        let_in(page.context, person, live_server.url)
        page.set_default_timeout(10_000)
        return page

    return log_in


def test_from_the_list_to_the_last_mail(enter, live_server, alice, bob, outbox):
    world.account(alice)
    world.contacts(alice, 5)
    world.contacts(bob, 1)
    world.message(alice)
    page = enter(alice)

    page.goto(live_server.url + url(Contact, "changelist"))
    page.check("#action-toggle")
    page.select_option("select[name=action]", label="Create mailing")
    page.click("button[name=index]")
    page.get_by_text("to 5 addresses").wait_for()
    assert page.get_by_role("link", name="Not assigned to the mailing's owner: 1").count() == 2
    assert page.get_by_role("button", name="Start").count() == 0

    page.select_option("#id_message", label="News for \u2039first name\u203a")
    assert page.get_by_text("There are unsaved changes below").is_visible()
    page.click("[name=_save]")
    page.get_by_text("News for First0").wait_for()
    frame = page.frame_locator("iframe.massmail-html")
    frame.get_by_text("Dear First0 of Acme Metall GmbH,").wait_for()
    assert frame.get_by_text("news!").evaluate("element => getComputedStyle(element).color") == "rgb(51, 51, 51)"
    page.click("label[for=massmail-text]")
    page.frame_locator("iframe.massmail-plain").get_by_text("Dear First0").wait_for()
    assert not page.locator("iframe.massmail-html").is_visible()

    page.get_by_role("button", name="Start").click()
    page.locator(".messagelist", has_text="is started.").wait_for()
    assert page.get_by_role("button", name="Pause").is_visible()

    page.goto(live_server.url + url(Mailing, "changelist"))
    page.locator("[data-field=state]", has_text="Held").wait_for()  # no worker is alive
    run(clock=world.clock(), until_idle=True)
    page.locator("[data-field=state]", has_text="Done").wait_for()  # without a reload
    assert page.locator("#result_list [data-field=percent]").inner_text() == "100"
    assert page.locator("#result_list progress").evaluate("bar => bar.value") == 5
    assert "Done" in page.locator("[data-massmail-announce]").inner_text()
    assert len(outbox) == 5


def test_polling_ends_with_the_mailing(enter, live_server, alice):
    world.account(alice)
    world.contacts(alice, 1)
    mailing = world.started(alice)
    page = enter(alice)
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url) if "/progress/" in request.url else None)
    page.goto(live_server.url + url(mailing, "change"))
    page.wait_for_timeout(3500)
    assert asked
    run(clock=world.clock(), until_idle=True)
    page.locator("[data-field=state]", has_text="Done").wait_for()  # the page loads itself again, for its buttons
    page.wait_for_load_state()
    asked.clear()
    page.wait_for_timeout(3500)
    assert not asked
    assert page.get_by_role("button", name="Pause").count() == 0


@pytest.fixture
def addresses(live_server: Any, alice: Any) -> list[str]:
    """The pages of the app with something on each of them."""
    signature = Signature.objects.create(owner=alice, name="Short", content="<p>Alice</p>", default=True)
    account = world.account(alice, smtp_password="secret")
    world.contacts(alice, 3, prefix="early", last_name="اسم طويل جدا " * 5)
    done = world.started(alice, name="A name as long as nobody would say it, and longer still: " * 4)
    run(clock=world.clock(), until_idle=True)
    hold_account(world.account(alice, "held"), "535 5.7.8 Username and password not accepted")
    world.contacts(alice, 4)
    world.contacts(alice, 2, prefix="none", email="")
    draft = world.mailing(alice, Contact.objects.all(), message=world.message(alice, signature=signature))
    active = world.started(alice)
    lifecycle.pause(world.started(alice), by=alice)
    lists = [Mailing, Message, Signature, EmailAccount, Delivery, LeftOut]
    pages = ["/admin/massmail/", *(url(model, "changelist") for model in lists)]
    pages += [f"{url(Delivery, 'changelist')}?mailing__id__exact={mailing.pk}" for mailing in (active, done)]
    pages += [f"{url(LeftOut, 'changelist')}?mailing__id__exact={draft.pk}"]
    pages += [f"{url(Delivery, 'changelist')}?mailing__id__exact={done.pk}&status__exact=failed"]
    pages += [url(thing, "change") for thing in (draft, active, done, draft.message, signature, account)]
    pages += [url(mailing.deliveries.first(), "change") for mailing in (active, done)]
    pages += [url(Message, "add"), url(EmailAccount, "add"), url(MassmailSettings, "change", 1)]
    pages += [url(active, "delete"), url(draft, "delete")]
    return [live_server.url + page for page in pages]


LISTS_IN_CARDS = [Mailing, Delivery, LeftOut]


def test_lists_on_a_phone_do_not_scroll_sideways(enter, addresses, boss, live_server):
    page = enter(boss)
    page.set_viewport_size({"width": 390, "height": 900})
    for model in LISTS_IN_CARDS:
        page.goto(live_server.url + url(model, "changelist"))
        assert page.locator("#result_list tbody tr").count()
        wider = "list => list.parentElement.scrollWidth - list.parentElement.clientWidth"
        assert page.locator("#result_list").evaluate(wider) <= 0, model
        for cell in page.locator("#result_list tbody tr").first.locator("td, th").all():
            box = cell.bounding_box()
            assert box is None or box["x"] + box["width"] <= 390


def test_preview_as_another_recipient_with_the_keyboard_alone(enter, live_server, alice):
    world.account(alice)
    world.contacts(alice, 3)
    mailing = world.mailing(alice)
    page = enter(alice)
    page.goto(live_server.url + url(mailing, "change"))
    page.frame_locator("iframe.massmail-html").get_by_text("Dear First0").wait_for()
    page.get_by_label("As this recipient reads it:").focus()
    page.keyboard.type("last2")
    page.locator("#massmail-as-list option[value='person2@alice.example']").wait_for(state="attached")
    page.keyboard.press("Enter")
    page.frame_locator("iframe.massmail-html").get_by_text("Dear First2").wait_for()
    assert page.locator("[data-massmail-subject]").inner_text() == "News for First2"
    assert page.locator("[data-massmail-to]").inner_text() == "First2 Last2 <person2@alice.example>"
    assert page.url == live_server.url + url(mailing, "change")  # what stands in the form is not lost
    page.get_by_label("As this recipient reads it:").fill("nobody at all")
    page.keyboard.press("Enter")
    page.get_by_text("Nobody of this mailing matches.").wait_for()
    page.get_by_label("As this recipient reads it:").focus()
    page.keyboard.press("Tab")
    page.keyboard.press("Tab")
    page.keyboard.press("ArrowRight")  # from "Desktop" to "Phone"
    assert page.locator("iframe.massmail-html").bounding_box()["width"] < 400


def test_from_a_number_to_its_file(enter, live_server, alice):
    world.account(alice)
    world.contacts(alice, 3)
    mailing = world.started(alice)
    page = enter(alice)
    page.goto(live_server.url + "/admin/massmail/")
    page.locator(".massmail-dashboard").get_by_role("link", name=mailing.name).click()
    page.locator(".massmail-figures").get_by_role("link", name="3").first.click()
    page.fill("#searchbar", "Last1")
    page.keyboard.press("Enter")
    page.get_by_text("1 found").wait_for()
    with page.expect_download() as download:
        page.get_by_role("link", name="Export as CSV").click()
    lines = download.value.path().read_text("utf-8").splitlines()
    assert len(lines) == 2
    assert "person1@alice.example" in lines[1]
    page.get_by_role("link", name="person1@alice.example").click()
    page.frame_locator("iframe.massmail-html").get_by_text("Dear First1").wait_for()


def test_pages_can_be_read_by_everybody(browser, live_server, addresses, boss):
    with window_of(browser, boss, live_server.url) as page:
        found = faults_of(page, addresses)
    assert not found, shown(found)


def test_empty_lists_and_refused_forms(browser, live_server, eve):
    lists = [live_server.url + url(model, "changelist") for model in (Message, Signature, EmailAccount, Delivery)]
    with window_of(browser, eve, live_server.url) as page:
        found = faults_of(page, [f"{live_server.url}/admin/massmail/", *lists])
        page.goto(live_server.url + url(Mailing, "changelist"))
        page.get_by_role("heading", name="No mailing yet").wait_for()
        found += faults(page)
        page.get_by_role("link", name="write a message").click()
        page.fill("#id_subject", "News")
        page.fill("#id_content", "{% load x %}")
        page.click("[name=_save]")
        error, field = page.locator("#id_content_error"), page.locator("#id_content")
        error.wait_for()
        assert error.bounding_box()["x"] == field.bounding_box()["x"]
        found += faults(page)
    assert not found, shown(found)
