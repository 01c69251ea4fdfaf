"""The main job, as a manager and a recipient live it: real browser, beat, worker, broker and SMTP server."""

from __future__ import annotations

import re
from email import message_from_bytes, policy

import pytest
from django.core.management import call_command

from example_project.crm.models import Contact
from massmail.choices import MailingStatus
from massmail.models import Mailing, Suppression
from tests import processes, world
from tests.smtpd import SMTPServer

pytestmark = [pytest.mark.browser, pytest.mark.django_db(transaction=True)]


def log_in(page, live_server, name: str) -> None:
    page.goto(f"{live_server.url}/admin/")
    page.get_by_label("Username").fill(name)
    page.get_by_label("Password").fill(name)
    page.get_by_role("button", name="Log in").click()


def make_mailing(page, live_server, expect) -> None:
    """Tick everybody in the list of contacts, over all its pages, and choose "Create mailing"."""
    page.goto(f"{live_server.url}/admin/crm/contact/")
    page.locator("#action-toggle").check()
    if page.locator(".actions .question a").is_visible():
        page.locator(".actions .question a").click()
    page.get_by_label("Action:").select_option(label="Create mailing")
    page.get_by_role("button", name=re.compile("Run|Go")).click()
    expect(page.locator(".messagelist")).to_contain_text("is made")


def start(page, subject: str, expect) -> None:
    page.get_by_label("Message:").select_option(label=subject)
    page.get_by_role("button", name="Save", exact=True).click()
    expect(page.frame_locator(".massmail-html").get_by_text("Dear First0 of Acme Metall GmbH")).to_be_visible()
    page.get_by_role("button", name="Start").click()
    expect(page.locator(".messagelist")).to_contain_text("started", ignore_case=True)


def test_main_job(page, expect, live_server, env, company_page, alice, settings, tmp_path):
    settings.MASSMAIL_PUBLIC_URL = env["MASSMAIL_PUBLIC_URL"] = live_server.url
    call_command("massmail_setup", verbosity=0)
    world.settings(unsubscribe_url=company_page, emails_per_day=500)
    world.contacts(alice, 120)
    Contact.objects.filter(email="person7@alice.example").update(massmail=False)
    world.message(alice, subject="News for {{ first_name }}")
    log = tmp_path / "celery.log"
    with SMTPServer() as server:
        world.account(alice, smtp_port=server.port)
        log_in(page, live_server, "alice")
        make_mailing(page, live_server, expect)
        expect(page.locator(".messagelist")).to_contain_text("to 119 addresses")
        expect(page.locator(".messagelist")).to_contain_text("Unsubscribed: 1")
        start(page, "News for \u2039first name\u203a", expect)

        # Nobody reloads the list while it moves.
        page.goto(f"{live_server.url}/admin/massmail/mailing/")
        expect(page.locator("[data-field=percent]")).to_have_text("0")
        worker = processes.worker(env, log)
        try:
            with processes.beat(env, log):
                expect(page.locator("[data-field=percent]")).to_have_text("100", timeout=60_000)
                expect(page.locator("[data-field=state]")).to_have_text("Done", timeout=15_000)
        finally:
            worker.stop()
        expect(page.locator("[data-field=sent_today]")).to_have_text("119")
        raw = {record.recipients[0]: data for record, data in letters(server)}

    assert Mailing.objects.get().status == MailingStatus.DONE
    assert len(raw) == 119
    letter = message_from_bytes(raw["person3@alice.example"], policy=policy.default)
    assert letter["Subject"] == "News for First3"
    assert letter["To"] == "person3@alice.example"
    assert [part.get_content_type() for part in letter.walk()] == ["multipart/alternative", "text/plain", "text/html"]
    assert "Dear First3 of Acme Metall GmbH" in letter.get_body(("html",)).get_content()
    assert "Dear First3 of Acme Metall GmbH" in letter.get_body(("plain",)).get_content()
    assert letter["List-Unsubscribe-Post"] == "List-Unsubscribe=One-Click"
    link = re.search(r"<(https?://[^>]+)>", letter["List-Unsubscribe"])[1]
    assert f'href="{link}"' in letter.get_body(("html",)).get_content()

    # The recipient clicks the link in the mail and is led to the company's own page.
    page.goto(link)
    assert not Suppression.objects.exists()
    page.get_by_role("button").click()
    page.get_by_text("We let you go").wait_for()
    assert live_server.url not in page.url
    assert Suppression.objects.get().address == "person3@alice.example"
    assert Contact.objects.get(email="person3@alice.example").massmail is False

    # The next mailing leaves that address out, and says so.
    make_mailing(page, live_server, expect)
    expect(page.locator(".messagelist")).to_contain_text("to 118 addresses")
    expect(page.locator(".messagelist")).to_contain_text("Unsubscribed: 2")
    page.locator(".messagelist").get_by_role("link", name="Unsubscribed: 2").click()
    expect(page.locator("#result_list")).to_contain_text("person3@alice.example")


def letters(server: SMTPServer):
    return [(record, record.data) for record in server.messages]
