"""The day on which somebody who is away comes back, from the words of an automatic reply. Pure."""
# The letters of all languages are meant as they are.
# ruff: noqa: RUF001

from __future__ import annotations

import re
from datetime import MAXYEAR, date, timedelta

_MONTHS = {
    name: number
    for number, names in enumerate(
        (
            "january januar jänner janvier enero gennaio janeiro januari января січня stycznia",
            "february februar février fevrier febrero febbraio fevereiro februari февраля лютого lutego",
            "march märz maerz mars marzo março maart марта березня marca",
            "april avril abril aprile апреля квітня kwietnia",
            "may mai mayo maggio maio mei мая травня maja",
            "june juni juin junio giugno junho июня червня czerwca",
            "july juli juillet julio luglio julho июля липня lipca",
            "august août aout agosto augustus augusti августа серпня sierpnia",
            "september septembre septiembre settembre setembro сентября вересня września",
            "october oktober octobre octubre ottobre outubro октября жовтня października",
            "november novembre noviembre novembro ноября листопада listopada",
            "december dezember décembre decembre diciembre dicembre dezembro декабря грудня grudnia",
        ),
        start=1,
    )
    for name in names.split()
}
_UNTIL = re.compile(
    r"\b(?:until|till|through|back(?: in the office)?(?: on)?|return(?:ing)?(?: to the office)?(?: on)?"
    r"|bis(?: (?:zum|einschließlich))?|ab dem|wieder (?:ab|am)|zurück(?: am)?|jusqu['’]au|de retour(?: le)?"
    r"|hasta(?: el)?"
    r"|vuelvo(?: el)?|fino al?|rientro il|até(?: o dia)?|tot(?: en met)?|t/m|weer (?:op|aanwezig op)"
    r"|till och med|t\.o\.m\."
    r"|до|по|вернусь|do(?: dnia)?)\b",
    re.IGNORECASE,
)
_ISO = re.compile(r"\b(20\d\d)-(\d\d?)-(\d\d?)\b")
_DAY_MONTH = re.compile(r"\b(\d\d?)\.\s?(\d\d?)\.(?:\s?(20\d\d|\d\d)\b)?")
_SLASHES = re.compile(r"\b(\d\d?)/(\d\d?)/(20\d\d|\d\d)\b")
_NAMED = re.compile(
    r"\b(\d\d?)(?:st|nd|rd|th|\.|er|º)?(?: de| of)? ([^\W\d_]{3,12})\.?(?:,? (?:de )?(20\d\d))?", re.IGNORECASE
)
_MONTH_FIRST = re.compile(r"\b([^\W\d_]{3,12})\.? (\d\d?)(?:st|nd|rd|th)?\b(?:,? (20\d\d))?", re.IGNORECASE)


def returns(text: str, today: date) -> date | None:
    """Return the day until which the writer of `text` is away, or None if it says none that can be read safely.

    `today` is the day of the mail; a date without a year is the next one of that name. Days and months that could be
    meant either way round (04/05/2025) are not guessed.
    """
    found = [
        day for until in _UNTIL.finditer(text[:4000]) if (day := _date(text[until.end() : until.end() + 40], today))
    ]
    soon = [day for day in found if today <= day <= today + timedelta(days=400)]
    return max(soon, default=None)


def _date(text: str, today: date) -> date | None:
    if found := _ISO.search(text):
        return _day(int(found[1]), int(found[2]), int(found[3]))
    if found := _DAY_MONTH.search(text):
        return _next(found[3], int(found[2]), int(found[1]), today)
    if found := _SLASHES.search(text):
        first, second = int(found[1]), int(found[2])
        if first > 12 or second > 12 or first == second:
            return _next(found[3], min(first, second), max(first, second), today)
        return None
    for pattern, day, month in ((_NAMED, 1, 2), (_MONTH_FIRST, 2, 1)):
        if (found := pattern.search(text)) and (number := _month(found[month])):
            return _next(found[3], number, int(found[day]), today)
    return None


def _month(name: str) -> int:
    """Return the number of the month with this name or its beginning, or 0."""
    name = name.lower()
    return _MONTHS.get(name) or next((number for full, number in _MONTHS.items() if full.startswith(name)), 0)


def _next(year: str | None, month: int, day: int, today: date) -> date | None:
    if year:
        return _day(int(year) if len(year) == 4 else 2000 + int(year), month, day)
    found = _day(today.year, month, day)
    return _day(today.year + 1, month, day) if found and found < today and today.year < MAXYEAR else found


def _day(year: int, month: int, day: int) -> date | None:
    try:
        return date(year, month, day)
    except ValueError:
        return None
