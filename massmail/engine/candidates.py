"""Candidates: which deliveries are next, and what is known of their recipients, read ahead for a handful at a time."""

from __future__ import annotations

import datetime as dt
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from django.contrib.contenttypes.models import ContentType
from django.db.models import Q, QuerySet
from django.db.models.functions import Mod

from massmail.audience import Address, parse_addresses
from massmail.audience.addresses import is_plain
from massmail.choices import DeliveryStatus, Exclusion, MailingStatus
from massmail.engine.checkup import domains
from massmail.models import Delivery, EmailAccount, Mailing, Recipient, Suppression
from massmail.recipient_types import RecipientType, find_type


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """A queued delivery with what is known of its recipient, or why that one is not to be mailed."""

    delivery: Delivery
    recipient_type: RecipientType
    recipient: Recipient | None
    obj: Any
    to: Address | None
    exclusion: Exclusion | None


def active_mailings(owner_id: Any, *, now: dt.datetime) -> list[Mailing]:
    """Return the owner's mailings that are under way at `now`, in their order."""
    started = Q(start_at__isnull=True) | Q(start_at__lte=now)
    active = Mailing.objects.filter(started, owner=owner_id, status=MailingStatus.ACTIVE)
    mailings = active.select_related("version", "content_type").order_by("pk")
    return [mailing for mailing in mailings if type_of(mailing)]


def type_of(mailing: Mailing) -> RecipientType | None:
    """Return the recipient type of `mailing`, or None if the host has unregistered it, or removed the model."""
    model = ContentType.objects.get_for_id(mailing.content_type_id).model_class()
    return find_type(model) if model else None


def due(account: EmailAccount, mailing: Mailing, *, now: dt.datetime) -> QuerySet[Delivery]:
    """Return the queued deliveries of `mailing` that `account` may send at `now`, in order."""
    ready = Q(not_before__isnull=True) | Q(not_before__lte=now)
    queued = Delivery.objects.filter(ready, mailing=mailing, account=account, status=DeliveryStatus.QUEUED)
    return queued.order_by("pk")


def read_ahead(
    account: EmailAccount, mailings: Sequence[Mailing], *, limit: int, now: dt.datetime, slot: int = 0
) -> list[Candidate]:
    """Return up to `limit` candidates for the lane of `account` in `slot`, taken from `mailings` in turn.

    Each of several lanes has a part of the deliveries, so that they keep out of each other's way; one that has nothing
    left helps the others, from the other end. The claim sees to it that none is served twice.
    """
    queues = [due(account, mailing, now=now) for mailing in mailings]
    lanes = len(account.slots)
    if lanes == 1:
        return judge(_in_turn(queues, mailings, limit=limit))
    own = [queue.alias(mm_part=Mod("pk", lanes)).filter(mm_part=slot % lanes) for queue in queues]
    return judge(
        _in_turn(own, mailings, limit=limit) or _in_turn([queue.reverse() for queue in queues], mailings, limit=limit)
    )


def _in_turn(queues: Sequence[QuerySet[Delivery]], mailings: Sequence[Mailing], *, limit: int) -> list[Delivery]:
    share = max(1, limit // (len(mailings) or 1))
    rows: list[list[Delivery]] = []
    for mailing, queue in zip(mailings, queues, strict=True):
        found = list(queue[:share])
        for delivery in found:
            delivery.mailing = mailing
        rows.append(found)
        if limit == 1 and found:
            break
    return [row[turn] for turn in range(share) for row in rows if turn < len(row)][:limit]


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
    deaf = domains.deaf_among(delivery.address for delivery in deliveries)
    found = {}
    for group in by_type.values():
        found.update(_judge_group(group, suppressed, deaf))
    return [found[delivery.pk] for delivery in deliveries]


def _judge_group(group: Sequence[Delivery], suppressed: set[str], deaf: set[str]) -> dict[int, Candidate]:
    content_type = group[0].mailing.content_type
    recipient_type = type_of(group[0].mailing)
    if recipient_type is None:
        raise LookupError(f"There is no recipient type for {content_type}.")
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
        exclusion = _exclusion(delivery, obj, recipient, eligible=eligible, suppressed=suppressed)
        exclusion = exclusion or _nowhere(delivery, to, deaf)
        found[delivery.pk] = Candidate(
            delivery=delivery, recipient_type=recipient_type, recipient=recipient, obj=obj, to=to, exclusion=exclusion
        )
    return found


def _nowhere(delivery: Delivery, to: Address | None, deaf: set[str]) -> Exclusion | None:
    """Return why mail to the address leads nowhere: it is not the recipient's any more, or its domain takes none."""
    if to is None:
        return Exclusion.ADDRESS_CHANGED
    return Exclusion.NO_MAIL_DOMAIN if domains.domain_of(delivery.address) in deaf else None


def _typed(delivery: Delivery, obj: Any) -> Address | None:
    """Return the delivery's address as the host has it now, or None if it is not there any more."""
    if obj is None:
        return None
    text = (obj.mm_email or "").strip(" ")
    if text.lower() == delivery.address and is_plain(text):  # nearly always; the parser takes a hundred times as long
        return Address(typed=text, normalised=delivery.address)
    addresses, _invalid = parse_addresses(text)
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
