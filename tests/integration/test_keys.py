"""Recipients with any primary key: UUIDs and texts, which databases keep and cast in ways of their own."""

from __future__ import annotations

import uuid

import pytest

from massmail.choices import Exclusion
from massmail.engine import lanes
from massmail.engine.standalone import run
from massmail.models import Delivery, Recipient, Suppression
from massmail.outcomes import unsubscribe
from massmail.recipient_types import type_for
from massmail.transport import memory
from tests import world
from tests.host.models import Partner, Region, Vendor

pytestmark = pytest.mark.django_db
LINK = '<a href="{{ unsubscribe_url }}">UNSUBSCRIBE</a>'


@pytest.fixture(autouse=True)
def outbox():
    memory.clear()
    world.settings()
    yield memory.outbox
    memory.clear()


@pytest.fixture
def region(alice):
    return Region.objects.create(manager=alice)


@pytest.fixture
def customers(request, region, bob):
    elsewhere = Region.objects.create(manager=bob)
    regions = [region, region, region, elsewhere]
    if request.param is Partner:
        for n, each in enumerate(regions):
            Partner.objects.create(region=each, email=f"p{n}@x.example")
    else:
        for n, each in enumerate(regions):
            Vendor.objects.create(code=f"V/{n} ü", region=each, mail_address=f"p{n}@x.example")
    return request.param


@pytest.mark.parametrize("customers", [Partner, Vendor], indirect=True)
def test_from_the_list_to_the_last_mail(alice, customers, outbox):
    main, other = world.account(alice, "main", main=True), world.account(alice)
    address = type_for(customers).email
    vip = customers.objects.filter(**{address: "p1@x.example"})
    assert lanes.set_vip(vip, vip=True, by=alice) == 1
    text = world.message(alice, subject="News", content=f"<p>News</p>{LINK}")
    made = world.create_mailing(owner=alice, recipients=customers.objects.all(), message=text)
    assert (made.added, made.left_out) == (3, {Exclusion.NOT_OWNER: 1})
    gone = customers.objects.get(**{address: "p2@x.example"})
    gone.delete()
    world.lifecycle.start(made.mailing, by=alice)
    assert run(clock=world.clock(), until_idle=True) == 2
    assert {letter.to: letter.sender for letter in outbox} == {
        "p0@x.example": other.from_email,
        "p1@x.example": main.from_email,
    }
    assert made.mailing.deliveries.get(status="skipped").reason == Exclusion.DELETED


@pytest.mark.parametrize("customers", [Partner, Vendor], indirect=True)
def test_unsubscribing(alice, customers):
    world.account(alice)
    made = world.create_mailing(owner=alice, recipients=customers.objects.all(), message=None)
    lanes.assign(made.mailing, list(alice.massmail_accounts.all()), daily_limit=94)
    delivery = Delivery.objects.get(address="p0@x.example")
    unsubscribe(Recipient.objects.get(object_id=delivery.object_id), "p0@x.example", source="test")
    assert Suppression.objects.get().address == "p0@x.example"
    assert Recipient.objects.filter(subscribed=False).count() == 1
    assert world.create_mailing(owner=alice, recipients=customers.objects.all()).added == 2


def test_object_ids__are_what_the_database_casts(region):
    partner = Partner.objects.create(region=region, email="a@x.example")
    made = world.create_mailing(owner=region.manager, recipients=Partner.objects.all())
    recipient_type = type_for(Partner)
    (object_id,) = made.mailing.deliveries.values_list("object_id", flat=True)
    assert object_id == recipient_type.to_object_id(partner.pk)
    assert recipient_type.to_pk(object_id) == partner.pk
    assert isinstance(recipient_type.to_pk(object_id), uuid.UUID)
    assert recipient_type.to_pk("no uuid") is None
