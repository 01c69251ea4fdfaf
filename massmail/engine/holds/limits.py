"""Why an account waits for the next hour, and a recipient for another hour or day."""

from __future__ import annotations

import datetime as dt

from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from massmail.choices import HoldReason
from massmail.engine.holds.hold import Hold, show
from massmail.engine.limits import Rules, domain_of
from massmail.engine.window import HOUR, Window, hour_of, opens_at
from massmail.models import EmailAccount, MassmailSettings


def hourly_hold(
    account: EmailAccount, settings: MassmailSettings, *, used: int, now: dt.datetime, window: Window
) -> Hold | None:
    """Return the hold of an account that has sent what it may in this hour."""
    if not account.emails_per_hour or used < account.emails_per_hour:
        return None
    until = opens_at(hour_of(now, settings.zone) + HOUR, window)
    return Hold(
        reason=HoldReason.HOURLY,
        until=until,
        detail=_("The account “%(account)s” has sent its %(limit)s mails of this hour; it goes on %(time)s.")
        % {"account": account.name, "limit": account.emails_per_hour, "time": show(until, settings, now=now)},
        remedy=_("Add another account, or raise the account's limit per hour if its provider allows more."),
        about=account,
    )


def recipient_hold(
    reason: HoldReason, until: dt.datetime, *, address: str, settings: MassmailSettings, now: dt.datetime
) -> Hold:
    """Return the hold of the recipient at `address` who waits until the moment `until` for one of `OF_RECIPIENT`."""
    rules, domain = Rules.of(settings), domain_of(address)
    time = show(until, settings, now=now)
    match reason:
        case HoldReason.DOMAIN_LIMIT:
            number = rules.of_domain(domain)
            detail = ngettext(
                "An account sends %(number)s mail an hour to %(domain)s; it goes on %(time)s.",
                "An account sends %(number)s mails an hour to %(domain)s; it goes on %(time)s.",
                number,
            ) % {"number": number, "domain": domain, "time": time}
        case HoldReason.RECIPIENT_CAP:
            detail = ngettext(
                "A recipient gets %(number)s mail within %(days)s days; the next one may leave %(time)s.",
                "A recipient gets %(number)s mails within %(days)s days; the next one may leave %(time)s.",
                rules.per_recipient,
            ) % {"number": rules.per_recipient, "days": rules.days, "time": time}
        case _:
            detail = ngettext(
                "A company gets %(number)s mail a day; the next one may leave %(time)s.",
                "A company gets %(number)s mails a day; the next one may leave %(time)s.",
                rules.per_company,
            ) % {"number": rules.per_company, "time": time}
    return Hold(
        reason=reason,
        until=until,
        detail=detail,
        remedy=_("It goes on by itself. An administrator can raise this limit in the Massmail Settings."),
        about=settings,
    )
