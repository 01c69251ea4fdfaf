"""Statements that are compiled once and run in many threads."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest
from django.db import connection

from massmail.models import Delivery
from massmail.models.statements import Statement, slot
from tests import world


@pytest.mark.django_db(transaction=True)
def test_a_statement_runs_on_the_connection_of_the_thread_that_runs_it(alice):
    """Workers with a pool of threads share what a process has compiled."""
    world.contacts(alice, 20)
    mailing = world.mailing(alice)
    statement = Statement(
        Delivery.objects.filter(address=slot(Delivery, "address")), reply=slot(Delivery, "reply"), attempts=1
    )

    def run(address):
        try:
            return statement.run(address=address, reply=f"to {address}")
        finally:
            connection.close()

    addresses = list(mailing.deliveries.values_list("address", flat=True))
    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(run, addresses)) == [1] * 20
    assert set(mailing.deliveries.values_list("reply", "attempts")) == {(f"to {address}", 1) for address in addresses}
