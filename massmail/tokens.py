"""Unguessable tokens, and the public links made of them."""

from __future__ import annotations

import secrets
from functools import lru_cache
from urllib.parse import quote

from django.conf import settings
from django.urls import get_script_prefix, reverse

from massmail.conf import conf

#: A token in the links of previews and test mails: known to everybody, it does nothing.
NOBODY = "preview"


def new_token() -> str:
    """Return 128 random bits as 22 characters that need no quoting in a URL."""
    return secrets.token_urlsafe(16)


def unsubscribe_link(token: str, position: int = 0) -> str:
    """Return the absolute https address that unsubscribes the address at `position` of the recipient with `token`.

    The random token is stored, not signed: links outlive every key rotation, and stay within the 77 characters after
    which Django 6 breaks a `List-Unsubscribe` header into encoded words.
    """
    before, after = _path(settings.ROOT_URLCONF, get_script_prefix())
    name = f"{token}.{position}" if position else token
    return f"{conf.public_url.rstrip('/')}{before}{quote(name)}{after}"


@lru_cache(maxsize=4)
def _path(_urlconf: str, _prefix: str) -> tuple[str, str]:
    """Return what stands before and behind the token: to ask the URL conf takes half as long as composing a mail."""
    before, _token, after = reverse("massmail:unsubscribe", args=["TOKEN"]).partition("TOKEN")
    return before, after


def unsubscribe_mailto(address: str, token: str, position: int = 0) -> str:
    """Return the `mailto:` URI that asks the mailbox `address` to unsubscribe (RFC 6068).

    The token stands in the subject: not every provider delivers `name+token@…` to the mailbox of `name@…`.
    """
    subject = f"unsubscribe {token}.{position}" if position else f"unsubscribe {token}"
    return f"mailto:{quote(address, safe='@+!$*_~.-')}?subject={quote(subject)}"
