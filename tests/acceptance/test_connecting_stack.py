"""Accounts at real servers: Postfix takes mail from those who log in, Dovecot checks passwords and tokens.

Each mistake holds the account after one try, and whoever listens to the packets learns no password.
"""

from __future__ import annotations

import base64
import datetime as dt
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from django.utils import timezone

from massmail.choices import HoldReason
from massmail.connecting.trial import Step, try_account
from massmail.engine.holds import explain
from massmail.engine.standalone import run
from massmail.inbound import mailboxes
from massmail.inbound import run as inbound
from massmail.models import EmailAccount, InboundMessage
from tests import oauth_server, wiretap, world
from tests.conftest import unavailable
from tests.mailstack import Stack, mail_stack
from tests.servers import Unavailable, eventually
from tests.wiretap import Capture, Stripper

pytestmark = [pytest.mark.mailstack, pytest.mark.django_db(transaction=True)]

GOOD, WRONG = "secret", "wr0ng-but-secret"
#: What helps against a hold, by the kind of mistake.
ENTER_AGAIN = "Check the password, and the user name: mostly the whole address. Entering it again"
CONNECT_AGAIN = "Connect the account again on its page."
CHECK_SERVER = "The name must be the one in the server's certificate, which a public authority has signed."
#: The same in front of the button "Test connection".
NAME_OF_CERTIFICATE = "Enter the server by the name that stands in its certificate"


@pytest.fixture(scope="module")
def provider() -> Iterator[oauth_server.OAuthServer]:
    with oauth_server.serving() as server:
        yield server


@pytest.fixture(scope="module")
def servers(provider: oauth_server.OAuthServer) -> Iterator[Stack]:
    try:
        with mail_stack(provider=provider.url) as running:
            yield running
    except Unavailable as missing:
        unavailable(str(missing))


@pytest.fixture
def stack(servers, provider, settings, monkeypatch):
    settings.MASSMAIL_TRANSPORT = "massmail.transport.smtp.SMTPConnection"
    settings.MASSMAIL_CLEAR_TEXT_HOSTS = ()
    settings.MASSMAIL_PRIVATE_HOSTS = ["127.0.0.1", "localhost"]
    settings.MASSMAIL_OAUTH_PROVIDERS = provider.settings()
    provider.asked.clear()
    provider.access_tokens.clear()
    provider.refresh_tokens.clear()
    monkeypatch.setenv("SSL_CERT_FILE", str(servers.certificate))
    world.settings(gap_min=0, gap_max=0)
    return servers


@pytest.fixture
def listening(tmp_path):
    """What captures all packets of some ports while its `with` block runs."""

    @contextmanager
    def listen(*ports: int) -> Iterator[Capture]:
        try:
            with wiretap.capture(tmp_path, *ports) as wire:
                yield wire
        except Unavailable as missing:
            unavailable(str(missing))

    return listen


def account(stack: Stack, owner: Any, **more: Any) -> EmailAccount:
    """Return an account at the stack, with the right password unless told otherwise."""
    address = f"{owner.username}@example.test"
    servers = {"smtp_port": stack.submission, "imap_host": "127.0.0.1", "imap_port": stack.imaps}
    login = {"smtp_security": "starttls", "imap_security": "ssl", "smtp_username": address, "smtp_password": GOOD}
    return world.account(owner, **{"from_email": address, **servers, **login, **more})


def connected(stack: Stack, owner: Any, **more: Any) -> EmailAccount:
    """Return an account that logs in by token: the one it has ran out a minute ago."""
    gone = timezone.now() - dt.timedelta(minutes=1)
    tokens = {"oauth_access_token": "access-of-old", "oauth_refresh_token": "refresh-0", "oauth_expires_at": gone}
    return account(stack, owner, **{"oauth_provider": "acme", "smtp_password": "", **tokens, **more})


def works(owner: Any, box: EmailAccount) -> None:
    """A trial is all good; a mail of `box` to itself leaves and is read again."""
    assert [step for each in try_account(box) for step in each.steps if not step.good] == []
    world.contacts(owner, 1, email=box.from_email)
    mailing = world.started(owner)
    run(clock=world.clock(), until_idle=True)
    box.refresh_from_db()
    assert box.hold_reason == ""
    assert mailing.deliveries.get().status == "sent"
    assert eventually(lambda: inbound.poll(box.pk) or InboundMessage.objects.filter(account=box).exists())


def held(owner: Any, box: EmailAccount, words: str, remedy: str) -> None:
    """The engine tries for two recipients, and again hours later; the account holds and harms neither of them."""
    world.contacts(owner, 2)
    mailing = world.started(owner)
    for hour in ("10:00", "11:00", "16:00"):
        run(clock=world.clock(f"2026-11-23 {hour}"), until_idle=True)
    box.refresh_from_db()
    assert words in box.hold_reason
    hold = explain(box, now=world.berlin("2026-11-23 16:00"))
    assert (hold.reason, hold.until) == (HoldReason.ACCOUNT_HELD, None)
    assert words.removesuffix(".") in hold.detail
    assert remedy in hold.remedy
    assert set(mailing.deliveries.values_list("status", flat=True)) == {"queued"}


def rests(box: EmailAccount, words: str, remedy: str) -> None:
    """The mailbox is tried once, and then left alone; sending goes on without it."""
    for _try in range(3):
        inbound.poll(box.pk)
    trouble = mailboxes.troubles([box])[box.pk]
    assert words in trouble.text
    assert remedy in trouble.remedy
    assert trouble.until > timezone.now()


def last_steps(box: EmailAccount) -> list[Step]:
    """Return what the trials of both servers ended with."""
    return [each.steps[-1] for each in try_account(box)]


# All is well ----------------------------------------------------------------------------------------------------------


def test_password(alice, stack, listening):
    box = account(stack, alice)
    with listening(stack.submission, stack.imaps) as wire:
        works(alice, box)
    assert wire.holds(b"ehlo ")
    assert wire.connections(stack.imaps)
    assert not wire.shows(box.smtp_username, GOOD)


def test_capture__shows_what_is_said_in_clear(alice, stack, listening):
    """The proof that the other tests would notice."""
    said = base64.b64encode(f"\0alice@example.test\0{GOOD}".encode())
    with listening(stack.submission) as wire, socket.create_connection(("127.0.0.1", stack.submission)) as careless:
        careless.sendall(b"EHLO careless.example\r\nAUTH PLAIN " + said + b"\r\nQUIT\r\n")
        while careless.recv(4096):
            pass
    assert wire.connections(stack.submission) == 1
    assert wire.shows("alice@example.test", GOOD)
    assert not wire.shows("alice@example.test", WRONG)


def test_token__an_expired_one_is_renewed_and_goes_on(alice, stack, listening, provider):
    box = connected(stack, alice)
    provider.refresh_tokens["refresh-0"] = box.from_email
    with listening(stack.submission, stack.imaps) as wire:
        works(alice, box)
    assert [each["refresh_token"] for each in provider.asked] == ["refresh-0"]
    assert (box.oauth_access_token, box.oauth_refresh_token) == ("access-1", "refresh-1")
    assert not any(wire.shows(box.smtp_username, token) for token in ("access-1", "access-of-old", "refresh-1"))


# Mistakes -------------------------------------------------------------------------------------------------------------


def test_wrong_password(alice, stack, listening):
    box, before = account(stack, alice, smtp_password=WRONG), stack.refused_logins()
    with listening(stack.submission, stack.imaps) as wire:
        held(alice, box, "535 5.7.8 Error: authentication failed", ENTER_AGAIN)
        rests(box, "AUTHENTICATIONFAILED", "Check IMAP server, port, security, user name and password")
    assert wire.connections(stack.submission) == 1
    assert wire.connections(stack.imaps) == 1
    assert eventually(lambda: stack.refused_logins() > before)
    assert stack.refused_logins() == before + 1
    assert not wire.shows(box.smtp_username, WRONG)
    for step in last_steps(box):
        assert (step.step, step.good) == ("login", False)
        assert "Check the password, and the user name" in step.advice


def test_token__revoked(alice, stack, listening, provider):
    box = connected(stack, alice)
    with listening(stack.submission, stack.imaps) as wire:
        held(alice, box, "Token has been expired or revoked", CONNECT_AGAIN)
        assert [each["refresh_token"] for each in provider.asked] == ["refresh-0"]
        rests(box, "Token has been expired or revoked", CONNECT_AGAIN[:-1])
    assert wire.connections(stack.submission) == wire.connections(stack.imaps) == 0
    for step in last_steps(box):
        assert (step.step, step.good) == ("permission", False)
        assert step.advice == CONNECT_AGAIN


def test_token__withdrawn_before_its_time(alice, stack, listening, provider):
    """The mail server refuses the token; the provider, asked for another, gives one only to its owner."""
    later = timezone.now() + dt.timedelta(hours=1)
    box, before = connected(stack, alice, oauth_expires_at=later), stack.refused_logins()
    with listening(stack.submission, stack.imaps) as wire:
        held(alice, box, "Token has been expired or revoked", CONNECT_AGAIN)
        rests(box, "Token has been expired or revoked", CONNECT_AGAIN[:-1])
    assert wire.connections(stack.submission) == 1
    assert wire.connections(stack.imaps) <= 1
    assert eventually(lambda: stack.refused_logins() > before)
    assert not wire.shows(box.smtp_username, "access-of-old")


def test_token__the_mail_server_knows_no_new_one_either(alice, stack, listening, provider):
    """As where SMTP is switched off for a mailbox: the provider gives tokens, and the mail server refuses each."""
    provider.refresh_tokens["refresh-0"] = "carol@example.test"
    later = timezone.now() + dt.timedelta(hours=1)
    box = connected(stack, alice, oauth_expires_at=later)
    with listening(stack.submission) as wire:
        held(alice, box, "535", CONNECT_AGAIN)
    assert wire.connections(stack.submission) == 2
    assert len(provider.asked) == 1
    assert not any(wire.shows(box.smtp_username, token) for token in ("access-of-old", box.oauth_access_token))


@pytest.mark.parametrize("security", ["starttls", "ssl"])
@pytest.mark.parametrize(
    ("host", "trusted", "words"),
    [
        ("127.0.0.1", False, "The server's certificate cannot be trusted: self-signed certificate"),
        ("localhost", True, "The server's certificate cannot be trusted: Hostname mismatch"),
    ],
    ids=["self-signed", "misnamed"],
)
def test_certificate(host, trusted, words, security, alice, stack, listening, monkeypatch):
    imap_port = {"starttls": stack.imap, "ssl": stack.imaps}[security]
    smtp_port = {"starttls": stack.submission, "ssl": stack.submissions}[security]
    both = {"smtp_port": smtp_port, "smtp_security": security, "imap_port": imap_port, "imap_security": security}
    box = account(stack, alice, smtp_host=host, imap_host=host, **both)
    if not trusted:
        monkeypatch.delenv("SSL_CERT_FILE")
    with listening(smtp_port, imap_port) as wire:
        held(alice, box, words, CHECK_SERVER)
        rests(box, words, "Check IMAP server, port, security")
    assert wire.connections(smtp_port) == wire.connections(imap_port) == 1
    assert not wire.shows(box.smtp_username, GOOD)
    for step in last_steps(box):
        assert (step.step, step.good) == ("encryption", False)
        assert words in step.words
        assert NAME_OF_CERTIFICATE in step.advice


def test_stripped_starttls(alice, stack, listening):
    """Somebody on the way takes the offer of TLS out of what the real servers say, and asks for a login in clear."""
    words = "The server does not offer STARTTLS."
    with Stripper(stack.submission) as smtp, Stripper(stack.imap) as imap:
        box = account(stack, alice, smtp_port=smtp.port, imap_port=imap.port, imap_security="starttls")
        with listening(smtp.port, imap.port, stack.submission, stack.imap) as wire:
            held(alice, box, words, CHECK_SERVER)
            rests(box, words, "Check IMAP server, port, security")
        assert (smtp.connections, imap.connections) == (1, 1)
        assert smtp.stripped
        assert imap.stripped
        for step in last_steps(box):
            assert (step.step, step.good, step.words) == ("encryption", False, words)
            assert "Check server and port with your provider" in step.advice
        heard = bytes(smtp.heard + imap.heard)
    assert wire.connections(stack.submission) == 1
    assert wire.holds(b"ehlo ")
    assert not wire.shows(box.smtp_username, GOOD)
    assert b"AUTH" not in heard
    assert b"LOGIN" not in heard


def test_without_tls_nobody_is_called(alice, stack, listening):
    box = account(stack, alice, smtp_security="none", imap_port=stack.imap, imap_security="none")
    with listening(stack.submission, stack.imap) as wire:
        held(alice, box, "No password is sent without TLS.", CHECK_SERVER)
        rests(box, "No password is sent without TLS.", "Check IMAP server, port, security")
    assert wire.connections(stack.submission) == wire.connections(stack.imap) == 0
