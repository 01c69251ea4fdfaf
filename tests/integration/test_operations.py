"""What people do with mailings besides starting and stopping them."""

from __future__ import annotations

import datetime as dt
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest
from django.db import connection
from django.db.models import Exists
from django.test.utils import CaptureQueriesContext

from example_project.crm.models import Contact
from massmail.audience import create_mailing
from massmail.choices import AuditAction, DeliveryStatus, Exclusion, Failure, MailingStatus, Phase, Relation
from massmail.engine import lifecycle, operations
from massmail.engine.holds import explain
from massmail.engine.run import run_lane, tick
from massmail.engine.standalone import run
from massmail.exceptions import LifecycleError, OperationError
from massmail.models import AuditEntry, Delivery, Lane, LeftOut, Mailing, Suppression, Tally
from massmail.models.received import Received
from massmail.outcomes import progress, resolving
from massmail.outcomes.standing import mark_vip
from massmail.signals import delivery_sent
from massmail.transport import Reply, TransportError, memory
from tests import world
from tests.host.models import Partner, Region, Vendor

pytestmark = pytest.mark.django_db

NOT_FOUND = Reply(phase=Phase.RCPT, code=550, text="5.1.1 No such user")
REFUSED = Reply(phase=Phase.RCPT, code=550, text="5.0.0 Not today")
SILENCE = TransportError(Reply(phase=Phase.DOT, code=None, text=""))
COME_BACK = Reply(phase=Phase.RCPT, code=450, text="4.2.0 Greylisted")


@pytest.fixture(autouse=True)
def outbox():
    memory.clear()
    world.settings()
    yield memory.outbox
    memory.clear()


@pytest.fixture
def account(alice: Any) -> Any:
    return world.account(alice)


def send(mailing: Mailing, by: Any, at: str = "2026-11-23 10:00") -> Mailing:
    """Start `mailing`, or let it go on, and send everything that can be sent."""
    mailing.refresh_from_db()
    if mailing.status == MailingStatus.DRAFT:
        lifecycle.start(mailing, by=by, now=world.berlin(at))
    run(clock=world.clock(at), until_idle=True)
    mailing.refresh_from_db()
    return mailing


def books_balance() -> None:
    """Check every mailing's sums against its rows, and that nobody has got a mail twice."""
    for mailing in Mailing.objects.all():
        rows = Counter(mailing.deliveries.values_list("status", flat=True))
        sums = progress([mailing], now=world.MONDAY)[mailing.pk]
        assert sums.total == sum(rows.values()), mailing
        assert (sums.sent, sums.failed, sums.skipped, sums.unknown) == (
            rows[DeliveryStatus.SENT],
            rows[DeliveryStatus.FAILED],
            rows[DeliveryStatus.SKIPPED],
            rows[DeliveryStatus.UNKNOWN],
        ), mailing
        assert sums.to_go == rows[DeliveryStatus.QUEUED] + rows[DeliveryStatus.SENDING]
    copies = Counter(letter.to for letter in memory.outbox)
    assert not [address for address, number in copies.items() if number > 1]


def addresses(mailing: Mailing, *statuses: DeliveryStatus) -> set[str]:
    rows = mailing.deliveries.filter(status__in=statuses) if statuses else mailing.deliveries
    return set(rows.values_list("address", flat=True))


def reasons(mailing: Mailing) -> dict[str, str]:
    return dict(mailing.left_out.values_list("address", "reason"))


def queries(act: Callable[[], Any]) -> int:
    with CaptureQueriesContext(connection) as captured:
        act()
    return len(captured)


def deeds(mailing: Mailing) -> list[tuple[str, str, str]]:
    rows = mailing.audit.order_by("pk").values_list("action", "by__username", "text")
    return [(action, by, text) for action, by, text in rows]


# Copies ---------------------------------------------------------------------------------------------------------------


def test_duplicate__is_a_draft_to_the_same_people_by_todays_rules(alice, bob, account):
    people = world.contacts(alice, 5)
    original = send(world.mailing(alice, name="Spring"), alice)
    people[0].massmail = False
    people[1].owner = bob
    people[2].email = "new@alice.example"
    Contact.objects.bulk_update(people[:3], ["massmail", "owner", "email"])
    Suppression.objects.create(address="person3@alice.example", reason="manual")
    world.contacts(alice, 1, prefix="later")

    made = operations.duplicate(original, by=alice)

    copy = made.mailing
    assert (copy.name, copy.status, copy.message) == ("Spring (copy)", MailingStatus.DRAFT, original.message)
    assert (copy.parent, copy.relation, copy.version, copy.start_at) == (original, Relation.COPY, None, None)
    assert addresses(copy) == {"new@alice.example", "person4@alice.example"}
    assert made.added == copy.total == 2
    assert set(made.left_out) == {Exclusion.UNSUBSCRIBED, Exclusion.NOT_OWNER, Exclusion.SUPPRESSED}
    assert (AuditAction.COPIED, "alice", "“Spring (copy)”, with 2 recipients") in deeds(original)
    books_balance()


def test_duplicate__takes_those_left_out_whom_todays_rules_let_in(alice, account):
    world.contacts(alice, 2)
    person = world.contacts(alice, 1, prefix="other", disqualified=True)[0]
    original = world.mailing(alice, Contact.objects.all())
    assert original.total == 2
    person.disqualified = False
    person.save()
    assert operations.duplicate(original, by=alice).added == 3


def test_duplicate__second_click_makes_nothing(alice, account):
    world.contacts(alice, 1)
    original = world.mailing(alice)
    first = operations.duplicate(original, by=alice, after=0).mailing
    assert operations.duplicate(original, by=alice, after=0).mailing == first
    assert operations.duplicate(original, by=alice, after=first.pk).mailing != first
    assert Mailing.objects.count() == 3


def test_duplicate__long_names_are_cut(alice, account):
    world.contacts(alice, 1)
    copy = operations.duplicate(world.mailing(alice, name="x" * 250), by=alice).mailing
    assert len(copy.name) == 250
    assert copy.name.endswith("x… (copy)")


def test_duplicate__by_an_administrator_belongs_to_the_owner(alice, boss, account):
    world.contacts(alice, 1)
    copy = operations.duplicate(world.mailing(alice), by=boss).mailing
    assert copy.owner == alice
    assert copy.audit.get(action=AuditAction.CREATED).by == boss


def test_duplicate__of_other_types_of_keys(alice, account):
    region = Region.objects.create(manager=alice)
    for number in range(3):
        Partner.objects.create(region=region, email=f"p{number}@partner.example")
        Vendor.objects.create(region=region, code=f"V-{number}", mail_address=f"v{number}@vendor.example")
    for model in (Partner, Vendor):
        original = world.mailing(alice, model.objects.all())
        assert original.total == 3
        assert operations.duplicate(original, by=alice).added == 3


def test_duplicate__with_nobody_left_makes_nothing(alice, account):
    people = world.contacts(alice, 2)
    original = world.mailing(alice)
    Contact.objects.filter(pk__in=[person.pk for person in people]).update(disqualified=True)
    with pytest.raises(OperationError, match=r"nobody left to write to\. Disqualified: 2"):
        operations.duplicate(original, by=alice)
    assert Mailing.objects.count() == 1


# Retry ----------------------------------------------------------------------------------------------------------------


def test_retry__goes_to_those_who_failed_at_todays_address(alice, account):
    people = world.contacts(alice, 5)
    memory.replies["person0@alice.example"] = NOT_FOUND
    memory.replies["person1@alice.example"] = NOT_FOUND
    memory.replies["person2@alice.example"] = REFUSED
    original = send(world.mailing(alice, name="Offer"), alice)
    assert progress([original], now=world.MONDAY)[original.pk].failed == 3
    people[0].email = "mended@alice.example"
    people[0].save()
    memory.replies.clear()

    made = operations.retry_failed(original, by=alice)

    retry = made.mailing
    assert (retry.name, retry.parent, retry.relation) == ("Offer (retry)", original, Relation.RETRY)
    assert addresses(retry) == {"mended@alice.example", "person2@alice.example"}
    assert reasons(retry) == {"person1@alice.example": Exclusion.SUPPRESSED}
    send(retry, alice, "2026-11-23 12:00")
    assert retry.status == MailingStatus.DONE
    assert addresses(original, DeliveryStatus.FAILED) >= {"person2@alice.example"}  # the record stays
    assert len(memory.outbox) == 4
    books_balance()


def test_retry__second_one_finds_nobody_while_the_first_waits(alice, account):
    world.contacts(alice, 2)
    memory.replies["person0@alice.example"] = REFUSED
    original = send(world.mailing(alice), alice)
    retry = operations.retry_failed(original, by=alice).mailing
    with pytest.raises(OperationError, match="Waits for it in another mailing: 1"):
        operations.retry_failed(original, by=alice)
    lifecycle.cancel(retry, by=alice)
    assert operations.retry_failed(original, by=alice).added == 1


def test_retry__of_a_retry_knows_whom_the_first_mailing_reached(alice, account):
    """Of somebody with two addresses only the one that failed gets it again, over two generations."""
    world.contacts(alice, 1, email="one@a.example, two@a.example")
    memory.replies["two@a.example"] = REFUSED
    original = send(world.mailing(alice), alice)
    first = send(operations.retry_failed(original, by=alice).mailing, alice, "2026-11-23 12:00")
    assert addresses(first) == {"two@a.example"}
    assert reasons(first) == {"one@a.example": Exclusion.ALREADY_RECEIVED}
    second = operations.retry_failed(first, by=alice).mailing
    assert addresses(second) == {"two@a.example"}
    books_balance()


def test_retry__of_a_copy_does_not_count_what_the_first_round_reached(alice, account):
    world.contacts(alice, 1)
    original = send(world.mailing(alice), alice)
    memory.replies["person0@alice.example"] = REFUSED
    reminder = send(operations.duplicate(original, by=alice).mailing, alice, "2026-11-24 10:00")
    assert operations.retry_failed(reminder, by=alice).added == 1


def test_retry__unknown_is_never_sent_again_by_itself(alice, account):
    world.contacts(alice, 1, email="doubt@a.example, broken@a.example")
    memory.replies |= {"doubt@a.example": SILENCE, "broken@a.example": REFUSED}
    original = send(world.mailing(alice), alice)
    run(clock=world.clock("2026-11-23 11:00"), until_idle=True)
    retry = operations.retry_failed(original, by=alice).mailing
    assert addresses(retry) == {"broken@a.example"}


def test_retry__of_a_draft_is_refused(alice, account):
    world.contacts(alice, 1)
    with pytest.raises(LifecycleError, match="is draft, so this can't be done"):
        operations.retry_failed(world.mailing(alice), by=alice)


# The missing ----------------------------------------------------------------------------------------------------------


def test_missing__cancelled_skipped_and_left_out_for_a_while(alice, bob, account):
    account.paced = True
    account.save()
    people = world.contacts(alice, 6)
    no_address = world.contacts(alice, 1, email="")[0]
    opted_out = world.contacts(alice, 1, prefix="out", massmail=False)[0]
    given_away = world.contacts(bob, 1)[0]
    original = world.started(alice, Contact.objects.all())
    assert original.total == 6
    people[0].disqualified = True
    people[0].save()
    clock = world.clock()
    for _ in range(2):  # person0 is skipped
        run(clock=clock, until_idle=False)
        clock.now += dt.timedelta(minutes=1)
    assert len(memory.outbox) == 2
    lifecycle.cancel(original, by=alice, now=clock.now)
    Suppression.objects.create(address="person5@alice.example", reason="unsubscribed")
    people[0].disqualified = False
    no_address.email = "found@alice.example"
    opted_out.massmail = True  # by hand, but said no to this mailing
    given_away.owner = alice
    changed = [people[0], no_address, opted_out, given_away]
    Contact.objects.bulk_update(changed, ["disqualified", "email", "owner", "massmail"])

    made = operations.send_to_missing(original, by=alice).mailing

    served = {letter.to for letter in memory.outbox}
    expected = {f"person{n}@alice.example" for n in range(5)} | {"found@alice.example", "person0@bob.example"}
    assert addresses(made) == expected - served
    assert made.relation == Relation.MISSING
    account.paced = False
    account.save()
    send(made, alice, "2026-11-24 10:00")
    assert {letter.to for letter in memory.outbox} == expected
    books_balance()


def test_missing__is_for_ended_mailings(alice, account):
    world.contacts(alice, 1)
    for mailing in (world.mailing(alice), world.started(alice)):
        with pytest.raises(LifecycleError):
            operations.send_to_missing(mailing, by=alice)


def test_missing__nobody_is(alice, account):
    world.contacts(alice, 1)
    original = send(world.mailing(alice), alice)
    with pytest.raises(OperationError, match="nobody left"):
        operations.send_to_missing(original, by=alice)


# Who received it already ----------------------------------------------------------------------------------------------


def test_exclude__by_message_and_date(alice, account):
    world.contacts(alice, 2)
    text = world.message(alice)
    send(world.mailing(alice, message=text), alice, "2026-04-13 10:00")
    world.contacts(alice, 2, prefix="summer")
    summer = Contact.objects.filter(email__startswith="summer")
    send(world.mailing(alice, summer, message=text), alice, "2026-07-13 10:00")
    world.contacts(alice, 1, prefix="fresh")

    draft = world.mailing(alice, message=text)
    assert operations.exclude_received(draft, by=alice, since=world.berlin("2026-06-01 00:00")) == 2
    assert draft.total == 3
    assert reasons(draft) == dict.fromkeys(["summer0@alice.example", "summer1@alice.example"], "already_received")
    assert operations.exclude_received(draft, by=alice) == 2
    assert addresses(draft) == {"fresh0@alice.example"}
    assert operations.exclude_received(draft, by=alice) == 0
    log = [text for action, _by, text in deeds(draft) if action == AuditAction.RECEIVED_LEFT_OUT]
    assert log == [f"“{text}”, since Mon 1 Jun 2026, 00:00: 2", f"“{text}”: 2"]
    books_balance()


def test_exclude__another_message(alice, account):
    world.contacts(alice, 2)
    spring = world.message(alice, subject="Spring")
    send(world.mailing(alice, Contact.objects.filter(email__startswith="person0"), message=spring), alice)
    draft = world.mailing(alice, message=world.message(alice, subject="Summer"))
    assert operations.exclude_received(draft, by=alice) == 0
    assert operations.exclude_received(draft, by=alice, message=spring) == 1


def test_exclude__knows_a_person_by_a_former_address_and_addresses_of_one_person_apart(alice, account):
    moved = world.contacts(alice, 1, email="old@a.example")[0]
    world.contacts(alice, 1, email="one@a.example, two@a.example")
    text = world.message(alice)
    memory.replies["two@a.example"] = REFUSED
    send(world.mailing(alice, message=text), alice)
    moved.email = "new@a.example"
    moved.save()
    draft = world.mailing(alice, message=text)
    assert operations.exclude_received(draft, by=alice) == 2
    assert addresses(draft) == {"two@a.example"}


def test_exclude__same_number_of_another_type_is_somebody_else(alice, account):
    text = world.message(alice)
    person = world.contacts(alice, 1)[0]
    send(world.mailing(alice, message=text), alice)
    lead = world.lead(alice, pk=person.pk)
    draft = world.mailing(alice, type(lead).objects.all(), message=text)
    assert operations.exclude_received(draft, by=alice) == 0


def test_exclude__when_a_mailing_is_made(alice, account):
    world.contacts(alice, 3)
    text = world.message(alice)
    send(world.mailing(alice, Contact.objects.filter(email__startswith="person0"), message=text), alice)
    made = create_mailing(owner=alice, recipients=Contact.objects.all(), message=text, received=Received(message=text))
    assert (made.added, made.left_out) == (2, {Exclusion.ALREADY_RECEIVED: 1})
    books_balance()


def test_exclude__needs_a_message_and_a_draft(alice, account):
    world.contacts(alice, 1)
    draft = create_mailing(owner=alice, recipients=Contact.objects.all()).mailing
    with pytest.raises(OperationError, match="Choose a message first"):
        operations.exclude_received(draft, by=alice)
    with pytest.raises(LifecycleError):
        operations.exclude_received(world.started(alice), by=alice)


# Merging --------------------------------------------------------------------------------------------------------------


def merge(*mailings: Mailing, by: Any, **options: Any) -> Mailing:
    return operations.merge(mailings, by=by, now=options.pop("now", world.MONDAY), **options)


def part(owner: Any, message: Any, *names: str) -> Mailing:
    """Return a draft to the contacts whose first names are `names`."""
    return world.mailing(owner, Contact.objects.filter(first_name__in=names), message=message, name="+".join(names))


@pytest.fixture
def text(alice: Any, account: Any) -> Any:
    world.contacts(alice, 8)
    return world.message(alice)


def test_merge__drafts_are_united(alice, text):
    one = part(alice, text, "First0", "First1", "First2")
    two = part(alice, text, "First2", "First3")
    united = merge(one, two, by=alice, name="All")
    assert (united.name, united.status, united.total) == ("All", MailingStatus.DRAFT, 4)
    assert (united.owner, united.message, united.relation) == (alice, text, Relation.MERGE)
    assert addresses(united, DeliveryStatus.QUEUED) == {f"person{n}@alice.example" for n in range(4)}
    for old in (one, two):
        old.refresh_from_db()
        assert (old.status, old.merged_into, old.ended_at) == (MailingStatus.MERGED, united, world.MONDAY)
        assert set(old.deliveries.values_list("status", "reason")) == {("skipped", "merged")}
        assert deeds(old)[-1][:2] == (AuditAction.MERGED, "alice")
    assert (one.total, two.total) == (3, 2)
    assert deeds(united) == [(AuditAction.CREATED, "alice", f"merged from “{one}”, “{two}”; addresses: 4")]
    books_balance()
    send(united, alice)
    assert len(memory.outbox) == 4
    books_balance()


def test_merge__of_mailings_under_way_serves_nobody_twice(alice, account, text):
    """Every way in which somebody may stand in both: served here and waiting there, failed, unknown, waiting twice."""
    memory.replies |= {
        "person0@alice.example": REFUSED,
        "person1@alice.example": SILENCE,
        "person2@alice.example": COME_BACK,
    }
    one = part(alice, text, "First0", "First1", "First2", "First3", "First4")
    send(one, alice)
    run(clock=world.clock("2026-11-23 10:10"), until_idle=True)
    assert Counter(one.deliveries.values_list("status", flat=True)) == {
        "failed": 1, "unknown": 1, "queued": 1, "sent": 2
    }  # fmt: skip
    two = part(alice, text, "First1", "First2", "First3", "First5")
    three = part(alice, text, "First5", "First6")
    memory.replies.clear()

    united = merge(one, two, three, by=alice, now=world.berlin("2026-11-23 10:12"))

    assert addresses(united) == {f"person{n}@alice.example" for n in (2, 5, 6)}
    waiting = united.deliveries.get(address="person2@alice.example")
    assert (waiting.attempts, waiting.not_before is not None, waiting.message_id) == (1, True, "")
    assert reasons(united) == dict.fromkeys(["person1@alice.example", "person3@alice.example"], "already_received")
    assert addresses(one, DeliveryStatus.FAILED) == {"person0@alice.example"}
    assert Counter(two.deliveries.values_list("reason", flat=True)) == {"already_received": 2, "merged": 2}
    books_balance()
    send(united, alice, "2026-11-24 10:00")
    assert united.status == MailingStatus.DONE
    # Of the one in doubt the server kept a copy.
    assert {letter.to for letter in memory.outbox} == {f"person{n}@alice.example" for n in (1, 2, 3, 4, 5, 6)}
    books_balance()
    retry = send(operations.retry_failed(one, by=alice).mailing, alice, "2026-11-25 10:00")
    assert addresses(retry, DeliveryStatus.SENT) == {"person0@alice.example"}
    books_balance()


def test_merge__vip_wins_an_address_and_the_other_is_named(alice, account):
    world.contacts(alice, 2, email="shared@a.example")
    plain, vip = Contact.objects.order_by("pk")
    text = world.message(alice)
    one = world.mailing(alice, Contact.objects.filter(pk=plain.pk), message=text)
    two = world.mailing(alice, Contact.objects.filter(pk=vip.pk), message=text)
    mark_vip(Contact.objects.filter(pk=vip.pk), vip=True)
    united = merge(one, two, by=alice)
    assert united.deliveries.get().object_id == str(vip.pk)
    left_out = united.left_out.get()
    assert (left_out.object_id, left_out.reason) == (str(plain.pk), Exclusion.DUPLICATE)


def test_merge__keeps_who_was_left_out_unless_taken_in_elsewhere(alice, bob, text):
    foreign = world.contacts(bob, 1)[0]
    ineligible = Contact.objects.get(first_name="First7")
    Contact.objects.filter(pk=ineligible.pk).update(disqualified=True)
    one = world.mailing(alice, Contact.objects.filter(pk__in=[foreign.pk, ineligible.pk]), message=text)
    one_more = world.mailing(alice, Contact.objects.filter(pk=foreign.pk), message=text)
    Contact.objects.filter(pk=ineligible.pk).update(disqualified=False)
    two = part(alice, text, "First6", "First7")
    united = merge(one, one_more, two, by=alice)
    assert list(united.left_out.values_list("object_id", "reason")) == [(str(foreign.pk), "not_owner")]
    assert united.total == 2


def test_merge__mail_under_way_comes_after_if_it_comes_back(alice, account, text, monkeypatch):
    """A mail is at the server while its mailing is merged. It is refused for now, and goes on in the merged one."""
    one, two = part(alice, text, "First0"), part(alice, text, "First0", "First1")
    lifecycle.start(one, by=alice, now=world.MONDAY)
    clock, united = world.clock(), []

    def merge_meanwhile(self: Any, *, to: str, **rest: Any) -> Reply:
        if not united:
            assert one.deliveries.get().status == DeliveryStatus.SENDING
            united.append(merge(one, two, by=alice))
            return COME_BACK
        return deliver(self, to=to, **rest)

    deliver = memory.MemoryConnection.deliver
    monkeypatch.setattr(memory.MemoryConnection, "deliver", merge_meanwhile)
    (speaker,) = tick(clock=clock)
    run_lane(speaker, clock=clock)
    (made,) = united
    assert addresses(made) == {"person1@alice.example"}
    assert one.deliveries.get().status == DeliveryStatus.QUEUED

    send(made, alice)
    send(made, alice, "2026-11-23 12:00")

    assert addresses(made, DeliveryStatus.SENT) == {"person0@alice.example", "person1@alice.example"}
    assert made.status == MailingStatus.DONE
    books_balance()
    assert operations.carry_over(now=world.MONDAY) == 0


def test_merge__mail_under_way_that_arrives_is_not_sent_again(alice, account, text, monkeypatch):
    one, two = part(alice, text, "First0"), part(alice, text, "First0", "First1")
    lifecycle.start(one, by=alice, now=world.MONDAY)
    clock, united = world.clock(), []
    deliver = memory.MemoryConnection.deliver

    def merge_meanwhile(self: Any, **letter: Any) -> Reply:
        if not united:
            united.append(merge(one, two, by=alice))
        return deliver(self, **letter)

    monkeypatch.setattr(memory.MemoryConnection, "deliver", merge_meanwhile)
    for speaker in tick(clock=clock):
        run_lane(speaker, clock=clock)
    send(united[0], alice)
    assert sorted(letter.to for letter in memory.outbox) == ["person0@alice.example", "person1@alice.example"]
    books_balance()


def test_merge__of_a_merged_one_goes_on(alice, text):
    united = merge(part(alice, text, "First0"), part(alice, text, "First1"), by=alice)
    again = merge(united, part(alice, text, "First1", "First2"), by=alice)
    assert addresses(again) == {f"person{n}@alice.example" for n in range(3)}
    books_balance()


def test_merge__second_click_makes_nothing(alice, text):
    one, two = part(alice, text, "First0"), part(alice, text, "First1")
    merge(one, two, by=alice)
    with pytest.raises(OperationError, match="is merged, so this can't be done"):
        merge(one, two, by=alice)
    assert Mailing.objects.count() == 3


def test_merge__start_is_kept_where_all_have_the_same(alice, text):
    later = world.berlin("2026-12-01 09:00")
    one, two, three = (part(alice, text, f"First{n}") for n in range(3))
    for mailing in (one, two):
        lifecycle.schedule(mailing, by=alice, start_at=later)
    united = merge(one, two, by=alice)
    assert united.start_at == later
    assert merge(united, three, by=alice).start_at is None


def test_merge__what_does_not_go_together_is_refused(alice, bob, boss, text):
    one = part(alice, text, "First0")
    other_text = part(alice, world.message(alice), "First1")
    other_type = world.mailing(alice, type(world.lead(alice)).objects.all(), message=text)
    no_text = create_mailing(owner=alice, recipients=Contact.objects.all()).mailing
    ended = lifecycle.cancel(part(alice, text, "First2"), by=alice)
    world.contacts(bob, 1)
    foreign = world.mailing(bob, message=text)
    for mailings, words in [
        ([one], "two mailings or more"),
        ([one, one], "two mailings or more"),
        ([one, other_text], "different messages"),
        ([one, other_type], "different types"),
        ([one, no_text], "has no message"),
        ([one, ended], "is cancelled"),
        ([one, foreign], "different owners"),
    ]:
        with pytest.raises(OperationError, match=words):
            merge(*mailings, by=boss)
    with pytest.raises(LifecycleError, match="Only its owner"):
        merge(one, foreign, by=alice)
    assert not Mailing.objects.filter(status=MailingStatus.MERGED).exists()


def test_merge__with_nobody_left_is_refused(alice, text):
    one, two = part(alice, text, "First0"), part(alice, text, "First0")
    send(one, alice)
    Mailing.objects.filter(pk=one.pk).update(status=MailingStatus.ACTIVE)
    with pytest.raises(OperationError, match="nobody left in these mailings"):
        merge(one, two, by=alice)
    two.refresh_from_db()
    assert two.status == MailingStatus.DRAFT


def test_merge__candidates(alice, bob, text):
    one, two = part(alice, text, "First0"), part(alice, text, "First1")
    part(alice, world.message(alice), "First2")
    lifecycle.cancel(part(alice, text, "First3"), by=alice)
    world.contacts(bob, 1)
    world.mailing(bob, message=text)
    assert list(operations.mergeable_with(one)) == [two]
    lifecycle.cancel(one, by=alice)
    assert not operations.mergeable_with(one)


# Unknown --------------------------------------------------------------------------------------------------------------


@pytest.fixture
def doubted(alice: Any, account: Any) -> Mailing:
    """A mailing that is done, with one of three recipients in doubt."""
    world.contacts(alice, 3)
    memory.replies["person1@alice.example"] = SILENCE
    mailing = send(world.mailing(alice), alice)
    run(clock=world.clock("2026-11-23 10:10"), until_idle=True)
    mailing.refresh_from_db()
    assert mailing.status == MailingStatus.DONE
    assert addresses(mailing, DeliveryStatus.UNKNOWN) == {"person1@alice.example"}
    memory.clear()
    return mailing


def test_treat_as_sent(doubted, alice):
    told: list[Delivery] = []
    delivery_sent.connect(lambda delivery, **_: told.append(delivery), weak=False, dispatch_uid="told")
    try:
        assert operations.treat_as_sent(doubted.deliveries.all(), by=alice) == 1
        assert operations.treat_as_sent(doubted.deliveries.all(), by=alice) == 0
    finally:
        delivery_sent.disconnect(dispatch_uid="told")
    delivery = doubted.deliveries.get(address="person1@alice.example")
    assert (delivery.status, delivery.reason) == (DeliveryStatus.SENT, "")
    assert delivery.sent_at == delivery.sending_at
    assert [entry for entry in deeds(doubted) if entry[0] == AuditAction.TREATED_AS_SENT] == [
        (AuditAction.TREATED_AS_SENT, "alice", "1 recipient")
    ]
    assert progress([doubted], now=world.MONDAY)[doubted.pk].sent_today == 3  # on the day on which it was handed in
    books_balance()


def test_send_again__of_a_mailing_that_was_done(doubted, alice):
    before = doubted.deliveries.get(status=DeliveryStatus.UNKNOWN)
    assert operations.send_again(doubted.deliveries.all(), by=alice) == 1
    assert operations.send_again(doubted.deliveries.all(), by=alice) == 0
    doubted.refresh_from_db()
    assert (doubted.status, doubted.ended_at) == (MailingStatus.ACTIVE, None)
    books_balance()
    send(doubted, alice, "2026-11-23 11:30")
    assert doubted.status == MailingStatus.DONE
    assert [letter.to for letter in memory.outbox] == ["person1@alice.example"]
    after = doubted.deliveries.get(pk=before.pk)
    assert (after.status, after.message_id) == (DeliveryStatus.SENT, before.message_id)
    books_balance()


@pytest.mark.parametrize("status", [MailingStatus.CANCELLED, MailingStatus.MERGED])
def test_send_again__nothing_leaves_from_a_mailing_that_ended_for_good(status, doubted, alice):
    Mailing.objects.filter(pk=doubted.pk).update(status=status)
    assert operations.send_again(doubted.deliveries.all(), by=alice) == 0
    assert operations.treat_as_sent(doubted.deliveries.all(), by=alice) == 1


def test_send_again__of_a_paused_mailing_waits(doubted, alice):
    Mailing.objects.filter(pk=doubted.pk).update(status=MailingStatus.PAUSED)
    assert operations.send_again(doubted.deliveries.all(), by=alice) == 1
    doubted.refresh_from_db()
    assert doubted.status == MailingStatus.PAUSED


def test_unknown__is_resolved_by_its_owner_only(doubted, bob, boss):
    for resolve in (operations.treat_as_sent, operations.send_again):
        with pytest.raises(LifecycleError, match="Only its owner"):
            resolve(Delivery.objects.all(), by=bob)
    assert operations.treat_as_sent(Delivery.objects.all(), by=boss) == 1


def test_finish__is_not_fooled_by_what_came_back_into_the_queue(doubted, alice, monkeypatch):
    operations.send_again(doubted.deliveries.all(), by=alice)
    # What a statement sees that began before the other transaction ended.
    monkeypatch.setattr(lifecycle, "Exists", lambda query: Exists(query.none()))
    assert lifecycle.finish(now=world.MONDAY) == 0


# Pausing and starting at a date ---------------------------------------------------------------------------------------


def test_pause__is_effective_before_the_next_mail(alice, account, monkeypatch):
    world.contacts(alice, 10)
    mailing = world.started(alice)
    deliver = memory.MemoryConnection.deliver

    def pause_at_the_third(self: Any, **letter: Any) -> Reply:
        reply = deliver(self, **letter)
        if len(memory.outbox) == 3:
            lifecycle.pause(mailing, by=alice)
        return reply

    monkeypatch.setattr(memory.MemoryConnection, "deliver", pause_at_the_third)
    run(clock=world.clock(), until_idle=True)
    assert len(memory.outbox) == 3
    assert mailing.deliveries.filter(status=DeliveryStatus.QUEUED).count() == 7
    books_balance()


def test_pause_and_resume__a_hundred_times_in_mid_run(alice, account, monkeypatch):
    world.contacts(alice, 101)
    account.emails_per_day = 200
    account.save()
    mailing = world.started(alice)
    deliver = memory.MemoryConnection.deliver

    def pause(self: Any, **letter: Any) -> Reply:
        reply = deliver(self, **letter)
        lifecycle.pause(mailing, by=alice)
        return reply

    monkeypatch.setattr(memory.MemoryConnection, "deliver", pause)
    clock, pauses = world.clock(), 0
    while mailing.status != MailingStatus.DONE:
        run(clock=clock, until_idle=False)
        mailing.refresh_from_db()
        if mailing.status == MailingStatus.PAUSED:
            pauses += 1
            assert len(memory.outbox) == pauses
            lifecycle.resume(mailing, by=alice)
    assert pauses == 101
    books_balance()


def test_pause_all_and_resume_all(alice, bob, boss):
    world.account(alice)
    world.contacts(alice, 1)
    mailings = [world.started(alice) for _ in range(3)]
    draft = world.mailing(alice)
    everything = Mailing.objects.all()
    assert lifecycle.pause_all(everything, by=alice) == 3
    assert lifecycle.pause_all(everything, by=alice) == 0
    assert set(everything.values_list("status", flat=True)) == {"paused", "draft"}
    assert AuditEntry.objects.filter(action=AuditAction.PAUSED, by=alice).count() == 3
    with pytest.raises(LifecycleError, match="Only its owner"):
        lifecycle.resume_all(everything, by=bob)
    lifecycle.pause(lifecycle.resume(mailings[0], by=alice), by=None, reason="Five refusals")
    assert lifecycle.resume_all(everything, by=boss) == 3
    assert set(everything.exclude(pk=draft.pk).values_list("status", "pause_reason")) == {("active", "")}


def test_schedule(alice, account):
    world.contacts(alice, 1)
    mailing = world.mailing(alice)
    tomorrow = world.berlin("2026-11-24 09:00")
    lifecycle.schedule(mailing, by=alice, start_at=tomorrow)
    lifecycle.schedule(mailing, by=alice, start_at=tomorrow)
    assert mailing.start_at == tomorrow
    lifecycle.start(mailing, by=alice, now=world.MONDAY)
    assert run(clock=world.clock(), until_idle=True) == 0
    hold = explain(mailing, now=world.MONDAY)
    assert hold is not None
    assert hold.until == tomorrow
    with pytest.raises(LifecycleError):
        lifecycle.schedule(mailing, by=alice, start_at=None)
    lifecycle.pause(mailing, by=alice)
    lifecycle.schedule(mailing, by=alice, start_at=world.berlin("2026-11-25 09:00"))
    lifecycle.resume(mailing, by=alice)
    assert run(clock=world.clock("2026-11-24 09:30"), until_idle=True) == 0
    assert run(clock=world.clock("2026-11-25 09:30"), until_idle=True) == 1
    log = [text for action, _by, text in deeds(mailing) if action == AuditAction.SCHEDULED]
    assert log == ["Tue 24 Nov 2026, 09:00", "Wed 25 Nov 2026, 09:00"]


# Cost -----------------------------------------------------------------------------------------------------------------


def fill(owner: Any, number: int, *, prefix: str, text: Any, status: str = "queued", **fields: Any) -> Mailing:
    """Return a mailing with `number` deliveries in `status`, to contacts `prefix`0 …"""
    mailing = world.mailing(owner, Contact.objects.filter(email__startswith=prefix), message=text)
    assert mailing.total == number
    mailing.deliveries.update(status=status, **fields)
    return mailing


@pytest.fixture
def crowds(alice: Any, account: Any) -> dict[int, str]:
    world.contacts(alice, 100, prefix="few")
    world.contacts(alice, 3000, prefix="many")
    return {100: "few", 3000: "many"}


def ended(mailing: Mailing, status: str, number: int) -> Mailing:
    """Write down that `number` ended in `status`, as the tallies would, and that the mailing is done."""
    Tally.objects.create(mailing=mailing, day=world.TODAY, **{status: number})
    version = world.started(mailing.owner, Contact.objects.filter(pk=Contact.objects.first().pk)).version
    Mailing.objects.filter(pk=mailing.pk).update(status="done", version=version, started_at=world.MONDAY)
    mailing.refresh_from_db()
    return mailing


def test_cost__does_not_depend_on_the_number_of_recipients(alice, crowds):
    text = world.message(alice)
    costs: dict[str, set[int]] = {}

    def cost(name: str, act: Callable[[], Any]) -> None:
        costs.setdefault(name, set()).add(queries(act))

    for number, prefix in crowds.items():
        one, two = fill(alice, number, prefix=prefix, text=text), fill(alice, number, prefix=prefix, text=text)
        cost("merge", lambda one=one, two=two: operations.merge([one, two], by=alice, now=world.MONDAY))
        sent = ended(fill(alice, number, prefix=prefix, text=text, status="sent", sent_at=world.MONDAY), "sent", number)
        cost("duplicate", lambda sent=sent: operations.duplicate(sent, by=alice))
        draft = fill(alice, number, prefix=prefix, text=text)
        cost("exclude", lambda draft=draft: operations.exclude_received(draft, by=alice))
        assert draft.total == 0
        failed = fill(alice, number, prefix=prefix, text=text, status="failed", reason=Failure.REFUSED)
        ended(failed, "failed", number)
        cost("retry", lambda failed=failed: operations.retry_failed(failed, by=alice))
        cancelled = lifecycle.cancel(fill(alice, number, prefix=prefix, text=text), by=alice)
        cost("missing", lambda cancelled=cancelled: operations.send_to_missing(cancelled, by=alice))
        for name, resolve in (("sent", operations.treat_as_sent), ("again", operations.send_again)):
            unknown = fill(
                alice, number, prefix=prefix, text=text, status="unknown", reason=Failure.NO_ANSWER,
                sending_at=world.MONDAY,
            )  # fmt: skip
            ended(unknown, "unknown", number)
            cost(name, lambda resolve=resolve, unknown=unknown: resolve(unknown.deliveries.all(), by=alice))
            assert not unknown.deliveries.filter(status="unknown").exists()
    assert {name: len(seen) for name, seen in costs.items()} == dict.fromkeys(costs, 1), costs
    books_balance()


def test_cost__does_not_depend_on_the_number_of_mailings(alice, account):
    world.contacts(alice, 3)
    text = world.message(alice)
    seen = set()
    for number in (5, 30):
        mailings = [world.mailing(alice, message=text) for _ in range(number)]
        seen.add(queries(lambda mailings=mailings: operations.merge(mailings, by=alice, now=world.MONDAY)))
        active = Mailing.objects.filter(pk__in=[world.started(alice).pk for _ in range(number)])
        seen.add(queries(lambda active=active: lifecycle.pause_all(active, by=alice)) + 100)
    assert len(seen) == 2


def test_unknown__many_are_resolved_in_chunks(alice, account, monkeypatch):
    monkeypatch.setattr(resolving, "CHUNK", 2)
    world.contacts(alice, 5)
    text = world.message(alice)
    lane = Lane.objects.create(account=account, slot=0)
    unknown = fill(
        alice, 5, prefix="person", text=text, status="unknown", reason=Failure.NO_ANSWER,
        sending_at=world.MONDAY, lane=lane,
    )  # fmt: skip
    ended(unknown, "unknown", 5)
    assert operations.treat_as_sent(unknown.deliveries.order_by("-pk"), by=alice) == 5
    books_balance()


def test_left_outs_of_a_merge_are_written_once(alice, bob, text):
    world.contacts(bob, 1)
    mailings = [world.mailing(alice, Contact.objects.all(), message=text) for _ in range(3)]
    united = merge(*mailings, by=alice)
    assert LeftOut.objects.filter(mailing=united).count() == 1
