"""Adapters: how the app sees the host's own requests and deals, or whatever else mail is kept with."""

from __future__ import annotations

import datetime as dt
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, ClassVar

from django.apps import apps
from django.core.exceptions import FieldDoesNotExist
from django.db import models
from django.utils.functional import cached_property
from django.utils.module_loading import import_string

from massmail.conf import conf
from massmail.exceptions import MassmailConfigurationError

#: Letters and digits of a ticket, without those that are taken for one another: 80 random bits.
ALPHABET, LENGTH = "abcdefghjkmnpqrstuvwxyz23456789", 16


@dataclass(frozen=True, slots=True, kw_only=True)
class IncomingRequest:
    """A mail that becomes a request.

    `person` is the host object (of a recipient type) to which the sender's address belongs, or None. `ticket` is the
    conversation's: 16 letters and digits, unique.
    """

    owner: Any
    ticket: str
    subject: str
    text: str
    address: str
    name: str
    received_at: dt.datetime
    person: Any = None


class ConversationType:
    """Base of the host's adapters; list the subclasses in `MASSMAIL_CONVERSATIONS`.

    `owner` is a lookup path to the user. `continues` names the foreign key of the model (a deal's, say) to the object
    whose conversation it takes over. A type that has `create` can be imported from mail. It knows the senders by
    `people`, labels of models that have a recipient type (default: all of them, in their order); if it has
    `create_lead` too, it can make a `lead`, the label of a model, of a sender whom nobody knows.
    """

    model: ClassVar[str]
    owner: ClassVar[str] = "owner"
    continues: ClassVar[str | None] = None
    people: ClassVar[Sequence[str] | None] = None
    lead: ClassVar[str | None] = None

    @cached_property
    def model_class(self) -> type[models.Model]:
        return apps.get_model(self.model)

    @cached_property
    def lead_class(self) -> type[models.Model] | None:
        return apps.get_model(self.lead) if self.lead else None

    def create(self, incoming: IncomingRequest) -> Any:
        """Return a new, saved object made of `incoming`."""
        raise NotImplementedError

    def create_lead(self, incoming: IncomingRequest) -> Any:
        """Return a new, saved object for the sender of `incoming`, whom nobody knows."""
        raise NotImplementedError

    @property
    def importable(self) -> bool:
        return type(self).create is not ConversationType.create


def new_ticket() -> str:
    """Return a ticket nobody can guess."""
    return "".join(secrets.choice(ALPHABET) for _ in range(LENGTH))


def _label(model: type[models.Model] | models.Model) -> str:
    concrete = model._meta.concrete_model
    return concrete._meta.label_lower if concrete else model._meta.label_lower


@lru_cache(maxsize=8)
def _load(paths: tuple[str, ...]) -> dict[str, ConversationType]:
    loaded: dict[str, ConversationType] = {}
    for path in paths:
        conversation_type = import_string(path)()
        label = _label(conversation_type.model_class)
        if label in loaded:
            raise MassmailConfigurationError(f"MASSMAIL_CONVERSATIONS names two types for {label}.")
        loaded[label] = conversation_type
    return loaded


def conversation_types() -> list[ConversationType]:
    """Return the registered types in the order of `MASSMAIL_CONVERSATIONS`."""
    return list(_load(tuple(conf.conversations)).values())


def find_conversation_type(model: type[models.Model] | models.Model) -> ConversationType | None:
    """Return the type of `model`, or None when the host registers none (any more)."""
    return _load(tuple(conf.conversations)).get(_label(model))


def successors(model: type[models.Model] | models.Model) -> list[ConversationType]:
    """Return the types whose objects take over the conversations of `model`."""
    return [
        each
        for each in conversation_types()
        if each.continues and _label(_target(each.model_class, each.continues)) == _label(model)
    ]


def _target(model: type[models.Model], name: str) -> type[models.Model]:
    related: type[models.Model] = model._meta.get_field(name).related_model  # type: ignore[assignment]
    return related


def problems(conversation_type: ConversationType) -> list[str]:
    """Return what is wrong with the names an adapter gives, for the system checks."""
    found, model = [], conversation_type.model_class
    if conversation_type.continues:
        try:
            fits = model._meta.get_field(conversation_type.continues).many_to_one
        except FieldDoesNotExist:
            fits = False
        if not fits:
            found.append(f"continues = {conversation_type.continues!r} is not a foreign key of {model._meta.label}.")
    if not _leads_somewhere(model, conversation_type.owner):
        found.append(f"owner = {conversation_type.owner!r} is not a lookup path of {model._meta.label}.")
    if type(conversation_type).create_lead is not ConversationType.create_lead and not conversation_type.lead:
        found.append("it has create_lead, but no lead: name the model, so that its permissions are known.")
    return found


def _leads_somewhere(model: type[models.Model], path: str) -> bool:
    for name in path.split("__"):
        try:
            field = model._meta.get_field(name)
        except FieldDoesNotExist:
            return False
        model = field.related_model or model
    return True
