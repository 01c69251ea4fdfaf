"""When a mailing will be done: the engine's planner against a simulated clock.

It reads how things stand (`survey`, some ten queries), counts what each account has before it (`census`) and lets the
`planner` go through the days. Nothing is written here: what is kept of a forecast is kept by `outlook`.
"""

from __future__ import annotations

import datetime as dt
import heapq
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

from massmail.choices import DeliveryStatus, Limit, MailingStatus
from massmail.engine import census, lanes, planner, spread
from massmail.engine.bottleneck import Bottleneck
from massmail.engine.census import Census
from massmail.engine.holds import Hold, accounts_hold, daily_limit
from massmail.engine.holds.accounts import inactive_users, standing_hold
from massmail.engine.holds.mailings import lasting_hold
from massmail.engine.holds.turns import rests
from massmail.engine.hourglass import NONE, Hourly
from massmail.engine.limits import Rules as Limits
from massmail.engine.planner import Course, Load, Rules, Slot, Speaker
from massmail.engine.ramp import ramps
from massmail.engine.spread import Part
from massmail.engine.window import Window, local_day
from massmail.models import AccountDay, Delivery, EmailAccount, Lane, Mailing, MassmailSettings

#: How far a forecast looks: whatever takes longer is not planned but given up.
HORIZON = dt.timedelta(days=365)
#: Mails per second of each lane of a relay that has sent nothing lately.
RELAY_RATE = 5.0
#: What is looked at to measure a relay: so many of its last mails, without pauses that are longer than this.
MEASURED, PAUSE = 500, dt.timedelta(seconds=30)


@dataclass(frozen=True, slots=True, kw_only=True)
class DayPlan:
    """Mails of the mailing on one day, by account."""

    day: dt.date
    counts: Mapping[int, int]

    @property
    def total(self) -> int:
        return sum(self.counts.values())


@dataclass(frozen=True, slots=True, kw_only=True)
class Waiting:
    """Recipients who will get nothing before somebody does something; `account` is whose they are, if anybody's."""

    count: int
    account: int | None
    hold: Hold


@dataclass(frozen=True, slots=True, kw_only=True)
class Forecast:
    """What will become of a mailing if nothing changes.

    `end` is when its last mail leaves: None if nothing leaves, or if `beyond` of its mails are left after a year.
    `estimated`: a relay has a part in it, whose speed can only be guessed. `grouped`: limits of recipients were counted
    in groups (see `spread`). `survey` is what it was made from.
    """

    mailing: int
    made_at: dt.datetime
    end: dt.datetime | None
    beyond: int
    estimated: bool
    grouped: bool
    days: Sequence[DayPlan]
    bottleneck: Bottleneck | None
    waiting: Sequence[Waiting]
    survey: Survey

    @property
    def planned(self) -> int:
        """How many mails will leave within a year."""
        return sum(day.total for day in self.days)

    def slots(self) -> Iterator[Slot]:
        """Return each mail that the accounts will send in order of time, those of the owner's other mailings too."""
        return self.survey.slots()


@dataclass(frozen=True, slots=True, kw_only=True)
class Survey:
    """How things stand with all mailings of one owner that share the accounts.

    `names` are those of all accounts, `speakers` the accounts that will speak, `holds` why the others never will;
    `lasting` is by mailing what keeps all of it back. `weights` are the limits of those that take new recipients,
    `nobody` why there are none; `parts` is by mailing what waits for limits of its recipients. `supposed`: these are
    not the accounts or limits there are.
    """

    now: dt.datetime
    rules: Rules
    mailings: Sequence[Mailing]
    names: Mapping[int, str]
    speakers: Mapping[int, Speaker]
    holds: Mapping[int, Hold]
    lasting: Mapping[int, Hold]
    weights: Mapping[int, int]
    nobody: Hold | None
    census: Census
    parts: Mapping[int, Sequence[Part]]
    supposed: bool = False

    def loads(self) -> tuple[dict[int, list[Load]], Counter[tuple[int, int]]]:
        """Return what each account will send, and by mailing and account how many mails that is."""
        dealt = (census.deal_otherwise if self.supposed else census.deal)(self.census, self.weights)
        starts = {mailing.pk: max(self.now, mailing.start_at or self.now) for mailing in self.mailings}
        loads: dict[int, list[Load]] = defaultdict(list)
        totals: Counter[tuple[int, int]] = Counter()
        for (mailing, account), count in dealt.items():
            totals[mailing, account] += count
            if mailing not in self.lasting and count:
                loads[account] += self._loads(mailing, starts[mailing], count)
        for each in self.census.retries:
            totals[each.mailing, each.account] += each.count
            if each.mailing not in self.lasting:
                ready_at = max(starts[each.mailing], each.not_before)
                loads[each.account].append(Load(mailing=each.mailing, count=each.count, ready_at=ready_at))
        return loads, totals

    def _loads(self, mailing: int, ready_at: dt.datetime, count: int) -> list[Load]:
        """Return `count` mails by the time at which they are ready, and by domain."""
        return [
            Load(mailing=mailing, count=number, ready_at=max(ready_at, part.ready_at or ready_at), domain=part.domain)
            for part, number in spread.divide(self.parts.get(mailing) or [Part(count=count)], count)
        ]

    def slots(self) -> Iterator[Slot]:
        loads, _totals = self.loads()
        streams = [
            planner.slots(speaker, self.rules, loads[key], now=self.now, until=self.now + HORIZON)
            for key, speaker in self.speakers.items()
        ]
        return heapq.merge(*streams, key=lambda slot: slot.at)

    def forecasts(self) -> dict[int, Forecast]:
        """Return the forecast of each mailing by primary key."""
        loads, totals = self.loads()
        courses = [
            planner.course(speaker, self.rules, loads[key], now=self.now, until=self.now + HORIZON)
            for key, speaker in self.speakers.items()
        ]
        return {mailing.pk: self._forecast(mailing, courses, totals) for mailing in self.mailings}

    def suppose(self, *, extra: int = 0, limits: Mapping[int, int] | None = None, limit: int = 0) -> Survey:
        """Return what would stand otherwise with `extra` accounts of `limit` mails a day, or with other `limits`."""
        limits = limits or {}
        speakers = {
            key: replace(speaker, limit=limits.get(key, speaker.limit)) for key, speaker in self.speakers.items()
        }
        weights = {key: limits.get(key, weight) for key, weight in self.weights.items()}
        for key in range(-extra, 0):
            speakers[key] = Speaker(pk=key, limit=limit, used=0, free_at=self.now, hourly=self._of_domains())
            weights[key] = limit
        return replace(self, speakers=speakers, weights=weights, nobody=None if extra else self.nobody, supposed=True)

    def _of_domains(self) -> Hourly:
        """Return the limits by the hour that every account has."""
        known = next(iter(self.speakers.values()), None)
        return Hourly(domains=known.hourly.domains) if known else NONE

    # One mailing ---------------------------------------------------------------------------------------------------

    def _forecast(self, mailing: Mailing, courses: Sequence[Course], totals: Counter[tuple[int, int]]) -> Forecast:
        mine = [course for course in courses if mailing.pk in course.days or course.left[mailing.pk]]
        beyond = sum(course.left[mailing.pk] for course in mine)
        ends = [course.ends[mailing.pk] for course in mine if mailing.pk in course.ends]
        return Forecast(
            mailing=mailing.pk,
            made_at=self.now,
            end=max(ends, default=None) if not beyond else None,
            beyond=beyond,
            estimated=any(self.speakers[course.account].rate is not None for course in mine),
            grouped=mailing.pk in self.parts,
            days=_days(mailing, mine),
            bottleneck=self._bottleneck(mailing, mine),
            waiting=self._waiting(mailing, totals),
            survey=self,
        )

    def _waiting(self, mailing: Mailing, totals: Counter[tuple[int, int]]) -> list[Waiting]:
        counts = {account: count for (key, account), count in totals.items() if key == mailing.pk and count}
        left = 0 if self.supposed and self.weights else self.census.nobodys.get(mailing.pk, 0)
        if hold := self.lasting.get(mailing.pk):
            return [Waiting(count=sum(counts.values()) + left, account=None, hold=hold)]
        found = [
            Waiting(count=count, account=account, hold=self.holds[account])
            for account, count in counts.items()
            if account in self.holds
        ]
        if left and self.nobody:
            found.append(Waiting(count=left, account=None, hold=self.nobody))
        return found

    def _bottleneck(self, mailing: Mailing, courses: Sequence[Course]) -> Bottleneck | None:
        if not courses:
            return None
        last = max(
            courses, key=lambda course: (course.left[mailing.pk], course.ends.get(mailing.pk, self.now), course.account)
        )
        speaker = self.speakers[last.account]
        limit = last.stops.most_common(1)[0][0] if last.stops else self._delay(mailing, last)
        days = last.days.get(mailing.pk, Counter())
        per_day = {
            Limit.QUOTA: speaker.limit,
            Limit.HOURLY: speaker.hourly.own,
            Limit.HOURS: round(days.total() / (len(days) or 1)),
        }
        if not last.stops:
            per_day[Limit.HOURS] = 0
        name = self.names.get(last.account, "")
        return Bottleneck(account=last.account, name=name, limit=limit, number=per_day.get(limit, 0))

    def _delay(self, mailing: Mailing, course: Course) -> Limit:
        """Return what keeps an account that is done within a day: it begins late, or takes its time."""
        speaker, end = self.speakers[course.account], course.ends.get(mailing.pk, self.now + HORIZON)
        first_at = course.first_at or end
        if mailing.start_at and mailing.start_at - self.now > end - mailing.start_at:
            return Limit.START
        if first_at - self.now <= end - first_at:
            return Limit.GAPS if speaker.rate is None else Limit.SPEED
        if speaker.free_at - self.now >= first_at - speaker.free_at:
            return Limit.HELD
        if any(part.ready_at and part.ready_at > first_at for part in self.parts.get(mailing.pk, ())):
            return Limit.CAP
        if any(retry.account == course.account for retry in self.census.retries):
            return Limit.RETRY
        return Limit.QUOTA if speaker.used >= speaker.limit else Limit.HOURS


def _days(mailing: Mailing, courses: Sequence[Course]) -> list[DayPlan]:
    plans: dict[dt.date, dict[int, int]] = defaultdict(dict)
    for course in courses:
        for day, count in course.days.get(mailing.pk, {}).items():
            plans[day][course.account] = count
    return [DayPlan(day=day, counts=plans[day]) for day in sorted(plans)]


# Asking ---------------------------------------------------------------------------------------------------------------


def forecast(
    mailing: Mailing, *, now: dt.datetime, extra: int = 0, limits: Mapping[int, int] | None = None
) -> Forecast:
    """Return when `mailing` will be done, what each account sends on which day, what limits it and what waits for ever.

    A draft or paused mailing is taken as set going at `now`. `extra` supposes as many accounts more, with the daily
    limit of the settings, `limits` other daily limits by primary key of the account. The number of queries and the
    time do not depend on the number of recipients.
    """
    settings = MassmailSettings.load()
    found = survey(mailing.owner_id, now=now, settings=settings, asked=mailing)
    if extra or limits:
        found = found.suppose(extra=extra, limits=limits, limit=settings.emails_per_day)
    return found.forecasts()[mailing.pk]


def survey(owner_id: Any, *, now: dt.datetime, settings: MassmailSettings, asked: Mailing | None = None) -> Survey:
    """Return how things stand with the active mailings of an owner, and `asked` as if it were one of them."""
    # The latest first, as the tick gives out chunks.
    mailings = list(Mailing.objects.filter(owner=owner_id, status=MailingStatus.ACTIVE).order_by("-pk"))
    if asked is not None:
        mailings = sorted([*(row for row in mailings if row.pk != asked.pk), asked], key=lambda row: -row.pk)
    accounts = lanes.usable_accounts([owner_id])[owner_id]
    inactive = inactive_users([owner_id]).get(owner_id)
    holds = {account.pk: standing_hold(account, now=now, inactive=inactive) for account in accounts}
    others = [account for account in accounts if not account.main]
    limits = Limits.of(settings)
    parts = spread.take(mailings, limits, Window.of(settings), now=now)
    lasting = {mailing.pk: lasting_hold(mailing, settings, inactive=inactive) for mailing in mailings}
    return Survey(
        now=now,
        rules=Rules(
            window=Window.of(settings),
            gap_min=settings.gap_min,
            gap_max=settings.gap_max,
            spread_evenly=settings.spread_evenly,
        ),
        mailings=mailings,
        names={account.pk: account.name for account in accounts},
        speakers=_speakers(accounts, holds, mailings, parts, now=now, settings=settings),
        holds={key: hold for key, hold in holds.items() if hold is not None and hold.until is None},
        lasting={key: hold for key, hold in lasting.items() if hold is not None},
        weights=lanes.weights(others, settings.emails_per_day),
        nobody=accounts_hold(accounts),
        census=census.take(mailings, accounts, now=now),
        parts=parts,
    )


def _speakers(
    accounts: Sequence[EmailAccount],
    holds: Mapping[int, Hold | None],
    mailings: Sequence[Mailing],
    parts: Mapping[int, Sequence[Part]],
    *,
    now: dt.datetime,
    settings: MassmailSettings,
) -> dict[int, Speaker]:
    """Return the accounts that will speak sooner or later, as they stand."""
    day = local_day(now, settings.zone)
    used = dict(AccountDay.objects.filter(account__in=accounts, date=day).values_list("account", "used"))
    first_lanes = {lane.account_id: lane for lane in Lane.objects.filter(account__in=accounts, slot=0)}
    rates = _relay_rates([account for account in accounts if not account.paced], mailings)
    warming = ramps(accounts, day=day)
    hourly = spread.hourly(accounts, Limits.of(settings), parts.values(), now=now)
    speakers = {}
    for account in accounts:
        lane, hold = first_lanes.get(account.pk), holds[account.pk]
        if hold is not None and hold.until is None:
            continue
        waits = [now, hold.until if hold else None, lane.next_at if lane and rests(lane, now=now) else None]
        speakers[account.pk] = Speaker(
            pk=account.pk,
            limit=daily_limit(account, settings),
            used=used.get(account.pk, 0),
            free_at=max(moment for moment in waits if moment is not None),
            last_mailing=lane.last_mailing if lane else 0,
            rate=rates.get(account.pk),
            ramp=warming.get(account.pk),
            hourly=hourly.get(account.pk, NONE),
        )
    return speakers


def _relay_rates(relays: Sequence[EmailAccount], mailings: Sequence[Mailing]) -> dict[int, float]:
    """Return the mails per second of `relays`, measured on the latest mailing that has sent; over all their lanes."""
    rates = {relay.pk: RELAY_RATE * relay.lanes for relay in relays}
    if not relays:
        return rates
    running = max((mailing.pk for mailing in mailings if mailing.started_at), default=None)
    sent = Delivery.objects.filter(mailing=running, status=DeliveryStatus.SENT).order_by("-pk")
    times: dict[Any, list[dt.datetime]] = defaultdict(list)
    for account, at in sent.values_list("account", "sent_at")[:MEASURED]:
        if at is not None:
            times[account].append(at)
    for key in rates:
        moments = sorted(times[key])
        steps = [after - before for before, after in pairwise(moments)]
        working = sum((step for step in steps if step < PAUSE), dt.timedelta())
        if working:
            rates[key] = sum(step < PAUSE for step in steps) / working.total_seconds()
    return rates
