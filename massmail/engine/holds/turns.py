"""What an account's lanes say: that they rest, that nobody serves them, that their server keeps them waiting."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence

from django.db.models import Exists, OuterRef, Q, QuerySet
from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from massmail.choices import HoldReason
from massmail.conf import conf
from massmail.engine.holds.hold import Hold, show
from massmail.engine.holds.machine import patience
from massmail.engine.lanes import LONGEST_REST, free
from massmail.models import EmailAccount, Lane, MassmailSettings


def lanes_of(accounts: Sequence[EmailAccount]) -> dict[int, list[Lane]]:
    """Return the lanes of `accounts` that have ever been rung for, by the account's key, in one query."""
    lanes: dict[int, list[Lane]] = {account.pk: [] for account in accounts}
    slots = {account.pk: account.slots for account in accounts}
    for lane in Lane.objects.filter(account__in=accounts):
        if lane.slot in slots[lane.account_id]:
            lanes[lane.account_id].append(lane)
    return lanes


def rests(lane: Lane, *, now: dt.datetime) -> bool:
    """Return whether the lane waits for its `next_at`: one that is too far off was written by a wrong clock."""
    return lane.next_at is not None and now < lane.next_at <= now + LONGEST_REST


def rest_hold(account: EmailAccount, lanes: Sequence[Lane], *, now: dt.datetime) -> Hold | None:
    """Return the hold of an account all of whose lanes rest: that of the one which may speak first."""
    if len(lanes) < len(account.slots) or not all(rests(lane, now=now) for lane in lanes):
        return None
    lane = min(lanes, key=lambda lane: lane.next_at or now)
    if lane.failures and not lane.last_reply:
        return Hold(
            reason=HoldReason.BACK_OFF,
            until=lane.next_at,
            detail=_("The last attempt of the account “%(account)s” ended in an internal error.")
            % {"account": account.name},
            remedy=_(
                "It tries again by itself. If it goes on, ask whoever runs this site to look into the worker's log."
            ),
            about=account,
        )
    if lane.failures:
        return Hold(
            reason=HoldReason.BACK_OFF,
            until=lane.next_at,
            detail=_("The last attempt of the account “%(account)s” failed: %(reply)s")
            % {"account": account.name, "reply": lane.last_reply},
            remedy=_("It tries again by itself. If that does not help, check the account's server, port and password."),
            about=account,
        )
    return Hold(
        reason=HoldReason.GAP,
        until=lane.next_at,
        detail=_("The account “%(account)s” leaves a gap between two mails, as a person does.")
        % {"account": account.name},
        about=account,
    )


def attendance_hold(
    account: EmailAccount, lanes: Sequence[Lane], settings: MassmailSettings, *, now: dt.datetime
) -> Hold | None:
    """Return why an account that may speak does not: its server keeps a worker waiting, or no worker comes.

    The engine need not ask: a lane that is taken cannot be taken again, and a ring that nobody hears does nothing.
    """
    taken = [lane for lane in lanes if lane.lease_until is not None and lane.lease_until > now]
    if taken:
        return _busy(account, taken, settings, now=now)
    if any(lane.taken_at is not None and now - lane.taken_at < longest_turn() for lane in lanes):
        return None  # a relay may have more lanes than there are workers
    rung = [lane.offered_at for lane in lanes if lane.offered_at is not None and not rests(lane, now=now)]
    return unheard_ring(min(rung, default=None), now=now)


def unheard(*, now: dt.datetime) -> QuerySet[Lane]:
    """Return the lanes for which no worker has come in time, of accounts that none serves at `now`."""
    served = Lane.objects.filter(Q(taken_at__gt=now - longest_turn()) | ~free(), account=OuterRef("account"))
    rung = Lane.objects.filter(offered_at__lte=now - patience())
    return rung.filter(~Exists(served)).order_by("offered_at")


def longest_turn() -> dt.timedelta:
    """Return how long a worker stays with an account, unless its server keeps it waiting."""
    return dt.timedelta(seconds=conf.slice_seconds) + patience()


def unheard_ring(since: dt.datetime | None, *, now: dt.datetime) -> Hold | None:
    """Return the hold of lanes that a worker was first rung for at `since`; None while one may still come."""
    if since is None or now - since < patience():
        return None
    minutes = int((now - since).total_seconds() // 60)
    return Hold(
        reason=HoldReason.NO_WORKER,
        detail=ngettext(
            "No worker is free: one was called %(minutes)s minute ago.",
            "No worker is free: one was called %(minutes)s minutes ago.",
            minutes,
        )
        % {"minutes": minutes},
        remedy=_("Ask whoever runs this site to start more of Celery's workers."),
    )


def _busy(account: EmailAccount, taken: Sequence[Lane], settings: MassmailSettings, *, now: dt.datetime) -> Hold | None:
    """Return the hold of an account whose workers all stay longer than their turn: they wait for the server."""
    since = [lane.taken_at for lane in taken if lane.taken_at is not None and now - lane.taken_at > longest_turn()]
    if not since or len(since) < len(taken):
        return None
    return Hold(
        reason=HoldReason.BUSY,
        detail=_("The account “%(account)s” is talking to %(server)s since %(time)s and waits for an answer.")
        % {"account": account.name, "server": account.smtp_host, "time": show(min(since), settings, now=now)},
        remedy=_("It goes on by itself. If this happens often, check the account's server and port."),
        about=account,
    )
