"""The host's own pages and the pages of accounts in a real browser: usable, fitting, accessible."""

from __future__ import annotations

import re
from typing import Any

import pytest
from django.conf import settings
from django.utils import timezone

from example_project.crm.models import Contact
from massmail.engine import lanes
from massmail.engine.window import local_day
from massmail.models import Delivery, EmailAccount, Lane, MassmailSettings, Recipient, Suppression, Tally
from massmail.outcomes import hold_account, suppress, unsubscribe_by_hand
from tests import world
from tests.adminpages import client_of, url

try:
    from axe_playwright_python.sync_playwright import Axe
except ImportError:  # comes with the extra "browser"; the fixture `page` says so
    Axe = None

pytestmark = [pytest.mark.browser, pytest.mark.django_db(transaction=True)]

#: Django's own: breadcrumbs and "Show all" are links without underlines, Select2 has fields without labels.
NOT_OURS = [[".breadcrumbs"], ["#changelist-search"], [".select2"]]
INLINE = re.compile(r"<script(?![^>]*\ssrc=)[^>]*>|<style|<[^>]*\s(style|on[a-z]+)=")


def let_in(context: Any, person: Any, address: str) -> None:
    """Let somebody into the admin without the form."""
    session = client_of(person).cookies[settings.SESSION_COOKIE_NAME].value
    context.add_cookies([{"name": settings.SESSION_COOKIE_NAME, "value": session, "url": address}])


@pytest.fixture
def desk(alice: Any) -> dict[str, Any]:
    """Contacts and accounts in every state: busy, untouched, opted out, bounced, held; with long and foreign names."""
    world.settings()
    office, held = world.account(alice, "office"), world.account(alice, "held", emails_per_day=40)
    names = ["busy", "new", "opted-out", "bounced"]
    found = {name: world.contacts(alice, 1, prefix=name)[0] for name in names}
    busy = Contact.objects.filter(pk=found["busy"].pk)
    busy.update(first_name="فاطمة الزهراء", last_name="Wolfeschlegelsteinhausenbergerdorff " * 2)
    lanes.set_vip(busy, vip=True, by=alice)
    for number, end in enumerate([{"status": "sent", "replied_at": timezone.now()}, {"status": "failed"}] * 6):
        mailing = world.mailing(alice, busy, name=["عرض الربيع", "Spring offer " * 15][number % 2])
        reply = "550 5.1.1 no such user: https://support.example.com/mail/answer/" + "6596" * 20
        mailing.deliveries.update(
            account=office, sent_at=timezone.now(), sending_at=timezone.now(), reason="bad_address", reply=reply, **end
        )
        day = local_day(timezone.now(), MassmailSettings.load().zone)
        lane, _made = Lane.objects.get_or_create(account=office, slot=0)
        Tally.objects.create(mailing=mailing, lane=lane, day=day, sent=3, failed=1)
    world.mailing(alice, busy, name="Not yet")
    found["planned"] = world.started(alice, busy, name="Winter offer")
    Recipient.objects.update(account=office)
    hold_account(held, "535 5.7.8 Username and Password not accepted: " + "https://support.example.com/" * 4)
    unsubscribe_by_hand(found["opted-out"], [found["opted-out"].email], by=alice)
    suppress(found["bounced"].email, "bounced", source="550 5.1.1 unknown")
    return {**found, "office": office, "held": held}


def main_pages(desk: dict[str, Any]) -> list[str]:
    things = (desk["busy"], desk["bounced"], desk["office"], desk["held"])
    return [*(url(thing, "change") for thing in things), url(Contact, "changelist"), url(EmailAccount, "changelist")]


def other_pages(desk: dict[str, Any]) -> list[str]:
    pages = [url(desk["new"], "change"), url(desk["opted-out"], "change"), url(desk["busy"], "massmail")]
    pages += [url(desk["opted-out"], "massmail_subscribe"), url(desk["bounced"], "massmail_lift")]
    return [*pages, url(desk["office"], "copy")]


@pytest.mark.parametrize(("width", "scheme"), [(1280, "light"), (1280, "dark"), (390, "light"), (390, "dark")])
def test_pages_fit_and_are_accessible(width, scheme, browser, live_server, desk, boss):
    # axe writes styles into the page.
    context = browser.new_context(bypass_csp=True, color_scheme=scheme, viewport={"width": width, "height": 900})
    let_in(context, boss, live_server.url)
    page, found = context.new_page(), []
    addresses = main_pages(desk) + (other_pages(desk) if (width, scheme) == (390, "light") else [])
    for address in addresses:
        page.goto(live_server.url + address)
        if page.evaluate("document.documentElement.scrollWidth") > width:
            found.append(f"{address} is wider than {width}")
        axe = Axe().run(page, context={"exclude": NOT_OURS})
        if axe.violations_count:
            found.append(f"{address}: {axe.generate_report()}")
    context.close()
    assert not found, "\n".join(found)


def test_nothing_is_inline(desk, boss):
    client = client_of(boss)
    for address in main_pages(desk) + other_pages(desk):
        assert not INLINE.search(client.get(address).content.decode()), address


def test_panel_with_the_keyboard_alone(page, live_server, desk, alice):
    let_in(page.context, alice, live_server.url)
    page.set_default_timeout(10_000)
    page.goto(live_server.url + url(desk["busy"], "change"))
    page.locator(".object-tools").get_by_role("link", name="Mailings").press("Enter")

    page.get_by_role("button", name="Skip “Winter offer”").press("Enter")
    page.get_by_text("“Winter offer” will not be sent to this recipient.").wait_for()
    assert Delivery.objects.get(mailing=desk["planned"]).reason == "by_hand"
    assert page.get_by_role("button", name="Skip “Winter offer”").count() == 0
    assert page.url.endswith("#massmail-panel")

    page.get_by_role("button", name="Remove VIP status").press("Enter")
    page.get_by_role("button", name="Make VIP").wait_for()
    page.get_by_role("button", name="Unsubscribe").press("Enter")
    page.get_by_role("link", name="Subscribe again").press("Enter")
    page.get_by_label("Reason:").fill("Called on 3 May and asked for it")
    page.get_by_label("Reason:").press("Enter")
    page.get_by_text("is subscribed again.").wait_for()
    recipient = Recipient.objects.get(object_id=str(desk["busy"].pk))
    assert (recipient.vip, recipient.subscribed) == (False, True)
    assert not Suppression.objects.filter(address=desk["busy"].email).exists()


def test_list_finds_the_vips(page, live_server, desk, alice):
    let_in(page.context, alice, live_server.url)
    page.goto(live_server.url + url(Contact, "changelist"))
    page.locator("details", has_text="By VIP").get_by_role("link", name="Yes").click()
    page.locator("#result_list .massmail-state-vip").wait_for()
    assert page.locator("#result_list tbody tr").count() == 1


def test_account_is_released_and_copied(page, live_server, desk, alice):
    let_in(page.context, alice, live_server.url)
    page.goto(live_server.url + url(EmailAccount, "changelist"))
    page.get_by_role("button", name="Release “held”").click()
    page.get_by_text("The account “held” is released.").wait_for()
    page.get_by_role("link", name="Copy").click()
    page.get_by_label("Name:").fill("held no more")
    page.get_by_role("button", name="Copy").click()
    page.get_by_text("Enter its password, then tick “Massmail”.").wait_for()
    copy = EmailAccount.objects.get(name="held no more")
    assert (copy.emails_per_day, copy.massmail, copy.hold_reason) == (40, False, "")
    page.goto(live_server.url + url(desk["office"], "change"))
    page.get_by_role("link", name="Contact persons: ").click()
    page.locator("#result_list tbody tr").first.wait_for()
