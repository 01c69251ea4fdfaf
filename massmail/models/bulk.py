"""`INSERT … SELECT`: rows that never leave the database."""

from __future__ import annotations

from typing import Any

from django.core.exceptions import EmptyResultSet
from django.db import connections, models, router
from django.db.models import QuerySet, Value


def insert_select(
    model: type[models.Model],
    rows: QuerySet[Any],
    *,
    columns: dict[str, str],
    constants: dict[str, Any],
    update: tuple[str, tuple[str, ...]] | None = None,
) -> int:
    """Insert a row of `model` for each row of `rows`; return how many were inserted or updated.

    `columns` maps columns of `model` to fields or annotations of `rows`, `constants` gives the value of others.
    Rows that break a unique constraint are passed over, or with `update=(column, key)` get that column of the row with
    that key overwritten.
    """
    connection = connections[router.db_for_write(model)]
    quote = connection.ops.quote_name
    values = {
        f"mm_const_{name}": value if isinstance(value, Value) else Value(value) for name, value in constants.items()
    }
    try:
        query = rows.annotate(**values).values_list(*columns.values(), *values).query
        select, params = query.get_compiler(connection=connection).as_sql()
    except EmptyResultSet:
        return 0
    into = ", ".join(quote(name) for name in (*columns, *constants))
    conflict = "DO NOTHING"
    if update:
        column, key = quote(update[0]), ", ".join(quote(name) for name in update[1])
        conflict = f"({key}) DO UPDATE SET {column} = excluded.{column}"
    # SQLite reads ON CONFLICT as part of a join unless the select has a WHERE, and `rows` has one wherever it is used.
    sql = f"INSERT INTO {quote(model._meta.db_table)} ({into}) {select} ON CONFLICT {conflict}"
    with connection.cursor() as cursor:
        cursor.execute(sql, params)
        return int(cursor.rowcount)
