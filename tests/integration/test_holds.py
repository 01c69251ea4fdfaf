"""Why something does not leave: each reason, where it shows, until when, and what to do."""

from __future__ import annotations

import datetime as dt

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from example_project.crm.models import Contact
from massmail.choices import HoldReason
from massmail.engine import holds, lanes, lifecycle
from massmail.exceptions import LifecycleError
from massmail.models import AccountDay, Delivery, EmailAccount, Heartbeat, Lane, Mailing, Message
from tests import world

pytestmark = pytest.mark.django_db

NOW = world.MONDAY
LATER = NOW + dt.timedelta(minutes=5)


@pytest.fixture
def box(alice):
    world.settings()
    Heartbeat.objects.create(name="tick", at=NOW)
    return world.account(alice)


@pytest.fixture
def mailing(alice, box):
    world.contacts(alice, 3)
    return world.started(alice)


def reason(thing, now=NOW):
    hold = holds.explain(thing, now=now)
    return hold and hold.reason


def draft(alice, mailing):
    Mailing.objects.filter(pk=mailing.pk).update(status="draft")


def pause(alice, mailing):
    lifecycle.pause(mailing, by=None, reason="The server refuses this message")


def cancel(alice, mailing):
    lifecycle.cancel(mailing, by=alice)


def start_later(alice, mailing):
    Mailing.objects.filter(pk=mailing.pk).update(start_at=LATER)


def deactivate(alice, mailing):
    alice.is_active = False
    alice.save()


def no_page(alice, mailing):
    world.settings(unsubscribe_url="")


def no_account(alice, mailing):
    EmailAccount.objects.update(massmail=False)


def main_only(alice, mailing):
    EmailAccount.objects.update(main=True)


def hold_account(alice, mailing):
    EmailAccount.objects.update(hold_reason="535 wrong password", held_until=LATER)


def lose_secret(alice, mailing):
    row = EmailAccount.objects.get()
    row.smtp_password = "secret"
    row.save()
    with connection.cursor() as cursor:
        cursor.execute("UPDATE massmail_emailaccount SET smtp_password = 'fernet:gAAAAABnonsense'")


def close(alice, mailing):
    world.settings(use_business_time=True, business_time_start=dt.time(11))


def use_quota(alice, mailing):
    AccountDay.objects.create(account=EmailAccount.objects.get(), date=NOW.date(), used=94)


def unregister(alice, mailing):
    from django.contrib.contenttypes.models import ContentType
    from django.contrib.sessions.models import Session

    Mailing.objects.filter(pk=mailing.pk).update(content_type=ContentType.objects.get_for_model(Session))


def gap(alice, mailing):
    Lane.objects.create(account=EmailAccount.objects.get(), next_at=LATER)


def back_off(alice, mailing):
    Lane.objects.create(account=EmailAccount.objects.get(), next_at=LATER, failures=1, last_reply="421 busy")


def wait_for_retry(alice, mailing):
    lanes.assign(mailing, list(EmailAccount.objects.all()), daily_limit=94)
    Delivery.objects.update(not_before=LATER, attempts=1, reply="4.2.0 Greylisted")


def stop_beat(alice, mailing):
    Heartbeat.objects.update(at=NOW - dt.timedelta(hours=1))


MAILING_HOLDS = [
    (draft, HoldReason.DRAFT, None),
    (pause, HoldReason.PAUSED, None),
    (cancel, HoldReason.ENDED, None),
    (start_later, HoldReason.START_AT, LATER),
    (deactivate, HoldReason.OWNER_INACTIVE, None),
    (no_page, HoldReason.NO_UNSUBSCRIBE_URL, None),
    (unregister, HoldReason.NO_TYPE, None),
    (no_account, HoldReason.NO_ACCOUNT, None),
    (main_only, HoldReason.ONLY_MAIN_ACCOUNT, None),
    (hold_account, HoldReason.ACCOUNT_HELD, LATER),
    (lose_secret, HoldReason.SECRET_LOST, None),
    (close, HoldReason.CLOSED, world.berlin("2026-11-23 11:00")),
    (use_quota, HoldReason.QUOTA, world.berlin("2026-11-24 00:00")),
    (gap, HoldReason.GAP, LATER),
    (back_off, HoldReason.BACK_OFF, LATER),
    (wait_for_retry, HoldReason.RETRY, None),
    (stop_beat, HoldReason.NO_HEARTBEAT, None),
]


@pytest.mark.parametrize(("arrange", "expected", "until"), MAILING_HOLDS)
def test_explain__mailing(alice, mailing, arrange, expected, until):
    assert reason(mailing) is None
    arrange(alice, mailing)
    hold = holds.explain(Mailing.objects.get(pk=mailing.pk), now=NOW)
    assert (hold.reason, hold.until) == (expected, until)
    assert hold.detail or expected in {HoldReason.DRAFT}
    assert hold.remedy or expected in {HoldReason.ENDED, HoldReason.START_AT, HoldReason.GAP, HoldReason.RETRY}


@pytest.mark.parametrize(("arrange", "expected", "until"), MAILING_HOLDS)
def test_explain__what_holds_the_mailing_holds_its_deliveries_and_the_engine(alice, mailing, arrange, expected, until):
    from massmail.engine.run import tick

    lanes.assign(mailing, list(EmailAccount.objects.all()), daily_limit=94)
    arrange(alice, mailing)
    unassigned = {HoldReason.ONLY_MAIN_ACCOUNT, HoldReason.NO_ACCOUNT}
    if expected not in {HoldReason.NO_HEARTBEAT, *unassigned}:
        assert reason(Delivery.objects.first()) == expected
    if expected not in {HoldReason.NO_HEARTBEAT, HoldReason.NO_TYPE}:
        assert tick(clock=lambda: NOW) == []


def test_explain__no_public_url(alice, mailing, settings):
    settings.MASSMAIL_PUBLIC_URL = ""
    assert reason(mailing) == HoldReason.NO_PUBLIC_URL


def test_explain__account_off(box):
    assert reason(box) is None
    box.massmail = False
    assert reason(box) == HoldReason.ACCOUNT_OFF


def test_explain__a_hold_ends_by_itself(box):
    box.hold_reason, box.held_until = "limit", LATER
    assert reason(box) == HoldReason.ACCOUNT_HELD
    Heartbeat.objects.update(at=LATER)
    assert reason(box, LATER) is None


def test_explain__delivery_under_way_and_ended(mailing, box):
    lane = Lane.objects.create(account=box)
    first, second = Delivery.objects.order_by("pk")[:2]
    Delivery.objects.filter(pk=first.pk).update(status="sending", sending_at=NOW, lane=lane)
    Delivery.objects.filter(pk=second.pk).update(status="sent", sent_at=NOW)
    assert [reason(Delivery.objects.get(pk=each.pk)) for each in (first, second)] == [HoldReason.BUSY, HoldReason.ENDED]


@pytest.mark.parametrize(
    ("arrange", "expected"),
    [
        (lambda mailing: Mailing.objects.update(message=None), HoldReason.NO_MESSAGE),
        (lambda mailing: Message.objects.update(content="<p>no link</p>"), HoldReason.BAD_MESSAGE),
        (lambda mailing: Message.objects.update(content="{% load x %}"), HoldReason.BAD_MESSAGE),
        (lambda mailing: Mailing.objects.update(total=0), HoldReason.NO_RECIPIENTS),
        (lambda mailing: EmailAccount.objects.update(massmail=False), HoldReason.NO_ACCOUNT),
        (lambda mailing: world.settings(unsubscribe_url=""), HoldReason.NO_UNSUBSCRIBE_URL),
    ],
)
def test_obstacles__forbid_the_start_with_their_reason(alice, box, arrange, expected):
    world.contacts(alice, 2)
    mailing = world.mailing(alice)
    assert lifecycle.obstacles(mailing, now=NOW) == []
    arrange(mailing)
    mailing = Mailing.objects.get(pk=mailing.pk)
    (hold,) = lifecycle.obstacles(mailing, now=NOW)
    assert hold.reason == expected
    with pytest.raises(LifecycleError) as caught:
        lifecycle.start(mailing, by=alice, now=NOW)
    assert caught.value.reason == expected
    assert hold.detail in str(caught.value)
    mailing.refresh_from_db()
    assert mailing.status == "draft"


def test_explain_many__constant_number_of_queries(alice, bob, box):
    def measure(things):
        with CaptureQueriesContext(connection) as queries:
            assert len(holds.explain_many(things, now=NOW)) == len(things)
        return len(queries)

    world.contacts(alice, 3)
    world.started(alice)
    few = measure(Mailing.objects.all()), measure(EmailAccount.objects.all()), measure(Delivery.objects.all())
    for name in ("a", "b", "c"):
        world.account(bob, name)
    world.contacts(bob, 20)
    for _ in range(6):
        world.started(bob)
    assert measure(Mailing.objects.all()) == few[0]
    assert measure(EmailAccount.objects.all()) == few[1]
    assert measure(Delivery.objects.all()) == few[2]


def test_lifecycle__verbs_from_the_wrong_status(alice, mailing):
    lifecycle.pause(mailing, by=alice)
    for verb in (lifecycle.start, lifecycle.pause):
        with pytest.raises(LifecycleError, match="is paused"):
            verb(mailing, by=alice)
    lifecycle.resume(mailing, by=alice)
    with pytest.raises(LifecycleError, match="is active"):
        lifecycle.resume(mailing, by=alice)
    lifecycle.cancel(mailing, by=alice)
    for verb in (lifecycle.start, lifecycle.pause, lifecycle.resume, lifecycle.cancel):
        with pytest.raises(LifecycleError, match="is cancelled"):
            verb(mailing, by=alice)
    assert list(mailing.audit.order_by("pk").values_list("action", flat=True)) == [
        "created",
        "started",
        "paused",
        "resumed",
        "cancelled",
    ]


def test_lifecycle__the_frozen_message_is_sent_whatever_happens_to_it(alice, mailing, monkeypatch):
    from massmail.engine.standalone import run
    from massmail.transport import memory

    memory.clear()
    Message.objects.update(content="<p>edited</p>", subject="Edited")
    Contact.objects.filter(email="person2@alice.example").update(first_name="Renamed")
    run(clock=world.clock(), until_idle=True)
    texts = [letter.data.decode() for letter in memory.outbox]
    assert len(texts) == 3
    assert not any("edited" in text or "Edited" in text for text in texts)
    assert timezone.is_aware(mailing.started_at)
    memory.clear()
