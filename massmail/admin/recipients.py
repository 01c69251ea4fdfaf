"""Who gets a mailing, and who was left out."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from django.contrib import admin
from django.contrib.admin.options import IncorrectLookupParameters, ShowFacets
from django.contrib.admin.utils import unquote
from django.contrib.admin.views.main import ChangeList
from django.core.exceptions import PermissionDenied
from django.core.paginator import Paginator
from django.db.models import QuerySet
from django.http import Http404, HttpRequest, HttpResponse, StreamingHttpResponse
from django.template.loader import render_to_string
from django.urls import path
from django.utils import timezone
from django.utils.text import Truncator
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from massmail.admin import previews
from massmail.admin.exports import csv_response, file_name, lines
from massmail.admin.notices import notice_of
from massmail.admin.owned import VIEW_ALL, ReadOnlyModelAdmin
from massmail.admin.places import change_url, link_to, page_url
from massmail.admin.recipient_lists import (
    AFTERWARDS,
    COUNTED,
    REASONS,
    AccountFilter,
    AfterwardsFilter,
    BoundedPaginator,
    DomainFilter,
    LackingFilter,
    ReasonFilter,
    RecipientChangeList,
    VipFilter,
    add_people,
    known_count,
    matching,
)
from massmail.admin.recipient_notes import add_notes
from massmail.admin.resolving import ResolvingMixin
from massmail.choices import DeliveryStatus
from massmail.engine.holds import explain
from massmail.engine.record import as_sent, is_on_record
from massmail.exceptions import CompositionError
from massmail.models import Delivery, Mailing, MassmailSettings
from massmail.moments import when as in_short

#: Parameters of a list that show all of a mailing or all of one status: how many that is stands in the tallies.
WHOLE = {"mailing__id__exact", "status__exact", "o", "p", "all", "e"}


@admin.display(description=gettext_lazy("recipient"))
def person(row: Any) -> str:
    return render_to_string("massmail/admin/person.html", {"row": row})


@admin.display(description=gettext_lazy("recipient"), ordering="address")
def address(row: Any) -> str:
    return render_to_string("massmail/admin/delivery_recipient.html", {"row": row})


@admin.display(description=gettext_lazy("reason"), ordering="reason")
def reason(row: Any) -> str:
    return str(REASONS.get(row.reason, row.reason))


@admin.display(description=gettext_lazy("status"))
def status(row: Any) -> str:
    words = REASONS.get(row.reason, row.reason)
    return render_to_string("massmail/admin/delivery_status.html", {"row": row, "reason": words})


@admin.display(description=gettext_lazy("mailing"))
def mailing(row: Any) -> str:
    return render_to_string("massmail/admin/row_mailing.html", {"row": row})


@admin.display(description=gettext_lazy("account"))
def account(row: Any) -> str:
    return render_to_string("massmail/admin/delivery_account.html", {"row": row})


@admin.display(description=gettext_lazy("when"), ordering="sent_at")
def when(row: Any) -> str:
    return render_to_string("massmail/admin/delivery_when.html", {"row": row})


@admin.display(description=gettext_lazy("what came back"))
def afterwards(row: Any) -> str:
    events = [(label, getattr(row, name)) for name, label in AFTERWARDS.items() if getattr(row, name)]
    return render_to_string("massmail/admin/delivery_afterwards.html", {"events": events})


def _moment(name: str) -> Callable[[Any], str]:
    """Return what a page shows of the moment in the field `name`, as all pages write moments."""

    @admin.display(description=Delivery._meta.get_field(name).verbose_name)  # type: ignore[union-attr]
    def shown(delivery: Any) -> str:
        return in_short(getattr(delivery, name))

    shown.__name__ = name  # the row's class
    return shown


#: What became when of a delivery, in the order in which it becomes.
MOMENTS = {name: _moment(name) for name in ("not_before", "sending_at", "sent_at", *AFTERWARDS)}


def _prepare(rows: list[Any]) -> None:
    """Note on rows of a file what its columns say of their recipients."""
    add_people(rows)
    add_notes(rows)


class OfMailingAdmin(ReadOnlyModelAdmin):
    """A list that one comes to from a mailing."""

    list_select_related = ["mailing__content_type", "mailing__owner"]
    search_fields = ["address"]
    linked_lookups = ["mailing__id__exact"]
    # Counting a million rows to say "of a million" costs more than it tells.
    show_full_result_count = False
    show_facets = ShowFacets.NEVER
    paginator = BoundedPaginator
    #: What the list is called with the name of the mailing, and what the list of all of them.
    heading: Any = "%(mailing)s"
    heading_of_all: Any = ""
    #: What the list of one mailing is ordered by: an index begins with the mailing and goes on with it.
    index_order: Sequence[str] = ()
    #: Headings of the file and what stands beneath them.
    columns: Sequence[tuple[Any, Callable[[Any], Any]]] = ()
    #: What the list and its file are called, behind the name of the mailing, and what its lines are.
    file_word: Any = ""
    counted_as: Any = ""
    #: What a list without lines says.
    none: Any = ""

    class Media:
        css = {"all": ["massmail/admin.css"]}

    def get_urls(self) -> list[Any]:
        name = f"massmail_{self.opts.model_name}_export"
        return [path("export/", self.admin_site.admin_view(self.export_view), name=name), *super().get_urls()]

    def get_changelist(self, request: HttpRequest, **kwargs: Any) -> type[ChangeList]:
        return RecipientChangeList

    def get_ordering(self, request: HttpRequest) -> Any:
        return self.index_order if self.mailing(request) else super().get_ordering(request)

    def get_search_results(self, request: HttpRequest, queryset: QuerySet[Any], search_term: str) -> Any:
        """Search by the host's names too, where the list is of one mailing and so of one type."""
        if (mailing := self.mailing(request)) is None or not search_term.strip():
            return super().get_search_results(request, queryset, search_term)
        return queryset.filter(matching(mailing, search_term)), False

    def changelist_view(self, request: HttpRequest, extra_context: Any = None) -> HttpResponse:
        context: dict[str, Any] = {
            "title": self.heading_of_all,
            "export_url": page_url(self.admin_site, self.model, "export"),
            "counted": COUNTED,
            "counted_as": self.counted_as,
            "none": self.none,
            "list_name": self.file_word,
        }
        if mailing := self.mailing(request):
            context |= {
                "title": self.heading % {"mailing": Truncator(mailing.name).chars(60)},
                "mailing": mailing,
                "mailing_url": change_url(self.admin_site, mailing),
            }
        return super().changelist_view(request, {**context, **(extra_context or {})})

    def get_list_display(self, request: HttpRequest) -> Any:
        """Leave out the column of mailings, which names their owners too, where the list is of one."""
        columns = self.list_display
        return [name for name in columns if name is not mailing] if self.mailing(request) else columns

    def export_view(self, request: HttpRequest) -> StreamingHttpResponse:
        """Return the rows of the list with the same address, all pages of it, as CSV."""
        if not self.has_view_permission(request):
            raise PermissionDenied
        mailing = self.mailing(request)
        if mailing is None and "mailing__id__exact" in request.GET:
            raise Http404(_("There is no such page."))
        try:
            rows = self.get_changelist_instance(request).queryset
        except IncorrectLookupParameters as error:
            raise Http404(_("There is no such page.")) from error
        columns = [(str(heading), value) for heading, value in self.columns]
        zone = MassmailSettings.load().zone
        name = file_name(mailing.name if mailing else "", str(self.file_word), day=timezone.localdate(timezone=zone))
        return csv_response(lines(rows, columns, prepare=_prepare, zone=zone), filename=name)

    def mailing(self, request: HttpRequest) -> Mailing | None:
        """Return the mailing that the list is filtered by, if the user may see it; looked up once per request."""
        if not hasattr(request, "massmail_mailing"):
            request.massmail_mailing = self._find_mailing(request)  # type: ignore[attr-defined]
        return request.massmail_mailing  # type: ignore[attr-defined]

    def _find_mailing(self, request: HttpRequest) -> Mailing | None:
        key, user = request.GET.get("mailing__id__exact", ""), request.user
        if not (key.isascii() and key.isdigit() and len(key) < 19):
            return None
        mailing = Mailing.objects.select_related("owner", "content_type").filter(pk=key).first()
        return mailing if mailing and (user.has_perm(VIEW_ALL) or mailing.owner == user) else None


class DeliveryAdmin(ResolvingMixin, OfMailingAdmin):
    heading = gettext_lazy("Recipients of “%(mailing)s”")
    heading_of_all = gettext_lazy("Recipients of all mailings")
    file_word = gettext_lazy("recipients")
    counted_as = gettext_lazy("A line is a delivery, one address: who has two addresses has two lines.")
    none = gettext_lazy("Nobody yet. Recipients are chosen when a mailing is created.")
    list_display = [address, status, account, when, afterwards, mailing]
    list_display_links = None
    list_select_related = [*OfMailingAdmin.list_select_related, "account"]
    list_filter = ["status", ReasonFilter, VipFilter, AccountFilter, AfterwardsFilter, LackingFilter, DomainFilter]
    sortable_by = [address, when]  # type: ignore[list-item]
    fieldsets = [
        (None, {"fields": ["mailing", "address", "account", "status", "reason_in_words", "reply", "postponed"]}),
        (gettext_lazy("When"), {"fields": [*MOMENTS.values()]}),  # type: ignore[list-item]
        (gettext_lazy("Message-ID and values"), {"fields": ["message_id", "values"], "classes": ["collapse"]}),
    ]
    columns = [
        (gettext_lazy("Recipient"), lambda row: row.person),
        (gettext_lazy("Address"), lambda row: row.address),
        (gettext_lazy("VIP"), lambda row: _("yes") if row.vip else ""),
        (gettext_lazy("Status"), lambda row: row.get_status_display()),
        (gettext_lazy("Reason"), lambda row: REASONS.get(row.reason, row.reason)),
        (gettext_lazy("The server's words"), lambda row: row.reply),
        (gettext_lazy("From account"), lambda row: row.account.from_email if row.account else None),
        (gettext_lazy("Why this account"), lambda row: row.why),
        (gettext_lazy("Times put off by the server"), lambda row: row.attempts),
        (gettext_lazy("Sent"), lambda row: row.sent_at),
        (gettext_lazy("Replied"), lambda row: row.replied_at),
        (gettext_lazy("Answered automatically"), lambda row: row.auto_replied_at),
        (gettext_lazy("Bounced"), lambda row: row.bounced_at),
        (gettext_lazy("Complained"), lambda row: row.complained_at),
        (gettext_lazy("Unsubscribed"), lambda row: row.unsubscribed_at),
        (gettext_lazy("Message-ID"), lambda row: row.message_id),
    ]

    def get_fieldsets(self, request: HttpRequest, obj: Any = None) -> Any:
        """Leave out what there is nothing to say of."""
        said: dict[Any, str] = {shown: name for name, shown in MOMENTS.items()}
        said |= {"reason_in_words": "reason", "postponed": "attempts"}
        sections = []
        for title, options in super().get_fieldsets(request, obj):
            fields = [each for each in options["fields"] if obj is None or getattr(obj, said.get(each, each))]
            sections += [(title, {**options, "fields": fields})] if fields else []
        return sections

    @admin.display(description=gettext_lazy("reason"))
    def reason_in_words(self, delivery: Delivery) -> str:
        return str(REASONS.get(delivery.reason, delivery.reason))

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> Any:
        return [*super().get_readonly_fields(request, obj), "reason_in_words", "postponed", *MOMENTS.values()]

    @admin.display(description=gettext_lazy("times put off by the server"))
    def postponed(self, delivery: Delivery) -> int:
        """Return how often a server asked to come back later: none, for what it took at the first attempt."""
        return delivery.attempts

    def get_list_display(self, request: HttpRequest) -> Any:
        """Leave the room of what came back to the servers' words, where the list is of those that failed."""
        columns = super().get_list_display(request)
        failed = request.GET.get("status__exact") in (DeliveryStatus.FAILED, DeliveryStatus.UNKNOWN)
        return [name for name in columns if name is not afterwards] if failed else columns

    def get_ordering(self, request: HttpRequest) -> Any:
        """By address, whose uniqueness has an index; of one status by the index that begins with it."""
        if self.mailing(request) is None:
            return super().get_ordering(request)
        return ["id"] if "status__exact" in request.GET else ["address"]

    def get_paginator(
        self,
        request: HttpRequest,
        queryset: QuerySet[Any],
        per_page: int,
        orphans: int = 0,
        allow_empty_first_page: bool = True,
    ) -> Paginator:
        mailing, known = self.mailing(request), None
        if mailing and {name for name, value in request.GET.items() if value} <= WHOLE:
            known = known_count(mailing, request.GET.get("status__exact"))
        return BoundedPaginator(queryset, per_page, orphans, allow_empty_first_page, known=known)

    def get_urls(self) -> list[Any]:
        view = self.admin_site.admin_view
        return [
            path("<path:object_id>/preview/", view(self.preview_view), name="massmail_delivery_preview"),
            path("<path:object_id>/source/", view(self.source_view), name="massmail_delivery_source"),
            *super().get_urls(),
        ]

    def render_change_form(self, request: HttpRequest, context: Any, *args: Any, **kwargs: Any) -> HttpResponse:
        if delivery := kwargs.get("obj"):
            context |= self._page(request, delivery)
        return super().render_change_form(request, context, *args, **kwargs)

    def _page(self, request: HttpRequest, delivery: Delivery) -> dict[str, Any]:
        add_people([delivery])
        waiting = delivery.status in (DeliveryStatus.QUEUED, DeliveryStatus.SENDING)
        hold = explain(delivery, now=timezone.now()) if waiting else None
        page = {
            "subtitle": delivery.address,
            "mailing": delivery.mailing,
            "mailing_url": change_url(self.admin_site, delivery.mailing),
            "person": delivery.person,  # type: ignore[attr-defined]
            "person_url": link_to(request, self.admin_site, delivery.person),  # type: ignore[attr-defined]
            "hold": notice_of(request, self.admin_site, hold) if hold else None,
            "on_record": delivery.version_id is not None and delivery.values is not None,
        }
        if is_on_record(delivery):
            page["source_url"] = page_url(self.admin_site, Delivery, "source", delivery.pk)
        try:
            page["preview_subject"] = previews.mailing_preview(delivery.mailing, delivery).subject
        except CompositionError as error:
            return {**page, "preview_error": str(error)}
        address = page_url(self.admin_site, Delivery, "preview", delivery.pk)
        return {**page, "preview_url": address, "preview_text_url": f"{address}?part=text"}

    def preview_view(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """Return what the recipient was sent, or would be sent now."""
        delivery = self.get_object(request, unquote(object_id))
        if not self.has_view_permission(request, delivery):
            raise PermissionDenied
        try:
            return previews.shown(request, previews.mailing_preview(delivery.mailing, delivery))
        except CompositionError as error:
            return previews.failed(error)

    def source_view(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """Return the mail as it was sent, with its headers: as text, or with `?as=file` for a mail program."""
        delivery = self.get_object(request, unquote(object_id))
        if not self.has_view_permission(request, delivery):
            raise PermissionDenied
        try:
            data = as_sent(delivery).data
        except CompositionError as error:
            return previews.failed(error)
        if request.GET.get("as") != "file":
            return previews.locked_up(HttpResponse(data, content_type=previews.PLAIN))
        name = f'attachment; filename="mail-{delivery.pk}.eml"'
        return HttpResponse(data, content_type="message/rfc822", headers={"Content-Disposition": name})


class LeftOutAdmin(OfMailingAdmin):
    heading = gettext_lazy("Left out of “%(mailing)s”")
    heading_of_all = gettext_lazy("Left out of all mailings")
    file_word = gettext_lazy("left out")
    counted_as = gettext_lazy("A line is an address that was left out; who has none has one line.")
    none = gettext_lazy("Nobody was left out.")
    list_display = ["address", person, reason, mailing]
    list_display_links = None
    list_filter = ["reason"]
    index_order = ["reason", "id"]
    fieldsets = [(None, {"fields": ["mailing", person, "address", "reason"]})]  # type: ignore[list-item]
    columns = [
        (gettext_lazy("Recipient"), lambda row: row.person),
        (gettext_lazy("Address"), lambda row: row.address),
        (gettext_lazy("Reason"), lambda row: row.get_reason_display()),
    ]

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> Any:
        return [*super().get_readonly_fields(request, obj), person]

    def render_change_form(self, request: HttpRequest, context: Any, *args: Any, **kwargs: Any) -> HttpResponse:
        if row := kwargs.get("obj"):
            add_people([row])
            row.person_url = link_to(request, self.admin_site, row.person)
            context |= {"title": _("Left out"), "mailing": row.mailing}
            context["mailing_url"] = change_url(self.admin_site, row.mailing)
        return super().render_change_form(request, context, *args, **kwargs)
