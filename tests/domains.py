"""A sending domain with everything in order, and one change at a time to it, asked for at a scripted name server."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from massmail.deliverability import Finding, Limits, Signature, check_domain
from tests.nameserver import SILENT, NameServer

#: The own server of the domain: a public address, as reverse DNS is looked at for no other.
RELAY = "1.2.3.4"
SIGNED = (Signature(domain="acme.example", selector="s1"),)
#: For servers that stay silent: long enough for an answer, short enough for a test.
IMPATIENT = Limits(lifetime=0.25, seconds=1.0)

RSA_512 = (
    "MFwwDQYJKoZIhvcNAQEBBQADSwAwSAJBALeeLLmlH8dd36Ygt73yQzE9Zxb3G4pRctESAGqbyYujaYrnlTVC3DXuvAHFeDsFLwH+"
    "AOxs1kfJgd1quawJI0UCAwEAAQ=="
)
RSA_1024 = (
    "MIGfMA0GCSqGSIb3DQEBAQUAA4GNADCBiQKBgQDC73WyBNw2HXzFPQgEISKGD/tZO94z6Vk1ooQcVatDv6i7u15xvUn990k1yMdh"
    "D9ZkXZeQQ3DZmOk5pz0igT/J6Ck8p9Fs9tO/R3quHQoj2F5l6hJAWnDLNvc119tGqtFBdccv0N6hJXtLtTjX7Jx7eAkCWQJ0kkW4"
    "GRk2f92zgwIDAQAB"
)
RSA_2048 = (
    "MIIBIjANBgkqhkiG9w0BAQEFAAOCAQ8AMIIBCgKCAQEArhsufovssH/EI1fGuDutr6YpkZXy94ZyzM3wrpanAdqYGtn1ACOxofKW"
    "UDS155E+n1mYhFA9gzXqvQsMRYeHlVwjDmRtU6kpgRn8g3DWaxGtaNr0MJMwgqhEyX1yPHZUubuXWpPSVXyKJlhv1xG0yPmTqEz1"
    "L32mE635kiHVWqZyUnVAD51xeCyDdsLpd57Z6evQfmW3dorCj2u8NcxJ6/9T15jpm8QLFeES0IT0jhD7xHskr/2NYpGDySEncNTl"
    "7ocHWl+kNJGPQnglq92V/tiXfnb0G+NRfu0wLWW9l5zLFFIQiK4luvRATMH2eaJ3596k3CQ5kibr0g6zpyq8aQIDAQAB"
)
BARE_RSA_1024 = (
    "MIGJAoGBAMNEfcpICHAOUPB19Ruk0BzfF/FnRMAXMNztgGINv1OEHWHyvmY/n3igtCh4IeyZL8L+P1ww9Rwy4VSMcvIXdXXoonPM"
    "SoSnuobbMMDoxOlyWdC1XJFCflnXvf6utJwF5sOfwYoYd5Bfa1zOF+jzjHDlvXfc8Av+OVykAYg7K/g7AgMBAAE="
)
EC_KEY = (
    "MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEEuawW7Lcx/mUkNjalrkFENFLDLjGC49khg+zkx0IDNiOnsGXHI1nMZFHLe/NC/Wz"
    "pQ2yI+aLFC16cim19PAknA=="
)
#: The public key of RFC 8463, appendix A.2.
ED25519 = "11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo="

HEALTHY: dict[str, dict[str, Any]] = {
    "acme.example": {
        "A": ["192.0.2.80"],
        "MX": ["20 mx2.acme.example.", "10 mx.acme.example."],
        "TXT": ["google-site-verification=1", "v=spf1 include:_spf.google.com ip4:1.2.3.4 ~all"],
    },
    "mx.acme.example": {"A": ["192.0.2.25"]},
    "mx2.acme.example": {"AAAA": ["2001:db8::25"]},
    "_spf.google.com": {"TXT": ["v=spf1 ip4:35.190.247.0/24 ip6:2001:4860:4000::/36 ~all"]},
    "s1._domainkey.acme.example": {"TXT": [f"v=DKIM1; k=rsa; p={RSA_2048}"]},
    "_dmarc.acme.example": {"TXT": ["v=DMARC1; p=reject; rua=mailto:dmarc@acme.example"]},
    "4.3.2.1.in-addr.arpa": {"PTR": ["relay.acme.example."]},
    "relay.acme.example": {"A": ["1.2.3.4"]},
}


def look(server: NameServer, changes: Mapping[str, Any], domain: str = "acme.example", **options: Any) -> list[Finding]:
    """Return the findings about `domain` when the healthy zones have these `changes`; None takes a name away."""
    zones = HEALTHY | changes
    server.zones = {name: entry for name, entry in zones.items() if entry is not None}
    server.asked.clear()
    server.tcp.clear()
    setup: dict[str, Any] = {"smtp_host": "smtp.gmail.com", "signatures": SIGNED, "relay": RELAY}
    if any(SILENT in entry.values() for entry in server.zones.values()):
        setup["limits"] = IMPATIENT
    setup |= options
    return list(check_domain(domain, resolver=server.resolver(), **setup))


def spf(text: Any, **others: Any) -> dict[str, Any]:
    """Return the change that gives the domain the SPF record `text`, and other names the records `others`."""
    return {"acme.example": HEALTHY["acme.example"] | {"TXT": text if isinstance(text, list) else [text]}, **others}


def of(check: str, findings: list[Finding]) -> list[str]:
    """Return the codes of the findings of one check, without its name."""
    return [finding.code.partition(".")[2] for finding in findings if finding.check == check]


def one(code: str, findings: list[Finding]) -> Finding:
    """Return the only finding `code`."""
    (found,) = [finding for finding in findings if finding.code == code]
    return found
