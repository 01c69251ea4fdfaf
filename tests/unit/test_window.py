"""Working hours and calendar days."""

from __future__ import annotations

import datetime as dt
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from massmail.engine.window import Window, closes_at, instant, is_open, local_day, midnight_after, opens_at

BERLIN = ZoneInfo("Europe/Berlin")
ZONES = [
    "Europe/Berlin",
    "America/New_York",
    "Asia/Kolkata",  # half an hour
    "Australia/Lord_Howe",  # a change of half an hour
    "America/Santiago",  # changes at midnight
    "Asia/Beirut",  # changes at midnight
    "Pacific/Apia",
    "UTC",
]


def hours(start: str = "08:30", end: str = "17:30", zone: ZoneInfo = BERLIN, days=(1, 2, 3, 4)) -> Window:
    return Window(
        zone=zone,
        limited=True,
        start=dt.time.fromisoformat(start),
        end=dt.time.fromisoformat(end),
        days=frozenset(days),
    )


def at(text: str, zone: ZoneInfo = BERLIN, fold: int = 0) -> dt.datetime:
    return dt.datetime.fromisoformat(text).replace(tzinfo=zone, fold=fold)


@pytest.mark.parametrize(
    ("now", "opening"),
    [
        ("2026-11-23 07:00", "2026-11-23 08:30"),
        ("2026-11-23 08:30", "2026-11-23 08:30"),
        ("2026-11-23 17:30", "2026-11-24 08:30"),
        ("2026-11-26 17:30", "2026-11-30 08:30"),  # Thursday evening waits for Monday
        ("2026-11-27 09:00", "2026-11-30 08:30"),
        ("2026-11-29 23:59", "2026-11-30 08:30"),
    ],
)
def test_opens_at(now, opening):
    assert opens_at(at(now), hours()) == at(opening)


def test_without_the_box_it_is_always_open():
    window = Window(zone=BERLIN, limited=False, start=dt.time(8), end=dt.time(9), days=frozenset())
    night = at("2026-11-27 23:30")
    assert is_open(night, window)
    assert opens_at(night, window) == night
    assert closes_at(night, window) == at("2026-11-28 00:00")


def test_changed_working_days():
    assert opens_at(at("2026-11-27 09:00"), hours(days=(5,))) == at("2026-11-27 09:00")
    assert opens_at(at("2026-11-27 18:00"), hours(days=(5,))) == at("2026-12-04 08:30")


def test_a_window_without_days_is_refused():
    with pytest.raises(ValueError, match="no working day"):
        opens_at(at("2026-11-27 09:00"), hours(days=()))


def test_spring__the_working_day_starts_at_the_same_wall_clock_time():
    # The clocks of Europe go forward on Sunday, 28 March 2027.
    assert opens_at(at("2027-03-25 18:00"), hours()) == dt.datetime(2027, 3, 29, 6, 30, tzinfo=dt.UTC)
    assert opens_at(at("2027-03-24 18:00"), hours()) == dt.datetime(2027, 3, 25, 7, 30, tzinfo=dt.UTC)


def test_autumn__the_working_day_starts_at_the_same_wall_clock_time():
    # The clocks go back on Sunday, 25 October 2026.
    assert opens_at(at("2026-10-22 18:00"), hours()) == dt.datetime(2026, 10, 26, 7, 30, tzinfo=dt.UTC)
    assert opens_at(at("2026-10-21 18:00"), hours()) == dt.datetime(2026, 10, 22, 6, 30, tzinfo=dt.UTC)


def test_spring__a_start_that_the_clock_skips():
    window = hours("02:30", "17:00", days=range(1, 8))
    assert opens_at(at("2027-03-28 00:00"), window) == dt.datetime(2027, 3, 28, 1, 0, tzinfo=dt.UTC)  # 03:00


def test_spring__hours_that_the_clock_skips_altogether():
    window = hours("02:10", "02:50", days=range(1, 8))
    assert opens_at(at("2027-03-28 00:00"), window) == at("2027-03-29 02:10")


def test_a_day_that_begins_at_one_in_the_morning():
    santiago = ZoneInfo("America/Santiago")
    day = dt.date(2026, 9, 6)
    assert instant(day, dt.time(0), santiago) == at("2026-09-06 01:00", santiago)
    assert midnight_after(at("2026-09-05 12:00", santiago), santiago) == at("2026-09-06 01:00", santiago)


zones = st.sampled_from(ZONES).map(ZoneInfo)
moments = st.integers(1_700_000_000, 1_900_000_000).map(lambda second: dt.datetime.fromtimestamp(second, dt.UTC))
times = st.times().map(lambda time: time.replace(microsecond=0, second=0))


@st.composite
def windows(draw):
    start, end = sorted([draw(times), draw(times)])
    days = draw(st.sets(st.integers(1, 7), min_size=1))
    if (dt.datetime.combine(dt.date.min, end) - dt.datetime.combine(dt.date.min, start)) < dt.timedelta(hours=2):
        start, end = dt.time(6), dt.time(18)
    return Window(zone=draw(zones), limited=True, start=start, end=end, days=frozenset(days))


@given(now=moments, window=windows())
def test_opens_at__is_open_then_and_never_before(now, window):
    opening = opens_at(now, window)
    assert opening >= now
    assert is_open(opening, window)
    local = opening.astimezone(window.zone)
    assert local.isoweekday() in window.days
    assert window.start <= local.time() < window.end
    if opening > now:
        step = (opening - now) / 20
        assert not any(is_open(now + step * n, window) for n in range(20))
        assert not is_open(opening - dt.timedelta(seconds=1), window)


@given(now=moments, window=windows())
def test_closes_at__ends_what_is_open(now, window):
    opening = opens_at(now, window)
    closing = closes_at(opening, window)
    # In the hour that comes twice in autumn the wall clock may show the end before it opens a second time.
    if closing > opening:
        assert not is_open(closing, window)
        assert local_day(closing, window.zone) >= local_day(opening, window.zone)


@given(now=moments, zone=zones)
def test_midnight_after__is_the_first_moment_of_the_next_day(now, zone):
    midnight = midnight_after(now, zone)
    assert local_day(midnight, zone) > local_day(now, zone)
    assert local_day(midnight - dt.timedelta(seconds=1), zone) == local_day(now, zone)
