"""What is known of the big providers, so that a manager need not: servers, ports, limits, what has to be switched on.

Everything is a proposal that the form fills in. `per_day` is what the provider allows for one mailbox, `safe_per_day`
what a newsletter should take of it and leave to the mailbox's own mail; `source` is the provider's page for both.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from django.utils.translation import gettext_lazy as _

from massmail.choices import Security


@dataclass(frozen=True, slots=True, kw_only=True)
class Preset:
    """A provider's servers. `mail_servers` are ends of the names in the MX records of its customers' domains."""

    name: str
    label: Any
    domains: tuple[str, ...] = ()
    mail_servers: tuple[str, ...] = ()
    smtp_host: str = ""
    smtp_port: int = 587
    smtp_security: Security = Security.STARTTLS
    imap_host: str = ""
    imap_port: int = 993
    imap_security: Security = Security.SSL
    oauth: str = ""
    per_day: int | None = None
    safe_per_day: int | None = None
    needs: Any = ""
    source: str = ""


_GOOGLE_PASSWORD = _(
    "Turn on 2-Step Verification for the Google account, make an app password at myaccount.google.com/apppasswords and "
    "enter that one: Google refuses the normal password."
)

PRESETS = (
    Preset(
        name="gmail",
        label=_("Gmail"),
        domains=("gmail.com", "googlemail.com"),
        smtp_host="smtp.gmail.com",
        imap_host="imap.gmail.com",
        oauth="google",
        per_day=500,
        safe_per_day=94,
        needs=_GOOGLE_PASSWORD,
        source="https://support.google.com/mail/answer/22839",
    ),
    Preset(
        name="workspace",
        label=_("Google Workspace"),
        mail_servers=("aspmx.l.google.com", ".google.com", ".googlemail.com"),
        smtp_host="smtp.gmail.com",
        imap_host="imap.gmail.com",
        oauth="google",
        per_day=2000,
        safe_per_day=300,
        needs=_GOOGLE_PASSWORD,
        source="https://support.google.com/a/answer/166852",
    ),
    Preset(
        name="microsoft365",
        label=_("Microsoft 365"),
        mail_servers=(".mail.protection.outlook.com", ".mx.microsoft"),
        smtp_host="smtp.office365.com",
        imap_host="outlook.office365.com",
        oauth="microsoft",
        per_day=10000,
        safe_per_day=300,
        needs=_(
            "An administrator of Microsoft 365 has to switch on “Authenticated SMTP” for this mailbox: admin center, "
            "Users, Active users, Mail, Manage email apps. Connect with Microsoft rather than with a password: "
            "Microsoft is switching passwords off for SMTP."
        ),
        source="https://learn.microsoft.com/office365/servicedescriptions/exchange-online-service-description/"
        "exchange-online-limits",
    ),
    Preset(
        name="outlook",
        label=_("Outlook.com"),
        domains=("outlook.com", "hotmail.com", "live.com", "msn.com"),
        mail_servers=(".olc.protection.outlook.com",),
        smtp_host="smtp-mail.outlook.com",
        imap_host="outlook.office365.com",
        oauth="microsoft",
        per_day=300,
        safe_per_day=60,
        needs=_(
            "Connect with Microsoft: Outlook.com takes no passwords any more. For answers and bounces switch on IMAP "
            "in its settings, Mail, Forwarding and IMAP."
        ),
        source="https://support.microsoft.com/office/279ee200-594c-40f0-9ec8-bb6af7735c2e",
    ),
    Preset(
        name="yahoo",
        label=_("Yahoo"),
        domains=("yahoo.com", "ymail.com", "rocketmail.com", "yahoo.co.uk", "yahoo.de", "yahoo.fr"),
        mail_servers=(".yahoodns.net",),
        smtp_host="smtp.mail.yahoo.com",
        smtp_port=465,
        smtp_security=Security.SSL,
        imap_host="imap.mail.yahoo.com",
        per_day=500,
        safe_per_day=94,
        needs=_("Make an app password in Yahoo's account security and enter that one."),
        source="https://help.yahoo.com/kb/SLN3353.html",
    ),
    Preset(
        name="zoho",
        label=_("Zoho Mail"),
        domains=("zohomail.com", "zoho.com"),
        mail_servers=(".zoho.com", ".zoho.eu", ".zoho.in", ".zoho.com.au"),
        smtp_host="smtp.zoho.com",
        smtp_port=465,
        smtp_security=Security.SSL,
        imap_host="imap.zoho.com",
        per_day=250,
        safe_per_day=50,
        needs=_(
            "Switch on IMAP in Zoho Mail's settings. With two-factor authentication make an application-specific "
            "password. Accounts of a company's domain use smtppro.zoho.com and imappro.zoho.com; in Europe the names "
            "end in .eu."
        ),
        source="https://www.zoho.com/mail/help/usage-policy.html",
    ),
    Preset(
        name="fastmail",
        label=_("Fastmail"),
        domains=("fastmail.com", "fastmail.fm"),
        mail_servers=(".messagingengine.com",),
        smtp_host="smtp.fastmail.com",
        smtp_port=465,
        smtp_security=Security.SSL,
        imap_host="imap.fastmail.com",
        per_day=4000,
        safe_per_day=200,
        needs=_("Make an app password in Fastmail's settings, Privacy & Security, with access to mail."),
        source="https://www.fastmail.help/hc/en-us/articles/1500000277382",
    ),
    Preset(
        name="yandex",
        label=_("Yandex"),
        domains=("yandex.ru", "yandex.com", "ya.ru"),
        mail_servers=("mx.yandex.net", "mx.yandex.ru"),
        smtp_host="smtp.yandex.com",
        smtp_port=465,
        smtp_security=Security.SSL,
        imap_host="imap.yandex.com",
        per_day=500,
        safe_per_day=94,
        needs=_("Allow mail programs in Yandex Mail's settings and make an app password."),
        source="https://yandex.com/support/yandex-360/customers/mail/en/web/letter/create/limits",
    ),
)

#: For every other server; its names are guesses.
GENERIC = Preset(
    name="generic",
    label=_("Another provider"),
    needs=_(
        "Ask the provider for its servers. Usual are port 587 with STARTTLS or port 465 with SSL/TLS for outgoing, "
        "port 993 with SSL/TLS for incoming mail; the user name is mostly the whole address."
    ),
)


def preset(name: str) -> Preset | None:
    """Return the preset called `name`."""
    return next((each for each in (*PRESETS, GENERIC) if each.name == name), None)


def preset_of_address(address: str) -> Preset | None:
    """Return the provider of `address` where its domain alone says so."""
    domain = address.rpartition("@")[2].strip().rstrip(".").lower()
    return next((each for each in PRESETS if domain in each.domains), None)


def preset_of_mail_servers(hosts: Iterable[str]) -> Preset | None:
    """Return the provider whose servers take a domain's mail: `hosts` are the names in its MX records."""
    for host in hosts:
        name = "." + host.rstrip(".").lower()
        for each in PRESETS:
            if any(name.endswith(end if end.startswith(".") else f".{end}") for end in each.mail_servers):
                return each
    return None


def preset_of_server(smtp_host: str) -> Preset | None:
    """Return the provider that runs `smtp_host`."""
    host = smtp_host.strip().lower()
    return next((each for each in PRESETS if each.smtp_host == host), None)
