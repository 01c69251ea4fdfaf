"""Reading a mailbox over IMAP (RFC 9051, RFC 3501): nothing is ever changed there, and the server is not trusted.

Folders are opened with EXAMINE and mail is fetched with BODY.PEEK, so that nothing is marked as read.
"""

from __future__ import annotations

import datetime as dt
import imaplib
import ssl
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any

from django.utils.translation import gettext as _
from django.views.decorators.debug import sensitive_variables
from imapclient import exceptions

from massmail.choices import Obstacle, Phase, Security
from massmail.transport import login
from massmail.transport.base import Endpoint, Facts
from massmail.transport.imap_session import ALLOWANCE, ContextFactory, NoSTARTTLS, TooMuch, WaryClient
from massmail.transport.reach import PrivateAddress, UnknownName
from massmail.transport.session import readable

#: Octets a list of UIDs may have: of more than a million mails.
LISTING = 8 << 20
#: Octets of everything around a mail in the answer to FETCH.
CHATTER = 1 << 16
#: Seconds that saying goodbye may take.
GOODBYE = 5.0
INBOX = "INBOX"
#: What is no UID (RFC 9051, 2.3.1.1), and no UIDVALIDITY that a database column holds.
MAX_UID, MAX_VALIDITY = 1 << 32, (1 << 63) - 1

#: Names of special folders where the server does not tell which they are (RFC 6154), without what they stand in.
_NAMES = {
    b"\\Junk": {
        "junk", "spam", "junk e-mail", "junk email", "junk-e-mail", "junk mail", "bulk mail", "spamverdacht",
        "unerwünscht", "courrier indésirable", "indésirables", "correo no deseado", "posta indesiderata",
        "ongewenste e-mail", "нежелательная почта", "спам", "небажана пошта",
    },
    b"\\Sent": {
        "sent", "sent mail", "sent items", "sent messages", "sent-mail", "gesendet", "gesendete elemente",
        "gesendete objekte", "éléments envoyés", "envoyés", "enviados", "elementos enviados", "inviata",
        "posta inviata", "verzonden", "verzonden items", "отправленные", "надіслані",
    },
}  # fmt: skip
#: What a server says of a login that would have succeeded at another time (RFC 5530, and Gmail's own words).
_FOR_NOW = ("[unavailable]", "[inuse]", "[limit]", "too many", "try again", "temporar")
#: What parsing a malformed answer raises in imaplib and IMAPClient.
_GARBAGE = (ValueError, LookupError, TypeError, AttributeError, AssertionError, RecursionError, OverflowError)


class MailboxError(Exception):
    """The mailbox can't be read. The text says why; `login` that it needs a person: the login or the settings.

    `phase` tells how far opening it came, and `obstacle` what on our side kept it from going on.
    """

    def __init__(
        self, text: str, *, login: bool = False, phase: Phase | None = None, obstacle: Obstacle | None = None
    ) -> None:
        super().__init__(text)
        self.login, self.phase, self.obstacle = login, phase, obstacle


class OversizeError(MailboxError):
    """The server answered with more than it was asked for."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Folder:
    """A folder as it was opened: a UID belongs to the same mail for as long as `uid_validity` stays the same."""

    name: str
    uid_validity: int
    uid_next: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Fetched:
    """A mail, or the first part of it: `size` is that of the whole in octets, `received_at` None if not told."""

    uid: int
    size: int
    received_at: dt.datetime | None
    data: bytes


class IMAPConnection:
    """One session with one server, which may last `patience` seconds at most. Not to be shared by threads."""

    #: Makes the context that certificates are verified with.
    context_factory: ContextFactory = staticmethod(ssl.create_default_context)

    def __init__(self, endpoint: Endpoint, *, patience: float) -> None:
        self.endpoint, self.patience = endpoint, patience
        self._open: WaryClient | None = None

    @property
    def usable(self) -> bool:
        """Whether the session goes on after the last error."""
        return self._open is not None

    @property
    def facts(self) -> Facts:
        """What the server said and agreed to while the session was opened; empty where it is not open."""
        if self._open is None:
            return Facts()
        return Facts(
            encryption=self._open.encryption, greeting=readable(self._open.welcome or b"").removeprefix("* OK ")
        )

    def open(self) -> None:
        """Connect, encrypt, log in. Raises `MailboxError`."""
        where = self.endpoint
        if where.security == Security.NONE and (where.password or where.token) and not where.clear_text:
            raise MailboxError(
                _(
                    "No password is sent without TLS. Choose STARTTLS or SSL/TLS for %(host)s, "
                    "or add it to MASSMAIL_CLEAR_TEXT_HOSTS."
                )
                % {"host": where.host},
                login=True,
                phase=Phase.AUTH,
                obstacle=Obstacle.CLEAR_TEXT,
            )
        try:
            with self._step():
                deadline = time.monotonic() + self.patience
                self._open = WaryClient(where, context=self.context_factory, deadline=deadline)
                if where.security == Security.STARTTLS:
                    self._open.encrypt()
            if where.username:
                self._log_in()
        except BaseException:
            self.close()
            raise

    def _log_in(self) -> None:
        """Log in. The error is a new one: the frames of the old one hold the password."""
        failure = None
        try:
            with self._step():
                try:
                    self._try_login()
                except exceptions.LoginError as error:
                    if isinstance(error.__context__, imaplib.IMAP4.abort):
                        raise error.__context__ from None
                    failure = self._masked(error)
        except MailboxError as error:
            error.args = (self._masked(error),)
            raise
        if failure is not None:
            raise MailboxError(
                _("The server refuses the login: %(words)s") % {"words": failure},
                login=not any(words in failure.lower() for words in _FOR_NOW),
                phase=Phase.AUTH,
            )

    def _masked(self, error: Exception) -> str:
        """Return the words of `error`: servers that repeat what they do not understand are not quoted with it."""
        return login.masked(_words(error), self.endpoint.username, self.endpoint.token or self.endpoint.password)

    @sensitive_variables()
    def _try_login(self) -> None:
        where, client = self.endpoint, self._client
        if where.token:
            bearer_only = client.has_capability("AUTH=OAUTHBEARER") and not client.has_capability("AUTH=XOAUTH2")
            log_in = client.oauthbearer_login if bearer_only else client.oauth2_login
            log_in(where.username, where.token)
        elif client.has_capability("AUTH=PLAIN"):
            client.plain_login(where.username, where.password)  # in any script, as LOGIN is not
        elif client.has_capability("LOGINDISABLED"):
            raise exceptions.LoginError(_("It offers no login with user name and password."))
        elif not (where.username + where.password).isascii() or any(c in where.username for c in "\r\n\0"):
            raise exceptions.LoginError(_("It takes no letters outside of ASCII in user names and passwords."))
        else:
            quoted = where.username.replace("\\", "\\\\").replace('"', '\\"')
            client.login(f'"{quoted}"', where.password)

    def special_folder(self, use: bytes) -> str:
        r"""Return the name of the folder for this use, `b"\\Junk"` or `b"\\Sent"`, "" if there is none."""
        with self._step():
            listed = [
                ({flag.lower() for flag in flags}, (delimiter or b"/").decode(), str(name))
                for flags, delimiter, name in self._client.list_folders()
            ]
        folders = [(flags, delimiter, name) for flags, delimiter, name in listed if b"\\noselect" not in flags]
        marked = (name for flags, _delimiter, name in folders if use.lower() in flags)
        named = (name for _f, delimiter, name in folders if name.rpartition(delimiter)[2].lower() in _NAMES[use])
        return next(marked, "") or next(named, "")

    def examine(self, name: str) -> Folder:
        """Open the folder for reading only."""
        with self._step():
            told = self._client.select_folder(name, readonly=True)
            return Folder(
                name=name,
                uid_validity=min(int(told.get(b"UIDVALIDITY", 0)), MAX_VALIDITY),
                uid_next=int(told.get(b"UIDNEXT", 0)),
            )

    def uids_from(self, first: int) -> list[int]:
        """Return the UIDs of the open folder from `first` on, in order.

        "n:*" names the last mail even where that comes before n (RFC 9051, 6.4.8).
        """
        return [uid for uid in self._search(["UID", f"{first}:*"]) if uid >= first]

    def uids_since(self, day: dt.date) -> list[int]:
        """Return the UIDs of what arrived in the open folder on `day` (of the server's own calendar) or later."""
        return self._search(["SINCE", day])

    def holds(self, message_id: str) -> bool:
        """Tell whether the open folder has the mail with this Message-ID, or with it in our own header."""
        return bool(self.find(message_id))

    def find(self, message_id: str) -> list[int]:
        """Return the UIDs of the mails in the open folder with this Message-ID, or with it in our own header."""
        bare = message_id.strip("<>")
        return self._search(["OR", "HEADER", "Message-ID", message_id, "HEADER", "X-Massmail-ID", bare])

    def _search(self, criteria: list[object]) -> list[int]:
        with self._step(LISTING):
            return sorted({uid for uid in self._client.search(criteria) if 0 < uid < MAX_UID})

    def fetch(self, uid: int, *, limit: int) -> Fetched | None:
        """Return at most the first `limit` octets of a mail of the open folder, None if it is gone.

        Raises `OversizeError`, after which the session is over, and `MailboxError`.
        """
        return next(iter(self.fetch_all([uid], limit=limit)), None)

    def fetch_all(self, uids: Sequence[int], *, limit: int) -> list[Fetched]:
        """Return at most the first `limit` octets of each of these mails, in their order, without those that are gone.

        One command for all of them. Raises like `fetch`.
        """
        with self._step((2 * limit + CHATTER) * len(uids)):
            items = [b"RFC822.SIZE", b"INTERNALDATE", f"BODY.PEEK[]<0.{limit}>".encode()]
            found = self._client.fetch(list(uids), items)
            return [_fetched(uid, found[uid], limit) for uid in uids if uid in found]

    def close(self) -> None:
        """Say goodbye and close. Never raises."""
        client, self._open = self._open, None
        if client is None:
            return
        with suppress(TooMuch, OSError, imaplib.IMAP4.error, *_GARBAGE):
            client.hurry(GOODBYE)
            client.allow(ALLOWANCE)
            client.logout()
        with suppress(OSError):
            client.shutdown()

    @property
    def _client(self) -> WaryClient:
        if self._open is None:
            raise ConnectionError(_("The server closed the connection."))
        return self._open

    @contextmanager
    def _step(self, allowance: int = ALLOWANCE) -> Iterator[None]:
        """Turn whatever breaks inside into a `MailboxError`. Only after a plain NO or BAD the session goes on."""
        if self._open is not None:
            self._open.allow(allowance)
        try:
            yield
        except MailboxError:
            raise
        except TooMuch:
            self._hang_up()
            raise OversizeError(_("The server sent more than it was asked for.")) from None
        except (OSError, imaplib.IMAP4.abort, PrivateAddress, NoSTARTTLS) as error:
            self._hang_up()
            raise MailboxError(
                _cause(error), login=_needs_person(error), phase=_phase(error), obstacle=_obstacle(error)
            ) from error
        except imaplib.IMAP4.error as error:
            raise MailboxError(_("The server said: %(words)s") % {"words": _words(error)}) from error
        except _GARBAGE as error:
            self._hang_up()
            raise MailboxError(_("Not a valid answer: %(words)s") % {"words": _words(error)}) from error

    def _hang_up(self) -> None:
        client, self._open = self._open, None
        if client is not None:
            with suppress(OSError):
                client.shutdown()


def _fetched(uid: int, found: dict[bytes, Any], limit: int) -> Fetched:
    data = found.get(b"BODY[]<0>") or found.get(b"BODY[]") or b""
    if not isinstance(data, bytes):
        raise TypeError("A mail that is not a string")
    received_at = found.get(b"INTERNALDATE")
    return Fetched(
        uid=uid,
        size=max(len(data), min(int(found.get(b"RFC822.SIZE") or 0), MAX_VALIDITY)),
        received_at=received_at if isinstance(received_at, dt.datetime) and received_at.tzinfo else None,
        data=data[:limit],
    )


def _needs_person(error: Exception) -> bool:
    return isinstance(error, ssl.SSLCertVerificationError | PrivateAddress | NoSTARTTLS)


def _phase(error: Exception) -> Phase:
    """Return in which step of opening `error` must have come up."""
    if isinstance(error, ssl.SSLError | NoSTARTTLS):
        return Phase.STARTTLS
    return Phase.BANNER if isinstance(error, imaplib.IMAP4.abort) else Phase.CONNECT


def _obstacle(error: Exception) -> Obstacle | None:
    found = {
        PrivateAddress: Obstacle.PRIVATE,
        UnknownName: Obstacle.NO_HOST,
        NoSTARTTLS: Obstacle.NO_STARTTLS,
        ssl.SSLCertVerificationError: Obstacle.CERTIFICATE,
        ssl.SSLError: Obstacle.NO_TLS,
    }
    return next((obstacle for kind, obstacle in found.items() if isinstance(error, kind)), None)


def _cause(error: Exception) -> str:
    if isinstance(error, TimeoutError):
        return _("The server did not answer in time.")
    if isinstance(error, ssl.SSLCertVerificationError):
        return _("The server's certificate cannot be trusted: %(why)s") % {"why": error.verify_message}
    if isinstance(error, ssl.SSLError):
        return _("No TLS with this server: %(why)s") % {"why": error.reason or error}
    if isinstance(error, imaplib.IMAP4.abort):
        return _("The server closed the connection: %(words)s") % {"words": _words(error)}
    return str(error)


def _words(error: Exception) -> str:
    return readable(str(error).encode("utf-8", "replace"))[:500]
