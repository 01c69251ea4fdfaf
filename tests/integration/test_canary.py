"""Passwords and tokens are found nowhere but encrypted in their columns (threats T35 and T36)."""

from __future__ import annotations

import base64
import io
import logging
import re
from typing import Any

import pytest
from celery.app.task import Task
from cryptography.fernet import Fernet
from django.core.management import CommandError, call_command
from django.test import Client
from django.urls import resolve
from django.utils import timezone

from massmail import connecting, tasks
from massmail.choices import HoldReason
from massmail.engine.checkup import selftest
from massmail.engine.holds import explain
from massmail.fields import SecretField, Undecryptable
from massmail.models import Checkup, EmailAccount
from massmail.transport import TransportError, memory
from massmail.transport.smtp import SMTPConnection
from tests import imapd, world
from tests.adminpages import client_of, submit, url
from tests.domains import HEALTHY
from tests.smtpd import SMTPServer

pytestmark = pytest.mark.django_db

CANARY = "canary-Ω-3e91"
SECRETS = [field.name for field in EmailAccount._meta.concrete_fields if isinstance(field, SecretField)]
LINK = re.compile(r'href="(/admin/[^"#]*)"')


def shows(text: str) -> bool:
    """Tell whether `text` holds the canary, plainly or as logins write it."""
    logins = [f"{before}{CANARY}".encode() for before in ("\0alice\0", "", "user=alice\1auth=Bearer ")]
    # Only whole groups of base64 are the same whatever follows the canary.
    encoded = [base64.b64encode(each[: len(each) // 3 * 3]) for each in logins]
    return CANARY in text or "3e91" in text or any(each.decode() in text for each in encoded)


@pytest.fixture
def box(alice):
    world.settings()
    world.contacts(alice)
    secrets = {name: f"{CANARY}-{name}" for name in SECRETS}
    assert len(secrets) == 4
    return world.account(
        alice, smtp_username="alice", oauth_provider="acme", oauth_expires_at=timezone.now() + world.dt.timedelta(1),
        **secrets,
    )  # fmt: skip


def walk(client: Client) -> dict[str, str]:
    """Return one page of each kind that links of the admin lead to, by the name of its view."""
    pages: dict[str, str] = {}
    waiting = ["/admin/"]
    while waiting:
        address = waiting.pop(0)
        name = resolve(address.partition("?")[0]).view_name
        if name in pages or "logout" in name or not (name == "admin:index" or "massmail" in name):
            continue
        response = client.get(address)
        body = b"".join(response) if response.streaming else response.content
        pages[name] = body.decode()
        waiting += LINK.findall(pages[name].replace("&amp;", "&"))
    return pages


@pytest.mark.parametrize("person", ["alice", "boss"])
def test_pages_exports_and_history(person, request, box, boss, caplog):
    caplog.set_level(logging.DEBUG)
    world.started(box.owner)
    client = client_of(request.getfixturevalue(person))
    data = {"new_smtp_password": CANARY + "-new", "name": "Renamed"}
    assert submit(client, url(box, "change"), **data).status_code == 302
    assert shows(EmailAccount.objects.get().smtp_password)
    pages = walk(client)
    for page in ("change", "history", "changelist", "add", "copy", "deliverability"):
        assert f"admin:massmail_emailaccount_{page}" in pages
    assert "admin:massmail_delivery_export" in pages or any("export" in name for name in pages)
    assert [name for name, body in pages.items() if shows(body)] == []
    assert not shows(caplog.text)
    assert not shows(str(dict(client.session)))


def test_deliverability(box, alice, boss, names, settings, caplog):
    """The page and its buttons, the mail of the sure test, what is kept of it, and the account's health."""
    caplog.set_level(logging.DEBUG)
    names.zones = HEALTHY
    memory.clear()
    with imapd.serve() as imap:
        imap.password = "another"
        server = {"imap_host": "127.0.0.1", "imap_port": imap.port, "imap_security": "none"}
        EmailAccount.objects.update(oauth_provider="", smtp_host="127.0.0.1", **server)
        settings.MASSMAIL_CLEAR_TEXT_HOSTS = ["127.0.0.1"]
        client = client_of(alice)
        for button in ("check", "mail"):
            assert client.post(url(box, f"deliverability_{button}")).status_code == 302
        assert not selftest.look(box.pk, clock=lambda: timezone.now() + world.dt.timedelta(minutes=1))
        assert imap.said(b"AUTHENTICATE") or imap.said(b"LOGIN")
    assert not any(shows(letter.data.decode()) for letter in memory.outbox)
    assert len(memory.outbox) == 1
    assert Checkup.objects.get().test_trouble
    settings.MASSMAIL_CLEAR_TEXT_HOSTS = []
    pages = [client_of(person).get(url(box, page)) for person in (alice, boss) for page in ("deliverability", "change")]
    assert [page.status_code for page in pages] == [200] * 4
    assert not any(shows(page.content.decode()) for page in pages)
    out = io.StringIO()
    call_command("dumpdata", stdout=out)  # all there is: checkups, history, sessions
    assert "massmail.checkup" in out.getvalue()
    assert not shows(out.getvalue())
    assert not shows(caplog.text)


def test_values_in_memory(box, settings):
    account = EmailAccount.objects.get()
    assert not shows(f"{account!r} {account} {vars(account)!r} {EmailAccount.objects.values()!r}")
    assert not shows(repr(connecting.smtp_endpoint(account)) + repr(connecting.imap_endpoint(account)))
    account.oauth_provider = ""
    assert shows(connecting.smtp_endpoint(account).password)
    assert not shows(repr(connecting.smtp_endpoint(account)))


def test_dumpdata(box):
    out = io.StringIO()
    call_command("dumpdata", "massmail", stdout=out)
    assert not shows(out.getvalue())
    assert out.getvalue().count("fernet:") == len(SECRETS)


@pytest.mark.parametrize(
    ("place", "page"),
    [
        ("massmail.admin.accounts.page_context", "change"),
        ("massmail.connecting.trial._failed", "test"),
        ("massmail.admin.deliverability._groups", "deliverability"),
        ("massmail.connecting.handing_in.Thread", "deliverability_mail"),
        ("massmail.admin.deliverability.check_account", "deliverability_check"),
    ],
)
def test_technical_500_pages(place, page, box, alice, monkeypatch, settings):
    """Also with DEBUG, where Django hides nothing by itself."""

    def explode(*args: Any, **kwargs: Any) -> None:
        raise RuntimeError("no disk")

    settings.DEBUG = True
    monkeypatch.setattr("massmail.connecting.trial.Thread", Inline)
    monkeypatch.setattr(place, explode)
    client = client_of(alice, raise_request_exception=False)
    imap_host = "127.0.0.1" if page == "deliverability_mail" else ""
    EmailAccount.objects.update(oauth_provider="", imap_host=imap_host, smtp_host="127.0.0.1", smtp_port=1)
    settings.MASSMAIL_TRANSPORT = "massmail.transport.smtp.SMTPConnection"
    settings.MASSMAIL_CLEAR_TEXT_HOSTS = ["127.0.0.1"]
    ask = client.get if page in ("change", "deliverability") else client.post
    response = ask(url(box, page))
    assert response.status_code == 500
    shown = response.content.decode()
    assert "no disk" in shown
    assert not shows(shown)


class Inline:
    """A thread that is none, so that its errors reach the page."""

    def __init__(self, *, target: Any, args: Any, daemon: bool) -> None:
        self.start = lambda: target(*args)


def test_what_workers_are_told_and_log(box, alice, names, monkeypatch, settings, caplog):
    caplog.set_level(logging.DEBUG)
    settings.MASSMAIL_DNS_CHECKS = True
    told: list[Any] = []
    monkeypatch.setattr(Task, "apply_async", lambda self, *args, **kwargs: told.append((self.name, args, kwargs)))
    settings.MASSMAIL_TRANSPORT = "massmail.transport.smtp.SMTPConnection"
    settings.MASSMAIL_CLEAR_TEXT_HOSTS = ["127.0.0.1"]
    world.started(alice)
    with SMTPServer(users={"alice": "another"}) as smtp, imapd.serve() as imap:
        EmailAccount.objects.update(
            oauth_provider="", smtp_port=smtp.port, imap_host="127.0.0.1", imap_port=imap.port, imap_security="none"
        )
        Checkup.objects.create(
            account=box, test_message_id="<1@x.example>", test_sent_at=timezone.now(), test_look_at=timezone.now()
        )
        tasks.tick()
        tasks.run_lane(box.pk)
        tasks.poll()
        tasks.poll_account(box.pk)
        tasks.check_account(box.pk)
        tasks.look_for_test(box.pk)
        tasks.check_domains()
        assert smtp.connections
        assert imap.connections
    assert {name for name, *_ in told} == {
        "massmail.run_lane", "massmail.poll_account", "massmail.look_for_test", "massmail.check_domains",
        "massmail.check_account",
    }  # fmt: skip
    assert not shows(str(told))
    assert not shows(caplog.text)
    box.refresh_from_db()
    assert "535" in box.hold_reason
    assert not shows(box.hold_reason)


def test_errors_of_the_connection(box):
    EmailAccount.objects.update(oauth_provider="")
    with SMTPServer(users={"alice": "another"}) as smtp:
        EmailAccount.objects.update(smtp_port=smtp.port, smtp_host="localhost")
        connection = SMTPConnection(connecting.smtp_endpoint(EmailAccount.objects.get()))
        with pytest.raises(TransportError) as caught:
            connection.open()
    assert not shows(repr(caught.value) + str(caught.value.reply))


# Keys -----------------------------------------------------------------------------------------------------------------


def test_rotation_of_a_thousand_accounts(alice, settings):
    old, new = Fernet.generate_key().decode(), Fernet.generate_key().decode()
    settings.MASSMAIL_FIELD_KEYS = [old]
    boxes = [EmailAccount(owner=alice, name=str(n), smtp_password=f"p{n}", imap_password=f"i{n}") for n in range(998)]
    lone = EmailAccount(owner=alice, name="connected", oauth_access_token="a", oauth_refresh_token="r")
    EmailAccount.objects.bulk_create([*boxes, lone, EmailAccount(owner=alice, name="without")])
    settings.MASSMAIL_FIELD_KEYS = [new, old]
    call_command("massmail_rotate_keys", stdout=io.StringIO())
    settings.MASSMAIL_FIELD_KEYS = [new]
    passwords = dict(EmailAccount.objects.values_list("name", "smtp_password"))
    assert passwords == {**{str(n): f"p{n}" for n in range(998)}, "connected": "", "without": ""}
    lone.refresh_from_db()
    assert (lone.oauth_access_token, lone.oauth_refresh_token) == ("a", "r")
    settings.MASSMAIL_FIELD_KEYS = [old]
    with pytest.raises(CommandError, match="1998 secrets could not be decrypted"):
        call_command("massmail_rotate_keys", stdout=io.StringIO())


@pytest.mark.parametrize("provider", ["", "acme"])
def test_wrong_key__the_account_holds_and_nobody_is_asked(provider, box, alice, settings):
    EmailAccount.objects.update(oauth_provider=provider)
    world.started(alice)
    key, settings.MASSMAIL_FIELD_KEYS = settings.MASSMAIL_FIELD_KEYS, [Fernet.generate_key().decode()]
    lost = EmailAccount.objects.get()
    assert all(isinstance(getattr(lost, name), Undecryptable) for name in SECRETS)
    hold = explain(lost, now=world.MONDAY)
    assert hold.reason == HoldReason.SECRET_LOST
    assert "MASSMAIL_FIELD_KEYS" in hold.detail
    assert ("Connect the account again" if provider else "Enter the password again") in hold.remedy
    with SMTPServer() as smtp:
        EmailAccount.objects.update(smtp_port=smtp.port)
        tasks.run_lane(lost.pk)
        assert smtp.connections == 0
    settings.MASSMAIL_FIELD_KEYS = key
    assert explain(EmailAccount.objects.get(), now=world.MONDAY).reason != HoldReason.SECRET_LOST
