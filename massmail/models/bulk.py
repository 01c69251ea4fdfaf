"""`INSERT … SELECT`, rows that never leave the database; and sums that many rows are added to at once."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any

from django.core.exceptions import EmptyResultSet
from django.db import connections, models, router, transaction
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


def add_to(model: type[models.Model], sums: Mapping[Any, Mapping[str, int]], *, key: Sequence[str]) -> None:
    """Add to the counters of `model`'s rows, made where missing; `sums` maps the values of `key` to what is added.

    `key` names fields with a unique constraint; rows with a NULL among their values are always made anew.
    """
    connection = connections[router.db_for_write(model)]
    quote = connection.ops.quote_name
    table = quote(model._meta.db_table)
    counters = sorted({name for changes in sums.values() for name in changes})
    fields: list[Any] = [model._meta.get_field(name) for name in (*key, *counters)]
    rows = [
        [
            field.get_db_prep_save(value, connection)
            for field, value in zip(fields, (*values, *(changes.get(name, 0) for name in counters)), strict=True)
        ]
        for values, changes in sums.items()
    ]
    columns = [quote(field.column) for field in fields]
    added = ", ".join(f"{name} = {table}.{name} + excluded.{name}" for name in columns[len(key) :])
    sql = (  # made of names of columns; values are parameters
        f"INSERT INTO {table} ({', '.join(columns)}) VALUES ({', '.join(['%s'] * len(columns))}) "  # noqa: S608
        f"ON CONFLICT ({', '.join(columns[: len(key)])}) DO UPDATE SET {added}"
    )
    with connection.cursor() as cursor:
        cursor.executemany(sql, rows)


def refresh_statistics(*tables: type[models.Model]) -> None:
    """After the transaction, let PostgreSQL count `tables` anew: many rows came at once.

    It does so by itself within minutes. Until then it takes the new mailing for an empty one, and each page that lists
    its recipients for a bargain to sort whole. The time it takes does not depend on the number of rows.
    """
    for model in tables:
        connection = connections[router.db_for_write(model)]
        if connection.vendor == "postgresql":
            sql = f"ANALYZE {connection.ops.quote_name(model._meta.db_table)}"
            transaction.on_commit(partial(_execute, connection, sql), using=connection.alias)


def _execute(connection: Any, sql: str) -> None:
    with connection.cursor() as cursor:
        cursor.execute(sql)


@contextmanager
def without_nested_loops(model: type[models.Model]) -> Iterator[None]:
    """Inside a transaction, keep PostgreSQL from nested loops over rows of `model` that this very transaction wrote.

    Its statistics know nothing of them yet: it takes a million rows for one, and a loop over them for a bargain.
    """
    connection = connections[router.db_for_write(model)]
    if connection.vendor != "postgresql":
        yield
        return
    with connection.cursor() as cursor:
        cursor.execute("SET LOCAL enable_nestloop TO off")
    yield
    with connection.cursor() as cursor:
        cursor.execute("SET LOCAL enable_nestloop TO DEFAULT")
