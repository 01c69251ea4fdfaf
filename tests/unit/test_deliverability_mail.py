"""What a mail to oneself tells: signatures, what they cover, and the results of the server that took it."""

from __future__ import annotations

import time

import pytest

from massmail.choices import Verdict
from massmail.deliverability import Finding, Signature, check_own_mail, make_resolver, read_head
from massmail.deliverability.authentication import Result, verdicts
from massmail.deliverability.findings import finding

BOTH = "from:to:subject:List-Unsubscribe:\r\n\tList-Unsubscribe-Post"


def signature(covers: str = BOTH, domain: str = "acme.example", selector: str = "s1") -> str:
    return (
        f"DKIM-Signature: v=1; a=rsa-sha256; c=relaxed/simple; d={domain};\r\n\ts={selector}; t=1764000000;"
        f"\r\n\th={covers};\r\n\tbh=abc=; b=de\r\n\tf=\r\n"
    )


def results(text: str, server: str = "mx.acme.example") -> str:
    return f"Authentication-Results: {server};\r\n\t{text}\r\n"


PASS = results("spf=pass smtp.mailfrom=acme.example;\r\n\tdkim=pass header.d=acme.example;\r\n\tdmarc=pass")
FOUND: list[tuple[str, Verdict, str]] = [
    ("mail.covered", Verdict.GOOD, signature() + PASS),
    ("mail.covered", Verdict.GOOD, signature(BOTH.upper()) + PASS),
    # One signature that covers all is enough.
    ("mail.covered", Verdict.GOOD, signature("from", "relay.example") + signature() + PASS),
    ("mail.uncovered", Verdict.WARNING, signature("from:to:subject:list-unsubscribe") + PASS),
    ("mail.uncovered", Verdict.WARNING, signature("from") + PASS),
    ("mail.no_from", Verdict.BAD, signature("to:subject:list-unsubscribe:list-unsubscribe-post") + PASS),
    ("mail.unsigned", Verdict.WARNING, PASS),
    ("mail.unsigned", Verdict.WARNING, "DKIM-Signature: garbage\r\n" + PASS),
    ("mail.unsigned", Verdict.WARNING, signature(selector="a b") + signature(domain="10.0.0.1") + PASS),
    ("mail.passed", Verdict.GOOD, signature() + PASS),
    (
        "mail.passed",
        Verdict.GOOD,
        signature() + results("dkim=fail header.d=x.example; dkim=pass header.d=acme.example"),
    ),
    ("mail.failed", Verdict.BAD, signature() + results("dkim=fail (bad signature) header.d=acme.example")),
    ("mail.failed", Verdict.BAD, signature() + results("dkim=permerror")),
    ("mail.failed", Verdict.BAD, signature() + results("spf=pass; dmarc=fail")),
    ("mail.weak", Verdict.WARNING, signature() + results("spf=softfail; dkim=pass")),
    ("mail.weak", Verdict.WARNING, signature() + results("spf=fail; dkim=pass; dmarc=pass")),
    ("mail.undecided", Verdict.UNKNOWN, signature() + results("dkim=temperror")),
    ("mail.silent", Verdict.UNKNOWN, signature()),
    ("mail.silent", Verdict.UNKNOWN, signature() + results("none")),
    ("mail.silent", Verdict.UNKNOWN, signature() + results("dkim=none; spf=none; x-spam=maybe")),
]
#: These do not come from the head of a mail; `tests.integration.test_deliverability` finds them.
ELSEWHERE = [("mail.junk", Verdict.WARNING), ("mail.lost", Verdict.UNKNOWN), ("mail.unreadable", Verdict.UNKNOWN)]


def found(head: str, *, junk: bool = False) -> list[Finding]:
    return check_own_mail(read_head(head.encode() + b"\r\nbody\r\n"), junk=junk)


@pytest.mark.parametrize(("code", "verdict", "head"), FOUND)
def test_finding(code: str, verdict: Verdict, head: str) -> None:
    (one,) = [each for each in found(head) if each.code == code]
    assert one.verdict is verdict
    assert "%(" not in one.seen + one.why + one.fix


def test_findings__good_mail_has_only_good_ones() -> None:
    assert [each.code for each in found(signature() + PASS)] == ["mail.covered", "mail.passed"]


def test_finding__names_what_is_left_out() -> None:
    (one,) = [each for each in found(signature("from:list-unsubscribe")) if each.code == "mail.uncovered"]
    assert one.facts["headers"] == "List-Unsubscribe-Post"
    assert "“s1”" in one.seen


def test_junk() -> None:
    assert found(signature() + PASS, junk=True)[0].code == "mail.junk"


def test_signatures__each_once_in_their_order() -> None:
    mail = read_head((signature() + signature(selector="s2.sub", domain="RELAY.example") + signature()).encode())
    assert mail.signatures == [
        Signature(domain="acme.example", selector="s1"),
        Signature(domain="relay.example", selector="s2.sub"),
    ]


def test_results__only_of_the_server_that_delivered() -> None:
    """RFC 8601, 5: what stands below may come from anybody, also under a name like ours."""
    forged = results("dkim=pass; dmarc=pass; spf=pass", "mx.evil.example")
    assert "mail.failed" in {each.code for each in found(signature() + results("dkim=fail") + forged)}
    told = verdicts(["mx.acme.example; spf=pass", "mx.acme.example; dkim=fail", "elsewhere.example; dkim=pass"])
    assert told is not None
    assert told.server == "mx.acme.example"
    assert [str(each) for each in told.results] == ["spf=pass", "dkim=fail"]


@pytest.mark.parametrize(
    ("text", "server", "expected"),
    [
        ("mx.example 1; none", "mx.example", []),
        ("MX.Example", "mx.example", []),
        ('"mx.example"; dkim=pass', "mx.example", [Result(method="dkim", value="pass")]),
        # Comments nest and may hold anything; quoted parentheses are none.
        (
            'mx.example (a; (b=c)); dkim (x) = (y) pass (2048-bit; key) reason="a; (b" header.d=(z)acme.example',
            "mx.example",
            [Result(method="dkim", value="pass", domain="acme.example")],
        ),
        ("mx.example; dkim/1 = PASS header.i=@acme.example", "mx.example",
         [Result(method="dkim", value="pass", domain="acme.example")]),
        # Microsoft leaves the name out.
        (
            "spf=pass (sender IP is 192.0.2.1) smtp.mailfrom=acme.example; dkim=none;dmarc=fail action=none",
            "",
            [
                Result(method="spf", value="pass"),
                Result(method="dkim", value="none"),
                Result(method="dmarc", value="fail"),
            ],
        ),
        ("", "", []),
        (";;;", "", []),
        ("mx.example; ((((", "mx.example", []),
        ('mx.example; "open', "mx.example", []),
    ],
)  # fmt: skip
def test_authentication_results(text: str, server: str, expected: list[Result]) -> None:
    told = verdicts([text])
    assert told is not None
    assert (told.server, list(told.results)) == (server, expected)


def test_authentication_results__none() -> None:
    assert verdicts([]) is None


@pytest.mark.parametrize("text", ["(" * 100_000, '"' * 100_001, "a;" * 50_000, "=" * 100_000, "dkim=" * 20_000])
def test_authentication_results__hostile(text: str) -> None:
    began = time.process_time()
    verdicts([text] * 1000)
    read_head(f"Authentication-Results: {text}\r\nDKIM-Signature: {text}\r\n".encode() * 5)
    assert time.process_time() - began < 2


def test_read_head__not_a_mail() -> None:
    for raw in (b"", b"\x00\xff" * 1000, b"DKIM-Signature: \xff\xfe=\r\n\r\n", b"no header at all\r\n"):
        assert read_head(raw).signed == ()


def test_finding__round_trip() -> None:
    one = finding("mail.lost", minutes=15)
    assert Finding.from_dict({"code": one.code, "facts": dict(one.facts), "record": None}) == one
    assert not finding("mail.silent").counts
    assert one.counts


@pytest.mark.parametrize(
    ("text", "address", "port"),
    [
        ("192.0.2.53", "192.0.2.53", 53),
        (" 192.0.2.53:5353 ", "192.0.2.53", 5353),
        ("2001:db8::53", "2001:db8::53", 53),
        ("[2001:db8::53]", "2001:db8::53", 53),
        ("[2001:db8::53]:5353", "2001:db8::53", 5353),
    ],
)
def test_make_resolver(text: str, address: str, port: int) -> None:
    (server,) = make_resolver([text]).nameservers
    assert (server.address, server.port) == (address, port)


@pytest.mark.parametrize("text", ["", "dns.acme.example", "192.0.2.53:70000", "192.0.2.53:-1"])
def test_make_resolver__not_a_server(text: str) -> None:
    with pytest.raises(ValueError, match=r"port|address|invalid"):
        make_resolver([text])
