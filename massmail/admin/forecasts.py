"""When a mailing will be done, as its page and the list say it. Nothing is computed here but a draft's forecast."""

from __future__ import annotations

import datetime as dt
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from zoneinfo import ZoneInfo

from django.contrib.admin import AdminSite
from django.http import HttpRequest
from django.utils.formats import date_format
from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from massmail.admin.notices import notice_of
from massmail.admin.numbers import grouped
from massmail.choices import MailingStatus
from massmail.engine import outlook
from massmail.engine.outlook import Chance, Outlook
from massmail.models import Mailing
from massmail.moments import when

#: Accounts that have a column of their own in the plan.
MOST_COLUMNS = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Wait:
    """Recipients who wait until somebody does something, with what to do and the page to do it on."""

    text: str
    remedy: str
    url: str


@dataclass(frozen=True, slots=True, kw_only=True)
class PlanRow:
    """Mails of one day: by account, by all other accounts where not each has a column, and together."""

    day: str
    counts: Sequence[int]
    others: int
    total: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """The first days of what will be sent; `names` are the columns, `more` says how many days follow."""

    names: Sequence[str]
    rows: Sequence[PlanRow]
    with_others: bool
    more: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ForecastView:
    """What the template says of a forecast. `estimated`: its times depend on a relay; `grouped`: limits of recipients
    are counted in groups; `sharing`: it depends on other mailings.
    """

    headline: str
    estimated: bool
    grouped: bool
    bottleneck: str
    sharing: str
    chances: Sequence[str]
    plan: Plan | None
    waits: Sequence[Wait]


def forecast_view(request: HttpRequest, site: AdminSite, mailing: Mailing, *, now: dt.datetime) -> ForecastView | None:
    """Return the forecast of `mailing` in words; None if it is ended, or nothing is known yet."""
    found = outlook.current(mailing, now=now)
    if found is None or mailing.total == 0:
        return None
    return ForecastView(
        headline=_headline(mailing, found),
        estimated=found.estimated and bool(found.planned),
        grouped=found.grouped and bool(found.planned),
        bottleneck=found.bottleneck.text if found.bottleneck else "",
        sharing=_sharing(found.sharing) if found.sharing and found.planned else "",
        chances=_chances(found),
        plan=_plan(found) if found.planned else None,
        waits=_waits(request, site, mailing, found, now=now),
    )


def start_label(found: Outlook | None) -> str:
    """Return what the button that starts a draft will do: "Start: 457 mails through 3 accounts, until about …"."""
    accounts = len({account for _day, counts in found.days for account in counts}) if found else 0
    if found is None or not found.planned or not accounts:
        return _("Start")
    mails = ngettext("%(count)s mail", "%(count)s mails", found.planned) % {"count": grouped(found.planned)}
    through = ngettext("%(count)s account", "%(count)s accounts", accounts) % {"count": accounts}
    values = {"mails": mails, "accounts": through, "time": _show(found.end, found) if found.end else ""}
    if found.end is None:
        return _("Start: %(mails)s through %(accounts)s within a year") % values
    return _("Start: %(mails)s through %(accounts)s, until about %(time)s") % values


def expected_end_text(mailing: Mailing) -> str:
    """Return when an active mailing will be done, "about Thu 3 Dec, 15:40"; "" if nobody knows. Without a query."""
    found = outlook.outlook(mailing) if mailing.status == MailingStatus.ACTIVE else None
    if found is None:
        return ""
    if found.end:
        return _("about %(time)s") % {"time": _show(found.end, found)}
    return _("in more than a year") if found.beyond else ""


def _show(moment: dt.datetime, found: Outlook) -> str:
    """Return a moment in the time zone that the forecast was made in."""
    return when(moment, zone=ZoneInfo(found.zone))


def _headline(mailing: Mailing, found: Outlook) -> str:
    if found.end is None and found.beyond:
        return ngettext(
            "Not done within a year: %(count)s mail will be left then.",
            "Not done within a year: %(count)s mails will be left then.",
            found.beyond,
        ) % {"count": grouped(found.beyond)}
    if found.end is None:
        return _("As things are, nothing more will be sent.")
    texts = {
        MailingStatus.DRAFT: _("If it is started now: done about %(time)s"),
        MailingStatus.PAUSED: _("If it is resumed now: done about %(time)s"),
        MailingStatus.ACTIVE: _("Done about %(time)s"),
    }
    return texts[MailingStatus(mailing.status)] % {"time": _show(found.end, found)}


def _sharing(others: int) -> str:
    return ngettext(
        "%(count)s other mailing takes turns with it.", "%(count)s other mailings take turns with it.", others
    ) % {"count": others}


def _chances(found: Outlook) -> list[str]:
    """Return what one more account would change, and a higher limit; also where it would change nothing."""
    texts = [_chance(chance, found) for chance in found.chances]
    if not found.planned and not texts:
        return []
    if all(chance.account is not None for chance in found.chances):
        texts.insert(0, _("With one more account: hardly earlier."))
    if all(chance.account is None for chance in found.chances) and found.planned:
        texts.append(_("With a higher daily limit: hardly earlier."))
    return texts


def _chance(chance: Chance, found: Outlook) -> str:
    gain = _gain(chance, found)
    end = _show(chance.end, found) if chance.end else _("not within a year")
    values = {"when": end, "gain": gain, "limit": grouped(chance.limit) if chance.limit else "", "account": chance.name}
    if chance.account is None:
        return _("With one more account: %(when)s (%(gain)s)") % values
    return _("With %(limit)s mails a day for “%(account)s”: %(when)s (%(gain)s)") % values


def _gain(chance: Chance, found: Outlook) -> str:
    """Return what a chance brings: "2 days earlier, 40 more mails"."""
    sooner = found.end - chance.end if found.end and chance.end else dt.timedelta()
    days, hours = round(sooner / dt.timedelta(days=1)), round(sooner / dt.timedelta(hours=1))
    more = chance.planned - found.planned
    gains = []
    if days >= 1:
        gains.append(ngettext("%(count)s day earlier", "%(count)s days earlier", days) % {"count": days})
    elif hours >= 1:
        gains.append(ngettext("%(count)s hour earlier", "%(count)s hours earlier", hours) % {"count": hours})
    if more > 0:
        gains.append(ngettext("%(count)s more mail", "%(count)s more mails", more) % {"count": grouped(more)})
    return ", ".join(gains)


def _plan(found: Outlook) -> Plan:
    sums: Counter[int] = Counter()
    for _day, counts in found.days:
        sums.update(counts)
    columns = sorted(account for account, _count in sums.most_common(MOST_COLUMNS))
    rows = []
    for day, counts in found.days:
        shown, total = [counts.get(account, 0) for account in columns], sum(counts.values())
        rows.append(PlanRow(day=date_format(day, "D j M"), counts=shown, others=total - sum(shown), total=total))
    more = ngettext("and %(count)s more day", "and %(count)s more days", found.more_days) % {"count": found.more_days}
    return Plan(
        names=[found.names[account] for account in columns],
        rows=rows,
        with_others=len(sums) > len(columns),
        more=more if found.more_days else "",
    )


def _waits(request: HttpRequest, site: AdminSite, mailing: Mailing, found: Outlook, *, now: dt.datetime) -> list[Wait]:
    draft = mailing.status == MailingStatus.DRAFT
    return [
        Wait(
            text=ngettext("%(count)s recipient waits. %(why)s", "%(count)s recipients wait. %(why)s", each.count)
            % {"count": grouped(each.count), "why": each.hold.detail or each.hold.reason.label},
            remedy=each.hold.remedy,
            url=notice_of(request, site, each.hold, here=mailing).url,
        )
        for each in outlook.waiting(mailing, found.waiting, now=now)
        # What keeps all of a draft back stands above the button already.
        if not (draft and each.account is None)
    ]
