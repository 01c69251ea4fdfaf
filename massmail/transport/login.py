"""The mechanisms of SMTP AUTH (RFC 4954) and of IMAP (RFC 9051, 6.2.2). Pure."""

from __future__ import annotations

import base64
import hmac
import re
from collections.abc import Callable, Iterable

#: What may be a piece of base64; shorter pieces tell nothing, and may be words.
_ENCODED = re.compile(r"([A-Za-z0-9+/]{6,})=*")
#: Characters from which on a password is masked where a server repeats it.
SHORTEST = 6

#: Answers to the server's challenges, in their order.
Answers = tuple[Callable[[bytes], bytes], ...]


def plain(username: str, password: str) -> Answers:
    """RFC 4616."""
    return (lambda challenge: f"\0{username}\0{password}".encode(),)


def login(username: str, password: str) -> Answers:
    """Never standardised, and the only one that many servers offer."""
    return (lambda challenge: username.encode(), lambda challenge: password.encode())


def cram_md5(username: str, password: str) -> Answers:
    """RFC 2195."""

    def answer(challenge: bytes) -> bytes:
        return f"{username} {hmac.new(password.encode(), challenge, 'md5').hexdigest()}".encode()

    return (answer,)


def xoauth2(username: str, token: str) -> Answers:
    """Google's and Microsoft's: https://developers.google.com/workspace/gmail/imap/xoauth2-protocol.

    A server that refuses first says why in another challenge, which an empty answer ends.
    """
    return (lambda challenge: f"user={username}\1auth=Bearer {token}\1\1".encode(), lambda challenge: b"")


def oauthbearer(username: str, token: str) -> Answers:
    """RFC 7628; refused like `xoauth2`, and ended with a single %x01 (3.2.3)."""
    escaped = username.replace("=", "=3D").replace(",", "=2C")
    return (lambda challenge: f"n,a={escaped},\1auth=Bearer {token}\1\1".encode(), lambda challenge: b"\1")


#: Best first. TLS protects them all alike, so the one that every server implements correctly comes first.
PASSWORD_MECHANISMS: dict[str, Callable[[str, str], Answers]] = {
    "PLAIN": plain,
    "LOGIN": login,
    "CRAM-MD5": cram_md5,
}
#: For an OAuth2 access token in the password's place.
TOKEN_MECHANISMS: dict[str, Callable[[str, str], Answers]] = {"XOAUTH2": xoauth2, "OAUTHBEARER": oauthbearer}
MECHANISMS = PASSWORD_MECHANISMS | TOKEN_MECHANISMS


def in_common(offered: Iterable[str], *, token: bool = False) -> list[str]:
    """Return the mechanisms of the server's EHLO line that we speak too, for a password or a `token`, best first."""
    names = {name.upper() for name in offered}
    return [name for name in (TOKEN_MECHANISMS if token else PASSWORD_MECHANISMS) if name in names]


def masked(words: str, username: str, secret: str) -> str:
    """Return a server's `words` without what it was told at the login: `secret` itself, or a piece of it in base64."""
    if not secret:
        return words
    told = [answer(b"") for mechanism in MECHANISMS.values() for answer in mechanism(username, secret)]
    encoded = [base64.b64encode(each).decode() for each in told]
    if len(secret) >= SHORTEST:
        words = words.replace(secret, "…")
    return _ENCODED.sub(lambda found: "…" if any(found[1] in each for each in encoded) else found[0], words)
