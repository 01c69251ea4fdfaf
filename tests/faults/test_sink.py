"""The faults that Postfix's `smtp-sink` can play: a server nobody here has written. It offers PIPELINING, too."""

from __future__ import annotations

import os
import shutil
import signal
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from email import message_from_bytes
from pathlib import Path
from typing import Any

import pytest

from massmail.choices import Failure
from massmail.engine.standalone import run
from massmail.models import AccountDay, Lane
from tests import oracle, servers, world
from tests.conftest import unavailable
from tests.smtpd import Record, copies

Play = Callable[..., AbstractContextManager[None]]


@pytest.fixture
def port() -> int:
    return servers.free_port()


@pytest.fixture
def mail() -> list[Record]:
    """What the sinks had up to the final dot, whatever they answered; filled when they end."""
    return []


@pytest.fixture
def play(port: int, mail: list[Record]) -> Play:
    """Run a sink with the options of smtp-sink(1) in a `with` block."""
    program = shutil.which("smtp-sink") or shutil.which("smtp-sink", path="/usr/sbin:/usr/local/sbin")
    if program is None:
        unavailable("smtp-sink is not installed (Debian: apt-get install postfix)")
    # It refuses to run as root.
    user: dict[str, Any] = {"user": "postfix", "group": "postfix", "extra_groups": []} if os.geteuid() == 0 else {}

    @contextmanager
    def play(*options: str) -> Iterator[None]:
        with servers.private_directory(owner=user.get("user")) as home:
            command = [program, *options, "-d", home / "mail.", f"127.0.0.1:{port}", 16]
            with servers.running(command, home, ready=lambda: servers.answers(port), stop=signal.SIGTERM, **user):
                yield
            mail.extend(map(_record, home.glob("mail.*")))

    return play


def _record(dump: Path) -> Record:
    text = message_from_bytes(dump.read_bytes())
    sender, to = (text[name].strip("<>") for name in ("X-Mail-Args", "X-Rcpt-Args"))
    size, at = dump.stat().st_size, dump.stat().st_mtime
    return Record(
        sender=sender,
        recipients=(to,),
        message_id=text["Message-ID"],
        at=at,
        login="",
        connection=0,
        secure=False,
        size=size,
    )


@pytest.fixture
def box(alice, port):
    return world.account(alice, smtp_port=port)


def send(at="2026-11-23 10:00"):
    return run(clock=world.clock(at), until_idle=True)


def rows(mailing):
    return Counter(mailing.deliveries.values_list("status", "attempts"))


BREAKS = [
    *(("-q", step) for step in ("CONNECT", "EHLO", "MAIL", "RCPT", "DATA")),
    *(("-Q", step) for step in ("EHLO", "MAIL", "RCPT", "DATA")),
]


@pytest.mark.parametrize("fault", BREAKS, ids=" ".join)
def test_broken_off__before_the_dot_is_sent_again(alice, box, play, mail, fault):
    world.contacts(alice, 3)
    mailing = world.started(alice)
    with play(*fault):
        send()
    assert (mail, rows(mailing)) == ([], {("queued", 0): 3})
    assert Lane.objects.get(account=box).failures == 1
    with play():
        send("2026-11-23 10:01")
        send("2026-11-23 10:20")
    assert oracle.check(mail) == {"sent": 3}
    assert oracle.imbalances() == []


def test_greylisted__is_sent_later_once(alice, box, play, mail):
    world.contacts(alice, 3)
    mailing = world.started(alice)
    with play("-r", "RCPT", "-b", "450 4.2.0 Greylisted"):
        send()
    assert (mail, rows(mailing)) == ([], {("queued", 1): 3})
    with play():
        send("2026-11-23 10:10")
        send("2026-11-23 10:20")
    assert oracle.check(mail) == {"sent": 3}
    assert oracle.imbalances() == []


def test_after_the_dot__is_unknown_and_one_copy_in_the_dump(alice, box, play, mail):
    world.contacts(alice, 3)
    mailing = world.started(alice)
    with play("-q", "."):
        send()
    assert rows(mailing) == {("unknown", 0): 1, ("queued", 0): 2}
    doubtful = mailing.deliveries.get(status="unknown")
    assert (doubtful.reason, copies(mail)) == (Failure.NO_ANSWER, {(doubtful.message_id, doubtful.address): 1})
    with play():
        for at in ("2026-11-23 10:01", "2026-11-23 11:00", "2026-11-30 10:00"):
            send(at)
    assert oracle.check(mail) == {"sent": 2, "unknown": 1}
    assert len(mail) == 3
    assert AccountDay.objects.get(account=box).used == 3


def test_slow__250_is_waited_for(alice, box, play, mail, settings):
    settings.MASSMAIL_SMTP_TIMEOUT = 1
    world.contacts(alice, 1)
    world.started(alice)
    with play("-W", ".:2"):
        send()
        send("2026-11-23 10:30")
    assert oracle.check(mail) == {"sent": 1}
    assert oracle.imbalances() == []
