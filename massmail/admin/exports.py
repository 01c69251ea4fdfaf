"""Lists as CSV, row by row as they come from the database: a million of them take no more memory than a thousand."""

from __future__ import annotations

import csv
import datetime as dt
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice
from typing import Any
from zoneinfo import ZoneInfo

from django.db.models import QuerySet
from django.http import StreamingHttpResponse
from django.utils.http import content_disposition_header
from django.utils.text import slugify

#: Rows that are fetched, given their host objects and written at a time.
CHUNK = 500
#: What spreadsheets take for the beginning of a formula (OWASP, CSV Injection).
FORMULA = ("=", "+", "-", "@", "\t", "\r")
#: Characters of each part of a file's name.
LONGEST_WORD = 60
#: Tells spreadsheets that the file is UTF-8.
BYTE_ORDER_MARK = "\ufeff"


class Line:
    """What `csv.writer` writes to: hands each line back."""

    def write(self, text: str) -> str:
        return text


def cell(value: Any, zone: ZoneInfo) -> str:
    """Return `value` as the text of a cell that no spreadsheet takes for a formula; times in `zone`, to the second."""
    if value is None:
        return ""
    if isinstance(value, dt.datetime):
        return value.astimezone(zone).strftime("%Y-%m-%d %H:%M:%S")
    if isinstance(value, int):
        return str(value)
    text = str(value).replace("\x00", "")
    return f"'{text}" if text.startswith(FORMULA) else text


def chunks(rows: Iterable[Any]) -> Iterator[list[Any]]:
    rows = iter(rows)
    while chunk := list(islice(rows, CHUNK)):
        yield chunk


def lines(
    queryset: QuerySet[Any],
    columns: Sequence[tuple[str, Callable[[Any], Any]]],
    *,
    prepare: Callable[[list[Any]], None],
    zone: ZoneInfo,
) -> Iterator[str]:
    """Yield the file in pieces: `columns` are headings and what gives the value of a row; `prepare` sees each chunk."""
    writer = csv.writer(Line())
    yield BYTE_ORDER_MARK + writer.writerow([cell(heading, zone) for heading, _value in columns])
    for chunk in chunks(queryset.iterator(chunk_size=CHUNK)):
        prepare(chunk)
        yield "".join(writer.writerow([cell(value(row), zone) for _heading, value in columns]) for row in chunk)


def file_name(*parts: str, day: dt.date) -> str:
    """Return what a file is called: "autumn-offer-recipients-2026-11-23.csv", in letters of any language."""
    words = [slugify(part, allow_unicode=True)[:LONGEST_WORD] for part in parts]
    return "-".join([*filter(None, words), day.isoformat()]) + ".csv"


def csv_response(pieces: Iterator[str], *, filename: str) -> StreamingHttpResponse:
    """Return `pieces` as a file that browsers keep and never show."""
    return StreamingHttpResponse(
        pieces,
        content_type="text/csv; charset=utf-8",
        headers={
            "Content-Disposition": content_disposition_header(True, filename) or "attachment",
            "Cache-Control": "private, no-store",
            "X-Content-Type-Options": "nosniff",
        },
    )
