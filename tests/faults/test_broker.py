"""Redis, beat and the tasks: the broker is a doorbell, and may be lost, emptied, or ring too often."""

from __future__ import annotations

import datetime as dt
from collections import Counter
from contextlib import ExitStack

import pytest
from celery import Celery
from django.core.management import call_command
from django.urls import reverse
from django.utils import timezone

from massmail import tasks
from massmail.choices import HoldReason
from massmail.engine import holds, lanes
from massmail.engine.run import run_lane, tick
from massmail.models import AccountDay, Delivery, Heartbeat, Lane
from massmail.transport.smtp import SMTPConnection
from tests import oracle, processes, servers, world
from tests.conftest import unavailable
from tests.servers import eventually
from tests.smtpd import read_journal

pytestmark = pytest.mark.django_db(transaction=True)

#: Numbers of accounts and lanes that somebody made up: gone, negative, beyond any column.
FORGED = [(0, 0), (-1, 0), (999_999, 0), (2**70, 0), (None, 0)]


@pytest.fixture
def redis_port(env):
    """The port of a Redis that the test itself starts, and stops, with `servers.redis`."""
    port = servers.free_port()
    env["BROKER_URL"] = f"redis://127.0.0.1:{port}/0"
    return port


def nothing_waits():
    return not Delivery.objects.filter(status__in=["queued", "sending"]).exists()


def start_redis(port):
    stack = ExitStack()
    try:
        stack.enter_context(servers.redis(port))
    except servers.Unavailable as error:
        unavailable(str(error))
    return stack


def test_redis__flushed_then_gone_then_empty(alice, env, redis_port, journal, tmp_path):
    """Workers and beat live through it all, and after a tick it goes on."""
    import redis

    call_command("massmail_setup", verbosity=0)
    log = tmp_path / "celery.log"

    def arrived(more):
        wanted = len(read_journal(journal)) + more
        return eventually(lambda: len(read_journal(journal)) >= wanted or nothing_waits(), patience=90)

    with processes.smtp_server(journal, "--slow", "0.01") as port, ExitStack() as stack:
        # One mail a second or two: the work lasts, and each needs a ring.
        world.settings(gap_min=1, gap_max=1)
        for number in range(4):
            world.account(alice, f"box{number}", smtp_port=port, paced=True)
        world.contacts(alice, 28)
        world.started(alice)
        server = start_redis(redis_port)
        stack.enter_context(processes.beat(env, log))
        worker = processes.worker(env, log)
        stack.callback(worker.stop)
        assert arrived(4), log.read_text()
        with redis.Redis(port=redis_port) as client:
            client.flushall()
        assert arrived(8), log.read_text()
        server.close()
        oracle.check(read_journal(journal), under_way=True)
        server = start_redis(redis_port)
        stack.callback(server.close)
        assert arrived(8), log.read_text()
        assert eventually(nothing_waits, patience=120), log.read_text()
    assert oracle.check(read_journal(journal)) == {"sent": 28}
    assert oracle.imbalances() == []


def test_redis__what_was_lost_is_rung_again(alice, server, monkeypatch):
    """Whatever was in Redis is gone, and the database knows who has not been heard."""
    box = world.account(alice, smtp_port=server.port)
    world.contacts(alice, 3)
    world.started(alice)
    lost, heard = [], []
    monkeypatch.setattr(tasks.run_lane, "apply_async", lambda args, **options: lost.append(args))
    tasks.tick()
    tasks.tick()
    monkeypatch.setattr(tasks.run_lane, "apply_async", lambda args, **options: heard.append(args))
    tasks.tick()
    assert (lost, heard) == ([(box.pk, 0)] * 2, [(box.pk, 0)])
    tasks.run_lane(*heard[0])
    assert oracle.check(server.messages) == {"sent": 3}


@pytest.mark.parametrize("paced", [True, False], ids=["paced", "relay"])
def test_one_lane__eight_processes_replays_and_forged_ids(alice, env, redis_url, journal, tmp_path, paced):
    """The same ring ten times and more at once, in eight processes, and rings for lanes that do not exist."""
    env["BROKER_URL"] = redis_url
    world.settings(gap_min=600, gap_max=600)
    log, bell = tmp_path / "celery.log", Celery(broker=redis_url)
    with processes.smtp_server(journal) as port:
        boxes = [world.account(alice, f"box{n}", smtp_port=port, paced=paced) for n in range(3)]
        world.contacts(alice, 300 if not paced else 30)
        world.started(alice)
        tick()
        worker = processes.worker(env, log, concurrency=8)
        try:
            for _replay in range(10):
                for box in boxes:
                    bell.send_task("massmail.run_lane", args=[box.pk])
                    bell.send_task("massmail.run_lane", args=[box.pk, 1])
                    bell.send_task("massmail.run_lane", args=[box.pk, -1])
                bell.send_task("massmail.run_lane", args=[999_999])
                bell.send_task("massmail.tick")
            wanted = 3 if paced else 3 * 94
            assert eventually(lambda: len(read_journal(journal)) >= wanted, patience=90), log.read_text()
            # Every ring has been answered, so that nothing comes after.
            assert eventually(lambda: idle(bell), patience=90)
        finally:
            worker.stop()
            bell.close()
    records = read_journal(journal)
    assert Counter(record.sender for record in records) == dict.fromkeys((box.from_email for box in boxes), wanted / 3)
    assert set(AccountDay.objects.values_list("used", flat=True)) == {wanted // 3}
    assert not Lane.objects.filter(failures__gt=0).exists()
    assert set(Lane.objects.values_list("slot", flat=True)) == {0}
    oracle.check(records)
    tick()
    assert oracle.imbalances() == []


def idle(bell):
    with bell.connection_for_read() as link:
        waiting = link.default_channel.client.llen("celery")
    return not waiting and not Lane.objects.exclude(lease_token="").exists()


@pytest.mark.parametrize("ids", FORGED)
def test_forged__ids_are_no_ops(alice, server, ids):
    world.account(alice, smtp_port=server.port)
    world.contacts(alice, 2)
    world.started(alice)
    tick()
    tasks.run_lane(*ids)
    tasks.poll_account(ids[0])
    assert (server.messages, Lane.objects.count()) == ([], 0)


def test_beat__twice_at_the_same_moment_rings_and_sends_once(alice, server, monkeypatch):
    box = world.account(alice, smtp_port=server.port, paced=True)
    world.contacts(alice, 3)
    world.started(alice)
    rung = []
    monkeypatch.setattr(tasks.run_lane, "apply_async", lambda args, **options: rung.append((args, options)))
    tasks.tick()
    tasks.tick()
    assert {args for args, _options in rung} == {(box.pk, 0)}
    assert all(options["expires"] for _args, options in rung)
    for args, _options in rung:
        tasks.run_lane(*args)
    assert oracle.check(server.messages) == {"sent": 1, "queued": 2}


def test_beat__none_is_said_by_engine_and_admin(alice, client, server):
    """Nothing leaves, and whoever looks is told since when."""
    world.account(alice, smtp_port=server.port)
    world.contacts(alice, 3)
    mailing = world.started(alice)
    client.force_login(alice)
    pages = [reverse("admin:massmail_mailing_changelist"), reverse("admin:massmail_mailing_change", args=[mailing.pk])]
    for page in pages:
        assert "No worker or beat is alive" in client.get(page).content.decode()
    tick()
    for page in pages:
        assert "No worker or beat is alive" not in client.get(page).content.decode()
    Heartbeat.objects.update(at=timezone.now() - dt.timedelta(minutes=20))
    assert holds.explain(mailing, now=timezone.now()).reason == HoldReason.NO_HEARTBEAT
    for page in pages:
        assert "the last tick was" in client.get(page).content.decode()
    assert server.messages == []


def test_lease__two_that_ask_at_once_get_one(alice):
    box = world.account(alice)
    held = [lanes.acquire(box, now=world.MONDAY) for _ in range(8)]
    assert len([lease for lease in held if lease]) == 1


@pytest.fixture
def interrupt(monkeypatch, server):
    """Do something once, while the server has two mails, the third is claimed and the fourth is read ahead."""

    def interrupt(what):
        deliver, done = SMTPConnection.deliver, []

        def deliver_and_more(self, **letter):
            if len(server.messages) == 2 and not done:
                done.append(what)
                what()
            return deliver(self, **letter)

        monkeypatch.setattr(SMTPConnection, "deliver", deliver_and_more)

    return interrupt


def test_lease__lost_while_speaking_ends_the_turn(alice, server, interrupt):
    """A worker that hung for longer than its lease wakes up, and another one has the lane."""
    box = world.account(alice, smtp_port=server.port)
    world.contacts(alice, 10)
    world.started(alice)
    tick(clock=world.clock())

    def lose():
        Lane.objects.update(lease_until=world.berlin("2020-01-01 00:00"))
        assert lanes.acquire(box, now=world.MONDAY)

    interrupt(lose)
    run_lane(box.pk, clock=world.clock())
    assert oracle.check(server.messages) == {"sent": 3, "queued": 7}
    Lane.objects.update(lease_until=world.berlin("2020-01-01 00:00"))
    run_lane(box.pk, clock=world.clock("2026-11-23 10:30"))
    assert oracle.check(server.messages) == {"sent": 10}
    assert oracle.imbalances() == []


def test_one_lane__another_of_the_same_account_was_quicker(alice, server, interrupt):
    """The second lane helps with what the first has read ahead already: nobody is claimed twice."""
    box = world.account(alice, smtp_port=server.port, lanes=2)
    world.contacts(alice, 12)
    world.started(alice)
    tick(clock=world.clock())
    interrupt(lambda: run_lane(box.pk, 1, clock=world.clock()))
    run_lane(box.pk, clock=world.clock())
    assert oracle.check(server.messages) == {"sent": 12}
    assert {record.connection for record in server.messages} == {1, 2}
    assert oracle.imbalances() == []
