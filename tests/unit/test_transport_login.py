"""Login and TLS of the outgoing connection: who gets to see the password."""

from __future__ import annotations

import base64
import logging
import traceback
from pathlib import Path

import pytest

from massmail.choices import Phase, Security
from massmail.transport import login
from massmail.transport.smtp import SMTPConnection
from tests.certificates import Certificate, make_certificate
from tests.conversations import CANARY, Serve, connected, deliver, endpoint, failure, failure_of_opening
from tests.smtpd import DROP, STALL

# Login


@pytest.mark.parametrize("mechanism", ["PLAIN", "LOGIN", "CRAM-MD5"])
def test_login(mechanism: str, serve: Serve) -> None:
    server = serve(users={"alice": CANARY}, mechanisms=["SCRAM-SHA-256", mechanism])
    with connected(server, username="alice", password=CANARY, clear_text=True) as connection:
        assert deliver(connection).accepted
    assert server.messages[0].login == "alice"


def test_login__wrong_password_is_tried_once(serve: Serve) -> None:
    server = serve(users={"alice": "secret"}, mechanisms=["PLAIN", "LOGIN", "CRAM-MD5"])
    reply = failure_of_opening(server, username="alice", password=CANARY, clear_text=True)
    assert (reply.phase, reply.code, reply.status) == (Phase.AUTH, 535, "5.7.8")
    assert len([command for command in server.commands if command.startswith("AUTH")]) == 1


def test_login__mechanism_that_is_only_announced(serve: Serve) -> None:
    server = serve(users={"alice": CANARY}, mechanisms=["LOGIN"], extensions=["AUTH=PLAIN"])
    with connected(server, username="alice", password=CANARY, clear_text=True) as connection:
        assert deliver(connection).accepted
    assert server.commands[1:3] == ["AUTH PLAIN", "AUTH LOGIN"]


def test_login__not_offered(serve: Serve) -> None:
    server = serve(mechanisms=[])
    reply = failure_of_opening(server, username="alice", password=CANARY, clear_text=True)
    assert (reply.phase, reply.code, reply.local) == (Phase.AUTH, None, True)


@pytest.mark.parametrize("answer", ["334 not base64!", "334 =", "334 dXNlcg=="])
def test_login__nonsense_challenge(answer: str, serve: Serve) -> None:
    server = serve(answers={"AUTH": answer})
    reply = failure_of_opening(server, username="alice", password=CANARY, clear_text=True)
    assert reply.phase is Phase.AUTH


def test_login__challenge_outside_ascii(serve: Serve) -> None:
    server = serve(answers={"AUTH": "334 Benutzername für die Anmeldung:"})
    reply = failure_of_opening(server, username="alice", password=CANARY, clear_text=True)
    assert (reply.phase, reply.code) == (Phase.AUTH, None)
    assert "Benutzername" in reply.text


def test_login__what_the_server_repeats_is_not_quoted() -> None:
    told = base64.b64encode(f"\0alice\0{CANARY}".encode()).decode()
    for echo in (told, told[:-7], told[9:], CANARY, base64.b64encode(CANARY.encode()).decode()):
        words = login.masked(f'5.5.1 Command unrecognized: "{echo}"', "alice", CANARY)
        assert words == '5.5.1 Command unrecognized: "…"', echo
    assert login.masked("Password wrong for alice", "alice", "") == "Password wrong for alice"
    assert login.masked("Authentication unsuccessful", "alice", "wrong") == "Authentication unsuccessful"


def test_login__the_echo_of_a_server(serve: Serve) -> None:
    told = base64.b64encode(f"\0alice\0{CANARY}".encode()).decode()
    server = serve(answers={"AUTH": f"500 5.5.1 Unknown: {told}"})
    reply = failure_of_opening(server, username="alice", password=CANARY, clear_text=True)
    assert (reply.code, reply.text) == (500, "5.5.1 Unknown: …")


def test_login__demanded_by_the_server(serve: Serve) -> None:
    server = serve(users={"alice": CANARY})
    with connected(server) as connection:
        reply = deliver(connection)
    assert (reply.phase, reply.code) == (Phase.MAIL, 530)


@pytest.mark.parametrize("security", [Security.NONE, Security.STARTTLS])
def test_login__password_never_in_clear(security: Security, serve: Serve) -> None:
    server = serve(users={"alice": CANARY})
    reply = failure_of_opening(server, security=security, username="alice", password=CANARY)
    expected = Phase.AUTH if security == Security.NONE else Phase.STARTTLS
    assert (reply.phase, reply.code, reply.local) == (expected, None, True)
    assert ("MASSMAIL_CLEAR_TEXT_HOSTS" in reply.text) == (security == Security.NONE)
    assert b"AUTH" not in server.heard
    for secret in secrets():
        assert secret.encode() not in server.heard


def test_login__clear_text_without_a_password_is_fine(serve: Serve) -> None:
    with connected(serve()) as connection:
        assert connection.usable


@pytest.mark.parametrize("answer", ["535 5.7.8 No", "421 4.3.2 Closing", "nonsense", DROP, "334 dXNlcg=="])
def test_login__password_stays_out_of_errors_and_logs(
    answer: str, serve: Serve, caplog: pytest.LogCaptureFixture
) -> None:
    server = serve(answers={"AUTH": answer})
    connection = SMTPConnection(
        endpoint(server, username="alice", password=CANARY, clear_text=True, timeout=0.2),
    )
    with caplog.at_level(logging.DEBUG):
        error = failure(connection.open)
    report = traceback.TracebackException.from_exception(error, capture_locals=True)
    told = "".join(report.format()) + repr(error) + str(error) + caplog.text
    assert "_log_in" in told
    assert error.__context__ is None
    for secret in secrets():
        assert secret not in told


def secrets() -> list[str]:
    """The password in every form in which it may show."""
    raw = CANARY.encode()
    return [CANARY, *(base64.b64encode(form).decode() for form in (raw, b"\0alice\0" + raw)), repr(raw)[2:-1]]


# TLS


@pytest.mark.usefixtures("trusted")
@pytest.mark.parametrize("security", [Security.STARTTLS, Security.SSL])
def test_tls(security: Security, certificate: Certificate, serve: Serve) -> None:
    server = serve(security=security.value, certificate=certificate, users={"alice": CANARY})
    with connected(server, security=security, username="alice", password=CANARY) as connection:
        assert deliver(connection, data=b"x" * 1_000_000).accepted
        assert deliver(connection).accepted
        error = failure(lambda: deliver(connection, "dropdot@customer.example"))
    assert [record.secure for record in server.messages] == [True] * 3
    assert error.handed_over
    assert b"AUTH" not in server.heard
    assert b"MAIL" not in server.heard


@pytest.mark.usefixtures("trusted")
@pytest.mark.parametrize("security", [Security.STARTTLS, Security.SSL])
def test_tls__lost_before_the_dot(security: Security, certificate: Certificate, serve: Serve) -> None:
    server = serve(security=security.value, certificate=certificate)
    with connected(server, security=security) as connection:
        error = failure(lambda: deliver(connection, "dropbody@customer.example", b"x" * 20_000_000))
    assert (error.reply.phase, error.handed_over) == (Phase.DATA, False)


@pytest.mark.parametrize("security", [Security.STARTTLS, Security.SSL])
def test_tls__self_signed_certificate(security: Security, certificate: Certificate, serve: Serve) -> None:
    server = serve(security=security.value, certificate=certificate)
    reply = failure_of_opening(server, security=security, username="alice", password=CANARY)
    assert (reply.phase, reply.code, reply.local) == (Phase.STARTTLS, None, True)
    assert "self-signed certificate" in reply.text.replace("self signed", "self-signed")
    assert not any(command.startswith("AUTH") for command in server.commands)


@pytest.mark.parametrize("security", [Security.STARTTLS, Security.SSL])
def test_tls__certificate_of_another_name(
    security: Security, tmp_path: Path, serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = make_certificate(tmp_path, "mail.acme.example", "127.0.0.2")
    monkeypatch.setenv("SSL_CERT_FILE", str(other.chain))
    server = serve(security=security.value, certificate=other)
    for host in ("localhost", "127.0.0.1"):
        reply = failure_of_opening(server, security=security, host=host, username="alice", password=CANARY)
        assert (reply.phase, reply.code, reply.local) == (Phase.STARTTLS, None, True)
        assert "mismatch" in reply.text
        assert host in reply.text


def test_tls__ssl_to_a_server_without(serve: Serve) -> None:
    reply = failure_of_opening(serve(), security=Security.SSL)
    assert (reply.phase, reply.code, reply.local) == (Phase.STARTTLS, None, True)


def test_tls__refused_by_the_server(certificate: Certificate, serve: Serve) -> None:
    server = serve(security="starttls", certificate=certificate, answers={"STARTTLS": "454 4.7.0 Not now"})
    reply = failure_of_opening(server, security=Security.STARTTLS)
    assert (reply.phase, reply.code, reply.local) == (Phase.STARTTLS, 454, False)


@pytest.mark.parametrize("answer", [DROP, STALL])
def test_tls__lost_at_starttls_is_the_network(answer: str, certificate: Certificate, serve: Serve) -> None:
    server = serve(security="starttls", certificate=certificate, answers={"STARTTLS": answer})
    reply = failure_of_opening(server, security=Security.STARTTLS, timeout=0.2)
    assert (reply.phase, reply.code, reply.local) == (Phase.STARTTLS, None, False)


def test_tls__lost_in_the_handshake_is_the_network(serve: Serve) -> None:
    server = serve(security="ssl")  # without a certificate it hangs up
    reply = failure_of_opening(server, security=Security.SSL, timeout=0.5)
    assert (reply.phase, reply.code, reply.local) == (Phase.STARTTLS, None, False)


@pytest.mark.usefixtures("trusted")
def test_tls__what_came_before_the_handshake_is_forgotten(certificate: Certificate, serve: Serve) -> None:
    """Commands or replies slipped in behind the 220 must not count as said under TLS (RFC 3207, 4.2)."""
    injected = "220 2.0.0 Go ahead\r\n250-evil.example\r\n250 AUTH PLAIN"
    server = serve(security="starttls", certificate=certificate, answers={"STARTTLS": injected}, mechanisms=[])
    reply = failure_of_opening(server, security=Security.STARTTLS, username="alice", password=CANARY)
    assert (reply.phase, reply.code, reply.local) == (Phase.AUTH, None, True)


# OAuth2


@pytest.mark.parametrize("mechanism", ["XOAUTH2", "OAUTHBEARER"])
def test_login__with_a_token(mechanism: str, serve: Serve) -> None:
    server = serve(users={"alice@acme.example": CANARY}, mechanisms=["PLAIN", mechanism])
    with connected(server, username="alice@acme.example", token=CANARY, clear_text=True) as connection:
        assert deliver(connection).accepted
    assert server.messages[0].login == "alice@acme.example"
    assert not any(command.startswith("AUTH PLAIN") for command in server.commands)


@pytest.mark.parametrize("mechanism", ["XOAUTH2", "OAUTHBEARER"])
def test_login__a_refused_token_is_tried_once(mechanism: str, serve: Serve) -> None:
    server = serve(users={"alice": "another"}, mechanisms=[mechanism])
    reply = failure_of_opening(server, username="alice", token=CANARY, clear_text=True)
    assert (reply.phase, reply.code, reply.status) == (Phase.AUTH, 535, "5.7.8")
    assert len([command for command in server.commands if command.startswith("AUTH")]) == 1


def test_login__a_token_is_never_given_to_a_password_mechanism(serve: Serve) -> None:
    server = serve(users={"alice": CANARY}, mechanisms=["PLAIN", "LOGIN"])
    reply = failure_of_opening(server, username="alice", token=CANARY, clear_text=True)
    assert (reply.phase, reply.code, reply.local) == (Phase.AUTH, None, True)
    assert not any(command.startswith("AUTH") for command in server.commands)


def test_login__no_token_in_clear_text(serve: Serve) -> None:
    server = serve(users={"alice": CANARY}, mechanisms=["XOAUTH2"])
    assert failure_of_opening(server, username="alice", token=CANARY).local
    assert server.commands == []
