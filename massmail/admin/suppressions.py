"""The list of addresses that get no more mail: search, export, import, and lifting as an act with a reason."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from django import forms
from django.conf import settings
from django.contrib import admin, messages
from django.contrib.admin.helpers import ACTION_CHECKBOX_NAME
from django.contrib.admin.options import IncorrectLookupParameters
from django.contrib.admin.utils import unquote
from django.core import signing
from django.core.exceptions import PermissionDenied, ValidationError
from django.core.files.uploadedfile import UploadedFile
from django.db.models import QuerySet
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect, StreamingHttpResponse
from django.template.response import TemplateResponse
from django.urls import path
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy, ngettext

from massmail.admin.exports import csv_response, lines
from massmail.admin.forms import SuppressionForm
from massmail.admin.numbers import grouped
from massmail.admin.panel_pages import ReasonForm
from massmail.admin.places import change_url, page_url
from massmail.admin.suppression_lists import MOST_LINES, AddressList, read_list
from massmail.choices import SuppressionReason
from massmail.models import MassmailSettings, Suppression
from massmail.moments import when
from massmail.outcomes import lift_all, suppress_all, suppressed

#: Bytes of a file that is read. 100,000 lines of our own export have some eight million.
MOST_BYTES = 10_000_000
#: Rows of a page that only shows what a list is like.
SHOWN = 20
BAD_SHOWN = 100
#: Seconds between the preview of an import and the decision.
PATIENCE = 3600

COLUMNS = [
    ("address", lambda row: row.address),
    ("reason", lambda row: row.get_reason_display()),
    ("created", lambda row: row.created),
    ("source", lambda row: row.source),
]


class ImportForm(forms.Form):
    file = forms.FileField(
        label=gettext_lazy("File"),
        required=False,
        widget=forms.ClearableFileInput(attrs={"accept": ".csv,.txt,text/csv,text/plain"}),
        help_text=gettext_lazy(
            "CSV with a heading “address” or “email” and, if you like, “reason”; or text with one address to a line. "
            "At most 100,000 lines and 10 MB."
        ),
    )
    text = forms.CharField(
        label=gettext_lazy("Or paste addresses"),
        required=False,
        strip=False,
        widget=forms.Textarea(attrs={"rows": 8, "class": "vLargeTextField"}),
    )
    reason = forms.ChoiceField(
        label=gettext_lazy("Reason"),
        choices=SuppressionReason.choices,
        initial=SuppressionReason.MANUAL,
        help_text=gettext_lazy("Of lines that name none."),
    )
    note = forms.CharField(
        label=gettext_lazy("Where they come from"),
        max_length=200,
        required=False,
        widget=forms.TextInput(attrs={"class": "vTextField"}),
        help_text=gettext_lazy("Kept with each address. For example: opt-outs of the old newsletter system."),
    )

    def clean(self) -> dict[str, Any]:
        data = super().clean() or {}
        upload, text = data.get("file"), data.get("text", "")
        if bool(upload) == bool(text.strip()):
            raise ValidationError(_("Choose a file or paste addresses: one of the two."))
        text = _decoded(upload) if upload else text
        if len(text.splitlines()) > MOST_LINES:
            raise ValidationError(_("The list has more than 100,000 lines. Split it into several."))
        return data | {"text": text}


def _decoded(upload: UploadedFile) -> str:
    """Return the text of a file: UTF-8 with or without a mark, UTF-16 with one, or what old spreadsheets write."""
    if (upload.size or 0) > MOST_BYTES:
        raise ValidationError(_("The file is larger than 10 MB. Split it into several."))
    data = upload.read()
    encoding = "utf-16" if data.startswith((b"\xff\xfe", b"\xfe\xff")) else "utf-8-sig"
    try:
        text = data.decode(encoding)
    except UnicodeDecodeError:
        text = data.decode("cp1252", errors="replace")
    if "\x00" in text:
        raise ValidationError(_("This is not a text file. Save the list as CSV."))
    return text


@admin.display(description=gettext_lazy("created"), ordering="created")
def created(row: Suppression) -> str:
    return when(row.created)


class SuppressionAdmin(admin.ModelAdmin):
    """Entries are added and lifted, never changed; every act is logged."""

    form = SuppressionForm
    list_display = ["address", "reason", "source", created]
    list_filter = ["reason", "created"]
    search_fields = ["address", "source"]
    actions = ["lift_selected"]
    show_full_result_count = False

    class Media:
        css = {"all": ["massmail/admin.css"]}

    def get_fields(self, request: HttpRequest, obj: Any = None) -> Any:
        return ["address", "reason", "source"] if obj is None else ["address", "reason", created, "source"]

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> Any:
        return [created]

    def get_changeform_initial_data(self, request: HttpRequest) -> dict[str, Any]:
        return {"reason": SuppressionReason.MANUAL, **super().get_changeform_initial_data(request)}

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Nothing is deleted in passing: see `has_lift_permission`."""
        return False

    def has_lift_permission(self, request: HttpRequest) -> bool:
        return request.user.has_perm("massmail.delete_suppression")

    def get_urls(self) -> list[Any]:
        wrap = self.admin_site.admin_view
        return [
            path("import/", wrap(self.import_view), name="massmail_suppression_import"),
            path("export/", wrap(self.export_view), name="massmail_suppression_export"),
            path("<path:object_id>/lift/", wrap(self.lift_view), name="massmail_suppression_lift"),
            *super().get_urls(),
        ]

    def changelist_view(self, request: HttpRequest, extra_context: Any = None) -> HttpResponse:
        context = {
            "title": _("Addresses that get no more mail"),
            "export_url": page_url(self.admin_site, Suppression, "export"),
            "import_url": page_url(self.admin_site, Suppression, "import") if self.has_add_permission(request) else "",
        }
        return super().changelist_view(request, {**context, **(extra_context or {})})

    def render_change_form(self, request: HttpRequest, context: Any, *args: Any, **kwargs: Any) -> HttpResponse:
        obj = kwargs.get("obj")
        if obj is not None and self.has_lift_permission(request):
            context["lift_url"] = page_url(self.admin_site, Suppression, "lift", obj.pk)
        return super().render_change_form(request, context, *args, **kwargs)

    def save_model(self, request: HttpRequest, obj: Suppression, form: Any, change: bool) -> None:
        source = obj.source or _("Entered by %(user)s") % {"user": request.user}
        suppress_all({obj.address: SuppressionReason(obj.reason)}, source=source, by=request.user)
        obj.pk = Suppression.objects.get(address=obj.address).pk

    # Export ----------------------------------------------------------------------------------------------------------

    def export_view(self, request: HttpRequest) -> StreamingHttpResponse:
        """Return the rows of the list with the same address, all pages of it, as CSV."""
        if not self.has_view_permission(request):
            raise PermissionDenied
        try:
            rows = self.get_changelist_instance(request).queryset
        except IncorrectLookupParameters as error:
            raise Http404(_("There is no such page.")) from error
        pieces = lines(rows, COLUMNS, prepare=lambda chunk: None, zone=MassmailSettings.load().zone)
        return csv_response(pieces, filename="suppressions.csv")

    # Import ----------------------------------------------------------------------------------------------------------

    def import_view(self, request: HttpRequest) -> HttpResponse:
        """Ask for a list, show what it would add, and add it when told to."""
        if not self.has_add_permission(request):
            raise PermissionDenied
        if request.method == "POST" and "staged" in request.POST:
            return self._import(request)
        form = ImportForm(request.POST, request.FILES) if request.method == "POST" else ImportForm()
        if form.is_valid():
            found = read_list(form.cleaned_data["text"], reason=SuppressionReason(form.cleaned_data["reason"]))
            context = self._preview(request, form.cleaned_data, found)
            if context is not None:
                return self._page(request, "suppression_preview", _("Import addresses"), context)
            form.add_error(None, _("The list is too large to be looked at before it is added. Split it into several."))
        return self._page(request, "suppression_import", _("Import addresses"), {"form": form})

    def _preview(self, request: HttpRequest, data: Mapping[str, Any], found: AddressList) -> dict[str, Any] | None:
        """Return what the page shows of a list; None if it can't be sent back by the browser."""
        listed = suppressed(found.reasons)
        new = {address: reason for address, reason in found.reasons.items() if address not in listed}
        staged = self._staged(request).sign_object(
            {"source": self._source(request, data), "reasons": new}, compress=True
        )
        limit = settings.DATA_UPLOAD_MAX_MEMORY_SIZE
        if limit is not None and len(staged) > limit * 0.9:
            return None
        return {
            "new": len(new),
            "by_reason": [(reason.label, number) for reason, number in Counter(new.values()).most_common()],
            "first": list(new)[:SHOWN],
            "more": max(0, len(new) - SHOWN),
            "listed": len(listed),
            "repeated": found.repeated,
            "bad": len(found.bad),
            "bad_lines": found.bad[:BAD_SHOWN],
            "bad_more": max(0, len(found.bad) - BAD_SHOWN),
            "staged": staged,
        }

    def _import(self, request: HttpRequest) -> HttpResponse:
        """Add what was previewed: the browser brings it back, signed, so that nothing has to be kept meanwhile."""
        try:
            staged = self._staged(request).unsign_object(request.POST["staged"], max_age=PATIENCE)
        except signing.BadSignature:
            self.message_user(
                request,
                _("Nothing was added: the preview is more than an hour old. Choose the list again."),
                messages.ERROR,
            )
            return HttpResponseRedirect(page_url(self.admin_site, Suppression, "import"))
        reasons = {address: SuppressionReason(reason) for address, reason in staged["reasons"].items()}
        added = suppress_all(reasons, source=staged["source"], by=request.user)
        text = ngettext("%(count)s address was added.", "%(count)s addresses were added.", added)
        self.message_user(request, text % {"count": grouped(added)}, messages.SUCCESS)
        return HttpResponseRedirect(page_url(self.admin_site, Suppression, "changelist"))

    def _staged(self, request: HttpRequest) -> signing.TimestampSigner:
        return signing.TimestampSigner(salt=f"massmail.suppressions.{request.user.pk}")

    def _source(self, request: HttpRequest, data: Mapping[str, Any]) -> str:
        values = {"user": request.user, "file": data["file"].name if data.get("file") else ""}
        source = _("Imported by %(user)s from “%(file)s”") if data.get("file") else _("Pasted by %(user)s")
        return ": ".join(filter(None, [source % values, data["note"]]))

    # Lifting ---------------------------------------------------------------------------------------------------------

    def lift_view(self, request: HttpRequest, object_id: str) -> HttpResponse:
        if not self.has_lift_permission(request):
            raise PermissionDenied
        obj = self.get_object(request, unquote(object_id))
        if obj is None:
            raise Http404(_("There is no such page."))
        return self._lift(request, Suppression.objects.filter(pk=obj.pk), back=change_url(self.admin_site, obj))

    @admin.action(description=gettext_lazy("Lift the selected suppressions …"), permissions=["lift"])
    def lift_selected(self, request: HttpRequest, queryset: QuerySet[Suppression]) -> HttpResponse:
        names = ("action", "select_across", ACTION_CHECKBOX_NAME)
        hidden = [(name, value) for name in names for value in request.POST.getlist(name)]
        return self._lift(request, queryset, back=request.get_full_path(), hidden=hidden)

    def _lift(
        self, request: HttpRequest, rows: QuerySet[Suppression], *, back: str, hidden: Sequence[tuple[str, str]] = ()
    ) -> HttpResponse:
        """Ask why, and lift."""
        form = ReasonForm(request.POST if "why" in request.POST else None)
        form.fields["why"].help_text = _("Kept in the log. For example: wrote to us from this address on 3 May.")
        if form.is_valid():
            count = lift_all(rows, by=request.user, why=form.cleaned_data["why"])
            text = ngettext("%(count)s suppression was lifted.", "%(count)s suppressions were lifted.", count)
            self.message_user(request, text % {"count": grouped(count)}, messages.SUCCESS)
            return HttpResponseRedirect(page_url(self.admin_site, Suppression, "changelist"))
        count = rows.count()
        title = ngettext("Lift the suppression", "Lift %(count)s suppressions", count) % {"count": grouped(count)}
        context = {"form": form, "rows": rows[:SHOWN], "more": max(0, count - SHOWN), "back": back, "hidden": hidden}
        return self._page(request, "suppression_lift", title, context)

    def _page(self, request: HttpRequest, name: str, title: str, context: Mapping[str, Any]) -> HttpResponse:
        page = {
            **self.admin_site.each_context(request),
            "title": title,
            "opts": self.opts,
            "media": self.media,
            "list_url": page_url(self.admin_site, Suppression, "changelist"),
        }
        return TemplateResponse(request, f"massmail/admin/{name}.html", {**page, **context})
