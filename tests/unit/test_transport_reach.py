"""Which addresses a server's name may lead to."""

from __future__ import annotations

import ipaddress
import socket

import pytest

from massmail.choices import Ending, Phase
from massmail.outcomes import classify
from massmail.transport import reach
from tests.conversations import Serve, connected, deliver, failure_of_opening

PRIVATE = [
    "127.0.0.1",
    "127.8.8.8",
    "0.0.0.0",  # noqa: S104
    "10.1.2.3",
    "172.16.0.1",
    "192.168.1.1",
    "169.254.169.254",  # the metadata service of clouds
    "100.64.0.1",
    "224.0.0.1",
    "255.255.255.255",
    "::1",
    "::",
    "fe80::1",
    "fc00::1",
    "fd00:ec2::254",
    "ff02::1",
    "::ffff:127.0.0.1",
    "::ffff:169.254.169.254",
    "2002:7f00:1::",
    "64:ff9b::7f00:1",
    "64:ff9b:1::a00:1",
    "192.0.0.8",
    "::10.0.0.1",
    "::ffff:0:10.0.0.1",
    "fec0::1",
    "3fff::1",
    "5f00::1",
]
PUBLIC = ["8.8.8.8", "142.250.185.109", "2001:4860:4860::8888", "64:ff9b::808:808", "::ffff:8.8.8.8"]


@pytest.mark.parametrize("text", PRIVATE)
def test_is_public__not(text: str) -> None:
    assert not reach.is_public(ipaddress.ip_address(text))


@pytest.mark.parametrize("text", PUBLIC)
def test_is_public(text: str) -> None:
    assert reach.is_public(ipaddress.ip_address(text))


@pytest.fixture
def nobody_named(settings):
    settings.MASSMAIL_PRIVATE_HOSTS = settings.MASSMAIL_CLEAR_TEXT_HOSTS = ()


@pytest.mark.usefixtures("nobody_named")
def test_connect__a_name_that_leads_inside_is_refused_before_anything_is_sent(serve: Serve) -> None:
    server = serve()
    reply = failure_of_opening(server)
    assert (reply.phase, reply.code, reply.local) == (Phase.CONNECT, None, True)
    assert classify(reply).ending is Ending.ACCOUNT
    assert "localhost" in reply.text
    assert "MASSMAIL_PRIVATE_HOSTS" in reply.text
    assert server.commands == []


@pytest.mark.usefixtures("nobody_named")
def test_connect__an_administrator_s_server_is_trusted(serve: Serve) -> None:
    with connected(serve(), trusted=True) as connection:
        assert deliver(connection).accepted


@pytest.mark.parametrize("named", ["localhost", "LOCALHOST:{port}", "127.0.0.0/8"])
@pytest.mark.usefixtures("nobody_named")
def test_connect__the_deployer_s_servers_are_allowed(settings, serve: Serve, named: str) -> None:
    server = serve()
    settings.MASSMAIL_PRIVATE_HOSTS = [named.format(port=server.port), "::1"]
    with connected(server) as connection:
        assert deliver(connection).accepted


@pytest.mark.usefixtures("nobody_named")
def test_connect__another_port_of_a_named_server_is_not_named(settings, serve: Serve) -> None:
    settings.MASSMAIL_PRIVATE_HOSTS = ["localhost:1"]
    assert failure_of_opening(serve()).local


@pytest.mark.usefixtures("nobody_named")
def test_connect__the_address_that_was_checked_is_the_one_connected_to(monkeypatch, serve: Serve) -> None:
    """A name that answers with a public address first and a private one later (DNS rebinding) is asked once."""
    server, asked = serve(), []

    def answer(host, port, *args, **kwargs):
        asked.append(host)
        address = "192.0.2.1" if len(asked) == 1 else "127.0.0.1"
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port))]

    with monkeypatch.context() as patched:
        patched.setattr(socket, "getaddrinfo", answer)
        assert failure_of_opening(server).local
    assert len(asked) == 1


@pytest.mark.usefixtures("nobody_named")
def test_connect__the_public_one_of_two_addresses_is_taken(monkeypatch) -> None:
    tried = []

    class Recorder(socket.socket):
        def connect(self, where):
            tried.append(where[0])
            raise ConnectionRefusedError

    monkeypatch.setattr(socket, "socket", Recorder)
    row = (socket.AF_INET, socket.SOCK_STREAM, 6, "")
    answers = [(*row, ("10.0.0.1", 25)), (*row, ("8.8.8.8", 25)), (*row, ("127.0.0.1", 25))]
    monkeypatch.setattr(socket, "getaddrinfo", lambda host, port, **kwargs: answers)
    with pytest.raises((OSError, reach.PrivateAddress)):
        reach.connect("mail.example", 25, timeout=1)
    assert tried == ["8.8.8.8"]
