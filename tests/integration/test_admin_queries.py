"""What the pages cost: as many queries for thousands of recipients and hundreds of mailings as for a handful.

Every address and every action of the permission matrix is asked, on a small desk and on the same one full.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from django.apps import apps
from django.contrib.contenttypes.models import ContentType
from django.db import connection, transaction
from django.db.models import F, Model
from django.test import Client
from django.test.utils import CaptureQueriesContext

from massmail.models import Delivery, Mailing
from tests import desk as desks
from tests import world
from tests.adminpages import client_of
from tests.permissions import Things, posts

pytestmark = pytest.mark.django_db

STATES = ("mailing", "active", "paused", "done", "cancelled")


@pytest.fixture
def desk(alice: Any, bob: Any, boss: Any, settings: Any, tmp_path: Any) -> Things:
    settings.MEDIA_ROOT = tmp_path
    return desks.laid_out(alice, bob) | {"owner": alice, "boss": boss}


def copies(row: Model, number: int, **changed: Any) -> None:
    """Make `number` copies of `row`; a value with "{}" in it is numbered."""
    model = type(row)
    values = {field.attname: getattr(row, field.attname) for field in model._meta.concrete_fields}
    del values[model._meta.pk.attname]
    model._default_manager.bulk_create(
        model(
            **values | {name: value.format(n) if isinstance(value, str) else value for name, value in changed.items()}
        )
        for n in range(number)
    )


def fill(desk: Things, *, recipients: int, mailings: int, others: int, mark: str) -> None:
    """Put so many rows more on the desk: recipients to each of its mailings, mailings and other things beside them."""
    contacts = world.contacts(desk["owner"], recipients, prefix=mark)
    likes = [desk[thing].deliveries.get(object_id=desk["vip"].pk) for thing in STATES]
    # One of each mailing after the other, so that a page of the list has all of them.
    Delivery.objects.bulk_create(
        Delivery(
            mailing=like.mailing,
            object_id=str(each.pk),
            address=each.email,
            account=like.account,
            status=like.status,
            reason=like.reason,
            sending_at=like.sending_at,
            sent_at=like.sent_at,
        )
        for each in contacts
        for like in likes
    )
    Mailing.objects.filter(pk__in=[like.mailing_id for like in likes]).update(total=F("total") + recipients)
    copies(desk["left_out"], recipients, address=mark + "{}@left.example", object_id=mark + "{}")
    copies(desk["suppression"], recipients, address=mark + "{}@suppressed.example")
    for thing in ("mailing", "active", "paused", "done"):
        copies(desk[thing], mailings // 4, name=mark + "{}")
    copies(desk["unused"], others, subject=mark + "{}")
    copies(desk["signature"], others, name=mark + "{}", default=False)
    copies(desk["image"], others, name=mark + "{}.png")
    copies(desk["office"], others, name=mark + "{}", from_email=mark + "{}@acme.example")


def cost(ask: Callable[[], Any]) -> int:
    """Return how many queries a request takes, and take back what it wrote."""
    with transaction.atomic():
        with CaptureQueriesContext(connection) as captured:
            ask()
        transaction.set_rollback(True)
    return len(captured)


def costs(manager: Client, administrator: Client, desk: Things) -> dict[str, int]:
    """Return what each GET, each POST and each action takes: a manager's, and the rest an administrator's."""
    found = {}
    for name, address, data in posts(desk):
        client = administrator if name.startswith(("massmail_suppression", "massmail_settings")) else manager
        found[f"GET {name}"] = cost(lambda: client.get(address))  # noqa: B023  called at once
        for value in data.values():
            if hasattr(value, "seek"):
                value.seek(0)
        if data:
            found[f"POST {name}"] = cost(lambda: client.post(address, data))  # noqa: B023
    return found


def test_number_of_queries(desk, boss, alice):
    fill(desk, recipients=5, mailings=4, others=5, mark="few")
    ContentType.objects.get_for_models(*apps.get_models())  # cached for good
    clients = client_of(alice), client_of(boss)
    few = costs(*clients, desk)
    fill(desk, recipients=2990, mailings=192, others=100, mark="many")
    many = costs(*clients, desk)
    assert {name: (few[name], many[name]) for name in few if few[name] != many[name]} == {}
