"""How fast an account speaks. Pure: gaps look random but follow from (account, day, n), the same for every reader."""

from __future__ import annotations

import datetime as dt
import hashlib
from dataclasses import dataclass

_STEPS = 2**32


@dataclass(frozen=True, slots=True, kw_only=True)
class Pace:
    """The gaps of an account in seconds; whether what is left of its quota is spread over the rest of the day."""

    account: int
    gap_min: int
    gap_max: int
    spread_evenly: bool
    limit: int


def fraction(account: int, day: dt.date, n: int) -> float:
    """Return a number in [0, 1) that looks random and is always the same for the same arguments."""
    digest = hashlib.sha256(f"{account}/{day.isoformat()}/{n}".encode()).digest()
    return int.from_bytes(digest[:4], "big") / _STEPS


def gap(pace: Pace, *, day: dt.date, n: int, remaining: dt.timedelta) -> dt.timedelta:
    """Return how long the account is silent after its `n`th mail of `day`, with `remaining` time left in the window.

    Between `gap_min` and `gap_max`; with `spread_evenly` never closer than an even share of the remaining time,
    varied by a tenth either way.
    """
    part = fraction(pace.account, day, n)
    seconds = pace.gap_min + (pace.gap_max - pace.gap_min) * part
    if pace.spread_evenly and n < pace.limit:
        share = remaining.total_seconds() / (pace.limit - n)
        seconds = max(seconds, share * (0.9 + 0.2 * part))
    return dt.timedelta(seconds=seconds)


def next_at(now: dt.datetime, pace: Pace, *, day: dt.date, n: int, closes: dt.datetime) -> dt.datetime:
    """Return when the account may speak again after its `n`th mail of `day`, sent at `now`; `closes`: end of hours."""
    return now + gap(pace, day=day, n=n, remaining=max(closes - now, dt.timedelta()))


#: Back-off of a lane whose server can't be reached or asks to come back: the minutes before each new try.
BACK_OFF = (1, 5, 15, 60)


def back_off(failures: int) -> dt.timedelta:
    """Return how long a lane waits after its `failures`th failure in a row (1 is the first)."""
    return dt.timedelta(minutes=BACK_OFF[min(failures, len(BACK_OFF)) - 1])
