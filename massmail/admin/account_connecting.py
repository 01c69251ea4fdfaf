"""The buttons "Fill in" and "Test connection" of an account's form: both take it as it stands, and save nothing."""

from __future__ import annotations

import json
from typing import Any

from django.contrib import messages
from django.contrib.admin.utils import unquote
from django.core.exceptions import PermissionDenied
from django.db import transaction
from django.http import HttpRequest, HttpResponse, HttpResponseNotAllowed, HttpResponseRedirect, JsonResponse, QueryDict
from django.shortcuts import render
from django.template.loader import render_to_string
from django.urls import path
from django.utils.decorators import method_decorator
from django.utils.translation import gettext as _
from django.views.decorators.debug import sensitive_post_parameters, sensitive_variables

from massmail import connecting
from massmail.admin import providers
from massmail.admin.owned import OwnedModelAdmin
from massmail.admin.places import change_url, page_url
from massmail.connecting.trial import keep_size_limit, try_account
from massmail.models import EmailAccount

SECRETS = ("new_smtp_password", "new_imap_password")
#: The fields that a connection depends on; what is wrong with others does not matter to a test.
RELEVANT = {
    "from_email", "smtp_host", "smtp_port", "smtp_security", "smtp_username", "new_smtp_password",
    "remove_smtp_password", "imap_host", "imap_port", "imap_security", "imap_username", "new_imap_password",
    "remove_imap_password",
}  # fmt: skip


class ConnectingMixin(OwnedModelAdmin):
    """For the admin of accounts: proposals for the form, and trials of what stands in it."""

    def get_urls(self) -> list[Any]:
        # A server may take its time: no transaction waits for it.
        test = transaction.non_atomic_requests(self.admin_site.admin_view(self.test_view))
        fill = transaction.non_atomic_requests(self.admin_site.admin_view(self.fill_view))
        return [
            path("fill-in/", fill, name="massmail_emailaccount_fill"),
            path("test/", test, name="massmail_emailaccount_test_new"),
            path("<path:object_id>/test/", test, name="massmail_emailaccount_test"),
            *super().get_urls(),
        ]

    def get_form(self, request: HttpRequest, obj: Any = None, change: bool = False, **kwargs: Any) -> Any:
        form = super().get_form(request, obj, change=change, **kwargs)
        return type(form.__name__, (form,), {"fill_url": page_url(self.admin_site, EmailAccount, "fill")})

    # Fill in

    @method_decorator(sensitive_post_parameters(*SECRETS))
    def fill_view(self, request: HttpRequest) -> HttpResponse:
        """Propose what to fill into the form: as JSON to its script, or else by the form for a new account itself."""
        if request.method != "POST":
            return HttpResponseNotAllowed(["POST"])
        if not (self.has_add_permission(request) or self.has_change_permission(request)):
            raise PermissionDenied
        address = request.POST.get("from_email", "").strip()
        local_part, _at, domain = address.rpartition("@")
        if not (local_part and domain):
            return self._without_address(request)
        found = providers.find(address, chosen=request.POST.get("provider", ""))
        proposal = providers.propose(
            found.preset, address=address, typed=request.POST.dict(), before=_before(request), usual=_usual()
        )
        context = self._help_context(found, proposal)
        if not request.accepts("text/html"):
            help_text = render_to_string("massmail/admin/provider_help.html", context, request)
            return JsonResponse({"values": proposal.values, "preset": found.preset.name, "help": help_text})
        return self._filled_form(request, found, proposal, context)

    def _without_address(self, request: HttpRequest) -> HttpResponse:
        words = _("Enter the from address first.")
        if not request.accepts("text/html"):
            return JsonResponse({"values": {}, "help": words})
        self.message_user(request, words, messages.ERROR)
        return HttpResponseRedirect(f"{page_url(self.admin_site, EmailAccount, 'add')}?{_initial(request).urlencode()}")

    def _help_context(self, found: providers.Found, proposal: providers.Proposal) -> dict[str, Any]:
        names = {field.name: field.verbose_name for field in self.opts.concrete_fields}
        return {
            "preset": found.preset,
            "how": found.how,
            "kept": [names[name] for name in proposal.kept],
            "provider": connecting.find_provider(found.preset.oauth) if found.preset.oauth else None,
        }

    def _filled_form(
        self, request: HttpRequest, found: providers.Found, proposal: providers.Proposal, context: dict[str, Any]
    ) -> HttpResponse:
        """Lead to the form for a new account with what was typed, but for passwords, and what is proposed."""
        initial = _initial(request)
        for name, value in proposal.values.items():
            initial[name] = value
        initial["provider"], initial["filled_in"] = found.preset.name, json.dumps(_before(request) | proposal.values)
        for words in filter(None, (context["how"], _kept(context["kept"]))):
            self.message_user(request, words)
        return HttpResponseRedirect(f"{page_url(self.admin_site, EmailAccount, 'add')}?{initial.urlencode()}")

    # Test connection

    @method_decorator(sensitive_post_parameters(*SECRETS))
    def test_view(self, request: HttpRequest, object_id: str | None = None) -> HttpResponse:
        """Try the servers in the form, or those that are saved if no form came along; the form is not saved."""
        if request.method != "POST":
            return HttpResponseNotAllowed(["POST"])
        saved = None if object_id is None else self.get_object(request, unquote(object_id))
        allowed = self.has_add_permission(request) if saved is None else self.has_change_permission(request, saved)
        if not allowed:
            raise PermissionDenied
        context = self._trial(request, saved)
        if request.GET.get("part"):
            return render(request, "massmail/admin/account_trial.html", context)
        page = {
            **self.admin_site.each_context(request),
            "title": _("Test connection"),
            "opts": self.opts,
            "media": self.media,
            "back_url": change_url(self.admin_site, saved) if saved else page_url(self.admin_site, EmailAccount, "add"),
        }
        return render(request, "massmail/admin/account_trial_page.html", page | context)

    @sensitive_variables()
    def _trial(self, request: HttpRequest, saved: EmailAccount | None) -> dict[str, Any]:
        """Return the result for the template: conversations, or what is wrong with the form."""
        unsaved = False
        if saved is not None and "smtp_host" not in request.POST:
            account = saved
        else:
            form = self.get_form(request, saved, change=saved is not None)(request.POST, instance=saved)
            form.full_clean()
            wrong = [(form[name].label, errors) for name, errors in form.errors.items() if name in RELEVANT]
            if wrong:
                return {"wrong": wrong}
            account, unsaved = form.instance, bool(RELEVANT & set(form.changed_data))
        conversations = try_account(account)
        if account.pk and not unsaved:
            keep_size_limit(account, conversations)
        good = all(conversation.good for conversation in conversations)
        return {
            "conversations": conversations,
            "good": good,
            "unsaved": unsaved,
            "release_url": self._release_url(saved) if good else "",
        }

    def _release_url(self, saved: EmailAccount | None) -> str:
        held = saved is not None and saved.hold_reason
        return page_url(self.admin_site, EmailAccount, "release", saved.pk) if saved and held else ""


def _usual() -> dict[str, Any]:
    """Return what stands in the form for a new account before anybody types."""
    fields = EmailAccount._meta.concrete_fields
    return {field.name: field.get_default() for field in fields if field.name in providers.FIELDS}


def _before(request: HttpRequest) -> dict[str, str]:
    """Return what was filled in the last time, which the form carries along."""
    try:
        before = json.loads(request.POST.get("filled_in", ""))
    except (ValueError, RecursionError):
        return {}
    if not isinstance(before, dict):
        return {}
    return {name: str(value) for name, value in before.items() if name in providers.FIELDS}


def _initial(request: HttpRequest) -> QueryDict:
    """Return what was typed as the query of the form for a new account; never a password."""
    initial = QueryDict(mutable=True)
    for name, value in request.POST.items():
        if name not in SECRETS and name != "csrfmiddlewaretoken" and not name.startswith("_"):
            initial[name] = str(value)
    return initial


def _kept(names: list[Any]) -> str:
    return _("Kept as you typed it: %(fields)s.") % {"fields": ", ".join(map(str, names))} if names else ""
