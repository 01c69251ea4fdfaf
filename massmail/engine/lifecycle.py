"""Moving a mailing from one status to the next: the only writer of `Mailing.status`."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Sequence
from typing import Any

from django.db import router, transaction
from django.db.models import Exists, OuterRef, QuerySet
from django.utils import timezone
from django.utils.translation import gettext as _

from massmail import moments
from massmail.choices import AuditAction, DeliveryStatus, HoldReason, MailingStatus
from massmail.composing import check, freeze, has_changed, lint
from massmail.engine.checkup import standing
from massmail.engine.holds import Hold, accounts_hold, deployment_hold, owner_inactive, show, window_hold
from massmail.engine.lanes import usable_accounts
from massmail.engine.window import Window
from massmail.exceptions import LifecycleError
from massmail.models import AuditEntry, Delivery, EmailAccount, LeftOut, Mailing, MassmailSettings, Message, Recipient
from massmail.models.mailings import audit
from massmail.outcomes import progress
from massmail.recipient_types import type_for


def obstacles(mailing: Mailing, *, now: dt.datetime) -> list[Hold]:
    """Return what forbids that `mailing` is started, each with its remedy; nothing when it may be."""
    accounts = usable_accounts([mailing.owner_id])[mailing.owner_id]
    found = [
        _owner_obstacle(mailing),
        *_message_obstacles(mailing),
        None
        if mailing.total
        else Hold(
            reason=HoldReason.NO_RECIPIENTS,
            detail=_("The mailing has no recipients."),
            remedy=_("Look at who was left out and why, mend it, and make the mailing again."),
            about=mailing,
        ),
        deployment_hold(MassmailSettings.load()),
        None if accounts else accounts_hold([]),
        *standing.obstacles(accounts),
    ]
    return [hold for hold in found if hold is not None]


def delays(mailing: Mailing, *, now: dt.datetime) -> list[Hold]:
    """Return what lets `mailing` start, but later than now or only in part."""
    settings = MassmailSettings.load()
    accounts = usable_accounts([mailing.owner_id])[mailing.owner_id]
    found = [
        _vips_only(mailing) if accounts and accounts_hold(accounts) else None,
        Hold(
            reason=HoldReason.START_AT,
            until=mailing.start_at,
            detail=_("It will start %(time)s.") % {"time": show(mailing.start_at, settings, now=now)},
            about=mailing,
        )
        if mailing.start_at and mailing.start_at > now
        else None,
        window_hold(Window.of(settings), settings, now=max(now, mailing.start_at or now)),
    ]
    return [hold for hold in found if hold is not None]


def _vips_only(mailing: Mailing) -> Hold:
    """Return how far a mailing gets with the main account alone."""
    vips = Recipient.objects.filter(content_type=mailing.content_type_id, vip=True).values("object_id")
    count = Delivery.objects.filter(mailing=mailing, object_id__in=vips).count()
    return Hold(
        reason=HoldReason.ONLY_MAIN_ACCOUNT,
        detail=_(
            "The main account is the only one for mailing, and it sends to VIP recipients only: "
            "%(vips)s of %(total)s. The others will wait."
        )
        % {"vips": count, "total": mailing.total},
        remedy=_("Add another email account and mark it “Massmail”, or mark recipients as VIP."),
    )


def _owner_obstacle(mailing: Mailing) -> Hold | None:
    return None if mailing.owner.is_active else owner_inactive(mailing.owner)


def _message_obstacles(mailing: Mailing) -> list[Hold]:
    message = mailing.message
    if message is None:
        return [
            Hold(
                reason=HoldReason.NO_MESSAGE,
                detail=_("No message is chosen."),
                remedy=_("Choose a message and save."),
                about=mailing,
            )
        ]
    remedy = _("Mend the message on its page.")
    return [
        Hold(reason=HoldReason.BAD_MESSAGE, detail=error, remedy=remedy, about=message)
        for error in _errors(message, mailing)
    ]


def _errors(message: Message, mailing: Mailing) -> list[str]:
    """Return why `message` can't go to the recipients of `mailing`: it can't be composed, or must not be sent so."""
    model = mailing.content_type.model_class()
    variables = type_for(model).variables if model else ()
    errors = [str(error) for error in check(message, variables=variables)]
    senders = EmailAccount.objects.filter(owner=mailing.owner_id, massmail=True)
    remarks = lint(message, senders=senders)
    return errors or [f"{remark.text} {remark.remedy}" for remark in remarks if remark.stops]


def start(mailing: Mailing, *, by: Any, now: dt.datetime | None = None) -> Mailing:
    """Freeze the message of the draft `mailing` and set it going; `by` is its owner or a superuser.

    Raises `LifecycleError` with the first reason that forbids it.
    """
    now = now or timezone.now()
    with transaction.atomic():
        row = locked(mailing, by, MailingStatus.DRAFT)
        for hold in obstacles(row, now=now):
            raise LifecycleError(f"{hold.detail} {hold.remedy}".strip(), reason=hold.reason)
        assert row.message is not None  # noqa: S101  its absence is an obstacle
        row.version = freeze(row.message)
        row.started_at = now
        _move(row, MailingStatus.ACTIVE, "version", "started_at")
        audit(AuditAction.STARTED, by=by, mailing=row)
    return _mirror(mailing, row)


def pause(mailing: Mailing, *, by: Any, reason: str = "") -> Mailing:
    """Stop an active mailing before its next mail; `by` None with a `reason` when the app does it by itself."""
    with transaction.atomic():
        row = locked(mailing, by, MailingStatus.ACTIVE)
        row.pause_reason = reason
        _move(row, MailingStatus.PAUSED, "pause_reason")
        audit(AuditAction.PAUSED, by=by, mailing=row, text=reason)
    return _mirror(mailing, row)


def resume(mailing: Mailing, *, by: Any) -> Mailing:
    """Let a paused mailing go on with the message it was started with."""
    with transaction.atomic():
        row = locked(mailing, by, MailingStatus.PAUSED)
        row.pause_reason = ""
        _move(row, MailingStatus.ACTIVE, "pause_reason")
        audit(AuditAction.RESUMED, by=by, mailing=row)
    return _mirror(mailing, row)


def behind(message: Message) -> list[Mailing]:
    """Return the mailings under way that send `message` as it was before, by key."""
    under_way = Mailing.objects.filter(message=message, status__in=[MailingStatus.ACTIVE, MailingStatus.PAUSED])
    mailings = list(under_way.select_related("version").order_by("pk"))
    versions = {mailing.version for mailing in mailings if mailing.version}
    changed = {version.pk for version in versions if has_changed(message, version)}
    return [mailing for mailing in mailings if mailing.version_id in changed]


def has_new_version(mailing: Mailing) -> bool:
    """Return whether the message of the started `mailing` was changed since it was frozen."""
    return bool(mailing.message and mailing.version and has_changed(mailing.message, mailing.version))


def take_new_version(mailing: Mailing, *, by: Any) -> Mailing:
    """Pause an active or paused mailing and let those who were not served yet have its message as it is now.

    A delivery that was tried before keeps its version: its next attempt is the same mail once more. Raises
    `LifecycleError` if the message has not changed or can't be sent.
    """
    with transaction.atomic():
        row = locked(mailing, by, MailingStatus.ACTIVE, MailingStatus.PAUSED)
        if row.message is None or not has_new_version(row):
            raise LifecycleError(_("The message has not changed since it was frozen."))
        errors = _errors(row.message, row)
        if errors:
            raise LifecycleError(" ".join(errors), reason=HoldReason.BAD_MESSAGE)
        row.version = freeze(row.message)
        _move(row, MailingStatus.PAUSED, "version")
        audit(AuditAction.NEW_VERSION, by=by, mailing=row, text=row.version.subject)
    return _mirror(mailing, row)


def cancel(mailing: Mailing, *, by: Any, now: dt.datetime | None = None) -> Mailing:
    """End a mailing for good; what is still queued is never sent."""
    with transaction.atomic():
        row = locked(mailing, by, MailingStatus.DRAFT, MailingStatus.ACTIVE, MailingStatus.PAUSED)
        row.ended_at = now or timezone.now()
        _move(row, MailingStatus.CANCELLED, "ended_at")
        audit(AuditAction.CANCELLED, by=by, mailing=row)
    return _mirror(mailing, row)


def schedule(mailing: Mailing, *, by: Any, start_at: dt.datetime | None) -> Mailing:
    """Let a draft or paused mailing send from the moment `start_at` on; None: as soon as it is started or resumed."""
    with transaction.atomic():
        row = locked(mailing, by, MailingStatus.DRAFT, MailingStatus.PAUSED)
        if row.start_at != start_at:
            row.start_at = start_at
            row.save(update_fields=["start_at"])
            when = _kept(start_at) if start_at else _("at once")
            audit(AuditAction.SCHEDULED, by=by, mailing=row, text=when)
    return _mirror(mailing, row)


def _kept(moment: dt.datetime) -> str:
    """Return `moment` as the log keeps it, to be read on any day."""
    return moments.when(moment, zone=MassmailSettings.load().zone, relative=False)


def pause_all(mailings: QuerySet[Mailing], *, by: Any) -> int:
    """Pause the active ones of `mailings`, all of them of `by` or `by` a superuser; return how many."""
    return _move_all(mailings, MailingStatus.ACTIVE, MailingStatus.PAUSED, AuditAction.PAUSED, by=by)


def resume_all(mailings: QuerySet[Mailing], *, by: Any) -> int:
    """Let the paused ones of `mailings` go on, all of them of `by` or `by` a superuser; return how many."""
    return _move_all(mailings, MailingStatus.PAUSED, MailingStatus.ACTIVE, AuditAction.RESUMED, by=by)


def _move_all(
    mailings: QuerySet[Mailing], before: MailingStatus, after: MailingStatus, action: AuditAction, *, by: Any
) -> int:
    with transaction.atomic():
        rows = [row for row in locked_all(mailings, by) if row.status == before]
        Mailing.objects.filter(pk__in=[row.pk for row in rows]).update(status=after, pause_reason="")
        AuditEntry.objects.bulk_create(AuditEntry(action=action, by=by, mailing=row) for row in rows)
    return len(rows)


def finish(*, now: dt.datetime) -> int:
    """Call those active mailings done that have nothing queued or under way; return how many."""
    open_ends = Delivery.objects.filter(
        mailing=OuterRef("pk"), status__in=[DeliveryStatus.QUEUED, DeliveryStatus.SENDING]
    )
    active = Mailing.objects.filter(status=MailingStatus.ACTIVE)
    return sum(_finish(mailing.pk, now=now) for mailing in active.filter(~Exists(open_ends)))


@transaction.atomic
def _finish(key: int, *, now: dt.datetime) -> bool:
    """Look again with the row held: `reopen` holds it too, while it puts deliveries back into the queue."""
    row = Mailing.objects.select_for_update().filter(pk=key, status=MailingStatus.ACTIVE).first()
    if row is None or row.deliveries.filter(status__in=[DeliveryStatus.QUEUED, DeliveryStatus.SENDING]).exists():
        return False
    row.ended_at = now
    _move(row, MailingStatus.DONE, "ended_at")
    audit(AuditAction.FINISHED, by=None, mailing=row)
    return True


def reopen(mailings: Iterable[Mailing], *, by: Any) -> None:
    """Set those of `mailings` going again that are done: some of their deliveries are back in the queue.

    The caller holds their rows.
    """
    done = [mailing for mailing in mailings if mailing.status == MailingStatus.DONE]
    Mailing.objects.filter(pk__in=[row.pk for row in done]).update(status=MailingStatus.ACTIVE, ended_at=None)
    AuditEntry.objects.bulk_create(AuditEntry(action=AuditAction.RESUMED, by=by, mailing=row) for row in done)


def merge_away(mailings: Sequence[Mailing], *, by: Any, now: dt.datetime) -> None:
    """End `mailings`, whose rows the caller holds: they go on in another one."""
    keys = [mailing.pk for mailing in mailings]
    Mailing.objects.filter(pk__in=keys).update(status=MailingStatus.MERGED, ended_at=now, pause_reason="")
    AuditEntry.objects.bulk_create(AuditEntry(action=AuditAction.MERGED, by=by, mailing=row) for row in mailings)


def kept_for_the_record(mailings: Sequence[Mailing]) -> list[str]:
    """Return, for each of `mailings` that can't be deleted, the reason in words."""
    sums = progress(mailings, now=timezone.now())
    under_way = set(
        Delivery.objects.filter(mailing__in=mailings, status=DeliveryStatus.SENDING).values_list("mailing", flat=True)
    )
    kept = []
    for mailing in mailings:
        gone = sums[mailing.pk].sent + sums[mailing.pk].failed + sums[mailing.pk].unknown
        if gone or mailing.pk in under_way:
            kept.append(_("“%(mailing)s” has sent mail and stays as the record of it.") % {"mailing": mailing})
        elif mailing.status in (MailingStatus.ACTIVE, MailingStatus.PAUSED):
            kept.append(_("“%(mailing)s” is started. Cancel it first.") % {"mailing": mailing})
    return kept


@transaction.atomic
def discard(mailing: Mailing) -> None:
    """Delete a mailing that has sent nothing, with its recipients; no-op if it was started in the meantime."""
    locked = Mailing.objects.select_for_update().filter(pk=mailing.pk)
    if not locked.exists() or kept_for_the_record(list(locked)):
        return
    # By hand, as Django would fetch each of a million rows to look for answers to mail that was never sent.
    for model in (Delivery, LeftOut):
        rows = model._default_manager.filter(mailing=mailing)
        rows._raw_delete(router.db_for_write(model))
    mailing.delete()


def locked(mailing: Mailing, by: Any, *allowed: MailingStatus) -> Mailing:
    """Return the mailing's row, locked until the end of the transaction, if `by` may move it.

    `by` is its owner, a superuser, or None for the app itself. Raises `LifecycleError` for anybody else, and where the
    mailing is in none of the `allowed` statuses.
    """
    row = next(iter(locked_all(Mailing.objects.filter(pk=mailing.pk), by)), None)
    if row is None:
        raise LifecycleError(_("The mailing “%s” was deleted.") % mailing)
    if row.status not in allowed:
        raise LifecycleError(wrong_status(row))
    return row


def locked_all(mailings: QuerySet[Mailing], by: Any) -> list[Mailing]:
    """Return the rows of `mailings` by key, locked, if `by` may move every one of them."""
    rows = Mailing.objects.select_for_update(of=("self",)).select_related("owner", "message", "content_type")
    found = list(rows.filter(pk__in=mailings.order_by().values("pk")).order_by("pk"))
    for row in found:
        if by is not None and by != row.owner and not by.is_superuser:
            raise LifecycleError(_("Only its owner can do this with the mailing “%s”.") % row)
    return found


def wrong_status(mailing: Mailing) -> str:
    """Return in words that something can't be done with a mailing in its status."""
    text = _("The mailing “%(mailing)s” is %(status)s, so this can't be done. Reload the page to see where it stands.")
    return text % {"mailing": mailing, "status": mailing.get_status_display().lower()}


def _move(row: Mailing, status: MailingStatus, *fields: str) -> None:
    row.status = status
    row.save(update_fields=["status", *fields])


def _mirror(mailing: Mailing, row: Mailing) -> Mailing:
    """Bring the caller's instance up to date with the row."""
    for name in ("status", "version", "started_at", "ended_at", "pause_reason", "start_at"):
        setattr(mailing, name, getattr(row, name))
    return mailing
