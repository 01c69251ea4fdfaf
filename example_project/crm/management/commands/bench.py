"""How fast mail leaves: fill a database of its own, then send everything through the engine with every check on."""

import contextlib
import datetime
import json
import os
import resource
import shutil
import socket
import subprocess
import sys
import threading
import time

from django.conf import settings
from django.contrib.auth import get_user_model
from django.core.management import call_command
from django.core.management.base import BaseCommand, CommandError
from django.db import connection

from example_project.crm.management import creation_bench
from example_project.crm.models import Company, Contact
from massmail.audience import create_mailing
from massmail.engine import lifecycle
from massmail.engine.run import run_lane, tick
from massmail.engine.standalone import RealClock, run
from massmail.models import Delivery, EmailAccount, Mailing, MassmailSettings, Message

STYLE = """
.wrap { font-family: Helvetica, Arial, sans-serif; color: #222222; font-size: 16px; padding: 20px }
.title { color: #0b5394; font-size: 20px; line-height: 1.5; margin: 0 }
.text { color: #555555; font-size: 15px; line-height: 1.5; margin: 0; padding: 4px }
.more { color: #ffffff; background: #0b5394; font-size: 14px; padding: 8px }
@media only screen and (max-width: 600px) { .wrap { width: 100% !important } }
"""
ARTICLE = """
<table class="wrap" width="600" cellpadding="0" cellspacing="0" role="presentation">
<tr><td class="title"><h2 class="title">What is new in hall {number}</h2></td></tr>
<tr><td class="text"><p class="text">A line was rebuilt in summer and now turns out two shifts of what took three.
We measured noise, energy and waste for a month, and show the figures to whoever wants to see them: come by on any
day, or let us call you (größer, señal, été). The machine hall has been open to visitors since May.</p>
<a class="more" href="https://www.acme.example/halls/{number}?ref=newsletter">Read more</a></td></tr></table>
"""
CONTENT = (
    f'<!DOCTYPE html><html lang="en"><head><meta charset="utf-8"><style>{STYLE}</style></head><body><div class="wrap">'
    "<h1>Hello {{ first_name }} {{ last_name }}</h1><p>News for {{ title }} of {{ company }} in {{ country }}.</p>"
    + "".join(ARTICLE.format(number=number) for number in range(12))
    + '<p class="text">You get this because {{ company }} is a customer. '
    '<a href="{{ unsubscribe_url }}">Unsubscribe</a></p></div></body></html>'
)


class Command(BaseCommand):
    help = (
        "Measures sending: `bench fill N` prepares N recipients, `bench send` sends to 127.0.0.1:2525 and times it. "
        "`bench create N` measures how fast a mailing to N recipients is made."
    )

    def add_arguments(self, parser):
        commands = parser.add_subparsers(dest="command", required=True)
        fill = commands.add_parser("fill", help="empty the database and make a mailing of N recipients")
        fill.add_argument("number", type=int)
        fill.add_argument("--accounts", type=int, default=1, help="relay accounts that share the work")
        fill.add_argument("--lanes", type=int, default=1, help="connections at once of each account")
        send = commands.add_parser("send", help="send the mailing and print RESULT with the seconds it took")
        send.add_argument("--workers", type=int, default=1, help="processes that share the lanes, each with threads")
        create = commands.add_parser("create", help="empty the database and time making mailings to N recipients")
        create.add_argument("number", type=int)
        lane = commands.add_parser("lanes", help="what each of those processes does: speak for these lanes until idle")
        lane.add_argument("lanes", nargs="+", type=int)

    def handle(self, *args, **options):
        # With DEBUG, Django keeps a copy of every statement.
        settings.DEBUG = False
        if options["command"] == "fill":
            self.fill(options["number"], options["accounts"], options["lanes"])
        elif options["command"] == "send":
            self.send(options["workers"])
        elif options["command"] == "create":
            self.create(options["number"])
        else:
            self.stdout.write("ready")
            self.stdout.flush()
            sys.stdin.read()  # until it is let go
            speak_in_threads(options["lanes"])

    def fill(self, number, accounts, lanes):
        call_command("migrate", verbosity=0)
        call_command("flush", interactive=False, verbosity=0)
        owner = get_user_model().objects.create_user("bench", "bench@acme.example", "bench")
        day = datetime.date(2026, 1, 5)
        company = Company.objects.create(full_name="Acme Metall GmbH", owner=owner, creation_date=day)
        Contact.objects.bulk_create(
            (
                Contact(
                    company=company,
                    owner=owner,
                    creation_date=day,
                    first_name=f"First{n}",
                    last_name=f"Last{n}",
                    title="Head of purchasing",
                    email=f"user{n}@customer.example",
                )
                for n in range(number)
            ),
            batch_size=2000,
        )
        for n in range(accounts):
            EmailAccount.objects.create(
                owner=owner,
                name=f"relay {n}",
                from_email=f"news{n}@acme.example",
                massmail=True,
                paced=False,
                lanes=lanes,
                emails_per_day=10 * number,
                smtp_host="127.0.0.1",
                smtp_port=2525,
                smtp_security="none",
            )
        MassmailSettings(unsubscribe_url="https://www.acme.example/unsubscribed/").save()
        message = Message.objects.create(owner=owner, subject="{{ first_name }}, what is new", content=CONTENT)
        started = time.perf_counter()
        mailing = create_mailing(owner=owner, recipients=Contact.objects.all(), message=message).mailing
        lifecycle.start(mailing, by=owner)
        self.stdout.write(f"{mailing.total} recipients, made and started in {time.perf_counter() - started:.2f} s")

    def create(self, number):
        call_command("migrate", verbosity=0)
        call_command("flush", interactive=False, verbosity=0)
        self.stdout.write(f"{connection.vendor}: {durability()}")
        ours, plain = creation_bench.measure(creation_bench.fill(number))
        self.stdout.write(
            f"{number} recipients: {ours:.2f} s, {ours / plain:.2f} times a plain INSERT … SELECT of {plain:.2f} s, "
            f"{peak_memory():.0f} MB at most"
        )
        self.stdout.write("RESULT " + json.dumps({"secs": round(ours, 4), "ratio": round(ours / plain, 3)}))

    def send(self, workers):
        self.stdout.write(f"{connection.vendor}: {durability()}")
        with sink():
            self.measure(workers)

    def measure(self, workers):
        alone = workers == 1 and not EmailAccount.objects.filter(lanes__gt=1).exists()
        processes = [] if alone else start_workers(workers)
        started = time.perf_counter()
        if processes:
            send_by(processes)
        else:
            run(clock=RealClock(), until_idle=True)
        seconds = time.perf_counter() - started
        sent = Delivery.objects.filter(status="sent").count()
        total = Mailing.objects.get().total
        self.stdout.write(f"{sent} of {total} sent, {sent / seconds:.0f} a second, {peak_memory():.0f} MB at most")
        self.stdout.write("RESULT " + json.dumps({"secs": round(seconds, 4)}))


@contextlib.contextmanager
def sink():
    """Have a server at 127.0.0.1:2525 that takes everything: the one that runs there, or Postfix's smtp-sink."""
    if listens():
        yield
        return
    program = shutil.which("smtp-sink", path=f"{os.environ['PATH']}:/usr/sbin")
    if program is None:
        raise CommandError("Nothing listens at 127.0.0.1:2525. Start a mail server there, or install Postfix.")
    user = ["-u", "nobody"] if os.geteuid() == 0 else []
    server = subprocess.Popen([program, *user, "127.0.0.1:2525", "1000"])
    try:
        while server.poll() is None and not listens():
            time.sleep(0.05)
        yield
    finally:
        server.terminate()
        server.wait()


def listens():
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", 2525), timeout=1):
        return True
    return False


def start_workers(number):
    """Share the lanes of all accounts out to `number` processes; return them when they have imported everything."""
    lanes = sum(len(account.slots) for account in EmailAccount.objects.all())
    processes = [
        subprocess.Popen(
            [sys.executable, sys.argv[0], "bench", "lanes", *map(str, range(lanes)[first::number])],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        for first in range(number)
    ]
    for process in processes:
        next(iter(process.stdout or ()), None)  # "ready"
    return processes


def send_by(processes):
    """Let the workers begin, and do beat's work here until they are through."""
    tick()
    for process in processes:
        process.stdin.close()
    while any(process.poll() is None for process in processes):
        tick()
        time.sleep(0.5)
    run(clock=RealClock(), until_idle=True)


def speak_in_threads(lanes):
    """Speak for the lanes with these numbers, counted over all accounts, each in a thread."""
    every = [(account.pk, slot) for account in EmailAccount.objects.order_by("pk") for slot in account.slots]
    threads = [threading.Thread(target=speak, args=every[number]) for number in lanes]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def speak(account, slot):
    """Let a lane speak until nobody is left to write to."""
    while run_lane(account, slot):
        pass
    connection.close()


def peak_memory():
    """Return the most memory that this process has used, in megabytes."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def durability():
    """Return the settings of the database that decide what a commit costs."""
    if connection.vendor == "sqlite":
        names = {"journal_mode": "PRAGMA journal_mode", "synchronous": "PRAGMA synchronous"}
    else:
        names = {name: f"SHOW {name}" for name in ("fsync", "synchronous_commit", "full_page_writes")}
    with connection.cursor() as cursor:
        return ", ".join(f"{name}={cursor.execute(sql) and cursor.fetchone()[0]}" for name, sql in names.items())
