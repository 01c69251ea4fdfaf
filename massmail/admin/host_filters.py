"""Filters of the host's lists about mailings: VIP, subscribed, last mailing, bounced, replied, account.

Each asks the app's own tables by the text of the host's key, so that nothing is listed by its id and nothing slows the
list down where the filter is not used.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from django.contrib import admin
from django.contrib.contenttypes.models import ContentType
from django.db import models
from django.db.models import Exists, OuterRef, Q, QuerySet
from django.db.models.functions import Cast, Lower, Trim
from django.http import HttpRequest
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from massmail.admin.owned import VIEW_ALL
from massmail.models import Delivery, EmailAccount, Recipient, Suppression
from massmail.models.mailings import LATER
from massmail.recipient_types import RecipientType, type_for


def _object_id() -> Cast:
    return Cast(OuterRef("pk"), models.CharField(max_length=64))


def standings(recipient_type: RecipientType) -> QuerySet[Recipient]:
    """Return what the app knows of the host object of the outer query."""
    content_type = ContentType.objects.get_for_model(recipient_type.model_class)
    return Recipient.objects.filter(content_type=content_type, object_id=_object_id())


def deliveries(recipient_type: RecipientType) -> QuerySet[Delivery]:
    """Return the deliveries of the host object of the outer query."""
    content_type = ContentType.objects.get_for_model(recipient_type.model_class)
    return Delivery.objects.filter(mailing__content_type=content_type, object_id=_object_id())


def opted_out(recipient_type: RecipientType) -> Q:
    """Return the condition that the host object, its address or its own flag says no."""
    address = Lower(Trim(OuterRef(recipient_type.email)))
    anywhere = Q(Exists(standings(recipient_type).filter(subscribed=False)))
    anywhere |= Q(Exists(Suppression.objects.filter(address=address)))
    return anywhere | Q(**{recipient_type.subscribed: False}) if recipient_type.subscribed else anywhere


class YesNoFilter(admin.SimpleListFilter):
    """A filter by a `condition` on the host's objects."""

    def condition(self, recipient_type: RecipientType) -> Q:
        raise NotImplementedError

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[Any, Any]]:
        return [("yes", _("Yes")), ("no", _("No"))]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        if self.value() not in ("yes", "no"):
            return queryset
        condition = self.condition(type_for(queryset.model))
        return queryset.filter(condition if self.value() == "yes" else ~condition)


class VipFilter(YesNoFilter):
    title = _("VIP")
    parameter_name = "massmail_vip"

    def condition(self, recipient_type: RecipientType) -> Q:
        return Q(Exists(standings(recipient_type).filter(vip=True)))


class SubscribedFilter(YesNoFilter):
    title = _("subscribed")
    parameter_name = "massmail_subscribed"

    def condition(self, recipient_type: RecipientType) -> Q:
        return ~opted_out(recipient_type)


class BouncedFilter(YesNoFilter):
    title = _("bounced")
    parameter_name = "massmail_bounced"

    def condition(self, recipient_type: RecipientType) -> Q:
        return Q(Exists(deliveries(recipient_type).filter(LATER, bounced_at__isnull=False)))


class RepliedFilter(YesNoFilter):
    title = _("replied")
    parameter_name = "massmail_replied"

    def condition(self, recipient_type: RecipientType) -> Q:
        return Q(Exists(deliveries(recipient_type).filter(LATER, replied_at__isnull=False)))


class LastMailingFilter(admin.SimpleListFilter):
    title = _("last mailing")
    parameter_name = "massmail_last_mailing"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[Any, Any]]:
        return [
            ("7", _("Past 7 days")),
            ("30", _("Past 30 days")),
            ("90", _("Past 90 days")),
            ("not-30", _("None in the past 30 days")),
            ("not-90", _("None in the past 90 days")),
            ("never", _("Never")),
        ]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        choice = self.value()
        if choice not in dict(self.lookup_choices):
            return queryset
        sent = deliveries(type_for(queryset.model)).filter(sent_at__isnull=False)
        if choice == "never":
            return queryset.filter(~Exists(sent))
        since = timezone.now() - timedelta(days=int(choice.removeprefix("not-")))
        recent = Exists(sent.filter(sent_at__gte=since))
        return queryset.filter(~recent if choice.startswith("not-") else recent)


class AccountFilter(admin.SimpleListFilter):
    """Those who always hear from one account: the page of the account links here. Not offered otherwise."""

    title = _("account")
    parameter_name = "massmail_account"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[Any, Any]]:
        key = self.value() or ""
        if not (key.isascii() and key.isdigit() and len(key) < 19):
            return []
        accounts = EmailAccount.objects.filter(pk=key)
        if not request.user.has_perm(VIEW_ALL):
            accounts = accounts.filter(owner=request.user.pk)
        return [(str(pk), name) for pk, name in accounts.values_list("pk", "name")]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        chosen = [int(pk) for pk, _name in self.lookup_choices if pk == self.value()]
        return queryset.filter(Exists(standings(type_for(queryset.model)).filter(account__in=chosen)))
