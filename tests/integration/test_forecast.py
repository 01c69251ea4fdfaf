"""The forecast and the engine agree: on every mail of every account, to the second."""

from __future__ import annotations

import datetime as dt
import itertools
from collections import Counter, defaultdict

import pytest
from django.db import connection, transaction
from django.test.utils import CaptureQueriesContext
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from example_project.crm.models import Contact
from massmail import tasks
from massmail.choices import HoldReason, Limit, MailingStatus
from massmail.engine import census, holds, lanes, lifecycle, outlook
from massmail.engine import forecast as forecasting
from massmail.engine.forecast import forecast
from massmail.engine.standalone import SimulatedClock, run
from massmail.engine.window import local_day
from massmail.models import AccountDay, Delivery, EmailAccount, Mailing, MassmailSettings
from massmail.transport import memory
from tests import world

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def outbox():
    memory.clear()
    world.settings()
    yield memory.outbox
    memory.clear()


def run_through(clock: SimulatedClock) -> None:
    """Let beat and workers work until nothing is left, however many days it takes."""
    for _ in range(1000):
        run(clock=clock, until_idle=True)
        now = clock()
        waiting = Mailing.objects.filter(status=MailingStatus.ACTIVE)
        mailings = [hold.until for hold in holds.explain_many(list(waiting), now=now).values() if hold]
        accounts = [
            hold.until for hold in holds.explain_many(list(EmailAccount.objects.all()), now=now).values() if hold
        ]
        retries = Delivery.objects.filter(not_before__gt=now).values_list("not_before", flat=True)
        starts = waiting.filter(start_at__gt=now).values_list("start_at", flat=True)
        moments = [moment for moment in (*mailings, *accounts, *retries, *starts) if moment and moment > now]
        if not waiting or not moments:
            return
        clock.wait_until(min(moments))
    raise AssertionError("It never comes to its end.")


def sent_slots() -> list[tuple]:
    """Return what was sent, as (account, day, n-th of the day, time, mailing), in order."""
    zone, numbers, found = MassmailSettings.load().zone, Counter(), []
    already = {(day.account_id, day.date): day.used for day in AccountDay.objects.all()}
    sent = Delivery.objects.filter(status="sent")
    for row in sent:
        already[row.account_id, local_day(row.sending_at, zone)] -= 1
    for row in sent.order_by("sending_at", "account_id", "mailing_id"):
        day = local_day(row.sending_at, zone)
        numbers[row.account_id, day] += 1
        number = already[row.account_id, day] + numbers[row.account_id, day]
        found.append((row.account_id, day, number, row.sending_at, row.mailing_id))
    return found


def planned_slots(found: forecasting.Forecast) -> list[tuple]:
    """Return the same of a forecast; mails of one moment, where there is no gap, in the order of their mailings."""
    slots = sorted(found.slots(), key=lambda slot: (slot.at, slot.account, slot.number))
    mailings = sorted((slot.at, slot.account, slot.mailing) for slot in slots)
    return [
        (slot.account, slot.day, slot.number, slot.at, mailing)
        for slot, (_at, _account, mailing) in zip(slots, mailings, strict=True)
    ]


def agree(*mailings: Mailing, clock: SimulatedClock) -> None:
    """Forecast, run, and compare every slot; the sums and the end of each mailing are those of its slots."""
    planned = [forecast(mailing, now=clock()) for mailing in mailings]
    slots = planned_slots(planned[0])
    run_through(clock)
    assert slots == sent_slots()
    for mailing, found in zip(mailings, planned, strict=True):
        mine = [slot for slot in slots if slot[4] == mailing.pk]
        assert found.end == max((slot[3] for slot in mine), default=None)
        counts = defaultdict(Counter)
        for account, day, *_rest in mine:
            counts[day][account] += 1
        assert {day.day: dict(day.counts) for day in found.days} == counts


def paced(owner, name: str = "second", **fields) -> EmailAccount:
    return world.account(owner, name, paced=True, **fields)


# Agreement ------------------------------------------------------------------------------------------------------------


def test_agrees__one_account_over_several_days(alice):
    world.settings(use_business_time=True, gap_min=15, gap_max=35)
    paced(alice, emails_per_day=4)
    world.contacts(alice, 10)
    mailing = world.started(alice)
    agree(mailing, clock=world.clock("2026-11-25 16:00"))  # a Wednesday: over the weekend
    assert sum(Counter(mailing.deliveries.values_list("status", flat=True)).values()) == 10


def test_agrees__several_accounts_and_vips_with_quotas_partly_used(alice):
    world.settings(gap_min=60, gap_max=3600)
    main, second = paced(alice, "main", main=True, emails_per_day=2), paced(alice, emails_per_day=5)
    paced(alice, "third")
    world.contacts(alice, 12)
    lanes.set_vip(Contact.objects.filter(email__regex="person[135]@"), vip=True, by=alice)
    AccountDay.objects.create(account=main, date=dt.date(2026, 11, 23), used=1)
    AccountDay.objects.create(account=second, date=dt.date(2026, 11, 23), used=4)
    agree(world.started(alice), clock=world.clock("2026-11-23 20:00"))


@pytest.mark.parametrize(
    ("at", "hours"),
    [("2026-03-26 16:00", True), ("2026-10-22 16:00", True), ("2026-03-28 23:50", False), ("2026-10-24 23:50", False)],
)
def test_agrees__across_the_change_of_clocks(alice, at, hours):
    world.settings(use_business_time=hours, working_days=[4, 7], gap_min=1800, gap_max=7200)
    paced(alice, emails_per_day=3)
    world.contacts(alice, 6)
    agree(world.started(alice), clock=world.clock(at))


@pytest.mark.parametrize("hours", [True, False])
def test_agrees__spread_evenly(alice, hours):
    world.settings(use_business_time=hours, spread_evenly=True)
    paced(alice, emails_per_day=4)
    paced(alice, "third", emails_per_day=2)
    world.contacts(alice, 10)
    agree(world.started(alice), clock=world.clock("2026-11-23 14:00"))


def test_agrees__two_mailings_to_the_same_people_in_turn(alice):
    world.settings(gap_min=600, gap_max=900)
    paced(alice, emails_per_day=4)
    paced(alice, "third", emails_per_day=3)
    world.contacts(alice, 5)
    world.contacts(alice, 1, email="a@two.example, b@two.example")
    agree(world.started(alice), world.started(alice), clock=world.clock())


def test_agrees__start_at_and_a_chunk_after_the_other(alice, monkeypatch):
    monkeypatch.setattr(lanes, "CHUNK", 3)
    monkeypatch.setattr(census, "CHUNK", 3)
    world.settings(gap_min=600, gap_max=900)
    paced(alice, emails_per_day=5)
    paced(alice, "third", emails_per_day=5)
    world.contacts(alice, 7)
    first = world.started(alice)
    later = world.started(alice)
    Mailing.objects.filter(pk=later.pk).update(start_at=world.berlin("2026-11-23 11:30"))
    agree(first, clock=world.clock())


def test_agrees__in_the_middle_after_limits_were_changed(alice):
    world.settings(use_business_time=True, gap_min=600, gap_max=1200)
    second = paced(alice)
    paced(alice, "third", emails_per_day=4)
    world.contacts(alice, 18)
    mailing = world.started(alice)
    clock = world.clock()
    for _ in range(3):
        run(clock=clock, until_idle=False)
        clock.wait_until(clock() + dt.timedelta(minutes=10))
    EmailAccount.objects.filter(pk=second.pk).update(emails_per_day=5)
    mailing.deliveries.filter(pk=mailing.deliveries.filter(status="queued").latest("pk").pk).update(
        not_before=world.berlin("2026-11-24 15:00")
    )
    planned = planned_slots(forecast(mailing, now=clock()))
    before = sent_slots()
    run_through(clock)
    assert before
    assert before + planned == sent_slots()


def test_agrees__a_draft_and_an_account_on_hold_for_a_while(alice):
    world.settings(gap_min=60, gap_max=90)
    held = paced(alice, hold_reason="Limit reached", held_until=world.berlin("2026-11-24 10:00"))
    paced(alice, "third")
    world.contacts(alice, 8)
    draft = world.mailing(alice)
    clock = world.clock()
    planned = planned_slots(forecast(draft, now=clock()))
    lifecycle.start(draft, by=alice)
    run_through(clock)
    assert planned == sent_slots()
    assert {at for account, _day, _number, at, _mailing in planned if account == held.pk} >= {held.held_until}


days = st.integers(0, 364).map(lambda number: dt.datetime(2026, 1, 1, tzinfo=dt.UTC) + dt.timedelta(days=number))
minutes = st.integers(0, 24 * 60 - 1).map(lambda number: dt.timedelta(minutes=number))


@given(data=st.data(), day=days, minute=minutes)
@settings(
    max_examples=6,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
    phases=[Phase.explicit, Phase.generate],  # to shrink an example of days of mailing takes minutes
)
def test_agrees__whatever_the_rules(alice, data, day, minute):
    draw, now = data.draw, day + minute
    low = draw(st.sampled_from([0, 15, 600, 7200]), label="shortest gap")
    with transaction.atomic():
        world.settings(
            use_business_time=draw(st.booleans(), label="hours"),
            working_days=sorted(draw(st.sets(st.integers(1, 7), min_size=1), label="days")),
            time_zone=draw(st.sampled_from(["Europe/Berlin", "America/New_York", "Asia/Kathmandu"]), label="zone"),
            spread_evenly=draw(st.booleans(), label="spread"),
            emails_per_day=draw(st.integers(2, 9), label="limit"),
            gap_min=low,
            gap_max=low + draw(st.sampled_from([0, 20, 3600]), label="more"),
        )
        limits = st.none() | st.integers(1, 6)
        boxes = [
            paced(alice, f"box{n}", main=n == 0, emails_per_day=draw(limits, label="its limit"))
            for n in range(draw(st.integers(2, 4), label="accounts"))
        ]
        for box in boxes:
            today = local_day(now, MassmailSettings.load().zone)
            AccountDay.objects.create(account=box, date=today, used=draw(st.integers(0, 3), label="used"))
        world.contacts(alice, draw(st.integers(1, 7), label="people"))
        vips = draw(st.sets(st.integers(0, 8), max_size=3), label="vips")
        chosen = Contact.objects.filter(email__in=[f"person{n}@alice.example" for n in vips])
        lanes.set_vip(chosen, vip=True, by=alice)
        mailings = [world.started(alice) for _ in range(draw(st.integers(1, 2), label="mailings"))]
        if draw(st.booleans(), label="later"):
            mailings[-1].start_at = now + dt.timedelta(hours=draw(st.integers(1, 80), label="hours later"))
            mailings[-1].save(update_fields=["start_at"])
        agree(mailings[0], clock=SimulatedClock(now))
        transaction.set_rollback(True)


def delays(monkeypatch, clock: SimulatedClock, seconds: list[float]) -> None:
    """Let the server take the next of `seconds` for each mail, round and round."""
    deliver, durations = memory.MemoryConnection.deliver, itertools.cycle(seconds)

    def slowly(self, **letter):
        clock.wait_until(clock() + dt.timedelta(seconds=next(durations)))
        return deliver(self, **letter)

    monkeypatch.setattr(memory.MemoryConnection, "deliver", slowly)


@pytest.mark.parametrize("spread", [True, False])
@pytest.mark.parametrize("seconds", [[1, 3], [40, 5, 90]])
def test_a_real_run_is_late_by_no_more_than_the_time_that_smtp_took(alice, monkeypatch, spread, seconds):
    world.settings(use_business_time=True, gap_min=15, gap_max=60, spread_evenly=spread)
    paced(alice)
    paced(alice, "third", emails_per_day=40)
    world.contacts(alice, 8)
    mailing, clock = world.started(alice), world.clock()
    planned = {row[:3]: row[3] for row in planned_slots(forecast(mailing, now=clock()))}
    delays(monkeypatch, clock, seconds)
    run_through(clock)
    sent = sorted(sent_slots(), key=lambda row: row[3])
    assert {row[:3] for row in sent} == planned.keys()
    for before, row in enumerate(sent):
        late = row[3] - planned[row[:3]]
        spent = dt.timedelta(seconds=sum(itertools.islice(itertools.cycle(seconds), before)))
        assert dt.timedelta() <= late <= spent


# What it says ---------------------------------------------------------------------------------------------------------


def test_says_what_takes_longest(alice):
    small, large = paced(alice, "small"), paced(alice, "large", emails_per_day=50)
    world.contacts(alice, 20)
    mailing = world.mailing(alice)
    lanes.assign(mailing, [small, large], daily_limit=94)
    EmailAccount.objects.filter(pk=small.pk).update(emails_per_day=2)
    found = forecast(mailing, now=world.MONDAY)
    assert (found.bottleneck.account, found.bottleneck.limit) == (small.pk, Limit.QUOTA)
    assert "“small” with its daily limit of 2 mails" in found.bottleneck.text
    EmailAccount.objects.filter(pk=small.pk).update(emails_per_day=None)
    assert forecast(mailing, now=world.MONDAY).bottleneck.limit == Limit.GAPS
    world.settings(use_business_time=True, gap_min=3600, gap_max=3600)
    assert forecast(mailing, now=world.MONDAY).bottleneck.limit == Limit.HOURS
    mailing.start_at = world.berlin("2026-12-03 10:00")
    world.settings(use_business_time=False, gap_min=1, gap_max=1)
    assert forecast(mailing, now=world.MONDAY).bottleneck.limit == Limit.START


def test_every_limit_has_words():
    for limit in Limit:
        for number in (0, 7):
            bottleneck = forecasting.Bottleneck(account=1, name="x", limit=limit, number=number)
            assert bottleneck.text.startswith("What takes longest")


def test_waits__those_of_an_account_on_hold(alice):
    held = paced(alice, "held", hold_reason="535 Wrong password")
    paced(alice, "good")
    world.contacts(alice, 10)
    found = forecast(world.started(alice), now=world.MONDAY)
    (wait,) = found.waiting
    assert (wait.account, wait.count, wait.hold.reason) == (held.pk, 5, HoldReason.ACCOUNT_HELD)
    assert wait.hold == holds.explain(held, now=world.MONDAY)
    assert found.planned == 5
    assert {slot.account for slot in found.slots()}.isdisjoint({held.pk})


def test_waits__all_but_vips_where_there_is_only_a_main_account(alice):
    paced(alice, "main", main=True)
    world.contacts(alice, 4)
    lanes.set_vip(Contact.objects.filter(email="person1@alice.example"), vip=True, by=alice)
    mailing = world.mailing(alice)
    found = forecast(mailing, now=world.MONDAY)
    assert [(wait.count, wait.hold.reason) for wait in found.waiting] == [(3, HoldReason.ONLY_MAIN_ACCOUNT)]
    assert found.planned == 1
    more = forecast(mailing, now=world.MONDAY, extra=1)
    assert (more.planned, more.waiting) == (4, [])


@pytest.mark.parametrize(
    ("break_it", "reason"),
    [
        (lambda alice: world.settings(unsubscribe_url=""), HoldReason.NO_UNSUBSCRIBE_URL),
        (lambda alice: type(alice).objects.filter(pk=alice.pk).update(is_active=False), HoldReason.OWNER_INACTIVE),
        (lambda alice: EmailAccount.objects.update(massmail=False), HoldReason.NO_ACCOUNT),
    ],
)
def test_waits__the_whole_mailing(alice, break_it, reason):
    paced(alice)
    world.contacts(alice, 3)
    mailing = world.started(alice)
    break_it(alice)
    found = forecast(mailing, now=world.MONDAY)
    assert (found.end, found.planned, list(found.slots())) == (None, 0, [])
    assert [(wait.count, wait.hold.reason) for wait in found.waiting] == [(3, reason)]


def test_more_than_a_year(alice):
    paced(alice, emails_per_day=1)
    world.contacts(alice, 400)
    found = forecast(world.mailing(alice), now=world.MONDAY)
    assert found.end is None
    assert (found.planned, found.beyond) == (366, 34)


def test_more_than_a_year__before_it_starts(alice):
    paced(alice)
    world.contacts(alice, 2)
    mailing = world.mailing(alice)
    mailing.start_at = world.berlin("2028-11-23 10:00")
    found = forecast(mailing, now=world.MONDAY)
    assert (found.end, found.planned, found.beyond, found.bottleneck.limit) == (None, 0, 2, Limit.START)


def test_relay__is_an_estimate_by_its_speed(alice):
    relay = world.account(alice, emails_per_day=1000)
    world.contacts(alice, 30)
    mailing = world.started(alice)
    found = forecast(mailing, now=world.MONDAY)
    assert found.estimated
    assert found.bottleneck.limit == Limit.SPEED
    assert found.end == world.MONDAY + 29 * dt.timedelta(seconds=1 / (forecasting.RELAY_RATE * relay.lanes))
    lanes.assign(mailing, [relay], daily_limit=1000)
    for n, key in enumerate(mailing.deliveries.order_by("pk").values_list("pk", flat=True)[:11]):
        at = world.MONDAY + n * dt.timedelta(seconds=2)
        mailing.deliveries.filter(pk=key).update(status="sent", sending_at=at, sent_at=at)
    assert forecast(mailing, now=world.MONDAY).end == world.MONDAY + 18 * dt.timedelta(seconds=2)


def test_what_if__another_account_and_a_higher_limit(alice):
    box = paced(alice, emails_per_day=10)
    world.settings(emails_per_day=10)
    world.contacts(alice, 40)
    mailing = world.mailing(alice)
    days = [
        len(forecast(mailing, now=world.MONDAY, **what).days) for what in ({}, {"extra": 1}, {"limits": {box.pk: 40}})
    ]
    assert days == [4, 2, 1]


def test_queries_and_rows_do_not_grow_with_the_recipients(alice, django_assert_num_queries):
    for name in ("a", "b"):
        paced(alice, name)
    world.contacts(alice, 5)
    mailing = world.started(alice)
    forecast(mailing, now=world.MONDAY)
    with CaptureQueriesContext(connection) as few:
        forecast(mailing, now=world.MONDAY)
    world.contacts(alice, 300, prefix="more")
    large = world.started(alice)
    mailing.delete()
    with django_assert_num_queries(len(few)):
        forecast(large, now=world.MONDAY)
    assert len(few) <= 12
    taken = census.take([large], list(EmailAccount.objects.all()), now=world.MONDAY)
    assert len(taken.turns) + len(taken.known) + len(taken.given) <= 310


# What is kept ---------------------------------------------------------------------------------------------------------


def test_of_too_many_nobody_is_looked_for_in_several_places(alice, monkeypatch, django_assert_num_queries):
    """Each stands in both mailings. What the accounts get is the same all the same, or nearly so."""
    paced(alice, "second")
    paced(alice, "third")
    world.contacts(alice, 40)
    mailings = [world.started(alice), world.started(alice)]
    accounts = list(EmailAccount.objects.order_by("pk"))

    def dealt():
        found = census.take(mailings, accounts, now=world.berlin("2026-11-23 10:00"))
        return census.deal(found, {account.pk: 94 for account in accounts})

    exactly = dealt()
    monkeypatch.setattr(census, "MOST_DOUBLES", 79)
    with django_assert_num_queries(3):
        roughly = dealt()
    assert sum(roughly.values()) == sum(exactly.values()) == 80
    assert all(abs(roughly[key] - exactly[key]) <= 2 for key in exactly)


def test_kept__renewed_when_something_changes_and_not_before(alice, django_assert_num_queries):
    paced(alice, emails_per_day=2)
    world.contacts(alice, 5)
    mailing = world.started(alice)
    assert outlook.renew_stale(now=world.MONDAY) == 1
    mailing.refresh_from_db()
    assert mailing.expected_end == forecast(mailing, now=world.MONDAY).end
    assert mailing.forecast_at == world.MONDAY
    with django_assert_num_queries(3):
        assert outlook.renew_stale(now=world.MONDAY) == 0
    changes = [
        lambda: world.settings(gap_min=20, gap_max=25),
        lambda: EmailAccount.objects.update(emails_per_day=3),
        lambda: paced(alice, "new"),
        lambda: world.started(alice),
    ]
    for change in changes:
        change()
        assert outlook.renew_stale(now=world.MONDAY) == 1
        assert outlook.renew_stale(now=world.MONDAY) == 0
    assert outlook.renew_stale(now=world.MONDAY + outlook.GOOD_FOR) == 1


def test_kept__a_few_owners_at_a_time(alice, bob, eve):
    for owner in (alice, bob, eve):
        paced(owner)
        world.contacts(owner, 1)
        world.started(owner)
    assert [outlook.renew_stale(now=world.MONDAY) for _ in range(3)] == [outlook.AT_ONCE, 3 - outlook.AT_ONCE, 0]


def test_kept__is_read_back_as_it_was(alice):
    held = paced(alice, "held", hold_reason="535 Wrong password")
    paced(alice, "good", emails_per_day=2)
    world.contacts(alice, 60)
    draft = world.mailing(alice)
    found = forecast(draft, now=world.MONDAY)
    shown = outlook.current(draft, now=world.MONDAY)
    assert Mailing.objects.get(pk=draft.pk).forecast_at is None, "looking at a page changes nothing"
    draft.refresh_from_db()
    assert outlook.current(draft, now=world.MONDAY) == shown
    assert shown.end == found.end
    assert (shown.planned, shown.beyond, shown.bottleneck) == (found.planned, found.beyond, found.bottleneck)
    assert shown.days == [(day.day, day.counts) for day in found.days[: outlook.DAYS]]
    assert shown.more_days == len(found.days) - len(shown.days)
    assert shown.chances
    (wait,) = outlook.waiting(draft, shown.waiting, now=world.MONDAY)
    assert (wait.account, wait.hold) == (held.pk, holds.explain(held, now=world.MONDAY))


def test_kept__a_draft_once_per_change(alice, django_assert_max_num_queries):
    paced(alice)
    world.contacts(alice, 3)
    draft = world.mailing(alice)
    first = outlook.current(draft, now=world.MONDAY)
    draft = Mailing.objects.get(pk=draft.pk)
    with django_assert_max_num_queries(3):
        assert outlook.current(draft, now=world.MONDAY + dt.timedelta(seconds=20)) == first
    world.settings(gap_min=100, gap_max=100)
    assert outlook.current(draft, now=world.MONDAY).end > first.end


def test_kept__nothing_of_a_mailing_that_is_ended(alice):
    paced(alice)
    world.contacts(alice, 1)
    mailing = world.started(alice)
    lifecycle.cancel(mailing, by=alice)
    assert outlook.current(mailing, now=world.MONDAY) is None


def test_celery__the_tick_sees_to_the_forecasts(alice, monkeypatch):
    monkeypatch.setattr(tasks, "_ring", lambda *args: None)
    paced(alice)
    world.contacts(alice, 1)
    mailing = world.started(alice)
    tasks.tick()
    mailing.refresh_from_db()
    assert mailing.expected_end is not None
