"""The ledger of the limits by hour and by day: the only writer of `Usage`.

Like the daily quota, a limit is charged when a mail goes to `sending`, by one conditional statement for all limits that
concern the mail: no number is read first, so that any number of workers may charge at once.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from django.db import connections, router
from django.db.models import F, Q

from massmail.models import Usage

#: How long what is past is kept: clocks of several machines are not the same to the second.
KEPT = dt.timedelta(hours=1)


class LimitReached(Exception):
    """One of the limits is used up; the transaction that charged them is to be rolled back."""


@dataclass(frozen=True, slots=True, kw_only=True, order=True)
class Charge:
    """One mail for the limit `key`, of which `most` may leave from `begins` until `ends`."""

    key: str
    begins: dt.datetime
    ends: dt.datetime
    most: int


def charge(charges: Iterable[Charge]) -> None:
    """Charge all of `charges` in the caller's transaction; raises `LimitReached` if one of them is used up.

    One statement, or none for no charges.
    """
    rows = sorted(charges)  # the order in which rows are locked, the same for all, so that nobody waits for each other
    if not rows:
        return
    if any(row.most < 1 for row in rows):
        raise LimitReached
    connection = connections[router.db_for_write(Usage)]
    table = connection.ops.quote_name(Usage._meta.db_table)
    params = [
        field.get_db_prep_save(value, connection)
        for row in rows
        for field, value in zip(_FIELDS, (row.key, row.begins, row.ends, 1, row.most), strict=True)
    ]
    sql = (  # made of the name of the table; values are parameters
        f"INSERT INTO {table} (key, begins, ends, used, most) "  # noqa: S608
        f"VALUES {', '.join(['(%s, %s, %s, %s, %s)'] * len(rows))} "
        f"ON CONFLICT (key, begins) DO UPDATE SET used = {table}.used + 1, most = excluded.most "
        f"WHERE {table}.used < excluded.most"
    )
    with connection.cursor() as cursor:
        cursor.execute(sql, params)
        if cursor.rowcount < len(rows):
            raise LimitReached


_FIELDS: list[Any] = [Usage._meta.get_field(name) for name in ("key", "begins", "ends", "used", "most")]


def give_back(charges: Sequence[Charge]) -> None:
    """Take back `charges` of a mail of which the server provably has nothing. One statement."""
    rows = Q(pk__in=[])
    for each in charges:
        rows |= Q(key=each.key, begins=each.begins)
    if charges:
        Usage.objects.filter(rows, used__gt=0).update(used=F("used") - 1)


def used(charges: Iterable[Charge]) -> dict[tuple[str, dt.datetime], int]:
    """Return what is used of the limits of `charges`, by key and beginning; nothing for those not used yet."""
    charges = set(charges)
    if not charges:
        return {}
    keys, begins = {each.key for each in charges}, {each.begins for each in charges}
    rows = Usage.objects.filter(key__in=keys, begins__in=begins).values_list("key", "begins", "used")
    return {(key, since): number for key, since, number in rows}


def forget(*, now: dt.datetime) -> None:
    """Delete what is past. One statement."""
    Usage.objects.filter(ends__lt=now - KEPT)._raw_delete(router.db_for_write(Usage))
