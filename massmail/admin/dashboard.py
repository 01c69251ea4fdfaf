"""The block on the app's index: what is running, what is held, and what needs the one who looks."""

from __future__ import annotations

import datetime as dt
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

from django.contrib.admin import AdminSite
from django.db.models import QuerySet, Sum
from django.http import HttpRequest
from django.utils import timezone
from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from massmail.admin.machine import Machine, machine
from massmail.admin.mailing_page import kind_of
from massmail.admin.notices import Notice, notice_of, without_repeating
from massmail.admin.numbers import grouped
from massmail.admin.places import change_url, page_url, site_of
from massmail.admin.standing import Standing, standings
from massmail.choices import DeliveryStatus, MailingStatus
from massmail.engine.holds import deployment_hold, life_hold
from massmail.engine.holds.accounts import standing_hold
from massmail.models import Delivery, EmailAccount, Mailing, MassmailSettings, Tally

#: Of each kind; the rest are found in the lists.
SHOWN = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class Running:
    """A mailing under way; `owner` is named to those who see more owners than themselves."""

    mailing: Mailing
    url: str
    kind: str
    standing: Standing
    owner: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """What waits for somebody at a mailing: sentences, each with the page to go to, "" for the mailing's own."""

    name: str
    url: str
    owner: str
    lines: Sequence[tuple[str, str]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Dashboard:
    """What the block shows; `more`: whether other mailings are under way, `more_accounts`: how many others are held."""

    running: Sequence[Running]
    more: bool
    tasks: Sequence[Task]
    troubles: Sequence[Notice]
    more_accounts: int
    accounts_url: str
    list_url: str
    create_url: str
    progress_url: str
    machine: Machine | None = None

    @property
    def empty(self) -> bool:
        return not (self.running or self.tasks or self.troubles)


def dashboard(request: HttpRequest) -> Dashboard | None:
    """Return what the user may see of it, in a constant number of queries; None for those who may see no mailings."""
    site = site_of(request)
    model_admin: Any = site._registry.get(Mailing) if site else None
    if site is None or model_admin is None or not model_admin.has_view_permission(request):
        return None
    now = timezone.now()
    mailings = model_admin.get_queryset(request).select_related("owner", "content_type", "message").order_by("-id")
    active = list(mailings.filter(status=MailingStatus.ACTIVE)[: SHOWN + 1])
    accounts = _accounts(request, site, now)
    return Dashboard(
        running=_running(request, site, active[:SHOWN], now),
        more=len(active) > SHOWN,
        tasks=_tasks(request, site, mailings),
        troubles=without_repeating([*_of_everybody(request, site, now), *accounts[:SHOWN]]),
        more_accounts=max(0, len(accounts) - SHOWN),
        accounts_url=page_url(site, EmailAccount, "changelist") if accounts else "",
        list_url=page_url(site, Mailing, "changelist"),
        create_url=page_url(site, Mailing, "create") if request.user.has_perm("massmail.add_mailing") else "",
        progress_url=page_url(site, Mailing, "progress"),
        machine=machine(request, site, now=now),
    )


def _owner(request: HttpRequest, mailing: Mailing) -> str:
    return "" if mailing.owner == request.user else str(mailing.owner)


def _running(request: HttpRequest, site: AdminSite, active: Sequence[Mailing], now: dt.datetime) -> list[Running]:
    known = standings(active, now=now)
    return [
        Running(
            mailing=mailing,
            url=change_url(site, mailing),
            kind=kind_of(mailing),
            standing=known[mailing.pk],
            owner=_owner(request, mailing),
        )
        for mailing in active
    ]


def _tasks(request: HttpRequest, site: AdminSite, mailings: QuerySet[Mailing]) -> list[Task]:
    """Return what waits for somebody, a task for each mailing."""
    found: dict[Mailing, list[tuple[str, str]]] = defaultdict(list)
    for mailing, text, url in (*_paused_by_the_app(mailings), *_doubts(site, mailings), *_drafts(request, mailings)):
        found[mailing].append((text, url))
    return [
        Task(name=mailing.name, url=change_url(site, mailing), owner=_owner(request, mailing), lines=lines)
        for mailing, lines in found.items()
    ]


def _paused_by_the_app(mailings: QuerySet[Mailing]) -> Iterator[tuple[Mailing, str, str]]:
    for mailing in mailings.filter(status=MailingStatus.PAUSED).exclude(pause_reason="")[:SHOWN]:
        yield mailing, _("Paused by the app: %(reason)s") % {"reason": mailing.pause_reason}, ""


def _doubts(site: AdminSite, mailings: QuerySet[Mailing]) -> Iterator[tuple[Mailing, str, str]]:
    """Yield the mailings with deliveries of which nobody knows whether they arrived, by the tallies."""
    sums = Tally.objects.values("mailing").annotate(mm_unknown=Sum("unknown")).filter(mm_unknown__gt=0)
    unknown = dict(sums.filter(mailing__in=mailings.order_by().values("pk")).values_list("mailing", "mm_unknown"))
    for mailing in mailings.filter(pk__in=unknown)[:SHOWN]:
        number = unknown[mailing.pk]
        text = ngettext(
            "%(number)s delivery may have arrived or not: decide.",
            "%(number)s deliveries may have arrived or not: decide.",
            number,
        )
        query = urlencode({"mailing__id__exact": mailing.pk, "status__exact": DeliveryStatus.UNKNOWN.value})
        yield mailing, text % {"number": grouped(number)}, f"{page_url(site, Delivery, 'changelist')}?{query}"


def _drafts(request: HttpRequest, mailings: QuerySet[Mailing]) -> Iterator[tuple[Mailing, str, str]]:
    """Yield the user's own drafts: nobody else is to start them."""
    for mailing in mailings.filter(status=MailingStatus.DRAFT, owner=request.user.pk)[:SHOWN]:
        text = _("Draft: start it when it is ready.") if mailing.message_id else _("Draft without a message.")
        yield mailing, text, ""


def _of_everybody(request: HttpRequest, site: AdminSite, now: dt.datetime) -> list[Notice]:
    """Return what keeps everybody's mail from leaving."""
    holds = [deployment_hold(MassmailSettings.load()), life_hold(now)]
    return [notice_of(request, site, hold) for hold in holds if hold]


def _accounts(request: HttpRequest, site: AdminSite, now: dt.datetime) -> list[Notice]:
    """Return the accounts that send nothing until somebody has looked after them, or a time has come."""
    model_admin = site._registry.get(EmailAccount)
    if model_admin is None or not model_admin.has_view_permission(request):
        return []
    accounts = model_admin.get_queryset(request).filter(massmail=True).select_related("owner").order_by("name")
    holds = [
        standing_hold(account, now=now, inactive=None if account.owner.is_active else account.owner)
        for account in accounts
    ]
    return [notice_of(request, site, hold) for hold in holds if hold]
