"""The action menu of the host's lists."""

from __future__ import annotations

from typing import Any

import pytest
from django.contrib import admin
from django.contrib.auth.models import Permission
from django.db import connection
from django.http import HttpResponse
from django.test.utils import CaptureQueriesContext, override_settings
from django.urls import path
from django.utils.html import escape

from example_project.crm.models import Company, Contact, Country, Lead
from massmail.admin import MassmailAdminMixin, register
from massmail.choices import AuditAction, Exclusion
from massmail.models import AuditEntry, LeftOut, Mailing, Recipient, Suppression
from tests import world
from tests.adminpages import act, client_of, said, url

pytestmark = pytest.mark.django_db

CREATE, MARK, UNMARK = "massmail_create_mailing", "massmail_mark_vip", "massmail_unmark_vip"


class OfficeSite(admin.AdminSite):
    """A second site of the host, with a name of its own."""


class ContactAdmin(MassmailAdminMixin, admin.ModelAdmin):
    """A host's page with actions and addresses of its own."""

    actions = ["greet"]
    list_per_page = 5

    def get_urls(self) -> Any:
        return [path("hello/", lambda request: HttpResponse("hello")), *super().get_urls()]

    @admin.action(description="Greet")
    def greet(self, request: Any, queryset: Any) -> None:
        self.message_user(request, "Hello!")


office = OfficeSite(name="office")
office.register(Contact, ContactAdmin)
office.add_action(lambda *args: None, "wave")
register(office)

urlpatterns = [path("office/", office.urls), path("admin/", admin.site.urls)]


def offered(person: Any) -> set[str]:
    form = client_of(person).get(url(Contact, "changelist")).context["action_form"]
    return {value for value, _label in form.fields["action"].choices} & {CREATE, MARK, UNMARK} if form else set()


def test_menu__by_permission(alice, boss, django_user_model):
    world.contacts(alice, 1)
    clerk = django_user_model.objects.create_user("clerk", is_staff=True)
    clerk.user_permissions.add(Permission.objects.get(codename="view_contact"))
    assert offered(alice) == offered(boss) == {CREATE, MARK, UNMARK}
    assert offered(clerk) == set()
    clerk.user_permissions.add(Permission.objects.get(codename="change_recipient"))
    assert offered(django_user_model.objects.get(pk=clerk.pk)) == {MARK, UNMARK}


def test_menu__without_permission_the_post_changes_nothing(alice, django_user_model):
    world.contacts(alice, 1)
    clerk = django_user_model.objects.create_user("clerk", is_staff=True)
    clerk.user_permissions.add(Permission.objects.get(codename="view_contact"))
    for action in (CREATE, MARK):
        act(client_of(clerk), Contact, action, everywhere=True)
    assert not Mailing.objects.exists()
    assert not Recipient.objects.exists()


def test_create__takes_the_selected_and_goes_to_the_mailing(alice):
    people = world.contacts(alice, 3)
    response = act(client_of(alice), Contact, CREATE, people[:2])
    mailing = Mailing.objects.get()
    assert response.headers["Location"] == url(mailing, "change")
    assert mailing.owner == alice
    assert mailing.status == "draft"
    assert set(mailing.deliveries.values_list("address", flat=True)) == {people[0].email, people[1].email}


@pytest.mark.parametrize(("model", "make"), [(Company, world.company), (Lead, world.lead)], ids=["companies", "leads"])
def test_create__from_the_other_lists(model, make, alice):
    make(alice, email="office@firm.example")
    act(client_of(alice), model, CREATE)
    assert Mailing.objects.get().deliveries.get().address == "office@firm.example"


def test_create__select_all_takes_those_of_all_pages_and_of_the_filter_only(alice):
    world.contacts(alice, 120)
    germany = Country.objects.create(name="Germany")
    world.contacts(alice, 3, prefix="german", country=germany)
    first = Contact.objects.first()
    data = {"action": CREATE, "_selected_action": [first.pk], "select_across": "1"}
    client_of(alice).post(url(Contact, "changelist"), data)
    assert Mailing.objects.get().total == 123
    client_of(alice).post(f"{url(Contact, 'changelist')}?country__id__exact={germany.pk}", data)
    assert Mailing.objects.latest("id").total == 3


def count_queries(person: Any, action: str) -> int:
    client = client_of(person)
    client.get(url(Contact, "changelist"))
    with CaptureQueriesContext(connection) as captured:
        act(client, Contact, action, everywhere=True)
    return len(captured)


@pytest.mark.parametrize("action", [CREATE, MARK, UNMARK])
def test_number_of_queries_does_not_depend_on_that_of_recipients(action, alice, bob):
    world.contacts(bob, 1)
    world.contacts(alice, 10)
    count_queries(alice, action)
    world.contacts(alice, 1, prefix="another")
    few = count_queries(alice, action)
    world.contacts(alice, 990, prefix="more")
    assert count_queries(alice, action) == few


def test_create__says_who_was_left_out_and_why(alice, bob):
    world.contacts(alice, 2)
    world.contacts(alice, 1, prefix="twice", email="person0@alice.example")
    world.contacts(alice, 3, prefix="none", email="")
    world.contacts(alice, 1, prefix="bad", email="nobody")
    world.contacts(alice, 1, prefix="off", massmail=False)
    world.contacts(alice, 1, prefix="gone", disqualified=True)
    world.contacts(bob, 4)
    Suppression.objects.create(address="person1@alice.example", reason="bounced")
    response = act(client_of(alice), Contact, CREATE, everywhere=True)
    mailing = Mailing.objects.get()
    left_out = dict.fromkeys(Exclusion.values, 0)
    for reason in mailing.left_out.values_list("reason", flat=True):
        left_out[reason] += 1
    expected = {"not_owner": 4, "no_address": 3, "invalid_address": 1, "duplicate": 1, "unsubscribed": 1}
    expected |= {"not_eligible": 1, "suppressed": 1}
    assert {reason: number for reason, number in left_out.items() if number} == expected
    (message,) = said(response)
    assert "to 1 address." in message
    for reason, number in expected.items():
        query = f"?mailing__id__exact={mailing.pk}&amp;reason__exact={reason}"
        label = escape(Exclusion(reason).label)
        assert f'<a href="{url(LeftOut, "changelist")}{query}">{label}: {number}</a>' in message


def test_create__link_in_the_message_leads_to_the_left_out(alice, bob):
    world.contacts(alice, 1)
    world.contacts(bob, 2)
    client = client_of(alice)
    act(client, Contact, CREATE, everywhere=True)
    query = {"mailing__id__exact": Mailing.objects.get().pk, "reason__exact": "not_owner"}
    page = client.get(url(LeftOut, "changelist"), query)
    assert page.context["cl"].result_count == 2
    assert "Not assigned to the mailing&#x27;s owner" in page.content.decode()


def test_create__for_nobody_makes_nothing_and_says_why(alice, bob):
    world.contacts(bob, 3)
    world.contacts(alice, 2, email="")
    response = act(client_of(alice), Contact, CREATE, everywhere=True)
    assert response.headers["Location"] == url(Contact, "changelist")
    (message,) = said(response)
    assert message.startswith("No mailing is made")
    assert "Not assigned to the mailing&#x27;s owner: 3" in message
    assert "No email address: 2" in message
    assert "<a" not in message
    assert not Mailing.objects.exists()
    assert not LeftOut.objects.exists()
    assert not AuditEntry.objects.exists()


def test_create__superuser_on_behalf_of_the_one_owner(alice, boss):
    world.contacts(alice, 2)
    act(client_of(boss), Contact, CREATE, everywhere=True)
    assert Mailing.objects.get().owner == alice
    assert Mailing.objects.get().total == 2


def test_create__superuser_with_several_owners_is_told_so(alice, bob, boss):
    world.contacts(alice, 1)
    world.contacts(bob, 1)
    response = act(client_of(boss), Contact, CREATE, everywhere=True)
    assert not Mailing.objects.exists()
    assert "belong to several owners" in said(response)[0]


def test_create__name_of_the_mailing_is_escaped_in_the_message(alice, monkeypatch):
    monkeypatch.setattr(Contact._meta, "verbose_name_plural", "<b>people</b>")
    world.contacts(alice, 1)
    (message,) = said(act(client_of(alice), Contact, CREATE))
    assert "<b>" not in message
    assert "&lt;b&gt;people" in message.lower()


def vips() -> int:
    return Recipient.objects.filter(vip=True).count()


def test_vip__marks_and_unmarks_own_recipients_only(alice, bob):
    world.contacts(alice, 3)
    world.contacts(bob, 2)
    client = client_of(alice)
    response = act(client, Contact, MARK, everywhere=True)
    assert vips() == 3
    assert said(response) == [
        "3 recipients marked as VIP. The owner's main account writes to VIPs, and to nobody else.",
        "2 selected recipients are not assigned to you and stay as they are.",
    ]
    assert AuditEntry.objects.filter(action=AuditAction.MARKED_VIP, by=alice).exists()

    act(client_of(bob), Contact, UNMARK, everywhere=True)
    assert vips() == 3
    assert "VIP status removed from 3 recipients." in said(act(client, Contact, UNMARK, everywhere=True))
    assert vips() == 0


def test_vip__superuser_marks_everybody(alice, bob, boss):
    world.contacts(alice, 1)
    world.contacts(bob, 1)
    act(client_of(boss), Contact, MARK, everywhere=True)
    assert vips() == 2


@override_settings(ROOT_URLCONF=__name__)
def test_other_site__with_actions_and_addresses_of_its_own(alice):
    world.contacts(alice, 7)
    client = client_of(alice)
    page = client.get("/office/crm/contact/")
    names = [value for value, _label in page.context["action_form"].fields["action"].choices]
    assert {"greet", "wave", CREATE, MARK, UNMARK} <= set(names)
    assert client.get("/office/crm/contact/hello/").content == b"hello"

    data = {"action": CREATE, "_selected_action": [Contact.objects.first().pk], "select_across": "1"}
    response = client.post("/office/crm/contact/", data)
    mailing = Mailing.objects.get()
    assert response.headers["Location"] == f"/office/massmail/mailing/{mailing.pk}/change/"
    assert mailing.total == 7
    assert "/office/massmail/mailing/" in client.get(response.headers["Location"]).content.decode()
    assert "/admin/massmail/" not in client.get(response.headers["Location"]).content.decode()


def test_other_site__registering_twice_is_no_error():
    register(office)
    assert office.is_registered(Mailing)


def test_actions_none_means_no_menu(rf, alice):
    class Silent(MassmailAdminMixin, admin.ModelAdmin):
        actions = None

    request = rf.get("/")
    request.user = alice
    assert Silent(Contact, office).get_actions(request) == {}


def test_check__model_without_a_recipient_type():
    class CountryAdmin(MassmailAdminMixin, admin.ModelAdmin):
        pass

    assert [error.id for error in CountryAdmin(Country, office).check()] == ["massmail.E008"]
