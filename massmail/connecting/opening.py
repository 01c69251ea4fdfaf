"""Opening a conversation with an account's server. A token that the server refuses is renewed, once."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TypeVar

from django.views.decorators.debug import sensitive_variables

from massmail.choices import Phase
from massmail.connecting.endpoints import imap_endpoint, smtp_endpoint
from massmail.connecting.tokens import renew
from massmail.models import EmailAccount
from massmail.transport import Connection, Endpoint, Reply, TransportError, connection_class
from massmail.transport.imap import IMAPConnection, MailboxError

T = TypeVar("T", Connection, IMAPConnection)


def open_smtp(account: EmailAccount) -> Connection:
    """Return an open connection to where mail of `account` is handed in. Raises `TransportError`."""
    return _opened(account, lambda: smtp_endpoint(account), connection_class())


def open_imap(account: EmailAccount, *, timeout: float, patience: float) -> IMAPConnection:
    """Return an open session with the mailbox of `account`, of `patience` seconds, `timeout` for each answer.

    Raises `MailboxError`, and `TransportError` if no token can be had.
    """
    return _opened(
        account,
        lambda: replace(imap_endpoint(account), timeout=timeout),
        lambda endpoint: IMAPConnection(endpoint, patience=patience),
    )


def token_refused(endpoint: Endpoint, failure: Reply | MailboxError) -> bool:
    """Tell whether the server took the token of `endpoint` for a bad one: another one may do."""
    if not endpoint.token or failure.phase is not Phase.AUTH or failure.obstacle is not None:
        return False
    if isinstance(failure, MailboxError):
        return failure.login
    # 504 is about the mechanism (RFC 4954, 4).
    return failure.code is not None and failure.code >= 500 and failure.code != 504


@sensitive_variables()
def _opened(account: EmailAccount, where: Callable[[], Endpoint], make: Callable[[Endpoint], T]) -> T:
    endpoint = where()
    connection = make(endpoint)
    try:
        connection.open()
    except (TransportError, MailboxError) as error:
        if not token_refused(endpoint, error.reply if isinstance(error, TransportError) else error):
            raise
    else:
        return connection
    renew(account, refused=endpoint.token)
    connection = make(where())
    connection.open()
    return connection
