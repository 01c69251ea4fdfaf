"""Moving a mailing from one status to the next: the only writer of `Mailing.status`."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from typing import Any

from django.db import router, transaction
from django.db.models import Exists, OuterRef
from django.utils import timezone
from django.utils.translation import gettext as _

from massmail.choices import AuditAction, DeliveryStatus, HoldReason, MailingStatus
from massmail.composing import check, freeze
from massmail.engine.holds import Hold, accounts_hold, deployment_hold, show, window_hold
from massmail.engine.lanes import usable_accounts
from massmail.engine.window import Window
from massmail.exceptions import LifecycleError
from massmail.models import Delivery, LeftOut, Mailing, MassmailSettings, Recipient
from massmail.models.mailings import audit
from massmail.outcomes import progress
from massmail.recipient_types import type_for


def obstacles(mailing: Mailing, *, now: dt.datetime) -> list[Hold]:
    """Return what forbids that `mailing` is started, each with its remedy; nothing when it may be."""
    found = [
        _owner_obstacle(mailing),
        _message_obstacle(mailing),
        None
        if mailing.total
        else Hold(
            reason=HoldReason.NO_RECIPIENTS,
            detail=_("The mailing has no recipients."),
            remedy=_("Look at who was left out and why, mend it, and make the mailing again."),
            about=mailing,
        ),
        deployment_hold(MassmailSettings.load()),
        None if usable_accounts([mailing.owner_id]) else accounts_hold([]),
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
            detail=_("It will start at %(time)s.") % {"time": show(mailing.start_at, settings)},
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
    if mailing.owner.is_active:
        return None
    return Hold(reason=HoldReason.OWNER_INACTIVE, detail=_("The owner's user account is deactivated."))


def _message_obstacle(mailing: Mailing) -> Hold | None:
    message = mailing.message
    if message is None:
        return Hold(
            reason=HoldReason.NO_MESSAGE,
            detail=_("No message is chosen."),
            remedy=_("Choose one on the mailing's page and save."),
            about=mailing,
        )
    model = mailing.content_type.model_class()
    variables = type_for(model).variables if model else ()
    errors = check(message, variables=variables)
    if not errors:
        return None
    return Hold(
        reason=HoldReason.BAD_MESSAGE,
        detail=" ".join(str(error) for error in errors),
        remedy=_("Mend the message on its page."),
        about=message,
    )


def start(mailing: Mailing, *, by: Any, now: dt.datetime | None = None) -> Mailing:
    """Freeze the message of the draft `mailing` and set it going; `by` is its owner or a superuser.

    Raises `LifecycleError` with the first reason that forbids it.
    """
    now = now or timezone.now()
    with transaction.atomic():
        row = _locked(mailing, by, MailingStatus.DRAFT)
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
        row = _locked(mailing, by, MailingStatus.ACTIVE)
        row.pause_reason = reason
        _move(row, MailingStatus.PAUSED, "pause_reason")
        audit(AuditAction.PAUSED, by=by, mailing=row, text=reason)
    return _mirror(mailing, row)


def resume(mailing: Mailing, *, by: Any) -> Mailing:
    """Let a paused mailing go on with the message it was started with."""
    with transaction.atomic():
        row = _locked(mailing, by, MailingStatus.PAUSED)
        row.pause_reason = ""
        _move(row, MailingStatus.ACTIVE, "pause_reason")
        audit(AuditAction.RESUMED, by=by, mailing=row)
    return _mirror(mailing, row)


def cancel(mailing: Mailing, *, by: Any, now: dt.datetime | None = None) -> Mailing:
    """End a mailing for good; what is still queued is never sent."""
    with transaction.atomic():
        row = _locked(mailing, by, MailingStatus.DRAFT, MailingStatus.ACTIVE, MailingStatus.PAUSED)
        row.ended_at = now or timezone.now()
        _move(row, MailingStatus.CANCELLED, "ended_at")
        audit(AuditAction.CANCELLED, by=by, mailing=row)
    return _mirror(mailing, row)


def finish(*, now: dt.datetime) -> int:
    """Call those active mailings done that have nothing queued or under way; return how many."""
    open_ends = Delivery.objects.filter(
        mailing=OuterRef("pk"), status__in=[DeliveryStatus.QUEUED, DeliveryStatus.SENDING]
    )
    active = Mailing.objects.filter(status=MailingStatus.ACTIVE)
    count = 0
    for mailing in active.filter(~Exists(open_ends)):
        if active.filter(pk=mailing.pk).update(status=MailingStatus.DONE, ended_at=now):
            audit(AuditAction.FINISHED, by=None, mailing=mailing)
            count += 1
    return count


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


def _locked(mailing: Mailing, by: Any, *allowed: MailingStatus) -> Mailing:
    """Return the mailing's row, locked, if `by` may move it and it is in one of the `allowed` statuses."""
    rows = Mailing.objects.select_for_update(of=("self",)).select_related("owner", "message", "content_type")
    row = rows.get(pk=mailing.pk)
    if by is not None and by != row.owner and not by.is_superuser:
        raise LifecycleError(_("Only its owner can start, pause, resume or cancel the mailing “%s”.") % row)
    if row.status not in allowed:
        raise LifecycleError(
            _("The mailing “%(mailing)s” is %(status)s, so this can't be done. Reload the page to see where it stands.")
            % {"mailing": row, "status": row.get_status_display().lower()}
        )
    return row


def _move(row: Mailing, status: MailingStatus, *fields: str) -> None:
    row.status = status
    row.save(update_fields=["status", *fields])


def _mirror(mailing: Mailing, row: Mailing) -> Mailing:
    """Bring the caller's instance up to date with the row."""
    for name in ("status", "version", "started_at", "ended_at", "pause_reason"):
        setattr(mailing, name, getattr(row, name))
    return mailing
