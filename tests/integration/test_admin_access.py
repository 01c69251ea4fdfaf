"""What people see of others' things, what looking changes, and what questions are answered.

Who may open and do what is in the permission matrix: `test_admin_permissions.py`.
"""

from __future__ import annotations

import re
from typing import Any

import pytest
from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import Permission
from django.db.models import Model

from massmail.models import (
    AuditEntry,
    Delivery,
    EmailAccount,
    LeftOut,
    Mailing,
    MassmailSettings,
    Message,
    Signature,
)
from tests import desk as desks
from tests import world
from tests.adminpages import client_of, url
from tests.permissions import ROWS

pytestmark = pytest.mark.django_db

OK, SEE_OTHER, FORBIDDEN, MISSING, NOT_ALLOWED = 200, 302, 403, 404, 405


@pytest.fixture
def desk(alice: Any, bob: Any, settings: Any, tmp_path: Any) -> dict[str, Any]:
    settings.MEDIA_ROOT = tmp_path
    return desks.laid_out(alice, bob)


def on_list(person: Any, model: type[Model]) -> int:
    return client_of(person).get(url(model, "changelist")).context["cl"].result_count


@pytest.mark.parametrize("model", [Mailing, Message, Signature, EmailAccount, Delivery, LeftOut])
def test_lists_are_cut_to_the_owner(model, desk, alice, bob, carol, boss):
    everything = model.objects.count()
    assert everything
    assert [on_list(person, model) for person in (alice, bob, carol, boss)] == [everything, 0, everything, everything]


def start(person: Any, mailing: Mailing) -> Any:
    return client_of(person).post(url(mailing, "start"))


def test_chief__without_rights_of_a_manager_may_look(desk, django_user_model):
    chief = django_user_model.objects.create_user("chief", is_staff=True)
    chief.user_permissions.add(Permission.objects.get(codename="view_all"))
    client = client_of(chief)
    assert client.get(url(desk["mailing"], "change")).status_code == OK
    assert client.get(url(Message, "changelist")).status_code == OK
    assert start(chief, desk["mailing"]).status_code == FORBIDDEN


def test_chief__sees_no_buttons(desk, carol):
    page = client_of(carol).get(url(desk["mailing"], "change")).content.decode()
    assert "/start/" not in page
    assert 'name="_save"' not in page


def addresses_on(html: str) -> set[str]:
    found = re.findall(r'(?:href|src|action|formaction)="(/admin/[^"#]*)', html)
    return {address.replace("&amp;", "&") for address in found if "logout" not in address}


#: Of the kinds of pages, one each is enough: others differ by a key or a filter.
KEYS = re.compile(r"/\d+/|=\d+\b")


@pytest.mark.parametrize("person", ["boss", "carol"])
def test_t14_no_get_changes_anything(person, desk, request):
    """Follow every link of the admin from its index on, also from the pages that no link leads to."""
    user = request.getfixturevalue(person)
    client, todo = client_of(user), ["/admin/"]
    todo += sorted({row.address(f"{model}_{page}", desk) for model, rows in ROWS.items() for page, row in rows.items()})
    MassmailSettings.objects.all().delete()
    before, seen, kinds = desks.state(), set(), set()
    for address in todo:
        if address in seen:
            continue
        seen.add(address)
        response = client.get(address)
        assert response.status_code < 500, address
        if response.headers.get("Content-Type", "").startswith("text/html"):
            found = {each for each in addresses_on(response.content.decode()) if KEYS.sub("#", each) not in kinds}
            kinds |= {KEYS.sub("#", each) for each in found}
            todo += sorted(found)
    assert len(seen) > 180
    assert desks.state() == before
    assert not LogEntry.objects.exists()


def test_index__settings_stand_under_their_own_heading_for_superusers_only(alice, carol, boss):
    page = client_of(boss).get("/admin/").content.decode()
    assert 'id="massmail_settings-massmailsettings"' in page
    assert re.search(r"/admin/massmail_settings/\"[^>]*>\s*Settings\s*<", page)
    for person in (alice, carol):
        assert "massmail_settings" not in client_of(person).get("/admin/").content.decode()
        assert client_of(person).get("/admin/massmail_settings/").status_code == MISSING


def test_index__lists_that_belong_to_a_mailing_do_not_stand_there(desk, alice):
    page = client_of(alice).get("/admin/massmail/")
    listed = {model["model"] for app in page.context["app_list"] for model in app["models"]}
    assert Mailing in listed
    assert not {Delivery, LeftOut} & listed


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
    start(alice, desk["mailing"])
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
