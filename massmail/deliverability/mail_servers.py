"""The servers behind a domain: those that take its mail (RFC 5321, 5.1; RFC 7505), and the own relay's name."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import dns.reversename

from massmail.choices import MailDomain
from massmail.deliverability.findings import Finding, Record, finding
from massmail.deliverability.lookups import Address, Lookups, Status

#: Mail servers, and names of an address, that are looked up before the rest is taken to be no better.
TRIED = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class MailServers:
    """Whether a domain takes mail and where. `implicit`: at its own address, for want of an MX; `null`: a null MX."""

    state: MailDomain
    hosts: tuple[str, ...] = ()
    implicit: bool = False
    null: bool = False


def find_mail_servers(domain: str, lookups: Lookups) -> MailServers:
    """Find the servers that take the mail of `domain` (A-labels), in the order in which senders try them."""
    answer = lookups.mx(domain)
    if answer.unknown:
        return MailServers(state=MailDomain.UNKNOWN)
    if answer.status is Status.NO_NAME:
        return MailServers(state=MailDomain.NO_DOMAIN)
    if not answer.found:
        return MailServers(state=_reachable((domain,), lookups), hosts=(domain,), implicit=True)
    hosts = tuple(exchange.host for exchange in sorted(answer.values) if exchange.host)
    null = len(hosts) < len(answer.values)
    return MailServers(state=_reachable(hosts, lookups) if hosts else MailDomain.NULL_MX, hosts=hosts, null=null)


def _reachable(hosts: tuple[str, ...], lookups: Lookups) -> MailDomain:
    """One server with an address is enough; none is known only if all are looked up and all said no."""
    doubt = len(hosts) > TRIED
    for host in hosts[:TRIED]:
        answer = lookups.addresses(host)
        if answer.found:
            return MailDomain.ACCEPTS
        doubt = doubt or answer.unknown
    return MailDomain.UNKNOWN if doubt else MailDomain.NO_SERVER


def check_incoming(domain: str, servers: MailServers) -> Finding:
    """Return what it means for a sending domain that its own mail is taken by `servers`."""
    names = ", ".join(servers.hosts)
    if servers.state is MailDomain.ACCEPTS:
        code = "mx.implicit" if servers.implicit else "mx.mixed" if servers.null else "mx.good"
    elif servers.state is MailDomain.NO_SERVER:
        code = "mx.none" if servers.implicit else "mx.dead"
    else:
        code = {
            MailDomain.NULL_MX: "mx.null",
            MailDomain.NO_DOMAIN: "mx.no_domain",
            MailDomain.UNKNOWN: "mx.unknown",
        }[servers.state]
    record = Record(name=domain, type="MX", value=f"10 {domain}.") if code == "mx.implicit" else None
    return finding(code, record=record, domain=domain, names=names)


def check_reverse(relay: Address, lookups: Lookups) -> Iterator[Finding]:
    """Yield whether `relay` has a name that leads back to it (forward-confirmed reverse DNS; RFC 1912, 2.1)."""
    if not relay.is_global:
        yield finding("reverse.private", address=relay)
        return
    answer = lookups.names(relay)
    if answer.unknown:
        yield finding("reverse.unknown", address=relay)
    elif not answer.found:
        pointer = dns.reversename.from_address(str(relay)).to_text(omit_final_dot=True)
        record = Record(name=pointer, type="PTR", value="NAME_OF_YOUR_RELAY.")
        yield finding("reverse.missing", record=record, address=relay)
    else:
        yield _confirmed(relay, answer.values, lookups)


def _confirmed(relay: Address, names: tuple[str, ...], lookups: Lookups) -> Finding:
    doubt = len(names) > TRIED
    for name in names[:TRIED]:
        answer = lookups.addresses(name, (relay.version,))
        if relay in answer.values:
            return finding("reverse.good", address=relay, name=name)
        doubt = doubt or answer.unknown
    if doubt:
        return finding("reverse.unknown", address=relay)
    record = Record(name=names[0], type="A" if relay.version == 4 else "AAAA", value=str(relay))
    return finding("reverse.mismatch", record=record, address=relay, names=", ".join(names))
