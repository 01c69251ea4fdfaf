"""OAuth 2.0 (RFC 6749) with PKCE (RFC 7636): the addresses people are sent to, and the two calls that bring tokens."""

from __future__ import annotations

import base64
import hashlib
import http.client
import json
import re
import secrets
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from queue import Empty, SimpleQueue
from threading import Thread
from typing import Any

from django.utils import translation
from django.utils.translation import gettext as _
from django.views.decorators.debug import sensitive_variables

from massmail.transport.session import readable

#: Seconds for an answer of the provider.
TIMEOUT = 10.0
#: No answer of a token endpoint is longer; Microsoft's reach 6 kB.
MAX_ANSWER = 100_000
#: Seconds that a token is believed to be good at most.
LONGEST = 86_400 * 365
#: Seconds for all of it: the time-out begins anew with each octet.
PATIENCE = 20.0
#: RFC 6749, A.12 and A.17.
_TOKEN = re.compile(r"[ -~]+")
#: Characters from which on a secret is one: a shorter one may be a word of the answer.
SHORTEST = 8
#: What `json.loads` and `int` raise besides ValueError for an answer that nobody would write in earnest.
_GARBAGE = (ValueError, TypeError, OverflowError, RecursionError)
#: What of a request must not come back to a screen.
_SECRETS = ("refresh_token", "code", "code_verifier", "client_secret")
#: Errors that pass; RFC 6749, 4.1.2.1, and what a gateway in front of the provider says.
_FOR_NOW = frozenset({"temporarily_unavailable", "server_error", "slow_down"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Provider:
    """Who gives tokens. `extra` are parameters of the authorization request that this provider wants besides."""

    name: str
    label: str
    client_id: str
    client_secret: str = field(default="", repr=False)
    authorize_url: str
    token_url: str
    scopes: tuple[str, ...]
    extra: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Grant:
    """What a token endpoint gave: `expires_in` in seconds, `refresh_token` and `email` empty if it did not say."""

    access_token: str = field(repr=False)
    refresh_token: str = field(repr=False)
    expires_in: int
    email: str


class OAuthError(Exception):
    """The provider could not be asked, or its answer makes no sense: it may do better later."""


class OAuthRefused(OAuthError):
    """The provider says no; `code` is its error code (RFC 6749, 5.2), such as "invalid_grant"."""

    def __init__(self, code: str, text: str) -> None:
        super().__init__(text)
        self.code = code


def new_verifier() -> str:
    """Return a code verifier: 43 unguessable characters (RFC 7636, 4.1)."""
    return secrets.token_urlsafe(32)


def challenge(verifier: str) -> str:
    """Return the S256 challenge of `verifier` (RFC 7636, 4.2)."""
    digest = hashlib.sha256(verifier.encode()).digest()
    return base64.urlsafe_b64encode(digest).decode().rstrip("=")


def authorization_url(provider: Provider, *, redirect_uri: str, state: str, verifier: str, login_hint: str) -> str:
    """Return where to send the person who is to agree (RFC 6749, 4.1.1); it holds no secret."""
    query = {
        "response_type": "code",
        "client_id": provider.client_id,
        "redirect_uri": redirect_uri,
        "scope": " ".join(provider.scopes),
        "state": state,
        "code_challenge": challenge(verifier),
        "code_challenge_method": "S256",
        "login_hint": login_hint,
        **dict(provider.extra),
    }
    return f"{provider.authorize_url}?{urllib.parse.urlencode(query)}"


@sensitive_variables()
def exchange(provider: Provider, *, code: str, verifier: str, redirect_uri: str) -> Grant:
    """Trade the authorization `code` for tokens (RFC 6749, 4.1.3). Raises `OAuthRefused` and `OAuthError`."""
    return _ask(
        provider,
        {
            "grant_type": "authorization_code",
            "code": code,
            "redirect_uri": redirect_uri,
            "code_verifier": verifier,
        },
    )


@sensitive_variables()
def refresh(provider: Provider, refresh_token: str) -> Grant:
    """Trade a refresh token for a fresh access token (RFC 6749, 6). Raises `OAuthRefused` and `OAuthError`."""
    return _ask(provider, {"grant_type": "refresh_token", "refresh_token": refresh_token})


class _StayHere(urllib.request.HTTPRedirectHandler):
    """A token endpoint that redirects is not the one that was configured: the secret goes nowhere else."""

    def redirect_request(self, *args: Any, **kwargs: Any) -> None:
        return None


@sensitive_variables()
def _ask(provider: Provider, form: Mapping[str, str]) -> Grant:
    answers: SimpleQueue[Grant | OAuthError] = SimpleQueue()
    Thread(target=_fetch, args=(provider, form, answers, translation.get_language()), daemon=True).start()
    try:
        answer = answers.get(timeout=PATIENCE)
    except Empty:
        answer = _out_of_reach(provider, TimeoutError())
    # A new exception, out of reach of the old one's frames: those hold the secrets.
    if isinstance(answer, OAuthError):
        raise answer
    return answer


def _out_of_reach(provider: Provider, error: Exception) -> OAuthError:
    return OAuthError(
        _("%(provider)s can't be reached: %(why)s") % {"provider": provider.label, "why": type(error).__name__}
    )


@sensitive_variables()
def _fetch(
    provider: Provider, form: Mapping[str, str], answers: SimpleQueue[Grant | OAuthError], language: str | None
) -> None:
    """Put what the provider gives, or the error. Runs in a thread, which has a language of its own."""
    with translation.override(language):
        answers.put(_answer(provider, form))


@sensitive_variables()
def _answer(provider: Provider, form: Mapping[str, str]) -> Grant | OAuthError:
    whole = {**form, "client_id": provider.client_id}
    if provider.client_secret:
        whole["client_secret"] = provider.client_secret
    request = urllib.request.Request(  # noqa: S310  the address comes from the deployer's settings
        provider.token_url,
        data=urllib.parse.urlencode(whole).encode(),
        headers={"Accept": "application/json"},
    )
    try:
        with urllib.request.build_opener(_StayHere).open(request, timeout=TIMEOUT) as answer:
            return _grant(_object(answer.read(MAX_ANSWER)))
    except urllib.error.HTTPError as error:
        with error:
            return _refusal(provider, error.code, _read(error), [whole.get(name) for name in _SECRETS])
    except (OSError, http.client.HTTPException, *_GARBAGE) as error:
        return _out_of_reach(provider, error)


def _read(error: urllib.error.HTTPError) -> bytes:
    try:
        return error.read(MAX_ANSWER)
    except (OSError, http.client.HTTPException):  # the status says enough
        return b""


@sensitive_variables()
def _refusal(provider: Provider, status: int, body: bytes, secrets: Iterable[str | None]) -> OAuthError:
    """Return what an answer with an error means; its words never repeat one of `secrets`."""
    try:
        answer = _object(body)
    except _GARBAGE:
        answer = {}
    code = str(answer.get("error", ""))
    words = _readable(f"{code or status} {answer.get('error_description', '')}")
    for secret in secrets:
        if secret and len(secret) >= SHORTEST:
            words = words.replace(secret, "…")
    text = _("%(provider)s says: %(words)s") % {"provider": provider.label, "words": words[:500]}
    lasting = code and code not in _FOR_NOW and status < 500 and status != 429
    return OAuthRefused(code, text) if lasting else OAuthError(text)


def _object(body: bytes) -> dict[str, Any]:
    found = json.loads(body)
    if not isinstance(found, dict):
        raise ValueError("The answer is no JSON object.")
    return found


def _grant(answer: Mapping[str, Any]) -> Grant:
    access_token, refresh_token = str(answer.get("access_token") or ""), str(answer.get("refresh_token") or "")
    if not access_token or not _TOKEN.fullmatch(access_token + refresh_token):
        raise ValueError("The answer has no access token.")
    return Grant(
        access_token=access_token,
        refresh_token=refresh_token,
        expires_in=max(0, min(int(answer.get("expires_in") or 3600), LONGEST)),
        email=_email(str(answer.get("id_token") or "")),
    )


def _email(id_token: str) -> str:
    """Return the mailbox that an ID token names.

    It came from the provider itself over TLS, so its signature need not be checked (OpenID Connect Core 1.0, 3.1.3.7).
    """
    parts = id_token.split(".")
    if len(parts) != 3:
        return ""
    claims = _object(base64.urlsafe_b64decode(parts[1] + "=" * (-len(parts[1]) % 4)))
    # Google's "email"; Microsoft 365 gives it for some accounts only, and the sign-in name for all.
    return _readable(str(claims.get("email") or claims.get("preferred_username") or claims.get("upn") or "")).lower()


def _readable(text: str) -> str:
    """Return `text` as any database stores it: JSON may hold halves of characters, which no encoding has."""
    return readable(text.encode("utf-8", "replace"))
