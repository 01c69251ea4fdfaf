"""Which servers of an account may stand in the private network: those that an administrator entered."""

from __future__ import annotations

import ipaddress
from collections.abc import Collection, Iterator

from django.utils.translation import gettext as _

from massmail.connecting.presets import PRESETS
from massmail.models import EmailAccount
from massmail.transport.reach import allowed_by_deployer, is_public

#: The fields that name a server.
SERVERS = (("smtp_host", "smtp_port"), ("imap_host", "imap_port"))


def servers(account: EmailAccount) -> Iterator[str]:
    """Yield the servers of `account` as "host:port"."""
    for host, port in SERVERS:
        if getattr(account, host):
            yield f"{getattr(account, host)}:{getattr(account, port)}"


def distrusted(account: EmailAccount) -> bool:
    """Tell whether `account` has a server that no administrator entered."""
    return any(server not in account.trusted_servers for server in servers(account))


def trusted(account: EmailAccount, *, entered: Collection[str]) -> list[str]:
    """Return the servers of `account` to be trusted after an administrator filled in the fields `entered`.

    A server keeps the trust it has. One that a manager entered does not get it because an administrator saved
    something else on the same page.
    """
    found = []
    for host, port in SERVERS:
        server = f"{getattr(account, host)}:{getattr(account, port)}"
        if getattr(account, host) and ({host, port} & set(entered) or server in account.trusted_servers):
            found.append(server)
    return list(dict.fromkeys(found))


def private_address(account: EmailAccount, host: str, port: int | None) -> str:
    """Return why `host` can't be entered by a manager, "" if it can. Asks no DNS: names are looked at when connecting.

    "localhost" and what ends in it always is this machine (RFC 6761, 6.3).
    """
    name = host.strip().strip("[]").lower()
    try:
        address = ipaddress.ip_address(name)
    except ValueError:
        private = name == "localhost" or name.endswith(".localhost")
        allowed = allowed_by_deployer(host, port or 0)
    else:
        private = not is_public(address)
        allowed = allowed_by_deployer(host, port or 0, address)
    if not private or allowed or f"{host}:{port}" in account.trusted_servers:
        return ""
    return _(
        "%(host)s is in the private network. Ask an administrator to enter this server here, "
        "or to add it to MASSMAIL_PRIVATE_HOSTS."
    ) % {"host": host}


def knows_secrets(account: EmailAccount, host: str) -> bool:
    """Tell whether `host` may be told the password or token that is stored for `account`: it, or its provider, was.

    Somebody else may change an account, too; a new server would tell them what the form does not.
    """
    told = {account.smtp_host.lower(), account.imap_host.lower()} - {""}
    for each in PRESETS:
        own = {each.smtp_host, each.imap_host}
        if own & told or (account.oauth_provider and each.oauth == account.oauth_provider):
            told |= own
    return host.lower() in told
