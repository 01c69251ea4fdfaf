"""The editor of messages and signatures: what is shown before anything is saved, as whom, and to whom."""

from __future__ import annotations

import json
from typing import Any

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from django.test import Client

from massmail.admin.editor import placeholders
from massmail.admin.people import find_people, find_person
from massmail.composing.images import read
from massmail.composing.starters import STARTERS
from massmail.models import Attachment, Message, Signature
from tests import world
from tests.adminpages import client_of, queries, submit, url
from tests.host.models import Partner, Region, Vendor

pytestmark = pytest.mark.django_db

LINK = '<a href="{{ unsubscribe_url }}">Unsubscribe</a>'
POLICY = "sandbox; default-src 'none'; img-src data: https:; style-src 'unsafe-inline'"


@pytest.fixture(autouse=True)
def media(settings: Any, tmp_path: Any) -> None:
    settings.MEDIA_ROOT = tmp_path


def live(person: Any, thing: Any = None, part: str = "facts", model: Any = Message, **fields: str) -> Any:
    address = url(model, "live_add") if thing is None else url(thing, "live")
    data = {"subject": "Hello", "content": f"<p>Dear {{{{ first_name }}}}</p>{LINK}", "part": part}
    return client_of(person).post(address, data | fields)


def facts(*args: Any, **fields: str) -> dict[str, Any]:
    response = live(*args, **fields)
    assert response.status_code == 200
    return json.loads(response.content)


def key_of(obj: Any) -> str:
    return f"{obj._meta.label_lower}:{obj.pk}"


# The preview of what is not saved -------------------------------------------------------------------------------------


def test_live__shows_what_stands_in_the_form_and_saves_nothing(alice):
    world.contacts(alice, 1)
    found = facts(alice, subject="For {{ first_name }}", preheader="Read, {{ first_name }}")
    assert (found["subject"], found["preheader"], found["problems"]) == ("For First0", "Read, First0", [])
    assert "Dear First0" in found["text"]
    document = live(alice, part="html")
    assert "Dear First0" in document.content.decode()
    assert document.headers["Content-Security-Policy"].startswith(POLICY)
    assert not Message.objects.exists()


def test_live__of_a_saved_message_leaves_it_alone(alice):
    message = world.message(alice)
    assert facts(alice, message, subject="Other")["subject"] == "Other"
    message.refresh_from_db()
    assert message.subject == "News for {{ first_name }}"


def test_live__errors_with_their_place(alice):
    found = facts(alice, subject="{% load x %}", content=f"<p>\n  {{{{ nickname }}}}</p>{LINK}")
    assert [(each["field"], each["line"], each["column"]) for each in found["problems"]] == [
        ("subject", 1, 1),
        ("content", 2, 3),
    ]
    assert "text" not in found
    answer = live(alice, part="html", subject="{% load x %}")
    assert answer.headers["Content-Type"].startswith("text/plain")
    assert answer.headers["Content-Security-Policy"].startswith(POLICY)


def test_live__without_preheader_the_text_follows_the_subject(alice):
    assert facts(alice, content=f"<p>First words</p>{LINK}")["preheader"].startswith("First words Unsubscribe")


def test_live__as_a_chosen_recipient(alice, bob):
    _first, second = world.contacts(alice, 2)
    (foreign,) = world.contacts(bob, 1, first_name="Secret")
    assert "Dear First1" in facts(alice, recipient=key_of(second))["text"]
    strange = ["0", "x", "", "\0", str(9**40)]
    for key in (key_of(foreign), "auth.user:1", "nonsense", *(f"crm.contact:{text}" for text in strange)):
        assert "Dear First0" in facts(alice, recipient=key)["text"]


def test_live__tells_what_a_type_lacks(alice):
    firm = world.company(alice)
    found = facts(alice, recipient=key_of(firm))
    assert found["notes"] == ["Companies have no variable “first_name”: a mailing to them can't start with it."]


def test_live__night_and_day(alice):
    content = f"<style>@media (prefers-color-scheme: dark) {{ p {{ color: red }} }}</style><p>x</p>{LINK}"
    dark = live(alice, part="html", content=content, scheme="dark").content.decode()
    light = live(alice, part="html", content=content).content.decode()
    assert "(min-width: 0)" in dark
    assert "(max-width: 0)" in light


def test_live__signature_of_ones_own_only(alice, bob):
    own = Signature.objects.create(owner=alice, name="Own", content="<p>Yours, Alice</p>")
    foreign = Signature.objects.create(owner=bob, name="Bob's", content="<p>Bob's secret</p>")
    assert "Yours, Alice" in facts(alice, signature=str(own.pk))["text"]
    for key in (str(foreign.pk), "x", "9" * 40, "²"):
        assert "secret" not in facts(alice, signature=key)["text"]


@pytest.mark.parametrize("kind", ["html", "plain"])
def test_live__signature_page(kind, alice):
    found = facts(alice, model=Signature, type=kind, content="Yours,\nAlice")
    assert "Alice" in found["text"]
    found = facts(alice, model=Signature, type=kind, content="a\nb {{ nickname }}")
    assert [(each["field"], each["line"], each["column"]) for each in found["problems"]] == [("content", 2, 3)]


# Who may --------------------------------------------------------------------------------------------------------------


@pytest.fixture
def clerk(django_user_model: Any) -> Any:
    return django_user_model.objects.create_user("clerk", is_staff=True)


@pytest.mark.parametrize(
    ("page", "post", "expected"),
    [
        ("live", True, (200, 404, 403, 404, 200)),
        ("live", False, (405,) * 5),
        ("copy", True, (302, 404, 302, 404, 302)),
        ("copy", False, (405,) * 5),
        ("test", True, (302, 404, 403, 404, 302)),
        ("test", False, (405,) * 5),
        ("recipients", False, (200, 404, 200, 404, 200)),
    ],
)
def test_who_may(page, post, expected, alice, bob, carol, clerk, boss):
    address = url(world.message(alice), page)
    clients = [client_of(person) for person in (alice, bob, carol, clerk, boss)]
    found = tuple((client.post(address) if post else client.get(address)).status_code for client in clients)
    assert found == expected
    assert client_of(None).post(address).headers["Location"].startswith("/admin/login/")


@pytest.mark.parametrize("page", ["live_add", "recipients_add"])
def test_who_may__add(page, alice, clerk):
    method = "post" if page == "live_add" else "get"
    assert getattr(client_of(alice), method)(url(Message, page)).status_code == 200
    assert getattr(client_of(clerk), method)(url(Message, page)).status_code == 403


@pytest.mark.parametrize("page", ["live", "copy", "test"])
def test_csrf(page, alice):
    client = Client(enforce_csrf_checks=True)
    client.force_login(alice)
    assert client.post(url(world.message(alice), page)).status_code == 403


# Recipients to choose from --------------------------------------------------------------------------------------------


def found_people(person: Any, text: str, thing: Any = None) -> list[str]:
    address = url(Message, "recipients_add") if thing is None else url(thing, "recipients")
    groups = json.loads(client_of(person).get(address, {"q": text}).content)["groups"]
    return [each["name"] for group in groups for each in group["people"]]


def test_recipients__of_the_owner_by_every_word(alice, bob, carol):
    world.contacts(alice, 3)
    world.contacts(bob, 1)
    world.lead(alice, first_name="Lea", last_name="First1")
    assert found_people(alice, "first1 last1") == ["First1 Last1"]
    assert found_people(alice, "first1") == ["First1 Last1", "Lea First1"]
    assert found_people(bob, "first1") == []
    assert found_people(carol, "first1", world.message(alice)) == ["First1 Last1", "Lea First1"]
    assert found_people(alice, "%") == []


def test_recipients__with_keys_of_every_kind(alice, bob):
    """The test host's partners have a UUID as their key, and its vendors a text."""
    region = Region.objects.create(manager=alice)
    partner = Partner.objects.create(region=region, email="uuid@partner.example")
    vendor = Vendor.objects.create(pk="V:1", region=region, mail_address="text@vendor.example")
    for obj, address in [(partner, "uuid@partner.example"), (vendor, "text@vendor.example")]:
        (key,) = [person.key for group in find_people(alice.pk, address) for person in group.people]
        chosen = find_person(alice.pk, key)
        assert chosen
        assert chosen.obj == obj
        assert find_person(bob.pk, key) is None


def test_recipients__number_of_queries_is_constant(alice):
    world.contacts(alice, 2)
    client = client_of(alice)
    few = queries(client, url(Message, "recipients_add") + "?q=first")
    world.contacts(alice, 50, prefix="more")
    assert queries(client, url(Message, "recipients_add") + "?q=first") == few


# The page -------------------------------------------------------------------------------------------------------------


def html(response: Any) -> str:
    assert response.status_code == 200
    return response.content.decode()


def test_placeholders__once_with_the_types_that_have_them():
    named = {(each.name, each.types) for each in placeholders()}
    assert ("title", "Contact persons") in named
    assert ("first_name", "Contact persons, leads") in named


def test_add__from_a_template(alice):
    page = html(client_of(alice).get(url(Message, "add")))
    for each in STARTERS:
        assert f'href="?starter={each.name}"' in page
    client = client_of(alice)
    for each in STARTERS:
        assert submit(client, f"{url(Message, 'add')}?starter={each.name}").status_code == 302
    assert set(Message.objects.values_list("subject", flat=True)) == {each.subject for each in STARTERS}
    assert html(client.get(f"{url(Message, 'add')}?starter=../../etc/passwd"))


def test_add__a_field_of_the_address_wins_over_the_template(alice):
    page = client_of(alice).get(f"{url(Message, 'add')}?starter=offer&subject=Mine")
    assert page.context["adminform"].form["subject"].value() == "Mine"


def test_view_only__shown_and_not_to_be_changed(alice, carol):
    message = world.message(alice)
    page = html(client_of(carol).get(url(message, "change")))
    assert 'data-live=""' in page
    assert "Copy to my messages" in page
    assert "Send a test" not in page
    preview = client_of(carol).get(url(message, "preview"), {"part": "facts"})
    assert json.loads(preview.content)["subject"].startswith("News for")


def test_change__number_of_queries_is_constant(alice):
    message = world.message(alice)
    client = client_of(alice)
    world.contacts(alice, 1)
    world.mailing(alice, message=message)
    few = queries(client, url(message, "change"))
    for _number in range(20):
        world.mailing(alice, message=message)
    world.contacts(alice, 30, prefix="more")
    assert queries(client, url(message, "change")) == few


def test_signature__where_used(alice):
    signature = Signature.objects.create(owner=alice, name="Short", content="<p>Alice</p>")
    assert "In no message yet." in html(client_of(alice).get(url(signature, "change")))
    for _number in range(25):
        message = world.message(alice, signature=signature)
    page = html(client_of(alice).get(url(signature, "change")))
    assert "25 messages have this signature." in page
    assert f'href="{url(message, "change")}"' in page


def test_body_widget__of_the_host(alice, settings):
    settings.MASSMAIL_BODY_WIDGET = "django.contrib.admin.widgets.AdminTextInputWidget"
    form = client_of(alice).get(url(Message, "add")).context["adminform"].form
    assert type(form.fields["content"].widget).__name__ == "AdminTextInputWidget"


# Attachments ----------------------------------------------------------------------------------------------------------


def attach(client: Client, message: Message, file: SimpleUploadedFile) -> Any:
    added = {"attachments-TOTAL_FORMS": "1", "attachments-0-upload": file, "attachments-0-message": message.pk}
    return submit(client, url(message, "change"), **added)


def test_attachment__added_replaced_and_removed(alice):
    message, client = world.message(alice), client_of(alice)
    assert attach(client, message, SimpleUploadedFile("Prices & more.pdf", b"%PDF-1")).status_code == 302
    first = Attachment.objects.get()
    assert (first.name, first.mime_type, read(first.file)) == ("Prices & more.pdf", "application/pdf", b"%PDF-1")
    # No web server takes the stored file for a page.
    assert "." not in first.file.name
    replaced = {"attachments-0-upload": SimpleUploadedFile("page.html", b"<script>")}
    assert submit(client, url(message, "change"), **replaced).status_code == 302
    second = Attachment.objects.get()
    assert (second.pk, second.name, read(second.file)) == (first.pk, "page.html", b"<script>")
    assert submit(client, url(message, "change"), **{"attachments-0-DELETE": "on"}).status_code == 302
    assert not Attachment.objects.exists()


def test_attachment__files_that_nobody_has_are_removed(alice, django_capture_on_commit_callbacks):
    message, client = world.message(alice), client_of(alice)
    attach(client, message, SimpleUploadedFile("a.txt", b"a"))
    stored = Attachment.objects.get().file
    with django_capture_on_commit_callbacks(execute=True):
        submit(client, url(message, "change"), **{"attachments-0-DELETE": "on"})
    assert not stored.storage.exists(stored.name)


def test_attachment__size_is_capped(alice, monkeypatch):
    monkeypatch.setattr("massmail.admin.message_forms.MAX_FILES", 3)
    response = attach(client_of(alice), world.message(alice), SimpleUploadedFile("a.txt", b"abcd"))
    assert "larger than 10 MB" in html(response)
    assert not Attachment.objects.exists()
