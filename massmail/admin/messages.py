"""Messages: started from a template or a copy, written beside their preview, tried on oneself."""

from __future__ import annotations

from typing import Any

from django.contrib import admin, messages
from django.contrib.admin.utils import unquote
from django.core.exceptions import PermissionDenied
from django.db.models import F, OuterRef, QuerySet, Subquery
from django.http import HttpRequest, HttpResponse, HttpResponseNotAllowed, HttpResponseRedirect, QueryDict
from django.template.loader import render_to_string
from django.urls import path
from django.utils.html import format_html, format_html_join
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy, ngettext

from massmail.admin.copying import copy_message
from massmail.admin.editor import EditorAdmin, owned_or_none, values_for
from massmail.admin.images import remove_file
from massmail.admin.message_forms import AttachmentForm, MessageForm
from massmail.admin.people import find_person
from massmail.admin.places import change_url, page_url
from massmail.admin.trials import Letter, TestMailMixin
from massmail.composing import prepare
from massmail.composing.starters import STARTERS, starter
from massmail.engine import lifecycle
from massmail.models import Attachment, Mailing, Message, Signature, Tally
from massmail.moments import day, when

#: Mailings that are named on the page of their message.
USES_SHOWN = 20


def labelled(label: str, value: str) -> str:
    """Return what a cell of a list shows: on a phone, where the headings are gone, with its `label`."""
    return render_to_string("massmail/admin/labelled.html", {"label": label, "value": value})


class AttachmentInline(admin.StackedInline):
    """Files that travel with a message."""

    model = Attachment
    form = AttachmentForm
    fields = ["upload"]
    extra = 0
    verbose_name_plural = gettext_lazy("Attachments")


class MessageAdmin(TestMailMixin, EditorAdmin):
    form = MessageForm
    list_display = ["subject_in_words", "signed", "last_sent", "last_updated"]
    list_select_related = ["signature", "owner"]
    search_fields = ["subject", "preheader"]
    none_yet = gettext_lazy("No message yet")
    what_for = gettext_lazy(
        "A message is what a mailing sends: subject, content, signature. Start from a template, or write your own."
    )
    inlines = [AttachmentInline]
    fieldsets = [
        (None, {"fields": ["subject", "preheader"]}),
        (None, {"fields": ["content"], "classes": ["massmail-body"]}),
        (None, {"fields": ["signature"]}),
        (gettext_lazy("Plain text"), {"fields": ["plain_text"], "classes": ["collapse"]}),
    ]

    def get_queryset(self, request: HttpRequest) -> QuerySet[Message]:
        days = Tally.objects.filter(mailing__message=OuterRef("pk"), sent__gt=0).order_by("-day")
        return super().get_queryset(request).annotate(last_day=Subquery(days.values("day")[:1]))

    @admin.display(description=gettext_lazy("Subject"), ordering="subject")
    def subject_in_words(self, message: Message) -> str:
        return str(message)

    @admin.display(description=gettext_lazy("Signature"), ordering="signature__name")
    def signed(self, message: Message) -> str:
        return labelled(_("Signature:"), str(message.signature or ""))

    @admin.display(description=gettext_lazy("Last sent"), ordering=F("last_day").asc(nulls_first=True))
    def last_sent(self, message: Any) -> str:
        return labelled(_("Last sent:"), day(message.last_day) if message.last_day else "")

    @admin.display(description=gettext_lazy("Updated"), ordering="updated")
    def last_updated(self, message: Message) -> str:
        return labelled(_("Updated:"), when(message.updated))

    # What the editor asks -------------------------------------------------------------------------------------------

    def as_message(self, obj: Message) -> Message:
        return obj

    def written(self, data: QueryDict, owner_id: Any) -> Message:
        signature = owned_or_none(Signature.objects, owner_id, data.get("signature", ""))
        texts = {name: data.get(name, "") for name in ("subject", "preheader", "content", "plain_text")}
        return Message(owner_id=owner_id, signature=signature, **texts)

    def letter(self, request: HttpRequest, obj: Message) -> Letter:
        chosen = find_person(obj.owner_id, request.POST.get("recipient", ""))
        return Letter(prepared=prepare(obj), values=values_for(obj, chosen))

    # Pages ----------------------------------------------------------------------------------------------------------

    def get_urls(self) -> list[Any]:
        view = self.admin_site.admin_view(self.copy_view)
        return [path("<path:object_id>/copy/", view, name="massmail_message_copy"), *super().get_urls()]

    def get_changeform_initial_data(self, request: HttpRequest) -> dict[str, Any]:
        user: Any = request.user
        default = Signature.objects.filter(owner=user, default=True).first()
        begun = starter(request.GET.get("starter", ""))
        texts = {"subject": begun.subject, "preheader": begun.preheader, "content": begun.content} if begun else {}
        initial = super().get_changeform_initial_data(request)
        return {**({"signature": default.pk} if default else {}), **texts, **initial}

    def render_change_form(self, request: HttpRequest, context: Any, *args: Any, **kwargs: Any) -> HttpResponse:
        obj = kwargs.get("obj")
        context |= self.editor_context(request, obj)
        if obj is None:
            context |= {"starters": STARTERS, "begun": starter(request.GET.get("starter", ""))}
            return super().render_change_form(request, context, *args, **kwargs)
        context |= {"mailings": self._uses(obj), **self.test_context(request, obj)}
        if self.has_add_permission(request):
            context["copy_url"] = page_url(self.admin_site, Message, "copy", obj.pk)
        if request.method == "GET":
            context |= self.said(obj)
        return super().render_change_form(request, context, *args, **kwargs)

    def _uses(self, message: Message) -> list[tuple[Mailing, str]]:
        mailings = Mailing.objects.filter(message=message).order_by("-pk")[:USES_SHOWN]
        return [(mailing, page_url(self.admin_site, Mailing, "change", mailing.pk)) for mailing in mailings]

    def response_change(self, request: HttpRequest, obj: Message) -> HttpResponse:
        """Say which mailings under way go on with what the message was before."""
        behind = lifecycle.behind(obj)
        if behind:
            links = format_html_join(
                ", ",
                '<a href="{}">{}</a>',
                ((change_url(self.admin_site, each), each) for each in behind[:USES_SHOWN]),
            )
            text = ngettext(
                "%(count)d mailing under way goes on with the version it was started with. "
                "To give the new one to those not served yet, choose “Take the new version” there: {}",
                "%(count)d mailings under way go on with the version they were started with. "
                "To give the new one to those not served yet, choose “Take the new version” there: {}",
                len(behind),
            )
            self.message_user(request, format_html(text % {"count": len(behind)}, links), messages.WARNING)
        return super().response_change(request, obj)

    def save_formset(self, request: HttpRequest, form: Any, formset: Any, change: bool) -> None:
        """Write the attachments, and remove the files that no row has any more."""
        before = {row.file.name: row for row in Attachment.objects.filter(message=form.instance)}
        super().save_formset(request, form, formset, change)
        kept = set(Attachment.objects.filter(message=form.instance).values_list("file", flat=True))
        for name, row in before.items():
            if name not in kept:
                remove_file(row)

    # Views ----------------------------------------------------------------------------------------------------------

    def copy_view(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """Make a copy of a message that the user may see, as the user's own: by POST."""
        if request.method != "POST":
            return HttpResponseNotAllowed(["POST"])
        message = self.get_object(request, unquote(object_id))
        if not (self.has_view_permission(request, message) and self.has_add_permission(request)):
            raise PermissionDenied
        copy = copy_message(message, owner=request.user)
        self.message_user(request, _("This is your copy. The other message stays as it is."), messages.SUCCESS)
        return HttpResponseRedirect(change_url(self.admin_site, copy))
