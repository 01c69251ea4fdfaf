"""How fast a mailing is made: beside an INSERT … SELECT of key and lower-cased address into the same table."""

import datetime
import statistics
import time

from django.contrib.auth import get_user_model
from django.contrib.contenttypes.models import ContentType
from django.core.management.base import CommandError
from django.db import connection, transaction

from example_project.crm.models import Company, Contact
from massmail.audience import create_mailing
from massmail.models import Delivery, Mailing

#: Each of both is done so many times, in turn.
ROUNDS = 3
#: Numbers from 1 on, the way both databases understand.
NUMBERS = "WITH RECURSIVE numbers(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM numbers WHERE n < %s)"


def fill(number):
    """Make `number` contacts with plain addresses, and their owner, whom it returns."""
    owner = get_user_model().objects.create_user("bench", "bench@acme.example", "bench")
    day = datetime.date(2026, 1, 5)
    company = Company.objects.create(full_name="Acme Metall GmbH", owner=owner, creation_date=day)
    one = Contact.objects.create(company=company, owner=owner, creation_date=day, first_name="First", last_name="Last")
    columns = [str(field.column) for field in Contact._meta.concrete_fields if field.column not in ("id", "email")]
    names = ", ".join(map(connection.ops.quote_name, columns))
    copied = ", ".join(f"one.{connection.ops.quote_name(column)}" for column in columns)
    with connection.cursor() as cursor:
        cursor.execute(
            f"INSERT INTO crm_contact (email, {names}) {NUMBERS} "  # noqa: S608  names of columns
            f"SELECT 'User' || n || '@customer.example', {copied} FROM numbers, crm_contact one WHERE one.id = %s",
            [number, one.pk],
        )
        one.delete()
        cursor.execute("VACUUM ANALYZE" if connection.vendor == "postgresql" else "ANALYZE")
    return owner


def measure(owner):
    """Return the seconds that `create_mailing` takes for all contacts, and those of the plain statement: medians."""
    ours, plain = [], []
    for _ in range(ROUNDS):
        plain.append(timed(lambda: insert_plainly(owner)))
        ours.append(timed(lambda: create_mailing(owner=owner, recipients=Contact.objects.all())))
    return statistics.median(ours), statistics.median(plain)


def timed(make):
    """Return the seconds that `make` took, and leave no deliveries behind."""
    with connection.cursor() as cursor:
        # What was written before is not to be paid for now.
        cursor.execute("CHECKPOINT" if connection.vendor == "postgresql" else "PRAGMA wal_checkpoint(TRUNCATE)")
    started = time.perf_counter()
    make()
    seconds = time.perf_counter() - started
    made, wanted = Delivery.objects.count(), Contact.objects.count()
    if made != wanted:
        raise CommandError(f"{made} deliveries for {wanted} contacts")
    with connection.cursor() as cursor:
        cursor.execute(
            "TRUNCATE massmail_delivery CASCADE"
            if connection.vendor == "postgresql"
            else "DELETE FROM massmail_delivery"
        )
    Mailing.objects.all().delete()
    return seconds


def insert_plainly(owner):
    """Do what no mailing could be made faster than: nothing but key and address, and no question asked."""
    columns = {"object_id": "CAST(id AS varchar(64))", "address": "LOWER(email)"}
    defaults = {
        str(field.column): field.get_default()
        for field in Delivery._meta.concrete_fields
        if not (field.null or field.primary_key or field.column in columns)
    }
    content_type = ContentType.objects.get_for_model(Contact)
    with transaction.atomic(), connection.cursor() as cursor:
        mailing = Mailing.objects.create(owner=owner, name="plain", content_type=content_type)
        constants = {**defaults, "mailing_id": mailing.pk}
        names = ", ".join(map(connection.ops.quote_name, [*columns, *constants]))
        marks = ", ".join(["%s"] * len(constants))
        cursor.execute(
            f"INSERT INTO massmail_delivery ({names}) "  # noqa: S608  names of columns
            f"SELECT {', '.join(columns.values())}, {marks} FROM crm_contact",
            list(constants.values()),
        )
