"""Which filters the page "Create mailing" offers for a type of recipients: the type's own, or the host admin's.

A name of a field makes a filter that suits the field. Classes of the host (`SimpleListFilter`, `(field, class)`) are
used with the choices that they offer themselves; a class that offers none, but a box to type in, cannot be used here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qs, urlencode

from django.contrib import admin
from django.contrib.admin import AdminSite
from django.contrib.admin.options import IncorrectLookupParameters
from django.contrib.admin.utils import get_fields_from_path
from django.db import models
from django.db.models import Q, QuerySet
from django.http import HttpRequest
from django.utils.text import capfirst
from django.utils.translation import gettext as _

from massmail.admin import host_filters
from massmail.audience.filters import (
    Choice,
    DateRange,
    Filter,
    FixedChoice,
    NumberRange,
    Option,
    RelatedChoice,
    Search,
    ValueChoice,
    YesNo,
)
from massmail.recipient_types import RecipientType

#: Offered for every type, whatever else it has.
COMMON = (
    host_filters.VipFilter,
    host_filters.LastMailingFilter,
    host_filters.RepliedFilter,
    host_filters.BouncedFilter,
)
#: Choices of a class of the host's that are offered at most.
LONGEST_MENU = 200
#: Django's own classes: what they do for a field, the filter by the field's name does too.
STOCK = (
    admin.FieldListFilter,
    admin.AllValuesFieldListFilter,
    admin.BooleanFieldListFilter,
    admin.ChoicesFieldListFilter,
    admin.DateFieldListFilter,
    admin.RelatedFieldListFilter,
    admin.RelatedOnlyFieldListFilter,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Offer:
    """The filters that a user may set for a type, and the names of those of the host that cannot be used here."""

    filters: Sequence[Filter]
    unusable: Sequence[str]


class _Links:
    """What a list filter needs of a list to say what its choices stand for."""

    add_facets = False
    is_facets_optional = False

    def get_query_string(self, new_params: Any = None, remove: Any = None) -> str:
        return urlencode({key: value for key, value in (new_params or {}).items() if value is not None}, doseq=True)


class Menu(Choice):
    """A list filter of the admin, with one of the choices that it offers."""

    kind = "menu"

    def __init__(self, name: str, request: HttpRequest, make: Callable[[dict[str, list[str]]], Any]) -> None:
        self.request = request
        self.make = make
        unset = make({})
        super().__init__(name, str(capfirst(unset.title)))
        chosen = list(unset.choices(_Links())) if unset.has_output() else []
        found = {choice["query_string"]: str(choice["display"]) for choice in chosen if choice.get("query_string")}
        self.menu = dict(list(found.items())[:LONGEST_MENU])

    def options(self, text: str = "") -> list[Option]:
        return [Option(value=value, label=label) for value, label in self.menu.items()]

    def labels(self, values: Sequence[str]) -> dict[str, str]:
        return {value: self.menu[value] for value in values if value in self.menu}

    def apply(self, queryset: QuerySet[Any], value: Any) -> QuerySet[Any]:
        for each in value:
            try:
                narrowed = self.make(parse_qs(each, keep_blank_values=True)).queryset(self.request, queryset)
            except IncorrectLookupParameters:
                narrowed = queryset.none()
            queryset = queryset if narrowed is None else narrowed
        return queryset


def offer(request: HttpRequest, site: AdminSite, recipient_type: RecipientType, visible: QuerySet[Any]) -> Offer:
    """Return the filters for `recipient_type`; options are those that occur among `visible`, its objects."""
    builder = _Builder(request, site, recipient_type, visible)
    filters = {each.name: each for each in builder.all()}
    return Offer(filters=list(filters.values()), unusable=builder.unusable)


class _Builder:
    def __init__(
        self, request: HttpRequest, site: AdminSite, recipient_type: RecipientType, visible: QuerySet[Any]
    ) -> None:
        self.request = request
        self.site = site
        self.type = recipient_type
        self.model = recipient_type.model_class
        self.visible = visible
        self.model_admin: Any = site._registry.get(self.model)
        self.unusable: list[str] = []

    def all(self) -> Iterator[Filter]:
        if self.type.search:
            yield Search("search", _("Search"), self.type.search)
        for spec in self._specs():
            found = self._of_spec(spec)
            if found is not None:
                yield found
        for each in COMMON:
            yield from self._menu(each.parameter_name, self._simple(each))

    def _specs(self) -> Iterable[Any]:
        if self.type.filters is not None:
            return self.type.filters
        return self.model_admin.get_list_filter(self.request) if self.model_admin else []

    def _of_spec(self, spec: Any) -> Filter | None:
        if isinstance(spec, str):
            # Whose they are is not a matter of filters: a mailing reaches the recipients of its owner.
            return None if spec == self.type.owner else self._of_field(spec)
        if isinstance(spec, (tuple, list)):
            return self._of_pair(*spec)
        if spec in COMMON or spec is host_filters.SubscribedFilter:
            return None
        return next(self._menu(spec.parameter_name, self._simple(spec)), None)

    def _of_pair(self, path: str, filter_class: Any) -> Filter | None:
        if filter_class in STOCK:
            return self._of_spec(path)
        field = get_fields_from_path(self.model, path)[-1]
        if filter_class is admin.EmptyFieldListFilter:
            return YesNo(f"{path}__empty", _("%(field)s is empty") % {"field": self._label(path)}, _empty(path, field))

        def make(params: dict[str, list[str]]) -> Any:
            return filter_class(field, self.request, params, self.model, self.model_admin, field_path=path)

        return next(self._menu(path, make), None)

    def _simple(self, filter_class: Any) -> Callable[[dict[str, list[str]]], Any]:
        return lambda params: filter_class(self.request, params, self.model, self.model_admin)

    def _menu(self, name: str, make: Callable[[dict[str, list[str]]], Any]) -> Iterator[Menu]:
        menu = Menu(name, self.request, make)
        if menu.menu:
            yield menu
        elif make({}).has_output():
            self.unusable.append(menu.label)

    def _of_field(self, path: str) -> Filter | None:
        label = self._label(path)
        field: Any = get_fields_from_path(self.model, path)[-1]
        if field.is_relation:
            return self._of_relation(path, label)
        if field.choices:
            return FixedChoice(path, label, field.flatchoices)
        if isinstance(field, models.BooleanField):
            return YesNo(path, label, lambda: Q(**{path: True}))
        if isinstance(field, models.DateField):
            return DateRange(path, label, field)
        if isinstance(field, (models.IntegerField, models.DecimalField, models.FloatField)):
            return NumberRange(path, label, field)
        if isinstance(field, models.TextField):
            return Search(path, label, [path])
        if isinstance(field, models.CharField):
            return ValueChoice(path, label, self.visible)
        self.unusable.append(label)
        return None

    def _of_relation(self, path: str, label: str) -> Filter:
        steps: list[Any] = get_fields_from_path(self.model, path)
        related = steps[-1].related_model
        related_admin: Any = self.site._registry.get(related)
        objects = related_admin.get_queryset(self.request) if related_admin else related._default_manager.all()
        nullable = any(getattr(step, "null", False) or step.many_to_many or step.one_to_many for step in steps)
        return RelatedChoice(path, label, self.visible, objects, find=self._finder(related), nullable=nullable)

    def _finder(self, related: Any) -> Callable[[QuerySet[Any], str], QuerySet[Any]]:
        """Return how objects of `related` are searched: as their own admin page does, or by what they are sorted by."""
        related_admin: Any = self.site._registry.get(related)
        if related_admin is not None and related_admin.get_search_fields(self.request):
            return lambda objects, text: related_admin.get_search_results(self.request, objects, text)[0]
        sorted_by = {str(name).lstrip("-") for name in related._meta.ordering}
        texts = [field.name for field in related._meta.fields if isinstance(field, models.CharField)]
        return Search("", "", [name for name in texts if name in sorted_by]).apply

    def _label(self, path: str) -> str:
        field: Any = get_fields_from_path(self.model, path)[-1]
        name = getattr(field, "verbose_name", None) or field.related_model._meta.verbose_name_plural
        return str(capfirst(name))


def _empty(path: str, field: Any) -> Callable[[], Q]:
    """Return the condition of Django's `EmptyFieldListFilter`."""
    condition = Q(**{f"{path}__isnull": True})
    if getattr(field, "empty_strings_allowed", False) and not field.is_relation:
        condition |= Q(**{path: ""})
    return lambda: condition
