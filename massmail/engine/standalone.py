"""The work of beat and workers in one process, on the real clock or on a simulated one."""

from __future__ import annotations

import datetime as dt
import time

from django.utils import timezone

from massmail.choices import DeliveryStatus, HoldReason, MailingStatus
from massmail.engine import holds, lanes, outlook
from massmail.engine.run import run_lane, tick
from massmail.models import Delivery, EmailAccount, Mailing, MassmailSettings


class SimulatedClock:
    """A clock that stands still until somebody waits."""

    def __init__(self, start: dt.datetime) -> None:
        self.now = start

    def __call__(self) -> dt.datetime:
        return self.now

    def wait_until(self, moment: dt.datetime) -> None:
        self.now = max(self.now, moment)


class RealClock:
    def __call__(self) -> dt.datetime:
        return timezone.now()

    def wait_until(self, moment: dt.datetime) -> None:
        time.sleep(max(0.0, (moment - timezone.now()).total_seconds()))


def run(*, clock: SimulatedClock | RealClock, until_idle: bool, ignore_hours: bool = False) -> int:
    """Do what beat and workers do, in this process; return how many mails were handed to servers.

    One round: every account that may speak does so once. With `until_idle`, round after round, waiting out the gaps
    between mails, until nothing may leave before working hours, quotas, holds or retries allow it.
    """
    spoken = 0
    while True:
        speakers = tick(clock=clock, ignore_hours=ignore_hours)
        this_round = sum(run_lane(account_id, clock=clock, ignore_hours=ignore_hours) for account_id in speakers)
        spoken += this_round
        if not speakers or not until_idle:
            outlook.renew_stale(now=clock())
        if not until_idle or (speakers and not this_round):  # others are at work, or nobody was left to write to
            return spoken
        if not speakers:
            moment = _next_gap(clock(), ignore_hours=ignore_hours)
            if moment is None:
                return spoken
            clock.wait_until(moment)


def _next_gap(now: dt.datetime, *, ignore_hours: bool) -> dt.datetime | None:
    """Return when to look again: while an account only leaves a gap, and until another one may speak; None if none."""
    active = list(Mailing.objects.filter(status=MailingStatus.ACTIVE))
    speakers = {key for queued in lanes.work(active, now=now).values() for key, due in queued.items() if key and due}
    accounts = list(EmailAccount.objects.filter(pk__in=speakers))
    found = holds.account_holds(accounts, now=now, settings=MassmailSettings.load(), ignore_hours=ignore_hours)
    waits = [hold for hold in found.values() if hold and hold.until]
    if not any(hold.reason is HoldReason.GAP for hold in waits):
        return None
    starts = Mailing.objects.filter(status=MailingStatus.ACTIVE, start_at__gt=now).values_list("start_at", flat=True)
    retries = Delivery.objects.filter(mailing__in=active, status=DeliveryStatus.QUEUED, not_before__gt=now)
    soonest = retries.order_by("not_before").values_list("not_before", flat=True)[:1]
    return min(moment for moment in (*(hold.until for hold in waits), *starts, *soonest) if moment)
