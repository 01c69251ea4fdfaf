"""Who may open and do what: every page and every POST, for every kind of person."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pytest
from django.apps import apps
from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import Permission
from django.contrib.sessions.models import Session
from django.db.models import Model
from django.test import Client

from example_project.crm.models import Contact
from massmail.models import (
    AuditEntry,
    Delivery,
    EmailAccount,
    LeftOut,
    Mailing,
    MassmailSettings,
    Message,
    Signature,
    Suppression,
)
from massmail.outcomes import hold_account
from tests import world
from tests.adminpages import act, client_of, url

pytestmark = pytest.mark.django_db

OK, SEE_OTHER, FORBIDDEN, MISSING, NOT_ALLOWED = 200, 302, 403, 404, 405


@pytest.fixture
def clerk(django_user_model: Any) -> Any:
    """Staff without any right."""
    return django_user_model.objects.create_user("clerk", is_staff=True)


@pytest.fixture
def desk(alice: Any, bob: Any) -> dict[str, Any]:
    """One of everything that belongs to Alice."""
    world.settings()
    world.contacts(alice, 2)
    world.contacts(bob, 1)
    signature = Signature.objects.create(owner=alice, name="Short", content="<p>Alice</p>", default=True)
    message = world.message(alice, signature=signature)
    account = world.account(alice, "main", main=True)
    mailing = world.mailing(alice, Contact.objects.all(), message=message)
    return {
        "mailing": mailing,
        "message": message,
        "signature": signature,
        "account": account,
        "delivery": mailing.deliveries.first(),
        "left_out": mailing.left_out.first(),
    }


#: What is opened, and how it goes for: owner, other manager, chief, staff without rights, superuser.
PAGES = [
    ("mailing", "change", (OK, MISSING, OK, MISSING, OK)),
    ("mailing", "history", (OK, MISSING, OK, MISSING, OK)),
    ("mailing", "delete", (OK, MISSING, FORBIDDEN, MISSING, OK)),
    ("mailing", "preview", (OK, MISSING, OK, MISSING, OK)),
    ("mailing", "start", (NOT_ALLOWED,) * 5),
    ("mailing", "pause", (NOT_ALLOWED,) * 5),
    ("mailing", "resume", (NOT_ALLOWED,) * 5),
    ("mailing", "cancel", (OK, MISSING, FORBIDDEN, MISSING, OK)),
    ("mailing", "exclude", (OK, MISSING, FORBIDDEN, MISSING, OK)),
    ("mailing", "duplicate", (NOT_ALLOWED,) * 5),
    ("mailing", "retry", (NOT_ALLOWED,) * 5),
    ("mailing", "missing", (NOT_ALLOWED,) * 5),
    ("message", "change", (OK, MISSING, OK, MISSING, OK)),
    ("message", "history", (OK, MISSING, OK, MISSING, OK)),
    ("message", "delete", (OK, MISSING, FORBIDDEN, MISSING, OK)),
    ("message", "preview", (OK, MISSING, OK, MISSING, OK)),
    ("signature", "change", (OK, MISSING, OK, MISSING, OK)),
    ("signature", "history", (OK, MISSING, OK, MISSING, OK)),
    ("signature", "delete", (OK, MISSING, FORBIDDEN, MISSING, OK)),
    ("signature", "preview", (OK, MISSING, OK, MISSING, OK)),
    ("account", "change", (OK, MISSING, OK, MISSING, OK)),
    ("account", "history", (OK, MISSING, OK, MISSING, OK)),
    ("account", "delete", (FORBIDDEN, MISSING, FORBIDDEN, MISSING, OK)),
    ("account", "release", (NOT_ALLOWED,) * 5),
    ("mailing", "recipients", (OK, MISSING, OK, MISSING, OK)),
    ("delivery", "change", (OK, MISSING, OK, MISSING, OK)),
    ("delivery", "preview", (OK, MISSING, OK, MISSING, OK)),
    ("delivery", "history", (OK, MISSING, OK, MISSING, OK)),
    ("delivery", "delete", (FORBIDDEN, MISSING, FORBIDDEN, MISSING, FORBIDDEN)),
    ("left_out", "change", (OK, MISSING, OK, MISSING, OK)),
    ("left_out", "delete", (FORBIDDEN, MISSING, FORBIDDEN, MISSING, FORBIDDEN)),
]


@pytest.mark.parametrize(("thing", "page", "expected"), PAGES, ids=[f"{thing}-{page}" for thing, page, _ in PAGES])
def test_pages_of_an_object(thing, page, expected, desk, alice, bob, carol, clerk, boss):
    address = url(desk[thing], page)
    people = (alice, bob, carol, clerk, boss)
    assert tuple(client_of(person).get(address).status_code for person in people) == expected
    assert client_of(None).get(address).headers["Location"].startswith("/admin/login/")


LISTS = [
    (Mailing, (OK, OK, OK, FORBIDDEN, OK)),
    (Message, (OK, OK, OK, FORBIDDEN, OK)),
    (Signature, (OK, OK, OK, FORBIDDEN, OK)),
    (EmailAccount, (OK, OK, OK, FORBIDDEN, OK)),
    (Delivery, (OK, OK, OK, FORBIDDEN, OK)),
    (LeftOut, (OK, OK, OK, FORBIDDEN, OK)),
    (Suppression, (FORBIDDEN, FORBIDDEN, FORBIDDEN, FORBIDDEN, OK)),
    (MassmailSettings, (FORBIDDEN, FORBIDDEN, FORBIDDEN, FORBIDDEN, SEE_OTHER)),
]


@pytest.mark.parametrize(("model", "expected"), LISTS, ids=[model.__name__ for model, _ in LISTS])
def test_lists(model, expected, desk, alice, bob, carol, clerk, boss):
    people = (alice, bob, carol, clerk, boss)
    address = url(model, "changelist")
    assert tuple(client_of(person).get(address).status_code for person in people) == expected
    assert client_of(None).get(address).status_code == SEE_OTHER


def on_list(person: Any, model: type[Model]) -> int:
    return client_of(person).get(url(model, "changelist")).context["cl"].result_count


@pytest.mark.parametrize("model", [Mailing, Message, Signature, EmailAccount, Delivery, LeftOut])
def test_lists_are_cut_to_the_owner(model, desk, alice, bob, carol, boss):
    everything = model.objects.count()
    assert everything
    assert [on_list(person, model) for person in (alice, bob, carol, boss)] == [everything, 0, everything, everything]


@pytest.mark.parametrize(
    ("model", "expected"),
    [
        (Mailing, (FORBIDDEN,) * 5),
        (Message, (OK, OK, OK, FORBIDDEN, OK)),
        (Signature, (OK, OK, OK, FORBIDDEN, OK)),
        (EmailAccount, (OK, OK, OK, FORBIDDEN, OK)),
        (Delivery, (FORBIDDEN,) * 5),
        (LeftOut, (FORBIDDEN,) * 5),
        (Suppression, (FORBIDDEN, FORBIDDEN, FORBIDDEN, FORBIDDEN, OK)),
        (MassmailSettings, (FORBIDDEN,) * 5),
    ],
)
def test_add(model, expected, desk, alice, bob, carol, clerk, boss):
    people = (alice, bob, carol, clerk, boss)
    assert tuple(client_of(person).get(url(model, "add")).status_code for person in people) == expected


def start(client: Client, desk: dict[str, Any]) -> Any:
    return client.post(url(desk["mailing"], "start"))


def cancel(client: Client, desk: dict[str, Any]) -> Any:
    return client.post(url(desk["mailing"], "cancel"))


def rename(client: Client, desk: dict[str, Any]) -> Any:
    return client.post(url(desk["mailing"], "change"), {"name": "Taken over"})


def rewrite(client: Client, desk: dict[str, Any]) -> Any:
    data = {"subject": "Taken over", "content": world.CONTENT}
    data |= {"attachments-TOTAL_FORMS": "0", "attachments-INITIAL_FORMS": "0"}
    return client.post(url(desk["message"], "change"), data)


def sign(client: Client, desk: dict[str, Any]) -> Any:
    return client.post(url(desk["signature"], "change"), {"name": "Taken over", "type": "html", "content": "x"})


def redirect_account(client: Client, desk: dict[str, Any]) -> Any:
    data = {"name": "Taken over", "from_email": "eve@evil.example", "smtp_host": "evil.example", "smtp_port": 25}
    data |= {"smtp_security": "none", "imap_port": 993, "imap_security": "ssl", "lanes": 1}
    return client.post(url(desk["account"], "change"), data)


def release(client: Client, desk: dict[str, Any]) -> Any:
    return client.post(url(desk["account"], "release"))


def delete(thing: str) -> Callable[[Client, dict[str, Any]], Any]:
    return lambda client, desk: client.post(url(desk[thing], "delete"), {"post": "yes"})


def delete_selected(thing: str) -> Callable[[Client, dict[str, Any]], Any]:
    def run(client: Client, desk: dict[str, Any]) -> Any:
        data = {"action": "delete_selected", "_selected_action": [desk[thing].pk], "post": "yes"}
        return client.post(url(type(desk[thing]), "changelist"), data)

    return run


DEEDS = {
    "start": start,
    "cancel": cancel,
    "rename": rename,
    "rewrite": rewrite,
    "sign": sign,
    "redirect account": redirect_account,
    "release": release,
    "delete mailing": delete("mailing"),
    "delete message": delete("message"),
    "delete signature": delete("signature"),
    "delete account": delete("account"),
    "delete selected mailings": delete_selected("mailing"),
    "delete selected messages": delete_selected("message"),
    "delete selected signatures": delete_selected("signature"),
    "delete selected accounts": delete_selected("account"),
}


def everything() -> dict[str, list[tuple[Any, ...]]]:
    """Return every row of the database, but for sessions and the like."""
    ignored = (Session,)
    models = [model for model in apps.get_models() if model not in ignored and model._meta.managed]
    return {model._meta.label: sorted(model._default_manager.values_list(), key=repr) for model in models}


def state() -> dict[str, list[tuple[Any, ...]]]:
    """Return every row but those of `auth_user`, whose `last_login` changes with each login."""
    rows = everything()
    rows.pop("auth.User")
    return rows


@pytest.mark.parametrize("deed", DEEDS.values(), ids=DEEDS)
@pytest.mark.parametrize("person", ["bob", "carol", "clerk", None])
def test_deeds_of_others_change_nothing(deed, person, desk, request, bob, carol, clerk):
    hold_account(desk["account"], "Password refused")
    before = state()
    response = deed(client_of(request.getfixturevalue(person) if person else None), desk)
    # Where the action is not in the menu, Django shows the list again.
    assert response.status_code in (FORBIDDEN, MISSING, SEE_OTHER, OK)
    assert state() == before


@pytest.mark.parametrize("deed", [start, rename, rewrite, sign, redirect_account, release])
@pytest.mark.parametrize("person", ["alice", "boss"])
def test_deeds_of_the_owner_and_of_superusers(deed, person, desk, request, boss):
    hold_account(desk["account"], "Password refused")
    before = state()
    response = deed(client_of(request.getfixturevalue(person)), desk)
    assert response.status_code == SEE_OTHER
    assert state() != before


def test_actions_on_mailings_of_others_change_nothing(desk, bob):
    act(client_of(bob), Mailing, "delete_selected", [desk["mailing"]], everywhere=True)
    assert Mailing.objects.filter(pk=desk["mailing"].pk).exists()


def test_chief__without_rights_of_a_manager_may_look(desk, django_user_model):
    chief = django_user_model.objects.create_user("chief", is_staff=True)
    chief.user_permissions.add(Permission.objects.get(codename="view_all"))
    client = client_of(chief)
    assert client.get(url(desk["mailing"], "change")).status_code == OK
    assert client.get(url(Message, "changelist")).status_code == OK
    assert start(client, desk).status_code == FORBIDDEN


def test_chief__sees_no_buttons(desk, carol):
    page = client_of(carol).get(url(desk["mailing"], "change")).content.decode()
    assert "/start/" not in page
    assert 'name="_save"' not in page


POSTS = ["start", "pause", "resume", "cancel"]


def test_csrf(desk, alice):
    client = client_of(alice, enforce_csrf_checks=True)
    before = state()
    addresses = [url(desk["mailing"], move) for move in POSTS]
    addresses += [url(desk["account"], "release"), url(desk["message"], "change"), url(Contact, "changelist")]
    assert {client.post(address).status_code for address in addresses} == {FORBIDDEN}
    assert state() == before


def addresses_on(html: str) -> set[str]:
    found = re.findall(r'(?:href|src|action|formaction)="(/admin/[^"#]*)', html)
    return {address.replace("&amp;", "&") for address in found if "logout" not in address}


def test_crawl__no_get_changes_anything(desk, boss):
    """Follow every link of the admin, and every address of this app with each of its objects."""
    hold_account(desk["account"], "Password refused")
    client = client_of(boss)
    todo = {"/admin/", url(MassmailSettings, "change", 1)}
    todo |= {url(desk[thing], page) for thing, page, _ in PAGES}
    todo |= {url(Mailing, "progress") + f"?id={desk['mailing'].pk}"}
    MassmailSettings.objects.all().delete()
    before, seen = state(), set()
    while todo:
        address = todo.pop()
        seen.add(address)
        response = client.get(address)
        assert response.status_code < 500, address
        if response.headers.get("Content-Type", "").startswith("text/html") and len(seen) < 400:
            todo |= addresses_on(response.content.decode()) - seen
    assert len(seen) > 60
    assert state() == before
    assert not LogEntry.objects.exists()


def test_index__settings_stand_under_their_own_heading_for_superusers_only(alice, carol, boss):
    page = client_of(boss).get("/admin/").content.decode()
    assert 'id="massmail_settings-massmailsettings"' in page
    assert re.search(r"/admin/massmail_settings/\"[^>]*>\s*Settings\s*<", page)
    for person in (alice, carol):
        assert "massmail_settings" not in client_of(person).get("/admin/").content.decode()
        assert client_of(person).get("/admin/massmail_settings/").status_code == MISSING


def test_index__lists_that_belong_to_a_mailing_do_not_stand_there(desk, alice):
    page = client_of(alice).get("/admin/massmail/").content.decode()
    assert url(Mailing, "changelist") in page
    assert url(Delivery, "changelist") not in page
    assert url(LeftOut, "changelist") not in page


def test_foreign_keys_in_filters_reveal_nothing(desk, bob):
    """A lookup through relations would answer questions about other people's objects and passwords."""
    client = client_of(bob)
    for query in ("mailing__owner__password__startswith=md5", "account__smtp_password__startswith=f"):
        assert client.get(f"{url(Delivery, 'changelist')}?{query}").status_code == 400
    list_of_alice = client.get(f"{url(Delivery, 'changelist')}?mailing__id__exact={desk['mailing'].pk}")
    assert list_of_alice.context["cl"].result_count == 0
    assert desk["mailing"].name not in list_of_alice.content.decode()


def test_progress__only_of_own_mailings(desk, alice, bob):
    address = f"{url(Mailing, 'progress')}?id={desk['mailing'].pk}&id=x&id={'9' * 40}"
    assert list(client_of(alice).get(address).json()["mailings"]) == [str(desk["mailing"].pk)]
    assert client_of(bob).get(address).json() == {"mailings": {}}


def test_moves_leave_an_audit_entry_with_the_person(desk, alice, boss):
    start(client_of(alice), desk)
    client_of(boss).post(url(desk["mailing"], "pause"))
    who = dict(AuditEntry.objects.filter(mailing=desk["mailing"]).values_list("action", "by__username"))
    assert (who["started"], who["paused"]) == ("alice", "boss")


@pytest.mark.parametrize("secret", ["smtp_password", "imap_password"])
@pytest.mark.parametrize("way", ["", "__regex", "__startswith", "__gt", "__isnull"])
def test_lookups_ask_nothing_about_secrets(secret, way, desk, alice, boss):
    """The answers "one account" and "none" would give away the ciphertext, a character at a time."""
    for person in (alice, boss):
        response = client_of(person).get(f"{url(EmailAccount, 'changelist')}?{secret}{way}=f")
        assert response.status_code == 400


@pytest.mark.parametrize(
    ("model", "query"),
    [
        (EmailAccount, "main__exact=1&massmail__exact=1"),
        (Mailing, "status=draft&type=crm.contact&q=contact"),
        (Delivery, "status__exact=queued"),
        (LeftOut, "reason__exact=not_owner"),
    ],
)
def test_lookups_of_the_lists_filters_are_answered(model, query, desk, alice, carol):
    query += (
        f"&mailing__id__exact={desk['mailing'].pk}" if model in (Delivery, LeftOut) else f"&owner__id__exact={alice.pk}"
    )
    response = client_of(carol).get(f"{url(model, 'changelist')}?{query}")
    assert response.status_code == OK
    assert response.context["cl"].result_count


def offered(person: Any, model: type[Model]) -> set[str]:
    form = client_of(person).get(url(model, "changelist")).context["action_form"]
    return {value for value, _label in form.fields["action"].choices if value} if form else set()


@pytest.mark.parametrize("model", [Mailing, Message, Signature])
def test_deleting_is_offered_to_those_who_may(model, desk, alice, carol, boss):
    for person in (alice, boss):
        assert "delete_selected" in offered(person, model)
    assert offered(carol, model) == set()


def test_deleting_is_offered_to_a_chief_with_mailings_of_her_own(desk, carol):
    world.contacts(carol, 1)
    world.mailing(carol)
    assert "delete_selected" in offered(carol, Mailing)


NOWHERE = 10**30


@pytest.mark.parametrize("tail", ["", "nonsense/", "release/", "start/start/", "%2F/", "_2F/", "change/change/"])
@pytest.mark.parametrize("thing", ["mailing", "message", "signature", "account", "delivery", "left_out"])
def test_addresses_without_a_page_tell_nothing(thing, tail, desk, bob):
    """Django would lead every unknown address on to `…/change/`; here it is a 404, of what is there and what is not."""
    client, model = client_of(bob), type(desk[thing])
    keys = (desk[thing].pk, desk[thing].pk + 1000, NOWHERE)
    answers = {client.get(f"{url(model, 'changelist')}{key}/{tail}").status_code for key in keys}
    assert len(answers) == 1
    assert answers <= {MISSING, NOT_ALLOWED}
