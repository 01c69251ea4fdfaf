"""From an answer to a newsletter to a request, and from there the conversation by itself; nothing else."""

from __future__ import annotations

import datetime as dt
import email
import email.policy
import itertools
import re
import threading
from email.message import EmailMessage

import pytest
import time_machine
from django.contrib.auth.models import Permission
from django.core.files.storage import default_storage
from django.db import connection
from django.urls import reverse

from example_project.crm.models import Contact, Deal, Lead, Request
from massmail.choices import Phase
from massmail.conversations import ConversationType, conversation_types, find_conversation_type
from massmail.inbound import run as inbound
from massmail.inbound.conversations import belonging, mailbox
from massmail.inbound.conversations.importing import import_mail
from massmail.models import Conversation, Correspondence, CorrespondenceFile, EmailAccount, InboundMessage
from massmail.transport import Reply, TransportError, memory
from massmail.transport.imap import Fetched
from tests import imapd, world
from tests.adminpages import client_of, queries, said, url
from tests.host.models import Partner, Region, Vendor
from tests.integration.test_inbound import NOW, bounce, sent

pytestmark = pytest.mark.django_db

numbers = itertools.count()
IMPORT = "admin:crm_request_massmail_import"
MAILBOX = "admin:crm_request_massmail_mailbox"


@pytest.fixture(autouse=True)
def outbox(settings, tmp_path):
    settings.MEDIA_ROOT = tmp_path
    memory.clear()
    yield memory.outbox
    memory.clear()


@pytest.fixture
def server():
    with imapd.serve(imapd.Box("INBOX"), imapd.Box("Sent", r"\Sent")) as server:
        yield server


def account_of(owner, server, name="second", **fields) -> EmailAccount:
    return world.account(
        owner,
        name,
        do_import=True,
        imap_host="127.0.0.1",
        imap_port=server.port,
        imap_security="none",
        imap_username="anna",
        imap_password="secret",
        trusted_servers=[f"127.0.0.1:{server.port}"],
        **fields,
    )


@pytest.fixture
def account(alice, server):
    return account_of(alice, server)


def mail(sender="Ann Smith <ann@customer.example>", body="Please send an offer.", **headers) -> EmailMessage:
    message = EmailMessage()
    given = {
        "From": sender,
        "To": "second@alice-mail.example",
        "Subject": "Offer",
        "Date": "Mon, 23 Nov 2026 10:30:00 +0100",
        "Message-ID": f"<{next(numbers)}@customer.example>",
    }
    for name, value in (given | {name.replace("_", "-"): value for name, value in headers.items()}).items():
        if value is not None:
            message[name] = value
    message.set_content(body)
    return message


def answer_to(message_id: str, **more) -> EmailMessage:
    return mail(**{"Subject": "Re: Offer", "In_Reply_To": message_id, "References": message_id, **more})


def arrive(server, message: EmailMessage, box="INBOX") -> int:
    return server.boxes[box].add(message.as_bytes(), NOW)


def poll(account, minutes=1) -> int:
    return inbound.poll(account.pk, clock=lambda: NOW + dt.timedelta(minutes=minutes))


def do_import(client, account, *uids, leads="1", validity="1"):
    data = {"uid": [str(uid) for uid in uids], "validity": validity, "page": "1", "leads": leads}
    return client.post(reverse(MAILBOX, args=[account.pk]), data)


def imported(alice, account, server, message: EmailMessage | None = None) -> Request:
    do_import(client_of(alice), account, arrive(server, message or mail()))
    return Request.objects.get()


def answer(client, obj, text="Here is our offer.", **changes):
    page = client.get(url(obj, "change"))
    form = page.context["massmail_correspondence"].form
    data = {"key": form["key"].value(), "to": form["to"].value(), "account": form["account"].value(), "text": text}
    return client.post(url(obj, "massmail_answer"), data | changes)


def texts() -> list[tuple[str, str]]:
    return [(each.direction, each.text) for each in Correspondence.objects.order_by("at", "pk")]


# Importing ------------------------------------------------------------------------------------------------------------


def test_mailbox__shows_what_answers_a_newsletter(alice, account, server):
    [delivery] = sent(alice)
    arrive(server, mail(Subject="Old"))
    arrive(server, answer_to(delivery.message_id, sender=f"First0 <{delivery.address}>"))
    page = client_of(alice).get(reverse(MAILBOX, args=[account.pk]))
    newest, oldest = page.context["rows"]
    assert (newest.mailing, oldest.mailing) == (delivery.mailing, None)
    assert newest.entry.person == Contact.objects.get(email=delivery.address)
    assert oldest.entry.person is None
    content = page.content.decode()
    assert "Answers a newsletter" in content
    assert "Please send an offer." in content
    # Looked at, and nothing else.
    assert not server.said(b"STORE")
    assert not server.said(b"SELECT")
    assert Correspondence.objects.count() == Request.objects.count() == InboundMessage.objects.count() == 0


def test_mailbox__by_pages_in_a_constant_number_of_queries(alice, account, server):
    client, address = client_of(alice), reverse(MAILBOX, args=[account.pk])
    [first, *_more] = sent(alice, 3)
    arrive(server, answer_to(first.message_id))
    few = queries(client, address)
    for delivery in _more * 10:
        arrive(server, answer_to(delivery.message_id, sender=delivery.address))
    do_import(client, account, 4, 5, 6, 15)
    assert queries(client, address) <= few + 2  # what the imported ones belong to, and the people
    arrive(server, mail(Subject="The newest"))
    for _ in range(20):
        arrive(server, mail())
    first_page = client.get(address)
    assert (first_page.context["view"].pages, len(first_page.context["rows"])) == (2, 25)
    fetched = server.said(b"FETCH")
    last = client.get(address, {"page": "99"})
    assert server.said(b"FETCH") == fetched + 1
    assert last.context["view"].number == 2
    assert last.context["rows"][-1].entry.uid == 1


def test_import__makes_a_request_of_a_contact(alice, account, server):
    [delivery] = sent(alice)
    message = answer_to(
        delivery.message_id,
        sender=f"First0 <{delivery.address.upper()}>",
        body=f"How much is the lathe?\n\nOn Mon, 23 Nov 2026, {account.from_email} wrote:\n> News\n> of ours\n",
    )
    message.add_attachment(b"%PDF-1.7", maintype="application", subtype="pdf", filename="../../etc/Skizze ö.pdf")
    response = do_import(client_of(alice), account, arrive(server, message))
    request = Request.objects.get()
    assert response.url == url(request, "change")
    contact = Contact.objects.get(email=delivery.address)
    assert (request.owner, request.contact, request.lead) == (alice, contact, None)
    assert (request.subject, request.text) == ("Re: Offer", "How much is the lathe?")
    assert re.fullmatch("[a-z0-9]{16}", request.ticket)
    conversation = Conversation.objects.get()
    assert (conversation.ticket, conversation.about, conversation.account) == (request.ticket, request, account)
    [kept] = conversation.mails.all()
    assert (kept.direction, kept.delivery, kept.text) == ("in", delivery, "How much is the lathe?")
    assert "> News" in kept.quoting
    [file] = kept.files.all()
    assert (file.name, file.size) == ("Skizze ö.pdf", 8)
    assert re.fullmatch("massmail/correspondence/[0-9a-f]{32}", file.file.name)
    assert file.file.read() == b"%PDF-1.7"
    file.file.close()


def test_import__proposes_a_lead_for_whom_nobody_knows(alice, account, server):
    client = client_of(alice)
    do_import(client, account, arrive(server, mail()))
    request = Request.objects.get()
    lead = Lead.objects.get()
    assert (request.lead, request.contact) == (lead, None)
    assert (lead.first_name, lead.last_name, lead.email, lead.owner) == ("Ann", "Smith", "ann@customer.example", alice)
    assert not lead.massmail
    do_import(client, account, arrive(server, mail(sender="new@customer.example")), leads="")
    assert Lead.objects.count() == 1
    # Without the right to add leads none is made, whatever was posted.
    for group in alice.groups.all():
        group.permissions.remove(Permission.objects.get(codename="add_lead"))
    do_import(client_of(alice), account, arrive(server, mail(sender="newer@customer.example")))
    assert (Lead.objects.count(), Request.objects.count()) == (1, 3)


def test_import__knows_own_people_only(alice, bob, account, server):
    world.lead(bob, email="ann@customer.example")
    mine = world.lead(alice, email="office@customer.example, Ann@Customer.example")
    request = imported(alice, account, server)
    assert request.lead == mine
    form = mail(sender="noreply@website.example", Reply_To="office@customer.example")
    do_import(client_of(alice), account, arrive(server, form))
    assert Request.objects.first().lead == mine


def test_import__the_same_mail_once(alice, account, server):
    client, message = client_of(alice), mail()
    uid, copy = arrive(server, message), arrive(server, message)
    do_import(client, account, uid)
    response = do_import(client, account, uid, copy)
    assert said(response) == ["1 request made.", "2 mails are imported already."]
    other = account_of(alice, server, "third")
    do_import(client, other, uid)
    for _ in range(3):
        poll(account)
    assert (Request.objects.count(), Correspondence.objects.count(), Lead.objects.count()) == (1, 1, 1)
    row = client.get(reverse(MAILBOX, args=[account.pk])).context["rows"][0]
    assert row.imported == Request.objects.get()


def test_import__two_mails_of_a_thread_make_one_request(alice, account, server):
    first = mail()
    uids = [arrive(server, first), arrive(server, answer_to(first["Message-ID"], body="And delivery times.")), 99]
    response = do_import(client_of(alice), account, *uids[::-1])
    assert Request.objects.count() == 1
    assert [text for _direction, text in texts()] == ["Please send an offer.", "And delivery times."]
    assert any("not in the mailbox any more" in each for each in said(response))


def test_import__nothing_ticked_or_mail_numbered_anew(alice, account, server):
    client = client_of(alice)
    uid = arrive(server, mail())
    for uids, validity in (((), "1"), (("x", "-1", "1" * 30), "1"), ((uid,), "x"), ((uid,), "2")):
        response = do_import(client, account, *uids, validity=validity)
        assert response.status_code == 302
        assert said(response)
    assert Request.objects.count() == 0


HOSTILE = {
    "empty": b"",
    "no headers": b"\xff\xfe\x00 nothing",
    "bad header": b"From: =?utf-8?b?" + b"A" * 5000 + b"?=\nSubject: " + b"=?x?q?y?= " * 9000 + b"\n\nx",
    "name": b'From: a@b.example\nContent-Type: application/x; name="' + b"../" * 99 + b'\\0.exe"\n\nx',
    "rfc2231": b"From: a@b.example\nContent-Disposition: attachment; filename*=no'such'%zz%ff\n"
    b"Content-Type: image/png\nContent-Transfer-Encoding: base64\n\n!!!",
    "nested": b"Content-Type: multipart/mixed; boundary=b\n\n--b\n" * 3000,
    "surrogates": "From: a@b.example\nSubject: \ud800\n\n\ud800".encode("utf-8", "surrogatepass"),
    "script in plain text": b"From: a@b.example\nSubject: <script>alert(3)</script>\n\n"
    b"<script>alert(1)</script><img src=x onerror=alert(2)>Hi",
    "script": b"From: a@b.example\nContent-Type: text/html\n\n<script>alert(1)</script><img src=x onerror=alert(2)>Hi",
}


@pytest.mark.parametrize("name", HOSTILE)
def test_import__survives_hostile_mail(name, alice, account, server):
    client = client_of(alice)
    uid = server.inbox.add(HOSTILE[name], NOW)
    assert client.get(reverse(MAILBOX, args=[account.pk])).status_code == 200
    assert do_import(client, account, uid).status_code == 302
    page = client.get(url(Request.objects.get(), "change"))
    assert page.status_code == 200
    assert "<script>alert" not in page.content.decode()
    assert "<img src=x" not in page.content.decode()
    for file in CorrespondenceFile.objects.all():
        assert not re.search(r"[/\\\x00-\x1f]|^\.", file.name)


def test_import__a_huge_mail_is_cut(alice, account, server, monkeypatch):
    monkeypatch.setattr(mailbox, "MAX_MAIL", 3000)
    message = mail()
    message.add_attachment(b"small", maintype="application", subtype="x", filename="small.bin")
    message.add_attachment(b"x" * 9000, maintype="application", subtype="x", filename="huge.bin")
    request = imported(alice, account, server, message)
    [kept] = Correspondence.objects.all()
    assert kept.cut
    assert [file.name for file in kept.files.all()] == ["small.bin"]
    assert "too large" in client_of(alice).get(url(request, "change")).content.decode()


@pytest.mark.parametrize(
    ("fault", "words", "remedy"),
    [
        (b"AUTHENTICATE", "wrong", "Check IMAP server"),
        (b"EXAMINE", "The server closed the connection", "Try again in a minute"),
    ],
)
def test_mailbox__trouble_is_shown_with_its_remedy(fault, words, remedy, alice, account, server):
    def break_off(session, line):
        if fault in line:
            if fault == b"EXAMINE":
                raise imapd.HangUp
            server.password = "another"
        return False

    uid = arrive(server, mail())
    server.fault = break_off
    client = client_of(alice)
    page = client.get(reverse(MAILBOX, args=[account.pk]))
    assert page.status_code == 200
    assert words in page.content.decode()
    assert remedy in page.content.decode()
    assert any(remedy in each for each in said(do_import(client, account, uid)))
    assert Request.objects.count() == 0


def test_mailbox__server_not_there_or_silent(alice, account, monkeypatch, server):
    EmailAccount.objects.update(imap_port=1, trusted_servers=["127.0.0.1:1"])
    assert b"Try again in a minute" in client_of(alice).get(reverse(MAILBOX, args=[account.pk])).content
    monkeypatch.setattr(mailbox, "SILENCE", 0.2)
    EmailAccount.objects.update(imap_port=server.port, trusted_servers=[f"127.0.0.1:{server.port}"])
    server.fault = lambda session, line: b"SEARCH" in line
    assert b"did not answer in time" in client_of(alice).get(reverse(MAILBOX, args=[account.pk])).content


@pytest.mark.django_db(transaction=True)
def test_import__at_the_same_moment_makes_one_request(alice, account, server):
    fetched = Fetched(uid=1, size=9999, received_at=NOW, data=mail().as_bytes())
    kind, ready = find_conversation_type(Request), threading.Barrier(2)

    def run():
        ready.wait(10)
        try:
            import_mail(account, fetched, kind, leads=True, now=NOW)
        finally:
            connection.close()

    threads = [threading.Thread(target=run) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert (Request.objects.count(), Lead.objects.count(), Correspondence.objects.count()) == (1, 1, 1)


# Afterwards -----------------------------------------------------------------------------------------------------------


def test_conversation__goes_on_by_itself(alice, account, server, outbox):
    [delivery] = sent(alice)
    outbox.clear()
    reply = answer_to(delivery.message_id, sender=delivery.address)
    uid = arrive(server, reply)
    poll(account)
    assert (Request.objects.count(), Correspondence.objects.count()) == (0, 0)  # nothing by itself
    do_import(client_of(alice), account, uid)
    request = Request.objects.get()

    # Before the first answer: known by the mail that is imported.
    arrive(server, answer_to(reply["Message-ID"], sender=delivery.address, body="I forgot: in red."))
    arrive(server, mail(body="Something else"))
    # Another answer to the same newsletter, from another of its readers, is none of this.
    poll(account, 2)
    assert [text for _direction, text in texts()] == ["Please send an offer.", "I forgot: in red."]

    answer(client_of(alice), request)
    [letter] = outbox
    ours = email.message_from_bytes(letter.data, policy=email.policy.default)
    assert (letter.sender, letter.to) == (account.from_email, delivery.address)
    assert ours["Subject"] == f"Re: Offer [ticket:{request.ticket}]"
    assert ours["X-Massmail-Ticket"] == request.ticket
    assert ours["In-Reply-To"] == Correspondence.objects.order_by("-pk")[1].message_id
    assert reply["Message-ID"] in ours["References"]
    assert "> I forgot: in red." in ours.get_content()
    server.boxes["Sent"].add(letter.data, NOW)  # as Gmail does

    # By the ticket alone, from a program that keeps no references, and from somebody else.
    arrive(
        server, mail(sender="boss@customer.example", Subject=f"AW: Offer [TICKET:{request.ticket}]", body="Ordered.")
    )
    poll(account, 3)
    assert texts()[-2:] == [("in", "Ordered."), ("out", "Here is our offer.")] or texts()[-2:] == [
        ("out", "Here is our offer."),
        ("in", "Ordered."),
    ]
    assert Correspondence.objects.count() == 4
    page = client_of(alice).get(url(request, "change")).content.decode()
    assert "New sender" in page
    assert "Something else" not in page


def test_conversation__answered_from_another_program(alice, account, server):
    """The manager answers on the phone before the first poll ever; the prospect answers that."""
    message = mail()
    request = imported(alice, account, server, message)
    ours = answer_to(message["Message-ID"], sender=account.from_email, To="ann@customer.example", body="From my phone.")
    arrive(server, ours, "Sent")
    arrive(server, mail(sender=account.from_email, To="wife@home.example", body="Private"), "Sent")
    poll(account)
    assert texts()[-1] == ("out", "From my phone.")
    arrive(server, answer_to(ours["Message-ID"], body="Thanks."))
    poll(account, 2)
    assert [text for _d, text in texts()] == ["Please send an offer.", "From my phone.", "Thanks."]
    assert Conversation.objects.get().about == request


def test_conversation__a_copy_in_sent_mail_is_no_reply(alice, account, server):
    [delivery] = sent(alice)
    reply = answer_to(delivery.message_id, sender=delivery.address)
    imported(alice, account, server, reply)
    alias = answer_to(delivery.message_id, sender="alias@alice-mail.example", To=delivery.address)
    arrive(server, alias, "Sent")
    poll(account)
    row = InboundMessage.objects.get(outgoing=True)
    assert row.delivery is None


def test_conversation__bounced_answer_is_shown_and_not_answered(alice, account, server, outbox):
    request = imported(alice, account, server)
    answer(client_of(alice), request)
    ours = Correspondence.objects.get(direction="out")
    ours.address = ours.to
    server.inbox.add(bounce(ours, to="ann@customer.example"), NOW)
    poll(account)
    page = client_of(alice).get(url(request, "change"))
    lines = page.context["massmail_correspondence"].lines
    assert "Bounce" in [line.automatic for line in lines]
    form = page.context["massmail_correspondence"].form
    assert [label for _key, label in form.fields["to"].choices] == ["ann@customer.example"]


def test_conversation__only_of_this_owner_and_marked_accounts(alice, bob, account, server):
    request = imported(alice, account, server)
    ticket = f"Offer [ticket:{request.ticket}]"
    with imapd.serve(imapd.Box("INBOX")) as another:
        foreign = account_of(bob, another, "bobs")
        another.inbox.add(mail(Subject=ticket, To="bob", body="to bob").as_bytes(), NOW)
        poll(foreign)
    arrive(server, mail(Subject="Offer [ticket:aaaaaaaaaaaaaaaa]", body="guessed"))
    arrive(server, mail(Subject="Offer ticket", body="nothing"))
    EmailAccount.objects.filter(pk=account.pk).update(do_import=False)
    poll(account)
    arrive(server, mail(Subject=ticket, body="not marked"))
    poll(account, 2)
    assert Correspondence.objects.count() == 1


def test_conversation__deal_takes_over(alice, account, server, outbox):
    message = mail()
    request = imported(alice, account, server, message)
    today = world.TODAY
    deal = Deal.objects.create(ticket="D1", name="Lathe", request=request, owner=alice, creation_date=today)
    client = client_of(alice)
    assert "Please send an offer." in client.get(url(deal, "change")).content.decode()
    answer(client, deal)
    assert Conversation.objects.get().about == deal
    arrive(server, answer_to(message["Message-ID"], body="Agreed."))
    poll(account)
    for page in (url(deal, "change"), url(request, "change")):
        assert "Agreed." in client.get(page).content.decode()
    deal.delete()
    assert Conversation.objects.get().about == request


@time_machine.travel(NOW)  # since when correspondence is kept
def test_conversation__handed_over_to_another_manager(alice, bob, account, server, outbox):
    """The new owner answers through an account of his own, and what comes to that one is imported."""
    request = imported(alice, account, server)
    Request.objects.update(owner=bob)
    with imapd.serve(imapd.Box("INBOX")) as another:
        his = account_of(bob, another, "bobs")
        answer(client_of(bob), request, account=his.pk)
        assert outbox[-1].sender == his.from_email
        ours = Correspondence.objects.get(direction="out")
        another.inbox.add(answer_to(ours.message_id, body="Dear Bob").as_bytes(), NOW)
        poll(his)
    assert "Dear Bob" in [text for _d, text in texts()]
    assert client_of(alice).post(url(request, "massmail_answer")).status_code == 404


class PartnerConversations(ConversationType):
    model = "host.Partner"
    owner = "region__manager"

    def create(self, incoming):
        region = Region.objects.create(manager=incoming.owner)
        return Partner.objects.create(region=region, email=incoming.address)


class VendorConversations(ConversationType):
    model = "host.Vendor"
    owner = "region__manager"

    def create(self, incoming):
        region = Region.objects.create(manager=incoming.owner)
        return Vendor.objects.create(code="V/1 ö", region=region, mail_address=incoming.address)


@pytest.mark.parametrize("name", ["Partner", "Vendor"])
def test_conversation__with_uuid_and_text_keys(name, alice, account, server, settings):
    settings.MASSMAIL_CONVERSATIONS = [f"{__name__}.{name}Conversations"]
    [kind] = conversation_types()
    message = mail()
    arrive(server, message)
    [fetched] = mailbox.fetch(account, [1], validity=1)
    made = import_mail(account, fetched, kind, leads=False, now=NOW).about
    arrive(server, answer_to(message["Message-ID"], body="More"))
    poll(account)
    [conversation] = belonging.conversations_of(made)
    assert conversation.about == made
    assert conversation.mails.count() == 2
    [*_rest, oldest] = mailbox.look(account, kind, number=1).entries
    assert oldest.imported.conversation.about == made
    assert import_mail(account, fetched, kind, leads=False, now=NOW).about == made


def test_deleting_the_request_deletes_its_mail(alice, account, server, django_capture_on_commit_callbacks):
    message = mail()
    message.add_attachment(b"x", maintype="application", subtype="x", filename="x")
    request = imported(alice, account, server, message)
    name = CorrespondenceFile.objects.get().file.name
    assert default_storage.exists(name)
    with django_capture_on_commit_callbacks(execute=True):
        Request.objects.filter(pk=request.pk).delete()
    assert (Conversation.objects.count(), Correspondence.objects.count()) == (0, 0)
    assert not default_storage.exists(name)
    arrive(server, answer_to(message["Message-ID"]))
    poll(account)
    assert Correspondence.objects.count() == 0


def test_conversation__files_of_a_long_mail_are_fetched(alice, account, server, monkeypatch):
    message = mail()
    imported(alice, account, server, message)
    long = answer_to(message["Message-ID"], body="See the drawing.")
    long.add_attachment(b"d" * 300_000, maintype="application", subtype="x", filename="drawing.dwg")
    arrive(server, long)
    poll(account)
    mails = Correspondence.objects.order_by("pk")
    assert [(each.unfetched, each.cut) for each in mails] == [(False, False)] * 2
    assert [(file.name, file.size) for file in mails[1].files.all()] == [("drawing.dwg", 300_000)]
    fetched = server.said(b"FETCH")
    poll(account, 2)
    assert server.said(b"FETCH") == fetched


def test_conversation__ten_polls_and_renumbering_double_nothing(alice, account, server):
    message = mail()
    imported(alice, account, server, message)
    arrive(server, answer_to(message["Message-ID"], body="More."))
    for turn in range(10):
        poll(account, turn)
        if turn == 4:
            server.inbox.renumber()
    assert [text for _d, text in texts()] == ["Please send an offer.", "More."]


# Answering ------------------------------------------------------------------------------------------------------------


def test_answer__pressed_twice_leaves_once(alice, account, server, outbox):
    request = imported(alice, account, server)
    client = client_of(alice)
    key = "0123456789abcdef" * 2
    answer(client, request, key=key)
    again = answer(client, request, key=key)
    assert "This answer was sent already." in again.content.decode()
    assert len(outbox) == 1


def test_answer__refused_keeps_the_text(alice, account, server, outbox):
    request = imported(alice, account, server)
    memory.replies["ann@customer.example"] = Reply(phase=Phase.RCPT, code=550, text="5.1.1 no such user")
    response = answer(client_of(alice), request, text="Long and thoughtful")
    assert response.status_code == 200
    assert "no such user" in response.content.decode()
    assert "Long and thoughtful" in response.content.decode()
    assert not Correspondence.objects.filter(direction="out").exists()


def test_answer__in_doubt_is_settled_by_the_folder_of_sent_mail(alice, account, server, outbox):
    request = imported(alice, account, server)
    lost = TransportError(Reply(phase=Phase.DOT, code=None, text="timed out"))
    memory.replies["ann@customer.example"] = lost
    response = answer(client_of(alice), request)
    assert "did not say" in said(response)[-1]
    ours = Correspondence.objects.get(direction="out")
    assert ours.status == "unknown"
    assert "Perhaps not sent" in client_of(alice).get(url(request, "change")).content.decode()
    server.boxes["Sent"].add(outbox[-1].data, NOW)
    poll(account)
    ours.refresh_from_db()
    assert (ours.status, ours.reply) == ("sent", "")
    assert Correspondence.objects.count() == 2


def test_answer__goes_to_whom_the_mail_says(alice, account, server, outbox):
    request = imported(alice, account, server, mail(sender="noreply@web.example", Reply_To="ann@customer.example"))
    answer(client_of(alice), request)
    assert outbox[-1].to == "ann@customer.example"


def test_answer__stranger_with_the_ticket_diverts_nothing(alice, account, server, outbox):
    request = imported(alice, account, server)
    arrive(server, mail(sender="mallory@evil.example", Subject=f"Re: [ticket:{request.ticket}]", body="Pay here"))
    poll(account)
    answer(client_of(alice), request)
    assert outbox[-1].to == "ann@customer.example"


def test_answer__no_header_can_be_slipped_in(alice, account, server, outbox):
    request = imported(alice, account, server)
    Correspondence.objects.update(subject="x\r\nBcc: a@b.example")
    answer(client_of(alice), request)
    assert b"Subject: Re: x Bcc: a@b.example [ticket:" in outbox[-1].data
    Correspondence.objects.update(message_id="<a@b>\r\nBcc: c@d.example")
    assert "can&#x27;t be sent" in answer(client_of(alice), request).content.decode()
    Correspondence.objects.update(message_id="", reply_to="a@b.example,c@d.example")
    assert "can&#x27;t be sent" in answer(client_of(alice), request).content.decode()
    assert len(outbox) == 1


# Who may --------------------------------------------------------------------------------------------------------------


@pytest.fixture
def stranger(django_user_model):
    """Staff without any permission."""
    return django_user_model.objects.create_user("mute", password="mute", is_staff=True)


def test_access(alice, bob, carol, boss, stranger, account, server, outbox):
    message = mail()
    message.add_attachment(b"x", maintype="text", subtype="html", filename="page.html")
    request = imported(alice, account, server, message)
    file = CorrespondenceFile.objects.get()
    download = reverse("admin:crm_request_massmail_file", args=[request.pk, file.pk])
    to = Correspondence.objects.get().pk
    data = {"key": "a" * 32, "to": to, "account": account.pk, "text": "Hello"}
    for person, reads, answers in (
        (None, 302, 302), (stranger, 404, 404), (bob, 404, 404), (carol, 200, 403), (boss, 200, 200), (alice, 200, 302),
    ):  # fmt: skip
        client = client_of(person)
        response = client.get(download)
        assert response.status_code == reads, person
        assert reads != 200 or b"".join(response.streaming_content) == b"x"
        assert client.post(url(request, "massmail_answer"), data).status_code == answers, person
    assert len(outbox) == 1  # the administrator has no account of that name
    page = client_of(bob).get(url(request, "change"))
    assert page.status_code == 200
    assert "Please send an offer." not in page.content.decode().replace(request.text, "", 1)
    assert "massmail-correspondence" not in page.content.decode()
    other = Request.objects.create(ticket="x", subject="x", owner=bob, creation_date=world.TODAY)
    assert client_of(bob).get(reverse("admin:crm_request_massmail_file", args=[other.pk, file.pk])).status_code == 404


def test_access__mailboxes_of_others_cannot_be_opened(alice, bob, carol, boss, stranger, account, server):
    unmarked = world.account(alice, "unmarked", imap_host="127.0.0.1")
    uid, before = arrive(server, mail()), server.connections
    for person, code in ((None, 302), (stranger, 403), (bob, 404), (carol, 404), (boss, 404)):
        client = client_of(person)
        assert client.get(reverse(MAILBOX, args=[account.pk])).status_code == code, person
        assert do_import(client, account, uid).status_code == code, person
    assert client_of(alice).get(reverse(MAILBOX, args=[unmarked.pk])).status_code == 404
    assert client_of(alice).get(reverse(MAILBOX, args=[2**70])).status_code == 404
    assert server.connections == before
    assert "None of your email accounts" in client_of(bob).get(reverse(IMPORT)).content.decode()
    assert client_of(alice).get(reverse(IMPORT)).url == reverse(MAILBOX, args=[account.pk])
    account_of(alice, server, "third")
    page = client_of(alice).get(reverse(IMPORT))
    assert [each.name for each, _url in page.context["accounts"]] == ["second", "third"]


def test_access__posts_need_a_token(alice, account, server):
    request = imported(alice, account, server)
    client = client_of(alice, enforce_csrf_checks=True)
    assert do_import(client, account, arrive(server, mail())).status_code == 403
    assert client.post(url(request, "massmail_answer"), {"text": "x"}).status_code == 403
    assert client_of(alice).get(url(request, "massmail_answer")).status_code == 405


def test_button__for_those_who_may_add_requests(alice, carol, stranger, account):
    address = url(Request, "changelist")
    assert "Import request from email" in client_of(alice).get(address).content.decode()
    viewer = stranger
    viewer.user_permissions.add(Permission.objects.get(codename="view_request"))
    page = client_of(viewer).get(address)
    assert page.status_code == 200
    assert "Import request from email" not in page.content.decode()


def test_download__is_never_opened_by_the_browser(alice, account, server):
    message = mail()
    message.add_attachment("<script>1</script>", subtype="html", filename="page.html")
    request = imported(alice, account, server, message)
    file = CorrespondenceFile.objects.get()
    response = client_of(alice).get(reverse("admin:crm_request_massmail_file", args=[request.pk, file.pk]))
    assert response["Content-Type"] == "application/octet-stream"
    assert response["Content-Disposition"] == 'attachment; filename="page.html"'
    assert response["X-Content-Type-Options"] == "nosniff"
    assert response["Content-Security-Policy"].startswith("sandbox; default-src 'none'")
    assert b"<script>" in b"".join(response.streaming_content)
    default_storage.delete(file.file.name)
    assert client_of(alice).get(response.request["PATH_INFO"]).status_code == 404


def test_panel__constant_number_of_queries(alice, account, server):
    message = mail()
    request = imported(alice, account, server, message)
    client = client_of(alice)
    few = queries(client, url(request, "change"))
    for number in range(6):
        more = answer_to(message["Message-ID"], sender=f"p{number}@customer.example")
        more.add_attachment(b"x", maintype="application", subtype="x", filename="x")
        arrive(server, more)
    poll(account)
    assert queries(client, url(request, "change")) <= few
