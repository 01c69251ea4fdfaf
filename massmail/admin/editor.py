"""What messages and signatures have in common: a source to write, and beside it what becomes of it.

The frame shows the saved object at first (GET), and what stands in the form as soon as somebody writes (POST, nothing
is saved). Both are locked up by `previews`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from django.contrib.admin.utils import unquote
from django.core.exceptions import PermissionDenied
from django.db.models import Q
from django.forms import Script
from django.http import HttpRequest, HttpResponse, HttpResponseNotAllowed, JsonResponse, QueryDict
from django.urls import path
from django.utils.text import capfirst
from django.utils.translation import gettext as _

from massmail.admin import previews
from massmail.admin.images import thumbnail_url
from massmail.admin.message_forms import in_words, known_variables, remark_in_words
from massmail.admin.owned import OwnedModelAdmin
from massmail.admin.people import Chosen, find_people, find_person
from massmail.admin.places import add_url, page_url
from massmail.composing import Remark, check, lint, preheader_line, variables_used
from massmail.composing.images import image_tag
from massmail.composing.templates import UNSUBSCRIBE
from massmail.exceptions import CompositionError
from massmail.models import EmailAccount, Image, Message
from massmail.recipient_types import recipient_types

#: Images that are offered beside the source; the library has the others.
IMAGES_SHOWN = 24
#: Characters after the subject that an inbox has room for.
INBOX_LINE = 140


@dataclass(frozen=True, slots=True, kw_only=True)
class Placeholder:
    """A variable with its meaning, the types of recipients that have it (empty: all), and what a click inserts."""

    name: str
    meaning: str
    types: str
    inserts: str


def placeholders() -> list[Placeholder]:
    """Return the variables of all types. Those of several types with one meaning stand there once."""
    found: dict[tuple[str, str], list[str]] = {}
    known = recipient_types()
    for each in known:
        for name, meaning in each.variables.items():
            found.setdefault((name, str(meaning)), []).append(str(each.model_class._meta.verbose_name_plural))
    return [
        Placeholder(
            name=name,
            meaning=meaning,
            types=capfirst(", ".join(types)) if len(types) < len(known) else "",
            inserts=f"{{{{ {name} }}}}",
        )
        for (name, meaning), types in found.items()
    ]


def unsubscribe_placeholder() -> Placeholder:
    return Placeholder(
        name=UNSUBSCRIBE,
        meaning=_("Link to unsubscribe. Every message needs one."),
        types="",
        inserts=f'<a href="{{{{ {UNSUBSCRIBE} }}}}">{_("Unsubscribe")}</a>',
    )


class EditorAdmin(OwnedModelAdmin):
    """Pages with a source and a frame that shows what becomes of it."""

    class Media:
        css = {"all": ["massmail/admin.css", "massmail/message.css"]}
        js = [Script(f"massmail/{name}.js", defer=True) for name in ("source", "live_preview", "images", "unsaved")]

    # What a model says about itself ---------------------------------------------------------------------------------

    def as_message(self, obj: Any) -> Message:
        """Return the message that shows `obj`."""
        raise NotImplementedError

    def written(self, data: QueryDict, owner_id: Any) -> Message:
        """Return the unsaved message that stands in a form."""
        raise NotImplementedError

    def problems(self, message: Message) -> list[CompositionError]:
        """Return what is wrong with `message`, at the form's own fields."""
        return check(message, variables=known_variables())

    def remarks(self, message: Message) -> list[Remark]:
        """Return what could be better in `message`, at the form's own fields."""
        senders = EmailAccount.objects.filter(owner=message.owner_id, massmail=True)
        return lint(message, senders=senders)

    # Addresses ------------------------------------------------------------------------------------------------------

    def get_urls(self) -> list[Any]:
        def named(view: Any, name: str) -> dict[str, Any]:
            return {"view": self.admin_site.admin_view(view), "name": f"massmail_{self.opts.model_name}_{name}"}

        return [
            path("live/", **named(self.live_view, "live_add")),
            path("recipients/", **named(self.recipients_view, "recipients_add")),
            path("<path:object_id>/live/", **named(self.live_view, "live")),
            path("<path:object_id>/recipients/", **named(self.recipients_view, "recipients")),
            path("<path:object_id>/preview/", **named(self.preview_view, "preview")),
            *super().get_urls(),
        ]

    # Views ----------------------------------------------------------------------------------------------------------

    def preview_view(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """Show the saved object: as a document, or with `part=facts` what stands around the frame."""
        obj = self.get_object(request, unquote(object_id))
        if not self.has_view_permission(request, obj):
            raise PermissionDenied
        return self._shown(request, request.GET, self.as_message(obj))

    def live_view(self, request: HttpRequest, object_id: str | None = None) -> HttpResponse:
        """Show what stands in the form, unsaved, to those who may save it."""
        if request.method != "POST":
            return HttpResponseNotAllowed(["POST"])
        obj = self.get_object(request, unquote(object_id)) if object_id is not None else None
        allowed = self.has_add_permission(request) if obj is None else self.has_change_permission(request, obj)
        if not allowed:
            raise PermissionDenied
        return self._shown(request, request.POST, self.written(request.POST, self._owner_id(request, obj)))

    def recipients_view(self, request: HttpRequest, object_id: str | None = None) -> JsonResponse:
        """Return recipients of the object's owner that `?q=…` finds."""
        obj = self.get_object(request, unquote(object_id)) if object_id is not None else None
        if not self.has_view_permission(request, obj):
            raise PermissionDenied
        groups = find_people(self._owner_id(request, obj), request.GET.get("q", ""))
        return JsonResponse({"groups": [group.as_json() for group in groups]})

    def _owner_id(self, request: HttpRequest, obj: Any) -> Any:
        """Return whose library and recipients count: the owner's, or of something new that of whoever writes it."""
        return request.user.pk if obj is None else obj.owner_id

    def _shown(self, request: HttpRequest, asked: QueryDict, message: Message) -> HttpResponse:
        chosen = find_person(message.owner_id, asked.get("recipient", ""))
        if asked.get("part") == "facts":
            return JsonResponse(self._facts(message, chosen))
        try:
            return previews.shown(request, previews.message_preview(message, values_for(message, chosen)))
        except CompositionError as error:
            return previews.failed(error)

    def _facts(self, message: Message, chosen: Chosen | None) -> dict[str, Any]:
        """Return the inbox line and the text part as `chosen` reads them, and all that is wrong with `message`."""
        said = self.said(message)
        try:
            return {**said, "notes": missing(message, chosen), **inbox_facts(message, chosen)}
        except CompositionError:
            return {**said, "notes": []}

    def said(self, message: Message) -> dict[str, list[dict[str, Any]]]:
        """Return all errors of `message`, and the remarks about it: none where a line has an error already."""
        errors = self.problems(message)
        lines = {(error.field, error.line) for error in errors if error.line}
        return {
            "problems": [
                {"field": error.field, "line": error.line, "column": error.column, "text": in_words(error)}
                for error in errors
            ],
            "remarks": [
                {"field": each.field, "line": each.line, "text": remark_in_words(each), "warns": not each.stops}
                for each in self.remarks(message)
                if (each.field, each.line) not in lines
            ],
        }

    # The page -------------------------------------------------------------------------------------------------------

    def editor_context(self, request: HttpRequest, obj: Any) -> dict[str, Any]:
        """Return what the templates of the editor show, for `obj` or something new."""
        writable = self.has_add_permission(request) if obj is None else self.has_change_permission(request, obj)
        key = [] if obj is None else [obj.pk]
        suffix = "_add" if obj is None else ""
        context = {
            "writable": writable,
            "placeholders": [unsubscribe_placeholder(), *placeholders()] if writable else [],
            "recipients_url": page_url(self.admin_site, self.model, f"recipients{suffix}", *key),
            "people": find_people(self._owner_id(request, obj)),
            "library_owner": self._owner_id(request, obj),
            "live_url": page_url(self.admin_site, self.model, f"live{suffix}", *key) if writable else "",
            **self._library(request, obj),
        }
        return context if obj is None else context | self._saved_preview(obj)

    def _library(self, request: HttpRequest, obj: Any) -> dict[str, Any]:
        model_admin = self.admin_site._registry.get(Image)
        if model_admin is None or not model_admin.has_view_permission(request):
            return {}
        images = Image.objects.filter(Q(owner=self._owner_id(request, obj)) | Q(owner=None)).defer("thumbnail")
        own = obj is None or obj.owner_id == request.user.pk
        return {
            "images": [
                (each, thumbnail_url(self.admin_site, each), image_tag(each))
                for each in images.order_by("-pk")[:IMAGES_SHOWN]
            ],
            "library_url": page_url(self.admin_site, Image, "changelist"),
            # An upload goes into the library of who uploads it.
            "upload_url": page_url(self.admin_site, Image, "upload")
            if own and add_url(request, self.admin_site, Image)
            else "",
        }

    def _saved_preview(self, obj: Any) -> dict[str, Any]:
        """Return the inbox line as a recipient reads it and where the frame finds the rest; little if it is broken."""
        message, url = self.as_message(obj), page_url(self.admin_site, self.model, "preview", obj.pk)
        try:
            return {"preview_url": url, "inbox": inbox_facts(message, None)}
        except CompositionError as error:
            return {"preview_url": url, "preview_error": in_words(error)}


def values_for(message: Message, chosen: Chosen | None) -> Mapping[str, Any]:
    """Return what is filled in for `chosen`, or the usual recipient. Raises `CompositionError`."""
    return chosen.recipient_type.values(chosen.obj) if chosen else previews.usual_values(message)


def inbox_facts(message: Message, chosen: Chosen | None) -> dict[str, str]:
    """Return what stands in an inbox, subject and the line after it, and the text part. Raises `CompositionError`."""
    values = values_for(message, chosen)
    rendered = previews.message_preview(message, values)
    # Without a preheader, inboxes show how the text begins.
    line = " ".join((preheader_line(message, values) or rendered.text).split())
    return {"subject": rendered.subject, "preheader": line[:INBOX_LINE], "text": rendered.text}


def missing(message: Message, chosen: Chosen | None) -> list[str]:
    """Return which variables of `message` the chosen recipient's type does not have."""
    if chosen is None:
        return []
    kind = chosen.recipient_type.model_class._meta.verbose_name_plural
    return [
        _("%(type)s have no variable “%(name)s”: a mailing to them can't start with it.")
        % {"type": capfirst(kind), "name": name}
        for name in sorted(variables_used(message) - set(chosen.recipient_type.variables))
    ]


def owned_or_none(objects: Any, owner_id: Any, key: str) -> Any:
    """Return the owner's object behind the text of a primary key, or None."""
    return objects.filter(owner_id=owner_id, pk=int(key)).first() if key.isdecimal() and len(key) < 19 else None
