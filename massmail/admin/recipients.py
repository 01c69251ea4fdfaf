"""Who gets a mailing, who was left out, and which addresses get no more mail at all."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.contrib.admin.views.main import ChangeList
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.template.loader import render_to_string
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from massmail.admin.forms import SuppressionForm
from massmail.admin.owned import VIEW_ALL, ReadOnlyModelAdmin
from massmail.admin.places import change_url, link_to
from massmail.choices import Exclusion, Failure, SuppressionReason
from massmail.exceptions import MassmailConfigurationError
from massmail.models import Mailing, Suppression
from massmail.outcomes import lift, suppress
from massmail.recipient_types import RecipientType, type_for

REASONS = dict(Exclusion.choices) | dict(Failure.choices)


def _type_of(mailing: Mailing) -> RecipientType | None:
    model = mailing.content_type.model_class()
    try:
        return type_for(model) if model else None
    except MassmailConfigurationError:
        return None


class RecipientChangeList(ChangeList):
    """Rows that name a host object, with that object, in one query for each type on the page."""

    def get_results(self, request: HttpRequest) -> None:
        super().get_results(request)
        rows: list[Any] = list(self.result_list)
        by_type: dict[RecipientType, list[Any]] = {}
        for row in rows:
            row.person, row.person_url = None, ""
            if recipient_type := _type_of(row.mailing):
                by_type.setdefault(recipient_type, []).append(row)
        for recipient_type, its_rows in by_type.items():
            found = recipient_type.fetch(row.object_id for row in its_rows)
            for row in its_rows:
                row.person = found.get(row.object_id)
                row.person_url = link_to(request, self.model_admin.admin_site, row.person)
        self.result_list = rows


@admin.display(description=gettext_lazy("recipient"))
def person(row: Any) -> str:
    return render_to_string("massmail/admin/person.html", {"row": row})


@admin.display(description=gettext_lazy("reason"), ordering="reason")
def reason(row: Any) -> str:
    return str(REASONS.get(row.reason, row.reason))


class OfMailingAdmin(ReadOnlyModelAdmin):
    """A list that one comes to from a mailing."""

    list_select_related = ["mailing__content_type", "mailing__owner"]
    search_fields = ["address"]
    linked_lookups = ["mailing__id__exact"]
    # Counting a million rows to say "of a million" costs more than it tells.
    show_full_result_count = False
    #: What the list is called with the name of the mailing.
    heading: Any = "%(mailing)s"

    class Media:
        css = {"all": ["massmail/admin.css"]}

    def get_changelist(self, request: HttpRequest, **kwargs: Any) -> type[ChangeList]:
        return RecipientChangeList

    def changelist_view(self, request: HttpRequest, extra_context: Any = None) -> HttpResponse:
        context = {}
        if mailing := self._mailing(request):
            context = {
                "title": self.heading % {"mailing": mailing},
                "mailing": mailing,
                "mailing_url": change_url(self.admin_site, mailing),
            }
        return super().changelist_view(request, {**context, **(extra_context or {})})

    def get_list_display(self, request: HttpRequest) -> Any:
        """Leave out the column of mailings where the list is of one."""
        columns = super().get_list_display(request)
        return [name for name in columns if name != "mailing"] if self._mailing(request) else columns

    def _mailing(self, request: HttpRequest) -> Mailing | None:
        """Return the mailing that the list is filtered by, if the user may see it."""
        key, user = request.GET.get("mailing__id__exact", ""), request.user
        if not (key.isascii() and key.isdigit()):
            return None
        mailing = Mailing.objects.filter(pk=key).first()
        return mailing if mailing and (user.has_perm(VIEW_ALL) or mailing.owner == user) else None


class DeliveryAdmin(OfMailingAdmin):
    heading = gettext_lazy("Recipients of “%(mailing)s”")
    list_display = ["address", person, "status", reason, "account", "sent_at", "mailing"]
    list_select_related = [*OfMailingAdmin.list_select_related, "account"]
    list_filter = ["status"]
    fieldsets = [
        (None, {"fields": ["mailing", "address", "account", "status", "reason", "reply", "attempts"]}),
        (gettext_lazy("When"), {"fields": ["not_before", "sending_at", "sent_at", "unsubscribed_at"]}),
        (gettext_lazy("What"), {"fields": ["message_id", "values"]}),
    ]


class LeftOutAdmin(OfMailingAdmin):
    heading = gettext_lazy("Left out of “%(mailing)s”")
    list_display = ["address", person, reason, "mailing"]
    list_display_links = None
    list_filter = ["reason"]
    fieldsets = [(None, {"fields": ["mailing", "address", "object_id", "reason"]})]


class SuppressionAdmin(admin.ModelAdmin):
    """The list of addresses that get no more mail. Administrators add to it and lift from it; every lift is logged."""

    form = SuppressionForm
    list_display = ["address", "reason", "created", "source"]
    list_filter = ["reason"]
    search_fields = ["address"]
    fields = ["address", "source"]
    show_full_result_count = False

    def has_add_permission(self, request: HttpRequest) -> bool:
        return request.user.is_superuser

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return request.user.is_superuser

    def save_model(self, request: HttpRequest, obj: Suppression, form: Any, change: bool) -> None:
        source = obj.source or _("Entered by %(user)s") % {"user": request.user}
        suppress(obj.address, SuppressionReason.MANUAL, source=source)
        obj.pk = Suppression.objects.get(address=obj.address).pk

    def delete_model(self, request: HttpRequest, obj: Suppression) -> None:
        """Lift the suppression: from the next mailing on, the address gets mail again."""
        lift(obj, by=request.user)

    def delete_queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> None:
        for suppression in queryset:
            self.delete_model(request, suppression)
