"""Will the world accept mail of this domain? What the DNS says about it, as findings; nothing is kept.

Asks the DNS and nothing else, knows no model and no account. Each check has limits of its own, so that one hostile or
slow record can't spoil the others. Silence of the DNS is always "not known", never "missing".
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from ipaddress import ip_address

import dns.resolver

from massmail.choices import MailDomain
from massmail.deliverability.dkim import Signature, check_signatures, guess_keys
from massmail.deliverability.dmarc import check_dmarc
from massmail.deliverability.findings import Finding, Record, finding
from massmail.deliverability.lookups import Limits, Lookups, ascii_domain
from massmail.deliverability.mail_servers import check_incoming, check_reverse, find_mail_servers
from massmail.deliverability.own_mail import OwnMail, check_own_mail, read_head
from massmail.deliverability.providers import USUAL_SELECTORS, Provider, provider_of
from massmail.deliverability.resolvers import make_resolver
from massmail.deliverability.spf import check_spf

__all__ = [
    "Finding",
    "Limits",
    "OwnMail",
    "Record",
    "Signature",
    "check_domain",
    "check_own_mail",
    "check_recipient_domain",
    "make_resolver",
    "read_head",
    "sees_the_world",
]

#: A name that everybody's DNS has who can send mail to the world.
EVERYBODYS = "com"


def check_domain(
    domain: str,
    *,
    resolver: dns.resolver.Resolver,
    smtp_host: str = "",
    signatures: Sequence[Signature] = (),
    return_path: str = "",
    relay: str = "",
    limits: Limits | None = None,
) -> tuple[Finding, ...]:
    """Return what the DNS says about `domain`, the part of the from address behind the "@".

    `smtp_host` tells the provider, whose servers SPF has to allow. `signatures` are those seen in the account's own
    mail; without any, keys are looked for under the usual names, and what is found is marked as a guess. `return_path`
    is the domain of the envelope sender, if it is another. `relay` is the public IP address of an own server. `limits`
    hold for each check; there are five.

    Raises `ValueError` if `relay` is no IP address or `return_path` no domain. Anything may be wrong with the domain
    and with what the DNS answers, also on purpose: that is a finding.
    """
    address = ip_address(relay) if relay else None
    envelope = ascii_domain(return_path) if return_path else ""
    try:
        name = ascii_domain(domain)
    except ValueError:
        return (finding("mx.invalid", domain=domain),)

    def ask() -> Lookups:
        return Lookups(resolver, limits or Limits())

    servers = find_mail_servers(name, ask())
    findings = [check_incoming(name, servers)]
    if servers.state is MailDomain.NO_DOMAIN:
        # Nothing exists below a name that does not exist (RFC 8020).
        return tuple(findings)
    provider = provider_of(smtp_host)
    findings += check_spf(envelope or name, ask(), provider, address if address and address.is_global else None)
    findings += _keys(name, signatures, provider, ask())
    findings += check_dmarc(name, ask(), envelope or name, _signing(signatures))
    if address:
        findings += check_reverse(address, ask())
    return tuple(findings)


def check_recipient_domain(domain: str, *, resolver: dns.resolver.Resolver, limits: Limits | None = None) -> MailDomain:
    """Return whether `domain`, the part of a recipient's address behind the "@", can take mail; mostly two queries."""
    try:
        name = ascii_domain(domain)
    except ValueError:
        return MailDomain.NO_DOMAIN
    return find_mail_servers(name, Lookups(resolver, limits or Limits())).state


def sees_the_world(*, resolver: dns.resolver.Resolver, limits: Limits | None = None) -> bool:
    """Tell whether `resolver` knows the public DNS. One of a closed network says of every name that it is not there."""
    return Lookups(resolver, limits or Limits()).delegated(EVERYBODYS)


def _signing(signatures: Sequence[Signature]) -> list[str]:
    return list(dict.fromkeys(signature.domain for signature in signatures))


def _keys(
    domain: str, signatures: Sequence[Signature], provider: Provider | None, lookups: Lookups
) -> Iterator[Finding]:
    if signatures:
        return check_signatures(domain, signatures, lookups)
    usual = dict.fromkeys([*(provider.selectors if provider else ()), *USUAL_SELECTORS])
    return guess_keys(domain, list(usual), lookups)
