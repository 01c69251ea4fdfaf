"""What a mailing would come to, before it is made: by the same querysets that make it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from django.db.models import BooleanField, Case, Count, Exists, OuterRef, Q, QuerySet, Value, When

from massmail.audience.addresses import parse_addresses
from massmail.audience.claims import Claim, settle
from massmail.audience.making import CHUNK, claims_of
from massmail.audience.sorting import Sorting, select
from massmail.choices import Exclusion
from massmail.models import Delivery, Mailing, Suppression
from massmail.models.received import Received, reached_by
from massmail.recipient_types import type_for


@dataclass(frozen=True, slots=True, kw_only=True)
class Expectation:
    """What `create_mailing` would do now: objects that match, mails to send, left-outs by reason.

    `unread` objects have several or unusual addresses and are too many to be read for a count; they count as one mail
    each. `sample` are some of the objects that would be taken in, with their text of addresses as `mm_email`.
    """

    matching: int
    added: int
    left_out: dict[Exclusion, int]
    unread: int
    sample: Sequence[Any]

    @property
    def addresses(self) -> int:
        """How many addresses those who match have; who has none counts as one, which is left out."""
        return self.added + sum(self.left_out.values())

    @property
    def several(self) -> bool:
        """Whether somebody counts more than once, by several addresses."""
        return self.addresses > self.matching


def expect(*, owner: Any, recipients: QuerySet[Any], received: Received | None = None, sample: int = 10) -> Expectation:
    """Count `recipients`, a queryset of one recipient type, as `create_mailing` would take them for `owner`.

    Two statements for the numbers and one for the sample, besides a few where there are odd addresses.
    """
    recipient_type = type_for(recipients.model)
    sorting = Sorting(recipient_type, select(recipient_type, recipients), owner_id=owner.pk)
    numbers = sorting.everybody.aggregate(matching=Count("pk"), own=Count("pk", filter=sorting.is_owners))
    count = _Count(sorting, received)
    count.left_out[Exclusion.NOT_OWNER] = numbers["matching"] - numbers["own"]
    count.left_out[Exclusion.NOT_ELIGIBLE] = numbers["own"] - count.eligible
    readable = count.odd <= CHUNK
    if count.odd and readable:
        count.read_odd()
    return Expectation(
        matching=numbers["matching"],
        added=count.added if readable else count.added + count.odd,
        left_out={reason: number for reason, number in count.left_out.items() if number > 0},
        unread=0 if readable else count.odd,
        sample=count.sample(sample) if count.eligible else [],
    )


class _Count:
    """The eligible ones in one statement: how many are taken, left out for which reason, or odd."""

    def __init__(self, sorting: Sorting, received: Received | None) -> None:
        self.received = received
        self.rows = sorting.judged.annotate(mm_received=self._has_it(sorting))
        self.eligible = self.added = self.odd = 0
        self.left_out: Counter[Exclusion] = Counter()
        rows = self.rows.order_by().values_list("mm_reason", "mm_plain", "mm_received")
        for reason, plain, has_it, number, addresses in rows.annotate(
            mm_number=Count("pk"), mm_addresses=Count("mm_address", distinct=True)
        ):
            self.eligible += number
            if reason:
                self.left_out[Exclusion(reason)] += number
            elif not plain:
                self.odd += number
            else:
                self.left_out[Exclusion.DUPLICATE] += number - addresses
                self._add(addresses, has_it=has_it)

    def _add(self, number: int, *, has_it: bool) -> None:
        if has_it:
            self.left_out[Exclusion.ALREADY_RECEIVED] += number
        else:
            self.added += number

    def sample(self, number: int) -> list[Any]:
        """Return the first `number` of those who are taken: odd addresses are read, and none is shown twice."""
        seen: set[str] = set()
        shown = []
        for obj in self.rows.filter(mm_reason="", mm_received=False).order_by("pk")[: 5 * number]:
            addresses = (
                {obj.mm_address} if obj.mm_plain else {each.normalised for each in parse_addresses(obj.mm_email)[0]}
            )
            if addresses - seen:
                shown.append(obj)
            seen |= addresses
        return shown[:number]

    def read_odd(self) -> None:
        """Read the odd addresses, to know what becomes of them."""
        odd = self.rows.filter(mm_reason="", mm_plain=False)
        texts = list(odd.values_list("mm_object_id", "mm_email", "mm_received"))
        claims, rejected = claims_of([(object_id, text) for object_id, text, _has_it in texts])
        addresses = {claim.address for claim in claims}
        holders = self._holders(addresses)
        suppressed = set(Suppression.objects.filter(address__in=addresses).values_list("address", flat=True))
        settlement = settle(claims, holders=holders, suppressed=suppressed, ranks={})
        self.left_out.update(reason for _claim, reason in [*rejected, *settlement.rejected])
        served_objects = {object_id for object_id, _text, has_it in texts if has_it}
        served = self._served(addresses)
        for address in settlement.winners.keys() - holders.keys():
            winner = settlement.winners[address]
            self._add(1, has_it=address in served or winner.object_id in served_objects)

    def _holders(self, addresses: set[str]) -> dict[str, Claim]:
        plain = self.rows.filter(mm_address__in=addresses).filter(mm_reason="", mm_plain=True)
        pairs = plain.values_list("mm_address", "mm_object_id")
        return {address: Claim(object_id=object_id, address=address) for address, object_id in pairs}

    def _served(self, addresses: set[str]) -> set[str]:
        """Return those of `addresses` that have the message already."""
        if self.received is None:
            return set()
        reached = Delivery.objects.filter(_reached(self.received), address__in=addresses)
        return set(reached.values_list("address", flat=True))

    def _has_it(self, sorting: Sorting) -> Any:
        """Return the condition that `leave_out_received` has for deliveries, for the objects they are made from."""
        if self.received is None:
            return Value(False, BooleanField())
        served = Delivery.objects.filter(_reached(self.received))
        own_row = Delivery.objects.filter(mailing=OuterRef("mailing"), address=OuterRef(OuterRef("mm_address")))
        person = served.filter(object_id=OuterRef("mm_object_id"), mailing__content_type=sorting.content_type_id)
        return Case(
            When(Exists(served.filter(address=OuterRef("mm_address"))), then=True),
            When(Exists(person.filter(~Exists(own_row))), then=True),
            default=False,
        )


def _reached(received: Received) -> Q:
    condition = reached_by(Mailing.objects.filter(message=received.message).values("pk"))
    if received.since is not None:
        condition &= Q(sent_at__gte=received.since) | Q(sent_at=None, sending_at__gte=received.since)
    return condition
