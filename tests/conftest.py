"""People and servers that every test may ask for.

`alice`, `bob` and `eve` are sales managers, `carol` is their chief and sees everything, `boss` is the administrator.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack
from typing import Any, NoReturn

import pytest
from django.contrib.auth.models import Group, Permission
from django.core.management import call_command
from django.db import connection

from massmail.management.commands.massmail_setup import GROUP
from tests import servers
from tests.nameserver import NameServer


def unavailable(what: str) -> NoReturn:
    """Skip the running test because `what` is missing, or fail it where nothing may be missing (`.ci/run`)."""
    if os.environ.get("MASSMAIL_REQUIRE_SERVICES") == "1":
        pytest.fail(what)
    pytest.skip(what)


def pytest_runtest_setup(item: pytest.Item) -> None:
    needs_postgres = item.get_closest_marker("postgres") and "postgres_url" not in getattr(item, "fixturenames", ())
    if needs_postgres and connection.vendor != "postgresql":
        unavailable("Runs on PostgreSQL: python -m tests.servers pytest")


def _serve(server: Callable[[], AbstractContextManager[str]]) -> Iterator[str]:
    with ExitStack() as stack:
        try:
            url = stack.enter_context(server())
        except servers.Unavailable as error:
            unavailable(str(error))
        yield url


@pytest.fixture(scope="session")
def postgres_url() -> Iterator[str]:
    """The URL of a private PostgreSQL server. The database it names does not exist yet."""
    yield from _serve(servers.postgres)


@pytest.fixture(scope="session")
def redis_url() -> Iterator[str]:
    """The URL of a private, empty Redis server."""
    yield from _serve(servers.redis)


@pytest.fixture
def process_env(transactional_db: None) -> dict[str, str]:
    """The environment for a process that works on this test's own database (`tests.settings`)."""
    settings = connection.settings_dict
    env = os.environ | {"DJANGO_SETTINGS_MODULE": "tests.settings"}
    if connection.vendor == "sqlite":
        return env | {"TEST_DATABASE_FILE": str(settings["NAME"])}
    login = settings["USER"] + (f":{settings['PASSWORD']}" if settings["PASSWORD"] else "")
    return env | {"DATABASE_URL": f"postgres://{login}@{settings['HOST']}:{settings['PORT']}/{settings['NAME']}"}


@pytest.fixture
def managers(db: None) -> Group:
    """The managers' group, with the rights that a CRM gives its sales managers besides."""
    call_command("massmail_setup", verbosity=0)
    group = Group.objects.get(name=GROUP)
    customers = Permission.objects.filter(
        content_type__app_label="crm",
        content_type__model__in=["contact", "company", "lead", "request", "deal"],
        codename__regex="^(add|change|view)_",
    )
    group.permissions.add(*customers)
    return group


@pytest.fixture
def names(settings: Any) -> Iterator[NameServer]:
    """A name server that the app asks in this test; it knows nobody until it is given `zones`."""
    with NameServer({}) as running:
        settings.MASSMAIL_DNS_SERVERS = [f"127.0.0.1:{running.port}"]
        yield running


def _person(django_user_model: Any, name: str, **more: Any) -> Any:
    return django_user_model.objects.create_user(name, f"{name}@acme.example", name, **more)


def _manager(django_user_model: Any, name: str, group: Group) -> Any:
    user = _person(django_user_model, name, is_staff=True)
    user.groups.add(group)
    return user


@pytest.fixture
def alice(django_user_model: Any, managers: Group) -> Any:
    return _manager(django_user_model, "alice", managers)


@pytest.fixture
def bob(django_user_model: Any, managers: Group) -> Any:
    return _manager(django_user_model, "bob", managers)


@pytest.fixture
def eve(django_user_model: Any, managers: Group) -> Any:
    return _manager(django_user_model, "eve", managers)


@pytest.fixture
def carol(django_user_model: Any, managers: Group) -> Any:
    """A chief: a manager who may also look at the work of all others."""
    user = _manager(django_user_model, "carol", managers)
    user.user_permissions.add(Permission.objects.get(codename="view_all", content_type__app_label="massmail"))
    return user


@pytest.fixture
def boss(django_user_model: Any, db: None) -> Any:
    return _person(django_user_model, "boss", is_staff=True, is_superuser=True)
