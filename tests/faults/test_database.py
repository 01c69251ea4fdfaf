"""The database goes away in mid-run: stopped (PostgreSQL) or locked by another process for too long (SQLite)."""

from __future__ import annotations

import sqlite3
from contextlib import ExitStack, contextmanager, suppress

import pytest
from django.db import InterfaceError, OperationalError, connection

from massmail.choices import MailingStatus
from massmail.engine.claims import Claims
from massmail.engine.letters import Letters
from massmail.engine.line import Line
from massmail.engine.run import run_lane, tick
from massmail.models import Lane
from tests import oracle, world

pytestmark = pytest.mark.django_db(transaction=True)


@contextmanager
def down():
    """Have the database be gone for this process until the block ends."""
    with _locked() if connection.vendor == "sqlite" else _stopped():
        yield


@contextmanager
def _locked():
    name = connection.settings_dict["NAME"]
    other = sqlite3.connect(name, timeout=10, isolation_level=None)
    with connection.cursor() as cursor:
        cursor.execute("PRAGMA busy_timeout = 50")  # of the 20 seconds, which a test need not wait
    other.execute("BEGIN EXCLUSIVE")
    try:
        yield
    finally:
        other.execute("ROLLBACK")
        other.close()


@contextmanager
def _stopped():
    """All connections are cut and none is let in, which is what a stopped server is to its clients."""
    import psycopg
    from psycopg import sql

    login = connection.settings_dict
    server = psycopg.connect(
        host=login["HOST"], port=login["PORT"], user=login["USER"], dbname="postgres", autocommit=True
    )
    name = sql.Identifier(login["NAME"])
    allow = sql.SQL("ALTER DATABASE {} ALLOW_CONNECTIONS {}")
    server.execute(allow.format(name, sql.SQL("false")))
    server.execute(
        "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE datname = %s", [str(login["NAME"])]
    )
    try:
        yield
    finally:
        server.execute(allow.format(name, sql.SQL("true")))
        server.close()


@contextmanager
def going_down(monkeypatch, owner, name, *, at, after=False):
    """Have the database go down at a call of `owner.name`, until the block ends; the call goes on."""
    function, calls = getattr(owner, name), 0

    with ExitStack() as stack, monkeypatch.context() as patch:

        def call(*args, **kwargs):
            nonlocal calls
            calls += 1
            if calls == at and not after:
                stack.enter_context(down())
            result = function(*args, **kwargs)
            if calls == at and after:
                stack.enter_context(down())
            return result

        patch.setattr(owner, name, call)
        yield
        assert calls >= at


def speak(box, at="2026-11-23 10:00"):
    tick(clock=world.clock(at))
    return run_lane(box.pk, clock=world.clock(at))


@pytest.fixture(params=[True, False], ids=["paced", "relay"])
def box(request, alice, server):
    box = world.account(alice, smtp_port=server.port, paced=request.param)
    world.contacts(alice, 10)
    return box


def goes_on(box, mailing, server):
    """The database is back, and the dead worker's lease ran out: everybody is served; return how many are in doubt."""
    connection.close()  # as Celery does between two tasks
    oracle.check(server.messages, under_way=True)
    Lane.objects.exclude(lease_until=None).update(lease_until=world.berlin("2020-01-01 00:00"))
    for minute in range(25 if box.paced else 3):
        speak(box, f"2026-11-23 12:{minute:02}")
    seen = oracle.check(server.messages)
    assert set(seen) <= {"sent", "unknown"}
    assert oracle.imbalances() == []
    mailing.refresh_from_db()
    assert mailing.status == MailingStatus.DONE
    return seen["unknown"]


@pytest.mark.parametrize(("owner", "name"), [(Letters, "write"), (Claims, "claim")], ids=["composing", "claiming"])
def test_down__before_anybody_is_claimed(alice, box, server, monkeypatch, owner, name):
    mailing = world.started(alice)
    with going_down(monkeypatch, owner, name, at=1), suppress(OperationalError, InterfaceError):
        speak(box)
    assert server.messages == []
    assert goes_on(box, mailing, server) == 0


@pytest.mark.parametrize("at", [1, 4])
def test_down__after_the_250(alice, box, server, monkeypatch, at):
    """The server has the mail, and nobody can write that down: it is unknown, and never sent again."""
    if box.paced and at > 1:
        pytest.skip("A paced account sends one mail a turn")
    mailing = world.started(alice)
    with going_down(monkeypatch, Line, "hand_in", at=at, after=True), pytest.raises((OperationalError, InterfaceError)):
        speak(box)
    assert len(server.messages) == at
    assert goes_on(box, mailing, server) == 1
    assert len(server.messages) == 10


@pytest.mark.parametrize("at", [2, 4])
def test_down__while_the_next_is_composed(alice, server, monkeypatch, at):
    """The one before it is claimed and not handed in: nothing leaves unrecorded, one is unknown at worst."""
    box = world.account(alice, smtp_port=server.port)
    world.contacts(alice, 10)
    mailing = world.started(alice)
    with going_down(monkeypatch, Letters, "write", at=at), suppress(OperationalError, InterfaceError):
        speak(box)
    assert len(server.messages) < at
    assert goes_on(box, mailing, server) <= 1


@pytest.mark.postgres
def test_down__in_the_middle_of_the_commit(alice, server, monkeypatch):
    box = world.account(alice, smtp_port=server.port)
    world.contacts(alice, 10)
    mailing = world.started(alice)
    with going_down(monkeypatch, Claims, "claim", at=4, after=True), suppress(OperationalError, InterfaceError):
        speak(box)
    assert goes_on(box, mailing, server) == 1


def test_down__when_the_commit_is_answered(alice, server, monkeypatch):
    """It came through, and the worker never heard of it; only the records know, and the database is back at once."""
    box = world.account(alice, smtp_port=server.port)
    world.contacts(alice, 10)
    mailing = world.started(alice)
    function, calls = Claims.claim, 0

    def claim(*args, **kwargs):
        nonlocal calls
        calls += 1
        made = function(*args, **kwargs)
        if calls == 4:
            raise OperationalError("server closed the connection unexpectedly")
        return made

    monkeypatch.setattr(Claims, "claim", claim)
    speak(box)
    assert goes_on(box, mailing, server) == 1
    assert len(server.messages) == 9


def test_down__for_the_tick(alice, box, server):
    mailing = world.started(alice)
    with down(), pytest.raises((OperationalError, InterfaceError)):
        tick(clock=world.clock())
    assert goes_on(box, mailing, server) == 0
