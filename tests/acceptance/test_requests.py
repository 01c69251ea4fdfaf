"""The story of a request in a real browser, from the newsletter to the deal; and pages that fit and are accessible."""

from __future__ import annotations

import email
import email.policy
from collections.abc import Iterator
from typing import Any

import pytest

from example_project.crm.models import Deal, Request
from massmail.inbound import run as inbound
from massmail.models import Correspondence
from massmail.transport import memory
from tests import imapd, world
from tests.acceptance.looking import faults_of, let_in, shown, window_of
from tests.adminpages import client_of, url
from tests.integration.test_inbound import sent
from tests.integration.test_requests import account_of, answer_to, mail

pytestmark = [pytest.mark.browser, pytest.mark.django_db(transaction=True)]


@pytest.fixture(autouse=True)
def private_files(settings: Any, tmp_path: Any) -> Iterator[None]:
    settings.MEDIA_ROOT = tmp_path
    memory.clear()
    yield
    memory.clear()


@pytest.fixture
def server() -> Iterator[imapd.World]:
    with imapd.serve(imapd.Box("INBOX"), imapd.Box("Sent", r"\Sent")) as server:
        yield server


def test_story_of_a_request(page, live_server, expect, alice, server):
    account = account_of(alice, server, "office")
    [delivery] = sent(alice)
    prospect = f"Ann Smith <{delivery.address}>"
    reply = answer_to(delivery.message_id, sender=prospect, Subject="Re: News", body="What is the price?")
    reply.add_attachment(b"drawing", maintype="application", subtype="pdf", filename="drawing.pdf")
    server.inbox.add(mail(Subject="Lunch?", sender="friend@home.example", body="At noon").as_bytes())
    server.inbox.add(reply.as_bytes())
    let_in(page.context, alice, live_server.url)
    page.set_default_timeout(15_000)

    # Nothing appears by itself.
    inbound.poll(account.pk)
    assert Request.objects.count() == Correspondence.objects.count() == 0

    # The manager presses the button and imports it.
    page.goto(live_server.url + url(Request, "changelist"))
    page.get_by_role("link", name="Import request from email").click()
    row = page.locator(".massmail-inbox > li", has_text="What is the price?")
    expect(row).to_contain_text("Answers a newsletter")
    row.get_by_role("checkbox").check()
    page.get_by_role("button", name="Import", exact=True).click()
    page.get_by_text("1 request made.").wait_for()
    request = Request.objects.get()
    assert request.contact.email == delivery.address
    block = page.locator("#massmail-correspondence")
    expect(block).to_contain_text("What is the price?")
    with page.expect_download() as download:
        block.get_by_role("link", name="drawing.pdf").click()
    assert download.value.suggested_filename == "drawing.pdf"

    # He answers from the request.
    memory.clear()
    block.get_by_label("Answer:").fill("It is 4,000 euros.")
    block.get_by_role("button", name="Send answer").click()
    page.get_by_text(f"The answer to {delivery.address} is sent.").wait_for()
    [letter] = memory.outbox
    ours = email.message_from_bytes(letter.data, policy=email.policy.default)
    assert letter.to == delivery.address
    assert f"[ticket:{request.ticket}]" in ours["Subject"]

    # The prospect's next mail appears by itself within one poll; another one does not.
    order = answer_to(ours["Message-ID"], sender=prospect, Subject=f"Re: {ours['Subject']}", body="Ordered.")
    server.inbox.add(order.as_bytes())
    server.inbox.add(mail(sender=prospect, Subject="Re: News", body="Unrelated").as_bytes())
    inbound.poll(account.pk)
    page.reload()
    expect(block).to_contain_text("Ordered.")
    expect(block).to_contain_text("It is 4,000 euros.")
    expect(block).not_to_contain_text("Unrelated")
    assert Request.objects.count() == 1


@pytest.fixture
def desk(alice: Any, boss: Any, server: imapd.World) -> dict[str, Any]:
    """A conversation of long and foreign words in a mailbox of several pages, all the administrator's own."""
    account = account_of(boss, server, "office")
    word = "Donaudampfschifffahrtsgesellschaft" * 4
    # The host's own form has no room for more than this in one word.
    sender = "Wolfeschlegelsteinhausenbergerdorff فاطمة <ann@customer.example>"
    first = mail(sender=sender, Subject="Offer for a lathe", body=f"{word}\n\nمنذ متى؟ {word}")
    first.add_attachment(b"x", maintype="application", subtype="pdf", filename=f"{word}.pdf")
    server.inbox.add(first.as_bytes())
    client = client_of(boss)
    client.post(
        f"{url(Request, 'massmail_mailbox', account.pk)}", {"uid": "1", "validity": "1", "page": "1", "leads": "1"}
    )
    request = Request.objects.get()
    more = answer_to(first["Message-ID"], sender="stranger@else.example", body="Short\n\n> " + word)
    server.inbox.add(more.as_bytes())
    inbound.poll(account.pk)
    Correspondence.objects.filter(from_address="stranger@else.example").update(cut=True)
    Correspondence.objects.create(
        conversation=request_conversation(),
        direction="out",
        status="unknown",
        identity="x",
        from_address="a@b.example",
        to="ann@customer.example",
        subject=word,
        text="Perhaps",
        at=world.MONDAY,
    )
    for number in range(30):
        server.inbox.add(mail(Subject=f"{word} {number}").as_bytes())
    deal = Deal.objects.create(ticket="D1", name="Deal", request=request, owner=boss, creation_date=world.TODAY)
    account_of(boss, server, "another")
    broken = world.account(boss, "broken", do_import=True, imap_host="no.such.example")
    return {"request": request, "deal": deal, "account": account, "broken": broken}


def request_conversation() -> Any:
    return Correspondence.objects.latest("pk").conversation


def pages(desk: dict[str, Any]) -> list[str]:
    return [
        url(desk["request"], "change"),
        url(desk["deal"], "change"),
        url(Request, "changelist"),
        url(Request, "massmail_import"),
        url(Request, "massmail_mailbox", desk["account"].pk),
        url(Request, "massmail_mailbox", desk["broken"].pk),
    ]


def test_pages_can_be_read_by_everybody(browser, live_server, desk, boss):
    with window_of(browser, boss, live_server.url) as page:
        found = faults_of(page, [live_server.url + address for address in pages(desk)])
    assert not found, shown(found)
