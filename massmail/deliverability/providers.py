"""What large mail providers ask of the DNS of their customers' domains."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Provider:
    """A provider, known by the names of its SMTP servers.

    A host begins with a dot where every server below it counts. One of `includes` has to be in the SPF record; the
    first is the one to recommend. `selectors` are where its DKIM keys usually are.
    """

    name: str
    hosts: tuple[str, ...]
    includes: tuple[str, ...]
    selectors: tuple[str, ...]
    domains: tuple[str, ...] = ()

    def serves(self, host: str) -> bool:
        return any(host.endswith(known) if known.startswith(".") else host == known for known in self.hosts)


#: `domains` are the provider's own: whoever writes from them publishes no records.
PROVIDERS = (
    Provider(
        name="Google",
        hosts=("smtp.gmail.com", "smtp-relay.gmail.com", "smtp.googlemail.com"),
        includes=("_spf.google.com",),
        selectors=("google",),
        domains=("gmail.com", "googlemail.com"),
    ),
    Provider(
        name="Microsoft 365",
        hosts=("smtp.office365.com", ".mail.protection.outlook.com"),
        includes=("spf.protection.outlook.com",),
        selectors=("selector1", "selector2"),
    ),
    Provider(
        name="Outlook.com",
        hosts=("smtp-mail.outlook.com",),
        includes=(),
        selectors=("selector1",),
        domains=("outlook.com", "hotmail.com", "live.com", "msn.com"),
    ),
    Provider(
        name="Yahoo",
        hosts=("smtp.mail.yahoo.com",),
        includes=("_spf.mail.yahoo.com",),
        selectors=("s2048", "s1024"),
        domains=("yahoo.com", "ymail.com", "rocketmail.com"),
    ),
    Provider(
        name="Zoho",
        hosts=(".zoho.com", ".zoho.eu", ".zoho.in", ".zoho.com.au", ".zoho.jp"),
        includes=("zohomail.com", "zohomail.eu", "zohomail.in", "zoho.com", "zoho.eu", "zoho.in", "spf.zoho.com"),
        selectors=("zmail", "zoho", "zohomail"),
        domains=("zohomail.com", "zoho.com"),
    ),
    Provider(
        name="Fastmail",
        hosts=("smtp.fastmail.com", ".messagingengine.com"),
        includes=("spf.messagingengine.com",),
        selectors=("fm1", "fm2", "fm3"),
        domains=("fastmail.com", "fastmail.fm"),
    ),
    Provider(
        name="Yandex",
        hosts=("smtp.yandex.ru", "smtp.yandex.com"),
        includes=("_spf.yandex.net",),
        selectors=("mail",),
        domains=("yandex.ru", "yandex.com", "ya.ru"),
    ),
    Provider(
        name="iCloud",
        hosts=("smtp.mail.me.com",),
        includes=("icloud.com",),
        selectors=("sig1",),
        domains=("icloud.com", "me.com", "mac.com"),
    ),
    Provider(
        name="Proton",
        hosts=("smtp.protonmail.ch",),
        includes=("_spf.protonmail.ch",),
        selectors=("protonmail", "protonmail2", "protonmail3"),
        domains=("proton.me", "protonmail.com"),
    ),
)

#: Where keys are often found, whoever the provider is.
USUAL_SELECTORS = ("default", "dkim", "mail", "s1", "s2", "k1", "selector1", "selector2", "google")


def provider_of(smtp_host: str) -> Provider | None:
    """Return the provider that runs the server `smtp_host`, if it is one of the known ones."""
    host = smtp_host.strip().rstrip(".").lower()
    return next((provider for provider in PROVIDERS if provider.serves(host)), None)
