"""Doing what `massmail.admin.operations` allows: the pages that ask first, and the POSTs that do it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from django.contrib import admin, messages
from django.contrib.admin.utils import unquote
from django.core.exceptions import PermissionDenied
from django.db.models import QuerySet
from django.forms import Form
from django.http import HttpRequest, HttpResponse, HttpResponseNotAllowed, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import path
from django.utils import timezone
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy, ngettext

from massmail.admin.actions import report
from massmail.admin.operation_forms import DuplicateForm, ExcludeForm, MergeForm, ScheduleForm
from massmail.admin.operations import MAKING, Operation, operations_for
from massmail.admin.owned import OwnedModelAdmin
from massmail.admin.places import change_url, page_url
from massmail.audience import Creation
from massmail.choices import MailingStatus
from massmail.engine import lifecycle, operations
from massmail.engine.holds import show
from massmail.exceptions import MassmailError
from massmail.models import LeftOut, Mailing, MassmailSettings
from massmail.outcomes import progress

if TYPE_CHECKING:
    Base = OwnedModelAdmin
else:
    Base = object

#: Each copy is made by itself, and a click should not take minutes.
COPIES_AT_ONCE = 20

_MOVES: dict[str, Callable[..., Mailing]] = {
    "start": lifecycle.start,
    "pause": lifecycle.pause,
    "resume": lifecycle.resume,
    "cancel": lifecycle.cancel,
    "new-version": lifecycle.take_new_version,
}
_MAKERS: dict[str, Callable[..., Creation]] = {
    "retry": operations.retry_failed,
    "missing": operations.send_to_missing,
    "duplicate": operations.duplicate,
}
_FORMS: dict[str, type[Form]] = {"schedule": ScheduleForm, "exclude": ExcludeForm}
#: What can be asked for under the address of a mailing, and what has a page there that asks first.
NAMES = (*_MOVES, *_MAKERS, *_FORMS)
ASKING = (*_FORMS, "cancel", "new-version")


class OperationsMixin(Base):
    """The operations of mailings, for their `ModelAdmin`.

    Every POST is measured by `operations_for`, as the buttons are, and again by the engine, with the row held: two
    clicks do what one does.
    """

    def __init__(self, model: type[Any], admin_site: admin.AdminSite) -> None:
        super().__init__(model, admin_site)
        self.actions = [*(self.actions or ()), "pause_mailings", "resume_mailings", "copy_mailings", "merge_mailings"]

    def get_urls(self) -> list[Any]:
        view = self.admin_site.admin_view
        return [
            path("merge/", view(self.merge_view), name="massmail_mailing_merge"),
            path("duplicate/", view(self.copies_view), name="massmail_mailing_copies"),
            *(
                path(
                    f"<path:object_id>/{name}/",
                    view(self.operation_view),
                    {"name": name},
                    name=f"massmail_mailing_{name}",
                )
                for name in NAMES
            ),
            *super().get_urls(),
        ]

    # One mailing -----------------------------------------------------------------------------------------------------

    def operation_view(self, request: HttpRequest, object_id: str, name: str) -> HttpResponse:
        """Do the operation `name`: by POST, after its page where it asks first, for those whose mailing it is."""
        asks = name in ASKING
        if request.method != "POST" and not (asks and request.method in ("GET", "HEAD")):
            return HttpResponseNotAllowed(["GET", "POST"] if asks else ["POST"])
        mailing = self.get_object(request, unquote(object_id))
        known = {each.name: each for each in operations_for(mailing, request, self.admin_site)}
        if name not in known:
            raise PermissionDenied
        operation = known[name]
        if not operation.enabled:
            self.message_user(request, operation.why_not, messages.ERROR)
            return self._back(mailing)
        return self._asked(request, mailing, operation) if asks else self._do(request, mailing, operation)

    def _asked(self, request: HttpRequest, mailing: Mailing, operation: Operation) -> HttpResponse:
        """Show the page that asks, or do what it asked for."""
        form = None
        if operation.name in _FORMS:
            form = _FORMS[operation.name](request.POST or None, mailing=mailing)  # type: ignore[call-arg]
        if request.method == "POST" and (form is None or form.is_valid()):
            return self._do(request, mailing, operation, **(form.cleaned_data if form else {}))
        sums = progress([mailing], now=timezone.now())[mailing.pk]
        return self._page(
            request, "operation", operation.label, mailing=mailing, operation=operation, form=form, progress=sums
        )

    def _do(self, request: HttpRequest, mailing: Mailing, operation: Operation, **options: Any) -> HttpResponse:
        name, target = operation.name, mailing
        try:
            if name in _MOVES:
                text = _done(name, _MOVES[name](mailing, by=request.user))
            elif name in MAKING:
                made = _MAKERS[name](mailing, by=request.user, after=_number(request.POST.get("after")))
                target, text = made.mailing, report(made, page_url(self.admin_site, LeftOut, "changelist"))
            elif name == "schedule":
                text = _done(name, lifecycle.schedule(mailing, by=request.user, **options))
            else:
                text = _excluded(operations.exclude_received(mailing, by=request.user, **options))
        except MassmailError as error:
            self.message_user(request, str(error), messages.ERROR)
        else:
            self.message_user(request, text, messages.SUCCESS)
        return self._back(target)

    def _back(self, mailing: Mailing) -> HttpResponse:
        return HttpResponseRedirect(change_url(self.admin_site, mailing))

    def _page(self, request: HttpRequest, template: str, title: str, **context: Any) -> HttpResponse:
        request.current_app = self.admin_site.name
        shared = {**self.admin_site.each_context(request), "opts": self.opts, "title": title, "media": self.media}
        if (form := context.get("form")) is not None:
            shared["media"] += form.media
        return TemplateResponse(request, f"massmail/admin/{template}.html", shared | context)

    # Several mailings ------------------------------------------------------------------------------------------------

    def has_operate_permission(self, request: HttpRequest) -> bool:
        """Offer the actions to those who have mailings of their own, or may do everything."""
        return self.has_change_permission(request) and self._has_own(request)

    def has_make_permission(self, request: HttpRequest) -> bool:
        return self.has_operate_permission(request) and request.user.has_perm("massmail.add_mailing")

    @admin.action(description=gettext_lazy("Pause"), permissions=["operate"])
    def pause_mailings(self, request: HttpRequest, queryset: QuerySet[Any]) -> None:
        count = lifecycle.pause_all(self._own(request, queryset), by=request.user)
        text = ngettext("%(count)d mailing is paused.", "%(count)d mailings are paused.", count)
        self._say(request, text, count, _("None of the selected mailings is active."))

    @admin.action(description=gettext_lazy("Resume"), permissions=["operate"])
    def resume_mailings(self, request: HttpRequest, queryset: QuerySet[Any]) -> None:
        count = lifecycle.resume_all(self._own(request, queryset), by=request.user)
        text = ngettext("%(count)d mailing goes on.", "%(count)d mailings go on.", count)
        self._say(request, text, count, _("None of the selected mailings is paused."))

    @admin.action(description=gettext_lazy("Duplicate…"), permissions=["make"])
    def copy_mailings(self, request: HttpRequest, queryset: QuerySet[Any]) -> HttpResponse | None:
        return self._ask_about(request, queryset, "copies")

    @admin.action(description=gettext_lazy("Merge…"), permissions=["make"])
    def merge_mailings(self, request: HttpRequest, queryset: QuerySet[Any]) -> HttpResponse | None:
        return self._ask_about(request, queryset, "merge")

    def _ask_about(self, request: HttpRequest, queryset: QuerySet[Any], page: str) -> HttpResponse | None:
        keys = list(self._own(request, queryset).order_by("pk").values_list("pk", flat=True)[: COPIES_AT_ONCE + 1])
        if not keys:
            self.message_user(request, _("None of the selected mailings is yours."), messages.WARNING)
            return None
        if len(keys) > COPIES_AT_ONCE:
            text = _("Select %(count)d mailings at most.") % {"count": COPIES_AT_ONCE}
            self.message_user(request, text, messages.WARNING)
            return None
        query = "&".join(f"id={key}" for key in keys)
        return HttpResponseRedirect(f"{page_url(self.admin_site, Mailing, page)}?{query}")

    def _own(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        return queryset if request.user.is_superuser else queryset.filter(owner=request.user)

    def _say(self, request: HttpRequest, text: str, count: int, none: str) -> None:
        if count:
            self.message_user(request, text % {"count": count}, messages.SUCCESS)
        else:
            self.message_user(request, none, messages.WARNING)

    def _chosen(self, request: HttpRequest) -> list[Mailing]:
        """Return the user's own mailings that the address names, oldest first."""
        if not self.has_make_permission(request):
            raise PermissionDenied
        keys = [key for text in request.GET.getlist("id")[: COPIES_AT_ONCE + 1] if (key := _number(text)) is not None]
        rows = self._own(request, self.get_queryset(request)).filter(pk__in=keys)
        return list(rows.select_related("owner", "message", "content_type").order_by("pk"))

    def _list(self, request: HttpRequest, text: str = "") -> HttpResponse:
        if text:
            self.message_user(request, text, messages.WARNING)
        return HttpResponseRedirect(page_url(self.admin_site, Mailing, "changelist"))

    def copies_view(self, request: HttpRequest) -> HttpResponse:
        """Ask whether the mailings in the address shall be duplicated, and do it."""
        mailings = self._chosen(request)
        if not mailings:
            return self._list(request, _("Select the mailings to duplicate in the list."))
        form = DuplicateForm(request.POST or None, mailings=mailings)
        if request.method != "POST" or not form.is_valid():
            return self._page(request, "operation_copies", _("Duplicate mailings"), form=form, mailings=mailings)
        left_outs = page_url(self.admin_site, LeftOut, "changelist")
        for mailing in mailings:
            try:
                made = operations.duplicate(mailing, by=request.user, after=form.cleaned_data["after"])
            except MassmailError as error:
                self.message_user(request, f"{mailing}: {error}", messages.ERROR)
            else:
                self.message_user(request, report(made, left_outs), messages.SUCCESS)
        return self._list(request)

    def merge_view(self, request: HttpRequest) -> HttpResponse:
        """Ask which of the mailings that go together with those in the address shall be merged, and do it."""
        chosen = self._chosen(request)
        live = [mailing for mailing in chosen if mailing.status in operations.MERGEABLE]
        if not live:
            return self._list(request, _("Select mailings to merge in the list: drafts, active or paused ones."))
        candidates: Sequence[Mailing] = [*operations.mergeable_with(live[0]).select_related("owner"), live[0]]
        if len(candidates) < 2:
            text = _("There is no other mailing with the message of “%s” to recipients of its type that goes on.")
            return self._list(request, text % live[0])
        form = MergeForm(request.POST or None, candidates=sorted(candidates, key=lambda each: each.pk), chosen=live)
        others = [mailing for mailing in chosen if mailing not in candidates]
        if request.method == "POST" and form.is_valid():
            try:
                made = operations.merge(form.cleaned_data["mailings"], by=request.user, name=form.cleaned_data["name"])
            except MassmailError as error:
                form.add_error(None, str(error))
            else:
                self.message_user(request, _merged(made), messages.SUCCESS)
                return self._back(made)
        return self._page(request, "operation_merge", _("Merge mailings"), form=form, others=others, first=live[0])


def _number(text: str | None) -> int | None:
    """Return the key in `text`, None where there is none."""
    return int(text) if text and text.isascii() and text.isdigit() and len(text) < 19 else None


def _done(name: str, mailing: Mailing) -> str:
    """Say what has become of `mailing`."""
    texts = {
        "start": _("The mailing “%(mailing)s” is started."),
        "pause": _("The mailing “%(mailing)s” is paused."),
        "resume": _("The mailing “%(mailing)s” goes on."),
        "cancel": _("The mailing “%(mailing)s” is cancelled."),
        "new-version": _(
            "The mailing “%(mailing)s” is paused, with the new version. Look at the preview, then resume it."
        ),
        "schedule": _("The start of the mailing “%(mailing)s” is changed."),
    }
    text = texts[name] % {"mailing": mailing}
    later = mailing.start_at and mailing.start_at > timezone.now()
    if later and mailing.status == MailingStatus.ACTIVE:
        when = show(mailing.start_at, MassmailSettings.load())  # type: ignore[arg-type]
        return text + " " + _("Its first mail leaves %(time)s.") % {"time": when}
    return text


def _excluded(count: int) -> str:
    if not count:
        return _("Nobody is left out: none of the recipients has received the message.")
    return ngettext(
        "%(count)d recipient is left out, who already received the message.",
        "%(count)d recipients are left out, who already received the message.",
        count,
    ) % {"count": count}


def _merged(made: Mailing) -> str:
    return ngettext(
        "The mailings are merged into the draft “%(mailing)s”, with %(count)d recipient. Start it when you are ready.",
        "The mailings are merged into the draft “%(mailing)s”, with %(count)d recipients. Start it when you are ready.",
        made.total,
    ) % {"mailing": made, "count": made.total}
