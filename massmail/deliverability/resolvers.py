"""Whom to ask: the name servers of the system, or those of `MASSMAIL_DNS_SERVERS`."""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence

import dns.resolver
from dns.nameserver import Do53Nameserver

from massmail.conf import conf

PORT = 53


def make_resolver(servers: Sequence[str] | None = None) -> dns.resolver.Resolver:
    """Return a resolver that asks `servers`, by default those in force. A system that has none leaves all unknown.

    Raises `ValueError` for what is no address of a server.
    """
    named = [_server(text) for text in (conf.dns_servers if servers is None else servers)]
    try:
        resolver = dns.resolver.Resolver(configure=not named)
    except dns.resolver.NoResolverConfiguration:
        resolver = dns.resolver.Resolver(configure=False)
    if named:
        resolver.nameservers = named
    return resolver


def _server(text: str) -> Do53Nameserver:
    """Read "192.0.2.53", "192.0.2.53:5353", "2001:db8::53" or "[2001:db8::53]:53"."""
    host, port = text.strip(), ""
    if host.startswith("["):
        host, _bracket, port = host[1:].partition("]")
        port = port.removeprefix(":")
    elif host.count(":") == 1:
        host, _colon, port = host.partition(":")
    number = int(port) if port else PORT
    if not 0 < number < 1 << 16:
        raise ValueError(f"Not a port: {port}")
    return Do53Nameserver(str(ipaddress.ip_address(host)), number)
