"""What every outgoing connection takes and gives. Nothing here knows a model."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Protocol

from django.utils.module_loading import import_string

from massmail.choices import Obstacle, Phase, Security
from massmail.conf import conf
from massmail.exceptions import MassmailConfigurationError

# At the start of a line (RFC 2034, section 4), or behind the "#" with which qmail and IronPort write it elsewhere.
_ENHANCED_STATUS = re.compile(r"(?:^|#)([245]\.\d{1,3}\.\d{1,3})(?![\d.])", re.MULTILINE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoint:
    """A server and how to speak to it; `timeout` in seconds for each command.

    No login without a `username`; with an OAuth2 access `token` it takes the password's place. `clear_text` allows a
    password or token on a connection without TLS, `trusted` an address in a private network.
    """

    host: str
    port: int
    security: Security
    username: str = ""
    password: str = field(default="", repr=False)
    token: str = field(default="", repr=False)
    timeout: float = 60.0
    clear_text: bool = False
    trusted: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """The last words of a conversation: the step they belong to, the server's code (None: no usable answer), the text.

    `local` marks words of our own: this side would not go on, because the certificate, the login or the address does
    not fit this server. Without a code that is the account's configuration, which no retry will mend; `obstacle` says
    what of it.
    """

    phase: Phase
    code: int | None
    text: str
    local: bool = False
    obstacle: Obstacle | None = None

    @property
    def accepted(self) -> bool:
        return self.code is not None and 200 <= self.code < 300

    @property
    def refused(self) -> bool:
        return self.code is not None and self.code >= 400

    @property
    def status(self) -> str:
        """The enhanced status code (RFC 3463) like "5.1.1", or "" when there is none that agrees with `code`."""
        if self.code is None:
            return ""
        found = _ENHANCED_STATUS.findall(self.text)
        return next((status for status in found if status[0] == str(self.code)[0]), "")

    @property
    def words(self) -> str:
        """What the server said, for people: code and text."""
        return self.text if self.code is None else f"{self.code} {self.text}"

    def __str__(self) -> str:
        return f"{self.phase.value}: {self.words}"


class TransportError(Exception):
    """The connection failed and can no longer be used. `reply` says where, and what was heard last."""

    def __init__(self, reply: Reply) -> None:
        super().__init__(reply)
        self.reply = reply

    @property
    def handed_over(self) -> bool:
        """Whether the server may have taken the message: it may have had the final dot, and gave no answer to it.

        A 421 to the dot is an answer: the server did not take the message (RFC 5321, 4.2.1).
        """
        return self.reply.phase is Phase.DOT and not self.reply.refused


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """An open connection: the TLS version ("TLSv1.3", "" without TLS), and what the server said to greeting and login.

    `size_limit` is the largest message in octets that it says it takes (RFC 1870), None if it does not say.
    """

    encryption: str = ""
    greeting: str = ""
    welcome: str = ""
    size_limit: int | None = None


class Connection(Protocol):
    """One session with one server, for any number of messages one after the other. Not to be shared by threads."""

    def __init__(self, endpoint: Endpoint) -> None: ...

    @property
    def usable(self) -> bool:
        """Whether `deliver` may be called: opened, and neither closed nor failed since."""

    @property
    def facts(self) -> Facts:
        """What the server said and agreed to while the connection was opened; empty where it is not open."""

    def open(self) -> None:
        """Connect and log in. Raises `TransportError`; the connection is closed then and may be opened again."""

    def deliver(self, *, sender: str, to: str, data: bytes) -> Reply:
        """Offer one message to one recipient and return the answer that decided: 2xx accepted, 4xx or 5xx refused.

        Raises `TransportError` when the connection is lost or closed by the server, `ValueError` for an address that
        cannot be written into a command. After a refusal the connection is usable again, unless `usable` says no.
        """

    def close(self) -> None:
        """Say goodbye and close. Never raises, may be called at any time."""


def connection_class() -> type[Connection]:
    """Return the class named by `MASSMAIL_TRANSPORT`. Raises `MassmailConfigurationError`."""
    try:
        found: type[Connection] = import_string(conf.transport)
    except ImportError as error:
        raise MassmailConfigurationError(f"MASSMAIL_TRANSPORT cannot be imported: {error}") from error
    return found
