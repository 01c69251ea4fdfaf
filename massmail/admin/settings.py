"""The Massmail Settings, under their own heading on the index: one row, for superusers."""

from __future__ import annotations

from typing import Any

from django import forms
from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.db import models
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.utils import timezone
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from massmail.admin.forms import MassmailSettingsForm
from massmail.admin.places import page_url
from massmail.admin.settings_effects import effects
from massmail.models import MassmailSettings
from massmail.outcomes import let_go

THE_ROW = "1"
#: What recipients wait for.
LIMITS = frozenset(
    {"emails_per_hour_to_domain", "domain_limits", "emails_per_recipient", "recipient_days", "emails_per_company"}
)


class MassmailSettingsAdmin(admin.ModelAdmin):
    form = MassmailSettingsForm
    # Without Django's clock: it compares with the time zone of the site, and these hours have a zone of their own.
    formfield_overrides = {
        models.TimeField: {
            "widget": forms.TimeInput(format="%H:%M", attrs={"type": "time", "class": "vTextField vTimeField"})
        }
    }
    fieldsets = [
        (gettext_lazy("Daily limit"), {"fields": ["emails_per_day"]}),
        (
            gettext_lazy("Working hours"),
            {
                "fields": [
                    "use_business_time",
                    ("business_time_start", "business_time_end"),
                    "working_days",
                    "time_zone",
                ]
            },
        ),
        (gettext_lazy("Unsubscribing"), {"fields": ["unsubscribe_url"]}),
        (gettext_lazy("Pacing"), {"fields": [("gap_min", "gap_max"), "spread_evenly"]}),
        (
            gettext_lazy("Limits of recipients"),
            {
                "fields": [
                    "emails_per_hour_to_domain",
                    "domain_limits",
                    ("emails_per_recipient", "recipient_days"),
                    "emails_per_company",
                ]
            },
        ),
        (
            gettext_lazy("Guard rails"),
            {"fields": [("bounce_limit", "complaint_limit", "refusal_limit"), ("limit_sample", "guard_days")]},
        ),
    ]

    class Media:
        css = {"all": ["massmail/admin.css"]}

    def has_module_permission(self, request: HttpRequest) -> bool:
        return request.user.is_superuser

    def has_view_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return request.user.is_superuser

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return request.user.is_superuser

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def changelist_view(self, request: HttpRequest, extra_context: Any = None) -> HttpResponse:
        """Lead straight to the form: there is one row."""
        if not self.has_view_permission(request):
            raise PermissionDenied
        return HttpResponseRedirect(page_url(self.admin_site, MassmailSettings, "change", THE_ROW))

    def save_model(self, request: HttpRequest, obj: MassmailSettings, form: Any, change: bool) -> None:
        """Save, and look again at the recipients who wait for a limit that is another one now."""
        super().save_model(request, obj, form, change)
        if LIMITS & set(form.changed_data):
            let_go()

    def response_change(self, request: HttpRequest, obj: MassmailSettings) -> HttpResponse:
        """Stay: behind the form there is no list to go back to."""
        self.message_user(
            request, _("The Massmail Settings are saved. They hold from the next mail on."), messages.SUCCESS
        )
        for text in effects(obj, now=timezone.now()):
            self.message_user(request, text, messages.INFO)
        return HttpResponseRedirect(request.path)

    def get_object(self, request: HttpRequest, object_id: str, from_field: str | None = None) -> MassmailSettings:
        """Return the row, or the defaults: looking at them makes no row."""
        if object_id != THE_ROW:
            raise Http404(_("There is no such page."))
        return MassmailSettings.load()
