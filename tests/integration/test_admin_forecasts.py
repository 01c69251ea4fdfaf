"""The forecast on a mailing's page and in the list."""

from __future__ import annotations

import datetime as dt
from typing import Any

import pytest
import time_machine
from django.contrib.admin import site
from django.utils import translation

from massmail.admin.forecasts import MOST_COLUMNS, expected_end_text, forecast_view
from massmail.engine import lifecycle, outlook
from massmail.models import EmailAccount, Mailing
from tests import world
from tests.adminpages import client_of, queries, url

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def monday():
    world.settings(use_business_time=True)
    with time_machine.travel(world.MONDAY, tick=False):
        yield


def page(person: Any, mailing: Mailing) -> str:
    response = client_of(person).get(url(mailing, "change", mailing.pk))
    assert response.status_code == 200
    return response.content.decode()


def the_list(person: Any) -> str:
    return client_of(person).get(url(Mailing, "changelist")).content.decode()


@pytest.fixture
def draft(alice: Any) -> Mailing:
    world.account(alice, "small", paced=True, emails_per_day=2)
    world.contacts(alice, 25)
    return world.mailing(alice)


def test_page__of_a_draft_tells_what_would_be(alice, draft):
    text = page(alice, draft)
    assert "If it is started now: done about Mon 14 Dec, 08:30" in text
    assert "the account “small” with its daily limit of 2 mails" in text
    assert "With one more account: today " in text
    assert "(21 days earlier)" in text
    assert "With 4 mails a day for “small”: Wed 2 Dec, 08:30 (12 days earlier)" in text
    assert '<th scope="row">Mon 23 Nov</th><td class="massmail-number">2</td>' in text
    assert "and 3 more days" in text


def test_page__of_a_running_one_shows_what_the_tick_has_left(alice, draft):
    lifecycle.start(draft, by=alice)
    outlook.renew_stale(now=world.MONDAY)
    EmailAccount.objects.update(emails_per_day=25)  # not seen before the next tick
    assert "Done about Mon 14 Dec, 08:30" in page(alice, draft)
    assert "done about Mon 14 Dec, 08:30" in the_list(alice)
    outlook.renew_stale(now=world.MONDAY)
    assert "Done about today 10:" in page(alice, draft)


def test_page__of_a_paused_one_tells_what_would_be(alice, draft):
    lifecycle.start(draft, by=alice)
    lifecycle.pause(draft, by=alice)
    assert "If it is resumed now: done about Mon 14 Dec, 08:30" in page(alice, draft)
    assert "14 Dec" not in the_list(alice)


def test_page__of_an_ended_one_has_no_forecast(alice, draft):
    page(alice, draft)
    lifecycle.cancel(draft, by=alice)
    assert "massmail-forecast" not in page(alice, draft)


def test_page__names_who_waits_and_the_remedy(alice, draft):
    held = world.account(alice, "held", paced=True, hold_reason="535 Wrong password")
    text = page(alice, draft)
    assert "recipients wait. The account “held” is on hold: “535 Wrong password”" in text
    assert f'<a href="{url(held, "change", held.pk)}">Mend what the provider complains about' in text
    EmailAccount.objects.filter(pk=held.pk).update(hold_reason="")
    assert "recipients wait" not in page(alice, draft)


def test_page__says_that_a_relay_is_an_estimate(alice, draft):
    EmailAccount.objects.update(paced=False)
    assert "An estimate" in page(alice, draft)


def test_page__names_the_mailings_that_take_turns_with_it(alice, draft):
    assert "with it." not in page(alice, draft)
    world.started(alice)
    assert "1 other mailing takes turns with it." in page(alice, draft)


def test_plan__of_many_accounts_has_few_columns(alice, draft, rf):
    for n in range(MOST_COLUMNS + 2):
        world.account(alice, f"box{n}", paced=True)
    view = forecast_view(rf.get("/"), site, draft, now=world.MONDAY)
    assert len(view.plan.names) == MOST_COLUMNS
    assert view.plan.with_others
    for row in view.plan.rows:
        assert sum(row.counts) + row.others == row.total


def test_expected_end__in_words_without_a_query(alice, draft, django_assert_num_queries):
    assert expected_end_text(draft) == ""
    lifecycle.start(draft, by=alice)
    world.settings(time_zone="Asia/Tokyo")
    outlook.renew_stale(now=world.MONDAY)
    mailing = Mailing.objects.get(pk=draft.pk)
    with django_assert_num_queries(0):
        assert expected_end_text(mailing) == "about Tue 15 Dec, 08:30"
        with translation.override("de"):
            assert "Di 15 Dez" in expected_end_text(mailing)
    mailing.expected_end += dt.timedelta(days=30)
    assert expected_end_text(mailing) == "about Thu 14 Jan 2027, 08:30"


def test_expected_end__more_than_a_year(alice, draft):
    EmailAccount.objects.update(emails_per_day=1)
    world.settings(working_days=[1])
    world.contacts(alice, 40, prefix="more")
    large = world.started(alice)
    outlook.renew_stale(now=world.MONDAY)
    large.refresh_from_db()
    assert expected_end_text(large) == "in more than a year"
    assert "Not done within a year" in page(alice, large)


def test_list__asks_the_same_for_one_and_for_many(alice, draft):
    lifecycle.start(draft, by=alice)
    outlook.renew_stale(now=world.MONDAY)
    few = queries(client_of(alice), url(Mailing, "changelist"))
    for _ in range(4):
        world.started(alice)
    outlook.renew_stale(now=world.MONDAY)
    assert queries(client_of(alice), url(Mailing, "changelist")) == few


def test_start__says_what_it_comes_to(alice, draft):
    assert "Start: 25 mails through 1 account, until about Mon 14 Dec, 08:30</button>" in page(alice, draft)


def test_what_if__is_answered_also_where_it_helps_little(alice, draft):
    EmailAccount.objects.update(emails_per_day=1000, paced=False)
    text = page(alice, draft)
    assert "With one more account: hardly earlier." in text
    assert "With a higher daily limit: hardly earlier." in text
