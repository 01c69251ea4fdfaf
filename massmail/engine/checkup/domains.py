"""Recipients' domains that take no mail: looked up once for all mailings, in a worker, a handful at a time.

Whatever gets no answer counts as fine. The engine reads the table, and asks no DNS.
"""

from __future__ import annotations

import datetime as dt
import time
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from typing import Any

import dns.resolver
from django.db.models import Count, Exists, OuterRef, Q, QuerySet, Value
from django.db.models.functions import Now, StrIndex, Substr
from django.utils import timezone

from massmail.choices import DEAF_DOMAINS, MailDomain, MailingStatus
from massmail.deliverability import Limits, check_recipient_domain, make_resolver, sees_the_world
from massmail.models import Delivery, DomainSurvey, Heartbeat, Mailing, RecipientDomain

#: Domains looked up at a time, and taken from the queue at a time.
AT_ONCE, BATCH = 8, 64
#: What one domain may use, and seconds after which a run ends so that the worker is free for others.
LIMITS, RUN = Limits(queries=12, seconds=6.0, lifetime=2.0), 45.0
#: How long an answer holds; where there was none, when to ask again.
HOLDS = {MailDomain.ACCEPTS: dt.timedelta(days=30)} | dict.fromkeys(DEAF_DOMAINS, dt.timedelta(days=3))
RETRIES = (dt.timedelta(minutes=10), dt.timedelta(hours=1), dt.timedelta(hours=6))
UNKNOWN_HOLDS = dt.timedelta(days=1)
#: A mailing that takes long is gone through again.
COLLECTED_AGAIN_AFTER = dt.timedelta(days=1)
UNDER_WAY = (MailingStatus.DRAFT, MailingStatus.ACTIVE, MailingStatus.PAUSED)
#: Names of domains read at a time, and kept for the mailing's page.
CHUNK, SHOWN = 1000, 20
#: Nobody else looks up for so long: the name of the heartbeat that tells until when, and longer than any run takes.
LEASE_NAME, LEASE = "recipient domains", dt.timedelta(minutes=3)


# Reading --------------------------------------------------------------------------------------------------------------


def domain_of(address: str) -> str:
    return address.rpartition("@")[2]


def with_domain(deliveries: QuerySet[Delivery]) -> QuerySet[Any]:
    """Annotate `deliveries` with `mm_domain`; those with a quoted local part, which may hold an "@", are left out."""
    domain = Substr("address", StrIndex("address", Value("@")) + 1)
    return deliveries.exclude(address__startswith='"').annotate(mm_domain=domain)


def deaf() -> QuerySet[RecipientDomain]:
    """Return the domains known, at this moment, to take no mail."""
    return RecipientDomain.objects.filter(state__in=DEAF_DOMAINS, expires_at__gt=Now())


def deaf_among(addresses: Iterable[str]) -> set[str]:
    """Return the domains of `addresses` that are known to take no mail, in one query."""
    return set(deaf().filter(name__in={domain_of(each) for each in addresses}).values_list("name", flat=True))


def at_deaf_domains(deliveries: QuerySet[Delivery]) -> QuerySet[Any]:
    """Return those of `deliveries` whose domain is known to take no mail."""
    return with_domain(deliveries).filter(mm_domain__in=deaf().values("name"))


# Looking up -----------------------------------------------------------------------------------------------------------


def due(*, now: dt.datetime) -> bool:
    """Tell whether there is something to collect or to look up, in two queries."""
    return _to_look_up(now).exists() or _to_collect(now).exists()


def run(*, resolver: dns.resolver.Resolver | None = None, patience: float = RUN) -> int:
    """Collect the domains of mailings, look up what is due and sum it up; return how many were looked up.

    Goes on for about `patience` seconds. A no-op while somebody else is at it, anywhere.
    """
    if not _take_lease():
        return 0
    deadline, count = time.monotonic() + patience, 0
    try:
        for mailing in _to_collect(timezone.now()):
            collect(mailing, now=timezone.now())
        resolver = resolver or make_resolver()
        while time.monotonic() < deadline and (names := _next_batch()):
            _look_up(names, resolver)
            count += len(names)
        for survey in DomainSurvey.objects.filter(Q(summed_at=None) | Q(open__gt=0), mailing__status__in=UNDER_WAY):
            sum_up(survey, now=timezone.now())
    finally:
        Heartbeat.objects.filter(name=LEASE_NAME).update(at=timezone.now())
    return count


def _take_lease() -> bool:
    now = timezone.now()
    Heartbeat.objects.get_or_create(name=LEASE_NAME, defaults={"at": now})
    return bool(Heartbeat.objects.filter(name=LEASE_NAME, at__lte=now).update(at=now + LEASE))


def _to_look_up(now: dt.datetime) -> QuerySet[RecipientDomain]:
    return RecipientDomain.objects.filter(look_at__lte=now)


def _to_collect(now: dt.datetime) -> QuerySet[Mailing]:
    surveys = DomainSurvey.objects.filter(mailing=OuterRef("pk"))
    old = surveys.filter(collected_at__lte=now - COLLECTED_AGAIN_AFTER)
    wanted = ~Exists(surveys) | Q(Exists(old), status=MailingStatus.ACTIVE)
    return Mailing.objects.filter(wanted, status__in=UNDER_WAY).order_by("pk")


def collect(mailing: Mailing, *, now: dt.datetime) -> None:
    """Put the domains of a mailing's recipients that are not known, or not any more, into the queue."""
    names = with_domain(Delivery.objects.filter(mailing=mailing)).order_by().values_list("mm_domain", flat=True)
    stream = names.distinct().iterator(chunk_size=CHUNK)
    while chunk := list(islice(stream, CHUNK)):
        rows = [RecipientDomain(name=name, look_at=now) for name in chunk if 0 < len(name) <= 255]
        RecipientDomain.objects.bulk_create(rows, ignore_conflicts=True)
        past = RecipientDomain.objects.filter(name__in=chunk, expires_at__lte=now, look_at=None)
        past.update(look_at=now, failures=0)
    facts: dict[str, Any] = {"collected_at": now, "summed_at": None}
    DomainSurvey.objects.update_or_create(mailing=mailing, defaults=facts)


def _next_batch() -> list[RecipientDomain]:
    return list(_to_look_up(timezone.now()).order_by("look_at")[:BATCH])


def _look_up(rows: list[RecipientDomain], resolver: dns.resolver.Resolver) -> None:
    """Look up `rows`, some at the same time, and write what came of it."""
    with ThreadPoolExecutor(AT_ONCE) as pool:
        states = list(pool.map(lambda row: check_recipient_domain(row.name, resolver=resolver, limits=LIMITS), rows))
    if set(states) & set(DEAF_DOMAINS) and not sees_the_world(resolver=resolver):
        # A resolver of a closed network says "no such domain" of all the world.
        states = [MailDomain.UNKNOWN if state in DEAF_DOMAINS else state for state in states]
    now = timezone.now()
    for row, state in zip(rows, states, strict=True):
        _note(row, state, now=now)
    RecipientDomain.objects.bulk_update(rows, ["state", "checked_at", "expires_at", "look_at", "failures"])


def _note(row: RecipientDomain, state: MailDomain, *, now: dt.datetime) -> None:
    row.state, row.checked_at, row.look_at = state, now, None
    if state in HOLDS:
        row.failures, row.expires_at = 0, now + HOLDS[state]
        return
    row.expires_at = now + UNKNOWN_HOLDS
    if row.failures < len(RETRIES):
        row.look_at = now + RETRIES[row.failures]
    row.failures += 1


def sum_up(survey: DomainSurvey, *, now: dt.datetime) -> None:
    """Count who of a mailing's recipients is at a domain that takes no mail, for the mailing's page."""
    deliveries = Delivery.objects.filter(mailing=survey.mailing_id)
    waiting = RecipientDomain.objects.exclude(look_at=None).values("name")
    survey.open = (
        with_domain(deliveries)
        .filter(mm_domain__in=waiting)
        .aggregate(number=Count("mm_domain", distinct=True))["number"]
    )
    counts = list(_counts(deliveries))
    survey.deaf = counts[:SHOWN]
    survey.deaf_domains, survey.deaf_recipients = len(counts), sum(number for _name, number in counts)
    survey.summed_at = now
    survey.save()


def _counts(deliveries: QuerySet[Delivery]) -> Iterator[tuple[str, int]]:
    rows = at_deaf_domains(deliveries).order_by().values_list("mm_domain").annotate(number=Count("pk"))
    return iter(sorted(rows, key=lambda row: (-row[1], row[0])))
