"""Sending by SMTP, with the step of the conversation known whenever it breaks.

smtplib raises the same exception for a connection lost at the greeting and for one lost after the final dot. The first
may be tried again, the second must not; so every step runs under its own name here.
"""

from __future__ import annotations

import base64
import logging
import re
import smtplib
import socket
import ssl
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from functools import lru_cache
from typing import NoReturn

from django.utils.translation import gettext as _
from django.views.decorators.debug import sensitive_variables

from massmail.choices import Obstacle, Phase, Security
from massmail.transport import login, reach, wire
from massmail.transport.base import Endpoint, Facts, Reply, TransportError
from massmail.transport.session import CHUNK, Garbage, Session, challenge, readable

logger = logging.getLogger(__name__)

#: Seconds a server may take to answer the final dot (RFC 5321, 4.5.3.2.6); who hangs up sooner gets duplicates.
DOT_TIMEOUT = 600.0
#: Seconds for the answer to QUIT, which nobody needs.
QUIT_TIMEOUT = 5.0

#: What the socket and smtplib raise when the conversation breaks.
_BROKEN = (OSError, smtplib.SMTPException)
#: RFC 1870, 4: up to 20 digits, of which a database keeps 18; 0 is no fixed maximum.
_LIMIT = re.compile(r"0*[1-9]\d{0,17}", re.ASCII)
# TLS alerts and certificates are somebody's configuration; a line cut in the middle of the handshake is the network.
_CUT_OFF = (ssl.SSLEOFError, ssl.SSLSyscallError, ssl.SSLZeroReturnError)


class SMTPConnection:
    """A session with an SMTP server; see `massmail.transport.base.Connection` for the contract.

    `context_factory` makes the TLS context. The default verifies certificate and name against the system's
    authorities, or those in the file that the environment variable SSL_CERT_FILE names.
    """

    context_factory: Callable[[], ssl.SSLContext] = staticmethod(ssl.create_default_context)
    dot_timeout = DOT_TIMEOUT

    def __init__(self, endpoint: Endpoint) -> None:
        self.endpoint = endpoint
        self._session: Session | None = None
        self._greeting = self._welcome = ""
        # False also while a message is on its way: an interrupt in the middle leaves nothing that may be used again.
        self._ready = False

    @property
    def usable(self) -> bool:
        return self._ready

    @property
    def facts(self) -> Facts:
        if self._session is None:
            return Facts()
        size = _LIMIT.fullmatch(self._session.esmtp_features.get("size", "").strip())
        return Facts(
            encryption=wire.tls_version(self._session.sock),
            greeting=self._greeting,
            welcome=self._welcome,
            size_limit=int(size[0]) if size else None,
        )

    def open(self) -> None:
        """Connect, greet, encrypt, log in. Raises `TransportError`."""
        self._hang_up()
        self._refuse_clear_text_password()
        try:
            self._greet()
            if self.endpoint.username:
                self._log_in()
        except BaseException:
            self._hang_up()
            raise
        self._ready = True
        logger.debug("Connected to %s:%s", self.endpoint.host, self.endpoint.port)

    def deliver(self, *, sender: str, to: str, data: bytes) -> Reply:
        """Offer the message; see `Connection.deliver`. Lines of `data` may end in any way: CRLF is sent."""
        if not self._ready:
            raise RuntimeError("deliver() on a connection that is not open.")
        sender, to = wire.envelope_address(sender), wire.envelope_address(to)
        text = wire.canonical(data)
        unfit = self._unfit(sender, to, text)
        if unfit is not None:
            return unfit
        self._ready = False
        reply = self._transact(sender, to, text)
        self._ready = reply.accepted or self._reset()
        return reply

    def close(self) -> None:
        if self._ready:
            with suppress(OSError, smtplib.SMTPException):
                self._talk.sock.settimeout(min(QUIT_TIMEOUT, self.endpoint.timeout))
                self._talk.say("QUIT")
                self._talk.getreply()
        self._hang_up()

    # Opening

    def _refuse_clear_text_password(self) -> None:
        where = self.endpoint
        if where.security == Security.NONE and (where.password or where.token) and not where.clear_text:
            self._refuse(
                Phase.AUTH,
                _(
                    "No password is sent without TLS. Choose STARTTLS or SSL/TLS for %(host)s, "
                    "or add it to MASSMAIL_CLEAR_TEXT_HOSTS."
                )
                % {"host": where.host},
                Obstacle.CLEAR_TEXT,
            )

    def _greet(self) -> None:
        self._connect()
        if self.endpoint.security == Security.SSL:
            self._encrypt()
        greeting = self._hear(Phase.BANNER)
        self._insist(greeting)
        self._greeting = greeting.text
        self._say_hello()
        if self.endpoint.security == Security.STARTTLS:
            if not self._talk.has_extn("starttls"):
                self._refuse(Phase.STARTTLS, _("The server does not offer STARTTLS."), Obstacle.NO_STARTTLS)
            self._insist(self._ask(Phase.STARTTLS, "STARTTLS"))
            self._encrypt()
            self._say_hello()

    def _connect(self) -> None:
        where = self.endpoint
        try:
            with self._step(Phase.CONNECT):
                sock = reach.connect(where.host, where.port, timeout=where.timeout, trusted=where.trusted)
                # A large text is several writes; the last would wait for the others' acknowledgement, often 40 ms.
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        except ValueError:  # a label over 63 letters, a NUL
            words = _("“%(host)s” is not the name of a server.") % {"host": where.host}
            self._refuse(Phase.CONNECT, words, Obstacle.NO_HOST)
        except reach.PrivateAddress as error:
            self._refuse(Phase.CONNECT, str(error), Obstacle.PRIVATE)
        self._session = Session(sock, name=wire.greeting_name(socket.gethostname(), sock.getsockname()[0]))

    def _encrypt(self) -> None:
        with self._step(Phase.STARTTLS):
            try:
                self._talk.encrypt(self.context_factory(), self.endpoint.host)
            except _CUT_OFF:
                raise
            except ssl.SSLCertVerificationError as error:
                words = _("The server's certificate cannot be trusted: %(why)s") % {"why": error.verify_message}
                self._refuse(Phase.STARTTLS, words, Obstacle.CERTIFICATE)
            except ssl.SSLError as error:
                words = _("No TLS with this server: %(why)s") % {"why": error.reason or error}
                self._refuse(Phase.STARTTLS, words, Obstacle.NO_TLS)

    def _say_hello(self) -> None:
        with self._step(Phase.EHLO):
            code, words = self._talk.ehlo()
        self._insist(self._judge(Phase.EHLO, code, words))

    def _log_in(self) -> None:
        try:
            reply = self._try_mechanisms()
        except TransportError as error:
            reply = error.reply
        # No server is quoted with what it was told: some repeat the line that they do not understand.
        said = login.masked(reply.text, self.endpoint.username, self.endpoint.token or self.endpoint.password)
        reply = replace(reply, text=said)
        # A new exception: the frames of the old one hold the password, and error reports show the variables of frames.
        self._insist(reply)
        self._welcome = reply.text

    @sensitive_variables()
    def _try_mechanisms(self) -> Reply:
        offered = self._talk.esmtp_features.get("auth", "").split()
        mechanisms = login.in_common(offered, token=bool(self.endpoint.token))
        if not mechanisms and self.endpoint.token:
            self._refuse(Phase.AUTH, _("The server offers no login with OAuth2."), Obstacle.NO_LOGIN)
        if not mechanisms:
            words = _("The server offers no login with user name and password.")
            self._refuse(Phase.AUTH, words, Obstacle.NO_LOGIN)
        for mechanism in mechanisms:
            reply = self._authenticate(mechanism)
            # 504 is about the mechanism (RFC 4954, 4). A refused password is not tried twice: it locks accounts.
            if reply.code != 504:
                break
        return reply

    @sensitive_variables()
    def _authenticate(self, mechanism: str) -> Reply:
        answers = login.MECHANISMS[mechanism](self.endpoint.username, self.endpoint.token or self.endpoint.password)
        reply = self._ask(Phase.AUTH, f"AUTH {mechanism}", "3")
        for number, answer in enumerate(answers, 1):
            if reply.code != 334:
                break
            with self._step(Phase.AUTH):
                response = answer(challenge(reply.text))
            # A token is taken at once; only a refused one brings a second challenge, which says why.
            more = "3" if number < len(answers) else ""
            done = "2" if number == len(answers) or self.endpoint.token else ""
            reply = self._ask(Phase.AUTH, base64.b64encode(response).decode(), done + more)
        return reply

    # Delivering

    def _unfit(self, sender: str, to: str, text: bytes) -> Reply | None:
        """Return the refusal that an honest server would give to what it says it can't take."""
        for phase, address in ((Phase.MAIL, sender), (Phase.RCPT, to)):
            if not address.isascii() and not self._talk.has_extn("smtputf8"):  # RFC 6531, 3.5
                words = f"5.6.7 {_('The server takes no addresses with letters outside of ASCII.')}"
                return Reply(phase=phase, code=553, text=words, local=True)
        if not text.isascii() and not self._talk.has_extn("8bitmime"):
            words = f"5.6.3 {_('The server takes no messages with 8-bit text.')}"  # RFC 6152, 3
            return Reply(phase=Phase.DATA, code=554, text=words, local=True)
        return None

    def _transact(self, sender: str, to: str, text: bytes) -> Reply:
        """Run one mail transaction and return the reply that decided it."""
        utf8 = not (sender.isascii() and to.isascii())
        envelope = (
            (Phase.MAIL, f"MAIL FROM:<{sender}>{self._parameters(text, utf8=utf8)}", "2"),
            (Phase.RCPT, f"RCPT TO:<{to}>", "2"),
            (Phase.DATA, "DATA", "3"),
        )
        refusal = self._refusal(envelope)
        if refusal is not None:
            return refusal
        self._send(text)
        return self._await_verdict()

    def _refusal(self, envelope: Sequence[tuple[Phase, str, str]]) -> Reply | None:
        """Say what comes before the text and return the first refusal; at once where the server offers PIPELINING."""
        at_once = self._talk.has_extn("pipelining")
        if at_once:  # RFC 2920, 3.1: DATA is the last of a group
            try:
                self._talk.say("\r\n".join([command for _phase, command, _expected in envelope]))
            except _BROKEN as error:
                raise self._broken(Phase.MAIL, error) from error
        for number, (phase, command, expected) in enumerate(envelope, 1):
            reply = self._hear(phase, expected) if at_once else self._ask(phase, command, expected)
            if reply.refused:
                self._hear_out(envelope[number:] if at_once else ())
                return reply
        return None

    def _hear_out(self, asked: Sequence[tuple[Phase, str, str]]) -> None:
        """Take the answers to what was asked before the refusal; a server that wants the text all the same gets none.

        The refusal stands, whatever becomes of the connection now.
        """
        with suppress(TransportError):
            if any(self._hear(phase, "23").code == 354 for phase, _command, _expected in asked):
                self._hang_up()

    def _parameters(self, text: bytes, *, utf8: bool) -> str:
        offered = self._talk.has_extn
        parameters = [f"SIZE={len(text)}"] if offered("size") else []  # RFC 1870, without the added dots
        if not text.isascii():
            parameters.append("BODY=8BITMIME")
        if utf8:
            parameters.append("SMTPUTF8")
        return "".join(f" {parameter}" for parameter in parameters)

    def _send(self, text: bytes) -> None:
        """Send the text, and the final dot together with its last block, unless the server hangs up before that.

        An error of the socket, even in sending the last block, proves that the dot was not handed over: `sendall`
        raises only while bytes are left, and neither an incomplete line nor an incomplete TLS record ends a message.
        """
        stuffed = wire.dot_stuffed(text)
        last_block = max(0, len(stuffed) - 1) // CHUNK * CHUNK
        ended = memoryview(stuffed + b".\r\n")
        try:
            self._talk.send_text(ended[:last_block])
            unasked = self._talk.overhear()
            if unasked is not None:
                self._interrupted(unasked)
            self._talk.sock.sendall(ended[last_block:])
        except _BROKEN as error:
            raise self._broken(Phase.DATA, error) from error

    def _interrupted(self, words: bytes) -> NoReturn:
        if words.startswith(b"421"):
            self._fail(Reply(phase=Phase.DATA, code=421, text=readable(words[3:])))
        raise Garbage(readable(words)) if words else smtplib.SMTPServerDisconnected

    def _await_verdict(self) -> Reply:
        try:
            self._talk.sock.settimeout(self.dot_timeout)
        except _BROKEN as error:
            raise self._broken(Phase.DOT, error) from error
        reply = self._hear(Phase.DOT)
        # The verdict stands, whatever becomes of the connection now.
        with suppress(OSError):
            self._talk.sock.settimeout(self.endpoint.timeout)
        return reply

    def _reset(self) -> bool:
        """Return whether the session takes another message; one that does not is closed."""
        try:
            self._insist(self._ask(Phase.QUIT, "RSET"))
        except TransportError:
            return False
        return True

    # Asking and hearing

    @property
    def _talk(self) -> Session:
        if self._session is None:
            raise smtplib.SMTPServerDisconnected
        return self._session

    @contextmanager
    def _step(self, phase: Phase) -> Iterator[None]:
        """Turn whatever breaks inside into a `TransportError` of this phase, and end the connection."""
        try:
            yield
        except _BROKEN as error:
            raise self._broken(phase, error) from error

    def _broken(self, phase: Phase, error: Exception) -> TransportError:
        """End the connection and return what to raise."""
        self._hang_up()
        obstacle = Obstacle.NO_HOST if isinstance(error, reach.UnknownName) else None
        return TransportError(Reply(phase=phase, code=None, text=_cause(error), obstacle=obstacle))

    def _ask(self, phase: Phase, command: str, expected: str = "2") -> Reply:
        with self._step(phase):
            self._talk.say(command)
        return self._hear(phase, expected)

    # What each mail comes by catches by itself: a context manager takes as long as hearing a reply.
    def _hear(self, phase: Phase, expected: str = "2") -> Reply:
        try:
            code, words = self._talk.getreply()
        except _BROKEN as error:
            raise self._broken(phase, error) from error
        return self._judge(phase, code, words, expected)

    def _judge(self, phase: Phase, code: int, words: bytes, expected: str = "2") -> Reply:
        """Return the reply if its first digit is an expected one, 4 or 5. Raises `TransportError`, for 421 always."""
        reply = _reply(phase, code, words)
        if code == 421:  # RFC 5321, 3.8: the server is closing the connection, whatever it was asked
            self._fail(reply)
        if str(code)[0] not in f"{expected}45":
            with self._step(phase):
                raise Garbage(f"{code} {reply.text}")
        return reply

    def _insist(self, reply: Reply) -> None:
        if not reply.accepted:
            self._fail(reply)

    def _refuse(self, phase: Phase, text: str, obstacle: Obstacle) -> NoReturn:
        self._fail(Reply(phase=phase, code=None, text=text, local=True, obstacle=obstacle))

    def _fail(self, reply: Reply) -> NoReturn:
        self._hang_up()
        raise TransportError(reply)

    def _hang_up(self) -> None:
        self._ready = False
        session, self._session = self._session, None
        if session is not None:
            with suppress(OSError):
                session.close()


@lru_cache(maxsize=64)
def _reply(phase: Phase, code: int, words: bytes) -> Reply:
    """A server says the same to each mail, but for the last words."""
    return Reply(phase=phase, code=code, text=readable(words))


def _cause(error: Exception) -> str:
    if isinstance(error, TimeoutError):
        return _("The server did not answer in time.")
    if isinstance(error, Garbage):
        return _("Not a valid answer: %(words)s") % {"words": error}
    if isinstance(error, smtplib.SMTPServerDisconnected):
        return _("The server closed the connection.")
    return str(error)
