"""The list of a mailing's recipients, who was left out of it, what each was sent, and both lists as files."""

from __future__ import annotations

import csv
import datetime as dt
import io
import re
from typing import Any

import pytest
import time_machine
from django.contrib.admin.templatetags.admin_list import result_headers
from django.db import connection
from django.http import StreamingHttpResponse
from django.test.utils import CaptureQueriesContext

from example_project.crm.models import Contact
from massmail.admin import exports, recipient_lists
from massmail.admin.exports import cell
from massmail.choices import DeliveryStatus, Exclusion, Failure
from massmail.engine.lanes import set_vip
from massmail.engine.standalone import run
from massmail.models import Delivery, LeftOut, Mailing, MassmailSettings, Message, Recipient, Tally
from massmail.outcomes import hold_account
from massmail.transport import memory
from tests import world
from tests.adminpages import client_of, queries, url

pytestmark = pytest.mark.django_db

SERVER_SAYS = "550 5.1.1 <nobody@acme.example>: User unknown"


@pytest.fixture(autouse=True)
def outbox() -> Any:
    memory.clear()
    world.settings()
    yield memory.outbox
    memory.clear()


@pytest.fixture
def mailing(alice: Any, bob: Any) -> Mailing:
    """Half sent: the first one sent and answered, one failed, one unknown, two to go; one of Bob's was left out."""
    account = world.account(alice, "second")
    world.contacts(alice, 5)
    world.contacts(bob, 1)
    mailing = world.started(alice, Contact.objects.all(), name="Autumn offer")
    sent, failed, unknown = mailing.deliveries.order_by("id")[:3]
    change(sent, status="sent", account=account, sent_at=world.MONDAY, replied_at=world.MONDAY + dt.timedelta(hours=2))
    change(failed, status="failed", reason=Failure.BAD_ADDRESS, reply=SERVER_SAYS)
    change(unknown, status="unknown", reason=Failure.NO_ANSWER)
    Tally.objects.create(mailing=mailing, day=world.MONDAY, sent=1, failed=1, unknown=1)
    return mailing


def change(delivery: Delivery, **fields: Any) -> None:
    Delivery.objects.filter(pk=delivery.pk).update(**fields)


def listed(person: Any, mailing: Mailing, model: Any = Delivery, **query: Any) -> Any:
    response = client_of(person).get(url(model, "changelist"), {"mailing__id__exact": mailing.pk, **query})
    assert response.status_code == 200
    return response


def addresses(response: Any) -> list[str]:
    return [row.address for row in response.context["cl"].result_list]


def exported(person: Any, mailing: Mailing, model: Any = Delivery, **query: Any) -> list[dict[str, str]]:
    response = client_of(person).get(url(model, "export"), {"mailing__id__exact": mailing.pk, **query})
    text = b"".join(response).decode()
    assert text.startswith("\ufeff")
    return list(csv.DictReader(io.StringIO(text.removeprefix("\ufeff"))))


# The list -------------------------------------------------------------------------------------------------------------


@time_machine.travel(world.MONDAY, tick=False)
def test_list__names_the_person_the_end_and_what_came_back(mailing, alice):
    page = listed(alice, mailing).content.decode()
    person = Contact.objects.get(email="person0@alice.example")
    assert f'<a href="{url(person, "change")}">First0 Last0</a>' in page
    assert "Address does not exist" in page
    assert "User unknown" in page
    assert re.search(r"Replied\s*<span[^>]*>today", page)
    assert "Recipients of “Autumn offer”" in page


@time_machine.travel(world.MONDAY, tick=False)
def test_list__says_of_those_to_go_why_not_yet(mailing, alice):
    page = listed(alice, mailing, status__exact="queued").content.decode()
    assert page.count('<span class="massmail-quiet">No worker or beat is alive') == 2


def test_list__is_searched_by_name_and_by_address(mailing, alice):
    assert addresses(listed(alice, mailing, q="last3")) == ["person3@alice.example"]
    assert addresses(listed(alice, mailing, q="First4 last4")) == ["person4@alice.example"]
    assert addresses(listed(alice, mailing, q="person1@")) == ["person1@alice.example"]
    assert addresses(listed(alice, mailing, q="First4 Last3")) == []
    assert addresses(listed(alice, mailing, LeftOut, q="person0@bob")) == ["person0@bob.example"]


def test_list__figures_are_grouped_and_none_are_cut(mailing, alice, monkeypatch):
    assert "5 deliveries" in listed(alice, mailing).content.decode()
    monkeypatch.setattr(recipient_lists, "COUNTED", 2)
    assert "2 deliveries" not in listed(alice, mailing, q="example").content.decode()


def test_list__show_all_stays_with_the_mailing(mailing, alice):
    page = listed(alice, mailing, q="last3").content.decode()
    assert f'<a href="?mailing__id__exact={mailing.pk}">Show all</a>' in page


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ({"status__exact": "failed"}, {"person1"}),
        ({"reason": "bad_address"}, {"person1"}),
        ({"reason": "no_answer"}, {"person2"}),
        ({"account": "none"}, {"person1", "person2", "person3", "person4"}),
        ({"afterwards": "replied_at"}, {"person0"}),
        ({"afterwards": "bounced_at"}, set()),
        ({"afterwards": "password"}, {f"person{number}" for number in range(5)}),
    ],
)
def test_list__filters(query, expected, mailing, alice):
    for response in (listed(alice, mailing, **query), listed(alice, mailing, **query, q="alice.example")):
        assert {address.partition("@")[0] for address in addresses(response)} == expected
    assert {row["Address"].partition("@")[0] for row in exported(alice, mailing, **query)} == expected


def test_list__filters_by_account(mailing, alice, bob):
    account, foreign = alice.massmail_accounts.get(), world.account(bob, "bobs")
    assert addresses(listed(alice, mailing, account=account.pk)) == ["person0@alice.example"]
    assert len(addresses(listed(alice, mailing, account=foreign.pk))) == 5
    assert "bobs" not in listed(alice, mailing).content.decode()


def test_list__offers_the_reasons_there_are(mailing, alice):
    (reasons,) = [spec for spec in listed(alice, mailing).context["cl"].filter_specs if spec.title == "reason"]
    assert {value for value, _label in reasons.lookup_choices} == {"bad_address", "no_answer"}


def counting(captured: CaptureQueriesContext) -> list[str]:
    return [query["sql"] for query in captured if "COUNT(" in query["sql"] and "massmail_delivery" in query["sql"]]


@pytest.mark.parametrize("query", [{}, {"status__exact": "failed"}, {"status__exact": "sent", "o": "-1"}])
def test_list__of_all_or_of_one_status_is_paged_without_counting(query, mailing, alice):
    with CaptureQueriesContext(connection) as captured:
        response = listed(alice, mailing, **query)
    assert response.context["cl"].result_count == len(response.context["cl"].result_list)
    assert not counting(captured)


def test_list__of_a_search_counts_so_far_and_no_farther(mailing, alice, monkeypatch):
    monkeypatch.setattr(recipient_lists, "COUNTED", 3)
    with CaptureQueriesContext(connection) as captured:
        response = listed(alice, mailing, q="person")
    assert all("LIMIT 3" in sql for sql in counting(captured))
    assert response.context["cl"].result_count == 3
    assert "only the first of them are listed" in response.content.decode()
    assert "only the first" not in listed(alice, mailing, q="person1").content.decode()


@pytest.mark.parametrize(("model", "query"), [(Delivery, ""), (Delivery, "&status__exact=queued"), (LeftOut, "")])
def test_list__number_of_queries_is_constant(model, query, alice, bob):
    world.account(alice)
    world.contacts(alice, 10)
    world.contacts(bob, 10)
    small = world.started(alice, Contact.objects.all())
    world.contacts(alice, 2990, prefix="more")
    world.contacts(bob, 2990, prefix="more")
    large = world.started(alice, Contact.objects.all())
    client = client_of(alice)
    few, many = (
        queries(client, f"{url(model, 'changelist')}?mailing__id__exact={each.pk}{query}") for each in (small, large)
    )
    assert many == few


def test_list__of_another_manager_is_empty(mailing, alice, bob, carol):
    assert addresses(listed(bob, mailing)) == []
    assert "Autumn" not in listed(bob, mailing).content.decode()
    assert len(addresses(listed(carol, mailing))) == len(addresses(listed(alice, mailing))) == 5


# What was sent --------------------------------------------------------------------------------------------------------


def document(person: Any, delivery: Delivery, part: str = "") -> str:
    response = client_of(person).get(url(delivery, "preview") + (f"?part={part}" if part else ""))
    assert response.headers["Content-Security-Policy"].startswith("sandbox; default-src 'none'")
    return response.content.decode()


def test_delivery__shows_what_was_sent_whatever_changed_since(alice):
    world.account(alice)
    world.contacts(alice, 2)
    mailing = world.started(alice)
    run(clock=world.clock(), until_idle=True)
    Message.objects.update(subject="Rewritten", content='<p>Rewritten</p><a href="{{ unsubscribe_url }}">x</a>')
    Contact.objects.update(first_name="Renamed")
    delivery = mailing.deliveries.get(address="person1@alice.example")
    assert "Dear First1 of Acme Metall GmbH" in document(alice, delivery)
    assert "Dear First1 of Acme Metall GmbH" in document(alice, delivery, "text")
    page = client_of(alice).get(url(delivery, "change")).content.decode()
    assert "What was sent" in page
    assert "News for First1" in page
    assert f'src="{url(delivery, "preview")}" sandbox' in page


def test_delivery__links_to_unsubscribe_do_nothing(alice):
    world.account(alice)
    world.contacts(alice, 1)
    mailing = world.started(alice)
    run(clock=world.clock(), until_idle=True)
    text = document(alice, mailing.deliveries.get())
    assert set(re.findall(r"/massmail/u/([^/\"]+)", text)) == {"preview"}


@time_machine.travel(world.MONDAY, tick=False)
def test_delivery__of_one_to_go_says_why_not_yet_and_what_it_would_be(mailing, alice):
    delivery = mailing.deliveries.get(address="person4@alice.example")
    page = client_of(alice).get(url(delivery, "change")).content.decode()
    assert "No worker or beat is alive" in page
    assert "What would be sent now" in page
    assert "Dear First4" in document(alice, delivery)


def test_delivery__says_what_there_is_to_say_and_when_in_short(mailing, alice):
    sent, failed = mailing.deliveries.order_by("id")[:2]
    with time_machine.travel(world.MONDAY + dt.timedelta(hours=3), tick=False):
        answered = client_of(alice).get(url(sent, "change")).content.decode()
        refused = client_of(alice).get(url(failed, "change")).content.decode()
    assert len(re.findall(r">today \d\d:\d\d<", answered)) == 3  # in the head, sent, replied
    assert "Replied at:" in answered
    assert "Bounced at:" not in answered
    assert "Address does not exist" in refused
    assert "Times put off by the server:" not in refused
    assert "/history/" not in answered


def test_left_out__names_the_recipient_and_the_mailing(mailing, alice):
    html = client_of(alice).get(url(LeftOut.objects.get(), "change")).content.decode()
    assert "Left out" in html
    assert "First0 Last0" in html
    assert url(mailing, "change") in html


@pytest.mark.parametrize("model", [Delivery, LeftOut])
def test_list_of_all__links_to_the_mailings_and_names_their_owners_to_those_who_see_several(
    model, mailing, alice, carol
):
    pages = [client_of(each).get(url(model, "changelist")).content.decode() for each in (alice, carol)]
    assert all("of all mailings" in page and url(mailing, "change") in page for page in pages)
    owner = '<span class="massmail-quiet">alice</span>'
    assert [owner in page for page in pages] == [False, True]


def test_delivery__values_that_are_no_more_on_record_are_taken_from_today(mailing, alice):
    change(mailing.deliveries.first(), values=None)
    Contact.objects.update(first_name="Renamed")
    assert "Dear Renamed" in document(alice, mailing.deliveries.first())


# Files ----------------------------------------------------------------------------------------------------------------


def test_export__has_every_row_with_its_person_and_its_end(mailing, alice):
    MassmailSettings.objects.update(time_zone="Europe/Berlin")
    rows = {row["Address"]: row for row in exported(alice, mailing)}
    assert len(rows) == 5
    sent, failed = rows["person0@alice.example"], rows["person1@alice.example"]
    assert (sent["Recipient"], sent["Status"]) == ("First0 Last0", "Sent")
    assert sent["From account"] == "second@alice-mail.example"
    assert (sent["Sent"], sent["Replied"]) == ("2026-11-23 10:00:00", "2026-11-23 12:00:00")
    assert (failed["Reason"], failed["The server's words"]) == ("Address does not exist", SERVER_SAYS)
    assert rows["person4@alice.example"]["Sent"] == ""


def test_export__of_those_left_out(mailing, alice):
    (row,) = exported(alice, mailing, LeftOut)
    assert row == {
        "Recipient": "First0 Last0",
        "Address": "person0@bob.example",
        "Reason": "Not assigned to the mailing's owner",
    }
    assert exported(alice, mailing, LeftOut, reason__exact=Exclusion.UNSUBSCRIBED) == []


@time_machine.travel(world.MONDAY, tick=False)
def test_export__is_a_file_and_stays_out_of_caches(mailing, alice):
    response = client_of(alice).get(url(Delivery, "export"), {"mailing__id__exact": mailing.pk})
    assert isinstance(response, StreamingHttpResponse)
    assert response.headers["Content-Type"] == "text/csv; charset=utf-8"
    assert response.headers["Content-Disposition"] == 'attachment; filename="autumn-offer-recipients-2026-11-23.csv"'
    assert "no-store" in response.headers["Cache-Control"]


@pytest.mark.parametrize("start", ["=", "+", "-", "@", "\t", "\r"])
def test_export__a_cell_is_no_formula(start, mailing, alice):
    evil = f"{start}HYPERLINK(1)"
    change(mailing.deliveries.get(address="person1@alice.example"), reply=evil)
    rows = {row["Address"]: row for row in exported(alice, mailing)}
    assert rows["person1@alice.example"]["The server's words"] == f"'{evil}"
    assert cell(evil, MassmailSettings.load().zone) == f"'{evil}"


def test_export__a_name_is_no_formula(mailing, alice):
    Contact.objects.filter(email="person0@alice.example").update(first_name="=1+1", last_name="")
    names = {row["Address"]: row["Recipient"] for row in exported(alice, mailing)}
    assert names["person0@alice.example"] == "'=1+1"


def test_export__streams_in_chunks_with_a_query_for_the_persons_of_each(alice, monkeypatch):
    monkeypatch.setattr(exports, "CHUNK", 50)
    world.account(alice)
    world.contacts(alice, 200)
    mailing = world.mailing(alice)
    response = client_of(alice).get(url(Delivery, "export"), {"mailing__id__exact": mailing.pk})
    with CaptureQueriesContext(connection) as captured:
        pieces = iter(response)
        next(pieces)
        assert len(captured) == 0  # nothing is fetched before somebody takes it
        assert next(pieces).count(b"\r\n") == 50
        assert sum(piece.count(b"\r\n") for piece in pieces) == 150
    assert len([query for query in captured if "crm_contact" in query["sql"]]) == 4


@pytest.mark.parametrize("model", [Delivery, LeftOut])
def test_export__only_of_what_one_may_see(model, mailing, alice, bob, carol, django_user_model):
    clerk = django_user_model.objects.create_user("clerk", is_staff=True)

    def status(person: Any, **query: Any) -> int:
        return int(client_of(person).get(url(model, "export"), query).status_code)

    one = {"mailing__id__exact": mailing.pk}
    assert [status(person, **one) for person in (alice, bob, carol, clerk, None)] == [200, 404, 200, 403, 302]
    nothing_of_hers = b"".join(client_of(bob).get(url(model, "export")))
    assert nothing_of_hers.count(b"\r\n") == 1


@pytest.mark.parametrize("query", [{"reason__exact__x": "1"}, {"mailing__owner__password__startswith": "m"}])
def test_export__asks_nothing_that_the_list_does_not(query, mailing, alice):
    assert client_of(alice).get(url(Delivery, "export"), query).status_code in (400, 404)


def test_export__bad_values_are_no_error(mailing, alice):
    query = {"mailing__id__exact": mailing.pk, "p": "x", "status__exact": "nonsense"}
    assert client_of(alice).get(url(Delivery, "export"), query).status_code in (200, 404)


def test_held_account_is_named_at_its_recipients(mailing, alice):
    account = alice.massmail_accounts.get()
    Delivery.objects.filter(status=DeliveryStatus.QUEUED).update(account=account)
    hold_account(account, "535 Password refused")
    assert "535 Password refused" in listed(alice, mailing, status__exact="queued").content.decode()


def row_of(response: Any, address: str) -> Any:
    return next(row for row in response.context["cl"].result_list if row.address == address)


def test_list__says_who_is_vip_and_why_the_account(mailing, alice):
    second, main = alice.massmail_accounts.get(), world.account(alice, "main", main=True)
    first, vip, new = (Contact.objects.get(email=f"person{number}@alice.example") for number in (0, 3, 4))
    set_vip(Contact.objects.filter(pk=vip.pk), vip=True, by=alice)
    change(mailing.deliveries.get(object_id=vip.pk), account=main)
    change(mailing.deliveries.get(object_id=new.pk), account=second)
    kind = mailing.content_type
    for person in (first, new):
        Recipient.objects.update_or_create(content_type=kind, object_id=person.pk, defaults={"account": second})
    response = listed(alice, mailing)
    rows = [row_of(response, each.email) for each in (first, vip, new)]
    assert [(row.vip, row.why) for row in rows] == [
        (False, "first mail; stays with it"),
        (True, "because VIP"),
        (False, "first mail; stays with it"),
    ]
    later = world.mailing(alice, name="Winter")
    change(later.deliveries.get(object_id=first.pk), account=second)
    assert row_of(listed(alice, later), first.email).why == "wrote to them before"
    (line,) = [row for row in exported(alice, mailing) if row["Address"] == vip.email]
    assert (line["VIP"], line["Why this account"], line["Times put off by the server"]) == ("yes", "because VIP", "0")
    assert addresses(listed(alice, mailing, vip="yes")) == [vip.email]
    assert len(addresses(listed(alice, mailing, vip="no"))) == 4


def test_failures__leave_the_servers_words_their_room(mailing, alice):
    response = listed(alice, mailing, status__exact="failed")
    assert "What came back" not in [header["text"] for header in result_headers(response.context["cl"])]
    assert SERVER_SAYS.partition(" <")[0] in response.content.decode()


def test_file_name__in_letters_of_any_language():
    day = dt.date(2026, 11, 23)
    assert exports.file_name("Ḥerbst / Üben", "recipients", day=day) == "ḥerbst-üben-recipients-2026-11-23.csv"
    assert exports.file_name('"; filename=x', "", day=day) == "filenamex-2026-11-23.csv"
