"""What the outgoing connection writes: addresses, parameters, text."""

from __future__ import annotations

import socket
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from massmail.choices import Phase, Security
from massmail.transport import Endpoint, wire
from massmail.transport.smtp import SMTPConnection
from tests.conversations import MESSAGE, Serve, connected, deliver
from tests.smtpd import SMTPServer

# On the wire


def test_ready__is_not_looked_through_again() -> None:
    text = wire.Ready(b"Subject: News\r\n\r\nHello\r\n")
    assert wire.dot_stuffed(wire.canonical(text)) is text


@pytest.mark.parametrize("text", [b"a\nb\r\n", b"a\rb\r\n", b"a", b".\r\n", b"a\r\n.b\r\n"])
def test_is_ready__no(text: bytes) -> None:
    assert not wire.is_ready(text)
    assert wire.is_ready(b"Subject: a.b\r\n\r\n a.\r\n")


@pytest.mark.parametrize(
    ("address", "written"),
    [
        ("ann@customer.example", "ann@customer.example"),
        ("ann@Bücher.example", "ann@xn--bcher-kva.example"),
        ("ann@straße.example", "ann@xn--strae-oqa.example"),
        ("jörg@customer.example", "jörg@customer.example"),
        ('"a <b> c"@customer.example', '"a <b> c"@customer.example'),
        ("ann@[192.0.2.1]", "ann@[192.0.2.1]"),
    ],
)
def test_envelope_address(address: str, written: str) -> None:
    assert wire.envelope_address(address) == written


@pytest.mark.parametrize(
    "address",
    [
        "ann@customer.example\r\nRCPT TO:<eve@evil.example>",
        "ann\n@customer.example",
        "ann\0@customer.example",
        '"ann\r"@customer.example',
        "ann@customer.example> SIZE=1",
        "ann smith@customer.example",
        '"a"<x>"b"@customer.example',
        "ann\ud800@customer.example",
        "ann@" + "ü" * 64 + ".example",
        "ann",
        "@customer.example",
        "",
    ],
)
def test_envelope_address__refuses_what_would_break_a_command(address: str, serve: Serve) -> None:
    server = serve()
    with connected(server) as connection:
        with pytest.raises(ValueError, match=r"."):
            deliver(connection, address)
        with pytest.raises(ValueError, match=r"."):
            connection.deliver(sender=address, to="ann@customer.example", data=MESSAGE)
        assert deliver(connection).accepted
    assert [command for command in server.commands if command.startswith("RCPT")] == ["RCPT TO:<ann@customer.example>"]


@pytest.mark.parametrize(
    ("host_name", "address", "greeting"),
    [
        ("worker-1.acme.example", "192.0.2.1", "worker-1.acme.example"),
        ("worker-1", "192.0.2.1", "[192.0.2.1]"),
        ("host_with.under_score", "192.0.2.1", "[192.0.2.1]"),
        ("worker-1", "2001:db8::1", "[IPv6:2001:db8::1]"),
        ("worker-1", "fe80::1%eth0", "[IPv6:fe80::1]"),
        ("", "127.0.0.1", "[127.0.0.1]"),
    ],
)
def test_greeting_name(host_name: str, address: str, greeting: str) -> None:
    assert wire.greeting_name(host_name, address) == greeting


def test_open__asks_dns_for_nothing_but_the_server(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    def asked(*args: object) -> None:
        raise AssertionError("DNS was asked for our own name.")

    monkeypatch.setattr(socket, "getfqdn", asked)
    monkeypatch.setattr(socket, "gethostbyname", asked)
    monkeypatch.setattr(socket, "gethostname", lambda: "worker")
    server = serve()
    with connected(server, host="127.0.0.1"):
        assert server.commands == ["ehlo [127.0.0.1]"]


# Messages


def test_deliver__one_message(serve: Serve) -> None:
    server = serve()
    with connected(server) as connection:
        reply = deliver(connection)
        assert (reply.phase, reply.code, reply.status, reply.local) == (Phase.DOT, 250, "2.0.0", False)
    assert not connection.usable
    [record] = server.messages
    assert (record.sender, record.recipients) == ("alice@acme.example", ("ann@customer.example",))
    assert (record.message_id, record.data) == ("<1@acme.example>", MESSAGE)
    assert server.commands[1:] == [
        f"MAIL FROM:<alice@acme.example> SIZE={len(MESSAGE)}",
        "RCPT TO:<ann@customer.example>",
        "DATA",
        "QUIT",
    ]


@pytest.mark.parametrize(
    "text",
    [
        b"a\n.\nb",
        b".\r\n",
        b".",
        b"..",
        b"",
        b"\n",
        b"\r.\r\n",
        b"a\r\r\n.\r\r\nb",
        b"a\r.\rMAIL FROM:<eve@evil.example>\r",
        b"a\n.\r\nb\r\n.\nc",
        b"..a\r\n.b\r\n...\r\n",
        bytes(range(256)),
        b"." * 200_000 + b"\r\n." * 50_000,
    ],
)
def test_deliver__text_arrives_as_it_is(text: bytes, serve: Serve) -> None:
    server = serve()
    with connected(server) as connection:
        assert deliver(connection, data=text).accepted
        assert deliver(connection, data=MESSAGE).accepted
    assert [record.data for record in server.messages] == [normalised(text), MESSAGE]


def normalised(text: bytes) -> bytes:
    """Return `text` in the lines that every server and every reader agrees on."""
    lines = text.replace(b"\r\n", b"\n").replace(b"\r", b"\n").split(b"\n")
    if not lines[-1]:
        lines.pop()
    return b"".join(line + b"\r\n" for line in lines)


@pytest.fixture(scope="module")
def session() -> Iterator[tuple[SMTPServer, SMTPConnection]]:
    with SMTPServer() as server, connected(server) as connection:
        yield server, connection


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(text=st.lists(st.sampled_from([b"\r", b"\n", b".", b"\r\n", b"a", b"\xc3\xbc", b"\0", b"QUIT"])).map(b"".join))
def test_deliver__any_text_arrives_normalised(text: bytes, session: tuple[SMTPServer, SMTPConnection]) -> None:
    server, connection = session
    server.messages.clear()
    assert deliver(connection, data=text).accepted
    assert [record.data for record in server.messages] == [normalised(text)]


def test_deliver__8_bit_text_where_it_is_offered(serve: Serve) -> None:
    server = serve()
    with connected(server) as connection:
        assert deliver(connection, data="Grüße\r\n".encode()).accepted
    assert any(command.endswith(" BODY=8BITMIME") for command in server.commands)
    plain = serve(extensions=["ENHANCEDSTATUSCODES"])
    with connected(plain) as connection:
        reply = deliver(connection, data="Grüße\r\n".encode())
        assert (reply.phase, reply.code, reply.status, reply.local) == (Phase.DATA, 554, "5.6.3", True)
        assert deliver(connection).accepted
    assert "MAIL FROM:<alice@acme.example>" in plain.commands


def test_deliver__smtputf8_only_where_needed(serve: Serve) -> None:
    server = serve()
    with connected(server) as connection:
        assert deliver(connection, "ann@bücher.example").accepted
        assert not any("SMTPUTF8" in command for command in server.commands)
        assert deliver(connection, "jörg@bücher.example").accepted
    assert "SMTPUTF8" in server.commands[-4]
    assert server.messages[-1].recipients == ("jörg@xn--bcher-kva.example",)


def test_deliver__smtputf8_not_offered(serve: Serve) -> None:
    server = serve(extensions=["8BITMIME"])
    with connected(server) as connection:
        reply = deliver(connection, "jörg@customer.example")
        assert (reply.phase, reply.code, reply.status, reply.local) == (Phase.RCPT, 553, "5.6.7", True)
        reply = connection.deliver(sender="jörg@acme.example", to="ann@customer.example", data=MESSAGE)
        assert (reply.phase, reply.code, reply.status) == (Phase.MAIL, 553, "5.6.7")
        assert connection.usable
    assert len(server.commands) == 2  # EHLO and QUIT


def test_deliver__before_open() -> None:
    with pytest.raises(RuntimeError):
        deliver(SMTPConnection(Endpoint(host="localhost", port=25, security=Security.NONE)))
