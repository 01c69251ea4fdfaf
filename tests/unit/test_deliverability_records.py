"""SPF, DKIM and DMARC records as text, names as they come, findings as values: no name server needed."""

from __future__ import annotations

import contextlib
import dataclasses
import json
from ipaddress import ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from massmail.deliverability import Finding, Record, Signature
from massmail.deliverability.dkim import parse_key
from massmail.deliverability.dmarc_walk import Published, is_dmarc, targets
from massmail.deliverability.findings import SHOWN, cut, finding
from massmail.deliverability.lookups import ascii_domain
from massmail.deliverability.providers import provider_of
from massmail.deliverability.spf_records import (
    expand,
    is_domain_spec,
    is_mistyped,
    is_spf,
    merged,
    parse,
    retyped,
    rewritten,
)
from massmail.deliverability.tags import lenient_tags, strict_tags
from tests.domains import BARE_RSA_1024, EC_KEY, ED25519, RSA_512, RSA_1024, RSA_2048

# SPF


@pytest.mark.parametrize(
    ("text", "spf", "mistyped"),
    [
        ("v=spf1", True, False),
        ("v=spf1 -all", True, False),
        ("V=SPF1 -ALL", True, False),
        ("v=spf10 -all", False, True),
        ("v=spf1; -all", False, True),
        ('"v=spf1 -all"', False, True),
        (" v=spf1 -all", False, True),
        ("spf1 -all", False, True),
        ("v = spf1 -all", False, True),
        ("spf2.0/pra -all", False, False),
        ("v=DMARC1; p=none", False, False),
        ("", False, False),
    ],
)
def test_is_spf(text: str, spf: bool, mistyped: bool) -> None:
    assert (is_spf(text), is_mistyped(text)) == (spf, mistyped)


@pytest.mark.parametrize(
    ("text", "record"),
    [
        ('"v=spf1 mx -all"', "v=spf1 mx -all"),
        ("v=spf1; mx -all", "v=spf1 mx -all"),
        ("v=spf1include:_spf.google.com ~all", "v=spf1 include:_spf.google.com ~all"),
        ("spf1 mx", "v=spf1 mx"),
        ("v: spf1", "v=spf1"),
    ],
)
def test_retyped(text: str, record: str) -> None:
    assert retyped(text) == record
    assert is_spf(record)


@pytest.mark.parametrize(
    "part",
    [
        "all", "-ALL", "?all", "a", "mx", "ptr", "+a:mail.acme.example", "a/24", "a//64", "a:acme.example/24//64",
        "mx/0", "ip4:192.0.2.1", "ip4:192.0.2.0/24", "ip4:192.0.2.77/24", "ip6:2001:db8::/32", "ip6:::ffff:192.0.2.1",
        "include:_spf.acme.example", "include:acme.example.", "exists:%{ir}.%{v}._spf.%{d2}",
        "exists:%{l1r-}.acme.example", "include:%{d}", "include:%{d.}", "redirect=_spf.acme.example",
        "exp=explain._spf.%{d}", "moo=%{s}cow", "x-y.z=", "ip4=192.0.2.1",
    ],
)  # fmt: skip
def test_parse__reads(part: str) -> None:
    policy = parse(f"v=spf1 {part}")
    assert policy.errors == ()
    assert [term.text for term in policy.terms] == [part]


@pytest.mark.parametrize(
    "part",
    [
        "alll", "all:x", "all/24", "a:", "a/33", "a//129", "a/", "a/024", "a:acme.example/", "a:-.123", "mx:com",
        "include", "include:", "include:acme", "include:acme.example/24", "exists", "exists:%{q}.acme.example",
        "exists:%{d", "exists:100%.acme.example", "ip4:", "ip4:192.0.2", "ip4:192.0.2.256", "ip4:192.0.2.1/33",
        "ip4:192.0.2.0/255.255.255.0", "ip4:192.0.2.01", "ip4:192.0.2.0/", "ip4:2001:db8::1", "ip6:192.0.2.1",
        "ip6:2001:db8::/129", "ip6:x", "redirect=", "redirect=acme", "include:münchen.example", "a\u212a", "a/\u0663",
        "mx\t-all", "*all", "-", "ipv4:192.0.2.1", "include:acme.example,-all", "include:" + "a." * 300 + "example",
    ],
)  # fmt: skip
def test_parse__refuses(part: str) -> None:
    policy = parse(f"v=spf1 {part} -all")
    assert policy.errors == (part,)
    assert [term.text for term in policy.terms] == ["-all"]


def test_parse__modifiers_stand_once() -> None:
    policy = parse("v=spf1 redirect=a.example exp=b.example redirect=c.example exp=d.example x=1 x=2")
    assert policy.errors == ("redirect=c.example", "exp=d.example")


def test_parse__keeps_what_the_walk_needs() -> None:
    a, mx, ip4, everything = parse("v=spf1 ?a:mail.acme.example/24//64 mx ip4:192.0.2.77/24 -all").terms
    assert (a.qualifier, a.name, a.domain, a.lengths) == ("?", "a", "mail.acme.example", (24, 64))
    assert (mx.qualifier, mx.domain, mx.lengths) == ("+", "", (32, 128))
    assert ip4.network == ip_network("192.0.2.0/24")
    assert everything.qualifier == "-"


def test_policy__ends_at_all() -> None:
    policy = parse("v=spf1 a redirect=b.example ~all mx -all ip4:192.0.2.1")
    assert [term.text for term in policy.effective] == ["a", "~all"]
    assert [term.text for term in policy.ignored] == ["mx", "-all", "ip4:192.0.2.1", "redirect=b.example"]
    open_end = parse("v=spf1 redirect=b.example a")
    assert [term.text for term in open_end.effective] == ["a", "redirect=b.example"]
    assert open_end.ignored == ()


def test_expand() -> None:
    assert expand("", "acme.example") == "acme.example"
    assert expand("_spf.%{d}", "acme.example") == "_spf.acme.example"
    assert expand("Mail.Acme.example.", "x.example") == "mail.acme.example"
    assert expand("%{i}._spf.acme.example", "acme.example") is None
    assert expand("%{d2}", "acme.example") is None


def test_rewritten() -> None:
    policy = parse("v=spf1 mx bogus +all a exp=why.acme.example")
    assert rewritten(policy) == "v=spf1 mx +all exp=why.acme.example"
    assert rewritten(policy, added=["ip4:192.0.2.1"], end="~all") == "v=spf1 mx ip4:192.0.2.1 ~all exp=why.acme.example"
    assert rewritten(parse("v=spf1 redirect=a.example"), added=["mx"]) == "v=spf1 mx redirect=a.example"


def test_merged__has_each_part_once_and_the_mildest_end() -> None:
    first, second = parse("v=spf1 mx include:a.example -all"), parse("v=spf1 mx ip4:192.0.2.1 ~all")
    assert merged([first, second]) == "v=spf1 mx include:a.example ip4:192.0.2.1 ~all"
    assert merged([first, first]) == "v=spf1 mx include:a.example -all"


PARTS = st.sampled_from(
    [
        "v=spf1 ",
        "include:",
        "redirect=",
        "ip4:",
        "ip6:",
        "a",
        "mx",
        "all",
        "%{",
        "}",
        "%",
        "/",
        "//",
        ":",
        ".",
        " ",
        "~",
        "9",
    ]
)


@given(st.one_of(st.text(), st.lists(st.one_of(PARTS, st.text(max_size=5))).map("".join)))
def test_parse__never_raises(text: str) -> None:
    policy = parse("v=spf1 " + text)
    parts = [part for part in text.split(" ") if part]
    assert len(policy.terms) + len(policy.errors) == len(parts)
    for term in policy.terms:
        assert term.text.isascii()
        expand(term.domain, "acme.example")
    # What was understood is understood again, and nothing else is in it.
    for again in (parse(rewritten(policy)), parse(merged([policy]))):
        assert again.errors == ()
    is_mistyped(text)
    retyped(text)


@pytest.mark.parametrize(
    "text",
    [
        "a:" + "a" * 60_000 + "-",
        "a:" + "a-" * 30_000,
        "exists:" + "%{" * 30_000,
        "exists:" + "%{d}" * 15_000,
        "a" + "/1" * 30_000,
        "a/" + "1" * 60_000,
        "ip4:1.2.3.4/" + "1" * 60_000,
        "+all " * 12_000,
        "x=" + "%" * 60_000,
    ],
)
@pytest.mark.timeout(20)
def test_parse__is_quick_with_hostile_texts(text: str) -> None:
    policy = parse("v=spf1 " + text)
    assert len(policy.effective) + len(policy.ignored) <= 12_000
    rewritten(policy)


def test_is_domain_spec__ends_with_a_label_or_a_macro() -> None:
    assert is_domain_spec("%{i}.spf.acme.example")
    assert is_domain_spec("_spf.%{d}")
    assert is_domain_spec("%{i}")
    assert not is_domain_spec("1.2.3.4")


# Tags, DKIM


def test_tags() -> None:
    assert strict_tags("v=DKIM1 ; p = a=b ;\r\n t=y;") == {"v": "DKIM1", "p": "a=b", "t": "y"}
    assert strict_tags("v=DKIM1; p") is None
    assert strict_tags("p=a; p=b") is None
    assert strict_tags("p=a;; t=y") is None
    assert lenient_tags("V=DMARC1; p=none; p=reject; bogus; ;rua = x") == {"v": "DMARC1", "p": "none", "rua": "x"}


@given(st.text())
def test_tags__never_raise(text: str) -> None:
    lenient_tags(text)
    tags = strict_tags(text)
    assert tags is None or len(tags) <= text.count("=")
    parse_key(text)
    is_dmarc(text)


@pytest.mark.parametrize(
    ("text", "kind", "bits"),
    [
        (f"v=DKIM1; k=rsa; p={RSA_2048}", "rsa", 2048),
        (f"p={RSA_1024}", "rsa", 1024),
        (f"k=RSA; p={RSA_512[:40]} \t {RSA_512[40:]}", "rsa", 512),
        (f"p={BARE_RSA_1024}", "rsa", 1024),
        (f"v=DKIM1; k=ed25519; p={ED25519}", "ed25519", 256),
        (f"k=ed25519; p={RSA_1024}", "ed25519", 0),
        (f"p={ED25519}", "rsa", 0),
        (f"p={EC_KEY}", "rsa", 0),
        (f"p={RSA_2048[:-5]}", "rsa", 0),
        (f"p={RSA_2048[:100]}", "rsa", 0),
        ("p=%%%%", "rsa", 0),
        ("p=" + "A" * 60_000, "rsa", 0),
        ("p=ключ", "rsa", 0),
    ],
)
def test_parse_key__bits(text: str, kind: str, bits: int) -> None:
    key = parse_key(text)
    assert key is not None
    assert (key.kind, key.bits, key.revoked) == (kind, bits, False)


@pytest.mark.parametrize(
    "text",
    ["", "v=DKIM1", "v=DKIM2; p=", "p=; v=DKIM1", "k=dsa; p=", "p=a; p=b", "v=DKIM1\\; k=rsa\\; p=", "v=spf1 -all"],
)
def test_parse_key__is_none(text: str) -> None:
    assert parse_key(text) is None


def test_parse_key__marks() -> None:
    key = parse_key(f"v=DKIM1; t=s:Y; s=tlsrpt; h=sha1; p={RSA_1024}")
    assert key is not None
    assert (key.testing, key.for_mail, key.sha256) == (True, False, False)
    key = parse_key(f"v=DKIM1; t=s; s=tlsrpt:email; h=sha1:sha256; p={RSA_1024}")
    assert key is not None
    assert (key.testing, key.for_mail, key.sha256) == (False, True, True)
    revoked = parse_key("v=DKIM1; p=")
    assert revoked is not None
    assert revoked.revoked


def test_signature__knows_where_its_key_is() -> None:
    assert Signature(domain="Bücher.example", selector="s1").name == "s1._domainkey.xn--bcher-kva.example"
    with pytest.raises(ValueError, match="Not a domain"):
        Signature(domain="acme..example", selector="s1")


# DMARC


@pytest.mark.parametrize(
    ("text", "valid"),
    [
        ("v=DMARC1; p=none", True),
        ("V = DMARC1 ;p=none", True),
        ("v=DMARC1", True),
        ("v=dmarc1; p=none", False),
        ("v=DMARC1 p=none", False),
        ("p=none; v=DMARC1", False),
        (" v=DMARC2; p=none", False),
        ("", False),
    ],
)
def test_is_dmarc(text: str, valid: bool) -> None:
    assert is_dmarc(text) is valid


def test_targets__at_most_eight() -> None:
    assert targets("acme.example") == ["acme.example", "example"]
    assert targets("a.b.c.d.e.f.g.h.i.j.mail.example.com") == [
        "a.b.c.d.e.f.g.h.i.j.mail.example.com",
        "g.h.i.j.mail.example.com",
        "h.i.j.mail.example.com",
        "i.j.mail.example.com",
        "j.mail.example.com",
        "mail.example.com",
        "example.com",
        "com",
    ]
    assert len(targets(".".join("abcdefg"))) == 7
    assert len(targets(".".join("abcdefgh"))) == 8


@pytest.mark.parametrize(
    ("text", "own", "inherited"),
    [
        ("v=DMARC1; p=reject", "reject", "reject"),
        ("v=DMARC1; P=Reject; SP=None", "reject", "none"),
        ("v=DMARC1; p=none; sp=quarantine", "none", "quarantine"),
        ("v=DMARC1; p=block", "", ""),
        ("v=DMARC1; p=none; sp=block", "", ""),
        ("v=DMARC1; rua=mailto:a@acme.example", "", ""),
    ],
)
def test_published__policy(text: str, own: str, inherited: str) -> None:
    record = Published(domain="acme.example", text=text)
    assert (record.policy(inherited=False), record.policy(inherited=True)) == (own, inherited)


# Names, providers, findings


@pytest.mark.parametrize(
    ("domain", "name"),
    [
        ("ACME.Example.", "acme.example"),
        (" acme.example ", "acme.example"),
        ("MÜNCHEN.example", "xn--mnchen-3ya.example"),
        ("例え。テスト", "xn--r8jz45g.xn--zckzah"),
    ],
)
def test_ascii_domain(domain: str, name: str) -> None:
    assert ascii_domain(domain) == name


@pytest.mark.parametrize(
    "domain",
    [
        "",
        ".",
        "a..b",
        "-a.example",
        "a b.example",
        "[192.0.2.1]",
        "192.0.2.1",
        "a" * 64 + ".example",
        "a." * 130,
        "a\0.b",
    ],
)
def test_ascii_domain__refuses(domain: str) -> None:
    with pytest.raises(ValueError, match=r"Not a domain|domain|name"):
        ascii_domain(domain)


@given(st.text())
def test_ascii_domain__raises_nothing_else(text: str) -> None:
    with contextlib.suppress(ValueError):
        assert ascii_domain(text).isascii()


@pytest.mark.parametrize(
    ("host", "name"),
    [
        ("smtp.gmail.com", "Google"),
        ("SMTP.Office365.com.", "Microsoft 365"),
        ("acme-example.mail.protection.outlook.com", "Microsoft 365"),
        ("smtppro.zoho.eu", "Zoho"),
        ("smtp.fastmail.com", "Fastmail"),
        ("smtp.yandex.ru", "Yandex"),
        ("smtp.mail.yahoo.com", "Yahoo"),
    ],
)
def test_provider_of(host: str, name: str) -> None:
    provider = provider_of(host)
    assert provider is not None
    assert provider.name == name


@pytest.mark.parametrize(
    "host", ["", "mx.acme.example", "evilsmtp.gmail.com", "smtp.gmail.com.acme.example", "zoho.com"]
)
def test_provider_of__nobody_known(host: str) -> None:
    assert provider_of(host) is None


def test_finding__survives_storage() -> None:
    record = Record(name="acme.example", type="TXT", value="v=spf1 mx ~all")
    found = finding("spf.missing", record=record, domain="acme.example")
    stored = json.loads(json.dumps(dataclasses.asdict(found)))
    assert Finding.from_dict(stored) == found
    assert str(found.record) == "acme.example. TXT v=spf1 mx ~all"
    assert found.source.startswith("RFC 7208")
    with pytest.raises(KeyError):
        Finding.from_dict(stored | {"code": "spf.of_tomorrow"})
    with pytest.raises(KeyError):
        finding("spf.of_tomorrow")


def test_finding__shows_no_more_than_fits() -> None:
    found = finding("spf.good", domain="100%s.example", text="v=spf1 \x1b[31m\u202e" + "x" * 60_000, lookups=1)
    assert found.seen.startswith("v=spf1 \ufffd[31m\ufffdxxx")
    assert len(found.seen) == SHOWN + 1
    assert "100%s.example" in found.why
    assert cut("short") == "short"


@pytest.mark.parametrize("value", ["v=spf1 \u202e", "v=spf1 ünicode", "v=spf1 \x00", "x" * 2001])
def test_finding__suggests_no_monstrous_record(value: str) -> None:
    assert finding("spf.missing", record=Record(name="a", type="TXT", value=value), domain="a").record is None
