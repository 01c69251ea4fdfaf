"""The page of a mailing: its facts and figures, its timeline, and how each recipient reads it."""

from __future__ import annotations

import datetime as dt
import re
from typing import Any

import pytest
import time_machine

from example_project.crm.models import Contact
from massmail.engine import lifecycle
from massmail.engine.standalone import run
from massmail.models import Delivery, Heartbeat, Lane, LeftOut, Mailing, Message, Returns, Tally
from massmail.outcomes import hold_account
from massmail.transport import memory
from tests import world
from tests.adminpages import client_of, queries, said, submit, url

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def monday() -> Any:
    memory.clear()
    with time_machine.travel(world.MONDAY, tick=False):
        world.settings()
        Heartbeat.objects.create(name="tick", at=world.MONDAY)
        yield
    memory.clear()


@pytest.fixture
def mailing(alice: Any, bob: Any) -> Mailing:
    world.account(alice, "second")
    world.contacts(alice, 4)
    world.contacts(bob, 2)
    return world.started(alice, Contact.objects.all(), name="Autumn offer")


def page(person: Any, mailing: Mailing, **query: str) -> Any:
    response = client_of(person).get(url(mailing, "change"), query)
    assert response.status_code == 200
    return response


def tally(mailing: Mailing, account: Any, day: dt.date, **counts: int) -> None:
    lane, _created = Lane.objects.get_or_create(account=account, slot=0)
    Tally.objects.create(mailing=mailing, lane=lane, day=day, **counts)


# Facts and figures ----------------------------------------------------------------------------------------------------


def test_facts__say_what_to_whom_from_whom_and_when(mailing, alice):
    html = page(alice, mailing).content.decode()
    facts = re.sub(r"<[^>]+>|\s+", " ", html[html.index('class="massmail-facts"') :])
    facts = " ".join(facts.split())
    assert "What News for \u2039first name\u203a as it was frozen at the start" in facts
    assert "To 4 addresses of contact persons of alice" in facts
    assert "Not assigned to the mailing&#x27;s owner: 2" in facts
    assert "From second@alice-mail.example" in facts
    assert "started today 10:00" in facts
    assert (
        f'<a href="{url(LeftOut, "changelist")}?mailing__id__exact={mailing.pk}&amp;reason__exact=not_owner">' in html
    )


def figures(response: Any) -> dict[str, tuple[int, str]]:
    return {
        figure.name: (figure.value, figure.url) for figure in [*response.context["figures"], *response.context["later"]]
    }


def test_figures__lead_to_the_lists_that_have_as_many(mailing, alice):
    run(clock=world.clock(), until_idle=True)
    first, second = mailing.deliveries.order_by("id")[:2]
    Delivery.objects.filter(pk=first.pk).update(replied_at=world.MONDAY, bounced_at=world.MONDAY)
    Delivery.objects.filter(pk=second.pk).update(replied_at=world.MONDAY)
    Returns.objects.update_or_create(mailing=mailing, defaults={"replied": 2, "bounced": 1})
    found = figures(page(alice, mailing))
    assert {name: value for name, (value, _url) in found.items()} == {
        "total": 4,
        "sent": 4,
        "to_go": 0,
        "failed": 0,
        "skipped": 0,
        "unknown": 0,
        "replied_at": 2,
        "bounced_at": 1,
        "unsubscribed_at": 0,
    }
    for value, address in found.values():
        assert len(client_of(alice).get(address).context["cl"].result_list) == value


def test_figures__are_grouped_as_people_read_them(mailing, alice):
    Mailing.objects.update(total=50_241)
    assert ">50,241</a>" in page(alice, mailing).content.decode()
    data = client_of(alice).get(url(Mailing, "progress"), {"id": mailing.pk}).json()["mailings"][str(mailing.pk)]
    assert (data["to_go"], data["shown"]["to_go"]) == (50_241, "50,241")


# Sending --------------------------------------------------------------------------------------------------------------


def test_sending__draws_a_bar_for_each_day_and_a_row_for_each_account(mailing, alice):
    second, third = alice.massmail_accounts.get(), world.account(alice, "third")
    tally(mailing, second, world.MONDAY - dt.timedelta(days=3), sent=1)
    tally(mailing, third, world.MONDAY, sent=2, failed=1)
    response = page(alice, mailing)
    drawing = response.context["timeline"]
    assert [bar.total for bar in drawing.bars] == [1, 0, 0, 3]
    assert [series.name for series in drawing.series] == ["third", "second", "failed or unknown"]
    assert [(sender.name, sender.sent, sender.used) for sender in response.context["senders"]] == [
        ("third", 2, 0),
        ("second", 1, 0),
    ]
    html = response.content.decode()
    assert html.count("<rect ") == 3
    assert "Fri 20 Nov 2026" in html
    sent_url = f"{url(Delivery, 'changelist')}?mailing__id__exact={mailing.pk}&amp;account={third.pk}"
    assert sent_url in html


def test_sending__before_the_first_mail_has_the_accounts_alone(mailing, alice):
    hold_account(alice.massmail_accounts.get(), "535 Password refused")
    response = page(alice, mailing)
    assert response.context["timeline"] is None
    assert "<svg role" not in response.content.decode()
    assert "535 Password refused" in response.content.decode()


def test_sending__of_a_deleted_account_is_still_counted(mailing, alice):
    Tally.objects.create(mailing=mailing, day=world.MONDAY, sent=3)
    response = page(alice, mailing)
    assert [series.name for series in response.context["timeline"].series] == ["deleted account"]


def test_sending__ended_mailing_names_those_that_sent(mailing, alice):
    world.account(alice, "idle")
    tally(mailing, alice.massmail_accounts.get(name="second"), world.MONDAY, sent=4)
    lifecycle.cancel(mailing, by=alice)
    response = page(alice, mailing)
    assert [sender.name for sender in response.context["senders"]] == ["second"]
    assert "Today, all mailings" not in response.content.decode()


def test_sending__many_accounts_and_days_take_no_more_queries(alice):
    world.contacts(alice, 3)
    first = world.account(alice, "first")
    few_days, many_days = world.started(alice), world.started(alice)
    tally(few_days, first, world.MONDAY, sent=1)
    client = client_of(alice)
    few = queries(client, url(few_days, "change"))
    accounts = [world.account(alice, f"account {number}") for number in range(30)]
    lanes = [Lane.objects.create(account=account) for account in accounts]
    days = [world.MONDAY.date() - dt.timedelta(days=number) for number in range(200)]
    Tally.objects.bulk_create(Tally(mailing=many_days, lane=lane, day=day, sent=1) for lane in lanes for day in days)
    assert queries(client, url(many_days, "change")) == few
    drawing = page(alice, many_days).context["timeline"]
    assert drawing.per == "week"
    assert len(drawing.lines) == 30


@pytest.mark.parametrize("started", [False, True])
def test_page__number_of_queries_for_ten_and_for_three_thousand_recipients(started, alice, bob):
    world.account(alice)
    make = world.started if started else world.mailing
    world.contacts(alice, 10)
    world.contacts(bob, 1)
    small = make(alice, Contact.objects.all())
    world.contacts(alice, 2990, prefix="more")
    world.contacts(bob, 50, prefix="more")
    large = make(alice, Contact.objects.all())
    client = client_of(alice)
    assert queries(client, url(large, "change")) == queries(client, url(small, "change"))


def test_list__number_of_queries_for_5_and_for_200_mailings(alice):
    world.account(alice)
    world.contacts(alice, 1)
    client = client_of(alice)

    def fill(number: int) -> None:
        for count in range(number):
            (world.started if count % 2 else world.mailing)(alice)

    fill(5)
    few = queries(client, url(Mailing, "changelist"))
    fill(195)
    assert Mailing.objects.count() == 200
    assert queries(client, url(Mailing, "changelist")) == few
    assert queries(client, url(Mailing, "changelist") + "?p=2&status=active") <= few


# As a recipient reads it ----------------------------------------------------------------------------------------------


def test_preview__as_a_recipient_found_by_address_or_name(mailing, alice):
    for term in ("person2@alice.example", "Last2", "first2 last2"):
        document = client_of(alice).get(url(mailing, "preview"), {"as": term}).content.decode()
        assert "Dear First2 of Acme Metall GmbH" in document
    response = page(alice, mailing, **{"as": "Last2"})
    assert response.context["preview_to"] == "First2 Last2 <person2@alice.example>"
    assert response.context["preview_subject"] == "News for First2"
    assert "?as=person2%40alice.example&quot;" not in response.content.decode()
    assert 'src="' + response.context["preview_url"] + '"' in response.content.decode()


def test_preview__nobody_found(mailing, alice):
    html = page(alice, mailing, **{"as": "somebody else"}).content.decode()
    assert '<span class="massmail-as-none" role="status">Nobody of this mailing matches.</span>' in html
    assert "Dear First0" in client_of(alice).get(url(mailing, "preview"), {"as": "somebody else"}).content.decode()


def test_preview__recipients_are_suggested_from_this_mailing_only(mailing, alice, bob):
    world.contacts(alice, 1, prefix="later", last_name="Last9")
    address = url(mailing, "recipients")

    def suggested(term: str) -> list[str]:
        found = client_of(alice).get(address, {"q": term}).json()["recipients"]
        return [f"{each['name']} {each['address']}" for each in found]

    assert suggested("last1") == ["First1 Last1 person1@alice.example"]
    assert suggested("Last9") == []
    assert suggested("  ") == []
    assert len(suggested("person")) == 4
    assert client_of(bob).get(address, {"q": "person"}).status_code == 404


@pytest.mark.parametrize("term", ["\x00", "a\x00b", "word " * 2000, "%", "'; --"])
def test_preview__strange_words_find_nobody(term, mailing, alice):
    client = client_of(alice)
    for address, name in ((url(mailing, "recipients"), "q"), (url(mailing, "recipients"), "as")):
        assert client.get(address, {name: term}).json() in ({}, {"recipients": []})
    assert client.get(url(mailing, "change"), {"as": term}).status_code == 200
    assert client.get(url(mailing, "preview"), {"as": term}).status_code == 200


def test_preview__tells_the_script_whose_it_is(mailing, alice):
    found = client_of(alice).get(url(mailing, "recipients"), {"as": "Last3"}).json()
    assert found == {
        "recipient": "First3 Last3 <person3@alice.example>",
        "subject": "News for First3",
        "address": url(mailing, "preview") + "?as=person3%40alice.example",
    }
    assert client_of(alice).get(url(mailing, "recipients"), {"as": "nobody"}).json() == {}


def test_preview__as_somebody_who_got_it_shows_what_was_sent(mailing, alice):
    run(clock=world.clock(), until_idle=True)
    Contact.objects.update(first_name="Renamed")
    Message.objects.update(content='<p>Rewritten</p><a href="{{ unsubscribe_url }}">x</a>')
    document = client_of(alice).get(url(mailing, "preview"), {"as": "person2@alice.example"}).content.decode()
    assert "Dear First2" in document


def test_page__of_a_started_mailing_asks_for_its_name_alone(mailing, alice):
    form = page(alice, mailing).context["adminform"].form
    assert list(form.fields) == ["name"]
    draft = world.mailing(alice)
    assert list(page(alice, draft).context["adminform"].form.fields) == ["name", "message", "start_at"]


# The list -------------------------------------------------------------------------------------------------------------


def test_list__names_who_can_send_and_who_is_held(alice):
    world.contacts(alice, 1)
    world.mailing(alice)
    world.account(alice, "ready")
    for name in ("held", "second held", "third held"):
        hold_account(world.account(alice, name), "535 Password refused")
    html = client_of(alice).get(url(Mailing, "changelist")).content.decode()
    assert "1 ready" in html
    assert re.search(r"3 on hold: held, second held\s*…", html)


def test_list__ended_mailings_need_no_account(mailing, alice):
    client = client_of(alice)
    assert "1 ready" in client.get(url(Mailing, "changelist")).content.decode()
    lifecycle.cancel(mailing, by=alice)
    assert "1 ready" not in client.get(url(Mailing, "changelist")).content.decode()


def test_list__empty_one_explains_both_ways(alice):
    html = client_of(alice).get(url(Mailing, "changelist")).content.decode()
    assert "select recipients in their list" in html
    assert "describe them by filters" in html
    assert url(Mailing, "create") in html


# Saving ---------------------------------------------------------------------------------------------------------------


def test_save__of_a_draft_stays_and_says_what_is_next(alice):
    world.account(alice)
    world.contacts(alice, 2)
    text = world.message(alice)
    draft = world.mailing(alice)
    Mailing.objects.update(message=None)
    here = url(draft, "change")
    html = client_of(alice).get(here).content.decode()
    assert '<a href="#id_message">Choose a message and save.</a>' in html
    assert 'name="_continue"' not in html
    response = submit(client_of(alice), here)
    assert response.headers["Location"] == f"{here}#content-start"
    assert said(response)[0].endswith("Choose a message next.")
    response = submit(client_of(alice), here, message=text.pk)
    assert response.headers["Location"] == f"{here}#content-start"
    assert said(response) == [f"The mailing “{draft}” is saved. Check the preview, then start."]
    Message.objects.update(content="<p>No way out</p>")
    assert said(submit(client_of(alice), here))[0].endswith("See below what is missing before it can start.")


def test_save__of_a_started_one_is_its_name(mailing, alice):
    response = submit(client_of(alice), url(mailing, "change"), name="Spring offer")
    assert response.headers["Location"] == url(mailing, "change") + "#content-start"
    assert said(response) == ["The mailing is now called “Spring offer”."]
