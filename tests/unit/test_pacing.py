"""Gaps between mails."""

from __future__ import annotations

import datetime as dt
from zoneinfo import ZoneInfo

from hypothesis import given
from hypothesis import strategies as st

from massmail.engine.pacing import Pace, back_off, fraction, next_at

DAY = dt.date(2026, 11, 23)
NOW = dt.datetime(2026, 11, 23, 8, 0, tzinfo=dt.UTC)


def pace(**changes) -> Pace:
    fields = {"account": 1, "gap_min": 15, "gap_max": 35, "spread_evenly": False, "limit": 94}
    return Pace(**fields | changes)


@given(account=st.integers(1, 10**9), n=st.integers(1, 10**6), low=st.integers(0, 300), more=st.integers(0, 300))
def test_gap__within_its_bounds_and_always_the_same(account, n, low, more):
    bounds = pace(account=account, gap_min=low, gap_max=low + more)
    first = next_at(NOW, bounds, day=DAY, n=n, closes=NOW)
    assert first == next_at(NOW, bounds, day=DAY, n=n, closes=NOW)
    assert low <= (first - NOW).total_seconds() <= low + more


def test_gaps_differ_between_mails_days_and_accounts():
    seen = {
        fraction(account, DAY + dt.timedelta(days=day), n) for account in range(5) for day in range(5) for n in range(5)
    }
    assert len(seen) == 125


def test_gaps_fill_their_range():
    values = [fraction(1, DAY, n) for n in range(1000)]
    assert 0.45 < sum(values) / len(values) < 0.55
    assert min(values) < 0.01
    assert max(values) > 0.99


@given(limit=st.integers(2, 500), hours=st.integers(1, 12), account=st.integers(1, 1000))
def test_spread_evenly__uses_the_quota_in_the_time_there_is(limit, hours, account):
    closes = NOW + dt.timedelta(hours=hours)
    even = pace(account=account, limit=limit, spread_evenly=True, gap_min=0, gap_max=0)
    moment, sent = NOW, 0
    while moment < closes and sent < limit:
        sent += 1
        moment = next_at(moment, even, day=DAY, n=sent, closes=closes)
    assert sent >= limit - 1 - limit // 10
    last_third = NOW + dt.timedelta(hours=hours) * 2 / 3
    assert moment > last_third or limit < 5


@given(limit=st.integers(2, 9), n=st.integers(1, 8), account=st.integers(1, 1000), hours=st.integers(0, 24))
def test_spread_evenly__no_gap_reaches_beyond_the_window(limit, n, account, hours):
    closes = NOW + dt.timedelta(hours=hours)
    even = pace(account=account, limit=limit, spread_evenly=True, gap_min=0, gap_max=0)
    assert next_at(NOW, even, day=DAY, n=n, closes=closes) <= closes


def test_gap__is_as_long_while_the_clocks_change():
    before = dt.datetime(2026, 10, 25, 2, 50, tzinfo=ZoneInfo("Europe/Berlin"))
    half_an_hour = pace(gap_min=1800, gap_max=1800)
    after = next_at(before, half_an_hour, day=DAY, n=1, closes=before)
    assert after - before.astimezone(dt.UTC) == dt.timedelta(minutes=30)


def test_back_off__climbs_and_stays():
    assert [back_off(n) for n in (1, 2, 3, 4, 5, 99)] == [dt.timedelta(minutes=m) for m in (1, 5, 15, 60, 60, 60)]
