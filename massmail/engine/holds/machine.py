"""Why nothing leaves at all: what is missing in the deployment, and whether anybody is alive to send."""

from __future__ import annotations

import datetime as dt
from typing import Any

from django.apps import apps
from django.utils.translation import gettext as _

from massmail.choices import HoldReason
from massmail.conf import conf
from massmail.engine.holds.hold import Hold
from massmail.engine.pulse import TICK
from massmail.models import Heartbeat, MassmailSettings
from massmail.moments import when

#: The heartbeat of the engine's tick is missed after this many intervals.
MISSED_TICKS = 12
#: The name of the periodic task behind it.
TASK = "massmail.tick"


def patience() -> dt.timedelta:
    """Return how long nobody needs to answer before something is wrong."""
    return dt.timedelta(seconds=conf.tick_seconds * MISSED_TICKS)


def deployment_hold(settings: MassmailSettings) -> Hold | None:
    """Return what is missing in the deployment without which no mail may leave."""
    if not conf.public_url:
        return Hold(
            reason=HoldReason.NO_PUBLIC_URL,
            detail=_("MASSMAIL_PUBLIC_URL is not set, so that unsubscribe links would lead nowhere."),
            remedy=_("Ask whoever runs this site to set MASSMAIL_PUBLIC_URL."),
        )
    if not settings.unsubscribe_url:
        return Hold(
            reason=HoldReason.NO_UNSUBSCRIBE_URL,
            detail=_("“URL to unsubscribe” is not set: the page recipients see after they have unsubscribed."),
            remedy=_("An administrator enters it in the Massmail Settings."),
            about=settings,
        )
    return None


def life_hold(now: dt.datetime) -> Hold | None:
    """Return the hold of a site on which no tick has been for a while."""
    tick = Heartbeat.objects.filter(name=TICK).first()
    return silence(tick.at if tick else None, now=now)


def silence(ticked_at: dt.datetime | None, *, now: dt.datetime) -> Hold | None:
    """Return the hold of a site whose last tick was at `ticked_at`; without a query where that is not long ago."""
    if ticked_at is not None and now - ticked_at < patience():
        return None
    since = _("there has never been a tick.")
    if ticked_at is not None:
        since = _("the last tick was %(time)s.") % {"time": when(ticked_at, now=now)}
    return _schedule_hold(ticked_at, since, now=now) or Hold(
        reason=HoldReason.NO_HEARTBEAT,
        detail=_("No worker or beat is alive: %(since)s") % {"since": since},
        remedy=_("Ask whoever runs this site to start Celery's worker and beat."),
    )


def _schedule_hold(ticked_at: dt.datetime | None, since: str, *, now: dt.datetime) -> Hold | None:
    """Return what the table of periodic tasks tells of a silence; None where it tells nothing, or there is none."""
    if not apps.is_installed("django_celery_beat"):
        return None
    task = periodic_task()
    if task is None:
        return Hold(
            reason=HoldReason.NO_SCHEDULE,
            detail=_("There is no periodic task “%(task)s”, so that nothing is sent.") % {"task": TASK},
            remedy=_("Ask whoever runs this site to run massmail_setup once."),
        )
    if not task.enabled:
        return Hold(
            reason=HoldReason.NO_SCHEDULE,
            detail=_("The periodic task “%(task)s” is switched off, so that nothing is sent.") % {"task": task.name},
            remedy=_("An administrator can switch it on again."),
            about=task,
        )
    if ticked_at and task.last_run_at and task.last_run_at - ticked_at > patience():
        return Hold(
            reason=HoldReason.NO_WORKER,
            detail=_("No worker answers: beat rang %(time)s, but %(since)s")
            % {"time": when(task.last_run_at, now=now), "since": since},
            remedy=_("Ask whoever runs this site to start Celery's worker, or more of them."),
        )
    return None


def periodic_task() -> Any:
    """Return django-celery-beat's row for the tick, None if there is none. Its table is read, Celery is not asked.

    Beat writes `last_run_at` every three minutes and when it ends.
    """
    if not apps.is_installed("django_celery_beat"):
        return None
    rows = apps.get_model("django_celery_beat", "PeriodicTask")._default_manager.filter(task=TASK)
    return rows.order_by("-enabled", "pk").first()
