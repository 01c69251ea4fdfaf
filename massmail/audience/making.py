"""Making a mailing: the only writer of new deliveries and left-outs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import islice
from typing import Any

from django.contrib.contenttypes.models import ContentType
from django.db import models, transaction
from django.db.models import Count, Exists, OuterRef, QuerySet
from django.utils import timezone
from django.utils.text import capfirst
from django.utils.translation import gettext as _

from massmail import moments
from massmail.audience.addresses import needs_smtputf8, parse_addresses
from massmail.audience.claims import Claim, contested, settle
from massmail.audience.sorting import Sorting, select
from massmail.choices import AuditAction, Exclusion
from massmail.models import Delivery, LeftOut, Mailing, Suppression
from massmail.models.bulk import insert_select, refresh_statistics, without_nested_loops
from massmail.models.mailings import audit
from massmail.models.received import Received, leave_out_received
from massmail.recipient_types import RecipientType, type_for

CHUNK = 2000
#: From so many recipients on, the database is told to count them.
MANY = 10_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Creation:
    """What became of a request to make a mailing: `left_out` counts recipients by reason."""

    mailing: Mailing
    added: int
    left_out: dict[Exclusion, int]


@transaction.atomic
def create_mailing(
    *,
    owner: Any,
    recipients: QuerySet[Any],
    message: Any = None,
    name: str = "",
    received: Received | None = None,
    filters: dict[str, Any] | None = None,
    by: Any = None,
) -> Creation:
    """Make a mailing in `draft` from `recipients`, a queryset of one recipient type.

    A recipient that may not be mailed is left out with the first reason that applies: not `owner`'s, disqualified,
    unsubscribed, no address, suppressed, not valid, duplicate. The number of queries does not depend on the number of
    recipients with plain addresses; of those with one address the VIP wins, then the lowest key. With `received`, those
    who have its message already are left out as well. `filters` is kept on the mailing, as what chose the recipients.
    `by` is who makes it, where that is not the owner.

    Raises `MassmailConfigurationError` if the host registered no type for the model.
    """
    recipient_type = type_for(recipients.model)
    mailing = Mailing.objects.create(
        owner=owner,
        message=message,
        name=name or _default_name(recipient_type, owner),
        content_type=ContentType.objects.get_for_model(recipient_type.model_class),
        filters=filters or {},
    )
    sorting = Sorting(recipient_type, select(recipient_type, recipients), owner_id=owner.pk)
    mailing.total = sum(_take(mailing, ranked) for ranked in sorting.by_rank())
    Mailing.objects.filter(pk=mailing.pk).update(total=mailing.total)
    if mailing.total >= MANY:
        refresh_statistics(Delivery, LeftOut)
    if received is not None:
        leave_out_received(mailing, received)
    audit(AuditAction.CREATED, by=by or owner, mailing=mailing)
    return creation_of(mailing)


def creation_of(mailing: Mailing) -> Creation:
    """Return how many stand in `mailing`, and how many were left out of it."""
    counts = LeftOut.objects.filter(mailing=mailing).order_by().values_list("reason").annotate(Count("id"))
    return Creation(mailing=mailing, added=mailing.total, left_out={Exclusion(reason): n for reason, n in counts})


def _default_name(recipient_type: RecipientType, owner: Any) -> str:
    """Return the type and the day, "Contact persons, 3 Dec 2026", with a number from the second of its name on."""
    kind = capfirst(str(recipient_type.model_class._meta.verbose_name_plural))
    name = _("%(type)s, %(day)s") % {"type": kind, "day": moments.date(timezone.localdate())}
    taken = Mailing.objects.filter(owner=owner, name__startswith=name).count()
    return _("%(name)s (%(number)s)") % {"name": name, "number": taken + 1} if taken else name


def _take(mailing: Mailing, sorting: Sorting) -> int:
    """Take in whom `sorting` lets have mail, and leave out the others; return how many deliveries there are now.

    Each step is one statement. Those after the first are skipped as soon as everybody is accounted for, and where all
    have plain addresses of their own that is at once.
    """
    added = _insert(mailing, Delivery, sorting.plain.order_by("pk"), address="mm_address")
    steps: list[Callable[[], int]] = [
        lambda: _leave_out(mailing, sorting.not_owners, Exclusion.NOT_OWNER),
        lambda: _leave_out(mailing, sorting.not_eligible, Exclusion.NOT_ELIGIBLE),
        lambda: _leave_out(mailing, sorting.barred),
        lambda: _leave_out_duplicates(mailing, sorting),
    ]
    remaining = sorting.everybody.count() - added
    for step in steps:
        if remaining:
            remaining -= step()
    return added + (_OddOnes(mailing, sorting).take() if remaining else 0)


def _insert(mailing: Mailing, model: type[models.Model], rows: QuerySet[Any], *, address: str, **more: str) -> int:
    """Insert a row of `model` for each of `rows`: the object, its `address`, and otherwise what a new row has."""
    columns = {"object_id": "mm_object_id", "address": address, **more}
    defaults = {
        field.attname: field.get_default()
        for field in model._meta.concrete_fields
        if not (field.null or field.primary_key or field.attname in columns)
    }
    return insert_select(model, rows, columns=columns, constants={**defaults, "mailing_id": mailing.pk})


def _leave_out(mailing: Mailing, rows: QuerySet[Any], reason: Exclusion | None = None) -> int:
    """Leave out `rows` for one reason, or each for its own."""
    if reason is not None:
        rows = rows.annotate(mm_reason=models.Value(reason.value, models.CharField()))
    return _insert(mailing, LeftOut, rows, address="mm_listed", reason="mm_reason")


def _leave_out_duplicates(mailing: Mailing, sorting: Sorting) -> int:
    """Leave out the plain ones that got no delivery, since somebody before them has the address."""
    holder = Delivery.objects.filter(mailing=mailing, address=OuterRef("mm_address"))
    rivals = sorting.plain.filter(Exists(holder.exclude(object_id=OuterRef("mm_object_id"))))
    with without_nested_loops(Delivery):
        return _leave_out(mailing, rivals, Exclusion.DUPLICATE)


class _OddOnes:
    """Takes those whom SQL does not judge: lists of addresses, non-ASCII, over-long or doubtful ones."""

    def __init__(self, mailing: Mailing, sorting: Sorting) -> None:
        self.mailing = mailing
        self.sorting = sorting

    def take(self) -> int:
        """Insert deliveries for the valid addresses; return how many."""
        stream = self.sorting.odd.values_list("mm_object_id", "mm_email").iterator(chunk_size=CHUNK)
        added = 0
        while chunk := list(islice(stream, CHUNK)):
            added += self._take_chunk(chunk)
        return added

    def _take_chunk(self, chunk: list[tuple[str, str]]) -> int:
        claims, rejected = claims_of(chunk)
        addresses = {claim.address for claim in claims}
        held = Delivery.objects.filter(mailing=self.mailing, address__in=addresses)
        holders = {
            address: Claim(object_id=object_id, address=address)
            for address, object_id in held.values_list("address", "object_id")
        }
        rivals = contested(claims, holders)
        settlement = settle(
            claims,
            holders=holders,
            suppressed=set(Suppression.objects.filter(address__in=addresses).values_list("address", flat=True)),
            ranks=self.sorting.ranks(rivals) if rivals else {},
        )
        LeftOut.objects.bulk_create(
            LeftOut(mailing=self.mailing, object_id=claim.object_id, address=claim.address[:320], reason=reason)
            for claim, reason in [*rejected, *settlement.rejected]
        )
        return self._write(settlement.winners, holders)

    def _write(self, winners: dict[str, Claim], holders: dict[str, Claim]) -> int:
        fresh = [claim for address, claim in winners.items() if address not in holders]
        Delivery.objects.bulk_create(
            Delivery(mailing=self.mailing, object_id=claim.object_id, address=claim.address) for claim in fresh
        )
        for address, holder in holders.items():
            if winners[address] is not holder:
                held = Delivery.objects.filter(mailing=self.mailing, address=address)
                held.update(object_id=winners[address].object_id)
        return len(fresh)


def claims_of(chunk: list[tuple[str, str]]) -> tuple[list[Claim], list[tuple[Claim, Exclusion]]]:
    """Return the claims that objects (id and text of addresses) make, and the pieces of text that are no addresses."""
    claims: list[Claim] = []
    rejected: list[tuple[Claim, Exclusion]] = []
    for object_id, text in chunk:
        valid, invalid = parse_addresses(text)
        claims += [Claim(object_id=object_id, address=each.normalised) for each in valid]
        pieces = invalid or ([] if valid else [text])
        rejected += [(Claim(object_id=object_id, address=piece), _why_not(piece)) for piece in pieces]
    return claims, rejected


def _why_not(piece: str) -> Exclusion:
    return Exclusion.NEEDS_SMTPUTF8 if needs_smtputf8(piece) else Exclusion.INVALID_ADDRESS
