"""From the mailbox to the ledger: what is read, what it is about, and what follows, each once."""

from __future__ import annotations

import datetime as dt
import email
import itertools
import threading

import pytest
from django.db import connection
from django.urls import reverse

from massmail import tasks
from massmail.choices import BounceReason, SuppressionReason
from massmail.engine import guard, run
from massmail.inbound import mailboxes, unknowns
from massmail.inbound import run as inbound
from massmail.models import Delivery, InboundMessage, Lane, Mailbox, Recipient, Returns, Suppression, Tally
from massmail.outcomes import progress, returned
from massmail.tokens import unsubscribe_mailto
from massmail.transport import memory
from tests import imapd, world
from tests.inbound_corpus import notification

pytestmark = pytest.mark.django_db

NOW = world.MONDAY + dt.timedelta(hours=1)
numbers = itertools.count()


@pytest.fixture
def outbox():
    memory.clear()
    yield memory.outbox
    memory.clear()


@pytest.fixture
def server():
    with imapd.serve(imapd.Box("INBOX"), imapd.Box("Junk", r"\Junk"), imapd.Box("Sent", r"\Sent")) as server:
        yield server


@pytest.fixture
def account(alice, server):
    return world.account(
        alice,
        imap_host="127.0.0.1",
        imap_port=server.port,
        imap_security="none",
        imap_username="anna",
        imap_password="secret",
        trusted_servers=[f"127.0.0.1:{server.port}"],
    )


def sent(owner, number=1, **contacts) -> list[Delivery]:
    """Return the deliveries of a mailing that has left."""
    world.settings()
    world.contacts(owner, number, **contacts)
    mailing = world.started(owner)
    clock = world.clock()
    while accounts := run.tick(clock=clock):
        for key in accounts:
            run.run_lane(key, clock=clock)
    return list(mailing.deliveries.order_by("pk"))


def poll(account, now=NOW) -> int:
    return inbound.poll(account.pk, clock=lambda: now)


def bounce(delivery: Delivery, status="5.1.1", action="failed", words="550 5.1.1 User unknown", **more) -> bytes:
    """Return what Postfix sends back, with the original's headers; `to` is the address that failed."""
    address = more.pop("to", delivery.address)
    raw = notification(
        "Reporting-MTA: dns; mx.acme.example",
        f"Final-Recipient: rfc822; {address}\nAction: {action}\nStatus: {status}\nDiagnostic-Code: smtp; {words}",
        **more,
    )
    raw = raw.replace(b"<1700000000.42.abcdef@acme.example>", delivery.message_id.encode())
    raw = raw.replace(b"1700000000.42.abcdef@acme.example", delivery.message_id.strip("<>").encode())
    return raw.replace(b"<answer.", b"<answer.%d." % next(numbers))


def answer(delivery: Delivery, *headers: str, body="Yes, please.", sender="") -> bytes:
    head = [
        f"From: {sender or delivery.address}",
        "Subject: Re: News",
        f"Message-ID: <reply.{next(numbers)}@customer.example>",
        f"In-Reply-To: {delivery.message_id}",
        "Date: Mon, 23 Nov 2026 10:30:00 +0100",
        *headers,
    ]
    return ("\n".join(head) + f"\n\n{body}\n").encode()


def complaint(delivery: Delivery) -> bytes:
    return (
        f"From: <fbl@provider.example>\nSubject: FW: News\nMessage-ID: <fbl.{next(numbers)}@provider.example>\n"
        'MIME-Version: 1.0\nContent-Type: multipart/report; report-type=feedback-report; boundary="b"\n\n'
        "--b\nContent-Type: text/plain\n\nThis is an email abuse report.\n"
        "--b\nContent-Type: message/feedback-report\n\nFeedback-Type: abuse\nUser-Agent: X/1\nVersion: 1\n"
        f"--b\nContent-Type: message/rfc822\n\nFrom: a@b.example\nMessage-ID: {delivery.message_id}\n\ntext\n--b--\n"
    ).encode()


# What follows ---------------------------------------------------------------------------------------------------------


def test_bounce__hard_suppresses_the_address(alice, account, server, outbox):
    [delivery] = sent(alice)
    server.inbox.add(bounce(delivery), NOW)
    assert poll(account) == 1
    delivery.refresh_from_db()
    assert (delivery.status, delivery.reason, delivery.bounced_at) == ("sent", BounceReason.HARD, NOW)
    assert "User unknown" in delivery.reply
    [suppression] = Suppression.objects.all()
    assert (suppression.address, suppression.reason) == (delivery.address, SuppressionReason.BOUNCED)
    assert delivery.message_id in suppression.source
    [row] = InboundMessage.objects.all()
    assert (row.kind, row.delivery, row.facts["status"]) == ("bounce", delivery, "5.1.1")
    assert bytes(row.raw)  # the evidence
    assert returned([delivery.mailing])[delivery.mailing_id].bounced == 1


def test_bounce__counted_once_whatever_is_heard(alice, account, server, outbox):
    """Ten polls, the mail numbered anew, moved to the junk folder, and a second report of the same bounce."""
    [delivery] = sent(alice)
    server.inbox.add(bounce(delivery), NOW)
    for turn in range(10):
        poll(account, NOW + dt.timedelta(minutes=turn))
        if turn == 3:
            server.inbox.renumber()
        if turn == 5:
            server.boxes["Junk"].add(server.inbox.mails.pop().data, NOW)
        if turn == 7:
            server.inbox.add(bounce(delivery), NOW)
    assert returned([delivery.mailing])[delivery.mailing_id].bounced == 1
    assert Returns.objects.get().bad == 1
    assert Suppression.objects.count() == 1
    assert InboundMessage.objects.count() == 2
    assert server.said(b"FETCH") == 4  # read once, once after the renumbering, once as junk, and the second report


def test_bounce__in_the_junk_folder(alice, account, server, outbox):
    [delivery] = sent(alice)
    server.boxes["Junk"].add(bounce(delivery), NOW)
    poll(account)
    assert Suppression.objects.filter(address=delivery.address).exists()


@pytest.mark.parametrize(
    ("status", "words", "reason"),
    [
        ("5.2.2", "552 5.2.2 Mailbox full", BounceReason.SOFT),
        ("5.7.1", "554 5.7.1 Message rejected as spam", BounceReason.POLICY),
        ("5.3.4", "552 5.3.4 Message too big", BounceReason.CONTENT),
    ],
)
def test_bounce__that_says_nothing_of_the_address_suppresses_nothing(
    alice, account, server, outbox, status, words, reason
):
    [delivery] = sent(alice)
    server.inbox.add(bounce(delivery, status=status, words=words), NOW)
    poll(account)
    delivery.refresh_from_db()
    assert (delivery.bounced_at, delivery.reason) == (NOW, reason)
    assert not Suppression.objects.exists()


def test_bounce__of_one_behind_an_alias_suppresses_nothing(alice, account, server, outbox):
    """info@ leads to five people, one of whom has left: the others go on reading."""
    [delivery] = sent(alice)
    server.inbox.add(bounce(delivery, to="gone@customer.example"), NOW)
    poll(account)
    delivery.refresh_from_db()
    assert delivery.bounced_at
    assert not Suppression.objects.exists()


def test_bounce__delayed_is_no_bounce(alice, account, server, outbox):
    [delivery] = sent(alice)
    server.inbox.add(bounce(delivery, status="4.4.1", action="delayed", words="451 4.4.1 timed out"), NOW)
    poll(account)
    delivery.refresh_from_db()
    assert delivery.bounced_at is None
    assert InboundMessage.objects.get().delivery == delivery


@pytest.mark.parametrize(("days", "given_up"), [([0, 3, 8], True), ([0, 1, 2], False), ([0, 8], False)])
def test_bounce__soft_ones_add_up(alice, account, server, outbox, days, given_up):
    """Three in a row over a week and the address gets no more mail."""
    deliveries = [sent(alice)[0]]
    for _ in days[1:]:
        deliveries.append(world_again(alice))
    for day, delivery in zip(days, deliveries, strict=True):
        moment = NOW + dt.timedelta(days=day)
        Delivery.objects.filter(pk=delivery.pk).update(sending_at=moment, sent_at=moment)
        server.inbox.add(bounce(delivery, status="5.2.2", words="552 5.2.2 Mailbox full"), moment)
        poll(account, moment)
    reasons = list(Suppression.objects.values_list("reason", flat=True))
    assert reasons == ([SuppressionReason.UNREACHABLE] if given_up else [])


def world_again(owner) -> Delivery:
    """Return the delivery of another mailing to the same people, sent."""
    mailing = world.started(owner)
    clock = world.clock()
    while accounts := run.tick(clock=clock):
        for key in accounts:
            run.run_lane(key, clock=clock)
    return mailing.deliveries.get()


def test_bounce__one_mail_that_arrives_breaks_the_row(alice, account, server, outbox):
    first = sent(alice)[0]
    deliveries = [first, *(world_again(alice) for _ in range(3))]
    for number, delivery in enumerate(deliveries):
        moment = NOW + dt.timedelta(days=4 * number)
        Delivery.objects.filter(pk=delivery.pk).update(sending_at=moment, sent_at=moment)
        if number != 1:
            server.inbox.add(bounce(delivery, status="5.2.2", words="552 5.2.2 Mailbox full"), moment)
        poll(account, moment)
    assert not Suppression.objects.exists()


def test_complaint__suppresses_at_once(alice, account, server, outbox):
    [delivery] = sent(alice)
    server.inbox.add(complaint(delivery), NOW)
    poll(account)
    delivery.refresh_from_db()
    assert delivery.complained_at == NOW
    assert Suppression.objects.get().reason == SuppressionReason.COMPLAINT
    assert returned([delivery.mailing])[delivery.mailing_id].complained == 1


def test_reply__is_noted_and_stays_in_the_mailbox(alice, account, server, outbox):
    [delivery] = sent(alice)
    server.inbox.add(answer(delivery), NOW)
    poll(account)
    delivery.refresh_from_db()
    assert delivery.replied_at == NOW
    row = InboundMessage.objects.get()
    assert (row.kind, row.from_address, bytes(row.raw)) == ("reply", delivery.address, b"")
    assert not Suppression.objects.exists()


def test_auto_reply__a_storm_has_no_effect(alice, account, server, outbox):
    [delivery] = sent(alice)
    for _ in range(30):
        server.inbox.add(answer(delivery, "Auto-Submitted: auto-replied"), NOW)
    before = len(outbox)
    poll(account)
    delivery.refresh_from_db()
    assert delivery.auto_replied_at == NOW
    assert delivery.replied_at is None
    found = returned([delivery.mailing])[delivery.mailing_id]
    assert (found.auto_replied, found.replied) == (1, 0)
    assert len(outbox) == before


def test_own_copy__is_no_reply(alice, account, server, outbox):
    [delivery] = sent(alice)
    server.inbox.add(answer(delivery, sender=account.from_email), NOW)
    poll(account)
    delivery.refresh_from_db()
    assert delivery.replied_at is None


# Unsubscribing by mail ------------------------------------------------------------------------------------------------


def opt_out(subject: str) -> bytes:
    return (
        f"From: whoever@else.example\nSubject: {subject}\nMessage-ID: <{next(numbers)}@else.example>\n\n\n"
    ).encode()


def test_unsubscribe__by_the_token_of_the_header(alice, account, server, outbox):
    [delivery] = sent(alice)
    token = Recipient.objects.get().token
    server.inbox.add(opt_out(f"unsubscribe {token}"), NOW)
    poll(account)
    delivery.refresh_from_db()
    assert delivery.unsubscribed_at
    suppression = Suppression.objects.get()
    assert (suppression.address, suppression.reason) == (delivery.address, SuppressionReason.UNSUBSCRIBED)
    assert "mailto" in suppression.source
    assert "whoever@else.example" in suppression.source
    assert not Recipient.objects.get().subscribed
    assert returned([delivery.mailing])[delivery.mailing_id].unsubscribed == 1


@pytest.mark.parametrize("subject", ["unsubscribe", "unsubscribe " + "x" * 22, "unsubscribe preview"])
def test_unsubscribe__nobody_without_a_token(alice, account, server, outbox, subject):
    sent(alice)
    server.inbox.add(opt_out(subject), NOW)
    poll(account)
    assert not Suppression.objects.exists()
    assert Recipient.objects.get().subscribed


def test_unsubscribe__the_header_names_a_mailbox_that_is_read(alice, account, server, outbox):
    sent(alice)
    header = email.message_from_bytes(outbox[0].data)["List-Unsubscribe"]
    token = Recipient.objects.get().token
    assert f"<mailto:{account.from_email}?subject=unsubscribe%20{token}>" in header
    account.imap_host = ""
    account.save()
    world_again(alice)
    assert "mailto" not in email.message_from_bytes(outbox[1].data)["List-Unsubscribe"]


@pytest.mark.parametrize(
    ("address", "position", "uri"),
    [
        ("a+b@c.example", 0, "mailto:a+b@c.example?subject=unsubscribe%20t"),
        ("a&b#?@c.example", 2, "mailto:a%26b%23%3F@c.example?subject=unsubscribe%20t.2"),
    ],
)
def test_unsubscribe_mailto(address, position, uri):
    assert unsubscribe_mailto(address, "t", position) == uri


# Whose mail it is -----------------------------------------------------------------------------------------------------


def test_match__bounce_of_mail_never_sent(alice, account, server, outbox):
    """A forged bounce, for an address that this account has written to: it names a message that is not ours."""
    [delivery] = sent(alice)
    forged = bounce(delivery).replace(delivery.message_id.strip("<>").encode(), b"forged@acme.example")
    server.inbox.add(forged, NOW)
    stranger = bounce(delivery, to="never@written.example")
    server.inbox.add(stranger.replace(delivery.message_id.strip("<>").encode(), b"x@y.example"), NOW)
    poll(account)
    delivery.refresh_from_db()
    assert delivery.bounced_at is None
    assert not Suppression.objects.exists()
    row = InboundMessage.objects.first()
    assert (row.delivery, bytes(row.raw), row.from_address, row.subject) == (None, b"", "", "")


def test_match__bounce_in_another_accounts_mailbox(alice, bob, account, server, outbox):
    [delivery] = sent(alice)
    other = world.account(
        bob, "bobs", imap_host="127.0.0.1", imap_port=server.port, imap_security="none", imap_username="bob",
        imap_password="secret", trusted_servers=account.trusted_servers,
    )  # fmt: skip
    poll(other)
    server.inbox.add(bounce(delivery), NOW)
    server.inbox.add(answer(delivery), NOW)
    poll(other)
    delivery.refresh_from_db()
    assert (delivery.bounced_at, delivery.replied_at) == (None, None)
    assert not Suppression.objects.exists()


def test_match__reply_to_another_account_of_the_owner(alice, account, server, outbox):
    """The address in Reply-To may be another account's."""
    [delivery] = sent(alice)
    Delivery.objects.update(account=world.account(alice, "third"))
    server.inbox.add(answer(delivery), NOW)
    server.inbox.add(bounce(delivery), NOW)
    poll(account)
    delivery.refresh_from_db()
    assert delivery.replied_at
    assert delivery.bounced_at is None


def test_match__by_our_own_header_where_the_message_id_was_replaced(alice, account, server, outbox):
    [delivery] = sent(alice)
    raw = bounce(delivery).replace(b"Message-ID: " + delivery.message_id.encode(), b"Message-ID: <new@relay.example>")
    assert b"X-Massmail-ID" in raw
    server.inbox.add(raw, NOW)
    poll(account)
    delivery.refresh_from_db()
    assert delivery.bounced_at


def nameless(delivery: Delivery) -> bytes:
    return (
        f"From: MAILER-DAEMON@mx.example\nSubject: failure notice\nMessage-ID: <{next(numbers)}@mx.example>\n\n"
        f"Hi. This is the qmail-send program at mx.example.\n\n<{delivery.address}>:\n550 5.1.1 User unknown\n"
    ).encode()


def test_match__by_the_recipient_where_no_message_is_named(alice, account, server, outbox):
    [delivery] = sent(alice)
    server.inbox.add(nameless(delivery), NOW)
    poll(account)
    delivery.refresh_from_db()
    assert delivery.bounced_at


def test_match__by_the_recipient_only_for_days(alice, account, server, outbox):
    [delivery] = sent(alice)
    late = NOW + dt.timedelta(days=20)
    server.inbox.add(nameless(delivery), late)
    poll(account, late)
    delivery.refresh_from_db()
    assert delivery.bounced_at is None


def test_match__never_by_the_subject(alice, account, server, outbox):
    [delivery] = sent(alice)
    subject = f"Re: News for First0 {delivery.message_id[:6]}"
    server.inbox.add(f"From: {delivery.address}\nSubject: {subject}\n\nHello\n".encode(), NOW)
    poll(account)
    delivery.refresh_from_db()
    assert delivery.replied_at is None


def test_match__a_delivery_under_way_is_settled_first(alice, account, server, outbox):
    [delivery] = sent(alice)
    Delivery.objects.update(status="sending", sent_at=None)
    server.inbox.add(bounce(delivery), NOW)
    for _ in range(5):
        poll(account)
    assert not Suppression.objects.exists()
    Delivery.objects.update(status="sent", sent_at=NOW)
    poll(account)
    assert Suppression.objects.count() == 1


# Reading --------------------------------------------------------------------------------------------------------------


def test_poll__begins_where_the_account_began_to_send(alice, account, server, outbox):
    long_ago = server.inbox.add(b"From: a@b.example\n\nold\n", NOW - dt.timedelta(days=20))
    poll(account, NOW - dt.timedelta(days=1))
    assert not server.said(b"FETCH")
    [delivery] = sent(alice)
    account.imap_cursor = {}
    account.save()
    server.inbox.add(bounce(delivery), NOW)
    poll(account)
    fetched = [line for line in server.commands if b"FETCH" in line]
    assert len(fetched) == 1
    assert b"FETCH %d " % long_ago not in fetched[0]
    assert Suppression.objects.count() == 1


def test_poll__another_mailbox_is_read_from_its_own_beginning(alice, account, server, outbox):
    [delivery] = sent(alice)
    poll(account)
    server.inbox.add(bounce(delivery), NOW)
    account.refresh_from_db()
    account.imap_cursor["folders"]["INBOX"]["next"] = 1000
    account.imap_username = "other"
    account.save()
    poll(account)
    assert Suppression.objects.count() == 1


def fetch_fault(*uids: int, answer: bytes) -> imapd.Fault:
    def fault(session, line):
        if not any(b"FETCH %d " % uid in line for uid in uids):
            return False
        if not answer:
            raise imapd.HangUp
        session.say(answer.replace(b"%t", line.split()[0]))
        return True

    return fault


@pytest.mark.parametrize(
    "broken",
    [b"%t BAD no\r\n", b"", b"* 1 FETCH (UID 1 BODY[]<0> {8589934592}\r\nxx", b"* BYE\r\n", b"nonsense\r\n"],
    ids=["bad", "hangs up", "8 GB", "bye", "nonsense"],
)
def test_poll__a_bad_mail_is_skipped_once_and_for_all(alice, account, server, outbox, broken):
    [delivery] = sent(alice)
    poll(account)
    bad = server.inbox.add(b"From: a@b.example\n\nbad\n", NOW)
    server.inbox.add(bounce(delivery), NOW)
    server.fault = fetch_fault(bad, answer=broken)
    for turn in range(8):
        poll(account, NOW + dt.timedelta(hours=turn))
    assert Suppression.objects.count() == 1
    assert InboundMessage.objects.exclude(facts={}).filter(facts__has_key="error").count() == 1
    tried = server.said(b"FETCH %d " % bad)
    assert tried <= 3
    poll(account, NOW + dt.timedelta(days=2))
    assert server.said(b"FETCH %d " % bad) == tried
    mailbox = Mailbox.objects.get()
    assert (mailbox.trouble, mailbox.failures) == ("", 0)


def test_poll__a_junk_folder_that_can_not_be_opened_is_no_trouble(alice, account, server, outbox):
    [delivery] = sent(alice)
    server.inbox.add(bounce(delivery), NOW)
    server.fault = lambda session, line: b"Junk" in line and not session.say(line.split()[0] + b" NO not this one\r\n")
    assert poll(account) == 1
    assert Mailbox.objects.get().trouble == ""
    assert Suppression.objects.count() == 1


def test_poll__a_mail_that_breaks_the_judge_is_left_alone(alice, account, server, outbox, monkeypatch):
    [delivery] = sent(alice)
    server.inbox.add(b"From: a@b.example\nSubject: explode\n\nbad\n", NOW)
    server.inbox.add(bounce(delivery), NOW)

    from massmail.inbound import judging

    classify, calls = judging.classify, []

    def exploding(raw):
        if b"explode" in raw:
            calls.append(raw)
            raise RuntimeError
        return classify(raw)

    monkeypatch.setattr(judging, "classify", exploding)
    for _ in range(6):
        poll(account)
    assert Suppression.objects.count() == 1
    assert len(calls) == judging.TRIES
    assert not InboundMessage.objects.filter(judged_at=None)


def test_poll__killed_between_storing_and_judging(alice, account, server, outbox, monkeypatch):
    """What is stored is judged by whoever comes next, and what was judged is not judged again."""
    [delivery] = sent(alice)
    server.inbox.add(bounce(delivery), NOW)
    with monkeypatch.context() as patch:
        patch.setattr("massmail.inbound.judging.judge_all", lambda *a, **k: 0)
        poll(account)
    assert not Suppression.objects.exists()
    for _ in range(3):
        poll(account)
    assert Suppression.objects.count() == 1
    assert returned([delivery.mailing])[delivery.mailing_id].bounced == 1


def test_poll__one_reader_at_a_time(alice, account, server, outbox):
    sent(alice)
    reader = mailboxes.acquire(account, now=NOW)
    assert reader is not None
    assert mailboxes.acquire(account, now=NOW) is None
    assert poll(account) == 0
    assert not server.connections
    assert inbound.due(clock=lambda: NOW) == []
    reader.release()
    assert inbound.due(clock=lambda: NOW) == [account.pk]


@pytest.mark.django_db(transaction=True)
def test_poll__two_at_once_count_nothing_twice(alice, account, server, outbox, monkeypatch):
    """The lease only saves work: where it ran out under a slow reader, the database keeps the books right."""
    deliveries = sent(alice, 8)
    for delivery in deliveries:
        server.inbox.add(bounce(delivery), NOW)
    mailbox = Mailbox.objects.create(account=account)
    monkeypatch.setattr(mailboxes, "acquire", lambda account, now: mailboxes.Reader(mailbox, ""))
    barrier, stored = threading.Barrier(2), []

    def read():
        try:
            barrier.wait()
            stored.append(poll(account))
        finally:
            connection.close()

    threads = [threading.Thread(target=read) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(stored) == 2
    assert InboundMessage.objects.filter(judged_at__isnull=False).count() == 8
    assert returned([deliveries[0].mailing])[deliveries[0].mailing_id].bounced == 8
    assert Suppression.objects.count() == 8


def test_poll__trouble_is_shown_and_rests(alice, account, server, outbox):
    """Longer each time after a refused login, since providers lock accounts; sending goes on."""
    server.password = "other"
    poll(account)
    mailbox = Mailbox.objects.get()
    assert "wrong password" in mailbox.trouble
    assert mailbox.next_at == NOW + dt.timedelta(hours=1)
    trouble = mailboxes.troubles([account])[account.pk]
    assert "wrong password" in trouble.text
    assert "password" in trouble.remedy
    assert inbound.due(clock=lambda: NOW + dt.timedelta(minutes=30)) == []
    later = NOW + dt.timedelta(hours=2)
    poll(account, later)
    mailbox.refresh_from_db()
    assert mailbox.next_at == later + dt.timedelta(hours=4)
    server.password = "secret"
    mailboxes.try_again(account)
    poll(account, later)
    mailbox.refresh_from_db()
    assert (mailbox.trouble, mailbox.failures, mailbox.next_at, mailbox.polled_at) == ("", 0, None, later)
    [delivery] = sent(alice)
    assert delivery.status == "sent"


def test_poll__trouble_stands_on_the_accounts_pages(alice, account, server, outbox, client):
    server.password = "other"
    poll(account)
    client.force_login(alice)
    for page in ("changelist", "change"):
        arguments = [account.pk] if page == "change" else []
        html = client.get(reverse(f"admin:massmail_emailaccount_{page}", args=arguments)).content.decode()
        assert "Incoming mail can&#x27;t be read" in html or "Incoming mail can't be read" in html
        assert "wrong password" in html
    form = {
        "name": account.name, "from_email": account.from_email, "massmail": "on", "smtp_host": "127.0.0.1",
        "smtp_port": "2525", "smtp_security": "none", "imap_host": "127.0.0.1", "imap_port": str(server.port),
        "imap_security": "none", "imap_username": "anna", "new_imap_password": "other", "lanes": "1",
        "ramp_step": "10",
    }  # fmt: skip
    response = client.post(reverse("admin:massmail_emailaccount_change", args=[account.pk]), form)
    assert response.status_code == 302, response.context["errors"]
    assert inbound.due(clock=lambda: NOW) == [account.pk]


def test_task__rings_for_each_account_that_is_due(alice, account, server, outbox, monkeypatch):
    rung = []
    monkeypatch.setattr(tasks.poll_account, "apply_async", lambda **message: rung.append(message))
    tasks.poll()
    assert rung == [{"args": (account.pk,), "expires": 120}]
    tasks.poll_account(account.pk)
    assert Mailbox.objects.get().polled_at


def test_due__who_sends_or_sent_or_imports(alice, bob, account, server, outbox):
    def is_due():
        return account.pk in inbound.due(clock=lambda: NOW)

    world.account(bob, "no_imap")
    assert inbound.due(clock=lambda: NOW) == [account.pk]
    account.massmail = False
    account.save()
    assert not is_due()
    account.do_import = True
    account.save()
    assert is_due()


def test_due__bounces_come_after_the_account_is_switched_off(alice, account, server, outbox):
    sent(alice)
    account.massmail = False
    account.save()
    assert inbound.due(clock=lambda: NOW) == [account.pk]


# Unknown --------------------------------------------------------------------------------------------------------------


def doubtful(owner, number=1) -> list[Delivery]:
    """Return deliveries of which nobody knows whether the server took them."""
    deliveries = sent(owner, number)
    for delivery in deliveries:
        Delivery.objects.filter(pk=delivery.pk).update(status="unknown", reason="no_answer", sent_at=None, reply="")
        Tally.objects.filter(mailing=delivery.mailing_id).update(sent=0, unknown=number)
        delivery.refresh_from_db()
    return deliveries


def test_unknown__found_in_the_folder_of_sent_mail(alice, account, server, outbox):
    [delivery] = doubtful(alice)
    server.boxes["Sent"].add(f"Message-ID: {delivery.message_id}\n\nnews\n".encode(), NOW)
    poll(account)
    delivery.refresh_from_db()
    assert (delivery.status, delivery.reason, delivery.sent_at) == ("sent", "", delivery.sending_at)
    assert "sent mail" in delivery.reply
    books = progress([delivery.mailing], now=NOW)[delivery.mailing_id]
    assert (books.sent, books.unknown) == (1, 0)
    assert not server.said(b"APPEND")


@pytest.mark.parametrize("make", [bounce, answer, complaint])
def test_unknown__settled_by_what_comes_back(alice, account, server, outbox, make):
    [delivery] = doubtful(alice)
    server.inbox.add(make(delivery), NOW)
    poll(account)
    delivery.refresh_from_db()
    assert delivery.status == "sent"
    books = progress([delivery.mailing], now=NOW)[delivery.mailing_id]
    assert (books.sent, books.unknown) == (1, 0)


def test_unknown__not_found_where_the_provider_files_what_it_sends(alice, account, server, outbox):
    first, second = doubtful(alice, 2)
    server.boxes["Sent"].add(f"Message-ID: {first.message_id}\n\nnews\n".encode(), NOW)
    assert "will be looked up" in unknowns.advice([second])[second.pk]
    poll(account)
    second.refresh_from_db()
    assert second.status == "unknown"
    assert "most likely it was never sent" in unknowns.advice([second])[second.pk]


def test_unknown__provider_that_files_nothing(alice, account, server, outbox, django_assert_num_queries):
    [delivery] = doubtful(alice)
    poll(account)
    with django_assert_num_queries(1):
        assert "does not file" in unknowns.advice([delivery])[delivery.pk]
    before = server.said(b"HEADER")
    poll(account, NOW + dt.timedelta(minutes=2))
    assert server.said(b"HEADER") == before  # not at every poll


def test_unknown__without_imap_or_account(alice, account, server, outbox):
    [delivery] = doubtful(alice)
    account.imap_host = ""
    account.save()
    assert "no IMAP server" in unknowns.advice([delivery])[delivery.pk]
    delivery.account_id = None
    assert "gone" in unknowns.advice([delivery])[delivery.pk]


# The guard ------------------------------------------------------------------------------------------------------------


def under_way(owner, account, number=60):
    """Return a mailing of which some mails have left and more are to come."""
    world.settings(limit_sample=50, bounce_limit=5)
    account.emails_per_day = number
    account.save()
    world.contacts(owner, number + 20)
    mailing = world.started(owner)
    clock = world.clock()
    run.tick(clock=clock)
    run.run_lane(account.pk, clock=clock)
    return mailing, list(mailing.deliveries.filter(status="sent").order_by("pk"))


def test_guard__too_many_bounces_pause_the_mailing(alice, account, server, outbox):
    mailing, deliveries = under_way(alice, account)
    assert len(deliveries) == 60
    for delivery in deliveries[:3]:
        server.inbox.add(bounce(delivery), NOW)
    poll(account)
    run.tick(clock=lambda: NOW)
    mailing.refresh_from_db()
    assert mailing.status == "active"  # 3 of 60 are exactly 5 %
    server.inbox.add(bounce(deliveries[3]), NOW)
    poll(account)
    run.tick(clock=lambda: NOW)
    mailing.refresh_from_db()
    assert mailing.status == "paused"
    assert mailing.pause_reason.startswith("4 of 60 mails could not be delivered, more than the limit of 5 %.")
    assert mailing.audit.filter(action="paused", by=None, text=mailing.pause_reason).exists()


def test_guard__resumed_it_judges_what_is_new(alice, account, server, outbox):
    from massmail.engine import lifecycle

    mailing, deliveries = under_way(alice, account)
    for delivery in deliveries[:10]:
        server.inbox.add(bounce(delivery), NOW)
    poll(account)
    run.tick(clock=lambda: NOW)
    lifecycle.resume(mailing, by=alice)
    for delivery in deliveries[10:20]:  # they come late, and are known by now
        server.inbox.add(bounce(delivery), NOW)
    run.tick(clock=lambda: NOW)
    poll(account)
    run.tick(clock=lambda: NOW)
    mailing.refresh_from_db()
    assert mailing.status == "active"
    assert Returns.objects.get().bounced == 20
    # What is sent from now on counts again.
    account.emails_per_day = 75
    account.save()
    later = NOW + dt.timedelta(minutes=5)
    Lane.objects.update(next_at=None)
    run.run_lane(account.pk, clock=lambda: later)
    fresh = list(mailing.deliveries.filter(status="sent", sending_at__gte=later))
    assert len(fresh) == 15
    world.settings(limit_sample=15)
    for delivery in fresh[:3]:
        server.inbox.add(bounce(delivery), later)
    poll(account, later)
    run.tick(clock=lambda: later)
    mailing.refresh_from_db()
    assert mailing.pause_reason.startswith("3 of 15 mails")


def test_guard__refused_while_it_was_sent_counts_too(alice, account, server, outbox):
    from massmail.choices import Phase
    from massmail.transport import Reply

    for number in range(5):
        reply = Reply(phase=Phase.RCPT, code=550, text="5.1.1 User unknown")
        memory.replies[f"person{number}@alice.example"] = reply
    mailing, _deliveries = under_way(alice, account)
    run.tick(clock=lambda: NOW)
    mailing.refresh_from_db()
    assert mailing.pause_reason.startswith("5 of 65 mails could not be delivered")


@pytest.mark.parametrize(
    ("mails", "undeliverable", "complaints", "objects"),
    [
        (49, 49, 49, False),
        (60, 2, 2, False),
        (60, 4, 0, True),
        (100, 5, 0, False),
        (1000, 0, 3, False),
        (999, 0, 3, True),
    ],
)
def test_objection__limits_and_floors(mails, undeliverable, complaints, objects):
    settings = world.settings()
    figures = guard.Figures(mails=mails, undeliverable=undeliverable, complaints=complaints)
    assert bool(guard.objection(figures, settings)) is objects
    settings.bounce_limit = settings.complaint_limit = 0
    assert not guard.objection(figures, settings)


def test_guard__one_query_where_nothing_is_wrong(alice, account, outbox, django_assert_num_queries):
    settings = world.settings()
    with django_assert_num_queries(1):
        assert guard.stand_guard(settings, now=NOW) == 0


def test_returned__one_query(alice, account, server, outbox, django_assert_num_queries):
    [delivery] = sent(alice)
    mailings = [delivery.mailing, world.mailing(alice)]
    with django_assert_num_queries(1):
        assert [found.bounced for found in returned(mailings).values()] == [0, 0]
