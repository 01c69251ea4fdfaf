"""The planner: what it counts at once is what it finds mail by mail."""

from __future__ import annotations

import datetime as dt
from collections import Counter, defaultdict
from dataclasses import replace
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from massmail.choices import Limit
from massmail.engine import planner
from massmail.engine.planner import Load, Rules, Speaker, course, slots
from massmail.engine.window import Window, is_open, local_day

BERLIN = ZoneInfo("Europe/Berlin")
#: A Monday; the Sunday before it the clocks went back.
MONDAY = dt.datetime(2026, 10, 26, 9, 0, tzinfo=BERLIN)
HOUR, MINUTE = dt.timedelta(hours=1), dt.timedelta(minutes=1)


def window(**changes) -> Window:
    fields = {
        "zone": BERLIN,
        "limited": True,
        "start": dt.time(8, 30),
        "end": dt.time(17, 30),
        "days": frozenset({1, 2, 3, 4}),
    }
    return Window(**fields | changes)


def rules(**changes) -> Rules:
    fields = {"window": window(), "gap_min": 15, "gap_max": 35, "spread_evenly": False}
    return Rules(**fields | changes)


def speaker(**changes) -> Speaker:
    return Speaker(**{"pk": 7, "limit": 94, "used": 0, "free_at": MONDAY} | changes)


def year(now: dt.datetime) -> dt.datetime:
    return now + dt.timedelta(days=365)


windows = st.builds(
    window,
    zone=st.sampled_from([BERLIN, ZoneInfo("UTC"), ZoneInfo("America/New_York"), ZoneInfo("Asia/Kathmandu")]),
    limited=st.booleans(),
    start=st.times(max_value=dt.time(11)).map(lambda time: time.replace(second=0, microsecond=0)),
    end=st.times(min_value=dt.time(12)).map(lambda time: time.replace(second=0, microsecond=0)),
    days=st.sets(st.integers(1, 7), min_size=1).map(frozenset),
)
moments = st.integers(0, 365 * 24 * 60).map(lambda number: dt.datetime(2026, 1, 1, tzinfo=dt.UTC) + number * MINUTE)
paced = st.none()


@st.composite
def scenes(draw, rates=paced):
    now = draw(moments)
    low = draw(st.sampled_from([0, 1, 15, 600, 7200]))
    all_rules = Rules(
        window=draw(windows),
        gap_min=low,
        gap_max=low + draw(st.sampled_from([0, 20, 3600])),
        spread_evenly=draw(st.booleans()),
    )
    limit = draw(st.integers(1, 120))
    who = Speaker(
        pk=draw(st.integers(1, 1000)),
        limit=limit,
        used=draw(st.integers(0, limit + 2)),
        free_at=now + HOUR * draw(st.sampled_from([0, 0, 0, 1, 30])),
        last_mailing=draw(st.integers(0, 4)),
        rate=draw(rates),
    )
    wait = st.one_of(st.just(0), st.integers(0, 60 * 24 * 20)).map(lambda number: number * MINUTE)
    loads = [
        Load(mailing=draw(st.integers(1, 4)), count=draw(st.integers(0, 400)), ready_at=now + draw(wait))
        for _ in range(draw(st.integers(0, 4)))
    ]
    return now, all_rules, who, loads


@given(scenes())
@settings(max_examples=150, deadline=None)
def test_course__is_the_sum_of_the_slots(scene):
    now, all_rules, who, loads = scene
    days, ends = defaultdict(Counter), {}
    for slot in slots(who, all_rules, loads, now=now, until=year(now)):
        days[slot.mailing][slot.day] += 1
        ends[slot.mailing] = slot.at
    found = course(who, all_rules, loads, now=now, until=year(now))
    assert found.days == days
    unended = {mailing for mailing, count in found.left.items() if count}
    assert {key: at for key, at in found.ends.items() if key not in unended} == {
        key: at for key, at in ends.items() if key not in unended
    }
    asked = Counter()
    for load in loads:
        asked[load.mailing] += load.count
    assert +asked == Counter({key: sum(counts.values()) for key, counts in found.days.items()}) + found.left


@given(scenes())
@settings(max_examples=60, deadline=None)
def test_slots__keep_the_rules(scene):
    now, all_rules, who, loads = scene
    ready = defaultdict(list)
    for load in loads:
        ready[load.mailing] += [load.ready_at] * load.count
    numbers, last = Counter({local_day(now, all_rules.window.zone): who.used}), None
    for slot in slots(who, all_rules, loads, now=now, until=year(now)):
        assert is_open(slot.at, all_rules.window)
        assert slot.day == local_day(slot.at, all_rules.window.zone)
        numbers[slot.day] += 1
        assert slot.number == numbers[slot.day] <= who.limit
        assert slot.at >= max(who.free_at, min(ready[slot.mailing]))
        assert (
            last is None
            or slot.at - last >= dt.timedelta(seconds=all_rules.gap_min)
            or slot.day != local_day(last, all_rules.window.zone)
        )
        ready[slot.mailing].remove(min(ready[slot.mailing]))
        last = slot.at


@given(scenes(rates=st.sampled_from([0.01, 1.0, 25.0])))
@settings(max_examples=60, deadline=None)
def test_relay__its_stretches_are_its_slots(scene):
    now, all_rules, who, loads = scene
    sums, ends = Counter(), {}
    for slot in slots(who, all_rules, loads, now=now, until=year(now)):
        sums[slot.mailing, slot.day] += 1
        ends[slot.mailing] = slot.at
    found = course(who, all_rules, loads, now=now, until=year(now))
    assert {(mailing, day): count for mailing, days in found.days.items() for day, count in days.items()} == sums
    for mailing, at in ends.items():
        assert abs(found.ends[mailing] - at) <= dt.timedelta(milliseconds=1)


def test_many_mails_take_few_steps(monkeypatch):
    taken = []
    gap = planner.pacing.next_at
    monkeypatch.setattr(planner.pacing, "next_at", lambda *args, **more: taken.append(1) or gap(*args, **more))
    for spread in (False, True):
        found = course(
            speaker(limit=300),
            rules(spread_evenly=spread),
            [Load(mailing=1, count=50_000, ready_at=MONDAY)],
            now=MONDAY,
            until=year(MONDAY),
        )
        assert sum(found.days[1].values()) == 50_000
        assert len(found.days[1]) == pytest.approx(167, abs=2)
    assert len(taken) < 4000  # the last day of each, and a day now and then


def test_mailings_take_turns_and_the_next_begins_after_the_last():
    loads = [Load(mailing=key, count=3, ready_at=MONDAY) for key in (3, 5, 9)]
    found = slots(speaker(last_mailing=4), rules(), loads, now=MONDAY, until=year(MONDAY))
    assert [slot.mailing for slot in found] == [5, 9, 3] * 3


@pytest.mark.parametrize(
    ("who", "hours", "count", "stops"),
    [
        (speaker(limit=10), {}, 35, {Limit.QUOTA: 3}),
        (speaker(limit=10), {}, 10, {}),
        (speaker(limit=5000), {"end": dt.time(9, 0)}, 250, {Limit.HOURS: 3}),
        (speaker(limit=5000), {}, 100, {}),
        (speaker(limit=100_000, rate=1.0), {"end": dt.time(9, 0)}, 4000, {Limit.HOURS: 2}),
    ],
)
def test_stops__say_what_ended_the_days(who, hours, count, stops):
    start = MONDAY.replace(hour=8, minute=30)
    load = Load(mailing=1, count=count, ready_at=start)
    found = course(replace(who, free_at=start), rules(window=window(**hours)), [load], now=start, until=year(start))
    assert found.stops == stops


def test_what_does_not_fit_into_a_year_is_left():
    found = course(
        speaker(limit=1),
        rules(window=window(days=frozenset({1}))),
        [Load(mailing=1, count=100, ready_at=MONDAY)],
        now=MONDAY,
        until=year(MONDAY),
    )
    assert sum(found.days[1].values()) + found.left[1] == 100
    assert found.left[1] == 100 - 53
