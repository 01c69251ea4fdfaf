"""Make the example believable: users, accounts, messages, and any number of customers."""

import time
from argparse import ArgumentParser
from typing import Any

from django.conf import settings
from django.contrib.auth.models import User
from django.core.management import call_command
from django.core.management.base import BaseCommand
from django.utils import timezone

from example_project.crm.models import Company
from example_project.crm.seeding.customers import CustomerSeed, Targets
from example_project.crm.seeding.managers import MANAGERS, UNSUBSCRIBED_PATH, point_to, seed_desk, seed_people
from massmail.models import EmailAccount

RELAY_LIMIT = 5000


class Command(BaseCommand):
    help = (
        "Fill the example with users, mail accounts, messages and customers. Run again, it adds only what is missing."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument(
            "--recipients",
            type=int,
            default=2000,
            metavar="N",
            help="Contacts, leads and companies together (default 2000): 60, 25 and 15 in a hundred.",
        )
        parser.add_argument("--companies", type=int, metavar="N", help="How many of them are companies.")
        parser.add_argument("--smtp-host", default="127.0.0.1", help="Mail server of the seeded accounts.")
        parser.add_argument("--smtp-port", type=int, default=8025, help="Its port (default 8025).")
        parser.add_argument(
            "--if-empty", action="store_true", help="Add no customers where there is any company; still set the server."
        )

    def handle(self, *args: Any, **options: Any) -> None:
        call_command("massmail_setup", verbosity=0)
        managers = seed_people(passwords=settings.DEBUG)
        if not settings.DEBUG:
            self.stderr.write("DEBUG is off: the new users got no passwords. Set them with changepassword.")
        limit = max(RELAY_LIMIT, options["recipients"])
        for person in MANAGERS:
            seed_desk(managers[person.username], person, relay_limit=limit)
        point_to(
            smtp_host=options["smtp_host"],
            smtp_port=options["smtp_port"],
            unsubscribe_url=settings.MASSMAIL_PUBLIC_URL.rstrip("/") + UNSUBSCRIBED_PATH,
        )
        if not (options["if_empty"] and Company.objects.exists()):
            self._customers(managers, Targets.of(options["recipients"], options["companies"]))

    def _customers(self, managers: dict[str, User], targets: Targets) -> None:
        started = time.monotonic()
        added = CustomerSeed(targets, managers, timezone.localdate()).run()
        seconds = time.monotonic() - started
        counts = ", ".join(f"{count} {model._meta.verbose_name_plural}" for model, count in added.items())
        accounts = EmailAccount.objects.count()
        self.stdout.write(f"Added {counts} in {seconds:.1f} s; {len(managers)} managers have {accounts} mail accounts.")
