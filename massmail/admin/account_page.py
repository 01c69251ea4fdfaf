"""What is said of email accounts, on their list and on the page of one: today, holds, the last days, recipients."""

from __future__ import annotations

import datetime as dt
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any

from django.contrib.admin import AdminSite
from django.contrib.contenttypes.models import ContentType
from django.db.models import Count, Max, Sum
from django.db.models.functions import TruncDate
from django.http import HttpRequest
from django.utils import timezone
from django.utils.translation import gettext as _

from massmail import connecting
from massmail.admin.host_filters import AccountFilter
from massmail.admin.notices import WANTS_DEPLOYER, notice_of
from massmail.admin.places import page_url
from massmail.admin.timeline import NOT_SENT, Series, Timeline, daily
from massmail.choices import AuditAction, HoldReason, Light
from massmail.connecting.advice import preset_of_account
from massmail.engine.checkup.standing import standings
from massmail.engine.holds import explain_many
from massmail.engine.ramp import limits_on
from massmail.engine.window import local_day
from massmail.inbound import mailboxes
from massmail.models import AccountDay, AuditEntry, Delivery, EmailAccount, Lane, MassmailSettings, Recipient, Tally
from massmail.models.mailings import LATER
from massmail.outcomes import daily_figures
from massmail.recipient_types import find_type

#: On hold until somebody releases it.
OF_HOLDS = (AuditAction.ACCOUNT_HELD, AuditAction.ACCOUNT_RELEASED)
HELD = (HoldReason.ACCOUNT_HELD, HoldReason.GUARD_RAIL)
DAYS = 30
#: Holds and releases that the page of an account lists.
LATEST = 10
#: Colours of the drawing, by the names that the style sheet has for them.
SENT, BOUNCED, COMPLAINED = "1", "3", "4"


@dataclass(frozen=True, slots=True, kw_only=True)
class Connection:
    """A provider that an account may be connected with by OAuth2; `url` takes a POST."""

    label: str
    url: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Followers:
    """Recipients of one type that always hear from an account; `url` is their list, "" where there is none."""

    name: str
    number: int
    url: str


def describe(accounts: Iterable[Any]) -> None:
    """Note on each account how it stands: its hold, what it used today, its limit, its last success.

    A constant number of queries.
    """
    accounts, now, settings = list(accounts), timezone.now(), MassmailSettings.load()
    holds = explain_many(accounts, now=now)
    today = local_day(now, settings.zone)
    limits = limits_on(today, accounts, settings)
    days = AccountDay.objects.filter(account__in=accounts, date=today)
    used = dict(days.values_list("account", "used"))
    lanes = Lane.objects.filter(account__in=accounts).order_by()
    last = dict(lanes.values_list("account").annotate(latest=Max("last_sent_at")))
    troubles = mailboxes.troubles(accounts)
    standing = standings(accounts)
    for account in accounts:
        hold = account.hold = holds[account.pk]
        account.held_for = account.hold_reason if hold and hold.reason in HELD else ""
        account.hold_words = hold.detail if hold and hold.reason not in WANTS_DEPLOYER else ""  # the banner says those
        account.incoming = troubles.get(account.pk)
        account.used_today = used.get(account.pk, 0)
        account.limit_today = limits[account.pk]
        account.left_today = max(account.limit_today - account.used_today, 0)
        account.last_sent_at = last.get(account.pk)
        account.standing = standing[account.pk]
        account.light_shown = account.massmail or account.standing.light != Light.UNCHECKED


def count_recipients(accounts: Iterable[Any]) -> None:
    """Note on each account how many recipients always hear from it, in one query."""
    accounts = list(accounts)
    kept = Recipient.objects.filter(account__in=accounts).order_by()
    numbers = dict(kept.values_list("account").annotate(number=Count("pk")))
    for account in accounts:
        account.recipient_count = numbers.get(account.pk, 0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Health:
    """What became of an account's mail: numbers, and the shares of it that came to harm, in per cent."""

    mails: int
    refused: int
    undeliverable: int
    complaints: int

    def _share(self, number: int) -> float:
        return 100 * number / self.mails if self.mails else 0.0

    @property
    def refused_share(self) -> float:
        return self._share(self.refused)

    @property
    def undeliverable_share(self) -> float:
        return self._share(self.undeliverable)

    @property
    def complaint_share(self) -> float:
        return self._share(self.complaints)


def note_health(accounts: Iterable[Any]) -> None:
    """Note on each account what became of its mail of the last days, in two queries."""
    accounts, settings = list(accounts), MassmailSettings.load()
    first = local_day(timezone.now(), settings.zone) - dt.timedelta(days=DAYS - 1)
    sums = {account.pk: Counter[str]() for account in accounts}
    for (key, _day), figures in daily_figures(accounts, since=first).items():
        sums[key].update(asdict(figures))
    names = [each.name for each in fields(Health)]
    for account in accounts:
        account.health = Health(**{name: sums[account.pk][name] for name in names})


def page_context(request: HttpRequest, site: AdminSite, account: Any, *, changeable: bool) -> dict[str, Any]:
    """Return what the template of the account's page shows; `changeable` is whether the user may press its buttons."""
    describe([account])
    note_health([account])
    provider = connecting.find_provider(account.oauth_provider)
    release = changeable and account.hold_reason
    account.deliverability_url = page_url(site, EmailAccount, "deliverability", account.pk)
    return {
        "account": account,
        "notice": notice_of(request, site, account.hold, here=account) if account.hold else None,
        "followers": followers(request, site, account),
        "history": history(account),
        "audit": AuditEntry.objects.filter(account=account, action__in=OF_HOLDS).select_related("by")[:LATEST],
        "release_url": page_url(site, EmailAccount, "release", account.pk) if release else "",
        "connected_with": provider.label if provider else account.oauth_provider,
        "connections": connections(site, account) if changeable else [],
        "disconnect_url": page_url(site, EmailAccount, "disconnect", account.pk) if changeable else "",
    }


def connections(site: AdminSite, account: EmailAccount) -> list[Connection]:
    """Return the providers that give `account` tokens: its own one, or all where nobody knows whose it is."""
    preset = preset_of_account(account)
    found = connecting.providers()
    own = [each for each in found if each.name == (account.oauth_provider or (preset.oauth if preset else ""))]
    return [
        Connection(label=each.label, url=page_url(site, EmailAccount, "connect", account.pk, each.name))
        for each in own or found
    ]


def history(account: EmailAccount) -> Timeline | None:
    """Return the drawing of what became of the account's mail on the last days, None if there was none."""
    settings = MassmailSettings.load()
    today = local_day(timezone.now(), settings.zone)
    days = [today - dt.timedelta(days=number) for number in reversed(range(DAYS))]
    looks = (SENT, NOT_SENT, BOUNCED, COMPLAINED)
    numbers = {day: dict.fromkeys(looks, 0) for day in days}
    tallies = Tally.objects.filter(lane__account=account, day__gte=days[0], day__lte=today).order_by()
    for day, sent, failed, unknown in tallies.values_list("day").annotate(
        mm_sent=Sum("sent"), mm_failed=Sum("failed"), mm_unknown=Sum("unknown")
    ):
        numbers[day] |= {SENT: max(sent, 0), NOT_SENT: max(failed + unknown, 0)}
    for look, name in ((BOUNCED, "bounced_at"), (COMPLAINED, "complained_at")):
        for day, number in _came_back(account, name, days, settings):
            numbers[day][look] = number
    if not any(any(each.values()) for each in numbers.values()):
        return None
    names = (_("sent"), _("failed or unknown"), _("bounced"), _("reported as spam"))
    later = (BOUNCED, COMPLAINED)
    return daily(
        numbers,
        [Series(look=look, name=name, part=look not in later) for look, name in zip(looks, names, strict=True)],
    )


def _came_back(
    account: EmailAccount, name: str, days: Sequence[dt.date], settings: MassmailSettings
) -> Iterable[tuple[dt.date, int]]:
    begin = dt.datetime.combine(days[0], dt.time(), settings.zone)
    # The first condition has an index of its own, of the few rows to which something happened afterwards.
    rows = Delivery.objects.filter(LATER, account=account, **{f"{name}__gte": begin}).order_by()
    per_day = rows.annotate(mm_day=TruncDate(name, tzinfo=settings.zone)).values_list("mm_day")
    return [(day, number) for day, number in per_day.annotate(number=Count("pk")) if day in days]


def followers(request: HttpRequest, site: AdminSite, account: EmailAccount) -> list[Followers]:
    """Return how many recipients of each type always hear from `account`, with the host's list of them."""
    rows = Recipient.objects.filter(account=account).order_by().values_list("content_type").annotate(number=Count("pk"))
    found = []
    for key, number in rows:
        content_type = ContentType.objects.get_for_id(key)
        model = content_type.model_class()
        name = str(model._meta.verbose_name_plural) if model else content_type.name
        found.append(Followers(name=name, number=number, url=_list_url(request, site, model, account)))
    return sorted(found, key=lambda each: each.name)


def _list_url(request: HttpRequest, site: AdminSite, model: Any, account: EmailAccount) -> str:
    """Return the host's list cut to those who hear from `account`, if it has the filter and the user may open it."""
    model_admin = site._registry.get(model)
    if model_admin is None or find_type(model) is None or not model_admin.has_view_permission(request):
        return ""
    if AccountFilter not in model_admin.get_list_filter(request):
        return ""
    return f"{page_url(site, model, 'changelist')}?{AccountFilter.parameter_name}={account.pk}"
