"""Templates that a new message can start from.

Whole pages, built of tables, responsive, readable in the dark and by screen readers. They use no variables but the
link to unsubscribe, since not every type of recipients has the same ones, and pictures of the app's own. What only the
author knows stands in brackets, as "[your company]": no mailing starts with that (`linting.wording.about_leftovers`).
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from django.utils.translation import gettext_lazy as _

_HERE = Path(__file__).parent


@dataclass(frozen=True, slots=True, kw_only=True)
class Starter:
    """A message to start from; `name` is also that of its file and of its thumbnail."""

    name: str
    title: Any
    description: Any
    subject: str
    preheader: str

    @property
    def content(self) -> str:
        return (_HERE / f"{self.name}.html").read_text()


STARTERS = (
    Starter(
        name="announcement",
        title=_("Announcement"),
        description=_("A picture, what is new, a button"),
        subject="Something new from us",
        preheader="What it is, and what you gain by it.",
    ),
    Starter(
        name="newsletter",
        title=_("Newsletter"),
        description=_("Several articles with pictures"),
        subject="What we have been up to",
        preheader="Three short articles, a minute each.",
    ),
    Starter(
        name="offer",
        title=_("Offer"),
        description=_("A price, a code, until when"),
        subject="20 % off until the end of the month",
        preheader="With a code for regular customers.",
    ),
    Starter(
        name="invitation",
        title=_("Invitation"),
        description=_("When, where, an answer"),
        subject="You are invited",
        preheader="An evening with open doors, and time to talk.",
    ),
    Starter(
        name="letter",
        title=_("Letter"),
        description=_("Plain and personal, as a person writes"),
        subject="A short question",
        preheader="It takes a minute to read.",
    ),
    Starter(
        name="greeting",
        title=_("Seasonal greeting"),
        description=_("Thanks and good wishes"),
        subject="Thank you for this year",
        preheader="Our wishes for the holidays and the new year.",
    ),
)


def starter(name: str) -> Starter | None:
    """Return the starter called `name`, or None."""
    return next((each for each in STARTERS if each.name == name), None)
