"""Sending: the tick that finds who may speak, and the run of one lane. Both may run twice at once."""

from __future__ import annotations

import datetime as dt
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from django.db.models import Q
from django.utils import timezone

from massmail import outcomes
from massmail.choices import MailingStatus
from massmail.engine import guard, holds, lanes, lifecycle, operations, pulse, rails, rings, usage
from massmail.engine.batch import recover, recover_lost
from massmail.engine.turn import Clock, Turn
from massmail.engine.window import local_day
from massmail.models import EmailAccount, Mailing, MassmailSettings

logger = logging.getLogger("massmail.engine")

# Tick -----------------------------------------------------------------------------------------------------------------


def tick(*, clock: Clock = timezone.now, ignore_hours: bool = False) -> list[int]:
    """Put the house in order and return the accounts that may speak now and have something to say.

    The number of queries depends on how many mailings need another chunk assigned, on nothing else.
    """
    return [account.pk for account in _speakers(clock, ignore_hours=ignore_hours)]


def tick_lanes() -> list[tuple[int, int]]:
    """Do what `tick` does and return the lanes that may speak now, as account and slot, noted as rung for."""
    speakers = _speakers(timezone.now, ignore_hours=False)
    places = [(account.pk, slot) for account in speakers for slot in account.slots]
    rings.note(places, now=timezone.now())
    return places


def _speakers(clock: Clock, *, ignore_hours: bool) -> list[EmailAccount]:
    now = clock()
    settings = MassmailSettings.load()
    pulse.beat(now=timezone.now())
    recover_lost(zone=settings.zone)
    outcomes.doubt(lanes.lost(), day=local_day(now, settings.zone))
    operations.carry_over(now=now)
    lifecycle.finish(now=now)
    guard.stand_guard(settings, now=now)
    rails.stand_guard(settings, now=now)
    usage.forget(now=now)
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
    return [account for account in willing if resting[account.pk] is None]


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


@dataclass(frozen=True, slots=True, kw_only=True)
class Taken:
    """How a turn went: the mails handed to the server, and whether it ended only so that others get one."""

    spoken: int = 0
    cut_short: bool = False


def run_lane(account_id: int, slot: int = 0, *, clock: Clock = timezone.now, ignore_hours: bool = False) -> int:
    """Let a lane of the account speak: one mail if it is paced, as many as fit into a slice of time if not.

    Returns how many mails were handed to the server. A no-op if the account may not speak or another worker has the
    lane.
    """
    return take_turn(account_id, slot, clock=clock, ignore_hours=ignore_hours).spoken


def take_turn(account_id: int, slot: int = 0, *, clock: Clock = timezone.now, ignore_hours: bool = False) -> Taken:
    """Do what `run_lane` does, and tell whether there may be more to do at once."""
    account = EmailAccount.objects.filter(pk=account_id).first()
    settings = MassmailSettings.load()
    if account is None or slot not in account.slots or holds.deployment_hold(settings):
        return Taken()
    now = clock()
    if holds.account_holds([account], now=now, settings=settings, ignore_hours=ignore_hours)[account.pk]:
        return Taken()
    lease = lanes.acquire(account, now=now, slot=slot)
    if lease is None:
        return Taken()
    with lease:
        recover(lease, zone=settings.zone)
        outcomes.doubt(lanes.lost(lease.lane), day=local_day(now, settings.zone))
        turn = Turn(account, settings, lease, clock=clock, ignore_hours=ignore_hours)
        try:
            turn.speak()
        except Exception:
            # An error of our own or of the host's, unforeseen: the lane rests, and its page says so.
            logger.exception("The turn of account %s broke off", account.pk)
            turn.give_up()
        finally:
            turn.line.close()
    return Taken(spoken=turn.spoken, cut_short=turn.cut_short)
