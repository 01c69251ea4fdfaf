"""What an author should know before a message is sent, beyond whether it can be sent (`check`): errors and warnings.

A rule is a small function from a `Draft` to remarks. None of them asks network or database, or raises.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from functools import lru_cache

from django.utils.translation import get_language, ngettext

from massmail.choices import Level, Rule
from massmail.composing.linting import addresses, branches, pictures, visibility, wording
from massmail.composing.linting.branches import variables_needed
from massmail.composing.linting.draft import Draft, Remark
from massmail.composing.preparing import prepare
from massmail.exceptions import CompositionError
from massmail.models import EmailAccount, Message

__all__ = ["Remark", "lint", "variables_needed"]

#: Remarks of one rule that are made one by one.
MOST_ALIKE = 5

RULES: tuple[Callable[[Draft], Iterator[Remark]], ...] = (
    visibility.about_unsubscribing,
    addresses.about_addresses,
    addresses.about_link_texts,
    branches.about_branches,
    wording.about_foreign_syntax,
    wording.about_leftovers,
    wording.about_subject,
    wording.about_preheader,
    wording.about_disguise,
    pictures.about_pictures,
    pictures.about_active_content,
    wording.about_text,
    wording.about_sizes,
)


def lint(message: Message, *, senders: Iterable[EmailAccount] = ()) -> list[Remark]:
    """Return what is to be said about `message`, saved or not, errors first, also with regard to the accounts it leaves
    through.

    Of what `check` refuses, it says what can be said all the same.
    """
    try:
        prepared = prepare(message)
    except CompositionError:
        prepared = None
    draft, senders = Draft.of(message, prepared), list(senders)
    limits = [(account.name, account.size_limit) for account in senders if account.size_limit]
    remarks = [
        *_about(draft, get_language()),
        *wording.about_limits(draft, limits),
        *wording.about_names(account.from_name for account in senders),
    ]
    return sorted(remarks, key=lambda remark: remark.level is not Level.ERROR)


# A page that is looked at asks several times, the editor after every pause in typing.
@lru_cache(maxsize=32)
def _about(draft: Draft, language: str | None) -> tuple[Remark, ...]:
    draft = replace(draft)  # a copy: the documents that the rules parse are not kept
    found: dict[Rule, list[Remark]] = {}
    for rule in RULES:
        for remark in rule(draft):
            found.setdefault(remark.rule, []).append(remark)
    return tuple(remark for alike in found.values() for remark in _shortened(list(dict.fromkeys(alike))))


def _shortened(alike: list[Remark]) -> list[Remark]:
    """Return remarks of one rule, of very many the first few: the last of them says how many there are."""
    if len(alike) <= MOST_ALIKE:
        return alike
    *shown, last = alike[:MOST_ALIKE]
    more = len(alike) - MOST_ALIKE
    text = ngettext("%(text)s There is %(count)d more like it.", "%(text)s There are %(count)d more like it.", more)
    return [*shown, replace(last, text=text % {"text": last.text, "count": more})]
