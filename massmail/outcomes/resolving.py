"""Deliveries that end, or go on, because a person decided so: many at a time, never a row in Python but its key."""

from __future__ import annotations

import datetime as dt
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import Any
from zoneinfo import ZoneInfo

from django.db import models, transaction
from django.db.models import Count, Exists, F, OuterRef, Q, QuerySet, Value
from django.db.models.functions import Coalesce

from massmail.choices import DeliveryStatus, Exclusion
from massmail.models import Delivery, LeftOut, Mailing, Recipient, Tally
from massmail.models.bulk import add_to, insert_select, without_nested_loops
from massmail.models.received import mark, reached_by, same_address, same_person
from massmail.signals import delivery_sent

#: Unknown deliveries that are resolved with one set of statements.
CHUNK = 10_000


# Unknown --------------------------------------------------------------------------------------------------------------


def treat_as_sent(deliveries: QuerySet[Delivery], *, now: dt.datetime, zone: ZoneInfo) -> Counter[int]:
    """Call the unknown ones of `deliveries` sent, when they were handed in; return how many, by mailing."""
    return _resolve(
        deliveries,
        now=now,
        zone=zone,
        changes={
            "status": DeliveryStatus.SENT,
            "sent_at": Coalesce("sending_at", Value(now, output_field=models.DateTimeField())),
        },
        counted={"sent": 1, "unknown": -1},
    )


def queue_again(deliveries: QuerySet[Delivery], *, now: dt.datetime, zone: ZoneInfo) -> Counter[int]:
    """Put the unknown ones of `deliveries` back into the queue, with their Message-ID; return how many, by mailing.

    The caller holds the rows of their mailings, and sees to it that these are under way.
    """
    changes = {"status": DeliveryStatus.QUEUED, "lane": None, "sending_at": None, "not_before": None}
    return _resolve(deliveries, now=now, zone=zone, changes=changes, counted={"unknown": -1})


def _resolve(
    deliveries: QuerySet[Delivery],
    *,
    now: dt.datetime,
    zone: ZoneInfo,
    changes: dict[str, Any],
    counted: dict[str, int],
) -> Counter[int]:
    numbers: Counter[int] = Counter()
    with transaction.atomic():
        for rows in _locked(deliveries, DeliveryStatus.UNKNOWN):
            keys = [key for key, *_ in rows]
            Delivery.objects.filter(pk__in=keys).update(reason="", **changes)
            numbers.update(mailing for _key, mailing, *_ in rows)
            tallies: dict[tuple[int, int | None, dt.date], Counter[str]] = defaultdict(Counter)
            for _key, mailing, lane, handed_in in rows:
                tallies[mailing, lane, (handed_in or now).astimezone(zone).date()].update(counted)
            count(tallies)
            if changes["status"] == DeliveryStatus.SENT and delivery_sent.has_listeners(Delivery):
                transaction.on_commit(partial(_tell, keys))
    return numbers


def _locked(deliveries: QuerySet[Delivery], status: DeliveryStatus) -> Iterator[list[tuple[int, int, Any, Any]]]:
    """Yield key, mailing, lane and time of handing in of those of `deliveries` in `status`, locked, until none is."""
    found = deliveries.filter(status=status).order_by("pk").values_list("pk", flat=True)
    while keys := list(found[:CHUNK]):
        rows = Delivery.objects.select_for_update().filter(pk__in=keys, status=status).order_by("pk")
        yield list(rows.values_list("pk", "mailing_id", "lane_id", "sending_at"))


def _tell(keys: Sequence[int]) -> None:
    for delivery in Delivery.objects.filter(pk__in=keys).iterator():
        delivery_sent.send_robust(Delivery, delivery=delivery)


def count(tallies: Mapping[tuple[int, int | None, dt.date], Mapping[str, int]]) -> None:
    """Add to the tallies of mailing, lane and day, in one statement."""
    nothing = {"sent": 0, "failed": 0, "skipped": 0, "unknown": 0}
    everything = {key: nothing | dict(changes) for key, changes in tallies.items()}
    add_to(Tally, everything, key=("mailing", "lane", "day"))


# Merging --------------------------------------------------------------------------------------------------------------


def hand_on(rows: Q, mailings: Sequence[Mailing], target: Mailing, *, day: dt.date) -> int:
    """Hand those queued `rows` of `mailings` on to `target`, each address once; return how many it got.

    Whoever was served by one of `mailings`, or may have been, is not taken along. All of them end as skipped, with the
    reason, and stay on record. A constant number of statements. The caller holds the rows of the mailings.
    """
    chosen = Delivery.objects.filter(rows).order_by()
    # Ended first: a claim that comes later finds nothing to claim, one that came before is seen by what follows.
    chosen.filter(status=DeliveryStatus.QUEUED).update(status=DeliveryStatus.SKIPPED, reason=Exclusion.MERGED)
    ended = chosen.filter(status=DeliveryStatus.SKIPPED, reason__in=[Exclusion.MERGED, Exclusion.ALREADY_RECEIVED])
    served = reached_by([mailing.pk for mailing in mailings])
    mark(ended, [same_address(served), same_person(target, served)], Exclusion.ALREADY_RECEIVED)
    numbers = ended.values_list("mailing_id").annotate(Count("id"))
    count({(key, None, day): {"skipped": number} for key, number in numbers})
    return _take_over(ended.filter(reason=Exclusion.MERGED), target)


def _take_over(merged: QuerySet[Delivery], target: Mailing) -> int:
    """Queue `merged` in `target`; of several with one address a VIP's wins, then the oldest."""
    vip = Recipient.objects.filter(content_type=target.content_type_id, object_id=OuterRef("object_id"), vip=True)
    same = ("object_id", "address", "account_id", "attempts", "not_before", "reply")
    return insert_select(
        Delivery,
        merged.annotate(mm_vip=Exists(vip)).order_by("-mm_vip", "pk"),
        columns={name: name for name in same},
        constants={
            "mailing_id": target.pk,
            "status": DeliveryStatus.QUEUED.value,
            "reason": "",
            "message_id": "",
        },
    )


def record_left_outs(mailings: Sequence[Mailing], target: Mailing) -> None:
    """Write down in `target` who stands in `mailings` and not in it: served already, a duplicate, or left out there."""
    into = Delivery.objects.filter(mailing=target)
    here = Exists(into.filter(object_id=OuterRef("object_id"), address=OuterRef("address")))
    # Of an object with several addresses only what is missing counts; those without an address by the object.
    person_here = Exists(into.filter(object_id=OuterRef("object_id")))
    ended = Delivery.objects.filter(mailing__in=mailings, status=DeliveryStatus.SKIPPED)
    columns = {"object_id": "object_id", "address": "address", "reason": "mm_reason"}
    duplicates = ended.filter(~here, reason=Exclusion.MERGED).annotate(mm_reason=_text(Exclusion.DUPLICATE))
    served = ended.filter(reason=Exclusion.ALREADY_RECEIVED).annotate(mm_reason=F("reason"))
    left_out = LeftOut.objects.filter(~person_here, mailing__in=mailings).annotate(mm_reason=F("reason"))
    with without_nested_loops(Delivery):
        for rows in (duplicates, served, left_out):
            unique = rows.order_by().distinct()
            insert_select(LeftOut, unique, columns=columns, constants={"mailing_id": target.pk})


def _text(value: Exclusion) -> Value:
    return Value(value.value, output_field=models.CharField())
