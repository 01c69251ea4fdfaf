"""The filters by which recipients are chosen: what each one offers, what it does to a queryset, and how it reads.

A filter knows nothing of requests. Its values are plain JSON, kept on the mailing; `read` is the only way in, and what
it does not offer it refuses.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from typing import Any, ClassVar

from django.conf import settings
from django.core.exceptions import ValidationError
from django.db import models
from django.db.models import Exists, OuterRef, Q, QuerySet
from django.utils import timezone
from django.utils.formats import date_format, number_format
from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from massmail.exceptions import AudienceError

#: Options shown of a filter at once; the others are found by typing.
SHOWN = 20
#: The option that stands for "has none".
NONE = "-"
LONGEST_TEXT = 200

Data = Mapping[str, Sequence[str]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Option:
    """Something to tick: the text that stands for it in a form, and what people read."""

    value: str
    label: str


class Filter:
    """One filter, known by `name`; `kind` says how it is drawn and `parts` which fields its form has."""

    kind: ClassVar[str]
    parts: ClassVar[Sequence[str]] = ("",)

    def __init__(self, name: str, label: str) -> None:
        self.name = name
        self.label = label

    def read(self, data: Data) -> Any:
        """Return the value that the fields of `data` give, or None for no filtering.

        Raises `AudienceError` with a sentence for whoever filled them in.
        """
        raise NotImplementedError

    def fields(self, value: Any) -> dict[str, list[str]]:
        """Return the fields that `read` reads as `value`."""
        raise NotImplementedError

    def apply(self, queryset: QuerySet[Any], value: Any) -> QuerySet[Any]:
        """Return those of `queryset` that `value` lets through."""
        raise NotImplementedError

    def words(self, value: Any) -> str:
        """Return `value` as people say it."""
        raise NotImplementedError

    def key(self, part: str = "") -> str:
        return f"{self.name}-{part}" if part else self.name

    def _text(self, data: Data, part: str = "") -> str:
        text = (data.get(self.key(part)) or [""])[-1].strip()
        if "\x00" in text or len(text) > LONGEST_TEXT:
            raise AudienceError(_("%(filter)s: this text is too long or cannot be read.") % {"filter": self.label})
        return text


class YesNo(Filter):
    """Yes, no, or any: `condition` is met, or not."""

    kind = "yesno"

    def __init__(self, name: str, label: str, condition: Callable[[], Any]) -> None:
        super().__init__(name, label)
        self.condition = condition

    def read(self, data: Data) -> bool | None:
        answers = {"": None, "yes": True, "no": False}
        text = self._text(data)
        if text not in answers:
            raise AudienceError(_("%(filter)s: choose yes, no or any.") % {"filter": self.label})
        return answers[text]

    def fields(self, value: Any) -> dict[str, list[str]]:
        return {self.key(): ["yes" if value else "no"]}

    def apply(self, queryset: QuerySet[Any], value: Any) -> QuerySet[Any]:
        return queryset.filter(self.condition() if value else ~self.condition())

    def words(self, value: Any) -> str:
        return _("Yes") if value else _("No")


class Search(Filter):
    """A text; each of its words must occur in one of the fields `paths`, as in the admin's own search."""

    kind = "text"

    def __init__(self, name: str, label: str, paths: Sequence[str]) -> None:
        super().__init__(name, label)
        self.paths = paths

    def read(self, data: Data) -> str | None:
        return self._text(data) or None

    def fields(self, value: Any) -> dict[str, list[str]]:
        return {self.key(): [value]}

    def apply(self, queryset: QuerySet[Any], value: Any) -> QuerySet[Any]:
        for word in value.split():
            queryset = queryset.filter(_any_contains(self.paths, word))
        return queryset

    def words(self, value: Any) -> str:
        return _("“%(text)s”") % {"text": value}


def _any_contains(paths: Sequence[str], word: str) -> Q:
    condition = Q(pk__in=[])
    for path in paths:
        condition |= Q(**{f"{path}__icontains": word})
    return condition


class Range(Filter):
    """From and to, both included, either of them open."""

    parts = ("from", "to")

    def __init__(self, name: str, label: str, field: models.Field[Any, Any]) -> None:
        super().__init__(name, label)
        self.field = field

    def read(self, data: Data) -> dict[str, str] | None:
        value = {part: text for part in self.parts if (text := self._text(data, part))}
        ends = {part: self._end(text) for part, text in value.items()}
        if len(ends) == 2 and ends["from"] > ends["to"]:
            raise AudienceError(_("%(filter)s: “from” lies behind “to”.") % {"filter": self.label})
        return value or None

    def fields(self, value: Any) -> dict[str, list[str]]:
        return {self.key(part): [text] for part, text in value.items()}

    def apply(self, queryset: QuerySet[Any], value: Any) -> QuerySet[Any]:
        if "from" in value:
            queryset = queryset.filter(self._at_least(self._end(value["from"])))
        if "to" in value:
            queryset = queryset.filter(self._at_most(self._end(value["to"])))
        return queryset

    def words(self, value: Any) -> str:
        said = {part: self._say(self._end(text)) for part, text in value.items()}
        if "to" not in said:
            return _("from %(from)s") % said
        return (_("%(from)s to %(to)s") if "from" in said else _("until %(to)s")) % said

    def _end(self, text: str) -> Any:
        raise NotImplementedError

    def _say(self, end: Any) -> str:
        raise NotImplementedError

    def _at_least(self, end: Any) -> Q:
        return Q(**{f"{self.name}__gte": end})

    def _at_most(self, end: Any) -> Q:
        return Q(**{f"{self.name}__lte": end})


class DateRange(Range):
    kind = "date"

    def _end(self, text: str) -> dt.date:
        try:
            return dt.date.fromisoformat(text)
        except ValueError:
            message = _("%(filter)s: “%(text)s” is not a date. Write it like 2026-03-31.")
            raise AudienceError(message % {"filter": self.label, "text": text}) from None

    def _say(self, end: dt.date) -> str:
        return date_format(end, "DATE_FORMAT")

    def _at_least(self, end: dt.date) -> Q:
        return Q(**{f"{self.name}__gte": self._moment(end)})

    def _at_most(self, end: dt.date) -> Q:
        try:
            return Q(**{f"{self.name}__lt": self._moment(end + dt.timedelta(days=1))})
        except OverflowError:
            return Q()

    def _moment(self, day: dt.date) -> dt.date | dt.datetime:
        """Return `day`, or for a field that knows the time its beginning on the wall clock."""
        if not isinstance(self.field, models.DateTimeField):
            return day
        midnight = dt.datetime.combine(day, dt.time.min)
        return timezone.make_aware(midnight) if settings.USE_TZ else midnight


class NumberRange(Range):
    kind = "number"

    def _end(self, text: str) -> Decimal:
        try:
            number = Decimal(text)
        except InvalidOperation:
            number = Decimal("NaN")
        # Beyond this SQLite's integers end, and nothing that is counted in a customer's record begins.
        if not number.is_finite() or abs(number) > 10**15:
            message = _("%(filter)s: “%(text)s” is not a number that can be compared with.")
            raise AudienceError(message % {"filter": self.label, "text": text})
        return number

    def _say(self, end: Decimal) -> str:
        return number_format(end)


class Choice(Filter):
    """Any of several options."""

    kind = "choice"

    def read(self, data: Data) -> list[str] | None:
        given = {text for text in data.get(self.key(), []) if text}
        chosen = sorted(text for text in given if "\x00" not in text)
        if not given:
            return None
        missing = len(given) - len(self.labels(chosen))
        if missing:
            message = ngettext(
                "%(filter)s: %(count)d chosen value does not exist any more or is not offered. It was taken out.",
                "%(filter)s: %(count)d chosen values do not exist any more or are not offered. They were taken out.",
                missing,
            )
            raise AudienceError(message % {"filter": self.label, "count": missing})
        return chosen

    def fields(self, value: Any) -> dict[str, list[str]]:
        return {self.key(): list(value)}

    def words(self, value: Any) -> str:
        return ", ".join(self.labels(value).values())

    def options(self, text: str = "") -> list[Option]:
        """Return at most `SHOWN` + 1 options whose label has to do with `text`: one more says that there are more."""
        raise NotImplementedError

    def labels(self, values: Sequence[str]) -> dict[str, str]:
        """Return the labels of those of `values` that are options."""
        raise NotImplementedError


class FixedChoice(Choice):
    """The field's own `choices`, or any others that are few and known."""

    def __init__(self, name: str, label: str, choices: Sequence[tuple[Any, Any]]) -> None:
        super().__init__(name, label)
        self.choices = {str(value): (value, str(text)) for value, text in choices}

    def options(self, text: str = "") -> list[Option]:
        found = [Option(value=key, label=label) for key, (_value, label) in self.choices.items()]
        return [option for option in found if text.casefold() in option.label.casefold()][: SHOWN + 1]

    def labels(self, values: Sequence[str]) -> dict[str, str]:
        return {value: self.choices[value][1] for value in values if value in self.choices}

    def apply(self, queryset: QuerySet[Any], value: Any) -> QuerySet[Any]:
        return queryset.filter(**{f"{self.name}__in": [self.choices[key][0] for key in value if key in self.choices]})


class ValueChoice(Choice):
    """The values that a text field has among the recipients that the user sees."""

    def __init__(self, name: str, label: str, visible: QuerySet[Any]) -> None:
        super().__init__(name, label)
        self.visible = visible.order_by()

    def options(self, text: str = "") -> list[Option]:
        found = self.visible.exclude(**{f"{self.name}__isnull": True}).exclude(**{self.name: ""})
        if text:
            found = found.filter(**{f"{self.name}__icontains": text})
        values = found.values_list(self.name, flat=True).distinct().order_by(self.name)[: SHOWN + 1]
        return [Option(value=value, label=value) for value in values]

    def labels(self, values: Sequence[str]) -> dict[str, str]:
        found = self.visible.filter(**{f"{self.name}__in": values}).values_list(self.name, flat=True).distinct()
        return {value: value for value in sorted(found)}

    def apply(self, queryset: QuerySet[Any], value: Any) -> QuerySet[Any]:
        return queryset.filter(**{f"{self.name}__in": value})


class RelatedChoice(Choice):
    """The objects that recipients whom the user sees refer to. `find` narrows a queryset of them to a text."""

    def __init__(
        self,
        name: str,
        label: str,
        visible: QuerySet[Any],
        related: QuerySet[Any],
        *,
        find: Callable[[QuerySet[Any], str], QuerySet[Any]],
        nullable: bool,
    ) -> None:
        super().__init__(name, label)
        self.related = related.filter(Exists(visible.order_by().filter(**{name: OuterRef("pk")})))
        self.find = find
        self.nullable = nullable

    def options(self, text: str = "") -> list[Option]:
        found = self.find(self.related, text) if text else self.related
        if not found.ordered:
            found = found.order_by("pk")
        none = [Option(value=NONE, label=_("None"))] if self.nullable and not text else []
        return [*none, *(Option(value=str(obj.pk), label=str(obj)) for obj in found[: SHOWN + 1])]

    def labels(self, values: Sequence[str]) -> dict[str, str]:
        known = {NONE: _("None")} if self.nullable and NONE in values else {}
        objects = {str(obj.pk): str(obj) for obj in self.related.filter(pk__in=self._keys(values))}
        return known | dict(sorted(objects.items(), key=lambda item: item[1].casefold()))

    def apply(self, queryset: QuerySet[Any], value: Any) -> QuerySet[Any]:
        condition = Q(**{f"{self.name}__in": self._keys(value)})
        if self.nullable and NONE in value:
            condition |= Q(**{f"{self.name}__isnull": True})
        return queryset.filter(condition)

    def _keys(self, values: Sequence[str]) -> list[Any]:
        key_field = self.related.model._meta.pk
        keys = []
        for value in values:
            with suppress(ValidationError):
                key = key_field.to_python(value)
                key_field.run_validators(key)
                keys.append(key)
        return keys
