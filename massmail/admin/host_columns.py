"""Columns about mailings on the host's lists, filled in for the rows of the page alone.

The list's own queryset, its count and its order stay as they are: however many rows there are, a page takes the same
few queries more.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from django.contrib import admin
from django.contrib.admin.views.main import ChangeList
from django.contrib.contenttypes.models import ContentType
from django.db.models import F, Max, Value, Window
from django.db.models.functions import RowNumber
from django.http import HttpRequest
from django.template.loader import render_to_string
from django.utils.translation import gettext_lazy as _

from massmail.admin.host_filters import (
    AccountFilter,
    BouncedFilter,
    LastMailingFilter,
    RepliedFilter,
    SubscribedFilter,
    VipFilter,
)
from massmail.admin.listed import UNREAD
from massmail.admin.owned import VIEW_ALL
from massmail.models import Delivery, Recipient, Suppression
from massmail.recipient_types import RecipientType, find_type

if TYPE_CHECKING:
    Base = admin.ModelAdmin[Any]
else:
    Base = object


COLUMNS = ("massmail_vip", "massmail_subscribed", "massmail_last_mailing", "massmail_bounced", "massmail_replied")
FILTERS = (VipFilter, SubscribedFilter, LastMailingFilter, BouncedFilter, RepliedFilter, AccountFilter)


@dataclass(frozen=True, slots=True, kw_only=True)
class LastMail:
    """The last mail a host object got, and the last times that one came back and was answered."""

    sent_at: dt.datetime | None
    mailing: str
    mailing_owner: Any
    bounced_at: dt.datetime | None
    replied_at: dt.datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """What the columns say of one host object."""

    vip: bool = False
    subscribed: bool = True
    last: LastMail | None = None


def facts(recipient_type: RecipientType, keys: Iterable[Any]) -> dict[Any, Facts]:
    """Return the facts about the host objects with the primary `keys`, in four queries whatever their number."""
    ids = {key: recipient_type.to_object_id(key) for key in keys}
    content_type = ContentType.objects.get_for_model(recipient_type.model_class)
    known = Recipient.objects.filter(content_type=content_type, object_id__in=ids.values())
    standing = {object_id: (vip, subscribed) for object_id, vip, subscribed in known.values_list(*_STANDING)}
    refused = _refused(recipient_type, list(ids))
    last = _last_mails(content_type, list(ids.values()))
    found = {}
    for key, object_id in ids.items():
        vip, subscribed = standing.get(object_id, (False, True))
        found[key] = Facts(vip=vip, subscribed=subscribed and key not in refused, last=last.get(object_id))
    return found


_STANDING = ("object_id", "vip", "subscribed")


def _refused(recipient_type: RecipientType, keys: Sequence[Any]) -> set[Any]:
    """Return which of `keys` the host's own flag or the suppression of their address says no to."""
    flag = F(recipient_type.subscribed) if recipient_type.subscribed else Value(True)
    rows = list(
        recipient_type.model_class._default_manager.filter(pk__in=keys)
        .order_by()
        .values_list("pk", F(recipient_type.email), flag)
    )
    addresses = {pk: (text or "").strip().lower() for pk, text, _flag in rows}
    suppressed = set(Suppression.objects.filter(address__in=set(addresses.values())).values_list("address", flat=True))
    return {pk for pk, _text, flag in rows if flag is False or addresses[pk] in suppressed}


def _last_mails(content_type: ContentType, object_ids: Sequence[str]) -> dict[str, LastMail]:
    sent = Delivery.objects.filter(object_id__in=object_ids, mailing__content_type=content_type, sent_at__isnull=False)
    ranked = sent.annotate(
        mm_rank=Window(RowNumber(), partition_by="object_id", order_by="-sent_at"),
        mm_bounced=Window(Max("bounced_at"), partition_by="object_id"),
        mm_replied=Window(Max("replied_at"), partition_by="object_id"),
    )
    rows = ranked.filter(mm_rank=1).values_list(
        "object_id", "sent_at", "mailing__name", "mailing__owner_id", "mm_bounced", "mm_replied"
    )
    return {
        object_id: LastMail(
            sent_at=sent_at, mailing=name, mailing_owner=owner, bounced_at=bounced_at, replied_at=replied_at
        )
        for object_id, sent_at, name, owner, bounced_at, replied_at in rows
    }


def _column(title: Any, show: Callable[[Facts, Any], Any], **display: Any) -> Any:
    """Return a column for `list_display` (or `readonly_fields`) that shows what `show(facts, object)` returns."""

    @admin.display(description=title, **display)
    def column(self: Any, obj: Any) -> Any:
        known = getattr(obj, "mm_facts", None)
        if known is None:  # shown elsewhere than on a page of the list
            recipient_type = find_type(self.model)
            known = facts(recipient_type, [obj.pk])[obj.pk] if recipient_type else Facts()
        return show(known, obj)

    return column


def _vip(known: Facts, _obj: Any) -> str | None:
    return render_to_string("massmail/admin/vip.html") if known.vip else None


def _last_mailing(known: Facts, obj: Any) -> str | None:
    if known.last is None:
        return None
    named = getattr(obj, "mm_may_read", False)
    return render_to_string("massmail/admin/last_mailing.html", {"last": known.last, "named": named})


class HostColumns(Base):
    """The part of `MassmailAdminMixin` that adds columns and filters to the host's list.

    They come last. A host that wants them elsewhere names them in its own `list_display` and `list_filter`; an empty
    `massmail_columns` or `massmail_filters` adds none. Those who may not see mailings do not see them either.
    """

    massmail_columns: Sequence[str] = COLUMNS[:3]
    massmail_filters: Sequence[Any] = FILTERS

    massmail_vip = _column(_("VIP"), _vip, empty_value="")
    # The soft hyphen lets the heading be as narrow as what stands beneath it.
    massmail_subscribed = _column(_("sub\u00adscribed"), lambda known, _obj: known.subscribed, boolean=True)
    massmail_last_mailing = _column(_("last mailing"), _last_mailing)
    massmail_bounced = _column(_("bounced"), lambda known, _obj: known.last and known.last.bounced_at)
    massmail_replied = _column(_("replied"), lambda known, _obj: known.last and known.last.replied_at)

    def has_massmail_view_permission(self, request: HttpRequest) -> bool:
        return request.user.has_perm("massmail.view_mailing") or request.user.has_perm(VIEW_ALL)

    def get_list_display(self, request: HttpRequest) -> Any:
        return self._massmail_put(request, super().get_list_display(request), self.massmail_columns, COLUMNS)

    def get_list_filter(self, request: HttpRequest) -> Any:
        return self._massmail_put(request, super().get_list_filter(request), self.massmail_filters, FILTERS)

    def _massmail_put(self, request: HttpRequest, theirs: Any, ours: Sequence[Any], known: Sequence[Any]) -> list[Any]:
        """Return the host's columns or filters with `ours`, but none of the `known` ones to who may not see them."""
        if find_type(self.model) is None or not self.has_massmail_view_permission(request):
            return [each for each in theirs if each not in known]
        return [*theirs, *(each for each in ours if each not in theirs)]

    def get_changelist_instance(self, request: HttpRequest) -> ChangeList:
        """Note on each row of the page what its columns say. A POST from the action menu shows no rows."""
        changelist = super().get_changelist_instance(request)
        recipient_type = find_type(self.model)
        shown = not set(COLUMNS).isdisjoint(each for each in changelist.list_display if isinstance(each, str))
        drawn = (request.method != "POST" or "_save" in request.POST) and not hasattr(request, UNREAD)
        if recipient_type and shown and drawn:
            # The queryset keeps the rows it has fetched, so these are the ones that the page shows.
            known = facts(recipient_type, [row.pk for row in changelist.result_list])
            everything, user = request.user.has_perm(VIEW_ALL), request.user.pk
            for row in changelist.result_list:
                row.mm_facts = known[row.pk]
                row.mm_may_read = everything or bool(row.mm_facts.last and row.mm_facts.last.mailing_owner == user)
        return changelist
