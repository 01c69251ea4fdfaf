"""A world whose mail really leaves, for a scripted server."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from massmail.transport import Reply
from massmail.transport.smtp import SMTPConnection
from tests import world
from tests.smtpd import SMTPServer

#: More than the buffers of both sockets take: it is certain who is heard first, the server that hangs up or the dot.
LONG = b"More of the same, and more, and still more of it, on and on and on and on.\r\n" * 200_000


@pytest.fixture(autouse=True)
def _settings(db: None, settings: Any) -> None:
    settings.MASSMAIL_TRANSPORT = "massmail.transport.smtp.SMTPConnection"
    settings.MASSMAIL_SMTP_TIMEOUT = 5
    world.settings()


@pytest.fixture
def serve() -> Iterator[Callable[..., SMTPServer]]:
    """Start scripted SMTP servers that end with the test; takes the arguments of `SMTPServer`."""
    with ExitStack() as servers:
        yield lambda **script: servers.enter_context(SMTPServer(**script))


@pytest.fixture
def server(serve: Callable[..., SMTPServer]) -> SMTPServer:
    return serve()


@pytest.fixture
def at_length(monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[[str], bool]], None]:
    """Have the texts be long of those mails whose recipient is `wanted`."""

    def at_length(wanted: Callable[[str], bool]) -> None:
        deliver = SMTPConnection.deliver

        def deliver_at_length(self: SMTPConnection, *, sender: str, to: str, data: bytes) -> Reply:
            return deliver(self, sender=sender, to=to, data=data + LONG if wanted(to) else data)

        monkeypatch.setattr(SMTPConnection, "deliver", deliver_at_length)

    return at_length


@pytest.fixture
def journal(tmp_path: Path) -> Path:
    """Where a server of its own process writes what it accepted."""
    return tmp_path / "mail.jsonl"


@pytest.fixture
def env(process_env: dict[str, str], settings: Any) -> dict[str, str]:
    """The environment of workers and beat: mail that really leaves, short ticks and leases. No broker yet."""
    settings.MASSMAIL_TICK_SECONDS = 1
    return process_env | {
        "MASSMAIL_TRANSPORT": "massmail.transport.smtp.SMTPConnection",
        "MASSMAIL_LEASE_SECONDS": "2",
        "MASSMAIL_TICK_SECONDS": "1",
    }
