"""Headers and addresses as they go over the wire: ASCII, folded at spaces only, never two for one.

With the `email` package's own policies a `List-Unsubscribe` of more than some 60 characters becomes an encoded word,
which mail providers do not read (CPython #85725), and so one-click unsubscribing stops working.
"""

from __future__ import annotations

import re
from email.header import Header

import idna
from django.utils.translation import gettext as _

from massmail.exceptions import CompositionError

#: Characters a line should have, and octets it may have, without its end (RFC 5322, 2.1.1).
LINE, MAX_LINE = 78, 998
#: Characters of a subject or name: more than that is a mistake in the data.
MAX_TEXT = 1000

_FORBIDDEN = re.compile(r"[\x00-\x1f\x7f]")
_NOT_IN_LINES = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]+")
# Overrides and isolates of writing direction, and spaces without width, serve only to disguise. Joiners (U+200C,
# U+200D) and marks (U+200E, U+200F) belong to the spelling of words and emoji.
_DISGUISE = re.compile(r"[\u200b\u202a-\u202e\u2060\u2066-\u2069\ufeff]")
_ATOM = r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+"
_ADDRESS = re.compile(
    rf"(?P<local>{_ATOM}(?:\.{_ATOM})*|\"(?:[ !#-\[\]-~]|\\[ -~])*\")"
    r"@(?P<domain>[A-Za-z0-9_-]+(?:\.[A-Za-z0-9_-]+)*|\[[0-9A-Za-z:.]+\])"
)


def line(name: str, value: str) -> bytes:
    """Return a header, broken only where a space is already; `value` is ASCII on one line, encoded where needed.

    Raises `ValueError` for anything else, and for a word that is longer than a line may be.
    """
    if _FORBIDDEN.search(value) or not value.isascii():
        raise ValueError(f"Not a header value: {value!r}")
    text = f"{name}: {value}"
    if len(text) > LINE:
        text = "\r\n".join(_folded(text))
    return text.encode() + b"\r\n"


def _folded(text: str) -> list[str]:
    name, *words = text.split(" ")
    lines = [name]
    for number, word in enumerate(words):
        if number and len(lines[-1]) + 1 + len(word) > LINE:
            lines.append("")
        lines[-1] += f" {word}"
    if any(len(each) > MAX_LINE for each in lines):
        raise ValueError(f"A word of {name} is longer than a line may be.")
    return lines


def one_line(text: str) -> str:
    """Return `text` on one line: line ends, tabs and other controls become a space, disguises disappear."""
    return " ".join(_DISGUISE.sub("", _NOT_IN_LINES.sub(" ", text)).split())


def encoded(text: str, *, header: str) -> str:
    """Return one line of any script for the header of this name, as encoded words (RFC 2047) where needed."""
    if text.isascii() and "=?" not in text and max(map(len, text.split(" "))) < LINE - len(header) - 2:
        return text
    return Header(text, "utf-8", maxlinelen=70, header_name=header).encode(linesep="\n").replace("\n", "")


def bare_address(address: str) -> str:
    """Return an address for SMTP: as typed, with a non-ASCII domain in its ASCII form.

    Raises `CompositionError` for what is not one plain address, also where it would need SMTPUTF8 (RFC 6531).
    """
    local, at, domain = address.strip(" ").rpartition("@")
    ascii_form = f"{local}@{ascii_domain(domain)}" if at else ""
    if not _ADDRESS.fullmatch(ascii_form):
        raise CompositionError(
            _("%(address)s is not an address mail can be sent to. Correct it.") % {"address": ascii(address)},
            field="address",
        )
    return ascii_form


def ascii_domain(domain: str) -> str:
    """Return `domain` as DNS knows it (IDNA 2008 after the mapping of UTS 46).

    Raises `CompositionError` if there is no such form.
    """
    if domain.isascii():
        return domain
    try:
        return idna.encode(domain, uts46=True).decode()
    except (idna.IDNAError, UnicodeError) as error:
        raise CompositionError(
            _("%(domain)s is not a domain name. Correct it.") % {"domain": ascii(domain)}, field="address"
        ) from error


def named_address(name: str, address: str, *, header: str) -> str:
    """Return `"Name" <address>` for a header; `address` is bare already.

    Raises `CompositionError` for line ends and NUL in the name: they are refused when it is saved, and again here.
    """
    if re.search(r"[\r\n\x00]", name):
        raise CompositionError(_("The name of the sender has a line end in it. Correct it."), field="address")
    name = one_line(name)
    if not name:
        return address
    phrase = encoded(name, header=header)
    if phrase == name:
        phrase = '"' + re.sub(r'(["\\])', r"\\\1", name) + '"'
    return f"{phrase} <{address}>"
