"""Whose mailbox is this address? Proposals for the form of an account, which people see before anything is saved."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from django.utils.translation import gettext as _

from massmail.connecting.presets import GENERIC, PRESETS, Preset, preset, preset_of_address, preset_of_mail_servers
from massmail.deliverability.lookups import Answer, Exchange, Limits, Lookups, Status, ascii_domain
from massmail.deliverability.resolvers import make_resolver
from massmail.models import MassmailSettings

#: Seconds that the DNS has; a manager waits in front of the form.
PATIENCE = 3.0
#: What a proposal is about.
FIELDS = (
    "name", "smtp_host", "smtp_port", "smtp_security", "smtp_username", "imap_host", "imap_port", "imap_security",
    "emails_per_day",
)  # fmt: skip


def provider_choices() -> list[tuple[str, Any]]:
    """Return what the form offers; first of all to find out by the address."""
    return [("", _("Find by the address")), *((each.name, each.label) for each in (*PRESETS, GENERIC))]


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """The provider of an address, and in `how` what makes us think so."""

    preset: Preset
    how: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Proposal:
    """Texts for the fields of the form; `kept` are the names of those that stay as they were typed."""

    values: dict[str, str]
    kept: tuple[str, ...]


def find(address: str, *, chosen: str = "") -> Found:
    """Return the provider that was `chosen`, or else that of `address`: known by its domain, or by its MX records."""
    by_choice, by_domain = preset(chosen), preset_of_address(address)
    if by_choice is not None:
        return Found(preset=by_choice, how="")
    if by_domain is not None:
        return Found(preset=by_domain, how=_("Known by the address."))
    domain = address.rpartition("@")[2]
    answer = _mail_servers(domain)
    by_servers = preset_of_mail_servers(exchange.host for exchange in sorted(answer.values))
    if by_servers is not None:
        how = _("%(provider)s takes the mail of %(domain)s.") % {"provider": by_servers.label, "domain": domain}
        return Found(preset=by_servers, how=how)
    if answer.unknown:
        how = _("The DNS did not say in time who takes the mail of %(domain)s: choose the provider, or try again.")
    elif answer.found:
        how = _("%(domain)s has mail servers that are not known here. The names filled in are guesses.")
    else:
        how = _("%(domain)s has no mail servers of its own in the DNS. The names filled in are guesses.")
    return Found(preset=GENERIC, how=how % {"domain": domain})


def _mail_servers(domain: str) -> Answer[Exchange]:
    try:
        name = ascii_domain(domain)
        resolver = make_resolver()
    except ValueError:
        return Answer(status=Status.NO_NAME)
    return Lookups(resolver, Limits(queries=2, seconds=PATIENCE, lifetime=PATIENCE)).mx(name)


def propose(
    found: Preset, *, address: str, typed: Mapping[str, str], before: Mapping[str, str], usual: Mapping[str, Any]
) -> Proposal:
    """Return what to fill in: nothing that was typed is replaced.

    A field may be filled in if it is empty, has its `usual` value or still that of the proposal `before`.
    """
    values, kept = {}, []
    for name, value in _values(found, address).items():
        now = typed.get(name, "").strip()
        if now == value:
            continue
        if now in ("", str(usual.get(name, "")), before.get(name, "")):
            values[name] = value
        elif value:
            kept.append(name)
    return Proposal(values=values, kept=tuple(kept))


def _values(found: Preset, address: str) -> dict[str, str]:
    domain = address.rpartition("@")[2]
    values = {
        "name": address[:100],
        "smtp_host": found.smtp_host or f"smtp.{domain}",
        "smtp_port": found.smtp_port,
        "smtp_security": found.smtp_security.value,
        "smtp_username": address,
        "imap_host": found.imap_host or f"imap.{domain}",
        "imap_port": found.imap_port,
        "imap_security": found.imap_security.value,
        # Never more than the administrator's own rule.
        "emails_per_day": min(found.safe_per_day, MassmailSettings.load().emails_per_day) if found.safe_per_day else "",
    }
    return {name: str(values[name]) for name in FIELDS}
