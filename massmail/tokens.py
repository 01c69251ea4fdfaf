"""Unguessable tokens, and the public links made of them."""

from __future__ import annotations

import secrets

from django.urls import reverse

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
    path = reverse("massmail:unsubscribe", args=[f"{token}.{position}" if position else token])
    return conf.public_url.rstrip("/") + path
