"""What a receiving server wrote into a mail about SPF, DKIM and DMARC: `Authentication-Results` (RFC 8601). Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

#: Characters of one header that are read, and headers of one mail: nobody writes that many.
LONGEST, MOST = 8000, 20
_RESULT = re.compile(r"\s*([a-z0-9_-]+)(?:\s*/\s*[0-9]+)?\s*=\s*([a-z]+)", re.I | re.A)
_DOMAIN_OF_SIGNATURE = re.compile(r"\bheader\.(?:d|i)\s*=\s*\"?@?([^\s;\"]+)", re.I | re.A)


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """What one check came to: `method` "spf", "dkim", "dmarc" …, `value` "pass", "fail" …; `domain` signed, if told."""

    method: str
    value: str
    domain: str = ""

    def __str__(self) -> str:
        return f"{self.method}={self.value}" + (f" ({self.domain})" if self.domain else "")


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdicts:
    """The results of the server `server` (its authserv-id); "" where it does not give its name, as Microsoft's."""

    server: str
    results: tuple[Result, ...]


def verdicts(headers: Sequence[str]) -> Verdicts | None:
    """Return what the receiving server says in the values of all `Authentication-Results`, topmost first; None if none.

    The topmost is that of the server that delivered the mail: each puts its own above what it was given, and removes
    those that pretend to be its own (5). Others of the same name belong to it, since each filter of a server may add
    one; any from somebody else says nothing that can be trusted.
    """
    found: list[Result] = []
    server = None
    for text in headers[:MOST]:
        name, results = _read(text)
        if server is None:
            server = name
        if name == server:
            found += results
    return None if server is None else Verdicts(server=server, results=tuple(found))


def _read(text: str) -> tuple[str, list[Result]]:
    """Return the authserv-id of one header, in small letters, and its results (2.2)."""
    first, *others = _pieces(_without_comments(text[:LONGEST]))
    if _RESULT.match(first):  # Microsoft leaves the name of its server out
        return "", list(_results([first, *others]))
    return first.split()[0].strip('"').lower() if first.split() else "", list(_results(others))


def _results(pieces: Iterable[str]) -> Iterator[Result]:
    for piece in pieces:
        if found := _RESULT.match(piece):
            method, value = found[1].lower(), found[2].lower()
            signed = _DOMAIN_OF_SIGNATURE.search(piece) if method == "dkim" else None
            yield Result(method=method, value=value, domain=signed[1].lower().rstrip(".") if signed else "")


def _without_comments(text: str) -> str:
    """Return `text` without what stands in parentheses, which nest (RFC 5322, 3.2.2); a quoted one is no comment."""
    kept, depth, quoted, escaped = [], 0, False, False
    for char in text:
        plain = not escaped
        escaped = plain and char == "\\"
        if plain and char == '"' and not depth:
            quoted = not quoted
        elif plain and char == "(" and not quoted:
            depth += 1
        elif plain and char == ")" and depth:
            depth -= 1
            continue
        if not depth:
            kept.append(char)
    return "".join(kept)


def _pieces(text: str) -> list[str]:
    """Split `text` at semicolons, but for those in quotes."""
    return re.findall(r'(?:"(?:[^"\\]|\\.)*"|[^;])+', text) or [""]
