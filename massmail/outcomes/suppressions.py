"""The addresses that get no more mail: put on the list one by one or many at once, and lifted again by somebody."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from itertools import islice
from typing import Any

from django.db import transaction

from massmail.choices import AuditAction, SuppressionReason
from massmail.models import Recipient, Suppression
from massmail.models.mailings import audit, audit_each
from massmail.signals import address_suppressed

#: Addresses that a statement speaks of: databases limit the number of parameters.
CHUNK = 500


def suppress(address: str, reason: SuppressionReason, *, source: str) -> bool:
    """Put `address` (normalised) on the suppression list; False if it was there already. The first reason stays."""
    _row, created = Suppression.objects.get_or_create(address=address, defaults={"reason": reason, "source": source})
    if created:
        _tell(address, reason)
    return created


@transaction.atomic
def suppress_all(reasons: Mapping[str, SuppressionReason], *, source: str, by: Any) -> int:
    """Put many addresses (normalised) on the list, each for its reason; return how many were not there yet.

    Those that were keep their reason. One entry in the log says that `by` did it, and how many came from `source`.
    """
    added = 0
    for chunk in _chunks(reasons):
        listed = suppressed(chunk)
        missing = [address for address in chunk if address not in listed]
        rows = [Suppression(address=address, reason=reasons[address], source=source) for address in missing]
        Suppression.objects.bulk_create(rows, ignore_conflicts=True)  # another process may be quicker
        for address in missing:
            _tell(address, reasons[address])
        added += len(missing)
    audit(AuditAction.SUPPRESSED, by=by, text=f"{source}: {added}")
    return added


def suppressed(addresses: Iterable[str]) -> set[str]:
    """Return which of `addresses` (normalised) are on the list: a query for every `CHUNK` of them."""
    found: set[str] = set()
    for chunk in _chunks(addresses):
        found.update(Suppression.objects.filter(address__in=chunk).values_list("address", flat=True))
    return found


def lift(suppression: Suppression, *, by: Any, why: str = "") -> None:
    """Take an address off the list: see `lift_all`."""
    lift_all([suppression], by=by, why=why)


@transaction.atomic
def lift_all(suppressions: Iterable[Suppression], *, by: Any, why: str = "") -> int:
    """Take addresses off the list, and back the opt-outs made through links to them; return how many.

    Each is logged with who did it and `why`. Where an address was listed for another reason, opt-outs stay. The
    host's own flag stays in any case: it belongs to the host, and still wins.
    """
    rows = list(suppressions)
    texts = [": ".join(filter(None, [row.address, why])) for row in rows]
    audit_each(AuditAction.SUPPRESSION_LIFTED, by=by, texts=texts)
    _take_back({row.address for row in rows if row.reason == SuppressionReason.UNSUBSCRIBED})
    for chunk in _chunks(row.pk for row in rows):
        Suppression.objects.filter(pk__in=chunk).delete()
    return len(rows)


def _take_back(addresses: set[str]) -> None:
    """Subscribe again who opted out and was ever mailed at one of `addresses`."""
    if not addresses:
        return
    opted_out = Recipient.objects.filter(subscribed=False).exclude(addresses=[]).values_list("pk", "addresses")
    keys = [pk for pk, mailed_at in opted_out.iterator() if not addresses.isdisjoint(mailed_at)]
    for chunk in _chunks(keys):
        Recipient.objects.filter(pk__in=chunk).update(subscribed=True)


def _tell(address: str, reason: SuppressionReason) -> None:
    transaction.on_commit(lambda: address_suppressed.send_robust(Suppression, address=address, reason=reason))


def _chunks(things: Iterable[Any]) -> Iterator[list[Any]]:
    things = iter(things)
    while chunk := list(islice(things, CHUNK)):
        yield chunk
