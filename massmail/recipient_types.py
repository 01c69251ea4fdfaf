"""Adapters: how the app sees the host's own contacts, companies, leads, or any other model."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from typing import Any, ClassVar
from uuid import UUID

from django.apps import apps
from django.core.exceptions import FieldDoesNotExist, ValidationError
from django.db import connections, models, router
from django.db.models import F, Value
from django.utils.functional import cached_property
from django.utils.module_loading import import_string

from massmail.conf import conf
from massmail.exceptions import MassmailConfigurationError


class RecipientType:
    """Base of the host's adapters; list the subclasses in `MASSMAIL_RECIPIENT_TYPES`.

    `email`, `owner`, `company` and `language` are lookup paths from the model. `subscribed` names a boolean field of
    the model itself, which the app keeps in step when somebody unsubscribes. `variables` maps the names that
    templates may use to a short explanation; `values` gives their plain values for one object. `variable_paths` may
    name, for some of them, the lookup path that `values` reads: those without a value are then found by the database,
    and not by calling `values` for each of them.

    The page "Create mailing" searches in the text fields `search` and offers `filters`: whatever Django's
    `list_filter` takes, by default that of the model's own admin.
    """

    model: ClassVar[str]
    email: ClassVar[str] = "email"
    owner: ClassVar[str] = "owner"
    subscribed: ClassVar[str | None] = None
    company: ClassVar[str | None] = None
    language: ClassVar[str | None] = None
    search: ClassVar[Sequence[str]] = ()
    filters: ClassVar[Sequence[Any] | None] = None
    variables: ClassVar[Mapping[str, Any]] = {}
    variable_paths: ClassVar[Mapping[str, str]] = {}

    @cached_property
    def model_class(self) -> type[models.Model]:
        return apps.get_model(self.model)

    def queryset(self) -> models.QuerySet[Any]:
        """Return every object of the type; join here what `values` reads."""
        return self.model_class._default_manager.all()

    def eligible(self, queryset: models.QuerySet[Any]) -> models.QuerySet[Any]:
        """Return those of `queryset` that may get mail at all (not disqualified, say)."""
        return queryset

    def values(self, obj: Any) -> Mapping[str, Any]:
        """Return the plain values of `variables` for `obj`."""
        return {}

    def set_subscribed(self, queryset: models.QuerySet[Any], value: bool) -> int:
        """Write the host's own flag on `queryset`, where the type names one; return how many rows changed."""
        if self.subscribed is None:
            return 0
        return queryset.exclude(**{self.subscribed: value}).update(**{self.subscribed: value})

    def to_pk(self, object_id: str) -> Any:
        """Return the primary key behind the text `object_id`, or None if it can't be one."""
        try:
            return self.model_class._meta.pk.to_python(object_id)
        except ValidationError:
            return None

    def to_object_id(self, pk: Any) -> str:
        """Return the text that the database's own cast of the key `pk` gives.

        On SQLite a UUID is stored, and therefore cast, as 32 hexadecimal digits.
        """
        connection = connections[router.db_for_read(self.model_class)]
        if isinstance(pk, UUID) and not connection.features.has_native_uuid_field:
            return pk.hex
        return str(pk)

    def fetch(self, object_ids: Iterable[str]) -> dict[str, Any]:
        """Return the objects that still exist, by object id, in one query.

        Each knows its owner's key as `mm_owner`, its text of addresses as `mm_email`, its flag as `mm_flag` and the
        code of its language, where it has one, as `mm_language`.
        """
        keys = [key for key in map(self.to_pk, object_ids) if key is not None]
        flag = F(self.subscribed) if self.subscribed else Value(True)
        objects = self.queryset().filter(pk__in=keys)
        language = F(self.language) if self.language else Value(None, models.CharField())
        objects = objects.annotate(mm_owner=F(self.owner), mm_email=F(self.email), mm_flag=flag, mm_language=language)
        return {self.to_object_id(obj.pk): obj for obj in objects}

    def companies(self, object_ids: Iterable[str]) -> dict[str, str]:
        """Return the companies of those objects that have one, by object id, in one query.

        A company is told by its model and key, so that it is the same one in all types that lead to it; the type of
        the companies themselves says `company = "id"`. Where the path ends in a text, its companies are told by that,
        whatever the case.
        """
        if self.company is None:
            return {}
        keys = [key for key in map(self.to_pk, object_ids) if key is not None]
        rows = self.model_class._default_manager.filter(pk__in=keys).exclude(**{f"{self.company}__isnull": True})
        found = rows.values_list("pk", self.company)
        return {
            self.to_object_id(pk): f"{self._company_kind}:{str(value).lower()}" for pk, value in found if value != ""
        }

    @cached_property
    def _company_kind(self) -> str:
        model: Any = self.model_class
        field: Any = model._meta.pk
        for name in (self.company or "").split("__"):
            field = model._meta.get_field(name)
            if field.is_relation:
                model = field.related_model
        return _label(model) if field.is_relation or field.primary_key else f"{_label(model)}.{field.name}"


def follow(obj: Any, path: str) -> Any:
    """Return what the lookup `path` ("company__owner") leads to from `obj`, or None where it breaks off."""
    for name in path.split("__"):
        if obj is None:
            return None
        obj = getattr(obj, name)
    return obj


def _label(model: type[models.Model] | models.Model) -> str:
    concrete = model._meta.concrete_model
    return concrete._meta.label_lower if concrete else model._meta.label_lower


@lru_cache(maxsize=8)
def _load(paths: tuple[str, ...]) -> dict[str, RecipientType]:
    loaded: dict[str, RecipientType] = {}
    for path in paths:
        recipient_type = import_string(path)()
        label = _label(recipient_type.model_class)
        if label in loaded:
            raise MassmailConfigurationError(f"MASSMAIL_RECIPIENT_TYPES names two types for {label}.")
        loaded[label] = recipient_type
    return loaded


def recipient_types() -> list[RecipientType]:
    """Return the registered types in the order of `MASSMAIL_RECIPIENT_TYPES`."""
    return list(_load(tuple(conf.recipient_types)).values())


def type_for(model: type[models.Model] | models.Model) -> RecipientType:
    """Return the type of `model` (proxies and deferred classes count as their concrete model).

    Raises `MassmailConfigurationError` when the host registered none.
    """
    found = find_type(model)
    if found is None:
        raise MassmailConfigurationError(f"No recipient type for {_label(model)}: add one to MASSMAIL_RECIPIENT_TYPES.")
    return found


def find_type(model: type[models.Model] | models.Model) -> RecipientType | None:
    """Return the type of `model`, or None when the host registers none (any more)."""
    return _load(tuple(conf.recipient_types)).get(_label(model))


def problems(recipient_type: RecipientType) -> list[str]:
    """Return what is wrong with the field names an adapter gives, for the system checks."""
    found = []
    for attribute in ("email", "owner", "subscribed", "company", "language"):
        path = getattr(recipient_type, attribute)
        if path is not None and not _leads_somewhere(recipient_type.model_class, path):
            found.append(f"{attribute} = {path!r} is not a lookup path of {recipient_type.model} to one value.")
    for name, path in recipient_type.variable_paths.items():
        if name not in recipient_type.variables:
            found.append(f"variable_paths: {name!r} is not among the variables.")
        elif not _leads_somewhere(recipient_type.model_class, path):
            found.append(f"variable_paths: {path!r} is not a lookup path of {recipient_type.model} to one value.")
    filters = [spec[0] if isinstance(spec, (tuple, list)) else spec for spec in recipient_type.filters or ()]
    for attribute, paths in (("search", recipient_type.search), ("filters", filters)):
        found += [
            f"{attribute}: {path!r} is not a lookup path of {recipient_type.model}."
            for path in paths
            if isinstance(path, str) and not _leads_somewhere(recipient_type.model_class, path, to_many=True)
        ]
    if recipient_type.subscribed and "__" in recipient_type.subscribed:
        found.append(f"subscribed = {recipient_type.subscribed!r} must be a field of {recipient_type.model} itself.")
    return found


def _leads_somewhere(model: type[models.Model], path: str, *, to_many: bool = False) -> bool:
    for name in path.split("__"):
        try:
            field = model._meta.get_field(name)
        except FieldDoesNotExist:
            return False
        if (field.one_to_many or field.many_to_many) and not to_many:
            return False
        model = field.related_model or model
    return True
