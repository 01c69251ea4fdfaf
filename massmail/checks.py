"""System checks; their ids are permanent and explained in `docs/checks.md`. They touch neither network nor database."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Any
from urllib.parse import urlsplit

from cryptography.fernet import Fernet
from django.apps import AppConfig, apps
from django.conf import settings
from django.core.checks import CheckMessage, Error, Warning, register
from django.db import connections, router
from django.forms import Widget
from django.urls import NoReverseMatch
from django.utils.module_loading import import_string

from massmail import conversations
from massmail.conf import conf, unknown_settings
from massmail.connecting.providers import problems as oauth_problems
from massmail.deliverability import make_resolver
from massmail.models import Delivery
from massmail.recipient_types import RecipientType, problems
from massmail.tokens import LONGEST_LINK, new_token, unsubscribe_link

#: Seconds a process should wait for another's transaction on SQLite.
SQLITE_TIMEOUT = 10
SQLITE_IDS = ("massmail.W007", "massmail.W008", "massmail.W009")


@register("massmail")
def check_names(app_configs: Sequence[AppConfig] | None, **kwargs: Any) -> list[CheckMessage]:
    return [
        Warning(
            f"{name} is not a setting of massmail.",
            hint="It has no effect: look for a slip of the pen.",
            id="massmail.W001",
        )
        for name in unknown_settings()
    ]


@register("massmail")
def check_recipient_types(app_configs: Sequence[AppConfig] | None, **kwargs: Any) -> list[CheckMessage]:
    paths = conf.recipient_types
    if isinstance(paths, str):
        return [Error("MASSMAIL_RECIPIENT_TYPES must be a list of dotted paths, not a text.", id="massmail.E001")]
    if not paths:
        return [
            Warning(
                "MASSMAIL_RECIPIENT_TYPES is empty: there is nobody to mail to.",
                hint="Write a subclass of massmail.recipient_types.RecipientType for each model of customers.",
                id="massmail.W002",
            )
        ]
    return list(_recipient_type_problems(paths))


def _recipient_type_problems(paths: Sequence[str]) -> Iterator[CheckMessage]:
    seen: set[type] = set()
    for path in paths:
        try:
            recipient_type = _recipient_type(path)
            model = recipient_type.model_class
        except (ImportError, TypeError, LookupError, ValueError, AttributeError) as error:
            yield Error(f"MASSMAIL_RECIPIENT_TYPES: {path!r} can't be used: {error}", id="massmail.E001")
            continue
        if model in seen:
            yield Error(f"MASSMAIL_RECIPIENT_TYPES names two types for {model._meta.label}.", id="massmail.E003")
        seen.add(model)
        for problem in problems(recipient_type):
            yield Error(f"{path}: {problem}", id="massmail.E002")


def _recipient_type(path: str) -> RecipientType:
    found = import_string(path)
    if not (isinstance(found, type) and issubclass(found, RecipientType)):
        raise TypeError("it is not a subclass of massmail.recipient_types.RecipientType.")
    return found()


@register("massmail")
def check_conversations(app_configs: Sequence[AppConfig] | None, **kwargs: Any) -> list[CheckMessage]:
    if isinstance(conf.conversations, str):
        return [Error("MASSMAIL_CONVERSATIONS must be a list of dotted paths, not a text.", id="massmail.E010")]
    found: list[CheckMessage] = []
    seen: set[type] = set()
    for path in conf.conversations:
        try:
            conversation_type = import_string(path)()
            if not isinstance(conversation_type, conversations.ConversationType):
                raise TypeError("it is not a subclass of massmail.conversations.ConversationType.")
            model = conversation_type.model_class
            _lead = conversation_type.lead_class
        except (ImportError, TypeError, LookupError, ValueError, AttributeError) as error:
            found.append(Error(f"MASSMAIL_CONVERSATIONS: {path!r} can't be used: {error}", id="massmail.E010"))
            continue
        if model in seen:
            text = f"MASSMAIL_CONVERSATIONS names two types for {model._meta.label}."
            found.append(Error(text, id="massmail.E010"))
        seen.add(model)
        found += [Error(f"{path}: {each}", id="massmail.E011") for each in conversations.problems(conversation_type)]
    return found


@register("massmail")
def check_keys(app_configs: Sequence[AppConfig] | None, **kwargs: Any) -> list[CheckMessage]:
    keys = conf.field_keys
    if isinstance(keys, str):
        return [Error("MASSMAIL_FIELD_KEYS must be a list of keys, newest first, not a text.", id="massmail.E004")]
    return [
        # The key itself is not shown: it is a secret even where it is no good.
        Error(
            f"MASSMAIL_FIELD_KEYS[{index}] is not a key.",
            hint="A key is 32 random bytes in URL-safe base64, as cryptography.fernet.Fernet.generate_key() makes it.",
            id="massmail.E004",
        )
        for index, key in enumerate(keys)
        if not _is_key(key)
    ]


def _is_key(key: Any) -> bool:
    try:
        Fernet(key)
    except (ValueError, TypeError):
        return False
    # `massmail.fields` encodes the keys, so bytes would not do.
    return isinstance(key, str)


@register("massmail", deploy=True)
def check_keys_are_own(app_configs: Sequence[AppConfig] | None, **kwargs: Any) -> list[CheckMessage]:
    if conf.field_keys:
        return []
    return [
        Warning(
            "MASSMAIL_FIELD_KEYS is empty: the accounts' passwords are encrypted with a key derived from SECRET_KEY.",
            hint="Set keys of their own, so that changing SECRET_KEY does not lose the passwords.",
            id="massmail.W003",
        )
    ]


@register("massmail")
def check_public_url(app_configs: Sequence[AppConfig] | None, **kwargs: Any) -> list[CheckMessage]:
    url = conf.public_url
    if not url:
        return [
            Warning(
                "MASSMAIL_PUBLIC_URL is empty: no mailing can start.",
                hint="Set it to the address of the unsubscribe links, such as https://news.acme.example.",
                id="massmail.W004",
            )
        ]
    if not _is_base(url):
        return [
            Error(
                f"MASSMAIL_PUBLIC_URL = {url!r} is not the beginning of a web address.",
                hint="It has a scheme and a host, and neither query nor fragment: https://news.acme.example.",
                id="massmail.E005",
            )
        ]
    return []


def _is_base(url: str) -> bool:
    """Tell whether an address is got by adding a path to `url`."""
    try:
        parts = urlsplit(url)
        parts.port  # noqa: B018  raises ValueError for a bad one
    except ValueError:
        return False
    tidy = not re.search(r"[\s?#]", url) and "//" not in parts.path
    return tidy and parts.scheme in ("http", "https") and bool(parts.hostname) and parts.username is None


@register("massmail", deploy=True)
def check_public_url_is_https(app_configs: Sequence[AppConfig] | None, **kwargs: Any) -> list[CheckMessage]:
    if not conf.public_url or conf.public_url.startswith("https://"):
        return []
    return [
        Warning(
            "MASSMAIL_PUBLIC_URL does not begin with https://: mail programs will offer no one-click unsubscribe.",
            hint="RFC 8058 asks for an https address.",
            id="massmail.W005",
        )
    ]


@register("massmail")
def check_urls(app_configs: Sequence[AppConfig] | None, **kwargs: Any) -> list[CheckMessage]:
    try:
        if not getattr(settings, "ROOT_URLCONF", None):
            raise NoReverseMatch
        # The longest that is common: an object's tenth address.
        link = unsubscribe_link(new_token(), 9)
    except NoReverseMatch:
        return [
            Error(
                "The addresses of massmail are not in the URL configuration: no unsubscribe link can be made.",
                hint='Add path("massmail/", include("massmail.urls")) to the urlpatterns.',
                id="massmail.E006",
            )
        ]
    if len(link) <= LONGEST_LINK:
        return []
    return [
        Warning(
            f"An unsubscribe link has {len(link)} characters; over {LONGEST_LINK}, one-click unsubscribe may not work.",
            hint="Shorten MASSMAIL_PUBLIC_URL, or the prefix under which massmail.urls is included.",
            id="massmail.W006",
        )
    ]


@register("massmail")
def check_sqlite(app_configs: Sequence[AppConfig] | None, **kwargs: Any) -> list[CheckMessage]:
    """Look at the options of an SQLite database: with Django's defaults, processes lose each other's transactions."""
    connection = connections[router.db_for_write(Delivery)]
    if connection.vendor != "sqlite":
        return []
    options = connection.settings_dict.get("OPTIONS", {})
    mode = str(options.get("transaction_mode", "")).upper()
    pragmas = str(options.get("init_command", ""))
    lacking = {
        '"transaction_mode": "IMMEDIATE"': mode not in ("IMMEDIATE", "EXCLUSIVE"),
        '"init_command": "PRAGMA journal_mode=WAL;"': not re.search(r"journal_mode\s*=\s*wal", pragmas, re.IGNORECASE),
        '"timeout": 20': (options.get("timeout") or 0) < SQLITE_TIMEOUT,
    }
    return [
        Warning(
            "With these options SQLite loses transactions when a worker, a beat and a web server are at work together.",
            hint=f"Add {option} to the OPTIONS of the database.",
            id=check_id,
        )
        for check_id, (option, lacks) in zip(SQLITE_IDS, lacking.items(), strict=True)
        if lacks
    ]


@register("massmail")
def check_beat(app_configs: Sequence[AppConfig] | None, **kwargs: Any) -> list[CheckMessage]:
    if apps.is_installed("django_celery_beat"):
        return []
    return [
        Warning(
            "django_celery_beat is not in INSTALLED_APPS: nothing starts the sending by itself.",
            hint="Add it, run migrate and massmail_setup; or run massmail_run from a timer of your own.",
            id="massmail.W010",
        )
    ]


@register("massmail")
def check_transport(app_configs: Sequence[AppConfig] | None, **kwargs: Any) -> list[CheckMessage]:
    try:
        import_string(conf.transport)
    except ImportError as error:
        return [Error(f"MASSMAIL_TRANSPORT can't be imported: {error}", id="massmail.E007")]
    return []


@register("massmail")
def check_dns_servers(app_configs: Sequence[AppConfig] | None, **kwargs: Any) -> list[CheckMessage]:
    if isinstance(conf.dns_servers, str):
        return [Error("MASSMAIL_DNS_SERVERS must be a list of addresses, not a text.", id="massmail.E013")]
    try:
        make_resolver(conf.dns_servers)
    except (ValueError, AttributeError) as error:
        hint = "Give IP addresses, with a port where it is not 53: 192.0.2.53, 192.0.2.53:5353, [2001:db8::53]:53."
        return [Error(f"MASSMAIL_DNS_SERVERS can't be used: {error}", hint=hint, id="massmail.E013")]
    return []


@register("massmail")
def check_oauth_providers(app_configs: Sequence[AppConfig] | None, **kwargs: Any) -> list[CheckMessage]:
    hint = 'Register the app with the provider: {"google": {"client_id": "…", "client_secret": "…"}}. See settings.md.'
    return [Error(problem, hint=hint, id="massmail.E014") for problem in oauth_problems()]


@register("massmail")
def check_body_widget(app_configs: Sequence[AppConfig] | None, **kwargs: Any) -> list[CheckMessage]:
    if not conf.body_widget:
        return []
    try:
        found = import_string(conf.body_widget)
        if not (isinstance(found, type) and issubclass(found, Widget)):
            raise TypeError("it is not a subclass of django.forms.Widget.")
    except (ImportError, TypeError) as error:
        return [Error(f"MASSMAIL_BODY_WIDGET can't be used: {error}", id="massmail.E009")]
    return []
