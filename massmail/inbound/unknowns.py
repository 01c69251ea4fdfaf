"""Deliveries of which nobody knows whether the server took them: what the account's folder of sent mail says.

Gmail and Microsoft 365 file what leaves over SMTP; many others do not. A mail that is found there was sent. One that is
not was most likely never sent, but only where the provider files what it sends, and it is never sent again by itself.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable

from django.db.models import QuerySet
from django.utils.translation import gettext as _

from massmail import outcomes
from massmail.choices import DeliveryStatus
from massmail.inbound.mailboxes import Reader
from massmail.models import Delivery, EmailAccount, Mailbox, Mailing
from massmail.transport.imap import IMAPConnection

#: How long a doubt is looked up, and how long it is left alone in between.
LOOK_FOR, INTERVAL = dt.timedelta(days=7), dt.timedelta(minutes=15)
#: Doubts that are looked up at a time: each is a search through a folder.
MOST = 50
SENT = b"\\Sent"


def look_up(account: EmailAccount, connection: IMAPConnection, reader: Reader, *, now: dt.datetime) -> int:
    """Look the account's doubts up in its folder of sent mail; return how many are settled. Raises `MailboxError`."""
    doubts = _doubts(account, since=now - LOOK_FOR)
    looked_at = reader.mailbox.looked_at
    if not doubts or (looked_at and looked_at > now - INTERVAL and not _since(doubts, looked_at)):
        return 0
    folder = connection.special_folder(SENT)
    settled = 0
    if folder:
        connection.examine(folder)
        for delivery in doubts:
            if connection.holds(delivery.message_id):
                settled += outcomes.prove_sent(delivery, _("It is in the account's folder of sent mail."))
    reader.note(
        looked_at=now,
        sent_folder=folder[:200],
        files_sent=settled > 0 or (bool(folder) and _files(account, connection, doubts)),
    )
    return settled


def _of(account: EmailAccount, status: DeliveryStatus, *, since: dt.datetime) -> QuerySet[Delivery]:
    mailings = Mailing.objects.filter(owner=account.owner_id, started_at__isnull=False)
    return Delivery.objects.filter(
        mailing__in=list(mailings.values_list("pk", flat=True)), account=account, status=status, sending_at__gte=since
    ).exclude(message_id="")


def _doubts(account: EmailAccount, *, since: dt.datetime) -> list[Delivery]:
    unknown = _of(account, DeliveryStatus.UNKNOWN, since=since).select_related("mailing")
    return list(unknown.order_by("sending_at")[:MOST])


def _since(doubts: Iterable[Delivery], moment: dt.datetime) -> bool:
    return any(delivery.sending_at and delivery.sending_at > moment for delivery in doubts)


def _files(account: EmailAccount, connection: IMAPConnection, doubts: list[Delivery]) -> bool:
    """Tell whether the open folder has the last mail that was surely sent: else it proves nothing."""
    since = min(delivery.sending_at for delivery in doubts if delivery.sending_at) - LOOK_FOR
    last = _of(account, DeliveryStatus.SENT, since=since).order_by("-sent_at").first()
    return last is not None and connection.holds(last.message_id)


def advice(deliveries: Iterable[Delivery]) -> dict[int, str]:
    """Return for each unknown one of `deliveries` what is known of it, in words, by primary key; one query."""
    doubts = [delivery for delivery in deliveries if delivery.status == DeliveryStatus.UNKNOWN]
    keys = {delivery.account_id for delivery in doubts if delivery.account_id}
    accounts = EmailAccount.objects.filter(pk__in=keys).select_related("mailbox")
    by_key = {account.pk: account for account in accounts}
    return {delivery.pk: _advice(delivery, by_key.get(delivery.account_id or 0)) for delivery in doubts}


def _advice(delivery: Delivery, account: EmailAccount | None) -> str:
    if account is None:
        return _("The account it was sent through is gone, so it can't be looked up.")
    if not account.imap_host:
        return _(
            "The account has no IMAP server, so its folder of sent mail can't be looked into. Look there yourself, or "
            "ask the recipient."
        )
    mailbox: Mailbox | None = getattr(account, "mailbox", None)
    if mailbox is None or mailbox.looked_at is None or (delivery.sending_at or mailbox.looked_at) >= mailbox.looked_at:
        return _("It will be looked up in the account's folder of sent mail.")
    if not mailbox.sent_folder:
        return _("The account's mailbox has no folder of sent mail, so it can't be looked up. Ask the recipient.")
    if not mailbox.files_sent:
        return _(
            "The provider does not file what it sends, so its folder “%(folder)s” tells nothing. A bounce or an answer "
            "will settle it; else ask the recipient."
        ) % {"folder": mailbox.sent_folder}
    return _(
        "It is not in the folder “%(folder)s”, where the provider files what it sends: most likely it was never sent."
    ) % {"folder": mailbox.sent_folder}
