"""The oracle of every test about faults: what the receiving server has, held against what the records say.

Copies are counted at the server, by Message-ID and recipient: never more than one; one for `sent`, none for `queued`,
`skipped` and `failed`, none or one for `unknown`, and for `sending` as long as a worker may still be at it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from django.db.models import Count, Q
from django.utils import timezone

from massmail.choices import DeliveryStatus, Failure
from massmail.models import AccountDay, Delivery, Lane, Mailing
from massmail.outcomes import progress
from tests.smtpd import Record, copies

ALLOWED = {
    DeliveryStatus.SENT: (1,),
    DeliveryStatus.UNKNOWN: (0, 1),
    DeliveryStatus.QUEUED: (0,),
    DeliveryStatus.FAILED: (0,),
    DeliveryStatus.SKIPPED: (0,),
}
#: Why a delivery failed although the server had the whole message, so that it counts for the quota.
AT_THE_DOT = (Failure.POLICY,)


def violations(records: Iterable[Record], *, under_way: bool = False) -> list[str]:
    """Return what contradicts the promise; `under_way` says that workers may be sending at this moment."""
    arrived = copies(records)
    found = [f"{number} copies for {recipient} of {key}" for (key, recipient), number in arrived.items() if number > 1]
    allowed = ALLOWED | ({DeliveryStatus.SENDING: (0, 1)} if under_way else {})
    rows = Delivery.objects.values_list("status", "message_id", "address")
    for status, message_id, address in rows.iterator():
        number = arrived.pop((message_id, address), 0)
        if number not in allowed.get(DeliveryStatus(status), ()):
            found.append(f"{status}, and {number} copies for {address} of {message_id}")
    found += [f"mail that no delivery knows of: {key}" for key in arrived]
    return found


def check(records: Iterable[Record], *, under_way: bool = False) -> Counter[str]:
    """Fail on any violation; return how many deliveries stand in which status."""
    found = violations(records, under_way=under_way)
    assert not found, found
    return statuses()


def statuses() -> Counter[str]:
    return Counter(dict(Delivery.objects.order_by().values_list("status").annotate(Count("pk"))))


def imbalances() -> list[str]:
    """Return where sums and rows differ. Nothing may be under way, and no batch of a dead worker waiting to be found.

    The quota is held against the rows by account: charged are mails that were sent, those nobody knows of, and those
    the server refused after it had them.
    """
    now, found = timezone.now(), []
    mailings = list(Mailing.objects.all())
    sums = progress(mailings, now=now)
    for mailing in mailings:
        rows = Counter(mailing.deliveries.values_list("status", flat=True))
        told = {name: getattr(sums[mailing.pk], name) for name in ("sent", "failed", "skipped", "unknown")}
        counted = {name: rows[name] for name in told}
        if told != counted or sum(rows.values()) != mailing.total:
            found.append(f"mailing {mailing.pk}: {told} of {mailing.total} in the tallies, {dict(rows)} in the rows")
    charged = Q(status__in=[DeliveryStatus.SENT, DeliveryStatus.UNKNOWN]) | Q(
        status=DeliveryStatus.FAILED, reason__in=AT_THE_DOT
    )
    used: Counter[int] = Counter()
    for account, number in AccountDay.objects.values_list("account", "used"):
        used[account] += number
    rows = Delivery.objects.filter(charged, account__isnull=False).order_by().values_list("account")
    due = dict(rows.annotate(Count("pk")))
    found += [
        f"account {account}: {used[account]} charged, {due.get(account, 0)} handed over"
        for account in {*used, *due}
        if used[account] != due.get(account, 0)
    ]
    found += [f"{lane} has an open batch" for lane in Lane.objects.filter(batch_at__isnull=False)]
    return found
