"""Email accounts: what they may send, what holds them, and passwords that go in and never come out."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from django.contrib import admin, messages
from django.contrib.admin.utils import unquote
from django.contrib.admin.views.main import ChangeList
from django.contrib.admin.widgets import AdminTextInputWidget
from django.core.exceptions import PermissionDenied
from django.db import models
from django.db.models import Model
from django.http import HttpRequest, HttpResponse, HttpResponseNotAllowed, HttpResponseRedirect
from django.template.loader import render_to_string
from django.template.response import TemplateResponse
from django.urls import path
from django.utils.decorators import method_decorator
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy
from django.views.decorators.debug import sensitive_post_parameters

from massmail.admin.account_connecting import ConnectingMixin
from massmail.admin.account_copies import CopyForm, copy_account
from massmail.admin.account_page import count_recipients, describe, note_health, page_context
from massmail.admin.account_servers import distrusted
from massmail.admin.deleting import accounts_with_history
from massmail.admin.deliverability import DeliverabilityMixin
from massmail.admin.forms import EmailAccountForm
from massmail.admin.oauth import OAuthMixin
from massmail.admin.owned import VIEW_ALL, OwnedModelAdmin
from massmail.admin.places import change_url, page_url
from massmail.choices import AccountTrouble
from massmail.connecting.trial import forget_size_limit
from massmail.inbound import mailboxes
from massmail.models import EmailAccount
from massmail.outcomes import release_account

#: Trouble that is over, as far as anybody can tell, when the fields below have been entered anew.
MENDED_HERE = frozenset({AccountTrouble.LOGIN, AccountTrouble.ENCRYPTION, AccountTrouble.SERVER})
LOGIN_FIELDS = frozenset(
    {"smtp_host", "smtp_port", "smtp_security", "smtp_username", "new_smtp_password", "trust_servers"}
)


class EmailAccountChangeList(ChangeList):
    def get_results(self, request: HttpRequest) -> None:
        super().get_results(request)
        self.result_list = list(self.result_list)
        describe(self.result_list)
        count_recipients(self.result_list)
        note_health(self.result_list)
        sees_owners = request.user.has_perm(VIEW_ALL)
        for account in self.result_list:
            account.owner_shown = account.owner if sees_owners else None
            account.deliverability_url = page_url(
                self.model_admin.admin_site, EmailAccount, "deliverability", account.pk
            )
            held = account.hold_reason and self.model_admin.has_change_permission(request, account)
            account.release_url = (
                page_url(self.model_admin.admin_site, EmailAccount, "release", account.pk) if held else ""
            )


@admin.display(description=gettext_lazy("account"), ordering="name")
def account_name(account: Any) -> str:
    return render_to_string("massmail/admin/account_name.html", {"account": account})


@admin.display(description=gettext_lazy("state"))
def state(account: Any) -> str:
    return render_to_string("massmail/admin/account_state.html", {"account": account})


@admin.display(description=gettext_lazy("today"))
def today(account: Any) -> str:
    return render_to_string("massmail/admin/account_today.html", {"account": account})


@admin.display(description=gettext_lazy("last 30 days"))
def health(account: Any) -> str:
    return render_to_string("massmail/admin/account_health.html", {"account": account})


@admin.display(description=gettext_lazy("recipients"))
def recipients(account: Any) -> str:
    return render_to_string("massmail/admin/account_recipients.html", {"account": account})


class EmailAccountAdmin(OAuthMixin, ConnectingMixin, DeliverabilityMixin, OwnedModelAdmin):
    form = EmailAccountForm
    list_display = [account_name, state, today, health, recipients]
    list_filter = ["main", "massmail"]
    list_select_related = ["owner"]
    formfield_overrides = {models.GenericIPAddressField: {"widget": AdminTextInputWidget}}
    search_fields = ["name", "from_email"]
    none_yet = gettext_lazy("No email account yet")
    what_for = gettext_lazy(
        "Mailings leave through your email accounts, each within its daily limit. "
        "Enter an address: for the well-known providers the servers are filled in."
    )
    fieldsets = [
        (None, {"fields": ["from_email", "provider", "filled_in", "name", "from_name", "reply_to"]}),
        (
            gettext_lazy("Mailing"),
            {
                "fields": [
                    "massmail",
                    "main",
                    ("emails_per_day", "emails_per_hour"),
                    ("ramp_start", "ramp_step"),
                    "paced",
                    "lanes",
                ]
            },
        ),
        (
            gettext_lazy("Outgoing mail (SMTP)"),
            {
                "fields": [
                    ("smtp_host", "smtp_port", "smtp_security"),
                    "trust_servers",
                    "smtp_username",
                    "new_smtp_password",
                    "remove_smtp_password",
                    "relay_address",
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
            },
        ),
    ]

    class Media:
        css = {"all": ["massmail/admin.css"]}

    def get_list_display(self, request: HttpRequest) -> Any:
        """Leave out the column of owners: they stand below the names, so that the list fits beside its filters."""
        return self.list_display

    def get_list_filter(self, request: HttpRequest) -> Any:
        """Spare a manager with a handful of accounts the filters."""
        return super().get_list_filter(request) if request.user.has_perm(VIEW_ALL) else []

    def get_changelist(self, request: HttpRequest, **kwargs: Any) -> type[ChangeList]:
        return EmailAccountChangeList

    def get_fieldsets(self, request: HttpRequest, obj: Any = None) -> Any:
        """Leave out what can't be done: removing a password that is not there, entering one without the right to."""
        hidden = {f"remove_{name}" for name in self.form.secrets if obj is None or not has_secret(obj, name)}
        if not (request.user.is_superuser and obj is not None and distrusted(obj)):
            hidden.add("trust_servers")
        if obj is not None and not self.has_change_permission(request, obj):
            hidden |= {"provider", "filled_in"}
            hidden |= {f"{verb}_{name}" for verb in ("new", "remove") for name in self.form.secrets}
        closed = ["collapse"] if obj is not None and not obj.imap_host else []
        return [
            (
                title,
                {
                    **options,
                    "fields": [name for name in options["fields"] if name not in hidden],
                    "classes": closed if "do_import" in options["fields"] else [],
                },
            )
            for title, options in super().get_fieldsets(request, obj)
        ]

    @method_decorator(sensitive_post_parameters("new_smtp_password", "new_imap_password"))
    def changeform_view(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        return super().changeform_view(request, *args, **kwargs)

    def render_change_form(self, request: HttpRequest, context: Any, *args: Any, **kwargs: Any) -> HttpResponse:
        obj = kwargs.get("obj")
        allowed = self.has_add_permission(request) if obj is None else self.has_change_permission(request, obj)
        if allowed:
            page, keys = ("test", [obj.pk]) if obj else ("test_new", [])
            context["test_url"] = page_url(self.admin_site, EmailAccount, page, *keys)
        if obj:
            changeable = self.has_change_permission(request, obj)
            context |= page_context(request, self.admin_site, obj, changeable=changeable)
            if changeable and self.has_add_permission(request):
                context["copy_url"] = page_url(self.admin_site, EmailAccount, "copy", obj.pk)
        return super().render_change_form(request, context, *args, **kwargs)

    def save_model(self, request: HttpRequest, obj: Any, form: Any, change: bool) -> None:
        """Save, and try the mailbox again: what kept its mail from being read may be mended."""
        super().save_model(request, obj, form, change)
        if change and "smtp_host" in form.changed_data:
            forget_size_limit(obj)
        mailboxes.try_again(obj)
        if change and obj.hold_trouble in MENDED_HERE and LOGIN_FIELDS & set(form.changed_data):
            release_account(obj, by=request.user)

    def get_urls(self) -> list[Any]:
        release, copy = self.admin_site.admin_view(self.release_view), self.admin_site.admin_view(self.copy_view)
        return [
            path("<path:object_id>/release/", release, name="massmail_emailaccount_release"),
            path("<path:object_id>/copy/", copy, name="massmail_emailaccount_copy"),
            *super().get_urls(),
        ]

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

    def copy_view(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """Make a copy of an account without its secrets: by POST, and only by those who may change the original."""
        account = self.get_object(request, unquote(object_id))
        if not (self.has_change_permission(request, account) and self.has_add_permission(request)):
            raise PermissionDenied
        form = CopyForm(request.POST or None, account=account, user=request.user)
        if request.method != "POST" or not form.is_valid():
            return TemplateResponse(
                request, "massmail/admin/account_copy.html", self._copy_context(request, account, form)
            )
        owner = form.cleaned_data.get("owner") or account.owner
        copy = copy_account(account, name=form.cleaned_data["name"], owner=owner, by=request.user)
        text = _("“%(account)s” is made. Enter its password, then tick “Massmail”.") % {"account": copy.name}
        self.message_user(request, text, messages.SUCCESS)
        return HttpResponseRedirect(change_url(self.admin_site, copy))

    def _copy_context(self, request: HttpRequest, account: EmailAccount, form: CopyForm) -> dict[str, Any]:
        return {
            **self.admin_site.each_context(request),
            "title": _("Copy account"),
            "subtitle": account.name,
            "opts": self.opts,
            "original": account,
            "media": self.media,
            "form": form,
            "change_url": change_url(self.admin_site, account),
        }

    def get_deleted_objects(self, objs: Iterable[Any], request: HttpRequest) -> Any:
        """Say which accounts have to stay, as the record of what was sent through them."""
        accounts = list(objs)
        if kept := accounts_with_history(accounts):
            # Before Django looks for everything that was ever sent through them.
            return [], {}, set(), kept
        return super().get_deleted_objects(accounts, request)


def has_secret(account: Model, name: str) -> bool:
    return bool(getattr(account, name)) or getattr(account, "secret_lost", False)
