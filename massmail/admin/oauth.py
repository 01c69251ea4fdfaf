"""Connecting an account by OAuth2: the person goes to the provider, agrees there, and comes back with a code."""

from __future__ import annotations

import secrets
import time
from typing import Any

from django.contrib import messages
from django.contrib.admin.utils import unquote
from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseNotAllowed, HttpResponseRedirect
from django.shortcuts import render
from django.urls import path
from django.utils.translation import gettext as _
from django.views.decorators.debug import sensitive_variables

from massmail import connecting
from massmail.admin.places import change_url, page_url
from massmail.models import EmailAccount
from massmail.outcomes import release_account
from massmail.transport import oauth2
from massmail.transport.oauth2 import Grant, Provider

SESSION_KEY = "massmail_oauth"
#: Seconds a person has at the provider.
PATIENCE = 900
#: Journeys that one session may have begun at a time: several tabs.
JOURNEYS = 5


class OAuthMixin:
    """For the admin of accounts: the pages `connect`, `disconnect` and the one the provider sends people back to."""

    admin_site: Any
    get_object: Any
    has_change_permission: Any
    message_user: Any

    def get_urls(self) -> list[Any]:
        view = self.admin_site.admin_view
        return [
            path("oauth/back/", view(self.oauth_back_view), name="massmail_emailaccount_oauth_back"),
            path(
                "<path:object_id>/connect/<slug:provider>/",
                view(self.connect_view),
                name="massmail_emailaccount_connect",
            ),
            path("<path:object_id>/disconnect/", view(self.disconnect_view), name="massmail_emailaccount_disconnect"),
            *super().get_urls(),  # type: ignore[misc]
        ]

    def connect_view(self, request: HttpRequest, object_id: str, provider: str) -> HttpResponse:
        """Send the person to the provider: by POST, and for an account that they may change."""
        if request.method != "POST":
            return HttpResponseNotAllowed(["POST"])
        account = self._changeable(request, unquote(object_id))
        found = connecting.find_provider(provider)
        if found is None:
            raise Http404
        state, verifier = secrets.token_urlsafe(32), oauth2.new_verifier()
        _remember(request, state, account=account.pk, provider=provider, verifier=verifier)
        return HttpResponseRedirect(
            oauth2.authorization_url(
                found,
                redirect_uri=self._redirect_uri(request),
                state=state,
                verifier=verifier,
                login_hint=account.from_email,
            )
        )

    def oauth_back_view(self, request: HttpRequest) -> HttpResponse:
        """Take what the provider sends people back with. The state is good once, for this session, user and account."""
        journey = _recall(request, request.GET.get("state", ""))
        if journey is None:
            return self._turned_away(
                request, _("This page belongs to no connection that you have begun, or to one that is over.")
            )
        account = self._changeable(request, str(journey["account"]))
        provider = connecting.find_provider(journey["provider"])
        if provider is None:
            raise Http404
        error = self._finish(request, account, provider, journey)
        if error:
            self.message_user(request, error, messages.ERROR)
        else:
            self.message_user(
                request,
                _("“%(account)s” is connected with %(provider)s.")
                % {"account": account.name, "provider": provider.label},
                messages.SUCCESS,
            )
        return HttpResponseRedirect(change_url(self.admin_site, account))

    @sensitive_variables()
    def _finish(self, request: HttpRequest, account: EmailAccount, provider: Provider, journey: dict[str, Any]) -> str:
        """Trade the code for tokens and keep them; return what went wrong, or ""."""
        if "code" not in request.GET:
            why = request.GET.get("error_description") or request.GET.get("error") or _("no reason given")
            return _("%(provider)s did not connect the account: %(why)s") % {
                "provider": provider.label,
                "why": why[:300],
            }
        try:
            grant = oauth2.exchange(
                provider,
                code=request.GET["code"],
                verifier=journey["verifier"],
                redirect_uri=self._redirect_uri(request),
            )
        except oauth2.OAuthError as error:
            return str(error)
        if wrong := _mismatch(account, provider, grant):
            return wrong
        connecting.connect(account, provider, grant)
        release_account(account, by=request.user)
        return ""

    def disconnect_view(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """Forget the account's tokens: by POST."""
        if request.method != "POST":
            return HttpResponseNotAllowed(["POST"])
        account = self._changeable(request, unquote(object_id))
        connecting.disconnect(account)
        self.message_user(
            request,
            _("“%(account)s” is disconnected. It needs a password now.") % {"account": account.name},
            messages.SUCCESS,
        )
        return HttpResponseRedirect(change_url(self.admin_site, account))

    def _changeable(self, request: HttpRequest, object_id: str) -> EmailAccount:
        account: EmailAccount | None = self.get_object(request, object_id)
        if account is None:
            raise Http404
        if not self.has_change_permission(request, account):
            raise PermissionDenied
        return account

    def _redirect_uri(self, request: HttpRequest) -> str:
        return request.build_absolute_uri(page_url(self.admin_site, EmailAccount, "oauth_back"))

    def _turned_away(self, request: HttpRequest, why: str) -> HttpResponse:
        context = {**self.admin_site.each_context(request), "title": _("Not connected"), "why": why}
        return render(request, "massmail/admin/oauth_turned_away.html", context, status=400)


def _mismatch(account: EmailAccount, provider: Provider, grant: Grant) -> str:
    """Return why the tokens are not this account's; "" if they are."""
    if not grant.refresh_token:
        return _("%(provider)s gave no lasting permission. Connect again and agree to everything it asks.") % {
            "provider": provider.label
        }
    if grant.email and grant.email in {account.from_email.lower(), account.smtp_username.lower()}:
        return ""
    return _("You signed in as %(mailbox)s, but this account is %(account)s. Sign in with that mailbox.") % {
        "mailbox": grant.email or _("a mailbox without a name"),
        "account": account.from_email,
    }


def _remember(request: HttpRequest, state: str, **journey: Any) -> None:
    begun = dict(list(request.session.get(SESSION_KEY, {}).items())[1 - JOURNEYS :])
    request.session[SESSION_KEY] = begun | {state: {**journey, "user": str(request.user.pk), "at": time.time()}}


def _recall(request: HttpRequest, state: str) -> dict[str, Any] | None:
    """Return the journey that `state` belongs to, once."""
    begun = request.session.get(SESSION_KEY, {})
    journey: dict[str, Any] | None = begun.pop(state, None)
    if journey is None:
        return None
    request.session[SESSION_KEY] = begun
    if journey["user"] != str(request.user.pk) or time.time() - journey["at"] > PATIENCE:
        return None
    return journey
