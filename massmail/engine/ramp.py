"""The warm-up of a new account: a few mails on its first day, and so many more after each day on which it has sent.

Providers judge an address by how it has behaved, and one that sends hundreds of mails on its first day behaves like a
spammer ("Email sender guidelines", support.google.com/a/answer/81126: "Increase sending volume slowly"). The step is a
number and not a percentage: anybody can tell tomorrow's limit from today's, and ten per cent of ten mails would be one.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable
from dataclasses import dataclass, replace

from massmail.models import AccountDay, EmailAccount, MassmailSettings

#: After so many days without mail providers have forgotten an address, and its warm-up begins again.
FORGOTTEN = dt.timedelta(days=30)


def daily_limit(account: EmailAccount, settings: MassmailSettings) -> int:
    """Return how many mails `account` may send per calendar day once it is warm."""
    return account.emails_per_day or settings.emails_per_day


@dataclass(frozen=True, slots=True, kw_only=True)
class Ramp:
    """A warm-up: `start` mails on the first day, `step` more after each of `days`, the `last` of them as it was.

    Pure: the forecast goes on with it where the records end.
    """

    start: int
    step: int
    days: int = 0
    last: dt.date | None = None

    def limit(self, day: dt.date, own: int) -> int:
        """Return how many mails may leave on `day`, of an account with the daily limit `own`."""
        days = 0 if self._forgotten(day) else self.days
        return min(own, self.start + days * self.step)

    def after(self, day: dt.date) -> Ramp:
        """Return how it stands after `day`, on which the account has sent."""
        if day == self.last:
            return self
        return replace(self, days=1 if self._forgotten(day) else self.days + 1, last=day)

    def _forgotten(self, day: dt.date) -> bool:
        return self.last is not None and day - self.last >= FORGOTTEN


def ramps(accounts: Iterable[EmailAccount], *, day: dt.date) -> dict[int, Ramp]:
    """Return the warm-ups as they stand before `day`, by primary key of the account; one query, none without any."""
    found = {
        account.pk: Ramp(start=account.ramp_start, step=account.ramp_step)
        for account in accounts
        if account.ramp_start is not None
    }
    if found:
        days = AccountDay.objects.filter(account__in=found, date__lt=day, used__gt=0).order_by("date")
        for key, date in days.values_list("account", "date"):
            found[key] = found[key].after(date)
    return found


def limits_on(day: dt.date, accounts: Iterable[EmailAccount], settings: MassmailSettings) -> dict[int, int]:
    """Return how many mails each of `accounts` may send on `day`, by primary key; one query, none without warm-ups."""
    accounts = list(accounts)
    warming = ramps(accounts, day=day)
    own = {account.pk: daily_limit(account, settings) for account in accounts}
    return {key: warming[key].limit(day, most) if key in warming else most for key, most in own.items()}


def limit_on(day: dt.date, account: EmailAccount, settings: MassmailSettings) -> int:
    """Return how many mails `account` may send on `day`."""
    return limits_on(day, [account], settings)[account.pk]
