"""What a mailing sent per day and account, as bars: pure arithmetic between the tallies and the template.

Everything is in per cent of the drawing, so that it needs no script and fits every width.
"""

from __future__ import annotations

import datetime as dt
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from django.utils.formats import date_format
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

#: More bars than that are put together to weeks, then to months.
MOST_BARS = 62
#: As many as can be told apart by colour. Of more the drawing shows the sum, and each account has a line of its own.
MOST_COLOURS = 5
#: Fewer bars than that stand at the beginning instead of growing fat.
FEWEST_SLOTS = 14
MOST_LABELS = 5
#: The part of its slot that a bar fills.
FILLED = 0.78
#: How high the little drawing of one account is, in its own units.
LINE_HEIGHT = 20

ALL = "1"
NOT_SENT = "not-sent"


@dataclass(frozen=True, slots=True, kw_only=True)
class DayCount:
    """How many deliveries ended on a day through an account; `account` None is one that was deleted."""

    day: dt.date
    account: int | None
    name: str
    sent: int
    not_sent: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Series:
    """What one colour stands for; `look` names the colour in the style sheet.

    `part` is whether its numbers are parts of a whole. What happens to mails afterwards is none: they count already.
    """

    look: str
    name: str
    part: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Segment:
    look: str
    y: str
    height: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Bar:
    """One period: where its bar stands, and the numbers by series for the table.

    `total` is the sum of `numbers`; `later` are the numbers of the series that are no parts of it.
    """

    title: str
    label: str
    x: str
    middle: str
    width: str
    segments: Sequence[Segment]
    numbers: Sequence[int]
    total: int
    later: Sequence[int]

    @property
    def filled(self) -> bool:
        return bool(self.segments)


@dataclass(frozen=True, slots=True, kw_only=True)
class Timeline:
    """The drawing; `per` says what a bar is, `marks` are the figures at the side from the top.

    `series` are the parts that a bar is made of, `later` what is drawn in front of it, from the ground too.
    `looks` names the colour of each account, where each has one; `lines` are the SVG paths of its own little drawing,
    `slots` units wide and `LINE_HEIGHT` high.
    """

    per: str
    series: Sequence[Series]
    later: Sequence[Series]
    bars: Sequence[Bar]
    marks: Sequence[int]
    looks: dict[int | None, str]
    lines: dict[int | None, str]
    slots: int


def timeline(counts: Iterable[DayCount]) -> Timeline | None:
    """Return the drawing of `counts`, or None where nothing was sent yet and nothing failed."""
    counts = [count for count in counts if count.sent > 0 or count.not_sent > 0]
    if not counts:
        return None
    scale = _scale(min(count.day for count in counts), max(count.day for count in counts))
    periods = _periods(counts, scale)
    looks, series = _series(counts)
    sums: dict[dt.date, dict[str, int]] = {day: defaultdict(int) for day in periods}
    sent: dict[int | None, dict[dt.date, int]] = defaultdict(lambda: defaultdict(int))
    for count in counts:
        day = scale.begin(count.day)
        sums[day][looks.get(count.account, ALL)] += max(count.sent, 0)
        sums[day][NOT_SENT] += max(count.not_sent, 0)
        sent[count.account][day] += max(count.sent, 0)
    most = max(max(numbers.values()) for numbers in sent.values())
    lines = {account: _line(numbers, periods, most) for account, numbers in sent.items()}
    return _drawing(sums, series, scale, looks=looks, lines=lines)


def daily(numbers: Mapping[dt.date, Mapping[str, int]], series: Sequence[Series]) -> Timeline:
    """Return the drawing of `numbers`, by day and by the `look` of one of the `series`; a bar for each day."""
    return _drawing(numbers, series, DAY, looks={}, lines={})


def _drawing(
    sums: Mapping[dt.date, Mapping[str, int]],
    series: Sequence[Series],
    scale: Scale,
    *,
    looks: dict[int | None, str],
    lines: dict[int | None, str],
) -> Timeline:
    parts, later = [each for each in series if each.part], [each for each in series if not each.part]
    top = _round_up(max(sum(found[each.look] for each in some) for found in sums.values() for some in (parts, later)))
    return Timeline(
        per=str(scale.name),
        series=parts,
        later=later,
        bars=_bars(sums, parts, later, scale, top),
        marks=[top, top // 2, 0],
        looks=looks,
        lines=lines,
        slots=_slots(len(sums)),
    )


def _series(counts: Sequence[DayCount]) -> tuple[dict[int | None, str], list[Series]]:
    """Return the colour of each account, unless there are too many, and the legend."""
    totals: dict[int | None, int] = defaultdict(int)
    names: dict[int | None, str] = {}
    for count in counts:
        totals[count.account] += count.sent
        names[count.account] = count.name or _("deleted account")
    ranked = sorted(totals, key=lambda account: (-totals[account], names[account]))
    looks = {account: str(number) for number, account in enumerate(ranked, 1)} if len(ranked) <= MOST_COLOURS else {}
    series = [Series(look=looks[account], name=names[account]) for account in ranked] if looks else []
    failed = [Series(look=NOT_SENT, name=_("failed or unknown"))] if any(c.not_sent > 0 for c in counts) else []
    return looks, [*(series or [Series(look=ALL, name=_("sent by all accounts"))]), *failed]


def _line(numbers: dict[dt.date, int], periods: Sequence[dt.date], most: int) -> str:
    """Return the path of bars as high as `numbers`, where `most` fills the height."""
    high = [(place, round(LINE_HEIGHT * numbers[day] / most, 1)) for place, day in enumerate(periods) if numbers[day]]
    return "".join(f"M{place} {LINE_HEIGHT}v-{height:g}h{FILLED:g}v{height:g}z" for place, height in high if most)


def _slots(periods: int) -> int:
    return max(periods, FEWEST_SLOTS)


@dataclass(frozen=True, slots=True, kw_only=True)
class Scale:
    """What a bar stands for: its `name`, the day its period begins with, and how that day is written."""

    name: Any
    begin: Callable[[dt.date], dt.date]
    short: str
    long: str


def _monday(day: dt.date) -> dt.date:
    return day - dt.timedelta(days=day.weekday())


def _month(day: dt.date) -> dt.date:
    return day.replace(day=1)


DAY = Scale(name=gettext_lazy("day"), begin=lambda day: day, short="j M", long="D j M Y")
WEEK = Scale(name=gettext_lazy("week"), begin=_monday, short="j M", long="j F Y")
MONTH = Scale(name=gettext_lazy("month"), begin=_month, short="M Y", long="F Y")


def _scale(first: dt.date, last: dt.date) -> Scale:
    if (last - first).days < MOST_BARS:
        return DAY
    return WEEK if (last - _monday(first)).days < 7 * MOST_BARS else MONTH


def _periods(counts: Sequence[DayCount], scale: Scale) -> list[dt.date]:
    """Return the first days of all periods, in order; also of those in which nothing was sent."""
    first, last = min(count.day for count in counts), max(count.day for count in counts)
    days = (first + dt.timedelta(days=number) for number in range((last - first).days + 1))
    return list(dict.fromkeys(map(scale.begin, days)))


def _round_up(number: int) -> int:
    """Return the next number that reads well at the top of a scale, and halved in its middle."""
    if number <= 10:
        return max(2, number + number % 2)
    unit = 10 ** (len(str(number)) - 2)
    return next(step * unit for step in (10, 12, 16, 20, 30, 40, 50, 60, 80, 100) if step * unit >= number)


def _bars(
    sums: Mapping[dt.date, Mapping[str, int]],
    parts: Sequence[Series],
    later: Sequence[Series],
    scale: Scale,
    top: int,
) -> list[Bar]:
    slots = _slots(len(sums))
    slot, every = 100 / slots, -(-slots // MOST_LABELS)
    bars = []
    for number, (period, found) in enumerate(sums.items()):
        numbers, afterwards = [found[each.look] for each in parts], [found[each.look] for each in later]
        bars.append(
            Bar(
                title=date_format(period, scale.long),
                label=date_format(period, scale.short) if number % every == 0 else "",
                x=_percent((number + (1 - FILLED) / 2) * slot),
                middle=_percent((number + 0.5) * slot),
                width=_percent(slot * FILLED),
                segments=[*_segments(parts, numbers, top), *_segments(later, afterwards, top)],
                numbers=numbers,
                total=sum(numbers),
                later=afterwards,
            )
        )
    return bars


def _segments(series: Sequence[Series], numbers: Sequence[int], top: int) -> list[Segment]:
    segments, floor = [], 100.0
    for each, number in zip(series, numbers, strict=True):
        if number:
            height = 100 * number / top
            floor -= height
            segments.append(Segment(look=each.look, y=_percent(floor), height=_percent(height)))
    return segments


def _percent(number: float) -> str:
    """Return a length for SVG, written the same in every language."""
    return f"{number:.3f}%"
