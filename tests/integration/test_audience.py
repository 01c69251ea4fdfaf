"""Making a mailing: who is taken in, who is left out, and that it never depends on how many they are."""

from __future__ import annotations

from collections import Counter

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from example_project.crm.models import Contact
from massmail.audience import create_mailing, parse_address, parse_addresses, sole_owner
from massmail.choices import Exclusion, MailingStatus
from massmail.engine import lanes
from massmail.exceptions import AudienceError
from massmail.models import AuditEntry, Delivery, LeftOut, Mailing, Recipient, Suppression
from massmail.outcomes import lift, unsubscribe
from tests import world


@pytest.fixture
def firm(alice):
    return world.company(alice)


def make(owner, recipients=None):
    return create_mailing(owner=owner, recipients=Contact.objects.all() if recipients is None else recipients)


def one(owner, email, **fields):
    return world.contacts(owner, 1, email=email, **fields)[0]


@pytest.mark.django_db
def test_create_mailing__each_reason(alice, bob, firm):
    one(alice, "good@x.example")
    one(bob, "bobs@x.example", company=firm)
    one(None, "nobodys@x.example", company=firm)
    one(alice, "disqualified@x.example", disqualified=True)
    one(alice, "off@x.example", massmail=False)
    one(alice, "suppressed@x.example")
    one(alice, "")
    one(alice, "   ")
    one(alice, "not an address")
    one(alice, "GOOD@x.example")
    Suppression.objects.create(address="suppressed@x.example", reason="manual")

    made = make(alice)

    assert made.mailing.status == MailingStatus.DRAFT
    assert list(made.mailing.deliveries.values_list("address", flat=True)) == ["good@x.example"]
    assert made.left_out == {
        Exclusion.NOT_OWNER: 2,
        Exclusion.NOT_ELIGIBLE: 1,
        Exclusion.UNSUBSCRIBED: 1,
        Exclusion.SUPPRESSED: 1,
        Exclusion.NO_ADDRESS: 2,
        Exclusion.INVALID_ADDRESS: 1,
        Exclusion.DUPLICATE: 1,
    }
    assert made.added == made.mailing.total == 1
    assert LeftOut.objects.filter(mailing=made.mailing).count() == sum(made.left_out.values())


@pytest.mark.django_db
def test_create_mailing__unsubscribed_recipient_row(alice):
    person = one(alice, "a@x.example")
    world.account(alice)
    made = make(alice)
    lanes.assign(made.mailing, [world.account(alice, "other")], daily_limit=94)
    Recipient.objects.filter(object_id=str(person.pk)).update(subscribed=False)
    assert make(alice).left_out == {Exclusion.UNSUBSCRIBED: 1}


@pytest.mark.django_db
def test_create_mailing__opt_out_by_address_counts_across_types(alice):
    from example_project.crm.models import Company, Lead

    contact = one(alice, "shared@x.example")
    lead = world.lead(alice, email="Shared@X.example")
    Company.objects.update(email="shared@x.example, other@x.example")
    made = make(alice)
    lanes.assign(made.mailing, [world.account(alice)], daily_limit=94)
    unsubscribe(Recipient.objects.get(), "shared@x.example", source="test")
    contact.refresh_from_db()
    lead.refresh_from_db()
    assert (contact.massmail, lead.massmail) == (False, False)
    assert make(alice).added == 0
    assert make(alice, Lead.objects.all()).added == 0
    companies = make(alice, Company.objects.all())
    assert companies.mailing.deliveries.get().address == "other@x.example"
    assert companies.left_out == {Exclusion.SUPPRESSED: 1}


@pytest.mark.django_db
def test_lift__coming_back_is_an_explicit_and_logged_act(alice, boss):
    person = one(alice, "back@x.example")
    made = make(alice)
    lanes.assign(made.mailing, [world.account(alice)], daily_limit=94)
    unsubscribe(Recipient.objects.get(), "back@x.example", source="test")
    Contact.objects.filter(pk=person.pk).update(massmail=True)
    assert make(alice).added == 0
    lift(Suppression.objects.get(), by=boss)
    assert make(alice).added == 1
    entry = AuditEntry.objects.get(action="suppression_lifted")
    assert (entry.by, entry.text) == (boss, "back@x.example")


@pytest.mark.django_db
def test_create_mailing__a_re_imported_address_stays_suppressed(alice):
    Suppression.objects.create(address="gone@x.example", reason="unsubscribed")
    one(alice, " Gone@X.example ")
    assert make(alice).left_out == {Exclusion.SUPPRESSED: 1}


@pytest.mark.django_db
def test_create_mailing__several_addresses_make_a_delivery_each(alice):
    person = one(alice, "One@x.example; two@x.example,\nnope, two@x.example")
    made = make(alice)
    assert set(made.mailing.deliveries.values_list("object_id", "address")) == {
        (str(person.pk), "one@x.example"),
        (str(person.pk), "two@x.example"),
    }
    assert made.left_out == {Exclusion.INVALID_ADDRESS: 1}


@pytest.mark.django_db
@pytest.mark.parametrize("emails", [("a@x.example",) * 3, ("a@x.example, b@x.example", "a@x.example", "b@x.example")])
def test_create_mailing__of_one_address_the_lowest_key_wins(alice, emails):
    people = [one(alice, email) for email in emails]
    made = make(alice)
    holders = dict(made.mailing.deliveries.values_list("address", "object_id"))
    assert set(holders.values()) == {str(people[0].pk)}
    assert made.left_out == {Exclusion.DUPLICATE: 2}


@pytest.mark.django_db
@pytest.mark.parametrize("vip", [0, 1, 2])
@pytest.mark.parametrize(
    "emails",
    [
        ("a@x.example", "A@x.example", "a@X.example"),
        ("a@x.example", "a@x.example, b@x.example", "a@x.example"),
        ("b@müller.example, a@x.example", "a@x.example", "c@x.example;a@x.example"),
    ],
)
def test_create_mailing__of_one_address_the_vip_wins(alice, emails, vip):
    people = [one(alice, email) for email in emails]
    lanes.set_vip(Contact.objects.filter(pk=people[vip].pk), vip=True, by=alice)
    made = make(alice)
    assert made.mailing.deliveries.get(address="a@x.example").object_id == str(people[vip].pk)
    assert made.left_out == {Exclusion.DUPLICATE: 2}


@pytest.mark.django_db
def test_create_mailing__international_addresses(alice):
    one(alice, "info@müller.example")
    one(alice, "info@xn--mller-kva.example")
    one(alice, "почта@x.example")
    made = make(alice)
    assert set(made.mailing.deliveries.values_list("address", flat=True)) == {
        "info@xn--mller-kva.example",
    }
    # The second needs SMTPUTF8 on every server on the way.
    assert made.left_out == {Exclusion.DUPLICATE: 1, Exclusion.INVALID_ADDRESS: 1}


@pytest.mark.django_db
@pytest.mark.parametrize("slicing", [slice(0, 2), slice(1, 3)])
def test_create_mailing__from_a_slice(alice, slicing):
    world.contacts(alice, 5)
    assert make(alice, Contact.objects.order_by("pk")[slicing]).added == 2


@pytest.mark.django_db
def test_create_mailing__from_joins_that_repeat_rows(alice):
    from example_project.crm.models import Tag

    person = one(alice, "a@x.example")
    for name in ("metal", "wood", "paper"):
        person.tags.add(Tag.objects.create(name=name))
    made = make(alice, Contact.objects.filter(tags__name__in=["metal", "wood", "paper"]))
    assert (made.added, made.left_out) == (1, {})


@pytest.mark.django_db
def test_create_mailing__a_host_that_doubles_rows(alice, monkeypatch):
    from example_project.crm.mailing import ContactRecipients
    from example_project.crm.models import Tag

    person, barred = one(alice, "a@x.example"), one(alice, "b@x.example", massmail=False)
    for name in ("metal", "wood"):
        tag = Tag.objects.create(name=name)
        person.tags.add(tag)
        barred.tags.add(tag)
    monkeypatch.setattr(ContactRecipients, "eligible", lambda self, queryset: queryset.filter(tags__isnull=False))
    made = make(alice)
    assert (made.added, made.left_out) == (1, {Exclusion.UNSUBSCRIBED: 1})


@pytest.mark.django_db
def test_create_mailing__from_nothing(alice):
    made = make(alice, Contact.objects.none())
    assert (made.added, made.left_out, made.mailing.total) == (0, {}, 0)


@pytest.mark.django_db
def test_create_mailing__the_number_of_queries_is_constant(alice, bob, firm):
    def measure(number):
        Contact.objects.all().delete()
        world.contacts(alice, number)
        world.contacts(alice, number // 10, prefix="person")  # duplicates
        world.contacts(bob, number // 5, company=firm)
        with CaptureQueriesContext(connection) as queries:
            make(alice)
        return len(queries)

    assert measure(10) == measure(1000)


@pytest.mark.django_db
def test_set_vip__the_number_of_queries_is_constant(alice):
    world.account(alice, "main", main=True)

    def measure(number, vip):
        with CaptureQueriesContext(connection) as queries:
            assert lanes.set_vip(Contact.objects.all(), vip=vip, by=alice) == number
        return len(queries)

    world.contacts(alice, 10)
    few = measure(10, True), measure(10, False)
    world.contacts(alice, 990, prefix="more")
    assert measure(1000, True) <= few[0]
    assert measure(1000, False) <= few[1]
    assert Counter(Recipient.objects.values_list("vip", flat=True)) == {False: 1000}


@pytest.mark.django_db
def test_assign__costs_the_same_for_a_large_mailing(alice, monkeypatch):
    monkeypatch.setattr(lanes, "CHUNK", 50)
    boxes = [world.account(alice, "one"), world.account(alice, "two")]

    def measure(number):
        world.contacts(alice, number, prefix=f"batch{number}-")
        mailing = make(alice, Contact.objects.filter(email__startswith=f"batch{number}-")).mailing
        with CaptureQueriesContext(connection) as queries:
            assert lanes.assign(mailing, boxes, daily_limit=94) == 50
        return len(queries)

    assert measure(50) == measure(500)


@pytest.mark.django_db
def test_sole_owner(alice, bob, firm):
    one(alice, "a@x.example")
    one(None, "n@x.example", company=firm)
    assert sole_owner(Contact.objects.all()) == alice
    one(bob, "b@x.example", company=firm)
    with pytest.raises(AudienceError, match="several owners"):
        sole_owner(Contact.objects.all())
    with pytest.raises(AudienceError, match="has an owner"):
        sole_owner(Contact.objects.filter(owner=None))


@pytest.mark.django_db(transaction=True)
def test_create_mailing__a_failure_leaves_nothing_behind(alice, monkeypatch):
    from massmail import audience

    world.contacts(alice, 3)

    def fail(*args, **kwargs):
        raise RuntimeError("disk full")

    monkeypatch.setattr(audience._OddOnes, "take", fail)
    with pytest.raises(RuntimeError):
        make(alice)
    assert (Mailing.objects.count(), Delivery.objects.count(), LeftOut.objects.count()) == (0, 0, 0)


@pytest.mark.parametrize(
    ("text", "normalised"),
    [
        ("Anna.Schmidt@Acme.Example", "anna.schmidt@acme.example"),
        ("Anna Schmidt <anna@acme.example>", "anna@acme.example"),
        ('"quoted local"@acme.example', '"quoted local"@acme.example'),
        ("info@Müller.example", "info@xn--mller-kva.example"),
    ],
)
def test_parse_address(text, normalised):
    address = parse_address(text)
    assert address is not None
    assert address.normalised == normalised
    assert address.typed in text


@pytest.mark.parametrize(
    "text",
    [
        "",
        "nope",
        "a@b",
        "a@localhost",
        "a@1.2.3.4",
        "a@[1.2.3.4]",
        "a@@b.example",
        "a b@c.example",
        "a@b.example.",
        "a..b@c.example",
        ".a@c.example",
        "a@-b.example",
        "a@b\x00.example",
        "x" * 65 + "@c.example",
        "a@b.example\nBcc: x",
        "a@firma.local",
        "a@b.invalid",
        "почта@acme.example",
    ],
)
def test_parse_address__refused(text):
    assert parse_address(text) is None


def test_parse_addresses__separators_and_quotes():
    valid, invalid = parse_addresses('a@x.example; "b,c"@x.example , nope,\n d@x.example;;')
    assert [address.typed for address in valid] == ["a@x.example", '"b,c"@x.example', "d@x.example"]
    assert invalid == ["nope"]


@pytest.mark.django_db
def test_what_sql_takes_by_itself_is_never_more_than_the_validator(alice):
    """Every address that passes the SQL pattern passes email-validator, in the very same form."""
    samples = ["a@b.co", "a+b@c.example", "a_b-c@d-e.example", "1@2.example", "a.b.c@d.e.f.example", "-@a.example"]
    samples += [
        "a@b-.example",
        "a@b--c.example",
        ".a@b.example",
        "a.@b.example",
        "a@b..example",
        "a@b.c1",
        "a'b@c.example",
    ]
    samples += ["a@b.example\n", "a@firma.local", "a@b.invalid", "a@b.onion", "a@localhost.example"]
    samples += ["x" * 52 + "@c.example", "x" * 53 + "@c.example", "a@" + "b" * 64 + ".example"]
    for sample in samples:
        one(alice, sample)
    made = make(alice)
    for address in made.mailing.deliveries.values_list("address", flat=True):
        assert parse_address(address).normalised == address
    valid = {parse_address(sample).normalised for sample in samples if parse_address(sample)}
    assert set(made.mailing.deliveries.values_list("address", flat=True)) == valid
