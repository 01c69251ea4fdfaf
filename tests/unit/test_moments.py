"""How moments and days are written."""

from __future__ import annotations

import datetime as dt
from zoneinfo import ZoneInfo

import pytest
from django.utils import translation

from massmail.moments import date, day, when
from tests.world import berlin

BERLIN = ZoneInfo("Europe/Berlin")
NOW = berlin("2026-11-23 10:00")


@pytest.mark.parametrize(
    ("moment", "words"),
    [
        ("2026-11-23 00:00", "today 00:00"),
        ("2026-11-23 23:59", "today 23:59"),
        ("2026-11-24 00:00", "tomorrow 00:00"),
        ("2026-11-22 23:59", "yesterday 23:59"),
        ("2026-12-03 08:30", "Thu 3 Dec, 08:30"),
        ("2027-01-14 08:30", "Thu 14 Jan 2027, 08:30"),
    ],
)
def test_when(moment, words):
    assert when(berlin(moment), zone=BERLIN, now=NOW) == words


def test_when__goes_by_the_day_of_its_zone():
    midnight_in_berlin = berlin("2026-11-24 00:30")
    assert when(midnight_in_berlin, zone=dt.UTC, now=NOW) == "today 23:30"


def test_when__that_is_kept_is_read_on_any_day():
    assert when(NOW, zone=BERLIN, now=NOW, relative=False) == "Mon 23 Nov 2026, 10:00"


def test_when__in_the_readers_language():
    with translation.override("de"):
        assert when(berlin("2026-12-03 08:30"), zone=BERLIN, now=NOW) == "Do 3 Dez, 08:30"


@pytest.mark.parametrize(
    ("moment", "words"),
    [
        (dt.date(2026, 11, 23), "today"),
        (berlin("2026-11-22 23:59"), "yesterday"),
        (dt.date(2026, 12, 3), "3 Dec"),
        (dt.date(2025, 12, 3), "3 Dec 2025"),
    ],
)
def test_day(moment, words):
    assert day(moment, zone=BERLIN, now=NOW) == words


def test_date__has_its_year():
    assert date(dt.date(2026, 11, 23)) == "23 Nov 2026"
