"""Accounts at real servers: Postfix takes mail from those who log in, Dovecot checks passwords and tokens."""

from __future__ import annotations

import datetime as dt
from typing import Any

import pytest
from django.utils import timezone

from massmail.connecting.trial import try_account
from massmail.engine.standalone import run
from massmail.inbound import run as inbound
from massmail.models import InboundMessage
from tests import oauth_server, world
from tests.conftest import unavailable
from tests.mailstack import mail_stack
from tests.servers import Unavailable, eventually

pytestmark = [pytest.mark.mailstack, pytest.mark.django_db(transaction=True)]


@pytest.fixture
def provider(settings):
    with oauth_server.serving() as server:
        settings.MASSMAIL_OAUTH_PROVIDERS = server.settings()
        yield server


@pytest.fixture
def stack(provider, settings, monkeypatch):
    settings.MASSMAIL_TRANSPORT = "massmail.transport.smtp.SMTPConnection"
    settings.MASSMAIL_CLEAR_TEXT_HOSTS = ()
    settings.MASSMAIL_PRIVATE_HOSTS = ["127.0.0.1"]
    world.settings(gap_min=0, gap_max=0)
    try:
        with mail_stack(provider=provider.url) as running:
            monkeypatch.setenv("SSL_CERT_FILE", str(running.certificate))
            yield running
    except Unavailable as missing:
        unavailable(str(missing))


def account(stack: Any, owner: Any, name: str, **more: Any) -> Any:
    address = f"{name}@example.test"
    return world.account(
        owner,
        name,
        **{
            "from_email": address,
            "smtp_port": stack.submission,
            "smtp_security": "starttls",
            "smtp_username": address,
            "imap_host": "127.0.0.1",
            "imap_port": stack.imaps,
            "imap_security": "ssl",
            **more,
        },
    )


def sends(owner: Any, box: Any) -> None:
    """A mail of `box` to itself leaves and is read again."""
    world.contacts(owner, 1, email=box.from_email)
    mailing = world.started(owner)
    run(clock=world.clock(), until_idle=True)
    box.refresh_from_db()
    assert box.hold_reason == ""
    assert mailing.deliveries.get().status == "sent"
    assert eventually(lambda: inbound.poll(box.pk) or InboundMessage.objects.filter(account=box).exists())


def held(owner: Any, box: Any, *words: str) -> None:
    world.contacts(owner, 1, email=f"{owner.username}@customer.example")
    mailing = world.started(owner)
    run(clock=world.clock(), until_idle=True)
    box.refresh_from_db()
    assert all(each in box.hold_reason for each in words), box.hold_reason
    assert set(mailing.deliveries.values_list("status", flat=True)) == {"queued"}


def test_password_and_token(alice, bob, eve, stack, provider, monkeypatch):
    good = account(stack, alice, "alice", smtp_password="secret")
    expired = {"oauth_provider": "acme", "oauth_expires_at": timezone.now() - dt.timedelta(minutes=1)}
    connected = account(stack, bob, "bob", **expired, oauth_refresh_token="refresh-0")
    provider.refresh_tokens["refresh-0"] = connected.from_email
    for box in (good, connected):
        assert [step for each in try_account(box) for step in each.steps if not step.good] == []
    sends(alice, good)
    sends(bob, connected)

    good.smtp_password = "wrong"
    assert [each.steps[-1].step for each in try_account(good)] == ["login", "login"]
    good.save()
    held(alice, good, "535")
    connected.refresh_from_db()
    provider.access_tokens.clear()
    held(bob, connected, "535")
    revoked = account(stack, eve, "eve", **expired, oauth_refresh_token="refresh-of-old")
    held(eve, revoked, "expired or revoked", "Connect the account again")

    monkeypatch.delenv("SSL_CERT_FILE")
    assert [each.steps[-1].step for each in try_account(good)] == ["encryption", "encryption"]
