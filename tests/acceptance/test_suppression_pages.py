"""The pages of the suppression list and the unsubscribe page in a real browser: usable, fitting, accessible."""

from __future__ import annotations

import re
from typing import Any

import pytest

from massmail.models import Recipient, Suppression
from massmail.outcomes import suppress
from massmail.tokens import new_token, unsubscribe_link
from tests import world
from tests.acceptance.looking import INLINE, faults, faults_of, let_in, shown, window_of
from tests.adminpages import client_of, url

pytestmark = [pytest.mark.browser, pytest.mark.django_db(transaction=True)]

LIST, IMPORT, ADD = (url(Suppression, page) for page in ("changelist", "import", "add"))
TEXT = "\n".join(["a@x.example", "old@x.example", *(f"p{n}@x.example" for n in range(30)), "nonsense " * 20, "b@@x"])


@pytest.fixture
def rows(boss: Any) -> list[Suppression]:
    suppress("old@x.example", "bounced", source="550 5.1.1 " + "https://support.example.com/mail/" + "6596" * 20)
    suppress("a-very-long-name-" * 4 + "@x.example", "unsubscribed", source="one-click; mailing 1 “عرض الربيع”")
    return list(Suppression.objects.all())


def test_pages_fit_and_are_accessible(browser, live_server, rows, boss):
    with window_of(browser, boss, live_server.url) as page:
        pages = (LIST, ADD, url(rows[0], "change"), url(rows[1], "lift"), IMPORT)
        found = faults_of(page, [live_server.url + address for address in pages])
        page.get_by_label("Or paste addresses").fill(TEXT)
        page.get_by_role("button", name="Look at it first").click()
        page.get_by_role("button", name="Add 31 addresses").wait_for()
        found += faults(page)
    assert not found, shown(found)


def test_nothing_is_inline(rows, boss):
    client = client_of(boss)
    answers = [client.get(address) for address in (LIST, IMPORT, url(rows[0], "change"), url(rows[0], "lift"))]
    answers.append(client.post(IMPORT, {"text": TEXT, "reason": "manual"}))
    for answer in answers:
        assert not INLINE.search(answer.content.decode())


def test_import_and_lift_with_the_keyboard_alone(page, live_server, rows, boss):
    let_in(page.context, boss, live_server.url)
    page.set_default_timeout(10_000)
    page.goto(live_server.url + LIST)
    page.get_by_role("link", name="Import addresses").press("Enter")
    page.get_by_label("Or paste addresses").fill("new@x.example\nold@x.example")
    page.get_by_role("button", name="Look at it first").press("Enter")
    page.get_by_role("button", name="Add one address").press("Enter")
    page.get_by_text("1 address was added.").wait_for()
    page.get_by_role("link", name="old@x.example").press("Enter")
    page.get_by_role("link", name=re.compile("Lift the suppression")).press("Enter")
    page.get_by_label("Reason").fill("Wrote to us on 3 May")
    page.get_by_label("Reason").press("Enter")
    page.get_by_text("1 suppression was lifted.").wait_for()
    assert not Suppression.objects.filter(address="old@x.example").exists()


@pytest.mark.parametrize(("language", "direction"), [("he", "rtl"), ("ru", "ltr")])
def test_the_unsubscribe_page_fits_and_is_accessible(language, direction, browser, live_server, alice, settings):
    person = world.contacts(alice, 1)[0]
    settings.MASSMAIL_PUBLIC_URL = live_server.url
    with window_of(browser, None, live_server.url) as page:
        # Without the script it waits, as in the first minutes after the mail.
        page.route("**/u.js", lambda route: route.abort())
        page.goto(unsubscribe_link(new_token(), language=language))
        found = faults(page)
        assert page.evaluate("getComputedStyle(document.documentElement).direction") == direction
        page.get_by_role("button").click()
        found += faults(page)
        assert page.get_by_role("button").count() == 0
    assert not found, shown(found)
    assert Recipient.objects.filter(object_id=str(person.pk), subscribed=False).count() == 0
