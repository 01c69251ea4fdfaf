"""Kill workers, beats and Redis at random moments, hundreds of times, and hold the records against the mail server.

python -m tests.torture                                  300 kills, half of them on each database
python -m tests.torture --kills 50 --databases sqlite --seed 7
python -m tests.torture crowd                            nobody is killed: 8 processes, 20 accounts, 20,000 recipients

Prints what was killed and what became of the mail. Fails if anybody got two copies or none that the records do not
own up to, if more is in doubt than lanes were killed, or if the sums do not add up. `--seed` repeats the choices, not
the moments: these are the machine's.
"""

# ruff: noqa: T201

from __future__ import annotations

import argparse
import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from tests import processes, servers
from tests.servers import eventually

CHILDREN = 2  # lanes that a worker can hold at once: its processes
WORKERS = 2
BEATS = 2
ACCOUNTS = 4
PEOPLE = 1000
#: What is killed, and how often: one process of a worker, all of it, a beat; Redis is emptied or started anew.
VICTIMS = {"child": 80, "worker": 8, "beat": 4, "flush": 5, "redis": 3}
PATIENCE = 300  # seconds, for a machine that has much else to do


class Stage:
    """The processes under torture, in `home`; each that dies is replaced at once."""

    def __init__(self, home: Path, dice: random.Random, stack: ExitStack) -> None:
        self.home, self.dice, self.stack = home, dice, stack
        self.log, self.journal = home / "celery.log", home / "mail.jsonl"
        self.redis_port = servers.free_port()
        self.redis = ExitStack()
        self.killed: Counter[str] = Counter()
        self.lanes_killed = 0
        #: Programs that ended without having been killed.
        self.gave_up = 0
        self.env = os.environ | {
            "BROKER_URL": f"redis://127.0.0.1:{self.redis_port}/0",
            "MASSMAIL_TRANSPORT": "massmail.transport.smtp.SMTPConnection",
            "MASSMAIL_LEASE_SECONDS": "3",
            "MASSMAIL_TICK_SECONDS": "1",
        }
        self.smtp_port = stack.enter_context(processes.smtp_server(self.journal, "--slow", "0.03"))
        self.start_redis()
        stack.callback(lambda: self.redis.close())
        self.workers = [self.worker(number) for number in range(WORKERS)]
        self.beats = [self.beat() for _ in range(BEATS)]
        stack.callback(self.end)

    def start_redis(self) -> None:
        self.redis = ExitStack()
        self.redis.enter_context(servers.redis(self.redis_port))

    def worker(self, number: int) -> processes.Process:
        return processes.worker(self.env, self.log, concurrency=CHILDREN, name=f"w{number}")

    def beat(self) -> processes.Process:
        return processes.start_beat(self.env, self.log)

    def end(self) -> None:
        for process in (*self.beats, *self.workers):
            process.kill()

    def revive(self) -> None:
        """Start anew what has ended by itself, as a service manager does.

        Celery's worker gives up when a child of it is killed while Redis is away (an AttributeError in kombu).
        """
        for number, worker in enumerate(self.workers):
            if worker.ended:
                worker.kill()  # the children that it left behind
                self.workers[number] = self.worker(number)
                self.lanes_killed += CHILDREN
                self.gave_up += 1
        for number, beat in enumerate(self.beats):
            if beat.ended:
                self.beats[number] = self.beat()
                self.gave_up += 1

    def kill(self) -> None:
        """Kill something."""
        what = self.dice.choices(list(VICTIMS), list(VICTIMS.values()))[0]
        number = self.dice.randrange(WORKERS)
        children = self.workers[number].children()
        if what in ("child", "worker") and not children:
            return  # it has not got so far yet: no use in killing it
        match what:
            case "child":
                with suppress(ProcessLookupError):
                    os.kill(self.dice.choice(children), signal.SIGKILL)
                self.lanes_killed += 1
            case "worker":
                self.workers[number].kill()
                self.lanes_killed += CHILDREN
                self.workers[number] = self.worker(number)
            case "beat":
                number = self.dice.randrange(BEATS)
                self.beats[number].kill()
                self.beats[number] = self.beat()
            case "flush":
                import redis

                with redis.Redis(port=self.redis_port) as client:
                    client.flushall()
            case "redis":
                self.redis.close()
                self.start_redis()
        self.killed[what] += 1

    def let_some_mail_pass(self) -> None:
        """Wait, but not for ever, until a few more mails arrived, so that a kill strikes somebody at work."""
        mails, more = len(records(self)), self.dice.randint(1, 25)
        eventually(lambda: len(records(self)) >= mails + more, patience=20)
        time.sleep(self.dice.uniform(0, 0.1))

    @property
    def total(self) -> int:
        return self.killed.total()


def torture(home: Path, *, kills: int, dice: random.Random) -> bool:
    """Kill `kills` times on the database of the settings; return whether the promise held."""
    from tests import oracle, world

    owner = populate(home)
    with ExitStack() as stack:
        stage = Stage(home, dice, stack)
        for number in range(ACCOUNTS):
            world.account(owner, f"box{number}", smtp_port=stage.smtp_port, emails_per_day=10_000_000, lanes=2)
        # Its part is small, or all would wait for it.
        world.account(owner, "paced", smtp_port=stage.smtp_port, emails_per_day=300_000, paced=True)
        world.contacts(owner, PEOPLE, prefix="slow", company=world.company(owner))
        world.contacts(owner, PEOPLE // 50, prefix="nouser")
        began, found = time.monotonic(), []
        while stage.total < kills and not found:
            if waiting() < PEOPLE // 3:
                world.started(owner)
            stage.revive()
            stage.kill()
            stage.let_some_mail_pass()
            found = unsettled(stage)
        stage.revive()
        quiet = eventually(lambda: not waiting(), patience=PATIENCE)
        books = eventually(lambda: not oracle.imbalances(), patience=30)
        stage.end()
        found += oracle.violations(records(stage)) + oracle.imbalances()
        if not (quiet and books):
            found.append(f"not done after {PATIENCE} s: {oracle.statuses()}")
        return report(stage, found, seconds=time.monotonic() - began)


def populate(home: Path):
    """Make the tables and their first rows; return the owner of everything."""
    from django.contrib.auth import get_user_model
    from django.core.management import call_command

    from tests import world

    call_command("migrate", verbosity=0)
    call_command("massmail_setup", verbosity=0)
    world.settings(emails_per_day=94, gap_min=1, gap_max=1)
    return get_user_model().objects.create_user("alice", is_staff=True)


def waiting() -> int:
    from massmail.models import Delivery

    return Delivery.objects.filter(status__in=["queued", "sending"], mailing__status="active").count()


def records(stage: Stage):
    from tests.smtpd import read_journal

    return read_journal(stage.journal)


def unsettled(stage: Stage) -> list[str]:
    """Look whether anybody got two copies while the show goes on: for all else the records run on as they are read."""
    from tests.smtpd import copies

    return [f"{number} copies for {key}" for key, number in copies(records(stage)).items() if number > 1]


def report(stage: Stage, found: list[str], *, seconds: float) -> bool:
    from django.db import connection

    from tests import oracle
    from tests.smtpd import copies

    seen, arrived = oracle.statuses(), copies(records(stage))
    if seen["unknown"] > stage.lanes_killed:
        found.append(f"{seen['unknown']} unknown, and only {stage.lanes_killed} lanes were killed")
    doubles = sum(number > 1 for number in arrived.values())
    lost = sum(seen.values()) - sum(seen[status] for status in ("sent", "failed", "skipped", "unknown"))
    print(
        f"{connection.vendor}: {stage.total} kills in {seconds:.0f} s"
        f" ({', '.join(f'{number} {what}' for what, number in sorted(stage.killed.items()))};"
        f" {stage.lanes_killed} lanes killed, {stage.gave_up} programs gave up),"
        f" {sum(seen.values())} deliveries, {arrived.total()} copies,"
        f" {seen['sent']} sent, {seen['failed']} failed, {seen['unknown']} unknown, {lost} lost, {doubles} doubles"
    )
    for violation in found[:20]:
        print("VIOLATED:", violation)
    return not found


def crowd(home: Path, *, dice: random.Random) -> bool:
    """Acceptance: eight worker processes, two beats, 20 accounts, 20,000 recipients; 94 a day each, to the mail."""
    from massmail.models import AccountDay
    from tests import oracle, world

    owner = populate(home)
    journal, log, port = home / "mail.jsonl", home / "celery.log", servers.free_port()
    with ExitStack() as stack:
        stack.enter_context(servers.redis(port))
        smtp_port = stack.enter_context(processes.smtp_server(journal))
        for number in range(20):
            world.account(owner, f"box{number}", smtp_port=smtp_port)
        world.contacts(owner, 20_000)
        mailing = world.started(owner)
        env = os.environ | {
            "BROKER_URL": f"redis://127.0.0.1:{port}/0",
            "MASSMAIL_TRANSPORT": "massmail.transport.smtp.SMTPConnection",
            "MASSMAIL_TICK_SECONDS": "1",
        }
        began = time.monotonic()
        for number in range(2):
            stack.callback(processes.worker(env, log, concurrency=4, name=f"w{number}").kill)
            stack.callback(processes.start_beat(env, log).kill)
        used = AccountDay.objects.values_list("used", flat=True)
        eventually(lambda: sum(used.all()) >= 20 * 94, patience=PATIENCE)
        time.sleep(10)  # for whoever would send more
        seconds = time.monotonic() - began
    from tests.smtpd import copies, read_journal

    arrived = read_journal(journal)
    by_account = Counter(record.sender for record in arrived)
    people = Counter(recipient for record in arrived for recipient in record.recipients)
    found = oracle.violations(arrived) + oracle.imbalances()
    found += [f"{number} mails through {sender}" for sender, number in by_account.items() if number != 94]
    found += [f"{number} mails to {address}" for address, number in people.items() if number > 1]
    found += [f"{number} accounts spoke" for number in [len(by_account)] if number != 20]
    print(
        f"crowd: {mailing.total} recipients, {copies(arrived).total()} copies to {len(people)} addresses through"
        f" {len(by_account)} accounts in {seconds:.0f} s, charged {sorted(set(used.all()))}, {dict(oracle.statuses())}"
    )
    for violation in found[:20]:
        print("VIOLATED:", violation)
    return not found


# Databases and processes ----------------------------------------------------------------------------------------------


@contextmanager
def sqlite(home: Path) -> Iterator[dict[str, str]]:
    yield {"TEST_DATABASE_FILE": str(home / "db.sqlite3")}


@contextmanager
def postgresql(home: Path) -> Iterator[dict[str, str]]:
    import psycopg

    with servers.postgres() as url:
        with psycopg.connect(url.replace("/massmail", "/postgres"), autocommit=True) as connection:
            connection.execute("CREATE DATABASE massmail")
        yield {"DATABASE_URL": url}


DATABASES: dict[str, Callable[[Path], object]] = {"sqlite": sqlite, "postgresql": postgresql}


def main() -> int:
    options = _options()
    if options.within:
        return _within(options)
    failed = False
    print(f"seed {options.seed}")
    for database in ["postgresql"] if options.what == "crowd" else options.databases:
        with servers.private_directory() as home, DATABASES[database](home) as settings:
            command = [sys.executable, "-m", "tests.torture", options.what, "--within", str(home)]
            command += ["--kills", str(-(-options.kills // len(options.databases))), "--seed", str(options.seed)]
            env = os.environ | {"DJANGO_SETTINGS_MODULE": "tests.settings", "EXAMPLE_VAR": str(home)} | settings
            failed |= bool(subprocess.run(command, env=env, check=False).returncode)
            if failed and (log := home / "celery.log").exists():
                print(log.read_text()[-5000:])
    return int(failed)


def _within(options: argparse.Namespace) -> int:
    import django

    django.setup()
    dice = random.Random(options.seed)
    home = Path(options.within)
    held = crowd(home, dice=dice) if options.what == "crowd" else torture(home, kills=options.kills, dice=dice)
    return not held


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.torture", description=__doc__.partition("\n")[0])
    parser.add_argument("what", nargs="?", choices=("kills", "crowd"), default="kills")
    parser.add_argument("--kills", type=int, default=300, help="over all databases; default: %(default)s")
    parser.add_argument("--databases", nargs="+", choices=DATABASES, default=list(DATABASES))
    parser.add_argument("--seed", type=int, default=int(time.time()))
    parser.add_argument("--within", help=argparse.SUPPRESS)  # the directory, in the process that does it
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
