"""The preview of a mailing: a document that is locked up, as the first recipient gets it."""

from __future__ import annotations

from typing import Any

import pytest

from example_project.crm.models import Contact
from massmail.engine import lifecycle
from massmail.models import Mailing, Message
from tests import world
from tests.adminpages import client_of, url

pytestmark = pytest.mark.django_db

POLICY = "sandbox; default-src 'none'; img-src data: https:; style-src 'unsafe-inline'"


@pytest.fixture
def draft(alice: Any) -> Mailing:
    world.settings()
    world.account(alice)
    world.contacts(alice, 3)
    return world.mailing(alice, name="Autumn offer")


def html(response: Any) -> str:
    assert response.status_code == 200
    return response.content.decode()


def test_preview__is_locked_up(draft, alice):
    response = client_of(alice).get(url(draft, "preview"))
    headers = response.headers
    assert headers["Content-Security-Policy"].startswith(POLICY)
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["Referrer-Policy"] == "no-referrer"
    assert headers["X-Frame-Options"] == "SAMEORIGIN"
    page = html(client_of(alice).get(url(draft, "change")))
    assert f'<iframe class="massmail-html" src="{url(draft, "preview")}" sandbox' in page


def test_preview__as_the_first_recipient_with_a_link_that_does_nothing(draft, alice):
    client = client_of(alice)
    document = html(client.get(url(draft, "preview")))
    assert "Dear First0 of Acme Metall GmbH" in document
    assert "https://news.example.com/massmail/u/preview/" in document
    text = client.get(url(draft, "preview") + "?part=text")
    assert text.headers["Content-Type"].startswith("text/plain")
    assert "Dear First0 of Acme Metall GmbH" in text.content.decode()
    assert "News for First0" in html(client.get(url(draft, "change")))


def test_preview__values_are_text(alice):
    world.account(alice)
    world.contacts(alice, 1, first_name="<script>alert(1)</script>{{ 7|add:7 }}")
    document = html(client_of(alice).get(url(world.mailing(alice), "preview")))
    assert "<script>" not in document
    assert "{{ 7|add:7 }}" in document


def test_preview__without_message(draft, alice):
    Mailing.objects.update(message=None)
    assert client_of(alice).get(url(draft, "preview")).status_code == 200
    assert "Choose a message and save" in html(client_of(alice).get(url(draft, "change")))


def test_preview__broken_message(draft, alice):
    Message.objects.update(content="{% load static %}")
    client = client_of(alice)
    response = client.get(url(draft, "preview"))
    assert response.headers["Content-Security-Policy"].startswith(POLICY)
    assert "load" in html(response)
    assert "cannot be used" in html(client.get(url(draft, "change")))


def test_preview__of_a_started_mailing_shows_what_is_sent(draft, alice):
    lifecycle.start(draft, by=alice)
    Message.objects.update(content='<p>Rewritten</p><a href="{{ unsubscribe_url }}">x</a>')
    assert "Dear First0" in html(client_of(alice).get(url(draft, "preview")))


def test_preview__recipient_deleted_since(draft, alice):
    Contact.objects.all().delete()
    assert "Dear [First name]" in html(client_of(alice).get(url(draft, "preview")))
