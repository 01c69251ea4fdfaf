"""Reading mailboxes: who is due, and the reading of one. Both may run twice at once."""

from __future__ import annotations

import datetime as dt
import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from django.utils import timezone
from django.utils.translation import gettext as _

from massmail.choices import Phase
from massmail.conf import conf
from massmail.connecting import open_imap
from massmail.inbound import judging, mailboxes, unknowns
from massmail.inbound.collecting import Collector
from massmail.inbound.conversations import filing
from massmail.inbound.mailboxes import PATIENCE, Reader
from massmail.models import EmailAccount
from massmail.transport import TransportError
from massmail.transport.imap import INBOX, IMAPConnection, MailboxError, OversizeError

logger = logging.getLogger("massmail.inbound")

Clock = Callable[[], dt.datetime]

JUNK, SENT = b"\\Junk", b"\\Sent"


def due(*, clock: Clock = timezone.now) -> list[int]:
    """Return the accounts whose mail is to be read now."""
    return mailboxes.due(now=clock())


def poll(account_id: int, *, clock: Clock = timezone.now) -> int:
    """Read the account's mailbox, judge what came in, settle what it proves; return how many mails are stored.

    A no-op if somebody else is reading it, or if it is to be left alone for a while.
    """
    account = EmailAccount.objects.filter(pk=account_id).exclude(imap_host="").first()
    now = clock()
    reader = mailboxes.acquire(account, now=now) if account else None
    if account is None or reader is None:
        return 0
    stored = 0
    try:
        stored = _read(account, reader, now=now)
    except OversizeError as error:
        # The mail at fault is passed over already; the next reading goes on behind it.
        logger.warning("Account %s: the reading broke off: %s", account.pk, error)
        reader.succeed(now=now)
    except MailboxError as error:
        reader.fail(str(error), refused=error.login, now=now)
    except TransportError as error:  # from whoever gives the token
        reader.fail(error.reply.text, refused=error.reply.phase is Phase.AUTH, now=now)
    except Exception:
        # An error of our own, unforeseen: the mailbox rests, and the account's page says so.
        logger.exception("The reading of account %s broke off", account.pk)
        reader.fail(_("An internal error, which the worker's log describes."), refused=False, now=now)
    else:
        reader.succeed(now=now)
    finally:
        judging.judge_all(account, now=now)
        reader.release()
    return stored


def _read(account: EmailAccount, reader: Reader, *, now: dt.datetime) -> int:
    connection = open_imap(account, timeout=conf.imap_timeout, patience=PATIENCE)
    try:
        begun = filing.begun(account)
        collector = Collector(account, connection, now=now, kept_since=begun.date() if begun else None)
        stored = collector.collect(INBOX)
        with _optional(connection):
            if junk := connection.special_folder(JUNK):
                stored += collector.collect(junk)
        if begun:
            with _optional(connection):
                # What the manager writes from another mail program belongs to the conversation as well.
                if sent := connection.special_folder(SENT):
                    stored += collector.collect(sent, outgoing=True)
        judging.judge_all(account, now=now)  # what a bounce proves need not be looked up
        with _optional(connection):
            unknowns.look_up(account, connection, reader, now=now)
        with _optional(connection):
            filing.fetch_rest(account, connection)
    finally:
        connection.close()
    return stored


@contextmanager
def _optional(connection: IMAPConnection) -> Iterator[None]:
    """Go on without a folder that the server does not let us see; the inbox is read."""
    try:
        yield
    except MailboxError as error:
        if not connection.usable:
            raise
        logger.info("%s: %s", connection.endpoint.host, error)
