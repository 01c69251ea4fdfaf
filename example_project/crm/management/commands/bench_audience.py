"""How fast a mailing is made, beside the plainest `INSERT … SELECT` into the same table."""

import datetime
import statistics
import time

from django.contrib.auth import get_user_model
from django.contrib.contenttypes.models import ContentType
from django.core.management import call_command
from django.core.management.base import BaseCommand
from django.db import connection, transaction

from example_project.crm.models import Company, Contact
from massmail.audience import create_mailing
from massmail.models import Mailing

FILL = """
INSERT INTO crm_contact (email, phone, owner_id, massmail, disqualified, creation_date, first_name, last_name, title,
                         language, company_id)
WITH RECURSIVE numbers(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM numbers WHERE n < %s)
SELECT 'First' || n || '.Last' || n || '@customer' || (n %% 5000) || '.example', '', %s, {true}, {false}, %s,
       'First' || n, 'Last' || n, '', 'en', %s FROM numbers
"""
PLAINEST = """
INSERT INTO massmail_delivery (mailing_id, object_id, address, status, reason, reply, attempts, message_id)
SELECT %s, CAST(id AS varchar(64)), LOWER(email), 'queued', '', '', 0, '' FROM crm_contact
"""


class Command(BaseCommand):
    help = "Empties the database, fills it with N contacts, and compares making a mailing with a plain INSERT … SELECT."

    def add_arguments(self, parser):
        parser.add_argument("number", type=int)
        parser.add_argument("--rounds", type=int, default=3)

    def handle(self, *args, **options):
        owner, contacts = fill(options["number"])
        plain, made = [], []
        for _round in range(options["rounds"]):
            plain.append(timed(lambda: insert_plainly(owner)))
            made.append(timed(lambda: create_mailing(owner=owner, recipients=contacts)))
        # In turns, so that whatever else the machine does slows down both.
        ratio = statistics.median(made) / statistics.median(plain)
        self.stdout.write(f"{connection.vendor}: INSERT … SELECT {listed(plain)}; create_mailing {listed(made)}")
        self.stdout.write(f"RATIO {ratio:.2f}")


def fill(number):
    """Return a manager and the queryset of the `number` contacts that are all the manager's."""
    call_command("migrate", verbosity=0)
    call_command("flush", interactive=False, verbosity=0)
    owner = get_user_model().objects.create_user("bench", "bench@acme.example", "bench")
    day = datetime.date(2026, 1, 5)
    company = Company.objects.create(full_name="Acme Metall GmbH", owner=owner, creation_date=day)
    literals = {"true": "1", "false": "0"} if connection.vendor == "sqlite" else {"true": "true", "false": "false"}
    with connection.cursor() as cursor:
        cursor.execute(FILL.format(**literals), [number, owner.pk, day, company.pk])
        cursor.execute("ANALYZE")
    return owner, Contact.objects.all()


@transaction.atomic
def insert_plainly(owner):
    content_type = ContentType.objects.get_for_model(Contact)
    mailing = Mailing.objects.create(owner=owner, name="plain", content_type=content_type)
    with connection.cursor() as cursor:
        cursor.execute(PLAINEST, [mailing.pk])


def timed(work):
    """Return the seconds that `work` takes with an empty table of deliveries, which it leaves empty."""
    started = time.perf_counter()
    work()
    seconds = time.perf_counter() - started
    with connection.cursor() as cursor:
        cursor.execute("DELETE FROM massmail_leftout")
        cursor.execute("DELETE FROM massmail_auditentry")
        if connection.vendor == "sqlite":
            cursor.execute("DELETE FROM massmail_delivery")
        else:
            cursor.execute("TRUNCATE massmail_delivery CASCADE")
    return seconds


def listed(seconds):
    return ", ".join(f"{each:.2f}" for each in seconds) + " s"
