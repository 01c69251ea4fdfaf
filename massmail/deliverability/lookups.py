"""Questions to the DNS that come to an end, with "nobody knows" as an answer of its own.

A time-out, SERVFAIL, REFUSED or a malformed answer says nothing about the domain. Only NXDOMAIN and an answer without
data (RFC 2308) say that something is missing.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from enum import Enum
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import Any, Generic, TypeVar

import dns.exception
import dns.flags
import dns.message
import dns.name
import dns.rdatatype
import dns.resolver
import dns.reversename
import idna

T_co = TypeVar("T_co", covariant=True)
S = TypeVar("S")
Address = IPv4Address | IPv6Address

#: Aliases followed from one name, beyond those that the name server follows itself.
MOST_ALIASES = 8


class Status(Enum):
    FOUND = "found"
    NO_DATA = "no data"
    NO_NAME = "no name"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer(Generic[T_co]):
    """What the DNS said; `values` only where something was found."""

    status: Status
    values: tuple[T_co, ...] = ()

    @property
    def found(self) -> bool:
        return self.status is Status.FOUND

    @property
    def unknown(self) -> bool:
        return self.status is Status.UNKNOWN

    def map(self, convert: Callable[[T_co], S]) -> Answer[S]:
        return Answer(status=self.status, values=tuple(convert(value) for value in self.values))


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What one check may use: `queries`, `seconds` for all of them, and the `lifetime` of each in seconds."""

    queries: int = 60
    seconds: float = 10.0
    lifetime: float = 3.0


@dataclass(frozen=True, slots=True, kw_only=True, order=True)
class Exchange:
    """A mail server of a domain; the host is empty in a null MX (RFC 7505)."""

    preference: int
    host: str


class Lookups:
    """The questions of one check. Each is asked once; when the limits are used up, the rest is unknown."""

    def __init__(self, resolver: dns.resolver.Resolver, limits: Limits) -> None:
        self._resolver = resolver
        self._lifetime = limits.lifetime
        self._left = limits.queries
        self._deadline = time.monotonic() + limits.seconds
        self._known: dict[tuple[str, str], Answer[Any]] = {}

    def txt(self, name: str) -> Answer[str]:
        """Return the texts at `name`, the strings of each record joined without spaces (RFC 7208, 3.3)."""
        return self._ask(name, "TXT").map(lambda rdata: b"".join(rdata.strings).decode("utf-8", "replace"))

    def mx(self, name: str) -> Answer[Exchange]:
        """Return the mail servers of `name`, in no order."""
        return self._ask(name, "MX").map(
            lambda rdata: Exchange(preference=rdata.preference, host=_text(rdata.exchange))
        )

    def addresses(self, name: str, versions: Iterable[int] = (4, 6)) -> Answer[Address]:
        """Return the addresses of `name` of the first IP version that has any.

        Unknown when one version is unknown and no other has any.
        """
        answers = []
        for version in versions:
            answer = self._ask(name, "A" if version == 4 else "AAAA")
            if answer.found:
                return answer.map(lambda rdata: ip_address(rdata.address))
            answers.append(answer)
        return next((answer for answer in answers if answer.unknown), answers[0])

    def names(self, address: Address) -> Answer[str]:
        """Return the names that reverse DNS gives for `address`."""
        return self._ask(_text(dns.reversename.from_address(str(address))), "PTR").map(
            lambda rdata: _text(rdata.target)
        )

    def delegated(self, name: str) -> bool:
        """Tell whether the DNS knows name servers of `name`."""
        return self._ask(name, "NS").found

    def _ask(self, name: str, kind: str) -> Answer[Any]:
        key = (name.lower().rstrip("."), kind)
        if key not in self._known:
            self._known[key] = self._follow(name, kind)
        return self._known[key]

    def _follow(self, text: str, kind: str) -> Answer[Any]:
        try:
            name = dns.name.from_text(text)
        except (dns.exception.DNSException, UnicodeError):
            # Too long, or with empty labels: what can't be asked for can't exist either.
            return Answer(status=Status.NO_NAME)
        for _ in range(MOST_ALIASES):
            answer = self._query(name, kind)
            if isinstance(answer, Answer):
                return answer
            name = answer
        return Answer(status=Status.UNKNOWN)

    def _query(self, name: dns.name.Name, kind: str) -> Answer[Any] | dns.name.Name:
        """Ask once, over TCP where the answer is too large for UDP. A name returned is an alias to ask for instead."""
        seconds = min(self._lifetime, self._deadline - time.monotonic())
        if self._left <= 0 or seconds <= 0:
            return Answer(status=Status.UNKNOWN)
        self._left -= 1
        try:
            records = self._resolver.resolve(name, kind, lifetime=seconds, search=False)
        except dns.resolver.NXDOMAIN:
            return Answer(status=Status.NO_NAME)
        except dns.resolver.NoAnswer as error:
            return _nothing(name, error.response())
        except (dns.exception.DNSException, OSError):
            return Answer(status=Status.UNKNOWN)
        if records.response.flags & dns.flags.TC:
            return Answer(status=Status.UNKNOWN)
        return Answer(status=Status.FOUND, values=tuple(records))


def _nothing(name: dns.name.Name, response: dns.message.QueryMessage) -> Answer[Any] | dns.name.Name:
    """Return what a response without the data asked for means: nothing there, an alias, or no answer at all.

    A response that is cut off even over TCP, or that sends us to other servers (RFC 2308, 2.2), leaves it open.
    """
    kinds = {rrset.rdtype for rrset in response.authority}
    referral = dns.rdatatype.NS in kinds and dns.rdatatype.SOA not in kinds
    if response.flags & dns.flags.TC or referral:
        return Answer(status=Status.UNKNOWN)
    target = response.canonical_name()
    return Answer(status=Status.NO_DATA) if target == name else target


def _text(name: dns.name.Name) -> str:
    return name.to_text(omit_final_dot=True).lower() if name != dns.name.root else ""


def ascii_domain(domain: str) -> str:
    """Return `domain` in lower case, as A-labels (RFC 5890, 2.3.2.1), without the dot at the end.

    Raises `ValueError` for what can't be the domain of an email address in the DNS.
    """
    try:
        name = idna.encode(domain.strip().rstrip("."), uts46=True).decode("ascii").lower()
        dns.name.from_text(name)
    except (UnicodeError, dns.exception.DNSException) as error:
        raise ValueError(f"Not a domain name: {domain!r}") from error
    if all(part.isdigit() for part in name.split(".")):
        raise ValueError(f"Not a domain name: {domain!r}")
    return name
