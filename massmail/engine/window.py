"""When sending is allowed: working hours and calendar days. Pure: takes `now` and rules, asks no clock.

Everything is reckoned on the wall clock of the settings' time zone and turned into UTC at the very end, so that both
DST changes, half-hour zones and a clock set back come out right.
"""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass
from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo

if TYPE_CHECKING:
    from massmail.models import MassmailSettings

HOUR = dt.timedelta(hours=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Window:
    """The hours in which mail may leave. `limited` False: always."""

    zone: ZoneInfo
    limited: bool
    start: dt.time
    end: dt.time
    days: frozenset[int]

    @classmethod
    def of(cls, settings: MassmailSettings, *, ignore_hours: bool = False) -> Window:
        return cls(
            zone=settings.zone,
            limited=settings.use_business_time and not ignore_hours,
            start=settings.business_time_start,
            end=settings.business_time_end,
            days=frozenset(settings.working_days),
        )


def local_day(now: dt.datetime, zone: ZoneInfo) -> dt.date:
    """Return the calendar day of `now` in `zone`: the day whose quota a mail is charged to."""
    return now.astimezone(zone).date()


def midnight_after(now: dt.datetime, zone: ZoneInfo) -> dt.datetime:
    """Return the moment (UTC) at which the calendar day of `now` in `zone` is over."""
    return instant(local_day(now, zone) + dt.timedelta(days=1), dt.time(0), zone)


def instant(day: dt.date, time: dt.time, zone: ZoneInfo) -> dt.datetime:
    """Return the first UTC moment of `day` at which the wall clock in `zone` shows `time` or later.

    A time that the clock skips in spring comes down to the end of the gap; of one that comes twice in autumn it is
    the first (PEP 495, fold=0).
    """
    wanted = dt.datetime.combine(day, time)
    late = wanted.replace(tzinfo=zone).astimezone(dt.UTC)
    if _wall(late, zone) == wanted:
        return late
    early = wanted.replace(tzinfo=zone, fold=1).astimezone(dt.UTC)
    while late - early > dt.timedelta(seconds=1):
        middle = (early + (late - early) / 2).replace(microsecond=0)
        if _wall(middle, zone) < wanted:
            early = middle
        else:
            late = middle
    return late


def _wall(moment: dt.datetime, zone: ZoneInfo) -> dt.datetime:
    return moment.astimezone(zone).replace(tzinfo=None, fold=0)


def hour_of(now: dt.datetime, zone: ZoneInfo) -> dt.datetime:
    """Return when (UTC) the hour of `now` began on the clocks of `zone`."""
    local = now.astimezone(zone)
    past = dt.timedelta(minutes=local.minute, seconds=local.second, microseconds=local.microsecond)
    return now.astimezone(dt.UTC) - past


def is_open(now: dt.datetime, window: Window) -> bool:
    """Return whether mail may leave at `now`. The end is exclusive: at 17:30:00 the day is over."""
    if not window.limited:
        return True
    local = now.astimezone(window.zone)
    return local.isoweekday() in window.days and window.start <= local.time() < window.end


def opens_at(now: dt.datetime, window: Window) -> dt.datetime:
    """Return `now` if the window is open, else the next moment (UTC) at which it opens."""
    if is_open(now, window):
        return now
    today = local_day(now, window.zone)
    for offset in range(16):
        day = today + dt.timedelta(days=offset)
        opening = instant(day, window.start, window.zone)
        # Hours that lie wholly within a gap of the clock do not exist on that day.
        if opening >= now and is_open(opening, window):
            return opening
    raise ValueError("The window has no working day.")


def opens_next_day(now: dt.datetime, window: Window) -> dt.datetime:
    """Return the next moment (UTC) after the calendar day of `now` at which mail may leave: quotas begin anew."""
    return opens_at(midnight_after(now, window.zone), window)


def closes_at(now: dt.datetime, window: Window) -> dt.datetime:
    """Return when what is open at `now` ends (UTC): the end of working hours, or midnight without them."""
    if not window.limited:
        return midnight_after(now, window.zone)
    day = local_day(now, window.zone)
    return instant(day, window.end, window.zone)
