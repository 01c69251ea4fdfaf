"""Messages and signatures: written here, looked at before they are sent."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from django.contrib.admin.utils import unquote
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse
from django.urls import path
from django.utils.translation import gettext_lazy

from massmail.admin import previews
from massmail.admin.forms import MessageForm, SignatureForm, in_words, known_variables
from massmail.admin.owned import OwnedModelAdmin
from massmail.admin.places import page_url
from massmail.composing import check
from massmail.composing.templates import UNSUBSCRIBE
from massmail.exceptions import CompositionError
from massmail.models import Mailing, Message, Signature
from massmail.recipient_types import recipient_types

#: Mailings that are named on the page of their message.
USES_SHOWN = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Placeholders:
    """The variables of a recipient type, with what they mean."""

    name: str
    variables: Mapping[str, Any]


def placeholders() -> list[Placeholders]:
    return [
        Placeholders(name=str(each.model_class._meta.verbose_name_plural), variables=each.variables)
        for each in recipient_types()
    ]


class PreviewedModelAdmin(OwnedModelAdmin):
    """Pages with a frame that shows how the saved object will look."""

    class Media:
        css = {"all": ["massmail/admin.css"]}

    def get_urls(self) -> list[Any]:
        name = f"massmail_{self.opts.model_name}_preview"
        view = self.admin_site.admin_view(self.preview_view)
        return [path("<path:object_id>/preview/", view, name=name), *super().get_urls()]

    def preview_view(self, request: HttpRequest, object_id: str) -> HttpResponse:
        obj = self.get_object(request, unquote(object_id))
        if not self.has_view_permission(request, obj):
            raise PermissionDenied
        try:
            return previews.shown(request, previews.message_preview(self.as_message(obj)))
        except CompositionError as error:
            return previews.failed(error)

    def as_message(self, obj: Any) -> Message:
        return obj

    def preview_context(self, obj: Any) -> dict[str, Any]:
        """Return the subject as a recipient reads it and where the frame finds the rest, or nothing if it is broken."""
        try:
            subject = previews.message_preview(self.as_message(obj)).subject
        except CompositionError:
            return {}
        return {"preview_subject": subject, "preview_url": page_url(self.admin_site, type(obj), "preview", obj.pk)}


class MessageAdmin(PreviewedModelAdmin):
    form = MessageForm
    list_display = ["subject", "signature", "updated"]
    list_select_related = ["signature", "owner"]
    search_fields = ["subject", "preheader"]
    fieldsets = [
        (None, {"fields": ["subject", "preheader", "content", "signature"]}),
        (gettext_lazy("Plain text"), {"fields": ["plain_text"], "classes": ["collapse"]}),
    ]

    def get_changeform_initial_data(self, request: HttpRequest) -> dict[str, Any]:
        user: Any = request.user
        default = Signature.objects.filter(owner=user, default=True).first()
        initial = super().get_changeform_initial_data(request)
        return {**({"signature": default.pk} if default else {}), **initial}

    def render_change_form(self, request: HttpRequest, context: Any, *args: Any, **kwargs: Any) -> HttpResponse:
        context |= {"types": placeholders(), "unsubscribe": UNSUBSCRIBE}
        obj = kwargs.get("obj")
        if obj is not None:
            context |= {"mailings": self._uses(obj), **self.preview_context(obj)}
            if request.method == "GET":
                context["problems"] = [in_words(error) for error in check(obj, variables=known_variables())]
        return super().render_change_form(request, context, *args, **kwargs)

    def _uses(self, message: Message) -> list[tuple[Mailing, str]]:
        mailings = Mailing.objects.filter(message=message)[:USES_SHOWN]
        return [(mailing, page_url(self.admin_site, Mailing, "change", mailing.pk)) for mailing in mailings]


class SignatureAdmin(PreviewedModelAdmin):
    form = SignatureForm
    list_display = ["name", "type", "default"]
    list_select_related = ["owner"]
    search_fields = ["name"]
    fieldsets = [(None, {"fields": ["name", "type", "content", "default"]})]

    def as_message(self, obj: Signature) -> Message:
        return previews.only_signature(obj)

    def render_change_form(self, request: HttpRequest, context: Any, *args: Any, **kwargs: Any) -> HttpResponse:
        if obj := kwargs.get("obj"):
            context |= self.preview_context(obj) | {"preview_subject": ""}
        return super().render_change_form(request, context, *args, **kwargs)

    def save_model(self, request: HttpRequest, obj: Signature, form: Any, change: bool) -> None:
        """A new default takes the place of the old one."""
        if obj.default:
            Signature.objects.filter(owner=obj.owner, default=True).exclude(pk=obj.pk).update(default=False)
        super().save_model(request, obj, form, change)
