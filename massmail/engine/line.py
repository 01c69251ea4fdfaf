"""The line to an account's mail server: opened when somebody is to be served, kept as long as the turn lasts."""

from __future__ import annotations

from massmail.choices import Phase
from massmail.composing import Envelope
from massmail.connecting import open_smtp
from massmail.models import EmailAccount
from massmail.transport import Connection, Reply, TransportError


class Line:
    """The connection of one turn of `account`, opened anew where the server has closed it."""

    def __init__(self, account: EmailAccount) -> None:
        self.account = account
        self.connection: Connection | None = None

    def open(self) -> Reply | None:
        """Have a connection open, before anybody is claimed, so that a dead server harms nobody; return what failed."""
        if self.connection is not None and self.connection.usable:
            return None
        self.close()
        try:
            self.connection = open_smtp(self.account)
        except TransportError as error:
            return error.reply
        return None

    def hand_in(self, envelope: Envelope) -> Reply:
        """Hand one mail to the server and return the reply that decided about it."""
        failure = self.open()  # the server may have closed after its last answer
        if failure is not None or self.connection is None:
            return failure or Reply(phase=Phase.CONNECT, code=None, text="")
        try:
            return self.connection.deliver(sender=envelope.sender, to=envelope.to, data=envelope.data)
        except TransportError as error:
            return error.reply

    def close(self) -> None:
        """Say goodbye, if anybody is there."""
        if self.connection is not None:
            self.connection.close()
            self.connection = None
