"""SPF records good and bad, followed through a scripted name server."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from massmail.choices import Verdict
from massmail.deliverability import Limits
from massmail.deliverability.spf_walk import COUNTED
from tests.domains import HEALTHY, look, of, one, spf
from tests.nameserver import SERVFAIL, SILENT, NameServer

GOOGLE = "include:_spf.google.com"
OURS = f"{GOOGLE} ip4:1.2.3.4"


@pytest.fixture(scope="module")
def server() -> Iterator[NameServer]:
    with NameServer({}) as running:
        yield running


def text(record: str) -> dict[str, Any]:
    return {"TXT": [record]}


def includes(number: int) -> dict[str, Any]:
    """Return names that each have a record without further lookups."""
    return {f"i{at}.example": text(f"v=spf1 ip4:192.0.2.{at} -all") for at in range(number)}


def chain(length: int, end: str) -> dict[str, Any]:
    """Return names of which each includes the next, and the last has the record `end`."""
    links = {f"c{at}.example": text(f"v=spf1 include:c{at + 1}.example -all") for at in range(length - 1)}
    return links | {f"c{length - 1}.example": text(end)}


NINE = " ".join(f"include:i{at}.example" for at in range(9))
TEN = f"{NINE} include:i9.example"

GOOD: list[tuple[Any, dict[str, Any]]] = [
    (f"v=spf1 {OURS} -all", {}),
    (f"V=SPF1 {OURS} ~ALL", {}),
    ([["v=spf1 include:_spf.goo", "gle.com ip4:1.2.3.4 ~all"]], {}),
    ([f"v=spf1 {OURS} -all", "v=verification", b"\xff\xfe"], {}),
    ("v=spf1 redirect=all.example", {"all.example": text(f"v=spf1 {OURS} -all")}),
    (f"v=spf1 {NINE} {OURS} -all", includes(9)),
    # The relay and the provider, address by address, and behind names.
    ("v=spf1 ip4:1.2.0.0/16 ip4:35.190.0.0/16 ip6:2001:4860::/32 -all", {}),
    (f"v=spf1 {GOOGLE} a:relay.acme.example -all", {}),
    (f"v=spf1 {GOOGLE} a:near.example/24 -all", {"near.example": {"A": ["1.2.3.99"]}}),
    (f"v=spf1 {GOOGLE} mx:in.example -all", {"in.example": {"MX": ["1 relay.acme.example."]}}),
    ("v=spf1 include:alias.example ip4:1.2.3.4 -all", {"alias.example": {"CNAME": ["_spf.google.com."]}}),
    # Who lets everybody send is asked, but nobody goes by a yes.
    (f"v=spf1 {OURS} ?include:world.example -ip4:0.0.0.0/0 -all", {"world.example": text("v=spf1 +all")}),
    # What comes back to the same name by two ways is no loop.
    (f"v=spf1 {OURS} include:c0.example include:c1.example -all", chain(3, "v=spf1 -all")),
]


@pytest.mark.parametrize(("record", "others"), GOOD)
def test_spf__good(server: NameServer, record: Any, others: dict[str, Any]) -> None:
    findings = look(server, spf(record, **others))
    assert of("spf", findings) == ["good"]


FOUND: list[tuple[str, Verdict, Any, dict[str, Any]]] = [
    ("spf.good", Verdict.GOOD, f"v=spf1 {OURS} -all", {}),
    ("spf.relay", Verdict.BAD, f"v=spf1 {GOOGLE} -ip4:1.2.3.4 ip4:1.2.3.0/24 -all", {}),
    ("spf.relay", Verdict.BAD, f"v=spf1 {GOOGLE} -a:relay.acme.example ip4:1.2.3.0/24 -all", {}),
    ("spf.provider", Verdict.BAD, "v=spf1 ?include:_spf.google.com ip4:192.0.2.1 -all", {}),
    ("spf.provider", Verdict.BAD, "v=spf1 -include:_spf.google.com ip4:192.0.2.1 -all", {}),
    ("spf.provider", Verdict.BAD, "v=spf1 include:w.example ip4:192.0.2.1 -all",
     {"w.example": text("v=spf1 -include:_spf.google.com -all")}),
    ("spf.missing", Verdict.BAD, [], {}),
    ("spf.missing", Verdict.BAD, ["v=verification", "spf2.0/pra -all", ""], {}),
    ("spf.mistyped", Verdict.BAD, f'"v=spf1 {OURS} -all"', {}),
    ("spf.mistyped", Verdict.BAD, f"v=spf1; {OURS} -all", {}),
    ("spf.several", Verdict.BAD, [f"v=spf1 {OURS} -all", "v=spf1 mx ~all"], {}),
    ("spf.several", Verdict.BAD, [f"v=spf1 ip4:192.0.2.1 exp=x{at}.example" for at in range(900)], {}),
    ("spf.syntax", Verdict.BAD, f"v=spf1 {OURS} ip4:192.0.2.256 mx:: -all", {}),
    ("spf.syntax", Verdict.BAD, f"v=spf1 {OURS} include:münchen.example -all", {}),
    ("spf.syntax", Verdict.BAD, f"v=spf1 {OURS} \x00 -all", {}),
    ("spf.lookups", Verdict.BAD, f"v=spf1 {TEN} {OURS} -all", includes(10)),
    ("spf.lookups", Verdict.BAD, f"v=spf1 {OURS} include:c0.example -all", chain(10, "v=spf1 -all")),
    ("spf.lookups", Verdict.BAD, f"v=spf1 {OURS} redirect=more.example", includes(10)
     | {"more.example": text(f"v=spf1 {NINE} -all")}),
    ("spf.lookups", Verdict.BAD, f"v=spf1 {OURS} a mx exists:%{{i}}.acme.example ptr {NINE} -all", includes(9)),
    ("spf.voids", Verdict.WARNING, f"v=spf1 {OURS} a:x.example mx:y.example exists:z.example -all", {}),
    ("spf.loop", Verdict.BAD, f"v=spf1 {OURS} include:acme.example -all", {}),
    ("spf.loop", Verdict.BAD, f"v=spf1 {OURS} include:c0.example -all", chain(3, "v=spf1 include:c1.example -all")),
    ("spf.loop", Verdict.BAD, "v=spf1 redirect=acme.example", {}),
    ("spf.broken_include", Verdict.BAD, f"v=spf1 {OURS} include:gone.example -all", {}),
    ("spf.broken_include", Verdict.BAD, f"v=spf1 {OURS} include:none.example -all", {"none.example": text("x")}),
    ("spf.broken_include", Verdict.BAD, f"v=spf1 {OURS} include:two.example -all",
     {"two.example": {"TXT": ["v=spf1 -all", "v=spf1 mx -all"]}}),
    ("spf.broken_include", Verdict.BAD, f"v=spf1 {OURS} redirect=odd.example",
     {"odd.example": text("v=spf1 ip4:x -all")}),
    ("spf.crowded", Verdict.BAD, f"v=spf1 {OURS} mx:crowd.example -all",
     {"crowd.example": {"MX": [f"1 mx{at}.acme.example." for at in range(11)]}}),
    ("spf.unfollowed", Verdict.UNKNOWN, f"v=spf1 {OURS} include:slow.example -all", {"slow.example": {"TXT": SILENT}}),
    ("spf.unfollowed", Verdict.UNKNOWN, f"v=spf1 {OURS} mx:slow.example -all", {"slow.example": {"MX": SERVFAIL}}),
    ("spf.unfollowed", Verdict.UNKNOWN, f"v=spf1 {OURS} mx:ours.example -all",
     {"ours.example": {"MX": ["1 slow.example."]}, "slow.example": {"A": SERVFAIL}}),
    ("spf.unfollowed", Verdict.UNKNOWN, f"v=spf1 {OURS} exists:slow.example -all", {"slow.example": {"A": SILENT}}),
    ("spf.unfollowed", Verdict.UNKNOWN, "v=spf1 ip4:1.2.3.4 -all", {"_spf.google.com": {"TXT": SERVFAIL}}),
    ("spf.pass_all", Verdict.BAD, f"v=spf1 {OURS} +all", {}),
    ("spf.pass_all", Verdict.BAD, f"v=spf1 {OURS} all", {}),
    ("spf.pass_world", Verdict.BAD, f"v=spf1 {OURS} include:w.example -all", {"w.example": text("v=spf1 +all")}),
    ("spf.pass_world", Verdict.BAD, "v=spf1 redirect=world.example", {"world.example": text(f"v=spf1 {OURS} all")}),
    ("spf.pass_world", Verdict.BAD, f"v=spf1 {OURS} ip4:0.0.0.0/0 -all", {}),
    ("spf.pass_world", Verdict.BAD, f"v=spf1 {OURS} ip6:::/0 -all", {}),
    ("spf.neutral_all", Verdict.WARNING, f"v=spf1 {OURS} ?all", {}),
    ("spf.no_all", Verdict.WARNING, f"v=spf1 {OURS}", {}),
    ("spf.after_all", Verdict.WARNING, f"v=spf1 {OURS} -all mx", {}),
    ("spf.after_all", Verdict.WARNING, f"v=spf1 {OURS} -all redirect=x.example", {}),
    ("spf.ptr", Verdict.WARNING, f"v=spf1 {OURS} ptr -all", {}),
    ("spf.long", Verdict.WARNING, f"v=spf1 {OURS} " + "ip4:192.0.2.111 " * 30 + "-all", {}),
    ("spf.provider", Verdict.BAD, "v=spf1 ip4:1.2.3.4 -all", {}),
    ("spf.provider", Verdict.BAD, "v=spf1 ip4:1.2.3.4 ip4:35.190.247.0/24 -all", {}),
    ("spf.relay", Verdict.BAD, f"v=spf1 {GOOGLE} -all", {}),
    ("spf.relay", Verdict.BAD, f"v=spf1 {GOOGLE} -ip4:1.2.3.4 ?include:neutral.example -all",
     {"neutral.example": text("v=spf1 ip4:1.2.3.4 -all")}),
    ("spf.relay_unknown", Verdict.UNKNOWN, f"v=spf1 {GOOGLE} exists:%{{i}}.acme.example -all", {}),
    *(("spf.unknown", Verdict.UNKNOWN, word, {}) for word in (SILENT, SERVFAIL)),
]  # fmt: skip


@pytest.mark.parametrize(("code", "verdict", "record", "others"), FOUND)
def test_spf(server: NameServer, code: str, verdict: Verdict, record: Any, others: dict[str, Any]) -> None:
    changes = spf(record, **others)
    if record in (SILENT, SERVFAIL):
        changes = {"acme.example": HEALTHY["acme.example"] | {"TXT": record}}
    findings = look(server, changes)
    assert one(code, findings).verdict is verdict
    assert "good" not in of("spf", findings) or code == "spf.good"
    if verdict is Verdict.UNKNOWN:
        assert {finding.verdict for finding in findings if finding.check == "spf"} == {Verdict.UNKNOWN}


@pytest.mark.parametrize(
    ("record", "codes"),
    [
        (f"v=spf1 {OURS} -all ptr", ["after_all", "ptr"]),
        ("v=spf1 bogus ptr +all", ["syntax", "pass_all", "ptr", "relay_unknown"]),
        ("v=spf1 bogus ?all", ["syntax", "neutral_all", "provider", "relay"]),
        (f"v=spf1 -all {OURS}", ["after_all", "provider", "relay"]),
        # What loops or can't be followed may hold what is looked for.
        ("v=spf1 include:acme.example -all", ["loop", "relay_unknown"]),
        ("v=spf1 include:slow.example -all", ["unfollowed", "relay_unknown"]),
        ("v=spf1", ["no_all", "provider", "relay"]),
    ],
)
def test_spf__all_that_is_wrong(server: NameServer, record: str, codes: list[str]) -> None:
    changes = spf(record, **{"slow.example": {"TXT": SILENT}})
    assert of("spf", look(server, changes)) == codes


@pytest.mark.parametrize(
    ("code", "record", "published"),
    [
        ("spf.missing", [], f"v=spf1 {GOOGLE} ~all"),
        ("spf.mistyped", f"“v=spf1 {OURS} -all”", f"v=spf1 {OURS} -all"),
        ("spf.several", [f"v=spf1 {GOOGLE} -all", f"v=spf1 {OURS} mx -all"], f"v=spf1 {OURS} mx -all"),
        ("spf.syntax", f"v=spf1 {OURS} ip4:x -all", f"v=spf1 {OURS} -all"),
        (
            "spf.relay",
            f"v=spf1 {GOOGLE} -ip4:1.2.3.4 ip4:1.2.3.0/24 -all",
            f"v=spf1 {GOOGLE} ip4:1.2.3.0/24 ip4:1.2.3.4 -all",
        ),
        ("spf.provider", f"v=spf1 ?{GOOGLE} ip4:1.2.3.4 -all", f"v=spf1 ip4:1.2.3.4 {GOOGLE} -all"),
        ("spf.pass_all", f"v=spf1 {OURS} +all", f"v=spf1 {OURS} ~all"),
        ("spf.neutral_all", f"v=spf1 {OURS} ?all", f"v=spf1 {OURS} ~all"),
        ("spf.no_all", f"v=spf1 {OURS}", f"v=spf1 {OURS} ~all"),
        ("spf.after_all", f"v=spf1 {OURS} -all mx", f"v=spf1 {OURS} -all"),
        ("spf.provider", "v=spf1 ip4:1.2.3.4 -all", f"v=spf1 ip4:1.2.3.4 {GOOGLE} -all"),
        ("spf.relay", f"v=spf1 {GOOGLE} -all", f"v=spf1 {OURS} -all"),
        ("spf.provider", "v=spf1 mx bogus", f"v=spf1 mx {OURS} ~all"),
        ("spf.syntax", "v=spf1 mx bogus", f"v=spf1 mx {OURS} ~all"),
    ],
)
def test_spf__record_to_publish(server: NameServer, code: str, record: Any, published: str) -> None:
    found = one(code, look(server, spf(record)))
    assert found.record is not None
    assert str(found.record) == f"acme.example. TXT {published}"
    assert of("spf", look(server, spf(published, **{"mx.acme.example": {"A": ["1.2.3.4"]}}))) == (
        ["good"] if "1.2.3.4" in published else ["relay"]
    )


def test_spf__provider(server: NameServer) -> None:
    record = "v=spf1 include:spf.protection.outlook.com -all"
    theirs = {"spf.protection.outlook.com": text("v=spf1 ip4:40.92.0.0/15 -all")}
    microsoft = {"smtp_host": "smtp.office365.com", "relay": ""}
    assert of("spf", look(server, spf(record, **theirs), **microsoft)) == ["good"]
    found = one("spf.provider", look(server, spf(record, **theirs), relay=""))
    assert "Google" in found.seen
    assert found.fix == "Add “include:_spf.google.com” to the record."
    # Zoho has a name for each region; one of them is enough.
    assert of("spf", look(server, spf("v=spf1 include:zoho.eu -all", **{"zoho.eu": text("v=spf1 -all")}),
                          smtp_host="smtp.zoho.eu", relay="")) == ["good"]  # fmt: skip
    # Nothing is asked of unknown servers, nor of a provider's own domain.
    assert of("spf", look(server, spf("v=spf1 -all"), smtp_host="mail.acme.example", relay="")) == ["good"]
    own = {"gmail.com": {"TXT": ["v=spf1 redirect=_own.google.com"], "A": ["192.0.2.1"]}}
    own["_own.google.com"] = text("v=spf1 ip4:192.0.2.0/24 ~all")
    assert of("spf", look(server, own, "gmail.com", relay="")) == ["good"]


def test_spf__missing_says_what_is_known(server: NameServer) -> None:
    nothing_known = one("spf.missing", look(server, spf([]), smtp_host="", relay=""))
    assert str(nothing_known.record) == "acme.example. TXT v=spf1 mx ~all"
    own_relay = one("spf.missing", look(server, spf([]), smtp_host=""))
    assert str(own_relay.record) == "acme.example. TXT v=spf1 ip4:1.2.3.4 ~all"


def test_spf__of_the_envelope_sender(server: NameServer) -> None:
    bounces = {"bounces.acme.example": {"TXT": ["v=spf1 +all"]}}
    found = one("spf.pass_all", look(server, bounces, return_path="bounces.acme.example"))
    assert found.record is not None
    assert found.record.name == "bounces.acme.example"


def test_spf__counts_what_is_asked_twice(server: NameServer) -> None:
    findings = look(server, spf(f"v=spf1 {OURS} include:c0.example include:c0.example -all", **chain(5, "v=spf1 -all")))
    assert "11 DNS lookups" in one("spf.lookups", findings).seen
    findings = look(server, spf(f"v=spf1 {OURS} include:c0.example -all", **chain(9, "v=spf1 -all")))
    assert one("spf.good", findings).why.endswith("DNS lookups needed: 10.")


@pytest.mark.parametrize(
    "others",
    [
        # Each name includes the next one twice: two to the power of forty lookups.
        {f"b{at}.example": text("v=spf1 " + f"include:b{at + 1}.example " * 2 + "-all") for at in range(40)},
        {"b0.example": text("v=spf1 " + "mx:crowd.example " * 3000), "crowd.example":
         {"MX": [f"1 m{at}.example." for at in range(500)]}},
        {"b0.example": text("v=spf1 " + " ".join(f"a:x{at}.example" for at in range(4000)))},
        {"b0.example": text("v=spf1 " + " ".join(f"ip4:10.{at // 250}.{at % 250}.0/24" for at in range(3000)))},
        {"*.b0.example": text("v=spf1 include:x.%{d} -all"), "b0.example": text("v=spf1 include:x.%{d} -all")},
    ],
)  # fmt: skip
def test_spf__hostile_includes(server: NameServer, others: dict[str, Any]) -> None:
    limits = Limits(queries=50)
    findings = look(server, spf(f"v=spf1 {OURS} include:b0.example -all", **others), limits=limits)
    assert of("spf", findings)
    asked = [name for name, _ in server.asked if not name.startswith(("_dmarc", "s1"))]
    assert len(asked) <= limits.queries + 10


def test_spf__counts_no_further_than_needed(server: NameServer) -> None:
    many = "v=spf1 " + " ".join(f"a:x{at}.example" for at in range(4000))
    findings = look(server, spf(f"v=spf1 {OURS} include:b0.example -all", **{"b0.example": text(many)}))
    assert f"needs > {COUNTED} DNS lookups" in one("spf.lookups", findings).seen


def test_spf__huge_record(server: NameServer) -> None:
    findings = look(server, spf(f"v=spf1 {OURS} " + "ip4:192.0.2.1 " * 4000 + "?all"))
    assert of("spf", findings) == ["neutral_all", "long"]
    assert all(len(finding.seen) < 500 for finding in findings)
    assert one("spf.neutral_all", findings).record is None
    assert ("acme.example", "TXT") in server.tcp


def test_record__without_includes_that_lead_nowhere(server: NameServer) -> None:
    findings = look(server, spf(f"v=spf1 {OURS} include:gone.example -all"))
    record = one("spf.broken_include", findings).record
    assert record is not None
    assert record.value == f"v=spf1 {OURS} -all"
    # What it includes in turn is for others to mend.
    findings = look(
        server, spf(f"v=spf1 {OURS} include:a.example -all", **{"a.example": {"TXT": ["v=spf1 include:gone.example"]}})
    )
    assert one("spf.broken_include", findings).record is None
