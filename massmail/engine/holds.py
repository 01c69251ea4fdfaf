"""Why something does not leave now, until when, and what to do about it: the one place that knows.

The engine asks before it sends, the pages ask before they show; both get the same answer.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from django.contrib.auth import get_user_model
from django.db import models
from django.utils.formats import date_format
from django.utils.timezone import localtime
from django.utils.translation import gettext as _

from massmail.choices import DeliveryStatus, HoldReason, MailingStatus
from massmail.conf import conf
from massmail.engine.candidates import type_of
from massmail.engine.lanes import LONGEST_REST, usable_accounts, work
from massmail.engine.window import Window, local_day, midnight_after, opens_at
from massmail.models import AccountDay, Delivery, EmailAccount, Heartbeat, Lane, Mailing, MassmailSettings

#: The heartbeat of the engine's tick is missed after this many intervals.
MISSED_TICKS = 12


@dataclass(frozen=True, slots=True, kw_only=True)
class Hold:
    """Why something does not leave now.

    `until` is when this hold ends by itself (None: not by itself), `detail` a sentence for people, `remedy` what they
    can do, and `about` the object whose page is the place to do it.
    """

    reason: HoldReason
    until: dt.datetime | None = None
    detail: str = ""
    remedy: str = ""
    about: models.Model | None = field(default=None, compare=False)


def explain(thing: Mailing | EmailAccount | Delivery, *, now: dt.datetime) -> Hold | None:
    """Return why `thing` does not send at `now`, or None when it may."""
    return explain_many([thing], now=now)[thing.pk]


def explain_many(things: Iterable[Any], *, now: dt.datetime) -> dict[Any, Hold | None]:
    """Return the holds of mailings, of accounts, or of deliveries (all of one model) by primary key.

    The number of queries is the same for one and for a thousand.
    """
    things = list(things)
    if not things:
        return {}
    if isinstance(things[0], EmailAccount):
        return account_holds(things, now=now, settings=MassmailSettings.load())
    if isinstance(things[0], Mailing):
        return _mailing_holds(things, now=now, settings=MassmailSettings.load())
    return _delivery_holds(things, now=now)


# Accounts -------------------------------------------------------------------------------------------------------------


def daily_limit(account: EmailAccount, settings: MassmailSettings) -> int:
    """Return how many mails `account` may send per calendar day."""
    return account.emails_per_day or settings.emails_per_day


def account_holds(
    accounts: Sequence[EmailAccount], *, now: dt.datetime, settings: MassmailSettings, ignore_hours: bool = False
) -> dict[int, Hold | None]:
    """Return the holds of `accounts` by primary key, in three queries."""
    day = local_day(now, settings.zone)
    used = dict(AccountDay.objects.filter(account__in=accounts, date=day).values_list("account", "used"))
    lanes = {lane.account_id: lane for lane in Lane.objects.filter(account__in=accounts, slot=0)}
    inactive = _inactive_users(account.owner_id for account in accounts)
    window = Window.of(settings, ignore_hours=ignore_hours)
    return {
        account.pk: standing_hold(account, now=now, inactive=account.owner_id in inactive)
        or window_hold(window, settings, now=now)
        or quota_hold(account, settings, used=used.get(account.pk, 0), now=now, window=window)
        or _lane_hold(account, lanes.get(account.pk), now=now)
        for account in accounts
    }


def _inactive_users(owner_ids: Iterable[Any]) -> set[Any]:
    users = get_user_model()._default_manager.filter(pk__in=set(owner_ids))
    return {user.pk for user in users if not user.is_active}


def standing_hold(account: EmailAccount, *, now: dt.datetime, inactive: bool) -> Hold | None:
    """Return what is wrong with the account itself, whatever the hour."""
    if inactive:
        return _owner_inactive()
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


def _owner_inactive() -> Hold:
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
    until = opens_at(midnight_after(now, settings.zone), window)
    return Hold(
        reason=HoldReason.QUOTA,
        until=until,
        detail=_("The account “%(account)s” has sent its %(limit)s mails of today; it goes on at %(time)s.")
        % {"account": account.name, "limit": limit, "time": show(until, settings)},
        remedy=_("Add another account, or raise the account's daily limit if its provider allows more."),
        about=account,
    )


def _lane_hold(account: EmailAccount, lane: Lane | None, *, now: dt.datetime) -> Hold | None:
    if lane is None or lane.next_at is None or not now < lane.next_at <= now + LONGEST_REST:
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


def show(moment: dt.datetime, settings: MassmailSettings) -> str:
    """Return `moment` as people read it, in the settings' time zone: "Mon 30 Nov, 08:30"."""
    return date_format(localtime(moment, settings.zone), "D j M, H:i")


# Mailings -------------------------------------------------------------------------------------------------------------


def deployment_hold(settings: MassmailSettings) -> Hold | None:
    """Return what is missing in the deployment without which no mail may leave."""
    if not conf.public_url:
        return Hold(
            reason=HoldReason.NO_PUBLIC_URL,
            detail=_("MASSMAIL_PUBLIC_URL is not set, so that unsubscribe links would lead nowhere."),
            remedy=_("Ask whoever runs this site to set MASSMAIL_PUBLIC_URL."),
        )
    if not settings.unsubscribe_url:
        return Hold(
            reason=HoldReason.NO_UNSUBSCRIBE_URL,
            detail=_("“URL to unsubscribe” is not set: the page recipients see after they have unsubscribed."),
            remedy=_("An administrator enters it in the Massmail Settings."),
            about=settings,
        )
    return None


def accounts_hold(accounts: Sequence[EmailAccount]) -> Hold | None:
    """Return the hold of an owner without accounts for mailing, or with the main one only."""
    if not accounts:
        return Hold(
            reason=HoldReason.NO_ACCOUNT,
            detail=_("The owner has no account for mailing."),
            remedy=_("Add an email account and mark it “Massmail”."),
        )
    if all(account.main for account in accounts):
        return Hold(
            reason=HoldReason.ONLY_MAIN_ACCOUNT,
            detail=_("The main account is the only one for mailing, and it sends to VIP recipients only."),
            remedy=_("Add another email account and mark it “Massmail”, or mark recipients as VIP."),
            about=accounts[0],
        )
    return None


def _status_hold(mailing: Mailing) -> Hold | None:
    match mailing.status:
        case MailingStatus.ACTIVE:
            return None
        case MailingStatus.DRAFT:
            return Hold(reason=HoldReason.DRAFT, remedy=_("Start it on its page."), about=mailing)
        case MailingStatus.PAUSED:
            return Hold(
                reason=HoldReason.PAUSED, detail=mailing.pause_reason, remedy=_("Resume it on its page."), about=mailing
            )
        case _:
            return Hold(reason=HoldReason.ENDED, detail=mailing.get_status_display())


def _mailing_holds(
    mailings: Sequence[Mailing], *, now: dt.datetime, settings: MassmailSettings
) -> dict[int, Hold | None]:
    active = [mailing for mailing in mailings if mailing.status == MailingStatus.ACTIVE]
    facts = _Facts(active, now=now, settings=settings)
    return {mailing.pk: _status_hold(mailing) or facts.hold(mailing) for mailing in mailings}


class _Facts:
    """What decides about a set of active mailings, fetched in a constant number of queries."""

    def __init__(self, mailings: Sequence[Mailing], *, now: dt.datetime, settings: MassmailSettings) -> None:
        self.now, self.settings = now, settings
        self.inactive = _inactive_users(mailing.owner_id for mailing in mailings)
        self.accounts = usable_accounts(mailing.owner_id for mailing in mailings)
        everyone = [account for accounts in self.accounts.values() for account in accounts]
        self.holds = account_holds(everyone, now=now, settings=settings)
        self.work = work(mailings, now=now)
        self.alive = _alive(now)

    def hold(self, mailing: Mailing) -> Hold | None:
        if mailing.owner_id in self.inactive:
            return _owner_inactive()
        if hold := deployment_hold(self.settings):
            return hold
        if type_of(mailing) is None:
            return Hold(
                reason=HoldReason.NO_TYPE,
                detail=_("The type of its recipients is not among MASSMAIL_RECIPIENT_TYPES any more."),
                remedy=_("Ask whoever runs this site to register it again, or cancel the mailing."),
                about=mailing,
            )
        if mailing.start_at and mailing.start_at > self.now:
            return Hold(
                reason=HoldReason.START_AT,
                until=mailing.start_at,
                detail=_("It starts at %(time)s.") % {"time": show(mailing.start_at, self.settings)},
                about=mailing,
            )
        accounts = self.accounts[mailing.owner_id]
        if not accounts:
            return accounts_hold(accounts)
        return self._work_hold(self.work[mailing.pk], accounts)

    def _work_hold(self, work: dict[int | None, bool], accounts: Sequence[EmailAccount]) -> Hold | None:
        if not work:
            return None
        speakers = {account_id for account_id, due in work.items() if account_id and due}
        if None in work:
            # Not assigned yet: they will go to one of the owner's other accounts at the next tick.
            speakers |= {account.pk for account in accounts if not account.main}
            if not speakers:
                return accounts_hold(accounts)
        if not speakers:
            return Hold(
                reason=HoldReason.RETRY,
                detail=_("What is left waits for another attempt: the recipients' servers asked to come back later."),
            )
        holds = [self.holds.get(account_id) for account_id in speakers]
        waiting = [hold for hold in holds if hold is not None]
        if len(waiting) < len(holds):
            return self.alive
        return min(waiting, key=lambda hold: (hold.until is None, hold.until or self.now))


def _alive(now: dt.datetime) -> Hold | None:
    """Return the hold of a site on which no tick has been for a while."""
    beat = Heartbeat.objects.filter(name="tick").first()
    if beat is not None and now - beat.at < dt.timedelta(seconds=conf.tick_seconds * MISSED_TICKS):
        return None
    since = _("No worker or beat is alive: there has never been a tick.")
    if beat is not None:
        when = date_format(localtime(beat.at), "D j M, H:i")
        since = _("No worker or beat is alive: the last tick was at %(time)s.") % {"time": when}
    return Hold(
        reason=HoldReason.NO_HEARTBEAT,
        detail=since,
        remedy=_("Ask whoever runs this site to start Celery's worker and beat, and to run massmail_setup once."),
    )


# Deliveries -----------------------------------------------------------------------------------------------------------


def _delivery_holds(deliveries: Sequence[Delivery], *, now: dt.datetime) -> dict[int, Hold | None]:
    settings = MassmailSettings.load()
    mailings = Mailing.objects.filter(pk__in={delivery.mailing_id for delivery in deliveries})
    of_mailing = _mailing_holds(list(mailings), now=now, settings=settings)
    accounts = EmailAccount.objects.filter(pk__in={delivery.account_id for delivery in deliveries})
    of_account = account_holds(list(accounts), now=now, settings=settings)
    general = {
        key: hold
        for key, hold in of_mailing.items()
        if hold and not isinstance(hold.about, EmailAccount) and hold.reason is not HoldReason.RETRY
    }
    return {
        delivery.pk: _delivery_hold(delivery, general, of_mailing, of_account, now=now, settings=settings)
        for delivery in deliveries
    }


def _delivery_hold(
    delivery: Delivery,
    general: dict[int, Hold],
    of_mailing: dict[int, Hold | None],
    of_account: dict[int, Hold | None],
    *,
    now: dt.datetime,
    settings: MassmailSettings,
) -> Hold | None:
    if delivery.status == DeliveryStatus.SENDING:
        return Hold(reason=HoldReason.BUSY)
    if delivery.status != DeliveryStatus.QUEUED:
        return Hold(reason=HoldReason.ENDED, detail=delivery.get_status_display())
    if delivery.mailing_id in general:
        return general[delivery.mailing_id]
    if delivery.not_before and delivery.not_before > now:
        return Hold(
            reason=HoldReason.RETRY,
            until=delivery.not_before,
            detail=_("Next attempt at %(time)s; the server said: %(reply)s")
            % {"time": show(delivery.not_before, settings), "reply": delivery.reply},
        )
    if delivery.account_id is None:
        return of_mailing[delivery.mailing_id]
    return of_account.get(delivery.account_id)
