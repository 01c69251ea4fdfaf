"""The buttons of a mailing, the pages that ask first, the actions of the lists: who is offered what, what it does."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pytest
import time_machine
from django.contrib import admin
from django.contrib.auth.models import Permission
from django.db import connection
from django.test.utils import CaptureQueriesContext

from example_project.crm.models import Contact
from massmail.admin import operating
from massmail.admin.operations import operations_for
from massmail.choices import AuditAction, DeliveryStatus, Failure, MailingStatus, Phase
from massmail.engine import lifecycle
from massmail.engine.standalone import run
from massmail.models import AuditEntry, Delivery, Mailing, Message, Tally
from massmail.transport import Reply, TransportError, memory
from tests import world
from tests.adminpages import act, client_of, queries, said, url

pytestmark = pytest.mark.django_db

OK, SEE_OTHER, FORBIDDEN, MISSING, NOT_ALLOWED = 200, 302, 403, 404, 405
REFUSED = Reply(phase=Phase.RCPT, code=550, text="5.0.0 Not today")
SILENCE = TransportError(Reply(phase=Phase.DOT, code=None, text=""))
UNKNOWN = "?status__exact=unknown"


@pytest.fixture(autouse=True)
def outbox():
    memory.clear()
    world.settings()
    yield memory.outbox
    memory.clear()


@pytest.fixture
def clerk(django_user_model: Any) -> Any:
    """Staff without any right."""
    return django_user_model.objects.create_user("clerk", is_staff=True)


@pytest.fixture
def draft(alice: Any) -> Mailing:
    world.account(alice)
    world.contacts(alice, 3)
    return world.mailing(alice, name="Autumn offer")


def sent(mailing: Mailing, by: Any) -> Mailing:
    lifecycle.start(mailing, by=by, now=world.MONDAY)
    run(clock=world.clock(), until_idle=True)
    run(clock=world.clock("2026-11-23 10:10"), until_idle=True)
    mailing.refresh_from_db()
    return mailing


def finish(mailing: Mailing) -> None:
    Mailing.objects.filter(pk=mailing.pk).update(status=MailingStatus.DONE, ended_at=world.MONDAY)


def html(response: Any) -> str:
    assert response.status_code == OK
    return response.content.decode()


def buttons(person: Any, mailing: Mailing) -> list[str]:
    """Return what stands on the mailing's page to be pressed."""
    page = html(client_of(person).get(url(mailing, "change")))
    return re.findall(r'aria-describedby="massmail-does-(\w+)"', page)


def press(person: Any, mailing: Mailing, name: str, **data: Any) -> Any:
    response = client_of(person).post(url(mailing, name), data)
    mailing.refresh_from_db()
    return response


# Buttons --------------------------------------------------------------------------------------------------------------


def test_buttons__stand_where_they_can_be_pressed(draft, alice):
    assert buttons(alice, draft) == ["start", "duplicate", "exclude", "cancel"]
    press(alice, draft, "start")
    assert buttons(alice, draft) == ["pause", "duplicate", "cancel"]
    press(alice, draft, "pause")
    assert buttons(alice, draft) == ["resume", "schedule", "duplicate", "cancel"]
    world.mailing(alice, message=draft.message)
    assert "merge" in buttons(alice, draft)
    press(alice, draft, "cancel")
    assert buttons(alice, draft) == ["missing", "duplicate"]


def test_buttons__of_a_mailing_that_is_done(draft, alice):
    memory.replies["person0@alice.example"] = REFUSED
    assert buttons(alice, sent(draft, alice)) == ["retry", "duplicate"]


def test_buttons__start_stands_when_nothing_forbids_it(draft, alice):
    world.settings(unsubscribe_url="")
    assert "start" not in buttons(alice, draft)


def test_buttons__each_says_what_it_does(draft, alice):
    page = html(client_of(alice).get(url(draft, "change")))
    for name in buttons(alice, draft):
        words = re.search(rf'id="massmail-does-{name}">([^<]+)<', page)
        assert words
        assert words[1].endswith(".")


def test_buttons__answer_a_press_as_they_stand(draft, alice, rf):
    """In whatever state: what can be pressed does something, what can't says why and changes nothing."""
    states: list[Callable[[Mailing], Any]] = [
        lambda mailing: None,
        lambda mailing: lifecycle.start(mailing, by=alice),
        lambda mailing: lifecycle.pause(lifecycle.start(mailing, by=alice), by=alice),
        lambda mailing: finish(lifecycle.start(mailing, by=alice)),
        lambda mailing: lifecycle.cancel(mailing, by=alice),
    ]
    request = rf.get("/")
    request.user = alice
    names = set(operating.NAMES) - {"schedule", "exclude"}
    for bring_about in states:
        for name in sorted(names):
            mailing = world.mailing(alice)
            bring_about(mailing)
            mailing.refresh_from_db()
            operation = {each.name: each for each in operations_for(mailing, request, admin.site)}[name]
            before = (mailing.status, Mailing.objects.count())
            response = press(alice, mailing, name)
            assert response.status_code == SEE_OTHER
            changed = (mailing.status, Mailing.objects.count()) != before
            assert changed == operation.enabled, (mailing.status, name)
            if not operation.enabled:
                assert said(response) == [operation.why_not]


def test_buttons__number_of_queries_does_not_depend_on_that_of_recipients(alice):
    world.account(alice)
    world.contacts(alice, 10)
    small = sent(world.mailing(alice), alice)
    world.contacts(alice, 300, prefix="more")
    large = lifecycle.cancel(world.mailing(alice), by=alice)
    small_cancelled = lifecycle.cancel(world.mailing(alice, Contact.objects.filter(email__startswith="p")), by=alice)
    client = client_of(alice)
    assert queries(client, url(large, "change")) == queries(client, url(small_cancelled, "change"))
    assert small.status == MailingStatus.DONE


# Who may --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", operating.NAMES)
def test_pages__by_get(name, draft, alice, bob, carol, clerk, boss):
    if name in ("schedule", "new-version"):
        lifecycle.pause(lifecycle.start(draft, by=alice), by=alice)
        Message.objects.filter(pk=draft.message_id).update(subject="Changed")
    expected = (OK, MISSING, FORBIDDEN, MISSING, OK) if name in operating.ASKING else (NOT_ALLOWED,) * 5
    people = (alice, bob, carol, clerk, boss)
    assert tuple(client_of(person).get(url(draft, name)).status_code for person in people) == expected
    assert client_of(None).get(url(draft, name)).headers["Location"].startswith("/admin/login/")


@pytest.mark.parametrize("name", operating.NAMES)
def test_posts__of_others_change_nothing(name, draft, bob, carol, clerk):
    for person, expected in ((bob, MISSING), (carol, FORBIDDEN), (clerk, MISSING), (None, SEE_OTHER)):
        assert press(person, draft, name).status_code == expected
    assert draft.status == MailingStatus.DRAFT
    assert Mailing.objects.count() == 1


def test_posts__need_the_token(draft, alice):
    client = client_of(alice, enforce_csrf_checks=True)
    assert {client.post(url(draft, name)).status_code for name in operating.NAMES} == {FORBIDDEN}
    for page in ("merge", "copies"):
        assert client.post(f"{url(Mailing, page)}?id={draft.pk}").status_code == FORBIDDEN
    assert Mailing.objects.get().status == MailingStatus.DRAFT


def test_making__needs_the_right_to_add(draft, alice):
    alice.groups.clear()
    alice.user_permissions.set(
        Permission.objects.filter(content_type__app_label="massmail", codename__in=["change_mailing", "view_mailing"])
    )
    assert buttons(alice, draft) == ["start", "exclude", "cancel"]
    assert press(alice, draft, "duplicate").status_code == FORBIDDEN
    assert client_of(alice).get(f"{url(Mailing, 'merge')}?id={draft.pk}").status_code == FORBIDDEN


def test_chief__sees_no_buttons_and_no_actions(draft, carol):
    assert buttons(carol, draft) == []
    page = html(client_of(carol).get(url(Mailing, "changelist")))
    assert "pause_mailings" not in page


# Cancel ---------------------------------------------------------------------------------------------------------------


def test_cancel__says_how_many_stay_without_the_message(draft, alice):
    account = world.account(alice, "third", paced=True)
    type(account).objects.exclude(pk=account.pk).update(massmail=False)
    lifecycle.start(draft, by=alice, now=world.MONDAY)
    run(clock=world.clock(), until_idle=False)
    page = html(client_of(alice).get(url(draft, "cancel")))
    assert "<strong>2 recipients</strong> of “Autumn offer” have not got the message yet" in page
    assert "To 1 it was sent" in page
    draft.refresh_from_db()
    assert draft.status == MailingStatus.ACTIVE
    response = press(alice, draft, "cancel")
    assert said(response) == ["The mailing “Autumn offer” is cancelled."]
    assert draft.status == MailingStatus.CANCELLED


def test_cancel__page_of_what_has_ended_leads_back(draft, alice):
    press(alice, draft, "cancel")
    response = client_of(alice).get(url(draft, "cancel"))
    assert response.headers["Location"] == url(draft, "change")
    assert "is cancelled, so this can't be done" in said(response)[0]


# A date ---------------------------------------------------------------------------------------------------------------


@time_machine.travel(world.MONDAY, tick=False)
def test_start__at_a_date_says_so(draft, alice):
    lifecycle.schedule(draft, by=alice, start_at=world.berlin("2026-11-30 09:00"))
    assert "The first mail leaves Mon 30 Nov, 09:00." in html(client_of(alice).get(url(draft, "change")))
    response = press(alice, draft, "start")
    assert said(response) == ["The mailing “Autumn offer” is started. Its first mail leaves Mon 30 Nov, 09:00."]
    listed = html(client_of(alice).get(url(Mailing, "changelist")))
    assert "It starts Mon 30 Nov, 09:00." in listed


@time_machine.travel(world.MONDAY, tick=False)
def test_schedule__of_a_paused_mailing(draft, alice):
    lifecycle.pause(lifecycle.start(draft, by=alice), by=alice)
    response = press(alice, draft, "schedule", start_at_0="2026-11-30", start_at_1="09:00")
    assert response.status_code == SEE_OTHER
    assert draft.start_at == world.berlin("2026-11-30 09:00")
    past = press(alice, draft, "schedule", start_at_0="2026-11-20", start_at_1="09:00")
    assert "This moment has passed" in html(past)
    press(alice, draft, "schedule", start_at_0="", start_at_1="")
    assert draft.start_at is None


# Made from it ---------------------------------------------------------------------------------------------------------


def test_duplicate__twice_by_a_double_click(draft, alice):
    page = html(client_of(alice).get(url(draft, "change")))
    after = re.search(r'name="after" value="(\d+)"', page)
    assert after
    first = press(alice, draft, "duplicate", after=after[1])
    second = press(alice, draft, "duplicate", after=after[1])
    copy = Mailing.objects.exclude(pk=draft.pk).get()
    assert first.headers["Location"] == second.headers["Location"] == url(copy, "change")
    assert "The mailing “Autumn offer (copy)” is made, to 3 addresses." in said(first)[0]


def test_retry_and_missing__lead_to_the_draft(draft, alice):
    memory.replies["person0@alice.example"] = REFUSED
    sent(draft, alice)
    response = press(alice, draft, "retry")
    retry = draft.children.get()
    assert response.headers["Location"] == url(retry, "change")
    assert "The mailing “Autumn offer (retry)” is made, to 1 address." in said(response)[0]
    lifecycle.cancel(retry, by=alice)
    press(alice, retry, "missing")
    assert retry.children.get().relation == "missing"


def test_retry__with_nobody_left_says_so(draft, alice):
    memory.replies["person0@alice.example"] = Reply(phase=Phase.RCPT, code=550, text="5.1.1 No such user")
    sent(draft, alice)
    response = press(alice, draft, "retry")
    assert said(response) == ["No mailing is made: there is nobody left to write to. Address suppressed: 1."]
    assert response.headers["Location"] == url(draft, "change")


# Already received -----------------------------------------------------------------------------------------------------


def test_exclude__by_the_form(draft, alice, bob):
    foreign = world.message(bob, subject="Bob's")
    earlier = world.mailing(alice, Contact.objects.filter(first_name="First0"), message=draft.message)
    sent(earlier, alice)
    page = html(client_of(alice).get(url(draft, "exclude")))
    assert f'<option value="{draft.message_id}" selected>' in page
    assert "Bob&#x27;s" not in page
    assert press(alice, draft, "exclude", message=foreign.pk).status_code == OK
    late = press(alice, draft, "exclude", message=draft.message_id, since="2026-11-24")
    assert said(late) == ["Nobody is left out: none of the recipients has received the message."]
    done = press(alice, draft, "exclude", message=draft.message_id, since="2026-11-23")
    assert said(done) == ["1 recipient is left out, who already received the message."]
    assert draft.total == 2
    assert "Already received this message: 1" in html(client_of(alice).get(url(draft, "change")))


# Several mailings -----------------------------------------------------------------------------------------------------


def test_actions__pause_and_resume(draft, alice, bob):
    lifecycle.start(draft, by=alice)
    active = world.started(alice)
    client = client_of(alice)
    assert said(act(client, Mailing, "pause_mailings", [draft, active])) == ["2 mailings are paused."]
    assert said(act(client, Mailing, "pause_mailings", [draft]))[-1] == "None of the selected mailings is active."
    act(client_of(bob), Mailing, "resume_mailings", [draft], everywhere=True)
    assert set(Mailing.objects.values_list("status", flat=True)) == {"paused"}
    assert said(act(client, Mailing, "resume_mailings", [draft]))[-1] == "1 mailing goes on."


def test_actions__number_of_queries_is_constant(draft, alice):
    client = client_of(alice)
    seen = set()
    for number in (5, 20):
        mailings = [world.started(alice) for _ in range(number)]
        for action in ("pause_mailings", "resume_mailings"):
            act(client, Mailing, action, mailings)  # caches
            act(client, Mailing, "resume_mailings", mailings)
            with CaptureQueriesContext(connection) as captured:
                act(client, Mailing, "pause_mailings", mailings)
            seen.add(len(captured))
    assert len(seen) == 1


def test_actions__of_a_chief_touch_only_her_own(draft, alice, carol):
    lifecycle.start(draft, by=alice)
    world.account(carol)
    world.contacts(carol, 1)
    own = world.started(carol)
    assert said(act(client_of(carol), Mailing, "pause_mailings", [draft, own])) == ["1 mailing is paused."]
    draft.refresh_from_db()
    assert draft.status == MailingStatus.ACTIVE
    assert said(act(client_of(carol), Mailing, "merge_mailings", [draft])) == [
        "None of the selected mailings is yours."
    ]


def test_copies__of_several(draft, alice, bob):
    other = world.mailing(alice, name="Other")
    client = client_of(alice)
    asked = act(client, Mailing, "copy_mailings", [draft, other])
    address = asked.headers["Location"]
    page = html(client.get(address))
    assert "Autumn offer" in page
    after = re.search(r'name="after" value="(\d+)"', page)
    assert after
    for _ in range(2):
        client.post(address, {"after": after[1]})
    assert sorted(Mailing.objects.values_list("name", flat=True)) == [
        "Autumn offer", "Autumn offer (copy)", "Other", "Other (copy)"
    ]  # fmt: skip
    assert client_of(bob).post(address, {"after": 0}).headers["Location"] == url(Mailing, "changelist")
    assert Mailing.objects.count() == 4


def test_copies__not_too_many(draft, alice, monkeypatch):
    monkeypatch.setattr(operating, "COPIES_AT_ONCE", 1)
    response = act(client_of(alice), Mailing, "copy_mailings", [draft, world.mailing(alice)])
    assert said(response) == ["Select 1 mailings at most."]


def test_merge__from_the_list(draft, alice):
    two = world.mailing(alice, Contact.objects.filter(first_name="First0"), message=draft.message, name="Two")
    three = world.mailing(alice, message=draft.message, name="Three")
    foreign = world.mailing(alice, name="Another message")
    client = client_of(alice)
    address = act(client, Mailing, "merge_mailings", [draft, two, foreign]).headers["Location"]
    page = html(client.get(address))
    assert re.findall(r'value="(\d+)"[^>]* checked', page) == [str(draft.pk), str(two.pk)]
    assert f'value="{three.pk}"' in page
    assert "can't be merged with it" in page
    assert ">Another message</a>" in page
    assert "two mailings or more" in html(client.post(address, {"mailings": [draft.pk], "name": "x"}))
    assert client.post(address, {"mailings": [draft.pk, foreign.pk], "name": "x"}).status_code == OK
    response = client.post(address, {"mailings": [draft.pk, two.pk], "name": "Both"})
    united = Mailing.objects.get(name="Both")
    assert response.headers["Location"] == url(united, "change")
    assert "merged into the draft “Both”, with 3 recipients" in said(response)[0]
    again = client.post(address, {"mailings": [draft.pk, two.pk], "name": "Both"})
    assert again.headers["Location"] == url(Mailing, "changelist")
    assert Mailing.objects.filter(name="Both").count() == 1
    entry = AuditEntry.objects.get(action=AuditAction.MERGED, mailing=draft)
    assert entry.by == alice
    listed = client.get(url(Mailing, "changelist") + "?status=merged")
    assert set(listed.context["cl"].result_list) == {draft, two}


def test_merge__from_the_page_of_one(draft, alice):
    two = world.mailing(alice, message=draft.message, name="Two")
    page = html(client_of(alice).get(url(draft, "change")))
    address = f"{url(Mailing, 'merge')}?id={draft.pk}"
    assert f'href="{address}"' in page
    asked = html(client_of(alice).get(address))
    assert len(re.findall(r" checked", asked)) == 2
    assert f'value="{two.pk}"' in asked


def test_merge__of_others_is_out_of_reach(draft, alice, bob, carol):
    two = world.mailing(alice, message=draft.message)
    address = f"{url(Mailing, 'merge')}?id={draft.pk}&id={two.pk}&id=x&id={'9' * 30}"
    for person in (bob, carol):
        response = client_of(person).post(address, {"mailings": [draft.pk, two.pk], "name": "Mine"})
        assert response.status_code in (SEE_OTHER, FORBIDDEN)
    assert not Mailing.objects.filter(status=MailingStatus.MERGED).exists()


def test_merge__with_nothing_to_merge_with_says_so(draft, alice):
    client = client_of(alice)
    response = client.get(f"{url(Mailing, 'merge')}?id={draft.pk}")
    assert "no other mailing with the message of “Autumn offer”" in said(response)[0]
    response = client.get(url(Mailing, "merge"))
    assert "Select mailings to merge" in said(response)[-1]


# Unknown --------------------------------------------------------------------------------------------------------------


@pytest.fixture
def doubted(draft: Mailing, alice: Any) -> Mailing:
    memory.replies["person1@alice.example"] = SILENCE
    sent(draft, alice)
    memory.clear()
    return draft


def resolve(person: Any, action: str, deliveries: Any, **data: Any) -> Any:
    keys = [delivery.pk for delivery in deliveries]
    return client_of(person).post(
        url(Delivery, "changelist") + UNKNOWN, {"action": action, "_selected_action": keys, **data}
    )


def statuses(mailing: Mailing) -> list[str]:
    return sorted(mailing.deliveries.values_list("status", flat=True))


def test_unknown__button_leads_to_the_list_with_the_actions(doubted, alice):
    assert buttons(alice, doubted) == ["duplicate", "unknown"]
    address = f"{url(Delivery, 'changelist')}?mailing__id__exact={doubted.pk}&status__exact=unknown"
    client = client_of(alice)
    assert address.replace("&", "&amp;") in html(client.get(url(doubted, "change")))
    listed = client.get(address)
    assert listed.context["cl"].result_count == 1
    page = html(listed)
    assert "Treat as sent" in page
    assert "Send again…" in page
    assert "Treat as sent" not in html(client.get(url(Delivery, "changelist")))


def test_unknown__treat_as_sent(doubted, alice):
    response = resolve(alice, "treat_as_sent", doubted.deliveries.all())
    assert said(response) == ["1 recipient counts as sent to."]
    assert statuses(doubted) == ["sent"] * 3
    again = resolve(alice, "treat_as_sent", doubted.deliveries.all())
    assert "Nothing to do" in said(again)[0]
    assert AuditEntry.objects.get(action=AuditAction.TREATED_AS_SENT).by == alice


def test_unknown__send_again_asks_first(doubted, alice):
    unknown = doubted.deliveries.filter(status=DeliveryStatus.UNKNOWN)
    page = html(resolve(alice, "send_again", unknown))
    assert "the recipient may get it twice" in page
    assert f'name="_selected_action" value="{unknown.get().pk}"' in page
    assert statuses(doubted) == ["sent", "sent", "unknown"]
    response = resolve(alice, "send_again", unknown, confirmed="1")
    assert said(response) == ["1 recipient is queued again."]
    doubted.refresh_from_db()
    assert doubted.status == MailingStatus.ACTIVE
    assert statuses(doubted) == ["queued", "sent", "sent"]


def test_unknown__of_a_cancelled_mailing_stays(doubted, alice):
    Mailing.objects.update(status=MailingStatus.CANCELLED)
    response = resolve(alice, "send_again", doubted.deliveries.all())
    assert "Left as they are: 1." in said(response)[1]
    assert "unknown" in statuses(doubted)


@pytest.mark.parametrize("action", ["treat_as_sent", "send_again"])
def test_unknown__of_others_stays(action, doubted, bob, carol, clerk, boss):
    world.contacts(carol, 1)
    world.mailing(carol)  # so that she has something of her own in the list
    for person in (bob, carol, clerk, None):
        resolve(person, action, Delivery.objects.all(), confirmed="1", select_across="1")
        assert "unknown" in statuses(doubted), person
    resolve(boss, action, Delivery.objects.all(), confirmed="1")
    assert "unknown" not in statuses(doubted)


def test_unknown__all_of_them_in_a_constant_number_of_queries(alice):
    world.account(alice)
    seen = set()
    for number in (10, 120):
        world.contacts(alice, number, prefix=f"crowd{number}-")
        mailing = world.started(alice, Contact.objects.filter(email__startswith=f"crowd{number}-"))
        mailing.deliveries.update(status="unknown", reason=Failure.NO_ANSWER, sending_at=world.MONDAY)
        Tally.objects.create(mailing=mailing, day=world.TODAY, unknown=number)
        with CaptureQueriesContext(connection) as captured:
            resolve(alice, "treat_as_sent", mailing.deliveries.all()[:1], select_across="1")
        seen.add(len(captured))
        assert statuses(mailing) == ["sent"] * number
    assert len(seen) == 1
