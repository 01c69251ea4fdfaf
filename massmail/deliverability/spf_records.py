"""SPF records as text: reading and rewriting them (RFC 7208). Pure; no text, however odd, makes it raise."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from ipaddress import AddressValueError, IPv4Network, IPv6Network, NetmaskValueError

VERSION = "v=spf1"
#: Mechanisms and the modifier that cost a DNS query (4.6.4).
ASKING = frozenset({"include", "a", "mx", "ptr", "exists", "redirect"})
#: More than this is not read; answers of more than one packet are bad enough.
LONGEST = 65_535
#: Characters of a name with its macros.
LONGEST_NAME = 512

_MECHANISM = re.compile(r"([+?~-]?)(all|include|a|mx|ptr|ip4|ip6|exists)(?=[:/]|$)(.*)", re.I | re.A)
_MODIFIER = re.compile(r"([a-z][a-z0-9_.-]*)=(.*)", re.I | re.A)
_MACRO_STRING = re.compile(r"(?:[!-$&-~]|%%|%_|%-|%\{[slodiphcrtv]\d{0,3}r?[.\-+,/_=]*\})*", re.I | re.A)
_MACRO = re.compile(r"%\{[^}]*\}")
# The name ends with a label that is not all digits, or with a macro (7.1).
_DOMAIN_END = re.compile(r"(?:\.(?:[a-z0-9]*[a-z][a-z0-9]*|[a-z0-9]+-[a-z0-9-]*[a-z0-9])\.?|%\{[^}]*\})", re.I | re.A)
_QUOTES = "\"'\u201c\u201d \t"
_MEANT = re.compile(r"""["'\u201c\u201d\s]{0,9}(?:v\s{0,3}[=:]\s{0,3})?spf1[;,:]?""", re.I | re.A)
_LENGTHS = re.compile(r"(?:/(\d|[12]\d|3[0-2]))?(?://(\d|[1-9]\d|1[01]\d|12[0-8]))?", re.A)

Network = IPv4Network | IPv6Network


@dataclass(frozen=True, slots=True, kw_only=True)
class Term:
    """One part of a record, `text` as it was written.

    For a mechanism `qualifier` is one of "+-~?", for a modifier empty. `domain` is empty where the record's own is
    meant. `network` belongs to ip4 and ip6, `lengths` (IPv4, IPv6) to a and mx.
    """

    text: str
    name: str
    qualifier: str = ""
    domain: str = ""
    network: Network | None = None
    lengths: tuple[int, int] = (32, 128)


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """A record that was read: its terms in order, and the parts that can't be read."""

    terms: tuple[Term, ...]
    errors: tuple[str, ...]

    @property
    def catch_all(self) -> Term | None:
        """The first `all`: what stands behind it is never looked at (5.1)."""
        return next((term for term in self.terms if term.name == "all"), None)

    @property
    def effective(self) -> tuple[Term, ...]:
        """The mechanisms up to `all`, and without an `all` the redirect behind them (6.1)."""
        mechanisms = [term for term in self.terms if term.qualifier]
        if self.catch_all:
            return tuple(mechanisms[: mechanisms.index(self.catch_all) + 1])
        return (*mechanisms, *(term for term in self.terms if term.name == "redirect"))

    @property
    def ignored(self) -> tuple[Term, ...]:
        """The mechanisms behind `all`, and a redirect beside it."""
        if not self.catch_all:
            return ()
        mechanisms = [term for term in self.terms if term.qualifier]
        redirects = [term for term in self.terms if term.name == "redirect"]
        return (*mechanisms[mechanisms.index(self.catch_all) + 1 :], *redirects)


def is_spf(text: str) -> bool:
    """Return whether `text` is an SPF record: the version is followed by a space or nothing (4.5)."""
    return text.lower() == VERSION or text.lower().startswith(VERSION + " ")


def is_mistyped(text: str) -> bool:
    """Return whether somebody seems to have meant an SPF record that no receiver takes for one."""
    return not is_spf(text) and bool(_MEANT.match(text[:40]))


def retyped(text: str) -> str:
    """Return the mistyped `text` as a record."""
    return f"{VERSION} {_MEANT.sub('', text.strip(_QUOTES), count=1).strip()}".strip()


def parse(text: str) -> Policy:
    """Read the record `text`. Parts that are wrong by the grammar (section 12) go to `errors` as they were written."""
    terms: list[Term] = []
    errors: list[str] = []
    seen: set[str] = set()
    for part in text[len(VERSION) : LONGEST].split(" "):
        if not part:
            continue
        term = _mechanism(part) or _modifier(part)
        # redirect and exp may stand only once (section 6).
        if term is None or (term.name in {"redirect", "exp"} and term.name in seen):
            errors.append(part)
        else:
            terms.append(term)
            seen.add(term.name)
    return Policy(terms=tuple(terms), errors=tuple(errors))


def _mechanism(part: str) -> Term | None:
    match = _MECHANISM.fullmatch(part)
    if not match:
        return None
    qualifier, name, rest = match[1] or "+", match[2].lower(), match[3]
    if name in {"ip4", "ip6"}:
        network = _network(name, rest[1:]) if rest.startswith(":") else None
        return Term(text=part, name=name, qualifier=qualifier, network=network) if network else None
    if name == "all":
        return None if rest else Term(text=part, name=name, qualifier=qualifier)
    domain, lengths = (rest, "") if name not in {"a", "mx"} else _split_lengths(rest)
    if domain and not (domain.startswith(":") and is_domain_spec(domain[1:])):
        return None
    found = _LENGTHS.fullmatch(lengths)
    if found is None or (not domain and name in {"include", "exists"}):
        return None
    prefixes = (int(found[1] or 32), int(found[2] or 128))
    return Term(text=part, name=name, qualifier=qualifier, domain=domain[1:], lengths=prefixes)


def _split_lengths(rest: str) -> tuple[str, str]:
    """Split ":mx.acme.example/24//64" before its prefix lengths; a slash within a macro belongs to the macro."""
    match = re.search(r"(?:/\d+)?(?://\d+)?$", rest)
    at = match.start() if match else len(rest)
    return rest[:at], rest[at:]


def _modifier(part: str) -> Term | None:
    match = _MODIFIER.fullmatch(part)
    if not match:
        return None
    name, value = match[1].lower(), match[2]
    if name in {"redirect", "exp"}:
        return Term(text=part, name=name, domain=value) if is_domain_spec(value) else None
    return Term(text=part, name=name) if _MACRO_STRING.fullmatch(value) else None


def _network(name: str, text: str) -> Network | None:
    """Read the address of ip4 or ip6, with or without a prefix length; not a netmask, not a leading zero (5.6)."""
    _, slash, length = text.partition("/")
    if slash and not (length.isascii() and length.isdigit() and str(int(length[:4])) == length):
        return None
    try:
        return IPv4Network(text, strict=False) if name == "ip4" else IPv6Network(text, strict=False)
    except (AddressValueError, NetmaskValueError, ValueError):
        return None


def is_domain_spec(text: str) -> bool:
    """Return whether `text` is a name, with or without macros (7.1)."""
    if len(text) > LONGEST_NAME or not _MACRO_STRING.fullmatch(text):
        return False
    last = text.rfind("%{") if text.endswith("}") else text.rstrip(".").rfind(".")
    end = text[max(last, 0) :]
    return bool(_DOMAIN_END.fullmatch(end))


def expand(domain_spec: str, domain: str) -> str | None:
    """Return the name behind `domain_spec` in the record of `domain`, or None where it depends on the single mail."""
    if not domain_spec:
        return domain
    text = domain_spec.replace("%{d}", domain).replace("%{D}", domain)
    return None if _MACRO.search(text) or "%" in text else text.rstrip(".").lower()


def rewritten(policy: Policy, *, added: Iterable[str] = (), without: Iterable[str] = (), end: str = "") -> str:
    """Return the record without what can't be read or is ignored, and with the mechanisms `added`.

    What denies one of these is left out, and so are includes of the names in `without`. `end` ("~all") replaces its
    present end, if given.
    """
    unwanted = set(without)
    added = list(added)
    effective = [
        term
        for term in policy.effective
        if not (term.name == "include" and term.domain.lower().rstrip(".") in unwanted)
        and not (term.qualifier in {"-", "~", "?"} and term.text[1:].lower() in added)
    ]
    mechanisms = [term.text for term in effective if term.name not in {"all", "redirect"}]
    ends = [end] if end else [term.text for term in effective if term.name in {"all", "redirect"}]
    modifiers = [term.text for term in policy.terms if not term.qualifier and term.name != "redirect"]
    return " ".join([VERSION, *mechanisms, *added, *ends, *modifiers])


def merged(policies: Iterable[Policy]) -> str:
    """Return one record with the mechanisms of all of `policies`, each once, and the mildest end among them."""
    policies = list(policies)
    texts = [term.text for policy in policies for term in policy.effective if term.name not in {"all", "redirect"}]
    strict = policies and all(policy.catch_all and policy.catch_all.qualifier == "-" for policy in policies)
    return " ".join([VERSION, *dict.fromkeys(texts), "-all" if strict else "~all"])
