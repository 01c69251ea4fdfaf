"""What is kept of forecasts, so that no page computes one: the only writer of `Mailing.expected_end` and its company.

The tick renews what is out of date, a few owners at a time. The outlook of a draft or paused mailing, which only its
page asks for, is kept in the cache: looking at a page changes nothing in the database. Kept are numbers and keys, not
sentences: each reader has a language.
"""

from __future__ import annotations

import datetime as dt
import hashlib
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from django.core.cache import cache

from massmail.choices import Limit, MailingStatus
from massmail.conf import conf
from massmail.engine import lanes
from massmail.engine.forecast import Bottleneck, Forecast, Survey, Waiting, survey
from massmail.engine.holds import Hold, accounts_hold
from massmail.engine.holds.accounts import inactive_users, standing_hold
from massmail.engine.holds.mailings import lasting_hold
from massmail.models import EmailAccount, Mailing, MassmailSettings

#: How long a forecast is good if nothing that it depends on was changed: mails fail, people unsubscribe.
GOOD_FOR = dt.timedelta(minutes=10)
#: The same of a draft or paused mailing, whose time runs only when it is set going.
GOOD_FOR_NOW = dt.timedelta(minutes=1)
#: Owners whose forecasts one tick renews.
AT_ONCE = 2
#: Days of the plan that are kept, from the first.
DAYS = 10
#: Accounts of one owner for which a raised limit is tried out.
RAISED = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Chance:
    """What would be otherwise with one more account, or with `limit` mails a day for `account`.

    `end` and `planned` as in `Forecast`.
    """

    end: dt.datetime | None
    planned: int
    limit: int
    account: int | None = None
    name: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Kept:
    """`Waiting` without the hold, which `waiting` finds again when it is shown."""

    count: int
    account: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Outlook:
    """A forecast as it is kept: the first days of the plan and how many more there are, by account and its name.

    `sharing` is how many other mailings take turns with it.
    """

    end: dt.datetime | None
    made_at: dt.datetime
    zone: str
    planned: int
    beyond: int
    estimated: bool
    grouped: bool
    sharing: int
    names: Mapping[int, str]
    days: Sequence[tuple[dt.date, Mapping[int, int]]]
    more_days: int
    bottleneck: Bottleneck | None
    waiting: Sequence[Kept]
    chances: Sequence[Chance]


# Keeping --------------------------------------------------------------------------------------------------------------


def renew_stale(*, now: dt.datetime) -> int:
    """Renew the forecasts of active mailings that are out of date, of `AT_ONCE` owners at most; return how many owners.

    Three queries if there is nothing to do.
    """
    settings = MassmailSettings.load()
    rows = Mailing.objects.filter(status=MailingStatus.ACTIVE).order_by()
    kept = list(rows.values_list("owner", "pk", "start_at", "forecast_at", "forecast__inputs", "expected_end"))
    inputs = _inputs(kept, settings)
    stale = {
        owner: made_at
        for owner, _pk, _start_at, made_at, known, end in kept
        if known != inputs[owner] or not _is_good(made_at, now) or (end is not None and end < now)
    }
    first = sorted(stale, key=lambda owner: (stale[owner] is not None, stale[owner] or now))[:AT_ONCE]
    for owner in first:
        renewed = _renewed(survey(owner, now=now, settings=settings), inputs[owner], settings)
        Mailing.objects.bulk_update(renewed, ["expected_end", "forecast", "forecast_at"], batch_size=100)
    return len(first)


def current(mailing: Mailing, *, now: dt.datetime) -> Outlook | None:
    """Return the outlook of a mailing that is not ended, a draft or paused one as if it were set going at `now`.

    That of an active mailing is what the tick has left, if there is any yet; the others' are made here, and cached.
    """
    settings = MassmailSettings.load()
    if mailing.status == MailingStatus.ACTIVE and mailing.forecast:
        return outlook(mailing)
    if mailing.status not in (MailingStatus.DRAFT, MailingStatus.ACTIVE, MailingStatus.PAUSED):
        return None
    rows = Mailing.objects.filter(owner=mailing.owner_id, status=MailingStatus.ACTIVE).exclude(pk=mailing.pk)
    others = [(mailing.owner_id, pk, start_at) for pk, start_at in rows.order_by().values_list("pk", "start_at")]
    inputs = _inputs([*others, (mailing.owner_id, mailing.pk, mailing.start_at)], settings)[mailing.owner_id]
    key = f"massmail:outlook:{mailing.pk}:{mailing.created.timestamp()}"
    kept: Any = cache.get(key) or (None, {}, None)
    mailing.expected_end, mailing.forecast, mailing.forecast_at = kept
    if kept[1].get("inputs") != inputs or not _is_good(mailing.forecast_at, now):
        _renewed(survey(mailing.owner_id, now=now, settings=settings, asked=mailing), inputs, settings)
        cache.set(key, (mailing.expected_end, mailing.forecast, mailing.forecast_at), GOOD_FOR_NOW.total_seconds())
    return outlook(mailing)


def _is_good(made_at: dt.datetime | None, now: dt.datetime) -> bool:
    return made_at is not None and made_at <= now < made_at + GOOD_FOR


def _inputs(mailings: Iterable[tuple[Any, ...]], settings: MassmailSettings) -> dict[Any, str]:
    """Return a fingerprint of all that people can change about the forecasts of each owner of `mailings`."""
    rules = (
        [settings.use_business_time, settings.business_time_start, settings.business_time_end],
        [sorted(settings.working_days), settings.time_zone, settings.emails_per_day],
        [settings.gap_min, settings.gap_max, settings.spread_evenly],
        [settings.emails_per_hour_to_domain, settings.domain_limits, settings.emails_per_company],
        [settings.emails_per_recipient, settings.recipient_days],
        [bool(settings.unsubscribe_url), bool(conf.public_url)],
    )
    facts: dict[Any, list[Any]] = defaultdict(lambda: [rules])
    for owner, pk, start_at, *_rest in sorted(mailings, key=lambda row: row[1]):
        facts[owner].append((pk, start_at))
    accounts = EmailAccount.objects.filter(owner__in=facts, massmail=True).order_by("pk")
    limits = ("emails_per_day", "emails_per_hour", "ramp_start", "ramp_step")
    columns = ("name", "main", "paced", *limits, "hold_reason", "held_until", "owner__is_active")
    for owner, *account in accounts.values_list("owner", "pk", *columns):
        facts[owner].append(account)
    return {owner: hashlib.sha256(repr(rows).encode()).hexdigest()[:16] for owner, rows in facts.items()}


def _renewed(found: Survey, inputs: str, settings: MassmailSettings) -> Sequence[Mailing]:
    """Return the mailings that were surveyed, each with its forecast, unsaved."""
    forecasts = found.forecasts()
    chances = _chances(found, forecasts, settings)
    for mailing in found.mailings:
        forecast = forecasts[mailing.pk]
        kept = {"inputs": inputs, "zone": settings.time_zone, **_as_json(forecast, chances[mailing.pk])}
        mailing.expected_end, mailing.forecast, mailing.forecast_at = forecast.end, kept, forecast.made_at
    return found.mailings


def _chances(found: Survey, forecasts: Mapping[int, Forecast], settings: MassmailSettings) -> dict[int, list[Chance]]:
    """Return by mailing what one more account, or twice the limit of the account that is done last, would bring."""
    limit = settings.emails_per_day
    more = found.suppose(extra=1, limit=limit).forecasts()
    chances = {key: [Chance(end=other.end, planned=other.planned, limit=limit)] for key, other in more.items()}
    slow = [each.bottleneck for each in forecasts.values() if each.bottleneck and each.bottleneck.limit is Limit.QUOTA]
    names = {bottleneck.account: bottleneck.name for bottleneck in slow}
    for account in sorted(names)[:RAISED]:
        raised = 2 * found.speakers[account].limit
        for key, other in found.suppose(limits={account: raised}).forecasts().items():
            bottleneck = forecasts[key].bottleneck
            if bottleneck and bottleneck.account == account:
                chances[key].append(
                    Chance(end=other.end, planned=other.planned, limit=raised, account=account, name=names[account])
                )
    return {key: [each for each in found if _helps(each, forecasts[key])] for key, found in chances.items()}


def _helps(chance: Chance, forecast: Forecast) -> bool:
    """Return whether it is worth telling: more recipients are reached, or all of them an hour earlier."""
    if chance.planned > forecast.planned or chance.end is None or forecast.end is None:
        return chance.planned > forecast.planned
    return chance.end + dt.timedelta(hours=1) <= forecast.end


def _as_json(forecast: Forecast, chances: Sequence[Chance]) -> dict[str, Any]:
    names = forecast.survey.names
    shown = forecast.days[:DAYS]
    bottleneck = forecast.bottleneck
    return {
        "planned": forecast.planned,
        "beyond": forecast.beyond,
        "estimated": forecast.estimated,
        "grouped": forecast.grouped,
        "sharing": len(forecast.survey.mailings) - 1,
        "names": {account: names[account] for day in shown for account in day.counts},
        "days": [[day.day.isoformat(), dict(day.counts)] for day in shown],
        "more_days": len(forecast.days) - len(shown),
        "bottleneck": bottleneck and [bottleneck.account, bottleneck.name, bottleneck.limit, bottleneck.number],
        "waiting": [[each.count, each.account] for each in forecast.waiting],
        "chances": [
            [each.end and each.end.isoformat(), each.planned, each.limit, each.account, each.name] for each in chances
        ],
    }


# Reading --------------------------------------------------------------------------------------------------------------


def outlook(mailing: Mailing) -> Outlook | None:
    """Return what is kept of the forecast of `mailing`, without a query; None if there is nothing."""
    kept = mailing.forecast
    if not kept or mailing.forecast_at is None:
        return None
    return Outlook(
        end=mailing.expected_end,
        made_at=mailing.forecast_at,
        zone=kept["zone"],
        planned=kept["planned"],
        beyond=kept["beyond"],
        estimated=kept["estimated"],
        grouped=kept.get("grouped", False),  # was kept before there was such a thing
        sharing=kept["sharing"],
        names={int(key): name for key, name in kept["names"].items()},
        days=[
            (dt.date.fromisoformat(day), {int(key): count for key, count in counts.items()})
            for day, counts in kept["days"]
        ],
        more_days=kept["more_days"],
        bottleneck=_bottleneck(*kept["bottleneck"]) if kept["bottleneck"] else None,
        waiting=[Kept(count=count, account=account) for count, account in kept["waiting"]],
        chances=[
            Chance(
                end=dt.datetime.fromisoformat(end) if end else None,
                planned=planned,
                limit=limit,
                account=account,
                name=name,
            )
            for end, planned, limit, account, name in kept["chances"]
        ],
    )


def _bottleneck(account: int, name: str, limit: str, number: int) -> Bottleneck:
    return Bottleneck(account=account, name=name, limit=Limit(limit), number=number)


def waiting(mailing: Mailing, kept: Sequence[Kept], *, now: dt.datetime) -> list[Waiting]:
    """Return who waits until somebody does something, with the hold as it is at `now`; without those held no more."""
    if not kept:
        return []
    settings = MassmailSettings.load()
    accounts = lanes.usable_accounts([mailing.owner_id])[mailing.owner_id]
    inactive = inactive_users([mailing.owner_id]).get(mailing.owner_id)
    holds: dict[int | None, Hold | None] = {
        account.pk: standing_hold(account, now=now, inactive=inactive) for account in accounts
    }
    holds[None] = lasting_hold(mailing, settings, inactive=inactive) or accounts_hold(accounts)
    found = [(each, holds.get(each.account)) for each in kept]
    return [Waiting(count=each.count, account=each.account, hold=hold) for each, hold in found if hold is not None]
