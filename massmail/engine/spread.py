"""What of a mailing waits for the limits of its recipients, counted by SQL in groups for the forecast.

The engine finds out recipient by recipient, when it comes to them. A forecast of a hundred thousand can't, so it takes
groups: mails by domain (only of domains that exceed a limit), by the day on which their recipient may have mail again,
and by how many of the same company or recipient come before them. What follows is approximate where

- several accounts share a mailing: each is given the same mixture, and several mailings share an hour of a domain;
- a recipient stands in several mailings: all but the first are put off as if that one left today;
- a company's turn falls on a day on which other limits keep its mail back: the forecast does not shift the others.
"""

from __future__ import annotations

import datetime as dt
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from django.contrib.contenttypes.models import ContentType
from django.db import connections, models, router
from django.db.models import Count, F, OuterRef, Q, Subquery
from django.db.models.functions import StrIndex, Substr, TruncDate

from massmail.choices import DeliveryStatus, HoldReason
from massmail.engine.candidates import type_of
from massmail.engine.hourglass import Hourly
from massmail.engine.limits import HAD, Rules, of_account, used_this_hour
from massmail.engine.rotation import shares
from massmail.engine.window import Window, hour_of, instant, local_day, opens_at, opens_next_day
from massmail.models import Delivery, EmailAccount, Mailing, Usage
from massmail.outcomes.standing import with_object_id

#: What is written on a delivery for a limit that the forecast keeps by itself.
KEPT_HERE = (HoldReason.DOMAIN_LIMIT, HoldReason.COMPANY_CAP)
#: Days or rounds that are told apart; what comes later is taken to come then.
FARTHEST = 400


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """`count` of a mailing's mails that may leave from `ready_at` on (None: now) to `domain`, "" for all others."""

    count: int
    ready_at: dt.datetime | None = None
    domain: str = ""


def divide(parts: Sequence[Part], count: int) -> Iterable[tuple[Part, int]]:
    """Return how many of `count` mails are of which part, in the proportion of all `parts`."""
    found = shares({place: part.count for place, part in enumerate(parts)}, count)
    return [(part, found[place]) for place, part in enumerate(parts) if found[place]]


def take(mailings: Sequence[Mailing], rules: Rules, window: Window, *, now: dt.datetime) -> dict[int, list[Part]]:
    """Return the parts of those of `mailings` of which something waits, by primary key; no query without limits."""
    if not rules or not mailings:
        return {}
    queued = _queued(mailings, now=now)
    totals = dict(queued.order_by().values_list("mailing").annotate(mm_count=Count("pk")))
    waits: dict[int, Counter[dt.datetime]] = defaultdict(Counter)
    if rules.per_recipient:
        _wait_for_recipients(waits, queued, mailings, rules, window, now=now)
    if rules.per_company:
        _wait_for_companies(waits, mailings, rules, window, now=now)
    domains = _domains(queued, rules)
    keys = {*waits, *domains} & {*totals}
    return {key: _parts(totals[key], waits[key], domains.get(key, {})) for key in keys}


def _parts(total: int, waits: Mapping[dt.datetime, int], domains: Mapping[str, int]) -> list[Part]:
    ready: list[tuple[dt.datetime | None, int]] = []
    left = total
    for ready_at, count in sorted(waits.items()):
        ready.append((ready_at, min(count, left)))
        left -= ready[-1][1]
    mixture = {**domains, "": max(0, total - sum(domains.values()))}
    parts = []
    for when, count in [(None, left), *ready]:
        parts += [Part(count=number, ready_at=when, domain=name) for name, number in shares(mixture, count).items()]
    return [part for part in parts if part.count]


def _queued(mailings: Sequence[Mailing], *, now: dt.datetime) -> Any:
    """Return the deliveries that wait for nothing, as far as the engine has written down."""
    ready = Q(not_before__isnull=True) | Q(not_before__lte=now) | Q(reason__in=KEPT_HERE)
    return Delivery.objects.filter(ready, mailing__in=[each.pk for each in mailings], status=DeliveryStatus.QUEUED)


def _domains(queued: Any, rules: Rules) -> dict[int, dict[str, int]]:
    """Return by mailing the mails to each domain that has more of them than an hour allows."""
    limits = [most for most in (rules.per_domain, *rules.domains.values()) if most]
    if not limits:
        return {}
    domain = Substr("address", StrIndex("address", models.Value("@")) + 1)
    rows = queued.order_by().annotate(mm_domain=domain).values_list("mailing", "mm_domain")
    found: dict[int, dict[str, int]] = defaultdict(dict)
    for mailing, name, count in rows.annotate(mm_count=Count("pk")).filter(mm_count__gt=min(limits)):
        if 0 < rules.of_domain(name) < count:
            found[mailing][name] = count
    return found


def _wait_for_recipients(
    waits: dict[int, Counter[dt.datetime]],
    queued: Any,
    mailings: Sequence[Mailing],
    rules: Rules,
    window: Window,
    *,
    now: dt.datetime,
) -> None:
    today = local_day(now, rules.zone)
    had = Delivery.objects.filter(
        object_id=OuterRef("object_id"),
        address=OuterRef("address"),
        mailing__content_type=OuterRef("mailing__content_type"),
        status__in=HAD,
        sending_at__gte=instant(today - dt.timedelta(days=rules.days - 1), dt.time(0), rules.zone),
    ).order_by("-sending_at")
    last = Subquery(had.values("sending_at")[rules.per_recipient - 1 : rules.per_recipient])
    rows = queued.order_by().annotate(mm_last=last).filter(mm_last__isnull=False)
    days = rows.annotate(mm_day=TruncDate(F("mm_last"), tzinfo=rules.zone)).values_list("mailing", "mm_day")
    for mailing, day, count in days.annotate(mm_count=Count("pk")):
        waits[mailing][_opening(day + dt.timedelta(days=rules.days), window)] += count
    if len(mailings) > 1:
        _wait_for_each_other(waits, mailings, rules, window, today=today)


def _wait_for_each_other(
    waits: dict[int, Counter[dt.datetime]],
    mailings: Sequence[Mailing],
    rules: Rules,
    window: Window,
    *,
    today: dt.date,
) -> None:
    """Put off the mails to recipients for whom enough others are queued before."""
    rows = _rows(
        f"""
WITH ranked AS (
    SELECT d.mailing_id, ROW_NUMBER() OVER (
        PARTITION BY m.content_type_id, d.object_id, d.address ORDER BY d.mailing_id) - 1 AS place
    FROM {_table(Delivery)} d JOIN {_table(Mailing)} m ON m.id = d.mailing_id
    WHERE d.mailing_id IN ({_list(mailings)}) AND d.status = 'queued'
)
SELECT mailing_id, place / {rules.per_recipient:d}, COUNT(*) FROM ranked
WHERE place >= {rules.per_recipient:d} GROUP BY 1, 2"""  # noqa: S608
    )
    for mailing, rounds, count in rows:
        later = dt.timedelta(days=min(FARTHEST, rounds * rules.days))
        waits[mailing][_opening(today + later, window)] += count


def _wait_for_companies(
    waits: dict[int, Counter[dt.datetime]],
    mailings: Sequence[Mailing],
    rules: Rules,
    window: Window,
    *,
    now: dt.datetime,
) -> None:
    days = _Days(now, window)
    for content_type in {mailing.content_type_id for mailing in mailings}:
        group = [mailing for mailing in mailings if mailing.content_type_id == content_type]
        for mailing, is_put_off, rounds, count in _company_rounds(content_type, group, rules, now=now):
            if rounds + is_put_off:
                waits[mailing][days.opening(rounds + is_put_off)] += count


def _company_rounds(
    content_type: int, mailings: Sequence[Mailing], rules: Rules, *, now: dt.datetime
) -> list[tuple[Any, ...]]:
    """Return by mailing how many mails are in which round of their company, apart those put off for it already."""
    recipient_type = type_of(mailings[0]) if ContentType.objects.get_for_id(content_type).model_class() else None
    if recipient_type is None or recipient_type.company is None:
        return []
    people = recipient_type.model_class._default_manager.exclude(**{f"{recipient_type.company}__isnull": True})
    people = with_object_id(people.order_by()).values_list("mm_object_id", recipient_type.company)
    connection = connections[router.db_for_read(Delivery)]
    sql, params = people.query.get_compiler(connection=connection).as_sql()
    return _rows(
        f"""
WITH people(object_id, company) AS ({sql}), ranked AS (
    SELECT d.mailing_id, CASE WHEN d.not_before > %s THEN 1 ELSE 0 END AS put_off, ROW_NUMBER() OVER (
        PARTITION BY p.company, CASE WHEN d.not_before > %s THEN 1 ELSE 0 END ORDER BY d.id) - 1 AS place
    FROM {_table(Delivery)} d JOIN people p ON p.object_id = d.object_id
    WHERE d.mailing_id IN ({_list(mailings)}) AND d.status = 'queued'
        AND (d.not_before IS NULL OR d.not_before <= %s OR d.reason = %s)
)
SELECT mailing_id, put_off, place / {rules.per_company:d}, COUNT(*) FROM ranked GROUP BY 1, 2, 3""",  # noqa: S608
        [*params, now, now, now, HoldReason.COMPANY_CAP.value],
    )


class _Days:
    """The days on which mail may leave, counted from today."""

    def __init__(self, now: dt.datetime, window: Window) -> None:
        self.window, self.openings = window, [now]

    def opening(self, number: int) -> dt.datetime:
        number = min(number, FARTHEST)
        while len(self.openings) <= number:
            self.openings.append(opens_next_day(self.openings[-1], self.window))
        return self.openings[number]


def _opening(day: dt.date, window: Window) -> dt.datetime:
    return opens_at(instant(day, dt.time(0), window.zone), window)


def hourly(
    accounts: Sequence[EmailAccount], rules: Rules, parts: Iterable[Sequence[Part]], *, now: dt.datetime
) -> dict[int, Hourly]:
    """Return the limits by the hour of `accounts` and of the domains among `parts`, as they stand at `now`."""
    domains = {part.domain: rules.of_domain(part.domain) for each in parts for part in each if part.domain}
    used = used_this_hour(accounts, rules.zone, now=now)
    own = {}
    keys = {f"account:{account.pk}:{name}": (account.pk, name) for account in accounts for name in domains}
    of_domains: dict[int, dict[str, int]] = defaultdict(dict)
    if keys:
        rows = Usage.objects.filter(key__in=keys, begins=hour_of(now, rules.zone))
        for key, number in rows.values_list("key", "used"):
            owner, name = keys[key]
            of_domains[owner][name] = number
    for account in accounts:
        if domains or of_account(account, rules.zone, now=now):
            own[account.pk] = Hourly(
                own=account.emails_per_hour or 0,
                own_used=used.get(account.pk, 0),
                domains=domains,
                domains_used=of_domains[account.pk],
            )
    return own


def _rows(statement: str, params: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
    connection = connections[router.db_for_read(Delivery)]
    adapt = connection.ops.adapt_datetimefield_value
    with connection.cursor() as cursor:
        cursor.execute(statement, [adapt(each) if isinstance(each, dt.datetime) else each for each in params])
        return cursor.fetchall()


def _list(mailings: Iterable[Mailing]) -> str:
    return ", ".join(f"{mailing.pk:d}" for mailing in mailings)


def _table(model: type[models.Model]) -> str:
    return connections[router.db_for_read(model)].ops.quote_name(model._meta.db_table)
