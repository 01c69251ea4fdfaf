"""Connecting to a server that somebody typed into a form, without being led into the private network.

Whoever may name a mail server could otherwise have this site knock at what only this site can reach: databases,
routers, the metadata service of a cloud. The address that was checked is the address that is connected to, so that a
name whose answer changes between the two (DNS rebinding) gains nothing.
"""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Iterable, Iterator
from typing import Any

from django.utils.translation import gettext as _

from massmail.conf import conf

Address = ipaddress.IPv4Address | ipaddress.IPv6Address

#: Prefixes whose last 32 bits are an IPv4 address that a gateway connects to (RFC 6052, RFC 8215).
_NAT64 = (ipaddress.IPv6Network("64:ff9b::/96"), ipaddress.IPv6Network("64:ff9b:1::/48"))
#: What IANA has given to anybody (RFC 4291, 2.4), and what else leads to the world: mapped IPv4 and the common gateway.
#: Outside of it `is_global` believes in site-local and IPv4-compatible addresses, which some systems still route.
_WORLD = (ipaddress.IPv6Network("2000::/3"), ipaddress.IPv6Network("::ffff:0:0/96"), _NAT64[0])
#: Not global by IANA's registries (RFC 6890, RFC 9637), which Python does not know everywhere.
_RESERVED = (ipaddress.IPv4Network("192.0.0.0/24"), ipaddress.IPv6Network("3fff::/20"))


class PrivateAddress(Exception):
    """The server's name leads to an address that is not on the public internet."""


class UnknownName(OSError):
    """The server's name leads to no address at all, or nobody could be asked for one."""


def is_public(address: Address) -> bool:
    """Tell whether `address`, and the IPv4 address that may be wrapped in it, is on the public internet."""
    if not address.is_global or address.is_multicast or any(address in network for network in _RESERVED):
        return False
    if isinstance(address, ipaddress.IPv6Address):
        return any(address in network for network in _WORLD) and all(map(is_public, _wrapped(address)))
    return True


def _wrapped(address: ipaddress.IPv6Address) -> Iterator[ipaddress.IPv4Address]:
    teredo = address.teredo
    for inner in (address.ipv4_mapped, address.sixtofour, teredo and teredo[1]):
        if inner:
            yield inner
    if any(address in network for network in _NAT64):
        yield ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)


def allowed_by_deployer(host: str, port: int, address: Address | None = None) -> bool:
    """Tell whether the settings allow this server although its address is private.

    `MASSMAIL_PRIVATE_HOSTS` names hosts, "host:port" or networks such as "10.0.0.0/8"; a server that
    `MASSMAIL_CLEAR_TEXT_HOSTS` trusts with a password counts as named too.
    """
    named = {name.lower() for name in (*conf.private_hosts, *conf.clear_text_hosts)}
    if {host.lower(), f"{host}:{port}".lower()} & named:
        return True
    return address is not None and any(address in network for network in _networks(named))


def _networks(names: Iterable[str]) -> Iterator[ipaddress.IPv4Network | ipaddress.IPv6Network]:
    for name in names:
        try:
            yield ipaddress.ip_network(name)
        except ValueError:
            continue


def _addresses(host: str, port: int) -> list[Any]:
    try:
        return socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except socket.gaierror as error:
        if error.errno == socket.EAI_AGAIN:
            words = _("The name “%(host)s” could not be looked up: the name service gives no answer.")
        else:
            words = _("The name “%(host)s” could not be resolved: no address is known for it.")
        raise UnknownName(words % {"host": host}) from error


def connect(host: str, port: int, *, timeout: float, trusted: bool = False) -> socket.socket:
    """Return a socket connected to `host`; `timeout` in seconds for each of its addresses.

    `trusted` says that an administrator entered this server, so that its address may be private. Raises OSError like
    `socket.create_connection`, of these `UnknownName`; ValueError for what is no name of a host, and `PrivateAddress`.
    """
    failure: Exception = UnknownName(_("The name of the server has no address."))
    for family, kind, protocol, _name, where in _addresses(host, port):
        address = ipaddress.ip_address(str(where[0]).partition("%")[0])
        if not (trusted or is_public(address) or allowed_by_deployer(host, port, address)):
            failure = PrivateAddress(
                _(
                    "“%(host)s” leads to %(address)s, an address of a private network. An administrator can enter this "
                    "server on the account's page, or add it to MASSMAIL_PRIVATE_HOSTS."
                )
                % {"host": host, "address": address}
            )
            continue
        sock = socket.socket(family, kind, protocol)
        try:
            sock.settimeout(timeout)
            sock.connect(where)
        except OSError as error:
            sock.close()
            failure = error
            continue
        return sock
    raise failure
