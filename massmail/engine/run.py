"""Sending: the tick that finds who may speak, and the run of one lane. Both may run twice at once."""

from __future__ import annotations

import datetime as dt
import logging
from collections.abc import Sequence
from typing import Any

from django.db.models import Q
from django.utils import timezone

from massmail import outcomes
from massmail.choices import MailingStatus
from massmail.engine import holds, lanes, lifecycle
from massmail.engine.turn import Clock, Turn
from massmail.engine.window import local_day
from massmail.models import EmailAccount, Heartbeat, Mailing, MassmailSettings

logger = logging.getLogger("massmail.engine")

# Tick -----------------------------------------------------------------------------------------------------------------


def tick(*, clock: Clock = timezone.now, ignore_hours: bool = False) -> list[int]:
    """Put the house in order and return the accounts that may speak now and have something to say.

    The number of queries depends on how many mailings need another chunk assigned, on nothing else.
    """
    now = clock()
    settings = MassmailSettings.load()
    Heartbeat.objects.update_or_create(name="tick", defaults={"at": timezone.now()})
    outcomes.doubt(lanes.lost(), day=local_day(now, settings.zone))
    lifecycle.finish(now=now)
    started = Q(start_at__isnull=True) | Q(start_at__lte=now)
    active = list(Mailing.objects.filter(started, status=MailingStatus.ACTIVE))
    lanes.unassign_unusable(active)
    if not active or holds.deployment_hold(settings):
        return []
    accounts = lanes.usable_accounts(mailing.owner_id for mailing in active)
    _assign(active, accounts, settings, now=now)
    speakers = {key for queued in lanes.work(active, now=now).values() for key, is_due in queued.items() if is_due}
    willing = [account for owned in accounts.values() for account in owned if account.pk in speakers]
    resting = holds.account_holds(willing, now=now, settings=settings, ignore_hours=ignore_hours)
    return [account.pk for account in willing if resting[account.pk] is None]


def _assign(
    active: Sequence[Mailing], accounts: dict[Any, list[EmailAccount]], settings: MassmailSettings, *, now: dt.datetime
) -> None:
    """Give accounts that have run dry another chunk of the mailings that have one."""
    for mailing, queued in zip(active, lanes.work(active, now=now).values(), strict=True):
        owned = accounts[mailing.owner_id]
        takers = [account for account in owned if not account.main] or owned
        if None in queued and any(account.pk not in queued for account in takers):
            lanes.assign(mailing, owned, daily_limit=settings.emails_per_day)


# One lane -------------------------------------------------------------------------------------------------------------


def run_lane(account_id: int, *, clock: Clock = timezone.now, ignore_hours: bool = False) -> int:
    """Let the account speak: one mail if it is paced, as many as fit into a slice of time if not.

    Returns how many mails were handed to the server. A no-op if the account may not speak or another worker has its
    lane.
    """
    account = EmailAccount.objects.filter(pk=account_id).first()
    settings = MassmailSettings.load()
    if account is None or holds.deployment_hold(settings):
        return 0
    now = clock()
    if holds.account_holds([account], now=now, settings=settings, ignore_hours=ignore_hours)[account.pk]:
        return 0
    lease = lanes.acquire(account, now=now)
    if lease is None:
        return 0
    with lease:
        outcomes.doubt(lanes.lost(lease.lane), day=local_day(now, settings.zone))
        turn = Turn(account, settings, lease, clock=clock, ignore_hours=ignore_hours)
        try:
            turn.speak()
        except Exception:
            # An error of our own or of the host's, unforeseen: the lane rests, and its page says so.
            logger.exception("The turn of account %s broke off", account.pk)
            turn.back_off("")
        finally:
            turn.close()
    return turn.spoken
