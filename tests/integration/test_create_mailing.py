"""The second way of making a mailing: the page where filters choose the recipients."""

from __future__ import annotations

import datetime as dt
import re
from html import escape, unescape
from typing import Any

import pytest
import time_machine
from django.contrib import admin
from django.contrib.auth.models import Permission
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from example_project.crm.admin import ContactAdmin
from example_project.crm.mailing import CompanyRecipients, ContactRecipients
from example_project.crm.models import ClientType, Company, Contact, Country, Industry, Lead, Tag
from massmail.audience.filters import SHOWN
from massmail.models import AuditEntry, Delivery, LeftOut, Mailing
from tests import world
from tests.adminpages import client_of, said, url
from tests.host.models import Partner, Region

pytestmark = pytest.mark.django_db

PAGE, COUNT, OPTIONS = (url(Mailing, page) for page in ("create", "create_count", "create_options"))


def post(person: Any, address: str = PAGE, /, **data: Any) -> Any:
    """Press "Create mailing" with `data`; filters are written `f_country=…`, and "~" stands for "-"."""
    button = {"_create": "1"} if address == PAGE else {}
    fields = {name.replace("f_", "f-", 1).replace("~", "-"): value for name, value in data.items()}
    return client_of(person).post(address, {"type": "crm.contact", **button, **fields})


def chosen(person: Any, **data: Any) -> set[str]:
    """Return before the @ of the addresses in the mailing that `data` makes."""
    response = post(person, **data)
    assert response.status_code == 302, response.context["error"]
    addresses = Mailing.objects.latest("pk").deliveries.values_list("address", flat=True)
    return {address.partition("@")[0] for address in addresses}


def refused(person: Any, **data: Any) -> str:
    """Return what the page says instead of making a mailing of `data`."""
    response = post(person, **data)
    assert response.status_code == 200
    assert not Mailing.objects.exists()
    return str(response.context["error"])


@pytest.fixture
def market(alice: Any) -> dict[str, Any]:
    """Contacts that differ: anna (Germany, metal), ben (Austria, wood, a key account), cleo (nothing known)."""
    germany, austria = (Country.objects.create(name=name) for name in ("Germany", "Austria"))
    metal, wood = (Industry.objects.create(name=name) for name in ("Metal", "Wood"))
    supplier = ClientType.objects.create(name="Supplier")
    tags = [Tag.objects.create(name=name) for name in ("fair", "webinar", "key account")]
    smith = world.company(alice, industry=metal, type=supplier)
    joiner = world.company(alice, industry=wood, full_name="Holz AG")
    unknown = world.company(alice, full_name="Nobody knows Ltd")

    def contact(name: str, firm: Any, day: str, **fields: Any) -> Any:
        (found,) = world.contacts(
            alice, 1, email=f"{name}@x.example", company=firm, first_name=name.capitalize(), creation_date=day, **fields
        )
        return found

    people = {
        "anna": contact("anna", smith, "2026-03-01", country=germany),
        "ben": contact("ben", joiner, "2026-03-31", country=austria),
        "cleo": contact("cleo", unknown, "2026-04-01"),
    }
    people["ben"].tags.set(tags)
    return {"germany": germany, "austria": austria, "metal": metal, "wood": wood, "tags": tags, **people}


# Who may ------------------------------------------------------------------------------------------------------------


def clerk(django_user_model: Any) -> Any:
    person = django_user_model.objects.create_user("clerk", is_staff=True)
    person.user_permissions.add(*Permission.objects.filter(codename__in=["view_contact", "view_mailing"]))
    return person


def test_who_may(market, alice, bob, carol, boss, django_user_model):
    people = {"alice": alice, "bob": bob, "carol": carol, "boss": boss, "clerk": clerk(django_user_model), "": None}
    expected = {"clerk": 403, "": 302}
    options = f"{OPTIONS}?type=crm.contact&filter=country"
    for name, person in people.items():
        client = client_of(person)
        answers = [client.get(PAGE), client.post(COUNT, {"type": "crm.contact"}), client.get(options)]
        assert {answer.status_code for answer in answers} == {expected.get(name, 200)}, name
        assert client.get(COUNT).status_code == {"": 302}.get(name, 405), name
    for name in ("clerk", ""):
        assert post(people[name]).status_code == expected[name]
    assert not Mailing.objects.exists()


def test_button__for_those_who_may(alice, django_user_model):
    assert f'href="{PAGE}"' in client_of(alice).get(url(Mailing, "changelist")).content.decode()
    assert PAGE not in client_of(clerk(django_user_model)).get(url(Mailing, "changelist")).content.decode()


def test_types__those_the_user_may_see(alice, django_user_model):
    page = client_of(alice).get(PAGE)
    assert [each["name"] for each in page.context["types"]] == ["Contact persons", "Companies", "Leads"]
    few = clerk(django_user_model)
    few.user_permissions.add(Permission.objects.get(codename="add_mailing"))
    assert [each["name"] for each in client_of(few).get(PAGE).context["types"]] == ["Contact persons"]
    assert client_of(few).get(f"{PAGE}?type=crm.lead").status_code == 404
    assert client_of(few).get(f"{OPTIONS}?type=crm.lead&filter=country").status_code == 404
    assert client_of(few).post(COUNT, {"type": "auth.user"}).status_code == 404
    few.user_permissions.clear()
    few.user_permissions.add(Permission.objects.get(codename="add_mailing"))
    assert "no recipients that you may see" in client_of(few).get(PAGE).content.decode()


def test_looking_and_counting_change_nothing(market, alice):
    client = client_of(alice)
    client.get(PAGE)
    client.post(COUNT, {"type": "crm.contact"})
    client.post(PAGE, {"type": "crm.contact", "_count": "1"})
    assert (Mailing.objects.count(), LeftOut.objects.count(), AuditEntry.objects.count()) == (0, 0, 0)


# Filters ------------------------------------------------------------------------------------------------------------


def test_filters__none_means_everybody(market, alice):
    assert chosen(alice) == {"anna", "ben", "cleo"}


def test_filters__of_each_kind(market, alice):
    germany, austria = market["germany"].pk, market["austria"].pk
    assert chosen(alice, f_country=[germany]) == {"anna"}
    assert chosen(alice, f_country=[germany, austria]) == {"anna", "ben"}
    assert chosen(alice, f_country=["-", germany]) == {"anna", "cleo"}
    assert chosen(alice, f_company__industry=[market["wood"].pk]) == {"ben"}
    assert chosen(alice, f_company__industry=["-"]) == {"cleo"}
    assert chosen(alice, **{"f_creation_date~from": "2026-03-02", "f_creation_date~to": "2026-03-31"}) == {"ben"}
    assert chosen(alice, **{"f_creation_date~to": "2026-03-01"}) == {"anna"}
    assert chosen(alice, f_search="ann x.example") == {"anna"}
    assert chosen(alice, f_search="ann", f_country=[germany]) == {"anna"}


def test_filters__default_to_the_host_lists(market, alice):
    Company.objects.update(email="office@firm.example")
    Company.objects.filter(full_name="Holz AG").update(email="wood@firm.example", massmail=False)
    client = client_of(alice)
    data = {"type": "crm.company", "_create": "1", "f-massmail": "yes", "f-type": "-"}
    client.post(PAGE, data)
    assert Mailing.objects.get().filters["words"] == [["Type", "None"], ["Mailing list", "Yes"]]
    assert Mailing.objects.get().total == 1
    names = [each.name for each in client.get(f"{PAGE}?type=crm.company").context["filters"]]
    # None of them has a country or a tag: of these there is nothing to choose.
    assert names[:6] == ["search", "type", "industry", "massmail", "disqualified", "creation_date"]
    assert "owner" not in names


def test_filters__relations_to_many_take_each_once(market, alice, monkeypatch):
    monkeypatch.setattr(ContactRecipients, "filters", ["tags"])
    assert chosen(alice, f_tags=[tag.pk for tag in market["tags"]]) == {"ben"}
    assert LeftOut.objects.count() == 0
    assert chosen(alice, f_tags=["-"]) == {"anna", "cleo"}


def test_filters__values_of_a_text_field(alice):
    for source in ("Fair", "Website", ""):
        world.lead(alice, source=source, email=f"{source or 'none'}@x.example")
    client = client_of(alice)
    found = client.get(f"{OPTIONS}?type=crm.lead&filter=source").json()
    assert [option["label"] for option in found["options"]] == ["Fair", "Website"]
    client.post(PAGE, {"type": "crm.lead", "_create": "1", "f-source": ["Fair"]})
    assert Mailing.objects.get().deliveries.get().address == "fair@x.example"


class Initial(admin.SimpleListFilter):
    title = "initial"
    parameter_name = "initial"

    def lookups(self, request: Any, model_admin: Any) -> Any:
        return [("a", "A"), ("b", "B")]

    def queryset(self, request: Any, queryset: Any) -> Any:
        return queryset.filter(first_name__istartswith=self.value()) if self.value() else queryset


class Boxed(admin.SimpleListFilter):
    """A box to type in: offers no choices."""

    title = "boxed"
    parameter_name = "boxed"

    def lookups(self, request: Any, model_admin: Any) -> Any:
        return [("", "")]

    def choices(self, changelist: Any) -> Any:
        return []

    def queryset(self, request: Any, queryset: Any) -> Any:
        return queryset


class FirstTwo(admin.AllValuesFieldListFilter):
    """A class of the host's for a field, with other choices than the field has."""

    def choices(self, changelist: Any) -> Any:
        return list(super().choices(changelist))[:3]


def test_filters__classes_of_the_host(market, alice, monkeypatch):
    pairs = [
        ("title", admin.EmptyFieldListFilter),
        ("first_name", FirstTwo),
        ("country", admin.RelatedOnlyFieldListFilter),
    ]
    monkeypatch.setattr(ContactRecipients, "filters", None)
    monkeypatch.setattr(ContactAdmin, "list_filter", [Initial, Boxed, *pairs, "owner__date_joined", "id"])
    Contact.objects.filter(first_name="Cleo").update(title="Head")
    page = client_of(alice).get(PAGE)
    kinds = {each.name: each.kind for each in page.context["filters"]}
    assert kinds["initial"] == kinds["first_name"] == "menu"
    assert (kinds["title__empty"], kinds["country"], kinds["id"]) == ("yesno", "choice", "number")
    assert "cannot be used here: Boxed" in page.content.decode()
    assert chosen(alice, f_initial="initial=b") == {"ben"}
    assert Mailing.objects.latest("pk").filters["words"] == [["Initial", "B"]]
    assert chosen(alice, f_title__empty="no") == {"cleo"}
    assert chosen(alice, f_first_name="first_name=Anna") == {"anna"}
    assert chosen(alice, **{"f_id~from": str(market["ben"].pk)}) == {"ben", "cleo"}
    today = timezone.localdate()
    assert len(chosen(alice, **{"f_owner__date_joined~from": str(today), "f_owner__date_joined~to": str(today)})) == 3
    tomorrow = str(today + dt.timedelta(days=1))
    assert post(alice, **{"f_owner__date_joined~from": tomorrow}).context["expectation"].matching == 0


def test_filters__vip_and_last_mailing(market, alice):
    from massmail.engine.lanes import set_vip

    set_vip(Contact.objects.filter(first_name="Ben"), vip=True, by=alice)
    assert chosen(alice, f_massmail_vip="massmail_vip=yes") == {"ben"}
    assert chosen(alice, f_massmail_vip="massmail_vip=no") == {"anna", "cleo"}
    Delivery.objects.filter(address="anna@x.example").update(status="sent", sent_at=timezone.now())
    assert chosen(alice, f_massmail_last_mailing="massmail_last_mailing=never") == {"ben", "cleo"}


@pytest.mark.parametrize(
    ("data", "said_then"),
    [
        ({"f_owner__password": "x"}, "“owner__password” is not a filter that is offered here."),
        ({"f_owner__password__startswith": "pbkdf2"}, "not a filter that is offered"),
        ({"f_country__name": "Germany"}, "not a filter that is offered"),
        ({"f_country": ["999999"]}, "Country: 1 chosen value does not exist any more or is not offered."),
        ({"f_country": ["x", "\x00", "9" * 40]}, "3 chosen values do not exist"),
        ({"f_massmail_vip": "owner__password__startswith=x"}, "1 chosen value does not exist"),
        ({"f_creation_date~from": "yesterday"}, "“yesterday” is not a date"),
        ({"f_creation_date~from": "2026-04-01", "f_creation_date~to": "2026-03-01"}, "“from” lies behind “to”"),
        ({"f_search": "x" * 201}, "too long"),
        ({"f_search": "a\x00b"}, "cannot be read"),
        ({"name": "x" * 251}, "The name must be"),
        ({"message": "77"}, "Choose a message of the mailing's owner."),
        ({"received": "77"}, "Choose a message of the mailing's owner."),
    ],
)
def test_filters__what_is_not_offered_is_refused(data, said_then, market, alice):
    assert said_then in refused(alice, **data)


def test_filters__of_options_that_only_others_use(market, alice, bob, monkeypatch):
    """Where the host's list hides recipients, what only they have is not offered either."""
    secret = Country.objects.create(name="Secretland")
    world.contacts(bob, 1, country=secret)
    monkeypatch.setattr(ContactAdmin, "get_queryset", lambda self, request: Contact.objects.filter(owner=request.user))
    options = client_of(alice).get(f"{OPTIONS}?type=crm.contact&filter=country").json()["options"]
    assert "Secretland" not in [option["label"] for option in options]
    assert "not offered" in refused(alice, f_country=[secret.pk])


# Options ------------------------------------------------------------------------------------------------------------


def test_options__thousands_are_found_and_never_listed(alice, monkeypatch):
    firms = Company.objects.bulk_create(
        Company(full_name=f"Firm {n:05}", owner=alice, creation_date=world.TODAY) for n in range(2_000)
    )
    Contact.objects.bulk_create(
        Contact(email=f"p{firm.pk}@x.example", company=firm, owner=alice, creation_date=world.TODAY) for firm in firms
    )
    monkeypatch.setattr(ContactRecipients, "filters", ["company"])
    client = client_of(alice)
    assert client.get(PAGE).content.decode().count("Firm 0") <= 3 * SHOWN
    found = client.get(f"{OPTIONS}?type=crm.contact&filter=company&q=firm 0177").json()
    assert [option["label"] for option in found["options"]] == ["Firm 00177", *(f"Firm 0177{n}" for n in range(10))]
    assert client.get(f"{OPTIONS}?type=crm.contact&filter=company").json()["more"] is True
    # Without a script, a button finds them, and what is ticked stays.
    data = {"type": "crm.contact", "_find": "1", "q-company": "01999", "f-company": [firms[3].pk]}
    (drawn,) = [each for each in client.post(PAGE, data).context["filters"] if each.name == "company"]
    assert [(box.label, box.checked) for box in drawn.boxes] == [("Firm 00003", True), ("Firm 01999", False)]


@pytest.mark.parametrize("name", ["", "owner", "owner__password", "creation_date", "search"])
def test_options__only_of_filters_with_choices(name, market, alice):
    assert client_of(alice).get(OPTIONS, {"type": "crm.contact", "filter": name}).status_code == 404


def test_options__hostile_text(market, alice):
    for text in ("\x00", "%", "'", '"', "\\", "x" * 10_000, "<script>"):
        assert client_of(alice).get(OPTIONS, {"type": "crm.contact", "filter": "country", "q": text}).json()


# Counting -----------------------------------------------------------------------------------------------------------


def test_count__says_who_is_left_out_and_why(market, alice, bob):
    world.contacts(bob, 2, company=market["ben"].company)
    world.contacts(alice, 1, email="", company=market["ben"].company)
    text = post(alice, COUNT).content.decode()
    assert "Matching contact persons</dt><dd>6<" in text
    assert "Will get it</dt><dd>3<" in text
    assert "Left out</dt><dd>3<" in text
    assert "Not assigned to the mailing&#x27;s owner</span> <strong>2<" in text
    assert f'<a href="{url(market["anna"], "change")}">Anna Last0</a>' in text
    fewer = post(alice, COUNT, f_country=[market["germany"].pk]).content.decode()
    assert "Matching contact persons</dt><dd>1<" in fewer
    assert "Matching contact persons</dt><dd>4<" in post(alice, COUNT, only_own="1").content.decode()


def test_count__nobody_is_explained(market, alice, bob):
    assert "Nobody matches" in post(alice, COUNT, f_search="zzz").content.decode()
    response = post(bob)
    assert "All who match are left out" in response.content.decode()
    assert "Not assigned to the mailing&#x27;s owner" in response.content.decode()
    assert not Mailing.objects.exists()
    assert not LeftOut.objects.exists()


def count_queries(client: Any, address: str, **data: Any) -> int:
    client.post(address, data)
    with CaptureQueriesContext(connection) as captured:
        assert client.post(address, data).status_code in (200, 302)
    return len(captured)


def test_number_of_queries_does_not_depend_on_that_of_recipients(market, alice, bob):
    client = client_of(alice)
    world.contacts(bob, 2, company=market["ben"].company)

    def measure() -> list[int]:
        with CaptureQueriesContext(connection) as opening:
            client.get(PAGE)
        data = {"type": "crm.contact", "f-country": ["-"]}
        numbers = [count_queries(client, COUNT, **data), count_queries(client, PAGE, _create="1", **data)]
        return [len(opening), *numbers]

    measure()
    few = measure()
    world.contacts(alice, 1000, prefix="more", company=market["ben"].company)
    world.contacts(bob, 500, prefix="more", company=market["ben"].company)
    Country.objects.bulk_create(Country(name=f"Country {n}") for n in range(300))
    assert measure() == few


# Whose mailing ------------------------------------------------------------------------------------------------------


def test_owner__a_manager_makes_only_own_mailings(market, alice, bob, carol):
    world.contacts(bob, 1, email="bob@x.example", company=market["ben"].company)
    for person in (bob, carol):
        post(person, owner=str(alice.pk))
    assert Mailing.objects.get().owner == bob
    assert Mailing.objects.get().deliveries.get().address == "bob@x.example"


def test_owner__a_superuser_chooses(market, alice, bob, boss):
    assert chosen(boss) == {"anna", "ben", "cleo"}
    made = Mailing.objects.get()
    assert made.owner == alice
    assert AuditEntry.objects.get(mailing=made).by == boss
    Mailing.objects.all().delete()
    world.contacts(bob, 1, email="bob@x.example", company=market["ben"].company)
    assert "Choose whose mailing it is" in refused(boss)
    assert "nobody else has recipients" in refused(boss, owner=str(boss.pk))
    assert chosen(boss, owner=str(bob.pk)) == {"bob"}
    assert Mailing.objects.get().owner == bob
    assert Mailing.objects.get().left_out.count() == 3


def test_message__of_the_owner_only(market, alice, bob, boss):
    own, foreign = world.message(alice), world.message(bob)
    assert "Choose a message of the mailing's owner." in refused(alice, message=str(foreign.pk))
    assert "Choose a message of the mailing's owner." in refused(boss, message=str(foreign.pk))
    assert "Choose a message of the mailing's owner." in refused(alice, received=str(foreign.pk))
    chosen(alice, message=str(own.pk), name="Spring offer")
    assert (Mailing.objects.get().message, Mailing.objects.get().name) == (own, "Spring offer")


def test_received__those_who_have_the_message_are_left_out(market, alice):
    message = world.message(alice)
    world.mailing(alice, message=message)
    Delivery.objects.filter(address="anna@x.example").update(status="sent", sent_at=timezone.now())
    text = post(alice, COUNT, received=str(message.pk)).content.decode()
    assert "Already received this message</span> <strong>1<" in text
    assert chosen(alice, received=str(message.pk)) == {"ben", "cleo"}
    assert Mailing.objects.latest("pk").filters["words"] == [["Without those who received", message.subject]]


# Afterwards ---------------------------------------------------------------------------------------------------------


def test_words_and_again(market, alice, bob):
    data = {"f_country": [market["germany"].pk, market["austria"].pk], "f_search": "x.example", "only_own": "1"}
    data |= {
        "f_creation_date~from": "2026-03-01",
        "f_creation_date~to": "2026-03-31",
        "f_massmail_vip": "massmail_vip=no",
    }
    response = post(alice, **data)
    made = Mailing.objects.get()
    assert "is made, to 2 addresses" in said(response)[0]
    page = client_of(alice).get(url(made, "change")).content.decode()
    assert "Country: Austria, Germany ·" in page
    assert "Search: “x.example” ·" in page
    assert "Creation date: March 1, 2026 to March 31, 2026 ·" in page
    assert "VIP: No" in page
    assert "Assigned to: alice" in page
    again = f"{PAGE}?again={made.pk}"
    assert f'href="{again}"' in page

    form = client_of(alice).get(again).context["form"]
    assert form.values == made.filters["values"]
    assert form.only_own
    assert client_of(bob).get(again).status_code == 404
    assert client_of(alice).get(f"{PAGE}?again=999").status_code == 404
    assert client_of(alice).get(f"{PAGE}?again=x").status_code == 404


def test_again__values_that_are_gone_are_named(market, alice, monkeypatch):
    post(alice, f_country=[market["germany"].pk, market["austria"].pk], f_company__industry=[market["metal"].pk, "-"])
    made = Mailing.objects.get()
    market["germany"].delete()
    monkeypatch.setattr(ContactRecipients, "filters", ["country"])
    page = client_of(alice).get(f"{PAGE}?again={made.pk}")
    assert "Country: 1 chosen value does not exist any more" in page.context["notice"]
    assert "Not offered any more, and left away: company__industry." in page.context["notice"]
    (drawn,) = [each for each in page.context["filters"] if each.name == "country"]
    assert [box.label for box in drawn.boxes if box.checked] == ["Austria"]
    # The mailing itself still says what it was made with.
    assert "Country: Austria, Germany" in client_of(alice).get(url(made, "change")).content.decode()


def test_made_by_the_action__has_no_filters_to_use_again(alice):
    world.contacts(alice, 1)
    made = world.mailing(alice)
    assert "again=" not in client_of(alice).get(url(made, "change")).content.decode()
    assert client_of(alice).get(f"{PAGE}?again={made.pk}").status_code == 404


def test_names_of_customers_are_escaped(market, alice):
    Contact.objects.update(first_name="<script>alert(1)</script>")
    Country.objects.filter(name="Germany").update(name="<b>land")
    for text in (client_of(alice).get(PAGE).content.decode(), post(alice, COUNT).content.decode()):
        assert "<script>alert" not in text
        assert "<b>land" not in text


def test_types_without_an_admin_of_their_own(boss, alice):
    region = Region.objects.create(manager=alice)
    Partner.objects.bulk_create(Partner(region=region, email=f"p{n}@x.example") for n in range(3))
    client = client_of(boss)
    page = client.get(f"{PAGE}?type=host.partner")
    assert next(each.name for each in page.context["filters"]) == "massmail_vip"
    client.post(PAGE, {"type": "host.partner", "_create": "1", "f-massmail_vip": "massmail_vip=no"})
    assert (Mailing.objects.get().total, Mailing.objects.get().owner) == (3, alice)


@pytest.mark.parametrize("attribute", ["search", "filters"])
def test_check__names_that_lead_nowhere(attribute, monkeypatch):
    from massmail.recipient_types import problems

    monkeypatch.setattr(CompanyRecipients, attribute, ["full_name", "tags", "nonsense", ("industry__nonsense", object)])
    found = problems(CompanyRecipients())
    assert f"{attribute}: 'nonsense' is not a lookup path of crm.Company." in found
    assert len(found) == (2 if attribute == "filters" else 1)


def test_leads_by_a_date(alice):
    Lead.objects.bulk_create(
        [Lead(owner=alice, email=f"l{n}@x.example", creation_date=f"2026-0{n}-01") for n in (1, 2, 3)]
    )
    data = {"type": "crm.lead", "_create": "1", "f-creation_date-from": "2026-02-01"}
    client_of(alice).post(PAGE, data)
    assert Mailing.objects.get().total == 2


# From the host's list ------------------------------------------------------------------------------------------------


def link_on_list(person: Any, **query: Any) -> tuple[str, str]:
    """Return where the button on the list of contacts leads, and what it says."""
    html = client_of(person).get(url(Contact, "changelist"), query).content.decode()
    found = re.search('<a href="([^"]+)" class="massmail-create-link"[^>]*>([^<]+)<', html)
    assert found
    return unescape(found[1]), found[2]


def test_from_the_list__nothing_filtered_leads_to_the_empty_page(market, alice):
    assert link_on_list(alice, o="1", p="0") == (f"{PAGE}?type=crm.contact", "Create mailing")


def test_from_the_list__filters_and_search_come_along(market, alice):
    germany = Country.objects.get(name="Germany")
    address, words = link_on_list(alice, country__id__exact=germany.pk, q="anna")
    assert words == "Create mailing from these filters"
    response = client_of(alice).get(address)
    assert response.context["form"].listed.words == [("Country", "Germany"), ("Search", "anna")]
    query = response.context["data"]["list"]
    assert f'name="list" value="{escape(query)}"' in response.content.decode()
    assert chosen(alice, list=query) == {"anna"}
    mailing = Mailing.objects.latest("pk")
    assert mailing.filters["words"] == [["Country", "Germany"], ["Search", "anna"]]
    again = client_of(alice).get(PAGE, {"again": mailing.pk})
    assert again.context["form"].listed.query == query


def test_from_the_list__is_narrowed_further_by_the_pages_own_filters(market, alice):
    assert chosen(alice, list="massmail__exact=1") >= {"anna", "ben"}
    austria = Country.objects.get(name="Austria")
    assert chosen(alice, list="massmail__exact=1", f_country=str(austria.pk)) == {"ben"}


@pytest.mark.parametrize("query", ["country__id__exact=x", "owner__password__startswith=p", "q=%00"])
def test_from_the_list__an_address_that_nobody_clicked(query, market, alice):
    response = client_of(alice).get(PAGE, {"type": "crm.contact", "list": query})
    assert response.status_code == 200
    if "q=" not in query:
        assert "can't be read any more" in response.context["notice"]
        assert "can't be read any more" in refused(alice, list=query)


def test_from_the_list__rows_are_not_fetched(market, alice):
    with CaptureQueriesContext(connection) as captured:
        client_of(alice).get(PAGE, {"type": "crm.contact", "list": "q=anna"})
    assert not [each for each in captured if "massmail_delivery" in each["sql"]]


def test_from_the_list__only_for_those_who_make_mailings(market, alice, django_user_model):
    clerk = django_user_model.objects.create_user("clerk", is_staff=True)
    clerk.user_permissions.add(Permission.objects.get(codename="view_contact"))
    assert "massmail-create-link" not in client_of(clerk).get(url(Contact, "changelist")).content.decode()
    popup = client_of(alice).get(url(Contact, "changelist"), {"_popup": "1"})
    assert "massmail-create-link" not in popup.content.decode()


def test_add__on_the_index_leads_to_the_page(market, alice):
    assert f'href="{url(Mailing, "add")}"' in client_of(alice).get("/admin/").content.decode()
    response = client_of(alice).get(url(Mailing, "add"))
    assert (response.status_code, response.headers["Location"]) == (302, PAGE)


def test_count__adds_up_in_addresses(market, alice):
    Contact.objects.filter(email__startswith="anna").update(email="anna@one.example, anna@two.example")
    expectation = post(alice, COUNT).context["expectation"]
    assert expectation.several
    assert expectation.addresses == expectation.added + sum(expectation.left_out.values()) == expectation.matching + 1


def test_default_name__is_the_type_and_the_day(market, alice):
    with time_machine.travel(world.MONDAY, tick=False):
        chosen(alice)
        chosen(alice)
    names = list(Mailing.objects.order_by("pk").values_list("name", flat=True))
    assert names == ["Contact persons, 23 Nov 2026", "Contact persons, 23 Nov 2026 (2)"]
