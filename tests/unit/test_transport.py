"""The outgoing connection against a real server that refuses or breaks at every step."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from typing import Any

import pytest

from massmail.choices import Phase, Security
from massmail.transport import Endpoint, Reply
from massmail.transport.session import CHUNK
from massmail.transport.smtp import SMTPConnection
from tests.conversations import CANARY, MESSAGE, Serve, connected, deliver, endpoint, failure, failure_of_opening
from tests.smtpd import DROP, STALL

#: A text that takes more than one write.
LARGE = b"Subject: News\r\n\r\n" + (b"x" * 70 + b"\r\n") * (2 * CHUNK // 72 + 10)


@pytest.fixture(params=[(), ("PIPELINING",)], ids=["one by one", "at once"])
def serve(serve: Serve, request: pytest.FixtureRequest) -> Serve:
    """Servers that take commands one by one, and servers that take them in groups (RFC 2920)."""
    extensions = ("SIZE 20000000", "8BITMIME", "SMTPUTF8", "ENHANCEDSTATUSCODES", *request.param)
    return lambda **script: serve(**{"extensions": extensions} | script)


# Refusals


@pytest.mark.parametrize(
    ("to", "phase", "code", "status"),
    [
        ("grey@customer.example", Phase.RCPT, 450, "4.2.0"),
        ("full@customer.example", Phase.RCPT, 452, "4.2.2"),
        ("nouser+17@customer.example", Phase.RCPT, 550, "5.1.1"),
        ("quota@customer.example", Phase.RCPT, 550, "5.4.5"),
        ("spam@customer.example", Phase.DOT, 554, "5.7.1"),
    ],
)
def test_deliver__refused_recipient(to: str, phase: Phase, code: int, status: str, serve: Serve) -> None:
    server = serve()
    with connected(server) as connection:
        reply = deliver(connection, to)
        assert (reply.phase, reply.code, reply.status) == (phase, code, status)
        assert not reply.accepted
        assert connection.usable
        assert deliver(connection).accepted
    assert [record.recipients for record in server.messages] == [("ann@customer.example",)]
    assert server.connections == 1


def test_deliver__greylisted_is_accepted_later(serve: Serve) -> None:
    server = serve(grey_tries=2)
    with connected(server) as connection:
        codes = [deliver(connection, "grey@customer.example").code for _ in range(3)]
    assert codes == [450, 450, 250]


@pytest.mark.parametrize("code", [451, 554])
@pytest.mark.parametrize(
    ("step", "phase"), [("MAIL", Phase.MAIL), ("RCPT", Phase.RCPT), ("DATA", Phase.DATA), ("DOT", Phase.DOT)]
)
def test_deliver__refused_step(step: str, phase: Phase, code: int, serve: Serve) -> None:
    server = serve(answers={step: f"{code}-{code // 100}.3.0 Not\r\n{code} today"})
    with connected(server) as connection:
        reply = deliver(connection)
        assert reply == Reply(phase=phase, code=code, text=f"{code // 100}.3.0 Not\ntoday")
        assert connection.usable
        assert server.messages == []
        server.answers.clear()
        assert deliver(connection).accepted


@pytest.mark.parametrize("answer", ["550 5.0.0 No", "421 4.3.2 Closing", "354 What?", DROP, STALL])
def test_deliver__broken_reset_keeps_the_reply(answer: str, serve: Serve) -> None:
    server = serve(answers={"RSET": answer})
    with connected(server, timeout=patience(answer)) as connection:
        assert deliver(connection, "nouser@customer.example").code == 550
        assert not connection.usable


@pytest.mark.parametrize("answer", ["550 No", "421 4.3.2 Closing", "gone", DROP, STALL])
def test_close__never_raises(answer: str, serve: Serve) -> None:
    server = serve(answers={"QUIT": answer})
    with connected(server, timeout=patience(answer)) as connection:
        assert deliver(connection).accepted
    connection.close()
    assert len(server.messages) == 1


# Lost connections

OPENING = [("CONNECT", Phase.BANNER), ("EHLO", Phase.EHLO), ("AUTH", Phase.AUTH)]
DELIVERING = [("MAIL", Phase.MAIL), ("RCPT", Phase.RCPT), ("DATA", Phase.DATA), ("DOT", Phase.DOT)]
LOST = [
    ("421 4.3.2 Closing", 421, "4.3.2 Closing"),
    (DROP, None, "The server closed the connection."),
    (STALL, None, "The server did not answer in time."),
    ("Hello?", None, "Not a valid answer: Hello?"),
    ("999 Hello", None, "Not a valid answer: 999 Hello"),
]
LOST_IDS = ["421", "drop", "stall", "garbage", "no-code"]


def patience(answer: str) -> float:
    """Return a time-out in seconds: short only where it is to run out."""
    return 0.25 if answer == STALL else 5.0


@pytest.mark.parametrize(("answer", "code", "text"), LOST, ids=LOST_IDS)
@pytest.mark.parametrize(("step", "phase"), OPENING)
def test_open__lost(step: str, phase: Phase, answer: str, code: int | None, text: str, serve: Serve) -> None:
    server = serve(answers={step: answer})
    reply = failure_of_opening(server, timeout=patience(answer), username="alice", password=CANARY, clear_text=True)
    assert reply == Reply(phase=phase, code=code, text=text)


@pytest.mark.parametrize(("answer", "code", "text"), LOST, ids=LOST_IDS)
@pytest.mark.parametrize(("step", "phase"), DELIVERING)
def test_deliver__lost(step: str, phase: Phase, answer: str, code: int | None, text: str, serve: Serve) -> None:
    server = serve(answers={step: answer})
    connection = SMTPConnection(endpoint(server, timeout=patience(answer)))
    connection.dot_timeout = patience(answer)
    connection.open()
    error = failure(lambda: deliver(connection))
    assert error.reply == Reply(phase=phase, code=code, text=text)
    assert error.handed_over == (phase is Phase.DOT and code is None)
    assert not connection.usable
    server.answers.clear()
    connection.open()
    assert deliver(connection).accepted
    connection.close()


@pytest.mark.parametrize(("step", "answer"), [("MAIL", "354 Go"), ("DATA", "250 Ok"), ("DOT", "354 More")])
def test_deliver__answer_out_of_place(step: str, answer: str, serve: Serve) -> None:
    server = serve(answers={step: answer})
    with connected(server) as connection:
        error = failure(lambda: deliver(connection))
    assert (error.reply.phase, error.reply.code) == (Phase(step.lower()), None)
    assert answer in error.reply.text


@pytest.mark.parametrize("lines", [b"220-more\r\n" * 200, b"220 " + b"x" * 9000 + b"\r\n"], ids=["many", "long"])
def test_open__endless_reply(lines: bytes, serve: Serve) -> None:
    server = serve(answers={"CONNECT": lines.decode()})
    reply = failure_of_opening(server)
    assert (reply.phase, reply.code) == (Phase.BANNER, None)
    assert len(reply.text) < 2100


def test_reply__control_characters_do_not_get_through(serve: Serve) -> None:
    server = serve(answers={"RCPT": "550 5.1.1 No\0 \x1b[31muser"})
    with connected(server) as connection:
        assert deliver(connection).text == "5.1.1 No\ufffd \ufffd[31muser"


@pytest.mark.parametrize("size", ["0", "9" * 23, "9" * 5000, "+5", "٣", ""])
def test_facts__no_limit_that_could_be_kept(size: str, serve: Serve) -> None:
    with connected(serve(extensions=[f"SIZE {size}"])) as connection:
        assert connection.facts.size_limit is None


def test_open__each_octet_of_the_reply_comes_in_time() -> None:
    def drip(listening: socket.socket) -> None:
        talking, _address = listening.accept()
        with talking, contextlib.suppress(OSError):
            for _ in range(100):
                talking.sendall(b"2")
                time.sleep(0.1)

    with socket.create_server(("127.0.0.1", 0)) as listening:
        threading.Thread(target=drip, args=(listening,), daemon=True).start()
        where = Endpoint(
            host="localhost", port=listening.getsockname()[1], security=Security.NONE, timeout=0.5, trusted=True
        )
        began = time.monotonic()
        reply = failure(SMTPConnection(where).open).reply
    assert (reply.phase, reply.text) == (Phase.BANNER, "The server did not answer in time.")
    assert time.monotonic() - began < 5


def test_open__refused_connection() -> None:
    with socket.create_server(("127.0.0.1", 0)) as unused:
        port = unused.getsockname()[1]
    connection = SMTPConnection(Endpoint(host="127.0.0.1", port=port, security=Security.NONE, timeout=1))
    reply = failure(connection.open).reply
    assert (reply.phase, reply.code, reply.local) == (Phase.CONNECT, None, False)


def test_open__unknown_host() -> None:
    connection = SMTPConnection(Endpoint(host="mail.invalid", port=25, security=Security.NONE, timeout=1))
    reply = failure(connection.open).reply
    assert (reply.phase, reply.code, reply.local) == (Phase.CONNECT, None, False)


def test_open__impossible_host() -> None:
    connection = SMTPConnection(Endpoint(host="x" * 70 + ".example", port=25, security=Security.NONE))
    reply = failure(connection.open).reply
    assert (reply.phase, reply.code, reply.local) == (Phase.CONNECT, None, True)


@pytest.mark.parametrize("banner", ["554 5.3.2 No service", "450 4.7.1 Later"])
def test_open__refused_by_the_banner(banner: str, serve: Serve) -> None:
    reply = failure_of_opening(serve(answers={"CONNECT": banner}))
    assert (reply.phase, str(reply.code)) == (Phase.BANNER, banner[:3])


# Around the dot


def test_deliver__lost_at_data(serve: Serve) -> None:
    server = serve()
    with connected(server) as connection:
        error = failure(lambda: deliver(connection, "dropdata@customer.example"))
    assert (error.reply.phase, error.handed_over) == (Phase.DATA, False)
    assert server.messages == []


def test_deliver__lost_in_the_middle_of_the_text(serve: Serve) -> None:
    server = serve()
    with connected(server) as connection:
        error = failure(lambda: deliver(connection, "dropbody@customer.example", b"x" * 20_000_000))
    assert (error.reply.phase, error.handed_over) == (Phase.DATA, False)
    assert server.messages == []


def test_deliver__lost_after_the_dot(serve: Serve) -> None:
    server = serve()
    with connected(server) as connection:
        error = failure(lambda: deliver(connection, "dropdot@customer.example"))
    assert (error.reply.phase, error.handed_over) == (Phase.DOT, True)
    assert [record.recipients for record in server.messages] == [("dropdot@customer.example",)]


@pytest.mark.parametrize(
    ("words", "code"), [("", None), ("421 4.3.2 Shutting down", 421), ("Enough!", None)], ids=["drop", "421", "garbage"]
)
def test_deliver__server_speaks_before_the_dot(
    words: str, code: int | None, serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Most of a large text is in the socket before the server hangs up; while it is not ended, that must be noticed."""
    server = serve(answers={"BODY": words or DROP})
    with connected(server) as connection:
        send_text = connection._talk.send_text

        def send_slowly(text: memoryview) -> None:
            send_text(text)
            time.sleep(0.1)

        monkeypatch.setattr(connection._talk, "send_text", send_slowly)
        error = failure(lambda: deliver(connection, data=LARGE))
    assert (error.reply.phase, error.reply.code, error.handed_over) == (Phase.DATA, code, False)


def writes_of(connection: SMTPConnection, data: bytes, monkeypatch: pytest.MonkeyPatch) -> list[bytes]:
    """Deliver `data` and return what was written to the socket, one piece for each call."""
    written: list[bytes] = []
    talk = connection._talk

    class Overheard:
        def __getattr__(self, name: str) -> Any:
            return getattr(sock, name)

        def sendall(self, data: bytes) -> None:
            written.append(bytes(data))
            sock.sendall(data)

    sock = talk.sock
    monkeypatch.setattr(talk, "sock", Overheard())
    assert deliver(connection, data=data).accepted
    return [*written]


def test_deliver__the_dot_goes_with_the_text(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two writes a mail, where the server takes the commands at once: each wakes it up."""
    server = serve()
    with connected(server) as connection:
        at_once = connection._talk.has_extn("pipelining")
        *commands, text = writes_of(connection, MESSAGE, monkeypatch)
    assert len(commands) == (1 if at_once else 3)
    assert text == MESSAGE + b".\r\n"


def test_deliver__nothing_but_the_last_block_of_a_large_text_has_the_dot(
    serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = serve()
    with connected(server) as connection:
        *_commands, first, second, third = writes_of(connection, LARGE, monkeypatch)
    assert (len(first), len(second)) == (CHUNK, CHUNK)
    assert first + second + third == LARGE + b".\r\n"
    assert len(server.messages) == 1


@pytest.mark.parametrize("more", [-3, -2, -1, 0, 1])
def test_deliver__a_text_as_long_as_a_block(more: int, serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    """The dot and its line end are never torn apart."""
    server = serve()
    data = b"x" * (CHUNK + more - 2) + b"\r\n"
    with connected(server) as connection:
        writes = writes_of(connection, data, monkeypatch)
    assert b"".join(writes).endswith(data + b".\r\n")
    assert writes[-1].endswith(b"\n.\r\n")
    assert len(server.messages) == 1


def test_deliver__dot_that_could_not_be_sent_was_not_handed_over(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    server = serve()
    with connected(server) as connection:
        talk = connection._talk
        talk.sock.shutdown(socket.SHUT_WR)
        monkeypatch.setattr(talk, "overhear", lambda: None)
        error = failure(lambda: connection._send(b""))
    assert (error.reply.phase, error.handed_over) == (Phase.DATA, False)


def test_deliver__waits_for_a_slow_server(serve: Serve) -> None:
    server = serve(slow=0.8)
    with connected(server, timeout=0.4) as connection:
        assert deliver(connection, "slow@customer.example").accepted
        assert deliver(connection).accepted
    assert len(server.messages) == 2


def test_deliver__patience_with_the_dot_ends_with_it(serve: Serve) -> None:
    server = serve()
    with connected(server, timeout=0.25) as connection:
        connection.dot_timeout = 20.0
        assert deliver(connection).accepted
        server.answers["MAIL"] = STALL
        began = time.monotonic()
        assert failure(lambda: deliver(connection)).reply.phase is Phase.MAIL
        assert time.monotonic() - began < 10


def test_deliver__waits_ten_minutes_after_the_dot() -> None:
    assert SMTPConnection.dot_timeout == 600


def test_deliver__dot_does_not_wait_for_the_acknowledgement_of_the_text(serve: Serve) -> None:
    with connected(serve()) as connection:
        assert connection._talk.sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)


def test_deliver__interrupted_connection_is_not_used_again(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    """A worker's soft time limit comes as an exception anywhere."""

    def interrupt(text: bytes) -> None:
        raise KeyboardInterrupt

    server = serve()
    with connected(server) as connection:
        monkeypatch.setattr(connection._talk, "send_text", interrupt)
        with pytest.raises(KeyboardInterrupt):
            deliver(connection)
        assert not connection.usable
