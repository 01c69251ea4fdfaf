"""What an account will send and when: the engine's own rules against a simulated clock. Pure.

Hours and days come from `window`, gaps from `pacing`, the turns of mailings from `rotation`, the limit of a day that
warms up from `ramp`, as in the engine. A day on which nothing can happen but that the account uses up its quota is
counted at once; all other days are gone through mail by mail.

Limits of domains are kept by the hour as in the engine; which domain is next is not looked up but taken from their
shares in what is left, as if they were evenly mixed.
"""

from __future__ import annotations

import datetime as dt
import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace

from massmail.choices import Limit
from massmail.engine import pacing
from massmail.engine.hourglass import NONE, Hourglass, Hourly
from massmail.engine.pacing import Pace
from massmail.engine.ramp import Ramp
from massmail.engine.rotation import in_turn
from massmail.engine.window import HOUR, Window, closes_at, local_day, opens_at, opens_next_day


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """What holds for all accounts: the hours and the gaps in seconds."""

    window: Window
    gap_min: int
    gap_max: int
    spread_evenly: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Speaker:
    """An account as it stands: `used` is what it has sent today, `free_at` when its lane may speak again.

    `rate` is None for a paced account, else the mails per second that a relay takes: its times are estimates. `limit`
    is the daily limit once it is warm, `ramp` how warm it is before today.
    """

    pk: int
    limit: int
    used: int
    free_at: dt.datetime
    last_mailing: int = 0
    rate: float | None = None
    ramp: Ramp | None = None
    hourly: Hourly = NONE


@dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    """Mails of one mailing that an account is to send from `ready_at` on, to one `domain` if that has a limit."""

    mailing: int
    count: int
    ready_at: dt.datetime
    domain: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Slot:
    """The `number`th mail of `account` on `day`, the calendar day of its quota, leaves at `at` for `mailing`."""

    account: int
    day: dt.date
    number: int
    at: dt.datetime
    mailing: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Course:
    """What one account will do: mails by mailing and day, the last mail of each mailing, and what is left after a year.

    `stops` counts what ended the days on which it had more to send.
    """

    account: int
    days: dict[int, Counter[dt.date]]
    ends: dict[int, dt.datetime]
    left: Counter[int]
    first_at: dt.datetime | None
    stops: Counter[Limit]


def slots(
    speaker: Speaker, rules: Rules, loads: Iterable[Load], *, now: dt.datetime, until: dt.datetime
) -> Iterator[Slot]:
    """Return every mail that the account will send between `now` and `until`, in order."""
    line = _Line(speaker, rules, loads, now=now)
    while (at := line.next_at()) is not None and at < until:
        yield line.speak(at)


def course(speaker: Speaker, rules: Rules, loads: Iterable[Load], *, now: dt.datetime, until: dt.datetime) -> Course:
    """Return the same in sums, in a time that depends on the number of days rather than of mails."""
    line = _Line(speaker, rules, loads, now=now)
    days: dict[int, Counter[dt.date]] = defaultdict(Counter)
    ends: dict[int, dt.datetime] = {}
    first_at = None
    while (at := line.next_at()) is not None and at < until:
        first_at = first_at or at
        for mailing, (count, last) in line.at_once(at).items():
            days[mailing][line.day] += count
            ends[mailing] = last
    return Course(account=speaker.pk, days=dict(days), ends=ends, left=line.left(), first_at=first_at, stops=line.stops)


@dataclass(slots=True)
class _Queue:
    """What is ready of one mailing, by domain; `asked` is what it was in all."""

    pk: int
    domains: Counter[str] = field(default_factory=Counter)
    asked: Counter[str] = field(default_factory=Counter)

    @property
    def count(self) -> int:
        return self.domains.total()

    def add(self, domain: str, count: int) -> None:
        self.domains[domain] += count
        self.asked[domain] += count

    def take(self, domain: str, count: int = 1) -> None:
        self.domains[domain] -= count
        if not self.domains[domain]:
            del self.domains[domain]

    def next_domain(self, hours: Hourglass) -> str:
        """Return the domain whose turn it is, among those that the hour allows."""
        free = (domain for domain in self.domains if hours.left(domain, 1))
        return max(free, key=lambda domain: (self.domains[domain] / self.asked[domain], domain))


class _Line:
    """An account on its way through the days."""

    def __init__(self, speaker: Speaker, rules: Rules, loads: Iterable[Load], *, now: dt.datetime) -> None:
        self.speaker, self.window = speaker, rules.window
        self.pace = Pace(
            account=speaker.pk,
            gap_min=rules.gap_min,
            gap_max=rules.gap_max,
            spread_evenly=rules.spread_evenly,
            limit=speaker.limit,
        )
        self.ramp, self.limit = speaker.ramp, speaker.limit
        fastest = HOUR.total_seconds() / rules.gap_min + 1 if rules.gap_min else math.inf
        fastest = fastest if speaker.rate is None else speaker.rate * HOUR.total_seconds() + 1
        self.hours = Hourglass(speaker.hourly.biting(fastest), rules.window.zone, now=now)
        # In UTC: on a wall clock, adding seconds goes wrong when the clocks change.
        self.free_at = max(now, speaker.free_at).astimezone(dt.UTC)
        self._begin(local_day(now, rules.window.zone), speaker.used)
        self.closes = now
        self.opened = False
        self.last_mailing = speaker.last_mailing
        self.ready: list[_Queue] = []
        asked = (replace(load, ready_at=load.ready_at.astimezone(dt.UTC)) for load in loads if load.count)
        self.later = sorted(asked, key=lambda load: load.ready_at, reverse=True)
        self.stops: Counter[Limit] = Counter()
        self.spoke: dt.date | None = None
        self.stopped: dt.date | None = None

    def left(self) -> Counter[int]:
        """Return how many mails of each mailing are still to be sent."""
        left = Counter({queue.pk: queue.count for queue in self.ready})
        for load in self.later:
            left[load.mailing] += load.count
        return left

    # When ----------------------------------------------------------------------------------------------------------

    def next_at(self) -> dt.datetime | None:
        """Return when the next mail leaves: something is ready, the gap is over, hours and quota allow it."""
        if not self.ready and not self.later:
            return None
        at = self.free_at if self.ready else max(self.free_at, self.later[-1].ready_at)
        while True:
            if at >= self.closes or self.used >= self.limit:
                at = self._next_opening(at)
            while self.later and self.later[-1].ready_at <= at:
                self._wake(self.later.pop())
            if not self.hours.is_set or self._has_an_hour(at):
                return at
            at = self._next_hour()

    def _has_an_hour(self, at: dt.datetime) -> bool:
        """Tell whether the hour of `at` allows anything that is ready."""
        self.hours.turn_to(at)
        return any(self.hours.allows(queue.domains) for queue in self.ready)

    def _next_hour(self) -> dt.datetime:
        """Return when to look again: when the next hour begins, or something else is ready before."""
        self._stop(Limit.HOURLY if self.hours.is_full else Limit.DOMAIN)
        if self.later and not self.hours.is_full:
            return min(self.hours.ends, self.later[-1].ready_at)
        return self.hours.ends

    def _next_opening(self, at: dt.datetime) -> dt.datetime:
        opening = opens_at(at, self.window)
        if self.ready and opening > at:
            # Spread evenly, the last of the quota may find the window closed.
            self._stop(self._quota if self.used + self.pace.spread_evenly >= self.pace.limit else Limit.HOURS)
        self._turn_to(opening)
        if self.used >= self.limit:
            opening = opens_next_day(opening, self.window)
            self._turn_to(opening)
        self.closes, self.opened = closes_at(opening, self.window), True
        return opening

    def _turn_to(self, at: dt.datetime) -> None:
        day = local_day(at, self.window.zone)
        if day != self.day:
            if self.ramp is not None and self.used:
                self.ramp = self.ramp.after(self.day)
            self._begin(day, 0)

    def _begin(self, day: dt.date, used: int) -> None:
        self.day, self.used = day, used
        if self.ramp is not None:
            self.limit = self.ramp.limit(day, self.speaker.limit)
            self.pace = replace(self.pace, limit=self.limit)

    @property
    def _quota(self) -> Limit:
        """What a day's limit is that is used up."""
        return Limit.RAMP if self.limit < self.speaker.limit else Limit.QUOTA

    def _stop(self, limit: Limit) -> None:
        """Count what ended a day on which the account has sent something, once a day."""
        if self.spoke == self.day != self.stopped:
            self.stops[limit] += 1
            self.stopped = self.day

    def _wake(self, load: Load) -> None:
        for queue in self.ready:
            if queue.pk == load.mailing:
                queue.add(load.domain, load.count)
                return
        self.ready.append(_Queue(load.mailing))
        self.ready[-1].add(load.domain, load.count)
        self.ready.sort(key=lambda queue: queue.pk)

    # What ----------------------------------------------------------------------------------------------------------

    def speak(self, at: dt.datetime) -> Slot:
        """Send one mail at `at`, which `next_at` has given."""
        ready = [queue for queue in self.ready if self.hours.allows(queue.domains)] if self.hours.is_set else self.ready
        queue = in_turn(ready, self.last_mailing)[0]
        domain = queue.next_domain(self.hours) if self.hours.is_set else next(iter(queue.domains))
        queue.take(domain)
        self.hours.spend(domain)
        self._sent(1, queue.pk)
        self.free_at = at + self._silence(at)
        return Slot(account=self.speaker.pk, day=self.day, number=self.used, at=at, mailing=queue.pk)

    def _silence(self, at: dt.datetime) -> dt.timedelta:
        if self.speaker.rate is not None:
            return dt.timedelta(seconds=1 / self.speaker.rate)
        return pacing.next_at(at, self.pace, day=self.day, n=self.used, closes=self.closes) - at

    def _sent(self, count: int, last_mailing: int) -> None:
        self.used += count
        self.spoke = self.day
        self.last_mailing = last_mailing
        self.ready = [queue for queue in self.ready if queue.domains]
        if self.used >= self.limit and self.ready:
            self._stop(self._quota)

    def at_once(self, at: dt.datetime) -> dict[int, tuple[int, dt.datetime]]:
        """Send from `at` on all that can be counted at once; return the number of mails and the last, by mailing."""
        if self.speaker.rate is not None:
            return self._stretch(at)
        return self._whole_day(at) or {(slot := self.speak(at)).mailing: (1, slot.at)}

    def _whole_day(self, at: dt.datetime) -> dict[int, tuple[int, dt.datetime]] | None:
        """Send the day's quota, if nothing begins or ends on the way; asked once, when the window opens."""
        opened, self.opened = self.opened, False
        if not opened or self.hours.is_set or (self.later and self.later[-1].ready_at < self.closes):
            return None
        reopens = opens_next_day(at, self.window)
        count = pacing.whole_day(self.pace, day=self.day, n=self.used, at=at, closes=self.closes, reopens=reopens)
        if count is None or any(queue.count <= count // len(self.ready) + 1 for queue in self.ready):
            return None
        places = self._deal(count)
        self.free_at = self.closes
        self._stop(self._quota)
        return {mailing: (number, self.closes) for mailing, (number, _place) in places.items()}

    def _stretch(self, at: dt.datetime) -> dict[int, tuple[int, dt.datetime]]:
        """Send what a relay takes until the quota is used, the window closes, or something else is ready."""
        if self.hours.is_set:
            return self._hour(at)
        silence = self._silence(at)
        end = min(self.closes, self.later[-1].ready_at) if self.later else self.closes
        fits = max(1, -((at - end) // silence))
        count = min(fits, self.limit - self.used, sum(queue.count for queue in self.ready))
        places = self._deal(count)
        self.free_at = at + count * silence
        return {mailing: (number, at + (place - 1) * silence) for mailing, (number, place) in places.items()}

    def _hour(self, at: dt.datetime) -> dict[int, tuple[int, dt.datetime]]:
        """Send what a relay takes until the hour is over, one mailing after the other: an estimate like its speed."""
        silence = self._silence(at)
        end = min(self.closes, self.hours.ends, *([self.later[-1].ready_at] if self.later else []))
        room = min(max(1, -((at - end) // silence)), self.limit - self.used)
        sent: dict[int, tuple[int, dt.datetime]] = {}
        count = 0
        for queue in in_turn(self.ready, self.last_mailing):
            before = count
            for domain, number in list(queue.domains.items()):
                part = min(self.hours.left(domain, number), room - count)
                if part:
                    queue.take(domain, part)
                    self.hours.spend(domain, part)
                    count += part
            if count > before:
                sent[queue.pk] = (count - before, at + (count - 1) * silence)
        self._sent(count, [*sent][-1])
        self.free_at = at + count * silence
        return sent

    def _deal(self, count: int) -> dict[int, tuple[int, int]]:
        """Take `count` mails from the mailings in turn; return how many of each, and the place of its last one."""
        numbers: Counter[int] = Counter()
        places: dict[int, int] = {}
        place = 0
        while place < count:
            order = in_turn([queue for queue in self.ready if queue.count], self.last_mailing)[: count - place]
            rounds = min((count - place) // len(order), *(queue.count for queue in order))
            for position, queue in enumerate(order, start=1):
                self._take(queue, rounds)
                numbers[queue.pk] += rounds
                places[queue.pk] = place + (rounds - 1) * len(order) + position
            place += rounds * len(order)
            self.last_mailing = order[-1].pk
        self._sent(count, self.last_mailing)
        return {mailing: (numbers[mailing], places[mailing]) for mailing in numbers}

    @staticmethod
    def _take(queue: _Queue, count: int) -> None:
        """Take `count` mails of whatever domain: where they are dealt out, none has a limit that counts."""
        for domain, number in list(queue.domains.items()):
            part = min(number, count)
            queue.take(domain, part)
            count -= part
            if not count:
                return
