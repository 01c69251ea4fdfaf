"""Email accounts: what they may send, what holds them, and passwords that go in and never come out."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from django.contrib import admin, messages
from django.contrib.admin.utils import unquote
from django.contrib.admin.views.main import ChangeList
from django.core.exceptions import PermissionDenied
from django.db.models import Model
from django.http import HttpRequest, HttpResponse, HttpResponseNotAllowed, HttpResponseRedirect
from django.template.loader import render_to_string
from django.urls import path
from django.utils import timezone
from django.utils.decorators import method_decorator
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy
from django.views.decorators.debug import sensitive_post_parameters

from massmail.admin.deleting import accounts_with_history
from massmail.admin.forms import EmailAccountForm
from massmail.admin.owned import VIEW_ALL, OwnedModelAdmin
from massmail.admin.places import change_url, page_url
from massmail.engine.holds import daily_limit, explain_many
from massmail.engine.window import local_day
from massmail.models import AccountDay, EmailAccount, MassmailSettings
from massmail.outcomes import release_account


def describe(accounts: Iterable[Any]) -> None:
    """Note on each account its hold, what it used today and its limit, in a constant number of queries."""
    accounts, now, settings = list(accounts), timezone.now(), MassmailSettings.load()
    holds = explain_many(accounts, now=now)
    days = AccountDay.objects.filter(account__in=accounts, date=local_day(now, settings.zone))
    used = dict(days.values_list("account", "used"))
    for account in accounts:
        account.hold = holds[account.pk]
        account.used_today = used.get(account.pk, 0)
        account.limit_today = daily_limit(account, settings)


class EmailAccountChangeList(ChangeList):
    def get_results(self, request: HttpRequest) -> None:
        super().get_results(request)
        self.result_list = list(self.result_list)
        describe(self.result_list)


@admin.display(description=gettext_lazy("today"))
def today(account: Any) -> str:
    return render_to_string("massmail/admin/account_today.html", {"account": account})


class EmailAccountAdmin(OwnedModelAdmin):
    form = EmailAccountForm
    list_display = ["name", "from_email", "main", "massmail", today, "state"]
    list_filter = ["main", "massmail"]
    list_select_related = ["owner"]
    search_fields = ["name", "from_email"]
    fieldsets = [
        (None, {"fields": ["name", "from_email", "from_name", "reply_to"]}),
        (gettext_lazy("Mailing"), {"fields": ["massmail", "main", "emails_per_day", "paced"]}),
        (
            gettext_lazy("Outgoing mail (SMTP)"),
            {
                "fields": [
                    ("smtp_host", "smtp_port", "smtp_security"),
                    "smtp_username",
                    "new_smtp_password",
                    "remove_smtp_password",
                ]
            },
        ),
        (
            gettext_lazy("Incoming mail (IMAP)"),
            {
                "fields": [
                    "do_import",
                    ("imap_host", "imap_port", "imap_security"),
                    "imap_username",
                    "new_imap_password",
                    "remove_imap_password",
                ],
                "classes": ["collapse"],
            },
        ),
    ]

    class Media:
        css = {"all": ["massmail/admin.css"]}

    @admin.display(description=gettext_lazy("state"))
    def state(self, account: Any) -> str:
        release = page_url(self.admin_site, EmailAccount, "release", account.pk) if account.hold_reason else ""
        return render_to_string("massmail/admin/account_state.html", {"account": account, "release_url": release})

    def get_list_filter(self, request: HttpRequest) -> Any:
        """Spare a manager with a handful of accounts the filters."""
        return super().get_list_filter(request) if request.user.has_perm(VIEW_ALL) else []

    def get_changelist(self, request: HttpRequest, **kwargs: Any) -> type[ChangeList]:
        return EmailAccountChangeList

    def get_fieldsets(self, request: HttpRequest, obj: Any = None) -> Any:
        """Leave out what can't be done: removing a password that is not there, entering one without the right to."""
        hidden = {f"remove_{name}" for name in self.form.secrets if obj is None or not has_secret(obj, name)}
        if obj is not None and not self.has_change_permission(request, obj):
            hidden |= {f"{verb}_{name}" for verb in ("new", "remove") for name in self.form.secrets}
        return [
            (title, {**options, "fields": [name for name in options["fields"] if name not in hidden]})
            for title, options in super().get_fieldsets(request, obj)
        ]

    @method_decorator(sensitive_post_parameters("new_smtp_password", "new_imap_password"))
    def changeform_view(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        return super().changeform_view(request, *args, **kwargs)

    def render_change_form(self, request: HttpRequest, context: Any, *args: Any, **kwargs: Any) -> HttpResponse:
        if obj := kwargs.get("obj"):
            describe([obj])
            context["account"] = obj
            if obj.hold_reason and self.has_change_permission(request, obj):
                context["release_url"] = page_url(self.admin_site, EmailAccount, "release", obj.pk)
        return super().render_change_form(request, context, *args, **kwargs)

    def get_urls(self) -> list[Any]:
        view = self.admin_site.admin_view(self.release_view)
        return [path("<path:object_id>/release/", view, name="massmail_emailaccount_release"), *super().get_urls()]

    def release_view(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """End the hold of an account: by POST, and only by those who may change it."""
        if request.method != "POST":
            return HttpResponseNotAllowed(["POST"])
        account = self.get_object(request, unquote(object_id))
        if not self.has_change_permission(request, account):
            raise PermissionDenied
        release_account(account, by=request.user)
        self.message_user(
            request, _("The account “%(account)s” is released.") % {"account": account.name}, messages.SUCCESS
        )
        return HttpResponseRedirect(change_url(self.admin_site, account))

    def get_deleted_objects(self, objs: Iterable[Any], request: HttpRequest) -> Any:
        """Say which accounts have to stay, as the record of what was sent through them."""
        accounts = list(objs)
        if kept := accounts_with_history(accounts):
            # Before Django looks for everything that was ever sent through them.
            return [], {}, set(), kept
        return super().get_deleted_objects(accounts, request)


def has_secret(account: Model, name: str) -> bool:
    return bool(getattr(account, name)) or getattr(account, "secret_lost", False)
