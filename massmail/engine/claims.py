"""Claims: which delivery is next, whether it may still go, and the one statement that moves it to `sending`.

What a claim needs is read ahead for a handful of deliveries at a time; the claim itself asks the database again for
everything that may have changed, in the statement that makes it.
"""

from __future__ import annotations

import datetime as dt
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from django.db import IntegrityError, transaction
from django.db.models import Exists, F, OuterRef, Q, QuerySet

from massmail.audience import Address, parse_addresses
from massmail.choices import DeliveryStatus, Exclusion, MailingStatus
from massmail.composing import Envelope
from massmail.engine.lanes import Lease
from massmail.models import AccountDay, Delivery, EmailAccount, Mailing, Recipient, Suppression
from massmail.recipient_types import RecipientType, type_for


class QuotaUsed(Exception):
    """The account's quota of the day is used up."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """A queued delivery with what is known of its recipient, or why that one is not to be mailed."""

    delivery: Delivery
    recipient_type: RecipientType
    recipient: Recipient | None
    obj: Any
    to: Address | None
    exclusion: Exclusion | None


# Reading ahead --------------------------------------------------------------------------------------------------------


def active_mailings(owner_id: Any, *, now: dt.datetime) -> list[Mailing]:
    """Return the owner's mailings that are under way at `now`, in their order."""
    started = Q(start_at__isnull=True) | Q(start_at__lte=now)
    active = Mailing.objects.filter(started, owner=owner_id, status=MailingStatus.ACTIVE)
    return list(active.select_related("version", "content_type").order_by("pk"))


def in_turn(mailings: Sequence[Mailing], last: int) -> list[Mailing]:
    """Return `mailings` beginning with the one after `last`: whoever spoke waits until all others had a turn."""
    return [mailing for mailing in mailings if mailing.pk > last] + [
        mailing for mailing in mailings if mailing.pk <= last
    ]


def due(account: EmailAccount, mailing: Mailing, *, now: dt.datetime) -> QuerySet[Delivery]:
    """Return the queued deliveries of `mailing` that `account` may send at `now`, in order."""
    ready = Q(not_before__isnull=True) | Q(not_before__lte=now)
    queued = Delivery.objects.filter(ready, mailing=mailing, account=account, status=DeliveryStatus.QUEUED)
    return queued.order_by("pk")


def read_ahead(account: EmailAccount, mailings: Sequence[Mailing], *, limit: int, now: dt.datetime) -> list[Candidate]:
    """Return up to `limit` candidates, taken from `mailings` in turn."""
    share = max(1, limit // (len(mailings) or 1))
    rows: list[list[Delivery]] = []
    for mailing in mailings:
        found = list(due(account, mailing, now=now)[:share])
        for delivery in found:
            delivery.mailing = mailing
        rows.append(found)
        if limit == 1 and found:
            break
    taken = [row[turn] for turn in range(share) for row in rows if turn < len(row)]
    return judge(taken[:limit])


def judge(deliveries: Sequence[Delivery]) -> list[Candidate]:
    """Look at the recipients of `deliveries` (whose mailings are at hand) as they are now."""
    by_type: dict[int, list[Delivery]] = defaultdict(list)
    for delivery in deliveries:
        by_type[delivery.mailing.content_type_id].append(delivery)
    suppressed = set(
        Suppression.objects.filter(address__in=[delivery.address for delivery in deliveries]).values_list(
            "address", flat=True
        )
    )
    found = {}
    for group in by_type.values():
        found.update(_judge_group(group, suppressed))
    return [found[delivery.pk] for delivery in deliveries]


def _judge_group(group: Sequence[Delivery], suppressed: set[str]) -> dict[int, Candidate]:
    content_type = group[0].mailing.content_type
    model = content_type.model_class()
    if model is None:
        raise LookupError(f"The model of {content_type} is gone.")
    recipient_type = type_for(model)
    ids = {delivery.object_id for delivery in group}
    objects = recipient_type.fetch(ids)
    eligible = set(
        recipient_type.eligible(recipient_type.queryset())
        .filter(pk__in=[o.pk for o in objects.values()])
        .values_list("pk", flat=True)
    )
    recipients = {row.object_id: row for row in Recipient.objects.filter(content_type=content_type, object_id__in=ids)}
    found = {}
    for delivery in group:
        obj, recipient = objects.get(delivery.object_id), recipients.get(delivery.object_id)
        to = _typed(delivery, obj)
        exclusion = _exclusion(delivery, obj, recipient, eligible=eligible, suppressed=suppressed) or (
            Exclusion.ADDRESS_CHANGED if to is None else None
        )
        found[delivery.pk] = Candidate(
            delivery=delivery, recipient_type=recipient_type, recipient=recipient, obj=obj, to=to, exclusion=exclusion
        )
    return found


def _typed(delivery: Delivery, obj: Any) -> Address | None:
    """Return the delivery's address as the host has it now, or None if it is not there any more."""
    if obj is None:
        return None
    addresses, _invalid = parse_addresses(obj.mm_email or "")
    return next((address for address in addresses if address.normalised == delivery.address), None)


def _exclusion(
    delivery: Delivery, obj: Any, recipient: Recipient | None, *, eligible: set[Any], suppressed: set[str]
) -> Exclusion | None:
    if obj is None:
        return Exclusion.DELETED
    if obj.mm_owner != delivery.mailing.owner_id:
        return Exclusion.NOT_OWNER
    if obj.pk not in eligible:
        return Exclusion.NOT_ELIGIBLE
    if obj.mm_flag is False or (recipient is not None and not recipient.subscribed):
        return Exclusion.UNSUBSCRIBED
    if delivery.address in suppressed:
        return Exclusion.SUPPRESSED
    return None


# Claiming -------------------------------------------------------------------------------------------------------------


def claim(
    candidate: Candidate,
    *,
    account: EmailAccount,
    lease: Lease,
    envelope: Envelope,
    values: Mapping[str, Any],
    limit: int,
    day: dt.date,
    now: dt.datetime,
) -> bool:
    """Move the candidate's delivery to `sending` and charge the account's quota, in one transaction.

    False if anything has changed since it was looked at: the lease, the mailing, the account, the recipient, a
    suppression.
    Raises `QuotaUsed` if `account` has used its `limit` of mails on `day`.
    """
    delivery = candidate.delivery
    delivery.version_id = delivery.version_id or delivery.mailing.version_id
    delivery.message_id = envelope.message_id
    delivery.values = dict(values)
    with transaction.atomic():
        moved = Delivery.objects.filter(
            *_still(candidate, account, lease, now), pk=delivery.pk, status=DeliveryStatus.QUEUED
        ).update(
            status=DeliveryStatus.SENDING,
            reason="",
            lane=lease.lane,
            sending_at=now,
            message_id=delivery.message_id,
            version=delivery.version_id,
            values=delivery.values,
        )
        if not moved:
            return False
        _charge(account, limit=limit, day=day)
    delivery.status, delivery.lane_id, delivery.sending_at = DeliveryStatus.SENDING, lease.lane.pk, now
    return True


def _still(candidate: Candidate, account: EmailAccount, lease: Lease, now: dt.datetime) -> list[Any]:
    """The conditions under which what was read ahead still holds."""
    delivery, recipient, recipient_type = candidate.delivery, candidate.recipient, candidate.recipient_type
    mailing = delivery.mailing
    assert recipient is not None  # noqa: S101  assigned deliveries have one
    host = {
        "pk": candidate.obj.pk,
        recipient_type.owner: mailing.owner_id,
        recipient_type.email: candidate.obj.mm_email,
    }
    if recipient_type.subscribed:
        host[recipient_type.subscribed] = candidate.obj.mm_flag
    unheld = Q(hold_reason="") | Q(held_until__lte=now)
    accounts = EmailAccount.objects.filter(unheld, pk=account.pk, owner=mailing.owner_id, massmail=True)
    return [
        Q(account=account),
        Exists(lease.held()),
        Exists(Mailing.objects.filter(pk=mailing.pk, status=MailingStatus.ACTIVE)),
        Exists(accounts.filter(main=account.main)),
        Exists(Recipient.objects.filter(pk=recipient.pk, subscribed=True, vip=recipient.vip)),
        ~Exists(Suppression.objects.filter(address=OuterRef("address"))),
        Exists(recipient_type.eligible(recipient_type.queryset()).filter(**host).order_by()),
    ]


def _charge(account: EmailAccount, *, limit: int, day: dt.date) -> None:
    ledger = AccountDay.objects.filter(account=account, date=day)
    while not ledger.filter(used__lt=limit).update(used=F("used") + 1):
        if ledger.exists():
            raise QuotaUsed
        try:
            with transaction.atomic():
                AccountDay.objects.create(account=account, date=day)
        except IntegrityError:
            continue  # another process opened the ledger


def used(account: EmailAccount, day: dt.date) -> int:
    """Return how many mails `account` was charged for on `day`."""
    return AccountDay.objects.filter(account=account, date=day).values_list("used", flat=True).first() or 0


def give_back(account: EmailAccount, *, day: dt.date) -> None:
    """Take back the charge for a delivery of which the server provably has nothing."""
    AccountDay.objects.filter(account=account, date=day, used__gt=0).update(used=F("used") - 1)
