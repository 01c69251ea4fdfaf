"""Which recipients may get a mailing, as querysets: what is counted beforehand is what is taken in afterwards."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cached_property
from typing import Any

from django.contrib.contenttypes.models import ContentType
from django.db import models
from django.db.models import Case, Exists, F, OuterRef, Q, QuerySet, Value, When
from django.db.models.functions import Cast, Coalesce, Left, Lower, Trim
from django.utils.translation import gettext as _

from massmail.audience.addresses import Plain
from massmail.choices import Exclusion
from massmail.exceptions import AudienceError
from massmail.models import Mailing, Recipient, Suppression
from massmail.recipient_types import RecipientType, type_for


def sole_owner(recipients: QuerySet[Any]) -> Any:
    """Return the one owner of `recipients`, on whose behalf a superuser makes a mailing.

    Recipients without an owner do not count; they are left out. Raises `AudienceError` for none and for several owners.
    """
    recipient_type = type_for(recipients.model)
    found = list(
        select(recipient_type, recipients)
        .filter(**{f"{recipient_type.owner}__isnull": False})
        .values_list(recipient_type.owner, flat=True)
        .distinct()[:3]
    )
    if not found:
        raise AudienceError(_("None of the selected recipients has an owner. Assign them to a sales manager first."))
    if len(found) > 1:
        raise AudienceError(
            _("The selected recipients belong to several owners. Select those of one owner, with the filter “owner”.")
        )
    user_model = Mailing._meta.get_field("owner").related_model
    return user_model._default_manager.get(pk=found[0])


def select(recipient_type: RecipientType, recipients: QuerySet[Any]) -> QuerySet[Any]:
    """Return `recipients` as a queryset of the type: no slices, no doubles from joins, no order."""
    return _both(recipient_type.queryset(), recipients).order_by()


def _both(these: QuerySet[Any], those: QuerySet[Any]) -> QuerySet[Any]:
    """Return what is in both querysets; only if it must be by looking each up among the others, which takes long."""
    if these.model is those.model and _only_narrows(these.query) and _only_narrows(those.query):
        return these.order_by() & those.order_by()
    return these.filter(pk__in=those.order_by().values("pk") if not those.query.is_sliced else those.values("pk"))


def _only_narrows(query: Any) -> bool:
    """Tell whether `query` is conditions on a row and what it refers to, and nothing that doubles, groups or cuts."""
    more = (query.is_sliced, query.combinator, query.distinct, query.annotations, query.group_by, query.extra)
    return not any([*more, query.values_select]) and all(
        join.parent_alias is None or (join.join_field.concrete and join.join_field.many_to_one)
        for join in query.alias_map.values()
    )


class Sorting:
    """The host objects `everybody`, and what becomes of them in a mailing of the user with the key `owner_id`.

    They are left out with the first reason that applies: not the owner's, not eligible, one of the `bars`, and in the
    end, in Python, an address that is not valid or not the first.
    """

    def __init__(self, recipient_type: RecipientType, everybody: QuerySet[Any], *, owner_id: Any) -> None:
        self.recipient_type = recipient_type
        self.everybody = everybody
        self.owner_id = owner_id
        self.content_type_id = ContentType.objects.get_for_model(recipient_type.model_class).pk

    def by_rank(self) -> Iterator[Sorting]:
        """Return the VIPs, who come first where an address stands on several objects, and the others."""
        if not self._is_known(vip=True):
            yield self
            return
        for condition in (self._is_vip, ~self._is_vip):
            yield Sorting(self.recipient_type, self.everybody.filter(condition), owner_id=self.owner_id)

    @property
    def is_owners(self) -> Q:
        """The condition that an object belongs to the owner of the mailing."""
        return Q(**{self.recipient_type.owner: self.owner_id})

    @cached_property
    def _all_eligible(self) -> QuerySet[Any]:
        return self.recipient_type.eligible(self.recipient_type.queryset().filter(self.is_owners)).order_by()

    @cached_property
    def eligible(self) -> QuerySet[Any]:
        """Those of the owner whom the host lets have mail, with what the `bars` read."""
        return _with_address(self.recipient_type, _both(self.everybody.filter(self.is_owners), self._all_eligible))

    @cached_property
    def bars(self) -> Sequence[tuple[Exclusion, Any]]:
        """Reasons to leave out one who is eligible, each with its condition, in the order in which they apply.

        Conditions that nobody can meet are left away: looked up for each of a million rows, even they cost a second.
        """
        bars: list[tuple[Exclusion, Any]] = []
        if self._is_known(subscribed=False):
            bars.append((Exclusion.UNSUBSCRIBED, Exists(self._known.filter(subscribed=False))))
        if self.recipient_type.subscribed:
            bars.append((Exclusion.UNSUBSCRIBED, Q(**{self.recipient_type.subscribed: False})))
        bars.append((Exclusion.NO_ADDRESS, Q(mm_address="")))
        if Suppression.objects.exists():
            bars.append((Exclusion.SUPPRESSED, Exists(Suppression.objects.filter(address=OuterRef("mm_address")))))
        return bars

    @property
    def judged(self) -> QuerySet[Any]:
        """The eligible ones with the reason that bars them, or "", as `mm_reason`, and `mm_plain`."""
        whens = [When(condition, then=Value(reason.value)) for reason, condition in self.bars]
        reason = Case(*whens, default=Value(""), output_field=models.CharField())
        return self.eligible.annotate(mm_reason=reason, mm_plain=Plain("mm_email"))

    @property
    def plain(self) -> QuerySet[Any]:
        """Those who get mail at one address, beyond doubt, unless somebody before them has it."""
        rows = self.eligible.filter(Plain("mm_email"))
        for reason, condition in self.bars:
            if reason != Exclusion.NO_ADDRESS:
                rows = rows.filter(~condition)
        return rows

    @property
    def odd(self) -> QuerySet[Any]:
        """Those whose `mm_email` SQL does not judge: lists of addresses, non-ASCII, over-long or doubtful ones."""
        return self.judged.filter(mm_reason="", mm_plain=False).order_by("pk")

    @property
    def barred(self) -> QuerySet[Any]:
        return self.judged.exclude(mm_reason="")

    @property
    def not_eligible(self) -> QuerySet[Any]:
        own = _with_address(self.recipient_type, self.everybody).filter(self.is_owners)
        return own.filter(~Exists(self._all_eligible.filter(pk=OuterRef("pk"))))

    @property
    def not_owners(self) -> QuerySet[Any]:
        return _with_address(self.recipient_type, self.everybody).exclude(self.is_owners)

    def ranks(self, object_ids: set[str]) -> dict[str, int]:
        """Return the order of these objects where they want the same address: VIPs first, then by key."""
        keys = [self.recipient_type.to_pk(object_id) for object_id in object_ids]
        objects = _with_address(self.recipient_type, self.recipient_type.queryset().filter(pk__in=keys))
        ordered = objects.annotate(mm_vip=self._is_vip).order_by("-mm_vip", "pk")
        return {object_id: n for n, object_id in enumerate(ordered.values_list("mm_object_id", flat=True))}

    @property
    def _is_vip(self) -> Exists:
        return Exists(self._known.filter(vip=True))

    @property
    def _known(self) -> QuerySet[Recipient]:
        """What the app knows of the object of the outer query."""
        return Recipient.objects.filter(content_type=self.content_type_id, object_id=_as_text(OuterRef("pk")))

    def _is_known(self, **standing: bool) -> bool:
        return Recipient.objects.filter(content_type=self.content_type_id, **standing).exists()


def _with_address(recipient_type: RecipientType, objects: QuerySet[Any]) -> QuerySet[Any]:
    """Annotate host objects with the text of their key, of their addresses, and that in its normalised form."""
    return objects.annotate(
        mm_object_id=_as_text("pk"),
        mm_email=Coalesce(F(recipient_type.email), Value(""), output_field=models.TextField()),
        mm_address=Lower(Trim("mm_email")),
        mm_listed=Left("mm_address", 320),
    )


def _as_text(key: Any) -> Cast:
    """Return the expression for a key as `Recipient` and `Delivery` keep it."""
    return Cast(key, models.CharField(max_length=64))
