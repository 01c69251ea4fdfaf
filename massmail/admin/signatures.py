"""Signatures, written beside their preview."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from django.http import HttpRequest, HttpResponse, QueryDict
from django.utils.translation import gettext_lazy

from massmail.admin import previews
from massmail.admin.editor import EditorAdmin
from massmail.admin.message_forms import SignatureForm, known_variables
from massmail.admin.places import page_url
from massmail.choices import SignatureType
from massmail.composing import Remark, check_signature, lint
from massmail.exceptions import CompositionError
from massmail.models import Message, Signature

#: Messages that are named on the page of their signature.
USES_SHOWN = 20


class SignatureAdmin(EditorAdmin):
    form = SignatureForm
    list_display = ["name", "type", "default"]
    list_select_related = ["owner"]
    search_fields = ["name"]
    none_yet = gettext_lazy("No signature yet")
    what_for = gettext_lazy("A signature ends your messages: your name, and how to reach you.")
    fieldsets = [
        (None, {"fields": ["name", "type"]}),
        (None, {"fields": ["content"], "classes": ["massmail-body"]}),
        (None, {"fields": ["default"]}),
    ]

    def as_message(self, obj: Signature) -> Message:
        return previews.only_signature(obj)

    def written(self, data: QueryDict, owner_id: Any) -> Message:
        is_plain = data.get("type") == SignatureType.PLAIN
        kind = SignatureType.PLAIN if is_plain else SignatureType.HTML
        return previews.only_signature(Signature(owner_id=owner_id, type=kind, content=data.get("content", "")))

    def problems(self, message: Message) -> list[CompositionError]:
        """Return what is wrong with the signature, which is called content here."""
        assert message.signature is not None  # noqa: S101  `only_signature` made it
        return [
            CompositionError(str(error), field="content", line=error.line, column=error.column)
            for error in check_signature(message.signature, variables=known_variables())
        ]

    def remarks(self, message: Message) -> list[Remark]:
        """Return what could be better in the signature; the rest of the message is none of its author's."""
        return [replace(each, field="content") for each in lint(message) if each.field == "signature"]

    def render_change_form(self, request: HttpRequest, context: Any, *args: Any, **kwargs: Any) -> HttpResponse:
        obj = kwargs.get("obj")
        context |= self.editor_context(request, obj)
        if obj is not None:
            context |= self._uses(obj)
        return super().render_change_form(request, context, *args, **kwargs)

    def _uses(self, signature: Signature) -> dict[str, Any]:
        users = Message.objects.filter(signature=signature)
        shown = list(users[:USES_SHOWN])
        return {
            "messages_count": users.count() if len(shown) == USES_SHOWN else len(shown),
            "uses": [(each, page_url(self.admin_site, Message, "change", each.pk)) for each in shown],
        }

    def save_model(self, request: HttpRequest, obj: Signature, form: Any, change: bool) -> None:
        """A new default takes the place of the old one."""
        if obj.default:
            Signature.objects.filter(owner=obj.owner, default=True).exclude(pk=obj.pk).update(default=False)
        super().save_model(request, obj, form, change)
