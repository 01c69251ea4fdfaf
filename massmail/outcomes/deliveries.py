"""How deliveries end, and the sums that follow from it."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

from django.db import IntegrityError, transaction
from django.db.models import F, Q, QuerySet, Sum

from massmail.choices import (
    OF_RECIPIENT,
    AuditAction,
    DeliveryStatus,
    Ending,
    Exclusion,
    Failure,
    HoldReason,
    SuppressionReason,
)
from massmail.models import Delivery, Lane, Mailing, MassmailSettings, Tally
from massmail.models.mailings import audit
from massmail.models.statements import Bound, Statement, slot
from massmail.outcomes import figures
from massmail.outcomes.replies import Verdict, classify
from massmail.outcomes.suppressions import suppress
from massmail.signals import delivery_sent
from massmail.transport import Reply

#: How long a delivery waits before its next attempt, by the number of attempts made; after the last it has failed.
LADDER = tuple(dt.timedelta(minutes=minutes) for minutes in (15, 60, 240, 480, 1440, 2880))
#: A delivery at which the server broke off lets others go first: it might break off at this one every time.
OTHERS_FIRST = dt.timedelta(minutes=10)


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """Where a mailing stands, in deliveries; `sent_today` by the day of the settings' time zone."""

    total: int
    sent: int = 0
    failed: int = 0
    skipped: int = 0
    unknown: int = 0
    sent_today: int = 0

    @property
    def done(self) -> int:
        return self.sent + self.failed + self.skipped + self.unknown

    @property
    def to_go(self) -> int:
        return self.total - self.done

    @property
    def percent(self) -> int:
        """Rounded down, so that 100 means that nothing is left."""
        return 100 * self.done // self.total if self.total else 0


def progress(mailings: Iterable[Mailing], *, now: dt.datetime) -> dict[int, Progress]:
    """Return the progress of `mailings` by primary key, in two queries whatever their number and size."""
    today = now.astimezone(MassmailSettings.load().zone).date()
    mailings = list(mailings)
    counts = ("sent", "failed", "skipped", "unknown")
    sums = {f"mm_{name}": Sum(name) for name in counts} | {"mm_sent_today": Sum("sent", filter=Q(day=today), default=0)}
    rows = (
        Tally.objects.filter(mailing__in=mailings)
        .values("mailing_id")
        .annotate(**sums)
        .values_list("mailing_id", *sums)
    )
    names = [name.removeprefix("mm_") for name in sums]
    found = {key: dict(zip(names, numbers, strict=True)) for key, *numbers in rows}
    return {mailing.pk: Progress(total=mailing.total, **found.get(mailing.pk, {})) for mailing in mailings}


def settle(
    delivery: Delivery, reply: Reply, *, now: dt.datetime, day: dt.date, batch: dict[int, int] | None = None
) -> Verdict:
    """Write what became of `delivery`, which is `sending`, after the server's `reply`; return what it means.

    With a `batch`, a mail that was sent is counted there, by mailing, and not in the tallies: the caller brings the
    batch into them later, with `count_sent`.

    One transaction. What is the server's, the account's or the message's trouble puts the delivery back into the
    queue without counting an attempt. A delivery given up as `unknown` in the meantime takes a late answer all the
    same.
    """
    verdict = classify(reply)
    with transaction.atomic(savepoint=False):
        match verdict.ending:
            case Ending.SENT:
                _sent(delivery, reply, now, day, batch)
            case Ending.REFUSED:
                ended = _end(delivery, DeliveryStatus.FAILED, verdict.reason, day, reply=reply.text)
                if ended and verdict.suppress:
                    figures.add(delivery.mailing_id, bad=1)
                if ended:
                    kind = "undeliverable" if verdict.suppress else "refused"
                    figures.add_to_day(delivery.account_id, day, **{kind: 1})
                if verdict.suppress:
                    suppress(delivery.address, SuppressionReason.BOUNCED, source=f"{delivery.message_id}: {reply}")
            case Ending.UNKNOWN:
                _end(delivery, DeliveryStatus.UNKNOWN, verdict.reason, day, reply=reply.text)
            case Ending.RETRY:
                _retry(delivery, verdict, reply, now, day)
            case Ending.SERVER:
                requeue(delivery, reply=reply.text, not_before=now + OTHERS_FIRST)
            case _:
                requeue(delivery, reply=reply.text)
    return verdict


def _sent(
    delivery: Delivery, reply: Reply, now: dt.datetime, day: dt.date, batch: dict[int, int] | None = None
) -> None:
    if sent(delivery, reply, now=now).run():
        if batch is None:
            _count(delivery, delivery.lane_id, day, sent=1)
        note_sent(delivery, now=now, batch=batch)
    elif sent(delivery, reply, now=now, before=DeliveryStatus.UNKNOWN).run():
        _count(delivery, delivery.lane_id, day, sent=1, unknown=-1)
        note_sent(delivery, now=now)


def sent(
    delivery: Delivery, reply: Reply, *, now: dt.datetime, before: DeliveryStatus = DeliveryStatus.SENDING
) -> Bound:
    """Return the statement that writes down that `delivery` was sent. If that changed a row, call `note_sent`."""
    return _sent_statement().bound(
        pk=delivery.pk, message_id=delivery.message_id, before=before, reply=reply.text, sent_at=now
    )


def note_sent(delivery: Delivery, *, now: dt.datetime, batch: dict[int, int] | None = None) -> None:
    """Count in `batch` that `delivery` was sent, and tell whoever listens, after the commit."""
    if batch is not None:
        batch[delivery.mailing_id] = batch.get(delivery.mailing_id, 0) + 1
    delivery.status, delivery.sent_at = DeliveryStatus.SENT, now
    if delivery_sent.has_listeners(Delivery):
        transaction.on_commit(lambda: delivery_sent.send_robust(Delivery, delivery=delivery))


@cache
def _sent_statement() -> Statement:
    attempt = Delivery.objects.filter(
        pk=slot(Delivery, "id", "pk"),
        message_id=slot(Delivery, "message_id"),
        # A slot, so that no plan leans on the index of those that are `sending`: dead entries pile up in it.
        status=slot(Delivery, "status", "before"),
    )
    return Statement(
        attempt,
        status=DeliveryStatus.SENT,
        reason="",
        reply=slot(Delivery, "reply"),
        sent_at=slot(Delivery, "sent_at"),
    )


def _retry(delivery: Delivery, verdict: Verdict, reply: Reply, now: dt.datetime, day: dt.date) -> None:
    attempts = delivery.attempts + 1
    if attempts > len(LADDER):
        _end(delivery, DeliveryStatus.FAILED, verdict.reason, day, reply=reply.text, attempts=attempts)
        return
    requeue(delivery, reply=reply.text, attempts=attempts, not_before=now + LADDER[attempts - 1])


def requeue(delivery: Delivery, *, reply: str = "", **fields: object) -> bool:
    """Put a delivery back into the queue that is `sending` and of which the server provably has nothing."""
    return _move(_sending(delivery), DeliveryStatus.QUEUED, "", reply=reply, lane=None, sending_at=None, **fields)


def skip(delivery: Delivery, reason: Exclusion, *, lane: Lane | None, day: dt.date, reply: str = "") -> bool:
    """End a queued delivery whose recipient may not be mailed any more; `lane` found out, or None if a person did."""
    with transaction.atomic():
        moved = _move(_queued(delivery), DeliveryStatus.SKIPPED, reason, reply=reply)
        if moved:
            _count(delivery, lane.pk if lane else None, day, skipped=1)
    return moved


@transaction.atomic
def skip_by_hand(delivery: Delivery, *, by: Any, day: dt.date) -> bool:
    """Take a queued delivery out of its mailing because `by` says so; False if it is not queued any more."""
    skipped = skip(delivery, Exclusion.BY_HAND, lane=None, day=day)
    if skipped:
        audit(AuditAction.SKIPPED, by=by, mailing=delivery.mailing, text=delivery.address)
    return skipped


def postpone(delivery: Delivery, *, until: dt.datetime, why: str) -> None:
    """Let a queued delivery wait that can't be sent for a reason of our own, so that the others go on."""
    _queued(delivery).update(not_before=until, reply=why, reason="")


def hold_back(keys: Sequence[int], *, reason: HoldReason, until: dt.datetime) -> None:
    """Let queued deliveries, given by primary key, wait for a limit of their recipients (one of `OF_RECIPIENT`)."""
    Delivery.objects.filter(pk__in=keys, status=DeliveryStatus.QUEUED).update(not_before=until, reason=reason)


def let_go() -> int:
    """Let no delivery wait any longer for a limit of its recipient: the limits are others now. Returns how many."""
    waiting = Delivery.objects.filter(status=DeliveryStatus.QUEUED, not_before__isnull=False, reason__in=OF_RECIPIENT)
    return waiting.update(not_before=None, reason="")


def _queued(delivery: Delivery) -> QuerySet[Delivery]:
    return Delivery.objects.filter(pk=delivery.pk, status=DeliveryStatus.QUEUED)


def doubt(deliveries: QuerySet[Delivery], *, day: dt.date) -> int:
    """Call `deliveries` unknown: they are `sending`, and the worker that knew more is gone. Returns how many."""
    count = 0
    for delivery in deliveries.filter(status=DeliveryStatus.SENDING):
        with transaction.atomic():
            count += _end(delivery, DeliveryStatus.UNKNOWN, Failure.INTERRUPTED, day)
    return count


def _sending(delivery: Delivery) -> QuerySet[Delivery]:
    return Delivery.objects.filter(pk=delivery.pk, message_id=delivery.message_id, status=DeliveryStatus.SENDING)


def _end(delivery: Delivery, status: DeliveryStatus, reason: str, day: dt.date, **fields: object) -> bool:
    moved = _move(_sending(delivery), status, reason, **fields)
    if moved:
        _count(delivery, delivery.lane_id, day, **{status.value: 1})
    return moved


def _move(queryset: QuerySet[Delivery], status: DeliveryStatus, reason: str, **fields: object) -> bool:
    return bool(queryset.update(status=status, reason=reason, **fields))


def count_sent(batch: Mapping[int, int], *, lane: Lane, day: dt.date) -> None:
    """Add to the tallies what `lane` sent on `day`: numbers of mails by mailing."""
    for mailing_id, number in batch.items():
        _add(mailing_id, lane.pk, day, sent=number)


def _count(delivery: Delivery, lane_id: int | None, day: dt.date, **changes: int) -> None:
    _add(delivery.mailing_id, lane_id, day, **changes)


def _add(mailing_id: int, lane_id: int | None, day: dt.date, **changes: int) -> None:
    """Add `changes` to the tally of a mailing and a lane on `day`; without a lane in a row of its own."""
    key = {"mailing_id": mailing_id, "lane_id": lane_id, "day": day}
    changes = {"sent": 0, "failed": 0, "skipped": 0, "unknown": 0} | changes
    if lane_id is not None and _tally_statement().run(**key, **changes):
        return
    if lane_id is None or not Lane.objects.filter(pk=lane_id).exists():  # gone, with its account
        key["lane_id"] = None
    try:
        with transaction.atomic():
            Tally.objects.create(**key, **changes)
    except IntegrityError:  # another process made the row
        _tally_statement().run(**key, **changes)


@cache
def _tally_statement() -> Statement:
    row = Tally.objects.filter(
        mailing=slot(Tally, "mailing", "mailing_id"), lane=slot(Tally, "lane", "lane_id"), day=slot(Tally, "day")
    )
    return Statement(row, **{name: F(name) + slot(Tally, name) for name in ("sent", "failed", "skipped", "unknown")})
