"""What saving the Massmail Settings changes about what is under way, in words for the one who saved."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator

from django.db.models import F
from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from massmail.admin.forecasts import expected_end_text
from massmail.admin.numbers import grouped
from massmail.choices import MailingStatus
from massmail.engine import outlook
from massmail.models import EmailAccount, Mailing, MassmailSettings

#: Mailings and accounts that are named.
NAMED = 3
#: Owners whose forecasts are made again before the page answers; the tick does the others'.
ROUNDS = 5


def effects(settings: MassmailSettings, *, now: dt.datetime) -> Iterator[str]:
    """Yield when the running mailings will be done now, and which accounts have a daily limit of their own."""
    running = Mailing.objects.filter(status=MailingStatus.ACTIVE)
    if number := running.count():
        for _round in range(ROUNDS):
            if not outlook.renew_stale(now=now):
                break
        yield _ends(list(running.order_by(F("expected_end").desc(nulls_last=True), "pk")[:NAMED]), number)
    own = EmailAccount.objects.filter(massmail=True, emails_per_day__isnull=False)
    if number := own.exclude(emails_per_day=settings.emails_per_day).count():
        first = own.exclude(emails_per_day=settings.emails_per_day).select_related("owner").order_by("name", "pk")
        yield _limits(list(first[:NAMED]), number)


def _ends(mailings: list[Mailing], number: int) -> str:
    ends = [
        _("“%(mailing)s” %(when)s") % {"mailing": mailing, "when": expected_end_text(mailing) or _("not foreseeable")}
        for mailing in mailings
    ]
    text = ngettext(
        "%(number)s mailing is running. With these settings it is done: %(ends)s.",
        "%(number)s mailings are running. With these settings they are done: %(ends)s.",
        number,
    )
    return text % {"number": grouped(number), "ends": _joined(ends, number)}


def _limits(accounts: list[EmailAccount], number: int) -> str:
    names = [
        _("“%(account)s” of %(owner)s (%(limit)s)")
        % {"account": account.name, "owner": account.owner, "limit": grouped(account.emails_per_day or 0)}
        for account in accounts
    ]
    text = ngettext(
        "%(number)s account has a daily limit of its own, which overrules this one: %(names)s.",
        "%(number)s accounts have daily limits of their own, which overrule this one: %(names)s.",
        number,
    )
    return text % {"number": grouped(number), "names": _joined(names, number)}


def _joined(texts: list[str], number: int) -> str:
    more = number - len(texts)
    rest = [ngettext("and %(count)s more", "and %(count)s more", more) % {"count": grouped(more)}] if more > 0 else []
    return ", ".join([*texts, *rest])
