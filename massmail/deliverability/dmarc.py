"""DMARC of a sending domain, and whether SPF and DKIM speak for the same organization (RFC 9989)."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from massmail.deliverability.dmarc_walk import VERSION, Published, TreeWalk, dmarc_name, is_dmarc, tree_walk
from massmail.deliverability.findings import Finding, Record, finding
from massmail.deliverability.lookups import Lookups

_LOOKS_LIKE = re.compile(r"""["'\s]*v\s*[=:]?\s*dmarc""", re.I | re.A)
_POLICIES = re.compile(r"\b(p|sp|np)\s*[=:]\s*(none|quarantine|reject)\b", re.I | re.A)
_ADDRESSES = re.compile(r"\b(rua|ruf)\s*[=:]\s*(mailto:[^;\s\"']+)", re.I | re.A)


def check_dmarc(domain: str, lookups: Lookups, spf_domain: str, dkim_domains: Sequence[str]) -> Iterator[Finding]:
    """Yield what is found about the DMARC policy for `domain`, and about alignment with it where there is one.

    `spf_domain` is the domain of the envelope sender; `dkim_domains` are those that sign, none if that is not known.
    """
    walk = tree_walk(domain, lookups)
    yield from _at_start(walk)
    record = walk.applicable
    if walk.unknown and not walk.own:
        yield finding("dmarc.unknown", names=", ".join(walk.unknown))
    elif record:
        yield from _policy(walk, record)
        yield _alignment(walk, record, lookups, spf_domain, dkim_domains)
    elif not any(map(_is_meant, walk.others)):
        names = ", ".join(walk.asked)
        yield finding("dmarc.missing", record=_suggestion(domain), domain=domain, names=names)


def _is_meant(text: str) -> bool:
    return bool(_LOOKS_LIKE.match(text[:100]))


def _at_start(walk: TreeWalk) -> Iterator[Finding]:
    """Yield what is wrong with the texts at the domain's own name, where none of them counts."""
    name = dmarc_name(walk.start)
    valid = [text for text in walk.others if is_dmarc(text)]
    mistyped = [text for text in walk.others if _is_meant(text)]
    if len(valid) > 1:
        yield finding("dmarc.several", name=name, count=len(valid), text=" | ".join(valid))
    elif mistyped:
        yield finding("dmarc.mistyped", record=_retyped(walk.start, mistyped[0]), name=name, text=mistyped[0])


def _policy(walk: TreeWalk, record: Published) -> Iterator[Finding]:
    facts: dict[str, Any] = {"name": record.name, "text": record.text}
    policy = record.policy(inherited=record.domain != walk.start)
    if not policy:
        # With an address for reports receivers go by p=none, without one by nothing (4.10.1).
        code = "dmarc.recovered" if record.reports else "dmarc.broken"
        yield finding(code, record=_with(record, {"p": "none"}, without=("sp", "np")), **facts)
        return
    yield finding(f"dmarc.{policy}", **facts)
    if policy != "none" and _in_test(record):
        yield finding("dmarc.testing", record=_with(record, {}, without=("t", "pct")), **facts)
    if not record.reports and record.psd != "y":
        reports = {"rua": f"mailto:dmarc@{record.domain}"}
        yield finding("dmarc.no_reports", record=_with(record, reports), **facts)


def _in_test(record: Published) -> bool:
    """Whether the policy is not meant in earnest: by `t`, or by `pct`, its predecessor in RFC 7489."""
    return record.tag("t") == "y" or record.tag("pct", "100") != "100"


def _alignment(
    walk: TreeWalk, record: Published, lookups: Lookups, spf_domain: str, dkim_domains: Sequence[str]
) -> Finding:
    """Return whether the domains that SPF and DKIM speak for belong to the From domain (4.4)."""
    spf = _aligned(walk, (spf_domain,), lookups, strict=record.tag("aspf") == "s")
    dkim = _aligned(walk, dkim_domains, lookups, strict=record.tag("adkim") == "s") if dkim_domains else None
    if spf and dkim:
        code = "both"
    elif dkim:
        code = "dkim"
    elif spf:
        code = "spf_so_far" if dkim is None else "spf"
    else:
        code = "unknown" if spf is None or dkim is None else "neither"
    shown = ", ".join(dkim_domains) or "?"
    return finding(f"alignment.{code}", domain=walk.start, spf=spf_domain, dkim=shown)


def _aligned(walk: TreeWalk, domains: Iterable[str], lookups: Lookups, *, strict: bool) -> bool | None:
    """Return whether one of `domains` is aligned with the walk's start; None if the DNS does not tell."""
    if walk.start in domains:
        return True
    if strict:
        return False
    organizations = [tree_walk(domain, lookups).organization for domain in domains]
    if walk.organization is None:
        return None
    if walk.organization in organizations:
        return True
    return None if None in organizations else False


def _suggestion(domain: str) -> Record:
    return Record(name=dmarc_name(domain), type="TXT", value=f"v={VERSION}; p=none; rua=mailto:dmarc@{domain}")


def _with(record: Published, tags: dict[str, str], *, without: Iterable[str] = ()) -> Record:
    """Return the record with other `tags`; the policy stays in second place, where older receivers want it."""
    kept = {name: value for name, value in record.tags.items() if name not in {"v", "p", *without}}
    policy = {"p": tags.get("p", record.tags.get("p", "none"))}
    return _record(record.domain, policy | kept | tags)


def _retyped(domain: str, text: str) -> Record:
    """Return what can be made out in a mistyped record: its policies, and where it wants reports."""
    found = [*_POLICIES.findall(text), *_ADDRESSES.findall(text)]
    tags = {name.lower(): value.rstrip(",") for name, value in found}
    return _record(domain, {"p": "none"} | tags)


def _record(domain: str, tags: dict[str, str]) -> Record:
    written = [f"{name}={value}" for name, value in ({"v": VERSION} | tags).items()]
    return Record(name=dmarc_name(domain), type="TXT", value="; ".join(written))
