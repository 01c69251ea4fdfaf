"""UPDATE statements compiled once and run many times: the ORM takes longer to build one than SQLite to run it.

`together` commits two of them at once. PostgreSQL gets both as one statement that it parses and plans once a
connection: one round trip of under a millisecond instead of four.
"""

from __future__ import annotations

import secrets
from collections import OrderedDict
from collections.abc import Callable, Iterable
from contextlib import suppress
from datetime import datetime
from enum import Enum
from functools import lru_cache, partial
from itertools import chain, count
from typing import Any
from weakref import WeakKeyDictionary

from django.db import DatabaseError, connections, models, transaction
from django.db.backends.base.operations import BaseDatabaseOperations
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
        self.sql, params = query.get_compiler(using=self.using).as_sql()
        # SQLite's driver takes long to find out what to do with a member of an enum.
        self.params = [param.value if isinstance(param, Enum) else param for param in params]
        self.constants = [param for param in self.params if not isinstance(param, Slot)]
        self.slots = len(self.params) - len(self.constants)

    def bound(self, **values: Any) -> Bound:
        return Bound(self, values)

    def run(self, **values: Any) -> int:
        """Run it with `values` in its slots, on the calling thread's connection; return the number of rows changed."""
        return self.bound(**values).run()

    def form_for(self, connection: Any) -> _Form:
        """Return how `connection` takes the statement, which is found out once.

        It is kept with the connection, to which it refers: a thread that ends leaves nothing behind.
        """
        forms: WeakKeyDictionary[Statement, _Form] | None = vars(connection).get("_massmail_forms")
        if forms is None:
            forms = connection._massmail_forms = WeakKeyDictionary()
        form = forms.get(self)
        if form is None:
            form = forms[self] = _Form(self, connection)
        return form


class _Form:
    """A statement as one connection takes it: the SQL, its parameters, and which of them are slots."""

    def __init__(self, statement: Statement, connection: Any) -> None:
        slots = {place: param for place, param in enumerate(statement.params) if isinstance(param, Slot)}
        self.savers = [(slot.name, quick_save(slot.output_field, connection)) for slot in slots.values()]
        self.sql: str = statement.sql
        self.params: Any = statement.params
        self.places: list[Any] = list(slots)
        if connection.vendor == "sqlite":
            # Django looks for nameless parameters with a regular expression, which takes longer than SQLite itself.
            names = [f"p{place}" for place in range(len(statement.params))]
            self.sql = _with_places(self.sql, [f"%({name})s" for name in names])
            self.params = dict(zip(names, statement.params, strict=True))
            self.places = [names[place] for place in slots]

    def params_with(self, values: dict[str, Any]) -> Any:
        """Return the parameters of the SQL, with `values` in the slots."""
        params = self.params.copy()
        for place, value in zip(self.places, self.filled(values), strict=True):
            params[place] = value
        return params

    def filled(self, values: dict[str, Any]) -> list[Any]:
        """Return `values` in the order of the slots, as the connection takes them."""
        return [save(values[name]) for name, save in self.savers]


class Bound:
    """A statement with what stands in its slots; `rows` is the number of rows it changed, None until it was run."""

    def __init__(self, statement: Statement, values: dict[str, Any]) -> None:
        self.statement, self.values = statement, values
        self.rows: int | None = None

    def run(self) -> int:
        connection = connections[self.statement.using]
        with connection.cursor() as cursor:
            return self.run_on(connection, cursor)

    def run_on(self, connection: Any, cursor: Any) -> int:
        form = self.statement.form_for(connection)
        cursor.execute(form.sql, form.params_with(self.values))
        self.rows = int(cursor.rowcount)
        return self.rows

    def params(self, connection: Any) -> Any:
        """Return the parameters of the statement's SQL as `connection` takes it, with values in the slots."""
        return self.statement.form_for(connection).params_with(self.values)

    def filled(self, connection: Any) -> list[Any]:
        """Return what stands in the slots, one after the other, as `connection` takes it."""
        return self.statement.form_for(connection).filled(self.values)


def quick_save(field: Any, connection: Any) -> Callable[[Any], Any]:
    """Return `field.get_db_prep_save` for `connection`, with a short cut for values of the type the column holds.

    The long way takes up to 10 microseconds for each of the 16 values that a mail brings.
    """
    while type(field) in (models.ForeignKey, models.OneToOneField):
        field = field.target_field
    save = partial(field.get_db_prep_save, connection=connection)
    if type(field) is models.DateTimeField:
        adapt = _adapted_moment(connection)
        return lambda value: adapt(value) if type(value) is datetime and value.tzinfo is not None else save(value)
    kept = _KEPT.get(type(field))
    if (
        kept is int
        and type(connection.ops).adapt_integerfield_value is not BaseDatabaseOperations.adapt_integerfield_value
    ):
        kept = None
    return save if kept is None else lambda value: value if type(value) is kept else save(value)


def _adapted_moment(connection: Any) -> Callable[[datetime], Any]:
    """Return the connection's way to write moments, which knows the last two: a mail names its own three times."""
    adapt: Callable[[datetime], Any] | None = vars(connection).get("_massmail_adapted_moment")
    if adapt is None:
        adapt = connection._massmail_adapted_moment = lru_cache(maxsize=2)(connection.ops.adapt_datetimefield_value)
    return adapt


#: What these fields hand to the database as it is.
_KEPT: dict[type, type] = {
    models.CharField: str,
    models.TextField: str,
    models.BooleanField: bool,
    models.AutoField: int,
    models.BigAutoField: int,
    models.IntegerField: int,
    models.BigIntegerField: int,
}


def together(first: Bound, second: Bound) -> None:
    """Run both in one commit. They must change different rows: which of them goes first is not said."""
    connection = connections[first.statement.using]
    if connection.vendor == "postgresql":
        _as_one(connection, first, second)
    elif connection.vendor == "sqlite" and not connection.in_atomic_block and connection.get_autocommit():
        _in_one_go(connection, first, second)
    else:
        with transaction.atomic(using=first.statement.using, savepoint=False):
            first.run()
            second.run()


def _in_one_go(connection: Any, first: Bound, second: Bound) -> None:
    """Run both in a transaction of their own, without what `atomic` does about those of others: half as long again."""
    with connection.cursor() as cursor:
        cursor.execute("BEGIN IMMEDIATE")
        try:
            first.run_on(connection, cursor)
            second.run_on(connection, cursor)
            cursor.execute("COMMIT")
        except BaseException:
            with suppress(DatabaseError):  # SQLite may have rolled back by itself
                cursor.execute("ROLLBACK")
            raise


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
    """Return the statement's SQL with its slots as $1, $2 and so on, counted on from `number`."""
    numbers = count(number + 1)
    places = [f"${next(numbers)}" if isinstance(param, Slot) else "%s" for param in statement.params]
    return _with_places(statement.sql, places)


def _with_places(sql: str, places: Iterable[str]) -> str:
    """Return `sql` with `places` where "%s" stands. A doubled percent sign stays doubled: the driver will read it."""
    *pieces, last = sql.replace("%%", "\0").split("%s")
    woven = chain.from_iterable(zip(pieces, places, strict=True))
    return ("".join(woven) + last).replace("\0", "%%")
