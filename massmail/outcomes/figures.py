"""The sums of what came back, by mailing and by the account's days, so that nobody has to count deliveries."""

from __future__ import annotations

import datetime as dt

from django.db.models import F

from massmail.models import AccountDay, EmailAccount, Returns


def add(mailing_id: int, **changes: int) -> None:
    """Add `changes` to the columns of the mailing's `Returns`, in the caller's transaction."""
    rows = Returns.objects.filter(mailing=mailing_id)
    added = {name: F(name) + number for name, number in changes.items() if number}
    if added and not rows.update(**added):
        # Ignored if another process is quicker.
        Returns.objects.bulk_create([Returns(mailing_id=mailing_id)], ignore_conflicts=True)
        rows.update(**added)


def add_to_day(account_id: int | None, day: dt.date, **changes: int) -> None:
    """Add `changes` to what became of the mail that the account sent on `day`, in the caller's transaction."""
    added = {name: F(name) + number for name, number in changes.items() if number}
    if account_id is None or not added:
        return
    rows = AccountDay.objects.filter(account=account_id, date=day)
    if not rows.update(**added) and EmailAccount.objects.filter(pk=account_id).exists():
        # Ignored if another process is quicker.
        AccountDay.objects.bulk_create([AccountDay(account_id=account_id, date=day)], ignore_conflicts=True)
        rows.update(**added)
