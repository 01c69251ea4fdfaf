"""Columns and filters about mailings on the host's lists."""

from __future__ import annotations

import datetime as dt
from typing import Any

import pytest
from django.contrib import admin
from django.contrib.admin.utils import quote
from django.contrib.admin.views.main import ChangeList
from django.contrib.auth.models import Permission
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.urls import path
from django.utils import timezone

from example_project.crm.models import Company, Contact
from massmail.admin import MassmailAdminMixin
from massmail.admin.host_filters import VipFilter
from massmail.engine import lanes
from massmail.models import Delivery, Recipient, Suppression
from massmail.outcomes import unsubscribe_by_hand
from tests import world
from tests.adminpages import act, client_of, queries
from tests.host.models import Partner, Region, Vendor

pytestmark = pytest.mark.django_db

LIST = "/admin/crm/contact/"
COLUMNS = ["massmail_vip", "massmail_subscribed", "massmail_last_mailing"]


class BusyAdmin(MassmailAdminMixin, admin.ModelAdmin):
    """A host's list with cells that can be edited, an order, and a change list of its own."""

    list_display = ["last_name", "massmail_replied", "massmail_vip", "title"]
    list_editable = ["title"]
    list_filter = [VipFilter]
    ordering = ["-last_name"]

    def get_changelist(self, request: Any, **kwargs: Any) -> Any:
        return OwnChangeList


class OwnChangeList(ChangeList):
    pass


class QuietAdmin(MassmailAdminMixin, admin.ModelAdmin):
    massmail_columns = ()
    massmail_filters = ()


class ReadingAdmin(MassmailAdminMixin, admin.ModelAdmin):
    readonly_fields = ["massmail_vip", "massmail_last_mailing"]


office = admin.AdminSite(name="office")
office.register(Contact, BusyAdmin)
office.register(Company, QuietAdmin)
office.register(Partner, ReadingAdmin)
office.register(Vendor, ReadingAdmin)

urlpatterns = [path("office/", office.urls), path("admin/", admin.site.urls)]


@pytest.fixture
def on_office(settings: Any) -> None:
    settings.ROOT_URLCONF = __name__


def sent(mailing: Any, at: dt.datetime | None = None, **later: Any) -> None:
    at = at or timezone.now()
    mailing.deliveries.update(status="sent", sending_at=at, sent_at=at, **later)


def shown(person: Any, query: str = "", address: str = LIST) -> set[str]:
    """Return whom the list shows, by the text of their keys."""
    response = client_of(person).get(address + query)
    assert response.status_code == 200
    return {str(obj.pk) for obj in response.context["cl"].result_list}


def keys(*objects: Any) -> set[str]:
    return {str(obj.pk) for obj in objects}


def cell(person: Any, obj: Any, column: str) -> str:
    """Return the HTML of a cell on the list."""
    html = client_of(person).get(LIST).content.decode()
    row = next(row for row in html.split("<tr>") if f'value="{obj.pk}"' in row)
    return row.split(f"field-{column}")[1].split("</td>")[0]


# Columns --------------------------------------------------------------------------------------------------------------


def test_columns__say_how_each_row_stands(alice):
    vip, gone, plain = world.contacts(alice, 3)
    lanes.set_vip(Contact.objects.filter(pk=vip.pk), vip=True, by=alice)
    unsubscribe_by_hand(gone, [gone.email], by=alice)
    sent(world.mailing(alice, Contact.objects.filter(pk=plain.pk), name="Old offer"), world.berlin("2026-10-01 10:00"))
    sent(world.mailing(alice, Contact.objects.filter(pk=plain.pk), name="New offer"), world.berlin("2026-11-12 10:00"))
    world.mailing(alice, Contact.objects.filter(pk=plain.pk), name="Draft")
    assert "VIP" in cell(alice, vip, "massmail_vip")
    assert "VIP" not in cell(alice, plain, "massmail_vip")
    assert 'alt="False"' in cell(alice, gone, "massmail_subscribed")
    assert 'alt="True"' in cell(alice, plain, "massmail_subscribed")
    assert "New offer" in cell(alice, plain, "massmail_last_mailing")
    assert "12 Nov" in cell(alice, plain, "massmail_last_mailing")
    assert "massmail" not in cell(alice, vip, "massmail_last_mailing").removeprefix(' nowrap">')


@pytest.mark.parametrize("no", ["flag", "recipient", "address"])
def test_columns__any_no_wins(no, alice):
    (contact,) = world.contacts(alice, 1, email="  Person@X.example ")
    mailing = world.mailing(alice)
    match no:
        case "flag":
            Contact.objects.update(massmail=False)
        case "recipient":
            Recipient.objects.create(content_type=mailing.content_type, object_id=str(contact.pk), subscribed=False)
        case "address":
            Suppression.objects.create(address="person@x.example", reason="bounced")
    assert 'alt="False"' in cell(alice, contact, "massmail_subscribed")
    assert shown(alice, "?massmail_subscribed=no") == keys(contact)
    assert shown(alice, "?massmail_subscribed=yes") == set()


def test_columns__mailings_of_others_have_a_date_and_no_name(alice, bob, carol):
    (contact,) = world.contacts(alice, 1)
    sent(world.mailing(alice, name="Secret offer"))
    assert "Secret offer" in cell(alice, contact, "massmail_last_mailing")
    assert "Secret offer" in cell(carol, contact, "massmail_last_mailing")
    of_other = cell(bob, contact, "massmail_last_mailing")
    assert "Secret offer" not in of_other
    assert "massmail-date" in of_other


def test_columns__are_for_those_who_may_see_mailings(alice, django_user_model):
    world.contacts(alice, 1)
    clerk = django_user_model.objects.create_user("clerk", is_staff=True)
    clerk.user_permissions.add(Permission.objects.get(codename="view_contact"))
    html = client_of(clerk).get(LIST).content.decode()
    assert "column-email" in html
    assert not [column for column in COLUMNS if column in html]
    assert "?massmail_vip=" not in html


def test_columns__change_neither_order_nor_count_nor_query(alice):
    world.contacts(alice, 60)
    client = client_of(alice)
    client.get(LIST)
    with CaptureQueriesContext(connection) as captured:
        changelist = client.get(LIST).context["cl"]
    assert [obj.pk for obj in changelist.result_list] == [obj.pk for obj in Contact.objects.all()[:50]]
    rows = [query["sql"] for query in captured if query["sql"].startswith("SELECT COUNT") or "LIMIT 50" in query["sql"]]
    assert len(rows) == 2
    assert not [sql for sql in rows if "massmail_recipient" in sql or "massmail_delivery" in sql]


def test_columns__number_of_queries(alice):
    address = LIST + "?all="

    def more(number: int) -> None:
        people = world.contacts(alice, number, prefix=f"p{number}-")
        chosen = Contact.objects.filter(pk__in=[each.pk for each in people])
        sent(world.mailing(alice, chosen))
        lanes.set_vip(chosen.filter(pk__lte=people[len(people) // 2].pk), vip=True, by=alice)

    more(10)
    few = queries(client_of(alice), address)
    more(90)
    assert queries(client_of(alice), address) == few
    more(2900)
    assert queries(client_of(alice), LIST) <= few
    assert few < 20


def test_columns__an_action_does_not_look_them_up(alice):
    people = world.contacts(alice, 3)
    with CaptureQueriesContext(connection) as captured:
        act(client_of(alice), Contact, "massmail_unmark_vip", people)
    assert not [query for query in captured if "mm_rank" in query["sql"]]


def test_columns__in_a_list_that_can_be_edited(alice, boss, on_office):
    first, second = world.contacts(alice, 2)
    lanes.set_vip(Contact.objects.filter(pk=first.pk), vip=True, by=alice)
    sent(world.mailing(alice), replied_at=world.berlin("2026-11-13 10:00"))
    client = client_of(boss)
    response = client.get("/office/crm/contact/")
    changelist = response.context["cl"]
    assert changelist.list_display[1:] == [
        "last_name",
        "massmail_replied",
        "massmail_vip",
        "title",
        "massmail_subscribed",
        "massmail_last_mailing",
    ]
    assert isinstance(changelist, OwnChangeList)
    assert [obj.last_name for obj in changelist.result_list] == ["Last1", "Last0"]
    html = response.content.decode()
    assert "Nov. 13, 2026" in html
    assert html.count("massmail-state-vip") == 1
    data = {"form-TOTAL_FORMS": 2, "form-INITIAL_FORMS": 2, "_save": "1", "form-0-title": "x" * 200}
    data |= {"form-0-id": second.pk, "form-1-id": first.pk, "form-1-title": "Dr"}
    refused = client.post("/office/crm/contact/", data)
    assert refused.status_code == 200
    assert refused.content.decode().count("massmail-state-vip") == 1
    assert client.post("/office/crm/contact/", data | {"form-0-title": "Prof"}).status_code == 302
    assert set(Contact.objects.values_list("title", flat=True)) == {"Dr", "Prof"}


def test_columns__can_be_switched_off(alice, boss, on_office):
    world.company(alice)
    client = client_of(boss)
    plain = queries(client, "/office/crm/company/")
    response = client.get("/office/crm/company/")
    assert response.context["cl"].list_display == ["action_checkbox", "__str__"]
    assert not response.context["cl"].has_filters
    assert plain < 8


@pytest.fixture(params=[Partner, Vendor])
def odd(request: Any, alice: Any) -> Any:
    """Two customers with UUIDs, or with texts that need quoting, as keys."""
    region = Region.objects.create(manager=alice)
    if request.param is Partner:
        return [Partner.objects.create(region=region, email=f"{n}@x.example") for n in range(2)]
    return [Vendor.objects.create(code=f"V/{n} _ü", region=region, mail_address=f"{n}@x.example") for n in range(2)]


def test_any_key(odd, alice, boss, on_office):
    model, (first, second) = type(odd[0]), odd
    address = f"/office/host/{model._meta.model_name}/"
    lanes.set_vip(model.objects.filter(pk=first.pk), vip=True, by=alice)
    sent(world.create_mailing(owner=alice, recipients=model.objects.filter(pk=second.pk), name="Offer").mailing)
    unsubscribe_by_hand(second, [], by=alice)
    assert shown(boss, "?massmail_vip=yes", address) == keys(first)
    assert shown(boss, "?massmail_vip=no", address) == keys(second)
    assert shown(boss, "?massmail_subscribed=no", address) == keys(second)
    assert shown(boss, "?massmail_last_mailing=7", address) == keys(second)
    assert shown(boss, "?massmail_last_mailing=never", address) == keys(first)
    html = client_of(boss).get(address).content.decode()
    assert html.count("massmail-state-vip") == html.count('alt="False"') == html.count(">Offer<") == 1
    page = client_of(boss).get(f"{address}{quote(first.pk)}/change/").content.decode()
    assert "massmail-state-vip" in page.split('id="massmail-panel"')[0]


# Filters --------------------------------------------------------------------------------------------------------------


@pytest.fixture
def people(alice: Any) -> dict[str, Contact]:
    """One contact for each thing that a filter asks."""
    names = ["vip", "bounced", "replied", "recent", "old", "never"]
    found = {name: world.contacts(alice, 1, prefix=name)[0] for name in names}
    lanes.set_vip(Contact.objects.filter(pk=found["vip"].pk), vip=True, by=alice)
    now = timezone.now()
    for name, days, later in [
        ("bounced", 5, {"bounced_at": now}),
        ("replied", 20, {"replied_at": now}),
        ("recent", 1, {}),
        ("old", 60, {}),
        ("vip", 200, {}),
    ]:
        mailing = world.mailing(alice, Contact.objects.filter(pk=found[name].pk))
        sent(mailing, now - dt.timedelta(days=days), **later)
    # The same key of another type is somebody else.
    same_key = world.company(alice, pk=found["never"].pk, email="firm@x.example")
    sent(world.mailing(alice, Company.objects.filter(pk=same_key.pk)), bounced_at=now, replied_at=now)
    lanes.set_vip(Company.objects.filter(pk=same_key.pk), vip=True, by=alice)
    return found


def test_filters(people, alice):
    everybody = set(people)
    expected = {
        "massmail_vip=yes": {"vip"},
        "massmail_vip=no": everybody - {"vip"},
        "massmail_bounced=yes": {"bounced"},
        "massmail_bounced=no": everybody - {"bounced"},
        "massmail_replied=yes": {"replied"},
        "massmail_last_mailing=7": {"bounced", "recent"},
        "massmail_last_mailing=30": {"bounced", "recent", "replied"},
        "massmail_last_mailing=90": {"bounced", "recent", "replied", "old"},
        "massmail_last_mailing=not-30": {"old", "vip", "never"},
        "massmail_last_mailing=not-90": {"vip", "never"},
        "massmail_last_mailing=never": {"never"},
        "massmail_last_mailing=nonsense": everybody,
        "massmail_vip=nonsense": everybody,
        "massmail_replied=no&massmail_last_mailing=30&massmail_vip=no": {"bounced", "recent"},
    }
    found = {query: shown(alice, f"?{query}") for query in expected}
    assert found == {query: keys(*(people[name] for name in names)) for query, names in expected.items()}


def test_filters__are_counted(people, alice):
    html = client_of(alice).get(LIST + "?_facets=True").content.decode()
    assert "Yes (1)" in html


def test_filters__hand_the_right_ones_to_an_action(people, alice):
    data = {"action": "massmail_create_mailing", "_selected_action": [people["vip"].pk], "select_across": "1"}
    client_of(alice).post(LIST + "?massmail_last_mailing=not-30", data)
    made = Delivery.objects.filter(status="queued").values_list("object_id", flat=True)
    assert set(made) == keys(*(people[name] for name in ("old", "vip", "never")))


def test_filter_account__comes_by_link_and_only_to_those_who_may_see_the_account(alice, bob, carol):
    mine, other = world.contacts(alice, 2)
    account = world.account(alice, "office")
    mailing = world.mailing(alice)
    Recipient.objects.create(content_type=mailing.content_type, object_id=str(mine.pk), account=account)
    assert "office" not in client_of(alice).get(LIST).content.decode()
    query = f"?massmail_account={account.pk}"
    assert shown(alice, query) == shown(carol, query) == keys(mine)
    assert "office" in client_of(alice).get(LIST + query).content.decode()
    assert shown(bob, query) == keys(mine, other)
    assert "office" not in client_of(bob).get(LIST + query).content.decode()
    for nonsense in ("x", "9" * 40):
        assert shown(alice, f"?massmail_account={nonsense}") == keys(mine, other)
