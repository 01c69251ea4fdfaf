"""Merging: several mailings with one message become one, and nobody gets it twice."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from typing import Any

from django.db import transaction
from django.db.models import Exists, F, OuterRef, Q, QuerySet
from django.utils import timezone
from django.utils.translation import gettext as _

from massmail import outcomes
from massmail.choices import AuditAction, DeliveryStatus, MailingStatus, Relation
from massmail.engine import lifecycle
from massmail.engine.window import local_day
from massmail.exceptions import OperationError
from massmail.models import Delivery, Mailing, MassmailSettings
from massmail.models.mailings import audit
from massmail.outcomes import resolving

MERGEABLE = (MailingStatus.DRAFT, MailingStatus.ACTIVE, MailingStatus.PAUSED)
#: Longer than mail can be under way: the server's answer to it, or the end of its lane's lease, comes within minutes.
_UNDER_WAY = dt.timedelta(days=1)


def mergeable_with(mailing: Mailing) -> QuerySet[Mailing]:
    """Return the mailings that `mailing` can be merged with: those of its owner, type and message that go on."""
    others = Mailing.objects.filter(
        owner=mailing.owner_id, content_type=mailing.content_type_id, message=mailing.message_id, status__in=MERGEABLE
    )
    return others.exclude(pk=mailing.pk) if mailing.status in MERGEABLE and mailing.message_id else others.none()


def merge(
    mailings: QuerySet[Mailing] | Sequence[Mailing], *, by: Any, name: str = "", now: dt.datetime | None = None
) -> Mailing:
    """Make one draft of several `mailings` of one owner, type and message, and return it.

    It gets everybody who still waits in one of them, each address once. Who was served by one of them, or may have
    been, is left out. They stay on record as merged, with all their recipients, and send no more. The number of queries
    depends neither on that of recipients nor on that of mailings.

    Raises `OperationError` for mailings that do not go together and where nobody waits any more, `LifecycleError` for
    somebody else's.
    """
    now = now or timezone.now()
    with transaction.atomic():
        keys = [mailing.pk for mailing in mailings]
        rows = lifecycle.locked_all(Mailing.objects.filter(pk__in=keys), by)
        if obstacle := _obstacle(rows):
            raise OperationError(obstacle)
        outcomes.lock_recipients(rows[0].content_type_id)
        made = _draft(rows, name)
        day = local_day(now, MassmailSettings.load().zone)
        made.total = resolving.hand_on(Q(mailing__in=keys), rows, made, day=day)
        if not made.total:
            raise OperationError(_("There is nobody left in these mailings who waits for the message."))
        made.save(update_fields=["total"])
        resolving.record_left_outs(rows, made)
        lifecycle.merge_away(rows, by=by, now=now)
        Mailing.objects.filter(pk__in=keys).update(merged_into=made)
        audit(AuditAction.CREATED, by=by, mailing=made, text=_from(rows, made))
    return made


def _obstacle(rows: Sequence[Mailing]) -> str:
    """Return why `rows` can't be merged, "" if they can."""
    if len(rows) < 2:
        return _("Choose two mailings or more to merge.")
    for row in rows:
        if row.status not in MERGEABLE:
            return lifecycle.wrong_status(row)
        if row.message_id is None:
            return _("The mailing “%s” has no message. Choose the same message in all of them first.") % row
    first = rows[0]
    if any(row.owner_id != first.owner_id for row in rows):
        return _("These mailings have different owners. Only mailings of one owner can be merged.")
    if any(row.content_type_id != first.content_type_id for row in rows):
        return _("These mailings go to recipients of different types. Only those of one type can be merged.")
    if any(row.message_id != first.message_id for row in rows):
        return _("These mailings have different messages. Only those with the same message can be merged.")
    return ""


def _draft(rows: Sequence[Mailing], name: str) -> Mailing:
    first = rows[0]
    starts = {row.start_at for row in rows}
    return Mailing.objects.create(
        owner=first.owner,
        name=name or first.name,
        message=first.message,
        content_type=first.content_type,
        start_at=starts.pop() if len(starts) == 1 else None,
        relation=Relation.MERGE,
    )


def _from(rows: Sequence[Mailing], made: Mailing) -> str:
    names = ", ".join(_("“%s”") % row for row in rows)
    return _("merged from %(mailings)s; addresses: %(count)d") % {"mailings": names, "count": made.total}


def carry_over(*, now: dt.datetime) -> int:
    """Bring mail after that was under way while its mailing was merged, and came back: return how many.

    One query where there is none, which is nearly always.
    """
    queued = Delivery.objects.filter(mailing=OuterRef("pk"), status=DeliveryStatus.QUEUED)
    merged = Mailing.objects.filter(
        Exists(queued), status=MailingStatus.MERGED, merged_into__isnull=False, ended_at__gt=now - _UNDER_WAY
    )
    return sum(_carry_over(mailing, now=now) for mailing in merged.select_related("merged_into"))


@transaction.atomic
def _carry_over(mailing: Mailing, *, now: dt.datetime) -> int:
    assert mailing.merged_into_id is not None  # noqa: S101  that is how it was found
    target = lifecycle.locked_all(Mailing.objects.filter(pk=mailing.merged_into_id), None)
    if not target:
        return 0
    queued = Delivery.objects.select_for_update().filter(mailing=mailing, status=DeliveryStatus.QUEUED)
    keys = list(queued.values_list("pk", flat=True))
    siblings = list(Mailing.objects.filter(merged_into=mailing.merged_into_id))
    day = local_day(now, MassmailSettings.load().zone)
    added = resolving.hand_on(Q(pk__in=keys), siblings, target[0], day=day)
    Mailing.objects.filter(pk=target[0].pk).update(total=F("total") + added)
    if added:
        lifecycle.reopen(target, by=None)
    return added
