"""Recipients to choose from: those of one owner, of every type, found by what their type can be searched by."""

from __future__ import annotations

import operator
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import reduce
from typing import Any

from django.db.models import Q, QuerySet

from massmail.recipient_types import RecipientType, follow, recipient_types

#: Recipients of each type that are offered at once.
SHOWN = 8
#: Words of a search that are looked for.
MAX_WORDS = 6


@dataclass(frozen=True, slots=True, kw_only=True)
class Person:
    """Somebody to look at a message as; `key` names the type and the object."""

    key: str
    name: str
    address: str

    def as_json(self) -> dict[str, str]:
        return {"key": self.key, "name": self.name, "address": self.address}


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """The recipients found of one type."""

    name: str
    people: Sequence[Person]

    def as_json(self) -> dict[str, Any]:
        return {"name": self.name, "people": [person.as_json() for person in self.people]}


@dataclass(frozen=True, slots=True, kw_only=True)
class Chosen:
    """A recipient that was chosen, with its type."""

    recipient_type: RecipientType
    obj: Any


def label_of(recipient_type: RecipientType) -> str:
    return recipient_type.model_class._meta.label_lower


def find_people(owner_id: Any, text: str = "") -> list[Group]:
    """Return some of the owner's recipients that have every word of `text`, in one query for each type."""
    return [group for each in recipient_types() if (group := _group(each, owner_id, text)).people]


def _group(recipient_type: RecipientType, owner_id: Any, text: str) -> Group:
    found = _with_words(recipient_type, _own(recipient_type, owner_id), text.split()[:MAX_WORDS])
    return Group(
        name=str(recipient_type.model_class._meta.verbose_name_plural),
        people=[_person(recipient_type, obj) for obj in found.order_by("pk")[:SHOWN]],
    )


def _own(recipient_type: RecipientType, owner_id: Any) -> QuerySet[Any]:
    return recipient_type.queryset().filter(**{recipient_type.owner: owner_id})


def _with_words(recipient_type: RecipientType, people: QuerySet[Any], words: Iterable[str]) -> QuerySet[Any]:
    fields = recipient_type.search or [recipient_type.email]
    for word in words:
        people = people.filter(reduce(operator.or_, (Q(**{f"{field}__icontains": word}) for field in fields)))
    return people


def _person(recipient_type: RecipientType, obj: Any) -> Person:
    return Person(
        key=f"{label_of(recipient_type)}:{recipient_type.to_object_id(obj.pk)}",
        name=str(obj),
        address=str(follow(obj, recipient_type.email) or ""),
    )


def find_person(owner_id: Any, key: str) -> Chosen | None:
    """Return the recipient behind `key`, or None if there is none or it belongs to somebody else."""
    label, _colon, object_id = key.partition(":")
    for recipient_type in recipient_types():
        if label_of(recipient_type) == label and "\0" not in object_id:
            pk = recipient_type.to_pk(object_id)
            obj = None if pk is None else _own(recipient_type, owner_id).filter(pk=pk).first()
            return Chosen(recipient_type=recipient_type, obj=obj) if obj else None
    return None
