"""A connection without a socket, for tests of this app and of host projects.

    MASSMAIL_TRANSPORT = "massmail.transport.memory.MemoryConnection"

Accepted letters stand in `outbox`. `replies` scripts what happens to a recipient: a `Reply` is returned, a
`TransportError` raised. `clear()` empties both; call it between tests.
"""

from __future__ import annotations

from dataclasses import dataclass

from massmail.choices import Phase
from massmail.transport.base import Endpoint, Facts, Reply, TransportError
from massmail.transport.wire import envelope_address


@dataclass(frozen=True, slots=True, kw_only=True)
class Letter:
    """What the server would have been given, and under which login."""

    sender: str
    to: str
    data: bytes
    endpoint_host: str
    username: str


outbox: list[Letter] = []
replies: dict[str, Reply | TransportError] = {}

_ACCEPTED = Reply(phase=Phase.DOT, code=250, text="2.0.0 Kept in memory")


def clear() -> None:
    """Forget all letters and all scripted replies."""
    outbox.clear()
    replies.clear()


class MemoryConnection:
    """Keeps every letter in `outbox`, unless `replies` says otherwise about its recipient."""

    def __init__(self, endpoint: Endpoint) -> None:
        self.endpoint = endpoint
        self._open = False

    @property
    def usable(self) -> bool:
        return self._open

    @property
    def facts(self) -> Facts:
        return Facts()

    def open(self) -> None:
        self._open = True

    def deliver(self, *, sender: str, to: str, data: bytes) -> Reply:
        """Do as scripted. A failure after the dot keeps the letter, like a server that took it and then fell silent."""
        if not self._open:
            raise RuntimeError("deliver() on a connection that is not open.")
        envelope_address(sender)
        envelope_address(to)
        script = replies.get(to, _ACCEPTED)
        if isinstance(script, TransportError):
            self._open = False
            if script.handed_over:
                self._keep(sender, to, data)
            raise TransportError(script.reply)
        if script.accepted:
            self._keep(sender, to, data)
        return script

    def _keep(self, sender: str, to: str, data: bytes) -> None:
        where = self.endpoint
        outbox.append(Letter(sender=sender, to=to, data=data, endpoint_host=where.host, username=where.username))

    def close(self) -> None:
        self._open = False
