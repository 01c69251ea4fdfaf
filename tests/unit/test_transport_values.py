"""The transport's values, the connection without a socket, and the test server's own journal."""

from __future__ import annotations

import re
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from django.test import override_settings

from massmail.choices import Phase, Security
from massmail.exceptions import MassmailConfigurationError
from massmail.transport import Endpoint, Reply, TransportError, connection_class, memory
from massmail.transport.smtp import SMTPConnection
from tests.conversations import CANARY, MESSAGE, deliver, failure
from tests.smtpd import copies, read_journal

# Values


def test_endpoint__repr_hides_the_password() -> None:
    where = Endpoint(host="mx.acme.example", port=587, security=Security.SSL, username="alice", password=CANARY)
    assert CANARY not in repr(where)
    assert "alice" in repr(where)


@pytest.mark.parametrize(
    ("code", "text", "status"),
    [
        (550, "5.1.1 No such user", "5.1.1"),
        (452, "4.2.2 The mailbox is full", "4.2.2"),
        (550, "No such user\n5.1.10 RESOLVER.ADR.RecipientNotFound", "5.1.10"),
        (553, "sorry, that domain isn't in my list (#5.7.1)", "5.7.1"),
        (550, "#5.1.0 Address rejected.", "5.1.0"),
        (550, "4.2.2 Class and code disagree", ""),
        (550, "4.2.2 They disagree\n5.2.2 and now they do not", "5.2.2"),
        (550, "5.1.1.7 is no status", ""),
        (550, "Blocked by filter 5.2.1 for 5.1.1.7", ""),
        (550, "Mailbox unavailable", ""),
        (None, "5.1.1 but no code", ""),
    ],
)
def test_reply__status(code: int | None, text: str, status: str) -> None:
    assert Reply(phase=Phase.RCPT, code=code, text=text).status == status


def test_transport_error__handed_over_only_after_the_dot() -> None:
    doubtful = {phase for phase in Phase if TransportError(Reply(phase=phase, code=None, text="")).handed_over}
    assert doubtful == {Phase.DOT}
    assert not TransportError(Reply(phase=Phase.DOT, code=421, text="4.3.2 Closing")).handed_over


def test_connection_class__is_the_one_of_the_settings() -> None:
    with override_settings(MASSMAIL_TRANSPORT="massmail.transport.smtp.SMTPConnection"):
        assert connection_class() is SMTPConnection
    with override_settings(MASSMAIL_TRANSPORT="massmail.transport.memory.MemoryConnection"):
        assert connection_class() is memory.MemoryConnection
    with override_settings(MASSMAIL_TRANSPORT="nowhere.Connection"), pytest.raises(MassmailConfigurationError):
        connection_class()


# Without a socket


@pytest.fixture
def post_office() -> Iterator[memory.MemoryConnection]:
    memory.clear()
    connection = memory.MemoryConnection(
        Endpoint(host="mx.acme.example", port=587, security=Security.STARTTLS, username="alice", password=CANARY)
    )
    connection.open()
    yield connection
    memory.clear()


def test_memory__keeps_letters(post_office: memory.MemoryConnection) -> None:
    assert deliver(post_office).accepted
    assert memory.outbox == [
        memory.Letter(
            sender="alice@acme.example",
            to="ann@customer.example",
            data=MESSAGE,
            endpoint_host="mx.acme.example",
            username="alice",
        )
    ]


def test_memory__scripted_refusal(post_office: memory.MemoryConnection) -> None:
    refusal = Reply(phase=Phase.RCPT, code=550, text="5.1.1 No such user")
    memory.replies["ann@customer.example"] = refusal
    assert deliver(post_office) == refusal
    assert memory.outbox == []
    assert post_office.usable


@pytest.mark.parametrize(("phase", "kept"), [(Phase.DATA, 0), (Phase.DOT, 1)])
def test_memory__scripted_loss(phase: Phase, kept: int, post_office: memory.MemoryConnection) -> None:
    memory.replies["ann@customer.example"] = TransportError(Reply(phase=phase, code=None, text="gone"))
    assert failure(lambda: deliver(post_office)).handed_over == bool(kept)
    assert not post_office.usable
    assert len(memory.outbox) == kept
    with pytest.raises(RuntimeError):
        deliver(post_office)


def test_memory__refuses_what_smtp_refuses(post_office: memory.MemoryConnection) -> None:
    with pytest.raises(ValueError, match="control character"):
        deliver(post_office, "ann\r\n@customer.example")
    post_office.close()
    assert not post_office.usable


# The server as a process


def test_server_process__writes_a_journal(tmp_path: Path) -> None:
    journal = tmp_path / "mail.jsonl"
    command = [sys.executable, "-m", "tests.smtpd", "--port", "0", "--journal", str(journal), "--user", "alice:secret"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        port = int(re.sub(r"\D", "", process.stdout.readline()))
        login: dict[str, Any] = {"username": "alice", "password": "secret", "clear_text": True}
        where = Endpoint(host="127.0.0.1", port=port, security=Security.NONE, timeout=2, **login)
        for _ in range(2):
            with closing(SMTPConnection(where)) as connection:
                connection.open()
                assert deliver(connection).accepted
                assert deliver(connection, "nouser@customer.example").code == 550
    finally:
        process.terminate()
        process.communicate()
    records = read_journal(journal)
    assert copies(records) == {("<1@acme.example>", "ann@customer.example"): 2}
    assert [record.connection for record in records] == [1, 2]
    assert {(record.sender, record.login, record.secure) for record in records} == {
        ("alice@acme.example", "alice", False)
    }
    assert abs(records[0].at - time.time()) < 60
