"""Mail servers, reverse DNS, recipients' domains and the limits of every check, at a scripted name server."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import pytest

from massmail.choices import MailDomain, Verdict
from massmail.deliverability import Limits, Record, check_domain, check_recipient_domain, sees_the_world
from massmail.deliverability.lookups import MOST_ALIASES, Lookups, Status
from massmail.deliverability.rules import RULES
from tests.domains import HEALTHY, IMPATIENT, look, of, one
from tests.nameserver import GARBAGE, NO_ANSWERS, SERVFAIL, SILENT, NameServer
from tests.unit import (
    test_deliverability_dkim,
    test_deliverability_dmarc,
    test_deliverability_mail,
    test_deliverability_spf,
)


@pytest.fixture(scope="module")
def server() -> Iterator[NameServer]:
    with NameServer({}) as running:
        yield running


def acme(**entry: Any) -> dict[str, Any]:
    """Return the change that replaces parts of the entry of the domain itself; None takes a part away."""
    entries = HEALTHY["acme.example"] | entry
    return {"acme.example": {kind: values for kind, values in entries.items() if values is not None}}


# The whole


def test_check_domain__everything_in_order(server: NameServer) -> None:
    findings = look(server, {})
    assert [finding.code for finding in findings] == [
        "mx.good",
        "spf.good",
        "dkim.good",
        "dmarc.reject",
        "alignment.both",
        "reverse.good",
    ]
    assert {finding.verdict for finding in findings} == {Verdict.GOOD}
    assert not any(finding.fix or finding.record for finding in findings)
    assert not any("search.example" in name for name, _ in server.asked)


def test_check_domain__idn(server: NameServer) -> None:
    zones = {
        "xn--mnchen-3ya.example": HEALTHY["acme.example"],
        "_dmarc.xn--mnchen-3ya.example": {"TXT": ["v=DMARC1; p=none"]},
    }
    findings = look(server, zones, "MÜNCHEN.example", signatures=())
    assert of("mx", findings) == ["good"]
    assert of("spf", findings) == ["good"]
    assert one("dmarc.no_reports", findings).record == Record(
        name="_dmarc.xn--mnchen-3ya.example",
        type="TXT",
        value="v=DMARC1; p=none; rua=mailto:dmarc@xn--mnchen-3ya.example",
    )


@pytest.mark.parametrize("domain", ["", "acme..example", "[192.0.2.1]", "a" * 64 + ".example", "acme example", "\0"])
def test_check_domain__no_domain_name(server: NameServer, domain: str) -> None:
    (found,) = look(server, {}, domain)
    assert (found.code, found.verdict) == ("mx.invalid", Verdict.BAD)
    assert server.asked == []


def test_check_domain__wrong_arguments(server: NameServer) -> None:
    with pytest.raises(ValueError, match="relay"):
        check_domain("acme.example", resolver=server.resolver(), relay="relay.acme.example")
    with pytest.raises(ValueError, match="Not a domain"):
        check_domain("acme.example", resolver=server.resolver(), return_path="acme..example")


def test_check_domain__does_not_exist(server: NameServer) -> None:
    (found,) = look(server, {}, "acme.invalid")
    assert (found.code, found.verdict) == ("mx.no_domain", Verdict.BAD)
    assert server.asked == [("acme.invalid", "MX")]


@pytest.mark.parametrize("trouble", NO_ANSWERS)
def test_check_domain__no_answer_is_never_missing(server: NameServer, trouble: str) -> None:
    silent: dict[str, Any] = {name: {"ANY": trouble} for name in HEALTHY}
    findings = look(server, silent, limits=Limits(lifetime=0.1, seconds=0.3))
    assert [finding.code for finding in findings] == [
        "mx.unknown",
        "spf.unknown",
        "dkim.unknown",
        "dmarc.unknown",
        "reverse.unknown",
    ]
    assert {finding.verdict for finding in findings} == {Verdict.UNKNOWN}


def test_check_domain__nobody_listens() -> None:
    with NameServer({}) as gone:
        resolver = gone.resolver()
    findings = check_domain("acme.example", resolver=resolver, limits=Limits(lifetime=0.1, seconds=0.2))
    assert {finding.verdict for finding in findings} == {Verdict.UNKNOWN}


def test_rules__each_is_found_by_a_test_and_has_its_words() -> None:
    cases = [*MX, *REVERSE, *ALONE]
    for module in (test_deliverability_spf, test_deliverability_dkim, test_deliverability_dmarc):
        cases += module.FOUND
    of_mail = [*test_deliverability_mail.FOUND, *test_deliverability_mail.ELSEWHERE]
    assert set(RULES) == {code for code, *_ in cases} | {code for code, *_ in of_mail}
    for rule in RULES.values():
        assert rule.seen
        assert rule.why
        assert rule.source
        assert bool(rule.fix) or rule.verdict is Verdict.GOOD


# Mail servers

NULL_MX = "0 ."
MX: list[tuple[str, Verdict, dict[str, Any]]] = [
    ("mx.good", Verdict.GOOD, {}),
    ("mx.good", Verdict.GOOD, {"mx.acme.example": None}),
    ("mx.good", Verdict.GOOD, {"mx.acme.example": {"CNAME": ["mx2.acme.example."]}}),
    ("mx.implicit", Verdict.WARNING, acme(MX=None)),
    ("mx.implicit", Verdict.WARNING, acme(MX=None, A=None, AAAA=["2001:db8::80"])),
    ("mx.null", Verdict.BAD, acme(MX=[NULL_MX])),
    ("mx.mixed", Verdict.WARNING, acme(MX=[NULL_MX, "10 mx.acme.example."])),
    ("mx.none", Verdict.BAD, acme(MX=None, A=None)),
    ("mx.dead", Verdict.BAD, {"mx.acme.example": None, "mx2.acme.example": {"TXT": ["no address"]}}),
    ("mx.dead", Verdict.BAD, acme(MX=["10 192.0.2.25."])),
    ("mx.unknown", Verdict.UNKNOWN, acme(MX=SILENT)),
    ("mx.unknown", Verdict.UNKNOWN, acme(MX=SERVFAIL)),
    ("mx.unknown", Verdict.UNKNOWN, acme(MX=None, A=SILENT)),
    ("mx.unknown", Verdict.UNKNOWN, acme(MX=None, A=None, AAAA=SERVFAIL)),
    ("mx.unknown", Verdict.UNKNOWN, {"mx.acme.example": {"A": SERVFAIL}, "mx2.acme.example": None}),
    # More servers than are tried: the others may have an address.
    ("mx.unknown", Verdict.UNKNOWN, acme(MX=[f"{number} mx{number}.dead.example." for number in range(9)])),
]
ALONE = [("mx.invalid",), ("mx.no_domain",)]


@pytest.mark.parametrize(("code", "verdict", "changes"), MX)
def test_mx(server: NameServer, code: str, verdict: Verdict, changes: dict[str, Any]) -> None:
    findings = look(server, changes)
    assert of("mx", findings) == [code.partition(".")[2]]
    assert one(code, findings).verdict is verdict


def test_mx__names_in_the_order_of_preference(server: NameServer) -> None:
    assert one("mx.good", look(server, {})).seen == "Mail servers of acme.example: mx.acme.example, mx2.acme.example"
    found = one("mx.implicit", look(server, acme(MX=None)))
    assert str(found.record) == "acme.example. MX 10 acme.example."


def test_mx__huge(server: NameServer) -> None:
    hosts = [f"{number} {'x' * 60}.mx{number}.acme.example." for number in range(1, 300)]
    findings = look(server, acme(MX=["0 mx.acme.example.", *hosts]))
    assert len(one("mx.good", findings).seen) < 400
    assert ("acme.example", "MX") in server.tcp


# Reverse DNS

POINTER = "4.3.2.1.in-addr.arpa"
REVERSE: list[tuple[str, Verdict, dict[str, Any], str]] = [
    ("reverse.good", Verdict.GOOD, {}, "1.2.3.4"),
    ("reverse.good", Verdict.GOOD, {POINTER: {"PTR": ["other.acme.example.", "relay.acme.example."]}}, "1.2.3.4"),
    (
        "reverse.good",
        Verdict.GOOD,
        {
            "1.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.8.a.2.ip6.arpa": {"PTR": ["six.acme.example."]},
            "six.acme.example": {"AAAA": ["2a80::1"]},
        },
        "2a80:0::1",
    ),
    ("reverse.missing", Verdict.BAD, {POINTER: None}, "1.2.3.4"),
    ("reverse.missing", Verdict.BAD, {POINTER: {"TXT": ["no name"]}}, "1.2.3.4"),
    ("reverse.mismatch", Verdict.BAD, {"relay.acme.example": {"A": ["1.2.3.5"]}}, "1.2.3.4"),
    ("reverse.mismatch", Verdict.BAD, {"relay.acme.example": None}, "1.2.3.4"),
    ("reverse.unknown", Verdict.UNKNOWN, {POINTER: {"PTR": SILENT}}, "1.2.3.4"),
    ("reverse.unknown", Verdict.UNKNOWN, {"relay.acme.example": {"A": SERVFAIL}}, "1.2.3.4"),
    (
        "reverse.unknown",
        Verdict.UNKNOWN,
        {POINTER: {"PTR": [f"{number}.names.example." for number in range(50)]}},
        "1.2.3.4",
    ),
    ("reverse.private", Verdict.UNKNOWN, {}, "10.0.0.7"),
    ("reverse.private", Verdict.UNKNOWN, {}, "127.0.0.1"),
    ("reverse.private", Verdict.UNKNOWN, {}, "fe80::1"),
]


@pytest.mark.parametrize(("code", "verdict", "changes", "relay"), REVERSE)
def test_reverse(server: NameServer, code: str, verdict: Verdict, changes: dict[str, Any], relay: str) -> None:
    findings = look(server, changes, relay=relay)
    assert of("reverse", findings) == [code.partition(".")[2]]
    assert one(code, findings).verdict is verdict


def test_reverse__records_to_publish(server: NameServer) -> None:
    missing = one("reverse.missing", look(server, {POINTER: None}))
    assert str(missing.record) == "4.3.2.1.in-addr.arpa. PTR NAME_OF_YOUR_RELAY."
    mismatch = one("reverse.mismatch", look(server, {"relay.acme.example": None}))
    assert str(mismatch.record) == "relay.acme.example. A 1.2.3.4"


def test_reverse__only_of_an_own_relay(server: NameServer) -> None:
    assert of("reverse", look(server, {}, relay="")) == []
    # The address of an inner network says nothing about SPF.
    assert of("spf", look(server, {}, relay="10.0.0.7")) == ["good"]


# Recipients' domains


@pytest.mark.parametrize(
    ("state", "changes"),
    [
        (MailDomain.ACCEPTS, {}),
        (MailDomain.ACCEPTS, acme(MX=None)),
        (MailDomain.ACCEPTS, acme(MX=[NULL_MX, "10 mx.acme.example."])),
        (MailDomain.ACCEPTS, {"acme.example": {"CNAME": ["alias.example."]}, "alias.example": HEALTHY["acme.example"]}),
        (MailDomain.NULL_MX, acme(MX=[NULL_MX])),
        (MailDomain.NO_SERVER, acme(MX=None, A=None)),
        (MailDomain.NO_SERVER, acme(MX=["10 localhost."])),
        (MailDomain.NO_DOMAIN, dict.fromkeys(HEALTHY)),
        (MailDomain.NO_DOMAIN, {"acme.example": {"CNAME": ["gone.example."]}}),
        *((MailDomain.UNKNOWN, acme(MX=trouble)) for trouble in NO_ANSWERS),
        (MailDomain.UNKNOWN, acme(MX=None, A=SILENT)),
        (MailDomain.UNKNOWN, {"acme.example": {"CNAME": ["acme.example."]}}),
    ],
)  # fmt: skip
def test_check_recipient_domain(server: NameServer, state: MailDomain, changes: dict[str, Any]) -> None:
    server.zones = {name: entry for name, entry in (HEALTHY | changes).items() if entry is not None}
    assert check_recipient_domain("acme.example", resolver=server.resolver(), limits=IMPATIENT) is state


def test_check_recipient_domain__asks_little(server: NameServer) -> None:
    server.zones = dict(HEALTHY)
    server.asked.clear()
    assert check_recipient_domain("Acme.Example", resolver=server.resolver()) is MailDomain.ACCEPTS
    assert server.asked == [("acme.example", "MX"), ("mx.acme.example", "A")]
    assert check_recipient_domain("acme..example", resolver=server.resolver()) is MailDomain.NO_DOMAIN
    assert check_recipient_domain("[192.0.2.1]", resolver=server.resolver()) is MailDomain.NO_DOMAIN


# Questions and their limits


@pytest.mark.parametrize(
    ("entry", "status", "values"),
    [
        ({"TXT": ["one", "two"]}, Status.FOUND, {"one", "two"}),
        ({"TXT": [["v=spf1 inc", "lude:a.example", " -all"]]}, Status.FOUND, {"v=spf1 include:a.example -all"}),
        ({"TXT": [b"caf\xc3\xa9 \xff"]}, Status.FOUND, {"café \ufffd"}),
        ({"TXT": ["x" * 20_000]}, Status.FOUND, {"x" * 20_000}),
        ({"TXT": [["ab"] * 5000]}, Status.FOUND, {"ab" * 5000}),
        ({"TXT": [f"text {n}" for n in range(900)]}, Status.FOUND, {f"text {n}" for n in range(900)}),
        ({"CNAME": ["target.example."]}, Status.FOUND, {"of the target"}),
        ({"CNAME": ["gone.example."]}, Status.NO_NAME, set()),
        ({"CNAME": ["empty.example."]}, Status.NO_DATA, set()),
        ({"CNAME": ["asked.example."]}, Status.UNKNOWN, set()),
        ({}, Status.NO_DATA, set()),
        *(({"TXT": trouble}, Status.UNKNOWN, set()) for trouble in NO_ANSWERS),
    ],
)
@pytest.mark.parametrize("follow", [True, False])
def test_lookups__txt(
    server: NameServer, monkeypatch: pytest.MonkeyPatch, follow: bool, entry: Any, status: Status, values: set[str]
) -> None:
    monkeypatch.setattr(server, "follow", follow)
    server.zones = {
        "asked.example": entry,
        "target.example": {"TXT": ["of the target"]},
        "empty.example": {"A": ["192.0.2.1"]},
    }
    limits = IMPATIENT if entry.get("TXT") in (SILENT, GARBAGE) else Limits()
    answer = Lookups(server.resolver(), limits).txt("asked.example")
    assert (answer.status, set(answer.values)) == (status, values)


def test_lookups__aliases_in_a_circle(server: NameServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "follow", False)
    server.zones = {"a.example": {"CNAME": ["b.example."]}, "b.example": {"CNAME": ["a.example."]}}
    server.asked.clear()
    assert Lookups(server.resolver(), Limits()).txt("a.example").unknown
    assert len(server.asked) == MOST_ALIASES


def test_lookups__large_answers_come_over_tcp(server: NameServer) -> None:
    server.zones = {"large.example": {"TXT": ["x" * 5000]}, "small.example": {"TXT": ["x"]}}
    server.tcp.clear()
    lookups = Lookups(server.resolver(), IMPATIENT)
    assert lookups.txt("large.example").found
    assert lookups.txt("small.example").found
    assert server.tcp == [("large.example", "TXT")]


@pytest.mark.parametrize(
    "name", ["", "a..b", "x" * 64 + ".example", "a." * 200, "\\300.example", "\u202e..x", "\ud800."]
)
def test_lookups__what_cannot_be_asked_for_does_not_exist(server: NameServer, name: str) -> None:
    server.zones = {"example": {"TXT": ["x"]}}
    assert not Lookups(server.resolver(), IMPATIENT).txt(name).found


def test_lookups__ask_once(server: NameServer) -> None:
    server.zones = {"acme.example": {"TXT": ["x"]}}
    server.asked.clear()
    lookups = Lookups(server.resolver(), Limits())
    assert lookups.txt("acme.example") == lookups.txt("ACME.example.")
    assert server.asked == [("acme.example", "TXT")]


def test_lookups__end_after_so_many_queries(server: NameServer) -> None:
    server.zones = {"*.example": {"TXT": ["x"]}}
    server.asked.clear()
    lookups = Lookups(server.resolver(), Limits(queries=3))
    answers = [lookups.txt(f"{number}.example") for number in range(10)]
    assert [answer.found for answer in answers] == [True] * 3 + [False] * 7
    assert {answer.status for answer in answers[3:]} == {Status.UNKNOWN}
    assert len(server.asked) == 3
    assert lookups.txt("0.example").found


def test_lookups__end_after_so_many_seconds(server: NameServer) -> None:
    server.zones = {"*.example": {"TXT": SILENT}}
    lookups = Lookups(server.resolver(), Limits(seconds=0.5, lifetime=0.2))
    began = time.monotonic()
    assert all(lookups.txt(f"{number}.example").unknown for number in range(100))
    # A hundred questions of 0.2 seconds each would take twenty.
    assert 0.4 < time.monotonic() - began < 10


def test_lookups__addresses_of_the_version_asked_for(server: NameServer) -> None:
    server.zones = {
        "both.example": {"A": ["192.0.2.1"], "AAAA": ["2001:db8::1"]},
        "six.example": {"AAAA": ["2001:db8::1"]},
        "half.example": {"A": SERVFAIL, "AAAA": ["2001:db8::1"]},
        "doubt.example": {"A": SERVFAIL},
    }
    lookups = Lookups(server.resolver(), IMPATIENT)
    found = {name: [str(value) for value in lookups.addresses(name).values] for name in server.zones}
    assert found == {
        "both.example": ["192.0.2.1"],
        "six.example": ["2001:db8::1"],
        "half.example": ["2001:db8::1"],
        "doubt.example": [],
    }
    assert lookups.addresses("doubt.example").unknown
    assert lookups.addresses("six.example", (4,)).status is Status.NO_DATA
    assert [str(value) for value in lookups.addresses("both.example", (6,)).values] == ["2001:db8::1"]


# Whom to believe


@pytest.mark.parametrize(
    ("zones", "sees"), [({"com": {"NS": ["a.gtld.example."]}}, True), ({}, False), ({"com": {"NS": SERVFAIL}}, False)]
)
def test_sees_the_world(server: NameServer, zones: dict[str, Any], sees: bool) -> None:
    server.zones = zones
    assert sees_the_world(resolver=server.resolver(), limits=IMPATIENT) is sees
