"""Statements that are compiled once and run in many threads, and two of them in one commit."""

from __future__ import annotations

import datetime as dt
import gc
import threading
import weakref
from concurrent.futures import ThreadPoolExecutor
from weakref import WeakKeyDictionary
from zoneinfo import ZoneInfo

import pytest
from django.db import DatabaseError, connection, connections, transaction
from django.test.utils import CaptureQueriesContext

from massmail.choices import DeliveryStatus
from massmail.models import Delivery, statements
from massmail.models.statements import Statement, slot, together
from tests import world

pytestmark = pytest.mark.django_db

only_postgresql = pytest.mark.skipif(connection.vendor != "postgresql", reason="Others are told both, one by one.")


@pytest.fixture
def addresses(alice):
    world.contacts(alice, 20)
    return list(world.mailing(alice).deliveries.order_by("pk").values_list("address", flat=True))


def replying(attempts=1):
    """A statement that writes down a reply: slots on both sides, constants and a percent sign between them."""
    rows = Delivery.objects.filter(address=slot(Delivery, "address"), attempts=0).exclude(message_id__contains="%s")
    return Statement(rows, reply=slot(Delivery, "reply"), attempts=attempts)


def bound(statement, address):
    return statement.bound(address=address, reply=f"100 % to {address}")


def kept():
    return dict(Delivery.objects.filter(attempts__gt=0).values_list("address", "reply"))


@pytest.mark.django_db(transaction=True)
def test_a_statement_runs_on_the_connection_of_the_thread_that_runs_it(addresses):
    """Workers with a pool of threads share what a process has compiled."""
    statement = replying()

    def run(address):
        try:
            return bound(statement, address).run()
        finally:
            connection.close()

    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(run, addresses)) == [1] * 20
    assert kept() == {address: f"100 % to {address}" for address in addresses}


def test_together__each_knows_how_many_rows_it_changed(addresses):
    first, second = bound(replying(), addresses[0]), bound(replying(2), "nobody@alice.example")
    together(first, second)
    assert (first.rows, second.rows) == (1, 0)
    assert kept() == {addresses[0]: f"100 % to {addresses[0]}"}


def test_together__all_or_nothing(addresses):
    rows = Delivery.objects.filter(address=slot(Delivery, "address"))
    sent = Statement(rows, status="sent", sent_at=slot(Delivery, "sent_at"))
    first, second = bound(replying(), addresses[0]), sent.bound(address=addresses[1], sent_at=None)
    with pytest.raises(DatabaseError), transaction.atomic():  # what was sent has a time, says the database
        together(first, second)
    assert kept() == {}


@pytest.mark.django_db(transaction=True)
def test_together__all_or_nothing_in_a_commit_of_its_own(addresses):
    rows = Delivery.objects.filter(address=slot(Delivery, "address"))
    sent = Statement(rows, status="sent", sent_at=slot(Delivery, "sent_at"))
    with pytest.raises(DatabaseError):
        together(bound(replying(), addresses[0]), sent.bound(address=addresses[1], sent_at=None))
    assert kept() == {}
    with CaptureQueriesContext(connection) as seen:
        together(bound(replying(), addresses[0]), bound(replying(2), addresses[1]))
    connection.close()  # what was not committed is gone
    assert set(kept()) == set(addresses[:2])
    if connection.vendor == "sqlite":
        words = [query["sql"].split(" ", 1)[0] for query in seen]
        assert words == ["BEGIN", "UPDATE", "UPDATE", "COMMIT"]


MOMENT = dt.datetime(2026, 3, 29, 1, 30, tzinfo=ZoneInfo("Europe/Berlin"))
SAVED = {
    "mailing": 7,
    "account": None,
    "object_id": "a %s",
    "status": DeliveryStatus.SENT,
    "attempts": 3,
    "values": {"a": "ä", "day": dt.date(2026, 3, 1)},
    "sent_at": MOMENT,
    "not_before": None,
    "version": 12,
}


@pytest.mark.parametrize("name", SAVED)
def test_quick_save__gives_what_the_field_itself_gives(name):
    field = Delivery._meta.get_field(name)
    value = SAVED[name]
    quick, careful = statements.quick_save(field, connection)(value), field.get_db_prep_save(value, connection)
    assert type(quick) is type(careful)
    assert getattr(quick, "obj", quick) == getattr(careful, "obj", careful)


def test_statement__outlives_the_threads_that_ran_it(addresses):
    statement, seen = replying(), []

    def run():
        own = connections["default"]
        statement.form_for(own)
        seen.append(weakref.ref(own))

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    gc.collect()
    assert [kept_alive() for kept_alive in seen] == [None]


def test_statement__members_of_enums_are_plain_values(addresses):
    statement = Statement(Delivery.objects.filter(status=DeliveryStatus.QUEUED), status=DeliveryStatus.SKIPPED)
    assert {type(param) for param in statement.constants} == {str}


def run_pairs(addresses, *pair):
    with CaptureQueriesContext(connection) as seen:
        for first, second in zip(addresses[::2], addresses[1::2], strict=True):
            together(bound(pair[0], first), bound(pair[1], second))
    return [query["sql"].split(" ", 1)[0] for query in seen]


@only_postgresql
def test_together__postgresql_is_told_once(addresses):
    assert run_pairs(addresses, replying(), replying(2)) == ["PREPARE"] + ["EXECUTE"] * 10
    assert set(kept()) == set(addresses)


@only_postgresql
def test_together__nothing_is_kept_where_a_pool_stands_between(addresses, monkeypatch):
    """Behind PgBouncer the next statement may meet another session."""
    monkeypatch.setitem(connection.settings_dict, "DISABLE_SERVER_SIDE_CURSORS", True)
    assert run_pairs(addresses, replying(), replying(2)) == ["WITH"] * 10
    assert kept() == {address: f"100 % to {address}" for address in addresses}


@only_postgresql
def test_together__a_session_keeps_a_few_only(addresses, monkeypatch):
    monkeypatch.setattr(statements, "_prepared", WeakKeyDictionary())
    with connection.cursor() as cursor:
        cursor.execute("DEALLOCATE ALL")
    for number in range(statements.PREPARED + 3):
        together(bound(replying(number + 1), addresses[number]), bound(replying(), "nobody@alice.example"))
    with connection.cursor() as cursor:
        cursor.execute("SELECT COUNT(*) FROM pg_prepared_statements")
        assert cursor.fetchone() == (statements.PREPARED,)
        cursor.execute("DEALLOCATE ALL")
    assert len(kept()) == statements.PREPARED + 3


@only_postgresql
def test_together__a_session_that_has_forgotten_is_told_again(addresses):
    pair = replying(), replying(2)
    run_pairs(addresses[:2], *pair)
    with connection.cursor() as cursor:
        cursor.execute("DEALLOCATE ALL")  # as a pool may do between two users
    with pytest.raises(DatabaseError), transaction.atomic():
        run_pairs(addresses[2:4], *pair)
    assert run_pairs(addresses[2:4], *pair) == ["PREPARE", "EXECUTE"]
