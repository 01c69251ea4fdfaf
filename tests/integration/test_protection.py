"""What protects an account while it sends: warm-up, limits of hours and domains, caps, guard rails, and its health."""

from __future__ import annotations

import datetime as dt
from collections import Counter

import pytest
import time_machine
from django.core.exceptions import ValidationError
from django.db import connection
from django.test.utils import CaptureQueriesContext

from example_project.crm.models import Company, Contact, Lead
from massmail import outcomes
from massmail.choices import AccountTrouble, AuditAction, BounceReason, HoldReason
from massmail.engine import holds, lanes, pulse, rails, usage
from massmail.engine.forecast import forecast
from massmail.engine.limits import Allowances, Rules, hour_of
from massmail.engine.ramp import Ramp, limit_on
from massmail.engine.run import run_lane, tick
from massmail.engine.standalone import SimulatedClock, run
from massmail.engine.trial import send_test
from massmail.engine.usage import Charge, LimitReached
from massmail.engine.window import local_day
from massmail.models import AccountDay, AuditEntry, Delivery, EmailAccount, Lane, MassmailSettings, Tally, Usage
from massmail.models.settings import parse_domain_limits
from massmail.transport import memory
from tests import world
from tests.adminpages import client_of, submit, url
from tests.integration.test_forecast import agree, paced, run_through

pytestmark = pytest.mark.django_db

NOW = world.MONDAY
DAY = dt.timedelta(days=1)
PLAIN = '<p>News!</p><p><a href="{{ unsubscribe_url }}">UNSUBSCRIBE</a></p>'


@pytest.fixture(autouse=True)
def outbox():
    memory.clear()
    world.settings()
    yield memory.outbox
    memory.clear()


def sent_by(what: str) -> Counter:
    """Return how many mails left by "day" or "hour" of Berlin, or by (hour, domain) for "domain"."""
    zone, found = MassmailSettings.load().zone, Counter()
    for address, at in Delivery.objects.filter(status="sent").values_list("address", "sending_at"):
        keys = {
            "day": local_day(at, zone),
            "hour": hour_of(at, zone),
            "domain": (hour_of(at, zone), address.split("@")[1]),
        }
        found[keys[what]] += 1
    return found


def send(*accounts: EmailAccount, now: dt.datetime = NOW) -> int:
    """Let everybody speak who may at `now`, until nobody does; return how many mails left."""
    clock, before = SimulatedClock(now), len(memory.outbox)
    while sum(
        run_lane(account.pk, clock=clock, ignore_hours=True) for account in accounts or EmailAccount.objects.all()
    ):
        pass
    return len(memory.outbox) - before


# Warm-up --------------------------------------------------------------------------------------------------------------


def test_ramp__grows_with_the_days_on_which_it_has_sent():
    ramp = Ramp(start=20, step=10)
    day = dt.date(2026, 11, 23)
    assert ramp.limit(day, 94) == 20
    assert ramp.after(day).limit(day + DAY, 94) == 30
    assert ramp.after(day).after(day).limit(day + DAY, 94) == 30
    assert ramp.after(day).limit(day + 29 * DAY, 94) == 30
    assert ramp.after(day).limit(day + 30 * DAY, 94) == 20
    warm = ramp
    for number in range(9):
        warm = warm.after(day + number * DAY)
    assert warm.limit(day + 9 * DAY, 94) == 94
    assert warm.after(day + 60 * DAY).limit(day + 61 * DAY, 94) == 30


def test_ramp__days_without_mail_do_not_count(alice):
    box = world.account(alice, ramp_start=3, ramp_step=2)
    for number, used in enumerate((3, 0, 5)):
        AccountDay.objects.create(account=box, date=NOW.date() - (5 - number) * DAY, used=used)
    assert limit_on(NOW.date(), box, world.settings()) == 7
    assert limit_on(NOW.date(), box, world.settings(emails_per_day=6)) == 6


def test_ramp__engine_and_pages_know_it(alice, outbox):
    box = world.account(alice, ramp_start=3, ramp_step=2)
    world.contacts(alice, 20)
    world.started(alice)
    tick(clock=lambda: NOW)
    assert send() == 3
    hold = holds.explain(box, now=NOW)
    assert (hold.reason, hold.about) == (HoldReason.RAMP, box)
    assert "its 3 mails of today" in hold.detail
    assert send(now=hold.until) == 5
    EmailAccount.objects.update(ramp_start=None)
    assert send(now=hold.until) == 12


def test_ramp__tests_count_and_are_refused_beyond(alice):
    from massmail.composing import prepare
    from massmail.exceptions import TrialError

    box = world.account(alice, ramp_start=1)
    prepared = prepare(world.message(alice))
    values = {"first_name": "Ann", "company": "Acme"}
    send_test(prepared, by=alice, account=box, to=alice.email, values=values, now=NOW)
    with pytest.raises(TrialError):
        send_test(prepared, by=alice, account=box, to=alice.email, values=values, now=NOW)


# The ledger -----------------------------------------------------------------------------------------------------------


def charges(*keys: str, most: int = 2) -> list[Charge]:
    return [Charge(key=key, begins=NOW, ends=NOW + dt.timedelta(hours=1), most=most) for key in keys]


def test_usage__all_or_nothing_in_one_statement(django_assert_num_queries):
    with django_assert_num_queries(1):
        usage.charge(charges("b", "a"))
    usage.charge(charges("a"))
    with pytest.raises(LimitReached):
        usage.charge(charges("a", "b"))
    usage.charge([])
    with pytest.raises(LimitReached):
        usage.charge(charges("new", most=0))


def test_usage__given_back_and_forgotten():
    usage.charge(charges("a", "b", most=1))
    usage.give_back(charges("a"))
    usage.give_back([])
    assert usage.used(charges("a", "b", "c")) == {("a", NOW): 0, ("b", NOW): 1}
    usage.forget(now=NOW + dt.timedelta(hours=1))
    assert Usage.objects.count() == 2
    usage.forget(now=NOW + dt.timedelta(hours=3))
    assert not Usage.objects.exists()


# Hours and domains ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("is_paced", [True, False])
def test_hourly__is_kept_and_told(alice, is_paced):
    world.settings(gap_min=0, gap_max=0)
    box = world.account(alice, paced=is_paced, emails_per_hour=4)
    world.contacts(alice, 10)
    mailing = world.started(alice)
    tick(clock=lambda: NOW)
    assert send() == 4
    hold = holds.explain(box, now=NOW)
    assert (hold.reason, hold.until) == (HoldReason.HOURLY, NOW + dt.timedelta(hours=1))
    pulse.beat(now=NOW)
    assert holds.explain(mailing, now=NOW) == hold
    assert not tick(clock=lambda: NOW)
    assert send(now=hold.until) == 4


def test_hourly__hours_are_those_of_the_zone():
    at = dt.datetime(2026, 11, 23, 4, 20, tzinfo=dt.UTC)  # 10:05 in Kathmandu
    rules = Rules.of(MassmailSettings(time_zone="Asia/Kathmandu"))
    assert hour_of(at, rules.zone) == dt.datetime(2026, 11, 23, 4, 15, tzinfo=dt.UTC)


def mixed(owner, firm=None) -> None:
    """Make twelve contacts at two domains and one of an own."""
    for number in range(6):
        for domain in ("big.example", "small.example"):
            world.contacts(owner, 1, email=f"p{number}@{domain}", company=firm)
    world.contacts(owner, 1, email="boss@other.example", company=firm)


@pytest.mark.parametrize("is_paced", [True, False])
def test_domains__wait_and_let_the_others_pass(alice, is_paced):
    world.settings(gap_min=0, gap_max=0, emails_per_hour_to_domain=2, domain_limits="small.example 3\nother.example 0")
    world.account(alice, paced=is_paced)
    mixed(alice)
    mailing = world.started(alice)
    tick(clock=lambda: NOW)
    assert send() == 6
    pulse.beat(now=NOW)
    waiting = list(mailing.deliveries.filter(status="queued"))
    assert len(waiting) == 7
    next_hour = NOW + dt.timedelta(hours=1)
    for delivery, hold in zip(waiting, holds.explain_many(waiting, now=NOW).values(), strict=True):
        assert (hold.reason, hold.until) == (HoldReason.DOMAIN_LIMIT, next_hour)
        assert delivery.address.split("@")[1] in hold.detail
    assert holds.explain(mailing, now=NOW).reason == HoldReason.DOMAIN_LIMIT
    assert send(now=next_hour) == 5
    assert send(now=next_hour + dt.timedelta(hours=1)) == 2


def test_domains__known_before_the_engine_comes_to_them(alice, django_assert_num_queries):
    world.settings(emails_per_hour_to_domain=1)
    box = world.account(alice)
    world.contacts(alice, 30)
    mailing = world.started(alice)
    lanes.assign(mailing, [box], daily_limit=94)
    pulse.beat(now=NOW)
    begins = hour_of(NOW, MassmailSettings.load().zone)
    usage.charge([Charge(key=f"account:{box.pk}:alice.example", begins=begins, ends=begins, most=1)])
    deliveries = list(mailing.deliveries.all())
    with CaptureQueriesContext(connection) as few:
        holds.explain_many(deliveries[:1], now=NOW)
    with django_assert_num_queries(len(few)):
        found = holds.explain_many(deliveries, now=NOW)
    assert {hold.reason for hold in found.values()} == {HoldReason.DOMAIN_LIMIT}


@pytest.mark.parametrize("line", ["gmail.com", "gmail.com many", "gmail 5 5", "gmail.com -1", "-x- 3"])
def test_domains__a_line_that_is_none(line):
    with pytest.raises(ValidationError, match="is not a domain and a number"):
        parse_domain_limits(f"web.de 5\n\n{line}")


def test_domains__lines():
    assert parse_domain_limits(" @GMail.com   50\nbücher.example 0\n") == {"gmail.com": 50, "xn--bcher-kva.example": 0}


def test_refused_mail_is_given_back(alice, monkeypatch):
    from massmail.choices import Phase
    from massmail.transport import Reply

    world.settings(emails_per_hour_to_domain=2)
    world.account(alice, emails_per_hour=3)
    world.contacts(alice, 4)
    world.started(alice)
    tick(clock=lambda: NOW)
    no = Reply(phase=Phase.RCPT, code=550, text="5.1.1 No such user")
    monkeypatch.setattr(memory.MemoryConnection, "deliver", lambda self, **letter: no)
    run_lane(EmailAccount.objects.get().pk, clock=lambda: NOW)
    assert set(Usage.objects.values_list("used", flat=True)) == {0}


# Caps -----------------------------------------------------------------------------------------------------------------


def test_recipient_cap__waits_for_the_day_it_may(alice):
    world.settings(emails_per_recipient=2, recipient_days=5)
    box = world.account(alice)
    world.contacts(alice, 1)
    for day in (0, 2):
        first = world.started(alice)
        tick(clock=lambda at=NOW + day * DAY: at)
        assert send(now=NOW + day * DAY) == 1
        assert first.deliveries.get().status == "sent"
    third = world.started(alice)
    now = NOW + 3 * DAY
    tick(clock=lambda: now)
    assert send(now=now) == 0
    pulse.beat(now=now)
    hold = holds.explain(third.deliveries.get(), now=now)
    assert hold.reason == HoldReason.RECIPIENT_CAP
    assert hold.until == world.berlin("2026-11-28 00:00")
    assert "2 mails within 5 days" in hold.detail
    assert holds.explain(third, now=now) == hold
    assert send(box, now=hold.until - dt.timedelta(seconds=1)) == 0
    assert send(box, now=hold.until) == 1


def test_recipient_cap__two_mailings_in_one_handful(alice):
    world.settings(emails_per_recipient=1)
    world.account(alice)
    world.contacts(alice, 5)
    world.started(alice)
    world.started(alice)
    tick(clock=lambda: NOW)
    assert send() == 5
    assert (
        Delivery.objects.filter(reason=HoldReason.RECIPIENT_CAP, not_before=world.berlin("2026-11-30 00:00")).count()
        == 5
    )


def test_recipient_cap__mail_from_before_it_was_set_counts_and_tests_do_not(alice):
    world.account(alice)
    world.contacts(alice, 1)
    world.started(alice)
    tick(clock=lambda: NOW)
    send()
    world.settings(emails_per_recipient=2)
    world.started(alice)
    world.started(alice)
    tick(clock=lambda: NOW)
    assert send() == 1
    assert send() == 0


def test_company_cap__over_all_types(alice):
    firm = world.company(alice, email="office@firm.example")
    world.settings(emails_per_company=2)
    box = world.account(alice)
    world.contacts(alice, 3, company=firm)
    world.contacts(alice, 1, email="lonely@other.example", company=world.company(alice, full_name="Other"))
    world.lead(alice, company_name="Leads Ltd")
    world.lead(alice, company_name="leads ltd", email="b@lead.example")
    text = world.message(alice, subject="News", content=PLAIN)
    everybody = (
        Contact.objects.filter(owner=alice),
        Company.objects.filter(pk=firm.pk),
        Lead.objects.filter(owner=alice),
    )
    mailings = [world.started(alice, people, message=text) for people in everybody]
    tick(clock=lambda: NOW)
    assert send(box) == 5
    waiting = Delivery.objects.filter(reason=HoldReason.COMPANY_CAP)
    assert {each.mailing_id for each in waiting} <= {mailings[0].pk, mailings[1].pk}
    assert waiting.count() == 2
    pulse.beat(now=NOW)
    tomorrow = world.berlin("2026-11-24 00:00")
    assert {hold.until for hold in holds.explain_many(list(waiting), now=NOW).values()} == {tomorrow}
    assert send(box, now=tomorrow) == 2


def test_companies__are_told_by_model_and_key(alice):
    from massmail.recipient_types import type_for

    (person,) = world.contacts(alice, 1)
    lead, nobody = world.lead(alice, company_name="ACME"), world.lead(alice, company_name="", email="x@lead.example")
    assert type_for(Contact).companies([str(person.pk)]) == {str(person.pk): f"crm.company:{person.company_id}"}
    assert type_for(Company).companies([str(person.company_id)]) == {
        str(person.company_id): f"crm.company:{person.company_id}"
    }
    assert type_for(Lead).companies([str(lead.pk), str(nobody.pk)]) == {str(lead.pk): "crm.lead.company_name:acme"}


def test_a_long_row_of_people_who_wait_is_gone_through(alice, monkeypatch):
    monkeypatch.setattr("massmail.engine.ahead.HANDFUL", 3)
    world.settings(emails_per_company=1, gap_min=0, gap_max=0)
    world.account(alice, paced=True)
    world.contacts(alice, 10)
    world.contacts(alice, 1, email="last@other.example", company=world.company(alice, full_name="Other"))
    world.started(alice)
    tick(clock=lambda: NOW)
    assert send() == 2
    assert Delivery.objects.filter(status="queued", not_before__isnull=False).count() == 9


def test_allowances__earlier_mail_and_a_handful_together(alice):
    """Whoever has had one of two may be counted once more in a handful, not twice."""
    world.settings(emails_per_recipient=2)
    world.account(alice)
    world.contacts(alice, 1)
    world.started(alice)
    tick(clock=lambda: NOW - DAY)
    send(now=NOW - DAY)
    world.started(alice)
    world.started(alice)
    tick(clock=lambda: NOW)
    waiting = list(Delivery.objects.filter(status="queued").select_related("mailing"))
    allowances = Allowances(waiting, Rules.of(MassmailSettings.load()), now=NOW)
    assert allowances.wait(waiting[0]) is None
    allowances.count(waiting[0])
    assert allowances.wait(waiting[1]).reason == HoldReason.RECIPIENT_CAP
    assert [charge.most for charge in allowances.charges(waiting[1])] == [1]
    assert send() == 1


# What it costs --------------------------------------------------------------------------------------------------------


def statements(alice, number: int, **fields) -> int:
    box = world.account(alice, f"box{number}", **fields)
    EmailAccount.objects.exclude(pk=box.pk).update(massmail=False)
    world.contacts(alice, number, prefix=f"p{number}-")
    world.started(alice, Contact.objects.filter(email__startswith=f"p{number}-"))
    tick(clock=lambda: NOW)
    with CaptureQueriesContext(connection) as queries:
        assert run_lane(box.pk, clock=lambda: NOW) == number
    ignored = ("SAVEPOINT", "RELEASE", "BEGIN", "COMMIT")
    return len([each for each in queries if not each["sql"].startswith(ignored)])


def test_cost__at_most_three_statements_a_mail(alice):
    world.settings(emails_per_hour_to_domain=1000, emails_per_recipient=3, emails_per_company=1000, emails_per_day=1000)
    few, many = statements(alice, 10, emails_per_hour=1000), statements(alice, 60, emails_per_hour=1000)
    assert many - few <= 3 * 50 + 5


def test_cost__nothing_without_limits(alice):
    world.settings(emails_per_day=1000)
    few, many = statements(alice, 10), statements(alice, 60)
    assert many - few <= 2 * 50 + 5
    assert not Usage.objects.exists()


# Guard rails ----------------------------------------------------------------------------------------------------------


def figures(box: EmailAccount, *, mails: int, day: dt.date | None = None, **events: int) -> None:
    """Put what happened on `day`, by default that of `NOW`, on record."""
    day = day or NOW.date()
    lane, _created = Lane.objects.get_or_create(account=box, slot=0)
    mailing = world.mailing(box.owner)
    Tally.objects.create(mailing=mailing, lane=lane, day=day, sent=mails)
    AccountDay.objects.update_or_create(account=box, date=day, defaults={"used": mails, **events})


@pytest.mark.parametrize(
    ("mails", "events", "held"),
    [
        (100, {"undeliverable": 6}, True),
        (100, {"undeliverable": 5}, False),
        (40, {"undeliverable": 20}, False),
        (1000, {"complaints": 4}, True),
        (1000, {"complaints": 3}, False),
        (200, {"complaints": 2}, False),
        (100, {"refused": 11}, True),
        (100, {"refused": 10}, False),
    ],
)
def test_guard__share_and_floor(alice, mails, events, held):
    box = world.account(alice)
    world.contacts(alice, 1)
    figures(box, mails=mails, **events)
    assert rails.stand_guard(world.settings(), now=NOW) == held
    hold = holds.explain(EmailAccount.objects.get(), now=NOW)
    assert (hold is not None and hold.reason == HoldReason.GUARD_RAIL) == held
    if held:
        assert hold.until is None
        assert "more than the limit" in hold.detail
        assert "Look at the recipients" in hold.remedy


def test_guard__looks_back_for_some_days_only(alice):
    box = world.account(alice)
    world.contacts(alice, 1)
    figures(box, mails=100, undeliverable=50, day=NOW.date() - 7 * DAY)
    figures(box, mails=100)
    assert rails.stand_guard(world.settings(), now=NOW) == 0
    assert rails.stand_guard(world.settings(guard_days=8), now=NOW) == 1


def test_guard__one_query_where_nothing_is_wrong(alice, django_assert_num_queries):
    figures_of = world.settings()
    world.account(alice)
    with django_assert_num_queries(1):
        rails.stand_guard(figures_of, now=NOW)


@time_machine.travel(NOW, tick=False)
def test_guard__released_it_is_not_held_for_the_same_again(alice):
    box = world.account(alice)
    world.contacts(alice, 1)
    figures(box, mails=100, undeliverable=50, day=NOW.date() - DAY)
    figures(box, mails=100, undeliverable=10)
    rails.stand_guard(world.settings(), now=NOW)
    client = client_of(alice)
    assert client.post(f"{url(box, 'change').removesuffix('change/')}release/").status_code == 302
    entry = AuditEntry.objects.filter(account=box).first()
    assert (entry.action, entry.by) == (AuditAction.ACCOUNT_RELEASED, alice)
    assert rails.stand_guard(world.settings(), now=NOW) == 0
    AccountDay.objects.filter(date=NOW.date()).update(undeliverable=13)
    Tally.objects.filter(day=NOW.date()).update(sent=149)
    assert rails.stand_guard(world.settings(), now=NOW) == 0
    Tally.objects.filter(day=NOW.date()).update(sent=150)
    assert rails.stand_guard(world.settings(), now=NOW) == 1


def test_guard__events_are_counted_where_they_happen(alice, monkeypatch):
    from massmail.choices import Phase
    from massmail.transport import Reply

    box = world.account(alice)
    world.contacts(alice, 3)
    mailing = world.started(alice)
    tick(clock=lambda: NOW)
    replies = [(550, "5.1.1 No such user"), (554, "5.7.1 Spam"), None]
    deliver = memory.MemoryConnection.deliver

    def answer(self, **letter):
        found = replies.pop(0)
        return Reply(phase=Phase.RCPT, code=found[0], text=found[1]) if found else deliver(self, **letter)

    monkeypatch.setattr(memory.MemoryConnection, "deliver", answer)
    run_lane(box.pk, clock=lambda: NOW)
    delivery = mailing.deliveries.get(status="sent")
    late = NOW + 3 * DAY
    for _ in range(2):
        outcomes.note_bounce(delivery, outcomes.Bounce(reason=BounceReason.HARD, words="gone", at=late))
    outcomes.note_complaint(delivery, at=late, words="spam")
    (day,) = AccountDay.objects.filter(account=box)
    assert (day.date, day.refused, day.undeliverable, day.complaints) == (NOW.date(), 1, 2, 1)
    assert outcomes.daily_figures([box], since=NOW.date())[box.pk, NOW.date()].mails == 3


# The forecast ---------------------------------------------------------------------------------------------------------


def test_forecast__agrees_on_warming_accounts(alice):
    world.settings(use_business_time=True, gap_min=15, gap_max=35)
    paced(alice, emails_per_day=9, ramp_start=2, ramp_step=3)
    paced(alice, "third", emails_per_day=5, ramp_start=4, ramp_step=1)
    world.contacts(alice, 40)
    mailing = world.started(alice)
    agree(mailing, clock=world.clock("2026-11-25 16:00"))


def test_forecast__agrees_on_a_warm_up_spread_evenly_after_a_long_silence(alice):
    world.settings(spread_evenly=True)
    box = paced(alice, ramp_start=2, ramp_step=2)
    for back in (40, 39, 38):
        AccountDay.objects.create(account=box, date=NOW.date() - back * DAY, used=2)
    world.contacts(alice, 12)
    agree(world.started(alice), clock=world.clock())


@pytest.mark.parametrize("hours", [True, False])
def test_forecast__agrees_on_hourly_limits(alice, hours):
    world.settings(use_business_time=hours, gap_min=60, gap_max=600)
    box = paced(alice, emails_per_hour=3, emails_per_day=14)
    paced(alice, "third", emails_per_hour=5)
    begins = hour_of(NOW, MassmailSettings.load().zone)
    usage.charge([Charge(key=f"account:{box.pk}", begins=begins, ends=begins + dt.timedelta(hours=1), most=3)])
    world.contacts(alice, 40)
    agree(
        world.started(alice),
        world.started(alice),
        clock=world.clock("2026-11-23 15:20" if hours else "2026-11-23 10:40"),
    )
    assert max(sent_by("hour").values()) <= 8


def test_forecast__agrees_on_the_limit_of_a_domain(alice):
    world.settings(gap_min=60, gap_max=600, emails_per_hour_to_domain=3)
    paced(alice)
    world.contacts(alice, 11)
    agree(world.started(alice), clock=world.clock("2026-11-23 10:40"))
    assert max(sent_by("domain").values()) == 3


def test_forecast__of_mixed_domains_is_near(alice):
    world.settings(gap_min=60, gap_max=120, emails_per_hour_to_domain=2)
    paced(alice)
    for number in range(3):
        mixed_domain = f"d{number}.example"
        for each in range(4 * (number + 1)):
            world.contacts(alice, 1, email=f"p{each}@{mixed_domain}")
    mailing, clock = world.started(alice), world.clock("2026-11-23 10:10")
    found = forecast(mailing, now=clock())
    run_through(clock)
    last = Delivery.objects.filter(status="sent").latest("sending_at").sending_at
    assert abs(found.end - last) < dt.timedelta(hours=1)
    assert found.planned == 24


def test_forecast__agrees_on_the_cap_of_recipients_who_had_mail(alice):
    world.settings(emails_per_recipient=1, recipient_days=4)
    box = paced(alice)
    some = world.contacts(alice, 3)
    clock = world.clock("2026-11-20 10:00")
    world.started(alice, Contact.objects.filter(pk__in=[each.pk for each in some]))
    run_through(clock)
    Delivery.objects.all().update(account=box)
    world.contacts(alice, 4, prefix="more")
    mailing = world.started(alice)
    later = world.clock()
    found = forecast(mailing, now=later())
    run_through(later)
    times = sorted(Delivery.objects.filter(mailing=mailing).values_list("sending_at", flat=True))
    assert [slot.at for slot in found.slots()] == times
    assert found.end >= world.berlin("2026-11-24 00:00")


def test_forecast__of_two_mailings_to_the_same_people_is_not_too_early(alice):
    world.settings(emails_per_recipient=1, recipient_days=7)
    paced(alice)
    world.contacts(alice, 6)
    world.started(alice)
    second, clock = world.started(alice), world.clock()
    found = forecast(second, now=clock())
    run_through(clock)
    last = Delivery.objects.filter(status="sent").latest("sending_at").sending_at
    assert abs(found.end - last) < dt.timedelta(hours=1)


@pytest.mark.parametrize("hours", [True, False])
def test_forecast__agrees_on_the_cap_of_companies(alice, hours):
    world.settings(use_business_time=hours, emails_per_company=2)
    paced(alice)
    world.contacts(alice, 7)
    world.contacts(alice, 3, prefix="other", company=world.company(alice, full_name="Other"))
    mailing, clock = world.started(alice), world.clock("2026-11-25 10:00")
    agree(mailing, clock=clock)
    assert sorted(sent_by("day").values()) == [1, 2, 3, 4]


def test_forecast__in_the_middle_of_a_day_of_companies(alice):
    world.settings(emails_per_company=2)
    paced(alice)
    world.contacts(alice, 7)
    mailing, clock = world.started(alice), world.clock("2026-11-25 10:00")
    run(clock=clock, until_idle=True)
    found = forecast(mailing, now=clock())
    run_through(clock)
    assert found.end == Delivery.objects.filter(status="sent").latest("sending_at").sending_at


def test_forecast__of_a_relay_with_limits(alice):
    world.settings(emails_per_hour_to_domain=30, emails_per_day=1000)
    world.account(alice, emails_per_hour=50)
    world.contacts(alice, 100)
    found = forecast(world.started(alice), now=NOW)
    assert found.planned == 100
    assert hour_of(found.end, MassmailSettings.load().zone) == NOW + dt.timedelta(hours=3)
    assert found.bottleneck.limit


# Pages ----------------------------------------------------------------------------------------------------------------


def test_settings__other_limits_let_go_who_waits(alice, boss):
    world.settings(emails_per_hour_to_domain=1)
    world.account(alice)
    world.contacts(alice, 3)
    world.started(alice)
    tick(clock=lambda: NOW)
    assert send() == 1
    submit(client_of(boss), url(MassmailSettings.load(), "change"), emails_per_day=95)
    assert Delivery.objects.filter(reason=HoldReason.DOMAIN_LIMIT).count() == 2
    submit(client_of(boss), url(MassmailSettings.load(), "change"), emails_per_hour_to_domain=0)
    assert not Delivery.objects.filter(not_before__isnull=False).exists()
    assert send() == 2


def test_account_page__offers_a_warm_up_to_new_accounts_only(alice):
    client = client_of(alice)
    assert 'name="ramp_start" value="20"' in client.get(url(EmailAccount, "add")).content.decode()
    box = world.account(alice)
    page = client.get(url(box, "change")).content.decode()
    assert 'name="ramp_start" value="' not in page


@time_machine.travel(NOW, tick=False)
def test_account_page__health_and_holds(alice):
    box = world.account(alice)
    world.contacts(alice, 1)
    figures(box, mails=200, undeliverable=4, refused=2, complaints=1)
    outcomes.hold_account(box, "6 of 100 mails", trouble=AccountTrouble.RETURNS)
    client = client_of(alice)
    page = client.get(url(box, "change")).content.decode()
    assert "Holds and releases" in page
    assert "6 of 100 mails" in page
    assert "The last 30 days" in page
    assert '<span class="massmail-quiet">2.0 %</span>' in page
    assert "style=" not in page
    row = client.get(url(EmailAccount, "changelist")).content.decode()
    assert "200 mails" in row
    assert "2.0 % undeliverable" in row
    assert "0.50 % reported as spam" in row
