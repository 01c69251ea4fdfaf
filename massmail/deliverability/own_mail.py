"""A mail that an account sent to itself, read for what others will make of it: signatures and results. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from email.parser import BytesHeaderParser
from email.policy import compat32
from typing import Any

from massmail.deliverability.authentication import Result, Verdicts, verdicts
from massmail.deliverability.dkim import Signature
from massmail.deliverability.findings import Finding, finding
from massmail.deliverability.tags import lenient_tags

#: Octets of a mail that are read: its headers, and more of them than anybody has.
HEAD = 1 << 16
#: What a signature has to cover for one-click unsubscribing (RFC 8058, 4).
UNSUBSCRIBE = ("list-unsubscribe", "list-unsubscribe-post")
#: Signatures that are looked at.
MOST = 5
_NAMES = {"list-unsubscribe": "List-Unsubscribe", "list-unsubscribe-post": "List-Unsubscribe-Post"}
_FAILED, _WEAK, _UNDECIDED = {"fail", "permerror"}, {"softfail", "neutral", "policy"}, {"temperror"}
#: The checks that decide; what else a server writes down is its own business.
_METHODS = ("spf", "dkim", "dmarc")


@dataclass(frozen=True, slots=True, kw_only=True)
class Signed:
    """A DKIM signature of a mail: whose it is, and the names of the headers it covers, in small letters."""

    signature: Signature
    covers: frozenset[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class OwnMail:
    """What the head of a mail tells: its signatures and what the server that took it wrote down, if it did."""

    signed: tuple[Signed, ...]
    verdicts: Verdicts | None

    @property
    def signatures(self) -> list[Signature]:
        return list(dict.fromkeys(each.signature for each in self.signed))


def read_head(raw: bytes) -> OwnMail:
    """Read the beginning of a mail, headers first. Anything may be wrong with it."""
    head = BytesHeaderParser(policy=compat32).parsebytes(raw[:HEAD])

    def values(name: str) -> list[str]:
        return [re.sub(r"\s+", " ", str(value)) for value in head.get_all(name, [])]

    signed = [_signed(value) for value in values("DKIM-Signature")[:MOST]]
    return OwnMail(
        signed=tuple(each for each in signed if each is not None),
        verdicts=verdicts(values("Authentication-Results")),
    )


def _signed(value: str) -> Signed | None:
    tags = lenient_tags(value)
    selector = tags.get("s", "").strip()
    if not re.fullmatch(r"[A-Za-z0-9_-]+(?:\.[A-Za-z0-9_-]+)*", selector):
        return None
    try:
        signature = Signature(domain=tags.get("d", ""), selector=selector)
    except ValueError:
        return None
    return Signed(signature=signature, covers=frozenset(re.sub(r"\s", "", tags.get("h", "")).lower().split(":")))


def check_own_mail(mail: OwnMail, *, junk: bool) -> list[Finding]:
    """Return what is found about a mail that came back to its sender; `junk`: it lay in the folder for spam."""
    return [*([finding("mail.junk")] if junk else []), *_coverage(mail.signed), *_results(mail.verdicts)]


def _coverage(signed: Sequence[Signed]) -> Iterator[Finding]:
    """One signature that covers everything is enough, whatever others leave out."""
    if not signed:
        yield finding("mail.unsigned")
        return
    best = min(signed, key=lambda each: len(_left_out(each)))
    facts: dict[str, Any] = {"domain": best.signature.domain, "selector": best.signature.selector}
    left_out = _left_out(best)
    if "from" in left_out:
        yield finding("mail.no_from", **facts)
    elif left_out:
        yield finding("mail.uncovered", headers=", ".join(_NAMES[name] for name in left_out), **facts)
    else:
        yield finding("mail.covered", **facts)


def _left_out(signed: Signed) -> list[str]:
    return [name for name in ("from", *UNSUBSCRIBE) if name not in signed.covers]


def _results(told: Verdicts | None) -> Iterator[Finding]:
    decisive = [each for each in told.results if each.method in _METHODS and each.value != "none"] if told else []
    if told is None or not decisive:
        yield finding("mail.silent")
        return
    server = told.server or "?"
    found = [(each, code) for each in decisive if (code := _code(each, decisive))]
    for each, code in found:
        yield finding(code, server=server, result=each)
    if not found:
        yield finding("mail.passed", server=server, results=", ".join(map(str, decisive)))


def _code(result: Result, results: Sequence[Result]) -> str:
    """Return the code of the finding about one result, "" if there is nothing to say.

    Of several signatures one has to pass. SPF alone fails where a server of one's own stands between; it is a weak leg,
    not a broken one, as long as DMARC passes.
    """
    if any(each.method == result.method and each.value == "pass" for each in results):
        return ""
    aligned = any(each.method == "dmarc" and each.value == "pass" for each in results)
    if result.value in _FAILED:
        return "mail.weak" if aligned and result.method == "spf" else "mail.failed"
    if result.value in _WEAK:
        return "mail.weak"
    return "mail.undecided" if result.value in _UNDECIDED else ""
