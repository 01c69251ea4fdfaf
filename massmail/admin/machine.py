"""The state of the machine, for those who run it: who ticks, who works, what waits."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass

from django.contrib.admin import AdminSite
from django.db.models import Count, Min, Q
from django.http import HttpRequest
from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from massmail.admin.notices import MACHINE
from massmail.admin.places import link_to, page_url
from massmail.choices import MailingStatus
from massmail.engine.holds import patience, periodic_task, silence, unheard
from massmail.engine.pulse import HOST, TICK
from massmail.models import EmailAccount, Heartbeat, Lane, Mailing
from massmail.moments import when

#: Hosts that are named.
NAMED = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class Fact:
    """One line: `bad` whether somebody should look after it, `url` where, "" for nowhere in the admin."""

    name: str
    value: str
    url: str = ""
    bad: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Machine:
    """The lines of the block, whose anchor is `anchor`."""

    facts: tuple[Fact, ...]
    anchor: str = MACHINE


def machine(request: HttpRequest, site: AdminSite, *, now: dt.datetime) -> Machine | None:
    """Return the state of the machine for a superuser, in a constant number of queries; None for everybody else."""
    if not request.user.is_superuser:
        return None
    beats = {row.name: row.at for row in Heartbeat.objects.all()}
    return Machine(
        facts=(
            _tick(beats.get(TICK), now=now),
            _beat(request, site),
            _hosts({name.removeprefix(HOST): at for name, at in beats.items() if name.startswith(HOST)}, now=now),
            Fact(name=_("Broker"), value=_("Not asked: it works as long as ticks come.")),
            _lanes(now=now),
            _accounts(site, now=now),
            _mailings(site),
        )
    )


def _tick(at: dt.datetime | None, *, now: dt.datetime) -> Fact:
    value = when(at) if at else _("never")
    return Fact(name=_("Last tick"), value=value, bad=silence(at, now=now) is not None)


def _beat(request: HttpRequest, site: AdminSite) -> Fact:
    """Say what the table of periodic tasks knows of beat, which has no other voice."""
    task = periodic_task()
    if task is None:
        return Fact(name=_("Beat"), value=_("No periodic task: run massmail_setup."), bad=True)
    url = link_to(request, site, task)
    if not task.enabled:
        return Fact(name=_("Beat"), value=_("The periodic task is switched off."), url=url, bad=True)
    if task.last_run_at is None:
        return Fact(name=_("Beat"), value=_("Has not rung yet."), url=url)
    text = _("Rang %(time)s, as far as it has noted.") % {"time": when(task.last_run_at)}
    return Fact(name=_("Beat"), value=text, url=url)


def _hosts(hosts: dict[str, dt.datetime], *, now: dt.datetime) -> Fact:
    latest = sorted(hosts.items(), key=lambda each: each[1], reverse=True)
    texts = [f"{name} ({when(at)})" for name, at in latest[:NAMED]]
    if more := len(latest) - NAMED if len(latest) > NAMED else 0:
        texts.append(ngettext("%(count)s more", "%(count)s more", more) % {"count": more})
    alive = bool(latest) and now - latest[0][1] < patience()
    return Fact(name=_("Hosts with workers"), value=", ".join(texts) or _("none in the last day"), bad=not alive)


def _lanes(*, now: dt.datetime) -> Fact:
    busy = Q(lease_until__gt=now)
    found = Lane.objects.aggregate(busy=Count("pk", filter=busy), rung=Count("pk", filter=Q(offered_at__isnull=False)))
    since = unheard(now=now).aggregate(since=Min("offered_at"))["since"]
    text = _("%(busy)s at work, %(rung)s rung for") % found
    if since is not None:
        text = _("%(lanes)s, unanswered since %(time)s") % {"lanes": text, "time": when(since)}
    return Fact(name=_("Accounts' lanes"), value=text, bad=since is not None)


def _accounts(site: AdminSite, *, now: dt.datetime) -> Fact:
    in_force = Q(held_until__isnull=True) | Q(held_until__gt=now)
    held = EmailAccount.objects.filter(in_force, massmail=True).exclude(hold_reason="").count()
    url = page_url(site, EmailAccount, "changelist") if site.is_registered(EmailAccount) else ""
    return Fact(name=_("Accounts on hold"), value=str(held), url=url, bad=held > 0)


def _mailings(site: AdminSite) -> Fact:
    number = Mailing.objects.filter(status=MailingStatus.ACTIVE).count()
    url = f"{page_url(site, Mailing, 'changelist')}?status={MailingStatus.ACTIVE.value}"
    return Fact(name=_("Mailings under way"), value=str(number), url=url)
