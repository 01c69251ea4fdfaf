"""The IMAP conversation itself: imaplib's client on a leash.

imaplib reads whatever a server announces: a literal of 8 GB, responses without end, one octet a minute for a week. Here
each command has an allowance of octets, and the session a last moment; who exceeds them is hung up on.
"""

from __future__ import annotations

import imaplib
import socket
import ssl
import time
from collections.abc import Callable

from django.utils.translation import gettext as _
from imapclient import IMAPClient

from massmail.choices import Security
from massmail.transport import reach, wire
from massmail.transport.base import Endpoint

#: Octets a server may send in answer to one command, unless it was asked for more.
ALLOWANCE = 1 << 20
CHUNK = 1 << 16


#: Makes the context that certificates are verified with; that takes a while, so only where there is TLS.
ContextFactory = Callable[[], ssl.SSLContext]


class TooMuch(Exception):
    """The server sends more than it was asked for. What follows can't be read any more.

    Not one of imaplib's errors, which it would replace by others on their way.
    """


class NoSTARTTLS(Exception):
    """The server does not begin TLS, or somebody between keeps it from doing so."""


class WaryIMAP4(imaplib.IMAP4):
    """imaplib's client with an allowance of octets for each command and a deadline on the monotonic clock."""

    def __init__(self, endpoint: Endpoint, context: ContextFactory, deadline: float) -> None:
        self._endpoint, self._context, self.deadline = endpoint, context, deadline
        self.allowance = ALLOWANCE
        super().__init__(endpoint.host, endpoint.port)

    def open(self, host: str = "", port: int = 0, timeout: float | None = None) -> None:
        where = self._endpoint
        self.host, self.port = host, port
        try:
            self.sock = reach.connect(where.host, where.port, timeout=where.timeout, trusted=where.trusted)
        except ValueError:  # a label over 63 letters, a NUL
            raise reach.UnknownName(_("“%(host)s” is not the name of a server.") % {"host": where.host}) from None
        if where.security == Security.SSL:
            self.sock = self._encrypted()
        self._buffer = bytearray()

    def encrypt(self) -> None:
        """Begin TLS with STARTTLS; what was slipped in before it is forgotten (RFC 9051, 6.2.1)."""
        if self.state != "NONAUTH":
            raise self.abort("PREAUTH before STARTTLS")
        if not self._begins_tls():
            raise NoSTARTTLS(_("The server does not offer STARTTLS."))
        self.sock = self._encrypted()
        self._buffer.clear()
        self.untagged_responses.clear()
        self._get_capabilities()

    def _begins_tls(self) -> bool:
        try:
            return bool(self._simple_command("STARTTLS")[0] == "OK")
        except self.abort:
            raise
        except self.error:  # BAD: it does not know the command
            return False

    def _encrypted(self) -> socket.socket:
        try:
            return self._context().wrap_socket(self.sock, server_hostname=self.host)
        except BaseException:
            self.sock.close()
            raise

    def read(self, size: int) -> bytes:
        """Return a literal of `size` octets. Raises `TooMuch` before anything of one that is too large is read."""
        self._spend(size)
        while len(self._buffer) < size:
            self._receive()
        return self._take(size)

    def readline(self) -> bytes:
        searched = 0
        while (end := self._buffer.find(b"\n", searched)) < 0:
            searched = len(self._buffer)
            if searched > self.allowance:
                raise TooMuch("A line without end")
            self._receive()
        self._spend(end + 1)
        return self._take(end + 1)

    def _spend(self, size: int) -> None:
        if size > self.allowance:
            raise TooMuch(f"{size} octets announced")
        self.allowance -= size

    def _take(self, size: int) -> bytes:
        taken = bytes(self._buffer[:size])
        del self._buffer[:size]
        return taken

    def _receive(self) -> None:
        left = self.deadline - time.monotonic()
        if left <= 0:
            raise TimeoutError
        self.sock.settimeout(min(self._endpoint.timeout, left))
        data = self.sock.recv(CHUNK)
        if not data:
            raise self.abort("socket error: EOF")
        self._buffer += data

    def shutdown(self) -> None:
        self.sock.close()


class WaryClient(IMAPClient):
    """IMAPClient, which parses responses, on top of `WaryIMAP4`."""

    _imap: WaryIMAP4

    def __init__(self, endpoint: Endpoint, *, context: ContextFactory, deadline: float) -> None:
        self._endpoint, self._context, self._deadline = endpoint, context, deadline
        # `ssl` only tells IMAPClient which STARTTLS it may offer; the socket is ours.
        super().__init__(
            endpoint.host, port=endpoint.port, ssl=endpoint.security == Security.SSL, timeout=endpoint.timeout
        )
        self._imap.debug = 0  # or logins would be logged
        self.normalise_times = False

    def _create_IMAP4(self) -> WaryIMAP4:
        return WaryIMAP4(self._endpoint, self._context, self._deadline)

    def encrypt(self) -> None:
        self._imap.encrypt()
        self._cached_capabilities = None
        self._starttls_done = True

    @property
    def encryption(self) -> str:
        return wire.tls_version(self._imap.sock)

    def allow(self, octets: int) -> None:
        """Grant the next commands `octets` together."""
        self._imap.allowance = octets

    def hurry(self, seconds: float) -> None:
        """Leave the server so many seconds from now."""
        self._imap.deadline = min(self._imap.deadline, time.monotonic() + seconds)
