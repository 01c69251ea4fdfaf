"""Connecting an account in a real browser, by the clicks of a new manager, with mistakes on the way."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import dns.resolver
import pytest

from massmail.connecting import presets
from massmail.models import EmailAccount
from massmail.outcomes import hold_account
from tests import imapd, oauth_server, world
from tests.acceptance.looking import NOT_OURS, Axe, let_in
from tests.adminpages import url
from tests.certificates import make_certificate
from tests.smtpd import SMTPServer

pytestmark = [pytest.mark.browser, pytest.mark.django_db(transaction=True)]

PASSWORD = "app-password-77"


@pytest.fixture
def servers(tmp_path, monkeypatch, settings):
    """Servers with TLS at `localhost`, and a DNS that knows nobody."""

    class Resolver:
        def resolve(self, *args: Any, **kwargs: Any) -> Any:
            raise dns.resolver.NXDOMAIN

    certificate = make_certificate(tmp_path, "localhost")
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate.chain))
    monkeypatch.setattr(dns.resolver, "get_default_resolver", Resolver)
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


@pytest.mark.usefixtures("gmail")
def test_preset(form, expect):
    form.get_by_role("button", name="Fill in").click()
    expect(form.locator("[data-massmail-provider]")).to_have_text("Enter the from address first.")
    form.get_by_label("From address:").fill("ann@gmail.com")
    form.get_by_role("button", name="Fill in").click()
    expect(form.get_by_label("SMTP server:")).to_have_value("localhost")
    expect(form.get_by_label("Provider:")).to_have_value("gmail")
    expect(form.get_by_label("Emails per day:")).to_have_value("94")
    expect(form.get_by_text("make an app password at")).to_be_visible()

    form.get_by_label("SMTP password:").fill("my normal one")
    form.get_by_role("button", name="Test connection").click()
    result = form.locator("[data-massmail-trial]")
    expect(result).to_contain_text("535 5.7.8 User name or password wrong")
    expect(result).to_contain_text("Google refuses the normal password")
    expect(form.get_by_role("button", name="Test connection")).to_be_enabled()
    form.get_by_label("SMTP password:").fill(PASSWORD)
    form.get_by_role("button", name="Test connection").click()
    expect(result).to_contain_text("All good: mail can be sent and read. Not saved yet.")
    form.get_by_label("Massmail").check()
    form.get_by_role("button", name="Save", exact=True).click()
    expect(form.locator(".messagelist")).to_contain_text("was added successfully")
    made = EmailAccount.objects.get()
    assert (made.from_email, made.smtp_username, made.smtp_password) == ("ann@gmail.com", "ann@gmail.com", PASSWORD)


def test_generic_with_mistakes(form, expect, servers):
    smtp, imap = servers
    form.get_by_label("From address:").fill("ann@acme.example")
    form.get_by_role("button", name="Fill in").click()
    expect(form.locator("[data-massmail-provider]")).to_contain_text("The names filled in are guesses.")
    expect(form.get_by_label("SMTP server:")).to_have_value("smtp.acme.example")
    form.get_by_label("SMTP server:").fill("localhost")
    form.get_by_label("IMAP server:").fill("localhost")
    form.get_by_label("IMAP port:").fill(str(imap.port))
    form.get_by_label("SMTP password:").fill(PASSWORD)
    result = form.locator("[data-massmail-trial]")

    def test(words: str) -> None:
        form.get_by_role("button", name="Test connection").click()
        expect(result).to_contain_text(words)
        expect(form.get_by_role("button", name="Test connection")).to_be_enabled()

    form.get_by_label("SMTP port:").fill("1")
    test("port 587 goes with STARTTLS")
    form.get_by_label("SMTP port:").fill(str(smtp.port))
    form.get_by_label("SMTP security:").select_option("none")
    test("No password is sent without TLS")
    form.get_by_label("SMTP security:").select_option("ssl")
    test("No TLS with this server")
    form.get_by_label("SMTP security:").select_option("starttls")
    form.get_by_label("SMTP server:").fill("127.0.0.1")
    test("Enter the server by the name that stands in its certificate")
    form.get_by_label("SMTP server:").fill("10.0.0.7")
    test("is in the private network. Ask an administrator")
    form.get_by_label("SMTP server:").fill("localhost")
    form.get_by_label("SMTP user name:").fill("ann")
    test("Check the password, and the user name")
    form.get_by_label("SMTP user name:").fill("ann@acme.example")
    test("All good")
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


def test_oauth(page, expect, live_server, alice, servers, settings):
    box = world.account(alice, from_email="ann@acme.example")
    let_in(page.context, alice, live_server.url)
    with oauth_server.serving() as provider:
        settings.MASSMAIL_OAUTH_PROVIDERS = provider.settings()
        provider.mailbox = box.from_email
        page.goto(live_server.url + url(box, "change"))
        page.get_by_role("button", name="Connect with Acme ID").click()
        page.get_by_role("link", name="Allow").click()
        expect(page.locator(".messagelist")).to_contain_text("is connected with Acme ID")
        expect(page.get_by_text("Connected with Acme ID", exact=True)).to_be_visible()
        page.get_by_role("button", name="Disconnect").click()
        expect(page.locator(".messagelist")).to_contain_text("It needs a password now")


@pytest.mark.usefixtures("gmail")
@pytest.mark.parametrize(("width", "scheme"), [(1280, "light"), (1280, "dark"), (390, "light"), (390, "dark")])
def test_pages_fit_and_are_accessible(width, scheme, browser, live_server, alice, servers, settings):
    settings.MASSMAIL_OAUTH_PROVIDERS = {"google": {"client_id": "x"}}
    box = world.account(alice, smtp_host="localhost", oauth_provider="google", oauth_refresh_token="r")
    # axe writes styles into the page.
    context = browser.new_context(bypass_csp=True, color_scheme=scheme, viewport={"width": width, "height": 900})
    let_in(context, alice, live_server.url)
    page, found = context.new_page(), []
    for address in (url(EmailAccount, "add"), url(box, "change")):
        page.goto(live_server.url + address)
        page.get_by_label("From address:").fill("ann@gmail.com")
        page.get_by_role("button", name="Fill in").click()
        page.get_by_text("Make an app password").or_(page.get_by_text("make an app password")).wait_for()
        page.get_by_role("button", name="Test connection").click()
        page.locator(".massmail-trial").first.wait_for()
        if page.evaluate("document.documentElement.scrollWidth") > width:
            found.append(f"{address} is wider than {width}")
        axe = Axe().run(page, context={"exclude": NOT_OURS})
        if axe.violations_count:
            found.append(f"{address}: {axe.generate_report()}")
    context.close()
    assert not found, "\n".join(found)
