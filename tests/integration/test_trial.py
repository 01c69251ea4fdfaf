"""Test mails: the way they go, what they cost, and what is said when they do not arrive."""

from __future__ import annotations

from email import message_from_bytes, policy
from typing import Any

import pytest

from massmail.choices import Ending, Phase
from massmail.composing import prepare
from massmail.engine import trial
from massmail.engine.trial import addresses_of, send_test
from massmail.exceptions import TrialError
from massmail.models import AccountDay, EmailAccount, Message
from massmail.transport import Reply, TransportError, memory
from tests import world
from tests.adminpages import client_of, said, url
from tests.smtpd import STALL, SMTPServer

pytestmark = pytest.mark.django_db

VALUES = {"first_name": "Ada", "company": "Acme"}


@pytest.fixture(autouse=True)
def outbox() -> Any:
    memory.clear()
    world.settings()
    yield memory.outbox
    memory.clear()


@pytest.fixture
def account(alice: Any) -> EmailAccount:
    return world.account(alice)


def send(by: Any, account: EmailAccount, to: str = "", **message: Any) -> trial.Report:
    prepared = prepare(world.message(account.owner, **message))
    return send_test(prepared, by=by, account=account, to=to or account.from_email, values=VALUES, now=world.MONDAY)


def charged(account: EmailAccount) -> int:
    return sum(AccountDay.objects.filter(account=account, date=world.MONDAY.date()).values_list("used", flat=True))


def answer(phase: Phase, code: int | None, text: str = "") -> Reply:
    return Reply(phase=phase, code=code, text=text)


def test_it_is_what_a_recipient_gets_but_for_a_mark_in_its_head(alice, account, outbox):
    report = send(alice, account)
    (letter,) = outbox
    mail = message_from_bytes(letter.data, policy=policy.default)
    assert report.accepted
    assert (letter.to, mail["To"], mail["From"].addresses[0].addr_spec) == (account.from_email,) * 3
    assert (mail["Subject"], mail["X-Massmail-Test"]) == ("News for Ada", "yes")
    assert "Dear Ada of Acme" in mail.get_body(("html",)).get_content()
    # Nobody's link: pressing it, or a mail program's own button, does nothing.
    assert "https://news.example.com/massmail/u/preview/" in mail["List-Unsubscribe"]


def test_it_counts_against_the_day_and_stops_at_the_limit(alice):
    account = world.account(alice, emails_per_day=2)
    assert send(alice, account).accepted
    assert send(alice, account).accepted
    with pytest.raises(TrialError, match="daily limit"):
        send(alice, account)
    assert charged(account) == 2


def test_only_own_accounts_and_addresses(alice, bob, boss, account, outbox):
    foreign = world.account(bob)
    for person, through, to in [
        (alice, account, "victim@elsewhere.example"),
        (alice, account, foreign.from_email),
        (bob, account, account.from_email),
        (boss, account, account.from_email),
    ]:
        with pytest.raises(TrialError, match="your own"):
            send(person, through, to)
    assert not outbox
    assert not AccountDay.objects.exists()


def test_own_addresses(alice, bob, account):
    main = world.account(alice, "main", main=True)
    world.account(bob)
    assert addresses_of(alice) == ["alice@acme.example", main.from_email, account.from_email]


@pytest.mark.parametrize(
    ("reply", "ending", "expected", "cost"),
    [
        (answer(Phase.RCPT, 452, "4.2.2 full"), Ending.RETRY, "can't take mail now", 0),
        (answer(Phase.RCPT, 550, "5.1.1 unknown"), Ending.REFUSED, "is refused", 0),
        (answer(Phase.DOT, 552, "5.3.4 too big"), Ending.MESSAGE, "refuses this message", 1),
        (answer(Phase.MAIL, 550, "5.4.5 limit"), Ending.LIMIT, "sending limit", 0),
        (TransportError(answer(Phase.AUTH, 535, "5.7.8 no")), Ending.ACCOUNT, "is not accepted", 0),
        (TransportError(answer(Phase.CONNECT, None, "refused")), Ending.SERVER, "can't be reached", 0),
        (TransportError(answer(Phase.DOT, None, "lost")), Ending.UNKNOWN, "did not say", 1),
    ],
)
def test_what_is_said_and_charged_when_it_fails(reply, ending, expected, cost, alice, account):
    memory.replies[account.from_email] = reply
    report = send(alice, account)
    assert (report.ending, report.accepted) == (ending, False)
    assert expected in report.text
    assert (reply.reply if isinstance(reply, TransportError) else reply).text in report.reply
    assert charged(account) == cost
    account.refresh_from_db()
    assert account.hold_reason == ""


def test_every_ending_has_its_words(account):
    for ending in Ending:
        assert "%" not in trial._in_words(ending, account, "a@b.example")


def test_nobody_waits_longer_than_patience(alice, monkeypatch, settings):
    settings.MASSMAIL_TRANSPORT = "massmail.transport.smtp.SMTPConnection"
    settings.MASSMAIL_CLEAR_TEXT_HOSTS = ["127.0.0.1"]
    settings.MASSMAIL_SMTP_TIMEOUT = 3
    monkeypatch.setattr(trial, "PATIENCE", 0.3)
    with SMTPServer(answers={"CONNECT": STALL}) as server:
        server_name = f"127.0.0.1:{server.port}"
        account = world.account(alice, smtp_port=server.port, trusted_servers=[server_name])
        report = send(alice, account)
    assert report.ending is Ending.UNKNOWN
    assert "no answer within" in report.reply
    assert charged(account) == 1


# From the pages -------------------------------------------------------------------------------------------------------


def press(person: Any, thing: Any, account: EmailAccount, /, **data: Any) -> list[str]:
    data = {"account": account.pk, "address": account.from_email} | data
    response = client_of(person).post(url(thing, "test"), data)
    assert response.headers["Location"] == url(thing, "change")
    return said(response)


def test_message_page__as_the_chosen_recipient(alice, account, outbox):
    _first, second = world.contacts(alice, 2)
    (told,) = press(alice, world.message(alice), account, recipient=f"crm.contact:{second.pk}")
    assert told.endswith("The server's words: 250 2.0.0 Kept in memory")
    assert b"Subject: News for First1" in outbox[0].data


def test_message_page__forms_by_hand(alice, bob, account, outbox):
    message, foreign = world.message(alice), world.account(bob)
    for data in ({"account": foreign.pk}, {"address": "victim@elsewhere.example"}, {"account": "x"}):
        assert press(alice, message, account, **data) == [
            "No test mail was sent. Choose one of your accounts and addresses."
        ]
    assert not outbox


def test_message_page__what_can_not_be_composed(alice, account):
    broken = world.message(alice, content="<p>\n{% load x %}")
    (told,) = press(alice, broken, account)
    assert told.startswith("No test mail was sent. Line 2, column 1: The tag {% load %}")


def test_message_page__day_used_up(alice):
    account = world.account(alice, emails_per_day=1)
    message = world.message(alice)
    press(alice, message, account)
    assert "daily limit" in press(alice, message, account)[0]


def test_message_page__without_an_account(alice):
    page = client_of(alice).get(url(world.message(alice), "change")).content.decode()
    assert "It needs an email account of yours" in page
    assert f'href="{url(EmailAccount, "add")}"' in page


def test_mailing_page__what_is_frozen_as_the_chosen_recipient(alice, account, outbox):
    world.contacts(alice, 2)
    mailing = world.started(alice)
    Message.objects.update(subject="Rewritten")
    page = client_of(alice).get(url(mailing, "change") + "?as=person1@alice.example").content.decode()
    assert f'action="{url(mailing, "test")}"' in page
    assert '<input type="hidden" name="as" value="person1@alice.example" form="massmail-test"' in page
    press(alice, mailing, account, **{"as": "person1@alice.example"})
    press(alice, mailing, account)
    assert b"Subject: News for First1" in outbox[0].data
    assert b"Subject: News for First0" in outbox[1].data
    assert not mailing.deliveries.exclude(status="queued").exists()


def test_mailing_page__who_may(alice, bob, carol, boss, account, outbox):
    world.contacts(alice, 1)
    mailing = world.mailing(alice)
    data = {"account": account.pk, "address": account.from_email}
    found = [client_of(person).post(url(mailing, "test"), data).status_code for person in (bob, carol)]
    assert found == [404, 403]
    assert client_of(alice).get(url(mailing, "test")).status_code == 405
    press(boss, mailing, account)  # not through somebody else's account
    assert not outbox
