"""Handing in one mail while somebody waits in front of a screen."""

from __future__ import annotations

import time
from queue import Empty, SimpleQueue
from threading import Thread
from typing import Any

from django.utils.translation import gettext as _
from django.views.decorators.debug import sensitive_variables

from massmail.choices import Phase
from massmail.connecting.endpoints import smtp_endpoint
from massmail.connecting.opening import token_refused
from massmail.connecting.tokens import renew
from massmail.models import EmailAccount
from massmail.transport import Endpoint, Reply, TransportError, connection_class


@sensitive_variables()
def hand_in(account: EmailAccount, *, sender: str, to: str, data: bytes, patience: float) -> Reply:
    """Hand the mail `data` in through `account`, wait `patience` seconds at most, and return the answer that decided.

    `sender` and `to` are bare addresses. Who gives up waiting has no answer to the end of the mail: it may have left.
    """
    deadline = time.monotonic() + patience
    mail = {"sender": sender, "to": to, "data": data}
    try:
        endpoint = smtp_endpoint(account)
        reply = _answer(endpoint, mail, patience)
        if token_refused(endpoint, reply):
            renew(account, refused=endpoint.token)
            reply = _answer(smtp_endpoint(account), mail, max(1.0, deadline - time.monotonic()))
    except TransportError as error:
        return error.reply
    return reply


def _answer(endpoint: Endpoint, mail: dict[str, Any], patience: float) -> Reply:
    answers: SimpleQueue[Reply] = SimpleQueue()
    # A server may take ten minutes for its last answer (RFC 5321, 4.5.3.2.6), and each step before has a time-out of
    # its own: the thread goes on, and whoever waits is told.
    talk = Thread(target=lambda: answers.put(_conversation(endpoint, **mail)), daemon=True)
    talk.start()
    try:
        return answers.get(timeout=patience)
    except Empty:
        return Reply(
            phase=Phase.DOT, code=None, text=_("no answer within %(seconds)s seconds") % {"seconds": round(patience, 1)}
        )


def _conversation(endpoint: Endpoint, **mail: Any) -> Reply:
    connection = connection_class()(endpoint)
    try:
        connection.open()
        return connection.deliver(**mail)
    except TransportError as error:
        return error.reply
    finally:
        connection.close()
