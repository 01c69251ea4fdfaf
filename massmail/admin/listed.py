"""The host's list as somebody narrowed it: how the page "Create mailing" takes over whom the list shows.

The list itself says who that is, by the same code that draws it, so that no filter of the host's has to be understood.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from copy import copy
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

from django.contrib.admin.options import IncorrectLookupParameters
from django.contrib.admin.views.main import SEARCH_VAR, ChangeList
from django.core.exceptions import SuspiciousOperation
from django.db.models import QuerySet
from django.http import HttpRequest, QueryDict
from django.utils.text import capfirst
from django.utils.translation import gettext as _

from massmail.exceptions import AudienceError

#: Characters of an address that are read.
LONGEST = 4000
#: Says on a copy of a request that the list's rows are not wanted, only what they are taken from.
UNREAD = "massmail_unread"


@dataclass(frozen=True, slots=True, kw_only=True)
class Listed:
    """Whom a list shows on all its pages, by which filters in words, and what the address said of them."""

    query: str
    objects: QuerySet[Any]
    words: Sequence[tuple[str, str]]


def narrowing(changelist: ChangeList) -> str:
    """Return what of the list's address chooses its objects: filters and search, without page and order."""
    chosen: dict[str, Any] = changelist.get_filters_params()
    if changelist.query:
        chosen |= {SEARCH_VAR: changelist.query}
    return urlencode(chosen, doseq=True)


def unread(changelist_class: type[ChangeList]) -> type[ChangeList]:
    """Return the same list that fetches and counts no rows."""

    class Unread(changelist_class):  # type: ignore[valid-type, misc]
        def get_results(self, request: HttpRequest) -> None:
            self.result_list = self.queryset.none()

    return Unread


def listed(request: HttpRequest, model_admin: Any, query: str) -> Listed:
    """Return the objects in the list of `model_admin`, one with the mixin, at the address with `query`.

    Raises `AudienceError` where the list could not be shown so either.
    """
    asking: Any = copy(request)
    asking.method, asking.GET, asking.POST = "GET", QueryDict(query[:LONGEST].replace("%00", "")), QueryDict()
    asking.resolver_match = request.resolver_match
    setattr(asking, UNREAD, True)
    try:
        changelist = model_admin.get_changelist_instance(asking)
    except (IncorrectLookupParameters, SuspiciousOperation) as error:
        raise AudienceError(
            _("The filters of the list can't be read any more. Go back to the list and choose them again.")
        ) from error
    return Listed(query=narrowing(changelist), objects=changelist.queryset, words=list(_words(changelist)))


def _words(changelist: ChangeList) -> Iterator[tuple[str, str]]:
    """Yield the filters that are set as pairs of name and value; what only a link sets, as it stands in the address."""
    params = changelist.get_filters_params()
    for spec in changelist.filter_specs:
        own = {name: params.pop(name) for name in spec.expected_parameters() if name in params}
        if own:
            chosen = [str(choice["display"]) for choice in spec.choices(changelist) if choice.get("selected")]
            yield str(capfirst(spec.title)), ", ".join(chosen) or _values(own)
    if changelist.query:
        yield _("Search"), changelist.query
    for name, values in params.items():
        yield name, _values({name: values})


def _values(params: dict[str, Any]) -> str:
    return ", ".join(str(value) for values in params.values() for value in values)
