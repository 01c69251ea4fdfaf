"""What stands on a mailing's page around its form."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any
from urllib.parse import urlencode

from django.contrib.admin import AdminSite
from django.db.models import Count
from django.http import HttpRequest
from django.utils import timezone
from django.utils.translation import gettext as _

from massmail.admin import previews
from massmail.admin.places import link_to, page_url
from massmail.admin.standing import Standing, standings
from massmail.choices import DeliveryStatus, Exclusion, MailingStatus
from massmail.engine import lifecycle
from massmail.engine.holds import Hold
from massmail.exceptions import CompositionError
from massmail.models import Delivery, LeftOut, Mailing

LOG_LENGTH = 50

POSSIBLE = {
    MailingStatus.DRAFT: ["start", "cancel"],
    MailingStatus.ACTIVE: ["pause", "cancel"],
    MailingStatus.PAUSED: ["resume", "cancel"],
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Button:
    """A move that is possible now; `explanation` is what it will do."""

    move: str
    label: str
    explanation: str
    url: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Notice:
    """Something that keeps mail from leaving, with what to do and the page to do it on."""

    text: str
    remedy: str
    url: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """A number with its list; `name` is what the polling script calls it."""

    name: str
    label: str
    value: int
    url: str


def page_context(request: HttpRequest, site: AdminSite, mailing: Mailing, *, movable: bool) -> dict[str, Any]:
    """Return what the template of the mailing's page shows; `movable` is whether the user may press its buttons."""
    now = timezone.now()
    standing = standings([mailing], now=now)[mailing.pk]
    draft = mailing.status == MailingStatus.DRAFT
    obstacles = lifecycle.obstacles(mailing, now=now) if draft else []
    delays = lifecycle.delays(mailing, now=now) if draft and not obstacles else []
    return {
        "standing": standing,
        "draft": draft,
        "obstacles": _notices(request, site, mailing, obstacles),
        "delays": _notices(request, site, mailing, delays),
        "hold": _running_hold(request, site, mailing, standing),
        "buttons": _buttons(site, mailing, startable=not obstacles) if movable else [],
        "figures": _figures(site, mailing, standing),
        "left_out": _left_out(site, mailing),
        "log": mailing.audit.select_related("by")[:LOG_LENGTH],
        "progress_url": page_url(site, Mailing, "progress"),
        **_preview(site, mailing),
    }


def _notice(request: HttpRequest, site: AdminSite, mailing: Mailing, hold: Hold) -> Notice:
    url = "#mailing_form" if hold.about == mailing else link_to(request, site, hold.about)
    return Notice(text=hold.detail or str(hold.reason.label), remedy=hold.remedy, url=url)


def _notices(request: HttpRequest, site: AdminSite, mailing: Mailing, holds: Iterable[Hold]) -> list[Notice]:
    """Return the notices of `holds`; a remedy that helps against several of them stands at the first."""
    told: set[str] = set()
    notices = []
    for hold in holds:
        notice = _notice(request, site, mailing, hold)
        notices.append(replace(notice, remedy="") if notice.remedy in told else notice)
        told.add(notice.remedy)
    return notices


def _running_hold(request: HttpRequest, site: AdminSite, mailing: Mailing, standing: Standing) -> Notice | None:
    if standing.hold is None or not standing.reason:
        return None
    return _notice(request, site, mailing, standing.hold)


def _buttons(site: AdminSite, mailing: Mailing, *, startable: bool) -> list[Button]:
    labels = {
        "start": (_("Start"), _("Freezes the message and begins to send.")),
        "pause": (_("Pause"), _("Stops before the next mail. It can be resumed.")),
        "resume": (_("Resume"), _("Goes on with those who have not got it yet.")),
        "cancel": (_("Cancel mailing"), _("Ends it for good. What was not sent yet is never sent.")),
    }
    moves = [move for move in POSSIBLE.get(MailingStatus(mailing.status), []) if move != "start" or startable]
    return [
        Button(
            move=move, label=labels[move][0], explanation=labels[move][1], url=page_url(site, Mailing, move, mailing.pk)
        )
        for move in moves
    ]


def _list_url(site: AdminSite, model: Any, mailing: Mailing, **filters: str) -> str:
    query = urlencode({"mailing__id__exact": mailing.pk, **filters})
    return f"{page_url(site, model, 'changelist')}?{query}"


def _figures(site: AdminSite, mailing: Mailing, standing: Standing) -> list[Figure]:
    progress = standing.progress
    rows = [
        ("total", _("Recipients"), progress.total, None),
        ("sent", _("Sent"), progress.sent, DeliveryStatus.SENT),
        ("to_go", _("To go"), progress.to_go, DeliveryStatus.QUEUED),
        ("failed", _("Failed"), progress.failed, DeliveryStatus.FAILED),
        ("skipped", _("Skipped"), progress.skipped, DeliveryStatus.SKIPPED),
        ("unknown", _("Unknown"), progress.unknown, DeliveryStatus.UNKNOWN),
    ]
    return [
        Figure(
            name=name,
            label=label,
            value=value,
            url=_list_url(site, Delivery, mailing, **({"status__exact": status.value} if status else {})),
        )
        for name, label, value, status in rows[: 1 if mailing.status == MailingStatus.DRAFT else None]
    ]


def _left_out(site: AdminSite, mailing: Mailing) -> list[Figure]:
    counts = LeftOut.objects.filter(mailing=mailing).order_by().values_list("reason").annotate(number=Count("id"))
    return [
        Figure(
            name=reason,
            label=str(Exclusion(reason).label),
            value=number,
            url=_list_url(site, LeftOut, mailing, reason__exact=reason),
        )
        for reason, number in sorted(counts, key=lambda row: -row[1])
    ]


def _preview(site: AdminSite, mailing: Mailing) -> dict[str, Any]:
    """Return the subject as the first recipient reads it and where the frame finds the rest, or what is wrong."""
    if mailing.message is None and mailing.version is None:
        return {}
    try:
        subject = previews.mailing_preview(mailing).subject
    except CompositionError as error:
        return {"preview_error": str(error)}
    return {"preview_subject": subject, "preview_url": page_url(site, Mailing, "preview", mailing.pk)}
