"""Unguessable tokens, and the public links made of them."""

from __future__ import annotations

import re
import secrets
from dataclasses import dataclass
from functools import lru_cache
from urllib.parse import quote

from django.conf import settings
from django.urls import get_script_prefix, reverse

from massmail.conf import conf

#: A token in the links of previews and test mails: known to everybody, it does nothing.
NOBODY = "preview"
#: Django 6 breaks a longer address in `List-Unsubscribe` into encoded words, which mail programs do not read.
LONGEST_LINK = 77

_LANGUAGE = r"[a-z]{2,3}(?:-[a-z0-9]{2,4})?"
_NAME = re.compile(
    rf"(?P<token>[A-Za-z0-9_-]{{1,32}})(?:\.(?P<position>[0-9]{{1,4}}))?(?:\.(?P<language>{_LANGUAGE}))?"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class LinkName:
    """What a link says: whose it is, which of the addresses it is about, the language of its page ("" if unsaid)."""

    token: str
    position: int
    language: str


def parse_link_name(name: str) -> LinkName | None:
    """Return what the part of a link behind the last but one slash says, or None if no link of ours looks like it."""
    match = _NAME.fullmatch(name)
    if match is None:
        return None
    return LinkName(token=match["token"], position=int(match["position"] or 0), language=match["language"] or "")


def new_token() -> str:
    """Return 128 random bits as 22 characters that need no quoting in a URL."""
    return secrets.token_urlsafe(16)


def unsubscribe_link(token: str, position: int = 0, language: object = "") -> str:
    """Return the absolute https address that unsubscribes the address at `position` of the recipient with `token`.

    The random token is stored, not signed: links outlive every key rotation, and stay within `LONGEST_LINK`. The link
    itself names the language of its page ("de", "pt-BR"), where there is room: so the page needs not know the
    recipient, who may be gone by then, and a token that leads nowhere gets the very same page.
    """
    before, after = _path(settings.ROOT_URLCONF, get_script_prefix())
    start, name = f"{conf.public_url.rstrip('/')}{before}", f"{token}.{position}" if position else token
    code = str(language).replace("_", "-").lower() if language else ""
    if code and re.fullmatch(_LANGUAGE, code) and len(f"{start}{name}.{code}{after}") <= LONGEST_LINK:
        name = f"{name}.{code}"
    return f"{start}{name if _NAME.fullmatch(name) else quote(name)}{after}"


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
