"""The temporary table in which the recipients of a new mailing are sorted: one look at the host, the rest is SQL."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from django.core.exceptions import EmptyResultSet
from django.db import connections, models, router
from django.db.models import QuerySet

from massmail.models.mailings import Delivery, LeftOut, Mailing

_COLUMNS: dict[str, models.Field[Any, Any]] = {
    "object_id": models.CharField(max_length=64),
    "address": models.CharField(max_length=320),
    "email": models.TextField(),
    "vip": models.BooleanField(),
    "reason": models.CharField(max_length=30),
    "plain": models.BooleanField(),
}


class Intake:
    """Inside a transaction: `with Intake(mailing) as intake: intake.fill(…)`, and the table is gone at the end.

    Each row has a `position`, in the order in which the rows came: whoever stands first is served first.
    """

    def __init__(self, mailing: Mailing) -> None:
        self.mailing = mailing
        self.connection = connections[router.db_for_write(Mailing)]

    def __enter__(self) -> Intake:
        key = models.BigAutoField(primary_key=True)
        columns = [f"position {key.db_type(self.connection)} PRIMARY KEY {key.db_type_suffix(self.connection)}"]
        columns += [f"{name} {field.db_type(self.connection)} NOT NULL" for name, field in _COLUMNS.items()]
        self._run(f"CREATE TEMPORARY TABLE massmail_intake ({', '.join(columns)})")
        return self

    def __exit__(self, *exc: object) -> None:
        if not self.connection.needs_rollback and exc[0] is None:
            self._run("DROP TABLE massmail_intake")

    def fill(self, rows: QuerySet[Any]) -> int:
        """Take in `rows`, whose annotations `mm_object_id`, `mm_address` … are the columns; return how many."""
        query = rows.values_list(*(f"mm_{name}" for name in _COLUMNS)).query
        try:
            select, params = query.get_compiler(connection=self.connection).as_sql()
        except EmptyResultSet:
            return 0
        return self._run(f"INSERT INTO massmail_intake ({', '.join(_COLUMNS)}) {select}", params)

    def to_left_out(self) -> int:
        """Leave out those with a reason; return how many."""
        return self._run(
            f"INSERT INTO {_table(LeftOut)} (mailing_id, object_id, address, reason) "
            "SELECT %s, object_id, address, reason FROM massmail_intake WHERE reason <> ''",
            [self.mailing.pk],
        )

    def to_deliveries(self) -> int:
        """Queue a delivery for each plain address, the first who comes with one; return how many."""
        return self._run(
            f"INSERT INTO {_table(Delivery)} "
            "(mailing_id, object_id, address, status, reason, reply, attempts, message_id) "
            "SELECT %s, object_id, address, 'queued', '', '', 0, '' FROM massmail_intake "
            "WHERE reason = '' AND plain ORDER BY position ON CONFLICT DO NOTHING",
            [self.mailing.pk],
        )

    def duplicates_to_left_out(self, reason: str) -> int:
        """Leave out the plain ones that got no delivery, since somebody before them has the address."""
        # Looked up by the unique (mailing, address): NOT IN turns quadratic where PostgreSQL can't hash it.
        return self._run(
            f"INSERT INTO {_table(LeftOut)} (mailing_id, object_id, address, reason) "
            "SELECT %s, object_id, address, %s FROM massmail_intake WHERE reason = '' AND plain "
            f"AND NOT EXISTS (SELECT 1 FROM {_table(Delivery)} d WHERE d.mailing_id = %s "
            "AND d.address = massmail_intake.address AND d.object_id = massmail_intake.object_id)",
            [self.mailing.pk, reason, self.mailing.pk],
        )

    def odd(self, *, vip: bool) -> Iterator[tuple[int, str, str]]:
        """Return position, object id and text of addresses of those that SQL does not judge."""
        with self.connection.cursor() as cursor:
            cursor.execute(
                "SELECT position, object_id, email FROM massmail_intake "
                "WHERE reason = '' AND NOT plain AND vip = %s ORDER BY position",
                [vip],
            )
            return iter(cursor.fetchall())

    def holders(self, addresses: Iterable[str]) -> dict[str, tuple[int, str]]:
        """Return position and object id of those who hold `addresses` in this mailing, by address."""
        held = dict(
            Delivery.objects.filter(mailing=self.mailing, address__in=addresses).values_list("address", "object_id")
        )
        if not held:
            return {}
        marks = ", ".join(["%s"] * len(held))
        with self.connection.cursor() as cursor:
            cursor.execute(
                f"SELECT object_id, position FROM massmail_intake WHERE object_id IN ({marks})", list(held.values())
            )
            positions = dict(cursor.fetchall())
        return {address: (positions[object_id], object_id) for address, object_id in held.items()}

    def _run(self, sql: str, params: Any = ()) -> int:
        with self.connection.cursor() as cursor:
            cursor.execute(sql, params)
            return int(cursor.rowcount)


def _table(model: type[models.Model]) -> str:
    return model._meta.db_table
