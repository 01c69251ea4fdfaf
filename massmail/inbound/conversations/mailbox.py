"""Looking into a mailbox live: what lies there, page by page, and single mails in full. Nothing is changed there."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from django.utils.translation import gettext as _

from massmail.conf import conf
from massmail.connecting import open_imap
from massmail.conversations import ConversationType
from massmail.inbound.conversations import matching
from massmail.inbound.conversations.letters import MAX_MAIL, Letter, letter, untagged
from massmail.models import Correspondence, Delivery, EmailAccount
from massmail.transport import TransportError
from massmail.transport.imap import INBOX, Fetched, IMAPConnection, MailboxError

#: Mails on a page, octets of each that are read for it, and characters of its first lines that are shown.
PAGE, LIMIT, FIRST_LINES = 25, 1 << 15, 240
#: Seconds somebody waits in front of a screen: for one answer of the server, for the list, and for mails in full.
SILENCE, PATIENCE, LONG_PATIENCE = 10.0, 45.0, 120.0


class MailboxUnavailable(Exception):
    """The mailbox can't be shown. The text says why, `remedy` what to do."""

    def __init__(self, text: str, remedy: str) -> None:
        super().__init__(text)
        self.remedy = remedy


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """A mail of the list. `imported` is where it lies already, `person` the host object with the sender's address."""

    uid: int
    letter: Letter
    at: dt.datetime | None
    size: int
    delivery: Delivery | None
    imported: Correspondence | None
    person: Any

    @property
    def subject(self) -> str:
        return untagged(self.letter.subject)

    @property
    def first_lines(self) -> str:
        text = " ".join(self.letter.text.split())
        return text if len(text) <= FIRST_LINES else text[:FIRST_LINES] + "…"


@dataclass(frozen=True, slots=True, kw_only=True)
class View:
    """A page of the inbox, the newest mail first; `number` counts from 1."""

    validity: int
    entries: Sequence[Entry]
    number: int
    pages: int
    total: int


def look(account: EmailAccount, kind: ConversationType, *, number: int) -> View:
    """Return a page of the inbox of `account`, the last one if `number` is beyond it. Raises `MailboxUnavailable`."""
    with _opened(account) as connection:
        folder = connection.examine(INBOX)
        uids = connection.uids_from(1)[::-1]
        pages = max(1, -(-len(uids) // PAGE))
        number = min(max(number, 1), pages)
        wanted = uids[(number - 1) * PAGE : number * PAGE]
        fetched = connection.fetch_all(wanted, limit=LIMIT) if wanted else []
    return View(
        validity=folder.uid_validity,
        entries=_entries(account, kind, fetched),
        number=number,
        pages=pages,
        total=len(uids),
    )


def fetch(account: EmailAccount, uids: Sequence[int], *, validity: int) -> Iterator[Fetched]:
    """Yield these mails of the inbox one by one, the oldest first; those that are gone are left out.

    Raises `MailboxUnavailable`, also if the server numbered its mail anew since `validity`.
    """
    with _opened(account, patience=LONG_PATIENCE) as connection:
        if connection.examine(INBOX).uid_validity != validity:
            raise MailboxUnavailable(
                _("The server of “%(account)s” has numbered its mail anew.") % {"account": account.name},
                _("Choose the mail once more from the list as it is now."),
            )
        for uid in sorted(uids):
            if (found := connection.fetch(uid, limit=MAX_MAIL)) is not None:
                yield found


def _entries(account: EmailAccount, kind: ConversationType, fetched: Sequence[Fetched]) -> list[Entry]:
    """Return what is known of these mails, in a constant number of queries."""
    letters = [letter(each.data, size=each.size, own_address=account.from_email) for each in fetched]
    deliveries = matching.answered(letters, owner=account.owner_id)
    known = Correspondence.objects.filter(
        account__owner=account.owner_id, identity__in=[each.identity for each in letters]
    )
    imported = {mail.identity: mail for mail in known.prefetch_related("conversation__about")}
    addresses = [address for each in letters for address in (each.address, each.reply_to)]
    people = matching.recognise(kind, addresses, owner=account.owner_id)
    return [
        Entry(
            uid=raw.uid,
            letter=each,
            at=raw.received_at or each.date,
            size=raw.size,
            delivery=deliveries.get(each.identity),
            imported=imported.get(each.identity),
            person=people.get(each.address) or people.get(each.reply_to),
        )
        for raw, each in zip(fetched, letters, strict=True)
    ]


@contextmanager
def _opened(account: EmailAccount, *, patience: float = PATIENCE) -> Iterator[IMAPConnection]:
    name = {"account": account.name}
    try:
        connection = open_imap(account, timeout=min(conf.imap_timeout, SILENCE), patience=patience)
        try:
            yield connection
        finally:
            connection.close()
    except TransportError as error:  # from whoever gives the token
        remedy = _("Connect “%(account)s” with its provider again, on the account's page.") % name
        raise MailboxUnavailable(error.reply.text, remedy) from error
    except MailboxError as error:
        remedy = (
            _("Check IMAP server, user name and password of “%(account)s” on the account's page.")
            if error.login
            else _("Try again in a minute. If it stays so, check the IMAP server of “%(account)s” on its page.")
        )
        raise MailboxUnavailable(str(error), remedy % name) from error
