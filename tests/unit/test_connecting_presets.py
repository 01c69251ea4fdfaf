"""The table of providers, who is recognised, and what a form is filled in with."""

from __future__ import annotations

import re
from typing import Any

import dns.exception
import dns.resolver
import pytest

from massmail.admin import providers
from massmail.choices import Obstacle, Phase, Security
from massmail.connecting import presets
from massmail.connecting.advice import Trouble, advise
from massmail.connecting.providers import KNOWN
from massmail.models import EmailAccount
from tests.nameserver import NameServer

HOST = re.compile(r"[a-z0-9-]+(\.[a-z0-9-]+)+")
USUAL = {"smtp_port": 587, "smtp_security": "starttls", "imap_port": 993, "imap_security": "ssl"}
GMAIL = presets.preset("gmail")

pytestmark = pytest.mark.django_db


@pytest.mark.parametrize("preset", presets.PRESETS, ids=lambda preset: preset.name)
def test_presets__each_is_complete(preset):
    assert HOST.fullmatch(preset.smtp_host)
    assert HOST.fullmatch(preset.imap_host)
    assert (preset.smtp_port, preset.smtp_security) in {(587, Security.STARTTLS), (465, Security.SSL)}
    assert (preset.imap_port, preset.imap_security) == (993, Security.SSL)
    assert 0 < preset.safe_per_day < preset.per_day
    assert preset.needs
    assert preset.source.startswith("https://")
    assert preset.domains or preset.mail_servers
    assert not preset.oauth or preset.oauth in KNOWN


def test_presets__no_two_claim_the_same():
    for names in (
        [preset.name for preset in (*presets.PRESETS, presets.GENERIC)],
        [domain for preset in presets.PRESETS for domain in preset.domains],
        [server for preset in presets.PRESETS for server in preset.mail_servers],
    ):
        assert len(names) == len(set(names))


@pytest.mark.parametrize(
    ("hosts", "name"),
    [
        (["aspmx.l.google.com"], "workspace"),
        (["alt1.aspmx.l.google.com."], "workspace"),
        (["acme-example.mail.protection.outlook.com"], "microsoft365"),
        (["hotmail-co-uk.olc.protection.outlook.com"], "outlook"),
        (["mx.zoho.eu"], "zoho"),
        (["in1-smtp.messagingengine.com"], "fastmail"),
        (["mx.yandex.net"], "yandex"),
        (["mx.filter.example", "MX2.ZOHO.COM"], "zoho"),
        (["notgoogle.com"], None),
        (["mail.acme.example"], None),
        ([], None),
    ],
)
def test_preset_of_mail_servers(hosts, name):
    found = presets.preset_of_mail_servers(hosts)
    assert (found.name if found else None) == name


# Finding out ----------------------------------------------------------------------------------------------------------


def resolve_to(monkeypatch: pytest.MonkeyPatch, answer: Any) -> list[str]:
    asked = []

    class Resolver:
        def resolve(self, name: Any, kind: str, **options: Any) -> Any:
            asked.append(f"{kind} {name}")
            assert options["lifetime"] <= providers.PATIENCE
            raise answer

    monkeypatch.setattr(providers, "make_resolver", Resolver)
    return asked


def test_find__known_by_its_domain_without_asking(monkeypatch):
    asked = resolve_to(monkeypatch, AssertionError())
    assert providers.find("Ann@Gmail.com").preset.name == "gmail"
    assert providers.find("ann@gmail.com.").preset.name == "gmail"
    assert providers.find("ann@acme.example", chosen="yahoo").preset.name == "yahoo"
    assert not asked


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (dns.exception.Timeout(), "did not say in time"),
        (dns.resolver.NoNameservers(), "did not say in time"),
        (dns.resolver.NXDOMAIN(), "no mail servers"),
    ],
)
def test_find__silence_is_not_missing(monkeypatch, answer, words):
    assert resolve_to(monkeypatch, answer) == []
    found = providers.find("ann@acme.example")
    assert found.preset is presets.GENERIC
    assert words in found.how


def test_find__no_name_server_is_configured(monkeypatch):
    def none_there(*args: Any) -> None:
        raise dns.resolver.NoResolverConfiguration

    monkeypatch.setattr(dns.resolver.Resolver, "read_resolv_conf", none_there)
    assert "did not say in time" in providers.find("ann@acme.example").how


def test_find__asks_the_name_servers_of_the_settings(settings):
    with NameServer({"acme.example": {"MX": ["1 aspmx.l.google.com."]}}) as server:
        settings.MASSMAIL_DNS_SERVERS = [f"127.0.0.1:{server.port}"]
        assert providers.find("ann@acme.example").preset.name == "workspace"


# Proposing ------------------------------------------------------------------------------------------------------------


def propose(preset: presets.Preset, **typed: str) -> providers.Proposal:
    before = typed.pop("before", {})
    return providers.propose(preset, address="ann@acme.example", typed=typed, before=before, usual=USUAL)


def test_propose__an_empty_form_is_filled_in():
    values = propose(GMAIL, smtp_port="587").values
    assert values["smtp_host"] == "smtp.gmail.com"
    assert (values["smtp_username"], values["name"], values["emails_per_day"]) == ("ann@acme.example",) * 2 + ("94",)
    assert "smtp_port" not in values


def test_propose__generic_guesses_by_the_domain():
    values = propose(presets.GENERIC).values
    assert (values["smtp_host"], values["imap_host"]) == ("smtp.acme.example", "imap.acme.example")


def test_propose__what_was_typed_stays_and_is_named():
    found = propose(presets.preset("yahoo"), smtp_host="relay.acme.example", smtp_port="2525", smtp_username="ann")
    assert set(found.kept) == {"smtp_host", "smtp_port", "smtp_username"}
    assert not set(found.kept) & set(found.values)
    assert found.values["smtp_security"] == "ssl"


def test_propose__another_provider_replaces_the_first_proposal():
    first = propose(presets.preset("yahoo")).values
    second = propose(GMAIL, before=first, **first | {"smtp_username": "typed"})
    assert second.values["smtp_host"] == "smtp.gmail.com"
    assert (second.values["smtp_port"], second.values["smtp_security"]) == ("587", "starttls")
    assert second.kept == ("smtp_username",)


# Advice ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("obstacle", [None, *Obstacle], ids=str)
@pytest.mark.parametrize("phase", [Phase.CONNECT, Phase.BANNER, Phase.STARTTLS, Phase.AUTH], ids=str)
@pytest.mark.parametrize("host", ["smtp.gmail.com", "mail.acme.example"])
def test_advise__says_what_to_do_wherever_the_words_do_not(host, phase, obstacle):
    account = EmailAccount(from_email="ann@acme.example", smtp_host=host)
    for protocol in ("SMTP", "IMAP"):
        advice = advise(Trouble(account=account, protocol=protocol, phase=phase, obstacle=obstacle))
        said_already = obstacle in (Obstacle.PRIVATE, Obstacle.CLEAR_TEXT, Obstacle.NO_TOKEN)
        assert bool(advice) is not said_already


def test_advise__login_by_provider(settings):
    account = EmailAccount(from_email="ann@gmail.com", smtp_host="smtp.gmail.com")
    trouble = Trouble(account=account, protocol="SMTP", phase=Phase.AUTH, obstacle=None)
    assert "app password" in advise(trouble)
    assert "Connect with" not in advise(trouble)
    settings.MASSMAIL_OAUTH_PROVIDERS = {"google": {"client_id": "x"}}
    assert "press “Connect with Google”" in advise(trouble)
    account.oauth_provider = "google"
    assert "Connect the account again" in advise(trouble)
