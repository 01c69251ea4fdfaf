"""How many mails each account has before it: counted by SQL, a row for each group and none for each recipient.

Who has an account already is counted as such. For the others the census does what `lanes.assign` will do, chunk by
chunk: VIP recipients to the main account, those who know an account to that one, and the rest in `Turns`. Whoever
stands in several places (two addresses, two mailings) is given an account in the first of them and takes it along.
"""

from __future__ import annotations

import datetime as dt
from bisect import bisect
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from django.db import connections, models, router
from django.db.models import Count

from massmail.choices import DeliveryStatus
from massmail.engine.lanes import CHUNK
from massmail.engine.rotation import Turns, shares
from massmail.engine.spread import KEPT_HERE
from massmail.models import Delivery, EmailAccount, Mailing, Recipient

#: Of more recipients without an account, nobody is looked for in several places: for millions that takes minutes, and
#: shifts no account's share by more than a few mails for each chunk.
MOST_DOUBLES = 300_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Retry:
    """Deliveries that may not be tried again before `not_before`."""

    mailing: int
    account: int
    not_before: dt.datetime
    count: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Census:
    """What is queued. Keys are (mailing, account), those of `turns` (mailing, place among the turns).

    `given` may go at any time, `retries` later; `known` have no account yet but will get this one, `turns` whichever
    comes at their place, and `nobodys`, by mailing, none as the accounts are.
    """

    given: Mapping[tuple[int, int], int]
    retries: Sequence[Retry]
    known: Mapping[tuple[int, int], int]
    turns: Mapping[tuple[int, int], int]
    nobodys: Mapping[int, int]


def deal(census: Census, weights: Mapping[int, int]) -> Counter[tuple[int, int]]:
    """Return the mails by mailing and account once everybody has one, retries apart.

    `weights` are the daily limits of the accounts that take new recipients, as the engine reads them now.
    """
    dealt = Counter(census.given)
    dealt.update(census.known)
    turns = Turns(weights, start=0)
    order = [turns.next() for _ in range(1 + max((place for _mailing, place in census.turns), default=-1))]
    for (mailing, place), count in census.turns.items():
        dealt[mailing, order[place]] += count
    return dealt


def deal_otherwise(census: Census, weights: Mapping[int, int]) -> Counter[tuple[int, int]]:
    """Return the same for other accounts or limits than there are, to within a few mails."""
    dealt = Counter(census.given)
    dealt.update(census.known)
    fresh = Counter(census.nobodys)
    for (mailing, _place), count in census.turns.items():
        fresh[mailing] += count
    for mailing, count in fresh.items():
        dealt.update({(mailing, account): share for account, share in shares(weights, count).items()})
    return dealt


def take(mailings: Sequence[Mailing], accounts: Sequence[EmailAccount], *, now: dt.datetime) -> Census:
    """Count what is queued of `mailings`, all of one owner, in the order in which they are given accounts.

    `accounts` are the owner's usable ones, the main one first. Five queries at most.
    """
    usable = {account.pk for account in accounts}
    queued = Delivery.objects.filter(mailing__in=[mailing.pk for mailing in mailings], status=DeliveryStatus.QUEUED)
    counts = queued.order_by().values_list("mailing", "account").annotate(Count("pk"))
    given: Counter[tuple[int, int]] = Counter()
    unassigned: Counter[int] = Counter()
    for mailing, account, count in counts:
        if account in usable:
            given[mailing, account] = count
        else:
            unassigned[mailing] += count
    retries = _retries(queued.filter(account__in=usable), now=now)
    for retry in retries:
        given[retry.mailing, retry.account] -= retry.count
    known, turns = _foresee([each for each in mailings if unassigned[each.pk]], accounts, now=now)
    for (mailing, _key), count in [*known.items(), *turns.items()]:
        unassigned[mailing] -= count
    return Census(given=given, retries=retries, known=known, turns=turns, nobodys=+unassigned)


def _retries(queued: Any, *, now: dt.datetime) -> list[Retry]:
    later = queued.filter(not_before__gt=now).exclude(reason__in=KEPT_HERE).order_by()
    later = later.values("mailing_id", "account_id", "not_before")
    return [
        Retry(mailing=row["mailing_id"], account=row["account_id"], not_before=row["not_before"], count=row["mm_count"])
        for row in later.annotate(mm_count=Count("pk"))
    ]


# Who has no account yet -----------------------------------------------------------------------------------------------


def _foresee(
    mailings: Sequence[Mailing], accounts: Sequence[EmailAccount], *, now: dt.datetime
) -> tuple[Counter[Any], Counter[Any]]:
    """Return whom recipients without an account will get: those whose account is known, and those who take turns."""
    known: Counter[Any] = Counter()
    chunks: dict[tuple[int, int], _Chunk] = defaultdict(_Chunk)
    if not mailings or not accounts:
        return known, Counter()
    waiting = _waiting(mailings, accounts)
    for mailing, chunk, account, opening, count in _rows(
        f"{waiting} SELECT mailing_id, chunk, account_id, MIN(id), COUNT(*) FROM waiting GROUP BY 1, 2, 3"  # noqa: S608
    ):
        here = chunks[mailing, chunk]
        here.opening = min(here.opening or opening, opening)
        if account is None:
            here.fresh += count
        else:
            known[mailing, account] += count
    others = sum(not account.main for account in accounts)
    fresh = sum(chunk.fresh for chunk in chunks.values())
    if not others or not fresh:
        return known, Counter()
    doubles = f"{waiting} SELECT 1 FROM waiting GROUP BY content_type_id, object_id HAVING COUNT(*) > 1 LIMIT 1"  # noqa: S608
    if fresh > MOST_DOUBLES or not _rows(doubles):
        return known, _turns(chunks, others)
    turns = {(mailing, place): count for mailing, place, count in _rows(_dealt(waiting, mailings, others, now=now))}
    return known, Counter(turns)


@dataclass(slots=True)
class _Chunk:
    """The first delivery of a chunk, and how many of its recipients take turns."""

    opening: int = 0
    fresh: int = 0


def _turns(chunks: Mapping[tuple[int, int], _Chunk], others: int) -> Counter[tuple[int, int]]:
    """Return how many recipients take which turn if nobody stands in two places: each chunk goes round by itself."""
    changes: dict[int, Counter[int]] = defaultdict(Counter)
    for (mailing, _number), chunk in chunks.items():
        start = chunk.opening % others
        changes[mailing][start] += 1
        changes[mailing][start + chunk.fresh] -= 1
    turns: Counter[tuple[int, int]] = Counter()
    for mailing, steps in changes.items():
        count = 0
        for place in range(max(steps)):
            count += steps[place]
            turns[mailing, place] = count
    return turns


def _waiting(mailings: Sequence[Mailing], accounts: Sequence[EmailAccount]) -> str:
    """Return the CTE of the deliveries without a usable account, each with its chunk and the account that is known.

    Nothing is put into these statements but numbers of our own and names of tables.
    """
    main = next((account.pk for account in accounts if account.main), None)
    others = _list(account.pk for account in accounts if not account.main)
    known = f"WHEN r.vip THEN {main:d} " if main is not None else ""
    known += f"WHEN r.account_id IN ({others}) THEN r.account_id " if others else ""
    return f"""
WITH waiting AS (
    SELECT d.id, d.mailing_id, d.object_id, m.content_type_id, CASE {known}END AS account_id,
        (ROW_NUMBER() OVER (PARTITION BY d.mailing_id ORDER BY d.id) - 1) / {CHUNK:d} AS chunk
    FROM {_table(Delivery)} d
    JOIN {_table(Mailing)} m ON m.id = d.mailing_id
    LEFT JOIN {_table(Recipient)} r ON r.content_type_id = m.content_type_id AND r.object_id = d.object_id
    WHERE d.mailing_id IN ({_list(mailing.pk for mailing in mailings)}) AND d.status = 'queued'
        AND (d.account_id IS NULL OR d.account_id NOT IN ({_list(account.pk for account in accounts)}))
)"""  # noqa: S608


def _dealt(waiting: str, mailings: Sequence[Mailing], others: int, *, now: dt.datetime) -> str:
    """Return the statement that finds everybody's turn where some stand in several places, with the first of them."""
    # Mailings that start later come after all others; those under way are given a chunk each, one after the other.
    waves = sorted({mailing.start_at for mailing in mailings if mailing.start_at and mailing.start_at > now})
    wave = _case({mailing.pk: bisect(waves, mailing.start_at or now) for mailing in mailings})
    rank = _case({mailing.pk: rank for rank, mailing in enumerate(mailings)})
    return f"""{waiting}, openings AS (
    SELECT mailing_id, chunk, MIN(id) % {others:d} AS turn FROM waiting GROUP BY 1, 2
), fresh AS (
    SELECT id, mailing_id, object_id, content_type_id, chunk,
        ROW_NUMBER() OVER (PARTITION BY content_type_id, object_id ORDER BY {wave}, chunk, {rank}, id) AS occurrence
    FROM waiting WHERE account_id IS NULL
), first AS (
    SELECT fresh.mailing_id, fresh.object_id, fresh.content_type_id,
        turn + ROW_NUMBER() OVER (PARTITION BY fresh.mailing_id, fresh.chunk ORDER BY id) - 1 AS place
    FROM fresh JOIN openings ON openings.mailing_id = fresh.mailing_id AND openings.chunk = fresh.chunk
    WHERE occurrence = 1
)
SELECT fresh.mailing_id, place, COUNT(*) FROM fresh
JOIN first ON first.content_type_id = fresh.content_type_id AND first.object_id = fresh.object_id
GROUP BY 1, 2"""  # noqa: S608


def _rows(statement: str) -> list[tuple[Any, ...]]:
    with connections[router.db_for_read(Delivery)].cursor() as cursor:
        cursor.execute(statement)
        return cursor.fetchall()


def _list(keys: Iterable[int]) -> str:
    return ", ".join(f"{key:d}" for key in keys)


def _case(values: Mapping[int, int]) -> str:
    whens = " ".join(f"WHEN {key:d} THEN {value:d}" for key, value in values.items())
    return f"CASE mailing_id {whens} END"


def _table(model: type[models.Model]) -> str:
    return connections[router.db_for_read(model)].ops.quote_name(model._meta.db_table)
