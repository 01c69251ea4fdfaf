"""How moments and days are written: the one way for every page and every sentence.

Short, the names in the reader's language, the order of their parts with the translators (the formats are Django's, of
`date_format`), and "today" where the reader would say so.
"""

from __future__ import annotations

import datetime as dt

from django.utils import timezone
from django.utils.formats import date_format
from django.utils.translation import gettext as _
from django.utils.translation import pgettext


def when(
    moment: dt.datetime, *, zone: dt.tzinfo | None = None, now: dt.datetime | None = None, relative: bool = True
) -> str:
    """Return an aware `moment` as read at `now`: "today 10:32", "Thu 3 Dec, 10:32"; with the year if it is another one.

    `zone` is by default the one in force. Not `relative`: for what is kept and read another day.
    """
    local = timezone.localtime(moment, zone)
    today = timezone.localtime(now or timezone.now(), zone).date()
    texts = {
        -1: _("yesterday %(time)s"),
        0: _("today %(time)s"),
        1: _("tomorrow %(time)s"),
    }
    text = texts.get((local.date() - today).days) if relative else None
    if text is not None:
        return text % {"time": date_format(local, pgettext("format of times", "H:i"))}
    if relative and local.year == today.year:
        return date_format(local, pgettext("format of moments", "D j M, H:i"))
    return date_format(local, pgettext("format of moments with the year", "D j M Y, H:i"))


def day(moment: dt.date, *, zone: dt.tzinfo | None = None, now: dt.datetime | None = None) -> str:
    """Return a day, or that of an aware moment, as read at `now`: "today", "3 Dec", "3 Dec 2025"."""
    local = timezone.localtime(moment, zone).date() if isinstance(moment, dt.datetime) else moment
    today = timezone.localtime(now or timezone.now(), zone).date()
    texts = {-1: _("yesterday"), 0: _("today"), 1: _("tomorrow")}
    if text := texts.get((local - today).days):
        return text
    return date_format(local, pgettext("format of days", "j M")) if local.year == today.year else date(local)


def date(day: dt.date) -> str:
    """Return a day as it is kept, to be read in any year: "3 Dec 2026"."""
    return date_format(day, pgettext("format of days with the year", "j M Y"))
