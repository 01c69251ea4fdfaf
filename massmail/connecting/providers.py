"""Who gives OAuth2 tokens: those of `MASSMAIL_OAUTH_PROVIDERS`, filled up with what is known of the big ones."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping
from typing import Any
from urllib.parse import urlsplit

from django.utils.functional import Promise

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
_TEXTS = ("label", "client_id", "client_secret", "authorize_url", "token_url")
_OPTIONS = {*_TEXTS, "scopes", "extra"}
_LOCAL = {"localhost", "127.0.0.1", "::1"}
#: It stands in the addresses of pages, and in `EmailAccount.oauth_provider`.
_NAME = re.compile(r"[-\w]{1,50}", re.ASCII)


def providers() -> list[Provider]:
    """Return the providers that the deployer has registered with; none by default.

    Raises `MassmailConfigurationError` with the first thing that is missing or unsafe.
    """
    return [_provider(name, options) for name, options in conf.oauth_providers.items()]


def find_provider(name: str) -> Provider | None:
    """Return the provider called `name`, or None if the settings do not name it (any more).

    Raises `MassmailConfigurationError` with what is missing or unsafe there.
    """
    options = conf.oauth_providers.get(name)
    return None if options is None else _provider(name, options)


def problems() -> list[str]:
    """Return all that is wrong with MASSMAIL_OAUTH_PROVIDERS, for whoever wrote it. No secret is repeated."""
    table: Any = conf.oauth_providers
    if not isinstance(table, Mapping):
        return ["MASSMAIL_OAUTH_PROVIDERS must be a dictionary: options by the name of the provider."]
    return [problem for name, options in table.items() for problem in _problems(name, options)]


def _provider(name: str, options: Mapping[str, Any]) -> Provider:
    for problem in _problems(name, options):
        raise MassmailConfigurationError(problem)
    whole = _whole(name, options)
    return Provider(
        name=name,
        label=whole["label"],
        client_id=whole["client_id"],
        client_secret=whole.get("client_secret") or "",
        authorize_url=whole["authorize_url"],
        token_url=whole["token_url"],
        scopes=tuple(whole["scopes"]),
        extra=tuple(dict(whole.get("extra", {})).items()),
    )


def _whole(name: str, options: Mapping[str, Any]) -> dict[str, Any]:
    return {"label": name.title(), **KNOWN.get(name, {}), **options}


def _problems(name: Any, options: Any) -> Iterator[str]:
    where = f"MASSMAIL_OAUTH_PROVIDERS[{name!r}]"
    if not (isinstance(name, str) and _NAME.fullmatch(name)):
        yield f"{where}: a name has up to 50 letters, digits, hyphens and underscores, all of them ASCII."
        return
    if not isinstance(options, Mapping):
        yield f"{where} must be a dictionary of options."
        return
    whole = _whole(name, options)
    if missing := [key for key in _REQUIRED if not whole.get(key)]:
        yield f"{where} lacks {', '.join(missing)}."
    if unknown := sorted(str(key) for key in options if key not in _OPTIONS):
        yield f"{where} has unknown options: {', '.join(unknown)}."
    yield from (f"{where}: {problem}" for problem in (*_wrong_types(whole), *_wrong_addresses(whole)))


def _wrong_types(whole: Mapping[str, Any]) -> Iterator[str]:
    for key in _TEXTS:
        # Labels may be translated lazily; what is empty counts as missing.
        if whole.get(key) and not isinstance(whole[key], str | Promise):
            yield f"{key} must be a text."
    scopes = whole.get("scopes") or ()
    if isinstance(scopes, str) or not (
        isinstance(scopes, Collection) and all(isinstance(each, str) for each in scopes)
    ):
        yield "scopes must be a list of texts."
    if not isinstance(whole.get("extra", {}), Mapping):
        yield "extra must be a dictionary: parameters of the address that people are sent to."


def _wrong_addresses(whole: Mapping[str, Any]) -> Iterator[str]:
    for key in ("authorize_url", "token_url"):
        if isinstance(whole.get(key), str) and whole[key] and not _is_safe(whole[key]):
            yield f"{key} must begin with https:// and a host."


def _is_safe(url: str) -> bool:
    """Tell whether secrets may go to `url`: over TLS, or to this machine itself."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return False
    if parts.scheme == "http":
        return parts.hostname in _LOCAL
    return parts.scheme == "https" and bool(parts.hostname)
