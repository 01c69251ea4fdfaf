"""Accounts connected by OAuth2: the way to the provider and back, fresh tokens, and what may go wrong."""

from __future__ import annotations

import datetime as dt
from concurrent.futures import ThreadPoolExecutor
from urllib.parse import parse_qs, urlsplit

import pytest
from cryptography.fernet import Fernet
from django.db import connection
from django.urls import reverse
from django.utils import timezone

from massmail import connecting
from massmail.admin.oauth import PATIENCE
from massmail.choices import Ending, Phase
from massmail.connecting.tokens import access_token, renew
from massmail.exceptions import MassmailConfigurationError
from massmail.models import EmailAccount
from massmail.outcomes import classify, hold_account
from massmail.transport import TransportError, oauth2
from massmail.transport.imap import MailboxError
from tests import imapd, oauth_server, world
from tests.smtpd import SMTPServer

pytestmark = pytest.mark.django_db


@pytest.fixture
def provider(settings):
    with oauth_server.serving() as server:
        settings.MASSMAIL_OAUTH_PROVIDERS = server.settings()
        yield server


@pytest.fixture
def box(alice):
    return world.account(alice, from_email="alice@acme.example", hold_reason="535 no")


def begin(client, box):
    """Press "Connect" and return the query of the provider's page."""
    answer = client.post(reverse("admin:massmail_emailaccount_connect", args=[box.pk, "acme"]))
    assert answer.status_code == 302
    return {name: values[0] for name, values in parse_qs(urlsplit(answer["Location"]).query).items()}


def come_back(client, **query):
    return client.get(reverse("admin:massmail_emailaccount_oauth_back"), query, follow=True)


def agree(provider, query, mailbox="alice@acme.example"):
    provider.codes["the-code"] = (mailbox, query["code_challenge"])
    return {"state": query["state"], "code": "the-code"}


@pytest.fixture
def client(client, alice):
    client.force_login(alice)
    return client


def connected(box, *, expires=dt.timedelta(hours=1)):
    box.oauth_provider, box.oauth_access_token, box.oauth_refresh_token = "acme", "access-0", "refresh-0"
    box.oauth_expires_at = timezone.now() + expires
    box.save()
    return box


def test_connect__the_whole_way(client, box, provider):
    query = begin(client, box)
    assert query["login_hint"] == "alice@acme.example"
    assert query["code_challenge_method"] == "S256"
    assert query["redirect_uri"].endswith("/massmail/emailaccount/oauth/back/")
    page = come_back(client, **agree(provider, query))
    assert "is connected with Acme ID" in page.content.decode()
    box.refresh_from_db()
    assert (box.oauth_access_token, box.oauth_refresh_token, box.hold_reason) == ("access-1", "refresh-1", "")
    endpoint = connecting.smtp_endpoint(box)
    assert (endpoint.username, endpoint.token, endpoint.password) == ("alice@acme.example", "access-1", "")
    assert provider.asked[0]["redirect_uri"] == query["redirect_uri"]


def test_connect__secrets_are_in_no_address_and_stored_encrypted(client, box, provider):
    query = begin(client, box)
    page = come_back(client, **agree(provider, query))
    for address, _status in page.redirect_chain:
        assert "access-" not in address
        assert "refresh-" not in address
    assert "client-s3cret" not in str(query)
    assert "access-1" not in page.content.decode()
    with connection.cursor() as cursor:
        cursor.execute("SELECT oauth_access_token, oauth_refresh_token FROM massmail_emailaccount")
        assert all(token.startswith("fernet:") for token in cursor.fetchone())


def test_back__a_state_is_good_once(client, box, provider):
    answer = agree(provider, begin(client, box))
    assert come_back(client, **answer).status_code == 200
    provider.codes["the-code"] = ("alice@acme.example", "")
    page = come_back(client, **answer)
    assert page.status_code == 400
    assert "connection that you have begun" in page.content.decode()
    assert len(provider.asked) == 1


@pytest.mark.parametrize("state", [None, "", "made-up"])
def test_back__without_a_state_of_ours(client, box, provider, state):
    begin(client, box)
    assert come_back(client, code="x", **({} if state is None else {"state": state})).status_code == 400
    assert provider.asked == []


def test_back__another_user_in_the_same_browser(client, box, provider, bob):
    answer = agree(provider, begin(client, box))
    journeys = client.session["massmail_oauth"]
    client.force_login(bob)
    session = client.session
    session["massmail_oauth"] = journeys
    session.save()
    assert come_back(client, **answer).status_code == 400
    assert provider.asked == []


def test_back__too_late(client, box, provider, monkeypatch):
    answer = agree(provider, begin(client, box))
    import time

    late = time.time() + PATIENCE + 1
    monkeypatch.setattr("massmail.admin.oauth.time.time", lambda: late)
    assert come_back(client, **answer).status_code == 400


def test_back__the_wrong_mailbox(client, box, provider):
    page = come_back(client, **agree(provider, begin(client, box), mailbox="private@gmail.example"))
    assert "You signed in as private@gmail.example, but this account is alice@acme.example" in page.content.decode()
    box.refresh_from_db()
    assert (box.oauth_provider, box.hold_reason) == ("", "535 no")


@pytest.mark.parametrize("username", ["", "alice@acme.example"])
def test_back__tokens_that_name_no_mailbox(username, client, box, provider):
    EmailAccount.objects.update(smtp_username=username)
    query = begin(client, box)
    provider.raw = (200, b'{"access_token": "a", "refresh_token": "r", "expires_in": 3600}')
    page = come_back(client, state=query["state"], code="x")
    assert "You signed in as a mailbox without a name" in page.content.decode()
    box.refresh_from_db()
    assert box.oauth_provider == ""


def test_back__the_person_said_no(client, box, provider):
    query = begin(client, box)
    page = come_back(client, state=query["state"], error="access_denied", error_description="<b>No</b>")
    assert "did not connect the account: &lt;b&gt;No&lt;/b&gt;" in page.content.decode()
    assert provider.asked == []


def test_back__a_code_of_somebody_else_s_journey(client, box, provider):
    """PKCE: a code that was given for another challenge is worth nothing here."""
    query = begin(client, box)
    provider.codes["the-code"] = ("alice@acme.example", "another challenge")
    page = come_back(client, state=query["state"], code="the-code")
    assert "Token has been expired or revoked" in page.content.decode()
    box.refresh_from_db()
    assert box.oauth_provider == ""


def test_connect__somebody_else_s_account(client, bob, provider):
    foreign = world.account(bob)
    for page, args in [("connect", [foreign.pk, "acme"]), ("disconnect", [foreign.pk])]:
        assert client.post(reverse(f"admin:massmail_emailaccount_{page}", args=args)).status_code == 404
    assert "massmail_oauth" not in client.session


def test_connect__by_post_only_and_with_a_known_provider(client, box, provider):
    url = reverse("admin:massmail_emailaccount_connect", args=[box.pk, "acme"])
    assert client.get(url).status_code == 405
    assert client.post(url.replace("acme", "nobody")).status_code == 404


def test_disconnect(client, box, provider):
    connected(box)
    client.post(reverse("admin:massmail_emailaccount_disconnect", args=[box.pk]))
    box.refresh_from_db()
    assert (box.oauth_provider, box.oauth_access_token, box.oauth_refresh_token) == ("", "", "")


# Fresh tokens


def test_access_token__a_fresh_one_is_used_again(box, provider):
    assert access_token(connected(box)) == "access-0"
    assert provider.asked == []


def test_access_token__an_expired_one_is_refreshed_and_the_rotated_one_kept(box, provider):
    provider.refresh_tokens["refresh-0"] = "alice@acme.example"
    connected(box, expires=dt.timedelta(minutes=1))
    assert access_token(box) == "access-1"
    stored = EmailAccount.objects.get(pk=box.pk)
    assert (stored.oauth_access_token, stored.oauth_refresh_token) == ("access-1", "refresh-1")
    assert not provider.asked[0].get("code")


@pytest.mark.django_db(transaction=True)
def test_access_token__several_workers_refresh_once(box, provider):
    """A rotated refresh token is taken once: the second to ask would lose the account's connection."""
    provider.refresh_tokens["refresh-0"] = "alice@acme.example"
    connected(box, expires=dt.timedelta(minutes=1))

    def work(_number):
        try:
            return access_token(EmailAccount.objects.get(pk=box.pk))
        finally:
            connection.close()

    with ThreadPoolExecutor(4) as pool:
        assert set(pool.map(work, range(4))) == {"access-1"}
    assert len(provider.asked) == 1


@pytest.mark.django_db(transaction=True)
def test_renew__several_lanes_with_the_same_refused_token_renew_it_once(box, provider):
    provider.refresh_tokens["refresh-0"] = "alice@acme.example"
    connected(box)
    lanes = [EmailAccount.objects.get(pk=box.pk) for _number in range(4)]

    def work(account):
        try:
            renew(account, refused="access-0")
            return access_token(account)
        finally:
            connection.close()

    with ThreadPoolExecutor(4) as pool:
        assert set(pool.map(work, lanes)) == {"access-1"}
    assert len(provider.asked) == 1


def test_open_imap__a_token_that_the_server_refuses_is_renewed_once(box, provider):
    provider.refresh_tokens["refresh-0"] = "alice@acme.example"
    connected(box)
    with imapd.serve() as mailbox:
        mailbox.password, mailbox.capabilities = "access-1", "IMAP4rev1 AUTH=XOAUTH2"
        box.imap_host, box.imap_port, box.imap_security = "127.0.0.1", mailbox.port, "none"
        connecting.open_imap(box, timeout=5, patience=20).close()
        assert (mailbox.connections, len(provider.asked)) == (2, 1)
        mailbox.password = "another"
        with pytest.raises(MailboxError, match="refuses the login"):
            connecting.open_imap(box, timeout=5, patience=20)
        assert (mailbox.connections, len(provider.asked)) == (4, 2)


def test_hand_in__a_token_that_the_server_refuses_is_renewed_once(box, provider, settings):
    settings.MASSMAIL_TRANSPORT = "massmail.transport.smtp.SMTPConnection"
    provider.refresh_tokens["refresh-0"] = "alice@acme.example"
    connected(box)
    with SMTPServer(users={"alice@acme.example": "access-1"}, mechanisms=("XOAUTH2",)) as server:
        box.smtp_host, box.smtp_port, box.smtp_security = "127.0.0.1", server.port, "none"
        mail = {"sender": box.from_email, "to": box.from_email, "data": b"Subject: x\r\n\r\nx\r\n"}
        assert connecting.hand_in(box, **mail, patience=10).accepted
    assert len(provider.asked) == 1


def test_access_token__revoked(box, provider):
    with pytest.raises(TransportError) as caught:
        access_token(connected(box, expires=-dt.timedelta(minutes=1)))
    reply = caught.value.reply
    assert (reply.phase, reply.local) == (Phase.AUTH, True)
    assert classify(reply).ending is Ending.ACCOUNT
    assert "expired or revoked" in reply.text


def test_access_token__the_provider_is_down(box, provider):
    provider.down = True
    with pytest.raises(TransportError) as caught:
        access_token(connected(box, expires=-dt.timedelta(minutes=1)))
    assert classify(caught.value.reply).ending is Ending.SERVER


@pytest.mark.parametrize(
    ("status", "answer", "ending"),
    [
        (200, b"<html>Sign in to the hotel</html>", Ending.SERVER),
        (200, b'{"access_token": "a", "expires_in": [1]}', Ending.SERVER),
        (200, b'{"access_token": "a", "expires_in": 1e400}', Ending.SERVER),
        (200, b"[" * 90_000, Ending.SERVER),
        (200, b'{"access_token": "A\\ud800"}', Ending.SERVER),
        (200, b'{"access_token": "A", "refresh_token": "\\u0000"}', Ending.SERVER),
        (400, b"[" * 90_000, Ending.SERVER),
        (429, b'{"error": "too_many"}', Ending.SERVER),
        (400, b'{"error": "temporarily_unavailable"}', Ending.SERVER),
        (401, b'{"error": "invalid_client"}', Ending.ACCOUNT),
        (400, b'{"error": "invalid_grant", "error_description": "refresh-0 is over"}', Ending.ACCOUNT),
        (400, b'{"error": "refresh-0 is over"}', Ending.ACCOUNT),
        (400, b'{"error": "invalid_grant", "error_description": "x\\ud800\\u0000y"}', Ending.ACCOUNT),
    ],
)
def test_access_token__odd_answers(box, provider, status, answer, ending):
    provider.raw = (status, answer)
    with pytest.raises(TransportError) as caught:
        access_token(connected(box, expires=-dt.timedelta(minutes=1)))
    assert classify(caught.value.reply).ending is ending
    assert "refresh-0" not in caught.value.reply.text
    hold_account(box, caught.value.reply.text)  # any database stores it


def test_access_token__that_ran_out_long_ago(box, provider):
    provider.raw = (200, b'{"access_token": "a", "expires_in": -1000000000000}')
    assert access_token(connected(box, expires=-dt.timedelta(minutes=1))) == "a"


def test_access_token__that_comes_in_drops(box, provider, monkeypatch):
    """Each octet comes in time."""
    provider.pause = 0.2
    monkeypatch.setattr(oauth2, "TIMEOUT", 1.0)
    monkeypatch.setattr(oauth2, "PATIENCE", 1.0)
    with pytest.raises(TransportError, match="can't be reached: TimeoutError"):
        access_token(connected(box, expires=-dt.timedelta(minutes=1)))


def test_access_token__that_is_said_to_last_for_ever(box, provider):
    provider.raw = (200, b'{"access_token": "a", "expires_in": 1000000000000}')
    assert access_token(connected(box, expires=-dt.timedelta(minutes=1))) == "a"


def test_access_token__nobody_there(box, provider, settings):
    settings.MASSMAIL_OAUTH_PROVIDERS["acme"]["token_url"] = "http://127.0.0.1:1/token"
    with pytest.raises(TransportError) as caught:
        access_token(connected(box, expires=-dt.timedelta(minutes=1)))
    assert classify(caught.value.reply).ending is Ending.SERVER
    assert "refresh-0" not in str(caught.value)


def test_access_token__the_provider_is_not_in_the_settings_any_more(box, settings):
    settings.MASSMAIL_OAUTH_PROVIDERS = {}
    with pytest.raises(TransportError, match="MASSMAIL_OAUTH_PROVIDERS"):
        access_token(connected(box, expires=-dt.timedelta(minutes=1)))


@pytest.mark.parametrize(
    "secrets", [("smtp_password",), ("imap_password",), ("oauth_refresh_token", "oauth_access_token")]
)
def test_endpoints__a_secret_whose_key_is_gone_is_not_replaced_by_an_empty_one(box, provider, settings, secrets):
    if "smtp_password" not in secrets:
        EmailAccount.objects.update(smtp_password="")
    for name in secrets:
        setattr(box, name, "s3cret")
    box.oauth_provider = "acme" if "oauth_refresh_token" in secrets else ""
    box.save(update_fields=[*secrets, "oauth_provider"])
    settings.MASSMAIL_FIELD_KEYS = [Fernet.generate_key().decode()]
    with pytest.raises(TransportError, match="MASSMAIL_FIELD_KEYS") as caught:
        connecting.imap_endpoint(EmailAccount.objects.get(pk=box.pk))
    assert classify(caught.value.reply).ending is Ending.ACCOUNT
    assert provider.asked == []


# The table of providers


def test_providers__the_big_ones_need_an_id_only(settings):
    settings.MASSMAIL_OAUTH_PROVIDERS = {"google": {"client_id": "a"}, "microsoft": {"client_id": "b"}}
    google, microsoft = connecting.providers()
    assert google.token_url == "https://oauth2.googleapis.com/token"
    assert ("access_type", "offline") in google.extra
    assert "https://outlook.office.com/SMTP.Send" in microsoft.scopes


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"client_secret": "x"}, "lacks client_id"),
        ({"client_id": "x", "token_url": "http://accounts.example/token"}, "https"),
    ],
)
def test_providers__what_is_missing_or_unsafe_is_said(settings, options, words):
    settings.MASSMAIL_OAUTH_PROVIDERS = {"google": options}
    with pytest.raises(MassmailConfigurationError, match=words):
        connecting.providers()


def test_providers__a_wrong_one_does_not_spoil_the_others(settings):
    settings.MASSMAIL_OAUTH_PROVIDERS = {"acme": {}, "google": {"client_id": "a"}}
    assert connecting.find_provider("google").client_id == "a"
    with pytest.raises(MassmailConfigurationError, match="'acme'"):
        connecting.find_provider("acme")
