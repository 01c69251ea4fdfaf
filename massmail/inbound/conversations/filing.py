"""Putting mail into conversations: that which came in, and that which the manager sent from another program."""

from __future__ import annotations

import datetime as dt
import logging
from collections.abc import Iterable
from dataclasses import dataclass

from django.core.files.base import ContentFile
from django.db import transaction
from django.utils import timezone

from massmail.choices import DeliveryStatus, Direction, InboundKind
from massmail.inbound.conversations import matching
from massmail.inbound.conversations.belonging import hand_over
from massmail.inbound.conversations.letters import MAX_MAIL, File, Letter, letter
from massmail.models import Conversation, Correspondence, CorrespondenceFile, Delivery, EmailAccount, InboundMessage
from massmail.transport.imap import IMAPConnection, MailboxError

logger = logging.getLogger("massmail.inbound")

#: Mails that are fetched in full after one reading of a mailbox.
MOST = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Arrival:
    """Where and when a mail was found, and what it is."""

    account: EmailAccount
    at: dt.datetime
    kind: InboundKind
    inbound: InboundMessage | None = None
    delivery: Delivery | None = None


def begun(account: EmailAccount) -> dt.datetime | None:
    """Return when the first conversation of this account's owner began, or None if there is none to be followed."""
    if not account.do_import:
        return None
    mine = Correspondence.objects.filter(account__owner=account.owner_id).order_by("at", "pk")
    return mine.values_list("at", flat=True).first()


def file_inbound(row: InboundMessage, account: EmailAccount, kind: InboundKind) -> Correspondence | None:
    """Inside a transaction, put a stored mail into its conversation; None if it has none, or lies there already.

    Only from mailboxes marked “Do import”, and only as long as the request or deal exists.
    """
    if not account.do_import:
        return None
    found = letter(bytes(row.raw), size=row.size, own_address=account.from_email)
    conversation = matching.find(found, owner=account.owner_id)
    if conversation is None or hand_over(conversation) is None:
        return None
    arrival = Arrival(account=account, at=row.received_at or timezone.now(), kind=kind, inbound=row)
    return store(conversation, found, arrival)


def store(conversation: Conversation, found: Letter, arrival: Arrival) -> Correspondence | None:
    """Inside a transaction, add a mail to `conversation`; None if it has it.

    One that a poll did not read to its end is fetched once more, for its files; one that was imported is as it is.
    """
    mails = Correspondence.objects.filter(conversation=conversation)
    if known := matching.find_copy(found, mails):
        _prove_sent(known)
        return None
    unfetched = not found.whole and arrival.inbound is not None
    mail, made = mails.get_or_create(
        conversation=conversation,
        identity=found.identity,
        defaults={
            "account": arrival.account,
            "inbound": arrival.inbound,
            "delivery": arrival.delivery,
            "direction": Direction.OUT if _is_own(found.address, arrival.account) else Direction.IN,
            "kind": arrival.kind,
            "message_id": next(iter(found.ids), ""),
            "from_address": found.address,
            "from_name": found.name,
            "reply_to": found.reply_to if found.reply_to != found.address else "",
            "to": found.to,
            "subject": found.subject,
            "text": found.text,
            "quoting": found.quoting,
            "at": arrival.at,
            "unfetched": unfetched,
            "cut": not found.whole and not unfetched,
        },
    )
    if made and not unfetched:
        keep(mail, found.files)
    return mail if made else None


def _is_own(address: str, account: EmailAccount) -> bool:
    return EmailAccount.objects.filter(owner=account.owner_id, from_email__iexact=address).exists()


def _prove_sent(mail: Correspondence) -> None:
    """An answer of which nobody knew whether it left, and which was found in a mailbox, left."""
    doubtful = (DeliveryStatus.SENDING, DeliveryStatus.UNKNOWN)
    Correspondence.objects.filter(pk=mail.pk, status__in=doubtful).update(status=DeliveryStatus.SENT, reply="")


def keep(mail: Correspondence, files: Iterable[File]) -> None:
    """Inside a transaction, keep the attachments of `mail`. If it fails, no file is left behind."""
    kept: list[CorrespondenceFile] = []
    try:
        with transaction.atomic():
            for each in files:
                row = CorrespondenceFile(correspondence=mail, name=each.name, size=len(each.data))
                row.file.save(each.name, ContentFile(each.data), save=False)
                kept.append(row)
            CorrespondenceFile.objects.bulk_create(kept)
    except BaseException:
        for row in kept:
            row.file.storage.delete(str(row.file.name))
        raise


def fetch_rest(account: EmailAccount, connection: IMAPConnection) -> int:
    """Fetch mails in full that were too long to be read at once; return how many. Raises `MailboxError`."""
    waiting = Correspondence.objects.filter(account=account, unfetched=True).select_related("inbound")
    rows = list(waiting.order_by("pk")[:MOST])
    for mail in rows:
        # First, so that a mail which breaks the connection, or the process, is fetched once and never again.
        Correspondence.objects.filter(pk=mail.pk).update(unfetched=False, cut=True)
        try:
            _fetch(mail, connection)
        except MailboxError as error:
            if not connection.usable:
                raise
            logger.info("Account %s: a mail stays incomplete: %s", account.pk, error)
    return len(rows)


def _fetch(mail: Correspondence, connection: IMAPConnection) -> None:
    row = mail.inbound
    if row is None:
        return
    folder = connection.examine(row.folder)
    fetched = connection.fetch(row.uid, limit=MAX_MAIL) if folder.uid_validity == row.uid_validity else None
    if fetched is None:
        return
    found = letter(fetched.data, size=fetched.size, own_address="")
    if found.identity != mail.identity:
        return
    with transaction.atomic():
        keep(mail, found.files)
        Correspondence.objects.filter(pk=mail.pk).update(cut=not found.whole)
