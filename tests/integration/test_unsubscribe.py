"""The public unsubscribe endpoint. T21 to T26b are threats that a test answers each."""

from __future__ import annotations

import re
from datetime import date, timedelta
from urllib.parse import urljoin

import pytest
from django.contrib.contenttypes.models import ContentType
from django.contrib.sessions.models import Session
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone, translation

from example_project.crm.models import Company, Contact, Lead
from massmail import views
from massmail.audience import create_mailing
from massmail.choices import DeliveryStatus, Exclusion, SuppressionReason
from massmail.models import Delivery, Mailing, MassmailSettings, Recipient, Suppression
from massmail.tokens import NOBODY, new_token, unsubscribe_link

ADDRESS = "anna.berg@customer.example"
ONE_CLICK = {"List-Unsubscribe": "One-Click"}
COMPANY_PAGE = "https://www.acme.example/unsubscribed?from=mail"
TODAY = date(2026, 1, 5)
UNKNOWN = "AAAAAAAAAAAAAAAAAAAAAA"

pytestmark = pytest.mark.django_db


@pytest.fixture
def company(alice):
    return Company.objects.create(full_name="Customer Ltd", owner=alice, creation_date=TODAY)


@pytest.fixture
def contact(alice, company):
    return make_contact(alice, company)


def make_contact(owner, company, email=ADDRESS, **more):
    return Contact.objects.create(
        first_name="Anna",
        last_name="Berg",
        email=email,
        owner=owner,
        company=company,
        creation_date=TODAY,
        **more,
    )


def make_recipient(obj, addresses=(ADDRESS,)):
    return Recipient.objects.create(
        content_type=ContentType.objects.get_for_model(obj),
        object_id=str(obj.pk),
        token=new_token(),
        addresses=list(addresses),
    )


@pytest.fixture
def recipient(contact):
    return make_recipient(contact)


@pytest.fixture
def mailing(alice, contact):
    return Mailing.objects.create(
        owner=alice, name="Spring offers", content_type=ContentType.objects.get_for_model(contact)
    )


def deliver(mailing, recipient, *, ago, status=DeliveryStatus.SENT, address=ADDRESS):
    at = timezone.now() - ago
    return Delivery.objects.create(
        mailing=mailing,
        object_id=recipient.object_id,
        address=address,
        status=status,
        sending_at=at,
        sent_at=at if status == DeliveryStatus.SENT else None,
        reason="no_answer" if status == DeliveryStatus.UNKNOWN else "",
    )


@pytest.fixture
def company_page():
    MassmailSettings(unsubscribe_url=COMPANY_PAGE).save()


@pytest.fixture
def stranger():
    """A browser or mail program that has never been here, on a site that insists on CSRF tokens."""
    return Client(enforce_csrf_checks=True)


def url(recipient, position=0):
    return unsubscribe_link(recipient.token, position).removeprefix("https://news.example.com")


def standing():
    """Everything that an unsubscribe may change, and the sessions that it must not start."""
    return {
        model: list(model.objects.order_by("pk").values())
        for model in (Recipient, Suppression, Delivery, Contact, Lead, Company, Session)
    }


def is_unsubscribed(recipient, address=ADDRESS):
    recipient.refresh_from_db()
    return not recipient.subscribed and Suppression.objects.filter(address=address).exists()


def everything(response):
    return response.status_code, dict(response.headers), response.content, dict(response.cookies)


def by_itself(response):
    return b"<script" in response.content


@pytest.mark.parametrize("method", ["get", "head", "options"])
def test_t21_looking_changes_nothing(stranger, recipient, mailing, method):
    deliver(mailing, recipient, ago=timedelta(days=1))
    before = standing()
    response = getattr(stranger, method)(url(recipient))
    assert response.status_code == 200
    assert standing() == before


@pytest.mark.parametrize("method", ["put", "patch", "delete", "trace"])
def test_t21_other_methods_are_refused(stranger, recipient, method):
    before = standing()
    assert getattr(stranger, method)(url(recipient)).status_code == 405
    assert standing() == before


def test_head_answers_like_get(stranger, recipient):
    head, get = stranger.head(url(recipient)), stranger.get(url(recipient))
    assert head.content == b""
    assert get.content != b""
    assert head.headers["Content-Security-Policy"] == get.headers["Content-Security-Policy"]


@pytest.mark.parametrize(
    "token",
    [
        UNKNOWN,
        NOBODY,
        f"{NOBODY}.1",
        "x",
        "x" * 500,
        "%00",
        "a%00b",
        "%F0%9F%93%AC",
        "\N{ARABIC-INDIC DIGIT ONE}",
        "..",
        "a.b",
        "a.-1",
    ],
)
@pytest.mark.parametrize("page", ["", COMPANY_PAGE])
def test_t22_unknown_tokens_get_the_same_answers(stranger, recipient, token, page):
    MassmailSettings(unsubscribe_url=page).save()
    before = standing()
    unknown = all_answers(stranger, f"/massmail/u/{token}/")
    assert standing() == before
    assert unknown == all_answers(stranger, url(recipient))
    assert is_unsubscribed(recipient)


def all_answers(visitor, address):
    responses = [visitor.get(address), visitor.head(address), visitor.options(address)]
    responses += [visitor.post(address), visitor.post(address, ONE_CLICK)]
    return [everything(response) for response in responses]


@pytest.mark.parametrize("position", ["1", "2", "9999", "99999", "01x"])
def test_t22_a_position_without_address_does_nothing(stranger, recipient, position):
    before = standing()
    at_position = f"/massmail/u/{recipient.token}.{position}/"
    assert everything(stranger.get(at_position)) == everything(stranger.get(url(recipient)))
    assert everything(stranger.post(at_position)) == everything(stranger.post(f"/massmail/u/{UNKNOWN}/"))
    assert standing() == before


def test_t22_a_recipient_without_a_link_is_out_of_reach(stranger, contact):
    recipient = make_recipient(contact, addresses=[])
    Recipient.objects.update(token=None)
    before = standing()
    for token in ("None", "null", ""):
        stranger.post(f"/massmail/u/{token}/")
    assert standing() == before
    assert recipient.subscribed


def test_t22_tokens_are_unguessable():
    tokens = {new_token() for _ in range(1000)}
    assert len(tokens) == 1000
    assert all(re.fullmatch(r"[A-Za-z0-9_-]{22}", token) for token in tokens)  # 22 x 6 bits hold 128


def test_t22_nothing_about_the_recipient_is_shown(stranger, recipient, mailing, contact):
    deliver(mailing, recipient, ago=timedelta(days=1))
    answers = stranger.get(url(recipient)).content + stranger.post(url(recipient)).content
    for secret in (ADDRESS, "anna", "Berg", contact.company.full_name, mailing.name, recipient.token, "alice"):
        assert secret.lower() not in answers.decode().lower()


def test_t23_recipient_deleted(stranger, recipient, contact, company_page):
    contact.delete()
    assert stranger.get(url(recipient)).status_code == 200
    assert stranger.post(url(recipient)).status_code == 303
    assert is_unsubscribed(recipient)


def test_t23_recipient_merged_into_another(stranger, recipient, contact, alice):
    merged = make_contact(alice, contact.company)
    contact.delete()
    assert stranger.post(url(recipient), ONE_CLICK).status_code == 200
    assert is_unsubscribed(recipient)
    merged.refresh_from_db()
    assert not merged.massmail


def test_t24_links_outlive_every_key_rotation(stranger, recipient, settings):
    link = url(recipient)
    settings.SECRET_KEY = "another one"
    settings.SECRET_KEY_FALLBACKS = []
    settings.MASSMAIL_FIELD_KEYS = ["YW5vdGhlci1rZXktYW5vdGhlci1rZXktYW5vdGhlciE="]
    stranger.post(link)
    assert is_unsubscribed(recipient)


def test_t24_links_outlive_the_mailing(stranger, recipient, mailing):
    deliver(mailing, recipient, ago=timedelta(days=1))
    mailing.delete()
    assert by_itself(stranger.get(url(recipient)))
    stranger.post(url(recipient))
    assert is_unsubscribed(recipient)


def test_t25_a_re_imported_address_stays_suppressed(stranger, recipient, contact, alice):
    stranger.post(url(recipient))
    contact.delete()
    make_contact(alice, contact.company, massmail=True)
    made = create_mailing(owner=alice, recipients=Contact.objects.all())
    assert made.added == 0
    assert made.left_out == {Exclusion.SUPPRESSED: 1}


def test_t26_case_does_not_matter_and_every_object_with_the_address_counts(
    stranger, recipient, contact, company, alice
):
    same = {"owner": alice, "creation_date": TODAY}
    Contact.objects.filter(pk=contact.pk).update(email="Anna.Berg@Customer.EXAMPLE")
    company.email = ADDRESS.upper()
    company.save()
    lead = Lead.objects.create(first_name="Anna", email="anna.BERG@customer.example", **same)
    other = Lead.objects.create(first_name="Anne", email="anne.berg@customer.example", **same)
    stranger.post(url(recipient))
    for obj, still in ((contact, False), (company, False), (lead, False), (other, True)):
        obj.refresh_from_db()
        assert obj.massmail is still
        made = create_mailing(owner=alice, recipients=type(obj).objects.filter(pk=obj.pk))
        assert made.added == int(still)


def test_t26_a_link_names_one_of_several_addresses(stranger, contact, alice):
    contact.email = f"{ADDRESS}, anna@home.example"
    contact.save()
    recipient = make_recipient(contact, [ADDRESS, "anna@home.example"])
    stranger.post(url(recipient, 1))
    assert Suppression.objects.values_list("address", flat=True).get() == "anna@home.example"


@pytest.mark.parametrize("status", [DeliveryStatus.SENT, DeliveryStatus.SENDING, DeliveryStatus.UNKNOWN])
def test_t26b_the_page_waits_for_a_click_in_the_first_minutes(stranger, recipient, mailing, settings, status):
    settings.MASSMAIL_UNSUBSCRIBE_GRACE = 600
    deliver(mailing, recipient, ago=timedelta(seconds=595), status=status)
    response = stranger.get(url(recipient))
    assert not by_itself(response)
    assert b"<button>" in response.content
    stranger.post(url(recipient))
    assert is_unsubscribed(recipient)


def test_t26b_later_the_page_posts_itself(stranger, recipient, mailing, settings):
    settings.MASSMAIL_UNSUBSCRIBE_GRACE = 600
    deliver(mailing, recipient, ago=timedelta(seconds=601))
    assert by_itself(stranger.get(url(recipient)))


def test_t26b_mail_to_others_does_not_count(stranger, recipient, mailing, contact, alice):
    neighbour = make_contact(alice, contact.company, "other@customer.example")
    deliver(
        mailing,
        make_recipient(neighbour, ["other@customer.example"]),
        ago=timedelta(0),
        address="other@customer.example",
    )
    lead = Lead.objects.create(pk=contact.pk, email="lead@customer.example", owner=alice, creation_date=TODAY)
    to_leads = Mailing.objects.create(owner=alice, name="Leads", content_type=ContentType.objects.get_for_model(lead))
    deliver(to_leads, make_recipient(lead), ago=timedelta(0), address="lead@customer.example")
    assert by_itself(stranger.get(url(recipient)))


def test_the_page_posts_itself_by_a_script_of_its_own(stranger, recipient):
    html = stranger.get(url(recipient)).content.decode()
    source = re.search(r'<script src="([^"]+)" defer></script>', html)[1]
    script = stranger.get(urljoin(url(recipient), source))
    assert script.status_code == 200
    assert script.headers["Content-Type"] == "text/javascript"
    assert b"document.forms[0].submit()" in script.content
    assert not script.cookies


def test_the_page_is_tiny_and_loads_nothing_else(stranger, recipient):
    html = stranger.get(url(recipient)).content
    assert len(html) < 1000
    assert re.findall(rb'(?:src|href|action)="([^"]+)"', html) == [b"../../u.js"]
    assert b"http" not in html


def test_the_page_keeps_to_itself(stranger, recipient):
    headers = stranger.get(url(recipient)).headers
    assert headers["Cache-Control"] == "no-store"
    assert headers["Referrer-Policy"] == "no-referrer"
    assert headers["X-Robots-Tag"] == "noindex"
    policy = dict(rule.split(" ", 1) for rule in headers["Content-Security-Policy"].split("; "))
    assert policy["default-src"] == "'none'"
    assert policy["script-src"] == "'self'"
    assert "unsafe" not in headers["Content-Security-Policy"]


@pytest.mark.parametrize("method", ["get", "post"])
def test_every_answer_is_kept_from_caches_and_referrers(stranger, recipient, company_page, method):
    headers = getattr(stranger, method)(url(recipient)).headers
    assert (headers["Cache-Control"], headers["Referrer-Policy"]) == ("no-store", "no-referrer")


def test_the_page_speaks_the_languages_of_the_browser_only(stranger, recipient, contact, settings):
    contact.language = "de"
    contact.save()
    settings.LANGUAGE_CODE = "en"
    assert b'lang="en"' in stranger.get(url(recipient)).content
    french = {"Accept-Language": "fr"}
    unknown = f"/massmail/u/{UNKNOWN}/"
    assert everything(stranger.get(url(recipient), headers=french)) == everything(stranger.get(unknown, headers=french))


@pytest.mark.parametrize(
    ("accepted", "language"), [("fr", "fr"), ("pt-BR,en;q=0.5", "pt-br"), ("xx", "de"), ("", "de")]
)
def test_the_page_is_written_in_the_browsers_language(stranger, recipient, settings, monkeypatch, accepted, language):
    settings.LANGUAGE_CODE = "de"
    monkeypatch.setattr(views, "render_to_string", lambda *args: translation.get_language())
    assert stranger.get(url(recipient), headers={"Accept-Language": accepted}).content.decode() == language


def test_the_button_unsubscribes_and_leads_to_the_companys_page(stranger, recipient, contact, mailing, company_page):
    delivery = deliver(mailing, recipient, ago=timedelta(hours=1))
    response = stranger.post(url(recipient))
    assert (response.status_code, response.headers["Location"]) == (303, COMPANY_PAGE)
    assert is_unsubscribed(recipient)
    contact.refresh_from_db()
    delivery.refresh_from_db()
    assert not contact.massmail
    assert delivery.unsubscribed_at is not None
    assert Suppression.objects.get().reason == SuppressionReason.UNSUBSCRIBED


def test_without_a_companys_page_there_is_a_small_one(stranger, recipient):
    response = stranger.post(url(recipient))
    assert response.status_code == 200
    assert b"You have unsubscribed" in response.content
    assert b"<form" not in response.content


def test_a_second_click_changes_nothing(stranger, recipient, mailing, company_page):
    deliver(mailing, recipient, ago=timedelta(hours=1))
    first = everything(stranger.post(url(recipient)))
    before = standing()
    assert everything(stranger.post(url(recipient))) == first
    assert everything(stranger.get(url(recipient)))[0] == 200
    stranger.post(url(recipient), ONE_CLICK)
    assert standing() == before


@pytest.mark.parametrize(
    "encoded",
    [
        {"data": "List-Unsubscribe=One-Click", "content_type": "application/x-www-form-urlencoded"},
        {"data": ONE_CLICK},  # the test client's own encoding is multipart/form-data
    ],
    ids=["urlencoded", "multipart"],
)
def test_one_click(stranger, recipient, company_page, encoded):
    response = stranger.post(url(recipient), **encoded)
    assert response.status_code == 200
    assert response.content == b""
    assert not response.has_header("Location")
    assert not response.cookies
    assert is_unsubscribed(recipient)
    assert Suppression.objects.get().source == "one-click"


def test_one_click_works_at_once(stranger, recipient, mailing):
    deliver(mailing, recipient, ago=timedelta(0))
    stranger.post(url(recipient), ONE_CLICK)
    assert is_unsubscribed(recipient)


def test_links_fit_the_header():
    assert len(unsubscribe_link(new_token(), 99)) <= 77


def test_no_cookie_and_no_session_even_for_a_logged_in_manager(recipient, alice, company_page):
    visitor = Client(enforce_csrf_checks=True)
    visitor.force_login(alice)
    sessions = list(Session.objects.values())
    answers = [visitor.get(url(recipient)), visitor.post(url(recipient), ONE_CLICK), visitor.post(url(recipient))]
    assert [dict(answer.cookies) for answer in answers] == [{}, {}, {}]
    assert list(Session.objects.values()) == sessions


def test_it_is_public_where_everything_asks_for_a_login(recipient, settings):
    settings.MIDDLEWARE = [*settings.MIDDLEWARE, "django.contrib.auth.middleware.LoginRequiredMiddleware"]
    stranger = Client()
    assert stranger.get(url(recipient)).status_code == 200
    assert stranger.get("/massmail/u.js").status_code == 200
    assert stranger.post(url(recipient), ONE_CLICK).status_code == 200
    assert is_unsubscribed(recipient)


def number_of_queries(request, *args):
    with CaptureQueriesContext(connection) as queries:
        request(*args)
    return len(queries)


def test_queries_do_not_grow(stranger, recipient, mailing, contact, alice):
    deliver(mailing, recipient, ago=timedelta(days=2))
    few = number_of_queries(stranger.get, url(recipient)), number_of_queries(stranger.post, url(recipient))
    Suppression.objects.all().delete()
    Recipient.objects.update(subscribed=True)
    for number in range(20):
        another = Mailing.objects.create(owner=alice, name=f"News {number}", content_type=mailing.content_type)
        deliver(another, recipient, ago=timedelta(days=1))
        make_recipient(make_contact(alice, contact.company))
    many = number_of_queries(stranger.get, url(recipient)), number_of_queries(stranger.post, url(recipient))
    assert many == few
    assert few[0] == 2
