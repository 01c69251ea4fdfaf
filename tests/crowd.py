"""Rows by the hundred thousand: copies of what lies on the desk (`tests.desk`), made by the database itself."""

from __future__ import annotations

from typing import Any

from django.db import connection
from django.db.models import F, Min, Model

from example_project.crm.models import Contact
from massmail.models import Mailing, Recipient

#: Mailings of the desk that get more recipients, and those that get more mailings beside them.
STATES = ("mailing", "active", "paused", "done", "cancelled")
COPIED = ("mailing", "active", "paused", "done")
INSERT = """
INSERT INTO {table} ({columns})
WITH RECURSIVE numbers(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM numbers WHERE n < %s)
SELECT {values} FROM numbers, {table} WHERE {key} IN ({keys}) ORDER BY n, {key}
"""


def copies(*rows: Model, number: int, **changed: str) -> None:
    """Make `number` copies of each of `rows` at once; `changed` are values in SQL, where `n` counts from 1."""
    meta, quote = rows[0]._meta, connection.ops.quote_name
    fields = [field for field in meta.concrete_fields if not field.primary_key]
    sql = INSERT.format(
        table=quote(meta.db_table),
        columns=", ".join(quote(field.column) for field in fields),
        values=", ".join(changed.get(field.attname, quote(field.column)) for field in fields),
        key=quote(meta.pk.column),
        keys=", ".join(["%s"] * len(rows)),
    )
    with connection.cursor() as cursor:
        cursor.execute(sql, [number, *(row.pk for row in rows)])


def fill(desk: dict[str, Any], *, recipients: int, mailings: int, others: int, mark: str) -> None:
    """Put so many rows more on the desk: recipients to each of its mailings, mailings and other things beside them."""
    name, address = f"'{mark}' || n", f"'{mark}' || n || '@customer.example'"
    copies(desk["contact"], number=recipients, email=address, last_name=name)
    first = Contact.objects.filter(email__startswith=mark).aggregate(first=Min("pk"))["first"]
    key = f"CAST({first - 1} + n AS varchar(64))"
    # One of each mailing after the other, so that a page of the list has all of them.
    likes = [desk[thing].deliveries.get(object_id=desk["vip"].pk) for thing in STATES if thing != "done"]
    likes.append(desk["done"].deliveries.filter(status="sent").earliest("pk"))
    copies(*likes, number=recipients, object_id=key, address=address)
    Mailing.objects.filter(pk__in=[like.mailing_id for like in likes]).update(total=F("total") + recipients)
    sticky = Recipient.objects.get(object_id=str(desk["vip"].pk))
    copies(sticky, number=recipients, object_id=key, token=name, vip="false", account_id=str(desk["office"].pk))
    copies(desk["left_out"], number=recipients, address=address, object_id="CAST(-n AS varchar(64))")  # gone since
    copies(desk["suppression"], number=recipients, address=f"'{mark}' || n || '@suppressed.example'")
    copies(*[desk[thing] for thing in COPIED], number=mailings // len(COPIED), name=name)
    copies(desk["unused"], number=others, subject=name)
    copies(desk["signature"], number=others, name=name, default="false")
    copies(desk["image"], number=others, name=name)
    copies(desk["office"], number=others, name=name, from_email=f"'{mark}' || n || '@acme.example'")
