"""The ledger of the daily quota: the only writer of `AccountDay`.

A mail is charged when it goes to `sending`, or ahead of that, and given back only if provably nothing was handed over.
"""

from __future__ import annotations

import datetime as dt

from django.db.models import F, QuerySet

from massmail.models import AccountDay, EmailAccount


def used(account: EmailAccount, day: dt.date) -> int:
    """Return how many mails `account` was charged for on `day`."""
    return _ledger(account, day).values_list("used", flat=True).first() or 0


def charge_up_to(number: int, account: EmailAccount, *, day: dt.date, limit: int) -> int:
    """Charge `number` mails to `day`, or as many as the quota of `limit` mails has left; return how many."""
    while number > 0 and not _charged(number, account, day, limit):
        if not EmailAccount.objects.filter(pk=account.pk).exists():
            return 0  # deleted in the meantime
        AccountDay.objects.get_or_create(account=account, date=day)
        number = min(number, limit - used(account, day))
    return max(0, number)


def charge(account: EmailAccount, *, day: dt.date, limit: int) -> bool:
    """Charge one mail to `day`; False if the quota of `limit` mails is used up."""
    return charge_up_to(1, account, day=day, limit=limit) == 1


def give_back(account: EmailAccount, *, day: dt.date, number: int = 1) -> None:
    """Take back the charge for `number` mails of which the server provably has nothing."""
    if number:
        _ledger(account, day).filter(used__gte=number).update(used=F("used") - number)


def _charged(number: int, account: EmailAccount, day: dt.date, limit: int) -> bool:
    return bool(_ledger(account, day).filter(used__lte=limit - number).update(used=F("used") + number))


def _ledger(account: EmailAccount, day: dt.date) -> QuerySet[AccountDay]:
    return AccountDay.objects.filter(account=account, date=day)
