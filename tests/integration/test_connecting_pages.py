"""Connecting an account in the admin: proposals, servers in the private network, OAuth2 on the account's page."""

from __future__ import annotations

import json
from typing import Any

import dns.exception
import pytest

from massmail import connecting
from massmail.admin import providers
from massmail.models import EmailAccount
from massmail.outcomes import hold_account
from tests import world
from tests.adminpages import client_of, filled_in, said, submit, url

pytestmark = pytest.mark.django_db

JSON = {"HTTP_ACCEPT": "application/json"}
NEW = {"name": "x", "from_email": "ann@acme.example", "smtp_host": "mail.acme.example"}


@pytest.fixture(autouse=True)
def surroundings(monkeypatch, settings):
    """Neither private servers that anybody may enter nor a DNS."""

    class Resolver:
        def resolve(self, *args: Any, **kwargs: Any) -> Any:
            raise dns.exception.Timeout

    monkeypatch.setattr(providers, "make_resolver", Resolver)
    settings.MASSMAIL_PRIVATE_HOSTS = settings.MASSMAIL_CLEAR_TEXT_HOSTS = ()
    world.settings()


@pytest.fixture
def box(alice):
    return world.account(alice, **NEW, from_name="Ann")


def fill(person: Any, **data: Any) -> Any:
    return client_of(person).post(url(EmailAccount, "fill"), data, **JSON)


def page(person: Any, box: EmailAccount) -> str:
    return client_of(person).get(url(box, "change")).content.decode()


# Fill in --------------------------------------------------------------------------------------------------------------


def test_fill__by_the_address(alice):
    answer = fill(alice, from_email="ann@gmail.com").json()
    assert answer["preset"] == "gmail"
    assert answer["values"]["smtp_host"] == "smtp.gmail.com"
    assert "app password" in answer["help"]
    assert "https://support.google.com/mail/answer/22839" in answer["help"]
    assert "about 500 mails a day" in answer["help"]
    assert "Connect with" not in answer["help"]


def test_fill__oauth_is_offered_where_it_is_set_up(alice, settings):
    settings.MASSMAIL_OAUTH_PROVIDERS = {"google": {"client_id": "x"}}
    assert "press “Connect with Google”" in fill(alice, from_email="ann@gmail.com").json()["help"]
    assert "Connect with" not in fill(alice, from_email="ann@yahoo.com").json()["help"]


def test_fill__chosen_from_the_list_and_what_was_typed_is_kept(alice):
    answer = fill(alice, from_email="ann@acme.example", provider="fastmail", smtp_host="relay.acme.example").json()
    assert answer["values"]["imap_host"] == "imap.fastmail.com"
    assert "smtp_host" not in answer["values"]
    assert "Kept as you typed it: SMTP server." in answer["help"]
    first = {name: str(value) for name, value in answer["values"].items()}
    again = fill(alice, from_email="ann@acme.example", provider="zoho", filled_in=json.dumps(first), **first).json()
    assert again["values"]["imap_host"] == "imap.zoho.com"


@pytest.mark.parametrize("carried", ["{", "[]", "[" * 100_000, '"x"', '{"smtp_host": {"a": 1}, "is_superuser": "1"}'])
def test_fill__survives_a_mangled_memory(carried, alice):
    assert fill(alice, from_email="a@gmail.com", filled_in=carried).json()["values"]["smtp_host"] == "smtp.gmail.com"


@pytest.mark.parametrize("address", ["", "ann", "@acme.example", "ann@"])
def test_fill__needs_the_address(address, alice):
    assert fill(alice, from_email=address, provider="gmail").json() == {
        "values": {},
        "help": "Enter the from address first.",
    }


def test_fill__hostile_domain(alice):
    answer = fill(alice, from_email="ann@<b>x</b>." + "y" * 300)
    assert answer.status_code == 200
    assert "<b>" not in answer.json()["help"]


def test_fill__without_javascript(alice):
    client = client_of(alice)
    data = {"from_email": "ann@yahoo.com", "from_name": "Ann", "main": "on", "new_smtp_password": "canary-5"}
    response = client.post(url(EmailAccount, "fill"), data)
    assert "canary" not in response["Location"]
    form = client.get(response["Location"]).context["adminform"].form
    shown = {name: str(form[name].value()) for name in ("from_email", "from_name", "smtp_host", "smtp_port", "main")}
    assert shown == {
        "from_email": "ann@yahoo.com",
        "from_name": "Ann",
        "smtp_host": "smtp.mail.yahoo.com",
        "smtp_port": "465",
        "main": "on",
    }
    html = client.get(response["Location"]).content.decode()
    assert "Make an app password in Yahoo" in html
    response = client.post(url(EmailAccount, "fill"), filled_in(client, response["Location"]) | {"provider": "zoho"})
    assert client.get(response["Location"]).context["adminform"].form["smtp_host"].value() == "smtp.zoho.com"
    assert said(client.post(url(EmailAccount, "fill"), {})) == ["Enter the from address first."]


def test_fill__who_may(alice, carol, django_user_model):
    clerk = django_user_model.objects.create_user("clerk", is_staff=True)
    assert fill(clerk, from_email="a@gmail.com").status_code == 403
    assert client_of(None).post(url(EmailAccount, "fill")).status_code == 302
    assert client_of(alice).get(url(EmailAccount, "fill")).status_code == 405
    assert client_of(alice, enforce_csrf_checks=True).post(url(EmailAccount, "fill")).status_code == 403


def test_page__shows_what_its_provider_needs(alice, box):
    EmailAccount.objects.update(smtp_host="smtp.gmail.com")
    assert "app password" in page(alice, box)


# Servers in the private network ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "host", ["10.0.0.5", "127.0.0.1", "169.254.169.254", "[::1]", "::ffff:10.0.0.5", "localhost", "x.localhost"]
)
def test_private__refused_to_managers_at_the_form(host, alice, box):
    for field in ("smtp_host", "imap_host"):
        response = submit(client_of(alice), url(box, "change"), **{field: host})
        [error] = response.context["adminform"].form.errors[field]
        assert "is in the private network. Ask an administrator" in error
    data = {**NEW, "smtp_host": host}
    assert "smtp_host" in submit(client_of(alice), url(EmailAccount, "add"), **data).context["adminform"].form.errors


@pytest.mark.parametrize("host", ["8.8.8.8", "10.example.com", "mail.localhost.example"])
def test_private__others_are_not(host, alice, box):
    assert submit(client_of(alice), url(box, "change"), smtp_host=host).status_code == 302


def test_private__what_the_deployer_allows(alice, box, settings):
    settings.MASSMAIL_PRIVATE_HOSTS = ["10.0.0.0/8"]
    assert submit(client_of(alice), url(box, "change"), smtp_host="10.0.0.5").status_code == 302
    box.refresh_from_db()
    assert box.trusted_servers == []


def trusted(box: EmailAccount) -> list[str]:
    box.refresh_from_db()
    return box.trusted_servers


def test_trusted__what_a_superuser_enters(alice, boss, box):
    submit(client_of(boss), url(box, "change"), smtp_host="10.0.0.5", smtp_port="25")
    assert trusted(box) == ["10.0.0.5:25"]
    assert connecting.smtp_endpoint(box).trusted
    submit(client_of(alice), url(box, "change"), from_name="Ann B.")
    assert trusted(box) == ["10.0.0.5:25"]
    response = submit(client_of(alice), url(box, "change"), smtp_port="6379")
    assert "smtp_host" in response.context["adminform"].form.errors
    submit(client_of(alice), url(box, "change"), smtp_host="db.acme.example", smtp_port="25")
    assert trusted(box) == ["10.0.0.5:25"]
    assert not connecting.smtp_endpoint(box).trusted


def test_trusted__a_new_account_of_a_superuser(boss, alice):
    data = {**NEW, "smtp_host": "10.0.0.5", "imap_host": "imap.acme.example", "owner": alice.pk}
    assert submit(client_of(boss), url(EmailAccount, "add"), **data).status_code == 302
    assert EmailAccount.objects.get().trusted_servers == ["10.0.0.5:587", "imap.acme.example:993"]


def test_trusted__not_what_a_manager_entered_because_a_superuser_saves_the_page(boss, box):
    submit(client_of(boss), url(box, "change"), from_name="Ann B.")
    assert trusted(box) == []
    submit(client_of(boss), url(box, "change"), trust_servers="on")
    assert trusted(box) == ["mail.acme.example:2525"]
    assert "trust_servers" not in page(boss, box)


def test_trusted__the_box_and_the_column_are_not_a_manager_s(alice, box):
    assert "trust_servers" not in page(alice, box)
    submit(client_of(alice), url(box, "change"), trust_servers="on", trusted_servers='["mail.acme.example:2525"]')
    assert trusted(box) == []


# OAuth2 on the page ---------------------------------------------------------------------------------------------------


@pytest.fixture
def two(settings):
    settings.MASSMAIL_OAUTH_PROVIDERS = {"google": {"client_id": "x"}, "microsoft": {"client_id": "y"}}


def test_oauth__no_provider_no_button(alice, box):
    assert "Connect with" not in page(alice, box)


@pytest.mark.usefixtures("two")
def test_oauth__buttons_of_the_providers_that_fit(alice, carol, box):
    html = page(alice, box)
    for name in ("google", "microsoft"):
        assert f'action="{url(box, "connect", box.pk, name)}"' in html
    assert "Connect with" not in page(carol, box)
    assert "Connect with Google</button>" not in client_of(alice).get(url(EmailAccount, "add")).content.decode()
    EmailAccount.objects.update(smtp_host="smtp.office365.com")
    assert "Connect with Microsoft" in page(alice, box)
    assert "Connect with Google" not in page(alice, box)


@pytest.mark.usefixtures("two")
def test_oauth__connected(alice, carol, box):
    EmailAccount.objects.update(oauth_provider="google", oauth_refresh_token="refresh-0")
    hold_account(box, "Google says: invalid_grant.", trouble="connection")
    html = page(alice, box)
    assert "Connected with Google" in html
    assert "Connect again with Google" in html
    assert url(box, "disconnect") in html
    assert 'href="#massmail-connection"' in html
    assert 'id="massmail-connection"' in html
    chief = page(carol, box)
    assert "Connected with Google" in chief
    assert url(box, "disconnect") not in chief


def test_oauth__connected_with_a_provider_that_is_not_set_up_any_more(alice, box):
    EmailAccount.objects.update(oauth_provider="google", oauth_refresh_token="refresh-0")
    html = page(alice, box)
    assert "Connected with google" in html
    assert url(box, "disconnect") in html


# Secrets and other servers --------------------------------------------------------------------------------------------


MOVED = {"smtp_host": "mail.thief.example"}


@pytest.mark.parametrize(
    ("stored", "changes", "complaint"),
    [
        ({}, MOVED, "SMTP password"),
        ({}, {"imap_host": "mail.thief.example"}, "SMTP password"),
        ({"imap_password": "other-secret"}, {"imap_host": "mail.thief.example"}, "IMAP password"),
        ({"imap_password": "x"}, {"imap_host": "mail.thief.example", "remove_imap_password": "on"}, "SMTP password"),
        ({}, MOVED | {"new_smtp_password": "typed"}, ""),
        ({}, MOVED | {"remove_smtp_password": "on"}, ""),
        ({"smtp_password": ""}, MOVED, ""),
        ({}, {"imap_host": "Mail.Acme.Example"}, ""),
        ({"smtp_host": "smtp.gmail.com"}, {"imap_host": "imap.gmail.com"}, ""),
        ({}, {"smtp_port": "465", "smtp_security": "ssl"}, ""),
    ],
)
def test_stored_password__stays_with_its_server(stored, changes, complaint, alice, boss, box):
    for name, value in ({"smtp_password": "stored-secret"} | stored).items():
        setattr(box, name, value)
    box.save()
    for person in (alice, boss):
        data = filled_in(client_of(person), url(box, "change")) | changes
        words = "Enter the password again: the stored one is not handed to another server"
        html = client_of(person).post(url(box, "test"), data).content.decode()
        assert (f"{complaint}: {words}" in html) is bool(complaint)
        saved = client_of(person).post(url(box, "change"), data)
        assert (saved.status_code, words in saved.content.decode()) == ((200, True) if complaint else (302, False))
        EmailAccount.objects.filter(pk=box.pk).update(
            **{name: getattr(box, name) for name in ("smtp_host", "imap_host", "smtp_port", "smtp_security")}
        )
        box.save()


def test_stored_token__stays_with_its_provider(alice, box):
    box.smtp_host, box.oauth_provider, box.oauth_refresh_token = "smtp.gmail.com", "google", "refresh-0"
    box.save()
    for host, status in (("mail.thief.example", 200), ("imap.gmail.com", 302)):
        data = filled_in(client_of(alice), url(box, "change")) | {"imap_host": host}
        answer = client_of(alice).post(url(box, "change"), data)
        assert answer.status_code == status
        assert ("not to mail.thief.example. Disconnect" in answer.content.decode()) is (status == 200)
