"""The list of mailings and the page of one: what, to whom, where it stands, and the buttons that move it."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from django.contrib import admin, messages
from django.contrib.admin.options import ShowFacets
from django.contrib.admin.utils import unquote
from django.contrib.admin.views.main import ChangeList
from django.contrib.contenttypes.models import ContentType
from django.core.exceptions import PermissionDenied
from django.db.models import QuerySet
from django.forms import Script
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect, JsonResponse
from django.template.loader import render_to_string
from django.urls import path
from django.utils import timezone
from django.utils.text import capfirst
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from massmail.admin import previews
from massmail.admin.create_mailing import CreateMailingMixin
from massmail.admin.forms import MailingForm
from massmail.admin.mailing_page import kind_of, page_context
from massmail.admin.operating import OperationsMixin
from massmail.admin.owned import VIEW_ALL, OwnedModelAdmin
from massmail.admin.places import add_url, lists_of_recipients, page_url
from massmail.admin.recipient_choice import chosen_recipient, find_recipient, shown_as, suggestions
from massmail.admin.standing import standings
from massmail.admin.trials import Letter, TestMailMixin
from massmail.choices import MailingStatus
from massmail.engine import lifecycle
from massmail.exceptions import CompositionError
from massmail.models import Delivery, Mailing, Message
from massmail.recipient_types import recipient_types

#: More than a page of the list shows.
POLLED_AT_ONCE = 200


class MailingChangeList(ChangeList):
    """Mailings with where they stand, for the whole page at once."""

    def apply_select_related(self, qs: QuerySet[Any]) -> QuerySet[Any]:
        """Join what the lines show, without the texts of the messages."""
        texts = ["message__content", "message__plain_text", "version__html", "version__text"]
        return qs.select_related("owner", "content_type", "message", "version").defer(*texts)

    def get_results(self, request: HttpRequest) -> None:
        super().get_results(request)
        mailings = list(self.result_list)
        known = standings(mailings, now=timezone.now())
        sees_owners = request.user.has_perm(VIEW_ALL)
        for mailing in mailings:
            mailing.standing = known[mailing.pk]
            mailing.owner_shown = mailing.owner if sees_owners else None
        self.result_list = mailings


class StatusFilter(admin.SimpleListFilter):
    title = gettext_lazy("state")
    parameter_name = "status"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[Any, Any]]:
        return list(MailingStatus.choices)

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        return queryset.filter(status=self.value()) if self.value() else queryset


class RecipientTypeFilter(admin.SimpleListFilter):
    title = gettext_lazy("recipient type")
    parameter_name = "type"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        metas = [recipient_type.model_class._meta for recipient_type in recipient_types()]
        return [(meta.label_lower, str(capfirst(meta.verbose_name_plural))) for meta in metas]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        for recipient_type in recipient_types():
            if recipient_type.model_class._meta.label_lower == self.value():
                return queryset.filter(content_type=ContentType.objects.get_for_model(recipient_type.model_class))
        return queryset


@admin.display(description=gettext_lazy("mailing"), ordering="name")
def title(mailing: Mailing) -> str:
    return render_to_string("massmail/admin/title.html", {"mailing": mailing, "kind": kind_of(mailing)})


@admin.display(description=gettext_lazy("state"), ordering="status")
def state(mailing: Any) -> str:
    return render_to_string("massmail/admin/state.html", {"mailing": mailing, "standing": mailing.standing})


@admin.display(description=gettext_lazy("progress"), ordering="expected_end")
def done(mailing: Any) -> str:
    return render_to_string("massmail/admin/progress.html", {"mailing": mailing, "standing": mailing.standing})


@admin.display(description=gettext_lazy("sent today"))
def sent_today(mailing: Any) -> str:
    return render_to_string("massmail/admin/sent_today.html", {"mailing": mailing, "standing": mailing.standing})


@admin.display(description=gettext_lazy("accounts"))
def accounts(mailing: Any) -> str:
    standing = mailing.standing
    return render_to_string("massmail/admin/crew.html", {"crew": standing.crew, "standing": standing})


class MailingAdmin(CreateMailingMixin, OperationsMixin, TestMailMixin, OwnedModelAdmin):
    form = MailingForm
    list_display = [title, state, done, sent_today, accounts]
    list_filter = [StatusFilter, RecipientTypeFilter]
    list_per_page = 50
    show_facets = ShowFacets.NEVER
    search_fields = ["name", "message__subject"]
    fieldsets = [(None, {"fields": ["name", "message", "start_at"]})]

    class Media:
        css = {"all": ["massmail/admin.css"]}
        js = [Script("massmail/progress.js", defer=True), Script("massmail/preview.js", defer=True)]

    # What is allowed ---------------------------------------------------------------------------------------------

    def has_add_permission(self, request: HttpRequest) -> bool:
        """Mailings are made from recipients, and not on an empty form; see `add_view`."""
        return False

    def get_model_perms(self, request: HttpRequest) -> dict[str, bool]:
        """Have "Add" beside the mailings on the index and in the sidebar: it leads to the page "Create mailing"."""
        return {**super().get_model_perms(request), "add": self.has_create_permission(request)}

    def add_view(self, request: HttpRequest, form_url: str = "", extra_context: Any = None) -> HttpResponse:
        if not self.has_create_permission(request):
            raise PermissionDenied
        return HttpResponseRedirect(page_url(self.admin_site, Mailing, "create"))

    def get_list_display(self, request: HttpRequest) -> Any:
        """Leave out the column of owners: they stand below the names, so that the list fits beside its filters."""
        return self.list_display

    def get_fieldsets(self, request: HttpRequest, obj: Any = None) -> Any:
        """Ask of a started mailing no more than its name: what it sends and when is settled, and stands above."""
        (title, options), *others = super().get_fieldsets(request, obj)
        settled = obj is not None and obj.status != MailingStatus.DRAFT
        fields = [name for name in options["fields"] if not settled or name not in ("message", "start_at")]
        return [(_("Rename") if settled else title, {**options, "fields": fields}), *others]

    # Pages -------------------------------------------------------------------------------------------------------

    def get_changelist(self, request: HttpRequest, **kwargs: Any) -> type[ChangeList]:
        return MailingChangeList

    def get_urls(self) -> list[Any]:
        def wrap(view: Callable[..., HttpResponse]) -> Any:
            return self.admin_site.admin_view(view)

        return [
            path("progress/", wrap(self.progress_view), name="massmail_mailing_progress"),
            path("<path:object_id>/preview/", wrap(self.preview_view), name="massmail_mailing_preview"),
            path("<path:object_id>/recipients/", wrap(self.recipients_view), name="massmail_mailing_recipients"),
            *super().get_urls(),
        ]

    def changelist_view(self, request: HttpRequest, extra_context: Any = None) -> HttpResponse:
        context = {
            "title": _("Mailings"),
            "progress_url": page_url(self.admin_site, Mailing, "progress"),
            "lists": lists_of_recipients(request, self.admin_site),
            "write_url": add_url(request, self.admin_site, Message),
        }
        return super().changelist_view(request, {**context, **(extra_context or {})})

    def render_change_form(
        self,
        request: HttpRequest,
        context: Any,
        add: bool = False,
        change: bool = False,
        form_url: str = "",
        obj: Any = None,
    ) -> HttpResponse:
        context |= {"show_save_and_continue": False}
        if obj is not None:
            context |= page_context(request, self.admin_site, obj)
            context |= self.test_context(request, obj) if obj.message or obj.version else {}
        return super().render_change_form(request, context, add, change, form_url, obj)

    def letter(self, request: HttpRequest, obj: Mailing) -> Letter:
        prepared, values = previews.mailing_parts(obj, find_recipient(obj, request.POST.get("as", "")))
        return Letter(prepared=prepared, values=values)

    # Views -------------------------------------------------------------------------------------------------------

    def preview_view(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """Return what the first recipient reads, or the one that `?as=…` finds."""
        mailing = self._viewed(request, object_id)
        try:
            return previews.shown(request, previews.mailing_preview(mailing, chosen_recipient(request, mailing)))
        except CompositionError as error:
            return previews.failed(error)

    def recipients_view(self, request: HttpRequest, object_id: str) -> JsonResponse:
        """Return some recipients that `?q=…` finds, for choosing one; with `?as=…` what that one's preview is."""
        mailing = self._viewed(request, object_id)
        if "as" in request.GET:
            return JsonResponse(shown_as(request, self.admin_site, mailing))
        return JsonResponse({"recipients": suggestions(mailing, request.GET.get("q", ""))})

    def _viewed(self, request: HttpRequest, object_id: str) -> Mailing:
        mailing: Mailing = self.get_object(request, unquote(object_id))
        if not self.has_view_permission(request, mailing):
            raise PermissionDenied
        return mailing

    def progress_view(self, request: HttpRequest) -> JsonResponse:
        """Return where the mailings `?id=…&id=…` stand, those of them that the user may see."""
        if not self.has_view_permission(request):
            raise PermissionDenied
        ids = [int(text) for text in request.GET.getlist("id")[:POLLED_AT_ONCE] if re.fullmatch("[0-9]{1,18}", text)]
        mailings = list(self.get_queryset(request).filter(pk__in=ids))
        known = standings(mailings, now=timezone.now())
        return JsonResponse({"mailings": {str(pk): standing.as_json() for pk, standing in known.items()}})

    # Saving ----------------------------------------------------------------------------------------------------------

    def response_change(self, request: HttpRequest, obj: Mailing) -> HttpResponse:
        """Stay on the page, where it goes on, and say what is next."""
        self.message_user(request, _saved(obj), messages.SUCCESS)
        # Without a place of its own the browser would keep that of the link to the form's field.
        return HttpResponseRedirect(f"{request.get_full_path()}#content-start")

    # Writing -----------------------------------------------------------------------------------------------------

    def save_model(self, request: HttpRequest, obj: Mailing, form: Any, change: bool) -> None:
        """Write the name, and the rest only as long as nobody has started the mailing in the meantime."""
        own = Mailing.objects.filter(pk=obj.pk)
        own.update(name=obj.name)
        if "message" in form.cleaned_data:
            own.filter(status=MailingStatus.DRAFT).update(message=obj.message, start_at=obj.start_at)

    def get_deleted_objects(self, objs: Iterable[Any], request: HttpRequest) -> Any:
        """Count what would go instead of listing a million rows, and say what has to stay."""
        mailings: Sequence[Mailing] = list(objs)
        forbidden = any(not self.has_delete_permission(request, mailing) for mailing in mailings)
        counts = {
            Mailing._meta.verbose_name_plural: len(mailings),
            Delivery._meta.verbose_name_plural: sum(mailing.total for mailing in mailings),
        }
        lacking = {str(Mailing._meta.verbose_name)} if forbidden else set()
        return [str(mailing) for mailing in mailings], counts, lacking, lifecycle.kept_for_the_record(mailings)

    def delete_model(self, request: HttpRequest, obj: Mailing) -> None:
        lifecycle.discard(obj)

    def delete_queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> None:
        for mailing in queryset:
            lifecycle.discard(mailing)


def _saved(mailing: Mailing) -> str:
    """Say that a mailing is saved, and what is next."""
    if mailing.status != MailingStatus.DRAFT:
        return _("The mailing is now called “%(mailing)s”.") % {"mailing": mailing}
    saved = _("The mailing “%(mailing)s” is saved.") % {"mailing": mailing}
    if mailing.message is None:
        return saved + " " + _("Choose a message next.")
    if lifecycle.obstacles(mailing, now=timezone.now()):
        return saved + " " + _("See below what is missing before it can start.")
    return saved + " " + _("Check the preview, then start.")
