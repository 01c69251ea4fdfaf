"""Lists of a mailing's recipients: the host's objects, filters, search, and pages without counting a million."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlencode

from django.contrib import admin
from django.contrib.admin.views.main import ChangeList
from django.core.paginator import Paginator
from django.db.models import Q, QuerySet
from django.http import HttpRequest
from django.utils import timezone
from django.utils.functional import cached_property
from django.utils.translation import gettext_lazy as _

from massmail.admin.notices import notice_of, without_repeating
from massmail.admin.owned import VIEW_ALL
from massmail.admin.places import change_url, link_to
from massmail.admin.recipient_notes import add_notes
from massmail.choices import OF_RECIPIENT, BounceReason, DeliveryStatus, Exclusion, Failure
from massmail.engine.blanks import Blanks
from massmail.engine.checkup.domains import at_deaf_domains
from massmail.engine.holds import explain_many
from massmail.models import Delivery, EmailAccount, Mailing, Recipient
from massmail.outcomes import progress
from massmail.outcomes.standing import with_object_id
from massmail.recipient_types import RecipientType, find_type

#: Rows of a search or filter that are counted; who has more to look through narrows it down, or exports it.
COUNTED = 10_000

#: Words of a search that are looked for; databases refuse conditions without end.
MOST_WORDS = 10

REASONS = dict(BounceReason.choices) | dict(Exclusion.choices) | dict(Failure.choices)
REASONS |= {reason.value: reason.label for reason in OF_RECIPIENT}

#: What may have become known of a delivery afterwards, by the name of its time.
AFTERWARDS = {
    "replied_at": _("Replied"),
    "auto_replied_at": _("Answered automatically"),
    "bounced_at": _("Bounced"),
    "unsubscribed_at": _("Unsubscribed"),
    "complained_at": _("Complained"),
}


def type_of_mailing(mailing: Mailing) -> RecipientType | None:
    """Return the type of the mailing's recipients, or None where the host registers it no more."""
    model = mailing.content_type.model_class()
    return find_type(model) if model else None


def add_people(rows: list[Any]) -> None:
    """Note on each row its host object as `person`, None where it is gone: one query for each type among them."""
    by_type: dict[RecipientType, list[Any]] = {}
    for row in rows:
        row.person = None
        if recipient_type := type_of_mailing(row.mailing):
            by_type.setdefault(recipient_type, []).append(row)
    for recipient_type, its_rows in by_type.items():
        found = recipient_type.fetch({row.object_id for row in its_rows})
        for row in its_rows:
            row.person = found.get(row.object_id)


def matching(mailing: Mailing, term: str) -> Q:
    """Return the condition for recipients of `mailing` with all words of `term` in the address or in what the host's
    type is searched by.
    """
    words = term.replace("\x00", "").split()[:MOST_WORDS]
    in_address = Q(*(Q(address__icontains=word) for word in words))
    recipient_type = type_of_mailing(mailing)
    if recipient_type is None or not recipient_type.search:
        return in_address
    people = recipient_type.model_class._default_manager.all()
    for word in words:
        found = (Q(**{f"{name.lstrip('^=@')}__icontains": word}) for name in recipient_type.search)
        people = people.filter(Q(*found, _connector=Q.OR))
    return in_address | Q(object_id__in=with_object_id(people).values("mm_object_id"))


class RecipientChangeList(ChangeList):
    """Rows that name a host object, with that object, and with why they have not been sent yet."""

    def get_results(self, request: HttpRequest) -> None:
        super().get_results(request)
        rows: list[Any] = list(self.result_list)
        add_people(rows)
        add_notes(rows)
        back = f"?{urlencode({'_changelist_filters': request.GET.urlencode()})}" if request.GET else ""
        for row in rows:
            row.person_url = link_to(request, self.model_admin.admin_site, row.person)
            row.url = change_url(self.model_admin.admin_site, row) + back
            row.mailing_url = change_url(self.model_admin.admin_site, row.mailing)
            row.mailing_owner = row.mailing.owner if request.user.has_perm(VIEW_ALL) else None
        if self.model is Delivery:
            self._explain(request, rows)
        self.result_list = rows

    def _explain(self, request: HttpRequest, rows: list[Any]) -> None:
        """Note on each row that is to come why it has not been sent, with a remedy that helps several at the first."""
        waiting = [row for row in rows if row.status in (DeliveryStatus.QUEUED, DeliveryStatus.SENDING)]
        found = explain_many(waiting, now=timezone.now())
        held = [(row, hold) for row in waiting if (hold := found[row.pk])]
        for row in rows:
            row.hold = None
        notices = without_repeating(notice_of(request, self.model_admin.admin_site, hold) for _row, hold in held)
        for (row, _hold), notice in zip(held, notices, strict=True):
            row.hold = notice


class BoundedPaginator(Paginator):
    """Pages that need no count: of what is known from the tallies, or of the first `COUNTED` rows."""

    def __init__(self, *args: Any, known: int | None = None, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.known = known

    @cached_property
    def count(self) -> int:
        if self.known is not None:
            return self.known
        return self.object_list.order_by()[:COUNTED].count()  # type: ignore[attr-defined]

    @property
    def cut(self) -> bool:
        """Whether there are more rows than the pages show."""
        return self.known is None and self.count >= COUNTED


def known_count(mailing: Mailing, status: str | None) -> int | None:
    """Return how many deliveries of `mailing` are in `status` (None: in any), without counting them."""
    sums = progress([mailing], now=timezone.now())[mailing.pk]
    match status:
        case None:
            return sums.total
        case DeliveryStatus.QUEUED:
            under_way = Delivery.objects.filter(mailing=mailing, status=DeliveryStatus.SENDING).count()
            return max(0, sums.to_go - under_way)
        case DeliveryStatus.SENT | DeliveryStatus.FAILED | DeliveryStatus.SKIPPED | DeliveryStatus.UNKNOWN:
            return int(getattr(sums, status))
    return None


class ReasonFilter(admin.SimpleListFilter):
    """The reasons that there are in the mailing: of those not sent, which are few."""

    title = _("reason")
    parameter_name = "reason"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, Any]]:
        mailing = model_admin.mailing(request)
        if mailing is None:
            return list(REASONS.items())
        troubled = [DeliveryStatus.FAILED, DeliveryStatus.SKIPPED, DeliveryStatus.UNKNOWN]
        rows = Delivery.objects.filter(mailing=mailing, status__in=troubled).order_by()
        return sorted((name, REASONS.get(name, name)) for name in rows.values_list("reason", flat=True).distinct())

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        return queryset.filter(reason=self.value()) if self.value() else queryset


class VipFilter(admin.SimpleListFilter):
    """VIPs and the others among the recipients of a mailing."""

    title = _("VIP")
    parameter_name = "vip"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, Any]]:
        self.mailing = model_admin.mailing(request)
        return [("yes", _("Yes")), ("no", _("No"))] if self.mailing else []

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        if self.mailing is None or self.value() not in ("yes", "no"):
            return queryset
        vips = Recipient.objects.filter(content_type=self.mailing.content_type_id, vip=True).values("object_id")
        chosen = Q(object_id__in=vips)
        return queryset.filter(chosen if self.value() == "yes" else ~chosen)


class AccountFilter(admin.SimpleListFilter):
    """The accounts of the mailing's owner, and "none yet"."""

    title = _("account")
    parameter_name = "account"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, Any]]:
        mailing = model_admin.mailing(request)
        if mailing is None:
            return []
        accounts = EmailAccount.objects.filter(owner=mailing.owner_id).values_list("pk", "name")
        return [*((str(pk), name) for pk, name in accounts), ("none", _("none yet"))]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        if self.value() == "none":
            return queryset.filter(account__isnull=True)
        known = {value for value, _label in self.lookup_choices}
        return queryset.filter(account=self.value()) if self.value() in known else queryset


class LackingFilter(admin.SimpleListFilter):
    """Those who have no value for a variable that the message needs."""

    title = _("missing value")
    parameter_name = "lacking"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, Any]]:
        mailing = model_admin.mailing(request)
        self.blanks = Blanks(mailing) if mailing else None
        if self.blanks is None or self.blanks.recipient_type is None:
            return []
        return [(name, self.blanks.recipient_type.variables[name]) for name in self.blanks.needed]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        name = self.value()
        if self.blanks is None or name not in self.blanks.needed:
            return queryset
        return queryset.filter(pk__in=self.blanks.rows(name).values("pk"))


class DomainFilter(admin.SimpleListFilter):
    """Those at domains that are known to take no mail."""

    title = _("domain")
    parameter_name = "domain"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, Any]]:
        return [("deaf", _("Takes no mail"))] if model_admin.mailing(request) else []

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        return at_deaf_domains(queryset) if self.value() == "deaf" else queryset


class AfterwardsFilter(admin.SimpleListFilter):
    title = _("what came back")
    parameter_name = "afterwards"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, Any]]:
        return list(AFTERWARDS.items())

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        return queryset.filter(**{f"{self.value()}__isnull": False}) if self.value() in AFTERWARDS else queryset
