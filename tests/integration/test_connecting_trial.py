"""The button "Test connection": each step of both conversations, with every mistake one can make."""

from __future__ import annotations

import base64
import logging
import socket
from typing import Any

import pytest

from massmail.choices import TrialStep
from massmail.connecting.trial import try_account
from massmail.models import EmailAccount
from massmail.outcomes import hold_account
from massmail.transport.smtp import SMTPConnection
from tests import imapd, oauth_server, world
from tests.adminpages import client_of, filled_in, url
from tests.certificates import make_certificate
from tests.smtpd import SMTPServer

pytestmark = pytest.mark.django_db

CANARY = "canary-pw-81d2"
SMTP = "massmail.transport.smtp.SMTPConnection"
C, E, L = TrialStep.CONNECTION, TrialStep.ENCRYPTION, TrialStep.LOGIN


@pytest.fixture(scope="module")
def certificates(tmp_path_factory):
    home = tmp_path_factory.mktemp("certificates")
    return {name: make_certificate(home, name) for name in ("localhost", "other.example")}


@pytest.fixture
def certificate(certificates, monkeypatch, settings):
    """Trusted by this machine; the real connections are used."""
    settings.MASSMAIL_TRANSPORT = SMTP
    settings.MASSMAIL_CLEAR_TEXT_HOSTS = ()
    settings.MASSMAIL_PRIVATE_HOSTS = ["localhost"]
    monkeypatch.setenv("SSL_CERT_FILE", str(certificates["localhost"].chain))
    return certificates["localhost"]


@pytest.fixture
def smtp(certificate):
    with SMTPServer(security="starttls", certificate=certificate, users={"ann": CANARY}) as server:
        yield server


@pytest.fixture
def imap(certificate):
    with imapd.serve(tls=certificate.server_context()) as server:
        server.password = CANARY
        yield server


@pytest.fixture
def box(alice, smtp, imap):
    return world.account(
        alice, smtp_host="localhost", smtp_port=smtp.port, smtp_security="starttls", smtp_username="ann",
        smtp_password=CANARY, imap_host="localhost", imap_port=imap.port, imap_security="ssl",
    )  # fmt: skip


def steps(account: EmailAccount, number: int = 0) -> list[tuple[TrialStep, bool]]:
    return [(step.step, step.good) for step in try_account(account)[number].steps]


def failed(account: EmailAccount, number: int = 0) -> Any:
    *before, last = try_account(account)[number].steps
    assert all(step.good for step in before)
    assert not last.good
    return last


# Steps ----------------------------------------------------------------------------------------------------------------


def test_all_good(box):
    outgoing, incoming = try_account(box)
    assert (outgoing.good, incoming.good) == (True, True)
    found = {step.step: step.words for step in outgoing.steps}
    assert found[C] == "test.example ESMTP ready"
    assert found[E].startswith("TLSv1.3")
    assert found[L] == "2.7.0 Welcome"
    assert found[TrialStep.LIMITS] == "Takes messages of up to 20 MB."
    assert [step.step for step in incoming.steps] == [C, E, L, TrialStep.FOLDER]


def test_wrong_password(box, smtp):
    box.smtp_password = "wrong"
    for number, words in ((0, "535 5.7.8"), (1, "wrong password")):
        step = failed(box, number)
        assert step.step is L
        assert words in step.words
        assert "Check the password" in step.advice
    assert sum(line.startswith("AUTH") for line in smtp.commands) == 2  # once for each trial


def test_other_certificate(box, smtp, imap, certificates):
    smtp.tls = imap.tls = certificates["other.example"].server_context()
    for number in (0, 1):
        step = failed(box, number)
        assert step.step is E
        assert "cannot be trusted" in step.words
        assert "name that stands in its certificate" in step.advice


def test_misnamed_certificate(box, smtp, imap, certificates, monkeypatch):
    monkeypatch.setenv("SSL_CERT_FILE", str(certificates["other.example"].chain))
    smtp.tls = imap.tls = certificates["other.example"].server_context()
    for number in (0, 1):
        assert "match" in failed(box, number).words


def test_stripped_starttls(box, certificate):
    with SMTPServer(users={"ann": CANARY}) as stripped, imapd.serve() as stripped_imap:
        box.smtp_port, box.imap_port, box.imap_security = stripped.port, stripped_imap.port, "starttls"
        stripped_imap.fault = lambda session, line: (
            b"STARTTLS" in line and (session.say(line.split()[0] + b" BAD what?\r\n") or True)
        )
        for number in (0, 1):
            step = failed(box, number)
            assert (step.step, step.words) == (E, "The server does not offer STARTTLS.")
            assert step.advice
        assert base64.b64encode(f"\0ann\0{CANARY}".encode()) not in bytes(stripped.heard)
        assert CANARY.encode() not in bytes(stripped.heard)
        assert not stripped_imap.said(b"AUTHENTICATE")


def test_password_is_heard_by_nobody_in_clear(box, smtp):
    try_account(box)
    assert b"AUTH" not in bytes(smtp.heard)
    box.smtp_security = box.imap_security = "none"
    for number in (0, 1):
        step = failed(box, number)
        assert step.step is L
        assert "MASSMAIL_CLEAR_TEXT_HOSTS" in step.words
    assert smtp.connections == 1  # that with TLS
    assert [step.step for step in try_account(box)[0].steps] == [L]


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"smtp_host": "nowhere.invalid"}, "“nowhere.invalid” could not be"),
        ({"smtp_host": "x" * 70 + ".example"}, "not the name"),
    ],
)
def test_name_that_leads_nowhere(box, changes, words):
    for name, value in changes.items():
        setattr(box, name, value)
    step = failed(box)
    assert step.step is C
    assert words in step.words
    assert "Errno" not in step.words
    assert "Check the spelling" in step.advice


def test_name_that_is_none__of_the_mailbox(box):
    box.imap_host = "x" * 70 + ".example"
    step = failed(box, 1)
    assert "is not the name of a server" in step.words
    assert "Check the spelling" in step.advice


def test_size_that_no_database_keeps(box, alice, smtp):
    smtp.extensions = ["SIZE 99999999999999999999999"]
    assert "All good" in press(alice, url(box, "test")).content.decode()
    box.refresh_from_db()
    assert box.size_limit is None


def test_an_error_of_our_own_is_said_and_logged(box, monkeypatch, caplog):
    monkeypatch.setattr(SMTPConnection, "open", lambda self: 1 // 0)
    assert "an error of its own" in failed(box).words
    assert "ZeroDivisionError" in caplog.text


def test_name_that_leads_nowhere__although_it_is_the_providers(box, monkeypatch):
    def nobody_answers(*address: object, **options: object) -> None:
        raise socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution")

    box.smtp_host, box.imap_host, box.from_email = "smtp.gmail.com", "imap.gmail.com", "ann@gmail.com"
    with monkeypatch.context() as patched:
        patched.setattr(socket, "getaddrinfo", nobody_answers)
        for number in (0, 1):
            step = failed(box, number)
            assert "the name service gives no answer" in step.words
            assert "The name is the right one for Gmail" in step.advice
        box.smtp_host = "smtp.gmial.com"
        assert "uses smtp.gmail.com." in failed(box).advice


def test_steps_that_come_only_later_are_said_not_to_be_tried(box, alice):
    assert [each.untried for each in try_account(box)] == [(), ()]
    box.smtp_host = "nowhere.invalid"
    assert try_account(box)[0].untried == (E, L)
    box.smtp_host, box.smtp_port = "localhost", 1
    html = press(
        alice, url(box, "test"), **form_of(alice, box, smtp_host="nowhere.invalid", new_smtp_password="x")
    ).content.decode()
    assert "Not tried" in html
    assert "It says nothing about your password." in html


def test_port_that_nobody_listens_on(box):
    box.smtp_port = 1
    step = failed(box)
    assert step.step is C
    assert "refused" in step.words
    assert "port 587" in step.advice


def test_private_address(box, settings):
    settings.MASSMAIL_PRIVATE_HOSTS = ()
    for number in (0, 1):
        step = failed(box, number)
        assert (step.step, step.advice) == (C, "")
        assert "An administrator can enter this server" in step.words
    box.trusted_servers = [f"localhost:{box.smtp_port}", f"localhost:{box.imap_port}"]
    assert all(each.good for each in try_account(box))


def test_silent_server_ends_in_time(box, smtp):
    smtp.answers["CONNECT"] = "stall"
    outgoing, _incoming = try_account(box, patience=0.5)
    assert [(step.step, step.words) for step in outgoing.steps] == [(C, "The server did not answer in time.")]
    smtp.stopping.set()


def test_relay_without_login(box, smtp):
    smtp.users = {}
    box.smtp_username = box.smtp_password = box.imap_host = ""
    [outgoing] = try_account(box)
    assert outgoing.good
    assert "no user name" in outgoing.steps[2].words


def test_oauth(box, smtp, imap, settings):
    smtp.users, smtp.mechanisms, smtp.keep = {"ann": "access-1"}, ("XOAUTH2",), True
    imap.password, imap.capabilities = "access-1", "IMAP4rev1 AUTH=XOAUTH2"
    with oauth_server.serving() as provider:
        settings.MASSMAIL_OAUTH_PROVIDERS = provider.settings()
        box.oauth_provider, box.oauth_refresh_token = "acme", "refresh-0"
        box.save()
        step = failed(box)
        assert step.step is TrialStep.PERMISSION
        assert "expired or revoked" in step.words
        assert step.advice == "Connect the account again on its page."
        provider.refresh_tokens["refresh-0"] = "ann@acme.example"
        provider.asked.clear()
        assert all(each.good for each in try_account(box))
        smtp.users["ann"] = imap.password = "access-2"  # nobody told us that the other one is over
        assert all(each.good for each in try_account(box))
        smtp.users["ann"] = "another"
        assert failed(box).step is TrialStep.LOGIN
        assert len(provider.asked) == 3
        provider.refresh_tokens.clear()
        assert failed(box).step is TrialStep.PERMISSION
        provider.down = True
        box.oauth_expires_at = None
        box.save()
        step = failed(box)
        assert (step.step, step.advice) == (TrialStep.PERMISSION, "Try again in some minutes.")


# The button -----------------------------------------------------------------------------------------------------------


def press(person: Any, address: str, **data: Any) -> Any:
    return client_of(person).post(f"{address}?part=1", data)


def form_of(person: Any, box: EmailAccount, **changes: Any) -> dict[str, Any]:
    return filled_in(client_of(person), url(box, "change")) | changes


def test_button__saved_account(box, alice):
    html = press(alice, url(box, "test")).content.decode()
    assert "All good" in html
    assert "Release" not in html
    assert CANARY not in html


def test_button__a_held_account_can_be_released_after_a_good_test(box, alice):
    hold_account(box, "535 no")
    assert url(box, "release") in press(alice, url(box, "test")).content.decode()
    html = press(alice, url(box, "test"), **form_of(alice, box, imap_host="")).content.decode()
    assert "Save what you changed, then release it" in html
    assert url(box, "release") not in html
    html = press(alice, url(box, "test"), **form_of(alice, box, new_smtp_password="wrong")).content.decode()
    assert url(box, "release") not in html
    box.refresh_from_db()
    assert box.hold_reason == "535 no"


def test_button__unsaved_values_are_tried_and_not_saved(box, alice):
    data = form_of(alice, box, new_smtp_password="wrong-typed", name="")
    html = press(alice, url(box, "test"), **data).content.decode()
    assert "535 5.7.8 User name or password wrong" in html
    assert "wrong-typed" not in html
    box.refresh_from_db()
    assert (box.smtp_password, box.name) == (CANARY, "second")
    html = press(alice, url(box, "test"), **data | {"smtp_port": "0"}).content.decode()
    assert "SMTP port" in html
    assert "535" not in html


def test_button__new_account(box, alice, carol):
    data = form_of(alice, box, new_smtp_password=CANARY)
    html = press(alice, url(EmailAccount, "test_new"), **data).content.decode()
    assert "All good: mail can be sent and read. Not saved yet." in html
    assert EmailAccount.objects.count() == 1
    assert press(alice, url(EmailAccount, "test_new")).status_code == 200
    page = client_of(alice).post(url(EmailAccount, "test_new"), data).content.decode()
    assert "Go back in your browser" in page
    assert CANARY not in page


def test_button__who_may(box, alice, bob, carol, smtp):
    for person, status in ((bob, 404), (carol, 403), (None, 302)):
        assert press(person, url(box, "test")).status_code == status
    assert client_of(alice).get(url(box, "test")).status_code == 405
    assert client_of(alice, enforce_csrf_checks=True).post(url(box, "test")).status_code == 403
    assert smtp.connections == 0
    address = url(box, "test")
    assert address in client_of(alice).get(url(box, "change")).content.decode()
    assert address not in client_of(carol).get(url(box, "change")).content.decode()


def test_button__a_manager_s_test_does_not_reach_inside(box, alice, boss, settings):
    settings.MASSMAIL_PRIVATE_HOSTS = ()
    data = form_of(alice, box)
    assert "An administrator can enter this server" in press(alice, url(box, "test"), **data).content.decode()
    data = form_of(boss, box, trust_servers="on")
    assert "All good" in press(boss, url(box, "test"), **data).content.decode()
    box.refresh_from_db()
    assert box.trusted_servers == []


def test_button__the_server_s_words_are_text(box, alice, smtp):
    smtp.answers["AUTH"] = "535 <script>alert(1)</script>"
    html = press(alice, url(box, "test")).content.decode()
    assert "&lt;script&gt;" in html
    assert "<script>" not in html


def test_nothing_secret_is_logged(box, alice, caplog):
    caplog.set_level(logging.DEBUG)
    press(alice, url(box, "test"), **form_of(alice, box, new_smtp_password="wrong-typed"))
    assert caplog.records
    assert CANARY not in caplog.text
    assert "wrong-typed" not in caplog.text
