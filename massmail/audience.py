"""Who gets a mailing: recipients go in, `Delivery` and `LeftOut` rows come out.

Plain single addresses, the bulk, never leave the database: a handful of `INSERT … SELECT`, whatever their number.
Lists of addresses, non-ASCII ones and everything doubtful are streamed through email-validator in chunks.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from itertools import islice
from typing import Any

from django.contrib.contenttypes.models import ContentType
from django.db import models, transaction
from django.db.models import Count, Exists, F, OuterRef, Q, QuerySet, Value
from django.db.models.functions import Cast, Coalesce, Left, Length, Lower, Trim
from django.utils import timezone
from django.utils.formats import date_format
from django.utils.translation import gettext as _
from email_validator import EmailNotValidError, validate_email

from massmail.choices import AuditAction, DeliveryStatus, Exclusion
from massmail.exceptions import AudienceError
from massmail.models import Delivery, LeftOut, Mailing, Recipient, Suppression
from massmail.models.bulk import insert_select
from massmail.models.mailings import audit
from massmail.recipient_types import RecipientType, type_for

#: What SQL may take as an address by itself: never more than email-validator would. At most 64 characters in all
#: keep the local part (64) and every label (63) within RFC 5321, 4.5.3.1.
PLAIN = r"^[a-z0-9_+-]+(\.[a-z0-9_+-]+)*@([a-z0-9]+(-[a-z0-9]+)*\.)+[a-z]{2,}$"
PLAIN_LENGTH = 64
CHUNK = 2000


@dataclass(frozen=True, slots=True, kw_only=True)
class Address:
    """An address as somebody typed it, and in the form that is compared and stored."""

    typed: str
    normalised: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Creation:
    """What became of a request to make a mailing: `left_out` counts recipients by reason."""

    mailing: Mailing
    added: int
    left_out: dict[Exclusion, int]


def parse_address(text: str) -> Address | None:
    """Return the one address in `text` ("a@b.example" or "Name <a@b.example>"), or None if it is not valid.

    Normalised are the local part and the domain in lower case, an international domain as punycode.
    """
    typed = text.strip()
    if typed.endswith(">") and "<" in typed:
        typed = typed[typed.rindex("<") + 1 : -1].strip()
    try:
        found = validate_email(
            typed, check_deliverability=False, allow_quoted_local=True, test_environment=True, strict=True
        )
    except EmailNotValidError:
        return None
    if not re.search(r"\.[^.]*[a-z][^.]*$", found.ascii_domain, re.IGNORECASE):
        return None  # "root@localhost", "a@1.2.3.4": no mailbox on the public internet
    return Address(typed=typed, normalised=f"{found.local_part}@{found.ascii_domain}".lower())


def parse_addresses(text: str) -> tuple[list[Address], list[str]]:
    """Return the valid addresses in `text`, separated by commas, semicolons or line breaks, and the invalid pieces."""
    pieces = [piece.strip() for piece in re.findall(r'(?:"[^"]*"|[^,;\r\n])+', text)]
    valid, invalid = [], []
    for piece in filter(None, pieces):
        address = parse_address(piece)
        if address is None:
            invalid.append(piece)
        else:
            valid.append(address)
    return valid, invalid


def sole_owner(recipients: QuerySet[Any]) -> Any:
    """Return the one owner of `recipients`, on whose behalf a superuser makes a mailing.

    Recipients without an owner do not count; they are left out. Raises `AudienceError` for none and for several owners.
    """
    recipient_type = type_for(recipients.model)
    found = list(
        _objects(recipient_type, recipients)
        .filter(**{f"{recipient_type.owner}__isnull": False})
        .values_list(recipient_type.owner, flat=True)
        .distinct()[:3]
    )
    if not found:
        raise AudienceError(_("None of the selected recipients has an owner. Assign them to a sales manager first."))
    if len(found) > 1:
        raise AudienceError(
            _("The selected recipients belong to several owners. Select those of one owner, with the filter “owner”.")
        )
    user_model = Mailing._meta.get_field("owner").related_model
    return user_model._default_manager.get(pk=found[0])


@transaction.atomic
def create_mailing(*, owner: Any, recipients: QuerySet[Any], message: Any = None, name: str = "") -> Creation:
    """Make a mailing in `draft` from `recipients`, a queryset of one recipient type.

    A recipient that may not be mailed is left out with the first reason that applies: not `owner`'s, disqualified,
    unsubscribed, no address, suppressed, not valid, duplicate. The number of queries does not depend on the number of
    recipients with plain addresses; of those with one address the VIP wins, then the lowest key.

    Raises `MassmailConfigurationError` if the host registered no type for the model.
    """
    recipient_type = type_for(recipients.model)
    mailing = Mailing.objects.create(
        owner=owner,
        message=message,
        name=name or _default_name(recipient_type),
        content_type=ContentType.objects.get_for_model(recipient_type.model_class),
    )
    added = _Intake(mailing, recipient_type).run(recipients)
    Mailing.objects.filter(pk=mailing.pk).update(total=added)
    mailing.total = added
    audit(AuditAction.CREATED, by=owner, mailing=mailing)
    counts = LeftOut.objects.filter(mailing=mailing).order_by().values_list("reason").annotate(Count("id"))
    return Creation(mailing=mailing, added=added, left_out={Exclusion(reason): n for reason, n in counts})


def _default_name(recipient_type: RecipientType) -> str:
    plural = str(recipient_type.model_class._meta.verbose_name_plural)
    return f"{plural[:1].upper()}{plural[1:]}, {date_format(timezone.localtime(), 'SHORT_DATETIME_FORMAT')}"


def _objects(recipient_type: RecipientType, recipients: QuerySet[Any]) -> QuerySet[Any]:
    """Return `recipients` as a plain queryset of the type: no slices, no duplicates from joins, no order."""
    return recipient_type.queryset().filter(pk__in=recipients.values("pk")).order_by()


@dataclass(frozen=True, slots=True, kw_only=True)
class _Claim:
    """One object's claim to an address; the lowest rank wins it."""

    vip: bool
    pk: Any
    object_id: str
    address: str

    def rank(self) -> tuple[bool, Any]:
        return (not self.vip, self.pk)


class _Intake:
    """Sorts the recipients of one mailing into deliveries and left-outs."""

    def __init__(self, mailing: Mailing, recipient_type: RecipientType) -> None:
        self.mailing = mailing
        self.type = recipient_type
        known = Recipient.objects.filter(content_type=mailing.content_type, object_id=OuterRef("mm_object_id"))
        self.unsubscribed = Exists(known.filter(subscribed=False))
        self.vip = Exists(known.filter(vip=True))
        self.rejected: list[LeftOut] = []

    def run(self, recipients: QuerySet[Any]) -> int:
        """Insert the rows; return the number of deliveries."""
        everybody = _objects(self.type, recipients).annotate(
            mm_object_id=Cast("pk", models.CharField(max_length=64)),
            mm_address=Left(Lower(Trim(Coalesce(F(self.type.email), Value("")))), 320),
        )
        candidates = self._sieve(everybody).annotate(mm_length=Length("mm_address"))
        plain = Q(mm_length__lte=PLAIN_LENGTH, mm_address__regex=PLAIN)
        return self._take_plain(candidates.filter(plain)) + self._take_odd(candidates.exclude(plain))

    def _sieve(self, everybody: QuerySet[Any]) -> QuerySet[Any]:
        """Leave out whoever may not be mailed, each for the first reason that applies; return the rest."""
        mine = {self.type.owner: self.mailing.owner_id}
        self._leave_out(everybody.exclude(**mine), Exclusion.NOT_OWNER)
        everybody = everybody.filter(**mine)

        eligible = self.type.eligible(everybody)
        self._leave_out(everybody.exclude(pk__in=eligible.values("pk")), Exclusion.NOT_ELIGIBLE)

        opted_out = Q(self.unsubscribed)
        if self.type.subscribed:
            opted_out |= Q(**{self.type.subscribed: False})
        self._leave_out(eligible.filter(opted_out), Exclusion.UNSUBSCRIBED)
        subscribed = eligible.exclude(opted_out)

        self._leave_out(subscribed.filter(mm_address=""), Exclusion.NO_ADDRESS)
        addressed = subscribed.exclude(mm_address="")

        suppressed = Exists(Suppression.objects.filter(address=OuterRef("mm_address")))
        self._leave_out(addressed.filter(suppressed), Exclusion.SUPPRESSED)
        return addressed.filter(~suppressed)

    def _take_plain(self, plain: QuerySet[Any]) -> int:
        queued = {"status": DeliveryStatus.QUEUED.value, "reason": "", "reply": "", "attempts": 0, "message_id": ""}
        # VIPs first, then by key: the unique constraint keeps the first that comes with an address.
        added = 0
        if Recipient.objects.filter(content_type=self.mailing.content_type, vip=True).exists():
            added = self._insert(Delivery, plain.filter(self.vip).order_by("pk"), **queued)
        added += self._insert(Delivery, plain.order_by("pk"), **queued)
        if added < plain.count():
            taken = Delivery.objects.filter(mailing=self.mailing, object_id=OuterRef("mm_object_id"))
            self._leave_out(plain.filter(~Exists(taken)), Exclusion.DUPLICATE)
        return added

    def _leave_out(self, queryset: QuerySet[Any], reason: Exclusion) -> None:
        self._insert(LeftOut, queryset, reason=reason.value)

    def _insert(self, model: type[models.Model], queryset: QuerySet[Any], **constants: Any) -> int:
        columns = {"object_id": "mm_object_id", "address": "mm_address"}
        return insert_select(model, queryset, columns=columns, constants={"mailing_id": self.mailing.pk, **constants})

    def _take_odd(self, odd: QuerySet[Any]) -> int:
        """Take what SQL does not judge: lists of addresses, non-ASCII, over-long or doubtful ones."""
        rows = odd.annotate(mm_vip=self.vip).order_by("pk")
        columns = rows.values_list("pk", "mm_object_id", "mm_vip", self.type.email)
        stream = columns.iterator(chunk_size=CHUNK)
        added = 0
        while chunk := list(islice(stream, CHUNK)):
            added += self._take_chunk(chunk)
        return added

    def _take_chunk(self, chunk: list[tuple[Any, str, bool, str]]) -> int:
        claims: list[_Claim] = []
        for pk, object_id, vip, text in chunk:
            valid, invalid = parse_addresses(text)
            claims += [_Claim(vip=vip, pk=pk, object_id=object_id, address=each.normalised) for each in valid]
            for piece in invalid or ([] if valid else [text]):
                self.rejected.append(self._left_out(object_id, piece, Exclusion.INVALID_ADDRESS))
        addresses = {claim.address for claim in claims}
        suppressed = set(Suppression.objects.filter(address__in=addresses).values_list("address", flat=True))
        holders = self._holders(addresses)
        best = dict(holders)
        for claim in claims:
            rival = best.get(claim.address)
            if claim.address in suppressed:
                self.rejected.append(self._left_out(claim.object_id, claim.address, Exclusion.SUPPRESSED))
            elif rival is None:
                best[claim.address] = claim
            elif rival.object_id != claim.object_id:
                winner, loser = sorted((claim, rival), key=_Claim.rank)
                best[claim.address] = winner
                self.rejected.append(self._left_out(loser.object_id, loser.address, Exclusion.DUPLICATE))
        return self._settle(best, holders)

    def _holders(self, addresses: set[str]) -> dict[str, _Claim]:
        """Return who holds these addresses in this mailing already."""
        rows = Delivery.objects.filter(mailing=self.mailing, address__in=addresses).values_list("address", "object_id")
        found = dict(rows)
        vips = set(
            Recipient.objects.filter(
                content_type=self.mailing.content_type, object_id__in=found.values(), vip=True
            ).values_list("object_id", flat=True)
        )
        return {
            address: _Claim(vip=object_id in vips, pk=self.type.to_pk(object_id), object_id=object_id, address=address)
            for address, object_id in found.items()
        }

    def _settle(self, best: dict[str, _Claim], holders: dict[str, _Claim]) -> int:
        fresh = [claim for address, claim in best.items() if address not in holders]
        Delivery.objects.bulk_create(
            [Delivery(mailing=self.mailing, object_id=claim.object_id, address=claim.address) for claim in fresh]
        )
        for address, holder in holders.items():
            if best[address] is not holder:
                held = Delivery.objects.filter(mailing=self.mailing, address=address)
                held.update(object_id=best[address].object_id)
        LeftOut.objects.bulk_create(self.rejected)
        self.rejected.clear()
        return len(fresh)

    def _left_out(self, object_id: str, address: str, reason: Exclusion) -> LeftOut:
        return LeftOut(mailing=self.mailing, object_id=object_id, address=address[:320], reason=reason)
