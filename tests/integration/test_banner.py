"""Is anybody there to send? The pulse of the engine, rings that nobody hears, the banner and the machine's state."""

from __future__ import annotations

import datetime as dt
import html
from typing import Any

import pytest
import time_machine
from django.apps import apps
from django.db import connection
from django.test import RequestFactory
from django.test.utils import CaptureQueriesContext

from massmail import outcomes
from massmail.admin.banner import Banner, banner
from massmail.admin.machine import machine
from massmail.admin.places import site_of
from massmail.choices import AccountTrouble, HoldReason
from massmail.engine import holds, lanes, pulse, rings
from massmail.engine.holds.advice import advice
from massmail.engine.run import tick_lanes
from massmail.models import EmailAccount, Heartbeat, Lane, Mailing, MassmailSettings, Suppression
from tests import world
from tests.adminpages import client_of, submit, url

pytestmark = pytest.mark.django_db

NOW = world.MONDAY
MINUTES = dt.timedelta(minutes=1)
SILENT = "No worker or beat is alive"


@pytest.fixture(autouse=True)
def monday() -> Any:
    with time_machine.travel(NOW, tick=False):
        world.settings()
        pulse.beat(now=NOW)
        yield


@pytest.fixture
def box(alice: Any) -> EmailAccount:
    return world.account(alice)


@pytest.fixture
def mailing(alice: Any, box: EmailAccount) -> Mailing:
    world.contacts(alice, 2)
    return world.started(alice)


def request_of(person: Any) -> Any:
    request: Any = RequestFactory().get("/admin/massmail/")
    request.user, request.current_app = person, "admin"
    return request


def shown(person: Any) -> Banner | None:
    return banner(request_of(person))


def stop() -> None:
    Heartbeat.objects.filter(name=pulse.TICK).update(at=NOW - 10 * MINUTES)


def periodic_task() -> Any:
    return apps.get_model("django_celery_beat", "PeriodicTask").objects.filter(task="massmail.tick")


# The pulse and the rings ----------------------------------------------------------------------------------------------


def test_beat__one_row_for_the_tick_and_one_for_each_host(monkeypatch):
    Heartbeat.objects.create(name="host gone", at=NOW - dt.timedelta(days=2))
    monkeypatch.setattr("platform.node", lambda: "worker-7")
    with CaptureQueriesContext(connection) as captured:
        pulse.beat(now=NOW + MINUTES)
    assert len(captured) == 2
    beats = dict(Heartbeat.objects.values_list("name", "at"))
    assert beats["tick"] == beats["host worker-7"] == NOW + MINUTES
    assert "host gone" not in beats


def test_rings__the_first_one_counts_until_a_worker_comes(box, mailing):
    rings.note([(box.pk, 0)], now=NOW)
    rings.note([(box.pk, 0)], now=NOW + MINUTES)
    assert Lane.objects.get().offered_at == NOW
    with lanes.acquire(box, now=NOW + MINUTES) as lease:
        assert (lease.lane.offered_at, lease.lane.taken_at) == (None, NOW + MINUTES)
        rings.note([(box.pk, 0)], now=NOW + 2 * MINUTES)
        assert Lane.objects.get().offered_at is None


def test_rings__are_over_when_nobody_is_called_any_more(box):
    rings.note([(box.pk, 0)], now=NOW)
    rings.note([], now=NOW + MINUTES)
    assert Lane.objects.get().offered_at is None


def test_rings__a_lane_that_rests_is_not_rung_for(box):
    Lane.objects.create(account=box, next_at=NOW + MINUTES)
    rings.note([(box.pk, 0)], now=NOW)
    assert Lane.objects.get().offered_at is None


def test_rings__cost_the_same_for_one_and_for_many(alice):
    def measure() -> int:
        places = [(account.pk, slot) for account in EmailAccount.objects.all() for slot in account.slots]
        rings.note(places, now=NOW)
        Lane.objects.update(offered_at=None)
        with CaptureQueriesContext(connection) as captured:
            rings.note(places, now=NOW)
        assert not Lane.objects.filter(offered_at=None).exists()
        return len(captured)

    world.account(alice, "first")
    few = measure()
    for number in range(5):
        world.account(alice, f"{number}", lanes=4)
    assert measure() == few == 2


def test_tick__notes_what_it_rings_for(box, mailing):
    assert tick_lanes() == [(box.pk, 0)]
    assert Lane.objects.get().offered_at == NOW
    for thing in (box, mailing, mailing.deliveries.first()):
        assert holds.explain(thing, now=NOW) is None
    hold = holds.explain(mailing, now=NOW + MINUTES - MINUTES / 60)
    assert hold is None
    Heartbeat.objects.update(at=NOW + 7 * MINUTES)
    for thing in (box, mailing, mailing.deliveries.first()):
        hold = holds.explain(thing, now=NOW + 7 * MINUTES)
        assert hold is not None
        assert hold.reason == HoldReason.NO_WORKER
        assert "7 minutes ago" in hold.detail


def test_rings__a_relay_with_more_lanes_than_workers_is_served(mailing, box, boss):
    EmailAccount.objects.update(lanes=2)
    rings.note([(box.pk, 0), (box.pk, 1)], now=NOW - 10 * MINUTES)
    assert holds.explain(mailing, now=NOW).reason == HoldReason.NO_WORKER
    with lanes.acquire(box, now=NOW):
        assert holds.explain(mailing, now=NOW) is None
        assert shown(boss) is None
    assert holds.explain(mailing, now=NOW) is None
    assert shown(boss) is None


def test_life__tells_a_dead_worker_from_a_dead_beat(boss, mailing):
    stop()
    assert holds.life_hold(NOW).reason == HoldReason.NO_HEARTBEAT
    periodic_task().update(last_run_at=NOW - MINUTES)
    hold = holds.life_hold(NOW)
    assert hold.reason == HoldReason.NO_WORKER
    assert "beat rang today 09:59" in hold.detail
    assert "the last tick was today 09:50" in hold.detail
    periodic_task().delete()
    assert holds.life_hold(NOW).reason == HoldReason.NO_SCHEDULE
    assert "massmail_setup" in holds.life_hold(NOW).remedy


def test_life__an_account_and_each_recipient_say_it_too(mailing, box):
    stop()
    for thing in (box, mailing, mailing.deliveries.first()):
        assert holds.explain(thing, now=NOW).reason == HoldReason.NO_HEARTBEAT


def test_explain__a_recipient_says_what_holds_its_own_account(mailing, box, alice):
    other = world.account(alice, "other")
    first, second = mailing.deliveries.order_by("pk")
    type(first).objects.filter(pk=first.pk).update(account=box)
    type(first).objects.filter(pk=second.pk).update(account=other)
    outcomes.hold_account(box, "535 Password refused")
    stop()
    found = holds.explain_many(mailing.deliveries.all(), now=NOW)
    assert found[first.pk].reason == HoldReason.ACCOUNT_HELD
    assert found[second.pk].reason == HoldReason.NO_HEARTBEAT


# The banner -----------------------------------------------------------------------------------------------------------


def test_banner__only_while_something_is_under_way(boss, alice, box):
    stop()
    assert shown(boss) is None
    world.contacts(alice, 2)
    mailing = world.started(alice)
    assert shown(boss) is not None
    Mailing.objects.filter(pk=mailing.pk).update(start_at=NOW + MINUTES)
    assert shown(boss) is None
    Heartbeat.objects.all().delete()
    assert shown(boss) is None


def test_banner__loud_for_those_who_can_act_and_soft_for_those_who_wait(mailing, boss, alice, bob, carol):
    assert [shown(each) for each in (boss, alice)] == [None, None]
    stop()
    loud, soft = shown(boss), shown(alice)
    assert loud is not None
    assert soft is not None
    assert (loud.kind, soft.kind, shown(carol).kind) == ("stop", "note", "note")
    assert SILENT in loud.notices[0].text
    assert loud.notices[0].url == "/admin/massmail/#massmail-machine"
    assert soft.notices[0].remedy
    assert soft.notices[0].url == ""
    assert shown(bob) is None


def test_banner__when_no_worker_comes(mailing, box, boss):
    rings.note([(box.pk, 0)], now=NOW - 5 * MINUTES)
    found = shown(boss)
    assert found is not None
    assert "one was called 5 minutes ago" in found.notices[0].text


def test_banner__one_query(mailing, boss):
    request = request_of(boss)
    with CaptureQueriesContext(connection) as captured:
        assert banner(request) is None
    assert len(captured) == 1


def test_banner__nothing_for_those_who_may_see_no_mailings(mailing, django_user_model):
    stop()
    assert shown(django_user_model.objects.create_user("clerk", is_staff=True)) is None


def test_banner__stands_on_every_page_but_in_no_pop_up(mailing, box, boss):
    stop()
    client = client_of(boss)
    lists = [url(model, "changelist") for model in (Mailing, EmailAccount, Suppression)]
    forms = [url(thing, "change") for thing in (mailing, box, mailing.message)]
    for address in (*lists, *forms, url(MassmailSettings, "change", 1), url(mailing, "cancel")):
        page = client.get(address).content.decode()
        assert page.count('class="massmail-banner"') == 1, address
        assert SILENT in html.unescape(page)
    assert "massmail-banner" not in client.get(f"{lists[1]}?_popup=1").content.decode()


# The machine ----------------------------------------------------------------------------------------------------------


def facts(person: Any) -> dict[str, tuple[str, bool]]:
    request = request_of(person)
    found = machine(request, site_of(request), now=NOW)
    return {fact.name: (fact.value, fact.bad) for fact in found.facts}


def test_machine__all_is_well(mailing, boss, alice, monkeypatch):
    monkeypatch.setattr("platform.node", lambda: "worker-7")
    pulse.beat(now=NOW)
    Heartbeat.objects.exclude(name__in=["tick", "host worker-7"]).delete()
    assert facts(boss) == {
        "Last tick": ("today 10:00", False),
        "Beat": ("Has not rung yet.", False),
        "Hosts with workers": ("worker-7 (today 10:00)", False),
        "Broker": ("Not asked: it works as long as ticks come.", False),
        "Accounts' lanes": ("0 at work, 0 rung for", False),
        "Accounts on hold": ("0", False),
        "Mailings under way": ("1", False),
    }
    assert machine(request_of(alice), site_of(request_of(alice)), now=NOW) is None


def test_machine__what_is_wrong(mailing, box, boss):
    rings.note([(box.pk, 0)], now=NOW - 5 * MINUTES)
    outcomes.hold_account(box, "535 Password refused")
    Heartbeat.objects.update(at=NOW - 10 * MINUTES)
    periodic_task().update(enabled=False)
    bad = {name for name, (_value, is_bad) in facts(boss).items() if is_bad}
    assert bad == {"Last tick", "Beat", "Hosts with workers", "Accounts' lanes", "Accounts on hold"}
    page = client_of(boss).get("/admin/massmail/").content.decode()
    assert 'id="massmail-machine"' in page
    assert f'<a href="{url(periodic_task().get(), "change")}">The periodic task is switched off.</a>' in page


def test_machine__queries_do_not_grow(boss, alice):
    def measure() -> int:
        request = request_of(boss)
        with CaptureQueriesContext(connection) as captured:
            machine(request, site_of(request), now=NOW)
        return len(captured)

    world.account(alice, "first")
    few = measure()
    for number in range(4):
        rings.note([(world.account(alice, f"{number}").pk, 0)], now=NOW)
        Heartbeat.objects.create(name=f"host {number}", at=NOW)
    assert measure() == few


# Accounts on hold -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("trouble", AccountTrouble)
def test_advice__each_kind_of_trouble_has_its_own(box, trouble):
    outcomes.hold_account(box, "the provider's own words", trouble=trouble)
    hold = holds.explain(box, now=NOW)
    assert "the provider's own words" in hold.detail
    assert hold.remedy == advice(box)
    others = {advice(EmailAccount(from_email=box.from_email, hold_trouble=each)) for each in AccountTrouble}
    assert len(others) == len(AccountTrouble)
    assert advice(EmailAccount(from_email=box.from_email)) not in others


def test_advice__of_the_account_s_provider(alice):
    box = world.account(alice, "gmail", smtp_host="smtp.gmail.com")
    outcomes.hold_account(box, "535 5.7.8 Not accepted", trouble=AccountTrouble.LOGIN)
    assert "app password" in holds.explain(box, now=NOW).remedy


def test_hold__is_over_when_the_login_is_entered_anew(alice, box):
    client, page = client_of(alice), url(box, "change")
    outcomes.hold_account(box, "535 Password refused", trouble=AccountTrouble.LOGIN)
    submit(client, page, name="Renamed")
    assert EmailAccount.objects.get().hold_reason
    submit(client, page, smtp_username="alice@acme.example")
    assert (EmailAccount.objects.get().hold_reason, EmailAccount.objects.get().hold_trouble) == ("", "")
    outcomes.hold_account(box, "554 refused by policy", trouble=AccountTrouble.POLICY)
    submit(client, page, smtp_username="")
    assert EmailAccount.objects.get().hold_reason
