"""Who has a message already, and taking those out of a mailing that has not begun: statements, never rows in Python."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from django.db import router, transaction
from django.db.models import Exists, F, OuterRef, Q, QuerySet

from massmail.choices import DeliveryStatus, Exclusion
from massmail.models.bulk import insert_select, without_nested_loops
from massmail.models.mailings import Delivery, LeftOut, Mailing
from massmail.models.messages import Message

#: Whoever stands in one of these has the message, or may have it: nobody gets it twice by the app's own doing.
REACHED = (DeliveryStatus.SENT, DeliveryStatus.SENDING, DeliveryStatus.UNKNOWN)


@dataclass(frozen=True, slots=True, kw_only=True)
class Received:
    """Those who have `message` already, from whichever mailing: since the moment `since`, or ever."""

    message: Message
    since: dt.datetime | None = None


def leave_out_received(mailing: Mailing, received: Received) -> int:
    """Leave those of the draft `mailing` out who have the message already; return how many.

    Somebody has it whose address has it, or who had it at an address that is another one today.
    """
    earlier = Mailing.objects.filter(message=received.message).exclude(pk=mailing.pk)
    served = reached_by(earlier.values("pk"))
    if received.since is not None:
        # Taken for sent by a person, a delivery may lack the time at which it was handed in.
        served &= Q(sent_at__gte=received.since) | Q(sent_at=None, sending_at__gte=received.since)
    unwanted = [same_address(served), same_person(mailing, served)]
    return leave_out(mailing, unwanted, Exclusion.ALREADY_RECEIVED)


def reached_by(mailings: Any) -> Q:
    """Return the condition on deliveries that one of `mailings` (keys, or a query for them) reached them."""
    return Q(mailing__in=mailings, status__in=REACHED)


def same_address(condition: Q) -> Q:
    """Return the condition that a delivery to the same address fulfils `condition`."""
    return Q(Exists(Delivery.objects.filter(condition, address=OuterRef("address"))))


def same_person(mailing: Mailing, condition: Q) -> Q:
    """Return the condition that a delivery to the same object fulfils `condition`, in another mailing of its type.

    An object with several addresses gets a mail at each: what another of its addresses got does not count, where that
    mailing had one for this address too.
    """
    own_row = Delivery.objects.filter(mailing=OuterRef("mailing"), address=OuterRef(OuterRef("address")))
    others = Delivery.objects.filter(condition, mailing__content_type=mailing.content_type_id)
    others = others.filter(object_id=OuterRef("object_id")).exclude(mailing=OuterRef("mailing"))
    return Q(Exists(others.filter(~Exists(own_row))))


def mark(rows: QuerySet[Delivery], conditions: Sequence[Q], reason: Exclusion) -> None:
    """Inside a transaction, write `reason` on those of `rows` that fulfil one of `conditions`.

    One after the other: PostgreSQL makes a join of one EXISTS, and a loop of several with OR between them.
    """
    with without_nested_loops(Delivery):
        for condition in conditions:
            rows.filter(condition).update(reason=reason)


@transaction.atomic
def leave_out(mailing: Mailing, unwanted: Sequence[Q], reason: Exclusion) -> int:
    """Turn the deliveries of the draft `mailing` that fulfil one of `unwanted` into left-outs with `reason`.

    Returns how many. The caller holds the mailing's row, or has just made it. A constant number of statements.
    """
    rows = Delivery.objects.filter(mailing=mailing, status=DeliveryStatus.QUEUED)
    # Marked first, so that what is copied is what is deleted: other mailings go on in the meantime.
    mark(rows, unwanted, reason)
    marked = rows.filter(reason=reason).order_by()
    insert_select(
        LeftOut,
        marked,
        columns={"object_id": "object_id", "address": "address"},
        constants={"mailing_id": mailing.pk, "reason": reason.value},
    )
    count = marked._raw_delete(router.db_for_write(Delivery))
    Mailing.objects.filter(pk=mailing.pk).update(total=F("total") - count)
    mailing.total -= count
    return count
