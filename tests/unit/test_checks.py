from __future__ import annotations

import re
from copy import deepcopy
from pathlib import Path

import pytest
from django.conf import settings as django_settings
from django.contrib import admin
from django.core.checks import run_checks
from django.db import connections
from django.urls import path

from example_project.crm.models import Deal
from massmail.conf import DEFAULTS
from massmail.conversations import ConversationType
from massmail.recipient_types import RecipientType

ROOT = Path(__file__).resolve().parents[2]
KEY = "ZXhhbXBsZS1vbmx5LWtleS0tbWFrZS15b3VyLW93biE="
TYPES = "tests.unit.test_checks."

urlpatterns = [path("elsewhere/", lambda request: None)]


class Leads(RecipientType):
    model = "crm.Lead"


class OtherLeads(RecipientType):
    model = "crm.Lead"


class NoSuchModel(RecipientType):
    model = "crm.Prospect"


class NoModel(RecipientType):
    pass


class WrongFields(RecipientType):
    model = "crm.Contact"
    email = "mail"
    owner = "company__boss"
    subscribed = "company__massmail"


class NotAType:
    pass


class Deals(ConversationType):
    model = "crm.Deal"
    continues = "request"


class WrongDeals(ConversationType):
    model = "crm.Deal"
    owner = "boss"
    continues = "amount"

    def create_lead(self, incoming):
        return None


class NoSuchConversations(ConversationType):
    model = "crm.Ticket"


def ids(*, deploy: bool = False) -> list[str]:
    messages = run_checks(tags=["massmail"], include_deployment_checks=deploy)
    return sorted(message.id.removeprefix("massmail.") for message in messages)


def text_of(check_id: str, *, deploy: bool = False) -> str:
    messages = run_checks(tags=["massmail"], include_deployment_checks=deploy)
    return "\n".join(message.msg for message in messages if message.id == f"massmail.{check_id}")


@pytest.fixture(autouse=True)
def options(monkeypatch):
    """The options of an SQLite database, whatever these tests run on: the checks only read them."""
    monkeypatch.setattr(connections["default"], "vendor", "sqlite")
    database = connections["default"]
    monkeypatch.setattr(database, "settings_dict", deepcopy(database.settings_dict))
    good = {"transaction_mode": "IMMEDIATE", "timeout": 20, "init_command": "PRAGMA journal_mode=WAL;"}
    connections["default"].settings_dict["OPTIONS"] = good
    return good


CLIENT = {"client_id": "id"}
OWN = CLIENT | {"authorize_url": "https://id.example/a", "token_url": "https://id.example/t", "scopes": ["mail"]}


@pytest.mark.parametrize(
    "table",
    [
        {},
        {"google": CLIENT, "microsoft": CLIENT | {"client_secret": "s", "label": "Office"}},
        {"own-id_2": OWN | {"extra": {"prompt": "consent"}}, "here": OWN | {"token_url": "http://127.0.0.1:8080/t"}},
    ],
)
def test_oauth_providers__good(table, settings):
    settings.MASSMAIL_OAUTH_PROVIDERS = table
    assert ids() == []


@pytest.mark.parametrize(
    ("table", "words"),
    [
        (["google"], "must be a dictionary"),
        ({"google": "id"}, "['google'] must be a dictionary of options"),
        ({"google": {"client_secret": "s"}}, "['google'] lacks client_id."),
        ({"google": {"client_id": ""}}, "lacks client_id."),
        ({"acme": CLIENT}, "['acme'] lacks authorize_url, token_url, scopes."),
        ({"google": CLIENT | {"clientsecret": "s"}}, "unknown options: clientsecret."),
        ({"google": {"client_id": 7}}, "client_id must be a text."),
        ({"acme": OWN | {"scopes": "mail openid"}}, "scopes must be a list of texts."),
        ({"acme": OWN | {"extra": ["prompt"]}}, "extra must be a dictionary"),
        ({"acme": OWN | {"token_url": "http://id.example/t"}}, "token_url must begin with https://"),
        ({"acme": OWN | {"authorize_url": "http://id.example/a"}}, "authorize_url must begin with https://"),
        ({"acme": OWN | {"token_url": "ftp://localhost/t"}}, "token_url must begin with https://"),
        ({"acme": OWN | {"token_url": "https:///t"}}, "token_url must begin with https://"),
        ({"acme": OWN | {"token_url": "https://[id.example"}}, "token_url must begin with https://"),
        ({"our id": OWN}, "['our id']: a name has up to 50 letters"),
        ({"x" * 51: OWN}, "a name has up to 50 letters"),
    ],
)
def test_oauth_providers__wrong(table, words, settings):
    settings.MASSMAIL_OAUTH_PROVIDERS = table
    assert ids() == ["E014"]
    assert words in text_of("E014")


def test_oauth_providers__each_problem_is_said_and_no_secret(settings):
    secret = "canary-client-secret"
    settings.MASSMAIL_OAUTH_PROVIDERS = {"google": {"client_secret": secret}, "acme": {"client_secret": [secret]}}
    assert ids() == ["E014"] * 3
    assert secret not in text_of("E014")


def test_nothing_to_complain_about():
    assert ids(deploy=True) == []


def test_unknown_name(settings):
    settings.MASSMAIL_PUBLIC_ULR = "https://news.example.com"
    assert ids() == ["W001"]
    assert "MASSMAIL_PUBLIC_ULR" in text_of("W001")


@pytest.mark.parametrize("name", ["NoSuchClass", "NoSuchModel", "NoModel", "NotAType"])
def test_recipient_type_unusable(settings, name):
    settings.MASSMAIL_RECIPIENT_TYPES = [TYPES + name]
    assert ids() == ["E001"]
    assert name in text_of("E001")


def test_recipient_types_as_text(settings):
    settings.MASSMAIL_RECIPIENT_TYPES = TYPES + "Leads"
    assert ids() == ["E001"]


def test_recipient_type_with_wrong_fields(settings):
    settings.MASSMAIL_RECIPIENT_TYPES = [TYPES + "WrongFields"]
    assert ids() == ["E002"] * 3
    assert "'mail'" in text_of("E002")
    assert "'company__boss'" in text_of("E002")
    assert "'company__massmail'" in text_of("E002")


def test_two_types_for_one_model(settings):
    settings.MASSMAIL_RECIPIENT_TYPES = [TYPES + "Leads", TYPES + "OtherLeads"]
    assert ids() == ["E003"]


def test_no_recipient_types(settings):
    settings.MASSMAIL_RECIPIENT_TYPES = []
    assert ids() == ["W002"]


@pytest.mark.parametrize("bad", ["", "short", "not base64 at all, not at all, not at a", KEY.encode(), None])
def test_malformed_key_is_named_but_not_shown(settings, bad):
    settings.MASSMAIL_FIELD_KEYS = [KEY, bad]
    assert ids() == ["E004"]
    assert text_of("E004") == "MASSMAIL_FIELD_KEYS[1] is not a key."


def test_keys_as_text(settings):
    settings.MASSMAIL_FIELD_KEYS = KEY
    assert ids() == ["E004"]


def test_no_keys(settings):
    settings.MASSMAIL_FIELD_KEYS = []
    assert ids() == []
    assert ids(deploy=True) == ["W003"]


def test_no_public_url(settings):
    settings.MASSMAIL_PUBLIC_URL = ""
    assert ids(deploy=True) == ["W004"]


@pytest.mark.parametrize(
    "url",
    [
        "news.example.com",
        "//news.example.com",
        "ftp://news.example.com",
        "https://",
        "https://news.example.com?",
        "https://news.example.com/?lang=en",
        "https://news.example.com/#top",
        "https://news.example.com//",
        "https://news example.com",
        "https://news.example.com:port",
        "https://user:secret@news.example.com",
    ],
)
def test_malformed_public_url(settings, url):
    settings.MASSMAIL_PUBLIC_URL = url
    assert "E005" in ids()


@pytest.mark.parametrize("url", ["https://news.example.com/", "https://news.example.com/crm", "https://[::1]:8443"])
def test_good_public_url(settings, url):
    settings.MASSMAIL_PUBLIC_URL = url
    assert ids(deploy=True) == []


def test_public_url_without_tls(settings):
    settings.MASSMAIL_PUBLIC_URL = "http://127.0.0.1:8000"
    assert ids() == []
    assert ids(deploy=True) == ["W005"]


def test_urls_not_included(settings):
    settings.ROOT_URLCONF = "tests.unit.test_checks"
    assert ids() == ["E006"]


def test_no_urls_at_all(settings):
    settings.ROOT_URLCONF = None
    assert ids() == ["E006"]


@pytest.mark.parametrize(("length", "found"), [(40, []), (41, ["W006"])])
def test_unsubscribe_link_too_long(settings, length, found):
    # What is left of 77 characters for the host: the rest is /massmail/u/, 22 characters, a position, a slash.
    settings.MASSMAIL_PUBLIC_URL = "https://" + "n" * (length - len("https://"))
    assert ids() == found


@pytest.mark.parametrize("path", ["django.forms.Nothing", "tests.unit.test_checks.NotAType"])
def test_body_widget_not_usable(path, settings):
    settings.MASSMAIL_BODY_WIDGET = path
    assert ids() == ["E009"]


def test_body_widget(settings):
    settings.MASSMAIL_BODY_WIDGET = "django.forms.Textarea"
    assert ids() == []


def test_transport_not_importable(settings):
    settings.MASSMAIL_TRANSPORT = "massmail.transport.smtp.Pigeon"
    assert ids() == ["E007"]


@pytest.mark.parametrize(
    ("name", "value", "found"),
    [
        ("transaction_mode", None, "W007"),
        ("transaction_mode", "DEFERRED", "W007"),
        ("init_command", "", "W008"),
        ("init_command", "PRAGMA journal_mode=DELETE", "W008"),
        ("timeout", None, "W009"),
        ("timeout", 5, "W009"),
    ],
)
def test_sqlite_options(options, name, value, found):
    options[name] = value
    assert ids() == [found]
    assert name in next(message.hint for message in run_checks(tags=["massmail"]))


def test_sqlite_with_django_defaults():
    connections["default"].settings_dict["OPTIONS"] = {}
    assert ids() == ["W007", "W008", "W009"]


def test_sqlite_options_do_not_matter_to_postgresql(monkeypatch):
    monkeypatch.setattr(connections["default"], "vendor", "postgresql")
    connections["default"].settings_dict["OPTIONS"] = {}
    assert ids() == []


def test_no_beat(settings):
    settings.INSTALLED_APPS = [app for app in django_settings.INSTALLED_APPS if app != "django_celery_beat"]
    assert ids() == ["W010"]


@pytest.mark.parametrize("names", [["NotAType"], ["NoSuchConversations"], ["NoSuchClass"], ["Deals", "Deals"]])
def test_conversation_type_unusable(settings, names):
    settings.MASSMAIL_CONVERSATIONS = [TYPES + name for name in names]
    assert ids() == ["E010"]


def test_conversations_as_text(settings):
    settings.MASSMAIL_CONVERSATIONS = TYPES + "Deals"
    assert ids() == ["E010"]


def test_conversation_type_with_wrong_names(settings):
    settings.MASSMAIL_CONVERSATIONS = [TYPES + "WrongDeals"]
    assert ids() == ["E011"] * 3
    assert "'boss'" in text_of("E011")
    assert "'amount'" in text_of("E011")


def test_mixin_needs_a_conversation_type(settings):
    settings.MASSMAIL_CONVERSATIONS = []
    found = [message.id for message in admin.site._registry[Deal].check()]
    assert found == ["massmail.E012"]


def test_documents_list_every_check():
    code = "".join(path.read_text() for path in (ROOT / "massmail").rglob("*.py"))
    used = set(re.findall(r'"massmail\.([EW]\d{3})"', code))
    listed = re.findall(r"^\| `massmail\.([EW]\d{3})`", (ROOT / "docs/checks.md").read_text(), re.MULTILINE)
    assert len(used) == 24
    assert sorted(used) == sorted(listed)


def test_documents_list_every_setting_with_its_default():
    rows = re.findall(r"^\| `(MASSMAIL_\w+)` \| `(.+?)` \|", (ROOT / "docs/settings.md").read_text(), re.MULTILINE)
    as_written = {
        name: str(default) if not isinstance(default, str) else f'"{default}"' for name, default in DEFAULTS.items()
    }
    assert dict(rows) == as_written
    assert len(rows) == len(DEFAULTS)


@pytest.mark.parametrize("servers", ["192.0.2.53", ["dns.acme.example"], ["192.0.2.53:0"], ["192.0.2.53:x"], [53]])
def test_dns_servers(settings, servers):
    settings.MASSMAIL_DNS_SERVERS = servers
    assert ids() == ["E013"]
