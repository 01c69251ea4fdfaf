"""The host's own pages and the pages of accounts in a real browser: usable, fitting, accessible."""

from __future__ import annotations

from typing import Any

import pytest
from django.utils import timezone

from example_project.crm.models import Contact
from massmail.engine import lanes
from massmail.engine.window import local_day
from massmail.models import Delivery, EmailAccount, Lane, MassmailSettings, Recipient, Suppression, Tally
from massmail.outcomes import hold_account, suppress, unsubscribe_by_hand
from tests import world
from tests.acceptance.looking import faults_of, let_in, shown, window_of
from tests.adminpages import url

pytestmark = [pytest.mark.browser, pytest.mark.django_db(transaction=True)]


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


def pages_of(desk: dict[str, Any]) -> list[str]:
    pages = [url(desk[name], "change") for name in ("busy", "new", "opted-out", "bounced", "office", "held")]
    pages += [url(Contact, "changelist"), url(EmailAccount, "changelist"), url(desk["busy"], "massmail")]
    pages += [url(desk["opted-out"], "massmail_subscribe"), url(desk["bounced"], "massmail_lift")]
    return [*pages, url(desk["office"], "copy")]


def test_pages_can_be_read_by_everybody(browser, live_server, desk, boss):
    with window_of(browser, boss, live_server.url) as page:
        found = faults_of(page, [live_server.url + address for address in pages_of(desk)])
    assert not found, shown(found)


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
