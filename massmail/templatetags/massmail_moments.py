"""The filters `when` and `day`: moments and days as `massmail.moments` writes them."""

from __future__ import annotations

import datetime as dt

from django import template

from massmail import moments

register = template.Library()


@register.filter(expects_localtime=True)
def when(moment: dt.datetime | None) -> str:
    return moments.when(moment) if moment else ""


@register.filter(expects_localtime=True)
def day(date: dt.date | None) -> str:
    return moments.day(date) if date else ""
