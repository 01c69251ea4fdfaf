"""Why nothing leaves at all: what is missing in the deployment, and whether anybody is alive to send."""

from __future__ import annotations

import datetime as dt

from django.utils.formats import date_format
from django.utils.timezone import localtime
from django.utils.translation import gettext as _

from massmail.choices import HoldReason
from massmail.conf import conf
from massmail.engine.holds.hold import Hold
from massmail.models import Heartbeat, MassmailSettings

#: The heartbeat of the engine's tick is missed after this many intervals.
MISSED_TICKS = 12


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
    beat = Heartbeat.objects.filter(name="tick").first()
    if beat is not None and now - beat.at < dt.timedelta(seconds=conf.tick_seconds * MISSED_TICKS):
        return None
    since = _("No worker or beat is alive: there has never been a tick.")
    if beat is not None:
        when = date_format(localtime(beat.at), "D j M, H:i")
        since = _("No worker or beat is alive: the last tick was at %(time)s.") % {"time": when}
    return Hold(
        reason=HoldReason.NO_HEARTBEAT,
        detail=since,
        remedy=_("Ask whoever runs this site to start Celery's worker and beat, and to run massmail_setup once."),
    )
