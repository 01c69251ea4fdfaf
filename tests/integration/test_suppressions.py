"""The list of addresses that get no more mail: entering, importing, exporting, lifting."""

from __future__ import annotations

import csv
import io

import pytest
from django.contrib.auth.models import Permission
from django.contrib.contenttypes.models import ContentType
from django.core.files.uploadedfile import SimpleUploadedFile
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from massmail.admin import suppressions as pages
from massmail.admin.suppression_lists import read_list
from massmail.choices import AuditAction, SuppressionReason
from massmail.models import AuditEntry, Recipient, Suppression
from massmail.outcomes import lift_all, suppress, suppress_all, unsubscribe
from massmail.signals import address_suppressed
from tests import world
from tests.adminpages import act, client_of, queries, said, submit, url

pytestmark = pytest.mark.django_db

MANUAL, BOUNCED, OPTED_OUT = SuppressionReason.MANUAL, SuppressionReason.BOUNCED, SuppressionReason.UNSUBSCRIBED
LIST, IMPORT, EXPORT = (url(Suppression, page) for page in ("changelist", "import", "export"))


@pytest.fixture
def clerk(django_user_model):
    """Somebody who may look at the list, and do nothing to it."""
    user = django_user_model.objects.create_user("clerk", is_staff=True)
    user.user_permissions.add(Permission.objects.get(codename="view_suppression"))
    return user


def listed():
    return dict(Suppression.objects.order_by("address").values_list("address", "reason"))


def fill(count, name="p", reason="bounced"):
    return Suppression.objects.bulk_create(
        Suppression(address=f"{name}{n}@x.example", reason=reason) for n in range(count)
    )


# Reading lists ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a@x.example\nB@X.example \r\n\n c@x.example", ["a@x.example", "b@x.example", "c@x.example"]),
        ("Anna Berg <Anna@X.example>", ["anna@x.example"]),
        ("anna@bücher.example", ["anna@xn--bcher-kva.example"]),
        ("Berg;Anna;anna@x.example\nBaum;Bo;bo@x.example", ["anna@x.example", "bo@x.example"]),
        ("name,E-Mail,boss\nAnna,a@x.example,boss@x.example", ["a@x.example"]),
        ('"email"\t"name"\n"a@x.example"\t"Berg"', ["a@x.example"]),
        ("email\n'+tag@x.example\n'-x@x.example", ["+tag@x.example", "-x@x.example"]),
        ('"a@x.example\nb@x.example', ["a@x.example", "b@x.example"]),
    ],
)
def test_read__addresses(text, expected):
    found = read_list(text, reason=MANUAL)
    assert list(found.reasons) == expected
    assert not found.bad


def test_read__bad_lines_are_named_and_repeated_ones_counted():
    text = "a@x.example\nnobody\n\nA@x.example\na@x.example,b@x.example\nb@@x.example\n,,\nroot@localhost"
    found = read_list(text, reason=MANUAL)
    assert (list(found.reasons), found.repeated) == (["a@x.example"], 1)
    assert [(line.number, line.problem.split()[0]) for line in found.bad] == [
        (2, "No"),
        (5, "Several"),
        (6, "Not"),
        (7, "No"),
        (8, "Not"),
    ]


def test_read__reasons_by_value_or_name_and_otherwise_the_given_one():
    text = "email,reason\na@x.example,bounced\nb@x.example,Unsubscribed\nc@x.example,whatever\nd@x.example"
    assert read_list(text, reason=MANUAL).reasons == {
        "a@x.example": BOUNCED,
        "b@x.example": OPTED_OUT,
        "c@x.example": MANUAL,
        "d@x.example": MANUAL,
    }


# Importing ----------------------------------------------------------------------------------------------------------


def test_import__shows_first_and_adds_then(boss):
    suppress("old@x.example", BOUNCED, source="550")
    client, text = client_of(boss), "old@x.example\nnew@x.example\nnew@x.example\nnonsense"
    preview = client.post(IMPORT, {"text": text, "reason": "unsubscribed", "note": "The old system"})
    assert listed() == {"old@x.example": "bounced"}
    context = preview.context
    assert [context[name] for name in ("new", "listed", "repeated", "bad")] == [1, 1, 1, 1]
    assert ">4</td><td>nonsense</td>" in preview.content.decode()

    done = client.post(IMPORT, {"staged": context["staged"]})
    assert said(done) == ["1 address was added."]
    assert listed() == {"new@x.example": "unsubscribed", "old@x.example": "bounced"}
    assert Suppression.objects.get(address="new@x.example").source == "Pasted by boss: The old system"
    entry = AuditEntry.objects.get(action=AuditAction.SUPPRESSED)
    assert (entry.by, entry.text) == (boss, "Pasted by boss: The old system: 1")

    client.post(IMPORT, {"staged": context["staged"]})
    assert len(listed()) == 2


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "cp1252"])
def test_import__files_in_the_encodings_of_spreadsheets(boss, encoding):
    upload = SimpleUploadedFile("opt-outs.csv", "name;email\nJosé;jose@x.example".encode(encoding))
    client = client_of(boss)
    preview = client.post(IMPORT, {"file": upload, "reason": "manual"})
    client.post(IMPORT, {"staged": preview.context["staged"]})
    assert Suppression.objects.get().source == "Imported by boss from “opt-outs.csv”"
    assert listed() == {"jose@x.example": "manual"}


def test_import__our_own_export_comes_back_as_it_was(boss):
    client = client_of(boss)
    for address, reason in (("=x@x.example", "bounced"), ("b@x.example", "unsubscribed")):
        suppress(address, reason, source="=1+1")
    before, exported = listed(), client.get(EXPORT).getvalue()
    Suppression.objects.all().delete()
    preview = client.post(IMPORT, {"file": SimpleUploadedFile("s.csv", exported), "reason": "manual"})
    client.post(IMPORT, {"staged": preview.context["staged"]})
    assert listed() == before


@pytest.mark.parametrize(
    ("data", "problem"),
    [
        ({}, "one of the two"),
        ({"text": "a@x.example", "file": SimpleUploadedFile("a.csv", b"a@x.example")}, "one of the two"),
        ({"file": SimpleUploadedFile("a.xlsx", b"PK\x03\x04\x00\x00")}, "Save the list as CSV"),
        ({"file": SimpleUploadedFile("a.csv", b"\n" * 101)}, "100,000 lines"),
        ({"file": SimpleUploadedFile("a.csv", b"a" * 1001)}, "larger than 10 MB"),
    ],
)
def test_import__refuses_what_it_can_not_read(boss, monkeypatch, data, problem):
    monkeypatch.setattr(pages, "MOST_LINES", 100)
    monkeypatch.setattr(pages, "MOST_BYTES", 1000)
    answer = client_of(boss).post(IMPORT, {"reason": "manual", **data})
    assert problem in answer.content.decode()
    assert "staged" not in answer.context


def test_import__refuses_what_the_browser_could_not_send_back(boss, settings):
    settings.DATA_UPLOAD_MAX_MEMORY_SIZE = 1000
    upload = SimpleUploadedFile("a.csv", b"\n".join(b"p%d@x%d.example" % (n, n * 7919) for n in range(500)))
    answer = client_of(boss).post(IMPORT, {"file": upload, "reason": "manual"})
    assert "too large" in answer.content.decode()


def test_import__what_was_not_previewed_is_not_added(boss, alice, django_user_model):
    client = client_of(boss)
    staged = client.post(IMPORT, {"text": "a@x.example", "reason": "manual"}).context["staged"]
    other = django_user_model.objects.create_superuser("other")
    for person, value in ((boss, staged[:-1] + "x"), (boss, "nonsense"), (other, staged)):
        answer = client_of(person).post(IMPORT, {"staged": value})
        assert "Nothing was added" in said(answer)[0]
    assert not listed()


def test_import__hundred_thousand_lines_cost_the_same_for_each_chunk(boss):
    """Measured on two thousand and four thousand: a chunk of five hundred is the unit."""

    def cost(numbers):
        with CaptureQueriesContext(connection) as captured:
            suppress_all({f"p{n}@x.example": MANUAL for n in numbers}, source="test", by=boss)
        return len(captured)

    fixed = cost(range(0))
    two, four = cost(range(2000)) - fixed, cost(range(2000, 6000)) - fixed
    assert four == 2 * two
    assert two <= 4 * 4
    assert Suppression.objects.count() == 6000


def test_import__tells_the_host_of_each_address_once(boss, django_capture_on_commit_callbacks):
    suppress("old@x.example", BOUNCED, source="")
    told = []

    def listen(sender, address, reason, **kwargs):
        told.append((address, reason))

    address_suppressed.connect(listen)
    with django_capture_on_commit_callbacks(execute=True):
        assert suppress_all({"old@x.example": MANUAL, "new@x.example": MANUAL}, source="", by=boss) == 1
    address_suppressed.disconnect(listen)
    assert told == [("new@x.example", MANUAL)]


# The list, and its export -------------------------------------------------------------------------------------------


def test_list__search_filter_and_where_it_came_from(boss):
    suppress("anna@x.example", BOUNCED, source="550 no such user")
    suppress("bert@x.example", MANUAL, source="Called us")
    client = client_of(boss)
    for query, address in (("?q=anna", "anna"), ("?q=Called", "bert"), ("?reason__exact=bounced", "anna")):
        assert [row.address for row in client.get(LIST + query).context["cl"].result_list] == [f"{address}@x.example"]
    assert "550 no such user" in client.get(LIST).content.decode()


def test_list__queries_do_not_grow(boss):
    client = client_of(boss)
    fill(1)
    few = queries(client, LIST)
    fill(80, "q", "manual")
    assert queries(client, LIST) == few


def test_export__what_the_list_shows_and_no_formulas(boss):
    suppress("=cmd@x.example", BOUNCED, source='=HYPERLINK("https://evil.example")')
    suppress("bert@x.example", MANUAL, source="Called us")
    answer = client_of(boss).get(EXPORT + "?reason__exact=bounced")
    assert answer.streaming
    assert "attachment" in answer.headers["Content-Disposition"]
    rows = list(csv.reader(io.StringIO(answer.getvalue().decode("utf-8-sig"))))
    assert rows[0] == ["address", "reason", "created", "source"]
    assert [row[0] for row in rows[1:]] == ["'=cmd@x.example"]
    assert rows[1][1] == "Address does not exist"
    assert rows[1][3].startswith("'=HYPERLINK")
    assert client_of(boss).get(EXPORT + "?nonsense=1").status_code == 404


def test_export__queries_do_not_grow(boss):
    client = client_of(boss)
    fill(1)

    def cost():
        with CaptureQueriesContext(connection) as captured:
            client.get(EXPORT).getvalue()
        return len(captured)

    few = cost()
    fill(1200, "q", "manual")
    assert cost() == few


# Entering -----------------------------------------------------------------------------------------------------------


def test_entered_by_hand(boss):
    client = client_of(boss)
    submit(client, url(Suppression, "add"), address="  Anna@Customer.Example ", source="Called us")
    row = Suppression.objects.get()
    assert (row.address, row.reason, row.source) == ("anna@customer.example", "manual", "Called us")
    assert AuditEntry.objects.get(action=AuditAction.SUPPRESSED).by == boss
    for address in ("ANNA@customer.example", "no address"):
        answer = submit(client, url(Suppression, "add"), address=address)
        assert "address" in answer.context["adminform"].form.errors


# Lifting ------------------------------------------------------------------------------------------------------------


def test_lift__one_with_a_reason(boss):
    row = Suppression.objects.create(address="a@x.example", reason="bounced")
    client, page = client_of(boss), url(row, "lift")
    assert page in client.get(url(row, "change")).content.decode()
    assert client.get(page).status_code == 200
    assert client.post(page, {"why": " "}).status_code == 200
    assert Suppression.objects.exists()
    assert said(client.post(page, {"why": "Wrote to us"})) == ["1 suppression was lifted."]
    assert not Suppression.objects.exists()
    entry = AuditEntry.objects.get(action=AuditAction.SUPPRESSION_LIFTED)
    assert (entry.by, entry.text) == (boss, "a@x.example: Wrote to us")


def test_lift__many_with_one_reason(boss):
    rows, client = fill(30), client_of(boss)
    asked = act(client, Suppression, "lift_selected", rows[:25])
    assert Suppression.objects.count() == 30
    assert "and 5 more" in asked.content.decode()
    data = [*asked.context["hidden"], ("why", "New server")]
    client.post(LIST, {name: [value for each, value in data if each == name] for name, _ in data})
    assert Suppression.objects.count() == 5
    texts = AuditEntry.objects.filter(action=AuditAction.SUPPRESSION_LIFTED, by=boss).values_list("text", flat=True)
    assert set(texts) == {f"p{n}@x.example: New server" for n in range(25)}


def test_lift__queries_do_not_grow(boss):
    def cost(rows):
        with CaptureQueriesContext(connection) as captured:
            lift_all(rows, by=boss, why="test")
        return len(captured)

    rows = fill(101, reason="unsubscribed")
    assert cost(rows[:1]) == cost(rows[1:])


def test_lift__takes_back_opt_outs_by_link_to_that_address_only(boss, alice):
    people = world.contacts(alice, 2)
    content_type = ContentType.objects.get_for_model(people[0])
    made = [
        Recipient.objects.create(content_type=content_type, object_id=str(each.pk), addresses=[each.email])
        for each in people
    ]
    for recipient in made:
        unsubscribe(recipient, recipient.addresses[0], source="test")
    lift_all(Suppression.objects.filter(address=people[0].email), by=boss)
    assert [Recipient.objects.get(pk=each.pk).subscribed for each in made] == [True, False]


# Who may what -------------------------------------------------------------------------------------------------------


def test_who_may_what(alice, clerk, boss):
    row = Suppression.objects.create(address="a@x.example", reason="bounced", created=timezone.now())
    pages_of = [LIST, url(row, "change"), EXPORT, IMPORT, url(Suppression, "add"), url(row, "lift")]
    expected = {alice: [403] * 6, clerk: [200, 200, 200, 403, 403, 403], boss: [200] * 6}
    for person, answers in expected.items():
        client = client_of(person)
        assert [client.get(page).status_code for page in pages_of] == answers, person
    for person in (alice, clerk):
        client = client_of(person)
        assert client.post(IMPORT, {"text": "b@x.example", "reason": "manual"}).status_code == 403
        assert client.post(url(row, "lift"), {"why": "x"}).status_code == 403
        act(client, Suppression, "lift_selected", [row])
        client.post(LIST, {"action": "lift_selected", "_selected_action": [row.pk], "why": "x"})
    assert client_of(boss).post(url(row, "delete"), {"post": "yes"}).status_code == 403
    assert listed() == {"a@x.example": "bounced"}
    assert client_of(boss).get(url(Suppression, "lift", 999)).status_code == 404


# How it looks -------------------------------------------------------------------------------------------------------


def test_list__moments_are_short(boss):
    suppress("a@x.example", BOUNCED, source="550")
    row = Suppression.objects.get()
    for address in (LIST, url(row, "change")):
        assert "today " in client_of(boss).get(address).content.decode()


def test_list__nothing_in_it(boss, clerk):
    html = client_of(boss).get(LIST).content.decode()
    assert "No address is suppressed" in html
    assert html.count(f'href="{IMPORT}"') == 2
    assert IMPORT not in client_of(clerk).get(LIST).content.decode()
    assert "No address matches." in client_of(boss).get(LIST, {"q": "nobody"}).content.decode()


def test_list__counts_results_of_a_search_only(boss):
    suppress("a@x.example", BOUNCED, source="550")
    assert "Show all" not in client_of(boss).get(LIST).content.decode()
    assert "1 found" in client_of(boss).get(LIST, {"q": "x.example"}).content.decode()
