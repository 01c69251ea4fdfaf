"""The permission matrix (`tests.permissions`) against the admin itself, and what no request may get past it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlencode, urlsplit

import pytest
from django.apps import apps
from django.contrib import admin
from django.contrib.auth.models import Permission
from django.db import connection, transaction
from django.db.models import ForeignKey
from django.test import Client, RequestFactory
from django.test.utils import CaptureQueriesContext
from django.urls import reverse

from massmail.admin import MassmailAdminMixin
from massmail.models import EmailAccount, Image, Mailing, Message, Signature
from tests import desk as desks
from tests.adminpages import client_of, url
from tests.nameserver import NameServer
from tests.oauth_server import OAuthServer
from tests.permissions import ACTIONS, NO_FILES, ROWS, Things, chosen, form, posts

pytestmark = pytest.mark.django_db

State = dict[str, list[tuple[Any, ...]]]


@pytest.fixture
def desk(alice: Any, bob: Any, boss: Any, settings: Any, names: NameServer, tmp_path: Any) -> Things:
    settings.MEDIA_ROOT = tmp_path
    settings.MASSMAIL_OAUTH_PROVIDERS = OAuthServer(url="http://127.0.0.1:9").settings()
    return desks.laid_out(alice, bob) | {"owner": alice, "boss": boss}


@pytest.fixture
def clerk(django_user_model: Any) -> Any:
    """Staff without any right."""
    return django_user_model.objects.create_user("clerk", is_staff=True)


@pytest.fixture
def clients(desk: Things, alice: Any, bob: Any, carol: Any, clerk: Any, boss: Any) -> list[Client]:
    """The browsers of `tests.permissions.PEOPLE`."""
    return [client_of(person) for person in (alice, bob, carol, clerk, boss)]


def our_admins() -> dict[str, Any]:
    """Return the admins of this app's models, and those of the host that have the mixin."""
    ours = ("massmail", "massmail_settings")
    return {
        f"{model._meta.app_label}_{model._meta.model_name}": each
        for model, each in admin.site._registry.items()
        if model._meta.app_label in ours or isinstance(each, MassmailAdminMixin)
    }


@contextmanager
def undone() -> Iterator[CaptureQueriesContext]:
    """Capture the queries, and take back what they wrote."""
    with transaction.atomic():
        with CaptureQueriesContext(connection) as captured:
            yield captured
        transaction.set_rollback(True)


def tried_to_write(captured: CaptureQueriesContext) -> bool:
    """Tell whether a statement was to change something other than the session."""
    statements = (query["sql"] for query in captured)
    return any(sql.startswith(("INSERT", "UPDATE", "DELETE")) and "django_session" not in sql for sql in statements)


def got(client: Client, address: str) -> str:
    with undone() as captured:
        status = client.get(address).status_code
    assert not tried_to_write(captured), address
    return str(status)


def posted(client: Client, address: str, data: dict[str, Any], before: State) -> str:
    """Return "done" if the database is another than `before`, else the status."""
    for value in data.values():
        if hasattr(value, "seek"):
            value.seek(0)
    with undone() as captured:
        status = client.post(address, data).status_code
        changed = tried_to_write(captured) and desks.state() != before
    if not changed:
        return str(status)
    return "done" if status in (200, 302) else f"{status} but changed something"


def posted_by(clients: Sequence[Client], address: str, data: dict[str, Any], before: State) -> str:
    return " ".join(posted(each, address, data, before) for each in clients)


# The matrix --------------------------------------------------------------------------------------------------------


def test_every_address_has_a_row():
    names = {str(pattern.name) for each in our_admins().values() for pattern in each.get_urls() if pattern.name}
    assert names == {f"{model}_{page}" for model, rows in ROWS.items() for page in rows}


@pytest.mark.parametrize("model", ROWS)
def test_addresses(model, desk, clients):
    stranger = client_of(None)
    rows = {page: (row, row.address(f"{model}_{page}", desk)) for page, row in ROWS[model].items()}
    gets = {page: " ".join(got(each, address) for each in clients) for page, (_row, address) in rows.items()}
    assert gets == {page: row.get for page, row in ROWS[model].items()}
    before = desks.state()
    done = {page: posted_by(clients, address, row.data(desk), before) for page, (row, address) in rows.items()}
    assert done == {page: row.post or row.get for page, row in ROWS[model].items()}
    for _row, address in rows.values():
        for response in (stranger.get(address), stranger.post(address)):
            assert response.headers["Location"].startswith("/admin/login/")


def test_every_action_has_a_row(boss):
    request = RequestFactory().get("/", {"status__exact": "unknown"})
    request.user = boss
    offered = {name: set(each.get_actions(request)) for name, each in our_admins().items()}
    assert {name: actions for name, actions in offered.items() if actions} == {
        model: set(actions) for model, actions in ACTIONS.items()
    }


@pytest.mark.parametrize("model", ACTIONS)
def test_actions(model, desk, clients):
    """Keys of somebody else's objects in a POST are none of the list that the action gets."""
    before = desks.state()
    results = {name: posted_by(clients, *chosen(model, name, desk), before) for name in ACTIONS[model]}
    assert results == {name: act.post for name, act in ACTIONS[model].items()}


@pytest.mark.parametrize("model", [Mailing, Message, Signature, Image, EmailAccount])
def test_autocompletes(model, desk, clients):
    """Whatever foreign key leads to `model`, of any app, offers to others nothing of Alice's."""
    own = {str(key) for key in model.objects.values_list("pk", flat=True)}
    for field in (field for each in apps.get_models() for field in each._meta.get_fields()):
        if not (isinstance(field, ForeignKey) and field.related_model is model):
            continue
        meta = field.model._meta
        query = {"app_label": meta.app_label, "model_name": meta.model_name, "field_name": field.name}
        alice, bob, carol, clerk, boss = [each.get(reverse("admin:autocomplete"), query) for each in clients]
        offered = [{row["id"] for row in answer.json()["results"]} for answer in (alice, bob, carol, boss)]
        assert (offered, clerk.status_code) == ([own, set(), own, own], 403), field


def test_inlines(desk, alice):
    """Attachments are the one inline. Who may change a message but not add attachments adds none."""
    inlines = {name: [each.model._meta.model_name for each in found.inlines] for name, found in our_admins().items()}
    assert {name: found for name, found in inlines.items() if found} == {"massmail_message": ["attachment"]}
    files = {"attachments-TOTAL_FORMS": "1", "attachments-INITIAL_FORMS": "0"}
    client = client_of(alice)

    def attached() -> int:
        data = form("unused")(desk) | files | {"attachments-0-upload": desks.pdf()}
        client.post(url(desk["unused"], "change"), data)
        return int(desk["unused"].attachments.count())

    for group in alice.groups.all():
        group.permissions.remove(Permission.objects.get(codename="add_attachment"))
    assert attached() == 0
    alice.user_permissions.add(Permission.objects.get(codename="add_attachment"))
    assert attached() == 1


# Requests that nobody's browser makes by itself --------------------------------------------------------------------


def test_t15_nothing_is_posted_without_the_token(desk, boss):
    client, before = client_of(boss, enforce_csrf_checks=True), desks.state()
    assert {posted(client, address, data, before) for _name, address, data in posts(desk)} == {"403"}


EVIL = "https://evil.example/"


def test_t17_no_page_leads_elsewhere(desk, boss):
    """Whatever a link says about where to go next, only the provider of OAuth2 is another host."""
    client = client_of(boss)
    asked = dict.fromkeys(("next", "_changelist_filters", "redirect_to", "return", "url"), EVIL)
    for _name, address, data in posts(desk):
        with undone():
            response = client.post(address + ("&" if "?" in address else "?") + urlencode(asked), data | asked)
        host = urlsplit(response.headers.get("Location", "")).netloc
        assert host == ("127.0.0.1:9" if "/connect/" in address else ""), address


def test_t17_popups_give_away_no_other_field(desk, alice):
    for model in (Mailing, Message, Signature, Image, EmailAccount):
        for query in ("_to_field=owner__password", "_popup=1&_to_field=smtp_password"):
            assert client_of(alice).get(f"{url(model, 'changelist')}?{query}").status_code == 400


#: What somebody might slip into the form of each thing, and what is in no form.
SLIPPED = {
    "mailing": {"status": "done", "total": 1, "type": "crm.lead", "version": 1},
    "unused": {"checked": "x"} | NO_FILES,
    "signature": {},
    "image": {"shared": "on", "mime_type": "text/html", "file": "../../secret"},
    "office": {"hold_reason": "", "held_until": "2030-01-01", "oauth_refresh_token": "x", "smtp_password": "x"},
}


@pytest.mark.parametrize("thing", SLIPPED)
@pytest.mark.parametrize("person", ["alice", "boss"])
def test_t19_owner_and_status_are_not_to_be_posted(thing, person, desk, bob, request):
    before = {name: getattr(desk[thing], name) for name in ("owner_id", *SLIPPED[thing]) if hasattr(desk[thing], name)}
    data = form(thing, owner=bob.pk, **SLIPPED[thing])(desk)
    response = client_of(request.getfixturevalue(person)).post(url(desk[thing], "change"), data)
    assert response.status_code == 302
    found = type(desk[thing]).objects.get(pk=desk[thing].pk)
    assert {name: getattr(found, name) for name in before} == before


@pytest.mark.parametrize("model", [Message, Signature, Image, EmailAccount])
def test_t19_what_a_manager_adds_is_the_managers_own(model, desk, alice, bob):
    name = f"massmail_{model._meta.model_name}"
    row = ROWS[name]["add"]
    data = row.data(desk) | {"owner": alice.pk, "shared": "on"}
    assert client_of(bob).post(row.address(f"{name}_add", desk), data).status_code == 302
    assert model.objects.latest("pk").owner == bob


@pytest.mark.parametrize(("model", "page"), [("massmail_mailing", "create"), ("massmail_emailaccount", "copy")])
def test_t19_what_is_made_of_filters_and_copies_is_the_makers_own(model, page, desk, alice, bob):
    row, maker = ROWS[model][page], alice if page == "copy" else bob
    data = row.data(desk) | {"owner": (bob if maker == alice else alice).pk}
    assert client_of(maker).post(row.address(f"{model}_{page}", desk), data).status_code == 302
    made: Any = Mailing if page == "create" else EmailAccount
    assert made.objects.latest("pk").owner == maker
