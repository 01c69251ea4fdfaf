"""Who sees and touches what: the base of every page about something that has an owner.

Managers have their own objects, holders of `massmail.view_all` may look at everybody's, superusers may do everything.
Somebody else's object is a 404 at every address: that it exists is nobody's business either.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from typing import Any

from django.contrib import admin
from django.db import IntegrityError
from django.db.models import QuerySet
from django.http import Http404, HttpRequest, HttpResponse
from django.utils.text import capfirst
from django.utils.translation import gettext as _

from massmail.admin.places import add_url
from massmail.recipient_types import follow

VIEW_ALL = "massmail.view_all"


class OwnedModelAdmin(admin.ModelAdmin):
    """Pages about a model with an owner; its forms derive from `massmail.admin.forms.OwnedForm`."""

    #: Lookup path from the model to the user who owns its objects.
    owner_path = "owner"
    #: What links to the list may filter by, besides its filters.
    linked_lookups: Sequence[str] = ()
    #: What the list says as long as there is nothing, and what one would add something for.
    none_yet: Any = ""
    what_for: Any = ""

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        queryset = super().get_queryset(request)
        if request.user.has_perm(VIEW_ALL):
            return queryset
        return queryset.filter(**{self.owner_path: request.user})

    def get_urls(self) -> list[Any]:
        """Leave out Django's last address, which leads whatever is unknown on to `…/change/`: unknown is a 404."""
        return [each for each in super().get_urls() if str(each.pattern) != "<path:object_id>/"]

    def get_object(self, request: HttpRequest, object_id: str, from_field: str | None = None) -> Any:
        """Return the object; raise `Http404` where Django would redirect and tell what is not there."""
        obj = super().get_object(request, object_id, from_field)
        if obj is None:
            raise Http404(_("There is no such page."))
        return obj

    def lookup_allowed(self, lookup: str, value: Any, request: HttpRequest) -> bool:
        """Allow what the list's filters ask. `?smtp_password__regex=` would answer questions about the ciphertext."""
        filters = [each[0] if isinstance(each, tuple) else each for each in self.get_list_filter(request)]
        names = {each if isinstance(each, str) else each.parameter_name for each in filters}
        known = lookup.partition("__")[0] in names or lookup in self.linked_lookups
        return known and super().lookup_allowed(lookup, value, request)

    def _has_own(self, request: HttpRequest) -> bool:
        user = request.user
        if user.is_superuser or not user.has_perm(VIEW_ALL):
            return True  # everything in the list is theirs to delete
        return self.get_queryset(request).filter(**{self.owner_path: user}).exists()

    def owns(self, request: HttpRequest, obj: Any) -> bool:
        """Tell whether `obj` is the user's to change; a list of links asks this for each line, without a query."""
        *way, owner = self.owner_path.split("__")
        holder = follow(obj, "__".join(way)) if way else obj
        key = getattr(holder, holder._meta.get_field(owner).attname)
        return request.user.is_superuser or key == request.user.pk

    def has_view_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        if request.user.has_perm(VIEW_ALL):
            return True
        return super().has_view_permission(request, obj) and (obj is None or self.owns(request, obj))

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return super().has_change_permission(request, obj) and (obj is None or self.owns(request, obj))

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        if not super().has_delete_permission(request, obj):
            return False
        # Those who may only look at what is in the list are not offered to delete it.
        return self._has_own(request) if obj is None else self.owns(request, obj)

    def get_list_display(self, request: HttpRequest) -> Any:
        return [*super().get_list_display(request), *self._owner_column(request)]

    def get_list_filter(self, request: HttpRequest) -> Any:
        column = self._owner_column(request) if self.owner_path == "owner" else []
        return [*super().get_list_filter(request), *((name, admin.RelatedOnlyFieldListFilter) for name in column)]

    def _owner_column(self, request: HttpRequest) -> list[str]:
        return [self.owner_path] if request.user.has_perm(VIEW_ALL) else []

    def changelist_view(self, request: HttpRequest, extra_context: Any = None) -> HttpResponse:
        """Call the list by what it lists, where Django says "Select … to change"."""
        context = {
            "title": capfirst(self.opts.verbose_name_plural),
            "none_yet": self.none_yet,
            "what_for": self.what_for,
            "add_url": add_url(request, self.admin_site, self.model),
        }
        return super().changelist_view(request, {**context, **(extra_context or {})})

    def get_fieldsets(self, request: HttpRequest, obj: Any = None) -> Any:
        """Show the owner to those who see more owners than one."""
        first, *others = super().get_fieldsets(request, obj)
        if self.owner_path == "owner" and (request.user.is_superuser or (obj and request.user.has_perm(VIEW_ALL))):
            title, options = first
            first = (title, {**options, "fields": ["owner", *options["fields"]]})
        return [first, *others]

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> Any:
        """Let superusers choose the owner of something new. After that it stays: secrets do not change hands."""
        chosen = obj is None and request.user.is_superuser
        return [*super().get_readonly_fields(request, obj), *([] if chosen else ["owner"])]

    def get_form(self, request: HttpRequest, obj: Any = None, change: bool = False, **kwargs: Any) -> Any:
        form = super().get_form(request, obj, change=change, **kwargs)
        return type(form.__name__, (form,), {"user": request.user})

    def changeform_view(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        """Look twice where somebody else's form was saved in the same instant, against a constraint of the database.

        The first try is rolled back. The second finds what the other one wrote, and the form can say so.
        """
        with suppress(IntegrityError):
            return super().changeform_view(request, *args, **kwargs)
        return super().changeform_view(request, *args, **kwargs)

    def save_model(self, request: HttpRequest, obj: Any, form: Any, change: bool) -> None:
        """Write what the form shows and nothing else: other columns have other writers, at work right now."""
        obj.save(update_fields=form.written_fields() if change else None)


class ReadOnlyModelAdmin(OwnedModelAdmin):
    """Pages to look at. They are reached from a mailing and do not stand on the index."""

    owner_path = "mailing__owner"

    def get_model_perms(self, request: HttpRequest) -> dict[str, bool]:
        return {}

    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False
