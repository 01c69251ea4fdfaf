"""Accounts on hold: the provider said no to the account, and nobody's delivery fails for it."""

from __future__ import annotations

import datetime as dt
from collections import Counter
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any, Literal

from django.db.models import Sum
from django.utils import timezone

from massmail.choices import AccountTrouble, AuditAction
from massmail.models import AccountDay, EmailAccount, MassmailSettings, Tally
from massmail.models.mailings import audit


def hold_account(
    account: EmailAccount,
    reason: str,
    *,
    until: dt.datetime | None = None,
    trouble: AccountTrouble | Literal[""] = "",
) -> None:
    """Put `account` on hold until the moment `until`, or until somebody releases it.

    `reason` are the provider's own words, `trouble` decides what its owner is advised to do.
    """
    EmailAccount.objects.filter(pk=account.pk).update(hold_reason=reason, held_until=until, hold_trouble=trouble)
    account.hold_reason, account.held_until, account.hold_trouble = reason, until, trouble
    audit(AuditAction.ACCOUNT_HELD, by=None, account=account, text=reason)


def release_account(account: EmailAccount, *, by: Any) -> None:
    """End the hold of `account`; no-op if there is none."""
    held = EmailAccount.objects.filter(pk=account.pk).exclude(hold_reason="")
    today = timezone.now().astimezone(MassmailSettings.load().zone).date()
    known = {"day": today.isoformat(), **asdict(daily_figures([account], since=today).get((account.pk, today), NONE))}
    if held.update(hold_reason="", held_until=None, hold_trouble="", judged_after=known):
        audit(AuditAction.ACCOUNT_RELEASED, by=by, account=account, text=account.hold_reason)
    account.hold_reason, account.held_until, account.hold_trouble = "", None, ""


@dataclass(frozen=True, slots=True, kw_only=True)
class DayFigures:
    """Mails that an account has sent or that were refused, and how many of them came to harm; of a day, or several."""

    mails: int = 0
    refused: int = 0
    undeliverable: int = 0
    complaints: int = 0


NONE = DayFigures()


def daily_figures(accounts: Iterable[EmailAccount], *, since: dt.date) -> dict[tuple[int, dt.date], DayFigures]:
    """Return what became of the mail of `accounts` by account and day, from the day `since` on; two queries."""
    accounts = list(accounts)
    sums: dict[tuple[int, dt.date], Counter[str]] = {}
    tallies = Tally.objects.filter(lane__account__in=accounts, day__gte=since).order_by()
    sent = tallies.values_list("lane__account", "day").annotate(mm_sent=Sum("sent"), mm_failed=Sum("failed"))
    for key, day, number, failed in sent:
        sums[key, day] = Counter(mails=max(0, number + failed))
    harm = ("refused", "undeliverable", "complaints")
    for key, day, *numbers in AccountDay.objects.filter(account__in=accounts, date__gte=since).values_list(
        "account", "date", *harm
    ):
        sums.setdefault((key, day), Counter()).update(dict(zip(harm, numbers, strict=True)))
    return {place: DayFigures(**found) for place, found in sums.items()}


def recent_figures(accounts: Iterable[EmailAccount], *, since: dt.date) -> dict[int, DayFigures]:
    """Return the sums by account from the day `since` on, or from its last release, if that is later."""
    accounts = list(accounts)
    sums: dict[int, Counter[str]] = {account.pk: Counter() for account in accounts}
    known = {account.pk: account.judged_after for account in accounts if account.judged_after}
    begins = {key: dt.date.fromisoformat(each["day"]) for key, each in known.items()}
    for (key, day), figures in daily_figures(accounts, since=since).items():
        if day >= begins.get(key, since):
            sums[key].update(asdict(figures))
        if day == begins.get(key):
            sums[key].subtract({name: number for name, number in known[key].items() if name != "day"})
    return {key: DayFigures(**{name: max(0, each) for name, each in found.items()}) for key, found in sums.items()}
