"""What to do when a server can't be used, by provider and by the step that failed. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from django.utils.translation import gettext as _

from massmail.choices import Obstacle, Phase, Security
from massmail.connecting.presets import Preset, preset_of_address, preset_of_server
from massmail.connecting.providers import find_provider
from massmail.models import EmailAccount


@dataclass(frozen=True, slots=True, kw_only=True)
class Trouble:
    """What failed with the server for `protocol` ("SMTP" or "IMAP"); `temporary` that the server says: not now."""

    account: EmailAccount
    protocol: str
    phase: Phase
    obstacle: Obstacle | None
    temporary: bool = False


def preset_of_account(account: EmailAccount) -> Preset | None:
    """Return the provider of `account`, by the server that it sends through or else by its address."""
    return preset_of_server(account.smtp_host) or preset_of_address(account.from_email)


def advise(trouble: Trouble) -> str:
    """Return what the person in front of the screen can do; "" where the server's words say it already."""
    preset = preset_of_account(trouble.account)
    if trouble.obstacle in (Obstacle.PRIVATE, Obstacle.CLEAR_TEXT, Obstacle.NO_TOKEN):
        return ""
    if trouble.obstacle is Obstacle.NO_HOST:
        return _name(trouble, preset)
    if trouble.obstacle is Obstacle.CERTIFICATE:
        return _certificate(trouble, preset)
    if trouble.obstacle is Obstacle.NO_LOGIN:
        return _no_common_login(trouble)
    if trouble.phase is Phase.AUTH:
        return _login(trouble, preset)
    return _server(trouble, preset)


def _name(trouble: Trouble, preset: Preset | None) -> str:
    """The name of a server leads nowhere: it is misspelt, or this machine can't look names up."""
    entered = trouble.account.smtp_host if trouble.protocol == "SMTP" else trouble.account.imap_host
    usual = _usual(trouble.protocol, preset)[0] if preset is not None else ""
    if preset is not None and entered.strip().lower() == usual:
        return _(
            "The name is the right one for %(provider)s, so it is this site that can't look names up, at least now. "
            "Try again in some minutes; then ask whoever runs this site to check its network and name service (DNS)."
        ) % {"provider": preset.label}
    if preset is not None:
        return _("Check the spelling: %(provider)s uses %(host)s.") % {"provider": preset.label, "host": usual}
    return _(
        "Check the spelling of the server's name with your provider. If it is right, ask whoever runs this site to "
        "check its name service (DNS)."
    )


def _server(trouble: Trouble, preset: Preset | None) -> str:
    """Name, port and encryption of a server have to fit each other: which do."""
    if preset is not None:
        host, port, security = _usual(trouble.protocol, preset)
        return _("Check server and port. %(provider)s uses %(host)s, port %(port)s with %(security)s.") % {
            "provider": preset.label,
            "host": host,
            "port": port,
            "security": security.label,
        }
    if trouble.protocol == "SMTP":
        return _(
            "Check server and port with your provider: port 587 goes with STARTTLS, port 465 with SSL/TLS. "
            "Port 25 is closed in most networks."
        )
    return _("Check server and port with your provider: port 993 goes with SSL/TLS, port 143 with STARTTLS.")


def _usual(protocol: str, preset: Preset) -> tuple[str, int, Security]:
    if protocol == "SMTP":
        return preset.smtp_host, preset.smtp_port, preset.smtp_security
    return preset.imap_host, preset.imap_port, preset.imap_security


def _certificate(trouble: Trouble, preset: Preset | None) -> str:
    if preset is not None:
        return _server(trouble, preset)
    return _(
        "Nothing secret was sent. Enter the server by the name that stands in its certificate, and ask whoever runs it "
        "for a certificate of a public authority: one that it has signed itself is not accepted."
    )


def _no_common_login(trouble: Trouble) -> str:
    if trouble.account.oauth_provider:
        return _("Disconnect the account and use a password, or ask your provider for a server that takes OAuth2.")
    return _(
        "Many servers offer a login only with TLS: choose STARTTLS or SSL/TLS. A relay that wants no login needs no "
        "user name."
    )


def _login(trouble: Trouble, preset: Preset | None) -> str:
    if trouble.temporary:
        return _("The provider asks to wait. Try again in some minutes; too many wrong passwords lock a mailbox.")
    if trouble.account.oauth_provider:
        return _("Connect the account again with the button above, as the owner of this mailbox.")
    usual = _("Check the password, and the user name: mostly the whole address.")
    advice = [str(preset.needs) if preset else usual]
    provider = find_provider(preset.oauth) if preset and preset.oauth else None
    if provider is not None:
        advice.append(
            _("Better: save the account and press “Connect with %(provider)s”.") % {"provider": provider.label}
        )
    return " ".join(advice)
