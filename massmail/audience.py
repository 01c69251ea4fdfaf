"""Who gets a mailing: recipients go in, `Delivery` and `LeftOut` rows come out.

Plain single addresses, the bulk, never leave the database: a handful of `INSERT … SELECT`, whatever their number.
Lists of addresses, non-ASCII ones and everything doubtful are streamed through email-validator in chunks.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import reduce
from itertools import islice
from operator import or_
from typing import Any

from django.contrib.contenttypes.models import ContentType
from django.db import models, transaction
from django.db.models import Case, Count, Exists, ExpressionWrapper, F, OuterRef, Q, QuerySet, Value, When
from django.db.models.functions import Cast, Coalesce, Left, Length, Lower, Trim
from django.utils import timezone
from django.utils.formats import date_format
from django.utils.translation import gettext as _
from email_validator import EmailNotValidError, validate_email

from massmail.choices import AuditAction, Exclusion
from massmail.exceptions import AudienceError
from massmail.models import Delivery, LeftOut, Mailing, Recipient, Suppression
from massmail.models.intake import Intake
from massmail.models.mailings import audit
from massmail.recipient_types import RecipientType, type_for

#: What SQL may take as an address by itself: never more than email-validator would. At most 64 characters in all
#: keep the local part (64) and every label (63) within RFC 5321, 4.5.3.1.
PLAIN = r"^[a-z0-9_+-]+(\.[a-z0-9_+-]+)*@([a-z0-9]+(-[a-z0-9]+)*\.)+[a-z]{2,}\Z"
PLAIN_LENGTH = 64
#: Names that are in no public DNS (RFC 6761, 6762, 7686): for email-validator to refuse.
SPECIAL = (".arpa", ".invalid", ".local", ".localhost", ".onion")
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
    if not re.search(r"\.[^.]*[a-z][^.]*\Z", found.ascii_domain, re.IGNORECASE):
        return None  # "root@localhost", "a@1.2.3.4": no mailbox on the public internet
    if not found.local_part.isascii():
        return None  # would need SMTPUTF8 (RFC 6531) on every server on the way
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
    with Intake(mailing) as intake:
        intake.fill(_sort(mailing, recipient_type, recipients))
        intake.to_left_out()
        odd = _OddOnes(mailing, intake)
        # VIPs with several addresses before all others, so that the main account need not wait for them.
        added = odd.take(vip=True) + intake.to_deliveries()
        intake.duplicates_to_left_out(Exclusion.DUPLICATE.value)
        added += odd.take(vip=False)
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
    """One object's claim to an address; the lowest position wins it."""

    position: int
    object_id: str
    address: str


def _sort(mailing: Mailing, recipient_type: RecipientType, recipients: QuerySet[Any]) -> QuerySet[Any]:
    """Annotate the host objects with all that decides about them; VIPs stand first, then the lowest key.

    `mm_reason` is the first reason that applies, "" for those who may be mailed; `mm_plain` whether SQL can say that
    what they have is one valid address.
    """
    known = Recipient.objects.filter(content_type=mailing.content_type, object_id=OuterRef("mm_object_id"))
    mine = {recipient_type.owner: mailing.owner_id}
    opted_out = Q(Exists(known.filter(subscribed=False)))
    if recipient_type.subscribed:
        opted_out |= Q(**{recipient_type.subscribed: False})
    eligible = recipient_type.eligible(recipient_type.queryset().filter(**mine)).order_by()
    suppressed = Exists(Suppression.objects.filter(address=OuterRef("mm_address")))
    special = reduce(or_, (Q(mm_address__endswith=name) for name in SPECIAL))

    reason: Any = Case(When(suppressed, then=Value(Exclusion.SUPPRESSED.value)), default=Value(""))
    reason = Case(When(mm_address="", then=Value(Exclusion.NO_ADDRESS.value)), default=reason)
    reason = Case(When(opted_out, then=Value(Exclusion.UNSUBSCRIBED.value)), default=reason)
    reason = Case(When(pk__in=eligible.values("pk"), then=reason), default=Value(Exclusion.NOT_ELIGIBLE.value))
    reason = Case(When(**mine, then=reason), default=Value(Exclusion.NOT_OWNER.value))
    plain = Q(~special, mm_length__lte=PLAIN_LENGTH, mm_address__regex=PLAIN)
    return (
        _objects(recipient_type, recipients)
        .annotate(
            mm_object_id=Cast("pk", models.CharField(max_length=64)),
            mm_email=Coalesce(F(recipient_type.email), Value(""), output_field=models.TextField()),
        )
        .annotate(
            mm_vip=ExpressionWrapper(Q(Exists(known.filter(vip=True))), models.BooleanField()),
            mm_address=Left(Lower(Trim("mm_email")), 320),
        )
        .annotate(mm_length=Length("mm_address"))
        .annotate(mm_reason=reason, mm_plain=Case(When(plain, then=True), default=False))
        .order_by("-mm_vip", "pk")
    )


class _OddOnes:
    """Takes those whom SQL does not judge: lists of addresses, non-ASCII, over-long or doubtful ones."""

    def __init__(self, mailing: Mailing, intake: Intake) -> None:
        self.mailing = mailing
        self.intake = intake
        self.rejected: list[LeftOut] = []

    def take(self, *, vip: bool) -> int:
        """Insert deliveries for the valid addresses of VIPs, or of the others; return how many."""
        stream = self.intake.odd(vip=vip)
        added = 0
        while chunk := list(islice(stream, CHUNK)):
            added += self._take_chunk(chunk)
        return added

    def _take_chunk(self, chunk: list[tuple[int, str, str]]) -> int:
        claims: list[_Claim] = []
        for position, object_id, text in chunk:
            valid, invalid = parse_addresses(text)
            claims += [_Claim(position=position, object_id=object_id, address=each.normalised) for each in valid]
            for piece in invalid or ([] if valid else [text]):
                self._reject(object_id, piece, Exclusion.INVALID_ADDRESS)
        addresses = {claim.address for claim in claims}
        suppressed = set(Suppression.objects.filter(address__in=addresses).values_list("address", flat=True))
        holders = {
            address: _Claim(position=position, object_id=object_id, address=address)
            for address, (position, object_id) in self.intake.holders(addresses).items()
        }
        best = dict(holders)
        for claim in claims:
            rival = best.get(claim.address)
            if claim.address in suppressed:
                self._reject(claim.object_id, claim.address, Exclusion.SUPPRESSED)
            elif rival is None:
                best[claim.address] = claim
            elif rival.object_id != claim.object_id:
                winner, loser = sorted((claim, rival), key=lambda each: each.position)
                best[claim.address] = winner
                self._reject(loser.object_id, loser.address, Exclusion.DUPLICATE)
        return self._write(best, holders)

    def _write(self, best: dict[str, _Claim], holders: dict[str, _Claim]) -> int:
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

    def _reject(self, object_id: str, address: str, reason: Exclusion) -> None:
        self.rejected.append(LeftOut(mailing=self.mailing, object_id=object_id, address=address[:320], reason=reason))
