"""Connecting an account in a real browser, by the clicks of a new manager, with mistakes on the way."""

from __future__ import annotations

import functools
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import dns.resolver
import pytest
from django.utils import timezone

from massmail.admin import providers
from massmail.connecting import presets
from massmail.engine.standalone import run
from massmail.models import EmailAccount
from massmail.outcomes import hold_account
from tests import imapd, oauth_server, world
from tests.acceptance.looking import faults, let_in, shown, window_of
from tests.adminpages import url
from tests.certificates import make_certificate
from tests.smtpd import SMTPServer

pytestmark = [pytest.mark.browser, pytest.mark.django_db(transaction=True)]

PASSWORD = "app-password-77"
#: Where both servers present another certificate, or none.
TROUBLES = {
    "self-signed": "The server's certificate cannot be trusted: self-signed certificate",
    "misnamed": "The server's certificate cannot be trusted: Hostname mismatch",
    "stripped": "The server does not offer STARTTLS.",
}


@pytest.fixture
def servers(tmp_path, monkeypatch, settings):
    """Servers with TLS at `localhost`, and a DNS that knows nobody."""

    class Resolver:
        def resolve(self, *args: Any, **kwargs: Any) -> Any:
            raise dns.resolver.NXDOMAIN

    certificate = make_certificate(tmp_path, "localhost")
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate.chain))
    monkeypatch.setattr(providers, "make_resolver", Resolver)
    settings.MASSMAIL_TRANSPORT = "massmail.transport.smtp.SMTPConnection"
    settings.MASSMAIL_CLEAR_TEXT_HOSTS = ()
    settings.MASSMAIL_PRIVATE_HOSTS = ["localhost", "127.0.0.1"]
    world.settings()
    users = {"ann@gmail.com": PASSWORD, "ann@acme.example": PASSWORD}
    with (
        SMTPServer(security="starttls", certificate=certificate, users=users) as smtp,
        imapd.serve(tls=certificate.server_context()) as imap,
    ):
        imap.password = PASSWORD
        yield smtp, imap


@pytest.fixture
def spoil(servers, tmp_path, monkeypatch):
    """What makes the SMTP server one of `TROUBLES` while a `with` block runs."""
    smtp, _imap = servers
    trusted = Path(os.environ["SSL_CERT_FILE"])
    (tmp_path / "elsewhere").mkdir()
    strange = make_certificate(tmp_path / "elsewhere", "localhost")
    misnamed = make_certificate(tmp_path, "other.example")
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "all.pem"))
    (tmp_path / "all.pem").write_bytes(trusted.read_bytes() + misnamed.chain.read_bytes())
    contexts = {"self-signed": strange.server_context(), "misnamed": misnamed.server_context()}

    @contextmanager
    def spoiled(trouble: str) -> Iterator[None]:
        with monkeypatch.context() as patched:
            if trouble == "stripped":
                patched.setattr(smtp, "security", "none")
            else:
                patched.setattr(smtp, "tls", contexts[trouble])
            yield

    return spoiled


@pytest.fixture
def gmail(servers, monkeypatch):
    """The preset of Gmail leads to the servers of the test."""
    smtp, imap = servers
    here = {"smtp_host": "localhost", "smtp_port": smtp.port, "imap_host": "localhost", "imap_port": imap.port}
    monkeypatch.setattr(presets, "PRESETS", (replace(presets.preset("gmail"), **here), *presets.PRESETS[1:]))


@pytest.fixture
def form(page, live_server, alice, servers):
    let_in(page.context, alice, live_server.url)
    page.set_default_timeout(15_000)
    page.goto(live_server.url + url(EmailAccount, "changelist"))
    page.get_by_role("link", name="Add email account").first.click()
    return page


def tries(page: Any, expect: Any, *words: str) -> None:
    """Press the button, wait for the result, and find the words there."""
    page.get_by_role("button", name="Test connection").click()
    for each in words:
        expect(page.locator("[data-massmail-trial]")).to_contain_text(each)
    expect(page.get_by_role("button", name="Test connection")).to_be_enabled()


@pytest.mark.usefixtures("gmail")
def test_preset(form, expect, servers, spoil):
    form.get_by_role("button", name="Fill in").click()
    expect(form.locator("[data-massmail-provider]")).to_have_text("Enter the from address first.")
    form.get_by_label("From address:").fill("ann@gmail.com")
    form.get_by_role("button", name="Fill in").click()
    expect(form.get_by_label("SMTP server:")).to_have_value("localhost")
    expect(form.get_by_label("Provider:")).to_have_value("gmail")
    expect(form.get_by_label("Emails per day:")).to_have_value("94")
    expect(form.get_by_text("make an app password at")).to_be_visible()

    form.get_by_label("SMTP password:").fill("my normal one")
    tries(form, expect, "535 5.7.8 User name or password wrong", "Google refuses the normal password")
    form.get_by_label("SMTP password:").fill(PASSWORD)
    usual = f"Check server and port. Gmail uses localhost, port {servers[0].port} with STARTTLS."
    for trouble, words in TROUBLES.items():
        with spoil(trouble):
            tries(form, expect, words, usual)
    tries(form, expect, "All good: mail can be sent and read. Not saved yet.")
    form.get_by_label("Massmail").check()
    form.get_by_role("button", name="Save", exact=True).click()
    expect(form.locator(".messagelist")).to_contain_text("was added successfully")
    made = EmailAccount.objects.get()
    assert (made.from_email, made.smtp_username, made.smtp_password) == ("ann@gmail.com", "ann@gmail.com", PASSWORD)


def test_generic_with_mistakes(form, expect, servers, spoil):
    smtp, imap = servers
    form.get_by_label("From address:").fill("ann@acme.example")
    form.get_by_role("button", name="Fill in").click()
    expect(form.locator("[data-massmail-provider]")).to_contain_text("The names filled in are guesses.")
    expect(form.get_by_label("SMTP server:")).to_have_value("smtp.acme.example")
    form.get_by_label("SMTP server:").fill("localhost")
    form.get_by_label("IMAP server:").fill("localhost")
    form.get_by_label("IMAP port:").fill(str(imap.port))
    form.get_by_label("SMTP password:").fill("wr0ng")
    tested = functools.partial(tries, form, expect)
    form.get_by_label("SMTP port:").fill("1")
    tested("port 587 goes with STARTTLS")
    form.get_by_label("SMTP port:").fill(str(smtp.port))
    form.get_by_label("SMTP security:").select_option("none")
    tested("No password is sent without TLS")
    form.get_by_label("SMTP security:").select_option("ssl")
    tested("No TLS with this server")
    form.get_by_label("SMTP security:").select_option("starttls")
    form.get_by_label("SMTP server:").fill("127.0.0.1")
    tested("Enter the server by the name that stands in its certificate")
    form.get_by_label("SMTP server:").fill("10.0.0.7")
    tested("is in the private network. Ask an administrator")
    form.get_by_label("SMTP server:").fill("localhost")
    tested("535 5.7.8 User name or password wrong", "Check the password, and the user name")
    form.get_by_label("SMTP password:").fill(PASSWORD)
    advice = {"stripped": "port 587 goes with STARTTLS"}
    for trouble, words in TROUBLES.items():
        with spoil(trouble):
            tested(words, advice.get(trouble, "one that it has signed itself is not accepted"))
    form.get_by_label("SMTP user name:").fill("ann")
    tested("Check the password, and the user name")
    form.get_by_label("SMTP user name:").fill("ann@acme.example")
    tested("All good")
    form.get_by_label("Name:", exact=True).press("Enter")
    expect(form.locator(".messagelist")).to_contain_text("was added successfully")
    assert EmailAccount.objects.get().smtp_security == "starttls"
    assert PASSWORD.encode() not in bytes(smtp.heard)


def test_held_account_is_tested_and_released(page, expect, live_server, alice, servers):
    smtp, _imap = servers
    box = world.account(
        alice, smtp_host="localhost", smtp_port=smtp.port, smtp_security="starttls", smtp_username="ann@acme.example",
        smtp_password=PASSWORD,
    )  # fmt: skip
    hold_account(box, "535 no")
    let_in(page.context, alice, live_server.url)
    page.goto(live_server.url + url(box, "change"))
    page.get_by_role("button", name="Test connection").click()
    page.locator("[data-massmail-trial]").get_by_role("button", name="Release").click()
    expect(page.locator(".messagelist")).to_contain_text("is released")
    box.refresh_from_db()
    assert box.hold_reason == ""


def at_work(owner: Any) -> None:
    """Let the engine try what it can for a recipient."""
    world.contacts(owner, 1)
    world.started(owner)
    run(clock=world.clock(), until_idle=True)


@pytest.mark.parametrize("trouble", TROUBLES)
def test_trouble_of_a_saved_account_is_said_on_its_page(page, expect, live_server, alice, servers, spoil, trouble):
    """It comes up while mail is sent; the page says what happened and what to do, and saving releases the account."""
    smtp, _imap = servers
    box = world.account(
        alice, smtp_host="localhost", smtp_port=smtp.port, smtp_security="starttls", smtp_username="ann@acme.example",
        smtp_password=PASSWORD,
    )  # fmt: skip
    let_in(page.context, alice, live_server.url)
    with spoil(trouble):
        at_work(alice)
    assert smtp.connections == 1
    page.goto(live_server.url + url(box, "change"))
    expect(page.locator("main")).to_contain_text(f"is on hold: “{TROUBLES[trouble].removesuffix('.')}")
    expect(page.locator("main")).to_contain_text("which a public authority has signed. No password was sent.")
    page.get_by_role("button", name="Test connection").click()
    page.locator("[data-massmail-trial]").get_by_role("button", name="Release").click()
    expect(page.locator(".messagelist")).to_contain_text("is released")
    run(clock=world.clock(), until_idle=True)
    assert [each.login for each in smtp.messages] == ["ann@acme.example"]
    assert PASSWORD.encode() not in bytes(smtp.heard)


def test_oauth(page, expect, live_server, alice, servers, settings):
    """Connected; the token runs out and is renewed; the permission is taken back, and given again by two clicks."""
    smtp, imap = servers
    smtp.mechanisms, imap.capabilities = ("XOAUTH2",), "IMAP4rev1 AUTH=XOAUTH2"
    box = world.account(
        alice, from_email="ann@acme.example", smtp_host="localhost", smtp_port=smtp.port, smtp_security="starttls",
        smtp_username="ann@acme.example", imap_host="localhost", imap_port=imap.port, imap_security="ssl",
    )  # fmt: skip
    let_in(page.context, alice, live_server.url)
    with oauth_server.serving() as provider:
        settings.MASSMAIL_OAUTH_PROVIDERS = provider.settings()
        provider.mailbox = box.from_email

        def connects(button: str) -> None:
            page.get_by_role("button", name=button).click()
            page.get_by_role("link", name="Allow").click()
            expect(page.locator(".messagelist")).to_contain_text("is connected with Acme ID")
            expect(page.get_by_text("Connected with Acme ID", exact=True)).to_be_visible()

        def taken(token: str) -> None:
            smtp.users, imap.password = {"ann@acme.example": token}, token
            tries(page, expect, "All good: mail can be sent and read.")

        page.goto(live_server.url + url(box, "change"))
        connects("Connect with Acme ID")
        taken("access-1")
        EmailAccount.objects.update(oauth_expires_at=timezone.now())
        taken("access-2")

        EmailAccount.objects.update(oauth_expires_at=timezone.now())
        provider.refresh_tokens.clear()
        tries(page, expect, "Token has been expired or revoked.", "Connect the account again on its page.")
        before = smtp.connections
        at_work(alice)
        assert smtp.connections == before
        page.reload()
        expect(page.locator("main")).to_contain_text("is on hold: “Acme ID")
        expect(page.locator("main")).to_contain_text("Token has been expired or revoked")
        connects("Connect again with Acme ID")
        expect(page.get_by_text("is on hold")).to_have_count(0)
        taken(f"access-{len(provider.asked)}")
        page.get_by_role("button", name="Disconnect").click()
        expect(page.locator(".messagelist")).to_contain_text("It needs a password now")


@pytest.mark.usefixtures("gmail")
def test_pages_fit_and_are_accessible(browser, live_server, alice, servers, settings):
    settings.MASSMAIL_OAUTH_PROVIDERS = {"google": {"client_id": "x"}}
    box = world.account(alice, smtp_host="localhost", oauth_provider="google", oauth_refresh_token="r")
    found = []
    with window_of(browser, alice, live_server.url) as page:
        for address in (url(EmailAccount, "add"), url(box, "change")):
            page.goto(live_server.url + address)
            page.get_by_label("From address:").fill("ann@gmail.com")
            page.get_by_role("button", name="Fill in").click()
            page.get_by_text("Make an app password").or_(page.get_by_text("make an app password")).wait_for()
            page.get_by_role("button", name="Test connection").click()
            page.locator(".massmail-trial").first.wait_for()
            found += faults(page)
    assert not found, shown(found)
