"""The block "Mailings" on the host's own pages, and what its buttons do for whom."""

from __future__ import annotations

import re
from typing import Any

import pytest
import time_machine
from django.contrib import admin
from django.contrib.admin.utils import quote
from django.contrib.auth.models import Permission
from django.db import connection
from django.http import HttpResponse
from django.template.response import TemplateResponse
from django.test.utils import CaptureQueriesContext, override_settings
from django.urls import path
from django.utils import timezone

from example_project.crm.models import Company, Contact, Request
from massmail.admin import MassmailAdminMixin, register
from massmail.admin.whys import whys
from massmail.audience import create_mailing
from massmail.choices import AuditAction, DeliveryStatus, Exclusion, MailingStatus
from massmail.engine import lifecycle, outlook
from massmail.engine.operations import duplicate
from massmail.engine.standalone import run
from massmail.models import AuditEntry, Delivery, LeftOut, Mailing, Recipient, Suppression, Tally
from massmail.outcomes import progress, subscribe_again, suppress, unsubscribe
from massmail.transport import memory
from tests import world
from tests.adminpages import client_of, filled_in, queries, said, url
from tests.host.models import Partner, Region, Vendor

pytestmark = pytest.mark.django_db

OK, SEE_OTHER, FORBIDDEN, MISSING, NOT_ALLOWED = 200, 302, 403, 404, 405


class OfficeSite(admin.AdminSite):
    """A second site of the host, with a name of its own."""


class RequestInline(admin.TabularInline):
    model = Request
    extra = 0


class ContactAdmin(MassmailAdminMixin, admin.ModelAdmin):
    """A host's page with a template, inlines, context and addresses of its own."""

    change_form_template = "host/contact.html"
    inlines = [RequestInline]

    def get_urls(self) -> Any:
        return [path("hello/", lambda request: HttpResponse("hello")), *super().get_urls()]

    def change_view(self, request: Any, object_id: str, form_url: str = "", extra_context: Any = None) -> Any:
        return super().change_view(request, object_id, form_url, {"motto": "Customers first", **(extra_context or {})})

    def render_change_form(self, request: Any, context: Any, *args: Any, **kwargs: Any) -> Any:
        context["greeting"] = "Good morning"
        return super().render_change_form(request, context, *args, **kwargs)


class CompanyAdmin(MassmailAdminMixin, admin.ModelAdmin):
    """A host that places the panel by itself."""

    change_form_template = "host/company.html"
    massmail_panel = False


class PlainAdmin(MassmailAdminMixin, admin.ModelAdmin):
    pass


office = OfficeSite(name="office")
office.register(Contact, ContactAdmin)
office.register(Company, CompanyAdmin)
office.register(Partner, PlainAdmin)
office.register(Vendor, PlainAdmin)
register(office)

urlpatterns = [path("office/", office.urls), path("admin/", admin.site.urls)]

HOST_TEMPLATES = {
    "host/contact.html": (
        '{% extends "admin/change_form.html" %}'
        "{% block content %}<p>{{ motto }}</p><p>{{ greeting }}</p>{{ block.super }}<p>The end</p>{% endblock %}"
    ),
    "host/company.html": (
        '{% extends "admin/change_form.html" %}'
        '{% block content %}{% include "massmail/admin/panel.html" %}<p>Form:</p>{{ block.super }}{% endblock %}'
    ),
}


@pytest.fixture
def on_office(settings: Any) -> None:
    """The addresses of the second site, and the host's own templates."""
    loaders = [
        ("django.template.loaders.locmem.Loader", HOST_TEMPLATES),
        "django.template.loaders.app_directories.Loader",
    ]
    options = {**settings.TEMPLATES[0]["OPTIONS"], "loaders": loaders}
    settings.TEMPLATES = [{**settings.TEMPLATES[0], "APP_DIRS": False, "OPTIONS": options}]
    settings.ROOT_URLCONF = __name__


@pytest.fixture(autouse=True)
def outbox() -> Any:
    memory.clear()
    world.settings()
    yield memory.outbox
    memory.clear()


@pytest.fixture
def contact(alice: Any) -> Contact:
    return world.contacts(alice, 1)[0]


@pytest.fixture
def clerk(django_user_model: Any) -> Any:
    """Staff who may look after customers, without any right of this app."""
    user = django_user_model.objects.create_user("clerk", is_staff=True)
    user.user_permissions.add(*Permission.objects.filter(codename__in=["view_contact", "change_contact"]))
    return user


def page(person: Any, obj: Any) -> str:
    return client_of(person).get(url(obj, "change")).content.decode()


def press(person: Any, obj: Any, deed: str, **data: Any) -> Any:
    return client_of(person).post(url(obj, f"massmail_{deed}"), data)


def entry(action: str) -> AuditEntry:
    return AuditEntry.objects.get(action=action)


# What it shows --------------------------------------------------------------------------------------------------------


def test_empty(contact, alice):
    html = page(alice, contact)
    assert "No mailing yet." in html
    assert "Gets an account with the first mail" in html
    assert 'href="#massmail-panel"' in html


@time_machine.travel(world.berlin("2026-11-23 17:00"), tick=False)
def test_what_was_sent_and_what_came_of_it(contact, alice):
    account = world.account(alice, "office")
    mailing = world.started(alice, name="Spring offer")
    run(clock=world.clock(), until_idle=True)
    later = world.berlin("2026-11-23 15:00")
    mailing.deliveries.update(bounced_at=later, replied_at=later, complained_at=later, unsubscribed_at=later)
    html = page(alice, contact)
    assert f'<a href="{url(mailing, "change")}">Spring offer</a>' in html
    assert f'<a href="{url(account, "change")}">office</a>' in html
    for word in ("Sent", "Replied", "Bounced", "Complained", "Unsubscribed", "today 10:00"):
        assert word in html
    assert "Planned" not in html


def test_failed__with_reason_and_the_servers_words(contact, alice):
    mailing = world.mailing(alice)
    mailing.deliveries.update(status="failed", reason="bad_address", reply="550 5.1.1 <b>no such user</b>")
    html = page(alice, contact)
    assert "Address does not exist" in html
    assert "550 5.1.1 &lt;b&gt;no such user" in html


def test_left_out__with_reason_but_not_of_mailings_of_others(contact, alice, bob):
    Contact.objects.update(email="")
    world.create_mailing(owner=alice, recipients=Contact.objects.all(), name="Autumn offer")
    world.create_mailing(owner=bob, recipients=Contact.objects.all(), name="Secret of Bob")
    html = page(alice, contact)
    assert "Autumn offer" in html
    assert "No email address" in html
    assert LeftOut.objects.count() == 2
    assert "Secret of Bob" not in html


def test_planned__why_not_yet(contact, alice):
    world.account(alice)
    mailing = world.mailing(alice, name="Winter offer")
    html = page(alice, contact)
    assert "Planned" in html
    assert "Not started yet" in html
    assert "No mailing yet." in html
    assert f'action="{url(contact, "massmail_skip")}"' in html
    lifecycle.start(mailing, by=alice)
    assert "No worker or beat is alive" in page(alice, contact)


def test_planned__remedy_leads_to_where_it_is_done(contact, alice):
    account = world.account(alice)
    account.hold_reason = "535 Authentication failed"
    account.save()
    world.started(alice)
    html = page(alice, contact)
    assert "is on hold: “535 Authentication failed”" in html
    assert f'<a href="{url(account, "change")}">Mend what the provider complains about' in html


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda contact: unsubscribe_now(contact), "Unsubscribed"),
        (lambda contact: suppress(contact.email, "bounced", source=""), "Address suppressed"),
        (lambda contact: Contact.objects.update(disqualified=True), "Disqualified"),
        (lambda contact: Contact.objects.update(email="new@x.example"), "Email address changed"),
    ],
)
def test_planned__says_as_the_engine_that_it_will_be_skipped(change, words, contact, alice):
    world.account(alice)
    mailing = world.started(alice)
    change(contact)
    assert f"Will be skipped, as it stands now: {words}" in page(alice, contact)
    run(clock=world.clock(), until_idle=True)
    assert mailing.deliveries.get().get_status_display() == "Skipped"


def unsubscribe_now(contact: Contact) -> None:
    Contact.objects.filter(pk=contact.pk).update(massmail=False)


def test_cancelled__what_was_never_sent_says_so(contact, alice):
    world.account(alice)
    lifecycle.cancel(world.started(alice), by=alice)
    html = page(alice, contact)
    assert "Not sent" in html
    assert "Planned" not in html


def test_suppressed_and_disqualified_and_badly_addressed(alice):
    (contact,) = world.contacts(alice, 1, email="a@x.example, b@x.example, nonsense", disqualified=True, massmail=False)
    suppress("b@x.example", "complaint", source="Report of 3 May")
    html = page(alice, contact)
    assert "No mail goes to b@x.example since" in html
    assert "Complained" in html
    assert "Report of 3 May" in html
    assert "disqualified" in html
    assert "“nonsense” is not a valid email address." in html
    assert "“mailing list” is not ticked." in html


def test_vip__hears_from_the_main_account(contact, alice):
    world.account(alice, "second")
    main = world.account(alice, "boss-account", main=True)
    assert press(alice, contact, "vip").status_code == SEE_OTHER
    html = page(alice, contact)
    assert "boss-account" in html
    main.massmail = False
    main.save()
    assert "boss-account" not in page(alice, contact)


def test_latest_ten_and_a_page_with_all(contact, alice):
    message = world.message(alice)
    for number in range(12):
        world.mailing(alice, message=message, name=f"Offer no. {number}")
    Mailing.objects.update(status=MailingStatus.CANCELLED)
    html = page(alice, contact)
    assert "Offer no. 11" in html
    assert "Offer no. 1<" not in html
    assert f'href="{url(contact, "massmail")}"' in html
    everything = client_of(alice).get(url(contact, "massmail")).content.decode()
    assert "Offer no. 1<" in everything
    assert "All mailings of this recipient" not in everything


def test_number_of_queries__mailings_addresses_and_plans(contact, alice, boss):
    account = world.account(alice)
    world.contacts(alice, 99, prefix="more")
    message = world.message(alice)

    def more(number: int) -> None:
        for _ in range(number):
            world.mailing(alice, Contact.objects.filter(pk=contact.pk), message=message)
            world.started(alice, Contact.objects.filter(pk=contact.pk), message=message)
        sent = world.mailing(alice, message=message)
        sent.deliveries.update(status="sent", account=account, sent_at=timezone.now(), sending_at=timezone.now())
        Contact.objects.filter(pk=contact.pk).update(email="")
        world.mailing(alice, Contact.objects.filter(pk=contact.pk), message=message)
        Contact.objects.filter(pk=contact.pk).update(email=contact.email)

    more(1)
    few = {person: queries(client_of(person), url(contact, "change")) for person in (alice, boss)}
    world.contacts(alice, 2900, prefix="many")
    for _ in range(6):
        more(2)
    for person, number in few.items():
        assert queries(client_of(person), url(contact, "change")) <= number
        assert number < 60


def test_panel_costs_nothing_where_it_is_not_shown(contact, bob):
    with CaptureQueriesContext(connection) as captured:
        page(bob, contact)
    assert not [query for query in captured if "massmail_" in query["sql"]]


def test_one_of_two_addresses_is_suppressed(alice):
    (contact,) = world.contacts(alice, 1, email="a@x.example, b@x.example")
    suppress("b@x.example", "unsubscribed", source="link")
    html = page(alice, contact)
    assert "No mail goes to b@x.example" in html
    assert re.search(r"massmail-state-active[^>]*>Subscribed<", html)


def test_names_are_escaped(contact, alice):
    world.mailing(alice, name="<script>alert(1)</script>")
    assert "<script>alert" not in page(alice, contact)


# Who sees it and may press --------------------------------------------------------------------------------------------


def test_who_sees_the_panel(contact, alice, bob, carol, clerk, boss):
    world.mailing(alice, name="Spring offer")
    seen = {person.username: "Spring offer" in page(person, contact) for person in (alice, bob, carol, clerk, boss)}
    assert seen == {"alice": True, "bob": False, "carol": True, "clerk": False, "boss": True}
    assert "/massmail/vip/" in page(alice, contact)
    assert "/massmail/vip/" in page(boss, contact)
    assert "/massmail/vip/" not in page(carol, contact)


def test_an_unsaved_owner_opens_nothing(contact, alice, bob):
    world.mailing(alice, name="Spring offer")
    client = client_of(bob)
    data = filled_in(client, url(contact, "change")) | {"owner": bob.pk, "creation_date": "nonsense"}
    response = client.post(url(contact, "change"), data)
    assert response.status_code == OK
    assert "Spring offer" not in response.content.decode()


DEEDS = ["skip", "vip", "unvip", "unsubscribe", "subscribe", "lift"]


def test_deeds_of_others_change_nothing(contact, alice, bob, carol, clerk):
    delivery = world.mailing(alice).deliveries.get()
    suppress(contact.email, "bounced", source="")
    data = {"delivery": delivery.pk, "why": "I say so"}
    for person, expected in [(bob, MISSING), (carol, FORBIDDEN), (clerk, MISSING), (None, SEE_OTHER)]:
        client = client_of(person)
        answers = {client.post(url(contact, f"massmail_{deed}"), data).status_code for deed in DEEDS}
        assert answers == {expected}
    delivery.refresh_from_db()
    contact.refresh_from_db()
    assert (delivery.status, contact.massmail) == ("queued", True)
    assert Suppression.objects.get().reason == "bounced"
    assert not Recipient.objects.exists()
    assert not AuditEntry.objects.exclude(action="created").exists()


def test_looking_changes_nothing(contact, boss):
    client = client_of(boss)
    for deed in DEEDS:
        asks = OK if deed in ("subscribe", "lift") else NOT_ALLOWED
        assert client.get(url(contact, f"massmail_{deed}")).status_code == asks
        assert client.put(url(contact, f"massmail_{deed}")).status_code == NOT_ALLOWED
    assert not Recipient.objects.exists()


def test_csrf(contact, alice):
    client = client_of(alice, enforce_csrf_checks=True)
    answers = {client.post(url(contact, f"massmail_{deed}"), {"why": "x"}).status_code for deed in DEEDS}
    assert answers == {FORBIDDEN}
    assert not Recipient.objects.exists()


def test_history_page__is_for_the_same_people(contact, alice, bob, carol, clerk, boss):
    people = (alice, bob, carol, clerk, boss)
    answers = [client_of(person).get(url(contact, "massmail")).status_code for person in people]
    assert answers == [OK, MISSING, OK, MISSING, OK]


def test_unknown_objects_are_missing(alice):
    client = client_of(alice)
    for key in ("99999", "nonsense", "9" * 40):
        assert client.post(f"/admin/crm/contact/{key}/massmail/vip/").status_code == MISSING
        assert client.get(f"/admin/crm/contact/{key}/massmail/").status_code == MISSING


# What the buttons do --------------------------------------------------------------------------------------------------


def test_skip__takes_one_delivery_out(contact, alice, outbox):
    world.account(alice)
    mailing = world.started(alice)
    delivery = mailing.deliveries.get()
    response = press(alice, contact, "skip", delivery=delivery.pk)
    assert response.headers["Location"] == url(contact, "change") + "#massmail-panel"
    assert "will not be sent to this recipient" in said(response)[0]
    delivery.refresh_from_db()
    assert (delivery.status, delivery.reason) == (DeliveryStatus.SKIPPED, Exclusion.BY_HAND)
    assert progress([mailing], now=world.MONDAY)[mailing.pk].skipped == 1
    logged = entry(AuditAction.SKIPPED)
    assert (logged.by, logged.mailing, logged.text) == (alice, mailing, contact.email)
    run(clock=world.clock(), until_idle=True)
    assert not outbox
    mailing.refresh_from_db()
    assert mailing.status == MailingStatus.DONE
    assert "Skipped by hand" in page(alice, contact)


def test_skip__twice_or_too_late_is_told_and_counted_once(contact, alice):
    delivery = world.mailing(alice).deliveries.get()
    press(alice, contact, "skip", delivery=delivery.pk)
    assert "can't be skipped any more" in said(press(alice, contact, "skip", delivery=delivery.pk))[0]
    assert Tally.objects.get().skipped == 1
    assert AuditEntry.objects.filter(action=AuditAction.SKIPPED).count() == 1


def test_skip__only_deliveries_of_this_recipient_and_of_own_mailings(contact, alice, bob):
    other = world.contacts(alice, 1, prefix="other")[0]
    of_other = world.mailing(alice, Contact.objects.filter(pk=other.pk)).deliveries.get()
    foreign = world.mailing(alice, Contact.objects.filter(pk=contact.pk)).deliveries.get()
    Contact.objects.filter(pk=contact.pk).update(owner=bob)
    assert press(bob, contact, "skip", delivery=foreign.pk).status_code == MISSING
    assert press(alice, other, "skip", delivery=foreign.pk).status_code == MISSING
    for nonsense in ("", "x", "9" * 40, of_other.pk + 1000):
        assert press(alice, other, "skip", delivery=nonsense).status_code == MISSING
    assert not Delivery.objects.exclude(status="queued").exists()
    assert url(contact, "massmail_skip") not in page(bob, contact)


def test_vip__and_back(contact, alice):
    press(alice, contact, "vip")
    assert Recipient.objects.get().vip
    assert "Remove VIP status" in page(alice, contact)
    press(alice, contact, "unvip")
    assert not Recipient.objects.get().vip
    assert entry(AuditAction.UNMARKED_VIP).by == alice


def test_unsubscribe__by_hand_counts_for_the_address_and_is_logged(contact, alice, bob):
    same = world.contacts(bob, 1, email=contact.email)[0]
    assert press(alice, contact, "unsubscribe").status_code == SEE_OTHER
    for each in (contact, same):
        each.refresh_from_db()
        assert not each.massmail
    assert Suppression.objects.get().source == "Entered by alice"
    assert not Recipient.objects.get(object_id=str(contact.pk)).subscribed
    logged = entry(AuditAction.UNSUBSCRIBED)
    assert logged.by == alice
    assert contact.email in logged.text
    assert world.create_mailing(owner=alice, recipients=Contact.objects.all()).added == 0
    assert "Subscribe again" in page(alice, contact)


def test_unsubscribe__without_an_address(alice):
    (contact,) = world.contacts(alice, 1, email="")
    press(alice, contact, "unsubscribe")
    assert not Recipient.objects.get().subscribed
    assert not Suppression.objects.exists()


def test_subscribe_again__wants_a_reason_and_logs_it(contact, alice):
    press(alice, contact, "unsubscribe")
    for nothing in ("", "   "):
        refused = press(alice, contact, "subscribe", why=nothing)
        assert refused.status_code == OK
        assert "This field is required." in refused.content.decode()
    assert Suppression.objects.exists()
    assert press(alice, contact, "subscribe", why="Called on 3 May").status_code == SEE_OTHER
    contact.refresh_from_db()
    assert contact.massmail
    assert Recipient.objects.get().subscribed
    assert not Suppression.objects.exists()
    logged = entry(AuditAction.SUBSCRIBED)
    assert logged.by == alice
    assert "Called on 3 May" in logged.text
    assert world.create_mailing(owner=alice, recipients=Contact.objects.all()).added == 1


def test_subscribe_again__leaves_bounces_and_others_alone(contact, alice, bob):
    same = world.contacts(bob, 1, email=contact.email)[0]
    press(alice, contact, "unsubscribe")
    Suppression.objects.update(reason="bounced")
    subscribe_again(contact, [contact.email], by=alice, why="asked")
    same.refresh_from_db()
    assert not same.massmail
    assert Suppression.objects.get().reason == "bounced"


def test_lift__by_permission_with_a_reason(contact, alice, boss):
    suppress(contact.email, "bounced", source="550")
    assert press(alice, contact, "lift", why="It works again").status_code == FORBIDDEN
    assert "/massmail/lift/" not in page(alice, contact)
    assert "/massmail/lift/" in page(boss, contact)
    assert press(boss, contact, "lift", why="").status_code == OK
    assert Suppression.objects.exists()
    press(boss, contact, "lift", why="It works again")
    assert not Suppression.objects.exists()
    assert "It works again" in entry(AuditAction.SUPPRESSION_LIFTED).text
    alice.user_permissions.add(Permission.objects.get(codename="delete_suppression"))
    suppress(contact.email, "bounced", source="550")
    assert press(alice, contact, "lift", why="It works again").status_code == SEE_OTHER


def test_lift__of_a_bounce_keeps_opt_outs(contact, alice, boss):
    suppress(contact.email, "bounced", source="550")
    recipient = Recipient.objects.create(
        content_type=world.mailing(alice).content_type, object_id=str(contact.pk), addresses=[contact.email]
    )
    unsubscribe(recipient, contact.email, source="link")
    press(boss, contact, "lift", why="It works again")
    recipient.refresh_from_db()
    assert not recipient.subscribed


def test_filters_of_the_list_survive_a_button(contact, alice):
    query = "?_changelist_filters=q%3Dmetal"
    html = client_of(alice).get(url(contact, "change") + query).content.decode()
    action = url(contact, "massmail_vip") + query
    assert f'action="{action}"' in html
    response = client_of(alice).post(action)
    assert response.headers["Location"] == url(contact, "change") + query + "#massmail-panel"


# Hosts of their own making --------------------------------------------------------------------------------------------


def test_host_with_a_template_context_inlines_and_addresses_of_its_own(contact, alice, boss, on_office):
    world.mailing(alice, name="Spring offer")
    client = client_of(boss)
    html = client.get(f"/office/crm/contact/{contact.pk}/change/").content.decode()
    order = ["Customers first", "Good morning", 'id="contact_form"', "requests-TOTAL_FORMS", "The end", "Spring offer"]
    positions = [html.index(word) for word in order]
    assert positions == sorted(positions)
    assert "/office/massmail/mailing/" in html
    assert 'href="/admin/' not in html
    assert 'action="/admin/' not in html
    assert client.get("/office/crm/contact/hello/").content == b"hello"
    response = client.post(f"/office/crm/contact/{contact.pk}/massmail/vip/")
    assert response.headers["Location"].startswith(f"/office/crm/contact/{contact.pk}/change/")
    assert Recipient.objects.get().vip
    assert client.get(f"/office/crm/contact/{contact.pk}/massmail/").status_code == OK


def test_host_that_places_the_panel_by_itself(alice, boss, on_office):
    company = world.company(alice, email="office@x.example")
    world.mailing(alice, Company.objects.all(), name="Spring offer")
    html = client_of(boss).get(f"/office/crm/company/{company.pk}/change/").content.decode()
    assert html.count('id="massmail-panel"') == 1
    assert html.index("Spring offer") < html.index("<p>Form:</p>")


def test_host_of_another_kind_than_django_templates(contact, alice, on_office, rf):
    """What is no `TemplateResponse` of Django's is left as it is."""

    class Odd(MassmailAdminMixin, Answering):
        pass

    request = rf.get("/")
    request.user = alice
    request.resolver_match = None
    assert Odd(Contact, office).render_change_form(request, {}, obj=contact).content == b"mine"


class Answering(admin.ModelAdmin):
    def render_change_form(self, request: Any, context: Any, *args: Any, **kwargs: Any) -> HttpResponse:
        return HttpResponse("mine")


def test_in_a_popup_and_on_an_empty_form_there_is_no_panel(contact, alice):
    client = client_of(alice)
    assert "massmail-panel" not in client.get(url(contact, "change") + "?_popup=1").content.decode()
    response = client.get(url(Contact, "add"))
    assert isinstance(response, TemplateResponse)
    assert "massmail-panel" not in response.content.decode()


@pytest.fixture(params=[Partner, Vendor])
def odd(request: Any, alice: Any) -> Any:
    """A customer with a UUID, or with a text that needs quoting, as its key."""
    region = Region.objects.create(manager=alice)
    if request.param is Partner:
        return Partner.objects.create(region=region, email="p@x.example")
    return Vendor.objects.create(code="V/1 _ü", region=region, mail_address="p@x.example, q@x.example")


def test_any_key(odd, alice, boss, on_office):
    text = world.message(alice, subject="News", content='<a href="{{ unsubscribe_url }}">UNSUBSCRIBE</a>')
    made = world.create_mailing(owner=alice, recipients=type(odd).objects.all(), message=text, name="Spring offer")
    delivery = made.mailing.deliveries.first()
    client = client_of(boss)

    with override_settings(ROOT_URLCONF=OfficeUrls):
        change, key = url(odd, "change", quote(odd.pk)), quote(odd.pk)
        assert "Spring offer" in client.get(change).content.decode()
        for deed, more in [("skip", {"delivery": delivery.pk}), ("vip", {}), ("unsubscribe", {})]:
            response = client.post(url(odd, f"massmail_{deed}", key), more)
            assert response.headers["Location"] == change + "#massmail-panel"
        assert client.post(url(odd, "massmail_subscribe", key), {"why": "asked"}).status_code == SEE_OTHER
        assert client.get(url(odd, "massmail", key)).status_code == OK
    delivery.refresh_from_db()
    recipient = Recipient.objects.get()
    assert (delivery.reason, recipient.vip, recipient.subscribed) == (Exclusion.BY_HAND, True, True)
    assert recipient.object_id == delivery.object_id
    assert not Suppression.objects.exists()


class OfficeUrls:
    """The second site in the place of the first one."""

    urlpatterns = [path("office/", office.urls)]


def test_lines__say_why_and_lead_to_the_mail_as_it_was_sent(alice, boss):
    world.account(alice)
    (person,) = world.contacts(alice, 1)
    mine = Contact.objects.filter(owner=alice)
    selected = world.started(alice, name="Spring")
    chosen = create_mailing(
        owner=alice,
        recipients=mine,
        name="Autumn",
        filters={"type": "crm.contact", "words": [["Country", "Germany"], ["VIP", "Yes"]]},
        by=boss,
    ).mailing
    run(clock=world.clock(), until_idle=True)
    copy = duplicate(selected, by=alice).mailing
    html = client_of(alice).get(url(person, "change")).content.decode()
    assert "Selected in the list by alice" in html
    assert "Chosen by filters (Country: Germany · VIP: Yes) by boss" in html
    assert "Copy: “Spring”; made by alice" in html
    (delivery,) = selected.deliveries.all()
    assert html.count("Show the mail as it was sent") == 1
    assert f'class="massmail-as-sent" href="{url(delivery, "change")}"' in html
    assert {chosen.status, copy.status} == {"draft"}


def test_planned__tells_when_it_leaves_at_the_latest(alice):
    world.account(alice, paced=True, emails_per_day=2)
    (person, *_others) = world.contacts(alice, 5)
    with time_machine.travel(world.MONDAY, tick=False):
        world.started(alice)
        outlook.renew_stale(now=world.MONDAY)
        html = client_of(alice).get(url(person, "change")).content.decode()
    assert re.search("Expected until about Wed 25 Nov, [0-9:]+, when the whole mailing is done", html)


def test_whys__of_somebody_elses_mailing_are_not_told(alice, bob, rf):
    world.contacts(alice, 1)
    mailing = world.mailing(alice)
    request = rf.get("/")
    request.user = bob
    assert whys(request, [mailing.pk]) == {mailing.pk: ""}
    request.user = alice
    assert whys(request, [mailing.pk]) == {mailing.pk: "Selected in the list by alice"}
