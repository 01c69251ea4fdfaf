"""The button "Create mailing" on the host's lists, which takes the filters and the search along."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

from django.contrib import admin
from django.contrib.admin.views.main import ChangeList
from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse

from massmail.admin.listed import UNREAD, narrowing, unread
from massmail.admin.places import page_url
from massmail.models import Mailing
from massmail.recipient_types import find_type

if TYPE_CHECKING:
    Base = admin.ModelAdmin[Any]
else:
    Base = object


class HostListPage(Base):
    """The part of `MassmailAdminMixin` that puts the button on the list, in whatever template the list has.

    `massmail_create_button = False` leaves it away.
    """

    massmail_create_button: bool = True

    def changelist_view(self, request: HttpRequest, extra_context: Any = None) -> HttpResponse:
        response = super().changelist_view(request, extra_context)
        if isinstance(response, TemplateResponse) and response.context_data is not None:
            changelist = response.context_data.get("cl")
            if isinstance(changelist, ChangeList) and self._massmail_offers_creating(request, changelist):
                self._massmail_put_button(response, changelist)
        return response

    def get_changelist(self, request: HttpRequest, **kwargs: Any) -> type[ChangeList]:
        found = super().get_changelist(request, **kwargs)
        return unread(found) if hasattr(request, UNREAD) else found

    def _massmail_offers_creating(self, request: HttpRequest, changelist: ChangeList) -> bool:
        return (
            self.massmail_create_button
            and not changelist.is_popup
            and find_type(self.model) is not None
            and self.admin_site.is_registered(Mailing)
            and request.user.has_perm("massmail.add_mailing")
        )

    def _massmail_put_button(self, response: TemplateResponse, changelist: ChangeList) -> None:
        narrowed = narrowing(changelist)
        query = {"type": self.opts.label_lower} | ({"list": narrowed} if narrowed else {})
        response.context_data |= {  # type: ignore[operator]
            "massmail_list_page": response.resolve_template(response.template_name),
            "massmail_narrowed": bool(narrowed),
            "massmail_create_url": f"{page_url(self.admin_site, Mailing, 'create')}?{urlencode(query)}",
        }
        response.template_name = "massmail/admin/host_change_list.html"
