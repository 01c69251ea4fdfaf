"""Lists of addresses that somebody brings along, as text or CSV: read line by line, judged before anything is added."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from django.utils.text import Truncator
from django.utils.translation import gettext as _

from massmail.admin.exports import FORMULA
from massmail.audience import parse_address
from massmail.audience.addresses import is_plain
from massmail.choices import SuppressionReason

#: Lines of a list. More of them are a file for each, so that a page never works for minutes.
MOST_LINES = 100_000
#: Separators of columns, as spreadsheets in different countries write them.
SEPARATORS = (",", ";", "\t")
ADDRESS_HEADINGS = ("address", "email", "e-mail", "email address", "e-mail address", "mail")
REASON_HEADINGS = ("reason",)


@dataclass(frozen=True, slots=True, kw_only=True)
class BadLine:
    """A line that gives no address: its number, counted from 1, the beginning of it, and what is wrong."""

    number: int
    text: str
    problem: str


@dataclass(frozen=True, slots=True, kw_only=True)
class AddressList:
    """What a list says: a reason for each address (normalised), lines that repeat one, and lines that say nothing."""

    reasons: Mapping[str, SuppressionReason]
    repeated: int
    bad: Sequence[BadLine]


@dataclass(frozen=True, slots=True, kw_only=True)
class Columns:
    """Where things stand in a line; `address` None: in the one cell with an @."""

    separator: str
    address: int | None = None
    reason: int | None = None


def read_list(text: str, *, reason: SuppressionReason) -> AddressList:
    """Return the addresses of `text`: one to a line, or a CSV file with a heading that names the column.

    `reason` is that of lines whose column "reason" says nothing known; our own export is read back as it was.
    """
    reasons: dict[str, SuppressionReason] = {}
    repeated, bad = 0, []
    for number, cells, columns in _lines(text):
        address, problem = _address(cells, columns)
        if problem:
            bad.append(BadLine(number=number, text=Truncator(columns.separator.join(cells)).chars(80), problem=problem))
        elif address in reasons:
            repeated += 1
        else:
            reasons[address] = _reason(cells, columns) or reason
    return AddressList(reasons=reasons, repeated=repeated, bad=bad)


def _lines(text: str) -> Iterator[tuple[int, list[str], Columns]]:
    """Yield the lines that are not empty, with their numbers, cells and where to look; the heading is none of them.

    Each line is read by itself, so that a forgotten quotation mark spoils one line and not the rest of the file.
    """
    columns = None
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip():
            continue
        if columns is None:
            columns = _columns(line)
            if columns.address is not None:
                continue
        yield number, _cells(line, columns.separator), columns


def _columns(line: str) -> Columns:
    """Return where things stand, from the first line of a list; `address` is known only if that is a heading."""
    separator = max(SEPARATORS, key=line.count)
    headings = [cell.lower() for cell in _cells(line, separator)]
    address = next((headings.index(name) for name in (*ADDRESS_HEADINGS, _("address")) if name in headings), None)
    if address is None:
        return Columns(separator=separator)
    reason = next((headings.index(name) for name in (*REASON_HEADINGS, _("reason")) if name in headings), None)
    return Columns(separator=separator, address=address, reason=reason)


def _cells(line: str, separator: str) -> list[str]:
    try:
        return [_unguarded(cell.strip()) for cell in next(csv.reader([line], delimiter=separator))]
    except csv.Error:
        return [line]


def _unguarded(cell: str) -> str:
    """Return a cell without the mark that our export puts before what a spreadsheet would take for a formula."""
    return cell[1:] if cell.startswith("'") and cell[1:].startswith(FORMULA) else cell


def _address(cells: Sequence[str], columns: Columns) -> tuple[str, str]:
    """Return the address of a line, normalised, or "" and what is wrong."""
    if columns.address is None:
        candidates = [cell for cell in cells if "@" in cell]
    else:
        candidates = [cell for cell in cells[columns.address : columns.address + 1] if cell]
    if len(candidates) > 1:
        return "", _("Several addresses: put each on a line of its own, or name the column in the first line.")
    if not candidates:
        return "", _("No address.")
    if is_plain(candidates[0]):  # nearly always; the parser takes a hundred times as long
        return candidates[0].lower(), ""
    address = parse_address(candidates[0])
    return (address.normalised, "") if address else ("", _("Not a valid email address."))


def _reason(cells: Sequence[str], columns: Columns) -> SuppressionReason | None:
    if columns.reason is None or columns.reason >= len(cells):
        return None
    said = cells[columns.reason].lower()
    return next((each for each in SuppressionReason if said in (each.value, str(each.label).lower())), None)
