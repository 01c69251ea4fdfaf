"""A message from the first word to the inbox, in a real browser: written, broken, mended, previewed, tried."""

from __future__ import annotations

import io
from email import message_from_bytes, policy
from typing import Any

import pytest
from django.conf import settings as django_settings
from PIL import Image as Picture

from massmail.models import Image, Message, Signature
from tests import world
from tests.acceptance.looking import faults, faults_of, shown, window_of
from tests.adminpages import client_of, url
from tests.smtpd import SMTPServer

pytestmark = [pytest.mark.browser, pytest.mark.django_db(transaction=True)]

LINK = '<a href="{{ unsubscribe_url }}">Unsubscribe</a>'


@pytest.fixture(autouse=True)
def ready(settings: Any, tmp_path: Any) -> None:
    world.settings()
    settings.MEDIA_ROOT = tmp_path


@pytest.fixture
def enter(page: Any, live_server: Any) -> Any:
    """Let somebody into the admin without the form."""

    def log_in(person: Any) -> Any:
        session = client_of(person).cookies[django_settings.SESSION_COOKIE_NAME].value
        page.context.add_cookies(
            [{"name": django_settings.SESSION_COOKIE_NAME, "value": session, "url": live_server.url}]
        )
        page.set_default_timeout(10_000)
        return page

    return log_in


@pytest.fixture
def logo(tmp_path: Any) -> str:
    out = io.BytesIO()
    Picture.new("RGB", (300, 100), "navy").save(out, "PNG")
    path = tmp_path / "Our Logo.png"
    path.write_bytes(out.getvalue())
    return str(path)


@pytest.fixture
def mail_server(settings: Any) -> Any:
    settings.MASSMAIL_TRANSPORT = "massmail.transport.smtp.SMTPConnection"
    settings.MASSMAIL_CLEAR_TEXT_HOSTS = ["127.0.0.1"]
    with SMTPServer() as server:
        yield server


def selected(page: Any) -> str:
    return page.evaluate(
        "() => { const area = document.activeElement;"
        " return area.value?.slice(area.selectionStart, area.selectionEnd); }"
    )


def test_written_broken_mended_previewed_and_tried(enter, expect, live_server, alice, mail_server, logo):
    account = world.account(
        alice, smtp_port=mail_server.port, trusted_servers=[f"127.0.0.1:{mail_server.port}"], from_email="a@own.example"
    )
    world.contacts(alice, 3)
    page = enter(alice)
    page.goto(live_server.url + url(Message, "add"))
    frame = page.frame_locator("[data-massmail-frame] iframe:not(.massmail-loading)")

    # Write: the preview follows, and nothing is saved yet.
    page.fill("#id_subject", "News for ")
    page.get_by_role("button", name="First name").click()
    assert page.input_value("#id_subject") == "News for {{ first_name }}"
    page.fill("#id_content", f"<p>Dear ,</p>\n<p>{LINK}</p>")
    page.locator("#id_content").evaluate("area => area.setSelectionRange(8, 8)")
    page.get_by_role("button", name="First name").click()
    assert page.input_value("#id_content").startswith("<p>Dear {{ first_name }},</p>")
    frame.get_by_text("Dear First0,").wait_for()
    expect(page.locator("[data-massmail-subject]")).to_have_text("News for First0")
    assert not Message.objects.exists()

    # Break: the error is told with its place, which a click goes to and marks.
    page.fill("#id_content", f"<p>Dear {{{{ first_name }}}},</p>\n<p>Oh {{% load x %}}</p>\n{LINK}")
    problem = page.get_by_role("button", name="Line 2, column 7: The tag {% load %}")
    problem.click()
    assert selected(page) == "{% load x %}</p>"
    expect(page.locator(".massmail-bad")).to_have_text("<p>Oh {% load x %}</p>")
    expect(page.locator("[data-massmail-stale]")).to_be_visible()
    frame.get_by_text("Dear First0,").wait_for()  # the last one without errors

    # Mend, with the keyboard, and an image from this machine.
    page.keyboard.type("{{ company }}</p>")
    expect(problem).to_have_count(0)
    page.locator("summary", has_text="Images").click()
    page.set_input_files("#massmail-upload", logo)
    page.get_by_text("in your library and in the message").wait_for()
    page.keyboard.type("Our logo")  # the caret waits in the alt text
    assert '{% cid_media \'Our-Logo.png\' %}" width="300" height="100" alt="Our logo"' in page.input_value(
        "#id_content"
    )
    shown = frame.get_by_role("img", name="Our logo")
    shown.wait_for()
    assert shown.evaluate("image => image.naturalWidth") == 300

    # Look at it as somebody else on a phone.
    page.fill("[data-massmail-search]", "Last2")
    frame.get_by_text("Dear First2,").wait_for()
    page.click("label[for=massmail-view-phone]")
    assert page.locator("[data-massmail-frame] iframe:not(.massmail-loading)").bounding_box()["width"] == 375
    page.click("label[for=massmail-view-text]")
    expect(page.locator("[data-massmail-text]")).to_contain_text("Dear First2,")

    # Save, and send it to oneself.
    page.click("[name=_continue]")
    page.get_by_text("was added successfully").wait_for()
    expect(page.locator("[data-massmail-subject]")).to_have_text("News for First2")  # as chosen before
    expect(page.locator("#massmail-view-text")).to_be_checked()
    page.fill("[data-massmail-search]", "Last1")
    expect(page.locator("[data-massmail-subject]")).to_have_text("News for First1")
    someone = page.input_value("[data-massmail-person]")
    page.get_by_text("Send a test").click()
    page.select_option("[name=address]", "a@own.example")
    page.get_by_role("button", name="Send test mail").click()
    page.get_by_text("The server took the mail through").wait_for()
    page.get_by_text("The server's words: 250").wait_for()
    expect(page.locator("[data-massmail-person]")).to_have_value(someone)  # the choice outlives the mail, and saving
    (record,) = mail_server.messages
    mail = message_from_bytes(record.data, policy=policy.default)
    assert (record.recipients, mail["Subject"], mail["X-Massmail-Test"]) == (
        ("a@own.example",),
        "News for First1",
        "yes",
    )
    assert {part.get_content_type() for part in mail.walk()} >= {"text/plain", "text/html", "image/png"}
    assert account.days.get().used == 1


def test_keyboard_alone(enter, expect, live_server, alice):
    page = enter(alice)
    page.goto(live_server.url + url(Message, "add"))
    content = page.locator("#id_content")
    content.focus()
    page.keyboard.press("Tab")
    page.keyboard.type("x")
    assert content.input_value() == "  x"
    page.keyboard.press("Shift+Tab")
    assert content.input_value() == "x"
    page.keyboard.press("Control+z")
    assert content.input_value() == "  x"
    expect(page.locator("#massmail-source-help")).to_be_visible()
    assert "massmail-source-help" in content.get_attribute("aria-describedby")
    page.keyboard.press("Escape")
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.id") == "id_signature"
    page.keyboard.press("Shift+Tab")
    page.keyboard.press("Escape")
    page.keyboard.press("Shift+Tab")
    assert page.evaluate("document.activeElement.id") != "id_content"
    page.get_by_role("button", name="First name").focus()
    page.keyboard.press("Enter")
    assert "{{ first_name }}" in content.input_value()


def test_starting_from_a_template_leaves_the_history_alone(enter, expect, live_server, alice):
    page = enter(alice)
    page.goto(live_server.url + url(Message, "changelist"))
    page.goto(live_server.url + url(Message, "add"))
    page.get_by_role("link", name="Invitation").click()
    frame = page.frame_locator("[data-massmail-frame] iframe:not(.massmail-loading)")
    frame.get_by_role("heading", name="You are invited").wait_for()
    page.fill("#id_preheader", "Come")
    expect(page.locator("[data-massmail-preheader]")).to_have_text("Come")
    before = page.evaluate("history.length")
    page.click("label[for=massmail-dark]")
    expect(page.locator("[data-massmail-frame] .massmail-night:not(.massmail-loading)")).to_have_count(1)
    heading = frame.get_by_role("heading", name="You are invited")
    assert heading.evaluate("element => getComputedStyle(element).color") == "rgb(243, 244, 246)"
    assert page.evaluate("history.length") == before


@pytest.fixture
def addresses(live_server: Any, alice: Any) -> list[str]:
    signature = Signature.objects.create(owner=alice, name="Short", content="<p>Alice</p>", default=True)
    world.account(alice)
    world.contacts(alice, 3)
    message = world.message(alice, signature=signature)
    broken = world.message(alice, content="<p>\n{% oldtag %}")
    out = io.BytesIO()
    Picture.new("RGB", (300, 100), "navy").save(out, "PNG")
    client_of(alice).post(url(Image, "upload"), {"upload": io.BytesIO(out.getvalue())})
    image = Image.objects.get()
    pages = [url(thing, "change") for thing in (message, broken, signature, image)]
    pages += [url(Message, "add"), url(Signature, "add"), url(Image, "add"), url(Image, "changelist")]
    return [live_server.url + page for page in pages]


def test_pages_can_be_read_by_everybody(browser, live_server, addresses, alice):
    with window_of(browser, alice, live_server.url) as page:
        found = faults_of(page, addresses)
        page.goto(addresses[0])
        page.locator("label[for=massmail-view-text]").click()
        found += faults(page)
    assert not found, shown(found)


def test_without_scripts(browser, enter, live_server, alice):
    world.contacts(alice, 1)
    message = world.message(alice)
    cookies = enter(alice).context.cookies()
    context = browser.new_context(java_script_enabled=False, storage_state={"cookies": cookies})
    page = context.new_page()
    page.goto(live_server.url + url(message, "change"))
    page.fill("#id_preheader", "Saved the old way")
    page.click("[name=_continue]")
    assert page.locator("[data-massmail-preheader]").inner_text() == "Saved the old way"
    page.frame_locator("[data-massmail-frame] iframe:not(.massmail-loading)").get_by_text("Dear First0").wait_for()
    context.close()
