"""The list of mailings, the page of one, its recipients."""

from __future__ import annotations

import datetime as dt
from typing import Any

import pytest
import time_machine
from django.utils import timezone

from example_project.crm.models import Contact
from massmail.admin.mailings import MailingAdmin
from massmail.choices import HoldReason, MailingStatus
from massmail.engine import lifecycle
from massmail.engine.holds import Hold
from massmail.engine.standalone import run
from massmail.models import Delivery, EmailAccount, Heartbeat, LeftOut, Mailing, MassmailSettings, Message
from massmail.outcomes import hold_account, progress
from massmail.transport import memory
from tests import world
from tests.adminpages import act, client_of, queries, said, submit, url

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def outbox():
    memory.clear()
    world.settings()
    yield memory.outbox
    memory.clear()


@pytest.fixture
def draft(alice: Any) -> Mailing:
    world.account(alice)
    world.contacts(alice, 3)
    return world.mailing(alice, name="Autumn offer")


def html(response: Any) -> str:
    assert response.status_code == 200
    return response.content.decode()


def press(person: Any, mailing: Mailing, move: str) -> Any:
    response = client_of(person).post(url(mailing, move))
    mailing.refresh_from_db()
    return response


# The list -------------------------------------------------------------------------------------------------------------


def test_list__empty_one_explains_the_way(alice):
    page = html(client_of(alice).get(url(Mailing, "changelist")))
    assert "select recipients in their list" in page
    assert url(Contact, "changelist") in page
    assert f'<a href="{url(Message, "add")}">write a message</a>' in page
    assert f'<a class="button" href="{url(Mailing, "create")}">Create mailing</a>' in page


def test_list__shows_where_mailings_stand(draft, alice):
    lifecycle.start(draft, by=alice)
    page = html(client_of(alice).get(url(Mailing, "changelist")))
    assert "Autumn offer" in page
    assert "News for \u2039first name\u203a" in page
    assert "contact persons" in page
    assert ">Held<" in page
    assert '<progress max="3" value="0"' in page
    assert "No worker or beat is alive" in page


def badge(person: Any, mailing: Mailing) -> tuple[str, str, str]:
    """Return the stored status, the look and the word of the badge, the same in the list and to the script."""
    client = client_of(person)
    data = client.get(url(Mailing, "progress"), {"id": mailing.pk}).json()["mailings"][str(mailing.pk)]
    for address in (url(Mailing, "changelist"), url(mailing, "change")):
        page = html(client.get(address))
        assert f'massmail-state-{data["look"]}" data-look="{data["look"]}"' in page
        assert f">{data['state']}</span>" in page
    return data["status"], data["look"], data["state"]


def test_list__badge_tells_what_needs_somebody_from_what_goes_on_by_itself(draft, alice):
    with time_machine.travel(world.MONDAY, tick=False):
        assert badge(alice, draft) == ("draft", "draft", "Draft")
        press(alice, draft, "start")
        assert badge(alice, draft) == ("active", "held", "Held")  # no worker alive
        Heartbeat.objects.create(name="tick", at=world.MONDAY)
        assert badge(alice, draft) == ("active", "active", "Active")
        account = EmailAccount.objects.get()
        hold_account(account, "421 too many today", until=world.MONDAY + dt.timedelta(hours=3))
        assert badge(alice, draft) == ("active", "waiting", "Waiting")
        hold_account(account, "535 Password refused")
        assert badge(alice, draft) == ("active", "held", "Held")
        press(alice, draft, "pause")
        assert badge(alice, draft) == ("paused", "paused", "Paused")
        press(alice, draft, "resume")
        lifecycle.pause(draft, by=None, reason="Five refusals in a row")
        assert badge(alice, draft) == ("paused", "held", "Paused")


def test_list__filter_offers_the_states_there_can_be(draft, alice):
    page = client_of(alice).get(url(Mailing, "changelist"))
    choices = {choice["display"] for choice in page.context["cl"].filter_specs[0].choices(page.context["cl"])}
    assert choices == {"All", "Draft", "Active", "Paused", "Done", "Cancelled", "Merged"}
    for status, number in (("draft", 1), ("active", 0)):
        listed = client_of(alice).get(url(Mailing, "changelist"), {"status": status})
        assert listed.context["cl"].result_count == number


def test_list__progress_after_sending(draft, alice, outbox):
    lifecycle.start(draft, by=alice)
    with time_machine.travel(world.MONDAY, tick=False):
        run(clock=world.clock(), until_idle=True)
        data = client_of(alice).get(url(Mailing, "progress"), {"id": draft.pk}).json()["mailings"][str(draft.pk)]
    assert len(outbox) == 3
    assert data["status"] == "done"
    assert (data["percent"], data["sent"], data["sent_today"], data["moving"]) == (100, 3, 3, False)


def test_list__held_account_is_counted(draft, alice):
    hold_account(world.account(alice, "third"), "Password refused")
    page = html(client_of(alice).get(url(Mailing, "changelist")))
    assert "1 on hold" in page


def test_list__names_and_subjects_are_escaped(alice):
    world.account(alice, "<img src=x onerror=alert(3)>")
    world.contacts(alice, 1, first_name="<img src=x onerror=alert(4)>")
    text = world.message(alice, subject="<script>alert(2)</script>")
    mailing = world.mailing(alice, message=text, name="<script>alert(1)</script>")
    lifecycle.start(mailing, by=alice)
    client = client_of(alice)
    pages = [url(model, "changelist") for model in (Mailing, Message, Delivery, type(world.account(alice, "x")))]
    pages += [url(mailing, "change"), url(mailing, "delete"), url(text, "change")]
    for address in pages:
        page = html(client.get(address))
        assert "<script>alert" not in page, address
        assert "<img src=x" not in page, address


@pytest.mark.parametrize("model", [Mailing, Message, Delivery, LeftOut])
def test_list__number_of_queries_is_constant(model, alice, bob):
    world.account(alice)
    world.contacts(alice, 4)
    world.contacts(bob, 2)
    client = client_of(alice)

    def fill(number: int) -> None:
        for count in range(number):
            mailing = world.mailing(alice, Contact.objects.all())
            if count % 2:
                lifecycle.start(mailing, by=alice)

    fill(5)
    few = queries(client, url(model, "changelist"))
    fill(45)
    assert queries(client, url(model, "changelist")) == few


def test_progress__number_of_queries_is_constant(alice):
    world.account(alice)
    world.contacts(alice, 2)
    client = client_of(alice)
    mailings = [world.started(alice) for _ in range(5)]
    few = queries(client, url(Mailing, "progress") + "?" + "&".join(f"id={each.pk}" for each in mailings))
    mailings += [world.started(alice) for _ in range(45)]
    assert queries(client, url(Mailing, "progress") + "?" + "&".join(f"id={each.pk}" for each in mailings)) == few


def test_page__number_of_queries_does_not_depend_on_that_of_recipients(alice, bob):
    world.account(alice)
    world.contacts(alice, 10)
    small = world.mailing(alice, Contact.objects.all())
    world.contacts(alice, 990, prefix="more")
    world.contacts(bob, 50)
    large = world.mailing(alice, Contact.objects.all())
    client = client_of(alice)
    # One more for the reasons of those left out is the same query with rows.
    assert queries(client, url(large, "change")) == queries(client, url(small, "change"))


# The page -------------------------------------------------------------------------------------------------------------


def test_page__draft_without_message_says_what_to_do(alice):
    world.account(alice)
    world.contacts(alice, 1)
    act(client_of(alice), Contact, "massmail_create_mailing")
    mailing = Mailing.objects.get()
    page = html(client_of(alice).get(url(mailing, "change")))
    assert "No message is chosen." in page
    assert url(mailing, "start") not in page


def test_page__obstacles_lead_to_the_place_that_mends_them(draft, alice, boss):
    world.settings(unsubscribe_url="")
    Message.objects.update(content="<p>No link</p>")
    page = html(client_of(alice).get(url(draft, "change")))
    assert "“URL to unsubscribe” is not set" in page
    assert "/massmail_settings/" not in page  # not hers to mend
    assert url(draft.message, "change") in page
    assert url(MassmailSettings, "change", 1) in html(client_of(boss).get(url(draft, "change")))


def test_page__remedy_for_several_obstacles_is_told_once(draft, alice, monkeypatch):
    holds = [
        Hold(reason=HoldReason.NO_MESSAGE, detail=detail, remedy="Mend it here.", about=draft)
        for detail in ("One", "Two")
    ]
    monkeypatch.setattr(lifecycle, "obstacles", lambda *args, **kwargs: holds)
    page = html(client_of(alice).get(url(draft, "change")))
    assert "<li>One" in page
    assert "<li>Two</li>" in page
    assert page.count("Mend it here.") == 1


def test_page__start_is_refused_with_the_reason(draft, alice):
    world.settings(unsubscribe_url="")
    response = press(alice, draft, "start")
    assert draft.status == MailingStatus.DRAFT
    assert "“URL to unsubscribe” is not set" in said(response)[0]


@time_machine.travel(dt.datetime(2026, 11, 27, 12, tzinfo=dt.UTC))
def test_page__draft_on_a_friday_says_when_it_will_start(draft, alice):
    world.settings(use_business_time=True)
    page = html(client_of(alice).get(url(draft, "change")))
    assert "Mon 30 Nov, 08:30" in page
    assert url(draft, "start") in page


def test_page__only_a_main_account(alice):
    world.account(alice, "main", main=True)
    world.contacts(alice, 1)
    page = html(client_of(alice).get(url(world.mailing(alice), "change")))
    assert "sends to VIP recipients only" in page


def test_page__buttons_follow_the_status(draft, alice):
    def buttons() -> set[str]:
        page = html(client_of(alice).get(url(draft, "change")))
        return {move for move in ("start", "pause", "resume", "cancel") if url(draft, move) in page}

    assert buttons() == {"start", "cancel"}
    press(alice, draft, "start")
    assert draft.status == MailingStatus.ACTIVE
    assert buttons() == {"pause", "cancel"}
    press(alice, draft, "pause")
    assert draft.status == MailingStatus.PAUSED
    assert buttons() == {"resume", "cancel"}
    press(alice, draft, "resume")
    assert draft.status == MailingStatus.ACTIVE
    press(alice, draft, "cancel")
    assert draft.status == MailingStatus.CANCELLED
    assert buttons() == set()


def test_page__pressing_twice_tells_and_does_no_harm(draft, alice):
    press(alice, draft, "start")
    response = press(alice, draft, "start")
    assert "Reload the page" in said(response)[0]
    assert draft.status == MailingStatus.ACTIVE


def test_page__save_draft(draft, alice):
    other = world.message(alice, subject="Other")
    response = submit(
        client_of(alice),
        url(draft, "change"),
        name="New name",
        message=other.pk,
        start_at_0="2027-01-04",
        start_at_1="09:00",
    )
    assert response.status_code == 302
    draft.refresh_from_db()
    assert (draft.name, draft.message) == ("New name", other)
    assert draft.start_at == world.berlin("2027-01-04 09:00")


def test_page__offers_and_takes_the_owners_messages_only(draft, alice, bob, boss):
    foreign = world.message(bob, subject="Bob's")
    for person in (alice, boss):
        client = client_of(person)
        assert "Bob&#x27;s" not in html(client.get(url(draft, "change")))
        assert submit(client, url(draft, "change"), message=foreign.pk).status_code == 200
    draft.refresh_from_db()
    assert draft.message.owner == alice


def test_page__owner_and_status_slipped_into_a_post_are_ignored(draft, alice, bob):
    submit(client_of(alice), url(draft, "change"), owner=bob.pk, status="active", total=7, started_at="2026-01-01")
    draft.refresh_from_db()
    assert (draft.owner, draft.status, draft.total, draft.started_at) == (alice, "draft", 3, None)


def test_page__message_of_a_started_mailing_stays(draft, alice):
    other = world.message(alice, subject="Other")
    chosen = draft.message
    press(alice, draft, "start")
    page = html(client_of(alice).get(url(draft, "change")))
    assert "frozen" in page
    submit(client_of(alice), url(draft, "change"), name="Renamed", message=other.pk)
    draft.refresh_from_db()
    assert (draft.name, draft.message) == ("Renamed", chosen)


def test_page__saving_a_draft_that_was_started_meanwhile_changes_the_name_only(draft, alice, monkeypatch):
    save = MailingAdmin.save_model
    chosen, other = draft.message, world.message(alice, subject="Other")

    def start_first(self: Any, request: Any, obj: Any, form: Any, change: bool) -> None:
        lifecycle.start(Mailing.objects.get(pk=obj.pk), by=alice)
        save(self, request, obj, form, change)

    monkeypatch.setattr(MailingAdmin, "save_model", start_first)
    submit(client_of(alice), url(draft, "change"), name="Renamed", message=other.pk)
    draft.refresh_from_db()
    assert (draft.name, draft.message, draft.status) == ("Renamed", chosen, MailingStatus.ACTIVE)


def test_page__numbers_lead_to_the_recipients(draft, alice):
    press(alice, draft, "start")
    client = client_of(alice)
    page = html(client.get(url(draft, "change")))
    address = f"{url(Delivery, 'changelist')}?mailing__id__exact={draft.pk}&amp;status__exact=queued"
    assert address in page
    listed = client.get(address.replace("&amp;", "&"))
    assert listed.context["cl"].result_count == 3
    assert "Recipients of “Autumn offer”" in html(listed)
    assert "First0 Last0" in html(listed)
    found = client.get(f"{url(Delivery, 'changelist')}?mailing__id__exact={draft.pk}&q=person1@")
    assert found.context["cl"].result_count == 1


def test_page__log_names_who_did_what(draft, alice):
    press(alice, draft, "start")
    press(alice, draft, "pause")
    page = html(client_of(alice).get(url(draft, "change")))
    for word in ("Created", "Started", "Paused"):
        assert f"<td>{word}" in page


def test_page__pause_reason_is_shown(draft, alice):
    press(alice, draft, "start")
    lifecycle.pause(draft, by=None, reason="Five refusals in a row")
    assert "Five refusals in a row" in html(client_of(alice).get(url(draft, "change")))


# Deleting -------------------------------------------------------------------------------------------------------------


def delete(person: Any, mailing: Mailing) -> Any:
    return client_of(person).post(url(mailing, "delete"), {"post": "yes"})


def test_delete__draft_goes_with_its_recipients(draft, alice):
    page = html(client_of(alice).get(url(draft, "delete")))
    assert "Deliveries: 3" in page.replace("deliveries", "Deliveries")
    assert delete(alice, draft).status_code == 302
    assert not Mailing.objects.exists()
    assert not Delivery.objects.exists()


def sent(mailing: Mailing, owner: Any) -> Mailing:
    lifecycle.start(mailing, by=owner, now=world.MONDAY)
    run(clock=world.clock(), until_idle=True)
    mailing.refresh_from_db()
    assert progress([mailing], now=timezone.now())[mailing.pk].sent == 3
    return mailing


def test_delete__sent_mail_stays_on_record(draft, alice):
    sent(draft, alice)
    for response in (client_of(alice).get(url(draft, "delete")), delete(alice, draft)):
        assert "stays as the record" in html(response)
    assert Mailing.objects.filter(pk=draft.pk).exists()


def test_delete__started_mailing_is_cancelled_first(draft, alice):
    press(alice, draft, "start")
    assert "Cancel it first" in html(delete(alice, draft))
    press(alice, draft, "cancel")
    delete(alice, draft)
    assert not Mailing.objects.exists()


def test_delete__in_bulk(draft, alice):
    sent(draft, alice)
    fresh = world.mailing(alice, name="Fresh")
    data = {"action": "delete_selected", "_selected_action": [draft.pk, fresh.pk], "post": "yes"}
    client = client_of(alice)
    assert "stays as the record" in html(client.post(url(Mailing, "changelist"), data))
    assert Mailing.objects.count() == 2
    client.post(url(Mailing, "changelist"), data | {"_selected_action": [fresh.pk]})
    assert list(Mailing.objects.all()) == [draft]
