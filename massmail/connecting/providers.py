"""Who gives OAuth2 tokens: those of `MASSMAIL_OAUTH_PROVIDERS`, filled up with what is known of the big ones."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlsplit

from massmail.conf import conf
from massmail.exceptions import MassmailConfigurationError
from massmail.transport.oauth2 import Provider

#: https://developers.google.com/identity/protocols/oauth2/web-server: without "offline" and "consent" Google gives no
#: refresh token. https://learn.microsoft.com/exchange/client-developer/legacy-protocols/
#: how-to-authenticate-an-imap-pop-smtp-application-by-using-oauth: the scopes of SMTP and IMAP.
KNOWN: dict[str, dict[str, Any]] = {
    "google": {
        "label": "Google",
        "authorize_url": "https://accounts.google.com/o/oauth2/v2/auth",
        "token_url": "https://oauth2.googleapis.com/token",
        "scopes": ("https://mail.google.com/", "openid", "email"),
        "extra": {"access_type": "offline", "prompt": "consent"},
    },
    "microsoft": {
        "label": "Microsoft",
        "authorize_url": "https://login.microsoftonline.com/common/oauth2/v2.0/authorize",
        "token_url": "https://login.microsoftonline.com/common/oauth2/v2.0/token",
        "scopes": (
            "https://outlook.office.com/SMTP.Send",
            "https://outlook.office.com/IMAP.AccessAsUser.All",
            "offline_access",
            "openid",
            "email",
            "profile",
        ),
        "extra": {"prompt": "select_account"},
    },
}
_REQUIRED = ("client_id", "authorize_url", "token_url", "scopes")
_LOCAL = {"localhost", "127.0.0.1", "::1"}


def providers() -> list[Provider]:
    """Return the providers that the deployer has registered with; none by default."""
    return [_provider(name, options) for name, options in conf.oauth_providers.items()]


def find_provider(name: str) -> Provider | None:
    """Return the provider called `name`, or None if the settings do not name it (any more)."""
    return next((provider for provider in providers() if provider.name == name), None)


def _provider(name: str, options: dict[str, Any]) -> Provider:
    """Return the provider. Raises `MassmailConfigurationError` with what is missing or unsafe."""
    whole = {"label": name.title(), **KNOWN.get(name, {}), **options}
    if missing := [key for key in _REQUIRED if not whole.get(key)]:
        raise MassmailConfigurationError(
            f"MASSMAIL_OAUTH_PROVIDERS[{name!r}] lacks {', '.join(missing)}: register the app with the provider."
        )
    for key in ("authorize_url", "token_url"):
        address = urlsplit(whole[key])
        if address.scheme != "https" and address.hostname not in _LOCAL:
            raise MassmailConfigurationError(f"MASSMAIL_OAUTH_PROVIDERS[{name!r}]: {key} must begin with https://.")
    return Provider(
        name=name,
        label=whole["label"],
        client_id=whole["client_id"],
        client_secret=whole.get("client_secret", ""),
        authorize_url=whole["authorize_url"],
        token_url=whole["token_url"],
        scopes=tuple(whole["scopes"]),
        extra=tuple(dict(whole.get("extra", {})).items()),
    )
