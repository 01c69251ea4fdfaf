"""Deliverability: of accounts, by the DNS and a mail to themselves, and of the domains that recipients are at."""

from __future__ import annotations

import datetime as dt
import html
from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from example_project.crm.models import Contact
from massmail import tasks
from massmail.choices import DeliveryStatus, Exclusion, HoldReason, Light, MailDomain, Phase
from massmail.engine import candidates, lifecycle
from massmail.engine.checkup import checking, domains, selftest
from massmail.engine.checkup.standing import standings
from massmail.engine.standalone import run
from massmail.exceptions import LifecycleError, TrialError
from massmail.models import (
    AccountDay,
    AuditEntry,
    Checkup,
    Delivery,
    DomainSurvey,
    EmailAccount,
    Mailing,
    RecipientDomain,
)
from massmail.transport import Reply, memory
from tests import imapd, world
from tests.adminpages import client_of, queries, said, submit, url
from tests.domains import HEALTHY
from tests.nameserver import SERVFAIL, SILENT, TRUNCATED
from tests.unit.test_deliverability_mail import PASS, signature

pytestmark = pytest.mark.django_db

NOW = world.MONDAY
MINUTE = dt.timedelta(minutes=1)
THE_WORLD = {"com": {"NS": ["a.gtld.example."]}}


@pytest.fixture(autouse=True)
def outbox():
    memory.clear()
    world.settings()
    yield memory.outbox
    memory.clear()


@pytest.fixture
def server():
    with imapd.serve(imapd.Box("INBOX"), imapd.Box("Junk", r"\Junk")) as server:
        yield server


@pytest.fixture
def account(alice):
    """An account at Google, of a domain with everything in order as far as `healthy` zones go."""
    return world.account(alice, "office", from_email="ann@acme.example", smtp_host="smtp.gmail.com")


@pytest.fixture
def own(alice, server):
    """An account that can read what it sends to itself."""
    place = {"imap_host": "127.0.0.1", "imap_port": server.port, "imap_security": "none"}
    trusted = [f"127.0.0.1:{server.port}"]
    login = {"imap_username": "ann", "imap_password": "secret", "trusted_servers": trusted}
    return world.account(alice, "own", from_email="ann@acme.example", **place, **login)


@pytest.fixture
def healthy(names):
    names.zones = HEALTHY | THE_WORLD
    return names


def page_of(client: Any, account: EmailAccount) -> str:
    return html.unescape(client.get(url(account, "deliverability")).content.decode())


def press(client: Any, account: EmailAccount, button: str) -> Any:
    return client.post(url(account, f"deliverability_{button}"))


def light(account: EmailAccount) -> Light:
    return standings([EmailAccount.objects.get(pk=account.pk)])[account.pk].light


def codes(account: EmailAccount) -> set[str]:
    return {each.code for each in standings([account])[account.pk].findings}


# The page and the DNS -------------------------------------------------------------------------------------------------


def test_page__asks_nobody_until_the_button_is_pressed(alice, account, healthy):
    client = client_of(alice)
    assert "Nothing was looked at yet." in page_of(client, account)
    assert "Not checked" in client.get(url(EmailAccount, "changelist")).content.decode()
    assert healthy.asked == []
    assert press(client, account, "check").status_code == 302
    asked = len(healthy.asked)
    assert asked > 5
    page = page_of(client, account)
    assert "v=spf1 include:_spf.google.com ip4:1.2.3.4 ~all" in page
    assert "A guess: there is a key" in page
    assert light(account) == Light.GREEN
    for address in (url(EmailAccount, "changelist"), url(account, "change")):
        assert "massmail-light-green" in client.get(address).content.decode()
    assert len(healthy.asked) == asked


@pytest.mark.parametrize(
    ("changes", "expected", "words"),
    [
        ({}, Light.GREEN, "A guess: there is a key at s1._domainkey.acme.example"),
        ({"s1._domainkey.acme.example": {}}, Light.UNKNOWN, "no usable key at the usual names"),
        ({"_dmarc.acme.example": {"TXT": []}}, Light.AMBER, "v=DMARC1; p=none; rua=mailto:dmarc@acme.example"),
        ({"acme.example": {"MX": ["10 mx.acme.example."]}}, Light.RED, "v=spf1 include:_spf.google.com ~all"),
        (
            {"acme.example": {"MX": ["10 mx.acme.example."], "TXT": ["v=spf1 -all", "v=spf1 mx -all"]}},
            Light.RED,
            "has 2 SPF records",
        ),
        ({"acme.example": {"MX": ["0 ."], "TXT": ["v=spf1 include:_spf.google.com -all"]}}, Light.RED, "(null MX)"),
        (
            {
                "acme.example": {
                    "MX": ["10 mx.acme.example."],
                    "TXT": ["v=spf1 include:_spf.google.com " + "ip4:192.0.2.1 " * 60 + "~all"],
                }
            },
            Light.AMBER,
            "The SPF record is 8",
        ),
        (
            {"acme.example": {"MX": ["10 mx.acme.example."], "TXT": ["v=spf1 include:acme.example -all"]}},
            Light.RED,
            "comes back to itself by way of acme.example",
        ),
    ],
)
def test_check(alice, account, names, changes, expected, words):
    names.zones = HEALTHY | changes
    client = client_of(alice)
    press(client, account, "check")
    assert words in page_of(client, account)
    assert light(account) == expected


@pytest.mark.parametrize("trouble", [SERVFAIL, TRUNCATED, SILENT])
def test_check__no_answer_is_not_known_and_stops_nothing(alice, account, names, trouble, monkeypatch):
    monkeypatch.setattr(checking, "LIMITS", checking.Limits(queries=9, seconds=0.3, lifetime=0.1))
    names.zones = {name: {"ANY": trouble} for name in HEALTHY}
    client = client_of(alice)
    press(client, account, "check")
    page = page_of(client, account)
    assert "gave no answer" in page
    assert "has no SPF record" not in page
    assert "No DMARC record" not in page
    assert light(account) == Light.UNKNOWN
    world.contacts(alice, 1)
    assert world.started(alice).status == "active"


def test_check__of_an_own_relay(alice, names):
    box = world.account(
        alice, "relay", from_email="ann@acme.example", smtp_host="mail.acme.example", relay_address="1.2.3.4"
    )
    names.zones = HEALTHY
    checking.check_account(box, now=NOW)
    assert "reverse.good" in codes(box)
    names.zones = HEALTHY | {"relay.acme.example": {"A": ["192.0.2.7"]}}
    checking.check_account(box, now=NOW)
    assert "reverse.mismatch" in codes(box)
    assert light(box) == Light.RED


def test_check__says_nothing_of_an_account_that_was_changed(alice, account, healthy):
    client = client_of(alice)
    press(client, account, "check")
    submit(client, url(account, "change"), smtp_host="smtp.office365.com")
    account.refresh_from_db()
    assert light(account) == Light.UNCHECKED
    assert "The account was changed since the DNS was asked" in page_of(client, account)
    assert account.pk in checking.due(now=NOW)


def test_check__stored_findings_of_another_version_are_passed_over(account, healthy):
    checking.check_account(account, now=NOW)
    row = Checkup.objects.get()
    row.findings.append({"code": "spf.of_next_year", "facts": {}, "record": None})
    row.save()
    assert "spf.good" in codes(account)
    assert account.pk in checking.due(now=NOW + dt.timedelta(days=1))


def test_due__daily_and_sooner_without_an_answer(alice, account, names):
    other = world.account(alice, "private", massmail=False)
    assert checking.due(now=NOW) == [account.pk]
    names.zones = HEALTHY
    checking.renew(other.pk, now=NOW)
    checking.renew(account.pk, now=NOW)
    assert checking.due(now=NOW + 23 * 60 * MINUTE) == []
    asked = len(names.asked)
    checking.renew(account.pk, now=NOW + MINUTE)
    assert len(names.asked) == asked
    assert checking.due(now=NOW + 24 * 60 * MINUTE) == [account.pk]
    names.zones = HEALTHY | {"_dmarc.acme.example": {"ANY": SERVFAIL}}
    checking.renew(account.pk, now=NOW + 24 * 60 * MINUTE)
    assert checking.due(now=NOW + 25 * 60 * MINUTE) == [account.pk]


def test_page__number_of_queries(alice, account, healthy):
    client = client_of(alice)
    address = url(account, "deliverability")
    before = queries(client, address)
    checking.check_account(account, now=NOW)
    assert queries(client, address) == before
    listed = queries(client, url(EmailAccount, "changelist"))
    for number in range(5):
        checking.check_account(world.account(alice, f"more{number}", from_email="ann@acme.example"), now=NOW)
    assert queries(client, url(EmailAccount, "changelist")) == listed


# Red ------------------------------------------------------------------------------------------------------------------


@pytest.fixture
def red(account, names):
    names.zones = HEALTHY | THE_WORLD | {"acme.example": {"MX": ["10 mx.acme.example."]}}
    checking.check_account(account, now=NOW)
    return account


def test_red__stops_the_start_and_nothing_that_is_under_way(alice, account, names):
    world.contacts(alice, 2)
    under_way = world.started(alice)
    draft = world.mailing(alice)
    names.zones = HEALTHY | {"acme.example": {"MX": ["10 mx.acme.example."]}}
    checking.check_account(account, now=NOW)
    assert light(account) == Light.RED
    with pytest.raises(LifecycleError, match="“office” would be refused") as caught:
        lifecycle.start(draft, by=alice, now=NOW)
    assert caught.value.reason == HoldReason.UNDELIVERABLE
    assert "acme.example has no SPF record" in str(caught.value)
    assert run(clock=world.clock(), until_idle=True) == 2
    under_way.refresh_from_db()
    page = html.unescape(client_of(alice).get(url(draft, "change")).content.decode())
    assert url(account, "deliverability") in page
    assert "Bad" in client_of(alice).get(url(EmailAccount, "changelist")).content.decode()


def test_red__of_an_account_that_sends_no_mailings_stops_nothing(alice, red):
    EmailAccount.objects.filter(pk=red.pk).update(massmail=False)
    world.account(alice, "good")
    world.contacts(alice, 1)
    assert world.started(alice).status == "active"


def test_red__administrator_lets_it_send_until_something_else_is_bad(alice, boss, red, names):
    client, theirs = client_of(alice), client_of(boss)
    world.contacts(alice, 1)
    draft = world.mailing(alice)
    assert "Let mailings start anyway" not in page_of(client, red)
    assert press(client, red, "allow").status_code == 403
    assert "Let mailings start anyway" in page_of(theirs, red)
    press(theirs, red, "allow")
    press(theirs, red, "allow")
    entry = AuditEntry.objects.get(action="red_allowed")
    assert (entry.by, entry.account, entry.text) == (boss, red, "spf.missing")
    assert "An administrator lets mailings start" in page_of(client, red)
    assert light(red) == Light.RED
    lifecycle.start(draft, by=alice, now=NOW)
    names.zones = {}
    checking.check_account(red, now=NOW)
    with pytest.raises(LifecycleError, match="does not exist"):
        lifecycle.start(world.mailing(alice), by=alice, now=NOW)


# The sure test --------------------------------------------------------------------------------------------------------


def deliver(own: EmailAccount, box: Any, head: str) -> None:
    """Put the test mail into a folder as it arrives, with `head` above it."""
    box.add(head.encode() + memory.outbox[-1].data)


def later(minutes: float) -> Any:
    return lambda: Checkup.objects.get().test_sent_at + dt.timedelta(minutes=minutes)


def test_self_test__tells_how_the_mail_is_signed(alice, own, server, names):
    client = client_of(alice)
    names.zones = HEALTHY
    press(client, own, "mail")
    assert b"X-Massmail-Test: yes" in memory.outbox[0].data
    assert memory.outbox[0].to == own.from_email
    assert AccountDay.objects.get(account=own).used == 1
    assert "data-massmail-waiting" in page_of(client, own)
    assert press(client, own, "mail").status_code == 302
    assert len(memory.outbox) == 1  # one at a time

    assert not selftest.look(own.pk, clock=later(0.01))  # too soon
    assert server.connections == 0
    assert not selftest.look(own.pk, clock=later(0.1))
    assert selftest.due(now=later(0.11)()) == []  # not again at once
    deliver(own, server.inbox, PASS + signature())
    assert selftest.due(now=later(1)()) == [own.pk]
    assert selftest.look(own.pk, clock=later(1))
    assert not selftest.look(own.pk, clock=later(2))
    assert {"mail.covered", "mail.passed"} <= codes(own)
    assert Checkup.objects.get().signatures == [{"domain": "acme.example", "selector": "s1"}]
    part = client.get(url(own, "deliverability") + "?part=1").content.decode()
    assert "data-massmail-waiting" not in part
    assert "<html" not in part

    press(client, own, "check")  # now it is known which keys to look at
    assert ("s1._domainkey.acme.example", "TXT") in names.asked
    assert {"dkim.good", "alignment.both"} <= codes(own)
    assert "dkim.no_guess" not in codes(own)
    assert light(own) == Light.GREEN


@pytest.mark.parametrize(
    ("head", "code", "expected"),
    [
        (PASS + signature("from:list-unsubscribe"), "mail.uncovered", Light.AMBER),
        (PASS, "mail.unsigned", Light.AMBER),
        (signature() + "Authentication-Results: mx.acme.example; dkim=fail\r\n", "mail.failed", Light.RED),
    ],
)
def test_self_test__what_is_wrong(alice, own, server, names, settings, head, code, expected):
    settings.MASSMAIL_DNS_CHECKS = True
    names.zones = HEALTHY
    press(client_of(alice), own, "mail")
    deliver(own, server.inbox, head)
    assert selftest.look(own.pk, clock=later(1))
    assert code in codes(own)
    assert "spf.good" in codes(own)  # the DNS was asked again, with the new selectors
    assert light(own) == expected


def test_self_test__another_one_if_nobody_ever_looked(alice, own, outbox):
    client = client_of(alice)
    press(client, own, "mail")
    assert "is on its way already" in said(press(client, own, "mail"))[0]
    Checkup.objects.update(test_sent_at=dt.datetime.now(dt.UTC) - 31 * MINUTE)
    assert "data-massmail-waiting" not in page_of(client, own)
    press(client, own, "mail")
    assert len(outbox) == 2


def test_self_test__refused_by_the_server(alice, own):
    memory.replies[own.from_email] = Reply(phase=Phase.RCPT, code=550, text="5.7.1 Not from here")
    client = client_of(alice)
    assert "5.7.1 Not from here" in said(press(client, own, "mail"))[0]
    assert "data-massmail-waiting" not in page_of(client, own)
    assert selftest.due(now=dt.datetime.now(dt.UTC) + 60 * MINUTE) == []


def test_self_test__filed_as_spam(alice, own, server):
    press(client_of(alice), own, "mail")
    deliver(own, server.boxes["Junk"], PASS + signature())
    assert selftest.look(own.pk, clock=later(1))
    assert "mail.junk" in codes(own)


def test_self_test__not_found_or_not_readable_is_not_known(alice, own, server):
    client = client_of(alice)
    press(client, own, "mail")
    assert not selftest.look(own.pk, clock=later(14))
    assert Checkup.objects.get().test_look_at is not None
    assert not selftest.look(own.pk, clock=later(16))
    assert codes(own) == {"mail.lost"}
    assert light(own) == Light.UNKNOWN
    assert selftest.due(now=later(99)()) == []
    server.password = "changed"
    press(client, own, "mail")
    assert not selftest.look(own.pk, clock=later(1))
    assert "The last look failed: The server refuses the login" in page_of(client, own)
    assert not selftest.look(own.pk, clock=later(16))
    assert codes(own) == {"mail.unreadable"}


def test_self_test__signatures_are_remembered(alice, own, server):
    client = client_of(alice)
    for head in (signature(selector="old"), signature(selector="new"), ""):
        press(client, own, "mail")
        deliver(own, server.inbox, head)
        assert selftest.look(own.pk, clock=later(1))
    assert Checkup.objects.get().signatures == [{"domain": "acme.example", "selector": "new"}]


def test_self_test__what_was_seen_of_another_domain_is_forgotten(alice, own, server, names):
    names.zones = HEALTHY | {"other.example": HEALTHY["acme.example"]}
    client = client_of(alice)
    press(client, own, "mail")
    deliver(own, server.inbox, signature(selector="old"))
    assert selftest.look(own.pk, clock=later(1))
    press(client, own, "check")
    assert ("old._domainkey.acme.example", "TXT") in names.asked

    own.from_email = "alice@other.example"
    own.save()
    names.asked.clear()
    press(client, own, "check")
    assert not [name for name, _kind in names.asked if name.startswith("old.")]
    press(client, own, "mail")  # and it never comes
    assert not selftest.look(own.pk, clock=later(16))
    names.asked.clear()
    press(client, own, "check")
    assert not [name for name, _kind in names.asked if name.startswith("old.")]


def test_self_test__of_an_account_that_was_changed_in_the_meantime(alice, own, server):
    press(client_of(alice), own, "mail")
    deliver(own, server.inbox, signature())
    own.from_email = "alice@other.example"
    own.save()
    assert selftest.look(own.pk, clock=later(1))
    assert codes(own) == set()


def test_self_test__not_possible(alice, boss, own, account, outbox):
    answer = press(client_of(alice), account, "mail")
    assert said(answer) == ["The mailbox of “office” can't be read: enter its IMAP server first."]
    assert "Send a test mail to itself" not in page_of(client_of(boss), own)
    with pytest.raises(TrialError, match="your own accounts"):
        selftest.send_self_test(own, by=boss, now=NOW)
    AccountDay.objects.filter(account=own).delete()
    EmailAccount.objects.filter(pk=own.pk).update(emails_per_day=1)
    press(client_of(alice), own, "mail")
    Checkup.objects.update(test_look_at=None)
    assert "has used up its daily limit" in said(press(client_of(alice), own, "mail"))[0]
    assert len(outbox) == 1


# Recipients' domains --------------------------------------------------------------------------------------------------


ZONES = THE_WORLD | {
    "good.example": {"MX": ["10 mx.good.example."]},
    "mx.good.example": {"A": ["192.0.2.25"]},
    "null.example": {"MX": ["0 ."]},
    "bare.example": {"TXT": ["nothing to see"]},
    "broken.example": {"ANY": SERVFAIL},
}


@pytest.fixture
def people(alice, names):
    """Contacts at a good domain, at three that take no mail, and at one whose name servers are in trouble."""
    world.account(alice)
    for number, domain in enumerate(["good", "null", "bare", "gone", "gone", "broken"]):
        world.contacts(alice, 1, email=f"p{number}@{domain}.example")
    names.zones = ZONES
    return names


def states() -> dict[str, str]:
    return dict(RecipientDomain.objects.values_list("name", "state"))


def test_domains__looked_up_once_and_shown(alice, people):
    mailing = world.mailing(alice)
    assert domains.due(now=dt.datetime.now(dt.UTC))
    assert domains.run() == 5
    assert states() == {
        "good.example": MailDomain.ACCEPTS,
        "null.example": MailDomain.NULL_MX,
        "bare.example": MailDomain.NO_SERVER,
        "gone.example": MailDomain.NO_DOMAIN,
        "broken.example": MailDomain.UNKNOWN,
    }
    assert not domains.due(now=dt.datetime.now(dt.UTC))
    asked = len(people.asked)
    world.mailing(alice)
    assert domains.due(now=dt.datetime.now(dt.UTC))
    assert domains.run() == 0
    assert len(people.asked) == asked

    client = client_of(alice)
    page = html.unescape(client.get(url(mailing, "change")).content.decode())
    assert "4 recipients at 3 domains that take no mail: gone.example, bare.example, null.example." in page
    to = f"{url(Delivery, 'changelist')}?mailing__id__exact={mailing.pk}&domain=deaf"
    assert html.escape(to) in client.get(url(mailing, "change")).content.decode()
    listed = client.get(to).content.decode()
    assert listed.count("@gone.example") >= 2
    assert "p0@good.example" not in listed
    assert "p5@broken.example" not in listed


def test_domains__skipped_when_their_turn_comes(alice, people, outbox):
    world.mailing(alice)
    domains.run()
    people.zones = {}
    asked = len(people.asked)
    mailing = world.started(alice)
    run(clock=world.clock(), until_idle=True)
    assert sorted(letter.to for letter in outbox) == ["p0@good.example", "p5@broken.example"]
    skipped = mailing.deliveries.filter(status=DeliveryStatus.SKIPPED)
    assert set(skipped.values_list("reason", flat=True)) == {Exclusion.NO_MAIL_DOMAIN}
    assert skipped.count() == 4
    assert len(people.asked) == asked  # nobody asks while mail is sent


def test_domains__what_is_known_expires(alice, people, outbox):
    world.mailing(alice)
    domains.run()
    past = dt.datetime.now(dt.UTC) - MINUTE
    RecipientDomain.objects.update(expires_at=past)
    world.started(alice)
    run(clock=world.clock(), until_idle=True)
    assert len(outbox) == 6
    people.zones = ZONES | {"gone.example": ZONES["good.example"]}
    world.mailing(alice)
    assert domains.run() == 4  # the broken one has its own time
    assert states()["gone.example"] == MailDomain.ACCEPTS


def test_domains__a_closed_network_knows_nothing(alice, people):
    people.zones = {name: entry for name, entry in ZONES.items() if name != "com"}
    mailing = world.mailing(alice)
    domains.run()
    assert set(states().values()) == {MailDomain.ACCEPTS, MailDomain.UNKNOWN}
    assert DomainSurvey.objects.get(mailing=mailing).deaf_recipients == 0


def test_domains__without_an_answer_they_are_asked_again_some_times(alice, people):
    world.mailing(alice)
    domains.run()
    row = RecipientDomain.objects.get(name="broken.example")
    pauses = []
    while row.look_at:
        pauses.append(round((row.look_at - row.checked_at) / MINUTE))
        RecipientDomain.objects.filter(pk=row.pk).update(look_at=row.checked_at)
        assert domains.run() == 1
        row.refresh_from_db()
    assert pauses == [10, 60, 360]
    assert row.state == MailDomain.UNKNOWN


def test_domains__names_that_are_none(alice, names):
    world.account(alice)
    world.contacts(alice, 1, email='"a@b"@good.example')
    names.zones = ZONES
    world.mailing(alice)
    assert Delivery.objects.count() == 1
    domains.run()
    assert states() == {}


def test_domains__one_at_a_time_and_no_more_than_its_patience(alice, people, monkeypatch):
    monkeypatch.setattr(domains, "BATCH", 2)
    world.mailing(alice)
    assert domains.run(patience=0) == 0
    assert domains._take_lease()
    assert domains.run() == 0
    domains.Heartbeat.objects.filter(name=domains.LEASE_NAME).update(at=dt.datetime.now(dt.UTC))
    assert domains.run() == 5


def test_domains__of_ended_mailings_are_nobodys_business(alice, people):
    lifecycle.cancel(world.mailing(alice), by=alice)
    assert not domains.due(now=dt.datetime.now(dt.UTC))
    active = world.started(alice)
    domains.run()
    RecipientDomain.objects.update(look_at=None)
    assert not domains.due(now=dt.datetime.now(dt.UTC))
    DomainSurvey.objects.update(collected_at=NOW - dt.timedelta(days=400))
    assert domains.due(now=dt.datetime.now(dt.UTC))  # a mailing that takes long is gone through again
    Mailing.objects.filter(pk=active.pk).update(status="paused")
    assert not domains.due(now=dt.datetime.now(dt.UTC))


def test_domains__number_of_queries(alice, people):
    mailing = world.mailing(alice)
    domains.run()
    client = client_of(alice)
    before = queries(client, url(mailing, "change"))
    world.contacts(alice, 30)
    for contact in Contact.objects.filter(email__startswith="person"):
        Contact.objects.filter(pk=contact.pk).update(email=f"{contact.pk}@gone{contact.pk}.example")
    more = world.mailing(alice)
    domains.run()
    assert DomainSurvey.objects.get(mailing=more).deaf_domains == 33
    assert queries(client, url(more, "change")) == before
    rows = list(more.deliveries.select_related("mailing__content_type"))
    costs = []
    for some in (rows[:2], rows):
        with CaptureQueriesContext(connection) as captured:
            candidates.judge(some)
        costs.append(len(captured))
    assert costs[0] == costs[1]


# Ringing --------------------------------------------------------------------------------------------------------------


def test_ticks_ring_for_what_is_due(alice, own, people, settings, monkeypatch):
    rung: list[Any] = []
    for task in (tasks.check_domains, tasks.look_for_test, tasks.check_account, tasks.poll_account):
        monkeypatch.setattr(task, "apply_async", lambda task=task, **options: rung.append((task, options.get("args"))))
    world.mailing(alice)
    press(client_of(alice), own, "mail")
    Checkup.objects.update(test_look_at=NOW - 400 * 24 * 60 * MINUTE)
    for allowed in (False, True):
        settings.MASSMAIL_DNS_CHECKS = allowed
        tasks.tick()
        tasks.poll()
    assert rung.count((tasks.look_for_test, (own.pk,))) == 2
    assert rung.count((tasks.check_domains, None)) == 1
    assert [args for task, args in rung if task is tasks.check_account] == [
        (pk,) for pk in EmailAccount.objects.order_by("pk").values_list("pk", flat=True)
    ]


def test_tasks(alice, own, people, server):
    world.mailing(alice)
    tasks.check_domains()
    assert len(states()) == 5
    tasks.check_account(own.pk)
    assert Checkup.objects.get().checked_at
    tasks.check_account(0)
    tasks.look_for_test(own.pk)
    tasks.look_for_test(0)
    assert server.connections == 0
