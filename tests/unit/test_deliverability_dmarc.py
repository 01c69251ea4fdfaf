"""DMARC policies found by the tree walk, and alignment of SPF and DKIM with the from address."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from massmail.choices import Verdict
from massmail.deliverability import Signature
from massmail.deliverability.dmarc_walk import tree_walk
from massmail.deliverability.lookups import Limits, Lookups
from tests.domains import look, of, one
from tests.nameserver import SERVFAIL, SILENT, NameServer

NAME = "_dmarc.acme.example"
RUA = "rua=mailto:dmarc@acme.example"


@pytest.fixture(scope="module")
def server() -> Iterator[NameServer]:
    with NameServer({}) as running:
        yield running


def dmarc(*texts: Any, **others: str) -> dict[str, Any]:
    """Return the change that gives the domain these records, and the domains `others` one each."""
    changes: dict[str, Any] = {NAME: {"TXT": list(texts)} if texts else None}
    return changes | {f"_dmarc.{domain}": {"TXT": [text]} for domain, text in others.items()}


POLICIES: list[tuple[str, Verdict, dict[str, Any]]] = [
    ("dmarc.none", Verdict.GOOD, dmarc(f"v=DMARC1; p=none; {RUA}")),
    ("dmarc.quarantine", Verdict.GOOD, dmarc(f"v=DMARC1; p=Quarantine; {RUA}")),
    ("dmarc.reject", Verdict.GOOD, dmarc(f"v=DMARC1;p=reject;{RUA};")),
    ("dmarc.reject", Verdict.GOOD, dmarc(["v=DMARC1; p=rej", f"ect; {RUA}"])),
    ("dmarc.reject", Verdict.GOOD, dmarc("v=verification", f"v=DMARC1; p=reject; {RUA}")),
    ("dmarc.reject", Verdict.GOOD, {NAME: {"CNAME": ["policy.example."]}}
     | {"policy.example": {"TXT": [f"v=DMARC1; p=reject; {RUA}"]}}),
    ("dmarc.reject", Verdict.GOOD, dmarc(f"v=DMARC1; p=reject; {RUA}; bogus; x=y; adkim=?")),
    ("dmarc.reject", Verdict.GOOD, dmarc(example=f"v=DMARC1; p=none; sp=reject; {RUA}")),
    ("dmarc.reject", Verdict.GOOD, dmarc(example="v=DMARC1; psd=y; p=reject")),
    ("dmarc.missing", Verdict.WARNING, dmarc()),
    ("dmarc.missing", Verdict.WARNING, dmarc("v=verification")),
    ("dmarc.missing", Verdict.WARNING, {NAME: {"A": ["192.0.2.1"]}}),
    ("dmarc.mistyped", Verdict.BAD, dmarc("v=dmarc1; p=none")),
    ("dmarc.mistyped", Verdict.BAD, dmarc("v=DMARC1 p=none")),
    ("dmarc.mistyped", Verdict.BAD, dmarc('"v=DMARC1; p=none"')),
    ("dmarc.several", Verdict.BAD, dmarc("v=DMARC1; p=none", "v=DMARC1; p=reject")),
    ("dmarc.several", Verdict.BAD, dmarc(*[f"v=DMARC1; p=none; rua=mailto:{at}@acme.example" for at in range(900)])),
    ("dmarc.broken", Verdict.BAD, dmarc("v=DMARC1")),
    ("dmarc.broken", Verdict.BAD, dmarc("v=DMARC1; p=block")),
    ("dmarc.broken", Verdict.BAD, dmarc("v=DMARC1; p=reject; np=block")),
    ("dmarc.recovered", Verdict.WARNING, dmarc(f"v=DMARC1; p=block; {RUA}")),
    ("dmarc.recovered", Verdict.WARNING, dmarc(f"v=DMARC1; {RUA}")),
    ("dmarc.recovered", Verdict.WARNING, dmarc(f"v=DMARC1; p=reject; np=block; {RUA}")),
    ("dmarc.broken", Verdict.BAD, dmarc(b"v=DMARC1; p=\xff\xfe" + b"x" * 60_000)),
    ("dmarc.testing", Verdict.WARNING, dmarc(f"v=DMARC1; p=reject; t=y; {RUA}")),
    ("dmarc.testing", Verdict.WARNING, dmarc(f"v=DMARC1; p=reject; pct=20; {RUA}")),
    ("dmarc.no_reports", Verdict.WARNING, dmarc("v=DMARC1; p=none")),
    ("dmarc.no_reports", Verdict.WARNING, dmarc("v=DMARC1; p=reject; rua=https://acme.example/")),
    *(("dmarc.unknown", Verdict.UNKNOWN, {NAME: {"TXT": word}}) for word in (SILENT, SERVFAIL)),
    ("dmarc.unknown", Verdict.UNKNOWN, dmarc() | {"_dmarc.example": {"TXT": SILENT}}),
    # The policy above might be this one's, if only it were known who is an organization here.
    ("dmarc.unknown", Verdict.UNKNOWN, dmarc(example=f"v=DMARC1; p=reject; {RUA}") | {NAME: {"TXT": SERVFAIL}}),
]  # fmt: skip


@pytest.mark.parametrize(("code", "verdict", "changes"), POLICIES)
def test_dmarc(server: NameServer, code: str, verdict: Verdict, changes: dict[str, Any]) -> None:
    findings = look(server, changes)
    found = one(code, findings)
    assert found.verdict is verdict
    assert len(found.seen) < 500
    if verdict in {Verdict.BAD, Verdict.UNKNOWN} or code == "dmarc.missing":
        assert of("dmarc", findings) == [code.partition(".")[2]]
    # Without a policy that applies there is nothing to be aligned with.
    has_policy = code not in {"dmarc.missing", "dmarc.mistyped", "dmarc.several", "dmarc.unknown"}
    assert bool(of("alignment", findings)) is has_policy


@pytest.mark.parametrize(
    ("texts", "codes"),
    [
        (["v=DMARC1; p=none"], ["none", "no_reports"]),
        (["v=DMARC1; p=reject; t=y"], ["reject", "testing", "no_reports"]),
        # A policy that asks for nothing can't be in test mode.
        ([f"v=DMARC1; p=none; pct=10; {RUA}"], ["none"]),
        ([f"v=DMARC1; p=reject; pct=100; t=n; {RUA}"], ["reject"]),
    ],
)
def test_dmarc__all_that_is_wrong(server: NameServer, texts: list[str], codes: list[str]) -> None:
    assert of("dmarc", look(server, dmarc(*texts))) == codes


@pytest.mark.parametrize(
    ("code", "texts", "published"),
    [
        ("dmarc.missing", [], f"v=DMARC1; p=none; {RUA}"),
        ("dmarc.mistyped", [f"v=dmarc1, p=reject, {RUA}, x"], f"v=DMARC1; p=reject; {RUA}"),
        ("dmarc.mistyped", ["v=DMARC1 whatever"], "v=DMARC1; p=none"),
        ("dmarc.broken", ["v=DMARC1; aspf=s; p=block"], "v=DMARC1; p=none; aspf=s"),
        ("dmarc.recovered", [f"v=DMARC1; adkim=s; p=block; {RUA}"], f"v=DMARC1; p=none; adkim=s; {RUA}"),
        ("dmarc.testing", [f"v=DMARC1; t=y; p=reject; pct=5; {RUA}"], f"v=DMARC1; p=reject; {RUA}"),
        ("dmarc.no_reports", ["v=DMARC1; p=reject; aspf=s"], f"v=DMARC1; p=reject; aspf=s; {RUA}"),
    ],
)
def test_dmarc__record_to_publish(server: NameServer, code: str, texts: list[str], published: str) -> None:
    found = one(code, look(server, dmarc(*texts)))
    assert str(found.record) == f"{NAME}. TXT {published}"


def test_dmarc__inherited(server: NameServer) -> None:
    news = {"news.acme.example": {"MX": ["10 mx.acme.example."], "TXT": ["v=spf1 ip4:1.2.3.4 -all"]}}
    parent = dmarc("v=DMARC1; p=reject; sp=quarantine")
    findings = look(server, news | parent, "news.acme.example", smtp_host="")
    assert of("dmarc", findings) == ["quarantine", "no_reports"]
    assert NAME in one("dmarc.quarantine", findings).seen
    # The domain above has two: none counts, and there is nothing else.
    twice = dmarc("v=DMARC1; p=reject", "v=DMARC1; p=none")
    assert of("dmarc", look(server, news | twice, "news.acme.example", smtp_host="")) == ["missing"]


def test_dmarc__of_a_public_suffix(server: NameServer) -> None:
    """Its policy applies to whoever has none; but its records are not ours to mend."""
    suffix = dmarc(example="v=DMARC1; psd=y; p=reject")
    assert of("dmarc", look(server, suffix)) == ["reject"]
    assert of("dmarc", look(server, suffix | {NAME: {"TXT": SERVFAIL}})) == ["unknown"]


def test_dmarc__several_fall_back_to_the_domain_above(server: NameServer) -> None:
    findings = look(server, dmarc("v=DMARC1; p=none", "v=DMARC1; p=reject", example=f"v=DMARC1; p=reject; {RUA}"))
    assert of("dmarc", findings) == ["several", "reject"]


@pytest.mark.parametrize(
    ("records", "start", "organization", "asked"),
    [
        ({}, "a.mail.acme.example", "a.mail.acme.example", 4),
        ({"mail.acme.example": "", "acme.example": ""}, "a.mail.acme.example", "acme.example", 4),
        ({"example": "psd=y"}, "a.mail.acme.example", "acme.example", 4),
        ({"example": "psd=y"}, "example", "example", 1),
        ({"acme.example": "psd=y", "example": ""}, "acme.example", "example", 2),
        ({"acme.example": "psd=n", "example": ""}, "acme.example", "acme.example", 1),
        ({"mail.acme.example": "psd=n", "example": "psd=y"}, "a.mail.acme.example", "mail.acme.example", 2),
        ({"acme.example": "psd=y", "example": ""}, "a.b.acme.example", "b.acme.example", 3),
        ({"acme.example": "psd=u", "example": "psd=?"}, "acme.example", "example", 2),
        ({"g.h.i.j.acme.co.example": ""}, "a.b.c.d.e.f.g.h.i.j.acme.co.example", "g.h.i.j.acme.co.example", 8),
        ({"f.g.h.i.j.acme.co.example": ""}, "a.b.f.g.h.i.j.acme.co.example", "a.b.f.g.h.i.j.acme.co.example", 8),
    ],
)
def test_tree_walk(server: NameServer, records: dict[str, str], start: str, organization: str, asked: int) -> None:
    server.zones = {f"_dmarc.{name}": {"TXT": [f"v=DMARC1; p=none; {tags}"]} for name, tags in records.items()}
    walk = tree_walk(start, Lookups(server.resolver(), Limits()))
    assert walk.organization == organization
    assert len(walk.asked) == asked


def test_tree_walk__unknown_organization(server: NameServer) -> None:
    server.zones = {NAME: {"TXT": ["v=DMARC1; p=none"]}, "_dmarc.example": {"TXT": SERVFAIL}}
    walk = tree_walk("acme.example", Lookups(server.resolver(), Limits()))
    assert walk.organization is None
    assert walk.applicable is walk.own is not None


# Alignment

HERE, BELOW, AWAY = "acme.example", "mail.acme.example", "provider.test"
RELAXED, STRICT = f"v=DMARC1; p=reject; {RUA}", f"v=DMARC1; p=reject; adkim=s; aspf=s; {RUA}"
ALIGNED: list[tuple[str, Verdict, str, str, str]] = [
    ("alignment.both", Verdict.GOOD, RELAXED, HERE, HERE),
    ("alignment.both", Verdict.GOOD, STRICT, HERE, HERE),
    ("alignment.both", Verdict.GOOD, RELAXED, BELOW, BELOW),
    ("alignment.dkim", Verdict.GOOD, RELAXED, AWAY, BELOW),
    ("alignment.dkim", Verdict.GOOD, STRICT, BELOW, HERE),
    ("alignment.spf", Verdict.WARNING, RELAXED, HERE, AWAY),
    ("alignment.spf", Verdict.WARNING, STRICT, HERE, BELOW),
    ("alignment.spf_so_far", Verdict.GOOD, RELAXED, HERE, ""),
    ("alignment.neither", Verdict.BAD, RELAXED, AWAY, AWAY),
    ("alignment.neither", Verdict.BAD, STRICT, BELOW, BELOW),
    ("alignment.unknown", Verdict.UNKNOWN, RELAXED, AWAY, ""),
    ("alignment.unknown", Verdict.UNKNOWN, RELAXED, "silent.test", AWAY),
    ("alignment.unknown", Verdict.UNKNOWN, RELAXED, AWAY, "silent.test"),
]
FOUND = [*POLICIES, *ALIGNED]


@pytest.mark.parametrize(("code", "verdict", "record", "envelope", "signer"), ALIGNED)
def test_alignment(server: NameServer, code: str, verdict: Verdict, record: str, envelope: str, signer: str) -> None:
    changes = dmarc(record) | {"_dmarc.silent.test": {"TXT": SERVFAIL}}
    signatures = [Signature(domain=signer, selector="s1")] if signer else []
    findings = look(server, changes, return_path=envelope, signatures=signatures)
    assert of("alignment", findings) == [code.partition(".")[2]]
    assert one(code, findings).verdict is verdict


def test_alignment__organizations_below_a_public_suffix(server: NameServer) -> None:
    """Two customers of one suffix are strangers, two hosts of one customer are not."""
    suffix = dmarc(example="v=DMARC1; p=reject; psd=y")
    stranger = [Signature(domain="other.example", selector="s1")]
    assert of("alignment", look(server, suffix, signatures=stranger)) == ["spf"]
    colleague = [Signature(domain="mail.acme.example", selector="s1")]
    assert of("alignment", look(server, suffix, signatures=colleague)) == ["both"]


def test_alignment__unknown_organization(server: NameServer) -> None:
    changes = {"_dmarc.example": {"TXT": SERVFAIL}}
    below = [Signature(domain=BELOW, selector="s1")]
    findings = look(server, changes, signatures=below, return_path=BELOW)
    assert of("alignment", findings) == ["unknown"]
    # The very same domain is aligned, whatever the organization is.
    assert of("alignment", look(server, changes)) == ["both"]


def test_alignment__one_signature_of_two_is_enough(server: NameServer) -> None:
    both = [Signature(domain=AWAY, selector="x"), Signature(domain=HERE, selector="s1")]
    findings = look(server, {}, signatures=both, return_path=AWAY)
    assert of("alignment", findings) == ["dkim"]
