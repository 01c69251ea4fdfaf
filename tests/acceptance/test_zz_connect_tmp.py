
import pytest
from tests.acceptance.test_connecting import *
from tests.acceptance.test_connecting import servers, gmail, spoil, form, at_work, tries, TROUBLES
pytestmark = [pytest.mark.browser, pytest.mark.django_db(transaction=True)]

def shots(page, name):
    for width, scheme in ((1280,"light"),(1280,"dark"),(390,"light"),(390,"dark")):
        page.set_viewport_size({"width": width, "height": 900}); page.emulate_media(color_scheme=scheme)
        page.screenshot(path=f"/tmp/w/connect/{name}-{width}-{scheme}.png", full_page=True)
    page.set_viewport_size({"width": 1280, "height": 900}); page.emulate_media(color_scheme="light")

@pytest.mark.usefixtures("gmail")
def test_shots_add(form, expect, spoil):
    form.get_by_label("From address:").fill("ann@gmail.com")
    form.get_by_role("button", name="Fill in").click()
    expect(form.get_by_label("SMTP server:")).to_have_value("localhost")
    form.get_by_label("SMTP password:").fill("my normal one")
    tries(form, expect, "535 5.7.8")
    shots(form, "add-wrong-password")
    form.get_by_label("SMTP password:").fill(PASSWORD)
    with spoil("misnamed"):
        tries(form, expect, TROUBLES["misnamed"])
    shots(form, "add-misnamed")

def test_shots_held(page, expect, live_server, alice, servers, spoil):
    smtp, imap = servers
    box = world.account(alice, smtp_host="localhost", smtp_port=smtp.port, smtp_security="starttls", smtp_username="ann@acme.example", smtp_password=PASSWORD, imap_host="localhost", imap_port=imap.port, imap_security="ssl")
    let_in(page.context, alice, live_server.url)
    with spoil("stripped"):
        at_work(alice)
        page.goto(live_server.url + url(box, "change"))
        page.get_by_role("button", name="Test connection").click()
        expect(page.locator("[data-massmail-trial]")).to_contain_text("does not offer")
    shots(page, "held-stripped")

def test_shots_oauth(page, expect, live_server, alice, servers, settings):
    with oauth_server.serving() as provider:
        settings.MASSMAIL_OAUTH_PROVIDERS = provider.settings()
        box = world.account(alice, from_email="ann@acme.example", oauth_provider="acme", oauth_refresh_token="x", smtp_username="ann@acme.example", smtp_security="starttls", smtp_host="localhost", imap_host="localhost")
        at_work(alice)
        let_in(page.context, alice, live_server.url)
        page.goto(live_server.url + url(box, "change"))
        shots(page, "held-revoked")
