"""Mailings made from one that exists: a copy, a retry of those that failed, one to those still missing."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from functools import reduce
from operator import or_
from typing import Any

from django.db import transaction
from django.db.models import Exists, OuterRef, Q, QuerySet
from django.db.models.functions import Cast
from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from massmail import moments
from massmail.audience import Creation, create_mailing, creation_of
from massmail.choices import AuditAction, DeliveryStatus, Exclusion, MailingStatus, Relation
from massmail.engine import lifecycle
from massmail.engine.candidates import type_of
from massmail.exceptions import OperationError
from massmail.models import Delivery, LeftOut, Mailing, MassmailSettings, Message
from massmail.models.mailings import audit
from massmail.models.received import Received, leave_out, leave_out_received, reached_by, same_address

#: Who was passed over for one of these may be written to when it has passed: the record was mended, handed back, …
TEMPORARY = (
    Exclusion.NOT_OWNER,
    Exclusion.NOT_ELIGIBLE,
    Exclusion.NO_ADDRESS,
    Exclusion.INVALID_ADDRESS,
    Exclusion.NEEDS_SMTPUTF8,
    Exclusion.ADDRESS_CHANGED,
    Exclusion.NOT_PERSONAL,
)

#: Mailings of one and the same sending: made to go on with it, not to send once more.
_GOES_ON = (Relation.RETRY, Relation.MISSING)

ENDED = (MailingStatus.DONE, MailingStatus.CANCELLED)
_LIVE = (MailingStatus.DRAFT, MailingStatus.ACTIVE, MailingStatus.PAUSED)

_DEEDS = {
    Relation.COPY: AuditAction.COPIED,
    Relation.RETRY: AuditAction.RETRIED,
    Relation.MISSING: AuditAction.COMPLETED,
}


def duplicate(mailing: Mailing, *, by: Any, after: int | None = None) -> Creation:
    """Make a draft with the message of `mailing`, to everybody who was chosen for it: by today's rules.

    `after` is the key of the newest mailing made from it that the caller knows of (0: of none). If there is a newer
    one of the same kind, that one is returned: a second click makes nothing. Raises `OperationError` if nobody may be
    written to.
    """
    chosen = [mailing.deliveries.all(), mailing.left_out.all()]
    return _make(mailing, chosen, Relation.COPY, _("%(name)s (copy)"), by=by, after=after, allowed=tuple(MailingStatus))


def retry_failed(mailing: Mailing, *, by: Any, after: int | None = None) -> Creation:
    """Make a draft to those whom `mailing` could not reach, at the address they have today; `after` as in `duplicate`.

    Suppressed addresses stay out, and so does every address that the message reached, or waits for, through this
    mailing or one that goes on with it. What failed stays on record as it is.
    """
    failed = [mailing.deliveries.filter(status=DeliveryStatus.FAILED)]
    allowed = tuple(status for status in MailingStatus if status != MailingStatus.DRAFT)
    return _make(mailing, failed, Relation.RETRY, _("%(name)s (retry)"), by=by, after=after, allowed=allowed)


def send_to_missing(mailing: Mailing, *, by: Any, after: int | None = None) -> Creation:
    """Make a draft to those whom the ended `mailing` passed over, for a reason that may have passed, or never came to.

    `after` as in `duplicate`; who stays out as in `retry_failed`.
    """
    return _make(
        mailing, missing(mailing), Relation.MISSING, _("%(name)s (the missing)"), by=by, after=after, allowed=ENDED
    )


def missing(mailing: Mailing) -> tuple[QuerySet[Delivery], QuerySet[LeftOut]]:
    """Return the deliveries that `mailing` still owes, and those left out of it for a reason that may have passed."""
    owed = Q(status=DeliveryStatus.QUEUED) | Q(status=DeliveryStatus.SKIPPED, reason__in=TEMPORARY)
    return mailing.deliveries.filter(owed), mailing.left_out.filter(reason__in=TEMPORARY)


def exclude_received(
    mailing: Mailing, *, by: Any, message: Message | None = None, since: dt.datetime | None = None
) -> int:
    """Leave those of the draft `mailing` out who have `message` (its own, if None) already; return how many.

    With `since` only those count who were sent it at that moment or later.
    """
    with transaction.atomic():
        row = lifecycle.locked(mailing, by, MailingStatus.DRAFT)
        message = message or row.message
        if message is None:
            raise OperationError(_("Choose a message first: then it is known who has it already."))
        count = leave_out_received(row, Received(message=message, since=since))
        if count:
            audit(AuditAction.RECEIVED_LEFT_OUT, by=by, mailing=row, text=_excluded(message, since, count))
    mailing.total = row.total
    return count


def _excluded(message: Message, since: dt.datetime | None, count: int) -> str:
    words = _("“%(message)s”, since %(since)s: %(count)d") if since else _("“%(message)s”: %(count)d")
    when = moments.when(since, zone=MassmailSettings.load().zone, relative=False) if since else ""
    return words % {"message": message, "since": when, "count": count}


@transaction.atomic
def _make(
    mailing: Mailing,
    chosen: Sequence[QuerySet[Any]],
    relation: Relation,
    name: str,
    *,
    by: Any,
    after: int | None,
    allowed: tuple[MailingStatus, ...],
) -> Creation:
    source = lifecycle.locked(mailing, by, *allowed)
    if after is not None and (made := source.children.filter(relation=relation, pk__gt=after).first()):
        return creation_of(made)
    creation = create_mailing(
        owner=source.owner,
        recipients=_objects(source, chosen),
        message=source.message,
        name=_named(name, source.name),
        by=by,
    )
    made = creation.mailing
    if relation in _GOES_ON:
        _leave_out_served(source, made)
        creation = creation_of(made)
    if not creation.added:
        raise OperationError(_nobody(creation))
    made.parent, made.relation = source, relation
    made.save(update_fields=["parent", "relation"])
    audit(_DEEDS[relation], by=by, mailing=source, text=_into(made))
    return creation


def _objects(mailing: Mailing, chosen: Sequence[QuerySet[Any]]) -> QuerySet[Any]:
    """Return the host's objects of the mailing's type that `chosen`, rows of deliveries and left-outs, name."""
    recipient_type = type_of(mailing)
    if recipient_type is None:
        raise OperationError(_("The type of its recipients is not among MASSMAIL_RECIPIENT_TYPES any more."))
    key: Any = recipient_type.model_class._meta.pk
    while key.remote_field:
        key = key.target_field
    # The texts become keys and not the keys texts: so the host's index finds them, whatever the planner expects.
    keys = [rows.order_by().annotate(mm_key=Cast("object_id", key)).values("mm_key") for rows in chosen]
    return recipient_type.model_class._default_manager.filter(reduce(or_, (Q(pk__in=each) for each in keys)))


def _leave_out_served(source: Mailing, made: Mailing) -> None:
    family = _family(source) - {made.pk}
    leave_out(made, [same_address(reached_by(family))], Exclusion.ALREADY_RECEIVED)
    waiting = Q(mailing__in=family, mailing__status__in=_LIVE, status=DeliveryStatus.QUEUED)
    leave_out(made, [same_address(waiting)], Exclusion.PLANNED)


def _family(mailing: Mailing) -> set[int]:
    """Return the keys of `mailing` and of all that belong to the same sending: by retries and merges, near and far."""
    known: set[int] = set()
    found = {mailing.pk}
    while found:
        known |= found
        goes_on = Mailing.objects.filter(parent=OuterRef("pk"), relation__in=_GOES_ON, pk__in=found)
        relatives = Mailing.objects.filter(
            Q(parent__in=found, relation__in=_GOES_ON)
            | Q(Exists(goes_on))
            | Q(merged_into__in=found)
            | Q(merged_from__in=found)
        )
        found = set(relatives.values_list("pk", flat=True)) - known
    return known


def _named(pattern: str, name: str) -> str:
    longest = Mailing._meta.get_field("name").max_length or 0
    room = longest - len(pattern % {"name": ""})
    return pattern % {"name": name if len(name) <= room else f"{name[: room - 1]}…"}


def _into(made: Mailing) -> str:
    return ngettext(
        "“%(mailing)s”, with %(count)d recipient", "“%(mailing)s”, with %(count)d recipients", made.total
    ) % {"mailing": made, "count": made.total}


def _nobody(creation: Creation) -> str:
    if not creation.left_out:
        return _("No mailing is made: there is nobody left to write to.")
    reasons = ", ".join(f"{reason.label}: {number}" for reason, number in creation.left_out.items())
    return _("No mailing is made: there is nobody left to write to. %(reasons)s.") % {"reasons": reasons}
