"""The mail server's faults: it can't be reached, breaks off, refuses, is slow, or is not who it should be."""

from __future__ import annotations

import base64
import datetime as dt
from collections import Counter
from threading import Event, Thread

import pytest
from django.db import connection
from django.utils import timezone

from massmail.choices import DeliveryStatus, HoldReason, MailingStatus, Security
from massmail.engine import holds
from massmail.engine.run import run_lane, tick
from massmail.engine.standalone import run
from massmail.models import AccountDay, EmailAccount, Lane, Suppression
from massmail.transport.smtp import SMTPConnection
from tests import oauth_server, oracle, world
from tests.certificates import make_certificate
from tests.servers import eventually, free_port
from tests.smtpd import DROP, STALL

SECRET = "s3cret-pässword"


def send(at="2026-11-23 10:00"):
    return run(clock=world.clock(at), until_idle=True)


def mailing_through(server, owner, number=3, *, trouble="", **fields):
    """A mailing of `number` recipients, and one in trouble, through one account."""
    box = world.account(owner, smtp_port=getattr(server, "port", server), **fields)
    if trouble:
        world.contacts(owner, 1, prefix=trouble)
    world.contacts(owner, number)
    return box, world.started(owner)


def one(mailing, prefix):
    return mailing.deliveries.get(address__startswith=prefix)


def nobody_was_touched(mailing):
    """Every recipient waits as if nothing had been tried."""
    return set(mailing.deliveries.values_list("status", "attempts", "not_before")) == {("queued", 0, None)}


def recovers(server, mailing, *, at="2026-11-23 10:01"):
    """The server is well again: all is sent, once."""
    server.answers.clear()
    send(at)
    send("2026-11-23 10:20")
    assert oracle.check(server.messages) == {"sent": mailing.total}
    mailing.refresh_from_db()
    return mailing.status == MailingStatus.DONE


# Out of reach ---------------------------------------------------------------------------------------------------------


def test_unreachable__refused(alice, serve):
    port = free_port()
    box, mailing = mailing_through(port, alice)
    assert send() == 0
    assert nobody_was_touched(mailing)
    lane = Lane.objects.get(account=box)
    assert (lane.failures, lane.next_at) == (1, world.berlin("2026-11-23 10:01"))
    assert holds.explain(mailing, now=world.MONDAY).reason == HoldReason.BACK_OFF
    assert recovers(serve(port=port), mailing)


def test_unreachable__no_such_host(alice, server):
    _box, mailing = mailing_through(server, alice, smtp_host="nowhere.invalid")
    assert send() == 0
    assert nobody_was_touched(mailing)
    EmailAccount.objects.update(smtp_host="127.0.0.1")
    assert recovers(server, mailing)


@pytest.mark.parametrize("step", ["CONNECT", "EHLO"])
@pytest.mark.parametrize("answer", [STALL, DROP, "450 4.3.2 Later"])
def test_unreachable__no_answer_at_connect(alice, server, settings, step, answer):
    settings.MASSMAIL_SMTP_TIMEOUT = 0.3
    server.answers[step] = answer
    _box, mailing = mailing_through(server, alice)
    assert send() == 0
    assert nobody_was_touched(mailing)
    assert recovers(server, mailing)


def test_unreachable__other_lanes_go_on(alice, bob, server):
    mailing_through(free_port(), alice)
    mailing_through(server, bob)
    assert send() == 3
    assert oracle.check(server.messages) == {"sent": 3, "queued": 3}


def test_unreachable__back_off_climbs(alice):
    box, _mailing = mailing_through(free_port(), alice, 1)
    for at, until in (("10:00", "10:01"), ("10:01", "10:06"), ("10:06", "10:21"), ("10:21", "11:21")):
        send(f"2026-11-23 {at}")
        assert Lane.objects.get(account=box).next_at == world.berlin(f"2026-11-23 {until}")


# Broken off -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("paced", [True, False], ids=["paced", "relay"])
@pytest.mark.parametrize("step", ["CONNECT", "EHLO", "AUTH", "MAIL", "RCPT", "DATA", "BODY", "DOT"])
def test_421__at_any_command(alice, server, at_length, step, paced):
    server.answers[step] = "421 4.3.2 Closing"
    at_length(lambda to: "BODY" in server.answers)
    box, mailing = mailing_through(
        server, alice, paced=paced, smtp_username="alice" if step == "AUTH" else "", smtp_password=SECRET
    )
    send()
    assert set(mailing.deliveries.values_list("status", "attempts")) == {("queued", 0)}
    assert Lane.objects.get(account=box).failures == 1
    # The second try of whatever it broke off at would come on a new connection.
    assert server.connections == 1
    assert recovers(server, mailing)
    # What a server has turned away after it had it stays charged.
    assert AccountDay.objects.get(account=box).used == 3 + (step == "DOT")


def test_421__at_starttls(alice, serve, tmp_path, monkeypatch):
    certificate = make_certificate(tmp_path, "127.0.0.1")
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate.chain))
    server = serve(security="starttls", certificate=certificate, answers={"STARTTLS": "421 4.3.2 Closing"})
    box, mailing = mailing_through(server, alice, smtp_security=Security.STARTTLS)
    send()
    assert nobody_was_touched(mailing)
    assert Lane.objects.get(account=box).failures == 1
    assert recovers(server, mailing)


def test_421__at_one_recipient_lets_the_others_go_on(alice, server):
    _box, mailing = mailing_through(server, alice, trouble="busy")
    for at in ("10:00", "10:01", "10:02"):
        send(f"2026-11-23 {at}")
    assert oracle.check(server.messages) == {"sent": 3, "queued": 1}
    assert one(mailing, "busy").attempts == 0


@pytest.mark.parametrize("trouble", ["dropdata", "dropbody"])
def test_drop__in_mid_data_is_sent_again(alice, server, at_length, trouble):
    at_length(lambda to: to.startswith("dropbody"))
    box, mailing = mailing_through(server, alice, trouble=trouble)
    for at in ("10:00", "10:01", "10:02"):
        send(f"2026-11-23 {at}")
    assert oracle.check(server.messages) == {"sent": 3, "queued": 1}
    assert one(mailing, trouble).attempts == 0
    assert AccountDay.objects.get(account=box).used == 3
    assert oracle.imbalances() == []


@pytest.mark.parametrize("paced", [True, False], ids=["paced", "relay"])
def test_drop__after_the_dot_is_unknown_and_stays_so(alice, server, paced):
    box, mailing = mailing_through(server, alice, trouble="dropdot", paced=paced)
    for at in ("2026-11-23 10:00", "2026-11-23 10:01", "2026-11-23 11:00", "2026-11-24 10:00", "2026-11-30 10:00"):
        send(at)
    assert oracle.check(server.messages) == {"sent": 3, "unknown": 1}
    assert Counter(to for record in server.messages for to in record.recipients)["dropdot0@alice.example"] == 1
    assert one(mailing, "dropdot").reason == "no_answer"
    assert sum(AccountDay.objects.filter(account=box).values_list("used", flat=True)) == 4
    assert oracle.imbalances() == []


def test_drop__silence_after_the_dot_is_unknown(alice, server, monkeypatch):
    monkeypatch.setattr(SMTPConnection, "dot_timeout", 0.3)
    server.answers["DOT"] = STALL
    _box, mailing = mailing_through(server, alice)
    send()
    server.answers.clear()
    send("2026-11-23 10:30")
    # Kept or not, nobody knows: this server did not.
    assert oracle.check(server.messages) == {"sent": 2, "unknown": 1}
    assert len(server.messages) == 2
    assert oracle.imbalances() == []
    mailing.refresh_from_db()
    assert mailing.status == MailingStatus.DONE


@pytest.mark.parametrize("step", ["RSET", "QUIT"])
@pytest.mark.parametrize("answer", ["421 4.3.2 Closing", "550 5.0.0 No", DROP])
def test_drop__what_comes_after_the_answer_changes_nothing(alice, server, step, answer):
    server.answers[step] = answer
    _box, mailing = mailing_through(server, alice, trouble="nouser")
    send()
    assert oracle.check(server.messages) == {"sent": 3, "failed": 1}
    assert mailing.deliveries.get(status="failed").reason == "bad_address"


@pytest.mark.django_db(transaction=True)
def test_slow__the_lease_is_kept_while_the_server_takes_its_time(alice, serve, settings):
    """Longer than the lease lasts, and any other answer may take; ticks go on, and would call a lost one unknown."""
    settings.MASSMAIL_LEASE_SECONDS = settings.MASSMAIL_SMTP_TIMEOUT = 1
    server = serve(slow=3.0)
    box, mailing = mailing_through(server, alice, 0, trouble="slow")
    tick(clock=world.clock())
    over, seen = Event(), set()

    def tick_away():
        while not over.wait(0.2):
            tick(clock=world.clock())
            seen.update(mailing.deliveries.values_list("status", flat=True))
            run_lane(box.pk, clock=world.clock())
        connection.close()

    ticking = Thread(target=tick_away)
    ticking.start()
    try:
        run_lane(box.pk, clock=world.clock())
        # Whichever thread had the lane, it must be done.
        assert eventually(lambda: not mailing.deliveries.filter(status__in=["queued", "sending"]).exists())
    finally:
        over.set()
        ticking.join()
    assert DeliveryStatus.UNKNOWN not in seen
    assert oracle.check(server.messages) == {"sent": 1}
    assert oracle.imbalances() == []


# Refused: the recipient -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("paced", [True, False], ids=["paced", "relay"])
def test_greylisted__is_sent_later_once_and_others_go_on(alice, serve, paced):
    server = serve(grey_tries=2)
    _box, mailing = mailing_through(server, alice, trouble="grey", paced=paced)
    send()
    assert oracle.check(server.messages) == {"sent": 3, "queued": 1}
    first_id = one(mailing, "grey").message_id
    assert one(mailing, "grey").not_before == world.berlin("2026-11-23 10:15")
    send("2026-11-23 10:10")
    assert one(mailing, "grey").attempts == 1
    send("2026-11-23 10:20")
    assert one(mailing, "grey").attempts == 2
    send("2026-11-23 11:30")
    assert oracle.check(server.messages) == {"sent": 4}
    assert one(mailing, "grey").message_id == first_id


def test_mailbox_full__is_tried_for_days_then_fails_and_is_not_suppressed(alice, server):
    _box, mailing = mailing_through(server, alice, trouble="full")
    tries = 0
    send()
    while (waiting := one(mailing, "full")).status == DeliveryStatus.QUEUED:
        tries += 1
        assert waiting.attempts == tries
        run(clock=world.clock((waiting.not_before + dt.timedelta(hours=1)).strftime("%Y-%m-%d %H:%M")), until_idle=True)
    assert oracle.check(server.messages) == {"sent": 3, "failed": 1}
    assert (waiting.reason, waiting.attempts) == ("mailbox_full", 7)
    assert (waiting.not_before - world.MONDAY).days >= 2
    assert not Suppression.objects.exists()


def test_no_such_user__fails_at_once_and_is_suppressed(alice, server):
    _box, mailing = mailing_through(server, alice, trouble="nouser")
    send()
    send("2026-11-24 10:00")
    assert oracle.check(server.messages) == {"sent": 3, "failed": 1}
    assert one(mailing, "nouser").reason == "bad_address"
    assert [row.address for row in Suppression.objects.all()] == ["nouser0@alice.example"]
    assert len([line for line in server.commands if line.startswith("RCPT TO:<nouser")]) == 1
    assert oracle.imbalances() == []


# Refused: the sender --------------------------------------------------------------------------------------------------


def test_spam__fails_by_policy_and_suppresses_nobody(alice, server):
    _box, mailing = mailing_through(server, alice, trouble="spam")
    send()
    assert oracle.check(server.messages) == {"sent": 3, "failed": 1}
    assert one(mailing, "spam").reason == "policy"
    assert not Suppression.objects.exists()
    assert oracle.imbalances() == []


@pytest.mark.parametrize("paced", [True, False], ids=["paced", "relay"])
def test_spam__five_in_a_row_stop_account_and_mailing(alice, server, paced):
    box = world.account(alice, smtp_port=server.port, paced=paced)
    world.contacts(alice, 20, prefix="spam")
    mailing = world.started(alice)
    send()
    mailing.refresh_from_db()
    box.refresh_from_db()
    assert oracle.check(server.messages) == {"failed": 5, "queued": 15}
    assert mailing.status == MailingStatus.PAUSED
    hold = holds.explain(box, now=world.MONDAY)
    assert hold.reason == HoldReason.ACCOUNT_HELD
    assert "Looks like spam" in hold.detail


def test_provider_limit__holds_the_account_and_nobody_fails(alice, server):
    box, mailing = mailing_through(server, alice, trouble="quota")
    send()
    box.refresh_from_db()
    assert oracle.check(server.messages) == {"queued": 4}
    assert box.held_until == world.berlin("2026-11-24 10:00")
    assert "Daily user sending quota exceeded" in holds.explain(mailing, now=world.MONDAY).detail
    assert AccountDay.objects.get(account=box).used == 0


@pytest.mark.parametrize("paced", [True, False], ids=["paced", "relay"])
def test_wrong_password__is_tried_once_and_the_account_waits(alice, serve, paced):
    server = serve(users={"alice": "another"})
    box, mailing = mailing_through(server, alice, paced=paced, smtp_username="alice", smtp_password=SECRET)
    for at in ("2026-11-23 10:00", "2026-11-23 12:00", "2026-11-24 12:00"):
        send(at)
    assert len([line for line in server.commands if line.startswith("AUTH")]) == 1
    assert nobody_was_touched(mailing)
    hold = holds.explain(mailing, now=world.MONDAY)
    assert (hold.reason, hold.about, hold.until) == (HoldReason.ACCOUNT_HELD, box, None)
    assert "User name or password wrong" in hold.detail
    assert oracle.check(server.messages) == {"queued": 3}


def test_revoked_token__holds_the_account(alice, server, settings):
    with oauth_server.serving() as provider:
        settings.MASSMAIL_OAUTH_PROVIDERS = provider.settings()
        _box, mailing = mailing_through(
            server,
            alice,
            oauth_provider="acme",
            oauth_access_token="access-0",
            oauth_refresh_token="revoked",
            oauth_expires_at=timezone.now() - dt.timedelta(minutes=1),
        )
        send()
        send("2026-11-24 10:00")
        assert len(provider.asked) == 1
    hold = holds.explain(mailing, now=world.MONDAY)
    assert hold.reason == HoldReason.ACCOUNT_HELD
    assert "expired or revoked" in hold.detail
    assert (nobody_was_touched(mailing), server.commands) == (True, [])


# Not who it should be -------------------------------------------------------------------------------------------------


def secrets_in(heard):
    """Tell whether the password went over the wire in clear, as it is or as PLAIN and LOGIN write it."""
    words = SECRET.encode()
    written = [words, base64.b64encode(words), base64.b64encode(b"\0alice\0" + words)]
    return any(each in bytes(heard) for each in written)


def test_secrets_in__sees_one(alice, server):
    """The check itself: where the deployer allows it, the password does go over the wire."""
    mailing_through(server, alice, smtp_username="alice", smtp_password=SECRET)
    send()
    assert secrets_in(server.heard)


@pytest.mark.parametrize("security", [Security.STARTTLS, Security.SSL])
def test_certificate__self_signed_holds_the_account(alice, serve, tmp_path, security):
    server = serve(security=security, certificate=make_certificate(tmp_path, "127.0.0.1"))
    box, mailing = mailing_through(server, alice, smtp_security=security, smtp_username="alice", smtp_password=SECRET)
    send()
    send("2026-11-24 10:00")
    assert server.connections == 1
    assert nobody_was_touched(mailing)
    box.refresh_from_db()
    assert "certificate" in box.hold_reason
    assert not secrets_in(server.heard)
    assert not any(line.startswith("AUTH") for line in server.commands)


@pytest.mark.parametrize("stripped", ["not offered", "refused"])
def test_starttls__stripped_holds_the_account(alice, serve, tmp_path, stripped):
    more = {} if stripped == "not offered" else {"security": "starttls", "answers": {"STARTTLS": "502 5.5.1 No"}}
    server = serve(**more)
    box, mailing = mailing_through(
        server, alice, smtp_security=Security.STARTTLS, smtp_username="alice", smtp_password=SECRET
    )
    send()
    send("2026-11-24 10:00")
    assert server.connections == 1
    assert nobody_was_touched(mailing)
    box.refresh_from_db()
    assert "STARTTLS" in box.hold_reason or "502" in box.hold_reason
    assert not secrets_in(server.heard)
    assert oracle.check(server.messages) == {"queued": 3}
