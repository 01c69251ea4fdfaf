"""What is wrong with an account holds it after one try, with words that help, and harms no recipient."""

from __future__ import annotations

import base64
import datetime as dt
from typing import Any

import pytest
from django.utils import timezone

from massmail.engine.holds import explain
from massmail.engine.standalone import run
from massmail.models import Delivery, EmailAccount
from tests import oauth_server, world
from tests.certificates import make_certificate
from tests.smtpd import SMTPServer

pytestmark = pytest.mark.django_db

CANARY = "canary-hold-55"
USERS = {"alice": CANARY}


@pytest.fixture(scope="module")
def certificates(tmp_path_factory):
    home = tmp_path_factory.mktemp("certificates")
    return {name: make_certificate(home, name) for name in ("localhost", "other.example")}


@pytest.fixture(autouse=True)
def surroundings(settings, certificates, monkeypatch):
    settings.MASSMAIL_TRANSPORT = "massmail.transport.smtp.SMTPConnection"
    settings.MASSMAIL_CLEAR_TEXT_HOSTS = ()
    settings.MASSMAIL_PRIVATE_HOSTS = ["localhost"]
    monkeypatch.setenv("SSL_CERT_FILE", str(certificates["localhost"].chain))
    world.settings(gap_min=0, gap_max=0)


def send(alice: Any, server: SMTPServer, **account: Any) -> EmailAccount:
    """Let the engine do what it can for two recipients."""
    defaults = {"smtp_host": "localhost", "smtp_port": server.port, "smtp_security": "starttls"}
    login = {"smtp_username": "alice", "smtp_password": CANARY}
    box = world.account(alice, **{**defaults, **login, **account})
    world.contacts(alice, 2)
    world.started(alice)
    run(clock=world.clock(), until_idle=True)
    box.refresh_from_db()
    return box


def assert_held(box: EmailAccount, server: SMTPServer, *words: str) -> None:
    assert all(each in box.hold_reason for each in words), box.hold_reason
    assert server.connections <= 1
    assert set(Delivery.objects.values_list("status", flat=True)) == {"queued"}
    heard = bytes(server.heard)
    assert CANARY.encode() not in heard
    assert base64.b64encode(f"\0alice\0{CANARY}".encode()) not in heard


def test_password__sends(alice, certificates):
    with SMTPServer(security="starttls", certificate=certificates["localhost"], users=USERS) as server:
        assert send(alice, server).hold_reason == ""
        assert [message.login for message in server.messages] == ["alice", "alice"]
        assert all(message.secure for message in server.messages)
        assert b"AUTH" not in bytes(server.heard)


def test_password__wrong(alice, certificates):
    with SMTPServer(security="starttls", certificate=certificates["localhost"], users={"alice": "other"}) as server:
        assert_held(send(alice, server), server, "535 5.7.8 User name or password wrong")
        assert sum(line.startswith("AUTH") for line in server.commands) == 1


@pytest.mark.parametrize(
    ("trusted", "words"), [("localhost", "self-signed certificate"), ("other.example", "Hostname mismatch")]
)
def test_certificate__self_signed_and_misnamed(trusted, words, alice, certificates, monkeypatch):
    monkeypatch.setenv("SSL_CERT_FILE", str(certificates[trusted].chain))
    with SMTPServer(security="starttls", certificate=certificates["other.example"], users=USERS) as server:
        assert_held(send(alice, server), server, "certificate cannot be trusted", words)


def test_stripped_starttls(alice):
    with SMTPServer(users=USERS) as server:
        assert_held(send(alice, server), server, "The server does not offer STARTTLS.")


def test_private_address(alice, settings):
    settings.MASSMAIL_PRIVATE_HOSTS = ()
    with SMTPServer(users=USERS) as server:
        assert_held(send(alice, server), server, "An administrator can enter this server")
        assert server.connections == 0


# OAuth2


@pytest.fixture
def provider(settings):
    with oauth_server.serving() as server:
        settings.MASSMAIL_OAUTH_PROVIDERS = server.settings()
        yield server


def connected(**more: Any) -> dict[str, Any]:
    soon = timezone.now() - dt.timedelta(minutes=1)
    return {"oauth_provider": "acme", "oauth_refresh_token": "refresh-0", "oauth_expires_at": soon, **more}


@pytest.fixture
def server(certificates):
    certificate = certificates["localhost"]
    with SMTPServer(
        security="starttls", certificate=certificate, users={"alice": "access-1"}, mechanisms=("XOAUTH2",)
    ) as server:
        yield server


def test_oauth__an_expired_token_is_renewed_and_sends(alice, provider, server):
    provider.refresh_tokens["refresh-0"] = "alice@acme.example"
    assert send(alice, server, **connected()).hold_reason == ""
    assert [message.login for message in server.messages] == ["alice", "alice"]
    assert len(provider.asked) == 1


def test_oauth__revoked(alice, provider, server):
    box = send(alice, server, **connected())
    assert_held(box, server, "Token has been expired or revoked")
    assert explain(box, now=world.MONDAY).remedy == "Connect the account again on its page."
    assert server.connections == 0
    assert len(provider.asked) == 1


def ended_early() -> dict[str, Any]:
    """The token's time is not over, and the mail server does not take it any more."""
    later = timezone.now() + dt.timedelta(hours=1)
    return connected(oauth_access_token="another", oauth_expires_at=later)


def test_oauth__a_token_that_the_mail_server_refuses_is_renewed_once(alice, provider, server):
    provider.refresh_tokens["refresh-0"] = "alice@acme.example"
    assert send(alice, server, **ended_early()).hold_reason == ""
    assert [message.login for message in server.messages] == ["alice", "alice"]
    assert len(provider.asked) == 1


def test_oauth__the_mail_server_refuses_the_new_token_as_well(alice, provider, server):
    server.users["alice"] = "none of these"
    provider.refresh_tokens["refresh-0"] = "alice@acme.example"
    box = send(alice, server, **ended_early())
    assert "535" in box.hold_reason
    assert explain(box, now=world.MONDAY).remedy == "Connect the account again on its page."
    assert (server.connections, len(provider.asked)) == (2, 1)
    assert set(Delivery.objects.values_list("status", flat=True)) == {"queued"}


def test_oauth__a_refused_token_and_a_permission_that_is_over(alice, provider, server):
    box = send(alice, server, **ended_early())
    assert_held(box, server, "Token has been expired or revoked")
    assert explain(box, now=world.MONDAY).remedy == "Connect the account again on its page."
    assert len(provider.asked) == 1


@pytest.mark.parametrize("reply", ["454 4.7.0 Temporary authentication failure", "504 5.5.4 Mechanism not supported"])
def test_oauth__a_login_refused_for_another_reason_renews_nothing(alice, provider, server, reply):
    provider.refresh_tokens["refresh-0"] = "alice@acme.example"
    server.answers["AUTH"] = reply
    send(alice, server, **ended_early())
    assert provider.asked == []
    assert server.connections == 1


def test_oauth__a_provider_that_is_down_only_delays(alice, provider, server):
    provider.down = True
    box = send(alice, server, **connected())
    assert box.hold_reason == ""
    assert server.connections == 0
    assert set(Delivery.objects.values_list("status", flat=True)) == {"queued"}
