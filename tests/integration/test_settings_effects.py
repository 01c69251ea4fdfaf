"""What the one who saves the Massmail Settings is told about what is under way."""

from __future__ import annotations

from typing import Any

import pytest
import time_machine
from django.db import connection
from django.test.utils import CaptureQueriesContext

from massmail.admin.settings_effects import effects
from massmail.models import MassmailSettings
from tests import world
from tests.adminpages import client_of, said, submit, url

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def monday() -> Any:
    with time_machine.travel(world.MONDAY, tick=False):
        world.settings()
        yield


def saved(boss: Any, **changes: Any) -> list[str]:
    return said(submit(client_of(boss), url(MassmailSettings, "change", 1), **changes))


def test_running_mailings__are_told_their_new_end(boss, alice):
    world.account(alice, paced=True)
    world.contacts(alice, 25)
    mailing = world.started(alice, name="Autumn offer")
    effect = "1 mailing is running. With these settings it is done: “Autumn offer” about today"
    assert any(effect in text for text in saved(boss))
    told = saved(boss, emails_per_day=2)
    assert any("“Autumn offer” about Fri 4 Dec" in text or "“Autumn offer” about Sat 5 Dec" in text for text in told)
    mailing.refresh_from_db()
    assert mailing.expected_end > world.berlin("2026-12-04 00:00")


def test_nothing_is_running(boss):
    assert saved(boss) == ["The Massmail Settings are saved. They hold from the next mail on."]


def test_accounts_with_a_limit_of_their_own_are_named(boss, alice):
    for number in range(5):
        world.account(alice, f"box{number}", emails_per_day=20 + number)
    world.account(alice, "box5", emails_per_day=94)  # the same: overrules nothing
    (_saved, text) = saved(boss)
    assert text == (
        "5 accounts have daily limits of their own, which overrule this one: "
        "“box0” of alice (20), “box1” of alice (21), “box2” of alice (22), and 2 more."
    )


def test_number_of_queries_does_not_depend_on_that_of_mailings(alice):
    world.account(alice, paced=True, emails_per_day=20)
    world.contacts(alice, 3)

    def cost() -> int:
        MassmailSettings.objects.update(emails_per_day=MassmailSettings.load().emails_per_day + 1)
        with CaptureQueriesContext(connection) as captured:
            list(effects(MassmailSettings.load(), now=world.MONDAY))
        return len(captured)

    for _number in range(2):
        world.started(alice)
    cost()  # fills the caches
    few = cost()
    for _number in range(6):
        world.started(alice)
    assert cost() == few
