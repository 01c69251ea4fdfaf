"""Speaking IMAP with servers that are honest, broken or hostile."""

from __future__ import annotations

import datetime as dt
import time
from contextlib import ExitStack

import pytest

from massmail.choices import Security
from massmail.transport import Endpoint
from massmail.transport.imap import IMAPConnection, MailboxError, OversizeError
from tests import imapd
from tests.certificates import make_certificate

MAIL = b"From: a@b.example\nSubject: x\nMessage-ID: <1@b.example>\n\ntext\n"


def endpoint(world, **more) -> Endpoint:
    values = {
        "host": "127.0.0.1",
        "port": world.port,
        "security": Security.NONE,
        "username": "anna",
        "password": "secret",
        "clear_text": True,
        "trusted": True,
        "timeout": 5.0,
    }
    return Endpoint(**(values | more))


@pytest.fixture
def world():
    with imapd.serve(imapd.Box("INBOX")) as world:
        yield world


@pytest.fixture
def opened():
    """Opens connections, and closes them after the test."""
    with ExitStack() as stack:

        def open_one(world, patience: float = 20, **more) -> IMAPConnection:
            connection = IMAPConnection(endpoint(world, **more), patience=patience)
            stack.callback(connection.close)
            connection.open()
            return connection

        yield open_one


def test_fetch__reads_without_changing_anything(world, opened):
    uid = world.inbox.add(MAIL)
    connection = opened(world)
    folder = connection.examine("INBOX")
    assert (folder.uid_validity, folder.uid_next) == (1, 2)
    [found] = connection.uids_from(1)
    fetched = connection.fetch(found, limit=20)
    assert (fetched.uid, fetched.data, fetched.size) == (uid, b"From: a@b.example\r\nS", len(MAIL) + 5)
    assert fetched.received_at.tzinfo
    connection.close()
    assert world.said(b"EXAMINE") == 1
    assert not world.said(b"SELECT")
    assert world.said(b"BODY.PEEK[]<0.20>") == 1


def test_uids_from__past_the_end_is_nothing_new(world, opened):
    """Servers answer `UID SEARCH UID 5:*` with the last mail although it has a lower number."""
    world.inbox.add(MAIL)
    connection = opened(world)
    connection.examine("INBOX")
    assert connection.uids_from(2) == []


def test_fetch__deleted_in_the_meantime(world, opened):
    connection = opened(world)
    connection.examine("INBOX")
    assert connection.fetch(7, limit=100) is None


@pytest.mark.parametrize("name", ["INBOX.Spam", "Spamverdacht", "[Gmail]/Spam"])
def test_special_folder__by_name_where_the_server_marks_none(name, opened):
    delimiter = "." if "." in name else "/"
    box = imapd.Box(name)
    with imapd.serve(imapd.Box("INBOX"), box) as world:

        def listing(session, line):
            if b"LIST" not in line or delimiter == "/":
                return False
            session.say(b'* LIST () "." "%s"\r\n%s OK done\r\n' % (name.encode(), line.split()[0]))
            return True

        world.fault = listing
        assert opened(world).special_folder(b"\\Junk") == name


def test_special_folder__as_the_server_marks_it(opened):
    boxes = imapd.Box("INBOX"), imapd.Box("Spam"), imapd.Box("Odd", flags=r"\Junk"), imapd.Box("Gone", r"\Noselect")
    with imapd.serve(*boxes) as world:
        connection = opened(world)
        assert connection.special_folder(b"\\Junk") == "Odd"
        assert connection.special_folder(b"\\Sent") == ""


def test_holds__by_message_id(world, opened):
    world.inbox.add(MAIL)
    connection = opened(world)
    connection.examine("INBOX")
    assert connection.holds("<1@b.example>")
    assert not connection.holds("<2@b.example>")


# Logging in -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("capabilities", ["IMAP4rev1 AUTH=PLAIN", "IMAP4rev1"])
def test_open__logs_in_with_what_the_server_offers(world, capabilities, opened):
    world.capabilities = capabilities
    assert opened(world, username='an"na').usable
    assert bool(world.said(b"LOGIN")) == (capabilities == "IMAP4rev1")


def test_open__wrong_password_needs_a_person(world, opened):
    with pytest.raises(MailboxError, match="wrong password") as raised:
        opened(world, password="other")
    assert raised.value.login
    frames = []
    error = raised.value
    while error is not None:
        trace = error.__traceback__
        while trace is not None:
            frames.append(repr(trace.tb_frame.f_locals.get("auth_string", "")))
            trace = trace.tb_next
        error = error.__cause__
    assert "other" not in "".join(frames)


def test_open__too_many_connections_is_for_now(world, opened):
    def fault(session, line):
        if b"AUTHENTICATE" not in line:
            return False
        session.say(line.split()[0] + b" NO [ALERT] Too many simultaneous connections.\r\n")
        return True

    world.fault = fault
    with pytest.raises(MailboxError) as raised:
        opened(world)
    assert not raised.value.login


@pytest.mark.parametrize(
    ("capability", "mechanism"), [("AUTH=XOAUTH2", b"XOAUTH2"), ("AUTH=OAUTHBEARER", b"OAUTHBEARER")]
)
def test_open__token_takes_the_passwords_place(world, capability, mechanism, opened):
    world.capabilities, world.password = f"IMAP4rev1 {capability}", "good-token"
    opened(world, password="", token="good-token")
    assert world.said(b"AUTHENTICATE " + mechanism) == 1


def test_open__no_password_without_tls(world, opened):
    with pytest.raises(MailboxError, match="TLS") as raised:
        opened(world, clear_text=False)
    assert raised.value.login
    assert not world.connections


def test_open__private_addresses_are_refused(world, opened, settings):
    settings.MASSMAIL_CLEAR_TEXT_HOSTS = settings.MASSMAIL_PRIVATE_HOSTS = []
    with pytest.raises(MailboxError, match="private network") as raised:
        opened(world, trusted=False, clear_text=True)
    assert raised.value.login
    assert not world.connections


@pytest.mark.parametrize("security", [Security.SSL, Security.STARTTLS])
@pytest.mark.parametrize("known", [True, False])
def test_open__certificates_are_verified(tmp_path, monkeypatch, security, known, opened):
    certificate = make_certificate(tmp_path, "127.0.0.1")
    if known:
        monkeypatch.setenv("SSL_CERT_FILE", str(certificate.chain))
    with imapd.serve(tls=certificate.server_context(), starttls=security == Security.STARTTLS) as world:
        world.capabilities += " STARTTLS"
        if known:
            assert opened(world, security=security, clear_text=False).usable
        else:
            with pytest.raises(MailboxError, match="certificate") as raised:
                opened(world, security=security, clear_text=False)
            assert raised.value.login
            assert not world.said(b"AUTHENTICATE")


def test_open__preauth_before_starttls_is_no_way_around_it(world, opened):
    world.greeting, world.capabilities = b"* PREAUTH come in\r\n", "IMAP4rev1 STARTTLS"
    with pytest.raises(MailboxError):
        opened(world, security=Security.STARTTLS, clear_text=False)
    assert not world.said(b"AUTHENTICATE")


# Faults ---------------------------------------------------------------------------------------------------------------


def answering(word: bytes, answer: bytes, then_hang_up: bool = False) -> imapd.Fault:
    """Return a fault: lines with `word` get `answer`, in which %t is the tag."""

    def fault(session, line):
        if word not in line:
            return False
        session.say(answer.replace(b"%t", line.split()[0]))
        if then_hang_up:
            raise imapd.HangUp
        return True

    return fault


@pytest.mark.parametrize(
    ("answer", "usable"),
    [
        (b"%t NO not now\r\n", True),
        (b"%t BAD what\r\n", True),
        (b"* BYE gone\r\n", False),
        (b"", False),
        (b"garbage\r\n", False),
        (b"* 1 FETCH (UID 1 BODY[]<0> {abc}\r\n%t OK\r\n", False),
        (b"* 1 FETCH (UID 1 RFC822.SIZE x)\r\n%t OK\r\n", False),
        (b"* 1 FETCH (UID 1 " + b"(" * 50_000 + b"\r\n%t OK\r\n", False),
        (b'* 1 FETCH (UID 1 INTERNALDATE "99-Foo-0000")\r\n%t OK\r\n', False),
        (b"* 1 FETCH (UID 1 BODY[]<0> {" + b"9" * 5000 + b"}\r\n", False),
    ],
)
def test_fetch__broken_answers(world, answer, usable, opened):
    world.inbox.add(MAIL)
    connection = opened(world)
    connection.examine("INBOX")
    world.fault = answering(b"FETCH", answer, then_hang_up=not answer or answer.startswith(b"*"))
    with pytest.raises(MailboxError):
        connection.fetch(1, limit=100)
    assert connection.usable is usable


@pytest.mark.parametrize(
    "answer",
    [
        b"* 1 FETCH (UID 1 BODY[]<0> {8589934592}\r\n",
        b"* 1 FETCH (UID 1 BODY[]<0> {200000}\r\n" + b"x" * 200_000 + b")\r\n%t OK\r\n",
        b"* 1 EXISTS\r\n" * 30_000,
        b"x" * 300_000,
    ],
    ids=["8 GB announced", "more than asked for", "endless responses", "endless line"],
)
def test_fetch__too_much_ends_the_session(world, answer, opened):
    connection = opened(world)
    connection.examine("INBOX")
    world.fault = answering(b"FETCH", answer)
    with pytest.raises(OversizeError):
        connection.fetch(1, limit=1000)
    assert not connection.usable


def test_fetch__silence_and_dripping_end(world, opened):
    """A time-out for each read is not enough: a server may send an octet at a time for ever."""
    connection = opened(world, timeout=0.2)
    connection.examine("INBOX")
    world.fault = lambda session, line: b"FETCH" in line
    with pytest.raises(MailboxError, match="in time"):
        connection.fetch(1, limit=1000)

    def drip(session, line):
        if b"FETCH" not in line:
            return False
        while True:
            session.say(b"x")
            time.sleep(0.02)

    world.fault = None
    connection = opened(world, patience=0.5)
    connection.examine("INBOX")
    world.fault = drip
    with pytest.raises(MailboxError, match="in time"):
        connection.fetch(1, limit=1000)


def test_close__never_raises(world, opened):
    connection = opened(world)
    world.fault = answering(b"LOGOUT", b"* BYE", then_hang_up=True)
    connection.close()
    connection.close()
    with pytest.raises(MailboxError):
        connection.examine("INBOX")


def test_uids_since__a_day(world, opened):
    world.inbox.add(MAIL, dt.datetime(2026, 11, 1, 12, tzinfo=dt.UTC))
    late = world.inbox.add(MAIL, dt.datetime(2026, 11, 3, 12, tzinfo=dt.UTC))
    connection = opened(world)
    connection.examine("INBOX")
    assert connection.uids_since(dt.date(2026, 11, 2)) == [late]
