"""The banner on top of the app's pages: mailings are under way, and nobody is there to send them."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass
from typing import Any

from django.db.models import Exists, Q, QuerySet, Subquery
from django.http import HttpRequest
from django.utils import timezone

from massmail.admin.notices import Notice, notice_of
from massmail.admin.places import site_of
from massmail.choices import MailingStatus
from massmail.engine.holds import Hold, silence, unheard, unheard_ring
from massmail.engine.pulse import TICK
from massmail.models import Heartbeat, Mailing


@dataclass(frozen=True, slots=True, kw_only=True)
class Banner:
    """What the template shows; `kind` is how loud: "stop" for those who can do something, "note" for the others."""

    kind: str
    notices: tuple[Notice, ...]


def banner(request: HttpRequest) -> Banner | None:
    """Return what superusers, and managers with mailings of their own under way, have to know; None if all is well.

    One query where something ticks.
    """
    site = site_of(request)
    model_admin: Any = site._registry.get(Mailing) if site else None
    if site is None or model_admin is None or not model_admin.has_view_permission(request):
        return None
    now = timezone.now()
    started = Q(start_at__isnull=True) | Q(start_at__lte=now)
    under_way = model_admin.get_queryset(request).filter(started, status=MailingStatus.ACTIVE).order_by()
    hold = _hold(under_way, now=now)
    if hold is None:
        return None
    kind = "stop" if request.user.is_superuser else "note"
    return Banner(kind=kind, notices=(notice_of(request, site, hold),))


def _hold(under_way: QuerySet[Mailing], *, now: dt.datetime) -> Hold | None:
    rung = unheard(now=now).filter(account__owner__in=under_way.values("owner"))
    tick: Any = (
        Heartbeat.objects.filter(name=TICK)
        .annotate(mm_under_way=Exists(under_way), mm_rung=Subquery(rung.values("offered_at")[:1]))
        .first()
    )
    if tick is None:
        return silence(None, now=now) if under_way.exists() else None
    if not tick.mm_under_way:
        return None
    return silence(tick.at, now=now) or unheard_ring(tick.mm_rung, now=now)
