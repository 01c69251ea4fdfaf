"""Messages and signatures in the admin."""

from __future__ import annotations

from typing import Any

import pytest

from massmail.admin.owned import OwnedModelAdmin
from massmail.admin.signatures import SignatureAdmin
from massmail.models import Message, Signature
from tests import world
from tests.adminpages import client_of, queries, said, submit, url

pytestmark = pytest.mark.django_db

LINK = '<a href="{{ unsubscribe_url }}">UNSUBSCRIBE</a>'


def add_message(person: Any, **changes: Any) -> Any:
    data = {"subject": "Hello {{ first_name }}", "content": f"<p>Dear {{{{ first_name }}}}</p>{LINK}"}
    return submit(client_of(person), url(Message, "add"), **(data | changes))


def errors(response: Any) -> dict[str, list[str]]:
    assert response.status_code == 200
    return dict(response.context["adminform"].form.errors)


def html(response: Any) -> str:
    assert response.status_code == 200
    return response.content.decode()


def signature(owner: Any, name: str = "Short", **fields: Any) -> Signature:
    return Signature.objects.create(owner=owner, name=name, **({"content": "<p>Regards</p>"} | fields))


def test_add__belongs_to_who_wrote_it(alice, bob):
    assert add_message(alice, owner=bob.pk).status_code == 302
    assert Message.objects.get().owner == alice


def test_add__superuser_writes_for_somebody(alice, boss):
    assert add_message(boss, owner=alice.pk).status_code == 302
    assert Message.objects.get().owner == alice


def test_add__superuser_can_not_mix_owners(alice, bob, boss):
    foreign = signature(bob)
    assert "signature" in errors(add_message(boss, owner=alice.pk, signature=foreign.pk))


def test_change__owner_stays(alice, bob, boss):
    text = world.message(alice)
    for person in (alice, boss):
        assert submit(client_of(person), url(text, "change"), owner=bob.pk, subject="New").status_code == 302
    text.refresh_from_db()
    assert (text.owner, text.subject) == (alice, "New")


def test_add__default_signature_is_chosen_and_only_own_ones_offered(alice, bob):
    own, foreign = signature(alice, default=True), signature(bob, "Bob's")
    page = client_of(alice).get(url(Message, "add"))
    field = page.context["adminform"].form["signature"]
    assert field.value() == own.pk
    assert foreign not in field.field.queryset
    assert "signature" in errors(add_message(alice, signature=foreign.pk))


@pytest.mark.parametrize(
    ("field", "text", "expected"),
    [
        ("content", "<p>Hello</p>", "needs a visible link to unsubscribe"),
        ("content", f"<p>\n{{% load static %}}</p>{LINK}", "Line 2, column 1: The tag {% load %} cannot be used"),
        ("content", f"<p>\n\n{{{{ nickname }}}}</p>{LINK}", "Line 3, column 1: Unknown variable “nickname”"),
        ("content", f"{{% if a %}}{LINK}", "Line 1, column 1:"),
        ("subject", "{% include 'x' %}", "Line 1, column 1: The tag {% include %} cannot be used"),
        ("subject", "a\nBcc: all@x.example", "one line"),
        ("preheader", "{{ request.user }}", "Line 1, column 1: Unknown variable “request”"),
        ("plain_text", "{{ x|ljust:2000000000 }}", "ljust"),
    ],
)
def test_errors_stand_at_their_field_with_their_line(field, text, expected, alice):
    found = errors(add_message(alice, **{field: text}))
    assert expected in " ".join(found[field])
    assert not Message.objects.exists()


def test_error_in_the_signature(alice):
    broken = signature(alice, content="{% debug %}")
    (error,) = errors(add_message(alice, signature=broken.pk))["signature"]
    assert error.startswith("Line 1, column 1: ")
    assert "The tag {% debug %} cannot be used" in error


def test_broken_message_saved_long_ago_still_opens(alice):
    text = world.message(alice, content="{% oldtag %}<p>Hello", subject="{{ unclosed")
    client = client_of(alice)
    assert text.subject in html(client.get(url(Message, "changelist")))
    page = html(client.get(url(text, "change")))
    assert "Line 1, column 1: The tag {% oldtag %} cannot be used" in page
    assert "&lt;p&gt;Hello" in page
    assert client.get(url(text, "preview")).status_code == 200


def test_page__placeholders_with_their_meaning(alice):
    page = html(client_of(alice).get(url(Message, "add")))
    for name in ("unsubscribe_url", "first_name", "city"):
        assert f"<code>{{{{ {name} }}}}</code>" in page
    assert "Company&#x27;s name" in page


def test_page__where_used_and_preview(alice):
    world.settings()
    world.contacts(alice, 1)
    text = world.message(alice)
    mailing = world.mailing(alice, message=text, name="Autumn offer")
    client = client_of(alice)
    page = html(client.get(url(text, "change")))
    assert f'<a href="{url(mailing, "change")}">Autumn offer</a>' in page
    assert f'src="{url(text, "preview")}" sandbox' in page
    assert "News for First0" in page
    assert "Dear First0 of Acme Metall GmbH" in html(client.get(url(text, "preview")))


def test_preview__without_recipients_shows_the_meanings(alice):
    text = world.message(alice)
    assert "Dear [First name] of [Company&#x27;s name]" in html(client_of(alice).get(url(text, "preview")))


def test_message_of_a_mailing_is_not_deleted(alice):
    world.contacts(alice, 1)
    text = world.mailing(alice).message
    client_of(alice).post(url(text, "delete"), {"post": "yes"})
    assert Message.objects.filter(pk=text.pk).exists()


@pytest.mark.parametrize("model", [Message, Signature])
def test_list__number_of_queries_is_constant(model, alice):
    def fill(number: int) -> None:
        for count in range(number):
            world.message(alice, signature=signature(alice, f"S{count}"))

    fill(5)
    client = client_of(alice)
    few = queries(client, url(model, "changelist"))
    fill(45)
    assert queries(client, url(model, "changelist")) == few


# Signatures -----------------------------------------------------------------------------------------------------------


def test_signature__new_default_takes_the_place_of_the_old_one(alice, bob):
    old, other = signature(alice, default=True), signature(bob, default=True)
    data = {"name": "New", "type": "html", "content": "<p>Alice</p>", "default": "on"}
    assert submit(client_of(alice), url(Signature, "add"), **data).status_code == 302
    old.refresh_from_db()
    other.refresh_from_db()
    assert (old.default, other.default) == (False, True)
    assert submit(client_of(alice), url(old, "change"), default="on").status_code == 302
    assert list(Signature.objects.filter(owner=alice, default=True)) == [old]


def test_signature__superuser_makes_one_for_a_manager(alice, boss):
    old = signature(alice, default=True)
    data = {"name": "New", "type": "html", "content": "<p>Alice</p>", "default": "on", "owner": alice.pk}
    response = submit(client_of(boss), url(Signature, "add"), **data)
    assert response.status_code == 302, said(response)
    old.refresh_from_db()
    assert not old.default


def test_signature__preview(alice):
    client = client_of(alice)
    assert "<p>Regards</p>" in html(client.get(url(signature(alice), "preview")))
    plain = signature(alice, type="plain", content="Regards\n<Alice>")
    assert "&lt;Alice&gt;" in html(client.get(url(plain, "preview")))
    broken = signature(alice, content="{% debug %}")
    assert "debug" in html(client.get(url(broken, "preview")))
    assert client.get(url(broken, "change")).status_code == 200


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("<p>\n{% load static %}</p>", "Line 2, column 1: The tag {% load %} cannot be used"),
        ("{{ request }}", "Line 1, column 1: Unknown variable “request”"),
        ("Regards\n{{", "Line 2, column 1: “{{” is not part of a complete placeholder"),
        ("{{ first_name }} {% if", "Line 1, column 18: “{%” is not part of a complete placeholder"),
        ("{% if first_name %}Regards", "Line 1, column 1:"),
        ("{% cid_media 'nowhere.png' %}", "Line 1, column 1:"),
        ("{{ first_name|ljust:2000000000 }}", "ljust"),
    ],
)
@pytest.mark.parametrize("kind", ["html", "plain"])
def test_signature__that_no_message_could_be_sent_with_is_refused(kind, text, expected, alice):
    data = {"name": "New", "type": kind, "content": text}
    assert expected in " ".join(errors(submit(client_of(alice), url(Signature, "add"), **data))["content"])
    assert not Signature.objects.exists()
    old = signature(alice, type=kind)
    assert expected in " ".join(errors(submit(client_of(alice), url(old, "change"), content=text))["content"])
    old.refresh_from_db()
    assert old.content == "<p>Regards</p>"


def test_signature__may_speak_to_the_recipient(alice):
    data = {"name": "{{ 100 %", "type": "html", "content": "<p>Yours, {{ first_name }}</p>"}
    assert submit(client_of(alice), url(Signature, "add"), **data).status_code == 302
    made = Signature.objects.get()
    client = client_of(alice)
    assert "Yours, [First name]" in html(client.get(url(made, "preview")))
    assert f'src="{url(made, "preview")}"' in html(client.get(url(made, "change")))


def test_signature__two_new_defaults_in_the_same_instant(alice, monkeypatch):
    old, save, tries = signature(alice, default=True), SignatureAdmin.save_model, []

    def too_early(self: Any, *args: Any) -> None:
        """The first try does not see the other default yet."""
        tries.append(args)
        (save if len(tries) > 1 else OwnedModelAdmin.save_model)(self, *args)

    monkeypatch.setattr(SignatureAdmin, "save_model", too_early)
    data = {"name": "New", "type": "html", "content": "<p>Alice</p>", "default": "on"}
    assert submit(client_of(alice), url(Signature, "add"), **data).status_code == 302
    assert len(tries) == 2
    old.refresh_from_db()
    assert not old.default
    assert Signature.objects.get(default=True).name == "New"
