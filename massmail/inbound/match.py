"""Which of our deliveries a mail answers. Never by its subject, and never one that this account did not send."""

from __future__ import annotations

import datetime as dt

from django.db.models import Q, QuerySet

from massmail.choices import DeliveryStatus, InboundKind
from massmail.inbound.events import InboundEvent
from massmail.models import Delivery, EmailAccount, Mailing
from massmail.outcomes.returns import LEFT

#: What comes back to the very account that sent the mail. Answers may go to another one of its owner (Reply-To).
_TO_THE_SENDER = (InboundKind.BOUNCE, InboundKind.DELAYED, InboundKind.COMPLAINT, InboundKind.OTHER)
#: How long after it was sent a mail is known by its recipient alone: servers give up after five days at most
#: (RFC 5321, 4.5.4.1), absences last longer but are answered at once.
RECENT = dt.timedelta(days=6)


def find(event: InboundEvent, account: EmailAccount, *, at: dt.datetime) -> Delivery | None:
    """Return the delivery that the mail which came to `account` at `at` is about, or None.

    The Message-IDs decide, the most trustworthy first. A mail that names one which is not ours is about other mail,
    whatever recipient it names; only one that names none is known by its recipient.
    """
    theirs = Q(account=account) if event.kind in _TO_THE_SENDER else Q(account__owner=account.owner_id)
    sent = Delivery.objects.filter(theirs, status__in=[*LEFT, DeliveryStatus.SENDING]).select_related("mailing")
    if event.message_ids:
        # SQLite uses a partial index only where its very condition stands in the query.
        known = sent.exclude(message_id="").filter(message_id__in=event.message_ids)
        found = {delivery.message_id: delivery for delivery in known}
        return next((found[each] for each in event.message_ids if each in found), None)
    return None if event.kind is InboundKind.OTHER else _by_recipient(sent, event, account, at=at)


def _by_recipient(
    sent: QuerySet[Delivery], event: InboundEvent, account: EmailAccount, *, at: dt.datetime
) -> Delivery | None:
    since = at - RECENT
    under_way = Q(ended_at__isnull=True) | Q(ended_at__gte=since)
    mailings = Mailing.objects.filter(under_way, owner=account.owner_id, started_at__isnull=False)
    # By the mailings, since an index leads from there to the address.
    rows = sent.filter(
        account=account,
        mailing__in=list(mailings.values_list("pk", flat=True)),
        address__in=event.recipients,
        sending_at__gte=since,
        sending_at__lte=at + dt.timedelta(minutes=10),  # clocks differ
    )
    return rows.order_by("-sending_at").first()
