"""UPDATE statements compiled once and run many times: the ORM takes longer to build one than SQLite to run it.

`together` commits two of them at once. PostgreSQL gets both as one statement that it parses and plans once a
connection: one round trip of under a millisecond instead of four.
"""

from __future__ import annotations

import secrets
from collections import OrderedDict
from typing import Any
from weakref import WeakKeyDictionary

from django.db import DatabaseError, connections, models, transaction
from django.db.models import Expression, QuerySet
from django.db.models.sql import UpdateQuery

#: Pairs that a connection keeps prepared; each turn of a lane brings one or two.
PREPARED = 8

_BOTH = """WITH mm_first AS (%s RETURNING 1), mm_second AS (%s RETURNING 1)
SELECT (SELECT COUNT(*) FROM mm_first), (SELECT COUNT(*) FROM mm_second)"""


class Slot(Expression):
    """A place in a `Statement` that each run fills with a value of `field`."""

    def __init__(self, name: str, field: models.Field[Any, Any]) -> None:
        super().__init__(output_field=field)
        self.name = name

    def as_sql(self, compiler: Any, connection: Any) -> Any:
        return "%s", [self]


def slot(model: type[models.Model], field: str, name: str = "") -> Slot:
    """Return a slot for a value of `model`'s `field`, filled under `name` or the field's own."""
    return Slot(name or field, model._meta.get_field(field))  # type: ignore[arg-type]


class Statement:
    """`queryset.update(**changes)` with slots in the conditions and the changes.

    Only columns of the model's own table and subqueries may be named, no joins.
    """

    def __init__(self, queryset: QuerySet[Any], **changes: Any) -> None:
        self.using = queryset.db
        query: Any = queryset.query.chain(UpdateQuery)
        query.add_update_values(changes)
        query.annotations = {}
        self.sql, self.params = query.get_compiler(using=self.using).as_sql()
        self.constants = [param for param in self.params if not isinstance(param, Slot)]
        self.slots = len(self.params) - len(self.constants)

    def bound(self, **values: Any) -> Bound:
        return Bound(self, values)

    def run(self, **values: Any) -> int:
        """Run it with `values` in its slots, on the calling thread's connection; return the number of rows changed."""
        return self.bound(**values).run()


class Bound:
    """A statement with what stands in its slots; `rows` is the number of rows it changed, None until it was run."""

    def __init__(self, statement: Statement, values: dict[str, Any]) -> None:
        self.statement, self.values = statement, values
        self.rows: int | None = None

    def run(self) -> int:
        connection = connections[self.statement.using]
        with connection.cursor() as cursor:
            cursor.execute(self.statement.sql, self.params(connection))
            self.rows = int(cursor.rowcount)
        return self.rows

    def params(self, connection: Any) -> list[Any]:
        """Return the parameters of the statement's SQL, with values in the slots."""
        filled = iter(self.filled(connection))
        return [next(filled) if isinstance(param, Slot) else param for param in self.statement.params]

    def filled(self, connection: Any) -> list[Any]:
        """Return what stands in the slots, one after the other, as `connection` takes it."""
        return [
            param.output_field.get_db_prep_save(self.values[param.name], connection)
            for param in self.statement.params
            if isinstance(param, Slot)
        ]


def together(first: Bound, second: Bound) -> None:
    """Run both in one commit. They must change different rows: which of them goes first is not said."""
    connection = connections[first.statement.using]
    if connection.vendor == "postgresql":
        _as_one(connection, first, second)
    else:
        with transaction.atomic(using=first.statement.using, savepoint=False):
            first.run()
            second.run()


# On PostgreSQL --------------------------------------------------------------------------------------------------------

_Pair = tuple[Statement, Statement]

#: The names of prepared pairs by the driver's connection, which alone knows them; the longest unused comes first.
_prepared: WeakKeyDictionary[Any, OrderedDict[_Pair, str]] = WeakKeyDictionary()


def _as_one(connection: Any, first: Bound, second: Bound) -> None:
    with connection.cursor() as cursor:
        if _keeps_statements(connection):
            _execute_prepared(connection, cursor, first, second)
        else:
            sql = _BOTH % (first.statement.sql, second.statement.sql)
            cursor.execute(sql, [*first.params(connection), *second.params(connection)])
        first.rows, second.rows = cursor.fetchone()


def _execute_prepared(connection: Any, cursor: Any, first: Bound, second: Bound) -> None:
    filled = [*first.filled(connection), *second.filled(connection)]
    try:
        name = _name_of(connection, cursor, (first.statement, second.statement))
        cursor.execute(f"EXECUTE {name} ({', '.join(['%s'] * len(filled))})", filled)
    except DatabaseError:
        _prepared.pop(connection.connection, None)  # it may have forgotten them
        raise


def _keeps_statements(connection: Any) -> bool:
    """Tell whether the next statement surely meets the same session, and parameters are put in as text.

    Django wants DISABLE_SERVER_SIDE_CURSORS where PgBouncer pools transactions: each may meet another session there.
    """
    pooled = connection.settings_dict.get("DISABLE_SERVER_SIDE_CURSORS")
    return not pooled and not connection.features.uses_server_side_binding


def _name_of(connection: Any, cursor: Any, pair: _Pair) -> str:
    """Return under which name the pair is prepared, which it is now if it was not. Nobody else may guess the name."""
    names = _prepared.setdefault(connection.connection, OrderedDict())
    if pair not in names:
        if len(names) >= PREPARED:
            cursor.execute(f"DEALLOCATE {names.popitem(last=False)[1]}")
        first, second = pair
        both = _BOTH % (_numbered(first, 0), _numbered(second, first.slots))
        name = f"massmail_{secrets.token_hex(8)}"
        cursor.execute(f"PREPARE {name} AS {both}", [*first.constants, *second.constants])
        names[pair] = name
    names.move_to_end(pair)
    return names[pair]


def _numbered(statement: Statement, number: int) -> str:
    """Return the statement's SQL with its slots as $1, $2 and so on, counted on from `number`.

    A doubled percent sign stays doubled: the driver will read it.
    """
    *pieces, last = statement.sql.replace("%%", "\0").split("%s")
    sql = ""
    for piece, param in zip(pieces, statement.params, strict=True):
        number += isinstance(param, Slot)
        sql += piece + (f"${number}" if isinstance(param, Slot) else "%s")
    return (sql + last).replace("\0", "%%")
