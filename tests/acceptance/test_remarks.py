"""Remarks about a message in a real browser: told while one writes, one click away from their line, and accessible."""

from __future__ import annotations

from typing import Any

import pytest
from django.conf import settings as django_settings

from massmail.engine.standalone import run
from massmail.models import Delivery, Message
from tests import world
from tests.acceptance.looking import faults_of, shown, window_of
from tests.adminpages import client_of, url

pytestmark = [pytest.mark.browser, pytest.mark.django_db(transaction=True)]

CONTENT = (
    '<p>Dear {{ first_name }},</p>\n<p><a href="/prices">Our prices</a> *|NAME|*</p>\n'
    '<p><img src="{% cid_media \'massmail/offer.png\' %}"></p>\n<p><a href="{{ unsubscribe_url }}">Unsubscribe</a></p>'
)
MENDED = CONTENT.replace("/prices", "https://www.acme.example/prices").replace(" *|NAME|*", "")


def enter(context: Any, person: Any, live_server: Any) -> None:
    session = client_of(person).cookies[django_settings.SESSION_COOKIE_NAME].value
    context.add_cookies([{"name": django_settings.SESSION_COOKIE_NAME, "value": session, "url": live_server.url}])


def test_told_while_one_writes(page, expect, live_server, alice):
    world.settings()
    world.contacts(alice, 1)
    enter(page.context, alice, live_server)
    page.set_default_timeout(10_000)
    page.goto(live_server.url + url(Message, "add"))
    page.fill("#id_subject", "GREAT NEWS FOR YOU")
    page.fill("#id_content", CONTENT)
    relative = page.get_by_role("button", name="Line 2: “/prices” is not a whole address")
    relative.click()
    assert page.evaluate(
        "() => { const area = document.activeElement;"
        " return area.value.slice(area.selectionStart, area.selectionEnd); }"
    ).startswith('<p><a href="/prices">')
    expect(page.locator(".massmail-stops")).to_have_count(2)
    expect(page.locator(".massmail-warns")).to_have_count(4)
    page.get_by_role("button", name="The subject is written in capitals").click()
    assert page.evaluate("document.activeElement.id") == "id_subject"
    page.fill("#id_content", MENDED)
    expect(page.locator(".massmail-stops")).to_have_count(0)
    expect(page.locator(".massmail-bad")).to_have_count(0)


@pytest.fixture
def addresses(live_server: Any, alice: Any) -> list[str]:
    world.settings()
    world.account(alice)
    world.contacts(alice, 3)
    world.contacts(alice, 2, prefix="nameless", first_name="")
    message = world.message(alice, content=CONTENT, subject="GREAT NEWS FOR YOU")
    stopped = world.mailing(alice, message=message)
    draft = world.mailing(alice, message=world.message(alice, content=MENDED, subject="GREAT NEWS FOR YOU"))
    sent = world.started(alice).deliveries.first()
    run(clock=world.clock(), until_idle=True)
    changed = world.started(alice)
    Message.objects.filter(pk=changed.message_id).update(content=MENDED)
    pages = [url(thing, "change") for thing in (message, stopped, draft, changed, sent)]
    pages += [
        url(changed, "new-version"),
        f"{url(Delivery, 'changelist')}?mailing__id__exact={draft.pk}&lacking=first_name",
    ]
    return [live_server.url + page for page in pages]


def test_accessibility(browser, live_server, addresses, alice):
    with window_of(browser, alice, live_server.url) as page:
        found = faults_of(page, addresses)
    assert not found, shown(found)
