"""The second way of making a mailing: the page "Create mailing", where filters choose the recipients."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from urllib.parse import urlencode

from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.db import transaction
from django.forms import Media, Script
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseNotAllowed, HttpResponseRedirect, JsonResponse
from django.template.loader import render_to_string
from django.template.response import TemplateResponse
from django.urls import path
from django.utils.translation import gettext as _

from massmail.admin.actions import report
from massmail.admin.create_mailing_form import CreateForm, filled_in, label_of, name_of, types_for
from massmail.admin.places import change_url, link_to, page_url
from massmail.audience import Expectation
from massmail.audience.filters import SHOWN, Choice
from massmail.exceptions import AudienceError
from massmail.models import LeftOut, Mailing
from massmail.recipient_types import RecipientType

MEDIA = Media(
    css={"all": ["massmail/admin.css", "massmail/create_mailing.css"]},
    js=[Script("massmail/create_mailing.js", defer=True)],  # type: ignore[list-item]
)

#: What the page asks besides the filters, as far as it is text.
OWN_FIELDS = ("owner", "message", "received", "name", "list")


class CreateMailingMixin(admin.ModelAdmin):
    """For the admin of mailings: the button on the list, and the pages behind it."""

    def get_urls(self) -> list[Any]:
        def wrap(view: Callable[..., HttpResponse]) -> Any:
            return self.admin_site.admin_view(view)

        return [
            path("create/", wrap(self.create_view), name="massmail_mailing_create"),
            path("create/count/", wrap(self.count_view), name="massmail_mailing_create_count"),
            path("create/options/", wrap(self.options_view), name="massmail_mailing_create_options"),
            *super().get_urls(),
        ]

    def has_create_permission(self, request: HttpRequest) -> bool:
        return request.user.has_perm("massmail.add_mailing")

    def changelist_view(self, request: HttpRequest, extra_context: Any = None) -> HttpResponse:
        url = page_url(self.admin_site, Mailing, "create") if self.has_create_permission(request) else ""
        return super().changelist_view(request, {"create_url": url, **(extra_context or {})})

    def render_change_form(
        self,
        request: HttpRequest,
        context: Any,
        add: bool = False,
        change: bool = False,
        form_url: str = "",
        obj: Any = None,
    ) -> HttpResponse:
        context |= self._chosen_by(request, obj)
        return super().render_change_form(request, context, add, change, form_url, obj)

    def _chosen_by(self, request: HttpRequest, mailing: Mailing | None) -> dict[str, Any]:
        """Return the filters a mailing was made with, in words, and where they can be used again."""
        if mailing is None or "type" not in mailing.filters:
            return {}
        again = f"{page_url(self.admin_site, Mailing, 'create')}?{urlencode({'again': mailing.pk})}"
        words = mailing.filters.get("words", [])
        return {"filters_in_words": words, "again_url": again if self.has_create_permission(request) else ""}

    # Views -------------------------------------------------------------------------------------------------------

    def create_view(self, request: HttpRequest) -> HttpResponse:
        """Show the form, for the type `?type=…` or as a mailing was made `?again=…`; make a mailing of a posted one."""
        types = self._types(request)
        if request.method != "POST":
            return self._shown(request, types, *self._beginning(request, types))
        form = self._posted(request, types)
        if "_find" in request.POST:
            return self._shown(request, types, form)
        expectation, error = self._expected(form)
        if error or expectation is None or "_create" not in request.POST or not expectation.added:
            return self._shown(request, types, form, expectation=expectation, error=error)
        return self._made(request, types, form)

    def count_view(self, request: HttpRequest) -> HttpResponse:
        """Return what the posted form would come to, as HTML for the page."""
        if request.method != "POST":
            return HttpResponseNotAllowed(["POST"])
        form = self._posted(request, self._types(request))
        context = self._outlook(request, form, *self._expected(form))
        return HttpResponse(render_to_string("massmail/admin/create_mailing_count.html", context, request))

    def options_view(self, request: HttpRequest) -> JsonResponse:
        """Return some options of the filter `?filter=…` of `?type=…`, those that `?q=…` finds."""
        form = CreateForm(request, self.admin_site, self._type(request, self._types(request)), {})
        name, text = request.GET.get("filter", ""), request.GET.get("q", "")[:100].replace("\x00", "")
        found = next((each for each in form.offer.filters if each.name == name and isinstance(each, Choice)), None)
        if not isinstance(found, Choice):
            raise Http404
        options = found.options(text.strip())
        shown = [{"value": option.value, "label": option.label} for option in options[:SHOWN]]
        return JsonResponse({"options": shown, "more": len(options) > SHOWN})

    # Steps -------------------------------------------------------------------------------------------------------

    def _types(self, request: HttpRequest) -> list[RecipientType]:
        if not self.has_create_permission(request):
            raise PermissionDenied
        return types_for(request, self.admin_site)

    def _type(self, request: HttpRequest, types: list[RecipientType]) -> RecipientType:
        """Return the type that the request names, by default the first."""
        label = request.POST.get("type") or request.GET.get("type")
        found = [each for each in types if label in (None, "", label_of(each))]
        if not found:
            raise Http404
        return found[0]

    def _posted(self, request: HttpRequest, types: list[RecipientType]) -> CreateForm:
        return CreateForm(request, self.admin_site, self._type(request, types), dict(request.POST.lists()))

    def _beginning(self, request: HttpRequest, types: list[RecipientType]) -> tuple[CreateForm | None, str]:
        """Return the form to begin with, empty or as an earlier mailing had it, and what is missing in it."""
        if "again" not in request.GET:
            if not types:
                return None, ""
            data = {"list": [request.GET["list"]]} if "list" in request.GET else {}
            form = CreateForm(request, self.admin_site, self._type(request, types), data)
            return form, " ".join(form.errors.values())
        mailing = self.get_object(request, request.GET["again"])
        if mailing is None or not self.has_view_permission(request, mailing):
            raise Http404
        recipient_type = next((each for each in types if label_of(each) == mailing.filters.get("type")), None)
        if recipient_type is None:
            raise Http404
        offered = CreateForm(request, self.admin_site, recipient_type, {}).offer.filters
        data, lost = filled_in(mailing, offered)
        form = CreateForm(request, self.admin_site, recipient_type, data)
        gone = _("Not offered any more, and left away: %(filters)s.") % {"filters": ", ".join(lost)} if lost else ""
        return form, " ".join([*form.errors.values(), *filter(None, [gone])])

    def _expected(self, form: CreateForm) -> tuple[Expectation | None, str]:
        try:
            return form.expect(), ""
        except AudienceError as error:
            return None, str(error)

    def _made(self, request: HttpRequest, types: list[RecipientType], form: CreateForm) -> HttpResponse:
        try:
            with transaction.atomic():
                creation = form.create()
                transaction.set_rollback(not creation.added)
        except AudienceError as refused:
            return self._shown(request, types, form, error=str(refused))
        if not creation.added:
            expectation, error = self._expected(form)
            return self._shown(request, types, form, expectation=expectation, error=error)
        self.message_user(request, report(creation, page_url(self.admin_site, LeftOut, "changelist")), messages.SUCCESS)
        return HttpResponseRedirect(change_url(self.admin_site, creation.mailing))

    # What is shown -----------------------------------------------------------------------------------------------

    def _shown(
        self,
        request: HttpRequest,
        types: list[RecipientType],
        form: CreateForm | None,
        notice: str = "",
        *,
        expectation: Expectation | None = None,
        error: str = "",
    ) -> HttpResponse:
        context = {
            **self.admin_site.each_context(request),
            "title": _("Create mailing"),
            "opts": self.opts,
            "media": MEDIA,
            "types": [
                {"label": label_of(each), "name": name_of(each), "current": form is not None and each is form.type}
                for each in types
            ],
            "form": form,
            "type": label_of(form.type) if form else "",
            "type_name": name_of(form.type) if form else "",
            "filters": form.drawn() if form else [],
            "data": {name: form.text(name) for name in OWN_FIELDS} if form else {},
            "notice": notice,
            "counted": bool(expectation or error),
            "create_url": page_url(self.admin_site, Mailing, "create"),
            "count_url": page_url(self.admin_site, Mailing, "create_count"),
            "options_url": page_url(self.admin_site, Mailing, "create_options"),
            **self._outlook(request, form, expectation, error),
        }
        request.current_app = self.admin_site.name
        return TemplateResponse(request, "massmail/admin/create_mailing.html", context)

    def _outlook(
        self, request: HttpRequest, form: CreateForm | None, expectation: Expectation | None, error: str
    ) -> dict[str, Any]:
        sample = expectation.sample if expectation else []
        left_out = expectation.left_out if expectation else {}
        return {
            "kind": form.type.model_class._meta.verbose_name_plural if form else "",
            "filtered": form is not None and bool(form.values or form.listed or form.only_own),
            "expectation": expectation,
            "error": error,
            "sample": [
                {"person": obj, "address": obj.mm_email, "url": link_to(request, self.admin_site, obj)}
                for obj in sample
            ],
            "more": max(0, expectation.added - len(sample)) if expectation else 0,
            "left_out": sum(left_out.values()),
            "reasons": sorted(left_out.items(), key=lambda item: -item[1]),
        }
