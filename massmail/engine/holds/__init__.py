"""Why something does not leave now, until when, and what to do about it: the one place that knows.

The engine asks before it sends, the pages ask before they show; both get the same answer.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable
from typing import Any

from massmail.engine.holds.accounts import account_holds, attended_holds, daily_limit, owner_inactive, window_hold
from massmail.engine.holds.deliveries import delivery_holds
from massmail.engine.holds.hold import Hold, show
from massmail.engine.holds.machine import deployment_hold, life_hold, patience, periodic_task, silence
from massmail.engine.holds.mailings import accounts_hold, mailing_holds
from massmail.engine.holds.turns import unheard, unheard_ring
from massmail.models import Delivery, EmailAccount, Mailing, MassmailSettings

__all__ = [
    "Hold",
    "account_holds",
    "accounts_hold",
    "daily_limit",
    "deployment_hold",
    "explain",
    "explain_many",
    "life_hold",
    "owner_inactive",
    "patience",
    "periodic_task",
    "show",
    "silence",
    "unheard",
    "unheard_ring",
    "window_hold",
]


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
    settings, alive = MassmailSettings.load(), life_hold(now)
    if isinstance(things[0], EmailAccount):
        return attended_holds(things, now=now, settings=settings, alive=alive)
    if isinstance(things[0], Mailing):
        return mailing_holds(things, now=now, settings=settings, alive=alive)
    return delivery_holds(things, now=now, settings=settings, alive=alive)
