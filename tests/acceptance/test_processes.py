"""Real workers, a real beat, a real broker, a real SMTP server; and what is left when they are killed.

The oracle: copies at the receiving server, counted by Message-ID and recipient. Never more than one; one for `sent`,
none for `queued`, `skipped` and `failed`, none or one for `unknown`.
"""

from __future__ import annotations

import random
import time
from collections import Counter
from pathlib import Path

import pytest
from django.core.management import call_command
from django.db import connection

from massmail.choices import MailingStatus
from massmail.models import AccountDay, Delivery, EmailAccount, Lane
from massmail.outcomes import progress
from tests import processes, world
from tests.servers import eventually
from tests.smtpd import copies, read_journal

pytestmark = pytest.mark.django_db(transaction=True)

KILLS = 20


@pytest.fixture
def journal(tmp_path) -> Path:
    return tmp_path / "mail.jsonl"


def check_oracle(journal: Path) -> Counter:
    """Hold every delivery against what arrived; return how many ended in which way."""
    arrived = copies(read_journal(journal))
    assert not [key for key, number in arrived.items() if number > 1]
    expected = {"sent": {1}, "unknown": {0, 1}, "queued": {0}, "failed": {0}, "skipped": {0}}
    seen = Counter()
    for delivery in Delivery.objects.all():
        seen[delivery.status] += 1
        number = arrived.pop((delivery.message_id, delivery.address), 0)
        assert number in expected[delivery.status], (delivery.address, delivery.status, number)
    assert not arrived, "mail that no delivery knows of"
    return seen


def done(mailing) -> bool:
    mailing.refresh_from_db()
    return mailing.status == MailingStatus.DONE


def test_kill__worker_killed_twenty_times_in_the_middle(alice, env, journal, tmp_path):
    """Nobody is lost, nobody gets it twice, at most one delivery for each lane and kill is in doubt."""
    call_command("massmail_setup", verbosity=0)
    dice = random.Random(20)
    world.settings(emails_per_day=100_000)
    with processes.smtp_server(journal, "--slow", "0.02") as port:
        for name in ("one", "two", "three"):
            world.account(alice, name, smtp_port=port)
        # The server takes its time with these, so that the kills strike while mail is under way.
        world.contacts(alice, 1500, prefix="slow")
        world.contacts(alice, 30, prefix="nouser")
        mailing = world.started(alice)
        log = tmp_path / "celery.log"
        with processes.beat(env, log):
            kills = 0
            while kills < KILLS:
                before = len(read_journal(journal))
                worker = processes.worker(env, log)
                moved = eventually(lambda before=before: len(read_journal(journal)) > before or done(mailing))
                time.sleep(dice.uniform(0, 0.5))
                worker.kill()
                assert moved, log.read_text()
                assert not done(mailing), "too few recipients for that many kills"
                kills += 1
            survivor = processes.worker(env, log)
            finished = eventually(lambda: done(mailing), patience=120)
            survivor.stop()
    assert finished, log.read_text()
    seen = check_oracle(journal)
    assert sum(seen.values()) == mailing.total == 1530
    assert seen["failed"] == 30 - mailing.deliveries.filter(status="unknown", address__startswith="nouser").count()
    assert seen["queued"] == seen["sending"] == 0
    assert seen["unknown"] <= kills * 3
    books = progress([mailing], now=world.MONDAY)[mailing.pk]
    assert (books.sent, books.failed, books.unknown) == (seen["sent"], seen["failed"], seen["unknown"])


@pytest.mark.postgres
def test_quota__94_means_94_with_several_workers(alice, bob, env, journal, tmp_path):
    """Eight processes of two workers, and beat ringing all the time: no account sends more than its limit."""
    call_command("massmail_setup", verbosity=0)
    world.settings()
    with processes.smtp_server(journal) as port:
        for owner in (alice, bob):
            for name in ("one", "two", "three"):
                world.account(owner, name, smtp_port=port)
            world.contacts(owner, 500)
        for owner in (alice, alice, bob):
            world.started(owner)
        log = tmp_path / "celery.log"
        workers = [processes.worker(env, log, concurrency=4, name=f"w{n}") for n in (1, 2)]
        try:
            with processes.beat(env, log), processes.beat(env, log):
                eventually(lambda: sum(AccountDay.objects.values_list("used", flat=True)) >= 6 * 94, patience=90)
                time.sleep(3)
        finally:
            for worker in workers:
                worker.stop()
    records = read_journal(journal)
    assert Counter(record.sender for record in records) == dict.fromkeys(
        EmailAccount.objects.values_list("from_email", flat=True), 94
    )
    assert set(AccountDay.objects.values_list("used", flat=True)) == {94}
    assert not Lane.objects.filter(failures__gt=0)
    check_oracle(journal)
    assert connection.vendor == "postgresql"
