"""Recipients whose mail would have a hole: "Dear ,", where the message asks for a name that they do not have."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from django.db import DatabaseError, models
from django.db.models import Q, QuerySet
from django.utils.functional import cached_property

from massmail.composing import plain_values, variables_needed
from massmail.engine.candidates import type_of
from massmail.exceptions import CompositionError
from massmail.models import Delivery, Mailing
from massmail.outcomes.standing import with_object_id
from massmail.recipient_types import RecipientType

logger = logging.getLogger("massmail.engine")

#: Recipients that are looked at one by one where the type has no `variable_paths`, and how many of them at a time.
SAMPLE, CHUNK = 2000, 500
#: Recipients that the database looks at, which takes it a second.
MOST = 200_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Blank:
    """A variable without a value for `count` of the first `among` recipients; `label` is what it means.

    `is_all` tells whether that is everybody.
    """

    name: str
    label: str
    count: int
    among: int
    is_all: bool


class Blanks:
    """What the recipients of `mailing` lack of what its message needs."""

    def __init__(self, mailing: Mailing) -> None:
        self.mailing = mailing
        self.recipient_type = type_of(mailing)

    @cached_property
    def needed(self) -> list[str]:
        """The variables that must have a value, of those that there are; none if the message can't be read."""
        if self.recipient_type is None or self.mailing.message is None:
            return []
        try:
            return sorted(variables_needed(self.mailing.message) & set(self.recipient_type.variables))
        except CompositionError:
            return []

    def found(self) -> list[Blank]:
        """Return the variables that somebody lacks, in a number of queries that does not depend on how many do."""
        found = []
        for name in self.needed:
            among = min(self.mailing.total, MOST if self._path(name) else SAMPLE)
            count = self.rows(name).count()
            if count:
                label = str(self._type.variables[name])
                is_all = among == self.mailing.total
                found.append(Blank(name=name, label=label, count=count, among=among, is_all=is_all))
        return found

    def rows(self, name: str) -> QuerySet[Delivery]:
        """Return the deliveries of those who have no value for the variable `name`: of the first ones only."""
        deliveries = Delivery.objects.filter(mailing=self.mailing)
        if self.recipient_type is None or name not in self._type.variables:
            return deliveries.none()
        path = self._path(name)
        if path is None:
            return deliveries.filter(object_id__in=self._sampled.get(name, ()))
        people = self._type.model_class._default_manager.filter(is_blank(self._type, path))
        within = with_object_id(people).values("mm_object_id")
        if self.mailing.total > MOST:
            deliveries = deliveries.filter(pk__in=self._first(MOST).values("pk"))
        return deliveries.filter(object_id__in=within)

    @property
    def _type(self) -> RecipientType:
        assert self.recipient_type is not None  # noqa: S101  nothing is needed where there is none
        return self.recipient_type

    def _path(self, name: str) -> str | None:
        return self._type.variable_paths.get(name)

    def _first(self, number: int) -> QuerySet[Delivery]:
        # In the order of the claim's index, which finds the first of a million at once.
        return Delivery.objects.filter(mailing=self.mailing).order_by("account", "status", "id")[:number]

    @cached_property
    def _sampled(self) -> dict[str, list[str]]:
        """The objects among the first `SAMPLE` that lack a variable, by its name."""
        lacking: dict[str, list[str]] = {name: [] for name in self._type.variables if not self._path(name)}
        keys = list(dict.fromkeys(self._first(SAMPLE).values_list("object_id", flat=True)))
        for object_id, values in _values(self._type, keys):
            for name, objects in lacking.items():
                if values.get(name) in (None, "", [], {}):
                    objects.append(object_id)
        return lacking


def is_blank(recipient_type: RecipientType, path: str) -> Q:
    """Return the condition that there is nothing at the lookup `path` of an object."""
    blank = Q(**{f"{path}__isnull": True})
    if isinstance(_field_at(recipient_type.model_class, path), models.CharField | models.TextField):
        blank |= Q(**{path: ""})
    return blank


def _field_at(model: Any, path: str) -> Any:
    field = None
    for name in path.split("__"):
        field = model._meta.get_field(name)
        model = field.related_model
    return field


def _values(recipient_type: RecipientType, object_ids: Sequence[str]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield what the host fills in for each of the objects that it still has and can tell of."""
    for start in range(0, len(object_ids), CHUNK):
        for object_id, obj in recipient_type.fetch(object_ids[start : start + CHUNK]).items():
            try:
                yield object_id, plain_values(recipient_type.values(obj))
            except DatabaseError:
                raise
            except Exception:
                # The host's own code. When the mailing is sent, this recipient is skipped, with the reason.
                logger.exception("values() of %s failed for %s", recipient_type.model, object_id)
