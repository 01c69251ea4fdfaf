"""The unsubscribe page in a real browser: as a recipient sees it, and as a scanner that runs scripts does."""

from __future__ import annotations

from datetime import date, timedelta

import pytest
from django.contrib.contenttypes.models import ContentType
from django.utils import timezone

from example_project.crm.models import Lead
from massmail.models import Delivery, Mailing, MassmailSettings, Recipient, Suppression
from massmail.tokens import new_token

pytestmark = [pytest.mark.browser, pytest.mark.django_db(transaction=True)]

ADDRESS = "anna.berg@customer.example"
SETTLED = 500  # milliseconds in which the page would have posted itself


@pytest.fixture
def recipient(alice, company_page) -> Recipient:
    MassmailSettings(unsubscribe_url=company_page).save()
    lead = Lead.objects.create(email=ADDRESS, owner=alice, creation_date=date(2026, 1, 5))
    return Recipient.objects.create(
        content_type=ContentType.objects.get_for_model(lead),
        object_id=str(lead.pk),
        token=new_token(),
        addresses=[ADDRESS],
    )


@pytest.fixture
def delivery(recipient, alice) -> Delivery:
    mailing = Mailing.objects.create(owner=alice, name="News", content_type=recipient.content_type)
    now = timezone.now()
    return Delivery.objects.create(
        mailing=mailing, object_id=recipient.object_id, address=ADDRESS, status="sent", sending_at=now, sent_at=now
    )


def is_suppressed() -> bool:
    return Suppression.objects.filter(address=ADDRESS).exists()


def test_the_page_posts_itself_and_ends_on_the_companys_page(page, live_server, recipient):
    page.goto(f"{live_server.url}/massmail/u/{recipient.token}/")
    page.get_by_text("We let you go").wait_for()
    assert page.url.endswith("/moved")
    assert is_suppressed()


def test_t26b_a_scanner_with_a_browser_in_the_first_minutes_changes_nothing(page, live_server, recipient, delivery):
    page.goto(f"{live_server.url}/massmail/u/{recipient.token}/", wait_until="networkidle")
    page.wait_for_timeout(SETTLED)
    assert not is_suppressed()
    page.get_by_role("button", name="Unsubscribe").click()
    page.get_by_text("We let you go").wait_for()
    assert is_suppressed()


def test_later_the_same_page_posts_itself(page, live_server, recipient, delivery):
    long_ago = timezone.now() - timedelta(hours=1)
    Delivery.objects.update(sending_at=long_ago, sent_at=long_ago)
    page.goto(f"{live_server.url}/massmail/u/{recipient.token}/")
    page.get_by_text("We let you go").wait_for()
    assert is_suppressed()


def test_without_script_there_is_the_button(browser, live_server, recipient):
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto(f"{live_server.url}/massmail/u/{recipient.token}/")
    assert not is_suppressed()
    page.get_by_role("button", name="Unsubscribe").click()
    page.get_by_text("We let you go").wait_for()
    assert is_suppressed()
    context.close()


def test_the_style_is_allowed_by_the_policy(page, live_server, recipient, delivery):
    page.goto(f"{live_server.url}/massmail/u/{recipient.token}/")
    assert page.evaluate("getComputedStyle(document.body).maxWidth") != "none"


def test_no_link_of_it_says_where_it_came_from(page, live_server, recipient):
    referrers = []
    page.on("request", lambda request: referrers.append(request.headers.get("referer")))
    page.goto(f"{live_server.url}/massmail/u/{recipient.token}/")
    page.get_by_text("We let you go").wait_for()
    assert len(referrers) > 2
    assert not any(referrers)
