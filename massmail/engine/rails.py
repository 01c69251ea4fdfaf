"""The guard rails of accounts: one whose mail fails too often is put on hold before its good name is gone.

What providers say: Google wants a rate of complaints below 0.1 % and never 0.3 % ("Email sender guidelines",
support.google.com/a/answer/81126), Yahoo the same (senders.yahooinc.com/best-practices); Amazon SES puts accounts under
review at 5 % of bounces and 0.1 % of complaints (docs.aws.amazon.com, "Reputation metrics").

A mailing's own figures are watched by `guard`, refusals by policy in a row by `aftermath`: this looks at all mail of an
account over some days. What happened before a person released the account is not held against it again.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable
from decimal import Decimal

from django.db.models import F, Q
from django.utils.formats import number_format
from django.utils.translation import gettext as _

from massmail import outcomes
from massmail.choices import AccountTrouble
from massmail.engine.guard import FEWEST
from massmail.engine.window import local_day
from massmail.models import AccountDay, EmailAccount, MassmailSettings
from massmail.outcomes import DayFigures


def objection(figures: DayFigures, settings: MassmailSettings) -> str:
    """Return in words why an account with these figures must not go on, "" if it may. Pure."""
    if figures.mails < settings.limit_sample:
        return ""
    judged = (
        (
            figures.undeliverable,
            settings.bounce_limit,
            _(
                "%(number)s of %(mails)s mails of the last %(days)s days could not be delivered, more than the limit "
                "of %(limit)s %%."
            ),
        ),
        (
            figures.complaints,
            settings.complaint_limit,
            _(
                "%(number)s of %(mails)s mails of the last %(days)s days were reported as spam, more than the limit of "
                "%(limit)s %%."
            ),
        ),
        (
            figures.refused,
            settings.refusal_limit,
            _(
                "%(number)s of %(mails)s mails of the last %(days)s days were refused, more than the limit of "
                "%(limit)s %%."
            ),
        ),
    )
    for number, limit, text in judged:
        if _exceeds(number, figures.mails, limit):
            return text % {
                "number": number,
                "mails": figures.mails,
                "days": settings.guard_days,
                "limit": number_format(limit.normalize()),
            }
    return ""


def _exceeds(number: int, mails: int, limit: Decimal) -> bool:
    return bool(limit) and number >= FEWEST and 100 * number > limit * mails


def stand_guard(settings: MassmailSettings, *, now: dt.datetime) -> int:
    """Put the accounts on hold whose figures are too bad; return how many. One query where nothing is wrong."""
    today = local_day(now, settings.zone)
    first = today - dt.timedelta(days=settings.guard_days - 1)
    bad = Q(refused__gt=0) | Q(undeliverable__gt=0) | Q(complaints__gt=0)
    days = AccountDay.objects.filter(bad, date__gte=first, account__massmail=True, account__hold_reason="")
    rows = days.order_by().values_list("account", F("refused") + F("undeliverable") + F("complaints"))
    events: dict[int, int] = {}
    for key, number in rows:
        events[key] = events.get(key, 0) + number
    suspicious = [key for key, number in events.items() if number >= FEWEST]
    return _judge(EmailAccount.objects.filter(pk__in=suspicious), settings, today=today) if suspicious else 0


def _judge(accounts: Iterable[EmailAccount], settings: MassmailSettings, *, today: dt.date) -> int:
    accounts, held = list(accounts), 0
    figures = outcomes.recent_figures(accounts, since=today - dt.timedelta(days=settings.guard_days - 1))
    for account in accounts:
        if reason := objection(figures[account.pk], settings):
            outcomes.hold_account(account, reason, trouble=AccountTrouble.RETURNS)
            held += 1
    return held
