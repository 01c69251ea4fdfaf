"""The list of recipients of whom nobody knows how it ended: they count as sent, or are sent to again."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.contrib import admin, messages
from django.contrib.admin import helpers
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy, ngettext

from massmail.choices import DeliveryStatus
from massmail.engine import operations

if TYPE_CHECKING:
    from massmail.admin.owned import OwnedModelAdmin

    Base = OwnedModelAdmin
else:
    Base = object


class ResolvingMixin(Base):
    """Actions for the list of deliveries, offered where it shows the unknown ones, to those whose they are."""

    def __init__(self, model: type[Any], admin_site: admin.AdminSite) -> None:
        super().__init__(model, admin_site)
        self.actions = [*(self.actions or ()), "treat_as_sent", "send_again"]

    def get_actions(self, request: HttpRequest) -> Any:
        """Offer them where the list is of the unknown ones: elsewhere there is nothing that they could do."""
        found = super().get_actions(request)
        if request.GET.get("status__exact") == DeliveryStatus.UNKNOWN:
            return found
        return {name: each for name, each in found.items() if name not in ("treat_as_sent", "send_again")}

    def has_resolve_permission(self, request: HttpRequest) -> bool:
        return request.user.has_perm("massmail.change_mailing") and self._has_own(request)

    @admin.action(description=gettext_lazy("Treat as sent"), permissions=["resolve"])
    def treat_as_sent(self, request: HttpRequest, queryset: QuerySet[Any]) -> None:
        count = operations.treat_as_sent(self._own(request, queryset), by=request.user)
        text = ngettext("%(count)d recipient counts as sent to.", "%(count)d recipients count as sent to.", count)
        self._tell(request, text, count)

    @admin.action(description=gettext_lazy("Send again…"), permissions=["resolve"])
    def send_again(self, request: HttpRequest, queryset: QuerySet[Any]) -> HttpResponse | None:
        """Ask first: whoever has the mail already gets it twice."""
        own = self._own(request, queryset)
        possible = own.filter(mailing__status__in=operations.REVIVABLE)
        number, over = possible.count(), own.exclude(mailing__status__in=operations.REVIVABLE).count()
        if number and "confirmed" not in request.POST:
            return self._ask(request, queryset, number=number, over=over)
        count = operations.send_again(own, by=request.user)
        text = ngettext("%(count)d recipient is queued again.", "%(count)d recipients are queued again.", count)
        self._tell(request, text, count)
        if over:
            text = _("Mailings that were cancelled or merged send no more. Left as they are: %(over)d.")
            self.message_user(request, text % {"over": over}, messages.WARNING)
        return None

    def _ask(self, request: HttpRequest, queryset: QuerySet[Any], *, number: int, over: int) -> HttpResponse:
        request.current_app = self.admin_site.name
        everywhere = request.POST.get("select_across") == "1"
        context = {
            **self.admin_site.each_context(request),
            "opts": self.opts,
            "title": _("Send again"),
            "media": self.media,
            "number": number,
            "over": over,
            # The keys of a page, not of a million: "select all matching" is asked for anew by the same address.
            "selected": request.POST.getlist(helpers.ACTION_CHECKBOX_NAME),
            "everywhere": everywhere,
            "checkbox": helpers.ACTION_CHECKBOX_NAME,
        }
        return TemplateResponse(request, "massmail/admin/operations_send_again.html", context)

    def _own(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        """Return the unknown ones that are the user's own to decide on."""
        unknown = queryset.filter(status=DeliveryStatus.UNKNOWN)
        return unknown if request.user.is_superuser else unknown.filter(mailing__owner=request.user)

    def _tell(self, request: HttpRequest, text: str, count: int) -> None:
        if count:
            self.message_user(request, text % {"count": count}, messages.SUCCESS)
        else:
            none = _("Nothing to do: none of the selected recipients is unknown, and yours to decide on.")
            self.message_user(request, none, messages.WARNING)
