"""The demo's mail server: takes everything, refuses some addresses, delivers nothing."""

import asyncio
import logging
import signal
from dataclasses import dataclass
from functools import partial

from aiosmtpd.smtp import SMTP, AuthResult, Envelope, LoginPassword, Session

from example_project.demo.mailstore import MailStore

logger = logging.getLogger(__name__)

HOST = "127.0.0.1"
MAX_BYTES = 30 * 1024 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusal:
    """The answer to RCPT for local parts that begin with a word. With `once` the second try is accepted."""

    reply: str
    once: bool = False


REFUSALS = {
    "nouser": Refusal(reply="550 5.1.1 No such user here"),
    "spam": Refusal(reply="554 5.7.1 Message refused by policy"),
    "full": Refusal(reply="452 4.2.2 Mailbox is full"),
    "grey": Refusal(reply="450 4.2.0 Greylisted, try again later", once=True),
}


class Catcher:
    """Handler of aiosmtpd's SMTP: keeps accepted messages in `store`."""

    def __init__(self, store: MailStore) -> None:
        self.store = store
        self.tried: set[str] = set()

    async def handle_RCPT(
        self, server: SMTP, session: Session, envelope: Envelope, address: str, rcpt_options: list[str]
    ) -> str:
        refusal = self._refusal(address.lower())
        if refusal is not None:
            return refusal
        envelope.rcpt_tos.append(address)
        return "250 2.1.5 OK"

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:
        content = envelope.original_content or b""
        number = self.store.add(sender=envelope.mail_from or "", recipients=envelope.rcpt_tos, raw=content)
        return f"250 2.0.0 Kept as {number}"

    def _refusal(self, address: str) -> str | None:
        for word, refusal in REFUSALS.items():
            if address.startswith(word) and not (refusal.once and address in self.tried):
                self.tried.add(address)
                return refusal.reply
        return None


def accept_anybody(
    server: SMTP, session: Session, envelope: Envelope, mechanism: str, credentials: LoginPassword
) -> AuthResult:
    """Let every user name and password in: the demo shows that they are asked for, not that they are right."""
    return AuthResult(success=True)


def smtp_factory(store: MailStore) -> "partial[SMTP]":
    """Return what makes an SMTP session per connection, as `loop.create_server` wants it."""
    return partial(
        SMTP,
        Catcher(store),
        data_size_limit=MAX_BYTES,
        enable_SMTPUTF8=True,
        hostname="demo.localhost",
        authenticator=accept_anybody,
        auth_require_tls=False,
    )


async def serve(*, port: int, store: MailStore) -> None:
    """Catch mail on the loopback address until SIGTERM or SIGINT."""
    # aiosmtpd warns of an attribute of its own at each login.
    logging.getLogger("mail.log").setLevel(logging.ERROR)
    loop = asyncio.get_running_loop()
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    server = await loop.create_server(smtp_factory(store), host=HOST, port=port)
    logger.info("Catching mail on %s:%s", HOST, port)
    async with server:
        await stop.wait()
