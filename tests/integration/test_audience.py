"""Making a mailing: who is taken in, who is left out, and that it never depends on how many they are."""

from __future__ import annotations

import random
from collections import Counter

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from example_project.crm.models import Contact
from massmail.audience import create_mailing, expect, making, parse_address, parse_addresses, sole_owner
from massmail.audience.addresses import Plain, is_plain
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
    assert made.left_out == {Exclusion.DUPLICATE: 1, Exclusion.NEEDS_SMTPUTF8: 1}


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
    from massmail.audience import making

    world.contacts(alice, 3)

    def fail(*args, **kwargs):
        raise RuntimeError("disk full")

    monkeypatch.setattr(making, "creation_of", fail)
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


PIECES = [
    "a",
    "B",
    "7",
    ".",
    "..",
    "-",
    "_",
    "+",
    "@",
    "@",
    "x.example",
    "b.de",
    "c.local",
    "d.myonion",
    " ",
    "\n",
    "é",
    "K",
    "'",
]


@pytest.mark.django_db
def test_plain__in_sql_and_in_python_is_never_more_than_the_validator(alice):
    """Addresses put together at random, most of them wrong: what SQL takes, email-validator takes in the same form."""
    source = random.Random(5321)
    texts = {"".join(source.choices(PIECES, k=source.randint(2, 7))) for _ in range(3000)}
    texts |= {
        f"{name}@{host}" for name in ("a", "a.b", "A_b+c", "-") for host in ("x.de", "X.Example", "a-b.co", "1.io")
    }
    world.contacts(alice, 1)
    world.contacts(alice, len(texts))
    for contact, text in zip(people := list(Contact.objects.all()), sorted(texts), strict=False):
        contact.email = text
    Contact.objects.bulk_update(people, ["email"], batch_size=500)
    taken = set(Contact.objects.filter(Plain("email")).values_list("email", flat=True))
    assert len(taken) > 20
    for text in taken:
        assert is_plain(text), text
        assert parse_address(text).normalised == text.strip(" ").lower(), text
    # PostgreSQL leaves a few more to Python, never an ordinary one.
    assert {text for text in texts if is_plain(text)} - taken <= {text for text in texts if "onion" in text.lower()}


EMAILS = ["a@x.de", "A@x.de", "b@x.de", "c@x.de", "d@x.de, e@x.de", "e@x.de; a@x.de", "f@x.de,f@x.de", "g@müller.de"]
EMAILS += ["g@xn--mller-kva.de", "nope", "", " ", "h@x.de, nope", "off@x.de", "off@x.de, i@x.de", "j@x.local"]


def mixed(source, alice, bob):
    """Make forty contacts at random: whose they are, what they say, VIPs, lists, duplicates."""
    firms = [world.company(alice), world.company(bob, disqualified=True)]
    people = Contact.objects.bulk_create(
        Contact(
            email=source.choice(EMAILS),
            owner=source.choice([alice, alice, alice, bob, None]),
            company=source.choice([*firms[:1] * 4, firms[1]]),
            creation_date=world.TODAY,
            massmail=source.random() < 0.9,
            disqualified=source.random() < 0.1,
        )
        for _ in range(40)
    )
    lanes.set_vip(Contact.objects.filter(pk__in=[each.pk for each in source.sample(people, 3)]), vip=True, by=alice)
    off = Recipient.objects.order_by("?")[:1].values("pk")
    Recipient.objects.filter(pk__in=list(off.values_list("pk", flat=True))).update(subscribed=source.random() < 0.5)
    return people


@pytest.mark.django_db
@pytest.mark.parametrize("seed", range(12))
def test_expect__is_what_create_mailing_does(seed, alice, bob):
    source = random.Random(seed)
    people = mixed(source, alice, bob)
    Suppression.objects.create(address="off@x.de", reason="manual")
    expected = expect(owner=alice, recipients=Contact.objects.all())
    made = make(alice)
    assert (expected.matching, expected.unread) == (40, 0)
    assert (expected.added, expected.left_out) == (made.added, made.left_out)
    # Nobody is lost, and nobody gets it twice.
    deliveries = Counter(made.mailing.deliveries.values_list("address", flat=True))
    assert set(deliveries.values()) <= {1}
    accounted = {*made.mailing.deliveries.values_list("object_id", flat=True)}
    accounted |= {*LeftOut.objects.filter(mailing=made.mailing).values_list("object_id", flat=True)}
    assert accounted == {str(each.pk) for each in people}
    assert {str(each.pk) for each in expected.sample} <= accounted
    # Of those with one address the VIP wins, then the lowest key.
    vips = set(Recipient.objects.filter(vip=True).values_list("object_id", flat=True))
    holders = dict(made.mailing.deliveries.values_list("address", "object_id"))
    for left_out in LeftOut.objects.filter(mailing=made.mailing, reason=Exclusion.DUPLICATE):
        rivals = (holders[left_out.address], left_out.object_id)
        assert min(rivals, key=lambda key: (key not in vips, int(key))) == rivals[0]


@pytest.mark.django_db
def test_expect__too_many_odd_addresses_are_not_read(alice, monkeypatch):
    from massmail.audience import counting

    monkeypatch.setattr(counting, "CHUNK", 2)
    for n in range(3):
        one(alice, f"a{n}@x.de, b{n}@x.de")
    one(alice, "c@x.de")
    expected = expect(owner=alice, recipients=Contact.objects.all())
    assert (expected.added, expected.unread) == (4, 3)


@pytest.mark.django_db
def test_create_mailing__the_plain_majority_is_one_statement(alice):
    """Everybody has an address of their own: nothing is looked at a second time, and no table but theirs is read."""
    world.contacts(alice, 5)
    with CaptureQueriesContext(connection) as queries:
        made = make(alice)
    assert made.added == 5
    assert [query["sql"] for query in queries if "INSERT" in query["sql"] and "leftout" in query["sql"]] == []
    (insert,) = [query["sql"] for query in queries if query["sql"].startswith('INSERT INTO "massmail_delivery"')]
    assert insert.count("SELECT") == 1
    assert "massmail_recipient" not in insert
    assert "massmail_suppression" not in insert


@pytest.mark.django_db
def test_create_mailing__odd_addresses_are_taken_in_chunks(alice, monkeypatch):
    from massmail.audience import making

    monkeypatch.setattr(making, "CHUNK", 2)
    people = [one(alice, f"p{n}@x.de, q{n // 3}@x.de") for n in range(9)]
    made = make(alice)
    assert (made.added, made.left_out) == (12, {Exclusion.DUPLICATE: 6})
    shared = made.mailing.deliveries.filter(address__startswith="q").values_list("object_id", flat=True)
    assert set(shared) == {str(people[n].pk) for n in (0, 3, 6)}


@pytest.mark.django_db
def test_create_mailing__a_host_that_ignores_what_it_is_given(alice, bob, firm, monkeypatch):
    """Even an adapter that answers with everybody does not mail to a colleague's customers."""
    from example_project.crm.mailing import ContactRecipients

    one(alice, "a@x.example")
    one(bob, "b@x.example", company=firm)
    monkeypatch.setattr(ContactRecipients, "eligible", lambda self, queryset: Contact.objects.all())
    made = make(alice)
    assert made.mailing.deliveries.get().address == "a@x.example"
    assert made.left_out == {Exclusion.NOT_OWNER: 1}


def test_plain__while_rows_are_read(alice):
    """A mailing is made while a file that somebody downloads is still open on the same connection."""
    world.contacts(alice, 3)
    plain = Contact.objects.filter(Plain("email"))
    rows = Contact.objects.values_list("pk").iterator(chunk_size=1)
    assert plain.count() == 3
    next(rows)
    assert plain.count() == 3
    assert len(list(rows)) == 2


@pytest.mark.parametrize(("many", "large"), [(5, True), (6, False)])
def test_create_mailing__a_large_one_is_known_to_the_planner(
    alice, monkeypatch, django_capture_on_commit_callbacks, many, large
):
    monkeypatch.setattr(making, "MANY", many)
    world.contacts(alice, 5)
    with CaptureQueriesContext(connection) as queries, django_capture_on_commit_callbacks(execute=True):
        world.create_mailing(owner=alice, recipients=Contact.objects.all())
    counted = [query["sql"] for query in queries if query["sql"].startswith("ANALYZE")]
    tables = [Delivery, LeftOut] if large and connection.vendor == "postgresql" else []
    assert counted == [f'ANALYZE "{model._meta.db_table}"' for model in tables]
