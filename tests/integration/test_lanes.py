"""Relays: several lanes of one account, and the batches in which they charge the quota and keep count."""

from __future__ import annotations

import datetime as dt
import re
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import pytest
from django.core.exceptions import ValidationError
from django.db import OperationalError, connection
from django.test.utils import CaptureQueriesContext

from example_project.crm.models import Contact
from massmail import tasks
from massmail.choices import HoldReason, MailingStatus, Phase
from massmail.engine import batch, candidates, claims, holds, lanes, lifecycle, pulse
from massmail.engine.line import Line
from massmail.engine.run import Taken, run_lane, take_turn, tick, tick_lanes
from massmail.models import AccountDay, Delivery, EmailAccount, Lane, Mailing, MassmailSettings, Tally
from massmail.models.statements import together
from massmail.outcomes import progress
from massmail.transport import Reply, memory
from tests import world

ZONE = world.MONDAY.tzinfo


class Killed(BaseException):
    """What kill -9 looks like from inside: nothing that comes after it runs."""


@pytest.fixture(autouse=True)
def outbox(db):
    memory.clear()
    world.settings()
    yield memory.outbox
    memory.clear()


def relay(owner, number, *, limit=10_000, count=1, **fields):
    """An account with its mailing of `number` recipients, all assigned."""
    box = world.account(owner, emails_per_day=limit, lanes=count, **fields)
    world.contacts(owner, number)
    mailing = world.started(owner)
    while lanes.assign(mailing, [box], daily_limit=94):
        pass
    return box, mailing


def statuses(mailing):
    return Counter(mailing.deliveries.values_list("status", flat=True))


def sent(mailing):
    return progress([mailing], now=world.MONDAY)[mailing.pk].sent


def used(box):
    return AccountDay.objects.get(account=box).used


@contextmanager
def meddling(monkeypatch, at, what):
    """Do `what` while the server has the mail number `at` (from 0)."""
    deliver = memory.MemoryConnection.deliver

    def deliver_and_meddle(self, **letter):
        if len(memory.outbox) == at:
            what()
        return deliver(self, **letter)

    with monkeypatch.context() as patch:
        patch.setattr(memory.MemoryConnection, "deliver", deliver_and_meddle)
        yield


def run_until_killed(monkeypatch, box, at):
    """Have the worker die while the server has the mail number `at`: no lease is released, no batch closed."""

    def die():
        raise Killed

    with meddling(monkeypatch, at, die), monkeypatch.context() as patch:
        patch.setattr(lanes.Lease, "release", lambda self: None)
        with pytest.raises(Killed):
            run_lane(box.pk, clock=world.clock())


def let_the_lease_run_out():
    Lane.objects.update(lease_until=world.berlin("2020-01-01 00:00"))


# Statements -----------------------------------------------------------------------------------------------------------


#: Begin and end of transactions, which are savepoints within a test's own.
MARKS = ("BEGIN", "COMMIT", "SAVEPOINT", "RELEASE SAVEPOINT")


def statements(run):
    with CaptureQueriesContext(connection) as seen:
        run()
    return [query["sql"] for query in seen if not query["sql"].startswith(MARKS)]


def test_queries__three_a_mail_at_most_whatever_their_number(alice, outbox):
    box, _mailing = relay(alice, 600)
    seen = statements(lambda: run_lane(box.pk, clock=world.clock()))
    assert len(outbox) == 600
    assert len(seen) <= 3 * 600
    # In fact two for each, the one that settles and the one that claims; the rest is once for a hundred.
    assert len(seen) <= 2 * 600 + 120


def test_queries__the_last_is_settled_and_the_next_claimed_in_one_commit(alice, outbox):
    box, _mailing = relay(alice, 50)
    with CaptureQueriesContext(connection) as seen:
        run_lane(box.pk, clock=world.clock())
    queries = [query["sql"] for query in seen]
    if connection.vendor == "postgresql":  # as one statement, that it was told once
        assert [sum(sql.startswith(word) for sql in queries) for word in ("PREPARE", "EXECUTE")] == [1, 49]
        assert "".join(sql[0] for sql in queries if not sql.startswith(MARKS)).count("E" * 49) == 1  # and nothing else
    else:
        moves = [sql for sql in queries if sql.startswith('UPDATE "massmail_delivery"')]
        kinds = ["settle" if "'sent'" in sql.split("WHERE")[0] else "claim" for sql in moves]
        assert kinds == ["claim", "settle"] * 50


def test_queries__a_paced_mail_costs_the_same_whatever_is_queued(alice, bob):
    few, many = (relay(owner, number, paced=True)[0] for owner, number in ((alice, 3), (bob, 300)))
    counts = []
    for box in (few, many):
        run_lane(box.pk, clock=world.clock())  # the first of the day also makes the rows it writes to
        counts.append(len(statements(lambda box=box: run_lane(box.pk, clock=world.clock("2026-11-23 10:05")))))
    assert counts[0] == counts[1]
    assert counts[0] <= 23


PAUSED = 10_000


def pause_many(owner, box):
    """Make a paused mailing of `PAUSED` deliveries that `box` is to send, and let the database count its tables."""
    mailing = world.mailing(owner, name="paused")
    Mailing.objects.filter(pk=mailing.pk).update(
        status=MailingStatus.PAUSED, version=version_of(owner), started_at=world.MONDAY
    )
    Delivery.objects.bulk_create(
        (
            Delivery(mailing=mailing, object_id=f"x{n}", address=f"x{n}@paused.example", account=box)
            for n in range(PAUSED)
        ),
        batch_size=5000,
    )
    with connection.cursor() as cursor:
        cursor.execute("ANALYZE")


def version_of(owner):
    return Mailing.objects.get(owner=owner, status=MailingStatus.ACTIVE).version


def plan_of(sql):
    with connection.cursor() as cursor:
        cursor.execute(f"{'EXPLAIN QUERY PLAN' if connection.vendor == 'sqlite' else 'EXPLAIN'} {sql}")
        return "\n".join(str(row[-1]) for row in cursor.fetchall())


def test_queries__a_paused_mailing_costs_an_active_one_nothing(alice, outbox, monkeypatch):
    """Whatever reads or moves deliveries finds them by an index that begins with the mailing, or by their key."""
    box, _mailing = relay(alice, 60)
    pause_many(alice, box)
    # No plan can be had of what PostgreSQL was told once.
    monkeypatch.setitem(connection.settings_dict, "DISABLE_SERVER_SIDE_CURSORS", True)
    seen = statements(lambda: run_lane(box.pk, clock=world.clock()))
    assert len(outbox) == 60
    looked = [sql for sql in seen if '"massmail_delivery"' in sql and sql.startswith(("SELECT", "UPDATE", "WITH"))]
    plans = {plan_of(sql) for sql in looked}
    assert any("massmail_claim" in plan for plan in plans)
    for plan in plans:
        assert not re.search(r"Seq Scan on massmail_delivery|SCAN massmail_delivery", plan), plan


# Batches --------------------------------------------------------------------------------------------------------------


def test_batch__books_are_right_at_the_end(alice, outbox):
    box, mailing = relay(alice, 230)
    run_lane(box.pk, clock=world.clock())
    assert (sent(mailing), used(box)) == (230, 230)
    lane = Lane.objects.get(account=box)
    assert (lane.batch_at, lane.batch_quota) == (None, 0)
    # The clock stands still, and each batch begins a microsecond after the one before.
    assert lane.last_sent_at == world.MONDAY + dt.timedelta(microseconds=2)


def test_batch__progress_follows_within_a_second(alice, monkeypatch):
    box, mailing = relay(alice, 60)
    seen = []
    monkeypatch.setattr(batch, "LONGEST", 0)
    with meddling(monkeypatch, 40, lambda: seen.append(sent(mailing))):
        run_lane(box.pk, clock=world.clock())
    assert seen == [40]


def test_batch__a_refusal_is_booked_at_once(alice, outbox):
    box, mailing = relay(alice, 30)
    memory.replies["person7@alice.example"] = Reply(phase=Phase.RCPT, code=550, text="5.1.1 No such user")
    memory.replies["person9@alice.example"] = Reply(phase=Phase.RCPT, code=450, text="4.2.0 Greylisted")
    memory.replies["person11@alice.example"] = Reply(phase=Phase.DOT, code=451, text="4.3.0 Try later")
    run_lane(box.pk, clock=world.clock())
    assert (sent(mailing), statuses(mailing)) == (
        Counter(outbox and ["sent"] * len(outbox))["sent"],
        Counter(mailing.deliveries.values_list("status", flat=True)),
    )
    # Charged: what was sent, and what the server had and turned away.
    assert used(box) == len(outbox) + 1


def test_batch__midnight_ends_it(alice, outbox, monkeypatch):
    box, mailing = relay(alice, 20)
    clock = world.clock("2026-11-23 23:59:59")
    with meddling(monkeypatch, 12, lambda: clock.wait_until(world.berlin("2026-11-24 00:00:01"))):
        run_lane(box.pk, clock=clock)
    days = dict(AccountDay.objects.order_by("date").values_list("date", "used"))
    assert days == {dt.date(2026, 11, 23): 13, dt.date(2026, 11, 24): 7}
    assert sum(Tally.objects.filter(mailing=mailing).values_list("sent", flat=True)) == 20


@pytest.mark.parametrize("at", [0, 1, 37, 99, 100, 101])
@pytest.mark.parametrize("by", ["tick", "lane"])
def test_batch__of_a_dead_worker_is_found_again(alice, outbox, monkeypatch, at, by):
    box, mailing = relay(alice, 150)
    run_until_killed(monkeypatch, box, at)
    assert statuses(mailing) == Counter({"sent": at, "sending": 1, "queued": 149 - at}) - Counter()
    assert used(box) > at  # a batch is charged ahead
    let_the_lease_run_out()
    if by == "tick":
        tick(clock=world.clock("2026-11-23 10:05"))
        assert (sent(mailing), used(box)) == (at, at + 1)
        tick(clock=world.clock("2026-11-23 10:06"))
    run_lane(box.pk, clock=world.clock("2026-11-23 10:10"))
    tick(clock=world.clock("2026-11-23 10:15"))
    seen = progress([mailing], now=world.MONDAY)[mailing.pk]
    assert (seen.sent, seen.unknown, seen.to_go) == (149, 1, 0)
    assert used(box) == 150


def test_batch__94_means_94_after_a_crash(alice, outbox, monkeypatch):
    box, mailing = relay(alice, 200, limit=94)
    run_until_killed(monkeypatch, box, 50)
    let_the_lease_run_out()
    for minute in range(1, 6):
        tick(clock=world.clock(f"2026-11-23 11:0{minute}"))
        run_lane(box.pk, clock=world.clock(f"2026-11-23 11:0{minute}"))
    assert (len(outbox), used(box)) == (93, 94)  # and the one of which nobody knows
    assert statuses(mailing) == {"sent": 93, "unknown": 1, "queued": 106}


def test_batch__a_worker_that_was_only_slow_brings_nothing_in_twice(alice, outbox, monkeypatch):
    """It lost its lease while the server had a mail; another worker took the lane over, and then it went on."""
    box, mailing = relay(alice, 60)

    def take_over():
        let_the_lease_run_out()
        tick(clock=world.clock("2026-11-23 10:01"))
        assert sent(mailing) == 20

    with meddling(monkeypatch, 20, take_over):
        run_lane(box.pk, clock=world.clock())
    seen = progress([mailing], now=world.MONDAY)[mailing.pk]
    assert (seen.sent, seen.unknown, used(box)) == (21, 0, 21)
    run_lane(box.pk, clock=world.clock("2026-11-23 10:20"))
    assert (sent(mailing), used(box), len(outbox)) == (60, 60, 60)


def test_batch__an_account_deleted_in_mid_run_leaves_the_sums_right(alice, outbox, monkeypatch):
    box, mailing = relay(alice, 40)
    with meddling(monkeypatch, 15, lambda: EmailAccount.objects.get(pk=box.pk).delete()):
        run_lane(box.pk, clock=world.clock())
    assert sent(mailing) == statuses(mailing)["sent"] == 16


def test_batch__a_lost_connection_to_the_database_leaves_it_to_the_records(alice, outbox, monkeypatch):
    box, mailing = relay(alice, 40)

    def broken(settled, claimed):
        if len(memory.outbox) == 10:
            raise OperationalError("server closed the connection unexpectedly")
        together(settled, claimed)

    with monkeypatch.context() as patch:
        patch.setattr(claims, "together", broken)
        run_lane(box.pk, clock=world.clock())
    assert statuses(mailing) == {"sent": 10, "queued": 30}
    assert (sent(mailing), used(box)) == (10, 10)
    run_lane(box.pk, clock=world.clock("2026-11-23 10:05"))
    assert (sent(mailing), used(box), len(outbox)) == (40, 40, 40)


# Several lanes --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("number", [0, 17])
def test_lanes__of_an_account_are_one_to_sixteen(alice, number):
    box = world.account(alice)
    box.lanes = number
    with pytest.raises(ValidationError, match="lanes"):
        box.full_clean()


def test_lanes__a_paced_account_has_one(alice):
    assert list(world.account(alice, paced=True, lanes=4).slots) == [0]
    assert list(world.account(alice, "relay", lanes=4).slots) == [0, 1, 2, 3]


def test_lanes__a_slot_that_is_not_there_does_not_speak(alice, outbox):
    box, _mailing = relay(alice, 5, count=2)
    assert run_lane(box.pk, 2, clock=world.clock()) == 0
    assert not Lane.objects.exists()


def test_lanes__each_has_a_part_and_helps_the_others_at_last(alice, outbox):
    box, mailing = relay(alice, 40, count=4)
    ahead = [candidates.read_ahead(box, [mailing], limit=100, now=world.MONDAY, slot=slot) for slot in box.slots]
    keys = [{candidate.delivery.pk for candidate in each} for each in ahead]
    assert [len(each) for each in keys] == [10] * 4
    assert len(set.union(*keys)) == 40
    assert run_lane(box.pk, 1, clock=world.clock()) == 40


def test_lanes__one_that_rests_does_not_hold_the_account(alice):
    box, mailing = relay(alice, 5, count=2)
    rest = world.MONDAY + dt.timedelta(minutes=5)
    Lane.objects.create(account=box, slot=0, next_at=rest, failures=1, last_reply="421 too many connections")
    pulse.beat(now=world.MONDAY)
    assert holds.explain(box, now=world.MONDAY) is None
    Lane.objects.create(account=box, slot=1, next_at=rest + dt.timedelta(minutes=1), failures=1, last_reply="421")
    hold = holds.explain(box, now=world.MONDAY)
    assert (hold.reason, hold.until) == (HoldReason.BACK_OFF, rest)
    assert mailing.status == MailingStatus.ACTIVE


def test_lanes__the_bell_rings_for_each(alice, monkeypatch):
    box, _mailing = relay(alice, 5, count=3)
    assert tick_lanes() == [(box.pk, 0), (box.pk, 1), (box.pk, 2)]
    rung = []
    monkeypatch.setattr(tasks.run_lane, "apply_async", lambda args, expires: rung.append(args))
    tasks.tick()
    assert rung == [(box.pk, 0), (box.pk, 1), (box.pk, 2)]


@pytest.mark.parametrize("cut_short", [True, False])
def test_lanes__one_that_made_room_for_others_gets_in_line_again(monkeypatch, cut_short):
    rung = []
    monkeypatch.setattr(tasks.run_lane, "apply_async", lambda args, expires: rung.append(args))
    monkeypatch.setattr(tasks.run, "take_turn", lambda *args: Taken(spoken=9, cut_short=cut_short))
    tasks.run_lane(7, 1)
    assert rung == ([(7, 1)] if cut_short else [])


def test_lanes__a_slice_that_is_over_says_so(alice, outbox, settings):
    box, _mailing = relay(alice, 5)
    settings.MASSMAIL_SLICE_SECONDS = 0
    assert take_turn(box.pk, clock=world.clock()) == Taken(spoken=0, cut_short=True)
    settings.MASSMAIL_SLICE_SECONDS = 60
    assert take_turn(box.pk, clock=world.clock()) == Taken(spoken=5, cut_short=False)


def test_lanes__a_server_that_takes_longer_than_a_slice_gets_a_mail_each_turn(alice, outbox, settings, monkeypatch):
    box, _mailing = relay(alice, 5)
    settings.MASSMAIL_SLICE_SECONDS = 0.05
    connect = Line.open
    monkeypatch.setattr(Line, "open", lambda line: time.sleep(0.1) or connect(line))
    assert take_turn(box.pk, clock=world.clock()) == Taken(spoken=1, cut_short=True)


@pytest.mark.django_db(transaction=True)
def test_lanes__side_by_side_serve_each_once_and_keep_to_the_quota(alice, outbox):
    box, mailing = relay(alice, 150, limit=94, count=4)

    def speak(slot):
        try:
            return run_lane(box.pk, slot, clock=world.clock())
        finally:
            connection.close()

    with ThreadPoolExecutor(4) as pool:
        spoken = [sum(pool.map(speak, box.slots)) for _round in range(3)]
    assert sum(spoken) == len(outbox) == 94
    assert len({letter.to for letter in outbox}) == 94
    assert (sent(mailing), used(box)) == (94, 94)


# What changes while a slice runs --------------------------------------------------------------------------------------


def change_settings(**changes):
    MassmailSettings.objects.update(**changes)


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (lambda box: change_settings(use_business_time=True), 11),  # the clock says 22:00
        (lambda box: EmailAccount.objects.filter(pk=box.pk).update(emails_per_day=5), None),
    ],
)
def test_slice__follows_the_settings(alice, outbox, monkeypatch, change, expected):
    box, _mailing = relay(alice, 300)
    monkeypatch.setattr("massmail.engine.turn.REREAD", 0)
    with meddling(monkeypatch, 10, lambda: change(box)):
        run_lane(box.pk, clock=world.clock("2026-11-23 22:00"))
    # What was charged ahead may still go; nothing is charged beyond the new limit.
    assert len(outbox) == expected if expected else len(outbox) <= batch.LARGEST


@pytest.mark.parametrize("stop", ["pause", "cancel"])
def test_slice__stops_before_the_next_mail_of_each_lane(alice, outbox, monkeypatch, stop):
    box, mailing = relay(alice, 100, count=2)
    with meddling(monkeypatch, 5, lambda: getattr(lifecycle, stop)(mailing, by=alice)):
        run_lane(box.pk, 1, clock=world.clock())
    assert len(outbox) == 6
    assert run_lane(box.pk, 0, clock=world.clock()) == 0
    assert (used(box), Mailing.objects.get().pk) == (6, mailing.pk)


def test_paced__notes_when_it_sent_last(alice, outbox):
    box, _mailing = relay(alice, 2, paced=True)
    run_lane(box.pk, clock=world.clock())
    assert Lane.objects.get(account=box).last_sent_at == world.MONDAY
    assert Contact.objects.count() == 2
    assert Delivery.objects.filter(status="sent").count() == 1
