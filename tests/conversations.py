"""How tests talk to the scripted SMTP server."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from typing import Any

import pytest

from massmail.choices import Security
from massmail.transport import Connection, Endpoint, Reply, TransportError
from massmail.transport.smtp import SMTPConnection
from tests.smtpd import SMTPServer

Serve = Callable[..., SMTPServer]

CANARY = "c4nary-pässword"
MESSAGE = b"Message-ID: <1@acme.example>\r\nSubject: News\r\n\r\nHello\r\n"


def endpoint(server: SMTPServer, **more: Any) -> Endpoint:
    given: dict[str, Any] = {"host": "localhost", "port": server.port, "security": Security.NONE, "timeout": 5.0}
    return Endpoint(**given | more)


@contextmanager
def connected(server: SMTPServer, **more: Any) -> Iterator[SMTPConnection]:
    with closing(SMTPConnection(endpoint(server, **more))) as connection:
        connection.open()
        yield connection


def deliver(connection: Connection, to: str = "ann@customer.example", data: bytes = MESSAGE) -> Reply:
    return connection.deliver(sender="alice@acme.example", to=to, data=data)


def failure(call: Callable[[], object]) -> TransportError:
    with pytest.raises(TransportError) as caught:
        call()
    return caught.value


def failure_of_opening(server: SMTPServer, **more: Any) -> Reply:
    connection = SMTPConnection(endpoint(server, **more))
    error = failure(connection.open)
    assert not error.handed_over
    assert not connection.usable
    return error.reply
