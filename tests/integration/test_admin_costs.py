"""What the pages cost: as many statements for 100,000 recipients and 200 mailings as for five of each.

Every address and every action of the permission matrix is asked, on a small desk and on the same one full. Lists show
ten rows a page, and five on the small desk, so that a statement for each row would be seen too.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from itertools import islice
from typing import Any

import pytest
from django.apps import apps
from django.contrib import admin
from django.contrib.contenttypes.models import ContentType
from django.core.cache import cache
from django.db import connection, transaction
from django.test import Client
from django.test.utils import CaptureQueriesContext

from tests import desk as desks
from tests.adminpages import client_of
from tests.crowd import fill
from tests.permissions import ROWS, Things, posts

pytestmark = pytest.mark.django_db

#: Recipients of each mailing on the full desk: 100,000 in `.ci/run`, where the writing of them may take its time.
MANY = int(os.environ.get("TEST_CROWD", "10000"))
#: The desk is filled with contacts, not with these, which have the same pages; and "history" is Django's own page.
ELSEWHERE = ("crm_company", "crm_lead")


@pytest.fixture
def desk(alice: Any, bob: Any, boss: Any, settings: Any, tmp_path: Any, monkeypatch: Any) -> Things:
    settings.MEDIA_ROOT = tmp_path
    for each in admin.site._registry.values():
        monkeypatch.setattr(each, "list_per_page", 10)
    return desks.laid_out(alice, bob) | {"owner": alice, "boss": boss}


def answered(response: Any) -> None:
    """Take of a file its heading and the first piece, which is made of several hundred rows."""
    if response.streaming:
        list(islice(response.streaming_content, 2))
        response._iterator.close()  # with its cursor, which PostgreSQL keeps no longer than the transaction


def cost(ask: Callable[[], Any]) -> int:
    """Return how many statements a request takes, and take back what it wrote."""
    with transaction.atomic():
        with CaptureQueriesContext(connection) as captured:
            answered(ask())
        transaction.set_rollback(True)
    return len(captured)


def asked(desk: Things) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """Yield what is asked: its name, its address, what is posted. Actions are for all that the list has."""
    rows = {f"{model}_{page}" for model, pages in ROWS.items() for page in pages}
    for name, address, data in posts(desk):
        if name.startswith(ELSEWHERE) or name.endswith("_history"):
            continue
        yield name, address, data if name in rows else data | {"select_across": "1"}


def costs(manager: Client, administrator: Client, desk: Things) -> dict[str, int]:
    """Return what each GET, each POST and each action takes: a manager's, and the rest an administrator's."""
    found = {}
    cache.clear()
    for name, address, data in asked(desk):
        client = administrator if name.startswith(("massmail_suppression", "massmail_settings")) else manager
        if ":" not in name:
            found[f"GET {name}"] = cost(lambda: client.get(address))  # noqa: B023  called at once
        for value in data.values():
            if hasattr(value, "seek"):
                value.seek(0)
        if data:
            found[f"POST {name}"] = cost(lambda: client.post(address, data))  # noqa: B023
    return found


def test_number_of_statements(desk, boss, alice):
    fill(desk, recipients=5, mailings=4, others=5, mark="few")
    ContentType.objects.get_for_models(*apps.get_models())  # cached for good
    clients = client_of(alice), client_of(boss)
    few = costs(*clients, desk)
    # Django itself deletes a hundred rows by a statement.
    fill(desk, recipients=MANY, mailings=192, others=80, mark="many")
    many = costs(*clients, desk)
    assert {name: (few[name], many[name]) for name in few if few[name] != many[name]} == {}
