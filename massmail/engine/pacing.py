"""How fast an account speaks. Pure: gaps look random but follow from (account, day, n), the same for every reader."""

from __future__ import annotations

import datetime as dt
import hashlib
from dataclasses import dataclass
from functools import cache
from math import prod

_STEPS = 2**32
#: With `spread_evenly` a gap is this part of an even share, plus up to `_VARIED` of it.
_LEAST, _VARIED = 0.9, 0.2


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
    varied by a tenth either way but within the window: the next day begins when it opens.
    """
    part = fraction(pace.account, day, n)
    seconds = pace.gap_min + (pace.gap_max - pace.gap_min) * part
    if pace.spread_evenly and n < pace.limit:
        left = remaining.total_seconds()
        seconds = max(seconds, min(left, left / (pace.limit - n) * (_LEAST + _VARIED * part)))
    return dt.timedelta(seconds=seconds)


def next_at(now: dt.datetime, pace: Pace, *, day: dt.date, n: int, closes: dt.datetime) -> dt.datetime:
    """Return when (UTC) the account may speak again after its `n`th mail of `day`, sent at `now`.

    `closes` is the end of the hours.
    """
    now = now.astimezone(dt.UTC)  # on a wall clock, adding seconds goes wrong when the clocks change
    return now + gap(pace, day=day, n=n, remaining=max(closes - now, dt.timedelta()))


def whole_day(
    pace: Pace, *, day: dt.date, n: int, at: dt.datetime, closes: dt.datetime, reopens: dt.datetime
) -> int | None:
    """Return how many mails an account with work enough sends on `day` from its `n + 1`st, which leaves at `at`.

    None where that can't be told without going from gap to gap: where the last of the quota could come after `closes`,
    or the gap after it reach beyond `reopens`, when the next day's mail begins.
    """
    count, longest = pace.limit - n, dt.timedelta(seconds=pace.gap_max)
    if not pace.spread_evenly or count == 1:
        fits = at + (count - 1) * longest < closes and at + count * longest <= reopens
        return count if fits else None
    # The even shares of the time shrink by at most so much until the last gap; no other gap decides if they are longer.
    shortest = (closes - at).total_seconds() / (count - 1) * _shrunk(count - 2)
    varied = _LEAST + _VARIED * fraction(pace.account, day, pace.limit - 1)
    if shortest * _LEAST < pace.gap_max or abs(varied - 1) < 0.001:
        return None
    if varied > 1:  # the last gap takes all the time there is
        return count - 1
    spare = dt.timedelta(seconds=shortest * (1 - varied))
    return count if closes - spare + longest <= reopens else None


@cache
def _shrunk(gaps: int) -> float:
    """Return the least part of an even share that is left after so many gaps, each as long as it may be."""
    varied = _LEAST + _VARIED - 1
    return prod(1 - varied / left for left in range(1, gaps + 1))


#: Back-off of a lane whose server can't be reached or asks to come back: the minutes before each new try.
BACK_OFF = (1, 5, 15, 60)


def back_off(failures: int) -> dt.timedelta:
    """Return how long a lane waits after its `failures`th failure in a row (1 is the first)."""
    return dt.timedelta(minutes=BACK_OFF[min(failures, len(BACK_OFF)) - 1])
