"""Reading what is new in a folder: each mail is stored in one commit with the position after it, so none is read twice.

The first reading begins where the account began to send or to import, at most a month ago: nobody imports years of old
mail. After a server has numbered its mail anew the same days are read again, and what is known by its fingerprint is
not stored.
"""

from __future__ import annotations

import datetime as dt
import hashlib
import logging
import time

from django.db import transaction
from django.db.models import Min

from massmail.inbound import cursor, reading
from massmail.inbound.cursor import Position
from massmail.models import AccountDay, EmailAccount, InboundMessage
from massmail.transport.imap import Fetched, Folder, IMAPConnection, MailboxError, OversizeError

logger = logging.getLogger("massmail.inbound")

#: Octets of a mail that are fetched: reports of servers stand at the beginning.
LIMIT = 1 << 18
#: Mails of a folder, and seconds, that one reading takes; the next one goes on.
MOST, SECONDS = 500, 120.0
#: Days that the first reading looks back at most.
LOOK_BACK = dt.timedelta(days=30)


class Collector:
    """Reads the folders of one account's mailbox over an open connection.

    `kept_since` is the day on which keeping the correspondence with its owner's requests began.
    """

    def __init__(
        self,
        account: EmailAccount,
        connection: IMAPConnection,
        *,
        now: dt.datetime,
        kept_since: dt.date | None = None,
    ) -> None:
        self.account, self.connection, self.now = account, connection, now
        self.mailbox = f"{connection.endpoint.username}@{connection.endpoint.host}"
        self._until = time.monotonic() + SECONDS
        self._kept_since, self._outgoing = kept_since, False

    def collect(self, name: str, *, outgoing: bool = False) -> int:
        """Store what is new in the folder; return how many mails that were. Raises `MailboxError`.

        In an `outgoing` folder stands what the owner sent: it is read since correspondence is kept.
        """
        self._outgoing = outgoing
        folder = self.connection.examine(name)
        at = cursor.position(self.account.imap_cursor, self.mailbox, name)
        if at is None or at.validity != folder.uid_validity:
            at = self._begin(folder)
        count = 0
        for uid in self._waiting(folder, at):
            if time.monotonic() > self._until:
                break
            at, stored = self._take(folder, at, uid)
            count += stored
        return count

    def _begin(self, folder: Folder) -> Position:
        days = AccountDay.objects.filter(account=self.account, used__gt=0)
        first_sent = None if self._outgoing else days.aggregate(day=Min("date"))["day"]
        first_day = min((day for day in (first_sent, self._kept_since) if day), default=None)
        start = folder.uid_next or max(self.connection.uids_from(1), default=0) + 1
        if first_day is not None:
            # A day earlier: the server's calendar is not ours.
            since = max(first_day, (self.now - LOOK_BACK).date()) - dt.timedelta(days=1)
            start = min(self.connection.uids_since(since), default=start)
        at = Position(validity=folder.uid_validity, following=start)
        self._move(folder, at)
        return at

    def _waiting(self, folder: Folder, at: Position) -> list[int]:
        """Return the UIDs to read: the new ones, and after them those that could not be fetched before."""
        nothing_new = folder.uid_next and folder.uid_next <= at.following
        new = [] if nothing_new else self.connection.uids_from(at.following)
        return [*new[:MOST], *at.again]

    def _take(self, folder: Folder, at: Position, uid: int) -> tuple[Position, int]:
        """Read one mail; return the position after it, and 1 if it is stored."""
        try:
            fetched = self.connection.fetch(uid, limit=LIMIT)
        except OversizeError as error:
            self._give_up(folder, at, uid, str(error))
            raise
        except MailboxError as error:
            at = at.failed(uid)
            if at.is_hopeless(uid):
                self._give_up(folder, at, uid, str(error))
                at = at.past(uid)
            else:
                self._move(folder, at)
            if not self.connection.usable:
                raise
            return at, 0
        at = at.past(uid)
        if fetched is None:  # deleted in the meantime
            self._move(folder, at)
            return at, 0
        return at, self._store(folder, at, _row(fetched, now=self.now))

    def _store(self, folder: Folder, at: Position, row: InboundMessage) -> int:
        """Store a mail unless it is known, and the position after it, in one commit; return how many were stored."""
        row.account, row.folder, row.uid_validity = self.account, reading.clean(folder.name)[:200], folder.uid_validity
        row.outgoing = self._outgoing
        with transaction.atomic():
            known = InboundMessage.objects.filter(account=self.account, fingerprint=row.fingerprint).exists()
            if not known:
                InboundMessage.objects.bulk_create([row], ignore_conflicts=True)
            self._move(folder, at)
        return int(not known)

    def _give_up(self, folder: Folder, at: Position, uid: int, why: str) -> None:
        """Pass over a mail for good, and keep that on record."""
        logger.warning("Account %s: mail %s in %r is passed over: %s", self.account.pk, uid, folder.name, why)
        row = InboundMessage(uid=uid, received_at=self.now, judged_at=self.now, facts={"error": why})
        row.fingerprint = hashlib.sha256(f"{folder.name} {folder.uid_validity} {uid}".encode()).hexdigest()
        self._store(folder, at.past(uid), row)

    def _move(self, folder: Folder, at: Position) -> None:
        new = cursor.moved(self.account.imap_cursor, self.mailbox, folder.name, at)
        EmailAccount.objects.filter(pk=self.account.pk).update(imap_cursor=new)
        self.account.imap_cursor = new


def _row(fetched: Fetched, *, now: dt.datetime) -> InboundMessage:
    mail = reading.read(fetched.data)
    return InboundMessage(
        uid=fetched.uid,
        fingerprint=fingerprint(mail, fetched.data),
        message_id=next(iter(reading.message_ids(mail.header("message-id"))), ""),
        from_address=next(iter(reading.addresses(mail.header("from"))), ""),
        subject=reading.decode_words(mail.header("subject")),
        received_at=min(fetched.received_at or now, now),
        size=fetched.size,
        raw=fetched.data,
    )


def fingerprint(mail: reading.Part, raw: bytes) -> str:
    """Return what tells whether two mails are the same one, wherever it lies.

    A Message-ID alone does not: some machines answer with that of the mail they answer.
    """
    if not mail.has("message-id"):
        return hashlib.sha256(raw).hexdigest()
    values = mail.all("message-id", "date", "from", "to", "subject")
    return hashlib.sha256("\n".join(values).encode("utf-8", "surrogatepass")).hexdigest()
