"""Encrypt every secret anew with the newest key, so that older keys can be taken out of the settings."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any

from django.apps import apps
from django.core.management.base import BaseCommand, CommandError
from django.db import models
from django.db.models import ExpressionWrapper, F

from massmail.fields import SecretField, Undecryptable, decrypt

CHUNK = 500  # rows read at a time


class Command(BaseCommand):
    help = "Encrypts all stored passwords with the first of MASSMAIL_FIELD_KEYS. Afterwards the others can be removed."

    def handle(self, *args: Any, **options: Any) -> None:
        total: Counter[str] = Counter()
        for model, field in secret_fields():
            counts = rotate(model, field)
            total += counts
            self.stdout.write(
                f"{model._meta.label}.{field.name}: {counts['rotated']} encrypted anew, "
                f"{counts['changed']} changed meanwhile, {counts['lost']} could not be decrypted."
            )
        if total["lost"]:
            raise CommandError(
                f"{total['lost']} secrets could not be decrypted and were left as they are. "
                "Add the key they were written with to MASSMAIL_FIELD_KEYS, or enter them again."
            )


def secret_fields() -> Iterator[tuple[type[models.Model], SecretField]]:
    """Yield every encrypted field of the project with the model whose table holds it."""
    for model in apps.get_models():
        for field in model._meta.local_fields:
            if isinstance(field, SecretField):
                yield model, field


def rotate(model: type[models.Model], field: SecretField) -> Counter[str]:
    """Encrypt the column anew; return how many values were `rotated`, `changed` by others meanwhile, or `lost`."""
    counts: Counter[str] = Counter()
    for pk, stored in _stored(model, field):
        secret = decrypt(stored)
        if isinstance(secret, Undecryptable):
            counts["lost"] += 1
        elif _as_stored(model, field).filter(pk=pk, stored=stored).update(**{field.attname: secret}):
            counts["rotated"] += 1
        else:
            # Somebody saved another value since it was read; that one was written with the newest key already.
            counts["changed"] += 1
    return counts


def _as_stored(model: type[models.Model], field: SecretField) -> models.QuerySet[Any]:
    """Return all rows with the column as the database holds it in `stored`, untouched by the field."""
    stored = ExpressionWrapper(F(field.attname), output_field=models.TextField())
    return model._base_manager.annotate(stored=stored)


def _stored(model: type[models.Model], field: SecretField) -> Iterator[tuple[Any, str]]:
    rows = _as_stored(model, field).exclude(stored="").exclude(stored=None).order_by("pk")
    last = None
    while chunk := list((rows if last is None else rows.filter(pk__gt=last)).values_list("pk", "stored")[:CHUNK]):
        yield from chunk
        last = chunk[-1][0]
