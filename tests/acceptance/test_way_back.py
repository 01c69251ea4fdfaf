"""Real bounces, answers and opt-outs, from Postfix through Dovecot into the ledger; and readers that get killed."""

from __future__ import annotations

import datetime as dt
import email
import os
import random
import re
import signal
import smtplib
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from email.message import EmailMessage
from urllib.parse import unquote

import pytest
from django.core.management import call_command
from django.utils import timezone

from massmail.choices import BounceReason, SuppressionReason
from massmail.inbound import run as inbound
from massmail.models import Delivery, InboundMessage, Mailbox, Recipient, Suppression
from massmail.outcomes import progress, returned
from tests import imapd, processes, world
from tests.conftest import unavailable
from tests.inbound_corpus import notification
from tests.mailstack import Stack, mail_stack
from tests.servers import Unavailable, eventually
from tests.unit.test_inbound_hostile import HOSTILE

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def stack() -> Iterator[Stack]:
    try:
        with mail_stack() as running:
            yield running
    except Unavailable as missing:
        unavailable(str(missing))


def account_at(stack: Stack, owner, name: str):
    return world.account(
        owner,
        name,
        from_email=f"{name}@example.test",
        smtp_port=stack.smtp,
        imap_host="127.0.0.1",
        imap_port=stack.imaps,
        imap_security="ssl",
        imap_username=f"{name}@example.test",
        imap_password="secret",
    )


def send(stack: Stack, message: EmailMessage, *, sender: str, to: str) -> None:
    with smtplib.SMTP("127.0.0.1", stack.smtp) as smtp:
        smtp.sendmail(sender, to, message.as_bytes())


def received(stack: Stack, user: str) -> email.message.Message:
    with stack.mailbox(user) as session:
        session.select("INBOX", readonly=True)
        _status, [(_head, raw), *_rest] = session.fetch("1", "(BODY.PEEK[])")
    return email.message_from_bytes(raw)


def answer_to(mail: email.message.Message, sender: str, text: str, **headers: str) -> EmailMessage:
    answer = EmailMessage()
    answer["From"], answer["To"], answer["Subject"] = sender, mail["From"], f"Re: {mail['Subject']}"
    answer["Message-ID"], answer["In-Reply-To"] = f"<{random.random()}@customer.test>", mail["Message-ID"]
    for name, value in headers.items():
        answer[name.replace("_", "-")] = value
    answer.set_content(text)
    return answer


def opt_out(mail: email.message.Message) -> EmailMessage:
    """Return the mail that a mail program writes when somebody presses its unsubscribe button."""
    address, subject = re.search(r"<mailto:([^?>]+)\?subject=([^>]+)>", mail["List-Unsubscribe"]).groups()
    message = EmailMessage()
    message["From"], message["To"] = "somebody@else.test", unquote(address)
    message["Subject"], message["Message-ID"] = unquote(subject), "<opt-out@else.test>"
    return message


@pytest.mark.mailstack
def test_way_back__every_event_counted_once(alice, stack, env, tmp_path, monkeypatch, settings):
    """Good, unknown, full, greylisted and refused addresses; ten polls, and all mail numbered anew in between."""
    monkeypatch.setenv("SSL_CERT_FILE", str(stack.certificate))
    settings.MASSMAIL_POLL_SECONDS = 1
    call_command("massmail_setup", verbosity=0)
    world.settings(emails_per_day=1000)
    account = account_at(stack, alice, "alice")
    at_once = ["nouser", "full", "grey", "spam"]
    later = ["gone@bounce.test", "full@full.test", "spam@spam.test"]
    for address in [f"good{n}@example.test" for n in range(5)] + [f"{n}@example.test" for n in at_once] + later:
        world.contacts(alice, 1, email=address)
    mailing = world.started(alice)
    log = tmp_path / "celery.log"
    with processes.beat(env | {"SSL_CERT_FILE": str(stack.certificate), "MASSMAIL_POLL_SECONDS": "1"}, log):
        worker = processes.worker(env | {"SSL_CERT_FILE": str(stack.certificate)}, log)
        try:
            assert eventually(lambda: Delivery.objects.filter(bounced_at__isnull=False).count() == 3), log.read_text()
            assert eventually(lambda: stack.count("good2@example.test") == 1)
            mail = {n: received(stack, f"good{n}@example.test") for n in range(3)}
            send(stack, opt_out(mail[0]), sender="somebody@else.test", to="alice@example.test")
            reply = answer_to(mail[1], "good1@example.test", "Please call me.")
            send(stack, reply, sender="good1@example.test", to="alice@example.test")
            absence = answer_to(mail[2], "good2@example.test", "Back on Monday.", Auto_Submitted="auto-replied")
            send(stack, absence, sender="", to="alice@example.test")
            assert eventually(
                lambda: (
                    InboundMessage.objects.filter(delivery__isnull=False).count() == 5
                    and Suppression.objects.count() == 3
                )
            ), log.read_text()
        finally:
            worker.stop()
    validities = set()
    for turn in range(10):
        if turn in (3, 6):
            stack.renumber("alice@example.test")
        inbound.poll(account.pk)
        account.refresh_from_db()
        validities.add(account.imap_cursor["folders"]["INBOX"]["validity"])
    assert len(validities) == 3
    check_books(mailing, alice)


def check_books(mailing, owner) -> None:
    def of(address: str) -> Delivery:
        return mailing.deliveries.get(address=address)

    assert Mailbox.objects.get().trouble == ""
    states = {delivery.address: (delivery.status, delivery.reason) for delivery in mailing.deliveries.all()}
    assert states == {
        **{f"good{n}@example.test": ("sent", "") for n in range(5)},
        "nouser@example.test": ("failed", "bad_address"),
        "spam@example.test": ("failed", "policy"),
        "full@example.test": ("queued", ""),
        "grey@example.test": ("queued", ""),
        "gone@bounce.test": ("sent", BounceReason.HARD),
        "full@full.test": ("sent", BounceReason.SOFT),
        "spam@spam.test": ("sent", BounceReason.POLICY),
    }
    assert "does not exist" in of("gone@bounce.test").reply
    assert dict(Suppression.objects.values_list("address", "reason")) == {
        "nouser@example.test": SuppressionReason.BOUNCED,
        "gone@bounce.test": SuppressionReason.BOUNCED,
        "good0@example.test": SuppressionReason.UNSUBSCRIBED,
    }
    assert of("good0@example.test").unsubscribed_at
    assert of("good1@example.test").replied_at
    assert of("good2@example.test").auto_replied_at
    assert list(Recipient.objects.filter(subscribed=False).values_list("addresses", flat=True)) == [
        ["good0@example.test"]
    ]
    found = returned([mailing])[mailing.pk]
    assert (found.bounced, found.replied, found.auto_replied, found.unsubscribed, found.complained) == (3, 1, 1, 1, 0)
    books = progress([mailing], now=timezone.now())[mailing.pk]
    assert (books.sent, books.failed, books.unknown, books.to_go) == (8, 2, 0, 2)


KILLS, BOUNCES = 3, 80


def test_kill__readers_killed_in_the_middle(alice, process_env, settings):
    """kill -9 at random moments: every bounce is stored and counted, once."""
    dice = random.Random(5)
    with imapd.serve() as server:
        account = world.account(
            alice, imap_host="127.0.0.1", imap_port=server.port, imap_security="none", imap_username="anna",
            imap_password="secret",
        )  # fmt: skip
        mailing = delivered(alice, account, BOUNCES)
        for delivery in mailing.deliveries.all():
            server.inbox.add(bounce_of(delivery))
        server.fault = lambda session, line: bool(b"FETCH" in line and time.sleep(0.01))
        command = [sys.executable, "manage.py", "massmail_poll"]
        stored_before = 0
        for _ in range(KILLS):
            reader = subprocess.Popen(command, env=process_env, stdout=subprocess.DEVNULL)
            target = stored_before + dice.randrange(5, 25)
            assert eventually(lambda target=target: InboundMessage.objects.count() >= target)
            os.kill(reader.pid, signal.SIGKILL)
            reader.wait()
            stored_before = InboundMessage.objects.count()
            Mailbox.objects.update(lease_until=timezone.now() - dt.timedelta(seconds=1))  # minutes later
        assert stored_before < BOUNCES
        subprocess.run(command, env=process_env, check=True, stdout=subprocess.DEVNULL)
        Mailbox.objects.update(lease_until=None)
        subprocess.run(command, env=process_env, check=True, stdout=subprocess.DEVNULL)
    assert Delivery.objects.filter(bounced_at__isnull=False).count() == BOUNCES
    assert InboundMessage.objects.filter(judged_at__isnull=False).count() == BOUNCES
    assert Suppression.objects.count() == BOUNCES
    assert returned([mailing])[mailing.pk].bounced == BOUNCES
    assert max(Counter(InboundMessage.objects.values_list("delivery", flat=True)).values()) == 1


def delivered(owner, account, number: int):
    """Return a mailing that has left, as the engine would leave it."""
    world.settings()
    world.contacts(owner, number)
    mailing = world.started(owner)
    for delivery in mailing.deliveries.all():
        Delivery.objects.filter(pk=delivery.pk).update(
            status="sent",
            account=account,
            sending_at=timezone.now(),
            sent_at=timezone.now(),
            message_id=f"<{delivery.pk}.0123456789@acme.example>",
        )
    account.days.create(date=timezone.now().date(), used=number)
    return mailing


def bounce_of(delivery: Delivery) -> bytes:
    raw = notification(
        "Reporting-MTA: dns; mx.acme.example",
        f"Final-Recipient: rfc822; {delivery.address}\nAction: failed\nStatus: 5.1.1\n"
        "Diagnostic-Code: smtp; 550 5.1.1 User unknown",
    )
    raw = raw.replace(b"1700000000.42.abcdef@acme.example", delivery.message_id.strip("<>").encode())
    return raw.replace(b"<answer.", b"<answer.%d." % delivery.pk)


def test_hostile__bad_mail_costs_little_and_holds_nothing_up(alice, process_env):
    """Nested 3,000 deep, subjects of 100 kB, 20 MB without a line end, 8 GB announced: skipped, and under 150 MB."""
    with imapd.serve() as server:
        account = world.account(
            alice, imap_host="127.0.0.1", imap_port=server.port, imap_security="none", imap_username="anna",
            imap_password="secret",
        )  # fmt: skip
        mailing = delivered(alice, account, 2)
        first, last = mailing.deliveries.order_by("pk")
        server.inbox.add(bounce_of(first))
        for make in HOSTILE.values():
            server.inbox.add(make())
        huge = server.inbox.add(b"From: a@b.example\n\nhuge\n")
        server.inbox.add(bounce_of(last))

        def announce(session: imapd.Session, line: bytes) -> bool:
            if b"FETCH %d " % huge not in line:
                return False
            session.say(b"* 1 FETCH (UID %d BODY[]<0> {8589934592}\r\n" % huge + b"x" * (1 << 20))
            return True

        server.fault = announce
        for _ in range(3):
            output = subprocess.check_output([*processes.MEASURED, "massmail_poll"], env=process_env, text=True)
            assert int(output.split()[-1]) < 150 << 10, output
    assert Suppression.objects.count() == 2
    assert server.said(b"FETCH %d " % huge) == 1
    rows = InboundMessage.objects.all()
    assert rows.filter(judged_at=None).count() == 0
    assert rows.filter(facts__has_key="error").count() == 1
    assert rows.count() == len({bytes(make()[: 1 << 16]) for make in HOSTILE.values()}) + 3
    assert Mailbox.objects.get().trouble == ""
