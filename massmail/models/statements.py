"""UPDATE statements compiled once and run many times: the ORM takes longer to build one than SQLite to run it."""

from __future__ import annotations

from typing import Any

from django.db import connections, models
from django.db.models import Expression, QuerySet
from django.db.models.sql import UpdateQuery


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

    def run(self, **values: Any) -> int:
        """Run it with `values` in its slots, on the calling thread's connection; return the number of rows changed."""
        connection = connections[self.using]
        params = [
            param.output_field.get_db_prep_save(values[param.name], connection) if isinstance(param, Slot) else param
            for param in self.params
        ]
        with connection.cursor() as cursor:
            cursor.execute(self.sql, params)
            return int(cursor.rowcount)
