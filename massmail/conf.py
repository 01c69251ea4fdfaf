"""The deployer's settings: flat `MASSMAIL_*` names in the project's settings module.

What an administrator may change at run time is a row in the database (`MassmailSettings`); no name stands in both.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from django.conf import settings

DEFAULTS: dict[str, Any] = {
    # Dotted paths of the host's RecipientType classes.
    "MASSMAIL_RECIPIENT_TYPES": (),
    # Dotted paths of the host's ConversationType classes: its requests and deals.
    "MASSMAIL_CONVERSATIONS": (),
    # Keys for the secrets at rest, newest first; every one of them still decrypts. None: derived from SECRET_KEY.
    "MASSMAIL_FIELD_KEYS": (),
    # Address of the unsubscribe links, without a slash at the end: workers have no request to ask.
    "MASSMAIL_PUBLIC_URL": "",
    # Class of the outgoing connection; `massmail.transport.memory.MemoryConnection` keeps mail in a list for tests.
    "MASSMAIL_TRANSPORT": "massmail.transport.smtp.SMTPConnection",
    # Servers that may be given a password without TLS ("host" or "host:port"): a relay on the same machine, say.
    "MASSMAIL_CLEAR_TEXT_HOSTS": (),
    # Mail servers in the private network that any manager may enter: "host", "host:port" or a network ("10.0.0.0/8").
    "MASSMAIL_PRIVATE_HOSTS": (),
    # OAuth2 providers by name: {"google": {"client_id": "…", "client_secret": "…"}}; others give their addresses too.
    "MASSMAIL_OAUTH_PROVIDERS": {},
    # Seconds for each SMTP command; the answer to the final dot has 600 (RFC 5321, 4.5.3.2.6).
    "MASSMAIL_SMTP_TIMEOUT": 60,
    # Seconds a lane's lease lasts; the worker renews it at a third while it waits for the server.
    "MASSMAIL_LEASE_SECONDS": 30,
    # Seconds one worker stays with an unpaced account before others get a turn.
    "MASSMAIL_SLICE_SECONDS": 60,
    # Seconds between two ticks of beat.
    "MASSMAIL_TICK_SECONDS": 5,
    # Seconds between two readings of an account's incoming mail.
    "MASSMAIL_POLL_SECONDS": 120,
    # Seconds an IMAP server may keep silent.
    "MASSMAIL_IMAP_TIMEOUT": 30,
    # Seconds after sending in which the unsubscribe page waits for a click: link scanners come by in the first minutes.
    "MASSMAIL_UNSUBSCRIBE_GRACE": 600,
    # Requests a minute that one unsubscribe link answers; links leading nowhere that one visitor may try. 0: no limit.
    "MASSMAIL_UNSUBSCRIBE_RATE": 60,
    # Dotted path of a form widget for the content of messages; empty: the app's own source editor.
    "MASSMAIL_BODY_WIDGET": "",
    # Name servers to ask about domains: "192.0.2.53", "192.0.2.53:5353", "[2001:db8::53]:53". Empty: the system's.
    "MASSMAIL_DNS_SERVERS": (),
    # Whether workers look at the domains of accounts and recipients by themselves.
    "MASSMAIL_DNS_CHECKS": True,
}


class Conf:
    """Reads `settings.MASSMAIL_*` each time, so that tests and hosts may override them at any moment."""

    recipient_types: Sequence[str]
    conversations: Sequence[str]
    field_keys: Sequence[str]
    public_url: str
    transport: str
    clear_text_hosts: Sequence[str]
    private_hosts: Sequence[str]
    oauth_providers: Mapping[str, dict[str, Any]]
    smtp_timeout: float
    lease_seconds: float
    slice_seconds: float
    tick_seconds: float
    poll_seconds: float
    imap_timeout: float
    unsubscribe_grace: float
    unsubscribe_rate: int
    body_widget: str
    dns_servers: Sequence[str]
    dns_checks: bool

    def __getattr__(self, name: str) -> Any:
        key = "MASSMAIL_" + name.upper()
        try:
            return getattr(settings, key, DEFAULTS[key])
        except KeyError:
            raise AttributeError(f"massmail has no setting {key}") from None


conf = Conf()


def unknown_settings() -> list[str]:
    """Return the `MASSMAIL_*` names of the settings module that the app does not know."""
    return sorted(name for name in dir(settings) if name.startswith("MASSMAIL_") and name not in DEFAULTS)
