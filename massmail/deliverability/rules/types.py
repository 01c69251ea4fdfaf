"""What is said about a finding."""

from __future__ import annotations

from dataclasses import dataclass

from django.utils.functional import Promise

from massmail.choices import Verdict


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """The verdict and the texts of one kind of finding; `seen`, `why` and `fix` take the finding's facts by `%`.

    `guessed`: it is about a name nobody has seen in a mail. Not `counts`: it says nothing about the account as a whole.
    """

    verdict: Verdict
    seen: Promise
    why: Promise
    fix: Promise | str = ""
    source: str
    guessed: bool = False
    counts: bool = True
