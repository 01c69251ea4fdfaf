"""The limits that concern single recipients: of their domain by the hour, of themselves and of their company by days.

Whoever reaches one is not skipped but waits: the engine writes on the delivery until when and why. These limits are
rules of the site (`Rules`); a recipient's earlier mails come from the records, so that they count from before the limit
was set, and those of today from the ledger (`usage`), which no two workers can overdraw. Test mails are no deliveries
and count for none of them.
"""

from __future__ import annotations

import datetime as dt
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from hashlib import blake2b
from typing import Any
from zoneinfo import ZoneInfo

from massmail.choices import DeliveryStatus, HoldReason
from massmail.engine import usage
from massmail.engine.candidates import type_of
from massmail.engine.usage import Charge
from massmail.engine.window import HOUR, hour_of, instant, local_day, midnight_after
from massmail.models import Delivery, EmailAccount, Mailing, MassmailSettings

#: For so long after midnight a worker may still be claiming for the day before: clocks differ, and a commit takes time.
TURN_OF_THE_DAY = dt.timedelta(minutes=10)
_UNLIMITED = 2**31 - 1

#: What a recipient has, or may have, received.
HAD = (DeliveryStatus.SENDING, DeliveryStatus.SENT, DeliveryStatus.UNKNOWN)


@dataclass(frozen=True, slots=True, kw_only=True)
class Wait:
    """What lets a delivery wait until the moment `until`, of the reasons `OF_RECIPIENT`."""

    reason: HoldReason
    until: dt.datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """The limits of the site; 0 is none. `domains` have one of their own."""

    zone: ZoneInfo
    per_domain: int
    domains: Mapping[str, int]
    per_recipient: int
    days: int
    per_company: int

    @classmethod
    def of(cls, settings: MassmailSettings) -> Rules:
        return cls(
            zone=settings.zone,
            per_domain=settings.emails_per_hour_to_domain,
            domains=settings.limits_of_domains,
            per_recipient=settings.emails_per_recipient,
            days=settings.recipient_days,
            per_company=settings.emails_per_company,
        )

    def __bool__(self) -> bool:
        """Whether there is any limit."""
        return bool(self.per_domain or any(self.domains.values()) or self.per_recipient or self.per_company)

    def of_domain(self, domain: str) -> int:
        """Return how many mails an hour one account may send to `domain`; 0: as many as it likes."""
        return self.domains.get(domain, self.per_domain)


def of_account(account: EmailAccount, zone: ZoneInfo, *, now: dt.datetime) -> list[Charge]:
    """Return what a mail of `account` at `now` is charged to by the hour: nothing where it has no such limit."""
    if not account.emails_per_hour:
        return []
    begins = hour_of(now, zone)
    return [Charge(key=f"account:{account.pk}", begins=begins, ends=begins + HOUR, most=account.emails_per_hour)]


def used_this_hour(accounts: Iterable[EmailAccount], zone: ZoneInfo, *, now: dt.datetime) -> dict[int, int]:
    """Return what `accounts` have sent in the hour of `now`; only of those with such a limit, for the others none is
    kept. One query, or none.
    """
    own = {account.pk: charge for account in accounts for charge in of_account(account, zone, now=now)}
    found = usage.used(own.values())
    return {key: found.get((charge.key, charge.begins), 0) for key, charge in own.items()}


def of_the_day_before(delivery: Delivery, rules: Rules, *, now: dt.datetime) -> list[Charge]:
    """Return what lets a claim in the first minutes of a day wait for those that go on for the day before.

    A recipient's limit of several days is charged to one day each, and what the other day's claim has not committed is
    not on record yet. Whoever charges this first finds it there.
    """
    day = local_day(now, rules.zone)
    midnight = instant(day, dt.time(0), rules.zone)
    if not rules.per_recipient or rules.days < 2 or now - midnight >= TURN_OF_THE_DAY:
        return []
    begins = instant(day - dt.timedelta(days=1), dt.time(0), rules.zone)
    return [Charge(key=_recipient(delivery), begins=begins, ends=midnight, most=_UNLIMITED)]


def domain_of(address: str) -> str:
    return address.rpartition("@")[2]


_Key = tuple[int, str, str]


class Allowances:
    """What is left of the limits for a number of deliveries, whose mailings are at hand, at `now`.

    Read in a number of queries that does not depend on how many they are.
    """

    def __init__(self, deliveries: Collection[Delivery], rules: Rules, *, now: dt.datetime) -> None:
        self.rules, self.now = rules, now
        self.day = local_day(now, rules.zone)
        companies = _companies(deliveries) if rules.per_company else {}
        self.limits = {each.pk: list(self._limits(each, companies.get(each.pk))) for each in deliveries}
        # The ledger first: who is claimed in between is in the records all the more.
        self.ledger = usage.used(limit for limits in self.limits.values() for _reason, limit in limits)
        self.counted: Counter[tuple[str, dt.datetime]] = Counter()
        self.had = _had(deliveries, self.day, rules) if rules.per_recipient else {}

    def wait(self, delivery: Delivery) -> Wait | None:
        """Return what lets `delivery` wait the longest, None if nothing does."""
        waits = [
            Wait(reason=reason, until=self._until(delivery, reason, limit))
            for reason, limit in self.limits[delivery.pk]
            if self._left(delivery, reason, limit) < 1
        ]
        return max(waits, key=lambda wait: wait.until, default=None)

    def count(self, delivery: Delivery) -> None:
        """Take `delivery` for sent: what comes after it in a handful finds so much less."""
        for _reason, limit in self.limits[delivery.pk]:
            self.counted[limit.key, limit.begins] += 1

    def charges(self, delivery: Delivery) -> list[Charge]:
        """Return what `delivery` is charged to when it is claimed."""
        return [
            replace(limit, most=limit.most - self._before(delivery, reason, limit))
            for reason, limit in self.limits[delivery.pk]
        ]

    def _limits(self, delivery: Delivery, company: str | None) -> Iterable[tuple[HoldReason, Charge]]:
        rules = self.rules
        midnight, end = instant(self.day, dt.time(0), rules.zone), midnight_after(self.now, rules.zone)
        domain = domain_of(delivery.address)
        if most := rules.of_domain(domain):
            begins, key = hour_of(self.now, rules.zone), f"account:{delivery.account_id}:{domain}"
            yield HoldReason.DOMAIN_LIMIT, Charge(key=key, begins=begins, ends=begins + HOUR, most=most)
        if most := rules.per_recipient:
            key = _recipient(delivery)
            yield HoldReason.RECIPIENT_CAP, Charge(key=key, begins=midnight, ends=end, most=most)
        if company is not None:
            key = _digest("company", company)
            yield HoldReason.COMPANY_CAP, Charge(key=key, begins=midnight, ends=end, most=rules.per_company)

    def _left(self, delivery: Delivery, reason: HoldReason, limit: Charge) -> int:
        return limit.most - self._before(delivery, reason, limit) - self._used(limit)

    def _used(self, limit: Charge) -> int:
        place = (limit.key, limit.begins)
        return self.ledger.get(place, 0) + self.counted[place]

    def _before(self, delivery: Delivery, reason: HoldReason, limit: Charge) -> int:
        """Return how many mails count that the ledger of today does not know."""
        if reason is not HoldReason.RECIPIENT_CAP:
            return 0
        return max(0, len(self._days(delivery)) - self.ledger.get((limit.key, limit.begins), 0))

    def _days(self, delivery: Delivery) -> Sequence[dt.date]:
        return self.had.get(_key(delivery), ())

    def _until(self, delivery: Delivery, reason: HoldReason, limit: Charge) -> dt.datetime:
        if reason is not HoldReason.RECIPIENT_CAP:
            return limit.ends
        on_record = self._days(delivery)
        on_their_way = self._before(delivery, reason, limit) + self._used(limit) - len(on_record)
        days = sorted([*on_record, *[self.day] * on_their_way], reverse=True)
        return instant(days[limit.most - 1] + dt.timedelta(days=self.rules.days), dt.time(0), self.rules.zone)


def _key(delivery: Delivery) -> _Key:
    """Return whose mails count together: those to one address of one object of the host."""
    return delivery.mailing.content_type_id, delivery.object_id, delivery.address


def _recipient(delivery: Delivery) -> str:
    return _digest("recipient", *map(str, _key(delivery)))


def _digest(kind: str, *parts: str) -> str:
    return f"{kind}:{blake2b('/'.join(parts).encode(), digest_size=16).hexdigest()}"


def _companies(deliveries: Iterable[Delivery]) -> dict[int, str]:
    """Return the companies of the recipients, where they have one, by primary key of the delivery; a query a type."""
    by_type: dict[int, list[Delivery]] = defaultdict(list)
    for delivery in deliveries:
        by_type[delivery.mailing.content_type_id].append(delivery)
    found = {}
    for group in by_type.values():
        recipient_type = type_of(group[0].mailing)
        companies = recipient_type.companies({each.object_id for each in group}) if recipient_type else {}
        found.update({each.pk: companies[each.object_id] for each in group if each.object_id in companies})
    return found


def _had(deliveries: Collection[Delivery], day: dt.date, rules: Rules) -> dict[_Key, list[dt.date]]:
    """Return the days, of those that count, on which the recipients of `deliveries` had mail, `day` being the last."""
    begin = instant(day - dt.timedelta(days=rules.days - 1), dt.time(0), rules.zone)
    rows: Any = Delivery.objects.filter(
        object_id__in={each.object_id for each in deliveries},
        address__in={each.address for each in deliveries},
        status__in=HAD,
        sending_at__gte=begin,
    )
    had: dict[_Key, list[dt.date]] = defaultdict(list)
    for *key, at in rows.values_list("mailing__content_type", "object_id", "address", "sending_at"):
        had[tuple(key)].append(local_day(at, rules.zone))
    return had


def waits(deliveries: Iterable[Delivery], settings: MassmailSettings, *, now: dt.datetime) -> dict[int, Wait]:
    """Return what lets deliveries of accounts wait, by primary key; a constant number of queries, none without limits.

    It is for pages: `deliveries` that have no account yet are left out.
    """
    rules = Rules.of(settings)
    given = [each for each in deliveries if each.account_id is not None]
    if not rules or not given:
        return {}
    mailings = Mailing.objects.in_bulk({each.mailing_id for each in given})
    for each in given:
        each.mailing = mailings[each.mailing_id]
    allowances = Allowances(given, rules, now=now)
    return {each.pk: wait for each in given if (wait := allowances.wait(each)) is not None}
