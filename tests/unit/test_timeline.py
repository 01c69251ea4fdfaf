"""The drawing of what a mailing sent: bars of days, weeks or months, and never a number lost."""

from __future__ import annotations

import datetime as dt
from itertools import pairwise

import pytest

from massmail.admin.timeline import MOST_BARS, MOST_COLOURS, NOT_SENT, DayCount, Series, Timeline, daily, timeline

FIRST = dt.date(2026, 3, 2)


def counted(day: int = 0, account: int | None = 1, sent: int = 0, not_sent: int = 0) -> DayCount:
    name = f"account {account}" if account else ""
    return DayCount(day=FIRST + dt.timedelta(days=day), account=account, name=name, sent=sent, not_sent=not_sent)


def drawn(*counts: DayCount) -> Timeline:
    drawing = timeline(counts)
    assert drawing is not None
    return drawing


def percent(text: str) -> float:
    return float(text.removesuffix("%"))


def test_nothing_sent_is_no_drawing():
    assert timeline([]) is None
    assert timeline([counted(sent=0)]) is None


def test_one_day():
    drawing = drawn(counted(sent=94))
    (bar,) = drawing.bars
    assert (drawing.per, bar.total, bar.label) == ("day", 94, "2 Mar")
    assert drawing.marks == [100, 50, 0]
    (segment,) = bar.segments
    assert (segment.y, segment.height) == ("6.000%", "94.000%")
    assert percent(bar.width) < 10  # not a wall


def test_days_without_mail_leave_a_gap():
    drawing = drawn(counted(0, sent=5), counted(3, sent=5))
    assert [bar.total for bar in drawing.bars] == [5, 0, 0, 5]
    assert drawing.bars[1].segments == []


@pytest.mark.parametrize(
    ("days", "per"), [(1, "day"), (MOST_BARS, "day"), (MOST_BARS + 1, "week"), (200, "week"), (1000, "month")]
)
def test_many_days_are_put_together(days, per):
    drawing = drawn(*(counted(day, sent=1 + day % 90) for day in range(days)))
    assert drawing.per == per
    assert len(drawing.bars) <= MOST_BARS
    assert sum(bar.total for bar in drawing.bars) == sum(1 + day % 90 for day in range(days))
    assert sum(bool(bar.label) for bar in drawing.bars) <= 5


def test_bars_stand_side_by_side_within_the_drawing():
    bars = drawn(*(counted(day, sent=1) for day in range(MOST_BARS))).bars
    assert all(percent(left.x) + percent(left.width) <= percent(right.x) for left, right in pairwise(bars))
    assert percent(bars[-1].x) + percent(bars[-1].width) <= 100


def test_each_of_a_few_accounts_has_its_colour_the_busiest_first():
    drawing = drawn(counted(account=1, sent=3), counted(account=2, sent=9), counted(account=None, sent=1, not_sent=2))
    assert [series.name for series in drawing.series] == [
        "account 2",
        "account 1",
        "deleted account",
        "failed or unknown",
    ]
    assert drawing.looks == {2: "1", 1: "2", None: "3"}
    (bar,) = drawing.bars
    assert bar.numbers == [9, 3, 1, 2]
    assert [segment.look for segment in bar.segments] == ["1", "2", "3", NOT_SENT]
    assert sum(percent(segment.height) for segment in bar.segments) == pytest.approx(100 * 15 / drawing.marks[0])


def test_many_accounts_are_one_colour_and_a_line_each():
    number = MOST_COLOURS + 25
    drawing = drawn(*(counted(day, account, sent=account) for account in range(1, number + 1) for day in range(3)))
    assert drawing.looks == {}
    assert [series.name for series in drawing.series] == ["sent by all accounts"]
    assert [bar.total for bar in drawing.bars] == [sum(range(1, number + 1))] * 3
    assert set(drawing.lines) == set(range(1, number + 1))
    assert drawing.lines[number] == "M0 20v-20h0.78v20zM1 20v-20h0.78v20zM2 20v-20h0.78v20z"


def test_doubts_that_were_settled_on_another_day_count_for_nothing():
    drawing = drawn(counted(0, sent=4, not_sent=1), counted(1, sent=1, not_sent=-1))
    assert [bar.numbers for bar in drawing.bars] == [[4, 1], [1, 0]]


def test_what_came_back_later_is_no_part_of_the_whole():
    series = [Series(look="1", name="sent"), Series(look="3", name="bounced", part=False)]
    days = [FIRST + dt.timedelta(days=number) for number in range(3)]
    numbers = dict(zip(days, [{"1": 8, "3": 2}, {"1": 0, "3": 4}, {"1": 0, "3": 0}], strict=True))
    drawing = daily(numbers, series)
    assert ([each.name for each in drawing.series], [each.name for each in drawing.later]) == (["sent"], ["bounced"])
    assert [(bar.numbers, bar.total, bar.later) for bar in drawing.bars] == [
        ([8], 8, [2]),
        ([0], 0, [4]),
        ([0], 0, [0]),
    ]
    assert [bar.filled for bar in drawing.bars] == [True, True, False]
    assert drawing.marks == [8, 4, 0]
    # In front of the bar, and both stand on the ground.
    assert [(each.y, each.height) for each in drawing.bars[0].segments] == [
        ("0.000%", "100.000%"),
        ("75.000%", "25.000%"),
    ]


@pytest.mark.parametrize("number", [1, 9, 10, 11, 94, 133, 999, 1000, 8800, 50_000, 1_000_000])
def test_the_scale_ends_just_above_the_highest_bar(number):
    top, middle, ground = drawn(counted(sent=number)).marks
    assert number <= top <= max(2, number * 2)
    assert (middle, ground) == (top // 2, 0)
    assert top % 2 == 0
