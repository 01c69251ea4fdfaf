"""The public unsubscribe endpoint. T21 to T26b are threats that a test answers each."""

from __future__ import annotations

import email
import gettext
import re
from datetime import date, timedelta
from pathlib import Path
from urllib.parse import urljoin

import pytest
import time_machine
from django.contrib.contenttypes.models import ContentType
from django.contrib.sessions.models import Session
from django.core.cache import cache
from django.core.cache.backends.base import BaseCache
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone, translation
from django.utils.translation import trans_real

import massmail
from example_project.crm.models import Company, Contact, Lead
from massmail import views
from massmail.audience import create_mailing
from massmail.choices import AuditAction, DeliveryStatus, Exclusion, SuppressionReason
from massmail.engine.standalone import run
from massmail.models import AuditEntry, Delivery, Mailing, MassmailSettings, Recipient, Suppression
from massmail.outcomes import subscribe_again, suppress
from massmail.tokens import NOBODY, new_token, unsubscribe_link
from massmail.transport import memory
from tests import world

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


def test_t21_a_scanner_that_follows_every_link_of_a_mail_changes_nothing(stranger, alice, company):
    world.settings()
    world.account(alice)
    world.contacts(alice, 1, company=company)
    world.started(alice)
    memory.clear()
    run(clock=world.clock(), until_idle=True)
    mail = email.message_from_bytes(memory.outbox[0].data)
    parts = [part.get_payload(decode=True).decode() for part in mail.walk() if not part.is_multipart()]
    links = re.findall(r"https://news\.example\.com(/[^\s\"<>]+)", "\n".join([mail["List-Unsubscribe"], *parts]))
    assert len(links) >= 3  # in the header, in the text, behind the button
    before = standing()
    for link in links:
        for method in (stranger.head, stranger.get, stranger.options):
            assert method(link).status_code == 200
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
    assert b"<button" in response.content
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


LANGUAGES = {
    "de": "Abmelden",
    "fr": "Se désabonner",
    "es": "Darse de baja",
    "it": "Annulla l\u2019iscrizione",
    "nl": "Afmelden",
    "pt": "Cancelar subscrição",
    "pt-br": "Cancelar inscrição",
    "ru": "Отписаться",
    "uk": "Відписатися",
    "ar": "إلغاء الاشتراك",
    "he": "הסרה מרשימת התפוצה",
    "en": "Unsubscribe",
}


@pytest.mark.parametrize(("code", "button"), LANGUAGES.items())
def test_the_page_is_in_the_language_that_the_link_names(stranger, recipient, code, button):
    french = {"Accept-Language": "fr"}
    link = unsubscribe_link(recipient.token, language=code).removeprefix("https://news.example.com")
    get = stranger.get(link, headers=french).content.decode()
    assert f'<button name="button">{button}</button>' in get
    assert f'<html lang="{code.replace("br", "BR")}"' in get
    assert ('dir="rtl"' in get) is (code in ("ar", "he"))
    assert len(get.encode()) < 1000
    unknown = link.replace(recipient.token, UNKNOWN)
    assert everything(stranger.get(unknown, headers=french)) == everything(stranger.get(link, headers=french))
    assert everything(stranger.post(unknown)) == everything(stranger.post(link))
    assert is_unsubscribed(recipient)


def test_the_recipients_own_language_is_never_looked_at(stranger, recipient, contact):
    contact.language = "de"
    contact.save()
    assert b'lang="en"' in stranger.get(url(recipient)).content


def test_the_mail_names_the_recipients_language(stranger, alice, company, settings):
    world.settings()
    world.account(alice)
    world.contacts(alice, 1, company=company, language="uk")
    world.started(alice)
    memory.clear()
    run(clock=world.clock(), until_idle=True)
    mail = email.message_from_bytes(memory.outbox[0].data)
    link = re.search(r"<https://news\.example\.com([^>]+)>", mail["List-Unsubscribe"])[1]
    assert "Відписатися" in stranger.get(link).content.decode()


@pytest.mark.parametrize("language", ["", None, "German", "d", "../x", "de\r\nX: y", "x" * 50, 7])
def test_what_is_no_code_of_a_language_stays_out_of_the_link(language):
    assert unsubscribe_link("t", language=language) == "https://news.example.com/massmail/u/t/"


def test_the_language_stays_out_of_a_link_that_would_be_too_long(settings):
    settings.MASSMAIL_PUBLIC_URL = "https://" + "n" * 23 + ".example"
    token = new_token()
    assert len(unsubscribe_link(token)) == 74
    assert len(unsubscribe_link(token, language="de")) == 77
    assert unsubscribe_link(token, language="pt-BR") == unsubscribe_link(token)


def test_no_catalogue_is_kept_for_codes_that_visitors_think_up(stranger, recipient):
    stranger.get(url(recipient), headers={"Accept-Language": "de"})
    before = set(trans_real._translations)
    for code in ("de-aaaa", "de-x1", "zz", "xx-yy"):
        stranger.get(url(recipient), headers={"Accept-Language": code})
        stranger.get(f"/massmail/u/{UNKNOWN}.{code}/")
    assert set(trans_real._translations) == before


@pytest.mark.parametrize("code", [code for code in LANGUAGES if code != "en"])
def test_catalogues_are_complete_and_compiled(code):
    folder = Path(massmail.__file__).parent / "locale" / translation.to_locale(code) / "LC_MESSAGES"
    source = (folder / "django.po").read_text(encoding="utf-8")
    entries = re.findall(r'msgctxt "(.+)"\nmsgid "(.+)"\nmsgstr "(.+)"\n', source)
    with (folder / "django.mo").open("rb") as file:
        compiled = gettext.GNUTranslations(file)
    assert [compiled.pgettext(context, text) for context, text, _ in entries] == [text for *_, text in entries]
    page = (Path(massmail.__file__).parent / "templates/massmail/unsubscribe.html").read_text()
    used = set(re.findall(r'translate "([^"]+)" context "([^"]+)"', page))
    assert {(text, context) for context, text, _ in entries} == used | {
        ("Too many requests. Please try again in a minute.", "unsubscribe page")
    }


@pytest.mark.parametrize(
    ("accepted", "language"),
    [("fr", "fr"), ("pt-BR,en;q=0.5", "pt-br"), ("de-AT", "de"), ("sv,fr;q=0.5", "fr"), ("xx", "de"), ("", "de")],
)
def test_without_that_the_page_is_in_the_browsers_language_or_the_sites(
    stranger, recipient, settings, monkeypatch, accepted, language
):
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
    assert AuditEntry.objects.get().text == f"{ADDRESS}: one-click"


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
    assert few[0] == 1


# Evidence, and coming back ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("data", "how"),
    [({}, "link"), ({"button": ""}, "button"), (ONE_CLICK, "one-click")],
    ids=["link", "button", "mail"],
)
def test_evidence_says_when_how_and_after_which_mail(stranger, recipient, mailing, alice, data, how):
    older = Mailing.objects.create(owner=alice, name="Winter", content_type=mailing.content_type)
    deliver(older, recipient, ago=timedelta(days=9))
    last = deliver(mailing, recipient, ago=timedelta(days=1))
    stranger.post(url(recipient), data, headers={"Accept-Language": "de"})
    last.refresh_from_db()
    assert timezone.now() - last.unsubscribed_at < timedelta(minutes=5)
    evidence = f"{how}; mailing {mailing.pk} “Spring offers”, {last.sent_at:%Y-%m-%d %H:%M} UTC"
    assert Suppression.objects.get().source == evidence
    entry = AuditEntry.objects.get(action=AuditAction.UNSUBSCRIBED)
    assert (entry.by, entry.mailing, entry.text) == (None, mailing, f"{ADDRESS}: {evidence}")
    mailing.delete()
    assert AuditEntry.objects.get(pk=entry.pk).text == f"{ADDRESS}: {evidence}"
    assert Suppression.objects.get().source == evidence


@pytest.mark.parametrize("status", [DeliveryStatus.SENDING, DeliveryStatus.UNKNOWN])
def test_evidence_of_a_mail_whose_server_has_not_answered(stranger, recipient, mailing, status):
    delivery = deliver(mailing, recipient, ago=timedelta(0), status=status)
    stranger.post(url(recipient))
    delivery.refresh_from_db()
    assert delivery.unsubscribed_at is not None


def test_no_network_address_is_kept(stranger, recipient, mailing):
    deliver(mailing, recipient, ago=timedelta(days=1))
    stranger.post(url(recipient), REMOTE_ADDR=VISITOR)
    kept = [list(model.objects.values()) for model in (Recipient, Suppression, Delivery, AuditEntry, Session)]
    assert VISITOR not in repr(kept)
    assert VISITOR not in repr(getattr(cache, "_cache", {}))


@pytest.mark.parametrize(
    ("reason", "after"), [("bounced", "unsubscribed"), ("manual", "unsubscribed"), ("complaint", "complaint")]
)
def test_the_recipients_word_outweighs_what_was_known_of_the_address(stranger, recipient, alice, reason, after):
    suppress(ADDRESS, reason, source="earlier")
    stranger.post(url(recipient))
    row = Suppression.objects.get()
    assert (row.reason, row.source.startswith("earlier")) == (after, True)
    assert ("link" in row.source) is (after == "unsubscribed")
    before = standing()
    stranger.post(url(recipient))
    assert standing() == before


def test_asking_again_takes_no_lock_and_leaves_no_trace(stranger, recipient):
    stranger.post(url(recipient))
    with CaptureQueriesContext(connection) as queries:
        stranger.post(url(recipient), ONE_CLICK)
    assert len(queries) == 2
    assert all(query["sql"].startswith("SELECT") for query in queries)
    assert AuditEntry.objects.count() == 1


def test_t25_ticking_the_hosts_own_box_brings_nobody_back(stranger, recipient, contact, alice):
    stranger.post(url(recipient))
    Contact.objects.update(massmail=True)
    assert create_mailing(owner=alice, recipients=Contact.objects.all()).added == 0
    subscribe_again(contact, [ADDRESS], by=alice, why="Called on 3 May")
    assert create_mailing(owner=alice, recipients=Contact.objects.all()).added == 1
    entry = AuditEntry.objects.get(action=AuditAction.SUBSCRIBED)
    assert entry.by == alice
    assert "Called on 3 May" in entry.text


def test_one_click_while_the_mailing_runs_before_that_recipients_turn(stranger, alice, company, monkeypatch):
    """The link is the one in the header of an earlier mail, posted as Gmail does."""
    world.settings()
    world.account(alice)
    people = world.contacts(alice, 3, company=company)
    world.started(alice, name="First")
    memory.clear()
    clock = world.clock()
    run(clock=clock, until_idle=True)
    to_last = next(mail for mail in memory.outbox if mail.to == people[2].email)
    header = email.message_from_bytes(to_last.data)["List-Unsubscribe"]
    link = re.search(r"<https://news\.example\.com([^>]+)>", header)[1]
    second = world.started(alice, name="Second")
    memory.clear()
    deliver = memory.MemoryConnection.deliver

    def deliver_and_click(self, **mail):
        assert stranger.post(link, ONE_CLICK).status_code == 200
        return deliver(self, **mail)

    monkeypatch.setattr(memory.MemoryConnection, "deliver", deliver_and_click)
    run(clock=clock, until_idle=True)
    assert [mail.to for mail in memory.outbox] == [people[0].email, people[1].email]
    skipped = Delivery.objects.get(mailing=second, address=people[2].email)
    assert (skipped.status, skipped.reason) == ("skipped", "unsubscribed")


# How often, how much, by which name ---------------------------------------------------------------------------------

VISITOR, GMAIL = "93.184.216.34", "66.249.93.1"


@pytest.fixture
def rate(settings):
    settings.MASSMAIL_UNSUBSCRIBE_RATE = 3
    cache.clear()
    with time_machine.travel("2026-11-23 10:00:01", tick=False) as now:
        yield now


def statuses(visitor, addresses, **kwargs):
    method = "post" if "data" in kwargs else "get"
    return [getattr(visitor, method)(address, **kwargs).status_code for address in addresses]


def test_rate__one_link(stranger, recipient, rate):
    for link in (url(recipient), f"/massmail/u/{UNKNOWN}/"):
        assert statuses(stranger, [link] * 5) == [200, 200, 200, 429, 429]
    refused = stranger.post(url(recipient), ONE_CLICK, headers={"Accept-Language": "de"})
    assert (refused.status_code, refused.headers["Retry-After"]) == (429, "60")
    assert "in einer Minute" in refused.content.decode()
    assert not is_unsubscribed(recipient)
    rate.shift(60)
    assert stranger.post(url(recipient), ONE_CLICK).status_code == 200
    assert is_unsubscribed(recipient)


def test_rate__who_guesses_finds_the_pages_closed_whatever_the_next_guess(stranger, recipient, rate):
    guesses = [f"/massmail/u/{new_token()}/" for _ in range(6)]
    assert statuses(stranger, guesses, REMOTE_ADDR=VISITOR) == [200] * 4 + [429] * 2
    right = everything(stranger.get(url(recipient), REMOTE_ADDR=VISITOR))
    assert right[0] == 429
    assert right == everything(stranger.get(f"/massmail/u/{new_token()}/", REMOTE_ADDR=VISITOR))
    assert statuses(stranger, [url(recipient)], REMOTE_ADDR=GMAIL) == [200]
    with CaptureQueriesContext(connection) as queries:
        stranger.get(url(recipient), REMOTE_ADDR=VISITOR)
    assert not queries


def test_rate__one_click_from_few_addresses_is_never_turned_away(stranger, contact, alice, rate):
    junk = [f"/massmail/u/{new_token()}/" for _ in range(9)]
    assert set(statuses(stranger, junk, data=ONE_CLICK, REMOTE_ADDR=GMAIL)) == {200}
    made = [
        make_recipient(make_contact(alice, contact.company, f"{n}@x.example"), [f"{n}@x.example"]) for n in "abcdef"
    ]
    assert set(statuses(stranger, [url(each) for each in made], data=ONE_CLICK, REMOTE_ADDR=GMAIL)) == {200}
    assert not Recipient.objects.filter(subscribed=True).exists()


@pytest.mark.parametrize("proxy", ["", "127.0.0.1", "10.0.0.7", "::1", "unix:"])
def test_rate__visitors_behind_ones_own_proxy_are_not_taken_for_one(stranger, rate, proxy):
    guesses = [f"/massmail/u/{new_token()}/" for _ in range(9)]
    assert set(statuses(stranger, guesses, REMOTE_ADDR=proxy)) == {200}


def test_rate__ipv6_counts_by_network(stranger, rate):
    guesses = [f"/massmail/u/{new_token()}/" for _ in range(9)]
    answers = [stranger.get(each, REMOTE_ADDR=f"2606:2800:220:1::{n}").status_code for n, each in enumerate(guesses, 1)]
    assert answers[-1] == 429


@pytest.mark.parametrize("backend", ["django.core.cache.backends.dummy.DummyCache", f"{__name__}.BrokenCache"])
def test_rate__without_a_cache_nobody_is_turned_away(stranger, recipient, rate, settings, backend):
    settings.CACHES = {"default": {"BACKEND": backend}}
    assert set(statuses(stranger, [url(recipient)] * 9)) == {200}


class BrokenCache(BaseCache):
    def __init__(self, *args):
        super().__init__({})

    def add(self, *args, **kwargs):
        raise ConnectionError("No cache here")

    get = incr = add


def test_rate__zero_is_no_limit(stranger, recipient, rate, settings):
    settings.MASSMAIL_UNSUBSCRIBE_RATE = 0
    assert set(statuses(stranger, [url(recipient)] * 9, REMOTE_ADDR=VISITOR)) == {200}


def test_a_body_no_mail_program_sends_is_not_read(stranger, recipient):
    before = standing()
    assert stranger.post(url(recipient), {"List-Unsubscribe": "One-Click" * 2000}).status_code == 413
    assert standing() == before


@pytest.mark.parametrize("name", [UNKNOWN, f"{UNKNOWN}.1", f"{UNKNOWN}.de"])
def test_t22_unknown_tokens_take_as_many_queries(stranger, recipient, mailing, name):
    deliver(mailing, recipient, ago=timedelta(days=1))
    known, unknown = (number_of_queries(stranger.get, each) for each in (url(recipient), f"/massmail/u/{name}/"))
    assert known == unknown == 1


def test_it_answers_to_any_host_and_names_none(stranger, recipient):
    answers = [stranger.get(url(recipient), headers={"Host": host}) for host in ("news.acme.example", "crm.example")]
    assert everything(answers[0]) == everything(answers[1])
    assert b"acme" not in answers[0].content
    assert b"://" not in answers[0].content
    posted = stranger.post(url(recipient), headers={"Host": "crm.example"})
    assert "crm.example" not in repr(everything(posted))
    assert is_unsubscribed(recipient)
