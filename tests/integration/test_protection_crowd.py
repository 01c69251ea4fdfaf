"""The limits under a crowd of workers, counted at the receiving server: eight on PostgreSQL, fewer on SQLite."""

from __future__ import annotations

import datetime as dt
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from threading import Event
from typing import Any

import pytest
from django.db import connection, connections, transaction

from example_project.crm.models import Contact
from massmail.choices import HoldReason
from massmail.engine import holds
from massmail.engine.fence import Fence
from massmail.engine.limits import Allowances
from massmail.engine.run import run_lane, tick
from massmail.engine.usage import LimitReached
from massmail.engine.window import instant, local_day, midnight_after
from massmail.models import Delivery, EmailAccount, Mailing
from tests import world
from tests.smtpd import SMTPServer

pytestmark = pytest.mark.django_db(transaction=True)

NOW = world.MONDAY
ACCOUNTS, COMPANIES, DOMAINS, EACH = 2, 5, 4, 6


@pytest.fixture
def server(settings: Any) -> Iterator[SMTPServer]:
    settings.MASSMAIL_TRANSPORT = "massmail.transport.smtp.SMTPConnection"
    world.settings(emails_per_day=1000)
    with SMTPServer() as server:
        yield server


def relays(owner: Any, server: SMTPServer, **fields: Any) -> list[EmailAccount]:
    """Return accounts with as many lanes as there are workers, all together."""
    lanes = (8 if connection.vendor == "postgresql" else 3) // ACCOUNTS + 1
    return [
        world.account(owner, f"box{number}", smtp_port=server.port, lanes=lanes, **fields) for number in range(ACCOUNTS)
    ]


def people(owner: Any) -> None:
    """Make people of each company at each domain."""
    for company in range(COMPANIES):
        firm = world.company(owner, full_name=f"Firm {company}")
        for domain in range(DOMAINS):
            for number in range(EACH):
                world.contacts(owner, 1, company=firm, email=f"p{number}-{company}@d{domain}.example")


def crowd(boxes: list[EmailAccount], *, ticking: bool = False) -> None:
    """Let all lanes of `boxes` speak at once, each in a thread of its own, until none has anything to say.

    `ticking`: between two turns somebody looks how things stand.
    """
    places = [(box.pk, slot) for box in boxes for slot in box.slots]
    assert len(places) >= (8 if connection.vendor == "postgresql" else 3)

    def speak(place: tuple[int, int]) -> None:
        try:
            idle = 0
            while idle < (20 if ticking else 3):
                idle = 0 if run_lane(*place, clock=lambda: NOW) else idle + 1
                if ticking:
                    tick(clock=lambda: NOW)
        finally:
            connections.close_all()

    tick(clock=lambda: NOW)
    with ThreadPoolExecutor(len(places)) as pool:
        list(pool.map(speak, places))


def arrived(server: SMTPServer, key: Callable[[str, str], Any]) -> Counter[Any]:
    """Return how many mails the server took, by what `key` makes of sender and recipient."""
    return Counter(key(record.sender, to) for record in server.messages for to in record.recipients)


def of_sender(sender: str, _to: str) -> str:
    return sender


def of_domain(sender: str, to: str) -> tuple[str, str]:
    return sender, to.partition("@")[2]


def of_recipient(_sender: str, to: str) -> str:
    return to


def of_company(_sender: str, to: str) -> int:
    return Contact.objects.get(email=to).company_id


@pytest.mark.parametrize(
    ("account", "rules", "key", "most", "groups"),
    [
        ({"ramp_start": 25}, {}, of_sender, 25, ACCOUNTS),
        ({"emails_per_hour": 30}, {}, of_sender, 30, ACCOUNTS),
        ({}, {"emails_per_hour_to_domain": 5}, of_domain, 5, ACCOUNTS * DOMAINS),
        ({}, {"emails_per_recipient": 1}, of_recipient, 1, COMPANIES * DOMAINS * EACH),
        ({}, {"emails_per_company": 7}, of_company, 7, COMPANIES),
    ],
    ids=["ramp", "hour", "domain", "recipient", "company"],
)
def test_crowd__uses_up_a_limit_and_no_more(alice, server, account, rules, key, most, groups):
    world.settings(**rules)
    boxes = relays(alice, server, **account)
    people(alice)
    for _ in range(2):
        world.started(alice)
    crowd(boxes)
    assert set(arrived(server, key).values()) == {most}
    assert len(arrived(server, key)) == groups
    assert Delivery.objects.filter(status="sent").count() == most * groups
    assert set(Delivery.objects.values_list("status", flat=True)) == {"sent", "queued"}


def test_midnight__a_claim_of_the_day_before_that_is_not_committed_yet_counts(alice):
    """Two lanes, one recipient: one claims a moment before midnight, the other a moment after."""
    settings = world.settings(emails_per_recipient=1, recipient_days=7)
    box = world.account(alice, paced=False, lanes=2)
    world.contacts(alice, 1)
    for _number in range(2):
        world.started(alice)
    tick(clock=lambda: NOW)
    midnight = midnight_after(NOW, settings.zone)
    early, late = Delivery.objects.select_related("mailing").order_by("pk")
    before, after = Fence(box, settings), Fence(box, settings)
    late_at, charged = midnight + dt.timedelta(seconds=1), Event()
    after.charges[late.pk] = Allowances([late], after.rules, now=late_at).charges(late)  # as it was read ahead

    def claim_early() -> None:
        try:
            with transaction.atomic():
                at = midnight - dt.timedelta(seconds=1)
                before.charge(early, now=at)
                Delivery.objects.filter(pk=early.pk).update(status="sending", sending_at=at)
                charged.set()
                time.sleep(0.3)  # that the other one waits can't be seen
        finally:
            connections.close_all()

    with ThreadPoolExecutor(1) as pool:
        done = pool.submit(claim_early)
        assert charged.wait(10)
        with pytest.raises(LimitReached), transaction.atomic():
            after.charge(late, now=late_at)
        done.result()
    assert after.hold_back(late, now=late_at)
    late.refresh_from_db()
    assert late.not_before == instant(local_day(NOW, settings.zone) + dt.timedelta(days=7), dt.time(0), settings.zone)


def test_crowd__all_limits_together(alice, server):
    world.settings(emails_per_hour_to_domain=9, emails_per_recipient=1, emails_per_company=13)
    boxes = relays(alice, server, emails_per_hour=31, ramp_start=29)
    people(alice)
    for _ in range(2):
        world.started(alice)
    crowd(boxes)
    for key, most in ((of_sender, 29), (of_domain, 9), (of_recipient, 1), (of_company, 13)):
        assert max(arrived(server, key).values()) <= most
    assert sum(arrived(server, of_sender).values()) >= 50


def test_crowd__guard_rail_stops_all_lanes(alice, server, settings):
    world.settings(limit_sample=20)
    settings.MASSMAIL_SLICE_SECONDS = 0.1
    (box, other) = relays(alice, server)
    other.delete()
    EmailAccount.objects.update(lanes=8 if connection.vendor == "postgresql" else 3)
    box.refresh_from_db()
    for number in range(12):  # too few for the guard of a mailing
        world.contacts(alice, 9, prefix=f"nouser+{number}-")
        world.contacts(alice, 9, prefix=f"known{number}-")
        world.started(alice, Contact.objects.filter(email__regex=f"(nouser.|known){number}-"))

    crowd([box], ticking=True)
    box.refresh_from_db()
    assert box.hold_reason
    before = len(server.messages)
    assert Delivery.objects.filter(status="queued").exists()
    crowd([box])
    assert len(server.messages) == before
    assert holds.explain(box, now=NOW).reason == HoldReason.GUARD_RAIL
    assert not Mailing.objects.filter(status="paused").exists()
