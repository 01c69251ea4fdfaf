"""The mechanisms of SMTP AUTH (RFC 4954). Pure."""

from __future__ import annotations

import hmac
from collections.abc import Callable, Iterable

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


#: Best first. TLS protects them all alike, so the one that every server implements correctly comes first.
MECHANISMS: dict[str, Callable[[str, str], Answers]] = {"PLAIN": plain, "LOGIN": login, "CRAM-MD5": cram_md5}


def in_common(offered: Iterable[str]) -> list[str]:
    """Return the mechanisms of the server's EHLO line that we speak too, best first."""
    names = {name.upper() for name in offered}
    return [name for name in MECHANISMS if name in names]
