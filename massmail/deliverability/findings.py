"""What a check found, as a value: facts that can be stored, and words that are read in the language of the reader."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from massmail.choices import Check, Verdict
from massmail.deliverability.rules import RULES, Rule

#: Characters of a foreign record that are shown; a TXT record may have 65,000.
SHOWN = 300
#: Characters of a record that somebody would still publish.
PUBLISHED = 2000


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """A DNS record to publish: its full name without the dot at the end, its type, its value without quotes."""

    name: str
    type: str
    value: str

    @property
    def sane(self) -> bool:
        return self.value.isascii() and self.value.isprintable() and len(self.value) <= PUBLISHED

    def __str__(self) -> str:
        return f"{self.name}. {self.type} {self.value}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One thing that a check found about a domain.

    `code` ("spf.missing") is permanent; `facts` fill in its texts. `record` is what to publish instead, if there is
    something that can be said exactly. `dataclasses.asdict` gives what `from_dict` takes: plain JSON.
    """

    code: str
    facts: Mapping[str, str]
    record: Record | None = None

    @classmethod
    def from_dict(cls, stored: Mapping[str, Any]) -> Finding:
        """Return the finding that was stored. Raises `KeyError` for a code of another version of the app."""
        if stored["code"] not in RULES:
            raise KeyError(stored["code"])
        record = Record(**stored["record"]) if stored["record"] else None
        return cls(code=stored["code"], facts=stored["facts"], record=record)

    @property
    def check(self) -> Check:
        return Check(self.code.partition(".")[0])

    @property
    def verdict(self) -> Verdict:
        return self._rule.verdict

    @property
    def guessed(self) -> bool:
        """Whether this is about a name that was guessed, not seen in the account's own mail."""
        return self._rule.guessed

    @property
    def counts(self) -> bool:
        """Whether it says something about the account's mail as a whole."""
        return self._rule.counts

    @property
    def seen(self) -> str:
        """What the DNS said, cut to a readable length."""
        return str(self._rule.seen) % self.facts

    @property
    def why(self) -> str:
        """Why it matters."""
        return str(self._rule.why) % self.facts

    @property
    def fix(self) -> str:
        """What to do; empty where nothing needs to be done."""
        return str(self._rule.fix) % self.facts

    @property
    def source(self) -> str:
        """Whose rule it is."""
        return self._rule.source

    @property
    def _rule(self) -> Rule:
        return RULES[self.code]


def finding(code: str, *, record: Record | None = None, **facts: object) -> Finding:
    """Return the finding `code` with its facts cut to what can be shown. Raises `KeyError` for an unknown code.

    A `record` that nobody should publish, because what it was made from is monstrous, is left out.
    """
    if code not in RULES:
        raise KeyError(code)
    shown = {name: cut(str(fact)) for name, fact in facts.items()}
    return Finding(code=code, facts=shown, record=record if record and record.sane else None)


def cut(text: str, length: int = SHOWN) -> str:
    """Return the beginning of `text`, with a mark for every character that can't be printed."""
    shown = "".join(char if char.isprintable() else "\N{REPLACEMENT CHARACTER}" for char in text[:length])
    return shown + "…" if len(text) > length else shown
