"""What a hold is, and how its times read."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass, field

from django.db import models

from massmail import moments
from massmail.choices import HoldReason
from massmail.models import MassmailSettings


@dataclass(frozen=True, slots=True, kw_only=True)
class Hold:
    """Why something does not leave now.

    `until` is when this hold ends by itself (None: not by itself), `detail` a sentence for people, `remedy` what they
    can do, and `about` the object whose page is the place to do it.
    """

    reason: HoldReason
    until: dt.datetime | None = None
    detail: str = ""
    remedy: str = ""
    about: models.Model | None = field(default=None, compare=False)


def show(moment: dt.datetime, settings: MassmailSettings, *, now: dt.datetime | None = None) -> str:
    """Return `moment` as people read it at `now`, in the settings' time zone: "Mon 30 Nov, 08:30", "today 08:30"."""
    return moments.when(moment, zone=settings.zone, now=now)
