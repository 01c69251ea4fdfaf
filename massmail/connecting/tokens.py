"""The OAuth2 tokens of accounts: the only writer of `EmailAccount.oauth_*`."""

from __future__ import annotations

import datetime as dt

from django.db import transaction
from django.utils import timezone
from django.utils.translation import gettext as _
from django.views.decorators.debug import sensitive_variables

from massmail.choices import Obstacle, Phase
from massmail.connecting.providers import find_provider
from massmail.models import EmailAccount
from massmail.transport import Reply, TransportError, oauth2
from massmail.transport.oauth2 import Grant, Provider

#: A token is not used in its last minutes: the conversation it opens may take some.
MARGIN = dt.timedelta(minutes=5)
FIELDS = ["oauth_provider", "oauth_access_token", "oauth_refresh_token", "oauth_expires_at"]


def connect(account: EmailAccount, provider: Provider, grant: Grant) -> None:
    """Keep the tokens of `grant`, which `account` logs in with from now on."""
    account.oauth_provider = provider.name
    _keep(account, grant)


def disconnect(account: EmailAccount) -> None:
    """Forget the account's tokens: it logs in with its password again, if it has one."""
    account.oauth_provider = account.oauth_access_token = account.oauth_refresh_token = ""
    account.oauth_expires_at = None
    account.save(update_fields=FIELDS)


@sensitive_variables()
def access_token(account: EmailAccount) -> str:
    """Return a token that is good for the next minutes, fetched from the provider if need be.

    Raises `TransportError` as if the mail server had refused the login (the person has to connect again), or could not
    be reached (the provider does not answer).
    """
    if not _is_fresh(account):
        _refresh(account)
    return account.oauth_access_token


@sensitive_variables()
def renew(account: EmailAccount, *, refused: str) -> None:
    """Have another token than `refused`, which a server does not take although its time is not over.

    Providers end tokens early: after a change of the password, or when an administrator signs everybody out. Raises
    like `access_token`. Who comes second finds the token that the first has fetched.
    """
    _refresh(account, refused=refused)


def _is_fresh(account: EmailAccount) -> bool:
    expires = account.oauth_expires_at
    return bool(account.oauth_access_token) and expires is not None and expires > timezone.now() + MARGIN


@sensitive_variables()
def _refresh(account: EmailAccount, *, refused: str = "") -> None:
    """Refresh under the row's lock: a provider that rotates refresh tokens takes each of them once."""
    with transaction.atomic():
        row = EmailAccount.objects.select_for_update().get(pk=account.pk)
        if not _is_fresh(row) or row.oauth_access_token == refused:
            _keep(row, _fetch(row))
    for name in FIELDS:
        setattr(account, name, getattr(row, name))


@sensitive_variables()
def _fetch(account: EmailAccount) -> Grant:
    provider = find_provider(account.oauth_provider)
    if provider is None:
        raise _refused(
            _("“%(name)s” is not among MASSMAIL_OAUTH_PROVIDERS any more.") % {"name": account.oauth_provider}
        )
    if not account.oauth_refresh_token:
        raise _refused(_("%(provider)s gave no lasting permission.") % {"provider": provider.label})
    try:
        return oauth2.refresh(provider, account.oauth_refresh_token)
    except oauth2.OAuthRefused as error:
        raise _refused(str(error)) from None
    except oauth2.OAuthError as error:
        reply = Reply(phase=Phase.CONNECT, code=None, text=str(error), obstacle=Obstacle.NO_TOKEN)
        raise TransportError(reply) from None


def _refused(why: str) -> TransportError:
    return TransportError(Reply(phase=Phase.AUTH, code=None, text=why, local=True, obstacle=Obstacle.NO_TOKEN))


@sensitive_variables()
def _keep(account: EmailAccount, grant: Grant) -> None:
    account.oauth_access_token = grant.access_token
    # Google gives a refresh token once; Microsoft a new one each time, and the old one ends some day.
    account.oauth_refresh_token = grant.refresh_token or account.oauth_refresh_token
    account.oauth_expires_at = timezone.now() + dt.timedelta(seconds=grant.expires_in)
    account.save(update_fields=FIELDS)
