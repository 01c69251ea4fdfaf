"""kill -9 at each step of a mail. (At random moments: `tests/acceptance/test_processes.py` and `make torture`.)

A real process speaks SMTP with a real server and dies of a real SIGKILL at the failpoint; then another one goes on.
"""

from __future__ import annotations

import os
import signal
from collections import Counter

import pytest
from django.core.management import call_command
from django.db import connections

from massmail.choices import MailingStatus
from massmail.engine.run import run_lane, tick
from massmail.models import AccountDay, Delivery, EmailAccount, Lane
from tests import failpoints, oracle, processes, world
from tests.servers import eventually
from tests.smtpd import read_journal

pytestmark = pytest.mark.django_db(transaction=True)

#: After a death here nobody is in doubt: the claim had not been committed yet, or the last mail was settled already.
CERTAIN = {"assigning", "leased", "connect", "quota", "claiming", "counting", "closed", "releasing"}
#: A turn comes by here but once.
ONCE = {"assigning", "leased", "connect", "quota", "claiming", "counting", "closed", "releasing", "recovering"}
#: A paced account charges and counts one mail at a time.
OF_RELAYS = {"half settled", "counting", "recovering"}
FORKS = pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")


@pytest.fixture
def port(journal):
    with processes.smtp_server(journal) as port:
        yield port


def dies(place, what, *, at=1):
    """Do `what` in a process of its own until it is killed at the failpoint `place`."""
    connections.close_all()  # a connection must not be shared with the child
    child = os.fork()
    if not child:
        try:
            os.setsid()
            failpoints.arm(place, at=at)
            what()
        finally:
            os._exit(0)  # nothing of pytest's may run in the child
    _pid, status = os.waitpid(child, 0)
    assert os.WIFSIGNALED(status), f"It never came by {place!r}"
    assert os.WTERMSIG(status) == signal.SIGKILL


def speak(box, at="2026-11-23 10:00"):
    tick(clock=world.clock(at))
    return run_lane(box.pk, clock=world.clock(at))


def let_the_leases_run_out():
    Lane.objects.exclude(lease_until=None).update(lease_until=world.berlin("2020-01-01 00:00"))


def cases():
    for place in failpoints.PLACES:
        if place not in OF_RELAYS:
            yield pytest.param(place, True, 1, id=f"{place}, paced")
        # The first claim settles nobody.
        for at in (1,) if place in ONCE else (2, 9) if place == "half settled" else (1, 9):
            yield pytest.param(place, False, at, id=f"{place}, relay, {at}")


@FORKS
@pytest.mark.parametrize(("place", "paced", "at"), list(cases()))
def test_killed_at(alice, port, journal, place, paced, at):
    box = world.account(alice, smtp_port=port, paced=paced)
    world.contacts(alice, 12)
    mailing = world.started(alice)
    if place == "recovering":
        dies("dot", lambda: speak(box), at=5)
        let_the_leases_run_out()
    dies(place, lambda: speak(box), at=at)
    oracle.check(read_journal(journal), under_way=True)
    let_the_leases_run_out()
    for minute in range(20 if paced else 3):
        speak(box, f"2026-11-23 11:{minute:02}")
    seen = oracle.check(read_journal(journal))
    # A paced account claims nobody else when it has settled one.
    certain = place in CERTAIN or (paced and place == "settled")
    expected = 0 if certain else 1
    assert seen["unknown"] == expected
    assert seen == {"sent": 12 - expected} | ({"unknown": expected} if expected else {})
    assert oracle.imbalances() == []
    assert AccountDay.objects.get(account=box).used == 12
    mailing.refresh_from_db()
    assert mailing.status == MailingStatus.DONE


@FORKS
@pytest.mark.parametrize("paced", [True, False], ids=["paced", "relay"])
def test_killed__found_by_whoever_takes_the_lane(alice, port, journal, paced):
    """A ring may come before the next tick."""
    box = dead_at_the_dot(alice, port, paced=paced)
    run_lane(box.pk, clock=world.clock("2026-11-23 11:00"))
    seen = oracle.check(read_journal(journal))
    assert seen == {"unknown": 1} | ({"sent": 1, "queued": 10} if paced else {"sent": 11})
    assert oracle.imbalances() == []


@FORKS
@pytest.mark.parametrize("paced", [True, False], ids=["paced", "relay"])
def test_killed__found_by_the_tick_if_nobody_takes_the_lane(alice, port, journal, paced):
    box = dead_at_the_dot(alice, port, paced=paced)
    EmailAccount.objects.update(massmail=False)
    assert tick(clock=world.clock("2026-11-23 11:00")) == []
    sent = 0 if paced else 4
    assert oracle.check(read_journal(journal)) == Counter(unknown=1, sent=sent, queued=11 - sent)
    assert oracle.imbalances() == []
    assert AccountDay.objects.get(account=box).used == sent + 1


def dead_at_the_dot(alice, port, *, paced):
    """Return an account whose worker died at its first mail, or at the fifth of a relay; its lease ran out."""
    box = world.account(alice, smtp_port=port, paced=paced)
    world.contacts(alice, 12)
    world.started(alice)
    dies("dot", lambda: speak(box), at=1 if paced else 5)
    let_the_leases_run_out()
    return box


def test_killed__by_the_environment(alice, env, redis_url, journal, port, tmp_path):
    """Celery's workers die one after the other, each at another failpoint; the last one finishes the work."""
    call_command("massmail_setup", verbosity=0)
    env |= {"BROKER_URL": redis_url}
    world.account(alice, smtp_port=port, emails_per_day=10_000)
    world.contacts(alice, 60)
    world.started(alice)
    log, places = tmp_path / "celery.log", ["data@2", "dot@3", "answered@4", "settling@5", "half settled@6"]
    with processes.beat(env, log):
        for number, place in enumerate(places, 1):
            doomed = processes.worker(env | {"TEST_FAILPOINT": place}, log, concurrency=1, app="tests.worker_app")
            died = eventually(lambda doomed=doomed: doomed.popen.poll() is not None, patience=90)
            doomed.kill()
            assert died, f"{place}: {log.read_text()}"
            seen = oracle.check(read_journal(journal), under_way=True)
            assert seen["sending"] == 1
            assert seen["sending"] + seen["unknown"] <= number
            let_the_leases_run_out()
        survivor = processes.worker(env, log)
        finished = eventually(
            lambda: not Delivery.objects.filter(status__in=["queued", "sending"]).exists(), patience=90
        )
        survivor.stop()
    assert finished, log.read_text()
    assert oracle.check(read_journal(journal)) == {"sent": 55, "unknown": 5}
    tick()
    assert oracle.imbalances() == []
