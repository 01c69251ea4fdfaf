"""The list of mailings and the page of one: what, to whom, where it stands, and the buttons that move it."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from django.contrib import admin, messages
from django.contrib.admin.utils import unquote
from django.contrib.admin.views.main import ChangeList
from django.contrib.contenttypes.models import ContentType
from django.core.exceptions import PermissionDenied
from django.db.models import QuerySet
from django.forms import Script
from django.http import HttpRequest, HttpResponse, HttpResponseNotAllowed, HttpResponseRedirect, JsonResponse
from django.template.loader import render_to_string
from django.urls import path
from django.utils import timezone
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from massmail.admin import previews
from massmail.admin.forms import MailingForm
from massmail.admin.mailing_page import page_context
from massmail.admin.owned import OwnedModelAdmin
from massmail.admin.places import add_url, change_url, lists_of_recipients, page_url
from massmail.admin.standing import standings
from massmail.choices import MailingStatus
from massmail.engine import lifecycle
from massmail.exceptions import CompositionError, LifecycleError
from massmail.models import Delivery, Mailing, Message
from massmail.recipient_types import recipient_types

#: More than a page of the list shows.
POLLED_AT_ONCE = 200

MOVES: dict[str, Callable[..., Mailing]] = {
    "start": lifecycle.start,
    "pause": lifecycle.pause,
    "resume": lifecycle.resume,
    "cancel": lifecycle.cancel,
}


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
        for mailing in mailings:
            mailing.standing = known[mailing.pk]
        self.result_list = mailings


class StatusFilter(admin.SimpleListFilter):
    title = gettext_lazy("state")
    parameter_name = "status"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[Any, Any]]:
        """Offer every state but the one that nothing brings about yet."""
        return [choice for choice in MailingStatus.choices if choice[0] != MailingStatus.MERGED]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        return queryset.filter(status=self.value()) if self.value() else queryset


class RecipientTypeFilter(admin.SimpleListFilter):
    title = gettext_lazy("recipient type")
    parameter_name = "type"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        metas = [recipient_type.model_class._meta for recipient_type in recipient_types()]
        return [(meta.label_lower, str(meta.verbose_name_plural)) for meta in metas]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        for recipient_type in recipient_types():
            if recipient_type.model_class._meta.label_lower == self.value():
                return queryset.filter(content_type=ContentType.objects.get_for_model(recipient_type.model_class))
        return queryset


@admin.display(description=gettext_lazy("mailing"), ordering="name")
def title(mailing: Mailing) -> str:
    return render_to_string("massmail/admin/title.html", {"mailing": mailing})


@admin.display(description=gettext_lazy("recipients"), ordering="total")
def recipients(mailing: Mailing) -> str:
    model = mailing.content_type.model_class()
    kind = model._meta.verbose_name_plural if model else mailing.content_type
    return render_to_string("massmail/admin/recipients.html", {"mailing": mailing, "kind": kind})


@admin.display(description=gettext_lazy("state"), ordering="status")
def state(mailing: Any) -> str:
    return render_to_string("massmail/admin/state.html", {"mailing": mailing, "standing": mailing.standing})


@admin.display(description=gettext_lazy("sent today"))
def sent_today(mailing: Any) -> str:
    return render_to_string("massmail/admin/sent_today.html", {"mailing": mailing})


@admin.display(description=gettext_lazy("accounts"))
def accounts(mailing: Any) -> str:
    return render_to_string("massmail/admin/crew.html", {"crew": mailing.standing.crew})


class MailingAdmin(OwnedModelAdmin):
    form = MailingForm
    list_display = [title, state, sent_today, recipients, accounts]
    list_filter = [StatusFilter, RecipientTypeFilter]
    list_per_page = 50
    search_fields = ["name", "message__subject"]
    fieldsets = [(None, {"fields": ["name", "message", "start_at"]})]

    class Media:
        css = {"all": ["massmail/admin.css"]}
        js = [Script("massmail/progress.js", defer=True)]

    # What is allowed ---------------------------------------------------------------------------------------------

    def has_add_permission(self, request: HttpRequest) -> bool:
        """Mailings are made from recipients, in the host's lists, and not on an empty form."""
        return False

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> Any:
        started = [] if obj is None or obj.status == MailingStatus.DRAFT else ["message", "start_at"]
        return [*super().get_readonly_fields(request, obj), *started]

    def get_fieldsets(self, request: HttpRequest, obj: Any = None) -> Any:
        """Say why the message of a started mailing can't be changed."""
        first, *others = super().get_fieldsets(request, obj)
        if obj is None or obj.status == MailingStatus.DRAFT:
            return [first, *others]
        title, options = first
        return [(title, {**options, "description": _("The message was frozen when the mailing was started.")}), *others]

    # Pages -------------------------------------------------------------------------------------------------------

    def get_changelist(self, request: HttpRequest, **kwargs: Any) -> type[ChangeList]:
        return MailingChangeList

    def get_urls(self) -> list[Any]:
        def wrap(view: Callable[..., HttpResponse]) -> Any:
            return self.admin_site.admin_view(view)

        moves = [
            path(f"<path:object_id>/{move}/", wrap(self.move_view), {"move": move}, name=f"massmail_mailing_{move}")
            for move in MOVES
        ]
        return [
            path("progress/", wrap(self.progress_view), name="massmail_mailing_progress"),
            path("<path:object_id>/preview/", wrap(self.preview_view), name="massmail_mailing_preview"),
            *moves,
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
        if obj is not None:
            movable = self.has_change_permission(request, obj)
            context |= page_context(request, self.admin_site, obj, movable=movable)
        return super().render_change_form(request, context, add, change, form_url, obj)

    # Views -------------------------------------------------------------------------------------------------------

    def move_view(self, request: HttpRequest, object_id: str, move: str) -> HttpResponse:
        """Start, pause, resume or cancel a mailing: by POST, and only by those who may change it."""
        if request.method != "POST":
            return HttpResponseNotAllowed(["POST"])
        mailing = self.get_object(request, unquote(object_id))
        if not self.has_change_permission(request, mailing):
            raise PermissionDenied
        try:
            MOVES[move](mailing, by=request.user)
        except LifecycleError as error:
            self.message_user(request, str(error), messages.ERROR)
        else:
            self.message_user(request, _moved(move) % {"mailing": mailing}, messages.SUCCESS)
        return HttpResponseRedirect(change_url(self.admin_site, mailing))

    def preview_view(self, request: HttpRequest, object_id: str) -> HttpResponse:
        mailing = self.get_object(request, unquote(object_id))
        if not self.has_view_permission(request, mailing):
            raise PermissionDenied
        try:
            return previews.shown(request, previews.mailing_preview(mailing))
        except CompositionError as error:
            return previews.failed(error)

    def progress_view(self, request: HttpRequest) -> JsonResponse:
        """Return where the mailings `?id=…&id=…` stand, those of them that the user may see."""
        if not self.has_view_permission(request):
            raise PermissionDenied
        ids = [int(text) for text in request.GET.getlist("id")[:POLLED_AT_ONCE] if re.fullmatch("[0-9]{1,18}", text)]
        mailings = list(self.get_queryset(request).filter(pk__in=ids))
        known = standings(mailings, now=timezone.now())
        return JsonResponse({"mailings": {str(pk): standing.as_json() for pk, standing in known.items()}})

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


def _moved(move: str) -> str:
    return {
        "start": _("The mailing “%(mailing)s” is started."),
        "pause": _("The mailing “%(mailing)s” is paused."),
        "resume": _("The mailing “%(mailing)s” goes on."),
        "cancel": _("The mailing “%(mailing)s” is cancelled."),
    }[move]
