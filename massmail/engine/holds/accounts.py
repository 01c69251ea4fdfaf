"""Why an account does not speak now."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from django.contrib.auth import get_user_model
from django.utils.translation import gettext as _

from massmail.choices import AccountTrouble, HoldReason
from massmail.engine.holds.advice import advice
from massmail.engine.holds.hold import Hold, show
from massmail.engine.holds.limits import hourly_hold
from massmail.engine.holds.turns import attendance_hold, lanes_of, rest_hold
from massmail.engine.limits import used_this_hour
from massmail.engine.ramp import daily_limit, limits_on
from massmail.engine.window import Window, local_day, opens_at, opens_next_day
from massmail.models import AccountDay, EmailAccount, Lane, MassmailSettings


def account_holds(
    accounts: Sequence[EmailAccount], *, now: dt.datetime, settings: MassmailSettings, ignore_hours: bool = False
) -> dict[int, Hold | None]:
    """Return why the engine does not let `accounts` speak, by primary key, in six queries at most."""
    window = Window.of(settings, ignore_hours=ignore_hours)
    return _holds(accounts, lanes_of(accounts), window, now=now, settings=settings)


def attended_holds(
    accounts: Sequence[EmailAccount], *, now: dt.datetime, settings: MassmailSettings, alive: Hold | None
) -> dict[int, Hold | None]:
    """Return what `account_holds` does, and of those that may speak why they do not: `alive` is the whole site's."""
    lanes = lanes_of(accounts)
    holds = _holds(accounts, lanes, Window.of(settings), now=now, settings=settings)
    return {
        account.pk: holds[account.pk] or alive or attendance_hold(account, lanes[account.pk], settings, now=now)
        for account in accounts
    }


def _holds(
    accounts: Sequence[EmailAccount],
    lanes: Mapping[int, Sequence[Lane]],
    window: Window,
    *,
    now: dt.datetime,
    settings: MassmailSettings,
) -> dict[int, Hold | None]:
    day = local_day(now, settings.zone)
    used = dict(AccountDay.objects.filter(account__in=accounts, date=day).values_list("account", "used"))
    limits, hourly = limits_on(day, accounts, settings), used_this_hour(accounts, settings.zone, now=now)
    inactive = inactive_users(account.owner_id for account in accounts)
    return {
        account.pk: standing_hold(account, now=now, inactive=inactive.get(account.owner_id))
        or window_hold(window, settings, now=now)
        or quota_hold(account, settings, limit=limits[account.pk], used=used.get(account.pk, 0), now=now, window=window)
        or hourly_hold(account, settings, used=hourly.get(account.pk, 0), now=now, window=window)
        or rest_hold(account, lanes[account.pk], now=now)
        for account in accounts
    }


def inactive_users(owner_ids: Iterable[Any]) -> dict[Any, Any]:
    """Return those of the users who are deactivated, by primary key."""
    users = get_user_model()._default_manager.filter(pk__in=set(owner_ids))
    return {user.pk: user for user in users if not user.is_active}


def standing_hold(account: EmailAccount, *, now: dt.datetime, inactive: Any) -> Hold | None:
    """Return what is wrong with the account itself, whatever the hour; `inactive` is its owner if deactivated."""
    if inactive is not None:
        return owner_inactive(inactive)
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
                "The password or token of “%(account)s” was encrypted with a key that is no longer among "
                "MASSMAIL_FIELD_KEYS."
            )
            % {"account": account.name},
            remedy=_("Connect the account again on its page, or bring the old key back.")
            if account.oauth_provider
            else _("Enter the password again, or bring the old key back."),
            about=account,
        )
    if account.hold_reason and (account.held_until is None or account.held_until > now):
        return Hold(
            reason=HoldReason.GUARD_RAIL if account.hold_trouble == AccountTrouble.RETURNS else HoldReason.ACCOUNT_HELD,
            until=account.held_until,
            detail=_("The account “%(account)s” is on hold: “%(reason)s”.")
            % {"account": account.name, "reason": account.hold_reason.removesuffix(".")},
            remedy=advice(account),
            about=account,
        )
    return None


def owner_inactive(user: Any) -> Hold:
    return Hold(
        reason=HoldReason.OWNER_INACTIVE,
        detail=_("The owner's user account is deactivated."),
        remedy=_("Activate the user, or hand the recipients over to a colleague."),
        about=user,
    )


def window_hold(window: Window, settings: MassmailSettings, *, now: dt.datetime) -> Hold | None:
    """Return the hold of everybody while the working hours are over."""
    opening = opens_at(now, window)
    if opening <= now:
        return None
    return Hold(
        reason=HoldReason.CLOSED,
        until=opening,
        detail=_("Outside working hours: sending goes on %(time)s.") % {"time": show(opening, settings, now=now)},
        remedy=_("An administrator can change the working hours in the Massmail Settings."),
        about=settings,
    )


def quota_hold(
    account: EmailAccount, settings: MassmailSettings, *, limit: int, used: int, now: dt.datetime, window: Window
) -> Hold | None:
    """Return the hold of an account that has used up its day: its daily limit, or that of its warm-up (`limit`)."""
    if used < limit:
        return None
    until = opens_next_day(now, window)
    facts = {"account": account.name, "limit": limit, "time": show(until, settings, now=now)}
    if limit < daily_limit(account, settings):
        return Hold(
            reason=HoldReason.RAMP,
            until=until,
            detail=_("The account “%(account)s” warms up: its %(limit)s mails of today are sent. It goes on %(time)s.")
            % facts,
            remedy=_("Give it the time, or raise or empty its warm-up if its address has sent mail for long."),
            about=account,
        )
    return Hold(
        reason=HoldReason.QUOTA,
        until=until,
        detail=_("The account “%(account)s” has sent its %(limit)s mails of today; it goes on %(time)s.") % facts,
        remedy=_("Add another account, or raise the account's daily limit if its provider allows more."),
        about=account,
    )
