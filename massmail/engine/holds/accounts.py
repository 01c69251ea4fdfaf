"""Why an account does not speak now."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Sequence
from typing import Any

from django.contrib.auth import get_user_model
from django.utils.translation import gettext as _

from massmail.choices import HoldReason
from massmail.engine.holds.hold import Hold, show
from massmail.engine.lanes import LONGEST_REST
from massmail.engine.window import Window, local_day, opens_at, opens_next_day
from massmail.models import AccountDay, EmailAccount, Lane, MassmailSettings


def daily_limit(account: EmailAccount, settings: MassmailSettings) -> int:
    """Return how many mails `account` may send per calendar day."""
    return account.emails_per_day or settings.emails_per_day


def account_holds(
    accounts: Sequence[EmailAccount], *, now: dt.datetime, settings: MassmailSettings, ignore_hours: bool = False
) -> dict[int, Hold | None]:
    """Return the holds of `accounts` by primary key, in three queries."""
    day = local_day(now, settings.zone)
    used = dict(AccountDay.objects.filter(account__in=accounts, date=day).values_list("account", "used"))
    lanes = _next_lanes(accounts)
    inactive = inactive_users(account.owner_id for account in accounts)
    window = Window.of(settings, ignore_hours=ignore_hours)
    return {
        account.pk: standing_hold(account, now=now, inactive=account.owner_id in inactive)
        or window_hold(window, settings, now=now)
        or quota_hold(account, settings, used=used.get(account.pk, 0), now=now, window=window)
        or _lane_hold(account, lanes.get(account.pk), now=now)
        for account in accounts
    }


def _next_lanes(accounts: Sequence[EmailAccount]) -> dict[int, Lane]:
    """Return the lane of each account that may speak first; none where one of its lanes has never spoken."""
    lanes: dict[int, list[Lane]] = {account.pk: [] for account in accounts}
    slots = {account.pk: account.slots for account in accounts}
    for lane in Lane.objects.filter(account__in=accounts):
        if lane.slot in slots[lane.account_id]:
            lanes[lane.account_id].append(lane)
    return {
        key: min(of_account, key=lambda lane: (lane.next_at is not None, lane.next_at))
        for key, of_account in lanes.items()
        if len(of_account) == len(slots[key])
    }


def inactive_users(owner_ids: Iterable[Any]) -> set[Any]:
    users = get_user_model()._default_manager.filter(pk__in=set(owner_ids))
    return {user.pk for user in users if not user.is_active}


def standing_hold(account: EmailAccount, *, now: dt.datetime, inactive: bool) -> Hold | None:
    """Return what is wrong with the account itself, whatever the hour."""
    if inactive:
        return owner_inactive()
    if not account.massmail:
        return Hold(
            reason=HoldReason.ACCOUNT_OFF,
            detail=_("The account “%(account)s” is not marked “Massmail”.") % {"account": account.name},
            remedy=_("Tick “Massmail” on the account's page to send mailings through it."),
            about=account,
        )
    if account.secret_lost:
        return Hold(
            reason=HoldReason.SECRET_LOST,
            detail=_(
                "The password of “%(account)s” was encrypted with a key that is no longer among MASSMAIL_FIELD_KEYS."
            )
            % {"account": account.name},
            remedy=_("Enter the password again, or bring the old key back."),
            about=account,
        )
    if account.hold_reason and (account.held_until is None or account.held_until > now):
        return Hold(
            reason=HoldReason.ACCOUNT_HELD,
            until=account.held_until,
            detail=_("The account “%(account)s” is on hold: %(reason)s")
            % {"account": account.name, "reason": account.hold_reason},
            remedy=_("Mend what the provider complains about, then release the account on its page."),
            about=account,
        )
    return None


def owner_inactive() -> Hold:
    return Hold(
        reason=HoldReason.OWNER_INACTIVE,
        detail=_("The owner's user account is deactivated."),
        remedy=_("Activate the user, or hand the recipients over to a colleague."),
    )


def window_hold(window: Window, settings: MassmailSettings, *, now: dt.datetime) -> Hold | None:
    """Return the hold of everybody while the working hours are over."""
    opening = opens_at(now, window)
    if opening <= now:
        return None
    return Hold(
        reason=HoldReason.CLOSED,
        until=opening,
        detail=_("Outside working hours: sending goes on at %(time)s.") % {"time": show(opening, settings)},
        remedy=_("An administrator can change the working hours in the Massmail Settings."),
        about=settings,
    )


def quota_hold(
    account: EmailAccount, settings: MassmailSettings, *, used: int, now: dt.datetime, window: Window
) -> Hold | None:
    """Return the hold of an account that has used up its day's quota."""
    limit = daily_limit(account, settings)
    if used < limit:
        return None
    until = opens_next_day(now, window)
    return Hold(
        reason=HoldReason.QUOTA,
        until=until,
        detail=_("The account “%(account)s” has sent its %(limit)s mails of today; it goes on at %(time)s.")
        % {"account": account.name, "limit": limit, "time": show(until, settings)},
        remedy=_("Add another account, or raise the account's daily limit if its provider allows more."),
        about=account,
    )


def rests(lane: Lane, *, now: dt.datetime) -> bool:
    """Return whether the lane waits for its `next_at`: one that is too far off was written by a wrong clock."""
    return lane.next_at is not None and now < lane.next_at <= now + LONGEST_REST


def _lane_hold(account: EmailAccount, lane: Lane | None, *, now: dt.datetime) -> Hold | None:
    if lane is None or not rests(lane, now=now):
        return None
    if lane.failures and not lane.last_reply:
        return Hold(
            reason=HoldReason.BACK_OFF,
            until=lane.next_at,
            detail=_("The last attempt of the account “%(account)s” ended in an internal error.")
            % {"account": account.name},
            remedy=_(
                "It tries again by itself. If it goes on, ask whoever runs this site to look into the worker's log."
            ),
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
