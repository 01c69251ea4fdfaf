"""Claims: the one statement that moves a delivery from `queued` to `sending`, if its quota allows.

A candidate was read ahead; the claim asks the database again for everything that may have changed since: the lease, the
mailing, the account, the recipient and the host's own record, the suppressions.
"""

from __future__ import annotations

import datetime as dt
import enum
from collections.abc import Mapping
from contextlib import nullcontext
from typing import Any

from django.db import models, transaction
from django.db.models import Exists, OuterRef, Q

from massmail.choices import DeliveryStatus, MailingStatus
from massmail.engine.batch import Batch
from massmail.engine.candidates import Candidate
from massmail.engine.fence import Fence
from massmail.engine.lanes import Lease
from massmail.models import Delivery, EmailAccount, Mailing, Recipient, Suppression
from massmail.models.statements import Bound, Slot, Statement, slot, together
from massmail.recipient_types import RecipientType


class Claim(enum.Enum):
    """What became of a claim."""

    MADE = enum.auto()
    #: Something has changed since the candidate was read.
    STALE = enum.auto()
    #: The account has used up its quota of the day.
    QUOTA_USED = enum.auto()
    #: A limit of the hour, or one of the recipient's, is used up.
    LIMITED = enum.auto()
    #: Working hours, or the turn, are over.
    TOO_LATE = enum.auto()
    #: An error of our own.
    FAILED = enum.auto()


class Claims:
    """The claims of one turn of `account` under `lease`, charged to `batch` and to the limits of `fence`."""

    def __init__(self, account: EmailAccount, lease: Lease, batch: Batch, fence: Fence) -> None:
        self.account = account
        self.lease = lease
        self.batch = batch
        self.fence = fence
        # Kept for a turn only: what `eligible` filters by may depend on the time at which it is called.
        self.statements: dict[str, Statement] = {}

    def claim(
        self,
        candidate: Candidate,
        *,
        message_id: str,
        values: Mapping[str, Any],
        day: dt.date,
        now: dt.datetime,
        after: Bound | None = None,
    ) -> Claim:
        """Charge the quota of `day` and move the candidate's delivery to `sending`, in one transaction.

        `after` is a statement that is committed with it; the batch must be open then, and no other limit be set.
        Raises `LimitReached`, which undoes it all, if one of the fence's limits is used up.
        """
        delivery = candidate.delivery
        with transaction.atomic(savepoint=self.fence.is_set) if after is None else nullcontext():
            sending_at = self.batch.take(day=day, now=now) if after is None else self.batch.take_charged(now=now)
            if sending_at is None:
                return Claim.QUOTA_USED
            if self.fence.is_set and after is None:
                self.fence.charge(delivery, now=now)
            move = self._move(candidate, message_id=message_id, values=values, sending_at=sending_at)
            if after is None:
                move.run()
            else:
                together(after, move)
            if not move.rows:
                self.batch.put_back(day)
                self.fence.give_back()
                return Claim.STALE
        delivery.status, delivery.lane_id, delivery.sending_at = DeliveryStatus.SENDING, self.lease.lane.pk, sending_at
        delivery.message_id = message_id
        return Claim.MADE

    def _move(
        self, candidate: Candidate, *, message_id: str, values: Mapping[str, Any], sending_at: dt.datetime
    ) -> Bound:
        delivery, recipient = candidate.delivery, candidate.recipient
        assert recipient is not None  # noqa: S101  whoever has none is passed over
        return self._statement(candidate.recipient_type).bound(
            delivery=delivery.pk,
            mailing=delivery.mailing_id,
            current=delivery.mailing.version_id,
            now=sending_at,
            message_id=message_id,
            version=delivery.version_id or delivery.mailing.version_id,
            values=dict(values),
            recipient=recipient.pk,
            vip=recipient.vip,
            object=candidate.obj.pk,
            email=candidate.obj.mm_email,
        )

    def _statement(self, recipient_type: RecipientType) -> Statement:
        key = recipient_type.model
        if key not in self.statements:
            self.statements[key] = Statement(
                Delivery.objects.filter(
                    *self._still(recipient_type),
                    pk=slot(Delivery, "id", "delivery"),
                    account=self.account,
                    status=DeliveryStatus.QUEUED,
                ),
                status=DeliveryStatus.SENDING,
                reason="",
                lane=self.lease.lane.pk,
                sending_at=slot(Delivery, "sending_at", "now"),
                message_id=slot(Delivery, "message_id"),
                version=slot(Delivery, "version"),
                values=slot(Delivery, "values"),
            )
        return self.statements[key]

    def _still(self, recipient_type: RecipientType) -> list[Any]:
        """The conditions under which what was read ahead still holds."""
        account = self.account
        host = {
            "pk": Slot("object", recipient_type.model_class._meta.pk),
            recipient_type.owner: account.owner_id,
            recipient_type.email: Slot("email", models.TextField()),
        }
        records = recipient_type.eligible(recipient_type.queryset()).filter(**host).order_by()
        if recipient_type.subscribed:
            records = records.exclude(**{recipient_type.subscribed: False})
        mailings = Mailing.objects.filter(pk=slot(Delivery, "mailing"), owner=account.owner_id)
        accounts = EmailAccount.objects.filter(
            Q(hold_reason="") | Q(held_until__lte=slot(EmailAccount, "held_until", "now")),
            pk=account.pk,
            owner=account.owner_id,
            massmail=True,
            main=account.main,
        )
        recipients = Recipient.objects.filter(
            pk=slot(Recipient, "id", "recipient"), subscribed=True, vip=slot(Recipient, "vip")
        )
        return [
            Exists(self.lease.held()),
            Exists(mailings.filter(status=MailingStatus.ACTIVE, version=slot(Mailing, "version", "current"))),
            Exists(accounts),
            Exists(recipients),
            ~Exists(Suppression.objects.filter(address=OuterRef("address"))),
            Exists(records),
        ]
