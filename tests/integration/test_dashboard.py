"""The block on the app's index: what is running, what is held, what waits for the one who looks."""

from __future__ import annotations

from typing import Any

import pytest
import time_machine
from django.contrib.admin import AdminSite
from django.contrib.auth.models import AnonymousUser
from django.test import RequestFactory

import massmail.admin
from massmail.admin.dashboard import Dashboard, dashboard
from massmail.choices import Failure
from massmail.engine import lifecycle
from massmail.models import Delivery, Heartbeat, Mailing, Tally
from massmail.outcomes import hold_account
from tests import world
from tests.adminpages import client_of, queries, url

pytestmark = pytest.mark.django_db

INDEX = "/admin/massmail/"


@pytest.fixture(autouse=True)
def monday() -> Any:
    with time_machine.travel(world.MONDAY, tick=False):
        world.settings()
        Heartbeat.objects.create(name="tick", at=world.MONDAY)
        yield


def seen(person: Any, site: str = "admin") -> Dashboard | None:
    request = RequestFactory().get(INDEX)
    request.user, request.current_app = person, site  # type: ignore[attr-defined]
    return dashboard(request)


def page(person: Any) -> str:
    response = client_of(person).get(INDEX)
    assert response.status_code == 200
    return response.content.decode()


def test_empty(alice):
    assert "Nothing is under way and nothing waits for you." in page(alice)


def test_running_mailing_has_its_progress_and_is_polled(alice):
    world.account(alice)
    world.contacts(alice, 4)
    mailing = world.started(alice, name="Autumn offer")
    Tally.objects.create(mailing=mailing, day=world.MONDAY, sent=3)
    html = page(alice)
    assert f'<a href="{url(mailing, "change")}">Autumn offer</a>' in html
    assert f'<progress max="4" value="3" data-mailing="{mailing.pk}"' in html
    assert f'data-massmail-progress="{url(Mailing, "progress")}"' in html
    assert "massmail/progress.js" in html


def lines(person: Any) -> dict[str, list[str]]:
    found = seen(person)
    assert found is not None
    return {task.name: [text for text, _url in task.lines] for task in found.tasks}


def test_what_waits_for_somebody_stands_at_its_mailing(alice):
    world.account(alice)
    world.contacts(alice, 2)
    world.mailing(alice, name="With message")
    Mailing.objects.filter(pk=world.mailing(alice, name="Without").pk).update(message=None)
    lifecycle.pause(world.started(alice, name="By hand"), by=alice)
    mailing = world.started(alice, name="By the app")
    lifecycle.pause(mailing, by=None, reason="Five refusals in a row")
    Delivery.objects.filter(pk=mailing.deliveries.first().pk).update(status="unknown", reason=Failure.NO_ANSWER)
    Tally.objects.create(mailing=mailing, day=world.MONDAY, unknown=1)
    assert lines(alice) == {
        "By the app": [
            "Paused by the app: Five refusals in a row",
            "1 delivery may have arrived or not: decide.",
        ],
        "With message": ["Draft: start it when it is ready."],
        "Without": ["Draft without a message."],
    }
    unknown = f"{url(Delivery, 'changelist')}?mailing__id__exact={mailing.pk}&amp;status__exact=unknown"
    assert unknown in page(alice)


def test_settled_doubts_wait_for_nobody(alice):
    world.account(alice)
    world.contacts(alice, 2)
    mailing = world.started(alice)
    Tally.objects.create(mailing=mailing, day=world.MONDAY, unknown=1)
    Tally.objects.create(mailing=mailing, day=world.TODAY, unknown=-1, sent=1)
    assert lines(alice) == {}


def test_held_account_has_its_remedy_and_its_page(alice):
    account = world.account(alice)
    hold_account(account, "535 Password refused")
    html = page(alice)
    assert "535 Password refused" in html
    assert f'<a href="{url(account, "change")}">' in html


def test_dead_machine_is_told_to_everybody(alice):
    Heartbeat.objects.all().delete()
    assert "No worker or beat is alive" in page(alice)


def test_everybody_sees_their_own_and_the_chief_sees_all(alice, bob, carol):
    world.account(bob)
    world.contacts(bob, 1)
    world.started(bob, name="Bob's offer")
    hold_account(world.account(bob, "held"), "535 Password refused")
    world.mailing(bob, name="Bob's draft")
    for_alice, for_carol = seen(alice), seen(carol)
    assert for_alice is not None
    assert for_carol is not None
    assert for_alice.empty
    assert [(each.mailing.name, each.owner) for each in for_carol.running] == [("Bob's offer", "bob")]
    assert len(for_carol.troubles) == 1
    assert for_carol.tasks == []  # only Bob starts what is his


def test_nothing_for_those_who_may_see_no_mailings(django_user_model):
    assert seen(django_user_model.objects.create_user("clerk", is_staff=True)) is None
    assert seen(AnonymousUser()) is None


def test_a_site_of_the_hosts_own(alice):
    site = AdminSite(name="branch")
    assert seen(alice, "branch") is None
    massmail.admin.register(site)
    assert seen(alice, "branch") is not None
    assert seen(alice, "nowhere") is None


def test_the_rest_is_in_the_lists(alice):
    for number in range(10):
        hold_account(world.account(alice, f"account {number}"), "535 Password refused")
    world.contacts(alice, 1)
    for _ in range(10):
        world.started(alice)
    html = page(alice)
    assert html.count("massmail-card-title") == 8
    assert "?status=active" in html
    assert "2 more accounts are on hold." in html


def test_number_of_queries_is_constant(alice):
    world.contacts(alice, 1)

    def fill(number: int) -> None:
        for count in range(number):
            hold_account(world.account(alice, f"{number} {count}"), "535 Password refused")
            world.mailing(alice)
            mailing = world.started(alice)
            Tally.objects.create(mailing=mailing, day=world.MONDAY, unknown=1)
            lifecycle.pause(world.started(alice), by=None, reason="Five refusals in a row")

    fill(2)
    few = queries(client_of(alice), INDEX)
    fill(30)
    assert queries(client_of(alice), INDEX) == few
