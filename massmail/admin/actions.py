"""What the host's own pages get: the action menu of its lists, columns, filters, and the block "Mailings"."""

from __future__ import annotations

from typing import Any

from django.contrib import admin, messages
from django.core import checks
from django.db import transaction
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.loader import render_to_string
from django.utils.translation import gettext_lazy as _
from django.utils.translation import ngettext

from massmail.admin.host_columns import HostColumns
from massmail.admin.host_list_page import HostListPage
from massmail.admin.panel_pages import HostPanel
from massmail.admin.places import change_url, page_url
from massmail.audience import Creation, create_mailing, sole_owner
from massmail.engine.lanes import set_vip
from massmail.exceptions import AudienceError, MassmailConfigurationError
from massmail.models import LeftOut
from massmail.recipient_types import type_for


class MassmailAdminMixin(HostPanel, HostColumns, HostListPage):
    """For the `ModelAdmin` of a recipient type: `class ContactAdmin(MassmailAdminMixin, admin.ModelAdmin)`.

    It adds actions to the list, columns and filters (`HostColumns`), a button above it (`HostListPage`), and a block on
    the page of each object (`HostPanel`). The actions stand in the menu of those who may use them. They take the
    queryset as it is: "select all matching" hands over everybody on all pages, and nothing is ever listed by its id.
    `actions = None` still means no menu.
    """

    def __init__(self, model: type[Any], admin_site: admin.AdminSite) -> None:
        super().__init__(model, admin_site)
        if self.actions is not None:
            self.actions = [*self.actions, "massmail_create_mailing", "massmail_mark_vip", "massmail_unmark_vip"]

    def has_massmail_mailing_permission(self, request: HttpRequest) -> bool:
        return request.user.has_perm("massmail.add_mailing")

    def has_massmail_vip_permission(self, request: HttpRequest) -> bool:
        return request.user.has_perm("massmail.change_recipient")

    def check(self, **kwargs: Any) -> list[checks.CheckMessage]:
        errors = super().check(**kwargs)
        try:
            type_for(self.model)
        except MassmailConfigurationError as error:
            errors.append(checks.Error(str(error), obj=type(self), id="massmail.E008"))
        return errors

    @admin.action(description=_("Create mailing"), permissions=["massmail_mailing"])
    def massmail_create_mailing(self, request: HttpRequest, queryset: QuerySet[Any]) -> HttpResponse | None:
        try:
            owner = sole_owner(queryset) if request.user.is_superuser else request.user
            with transaction.atomic():
                creation = create_mailing(owner=owner, recipients=queryset)
                transaction.set_rollback(not creation.added)
        except AudienceError as error:
            self.message_user(request, str(error), messages.ERROR)
            return None
        if not creation.added:
            self.message_user(
                request, render_to_string("massmail/admin/nobody.html", {"creation": creation}), messages.WARNING
            )
            return None
        left_outs = page_url(self.admin_site, LeftOut, "changelist")
        self.message_user(request, report(creation, left_outs), messages.SUCCESS)
        return HttpResponseRedirect(change_url(self.admin_site, creation.mailing))

    @admin.action(description=_("Mark as VIP"), permissions=["massmail_vip"])
    def massmail_mark_vip(self, request: HttpRequest, queryset: QuerySet[Any]) -> None:
        mine, foreign = self._massmail_mine(request, queryset)
        changed = set_vip(mine, vip=True, by=request.user)
        self.message_user(
            request,
            ngettext(
                "%(count)d recipient marked as VIP. The owner's main account writes to VIPs, and to nobody else.",
                "%(count)d recipients marked as VIP. The owner's main account writes to VIPs, and to nobody else.",
                changed,
            )
            % {"count": changed},
        )
        self._massmail_tell_foreign(request, foreign)

    @admin.action(description=_("Remove VIP status"), permissions=["massmail_vip"])
    def massmail_unmark_vip(self, request: HttpRequest, queryset: QuerySet[Any]) -> None:
        mine, foreign = self._massmail_mine(request, queryset)
        changed = set_vip(mine, vip=False, by=request.user)
        self.message_user(
            request,
            ngettext(
                "VIP status removed from %(count)d recipient.", "VIP status removed from %(count)d recipients.", changed
            )
            % {"count": changed},
        )
        self._massmail_tell_foreign(request, foreign)

    def _massmail_mine(self, request: HttpRequest, queryset: QuerySet[Any]) -> tuple[QuerySet[Any], int]:
        """Return what of `queryset` the user may mark, and the number of the others."""
        if request.user.is_superuser:
            return queryset, 0
        mine = {type_for(self.model).owner: request.user}
        return queryset.filter(**mine), queryset.exclude(**mine).count()

    def _massmail_tell_foreign(self, request: HttpRequest, foreign: int) -> None:
        if foreign:
            self.message_user(
                request,
                ngettext(
                    "%(count)d selected recipient is not assigned to you and stays as it is.",
                    "%(count)d selected recipients are not assigned to you and stay as they are.",
                    foreign,
                )
                % {"count": foreign},
                messages.WARNING,
            )


def report(creation: Creation, left_outs: str) -> str:
    """Say in HTML how many were taken in and left out, with links to the list of left-outs at the URL `left_outs`."""
    return render_to_string("massmail/admin/creation.html", {"creation": creation, "left_outs": left_outs})
