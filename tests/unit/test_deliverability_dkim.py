"""DKIM keys at the names seen in the account's own mail, and guesses."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from massmail.choices import Verdict
from massmail.deliverability import Limits, Signature
from tests.domains import ED25519, RSA_512, RSA_1024, RSA_2048, look, of, one
from tests.nameserver import SERVFAIL, SILENT, NameServer

NAME = "s1._domainkey.acme.example"


@pytest.fixture(scope="module")
def server() -> Iterator[NameServer]:
    with NameServer({}) as running:
        yield running


def key(text: Any, name: str = NAME) -> dict[str, Any]:
    return {name: {"TXT": [text]}}


SEEN: list[tuple[str, Verdict, dict[str, Any]]] = [
    ("dkim.good", Verdict.GOOD, key(f"v=DKIM1; k=rsa; p={RSA_2048}")),
    ("dkim.good", Verdict.GOOD, key(f"p={RSA_2048}")),
    ("dkim.good", Verdict.GOOD, key(["v=DKIM1; p=", RSA_2048[:200], RSA_2048[200:]])),
    ("dkim.good", Verdict.GOOD, {NAME: {"CNAME": ["key.provider.example."]}}
     | key(f"v=DKIM1; p={RSA_2048}", "key.provider.example")),
    ("dkim.good", Verdict.GOOD, key(f"v=DKIM1; t=s; s=email; h=sha256; p={RSA_2048}")),
    ("dkim.missing", Verdict.BAD, {NAME: None}),
    ("dkim.missing", Verdict.BAD, {NAME: {"A": ["192.0.2.1"]}}),
    ("dkim.missing", Verdict.BAD, {NAME: {"CNAME": ["gone.provider.example."]}}),
    ("dkim.several", Verdict.BAD, {NAME: {"TXT": [f"p={RSA_1024}", f"p={RSA_2048}"]}}),
    ("dkim.broken", Verdict.BAD, key("v=DKIM1; k=rsa")),
    ("dkim.broken", Verdict.BAD, key(f"v=DKIM1; k=dsa; p={RSA_2048}")),
    ("dkim.broken", Verdict.BAD, key(f"v=DKIM1\\; k=rsa\\; p={RSA_2048}")),
    ("dkim.broken", Verdict.BAD, key(f"v=DKIM1; p={RSA_2048[:255]}")),
    ("dkim.broken", Verdict.BAD, key("v=DKIM1; p=-----BEGIN PUBLIC KEY-----")),
    ("dkim.broken", Verdict.BAD, key(f"v=DKIM1; k=ed25519; p={RSA_2048}")),
    ("dkim.broken", Verdict.BAD, key(b"v=DKIM1; p=\xff\xfe\x00")),
    ("dkim.broken", Verdict.BAD, key("v=DKIM1; p=" + "A" * 60_000)),
    ("dkim.broken", Verdict.BAD, key(["p="] * 3000)),
    ("dkim.revoked", Verdict.BAD, key("v=DKIM1; k=rsa; p=")),
    ("dkim.too_short", Verdict.BAD, key(f"v=DKIM1; p={RSA_512}")),
    ("dkim.short", Verdict.WARNING, key(f"v=DKIM1; p={RSA_1024}")),
    ("dkim.ed25519", Verdict.WARNING, key(f"v=DKIM1; k=ed25519; p={ED25519}")),
    ("dkim.testing", Verdict.WARNING, key(f"v=DKIM1; t=y; p={RSA_2048}")),
    ("dkim.not_for_mail", Verdict.BAD, key(f"v=DKIM1; s=tlsrpt; p={RSA_2048}")),
    ("dkim.sha1", Verdict.BAD, key(f"v=DKIM1; h=sha1; p={RSA_2048}")),
    *(("dkim.unknown", Verdict.UNKNOWN, {NAME: {"TXT": word}}) for word in (SILENT, SERVFAIL)),
]  # fmt: skip
GUESSED: list[tuple[str, Verdict, dict[str, Any]]] = [
    ("dkim.guess", Verdict.GOOD, key(f"v=DKIM1; p={RSA_2048}", "google._domainkey.acme.example") | {NAME: None}),
    ("dkim.guess", Verdict.GOOD, key(f"v=DKIM1; p={RSA_512}") | {"dkim._domainkey.acme.example": {"TXT": SERVFAIL}}),
    ("dkim.no_guess", Verdict.UNKNOWN, {NAME: None}),
    ("dkim.no_guess", Verdict.UNKNOWN, key("v=DKIM1; p=")),
    ("dkim.no_guess", Verdict.UNKNOWN, {NAME: None, "*.acme.example": {"TXT": ["v=spf1 -all"]}}),
    ("dkim.guess_unknown", Verdict.UNKNOWN, {NAME: {"TXT": SILENT}}),
]
#: A bad key beside a good one at "s2".
SPARE: list[tuple[str, Verdict, dict[str, Any]]] = [
    (f"{code}_spare", Verdict.WARNING, changes | key(f"v=DKIM1; p={RSA_2048}", "s2._domainkey.acme.example"))
    for code, verdict, changes in SEEN
    if verdict is Verdict.BAD
]
FOUND = SEEN + GUESSED + SPARE


@pytest.mark.parametrize(("code", "verdict", "changes"), SEEN)
def test_dkim__of_the_own_mail(server: NameServer, code: str, verdict: Verdict, changes: dict[str, Any]) -> None:
    findings = look(server, changes)
    assert of("dkim", findings) == (["good", "ed25519"] if code == "dkim.ed25519" else [code.partition(".")[2]])
    found = one(code, findings)
    assert found.verdict is verdict
    assert not found.guessed
    assert NAME in found.seen
    assert len(found.seen) < 500


@pytest.mark.parametrize(("code", "verdict", "changes"), GUESSED)
def test_dkim__guessed(server: NameServer, code: str, verdict: Verdict, changes: dict[str, Any]) -> None:
    findings = look(server, changes, signatures=())
    found = one(code, findings)
    assert of("dkim", findings) == [code.partition(".")[2]]
    assert found.verdict is verdict
    assert found.guessed
    assert found.seen.startswith("A guess:")


def test_dkim__nothing_is_guessed_when_it_is_known(server: NameServer) -> None:
    look(server, {})
    assert [name for name, _ in server.asked if "_domainkey" in name] == [NAME]


def test_dkim__guesses_begin_with_the_provider(server: NameServer) -> None:
    look(server, {}, signatures=(), smtp_host="smtp.fastmail.com")
    asked = [name.partition(".")[0] for name, _ in server.asked if "_domainkey" in name]
    assert asked[:4] == ["fm1", "fm2", "fm3", "default"]
    assert len(asked) == len(set(asked))


def test_dkim__guesses_end_in_time(server: NameServer) -> None:
    silent = {"*.acme.example": {"TXT": SILENT}, NAME: None}
    findings = look(server, silent, signatures=(), limits=Limits(lifetime=0.1, seconds=0.3))
    assert of("dkim", findings) == ["guess_unknown"]
    assert len([name for name, _ in server.asked if "_domainkey" in name]) <= 5


@pytest.mark.parametrize(
    ("code", "text", "published"),
    [
        ("dkim.testing", f"v=DKIM1; t=y:s; p={RSA_2048};", f"v=DKIM1; t=s; p={RSA_2048}"),
        ("dkim.testing", f"v=DKIM1; t=y; p={RSA_2048}", f"v=DKIM1; p={RSA_2048}"),
        ("dkim.not_for_mail", f"v=DKIM1; s=tlsrpt; k=rsa; p={RSA_2048}", f"v=DKIM1; k=rsa; p={RSA_2048}"),
        ("dkim.sha1", f"v=DKIM1; h=sha1; p={RSA_2048}", f"v=DKIM1; p={RSA_2048}"),
    ],
)
def test_dkim__record_to_publish(server: NameServer, code: str, text: str, published: str) -> None:
    found = one(code, look(server, key(text)))
    assert found.record is not None
    assert (found.record.name, found.record.type) == (NAME, "TXT")
    assert {part.strip() for part in found.record.value.split(";")} == {part.strip() for part in published.split(";")}
    assert of("dkim", look(server, key(found.record.value))) == ["good"]


def test_dkim__marks_add_up(server: NameServer) -> None:
    findings = look(server, key(f"v=DKIM1; t=y; s=x; h=sha1; p={RSA_1024}"))
    assert of("dkim", findings) == ["short", "testing", "not_for_mail", "sha1"]


@pytest.mark.parametrize(("code", "verdict", "changes"), SPARE)
def test_dkim__another_signature_is_in_order(
    server: NameServer, code: str, verdict: Verdict, changes: dict[str, Any]
) -> None:
    both = tuple(Signature(domain="acme.example", selector=selector) for selector in ("s1", "s2"))
    findings = look(server, changes, signatures=both)
    assert of("dkim", findings) == [code.partition(".")[2], "good"]
    assert one(code, findings).verdict is verdict
    assert NAME in one(code, findings).seen


@pytest.mark.parametrize(
    ("others", "codes"),
    [
        ({"s2._domainkey.acme.example": "v=DKIM1; t=y; p=" + RSA_2048}, ["revoked", "testing"]),
        ({"s2._domainkey.acme.example": f"v=DKIM1; k=ed25519; p={ED25519}"}, ["revoked", "good", "ed25519"]),
        # The provider's own signature is good, but says nothing for the domain in From.
        ({"s2._domainkey.provider.example": f"v=DKIM1; p={RSA_2048}"}, ["revoked", "good"]),
    ],
)
def test_dkim__another_signature_that_is_no_help(server: NameServer, others: dict[str, str], codes: list[str]) -> None:
    ((name, record),) = others.items()
    signatures = (
        Signature(domain="acme.example", selector="s1"),
        Signature(domain=name.partition("._domainkey.")[2], selector="s2"),
    )
    assert of("dkim", look(server, key("p=") | key(record, name), signatures=signatures)) == codes


def test_dkim__two_signatures(server: NameServer) -> None:
    both = (Signature(domain="acme.example", selector="s1"), Signature(domain="acme.example", selector="ed"))
    modern = key(f"v=DKIM1; k=ed25519; p={ED25519}", "ed._domainkey.acme.example")
    assert of("dkim", look(server, modern, signatures=both)) == ["good", "good"]
    # As long as the other key is not known, nobody can say that this is the only one.
    doubt = modern | {NAME: {"TXT": SERVFAIL}}
    assert of("dkim", look(server, doubt, signatures=both)) == ["unknown", "good"]
