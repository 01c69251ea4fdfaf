"""Deliveries of which nobody knows how they ended: their owner decides."""

from __future__ import annotations

import datetime as dt
from collections import Counter
from collections.abc import Mapping
from typing import Any

from django.db import transaction
from django.db.models import QuerySet
from django.utils import timezone
from django.utils.translation import ngettext

from massmail.choices import AuditAction, DeliveryStatus, MailingStatus
from massmail.engine import lifecycle
from massmail.models import AuditEntry, Delivery, Mailing, MassmailSettings
from massmail.outcomes import resolving

#: From a mailing in one of these a mail can leave, or will when it is resumed; one that was done goes on.
REVIVABLE = (MailingStatus.ACTIVE, MailingStatus.PAUSED, MailingStatus.DONE)


def treat_as_sent(deliveries: QuerySet[Delivery], *, by: Any, now: dt.datetime | None = None) -> int:
    """Call the unknown ones of `deliveries` sent; return how many. `by` owns all their mailings or is a superuser.

    Doing it twice changes nothing. A bounce that comes later is told by their Message-ID all the same.
    """
    now = now or timezone.now()
    with transaction.atomic():
        mailings = _held(deliveries, by)
        numbers = resolving.treat_as_sent(_of(deliveries, mailings), now=now, zone=MassmailSettings.load().zone)
        _note(AuditAction.TREATED_AS_SENT, numbers, mailings, by=by)
    return numbers.total()


def send_again(deliveries: QuerySet[Delivery], *, by: Any, now: dt.datetime | None = None) -> int:
    """Queue the unknown ones of `deliveries` again; return how many. Their recipients may get the mail twice.

    A mailing that was done goes on for them. Those of cancelled and merged mailings stay as they are: nothing leaves
    from these any more. Doing it twice changes nothing.
    """
    now = now or timezone.now()
    with transaction.atomic():
        mailings = [mailing for mailing in _held(deliveries, by) if mailing.status in REVIVABLE]
        numbers = resolving.queue_again(_of(deliveries, mailings), now=now, zone=MassmailSettings.load().zone)
        lifecycle.reopen([mailing for mailing in mailings if numbers[mailing.pk]], by=by)
        _note(AuditAction.SENT_AGAIN, numbers, mailings, by=by)
    return numbers.total()


def _held(deliveries: QuerySet[Delivery], by: Any) -> list[Mailing]:
    unknown = deliveries.order_by().filter(status=DeliveryStatus.UNKNOWN)
    return lifecycle.locked_all(Mailing.objects.filter(pk__in=unknown.values("mailing")), by)


def _of(deliveries: QuerySet[Delivery], mailings: list[Mailing]) -> QuerySet[Delivery]:
    return deliveries.filter(mailing__in=[mailing.pk for mailing in mailings])


def _note(action: AuditAction, numbers: Mapping[int, int] | Counter[int], mailings: list[Mailing], *, by: Any) -> None:
    AuditEntry.objects.bulk_create(
        AuditEntry(action=action, by=by, mailing=mailing, text=_many(numbers[mailing.pk]))
        for mailing in mailings
        if numbers[mailing.pk]
    )


def _many(count: int) -> str:
    return ngettext("%(count)d recipient", "%(count)d recipients", count) % {"count": count}
