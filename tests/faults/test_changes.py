"""What people do while a mailing runs, what clocks do, and what an outage leaves behind."""

from __future__ import annotations

import datetime as dt
import random
import tracemalloc
from collections import Counter
from contextlib import suppress
from email import message_from_bytes
from itertools import pairwise

import pytest
from django.contrib.contenttypes.models import ContentType
from django.db import connection

from example_project.crm.models import Contact
from massmail.choices import DeliveryStatus, Exclusion, MailingStatus
from massmail.engine import lifecycle
from massmail.engine.run import run_lane, tick
from massmail.engine.window import local_day
from massmail.exceptions import LifecycleError
from massmail.models import AccountDay, Delivery, EmailAccount, Message, Recipient, Suppression
from massmail.outcomes import hold_account, release_account, unsubscribe
from massmail.transport.smtp import SMTPConnection
from tests import oracle, world

ZONE = world.MONDAY.tzinfo


# In mid-run -----------------------------------------------------------------------------------------------------------


@pytest.fixture
def meddle(monkeypatch, server):
    """Do something while the server has the mail number `at`: what comes after it was read ahead already."""

    def meddle(what, *, at=2):
        deliver = SMTPConnection.deliver

        def deliver_and_meddle(self, **letter):
            if len(server.messages) == at:
                what()
            return deliver(self, **letter)

        monkeypatch.setattr(SMTPConnection, "deliver", deliver_and_meddle)

    return meddle


def last(owner):
    return Contact.objects.filter(owner=owner).latest("pk")


def delete(alice, bob):
    last(alice).delete()


def hand_over(alice, bob):
    Contact.objects.filter(pk=last(alice).pk).update(owner=bob)


def disqualify(alice, bob):
    Contact.objects.filter(pk=last(alice).pk).update(disqualified=True)


def change_address(alice, bob):
    Contact.objects.filter(pk=last(alice).pk).update(email="elsewhere@alice.example")


def suppress_the_address(alice, bob):
    Suppression.objects.create(address=last(alice).email, reason="manual")


def opt_out_at_the_host(alice, bob):
    Contact.objects.filter(pk=last(alice).pk).update(massmail=False)


def recipients(contact):
    content_type = ContentType.objects.get_for_model(Contact)
    return Recipient.objects.filter(content_type=content_type, object_id=str(contact.pk))


def opt_out_where_the_host_has_no_field(alice, bob):
    recipients(last(alice)).update(subscribed=False)


def opt_out_by_link(alice, bob):
    unsubscribe(recipients(last(alice)).get(), last(alice).email, source="link")


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (delete, Exclusion.DELETED),
        (hand_over, Exclusion.NOT_OWNER),
        (disqualify, Exclusion.NOT_ELIGIBLE),
        (change_address, Exclusion.ADDRESS_CHANGED),
        (suppress_the_address, Exclusion.SUPPRESSED),
        (opt_out_at_the_host, Exclusion.UNSUBSCRIBED),
        (opt_out_where_the_host_has_no_field, Exclusion.UNSUBSCRIBED),
        (opt_out_by_link, Exclusion.UNSUBSCRIBED),
    ],
)
def test_recipient__changed_in_mid_run_is_skipped_with_the_reason(alice, bob, server, meddle, change, reason):
    """Everybody had been read ahead and judged fit when it happened: the claim asks again."""
    box = world.account(alice, smtp_port=server.port)
    world.contacts(alice, 6)
    mailing = world.started(alice)
    tick(clock=world.clock())
    meddle(lambda: change(alice, bob))
    run_lane(box.pk, clock=world.clock())
    assert oracle.check(server.messages) == {"sent": 5, "skipped": 1}
    assert mailing.deliveries.get(status="skipped").reason == reason
    assert oracle.imbalances() == []


@pytest.mark.parametrize("how", ["deleted", "switched off", "given away"])
def test_account__gone_in_mid_run_leaves_the_rest_to_the_others(alice, bob, server, meddle, how):
    first, second = (world.account(alice, name, smtp_port=server.port) for name in ("first", "second"))
    world.contacts(alice, 20)
    mailing = world.started(alice)
    tick(clock=world.clock())
    row = EmailAccount.objects.filter(pk=first.pk)
    what = {
        "deleted": lambda: EmailAccount.objects.get(pk=first.pk).delete(),
        "switched off": lambda: row.update(massmail=False),
        "given away": lambda: row.update(owner=bob),
    }[how]
    meddle(what)
    run_lane(first.pk, clock=world.clock())
    assert len(server.messages) == 3  # the one that was under way, and none after it
    for minute in range(1, 4):
        for account in tick(clock=world.clock(f"2026-11-23 10:0{minute}")):
            run_lane(account, clock=world.clock(f"2026-11-23 10:0{minute}"))
    assert oracle.check(server.messages) == {"sent": 20}
    assert Counter(record.sender for record in server.messages) == {first.from_email: 3, second.from_email: 17}
    mailing.refresh_from_db()
    assert mailing.status == MailingStatus.DONE


def test_account__put_on_hold_in_mid_run_waits(alice, server, meddle):
    """By another lane, or by what came back: what is queued waits for it and leaves when it is released."""
    box = world.account(alice, smtp_port=server.port)
    world.contacts(alice, 6)
    world.started(alice)
    tick(clock=world.clock())
    meddle(lambda: hold_account(EmailAccount.objects.get(pk=box.pk), "Enough"))
    run_lane(box.pk, clock=world.clock())
    assert oracle.check(server.messages) == {"sent": 3, "queued": 3}
    assert tick(clock=world.clock("2026-11-23 10:01")) == []
    release_account(EmailAccount.objects.get(pk=box.pk), by=alice)
    tick(clock=world.clock("2026-11-23 10:02"))
    run_lane(box.pk, clock=world.clock("2026-11-23 10:02"))
    assert oracle.check(server.messages) == {"sent": 6}
    assert oracle.imbalances() == []


def test_mailing__paused_and_resumed_a_hundred_times_in_mid_run(alice, server, monkeypatch):
    """Before the next mail each time, never after the batch; and in the end everybody has it once."""
    box = world.account(alice, smtp_port=server.port, emails_per_day=1000)
    world.contacts(alice, 101)
    mailing = world.started(alice)
    deliver = SMTPConnection.deliver

    def deliver_and_pause(self, **letter):
        with suppress(LifecycleError):  # it is paused already, and no mail should leave
            lifecycle.pause(mailing, by=alice)
        return deliver(self, **letter)

    monkeypatch.setattr(SMTPConnection, "deliver", deliver_and_pause)
    clock, pauses = world.clock(), 0
    while mailing.status != MailingStatus.DONE and pauses <= 101:
        tick(clock=clock)
        run_lane(box.pk, clock=clock)
        tick(clock=clock)
        mailing.refresh_from_db()
        if mailing.status == MailingStatus.PAUSED:
            pauses += 1
            assert len(server.messages) == pauses
            lifecycle.resume(mailing, by=alice)
    assert pauses >= 100
    assert oracle.check(server.messages) == {"sent": 101}
    assert oracle.imbalances() == []


def test_message__edited_in_mid_run_changes_nothing(alice, server, meddle):
    box = world.account(alice, smtp_port=server.port)
    world.contacts(alice, 6)
    world.started(alice)
    tick(clock=world.clock())

    def edit():
        Message.objects.update(subject="Edited", content="<p>Edited {{ unsubscribe_url }}</p>")

    meddle(edit)
    run_lane(box.pk, clock=world.clock())
    assert oracle.check(server.messages) == {"sent": 6}
    subjects = {message_from_bytes(record.data)["Subject"] for record in server.messages}
    assert subjects == {f"News for First{number}" for number in range(6)}


# Clocks ---------------------------------------------------------------------------------------------------------------


def within_hours(moment):
    local = moment.astimezone(ZONE)
    return local.isoweekday() <= 4 and dt.time(8, 30) <= local.time() < dt.time(17, 30)


def sent_times():
    return list(Delivery.objects.filter(status=DeliveryStatus.SENT).order_by("pk").values_list("sending_at", flat=True))


@pytest.mark.parametrize("seed", range(2))
def test_clock__jumps_for_days_in_both_directions(alice, server, seed):
    """Never outside the window, never more than the day's quota, and a mail at most at each moment."""
    world.settings(use_business_time=True, emails_per_day=7, gap_min=60, gap_max=300)
    box = world.account(alice, smtp_port=server.port, paced=True)
    world.contacts(alice, 70)
    world.started(alice)
    dice, now = random.Random(seed), world.MONDAY
    for _turn in range(60):
        now += dt.timedelta(minutes=dice.choice([1, 5, 5, 5, 30, 30, -20, -300, 600, 1500, -1500, 4000]))
        before = len(server.messages)
        for _again in range(2):
            tick(clock=lambda now=now: now)
            run_lane(box.pk, clock=lambda now=now: now)
        assert len(server.messages) - before <= 1, "a flood"
    times = sent_times()
    assert len(times) > 8
    assert all(map(within_hours, times))
    assert max(Counter(local_day(moment, ZONE) for moment in times).values()) <= 7
    assert max(AccountDay.objects.values_list("used", flat=True)) <= 7
    oracle.check(server.messages)
    assert oracle.imbalances() == []


def test_clock__that_was_days_ahead_silences_nobody(alice, server):
    """The gap it left behind ends in days: the account speaks at once, and keeps its gaps from then on."""
    world.settings(gap_min=600, gap_max=600)
    box = world.account(alice, smtp_port=server.port, paced=True)
    world.contacts(alice, 5)
    world.started(alice)
    for at in ("2026-12-03 10:00", "2026-11-23 10:00", "2026-11-23 10:05", "2026-11-23 10:10"):
        for account in tick(clock=world.clock(at)):
            run_lane(account, clock=world.clock(at))
    assert sent_times() == [world.berlin(at) for at in ("2026-12-03 10:00", "2026-11-23 10:00", "2026-11-23 10:10")]
    assert oracle.check(server.messages) == {"sent": 3, "queued": 2}
    assert AccountDay.objects.filter(account=box).count() == 2


@pytest.mark.parametrize(("day", "length"), [("2026-10-25", 25), ("2027-03-28", 23)], ids=["autumn", "spring"])
def test_clock__changes_to_and_from_summer_time(alice, server, day, length):
    """Minute by minute through the night in which the clocks change, with working hours about it."""
    world.settings(
        use_business_time=True,
        working_days=[1, 2, 3, 4, 5, 6, 7],
        business_time_start=dt.time(1),
        business_time_end=dt.time(4),
        emails_per_day=20,
        gap_min=600,
        gap_max=900,
    )
    box = world.account(alice, smtp_port=server.port, paced=True)
    world.contacts(alice, 60)
    world.started(alice)
    midnight = world.berlin(f"{day} 00:00").astimezone(dt.UTC)
    assert midnight + dt.timedelta(hours=length) == world.berlin(f"{day} 00:00") + dt.timedelta(days=1)
    for minute in range(0, 6 * 60, 5):
        now = midnight + dt.timedelta(minutes=minute)
        tick(clock=lambda now=now: now)
        run_lane(box.pk, clock=lambda now=now: now)
    times = sent_times()
    walls = [moment.astimezone(ZONE).replace(tzinfo=None) for moment in times]
    assert all(dt.time(1) <= wall.time() < dt.time(4) for wall in walls)
    # The quota's day is the one on the wall, too.
    assert list(AccountDay.objects.values_list("date", "used")) == [(dt.date.fromisoformat(day), len(times))]
    gaps = [(later - earlier).total_seconds() for earlier, later in pairwise(times)]
    assert min(gaps) >= 600
    # 2 or 4 hours of real time between one and four o'clock.
    assert (length - 24 + 3) * 3600 - 2400 < (times[-1] - times[0]).total_seconds() < (length - 24 + 3) * 3600


# A backlog ------------------------------------------------------------------------------------------------------------

MANY = 100_000


def backlog(owner, number):
    """A mailing to `number` recipients, made by doubling rows in the database."""
    world.contacts(owner, 100)
    columns = [field.column for field in Contact._meta.concrete_fields if not field.primary_key]
    while (have := Contact.objects.filter(owner=owner).count()) < number:
        copied = ", ".join(f"CAST({have} + id AS varchar(20)) || email" if c == "email" else c for c in columns)
        sql = f"INSERT INTO crm_contact ({', '.join(columns)}) SELECT {copied} FROM crm_contact"  # noqa: S608
        with connection.cursor() as cursor:
            cursor.execute(f"{sql} WHERE owner_id = %s ORDER BY id LIMIT %s", [owner.pk, number - have])
    return world.started(owner)


def peak_of(work):
    """Return the most memory in bytes that `work` has at a time."""
    tracemalloc.start()
    try:
        work()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def test_backlog__after_an_outage(alice, bob, server):
    """100,000 wait: as little memory as for 1,000, within limits and hours, the oldest first."""
    world.settings(use_business_time=True)
    peaks = {}
    for owner, number in ((bob, 1000), (alice, MANY)):
        box = world.account(owner, smtp_port=server.port)
        mailing = backlog(owner, number)
        assert mailing.deliveries.count() == number

        def work(box=box):
            for at in ("07:00", "18:00"):  # nothing is let through for having waited so long
                tick(clock=world.clock(f"2026-11-23 {at}"))
                run_lane(box.pk, clock=world.clock(f"2026-11-23 {at}"))
            assert not AccountDay.objects.filter(account=box).exists()
            for at in ("2026-11-23 12:00", "2026-11-23 12:05", "2026-11-24 09:00"):
                tick(clock=world.clock(at))
                run_lane(box.pk, clock=world.clock(at))

        if owner == bob:
            work()  # what is loaded and compiled once is nobody's memory
            mailing = world.started(owner)
            AccountDay.objects.all().delete()
        peaks[number] = peak_of(work)
        assert set(AccountDay.objects.filter(account=box).values_list("used", flat=True)) == {94}
        sent = mailing.deliveries.filter(status="sent")
        if owner == alice:
            oldest = list(mailing.deliveries.order_by("pk").values_list("pk", flat=True)[: 2 * 94])
            assert sorted(sent.values_list("pk", flat=True)) == oldest
    assert peaks[MANY] < peaks[1000] + 2_000_000
