"""The page "Deliverability" in a real browser: every state, and a test mail that arrives while somebody watches."""

from __future__ import annotations

import datetime as dt
from typing import Any

import pytest
from django.utils import timezone

from massmail.engine.checkup import domains, selftest
from massmail.engine.checkup.checking import check_account
from massmail.models import EmailAccount
from massmail.transport import memory
from tests import imapd, world
from tests.acceptance.looking import faults_of, let_in, shown, window_of
from tests.adminpages import url
from tests.domains import HEALTHY
from tests.nameserver import SERVFAIL
from tests.unit.test_deliverability_mail import PASS, signature

pytestmark = [pytest.mark.browser, pytest.mark.django_db(transaction=True)]

#: What is different from a domain with everything in order.
STATES: dict[str, dict[str, Any]] = {
    "green": {},
    "amber": {
        "_dmarc.acme.example": {"TXT": []},
        "acme.example": {
            "MX": ["10 mx.acme.example."],
            "TXT": ["v=spf1 include:_spf.google.com " + "ip4:192.0.2.1 " * 60 + "?all"],
        },
    },
    "red": {
        "acme.example": {"MX": ["10 mx.acme.example."], "TXT": ["v=spf1 include:gone.example -all"]},
        "s1._domainkey.acme.example": {"TXT": ["v=DKIM1; p="]},
        "_dmarc.acme.example": {"TXT": ["DMARC1; p=none"]},
    },
    "unknown": {"acme.example": {"ANY": SERVFAIL}, "_dmarc.acme.example": {"ANY": SERVFAIL}},
}


@pytest.fixture(autouse=True)
def outbox() -> Any:
    memory.clear()
    world.settings()
    yield memory.outbox
    memory.clear()


@pytest.fixture
def server():
    with imapd.serve(imapd.Box("INBOX"), imapd.Box("Junk", r"\Junk")) as server:
        yield server


@pytest.fixture
def own(alice, server):
    return world.account(
        alice, "own", from_email="ann@acme.example", imap_host="127.0.0.1", imap_port=server.port,
        imap_security="none", imap_username="ann", imap_password="secret",
        trusted_servers=[f"127.0.0.1:{server.port}"],
    )  # fmt: skip


@pytest.fixture
def accounts(alice, names):
    """An account of Alice's for each state, and one that nobody looked at."""
    found = {}
    for state, changes in STATES.items():
        names.zones = HEALTHY | changes
        found[state] = world.account(alice, state, from_email="ann@acme.example", smtp_host="smtp.gmail.com")
        check_account(found[state], now=timezone.now())
    return found | {"empty": world.account(alice, "empty")}


def test_clicks(page, expect, live_server, alice, own, server, names):
    names.zones = HEALTHY
    let_in(page.context, alice, live_server.url)
    page.set_default_timeout(15_000)
    page.goto(live_server.url + url(EmailAccount, "changelist"))
    page.get_by_role("link", name="Not checked").click()
    page.get_by_role("button", name="Check now").click()
    expect(page.get_by_text("v=DMARC1; p=reject; rua=mailto:dmarc@acme.example")).to_be_visible()
    page.get_by_role("button", name="Send a test mail to itself").click()
    expect(page.get_by_text("The test mail has left.")).to_be_visible()
    expect(page.get_by_role("button", name="Send a test mail to itself")).to_be_disabled()
    server.inbox.add((PASS + signature("from")).encode() + memory.outbox[0].data)
    assert selftest.look(own.pk, clock=lambda: timezone.now() + dt.timedelta(minutes=1))
    expect(page.get_by_text("leaves out: List-Unsubscribe, List-Unsubscribe-Post")).to_be_visible()
    expect(page.locator("[data-massmail-light]")).to_have_text("To improve")
    expect(page.locator("[data-massmail-announce]")).to_have_text("To improve")


def test_copy(page, expect, live_server, alice, accounts):
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    let_in(page.context, alice, live_server.url)
    page.goto(live_server.url + url(accounts["amber"], "deliverability"))
    record = page.locator("li", has_text="No DMARC record").locator(".massmail-record")
    record.get_by_role("button", name="Copy: Value").click()
    expect(record.get_by_role("button", name="Copy: Value")).to_have_text("Copied")
    copied = page.evaluate("navigator.clipboard.readText()")
    assert copied == "v=DMARC1; p=none; rua=mailto:dmarc@acme.example"


def test_red_account_on_the_mailings_page(page, expect, live_server, boss, names):
    box = world.account(boss, "office", from_email="ann@acme.example")
    world.contacts(boss, 2)
    names.zones = {"com": {"NS": ["a.gtld.example."]}}
    draft = world.mailing(boss, name="Autumn")
    check_account(box, now=timezone.now())
    domains.run()
    let_in(page.context, boss, live_server.url)
    page.goto(live_server.url + url(draft, "change"))
    expect(page.get_by_text("2 recipients at 1 domain that takes no mail: boss.example.")).to_be_visible()
    page.get_by_role("link", name="Its page “Deliverability” shows what to do.").click()
    expect(page.get_by_text("The domain acme.example does not exist.")).to_be_visible()
    page.get_by_role("button", name="Let mailings start anyway").click()
    expect(page.get_by_text("Mailings through “office” may start now.")).to_be_visible()
    page.goto(live_server.url + url(draft, "change"))
    page.get_by_role("button", name="Start").first.click()
    expect(page.get_by_text("The mailing “Autumn” is started.")).to_be_visible()


def test_pages_fit_and_are_accessible(browser, live_server, alice, accounts):
    pages = [url(each, "deliverability") for each in accounts.values()]
    pages += [url(accounts["red"], "change"), url(EmailAccount, "changelist")]
    with window_of(browser, alice, live_server.url) as page:
        found = faults_of(page, [live_server.url + address for address in pages])
    assert not found, shown(found)
