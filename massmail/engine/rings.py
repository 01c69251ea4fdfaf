"""Rings: which lanes the tick has called a worker for, and since when nobody has come."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence

from django.db.models import Case, DateTimeField, Q, Value, When

from massmail.engine.lanes import free
from massmail.models import Lane


def note(places: Sequence[tuple[int, int]], *, now: dt.datetime) -> None:
    """Write down that the lanes `places` (account and slot) are rung for at `now`, and that no other lane is.

    The first ring counts, until `lanes.acquire` answers it. One statement changes all lanes; two ticks at once do what
    one does.
    """
    accounts = {account for account, _slot in places}
    known = set(Lane.objects.filter(account__in=accounts).values_list("account", "slot"))
    unheard_of = [Lane(account_id=account, slot=slot) for account, slot in places if (account, slot) not in known]
    Lane.objects.bulk_create(unheard_of, ignore_conflicts=True)
    called = Q(account__in=accounts)
    due = Q(called, free(), Q(next_at__isnull=True) | Q(next_at__lte=now), offered_at__isnull=True)
    called_no_more = ~called & Q(offered_at__isnull=False)
    first_ring = Case(When(called, then=Value(now)), default=None, output_field=DateTimeField())
    Lane.objects.filter(due | called_no_more).update(offered_at=first_ring)
