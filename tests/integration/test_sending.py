"""The rules of sending, each at making, at starting and at sending where it applies."""

from __future__ import annotations

import datetime as dt
from collections import Counter
from email import message_from_bytes
from itertools import pairwise

import pytest

from example_project.crm.models import Contact
from massmail.choices import DeliveryStatus, Exclusion, HoldReason, MailingStatus, Phase
from massmail.engine import holds, lanes, lifecycle
from massmail.engine.run import run_lane, tick
from massmail.engine.standalone import run
from massmail.exceptions import LifecycleError
from massmail.models import AccountDay, Delivery, EmailAccount, Lane, Recipient, Suppression
from massmail.outcomes import progress, unsubscribe
from massmail.transport import Reply, TransportError, memory
from tests import world

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def outbox():
    memory.clear()
    world.settings()
    yield memory.outbox
    memory.clear()


def send(at: str = "2026-11-23 10:00", **options) -> int:
    return run(clock=world.clock(at), until_idle=True, **options)


def statuses(mailing) -> Counter:
    return Counter(mailing.deliveries.values_list("status", flat=True))


def reasons(mailing) -> Counter:
    return Counter(mailing.deliveries.exclude(reason="").values_list("reason", flat=True))


def test_a_mailing_runs_to_its_end(alice, outbox):
    world.account(alice)
    world.contacts(alice, 5)
    mailing = world.started(alice)

    assert send() == 5

    mailing.refresh_from_db()
    assert mailing.status == MailingStatus.DONE
    assert {letter.to for letter in outbox} == {f"person{n}@alice.example" for n in range(5)}
    first = message_from_bytes(outbox[0].data)
    assert first["Subject"] == "News for First0"
    assert first["From"] == "second@alice-mail.example"
    assert first["List-Unsubscribe-Post"] == "List-Unsubscribe=One-Click"
    assert first.get_content_type() == "multipart/alternative"
    assert progress([mailing], now=world.MONDAY)[mailing.pk].percent == 100
    assert progress([mailing], now=world.MONDAY)[mailing.pk].sent_today == 5


def test_each_delivery_keeps_what_was_sent(alice, outbox):
    world.account(alice)
    world.contacts(alice, 1)
    mailing = world.started(alice)
    send()
    delivery = mailing.deliveries.get()
    assert delivery.status == DeliveryStatus.SENT
    assert delivery.values["first_name"] == "First0"
    assert delivery.version == mailing.version
    assert message_from_bytes(outbox[0].data)["Message-ID"] == delivery.message_id
    assert delivery.message_id.endswith("@alice-mail.example>")


# Owner ----------------------------------------------------------------------------------------------------------------


def test_owner__others_are_left_out_when_made(alice, bob):
    world.contacts(alice, 2)
    world.contacts(bob, 3)
    made = world.create_mailing(owner=alice, recipients=Contact.objects.all())
    assert (made.added, made.left_out) == (2, {Exclusion.NOT_OWNER: 3})


def test_owner__only_the_owner_or_a_superuser_may_start(alice, bob, carol, boss):
    world.account(alice)
    world.contacts(alice, 1)
    mailing = world.mailing(alice)
    for somebody in (bob, carol):
        with pytest.raises(LifecycleError, match="Only its owner"):
            lifecycle.start(mailing, by=somebody)
    assert lifecycle.start(mailing, by=boss).status == MailingStatus.ACTIVE


def test_owner__handed_over_after_it_was_made(alice, bob, outbox):
    world.account(alice)
    people = world.contacts(alice, 3)
    mailing = world.started(alice)
    Contact.objects.filter(pk=people[1].pk).update(owner=bob)
    send()
    assert statuses(mailing) == {"sent": 2, "skipped": 1}
    assert reasons(mailing) == {Exclusion.NOT_OWNER: 1}


def test_owner__only_own_accounts(alice, bob, outbox):
    world.account(bob)
    own = world.account(alice)
    world.contacts(alice, 4)
    mailing = world.started(alice)
    send()
    assert set(mailing.deliveries.values_list("account", flat=True)) == {own.pk}


def test_owner__account_given_to_a_colleague_in_mid_run(alice, bob, outbox):
    first, second = world.account(alice, "first"), world.account(alice, "second")
    world.contacts(alice, 6)
    mailing = world.started(alice)
    lanes.assign(mailing, [first, second], daily_limit=94)
    EmailAccount.objects.filter(pk=first.pk).update(owner=bob)
    send()
    assert set(mailing.deliveries.values_list("account", flat=True)) == {second.pk}
    assert {letter.sender for letter in outbox} == {second.from_email}


# VIP ------------------------------------------------------------------------------------------------------------------


def test_vip__main_account_serves_vips_only(alice, outbox):
    main, other = world.account(alice, "main", main=True), world.account(alice)
    world.contacts(alice, 6)
    lanes.set_vip(
        Contact.objects.filter(email__in=["person1@alice.example", "person4@alice.example"]), vip=True, by=alice
    )
    world.started(alice)
    send()
    by_sender = {letter.to: letter.sender for letter in outbox}
    assert {to for to, sender in by_sender.items() if sender == main.from_email} == {
        "person1@alice.example",
        "person4@alice.example",
    }
    assert Counter(by_sender.values()) == {main.from_email: 2, other.from_email: 4}


def test_vip__only_a_main_account_reaches_vips_and_says_so(alice, outbox):
    world.account(alice, "main", main=True)
    world.contacts(alice, 3)
    lanes.set_vip(Contact.objects.filter(email="person1@alice.example"), vip=True, by=alice)
    draft = world.mailing(alice)
    (delay,) = lifecycle.delays(draft, now=world.MONDAY)
    assert delay.reason == HoldReason.ONLY_MAIN_ACCOUNT
    assert "1 of 3" in delay.detail
    lifecycle.start(draft, by=alice)
    send()
    assert [letter.to for letter in outbox] == ["person1@alice.example"]
    assert holds.explain(draft, now=world.MONDAY).reason == HoldReason.ONLY_MAIN_ACCOUNT


def test_vip__without_a_main_account_others_serve_them(alice, outbox):
    other = world.account(alice)
    world.contacts(alice, 2)
    lanes.set_vip(Contact.objects.all(), vip=True, by=alice)
    world.started(alice)
    send()
    assert [letter.sender for letter in outbox] == [other.from_email] * 2


def test_vip__marked_and_unmarked_while_queued(alice, outbox):
    main, other = world.account(alice, "main", main=True), world.account(alice)
    world.contacts(alice, 4)
    mailing = world.started(alice)
    lanes.assign(mailing, [main, other], daily_limit=94)
    lanes.set_vip(Contact.objects.filter(email="person0@alice.example"), vip=True, by=alice)
    lanes.set_vip(Contact.objects.filter(email="person3@alice.example"), vip=True, by=alice)
    lanes.set_vip(Contact.objects.filter(email="person3@alice.example"), vip=False, by=alice)
    send()
    assert {letter.to: letter.sender for letter in outbox}["person0@alice.example"] == main.from_email
    assert Counter(letter.sender for letter in outbox) == {main.from_email: 1, other.from_email: 3}


def test_vip__main_account_turned_up_later(alice, outbox):
    other = world.account(alice)
    world.contacts(alice, 3)
    lanes.set_vip(Contact.objects.filter(email="person2@alice.example"), vip=True, by=alice)
    mailing = world.started(alice)
    lanes.assign(mailing, [other], daily_limit=94)
    main = world.account(alice, "main", main=True)
    send()
    assert {letter.to: letter.sender for letter in outbox}["person2@alice.example"] == main.from_email


def test_vip__sticky_account_is_never_the_main_one(alice):
    world.account(alice, "main", main=True)
    world.account(alice)
    world.contacts(alice, 2)
    lanes.set_vip(Contact.objects.all(), vip=True, by=alice)
    world.started(alice)
    send()
    assert set(Recipient.objects.values_list("account", flat=True)) == {None}


# Sticky ---------------------------------------------------------------------------------------------------------------


def test_sticky__the_same_account_across_mailings(alice, outbox):
    for name in ("one", "two", "three"):
        world.account(alice, name)
    world.contacts(alice, 30)
    world.started(alice)
    send()
    first = {letter.to: letter.sender for letter in outbox}
    memory.clear()
    world.started(alice, Contact.objects.order_by("-pk"))
    send()
    assert {letter.to: letter.sender for letter in outbox} == first
    assert Counter(first.values()) == dict.fromkeys({f"{n}@alice-mail.example" for n in ("one", "two", "three")}, 10)


def test_sticky__in_proportion_to_the_daily_limits(alice, outbox):
    world.account(alice, "big", emails_per_day=200)
    world.account(alice, "small", emails_per_day=50)
    world.contacts(alice, 100)
    world.started(alice)
    send()
    assert Counter(letter.sender.split("@")[0] for letter in outbox) == {"big": 80, "small": 20}


def test_sticky__changes_when_the_account_is_switched_off(alice, outbox):
    first, second = world.account(alice, "first"), world.account(alice, "second")
    world.contacts(alice, 10)
    mailing = world.started(alice)
    lanes.assign(mailing, [first, second], daily_limit=94)
    EmailAccount.objects.filter(pk=first.pk).update(massmail=False)
    send()
    assert {letter.sender for letter in outbox} == {second.from_email}
    assert set(Recipient.objects.values_list("account", flat=True)) == {second.pk}


def test_sticky__deleted_account_in_mid_run(alice, outbox):
    first, second = world.account(alice, "first"), world.account(alice, "second")
    world.contacts(alice, 10)
    mailing = world.started(alice)
    lanes.assign(mailing, [first, second], daily_limit=94)
    first.delete()
    send()
    mailing.refresh_from_db()
    assert (len(outbox), mailing.status) == (10, MailingStatus.DONE)


def test_sticky__a_held_account_keeps_its_recipients(alice, outbox):
    first, second = world.account(alice, "first"), world.account(alice, "second")
    world.contacts(alice, 10)
    mailing = world.started(alice)
    lanes.assign(mailing, [first, second], daily_limit=94)
    EmailAccount.objects.filter(pk=first.pk).update(hold_reason="535 wrong password")
    send()
    assert len(outbox) == 5
    hold = holds.explain(mailing, now=world.MONDAY)
    assert (hold.reason, hold.about) == (HoldReason.ACCOUNT_HELD, first)
    assert "535 wrong password" in hold.detail


# Quota ----------------------------------------------------------------------------------------------------------------


def test_quota__94_means_94(alice, outbox):
    box = world.account(alice)
    world.contacts(alice, 200)
    mailing = world.started(alice)
    send("2026-11-23 09:00")
    assert len(outbox) == 94
    hold = holds.explain(mailing, now=world.MONDAY)
    assert (hold.reason, hold.until) == (HoldReason.QUOTA, world.berlin("2026-11-24 00:00"))
    send("2026-11-23 23:59")
    assert len(outbox) == 94
    send("2026-11-24 00:00")
    assert len(outbox) == 188
    assert list(AccountDay.objects.order_by("date").values_list("account", "used")) == [(box.pk, 94), (box.pk, 94)]


def test_quota__an_account_may_have_its_own(alice, outbox):
    world.account(alice, emails_per_day=7)
    world.contacts(alice, 20)
    world.started(alice)
    send()
    assert len(outbox) == 7


def test_quota__what_was_not_handed_over_is_given_back(alice, outbox):
    box = world.account(alice, emails_per_day=2)
    world.contacts(alice, 3)
    memory.replies["person0@alice.example"] = Reply(phase=Phase.RCPT, code=550, text="5.1.1 No such user")
    mailing = world.started(alice)
    send()
    assert statuses(mailing) == {"failed": 1, "sent": 2}
    assert AccountDay.objects.get(account=box).used == 2


# Working hours --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("at", "expected"),
    [
        ("2026-11-23 08:29:59", 0),
        ("2026-11-23 08:30", 3),
        ("2026-11-23 17:29:59", 3),
        ("2026-11-23 17:30", 0),
        ("2026-11-26 12:00", 3),  # Thursday
        ("2026-11-27 12:00", 0),  # Friday
        ("2026-11-28 12:00", 0),
        ("2026-11-29 12:00", 0),
    ],
)
def test_hours__box_ticked(alice, outbox, at, expected):
    world.settings(use_business_time=True)
    world.account(alice)
    world.contacts(alice, 3)
    world.started(alice)
    assert send(at) == expected


def test_hours__thursday_evening_waits_for_monday(alice):
    world.settings(use_business_time=True)
    world.account(alice)
    world.contacts(alice, 3)
    draft = world.mailing(alice)
    now = world.berlin("2026-11-26 18:00")
    (delay,) = lifecycle.delays(draft, now=now)
    assert (delay.reason, delay.until) == (HoldReason.CLOSED, world.berlin("2026-11-30 08:30"))
    lifecycle.start(draft, by=alice, now=now)
    assert holds.explain(draft, now=now).until == world.berlin("2026-11-30 08:30")
    assert send("2026-11-26 18:00") == 0
    assert send("2026-11-30 08:30") == 3


def test_hours__box_not_ticked_sends_on_a_friday_night(alice):
    world.account(alice)
    world.contacts(alice, 3)
    world.started(alice)
    assert send("2026-11-27 23:30") == 3


def test_hours__closing_time_ends_a_run(alice, outbox):
    world.settings(use_business_time=True, gap_min=60, gap_max=60)
    world.account(alice, paced=True)
    world.contacts(alice, 20)
    mailing = world.started(alice)
    send("2026-11-23 17:25")
    assert len(outbox) == 5
    last = mailing.deliveries.filter(status="sent").latest("sent_at")
    assert last.sent_at == world.berlin("2026-11-23 17:29")


def test_hours__ignored_on_demand(alice):
    world.settings(use_business_time=True)
    world.account(alice)
    world.contacts(alice, 3)
    world.started(alice)
    assert send("2026-11-28 03:00", ignore_hours=True) == 3


def test_start_at__waits(alice):
    world.account(alice)
    world.contacts(alice, 3)
    draft = world.mailing(alice)
    draft.start_at = world.berlin("2026-11-25 09:00")
    draft.save()
    lifecycle.start(draft, by=alice, now=world.MONDAY)
    assert holds.explain(draft, now=world.MONDAY).reason == HoldReason.START_AT
    assert send("2026-11-25 08:59") == 0
    assert send("2026-11-25 09:00") == 3


# Pacing ---------------------------------------------------------------------------------------------------------------


def test_pacing__one_mail_at_a_time_with_gaps(alice, outbox):
    world.account(alice, paced=True)
    world.contacts(alice, 5)
    mailing = world.started(alice)
    send("2026-11-23 10:00")
    times = list(mailing.deliveries.order_by("sent_at").values_list("sent_at", flat=True))
    gaps = [(later - earlier).total_seconds() for earlier, later in pairwise(times)]
    assert len(gaps) == 4
    assert all(15 <= gap <= 35 for gap in gaps)
    assert len(set(gaps)) > 1


def test_pacing__gap_holds_the_account(alice):
    box = world.account(alice, paced=True)
    world.contacts(alice, 2)
    mailing = world.started(alice)
    assert tick(clock=world.clock()) == [box.pk]
    assert run_lane(box.pk, clock=world.clock()) == 1
    assert tick(clock=world.clock("2026-11-23 10:00:10")) == []
    assert run_lane(box.pk, clock=world.clock("2026-11-23 10:00:10")) == 0
    hold = holds.explain(mailing, now=world.berlin("2026-11-23 10:00:10"))
    assert hold.reason == HoldReason.GAP
    assert dt.timedelta(seconds=15) <= hold.until - world.MONDAY <= dt.timedelta(seconds=35)


# Fairness -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("paced", [True, False])
def test_fairness__mailings_of_an_owner_take_turns(alice, outbox, paced):
    world.account(alice, paced=paced, emails_per_day=12)
    world.contacts(alice, 40)
    first, second, third = (world.started(alice) for _ in range(3))
    send()
    assert [statuses(each)["sent"] for each in (first, second, third)] == [4, 4, 4]


# Re-check right before sending ----------------------------------------------------------------------------------------


def test_recheck__unsubscribed_suppressed_disqualified_deleted_changed(alice, outbox):
    world.account(alice)
    people = world.contacts(alice, 7)
    mailing = world.started(alice)
    box = EmailAccount.objects.get()
    lanes.assign(mailing, [box], daily_limit=94)
    Contact.objects.filter(pk=people[0].pk).update(massmail=False)
    Suppression.objects.create(address="person1@alice.example", reason="manual")
    Contact.objects.filter(pk=people[2].pk).update(disqualified=True)
    people[3].delete()
    Contact.objects.filter(pk=people[4].pk).update(email="elsewhere@alice.example")
    Recipient.objects.filter(object_id=str(people[5].pk)).update(subscribed=False)
    send()
    assert [letter.to for letter in outbox] == ["person6@alice.example"]
    assert reasons(mailing) == {
        Exclusion.UNSUBSCRIBED: 2,
        Exclusion.SUPPRESSED: 1,
        Exclusion.NOT_ELIGIBLE: 1,
        Exclusion.DELETED: 1,
        Exclusion.ADDRESS_CHANGED: 1,
    }


def test_recheck__unsubscribing_reaches_what_was_read_ahead(alice, outbox, monkeypatch):
    """Fifty candidates are read at a time; a click between two mails counts all the same."""
    world.account(alice)
    world.contacts(alice, 10)
    mailing = world.started(alice)
    deliver = memory.MemoryConnection.deliver

    def deliver_and_click(self, *, sender, to, data):
        recipient = Recipient.objects.get(addresses__icontains="person9@")
        unsubscribe(recipient, "person9@alice.example", source="test")
        return deliver(self, sender=sender, to=to, data=data)

    monkeypatch.setattr(memory.MemoryConnection, "deliver", deliver_and_click)
    send()
    assert statuses(mailing) == {"sent": 9, "skipped": 1}


@pytest.mark.parametrize("change", ["pause", "cancel", "account_off", "account_held"])
def test_recheck__stop_is_effective_before_the_next_mail(alice, outbox, monkeypatch, change):
    box = world.account(alice)
    world.contacts(alice, 10)
    mailing = world.started(alice)
    deliver = memory.MemoryConnection.deliver

    def deliver_and_stop(self, *, sender, to, data):
        if len(memory.outbox) == 3:
            match change:
                case "pause":
                    lifecycle.pause(mailing, by=alice)
                case "cancel":
                    lifecycle.cancel(mailing, by=alice)
                case "account_off":
                    EmailAccount.objects.filter(pk=box.pk).update(massmail=False)
                case "account_held":
                    EmailAccount.objects.filter(pk=box.pk).update(hold_reason="stop")
        return deliver(self, sender=sender, to=to, data=data)

    monkeypatch.setattr(memory.MemoryConnection, "deliver", deliver_and_stop)
    send()
    assert len(outbox) == 4
    assert statuses(mailing) == {"sent": 4, "queued": 6}


def test_recheck__owner_deactivated(alice, outbox):
    world.account(alice)
    world.contacts(alice, 3)
    mailing = world.started(alice)
    alice.is_active = False
    alice.save()
    assert send() == 0
    assert holds.explain(mailing, now=world.MONDAY).reason == HoldReason.OWNER_INACTIVE


# Outcomes -------------------------------------------------------------------------------------------------------------


def refuse(number: int, phase: Phase, code: int | None, text: str) -> None:
    reply = Reply(phase=phase, code=code, text=text)
    lost = code is None or code == 421
    memory.replies[f"person{number}@alice.example"] = TransportError(reply) if lost else reply


def test_outcome__no_such_user_is_suppressed(alice, outbox):
    world.account(alice)
    world.contacts(alice, 3)
    refuse(1, Phase.RCPT, 550, "5.1.1 User unknown")
    mailing = world.started(alice)
    send()
    assert statuses(mailing) == {"sent": 2, "failed": 1}
    failed = mailing.deliveries.get(status="failed")
    assert (failed.reason, failed.reply) == ("bad_address", "5.1.1 User unknown")
    assert Suppression.objects.get().address == "person1@alice.example"


def test_outcome__greylisted_is_sent_later_with_the_same_message_id(alice, outbox):
    world.account(alice)
    world.contacts(alice, 2)
    refuse(0, Phase.RCPT, 450, "4.2.0 Greylisted")
    mailing = world.started(alice)
    send("2026-11-23 10:00")
    waiting = mailing.deliveries.get(status="queued")
    assert (waiting.attempts, waiting.not_before) == (1, world.berlin("2026-11-23 10:15"))
    assert holds.explain(mailing, now=world.MONDAY).reason == HoldReason.RETRY
    memory.replies.clear()
    assert send("2026-11-23 10:14") == 0
    assert send("2026-11-23 10:15") == 1
    assert message_from_bytes(outbox[-1].data)["Message-ID"] == waiting.message_id
    assert statuses(mailing) == {"sent": 2}


def test_outcome__full_mailbox_fails_in_the_end_and_is_not_suppressed(alice, outbox):
    world.account(alice)
    world.contacts(alice, 1)
    refuse(0, Phase.RCPT, 452, "4.2.2 Mailbox full")
    mailing = world.started(alice)
    for day in range(23, 31):
        for hour in range(24):
            send(f"2026-11-{day} {hour:02}:59")
    failed = mailing.deliveries.get()
    assert (failed.status, failed.reason, failed.attempts) == ("failed", "mailbox_full", 7)
    assert not Suppression.objects.exists()


def test_outcome__policy_is_not_the_addresses_fault(alice):
    world.account(alice)
    world.contacts(alice, 1)
    refuse(0, Phase.DOT, 554, "5.7.1 Looks like spam")
    mailing = world.started(alice)
    send()
    assert mailing.deliveries.get().reason == "policy"
    assert not Suppression.objects.exists()


def test_outcome__provider_limit_holds_the_account_and_nobody_fails(alice, outbox):
    box = world.account(alice)
    world.contacts(alice, 5)
    refuse(2, Phase.RCPT, 550, "5.4.5 Daily user sending limit exceeded")
    mailing = world.started(alice)
    send()
    box.refresh_from_db()
    assert statuses(mailing) == {"sent": 2, "queued": 3}
    assert box.held_until == world.berlin("2026-11-24 10:00")
    assert "Daily user sending limit" in holds.explain(mailing, now=world.MONDAY).detail


def test_outcome__421_backs_off_without_counting_an_attempt(alice, outbox):
    box = world.account(alice)
    world.contacts(alice, 3)
    refuse(1, Phase.RCPT, 421, "4.7.0 Try again later")
    mailing = world.started(alice)
    send()
    assert statuses(mailing) == {"sent": 1, "queued": 2}
    assert set(mailing.deliveries.values_list("attempts", flat=True)) == {0}
    lane = Lane.objects.get(account=box)
    assert (lane.failures, lane.next_at) == (1, world.berlin("2026-11-23 10:01"))
    assert holds.explain(mailing, now=world.MONDAY).reason == HoldReason.BACK_OFF
    # The others go first; then the one at which it broke off has another try.
    send("2026-11-23 10:01")
    lane.refresh_from_db()
    assert (statuses(mailing), lane.failures) == ({"sent": 2, "queued": 1}, 0)
    send("2026-11-23 10:10")
    lane.refresh_from_db()
    assert (lane.failures, lane.next_at) == (1, world.berlin("2026-11-23 10:11"))
    memory.replies.clear()
    send("2026-11-23 10:20")
    lane.refresh_from_db()
    assert (statuses(mailing), lane.failures) == ({"sent": 3}, 0)


def test_outcome__failures_in_a_row_back_off_further(alice, monkeypatch):
    box = world.account(alice)
    world.contacts(alice, 1)
    world.started(alice)

    def refuse_connection(self):
        raise TransportError(Reply(phase=Phase.CONNECT, code=None, text="refused"))

    monkeypatch.setattr(memory.MemoryConnection, "open", refuse_connection)
    for at, until in (("10:00", "10:01"), ("10:01", "10:06"), ("10:06", "10:21"), ("10:21", "11:21")):
        send(f"2026-11-23 {at}")
        assert Lane.objects.get(account=box).next_at == world.berlin(f"2026-11-23 {until}")
    assert set(Delivery.objects.values_list("status", "attempts", "not_before")) == {("queued", 0, None)}


def test_outcome__five_policy_refusals_in_a_row_stop_account_and_mailing(alice, outbox):
    box = world.account(alice)
    world.contacts(alice, 20)
    for number in (0, *range(2, 20)):
        refuse(number, Phase.DOT, 554, "5.7.1 Message rejected as spam")
    mailing = world.started(alice)
    send()
    box.refresh_from_db()
    mailing.refresh_from_db()
    assert statuses(mailing) == {"failed": 6, "sent": 1, "queued": 13}
    assert mailing.status == MailingStatus.PAUSED
    for text in (box.hold_reason, mailing.pause_reason):
        assert "5 mails in a row were refused by policy" in text
        assert "rejected as spam" in text


def test_outcome__dropped_after_the_dot_is_unknown_and_never_sent_again(alice, outbox):
    world.account(alice)
    world.contacts(alice, 3)
    refuse(1, Phase.DOT, None, "connection lost")
    mailing = world.started(alice)
    send()
    memory.replies.clear()
    send("2026-11-23 12:00")
    assert statuses(mailing) == {"sent": 2, "unknown": 1}
    assert Counter(letter.to for letter in outbox)["person1@alice.example"] == 1
    mailing.refresh_from_db()
    assert mailing.status == MailingStatus.DONE


def test_outcome__message_refused_pauses_the_mailing(alice, outbox):
    world.account(alice)
    world.contacts(alice, 3)
    refuse(1, Phase.DOT, 552, "5.3.4 Message too big")
    mailing = world.started(alice)
    send()
    mailing.refresh_from_db()
    assert mailing.status == MailingStatus.PAUSED
    assert "Message too big" in holds.explain(mailing, now=world.MONDAY).detail
    assert statuses(mailing) == {"sent": 1, "queued": 2}


def test_outcome__wrong_password_holds_the_account_after_one_try(alice, outbox, monkeypatch):
    box = world.account(alice)
    world.contacts(alice, 3)
    tries = []

    def refuse_login(self):
        tries.append(1)
        raise TransportError(Reply(phase=Phase.AUTH, code=535, text="5.7.8 Bad credentials"))

    monkeypatch.setattr(memory.MemoryConnection, "open", refuse_login)
    mailing = world.started(alice)
    send()
    send("2026-11-23 12:00")
    box.refresh_from_db()
    assert (len(tries), statuses(mailing)) == (1, {"queued": 3})
    assert "Bad credentials" in box.hold_reason
    assert AccountDay.objects.count() == 0


def test_outcome__books_balance(alice, outbox):
    world.account(alice)
    world.contacts(alice, 6)
    refuse(0, Phase.RCPT, 550, "5.1.1 User unknown")
    refuse(1, Phase.DOT, 554, "5.7.1 spam")
    Contact.objects.filter(email="person2@alice.example").update(massmail=True)
    mailing = world.started(alice)
    Contact.objects.filter(email="person2@alice.example").update(massmail=False)
    send()
    seen = progress([mailing], now=world.MONDAY)[mailing.pk]
    assert (seen.total, seen.sent, seen.failed, seen.skipped, seen.unknown, seen.to_go) == (6, 3, 2, 1, 0, 0)
    assert statuses(mailing) == {"sent": 3, "failed": 2, "skipped": 1}


def test_outcome__a_broken_record_of_the_host_stops_nobody_else(alice, outbox, monkeypatch):
    from example_project.crm.mailing import ContactRecipients

    world.account(alice)
    world.contacts(alice, 3)
    values = ContactRecipients.values

    def sometimes(self, contact):
        if contact.first_name == "First1":
            raise ValueError("broken record")
        return values(self, contact)

    monkeypatch.setattr(ContactRecipients, "values", sometimes)
    mailing = world.started(alice)
    send()
    assert statuses(mailing) == {"sent": 2, "skipped": 1}
    assert "broken record" in mailing.deliveries.get(status="skipped").reply


def test_outcome__an_unforeseen_error_lets_the_lane_rest_and_shows(alice, outbox, monkeypatch):
    from massmail.engine import letters as engine

    world.account(alice)
    world.contacts(alice, 2)
    mailing = world.started(alice)

    def broken(*args, **kwargs):
        raise KeyError("surprise")

    with monkeypatch.context() as patch:
        patch.setattr(engine, "render", broken)
        assert send() == 0
    hold = holds.explain(mailing, now=world.MONDAY)
    assert (hold.reason, hold.until) == (HoldReason.BACK_OFF, world.berlin("2026-11-23 10:01"))
    assert "internal error" in hold.detail
    assert "log" in hold.remedy
    assert statuses(mailing) == {"queued": 2}
    assert send("2026-11-23 10:01") == 2


def test_outcome__an_error_in_the_next_claim_does_not_undo_the_last_mail(alice, outbox, monkeypatch):
    from massmail.engine.claims import Claims

    world.account(alice)
    people = world.contacts(alice, 3)
    mailing = world.started(alice)
    claim = Claims.claim

    def sometimes(self, candidate, **fields):
        if candidate.obj.pk == people[1].pk:
            raise ValueError("broken row")
        return claim(self, candidate, **fields)

    monkeypatch.setattr(Claims, "claim", sometimes)
    assert send() == 2
    assert statuses(mailing) == {"sent": 2, "queued": 1}
    waiting = mailing.deliveries.get(status="queued")
    assert waiting.not_before == world.berlin("2026-11-23 10:15")
    assert "error" in holds.explain(waiting, now=world.MONDAY).detail
    monkeypatch.undo()
    assert send("2026-11-23 10:15") == 1


def test_outcome__an_error_while_composing_the_next_leaves_the_last_in_no_doubt(alice, outbox, monkeypatch):
    from massmail.engine import letters as engine

    box = world.account(alice)
    world.contacts(alice, 3)
    mailing = world.started(alice)
    render = engine.render

    def sometimes(*args, to, **kwargs):
        if to.startswith("person1"):
            raise KeyError("surprise")
        return render(*args, to=to, **kwargs)

    with monkeypatch.context() as patch:
        patch.setattr(engine, "render", sometimes)
        send()
    assert (statuses(mailing), outbox) == ({"queued": 3}, [])
    assert AccountDay.objects.get(account=box).used == 0
    assert send("2026-11-23 10:01") == 3


@pytest.mark.parametrize("value", [float("nan"), float("inf"), "a\x00b", object(), dt.date(2026, 11, 2)])
def test_outcome__any_value_of_the_host_can_be_sent_and_kept(alice, outbox, monkeypatch, value):
    from example_project.crm.mailing import ContactRecipients

    world.account(alice)
    world.contacts(alice, 2)
    values = {"first_name": value, "company": alice}
    monkeypatch.setattr(ContactRecipients, "values", lambda self, contact: values)
    mailing = world.started(alice)
    assert send() == 2
    assert all(kept["company"] == "alice" for kept in mailing.deliveries.values_list("values", flat=True))


def test_outcome__a_database_error_in_the_hosts_code_skips_nobody(alice, outbox, monkeypatch):
    from django.db import OperationalError

    from example_project.crm.mailing import ContactRecipients

    world.account(alice)
    world.contacts(alice, 2)

    def broken(self, contact):
        raise OperationalError("server closed the connection")

    with monkeypatch.context() as patch:
        patch.setattr(ContactRecipients, "values", broken)
        mailing = world.started(alice)
        send()
    assert statuses(mailing) == {"queued": 2}
    assert send("2026-11-23 10:01") == 2


def test_outcome__skips_and_a_deleted_account_leave_the_books_right(alice, outbox):
    first, second = world.account(alice, "first"), world.account(alice, "second")
    world.contacts(alice, 6)
    mailing = world.started(alice)
    Contact.objects.filter(email__in=["person0@alice.example", "person1@alice.example"]).update(massmail=False)
    lanes.assign(mailing, [first, second], daily_limit=94)
    run_lane(first.pk, clock=world.clock())
    first.delete()
    waiting = mailing.deliveries.filter(status="queued").latest("pk")
    Contact.objects.filter(email=waiting.address).update(massmail=False)
    send()
    seen = progress([mailing], now=world.MONDAY)[mailing.pk]
    assert (seen.sent, seen.skipped, seen.to_go, seen.percent) == (3, 3, 0, 100)


def test_recheck__a_slow_server_does_not_carry_the_next_mail_past_closing_time(alice, outbox, monkeypatch):
    world.settings(use_business_time=True)
    world.account(alice)
    world.contacts(alice, 5)
    mailing = world.started(alice)
    clock = world.clock("2026-11-23 17:25")
    deliver = memory.MemoryConnection.deliver

    def slowly(self, **letter):
        clock.wait_until(clock() + dt.timedelta(minutes=9))
        return deliver(self, **letter)

    monkeypatch.setattr(memory.MemoryConnection, "deliver", slowly)
    run(clock=clock, until_idle=True)
    assert statuses(mailing) == {"sent": 1, "queued": 4}


def test_vip__one_with_several_addresses_goes_first_as_well(alice, outbox):
    main = world.account(alice, "main", main=True)
    world.account(alice)
    world.contacts(alice, 20)
    last = world.contacts(alice, 1, email="o'neil@x.example, second@x.example")[0]
    lanes.set_vip(Contact.objects.filter(pk=last.pk), vip=True, by=alice)
    mailing = world.started(alice)
    assert set(mailing.deliveries.order_by("pk")[:2].values_list("object_id", flat=True)) == {str(last.pk)}
    send()
    assert {letter.to for letter in outbox if letter.sender == main.from_email} == {
        "o'neil@x.example",
        "second@x.example",
    }


def test_type__an_unregistered_one_holds_its_mailing_only(alice, outbox, settings):
    world.account(alice)
    world.contacts(alice, 2)
    world.lead(alice)
    from example_project.crm.models import Lead

    lost = world.started(alice, Lead.objects.all(), message=world.message(alice, subject="Hi"))
    other = world.started(alice)
    settings.MASSMAIL_RECIPIENT_TYPES = ["example_project.crm.mailing.ContactRecipients"]
    assert send() == 2
    assert statuses(other) == {"sent": 2}
    assert holds.explain(lost, now=world.MONDAY).reason == HoldReason.NO_TYPE


def test_unsubscribe__works_when_the_type_is_not_registered_any_more(alice, settings):
    box = world.account(alice)
    world.contacts(alice, 1)
    mailing = world.started(alice)
    lanes.assign(mailing, [box], daily_limit=94)
    settings.MASSMAIL_RECIPIENT_TYPES = []
    unsubscribe(Recipient.objects.get(), "person0@alice.example", source="test")
    assert Suppression.objects.get().address == "person0@alice.example"


def test_clock__a_rest_written_by_a_clock_that_was_ahead_is_ignored(alice, outbox):
    world.account(alice, paced=True)
    world.contacts(alice, 2)
    world.started(alice)
    run(clock=world.clock("2027-05-03 10:00"), until_idle=False)
    assert run(clock=world.clock("2026-11-23 10:00"), until_idle=False) == 1


# Leases ---------------------------------------------------------------------------------------------------------------


def test_lease__a_lane_has_one_holder(alice):
    box = world.account(alice)
    first = lanes.acquire(box, now=world.MONDAY)
    assert first is not None
    assert lanes.acquire(box, now=world.MONDAY) is None
    first.release()
    assert lanes.acquire(box, now=world.MONDAY) is not None


def test_lease__sending_under_a_lost_lease_becomes_unknown(alice, outbox):
    box = world.account(alice)
    world.contacts(alice, 2)
    mailing = world.started(alice)
    lanes.assign(mailing, [box], daily_limit=94)
    lane = Lane.objects.create(account=box, lease_token="dead", lease_until=world.berlin("2020-01-01 00:00"))
    Delivery.objects.filter(address="person0@alice.example").update(
        status="sending", sending_at=world.MONDAY, lane=lane, message_id="<x@y>"
    )
    send()
    assert statuses(mailing) == {"unknown": 1, "sent": 1}
    assert mailing.deliveries.get(status="unknown").reason == "interrupted"
    assert [letter.to for letter in outbox] == ["person1@alice.example"]


def test_lease__a_living_one_is_left_alone(alice):
    box = world.account(alice)
    world.contacts(alice, 1)
    mailing = world.started(alice)
    lanes.assign(mailing, [box], daily_limit=94)
    lease = lanes.acquire(box, now=world.MONDAY)
    Delivery.objects.update(status="sending", sending_at=world.MONDAY, lane=lease.lane)
    tick(clock=world.clock())
    assert statuses(mailing) == {"sending": 1}


def test_tick__constant_number_of_queries(alice, bob, django_assert_max_num_queries, django_assert_num_queries):
    from django.db import connection
    from django.test.utils import CaptureQueriesContext

    for owner, number in ((alice, 3), (bob, 30)):
        world.account(owner)
        world.contacts(owner, number)
    world.started(alice)
    tick(clock=world.clock())
    with CaptureQueriesContext(connection) as few:
        tick(clock=world.clock())
    for _ in range(5):
        world.started(bob)
    tick(clock=world.clock())
    with django_assert_num_queries(len(few)):
        tick(clock=world.clock())
