"""The guard: a mailing that bounces or is called spam too often pauses, before its sender's good name is gone."""

from __future__ import annotations

import datetime as dt
from contextlib import suppress
from dataclasses import dataclass
from decimal import Decimal

from django.db import transaction
from django.db.models import Q
from django.utils.formats import number_format
from django.utils.translation import gettext as _

from massmail.choices import MailingStatus
from massmail.engine import lifecycle
from massmail.exceptions import LifecycleError
from massmail.models import MassmailSettings, Returns
from massmail.outcomes import progress

#: Fewer events than that are chance, whatever their share.
FEWEST = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Figures:
    """What is known of a mailing since the guard looks at it: mails, and how many of them came to harm."""

    mails: int
    undeliverable: int
    complaints: int


def objection(figures: Figures, settings: MassmailSettings) -> str:
    """Return in words why a mailing with these figures must not go on, "" if it may. Pure."""
    if figures.mails < settings.limit_sample:
        return ""
    if _exceeds(figures.undeliverable, figures.mails, settings.bounce_limit):
        return _(
            "%(number)s of %(mails)s mails could not be delivered, more than the limit of %(limit)s %%. "
            "Find out where these addresses come from before you resume it."
        ) % {
            "number": figures.undeliverable,
            "mails": figures.mails,
            "limit": number_format(settings.bounce_limit.normalize()),
        }
    if _exceeds(figures.complaints, figures.mails, settings.complaint_limit):
        return _(
            "%(number)s of %(mails)s mails were reported as spam, more than the limit of %(limit)s %%. "
            "Make sure that the recipients expect this mailing before you resume it."
        ) % {
            "number": figures.complaints,
            "mails": figures.mails,
            "limit": number_format(settings.complaint_limit.normalize()),
        }
    return ""


def _exceeds(number: int, mails: int, limit: Decimal) -> bool:
    return bool(limit) and number >= FEWEST and 100 * number > limit * mails


def stand_guard(settings: MassmailSettings, *, now: dt.datetime) -> int:
    """Pause the active mailings whose figures are too bad; return how many. One query where nothing is wrong."""
    suspicious = Q(bad__gte=FEWEST) | Q(complaints__gte=FEWEST) | Q(paused_at__isnull=False)
    rows = list(Returns.objects.filter(suspicious, mailing__status=MailingStatus.ACTIVE).select_related("mailing"))
    if not rows:
        return 0
    sums = progress([row.mailing for row in rows], now=now)
    paused = 0
    for row in rows:
        gone = sums[row.mailing_id].sent + sums[row.mailing_id].failed + sums[row.mailing_id].unknown
        if row.paused_at is not None:
            _begin_anew(row, gone, now=now)
            continue
        figures = Figures(mails=gone - row.sent_before, undeliverable=row.bad, complaints=row.complaints)
        if reason := objection(figures, settings):
            paused += _pause(row, reason, now=now)
    return paused


def _begin_anew(row: Returns, gone: int, *, now: dt.datetime) -> None:
    """Somebody has resumed the mailing: judge only what is sent from now on."""
    Returns.objects.filter(pk=row.pk, paused_at=row.paused_at).update(
        paused_at=None, since=now, sent_before=gone, bad=0, complaints=0
    )


def _pause(row: Returns, reason: str, *, now: dt.datetime) -> bool:
    with suppress(LifecycleError), transaction.atomic():  # somebody was quicker
        lifecycle.pause(row.mailing, by=None, reason=reason)
        return bool(Returns.objects.filter(pk=row.pk).update(paused_at=now))
    return False
